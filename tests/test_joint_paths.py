"""Paths in one space: measured against single distances, and what is read from them against planted ones."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from lmc_lib import models, similarity
from lmc_lib.data import DataSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks import architectures
from lmc_lib.experiments.networks.joint_paths import JointPaths, JointPathsSpec
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=80, test_examples=41)
TRAIN = TrainConfig(steps=5, batch_size=20, lr=0.05, precision="portable")
NETWORKS = tuple(
    RunSpec(models.parse(name, 3), DATA, TRAIN, seed, seed, save_at=(0,))
    for name, seed in [("plain-8-batch", 4), ("resnet-8-batch", 4), ("mlp-2", 5)]
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def points_of(run, state):
    """Inputs, what is behind each block or layer, and logits, by hooks on the module."""
    module = models.build(run.model, (1, 8, 8), 10).double().eval()
    module.load_state_dict(state)
    seen = []
    for layer in module:
        if isinstance(layer, torch.nn.ReLU) or type(layer).__name__ in ("_Block", "Sequential"):
            layer.register_forward_hook(lambda _, __, out: seen.append(out.flatten(1)))
    inputs = dataset(DATA).test.inputs.double()
    with torch.no_grad():
        logits = module(inputs)
    return [inputs.flatten(1), *seen, logits]


@pytest.mark.parametrize("step", [None, 0])
def test_distances_are_those_of_single_pairs(store, step):
    spec = JointPathsSpec(NETWORKS, step=step)
    found = JointPaths.read(store, spec)
    labels = torch.nn.functional.one_hot(dataset(DATA).test.labels).double()
    points, right = [], []
    for run in NETWORKS:
        trajectory = obtain_run(store, run)
        inputs, *path = points_of(run, trajectory.final if step is None else trajectory.at(step))
        points += path
        right.append((path[-1].argmax(1) == dataset(DATA).test.labels).double().mean())
    points = [inputs, *points, labels]
    assert [list(each) for each in spec.paths] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13]]
    assert found.distances.shape == (15, 15)
    for i, j in [(0, 1), (0, 14), (3, 8), (2, 12), (13, 14), (4, 5)]:
        # Three decimals are stored.
        assert found.distances[i, j] == pytest.approx(
            similarity.angular_cka(points[i], points[j], flavour="lange"), abs=5.1e-4
        )
    np.testing.assert_allclose(found.accuracy, right)


def test_pooled_maps_are_other_representations(store):
    flattened, pooled = (
        JointPaths.read(store, JointPathsSpec(NETWORKS[:2], reading=each)) for each in ("flattened", "pooled")
    )
    # Logits are no feature maps.
    assert pooled.distances[5, 10] == flattened.distances[5, 10]
    assert abs(pooled.distances[2, 7] - flattened.distances[2, 7]) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "cka"}, "unknown metric 'cka'"),
        ({"metric": "stress"}, "angles of kernel alignment, and 'stress' is none"),
        ({"reading": "pixels"}, "flattened or pooled, not 'pixels'"),
        ({"networks": (NETWORKS[0], RunSpec(NETWORKS[0].model, DataSpec("mnist1d"), TRAIN))}, "different data sets"),
        ({"networks": ()}, "different data sets"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        JointPathsSpec(**{"networks": NETWORKS} | change)


# -- what is read from paths -------------------------------------------------------------------------------------------

# So small a part of a sphere is flat to seven digits.
SMALL = 1e-4


def planted(*paths):
    """Paths whose points are given in a plane, with inputs at 0 and labels at (9, 9)."""
    points = SMALL * np.concatenate([[[0.0, 0.0]], *paths, [[9.0, 9.0]]])
    ends = np.cumsum([1, *(len(each) for each in paths)])
    rows = [range(*each) for each in pairwise(ends.tolist())]
    return JointPaths(squareform(pdist(points)), rows, np.ones(len(paths)))


def test_excess_is_what_is_between_architectures_and_not_within():
    # Paths across, at heights by network: they are apart by the difference of their heights.
    places = {"a": [0.0, 1.0, 3.0], "b": [5.0, 7.0, 6.0]}
    found = planted(*[np.array([[0.0, each], [4.0, each]]) for name in places for each in places[name]])
    a, b = places.values()
    excess = architectures.excess(found, range(3), range(3, 6)) / SMALL
    for i in range(3):
        for j in range(3):
            if i != j:
                across = (abs(a[i] - b[j]) + abs(a[j] - b[i])) / 2
                within = (abs(a[i] - a[j]) + abs(b[i] - b[j])) / 2
                assert excess[i, j] == pytest.approx(across - within, abs=1e-4)
    assert np.isnan(np.diag(excess)).all()


def test_excess_is_zero_in_the_mean_where_architectures_are_alike():
    generator = np.random.default_rng(2)
    means = [
        np.nanmean(architectures.excess(planted(*generator.normal(size=(12, 3, 2))), range(6), range(6, 12)))
        for _ in range(300)
    ]
    # Distances are about 1; the mean of 300 has a standard error of about 0.006.
    assert abs(np.mean(means)) / SMALL < 0.02


def test_layers_of_one_architecture_that_are_told_apart_are_apart_by_where_they_are():
    # Straight paths have no excess over themselves, wherever they are sampled; crooked ones have.
    straight = [np.array([[x, y] for x in range(6)]) + 0.0 for y in (0.0, 2.0, 5.0)]
    assert abs(architectures.of_sampling(planted(*straight), [0, 1, 2])["excess"].value) / SMALL < 1e-3
    crooked = [np.array([[x, y + 3.0 * (x % 2)] for x in range(6)]) for y in (0.0, 0.1, 0.3)]
    found = planted(*crooked)
    assert architectures.of_sampling(found, [0, 1, 2])["excess"].value / SMALL > 0.3
    assert [list(each) for each in found.every_second(0).paths] == [[1, 2, 4, 6], [7, 8, 10, 12], [13, 14, 16, 18]]
    assert list(found.every_second(1).paths[1]) == [7, 9, 11, 12]


def test_gain_and_steps_are_those_of_hidden_layers():
    found = planted([[1.0, 0.0], [9.0, 4.0], [9.0, 5.0], [7.0, 9.0]], [[9.0, 0.0], [9.0, 6.0], [9.0, 3.0], [9.0, 8.0]])
    np.testing.assert_allclose(architectures.gain(found, [0, 1]) / SMALL, [np.hypot(8, 9) - 4.0, 3.0])
    np.testing.assert_allclose(architectures.gain(found, [1]) / SMALL, [3.0])
    expected = [[1.0, np.hypot(8, 4), 1.0, np.hypot(2, 4)], [9.0, 6.0, 3.0, 5.0]]
    np.testing.assert_allclose(architectures.step_lengths(found, [0, 1]) / SMALL, expected)


@pytest.mark.parametrize(
    ("name", "into", "others"),
    [
        ("mlp-5", [], [2, 3]),
        ("resnet-8", [], []),  # no two blocks of one stage follow each other
        ("plain-14", [3, 5], [2, 4]),
        ("resnet-20", [4, 7], [2, 3, 5, 6, 8]),
        ("vgg-11", [4, 6], [3, 5]),  # the first two stages have one layer each
        ("vgg-13", [2, 4, 6, 8], [3, 5, 7]),
    ],
)
def test_stage_steps_have_steps_within_a_stage_beside_them(name, into, others):
    model = models.parse(name, 4)
    assert architectures.stage_steps(model) == into
    assert architectures.stage_steps(model, into=False) == others


def test_stage_steps_are_compared_with_their_neighbours():
    # Layers of plain-14: the stem, and two blocks a stage; steps from the inputs on, the last one to the logits.
    steps = [[3.0, 1.0, 2.0, 8.0, 2.0, 6.0, 1.5, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 7.0], [2.0] * 8]
    found = planted(*[np.stack([np.cumsum(each), np.zeros(8)], axis=1) for each in steps])
    model = ModelSpec("plain", 4, 14)
    first = (np.log(8.0 / 2.0) + np.log(6.0 / np.sqrt(2.0 * 1.5))) / 2
    into = architectures.of_stages(found, model, [0, 1, 2])["stages"]
    assert into.value == pytest.approx((first + np.log(3.0) / 2) / 3)
    others = architectures.of_stages(found, model, [0, 1, 2], into=False)["stages"]
    first = (np.log(2.0 / np.sqrt(8.0)) + np.log(2.0 / np.sqrt(48.0))) / 2
    assert others.value == pytest.approx((first - np.log(3.0) / 4) / 3)


def test_maps_of_two_seeds_are_compared_point_by_point():
    generator = np.random.default_rng(5)
    first = [
        np.array([[1.0, 1.0], [2.0, 5.0]]),
        np.array([[4.0, 0.0], [8.0, 1.0]]),
        np.array([[3.0, 3.0], [5.0, 3.0], [5.0, 4.0]]),
    ]
    # Each seed has the same three paths, but for a small displacement.
    moved = [[each + 0.05 * generator.normal(size=each.shape) for each in first] for _ in range(4)]
    found = planted(*[moved[seed][kind] for kind in range(3) for seed in range(4)])
    kinds = [range(4), range(4, 8), range(8, 12)]
    maps = architectures.seed_maps(found, kinds)
    np.testing.assert_allclose(maps[2].points, similarity.embed(planted(*moved[2]).distances).points)
    estimates = architectures.of_maps(found, kinds, maps)
    assert 0.0 < estimates["mismatch"].value < 0.01
    # The paths lead to different corners, so that exchanging them spoils the map.
    ours = np.concatenate([[[0.0, 0.0]], *first, [[9.0, 9.0]]])
    orders = {"exchanged": [0, 3, 4, 1, 2, 5, 6, 7, 8], "shifted": [0, 3, 4, 5, 7, 1, 1, 2, 8]}
    for name, order in orders.items():
        expected = similarity.mismatch(ours, ours[order])
        assert estimates[name].value == pytest.approx(expected, abs=0.03)
        assert expected > 0.1


def test_evidence_is_paired_by_seed():
    plain = [[[1.0, 0.0], [9.0, y], [9.0, 8.0]] for y in (1.0, 2.0, 5.0)]
    residual = [[[2.0, 0.0], [9.0, y], [9.0, 8.5]] for y in (4.0, 3.0, 8.0)]
    other = [[[0.0, 3.0], [y, 9.0]] for y in (7.0, 4.0, 5.0)]
    found = planted(*map(np.array, plain), *map(np.array, residual), *map(np.array, other))
    estimates = architectures.evidence(found, range(3), range(3, 6), range(6, 9))
    starts = np.hypot(7, 9) - np.hypot(8, 9)
    assert estimates["gain more"].value / SMALL == pytest.approx(np.mean([3.0, 1.0, 3.0]) + starts)
    assert estimates["excess"].value == pytest.approx(np.nanmean(architectures.excess(found, range(3, 6), range(6, 9))))


@pytest.mark.parametrize(
    "names", [[], ["plain-14"], ["resnet-14", "plain-14"], ["plain-14", "resnet-8"], ["plain-14", "resnet-14-batch"]]
)
def test_the_first_two_architectures_differ_in_skips_alone(names):
    with pytest.raises(ValueError, match="the first two architectures are a plain and a residual network alike in"):
        architectures.check_skips([models.parse(name, 4) for name in names])
    architectures.check_skips([models.parse(name, 4) for name in ("plain-8-layer", "resnet-8-layer", "mlp-1")])
