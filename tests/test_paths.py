"""Networks as paths: measured against a plain computation, and what is read from paths against planted ones."""

import dataclasses

import numpy as np
import pytest
import torch

from lmc_lib import rng, similarity
from lmc_lib.data import DataSpec
from lmc_lib.experiments import Found, paths
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.paths import PathSpec
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=45)
TRAIN = TrainConfig(steps=9, batch_size=32, lr=0.1, precision="portable")
RUN = RunSpec(ModelSpec("mlp", 7, 3), DATA, TRAIN, 3, 4, save_at=(0, 4))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def values(store):
    return obtain(store, PathSpec(RUN)).values


def layers_of(state, inputs):
    """The points of a path by the definition of a perceptron: inputs, hidden layers, logits."""
    points = [inputs]
    for layer in (1, 3, 5, 7):
        matrix, bias = (state[f"{layer}.{name}"].double().numpy() for name in ("weight", "bias"))
        out = points[-1] @ matrix.T + bias
        points.append(out if layer == 7 else np.maximum(out, 0.0))
    return points


def angle(x, y):
    """The flavour of Lange et al.: centred kernels, their diagonals set to zero."""
    kernels = []
    for each in (x, y):
        centred = each - each.mean(0)
        kernel = centred @ centred.T
        np.fill_diagonal(kernel, 0.0)
        kernels.append(kernel / np.linalg.norm(kernel))
    return np.arccos(np.sum(kernels[0] * kernels[1]))


@pytest.fixture(scope="module")
def plain(store):
    """Labels, and the points of the path at each checkpoint."""
    test = dataset(DATA).test
    inputs = test.inputs.flatten(1).double().numpy()
    return test.labels.numpy(), [layers_of(state, inputs) for state in obtain_run(store, RUN).states]


def test_distances_are_the_angles_between_the_layers_and_the_labels(values, plain):
    labels, checkpoints = plain
    assert values["steps"] == [0, 4, 9]
    found = np.array(values["distances"])
    assert found.shape == (3, 6, 6)
    for matrix, points in zip(found, checkpoints, strict=True):
        every = [*points, np.eye(10)[labels]]
        expected = [[angle(x, y) if x is not y else 0.0 for y in every] for x in every]
        # Nine digits are stored, and an arc cosine loses half of its own where layers are alike.
        np.testing.assert_allclose(matrix, expected, atol=1e-7)


def test_rows_of_the_shuffled_target_are_those_of_other_examples(values, plain):
    labels, checkpoints = plain
    found = np.array(values["shuffled"])
    assert found.shape == (3, 5)
    ours = np.array(values["distances"])[:, :-1, -1]
    # Chance alignment of 45 examples is small; the target is the same at all checkpoints.
    assert (np.abs(found - np.pi / 2) < 0.25).all()
    assert np.abs(found[2] - ours[2]).max() > 0.05
    np.testing.assert_allclose(found[:, 0], found[0, 0], atol=1e-12)
    other = obtain_shuffled(dataclasses.replace(RUN, init_seed=5))
    assert sorted(other) == sorted(labels.tolist())
    shuffled = np.array(obtain_shuffled(RUN))
    assert (shuffled != labels).mean() > 0.7
    expected = [[angle(point, np.eye(10)[shuffled]) for point in points] for points in checkpoints]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def obtain_shuffled(run):
    labels = dataset(run.data).test.labels
    stream = rng.stream(run.init_seed, "shuffled labels")
    return labels[torch.randperm(len(labels), generator=stream)].tolist()


def test_places_and_turns_are_those_of_spherical_triangles(values):
    for row, matrix in enumerate(np.array(values["distances"])):
        whole = matrix[0, -1]
        for point in range(5):
            x, end = np.cos(matrix[0, point]), np.cos(matrix[point, -1])
            y = (end - x * np.cos(whole)) / np.sin(whole)
            place = np.arctan2(y, x) / whole
            if 0.0 <= place <= 1.0:
                assert values["places"][row][point] == pytest.approx(place, abs=1e-6)
                # Near the geodesic an arc cosine keeps half of the digits.
                assert values["aside"][row][point] == pytest.approx(np.arccos(min(np.hypot(x, y), 1.0)), abs=1e-4)
        for corner in (1, 2, 3):
            a, b, c = matrix[corner - 1, corner], matrix[corner, corner + 1], matrix[corner - 1, corner + 1]
            inner = np.arccos((np.cos(c) - np.cos(a) * np.cos(b)) / (np.sin(a) * np.sin(b)))
            assert values["turns"][row][corner - 1] == pytest.approx(np.pi - inner, abs=1e-5)


def test_accuracy_is_the_share_of_right_classes(values, plain):
    labels, checkpoints = plain
    for found, points in zip(values["accuracy"], checkpoints, strict=True):
        assert found["test"] == pytest.approx((points[-1].argmax(1) == labels).mean(), abs=1e-9)
        assert 0.0 <= found["train"] <= 1.0


def test_labels_of_the_training_set_are_noisy_and_those_of_the_target_are_not(store, values):
    noisy = dataclasses.replace(RUN, data=dataclasses.replace(DATA, label_noise=0.9))
    found = obtain(store, PathSpec(noisy)).values
    # Before training the two are one network, with one target.
    assert found["distances"][0] == values["distances"][0]
    assert found["accuracy"][0]["test"] == values["accuracy"][0]["test"]
    assert found["distances"][2] != values["distances"][2]


