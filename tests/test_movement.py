"""How far networks move from their start, and the starts themselves: other scales, other seeds."""

import dataclasses
import math

import numpy as np
import pytest

from lmc_lib import experiments, models, rng, training
from lmc_lib.data import DataSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.movement import MovementSpec, relative
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run, replicas
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=40)
TRAIN = TrainConfig(steps=7, batch_size=32, lr=0.1, precision="portable")
RUN = RunSpec(ModelSpec("mlp", 5, 2), DATA, TRAIN, 3, 4)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def flat(weights):
    return np.concatenate([value.double().numpy().ravel() for value in weights.values()])


def test_is_the_way_from_the_drawn_start_to_the_end(store):
    run = dataclasses.replace(RUN, initial_scale=0.41)
    loaded = dataset(DATA)
    model = models.build(run.model, loaded.input_shape, loaded.num_classes)
    start = models.initialise(model, generator=rng.stream(3, "initial weights"), scale=0.41)
    end = training.train(model, start, loaded.train, TRAIN, seed=4).final
    values = obtain(store, MovementSpec(run)).values
    assert values["distance"] == pytest.approx(np.linalg.norm(flat(end) - flat(start)), rel=1e-8)
    assert values["start"] == pytest.approx(np.linalg.norm(flat(start)), rel=1e-8)
    assert relative(store, [MovementSpec(run)]) == pytest.approx([values["distance"] / values["start"]])


def test_a_network_that_does_not_train_does_not_move_whatever_its_statistics_do(store):
    """With a rate of 0 the weights stay, and the running averages of BatchNorm do not."""
    run = dataclasses.replace(RUN, model=ModelSpec("mlp", 5, 2, "batch"), train=dataclasses.replace(TRAIN, lr=0.0))
    values = obtain(store, MovementSpec(run)).values
    assert values["distance"] == 0.0
    assert float(obtain_run(store, run).final["2.running_mean"].abs().max()) > 0.01
    # Its matrices, and a scale of 1 for each of ten units.
    dense = obtain(store, MovementSpec(dataclasses.replace(RUN, train=run.train))).values
    assert values["start"] ** 2 == pytest.approx(dense["start"] ** 2 + 10, rel=1e-8)


def test_networks_that_diverged_are_left_out(store):
    wild = dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, lr=1e200))
    assert len(relative(store, [MovementSpec(wild), MovementSpec(RUN)])) == 1


def test_a_scale_multiplies_the_matrices_and_nothing_else():
    model = models.mlp(64, 10, widths=(9, 5), norm="layer")
    whole, small = (models.initialise(model, generator=rng.stream(1, "scale"), scale=scale) for scale in (1.0, 0.25))
    for name, value in whole.items():
        expected = 0.25 * value if value.dim() > 1 else value
        # Draws are rounded to multiples of 2 ** -30.
        assert float((small[name] - expected).abs().max()) <= 2.0**-30, name
    assert any(value.dim() == 1 and float(value.abs().max()) == 1.0 for value in small.values())


def test_a_scale_of_one_over_the_root_of_six_has_the_variance_of_torchs_own_layers():
    model = models.mlp(400, 10, widths=(300,))
    drawn = models.initialise(model, generator=rng.stream(2, "scale"), scale=6**-0.5)["1.weight"]
    # 120,000 draws: the standard error of a deviation is 0.2 %.
    assert float(drawn.std()) == pytest.approx(float(model.state_dict()["1.weight"].std()), rel=0.01)


def test_replicas_begin_at_the_first_seed():
    runs = replicas(RUN.model, DATA, TRAIN, 3, first_seed=100, initial_scale=0.41, save_at=(2,))
    assert [(run.init_seed, run.order_seed) for run in runs] == [(100, 100), (101, 101), (102, 102)]
    assert {(run.initial_scale, run.save_at) for run in runs} == {(0.41, (2,))}
    plain = replicas(RUN.model, DATA, TRAIN, 3)
    assert [run.init_seed for run in plain] == [0, 1, 2]
    assert not {*map(fingerprint, runs)} & {*map(fingerprint, plain)}


def test_the_label_tells_a_scale_that_is_not_kaimings():
    assert RUN.label == "MLP, 2 hidden layers, width 5"
    assert dataclasses.replace(RUN, initial_scale=0.41).label == "MLP, 2 hidden layers, width 5, initial weights × 0.41"


@pytest.mark.parametrize("scale", [0.0, -0.41, math.inf, math.nan])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match="initial weights are scaled by a positive number"):
        dataclasses.replace(RUN, initial_scale=scale)


def test_the_module_is_offered():
    assert experiments.movement.MovementSpec is MovementSpec
