"""Charges of trained networks as they are stored, and the evidence that is made of them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from lmc_lib import charges, experiments, training
from lmc_lib.charges import FAMILIES, LAWS
from lmc_lib.claims import estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments import Found
from lmc_lib.experiments.dynamics.conservation import agreement, along_rates, evidence
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
    # What comes into a rectifier is the factor and the shift of batch normalisation, what leaves it the next weights.
    squares = [{name: value.square() for name, value in each.items()} for each in path]
    first, second = (
        torch.stack(
            [each[f"{norm}.weight"] + each[f"{norm}.bias"] - each[f"{behind}.weight"].sum(0) for each in squares]
        )
        for norm, behind in ((2, 4), (5, 7))
    )
    balance = torch.cat([first, second], 1)
    apart = (balance - balance[0])[5:].norm(dim=1).square().mean().sqrt() / balance[0].norm()
    assert values["rescale"]["drift"] == pytest.approx(float(apart), rel=1e-8)
    unit = balance[0].abs().argmax()
    assert values["rescale"]["curves"]["measured"] == pytest.approx(balance[:, unit].tolist(), rel=1e-8)
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


# What is planted differs by family, by training, by rate and by network, so that none can stand in for another.
RATES = (0.04, 0.02, 0.005)
DRIFTS = {"translation": 0.3, "scale": 0.75, "rescale": 1.2}
ORDERS = {"translation": 1.6, "scale": 2.0, "rescale": 2.3}
FLOWS = {"translation": 0.9, "scale": 1.0, "rescale": 1.1}
EXACT = {"translation": 3.0, "scale": 5.0, "rescale": 7.0}
# Each network has a factor of its own, which moves no order, and its orders are higher by so much.
NETWORKS = ((1.0, 0.0), (1.5, 0.1), (3.0, 0.5))


def found(*, drifts, orders, exact):
    """Three networks whose distances and drifts grow with the rate as planted, and the digits with its inverse."""

    def values(family, rate, factor, more):
        return {
            "drift": factor * rate ** (drifts[family] + more),
            "distances": {
                # Digits to which the law holds: least at the largest rate, and in the last network.
                "discrete law": 10.0 ** (more - exact[family] - 0.5 * RATES.index(rate)),
                "oscillator": 0.5 * factor * rate ** (orders[family] + more),
                "gradient flow": factor * rate ** FLOWS[family],
            },
        }

    return {
        rate: Found(
            3, {(i,): {family: values(family, rate, *each) for family in FAMILIES} for i, each in enumerate(NETWORKS)}
        )
        for rate in RATES
    }


def plain(drifts=DRIFTS):
    """Trainings without momentum and decay, whose other numbers are not those that are asked for."""
    return found(drifts=drifts, orders=dict.fromkeys(FAMILIES, 1.3), exact=dict.fromkeys(FAMILIES, 1.0))


def damped(exact=EXACT):
    """Trainings with both, likewise."""
    return found(drifts=dict.fromkeys(FAMILIES, 0.1), orders=ORDERS, exact=exact)


class TestEvidence:
    def test_finds_what_is_planted(self):
        higher = np.array([0.0, 0.1, 0.5])
        expected = {}
        for family in FAMILIES:
            expected[f"digits {family}"] = EXACT[family] - higher
            expected[f"order {family}"] = ORDERS[family] + higher
            expected[f"share {family}"] = 0.5 * 0.005 ** (ORDERS[family] + higher - FLOWS[family])
        for family, side in itertools.product(("scale", "rescale"), ("", " beyond")):
            expected[f"drift {family}{side}"] = DRIFTS[family] + higher
        estimates = evidence(plain(), damped())
        assert estimates.keys() == expected.keys()
        for name, each in expected.items():
            mean = estimate_of_mean(each)
            shown = [estimates[name].value, estimates[name].low, estimates[name].high]
            assert shown == pytest.approx([mean.value, mean.low, mean.high], rel=1e-9), name
        assert {each.replicas for each in estimates.values()} == {3}

    def test_counts_digits_up_to_twelve(self):
        # 12.2 digits at the largest rate, of which the last network has half a digit less.
        many = evidence(plain(), damped(dict.fromkeys(FAMILIES, 12.2)))["digits scale"]
        assert many.value == pytest.approx((12.0 + 12.0 + 11.7) / 3)
        assert agreement(np.array([0.0, 1e-15, 1e-12, 1e-3, 2.0])) == pytest.approx([12.0, 12.0, 12.0, 3.0, -0.30103])

    def test_has_one_row_a_network_and_one_column_a_rate(self):
        drifts = along_rates(plain(), "scale", "drift")
        assert drifts == pytest.approx(
            np.array([[factor * rate ** (0.75 + more) for rate in RATES] for factor, more in NETWORKS])
        )


def test_the_modules_are_offered():
    assert experiments.motions.ChargesSpec is ChargesSpec
    assert experiments.conservation.evidence is evidence
