"""The same pair matched in many ways, and features along training."""

import numpy as np
import pytest

from lmc_lib import experiments, rng, sweeps, symmetry
from lmc_lib.data import DataSpec
from lmc_lib.experiments import measurement, searches
from lmc_lib.experiments.connectivity.searches import SEARCHES, MatchingsSpec
from lmc_lib.experiments.networks import movement
from lmc_lib.experiments.networks.movement import FeatureSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=64, test_examples=40)
TRAIN = TrainConfig(steps=6, batch_size=32, precision="portable")
RUNS = experiments.runs.replicas(ModelSpec("mlp", 6, 2), DATA, TRAIN, 3, save_at=(0, 2))
OPTIONS = {
    "points": 3, "train_examples": 40, "test_examples": 30, "matching_examples": 24, "samples": (8, 24), "bins": 3
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store):
    return experiments.measure(store, MatchingsSpec.of_pairs(RUNS, **OPTIONS))


def test_every_search_is_measured_on_every_pair(found):
    assert list(found.values) == [(0, 1), (0, 2), (1, 2)]
    for search in ("none", *SEARCHES):
        assert found.of("barriers", search, "test error").shape == (3,)
    assert found.of("agreement").shape == (3, len(SEARCHES), len(SEARCHES))
    assert np.array_equal(found.of("agreement").diagonal(axis1=1, axis2=2), np.ones((3, len(SEARCHES))))
    assert np.array_equal(found.of("agreement"), found.of("agreement").transpose(0, 2, 1))


def test_as_many_examples_as_the_search_had_give_its_permutation(found):
    samples = searches.by_samples(found, "agreement")
    assert list(samples) == [8, 24]
    assert np.array_equal(samples[24], np.ones(3))
    assert np.array_equal(searches.by_samples(found, "barrier")[24], found.of("barriers", "activations", "test error"))


def test_agreement_by_size_averages_to_the_agreement_of_all(found):
    order = list(SEARCHES)
    whole = found.of("agreement")[:, order.index("weights"), order.index("activations")]
    # Two layers of six units in three equal parts.
    assert found.of("by_size", "weights | activations").mean(1) == pytest.approx(whole, abs=1e-8)


def test_chance_is_what_random_permutations_agree_on(store, found):
    here = MatchingsSpec(*RUNS[:2], **OPTIONS).setting()
    drawn = [symmetry.random(here.permutations, generator=rng.stream(0, index)) for index in range(2000)]
    shares = [symmetry.agreement(a, b) for a, b in zip(drawn[::2], drawn[1::2], strict=True)]
    # A thousand draws of mean 1/6: the standard error is about 0.0035.
    assert np.mean(shares) == pytest.approx(found.shared("chance"), abs=0.015)
    assert found.shared("chance") == pytest.approx(2 / 12)


def test_evidence_is_the_difference_of_the_same_pairs(found):
    evidence = experiments.searches.evidence(found, "weights, cosine", "weights")
    excess = found.of("barriers", "weights, cosine", "test error") - found.of("barriers", "weights", "test error")
    assert evidence["excess"].value == pytest.approx(np.median(excess))
    assert evidence["raw"].value == pytest.approx(np.median(found.of("barriers", "none", "test error")))
    nothing = experiments.searches.evidence(found, "weights", "weights")["excess"]
    assert nothing.triple == (0.0, 0.0, 0.0)
    turned = experiments.searches.evidence(found, "weights", "weights, cosine")["excess"]
    assert turned.value == pytest.approx(np.median(-excess))


def test_features_come_to_those_of_the_end(store):
    values = sweeps.obtain(store, FeatureSpec(RUNS[0], 20)).values
    assert values["steps"] == [0, 2, 6]
    assert len(values["angles"]) == 2
    for angles in values["angles"].values():
        assert angles[-1] == 0.0
        assert 0.0 < angles[1] < np.pi / 2


def test_a_divergence_is_recorded(store, tmp_path, monkeypatch):
    def obtain_run(_, run):
        if run.init_seed == 2:
            raise Diverged(3, float("nan"))
        return experiments.runs.obtain_run(store, run)

    for module in (measurement, movement):
        monkeypatch.setattr(module, "obtain_run", obtain_run)
    found = experiments.measure(Store(tmp_path), MatchingsSpec.of_pairs(RUNS, **OPTIONS))
    assert (found.diverged, list(found.values)) == ((2,), [(0, 1)])
    assert sweeps.obtain(Store(tmp_path), FeatureSpec(RUNS[2], 20)).values["diverged"] == [0]


def test_pairs_are_listed_once(store):
    specs = MatchingsSpec.of_pairs(RUNS, **OPTIONS)
    assert list(specs) == [(0, 1), (0, 2), (1, 2)]
    assert all(spec.needs == (spec.target, spec.source) == (RUNS[i], RUNS[j]) for (i, j), spec in specs.items())
