"""The records that ship with the repository: sound, complete, and remade to within the chaos of training."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc_lib import cli, connectivity, data, experiments, models
from lmc_lib.data import DataSpec, MissingData
from lmc_lib.store import Store, fingerprint
from lmc_lib.store.address import canonical
from lmc_lib.training import TrainConfig

FILES = sorted((Path(__file__).parents[1] / "records").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def content(request):
    return json.loads(request.param.read_text())


def test_there_are_records():
    assert FILES


def test_each_record_stands_under_the_hash_of_its_spec(content):
    for key, record in content["records"].items():
        assert hashlib.sha256(canonical(record["spec"]).encode()).hexdigest()[:20] == key


def test_each_record_says_where_it_comes_from(content):
    for record in content["records"].values():
        origin = record["provenance"]
        assert {"created", "commit", "versions", "machine", "device", "threads", "seconds"} <= origin.keys()
        assert "/" not in origin["machine"]


def test_headline_numbers_follow_from_the_records(content):
    """Each number of the report, recomputed from the curves with the definition of the barrier alone."""
    curves = {}
    for record in content["records"].values():
        model = record["spec"]["target"]["model"]
        name = "-".join([model["family"], str(model["depth"]), *([model["norm"]] if "norm" in model else [])])
        curves.setdefault(f"{name}, width {model['width']}", []).append(record["values"])
    numbers = content["report"]["numbers"]
    assert numbers
    for name, number in numbers.items():
        setting, score, method = name.rsplit(", ", 2)
        split, quantity = score.split()
        heights = []
        for values in curves[setting]:
            line = np.array(values["curves"][method][split][quantity])
            alphas = np.array(values["alphas"])
            heights.append((line - (1 - alphas) * line[0] - alphas * line[-1]).max())
        assert number == pytest.approx(np.median(heights), abs=1e-6)  # numbers are rounded to six decimals


@pytest.mark.slow
def test_a_remade_measurement_is_like_the_recorded_ones(tmp_path):
    """The cheapest recorded kind, made again.

    Float32 training differs from CPU to CPU, so the bounds are those of chance: a new pair lies within the range of the
    recorded pairs, widened by half of it on both sides.
    """
    parameters = cli.parameters_of("weak-connectivity") | cli.resolve("weak-connectivity", "laptop")
    try:
        data.load(DataSpec(parameters["data"]))
    except MissingData:
        pytest.skip("needs Fashion-MNIST")
    config = TrainConfig(**parameters["training"], precision=parameters["precision"])
    model = models.parse(parameters["plain"], min(parameters["widths"]))
    runs = experiments.replicas(model, DataSpec(parameters["data"]), config, parameters["seeds"])
    count = parameters["examples"][0]
    options = {"points": parameters["points"]} | dict.fromkeys(
        ["train_examples", "test_examples", "reset_examples"], count
    )
    every = experiments.pairs(runs, **options)
    records = json.loads((cli.RECORDS / "weak-connectivity-laptop.json").read_text())["records"]
    recorded = [records[fingerprint(pair)]["values"]["curves"] for pair in every]
    remade = experiments.obtain_pair(Store(tmp_path), every[0])["curves"]
    for method in experiments.METHODS:
        for split in ("train", "test"):
            heights = [barrier(curves[method][split]["loss"]) for curves in recorded]
            room = 0.5 * (max(heights) - min(heights))
            assert min(heights) - room <= barrier(remade[method][split]["loss"]) <= max(heights) + room


def barrier(values):
    return connectivity.barrier(torch.tensor(values, dtype=torch.float64))