@pytest.mark.parametrize("metric", ["cka-linear-gretton", "shape-angular"])
def test_another_metric_and_fewer_checkpoints_and_examples(store, values, metric):
    found = obtain(store, PathSpec(RUN, metric, examples=30, steps=(0, 9))).values
    assert found["steps"] == [0, 9]
    assert np.array(found["distances"]).shape == (2, 6, 6)
    assert np.abs(np.array(found["distances"])[1] - np.array(values["distances"])[2]).max() > 0.01
    assert (np.array(found["places"])[:, 0] < 1e-6).all()  # the inputs are the beginning of the geodesic


def test_so_many_examples_as_asked_for_are_taken_from_the_first_on(store, plain):
    labels, checkpoints = plain
    (found,) = obtain(store, PathSpec(RUN, examples=30, steps=(9,))).values["distances"]
    few = [point[:30] for point in (*checkpoints[2], np.eye(10)[labels])]
    np.testing.assert_allclose(found[0][1:], [angle(few[0], each) for each in few[1:]], atol=1e-7)


def test_a_metric_without_geodesics_is_refused():
    with pytest.raises(ValueError, match="'shape-angular-0' has distances and no geodesics"):
        PathSpec(RUN, "shape-angular-0")
    with pytest.raises(ValueError, match="unknown metric 'cka'"):
        PathSpec(RUN, "cka")


def test_a_training_that_diverged_is_a_result(store):
    wild = dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, lr=1e200))
    assert obtain(store, PathSpec(wild)).values["diverged"] == [0]


def test_defaults_are_left_out_of_the_address():
    assert fingerprint(PathSpec(RUN)) == fingerprint(PathSpec(RUN, "cka-linear-lange", None, ()))
    assert fingerprint(PathSpec(RUN)) != fingerprint(PathSpec(RUN, "cka-linear-gretton"))


# -- what is read from paths -------------------------------------------------------------------------------------------


def found_of(*networks, shuffled=None):
    """Networks with a path a checkpoint, each given by the places of its points, and of the target, on a plane."""
    values = {}
    for number, checkpoints in enumerate(networks):
        points = np.array(checkpoints, dtype=float)
        matrices = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        others = matrices[:, :-1, -1] if shuffled is None else shuffled[number]
        values[number,] = {"distances": matrices.tolist(), "shuffled": np.asarray(others).tolist()}
    return Found(len(networks), values)


# Inputs, three hidden layers, logits; the target at the end.
STRAIGHT = [(0, 0), (1, 0), (3, 0), (3.5, 0), (4, 0), (6, 0)]
BENT = [(0, 0), (0, 3), (4, 3), (4, 1), (4, 0), (6, 0)]


def test_gain_is_from_the_first_hidden_layer_to_the_last():
    target = paths.to_target(found_of([STRAIGHT, BENT]))
    assert target.shape == (1, 2, 5)
    np.testing.assert_allclose(target[0, 0], [6, 5, 3, 2.5, 2])
    np.testing.assert_allclose(similarity.gain(target), [[2.5, np.hypot(6, 3) - np.hypot(2, 1)]])


def test_steps_count_between_hidden_layers_alone():
    # The inputs and the logits stand where a step to or from them would lead away.
    assert similarity.nearer(np.array([0.0, 5.0, 4.0, 4.5, 3.0, 9.0])) == pytest.approx(2 / 3)
    assert similarity.nearer(np.array([[9.0, 2.0, 1.0, 9.0], [9.0, 1.0, 1.0, 0.0]])).tolist() == [1.0, 0.0]


def test_straightness_and_steps_leave_out_the_target():
    found = found_of([STRAIGHT, BENT])
    np.testing.assert_allclose(similarity.straightness(paths.between(found)), [[1.0, 4 / 10]])
    np.testing.assert_allclose(similarity.steps(paths.between(found)), [[[1.0, 2.0, 0.5, 0.5], [3.0, 4.0, 2.0, 1.0]]])


def moved(points, by):
    """A path whose last hidden layer is nearer to the target by so much."""
    return [*points[:3], (points[3][0] + by, 0), *points[4:]]


def test_evidence_reads_the_first_and_the_last_checkpoint():
    flat = [(0, 0), (1, 0), (0.5, 0), (1, 0), (4, 0), (6, 0)]
    ours = [[flat, STRAIGHT, moved(flat, by)] for by in (0.1, 0.2, 0.6)]
    others = [[flat, STRAIGHT, moved(flat, by)] for by in (-0.1, -0.3, -0.2)]
    shuffled = [[[3, 2, 2, 1.75, 9], [0] * 5, [3, 2, 2, 2 - by, 9]] for by in (0.01, 0.02, 0.06)]
    found = paths.evidence(found_of(*ours, shuffled=shuffled), found_of(*others, shuffled=shuffled))
    assert {name: each.value for name, each in found.items()} == pytest.approx({
        "gain": 0.3,
        "untrained": 0.0,
        "random labels": -0.2,
        "nearer": 0.5,
        "straightness": np.mean([4 / (1 + 0.5 + 0.5 + by + 3 - by) for by in (0.1, 0.2, 0.6)]),
    })  # fmt: skip
    assert found["gain"].count() == "3 networks"
    assert found["gain"].low < 0.3 < found["gain"].high
    other = paths.evidence(found_of(*ours, shuffled=shuffled), found_of(*others, shuffled=shuffled), shuffled=True)
    assert {name: other[name].value for name in ("gain", "untrained", "random labels")} == pytest.approx(
        {"gain": 0.03, "untrained": 0.25, "random labels": 0.03}
    )
