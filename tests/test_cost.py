"""What a training will cost: its updates, and the time of one."""

import pytest

from lmc_lib import data, experiments, models
from lmc_lib.data import DataSpec
from lmc_lib.experiments import ChildSpec, PairSpec, RunSpec, cost
from lmc_lib.experiments.cost import step_seconds, training_of
from lmc_lib.experiments.pruned import PrunedSpec
from lmc_lib.perturbation import Perturbation
from lmc_lib.training import TrainConfig

DIGITS = DataSpec("digits")
CONFIG = TrainConfig(steps=100, batch_size=128, warmup=50)


def run(width=256, **options):
    return RunSpec(models.ModelSpec("mlp", width, 3), DIGITS, CONFIG, **options)


def test_what_trains_says_how_long():
    parent = run(spawn_at=(30,))
    assert training_of(parent) == (parent, 100)
    assert training_of(ChildSpec(parent, 30, Perturbation(0.1))) == (parent, 70)
    dense = run(save_at=(10,))
    assert training_of(PrunedSpec(dense, 10, 0.2, 3)) == (dense, 90)
    (scored, _) = experiments.score_specs(dense.model, DIGITS, CONFIG, replicates=2, checkpoints=2)
    assert training_of(scored) == (scored.run, 100)
    assert training_of(PairSpec(dense, parent)) is None


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_shapes_are_those_of_the_data(name):
    try:
        loaded = data.load(DataSpec(name))
    except data.MissingData:
        pytest.skip(f"{name} is not here")
    assert data.SHAPES[name] == (loaded.input_shape, loaded.num_classes)


def test_the_time_is_that_of_the_updates_after_the_first(monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    assert step_seconds(run(), steps=3) == 2.0


def test_every_data_set_and_family_has_a_pace():
    for name in data.NAMES:
        for model in (models.ModelSpec("resnet", 2, 8, "batch"), models.ModelSpec("vgg", 2, 11, "batch")):
            assert step_seconds(RunSpec(model, DataSpec(name), TrainConfig(steps=9, batch_size=4)), steps=1) > 0.0
