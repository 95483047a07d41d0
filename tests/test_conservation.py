"""Charges of trained networks as they are stored, and the evidence that is made of them."""

import dataclasses

import numpy as np
import pytest
import torch

from lmc_lib import charges, experiments, training
from lmc_lib.charges import FAMILIES, LAWS
from lmc_lib.data import DataSpec
from lmc_lib.experiments import Found
from lmc_lib.experiments.dynamics.conservation import along_rates, evidence
from lmc_lib.experiments.dynamics.motions import ChargesSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=40)
TRAIN = TrainConfig(
    9, batch_size=32, lr=0.05, momentum=0.8, weight_decay=0.2, schedule="constant", precision="portable", grid_bits=52
)
RUN = RunSpec(ModelSpec("mlp", 6, 2, "batch"), DATA, TRAIN, 3, 4)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def changed(**options):
    return dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, **options))


def test_are_those_of_the_weights_after_each_update(store):
    """Recomputed from checkpoints by the formulas of the charges alone."""
    model = charges.with_epsilon(architecture(RUN), 1e-30)
    start = drawn_start(RUN, model)
    path = training.train(model, start, dataset(DATA).train, TRAIN, seed=4, save_at=range(10)).states
    scale = torch.stack(
        [torch.cat([each["1.weight"].square().sum(1), each["4.weight"].square().sum(1)]) for each in path]
    )
    values = obtain(store, ChargesSpec(RUN)).values
    apart = (scale - scale[0])[5:].norm(dim=1).square().mean().sqrt() / scale[0].norm()
    assert values["scale"]["drift"] == pytest.approx(float(apart), rel=1e-8)
    unit = scale[0].argmax()
    assert values["steps"] == list(range(10))
    assert values["scale"]["curves"]["measured"] == pytest.approx(scale[:, unit].tolist(), rel=1e-8)
    shift = torch.stack([each["7.weight"].sum(0) for each in path])
    unit = shift[0].abs().argmax()
    assert values["translation"]["curves"]["measured"] == pytest.approx(shift[:, unit].tolist(), rel=1e-8)
    assert 0.0 <= values["accuracy"] <= 1.0


def test_obey_the_discrete_law_and_come_nearer_to_the_oscillator_than_to_gradient_flow(store):
    values = obtain(store, ChargesSpec(RUN)).values
    for family in FAMILIES:
        found = values[family]["distances"]
        assert found.keys() == LAWS.keys()
        assert found["discrete law"] < 1e-12
        assert 1e-6 < found["oscillator"] < 0.2 * found["gradient flow"]
        assert values[family]["overlap"] < 1e-12
        assert values[family]["curves"].keys() == {"measured", *LAWS}


def test_are_not_conserved_by_a_network_without_the_symmetries(store):
    plain = changed(momentum=0.0, weight_decay=0.0)
    ours, others = (obtain(store, ChargesSpec(plain, symmetric=each)).values for each in (True, False))
    for family in FAMILIES:
        assert others[family]["overlap"] > 1e-3
        assert others[family]["distances"]["discrete law"] > 1e-4
        assert others[family]["drift"] > 1e-3
    assert ours["translation"]["drift"] < 1e-13


def test_the_epsilon_of_torch_breaks_the_scale_symmetry_a_little(store):
    values = obtain(store, ChargesSpec(RUN, epsilon=1e-5)).values
    assert values["translation"]["overlap"] < 1e-12
    assert values["rescale"]["overlap"] < 1e-12
    assert 1e-9 < values["scale"]["overlap"] < 1e-3


@pytest.mark.parametrize(
    "options", [{"precision": "float32"}, {"optimiser": "adamw"}, {"schedule": "cosine"}, {"warmup": 2}], ids=str
)
def test_laws_are_those_of_sgd_in_float64_at_a_constant_rate(options):
    with pytest.raises(ValueError, match="the laws are those of SGD"):
        ChargesSpec(changed(**options))


def test_a_training_that_diverges_is_a_result(store):
    wild = ChargesSpec(changed(lr=1e200))
    assert obtain(store, wild).values["diverged"] == [0]


def test_the_network_is_trained_here(store):
    spec = ChargesSpec(RUN)
    assert spec.needs == ()
    assert (spec.updates, spec.label) == (9, RUN.label)
    assert store.find(fingerprint(RUN)) is None


def found(rates, powers, *, exact=1e-15):
    """Three networks whose distances and drifts grow with the rate as planted, each with a factor of its own."""

    def values(rate, factor):
        family = {
            "drift": factor * rate ** powers["drift"],
            "distances": {
                "discrete law": exact,
                "oscillator": 0.5 * factor * rate ** powers["oscillator"],
                "gradient flow": factor * rate ** powers["gradient flow"],
            },
        }
        return dict.fromkeys(FAMILIES, family)

    return {rate: Found(3, {(i,): values(rate, factor) for i, factor in enumerate((1.0, 1.5, 3.0))}) for rate in rates}


RATES = (0.04, 0.02, 0.005)
POWERS = {"drift": 1.0, "oscillator": 2.0, "gradient flow": 1.0}


class TestEvidence:
    def test_finds_planted_orders(self):
        plain, damped = found(RATES, POWERS | {"drift": 0.75}), found(RATES, POWERS)
        estimates = evidence(plain, damped)
        assert {name: round(each.value, 6) for name, each in estimates.items()} == {
            **{f"digits {family}": 12.0 for family in FAMILIES},
            **{f"order {family}": 2.0 for family in FAMILIES},
            **{f"share {family}": 0.0025 for family in FAMILIES},
            **{f"drift {family}{side}": 0.75 for family in ("scale", "rescale") for side in ("", " beyond")},
        }
        assert {each.replicas for each in estimates.values()} == {3}

    def test_counts_digits_up_to_twelve(self):
        plain = found(RATES, POWERS)
        assert evidence(plain, found(RATES, POWERS, exact=1e-3))["digits scale"].value == pytest.approx(3.0)
        assert evidence(plain, found(RATES, POWERS, exact=0.0))["digits scale"].value == 12.0

    def test_has_one_row_a_network_and_one_column_a_rate(self):
        drifts = along_rates(found(RATES, POWERS), "scale", "drift")
        assert drifts == pytest.approx(np.outer([1.0, 1.5, 3.0], RATES))


def test_the_modules_are_offered():
    assert experiments.motions.ChargesSpec is ChargesSpec
    assert experiments.conservation.evidence is evidence
