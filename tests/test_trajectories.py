"""Pairs of trajectories: permutations found at one checkpoint and used at others."""

import dataclasses

import numpy as np
import pytest
import torch

from lmc_lib import connectivity, experiments, rng, symmetry
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity.trajectories import TrajectoryPairSpec, along
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.setting import setting
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=64, test_examples=40)
TRAIN = TrainConfig(steps=6, batch_size=32, precision="portable")
RUNS = experiments.runs.replicas(ModelSpec("mlp", 5, 2), DATA, TRAIN, 3, save_at=(0, 2))
OPTIONS = {"points": 3, "train_examples": 40, "test_examples": 30, "matching_examples": 32}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store):
    return experiments.measure(store, TrajectoryPairSpec.of_pairs(RUNS, **OPTIONS))


def test_every_checkpoint_is_matched_and_measured(found):
    assert found.shared("steps") == [0, 2, 6]
    assert list(found.values) == [(0, 1), (0, 2), (1, 2)]
    assert found.of("barriers", "none", "train loss").shape == (3, 3)
    for method in ("weights", "activations"):
        assert found.of("barriers", method, "test error").shape == (3, 3, 3)
        assert found.of("barriers", f"{method}, joint", "test loss").shape == (3, 3)
        assert np.array_equal(found.of("agreement", method).diagonal(axis1=1, axis2=2), np.ones((3, 3)))


def test_barriers_are_those_of_a_permutation_computed_by_hand(store, found):
    target, source = (experiments.runs.obtain_run(store, run) for run in RUNS[:2])
    here = setting(RUNS[0], train_examples=40, test_examples=30, matching_examples=32, reset_examples=1024)
    permutation = here.match("activations", target.at(2), source.at(2), generator=rng.stream(0))
    moved = symmetry.permute(source.final, permutation, here.permutations)
    line = connectivity.curves(here.model, target.final, moved, here.splits, points=3)["test"]
    assert found.of("barriers", "activations", "test loss")[0, 1, 2] == pytest.approx(line.barrier("loss"), abs=1e-8)
    plain = connectivity.curves(here.model, target.at(2), source.at(2), here.splits, points=3)["train"]
    assert found.of("barriers", "none", "train loss")[0, 1] == pytest.approx(plain.barrier("loss"), abs=1e-8)


def test_mixtures_lie_between_the_late_and_the_early_permutation(found):
    matrix = found.of("barriers", "weights", "test loss")
    for side in ("lower", "upper"):
        mixed = found.of("barriers", side, "test loss")
        assert np.array_equal(mixed[:, :, 0], np.repeat(matrix[:, -1:, -1], 3, axis=1))
        assert np.array_equal(mixed[:, :, -1], matrix[:, :, -1])
    # One of two layers: which one makes a difference.
    lower, upper = (found.of("barriers", side, "test loss")[:, 0, 1] for side in ("lower", "upper"))
    assert not np.array_equal(lower, upper)


def test_a_trajectory_and_a_permuted_copy_are_aligned_by_any_trained_checkpoint(store):
    trajectory = experiments.runs.obtain_run(store, RUNS[0])
    spec = TrajectoryPairSpec(*RUNS[:2], **OPTIONS)
    here = spec.setting()
    groups = here.permutations
    planted = symmetry.random(groups, generator=rng.stream(0, "planted"))
    copies = [symmetry.permute(state, planted, groups) for state in trajectory.states]
    values = spec.measure(here, list(trajectory.states), copies)
    assert np.abs(values["barriers"]["weights"]["test loss"]).max() <= 1e-9
    assert np.array(values["agreement"]["weights"]).min() == 1.0
    assert any(not torch.equal(planted[name], order) for name, order in symmetry.identity(groups).items())


def made_up(train_loss, test_error, raw):
    """Two steps, three equal pairs: by matching the barriers in train loss, which decide, and those in test error."""
    lines = {method: {"train loss": train_loss[method], "test error": test_error[method]} for method in train_loss}
    values = {"barriers": {"none": {"test error": raw}, **lines}}
    return Found(3, {(0, 1): values, (0, 2): values, (1, 2): values})


def test_the_better_matching_at_home_is_used_everywhere():
    train_loss = {
        # Where they are found activations are better at the start (0.2 < 0.5) and weights at the end (0.1 < 0.3); where
        # they are used elsewhere it is the other way round.
        "weights": [[0.5, 0.05], [0.4, 0.1]],
        "activations": [[0.2, 0.9], [0.0, 0.3]],
    }
    test_error = {"weights": [[0.6, 0.35], [0.45, 0.15]], "activations": [[0.25, 0.85], [0.55, 0.65]]}
    found = made_up(train_loss, test_error, [0.05, 0.7])
    assert along(found, "test", "error")[0].tolist() == [0.45, 0.15]
    assert along(found, "test", "error", at=0)[0].tolist() == [0.25, 0.85]
    evidence = experiments.trajectories.evidence(found)
    assert {name: each.value for name, each in evidence.items()} == {"raw": 0.7, "along": 0.45, "end": 0.15}
    control = experiments.trajectories.evidence(found, at=0)
    assert {name: each.value for name, each in control.items()} == {"raw": 0.7, "along": 0.85, "end": 0.85}


def test_checkpoints_must_agree():
    other = dataclasses.replace(RUNS[1], save_at=(0, 3))
    with pytest.raises(ValueError, match=r"compared at the same checkpoints.*\(0, 2\) and \(0, 3\)"):
        TrajectoryPairSpec(RUNS[0], other)
    with pytest.raises(ValueError, match="at least two before the last step"):
        TrajectoryPairSpec(*(dataclasses.replace(run, save_at=(2,)) for run in RUNS[:2]))


def test_a_checkpoint_behind_the_end_is_an_error(store):
    with pytest.raises(ValueError, match="cannot keep a checkpoint at step 7: the training runs from 0 to 6"):
        runs = [dataclasses.replace(run, save_at=(0, 7)) for run in RUNS[:2]]
        experiments.measure(store, TrajectoryPairSpec.of_pairs(runs, **OPTIONS))


def test_a_divergence_is_recorded_with_its_pair(store, tmp_path, monkeypatch):
    def obtain_run(_, run):
        if run.init_seed == 2:
            raise Diverged(3, float("nan"))
        return experiments.runs.obtain_run(store, run)

    monkeypatch.setattr(experiments.trajectories, "obtain_run", obtain_run)
    found = experiments.measure(Store(tmp_path), TrajectoryPairSpec.of_pairs(RUNS, **OPTIONS))
    assert found.diverged == (2,)
    assert list(found.values) == [(0, 1)]
    assert found.count == 2 + 1 and np.isnan(found.symmetric(np.zeros(1))[2]).all()


def test_threads_make_no_difference(store, found, tmp_path):
    again = experiments.measure(Store(tmp_path), TrajectoryPairSpec.of_pairs(RUNS[:2], **OPTIONS))
    assert again.values[0, 1] == found.values[0, 1]
    assert torch.get_num_threads() == 1
