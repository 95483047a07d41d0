"""Curves, planes and volumes between networks: closed forms and laws; trained vertices against a plain training."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from lmc_lib import connecting, connectivity, data, models, rng, state, training
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity.volumes import CURVES, Volumes, VolumeSpec, twin_of_last
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

POSITIONS = torch.linspace(0.0, 1.0, 7, dtype=torch.float64)
MODEL = models.mlp(64, 10, widths=[4, 3]).double()
SPLIT = data.load(DataSpec("digits", train_examples=48, test_examples=30)).train
TRAIN = TrainConfig(steps=5, batch_size=16, lr=0.1, precision="portable")
RUN = RunSpec(ModelSpec("mlp", 5, 2), DataSpec("digits", train_examples=96, test_examples=40), TRAIN, 3, 3)
SPEC = VolumeSpec(
    RUN,
    sets=3,
    vertices=2,
    bend=TRAIN,
    strengths=(0.1, 0.0),
    drawn=2,
    twins=2,
    ensemble=2,
    points=3,
    examples=30,
    grid=5,
)


def networks(count):
    return [models.initialise(MODEL, generator=rng.stream(seed, "volumes")) for seed in range(count)]


def points(corners, numbers, seed=0):
    return torch.randn(corners, numbers, dtype=torch.float64, generator=rng.stream(seed, "corners"))


class TestWeights:
    @pytest.mark.parametrize("family", [connectivity.bezier_weights, connectivity.chain_weights])
    @pytest.mark.parametrize("vertices", [2, 3, 5])
    def test_sum_to_one_and_end_at_the_ends(self, family, vertices):
        weights = family(POSITIONS, vertices)
        assert weights.shape == (7, vertices)
        assert (weights >= 0).all()
        assert torch.allclose(weights.sum(1), torch.ones(7, dtype=torch.float64), atol=1e-15)
        assert weights[0].tolist() == [1.0] + [0.0] * (vertices - 1)
        assert weights[-1].tolist() == [0.0] * (vertices - 1) + [1.0]

    def test_a_curve_with_its_bend_in_the_middle_is_the_line(self):
        ends = points(2, 3)
        bent = torch.stack([ends[0], ends.mean(0), ends[1]])
        for family in (connectivity.bezier_weights, connectivity.chain_weights):
            assert torch.allclose(family(POSITIONS) @ bent, torch.lerp(*ends, POSITIONS[:, None]), atol=1e-15)

    def test_bezier_is_linear_interpolation_of_linear_interpolations(self):
        """The construction of de Casteljau, on four vertices."""
        corners = points(4, 3)
        for t, weights in zip(POSITIONS, connectivity.bezier_weights(POSITIONS, 4), strict=True):
            left = corners
            while len(left) > 1:
                left = torch.lerp(left[:-1], left[1:], t)
            assert torch.allclose(weights @ corners, left[0], atol=1e-14)

    def test_a_chain_is_at_each_vertex_in_its_turn(self):
        turns = torch.linspace(0.0, 1.0, 4, dtype=torch.float64)
        assert torch.allclose(connectivity.chain_weights(turns, 4), torch.eye(4, dtype=torch.float64), atol=1e-15)

    @pytest.mark.parametrize("family", [connectivity.bezier_weights, connectivity.chain_weights])
    def test_one_vertex_is_no_curve(self, family):
        with pytest.raises(ValueError, match="two ends"):
            family(POSITIONS, 1)


class TestPath:
    def test_a_path_of_two_vertices_is_the_line(self):
        ends = networks(2)
        weights = connectivity.chain_weights(POSITIONS, 2)
        path = connectivity.path(MODEL, ends, weights, {"own": SPLIT})["own"]
        line = connectivity.curves(MODEL, *ends, {"own": SPLIT}, points=7)["own"]
        assert torch.equal(path.alphas, line.alphas)
        assert torch.allclose(path.loss, line.loss, atol=1e-12)
        assert torch.equal(path.error, line.error)

    def test_a_chain_passes_its_bend(self):
        three = networks(3)
        path = connectivity.path(MODEL, three, connectivity.chain_weights(POSITIONS), {"own": SPLIT})["own"]
        scores = [connectivity.evaluate(MODEL, each, SPLIT).loss for each in three]
        assert path.loss[[0, 3, 6]].tolist() == pytest.approx(scores, abs=1e-12)
        assert len(set(scores)) == 3

    def test_faults(self):
        with pytest.raises(ValueError, match="at least 3, got 2"):
            connectivity.path(MODEL, networks(2), torch.eye(2), {"own": SPLIT})
        with pytest.raises(ValueError, match="3 columns, 2 vertices"):
            connectivity.path(MODEL, networks(2), connectivity.chain_weights(POSITIONS), {"own": SPLIT})


class TestVolume:
    @given(st.integers(1, 6), st.floats(0.1, 9.0))
    def test_a_regular_simplex(self, dimensions, side):
        """The volume of a regular simplex is known; its corners are unit vectors."""
        corners = torch.eye(dimensions + 1, dtype=torch.float64) * side / math.sqrt(2)
        expected = (
            math.sqrt(dimensions + 1) / (math.factorial(dimensions) * math.sqrt(2**dimensions)) * side**dimensions
        )
        assert float(connectivity.log_volume(corners)) == pytest.approx(math.log(expected), abs=1e-9)

    @given(st.integers(2, 5))
    def test_it_is_that_of_the_face_by_the_height(self, corners):
        simplex = points(corners + 1, 9, corners)
        face = float(connectivity.log_volume(simplex[:-1]))
        expected = face + math.log(connectivity.height(simplex) / corners)
        assert float(connectivity.log_volume(simplex)) == pytest.approx(expected, abs=1e-10)

    def test_it_knows_neither_place_nor_turn_nor_order(self):
        simplex = points(4, 5)
        turn = torch.linalg.qr(points(5, 5, 1)).Q
        moved = (simplex @ turn + 3.0)[[2, 0, 3, 1]]
        assert float(connectivity.log_volume(moved)) == pytest.approx(
            float(connectivity.log_volume(simplex)), abs=1e-12
        )

    def test_sets_stay_apart_and_flat_ones_have_none(self):
        flat = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
        both = torch.stack([flat, points(3, 3)])
        volumes = connectivity.log_volume(both)
        assert volumes[0] == -math.inf
        assert volumes[1] == pytest.approx(float(connectivity.log_volume(both[1])))

    def test_a_point_has_the_volume_one(self):
        assert float(connectivity.log_volume(points(1, 4))) == 0.0

    def test_the_height_of_two_corners_is_their_distance(self):
        pair = points(2, 4)
        assert connectivity.height(pair) == pytest.approx(float((pair[0] - pair[1]).norm()))
        with pytest.raises(ValueError, match="two corners"):
            connectivity.height(pair[:1])


class TestTurnedAway:
    @given(st.integers(1, 5), st.integers(0, 3))
    def test_the_simplex_keeps_its_shape(self, others, seed):
        simplex = points(others + 1, 8, seed)
        turned = connectivity.turned_away(simplex, generator=rng.stream(seed, "turned"))
        twin = torch.cat([simplex[:-1], turned[None]])
        assert torch.allclose(torch.cdist(twin, twin), torch.cdist(simplex, simplex), atol=1e-10)
        assert float((turned - simplex[-1]).norm()) > 0.05

    def test_directions_are_uniform(self):
        """In two dimensions about a point: every angle is as likely."""
        simplex = torch.tensor([[1.0, 2.0], [4.0, 2.0]], dtype=torch.float64)
        generator = rng.stream(0, "uniform directions")
        turned = torch.stack([connectivity.turned_away(simplex, generator=generator) for _ in range(400)]) - simplex[0]
        angles = torch.atan2(turned[:, 1], turned[:, 0]).numpy()
        assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01

    def test_there_must_be_room(self):
        with pytest.raises(ValueError, match="no other direction in 2"):
            connectivity.turned_away(points(3, 2), generator=rng.stream(0, "room"))


class TestUniform:
    @pytest.mark.parametrize("corners", [2, 4])
    def test_each_weight_is_beta_and_all_sum_to_one(self, corners):
        weights = connectivity.uniform_weights(2000, corners, generator=rng.stream(1, "uniform"))
        assert torch.allclose(weights.sum(1), torch.ones(2000, dtype=torch.float64), atol=1e-14)
        assert (weights >= 0).all()
        for column in weights.T:
            assert stats.kstest(column.numpy(), stats.beta(1, corners - 1).cdf).pvalue > 0.001

    def test_there_is_a_corner(self):
        with pytest.raises(ValueError, match="at least one corner"):
            connectivity.uniform_weights(3, 0, generator=rng.stream(1, "uniform"))


class TestPlane:
    def test_the_networks_are_at_their_places(self):
        """On a grid that passes through them: the loss there is theirs, and distances on the map those of weights."""
        three = networks(3)
        plane = connectivity.plane(MODEL, three, {"own": SPLIT}, points=2, margin=0.0)["own"]
        assert torch.allclose(torch.cdist(plane.places, plane.places), distances(three), atol=1e-9)
        assert plane.places[0].tolist() == [0.0, 0.0]
        assert plane.places[1, 1] == 0.0 < plane.places[2, 1]
        losses = [connectivity.evaluate(MODEL, each, SPLIT).loss for each in three]
        assert plane.loss[0].tolist() == pytest.approx(losses[:2], abs=1e-9)

    def test_points_are_mixtures_of_the_networks(self):
        three = networks(3)
        plane = connectivity.plane(MODEL, three, {"own": SPLIT}, points=4)["own"]
        matrix = torch.cat([plane.places.T, torch.ones(1, 3, dtype=torch.float64)])
        for row, column in ((0, 3), (2, 1)):
            at = torch.stack([plane.x[column], plane.y[row], torch.ones((), dtype=torch.float64)])
            mixed = state.combine(three, torch.linalg.solve(matrix, at).tolist())
            expected = connectivity.evaluate(MODEL, mixed, SPLIT)
            assert float(plane.loss[row, column]) == pytest.approx(expected.loss, abs=1e-8)
            assert float(plane.error[row, column]) == expected.error

    def test_faults(self):
        one, two = networks(2)
        with pytest.raises(ValueError, match="three networks, got 2"):
            connectivity.plane(MODEL, [one, two], {"own": SPLIT})
        with pytest.raises(ValueError, match="on a line"):
            connectivity.plane(MODEL, [one, two, state.interpolate(one, two, 0.3)], {"own": SPLIT})
        with pytest.raises(ValueError, match="at least 2, got 1"):
            connectivity.plane(MODEL, networks(3), {"own": SPLIT}, points=1)


def distances(states):
    flat = state.flattened(states)
    return torch.cdist(flat, flat)


class TestManyAtOnce:
    def test_logits_are_those_of_each_by_itself(self):
        states = networks(3)
        found = connectivity.predict_points(MODEL, state.flattened(states), states[0], SPLIT.inputs)
        for logits, each in zip(found, states, strict=True):
            assert torch.allclose(logits, connectivity.predict(MODEL, each, SPLIT.inputs), atol=1e-12)

    def test_statistics_are_refused(self):
        model = models.mlp(64, 10, widths=[4], norm="batch").double()
        like = models.initialise(model, generator=rng.stream(0, "statistics"))
        with pytest.raises(ValueError, match="BatchNorm"):
            connectivity.predict_points(model, state.flattened([like]), like, SPLIT.inputs)


class TestTrainVertices:
    def test_a_piece_without_fixed_weight_is_a_plain_training(self):
        """Where every point is the vertex itself, it is SGD on the loss, with batches of its seed."""
        first, second = networks(2)
        flat = state.flattened([first, second])

        def draw(_):
            return torch.tensor([[0.0, 1.0]], dtype=torch.float64)

        found = connecting.train_vertices(
            MODEL, flat, flat.flip(0)[:, None, None], first, SPLIT, TRAIN, draw=draw, seeds=[4, 5]
        )
        for seed, start, vertex in zip((4, 5), (first, second), found, strict=True):
            alone = training.train(MODEL, start, SPLIT, TRAIN, seed=seed).final
            assert float((vertex - state.flattened([alone])[0]).norm()) < 1e-5
            assert state.distance(start, alone) > 0.1

    def test_one_update_is_minus_the_gradient(self):
        """Of the mean loss at points of two pieces less the log volume of both, by autograd on whole simplices."""
        three = state.flattened(networks(4))
        like = networks(1)[0]
        fixed = torch.stack([three[:2], three[[2, 1]]])[None]
        weights = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.5, 0.4]], dtype=torch.float64)
        once = dataclasses.replace(TRAIN, steps=1, batch_size=48, lr=0.5, schedule="constant", grid_bits=40)
        found = connecting.train_vertices(
            MODEL, three[3:], fixed, like, SPLIT, once, draw=lambda _: weights, seeds=[2], volume=0.7
        )
        vertex = three[3].clone().requires_grad_()
        corners = [torch.cat([each, vertex[None]]) for each in fixed[0]]
        losses = [
            F.cross_entropy(state.apply(MODEL, state.shaped(row @ each, like), SPLIT.inputs.double()), SPLIT.labels)
            for row, each in zip(weights, corners, strict=True)
        ]
        volume = sum(connectivity.log_volume(each).exp() for each in corners)
        (sum(losses) / 2 - 0.7 * volume.log()).backward()
        assert torch.allclose(found[0], three[3] - 0.5 * vertex.grad, atol=1e-9)

    def test_faults(self):
        flat, like = state.flattened(networks(2)), networks(1)[0]
        batch = models.mlp(64, 10, widths=[4], norm="batch").double()

        def train(model=MODEL, seeds=(1,), columns=2):
            connecting.train_vertices(
                model, flat[:1], flat[1:, None, None], like, SPLIT, TRAIN, seeds=seeds,
                draw=lambda _: torch.ones(1, columns, dtype=torch.float64),
            )  # fmt: skip

        with pytest.raises(ValueError, match="1 sets, 2 seeds"):
            train(seeds=(1, 2))
        with pytest.raises(ValueError, match="statistics"):
            train(model=batch)
        with pytest.raises(ValueError, match="2 weights"):
            train(columns=3)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    return obtain(Store(tmp_path_factory.mktemp("volumes")), SPEC).values


class TestSpec:
    def test_what_it_stores(self, values):
        sets = values["sets"]
        assert sets["curves"].keys() == set(CURVES)
        assert np.shape(sets["curves"]["chain"]["test"]["loss"]) == (3, 3)
        assert sets["vertices"].keys() == {"0.1", "0"}
        assert np.shape(sets["vertices"]["0.1"]["twins"]) == (3, 2, 2)
        assert np.shape(values["planes"]["aligned"]["error"]) == (5, 5)

    def test_curves_have_the_same_ends(self, values):
        for split in ("train", "test"):
            ends = [np.array(values["sets"]["curves"][how][split]["loss"])[:, [0, -1]] for how in CURVES]
            assert all(np.allclose(each, ends[0], rtol=1e-4) for each in ends)

    def test_the_volume_term_makes_room(self, values):
        with_term, without = (np.array(values["sets"]["vertices"][each]["height"]) for each in ("0.1", "0"))
        assert (with_term[:, 1] > without[:, 1]).all()

    def test_the_control_is_a_chain_by_another_network(self, values):
        """Its middle is a network trained for itself, so it scores as the modes do, within what few examples allow."""
        middle = np.array(values["sets"]["curves"]["own"]["train"]["loss"])[:, 1]
        assert np.abs(middle - np.array(values["sets"]["modes"]["modes"]["train loss"])).max() < 0.5

    def test_a_twin_is_one_point_and_all_simplices_keep_their_volume(self):
        """What it has in the plane through modes and vertices stays; the rest is turned."""
        modes, found = points(3, 12), points(3, 12, 1)
        twin, other = (twin_of_last(modes, found, generator=rng.stream(0, "twin", number)) for number in (0, 1))
        assert float((twin - found[-1]).norm()) > 0.1
        assert float((twin - other).norm()) > 0.1
        turned = torch.cat([found[:-1], twin[None]])
        for mode in modes:
            before, after = (torch.cat([mode[None], each]) for each in (found, turned))
            assert torch.allclose(connectivity.log_volume(after), connectivity.log_volume(before), atol=1e-10)
        edges = torch.cat([modes, found[:-1]])[1:] - modes[0]
        assert torch.allclose(edges @ (twin - modes[0]), edges @ (found[-1] - modes[0]), atol=1e-10)

    def test_a_training_that_diverges_is_a_result(self, tmp_path):
        wild = dataclasses.replace(TRAIN, lr=1e200)
        spec = dataclasses.replace(SPEC, run=dataclasses.replace(RUN, train=wild), sets=1)
        assert obtain(Store(tmp_path), spec).values["diverged"] is True

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bend": dataclasses.replace(TRAIN, precision="float32")}, "portable"),
            ({"ensemble": 3}, "1 to the number of vertices, 2, not 3"),
            ({"strengths": ()}, "no strength"),
        ],
    )
    def test_faults(self, options, message):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(SPEC, **options)


def planted(own, twins):
    """Two lots of one set each, whose modes have the loss 1 and whose triangle has 3."""

    def lot(own, twins):
        scores = {"modes": {"test loss": [1.0]}, "raw": {"test loss": [3.0]}}
        return Record({"sets": {"modes": scores, "vertices": {"0.1": {"test loss": [own], "twins": [twins]}}}})

    return Volumes(tuple(map(lot, own, twins)), (0.1,), 2)


class TestDimension:
    def test_excess_is_by_that_of_the_triangle(self):
        found = planted([[1.0, 2.0], [3.0, 1.5]], [[[0.0], [0.0]]] * 2)
        assert found.excess(found.vertices(0.1, "test loss")).tolist() == [[0.0, 0.5], [1.0, 0.25]]

    def test_vertices_count_until_the_first_that_is_not_found(self):
        low, high = [1.0, 1.0], [1.5, 1.5]
        found = planted(
            [[1.1, 1.1, 1.1, 1.1], [1.1, 1.1, 1.3, 1.1]],  # the third of the second set is too high
            [[low, high, high, [1.0, 1.5]], [high] * 4],  # a twin of the fourth of the first set is low
        )
        assert found.dimensions(0.1).tolist() == [3.0, 2.0]

    def test_the_first_has_to_join(self):
        found = planted([[1.4, 1.0], [1.0, 1.0]], [[[1.5], [1.5]]] * 2)
        assert found.dimensions(0.1).tolist() == [0.0, 2.0]

    def test_in_the_control_a_twin_is_held_against_the_others(self):
        found = planted([[1.0, 1.0], [1.0, 1.0]], [[[1.5, 1.5], [1.5, 1.5]], [[1.5, 1.5], [1.1, 1.5]]])
        assert found.dimensions(0.1, twin=True).tolist() == [1.0, 2.0]

    def test_a_vertex_that_is_a_twin_is_found_as_rarely_as_chance_says(self):
        """Of five exchangeable heights the first is the lowest one in five times, however the threshold lies."""
        heights = 1.0 + rng.numpy_stream(0, "chance").exponential(0.5, (400, 5))
        found = planted([[1.0, each[0]] for each in heights], [[[1.0] * 4, list(each[1:])] for each in heights])
        assert (found.dimensions(0.1) == 2).mean() < 0.2
