"""What a training will cost: its updates, and the time of one."""

from dataclasses import replace

import pytest
import torch

from lmc_lib import data, experiments, models, training
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity.pair import PairSpec
from lmc_lib.experiments.networks.children import ChildSpec
from lmc_lib.experiments.networks.pruned import PrunedSpec
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.perturbation import Perturbation
from lmc_lib.training import TrainConfig, pace, step_seconds

DIGITS = DataSpec("digits")
CONFIG = TrainConfig(steps=100, batch_size=128, warmup=50)


def run(width=256, **options):
    return RunSpec(models.ModelSpec("mlp", width, 3), DIGITS, CONFIG, **options)


def test_what_trains_says_how_long():
    parent = run(spawn_at=(30,))
    assert parent.updates == 100
    assert ChildSpec(parent, 30, Perturbation(0.1)).updates == 70
    dense = run(save_at=(10,))
    assert PrunedSpec(dense, 10, 0.2, 3).updates == 90
    (scored, _) = experiments.scores.specs(dense.model, DIGITS, CONFIG, replicates=2, checkpoints=2)
    assert scored.updates == 100
    assert PairSpec(dense, parent).updates == 0


def test_what_trains_takes_as_long_as_its_run(monkeypatch):
    paces = {256: 0.5, 32: 0.25}
    monkeypatch.setattr(training, "step_seconds", lambda model, images, train: paces[model.width])
    narrow, wide = run(32, save_at=(10,), spawn_at=(30,)), run(256, save_at=(10,), spawn_at=(30,))
    for network, seconds in ((narrow, 0.25), (wide, 0.5)):
        specs = [network, PrunedSpec(network, 10, 0.2, 3), ChildSpec(network, 30, Perturbation(0.1))]
        specs.append(experiments.scores.ScoresSpec(network, (50, 100), 50))
        assert [spec.pace() for spec in specs] == [seconds] * 4


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_shapes_are_those_of_the_data(name):
    try:
        loaded = data.load(DataSpec(name))
    except data.MissingData:
        pytest.skip(f"{name} is not here")
    assert data.SHAPES[name] == (loaded.input_shape, loaded.num_classes)


def test_the_time_is_that_of_the_updates_after_the_first(monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    assert step_seconds(run().model, DIGITS, CONFIG, steps=3) == 2.0


def test_the_time_is_that_of_one_thread(monkeypatch):
    seen = []
    real = pace.checkpoints

    def watched(*arguments, **options):
        for each in real(*arguments, **options):
            seen.append(torch.get_num_threads())
            yield each

    monkeypatch.setattr(pace, "checkpoints", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        step_seconds(run().model, DIGITS, replace(CONFIG, lr=0.03))
        assert (seen, torch.get_num_threads()) == ([1, 1], 3)
    finally:
        torch.set_num_threads(before)


def test_every_data_set_and_family_has_a_pace():
    for name in data.NAMES:
        for model in (models.ModelSpec("resnet", 2, 8, "batch"), models.ModelSpec("vgg", 2, 11, "batch")):
            assert step_seconds(model, DataSpec(name), TrainConfig(steps=9, batch_size=4)) > 0.0
