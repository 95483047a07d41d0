"""Maps past separation: points, ends, gradient flow with degrees, and what is measured of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.stats import kstest
from sklearn.svm import SVC
from torch.autograd import functional

from lmc_lib.experiments.dynamics.margins import MarginSpec, angles, discarding, kept, robustness, shares, turning
from lmc_lib.experiments.found import Record
from lmc_lib.flow import margins
from lmc_lib.store import Store

SEEDS = st.integers(0, 2**32)
DEGREES = st.lists(st.integers(1, 3), min_size=4, max_size=4).map(np.array)

# Two points, one input a block. With a and b the two weights: 2 a + b and 4 a - b are to be at least 1.
TWO = np.array([[2.0, 1.0], [4.0, -1.0]])


def drawn(seed, count=20, sizes=(3, 1), distances=(1.5, 0.4)):
    return margins.balls(count, sizes, distances, generator=np.random.default_rng(seed))


def started(seed, inputs=4):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (2, inputs))


class TestPoints:
    def test_are_even_in_balls_block_by_block(self):
        points = drawn(3, 4000, (3, 2), (1.5, -0.7))
        points[:, [0, 3]] -= [1.5, -0.7]
        for block, size in ((points[:, :3], 3), (points[:, 3:], 2)):
            # The share of a ball within a radius is its power.
            assert kstest(np.linalg.norm(block, axis=1) ** size, "uniform").pvalue > 1e-3
            assert np.abs(block.mean(0)).max() < 0.04
        assert abs(np.corrcoef(points.T)[0, 3]) < 0.06

    @given(SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_are_separable_where_a_map_was_planted_and_not_with_one_mirrored(self, seed):
        points = np.random.default_rng(seed).normal(size=(12, 3))
        points *= np.sign(points @ [1.0, -2.0, 0.5])[:, None]
        assert margins.separable(points)
        assert not margins.separable(np.concatenate([points, -points[:1]]))


class TestEnds:
    def test_are_those_that_can_be_computed_by_hand(self):
        both, first, second = (np.array(each) for each in ([True, True], [True, False], [False, True]))
        assert margins.max_margin(TWO, both) == pytest.approx([0.4, 0.2])
        assert margins.max_margin(TWO, first) == pytest.approx([1 / 3, 1 / 3])
        assert margins.max_margin(TWO, second) == pytest.approx([0.5, 0.0], abs=1e-6)

    @given(SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_the_widest_is_that_of_a_support_vector_machine(self, seed):
        points = drawn(seed)
        found = margins.max_margin(points, np.ones(4, dtype=bool))
        machine = SVC(kernel="linear", C=1e9, tol=1e-10)
        machine.fit(np.concatenate([points, -points]), [1] * len(points) + [-1] * len(points))
        assert float(margins.angle(found, machine.coef_[0])) < 1e-4
        assert (points @ found).min() == pytest.approx(1.0)
        assert float(margins.margin(points, found)) == pytest.approx(1.0 / np.linalg.norm(found))

    @given(SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_the_cheapest_has_multipliers_and_the_widest_pays_more(self, seed):
        """Karush, Kuhn and Tucker: with multipliers on points of output 1, which pull the free weights nowhere."""
        points, paid = drawn(seed), np.array([True, True, True, False])
        found = margins.max_margin(points, paid)
        assert (points @ found).min() > 1.0 - 1e-6
        active = points[points @ found < 1.0 + 1e-6]
        _, left = nnls(active.T, found * paid)
        assert left < 1e-6 * np.linalg.norm(found)
        widest = margins.max_margin(points, paid | True)
        assert np.linalg.norm(found[:3]) <= np.linalg.norm(widest[:3]) + 1e-9

    def test_of_inseparable_points_are_refused(self):
        mirrored = np.concatenate([TWO, -TWO])
        for paid in (np.array([True, True]), np.array([True, False])):
            with pytest.raises(ValueError, match="no map separates the 4 points"):
                margins.max_margin(mirrored, paid)
        with pytest.raises(ValueError, match="no map separates the 4 points"):
            margins.grown(mirrored, started(0, 2), np.array([1, 2]), [10.0])


class TestFlow:
    @given(DEGREES, SEEDS, st.floats(-2.0, 2.0))
    def test_maps_are_quasi_homogeneous(self, degrees, seed, exponent):
        """Of degree 1 they are the plain linear map, whose weight moves as the difference of two parameters."""
        parameters = started(seed)
        scaled = np.exp(exponent / degrees) * parameters
        wanted = np.exp(exponent) * margins.weights(parameters, degrees)
        assert margins.weights(scaled, degrees) == pytest.approx(wanted)

    @given(DEGREES, SEEDS)
    def test_velocity_and_jacobian_are_those_of_automatic_differentiation(self, degrees, seed):
        points = drawn(seed)

        def loss(parameters):
            above, below = parameters.view(2, -1) ** torch.tensor(degrees)
            return torch.exp(-torch.tensor(points) @ (above - below) / 2**0.5).mean().log()

        here = torch.tensor(started(seed).ravel())
        found = margins.velocity(points, started(seed), degrees)
        slope, bends = (-each(loss, here).numpy() for each in (functional.jacobian, functional.hessian))
        assert found.ravel() == pytest.approx(slope)
        assert margins.jacobian(points, started(seed), degrees) == pytest.approx(bends, abs=1e-10)

    @given(DEGREES, SEEDS)
    def test_rows_conserve_what_a_symmetry_of_the_weight_does(self, degrees, seed):
        """With degree D the sum of both powers 2 - D, the product with degree 2: one law of velocities for all."""
        parameters = started(seed)
        moved = parameters ** (1.0 - degrees) * margins.velocity(drawn(seed), parameters, degrees)
        assert moved.sum(0) == pytest.approx(np.zeros(4), abs=1e-12)

    def test_is_followed_by_gradient_descent_with_small_steps(self):
        points, degrees, rate = drawn(5), np.array([1, 1, 2, 3]), 2e-4
        parameters, norm = started(5), 4.0
        found = margins.grown(points, parameters, degrees, [2.0, norm])
        while np.linalg.norm(margins.weights(parameters, degrees)) < norm:
            parameters = parameters + rate * margins.velocity(points, parameters, degrees)
        assert np.linalg.norm(found, axis=1) == pytest.approx([2.0, norm])
        assert float(margins.angle(found[-1], margins.weights(parameters, degrees))) < 20 * rate

    @pytest.mark.parametrize(
        ("degrees", "end"),
        [((1, 1), (2.0, 1.0)), ((1, 2), (1.0, 1.0)), ((1, 3), (1.0, 1.0)), ((2, 1), (1.0, 0.0)), ((3, 1), (1.0, 0.0))],
    )
    def test_ends_where_the_weights_of_the_highest_rate_are_least(self, degrees, end):
        """By hand: see the ends above. What is left falls as one by the norm, but for a logarithm."""
        found = margins.grown(TWO, started(1, 2), np.array(degrees), [100.0, 1000.0, 10000.0])
        left = margins.angle(found, np.array(end))
        assert left[-1] < 0.003
        assert (left[1:] / left[:-1] < 0.3).all()
        other = (1.0, 1.0) if end == (2.0, 1.0) else (2.0, 1.0)
        assert float(margins.angle(found[-1], np.array(other))) > 0.3

    def test_angles_are_exact_where_they_are_small_and_where_they_are_large(self):
        turned = [np.array([np.cos(each), np.sin(each)]) * 7.0 for each in (1e-9, 0.3, 3.1)]
        assert [float(margins.angle(np.array([2.0, 0.0]), each)) for each in turned] == pytest.approx([1e-9, 0.3, 3.1])


BASE = {
    "sizes": (3, 2), "points": 25, "norms": (10.0, 300.0, 900.0), "moved": (0.0, 0.6, 1.0), "seeds": 3, "fresh": 300,
    "first_seed": 9000,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    kinds = {"needed": ((2.0, 0.6), False), "spare": ((2.0, 1.2), True)}
    return {
        (kind, degrees): (spec, Record.read(store, spec))
        for kind, (distances, spare) in kinds.items()
        for degrees in ((1, 1), (1, 3))
        for spec in [MarginSpec(degrees=degrees, distances=distances, spare=spare, **BASE)]
    }


class TestMeasurement:
    def test_points_are_as_asked_for_and_the_same_for_all_degrees(self, found):
        for (kind, _), (spec, _) in found.items():
            points = spec.learnt(9001)
            assert points.shape == (25, 5)
            assert margins.separable(points[:, 3:]) == (kind == "spare")
            assert (points == found[kind, (1, 1)][0].learnt(9001)).all()
            assert (points != spec.learnt(9002)).all()

    def test_data_that_cannot_be_had_are_refused(self):
        spec = MarginSpec(degrees=(1, 2), distances=(2.0, 3.0), spare=False, **BASE)
        with pytest.raises(ValueError, match="none has a narrow block that separates alone: False"):
            spec.learnt(0)

    def test_margins_losses_and_errors_are_those_of_the_maps(self, found):
        for spec, record in found.values():
            points, maps = spec.learnt(9002), record.of("maps")[2]
            assert np.linalg.norm(maps, axis=1) == pytest.approx(1.0)
            for map_, norm, margin, loss in zip(
                maps, spec.norms, record.of("margins")[2], record.of("losses")[2], strict=True
            ):
                assert margin == pytest.approx(min(points @ map_))
                if norm < 100.0:
                    # One decimal is stored.
                    assert loss == pytest.approx(np.log10(np.exp(-norm * points @ map_).mean()), abs=0.0501)
            assert record.of("greatest")[2] == pytest.approx(min(points @ record.of("widest")[2]))
            errors = record.of("errors")
            assert errors.shape == (3, 3, 3)
            assert (np.diff(errors, axis=-1) >= 0.0).all()
            fresh = margins.balls(40000, (3, 2), spec.distances, generator=np.random.default_rng(0))
            for map_, each in zip(maps, errors[2], strict=True):
                wanted = [(fresh @ map_ < moved).mean() for moved in spec.moved]
                # Four standard deviations of a share of 300 points.
                assert each == pytest.approx(wanted, abs=4 * 0.5 / 300**0.5)

    def test_a_higher_degree_of_the_narrow_block_turns_maps_and_costs_margin(self, found):
        (_, plain), (_, steep) = found["needed", (1, 1)], found["needed", (1, 3)]
        assert (angles(plain, "widest")[:, -1] < 0.02).all()
        assert (angles(steep, "cheapest")[:, -1] < 0.02).all()
        assert (angles(steep, "widest")[:, -1] > 0.1).all()
        assert (kept(steep)[:, -1] < kept(plain)[:, -1]).all()
        (_, plain), (_, steep) = found["spare", (1, 1)], found["spare", (1, 3)]
        assert (shares(plain, 3)[:, -1] > 0.5).all()
        assert (shares(steep, 3)[:, -1] < 0.02).all()
        assert robustness(steep, plain, 2)["error"].value > 0.1

    def test_numbers_are_those_of_the_last_norm_and_of_the_slope_before_it(self):
        """Planted angles differ by seed and by norm, and so do shares, margins and errors."""
        tilts = np.array([[0.8, 0.4, 0.1], [0.9, 0.2, 0.2], [0.7, 0.3, 0.075]])
        sides = np.array([0.2, 0.1, 0.3])
        maps = np.stack([np.cos(tilts + sides[:, None]), np.zeros_like(tilts), np.sin(tilts + sides[:, None])], -1)
        ends = np.stack([np.cos(sides), np.zeros(3), np.sin(sides)], -1)
        record = Record({
            "maps": maps.tolist(), "widest": ends.tolist(), "cheapest": np.roll(ends, 1, -1).tolist(),
            "margins": [[0.5, 0.5, 0.4], [0.5, 0.5, 0.3], [0.5, 0.5, 0.1]], "greatest": [0.8, 0.5, 1.0],
            "errors": [[[9.0, 9.0], [0.0, 0.3]], [[9.0, 9.0], [0.1, 0.5]], [[9.0, 9.0], [0.2, 0.1]]],
        })  # fmt: skip
        base = Record({"errors": [[[9.0, 9.0], [0.0, 0.1]], [[9.0, 9.0], [0.0, 0.1]], [[9.0, 9.0], [0.1, 0.1]]]})
        norms = (1.0, 10.0, 40.0)
        assert angles(record, "widest") == pytest.approx(tilts)
        # Angles fall by factors of 4, 1 and 4 while the norm grows by 4: slopes of -1, 0 and -1.
        told = {name: each.value for name, each in turning(record, "widest", norms).items()}
        assert told == pytest.approx({"angle": 0.375 / 3, "slope": -2.0 / 3})
        # The other end is the first one with its inputs passed on by one place.
        away = np.arccos(np.cos(tilts + sides[:, None]) * np.sin(sides)[:, None])
        told = {name: each.value for name, each in turning(record, "cheapest", norms).items()}
        slope = np.log(away[:, 2] / away[:, 1]).mean() / np.log(4.0)
        assert told == pytest.approx({"angle": away[:, 2].mean(), "slope": slope}, abs=5e-3)
        wide = np.abs(np.cos(tilts + sides[:, None]))
        assert shares(record, 1) == pytest.approx(wide)
        told = {name: each.value for name, each in discarding(record, 1, norms).items()}
        slope = np.log(wide[:, 2] / wide[:, 1]).mean() / np.log(4.0)
        assert told == pytest.approx({"share": wide[:, 2].mean(), "share slope": slope}, abs=5e-3)
        for place, worse in ((0, 0.2 / 3), (1, 0.6 / 3)):
            told = {name: each.value for name, each in robustness(record, base, place).items()}
            assert told == pytest.approx({"margin": 1.2 / 3, "error": worse})
