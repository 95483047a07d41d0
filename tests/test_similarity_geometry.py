"""Metrics on representations: what they leave alone, the axioms, closed forms against other libraries, and geometry."""

import dataclasses
import itertools
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from ckatorch.utils import center_gram_matrix
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import pdist, squareform

from lmc_lib import rng, similarity
from lmc_lib.similarity import METRICS, Definite, Flat, Kernels, Shapes, kernels, metric

METHODS = Path(__file__).parents[1] / "book" / "methods.md"
GEODESIC = tuple(each for each in METRICS if each.geodesics)
SEEDS = st.integers(0, 2**40)


def draw(*shape, seed=0, name="x"):
    return torch.randn(*shape, generator=rng.stream(seed, "geometry", name), dtype=torch.float64)


def by_name(metrics):
    return {"argvalues": metrics, "ids": [each.name for each in metrics]}


def changed(representation, invariance):
    """A representation after a generic change of one kind."""
    units = representation.shape[1]
    match invariance:
        case "permutation":
            return representation.roll(1, 1)
        case "orthogonal":
            return representation @ torch.linalg.qr(draw(units, units, name="rotation")).Q
        case "scaling":
            return 3.0 * representation
        case "linear":
            return representation @ (draw(units, units, name="linear") + 2.0 * torch.eye(units))
        case "translation":
            return representation + draw(units, name="shift")


def names(cell, name):
    """Whether a cell of the table, in which dots stand for any part of a name, means a metric."""
    patterns = re.findall(r"`(.+?)`", cell)
    return any(re.fullmatch(each.replace("-…", "-[a-z]+").replace(".5", r"\.5"), name) for each in patterns)


class TestInvariances:
    @pytest.mark.parametrize("invariance", similarity.INVARIANCES)
    @pytest.mark.parametrize("each", **by_name(METRICS))
    def test_hold_where_declared_and_fail_where_not(self, each, invariance):
        x, y = draw(12, 4), draw(12, 5, name="y")
        other = changed(x, invariance)
        itself, moved = each.distance(x, other), abs(each.distance(other, y) - each.distance(x, y))
        if invariance in each.invariances:
            assert itself == pytest.approx(0.0, abs=1e-7)
            assert moved == pytest.approx(0.0, abs=1e-9)
        else:
            assert itself > 0.02
            assert moved > 0.001

    @pytest.mark.parametrize("each", **by_name(METRICS))
    def test_stand_on_the_page_of_methods(self, each):
        rows = re.findall(r"^\| (`(?:cka|shape|bures|affine|stress).*) \|$", METHODS.read_text(), re.MULTILINE)
        found = [row for row in rows if names(row.split(" | ")[0], each.name)]
        assert len(found) == 1
        kept = found[0].split(" | ")[-1]
        expected = {"scale": {"scaling"}, "linear maps": {"scaling", "linear"}, "nothing": set()}[kept]
        assert each.invariances - {"permutation", "orthogonal", "translation"} == expected

    def test_names_are_known_and_rows_differ(self):
        assert all(each.invariances <= set(similarity.INVARIANCES) for each in METRICS)
        assert len({each.name for each in METRICS}) == len(METRICS)
        assert all(metric(each.name) is each for each in METRICS)


class TestAxioms:
    @pytest.mark.parametrize("each", **by_name(METRICS))
    def test_hold_on_ten_thousand_triples(self, each):
        x, y = draw(10_000, 6, 2), draw(10_000, 6, 3, name="y")
        z = draw(10_000, 6, 4, name="z")
        z[5000:, :, :3] = y[5000:] + 0.3 * z[5000:, :, :3]  # half of them has two that are near
        x, y, z = (each.embed(some) for some in (x, y, z))
        xy, yz, xz = (each.space.distance(*pair) for pair in ((x, y), (y, z), (x, z)))
        for one, two, three in itertools.permutations((xy, yz, xz)):
            assert bool((one <= two + three + 1e-9).all())
        assert bool((xy > 1e-3).all())
        assert torch.allclose(each.space.distance(y, x), xy, rtol=0.0, atol=1e-9)
        assert bool((each.space.distance(x, x) < 1e-7).all())

    def test_the_triangle_refuses_what_is_no_metric(self):
        # The squares of these distances, which a forgotten root would give.
        x, y, z = (metric("bures").embed(draw(10_000, 6, 3, name=name)) for name in "xyz")
        squares = [Shapes(angular=False).distance(*pair).square() for pair in ((x, y), (y, z), (x, z))]
        assert not bool((squares[2] <= squares[0] + squares[1]).all())

    def test_distances_of_many_are_those_of_pairs_and_embed_each_once(self):
        calls = []
        base = metric("shape-angular-0.5")
        counting = dataclasses.replace(base, embed=lambda each: calls.append(1) or base.embed(each))
        layers = [draw(9, units, name=str(units)) for units in (2, 4, 12)]
        found = similarity.distances(counting, layers)
        assert len(calls) == 3
        assert torch.equal(found, found.T)
        assert torch.equal(found.diagonal(), torch.zeros(3, dtype=torch.float64))
        for row, column in ((0, 1), (0, 2), (1, 2)):
            assert float(found[row, column]) == base.distance(layers[row], layers[column])


def centred_kernel(x, flavour):
    """A centred kernel of norm 1, by matrices of examples."""
    x = x.numpy() - x.numpy().mean(0)
    kernel, m = x @ x.T, len(x)
    if flavour == "song":
        np.fill_diagonal(kernel, 0.0)
        rows, total = kernel.sum(1) / (m - 2), kernel.sum() / ((m - 1) * (m - 2))
        kernel = kernel - rows[:, None] - rows + total
    if flavour != "gretton":
        np.fill_diagonal(kernel, 0.0)
    return kernel / np.linalg.norm(kernel)


class TestAngularCKA:
    @pytest.mark.parametrize("flavour", similarity.FLAVOURS)
    def test_from_features_is_that_from_kernels(self, flavour, monkeypatch):
        x = draw(30, 5)
        y = x @ draw(5, 7, name="mix") + draw(30, 7, name="y")
        expected = math.acos((centred_kernel(x, flavour) * centred_kernel(y, flavour)).sum())

        def refuse(*_):
            raise AssertionError("a kernel of examples was made, where the features are fewer")

        monkeypatch.setattr(Kernels, "_rows", refuse)
        assert similarity.angular_cka(x, y, flavour=flavour) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("flavour", ["gretton", "song"])
    def test_of_gaussian_kernels_is_that_of_plain_matrices_and_the_oracles_centring(self, flavour):
        centred = []
        for x in (draw(15, 3), draw(15, 6, name="y")):
            far = squareform(pdist(x.numpy()))
            kernel = np.exp(-((far / (0.7 * np.median(pdist(x.numpy())))) ** 2) / 2)
            centred.append(center_gram_matrix(torch.from_numpy(kernel), flavour == "song"))
        cosine = (centred[0] * centred[1]).sum() / (centred[0].norm() * centred[1].norm())
        ours = similarity.angular_cka(draw(15, 3), draw(15, 6, name="y"), flavour=flavour, kernel="rbf", bandwidth=0.7)
        assert ours == pytest.approx(math.acos(float(cosine)), abs=1e-9)

    def test_of_one_unit_follows_from_its_correlation(self):
        x, y = draw(9, 1), draw(9, 1, name="y")
        correlation = float(torch.corrcoef(torch.cat([x, y], 1).T)[0, 1])
        assert similarity.angular_cka(x, y) == pytest.approx(math.acos(correlation**2), abs=1e-12)
        assert metric("shape-angular").distance(x, y) == pytest.approx(math.acos(abs(correlation)), abs=1e-12)
        assert metric("bures").distance(x, y) == pytest.approx(math.sqrt(2 - 2 * abs(correlation)), abs=1e-12)

    @pytest.mark.parametrize("flavour", similarity.FLAVOURS)
    @pytest.mark.parametrize("size", [1e3, 1e5, 1e7])
    def test_an_example_far_larger_than_all_others_costs_no_digits(self, flavour, size, monkeypatch):
        x, y = draw(40, 4), draw(40, 5, name="y")
        x[0] *= size
        found = similarity.angular_cka(x, y, flavour=flavour)
        same = similarity.angular_cka(x, changed(x, "orthogonal"), flavour=flavour)
        assert same == pytest.approx(0.0, abs=1e-9)
        monkeypatch.setattr(kernels, "_few_features", lambda factor: False)
        assert found == pytest.approx(similarity.angular_cka(x, y, flavour=flavour), abs=1e-9)


class TestShapes:
    def test_distances_are_what_scipys_rotation_leaves(self):
        x, y = (draw(9, units, name=str(units)) for units in (5, 3))
        a, b = (each - each.mean(0) for each in (x, torch.cat([y, torch.zeros(9, 2)], 1)))
        rotation, size = scipy.linalg.orthogonal_procrustes(b.numpy(), a.numpy())
        left = float((a - b @ torch.from_numpy(rotation)).norm())
        assert metric("shape-euclidean").distance(x, y) == pytest.approx(left, abs=1e-12)
        cosine = size / float(a.norm() * b.norm())
        assert metric("shape-angular").distance(x, y) == pytest.approx(math.acos(cosine), abs=1e-12)

    def test_whitened_angle_follows_from_canonical_correlations(self):
        x, y = draw(30, 4), draw(30, 6, name="y") + 2.0 * draw(30, 4) @ draw(4, 6, name="mix")
        bases = [np.linalg.qr(each.numpy() - each.numpy().mean(0))[0] for each in (x, y)]
        correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
        expected = math.acos(correlations.sum() / math.sqrt(4 * 6))
        assert metric("shape-angular-0").distance(x, y) == pytest.approx(expected, abs=1e-12)
        euclidean = math.sqrt(30 * (4 + 6 - 2 * correlations.sum()))
        assert metric("shape-euclidean-0").distance(x, y) == pytest.approx(euclidean, abs=1e-12)

    def test_partial_whitening_mixes_with_the_root_of_the_covariance(self):
        x = draw(20, 4) @ draw(4, 4, name="mix")
        centred = x.numpy() - x.numpy().mean(0)
        whitener = np.linalg.inv(scipy.linalg.sqrtm(centred.T @ centred / 20))
        expected = torch.from_numpy(centred @ (0.3 * np.eye(4) + 0.7 * whitener))
        point = similarity.shape(0.3, angular=False).point(x)
        assert float(Shapes(angular=False).distance(point, expected)) == pytest.approx(0.0, abs=1e-11)

    def test_dead_and_doubled_units_are_not_whitened(self):
        x, y = draw(20, 3), draw(20, 4, name="y")
        more = torch.cat([x, torch.zeros(20, 1, dtype=torch.float64), x[:, :1]], 1)
        white = metric("shape-angular-0")
        assert white.distance(more, y) == pytest.approx(white.distance(x, y), abs=1e-9)

    def test_points_between_whitened_representations_are_not_white(self):
        for name, white in (("shape-euclidean-0", True), ("shape-euclidean", False)):
            row = metric(name)
            middle = row.space.geodesic(row.point(draw(20, 3)), row.point(draw(20, 3, name="y")), 0.5)
            again = float(row.space.distance(row.point(middle), middle))
            assert (again > 0.5) == white, name
        with pytest.raises(ValueError, match="'shape-euclidean-0' has distances and no geodesics"):
            metric("shape-euclidean-0").geometry()
        assert metric("bures").geometry() == Shapes(angular=False)

    def test_more_units_than_examples_are_no_more_columns_than_examples(self):
        x, y = draw(6, 40), draw(6, 50, name="y")
        row = metric("shape-angular")
        assert row.point(x).shape == (6, 6)
        a, b = (each - each.mean(0) for each in (x, y))
        cosine = torch.linalg.matrix_norm(a.T @ b, "nuc") / (a.norm() * b.norm())
        assert row.distance(x, y) == pytest.approx(math.acos(float(cosine)), abs=1e-12)


class TestBures:
    @staticmethod
    def kernels(size=5):
        return [(draw(size, size + 2, name=name), draw(size, size + 2, name=name).numpy()) for name in "xy"]

    def test_distance_is_that_of_roots_of_kernels(self):
        (x, a), (y, b) = self.kernels()
        first, second = a @ a.T, b @ b.T
        root = scipy.linalg.sqrtm(first)
        expected = np.trace(first) + np.trace(second) - 2 * np.trace(scipy.linalg.sqrtm(root @ second @ root).real)
        assert float(Shapes(angular=False).distance(x, y)) == pytest.approx(math.sqrt(expected), abs=1e-9)

    def test_geodesic_of_kernels_is_transport(self):
        (x, a), (y, b) = self.kernels()
        first, second = a @ a.T, b @ b.T
        root = scipy.linalg.sqrtm(first)
        inverse = np.linalg.inv(root)
        transport = inverse @ scipy.linalg.sqrtm(root @ second @ root).real @ inverse
        between = 0.7 * np.eye(5) + 0.3 * transport
        point = Shapes(angular=False).geodesic(x, y, 0.3)
        assert np.allclose((point @ point.T).numpy(), between @ first @ between, rtol=0.0, atol=1e-9)

    def test_is_the_chord_of_the_angle(self):
        x, y = draw(9, 4), draw(9, 6, name="y")
        angle = metric("shape-angular").distance(x, y)
        assert metric("bures").distance(x, y) == pytest.approx(2.0 * math.sin(angle / 2.0), abs=1e-12)


class TestAffineInvariant:
    def test_distance_and_geodesic_are_those_of_matrix_functions(self):
        row = similarity.affine_invariant(0.5)
        points = [row.point(draw(6, units, name=str(units))) for units in (3, 8)]
        first, second = (each.numpy() for each in points)
        values, vectors = scipy.linalg.eigh(second, first)
        assert float(row.space.distance(*points)) == pytest.approx(np.linalg.norm(np.log(values)), abs=1e-9)
        basis = np.linalg.inv(vectors)
        part = basis.T @ np.diag(values**0.3) @ basis
        assert np.allclose(row.space.geodesic(*points, 0.3).numpy(), part, rtol=0.0, atol=1e-9)
        middle = first @ scipy.linalg.sqrtm(np.linalg.solve(first, second)).real
        assert np.allclose(row.space.geodesic(*points, 0.5).numpy(), middle, rtol=0.0, atol=1e-9)

    def test_of_two_unrelated_units(self):
        x, y = (torch.tensor([each], dtype=torch.float64).T for each in ([1, -1, 0, 0], [0, 0, 2, -2]))
        # Both kernels have one eigenvalue, 4 after the division by the mean one, at right angles to each other.
        expected = math.sqrt(2.0) * math.log((4.0 + 0.25) / 0.25)
        assert similarity.affine_invariant(0.25).distance(x, y) == pytest.approx(expected, abs=1e-12)

    def test_space_is_invariant_to_any_change_of_coordinates(self):
        first, second = (each @ each.T + torch.eye(4) for each in (draw(4, 4), draw(4, 4, name="y")))
        change = draw(4, 4, name="change")
        moved = [change @ each @ change.T for each in (first, second)]
        assert float(Definite().distance(*moved)) == pytest.approx(float(Definite().distance(first, second)), abs=1e-9)

    def test_a_ridge_that_is_lost_in_rounding_is_refused(self):
        x, y = draw(30, 4), draw(30, 6, name="y")
        with pytest.raises(ValueError, match="1e-10 is lost in rounding with 30 examples: take at least 5e-06"):
            similarity.affine_invariant(1e-10).distance(x, y)
        small = similarity.affine_invariant(1e-5)
        assert small.distance(x, x) == pytest.approx(0.0, abs=1e-4)
        assert small.distance(x, y) > similarity.affine_invariant(1e-3).distance(x, y) > 0.0


class TestStress:
    @pytest.mark.parametrize("count", [3, 12, 15])
    def test_the_median_is_that_of_numpy_for_odd_and_even_counts(self, count):
        x, y = draw(count, 3), draw(count, 5, name="y")
        between = [pdist(each.numpy()) for each in (x, y)]
        expected = math.sqrt(np.square(np.subtract(*(each / np.median(each) for each in between))).mean())
        assert metric("stress").distance(x, y) == pytest.approx(expected, abs=1e-12)

    def test_by_hand(self):
        x, y = (torch.tensor([each], dtype=torch.float64).T for each in ([0, 1, 3], [0, 2, 1]))
        # Distances 1, 3, 2 and 2, 1, 1, whose medians are 2 and 1.
        assert metric("stress-unscaled").distance(x, y) == pytest.approx(math.sqrt(6 / 3), abs=1e-12)
        assert metric("stress").distance(x, y) == pytest.approx(math.sqrt((1.5**2 + 0.5**2) / 3), abs=1e-12)

    def test_is_that_of_a_plain_loop(self):
        x, y = draw(7, 3), draw(7, 5, name="y")
        squares = [
            (float((x[i] - x[j]).norm()) - float((y[i] - y[j]).norm())) ** 2
            for i, j in itertools.combinations(range(7), 2)
        ]
        assert metric("stress-unscaled").distance(x, y) == pytest.approx(math.sqrt(sum(squares) / 21), abs=1e-12)


def drawn_points(row, seed, count):
    return [row.point(draw(8, units, seed=seed, name=str(units))) for units in range(3, 3 + count)]


def nearest(space, point, first, last):
    """By a fine grid and Brent's method around its best place."""

    def distance(share):
        return float(space.distance(point, space.geodesic(first, last, share)))

    places = np.linspace(0.0, 1.0, 201)
    best = int(np.argmin([distance(each) for each in places]))
    ends = (places[max(best - 1, 0)], places[min(best + 1, 200)])
    found = minimize_scalar(distance, bounds=ends, method="bounded", options={"xatol": 1e-9})
    return min(((place, distance(place)) for place in (float(found.x), 0.0, 1.0)), key=lambda each: each[1])


class TestGeodesics:
    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @given(seed=SEEDS, share=st.floats(0.0, 1.0), other=st.floats(0.0, 1.0))
    def test_cover_distance_evenly(self, row, seed, share, other):
        a, b = drawn_points(row, seed, 2)
        space, whole = row.geometry(), float(row.space.distance(a, b))
        here, there = space.geodesic(a, b, share), space.geodesic(a, b, other)
        assert float(space.distance(a, here)) == pytest.approx(share * whole, abs=1e-7)
        assert float(space.distance(here, b)) == pytest.approx((1.0 - share) * whole, abs=1e-7)
        assert float(space.distance(here, there)) == pytest.approx(abs(share - other) * whole, abs=1e-7)

    @pytest.mark.parametrize("flavour", similarity.FLAVOURS)
    def test_between_linear_kernels_are_of_representations(self, flavour):
        row = metric(f"cka-linear-{flavour}")
        middle = row.space.geodesic(row.point(draw(9, 2)), row.point(draw(9, 3, name="y")), 0.4)
        assert middle.shape == (9, 5)
        assert float(row.space.distance(row.point(middle), middle)) == pytest.approx(0.0, abs=1e-9)
        wide = row.space.geodesic(middle, row.point(draw(9, 7, name="z")), 0.4)
        assert wide.shape == (9, 9)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_stop_at_their_ends(self, row):
        with pytest.raises(ValueError, match=r"a share of it between 0 and 1, got 1\.5"):
            row.space.geodesic(*drawn_points(row, 0, 2), 1.5)


class TestTangentsAndAngles:
    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @given(seed=SEEDS)
    def test_length_is_distance_and_products_give_angles(self, row, seed):
        a, c, b = drawn_points(row, seed, 3)  # the corner is the widest: no path from it has a twin
        width = max(each.shape[-1] for each in (a, b, c))
        if isinstance(row.space, Shapes):
            a, b, c = (torch.nn.functional.pad(each, (0, width - each.shape[-1])) for each in (a, b, c))
        first, last = row.space.tangent(b, a).flatten(), row.space.tangent(b, c).flatten()
        assert float(first.norm()) == pytest.approx(float(row.space.distance(a, b)), abs=1e-9)
        expected = math.acos(float(first @ last / (first.norm() * last.norm())))
        assert float(row.space.angle(a, b, c)) == pytest.approx(expected, abs=1e-7)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @given(seed=SEEDS, share=st.floats(0.1, 0.9))
    def test_geodesics_do_not_turn(self, row, seed, share):
        c, b, a = drawn_points(row, seed, 3)
        inside = row.space.geodesic(a, b, share)
        assert float(row.space.angle(a, inside, b)) == pytest.approx(math.pi, abs=1e-5)
        assert float(row.space.angle(inside, a, b)) == pytest.approx(0.0, abs=1e-5)
        assert float(row.space.angle(inside, a, c)) == pytest.approx(float(row.space.angle(b, a, c)), abs=1e-5)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @given(seed=SEEDS)
    def test_do_not_depend_on_the_units(self, row, seed):
        x, y, z = (draw(9, units, seed=seed, name=str(units)) for units in (3, 5, 4))
        turned = [changed(each, "orthogonal") for each in (x, y, z)]
        angles = [float(row.space.angle(*map(row.point, each))) for each in ((x, y, z), turned)]
        assert angles[0] == pytest.approx(angles[1], abs=1e-7)

    @pytest.mark.parametrize("name", ["shape-angular", "shape-euclidean", "bures"])
    @pytest.mark.parametrize("corner", ["narrow", "dead units"])
    def test_a_corner_that_sees_less_of_a_shape_than_there_is_has_none(self, name, corner):
        """As many rotations of what it does not see are best, and each is another shortest path."""
        row = metric(name)
        x, y, z = draw(30, 8), draw(30, 3, name="y"), draw(30, 8, name="z")
        y = y if corner == "narrow" else torch.cat([y, torch.zeros(30, 5, dtype=torch.float64)], dim=1)
        a, b, c = map(row.point, (x, y, z))
        assert math.isnan(row.space.angle(a, b, c))
        assert 0.0 < float(row.space.angle(b, a, c)) < math.pi
        assert similarity.turning_angles(row.space, [a, b, c]).isnan().all()

    def test_law_of_cosines(self):
        a, b, c = drawn_points(metric("stress"), 0, 3)
        ab, bc, ca = (float(Flat().distance(*each)) for each in ((a, b), (b, c), (c, a)))
        assert math.cos(Flat().angle(a, b, c)) == pytest.approx((ab**2 + bc**2 - ca**2) / (2 * ab * bc), abs=1e-12)
        row = metric("cka-linear-lange")
        a, b, c = drawn_points(row, 0, 3)
        ab, bc, ca = (float(row.space.distance(*each)) for each in ((a, b), (b, c), (c, a)))
        cosine = (math.cos(ca) - math.cos(ab) * math.cos(bc)) / (math.sin(ab) * math.sin(bc))
        assert math.cos(row.space.angle(a, b, c)) == pytest.approx(cosine, abs=1e-12)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_no_direction_leads_to_the_same_point(self, row):
        x, y = draw(8, 4), draw(8, 3, name="y")
        same, a, b = (row.point(each) for each in (changed(x, "orthogonal"), x, y))
        assert math.isnan(row.space.angle(same, a, b))
        assert math.isnan(row.space.angle(b, a, same))


class TestProjections:
    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @pytest.mark.parametrize("seed", range(3))
    def test_are_those_of_numeric_minimisation(self, row, seed):
        a, b, c = drawn_points(row, seed, 3)
        found = row.space.project(c, a, b)
        place, distance = nearest(row.space, c, a, b)
        assert found.distance == pytest.approx(distance, abs=1e-9)
        assert found.share == pytest.approx(place, abs=1e-4)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @pytest.mark.parametrize("seed", range(3))
    def test_meet_the_geodesic_at_right_angles(self, row, seed):
        c, b, a = drawn_points(row, seed, 3)
        near = row.space.geodesic(row.space.geodesic(a, b, 0.4), c, 0.2)  # so that the foot is not an end
        share, _ = row.space.project(near, a, b)
        assert 0.0 < share < 1.0
        foot = row.space.geodesic(a, b, share)
        assert float(row.space.angle(near, foot, b)) == pytest.approx(math.pi / 2, abs=1e-4)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_of_points_of_the_geodesic_and_beyond_its_ends(self, row):
        a, b = drawn_points(row, 0, 2)
        share, distance = row.space.project(row.space.geodesic(a, b, 0.3), a, b)
        assert (share, distance) == (pytest.approx(0.3, abs=1e-5), pytest.approx(0.0, abs=1e-6))
        inside = row.space.geodesic(a, b, 0.3)
        assert row.space.project(a, inside, b).share == pytest.approx(0.0, abs=1e-8)
        assert row.space.project(b, a, inside).share == pytest.approx(1.0, abs=1e-8)

    def test_where_matrices_commute_the_spaces_are_flat(self):
        sizes = [draw(4, name=name).exp() for name in "abc"]

        def foot(a, b, c):
            share = min(max(float((c - a) @ (b - a) / (b - a).square().sum()), 0.0), 1.0)
            return share, float((c - a - share * (b - a)).norm())

        a, b, c = (each.diag() for each in sizes)
        share, distance = foot(*sizes)
        assert Shapes(angular=False).project(c, a, b) == (pytest.approx(share, abs=1e-6), pytest.approx(distance))
        share, distance = foot(*(each.log() for each in sizes))
        assert Definite().project(c, a, b) == (pytest.approx(share, abs=1e-6), pytest.approx(distance))
        assert 0.0 < share < 1.0


class TestMeans:
    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_of_two_is_the_middle(self, row):
        a, b = drawn_points(row, 0, 2)
        mean = row.space.mean([a, b])
        assert float(row.space.distance(mean, row.space.geodesic(a, b, 0.5))) == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_balances_the_points_and_has_the_least_sum_of_squares(self, row):
        points = drawn_points(row, 1, 4)
        mean = row.space.mean(points)
        tangents = torch.stack([row.space.tangent(mean, each) for each in points])
        assert float(tangents.mean(0).norm()) < 1e-6

        def squares(point):
            return sum(float(row.space.distance(point, each)) ** 2 for each in points)

        assert all(squares(row.space.geodesic(mean, each, 0.05)) > squares(mean) for each in points)

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    @pytest.mark.parametrize("seed", range(5))
    def test_do_not_depend_on_the_units_of_a_narrow_first_point(self, row, seed):
        points = [row.point(draw(12, units, seed=seed, name=str(place))) for place, units in enumerate((3, 6, 6, 6))]
        turned = [row.point(changed(draw(12, 3, seed=seed, name="0"), "orthogonal")), *points[1:]]
        found = [row.space.mean(each) for each in (points, turned)]
        assert float(row.space.distance(*found)) == pytest.approx(0.0, abs=1e-5)

    @pytest.mark.parametrize("name", ["cka-linear-lange", "shape-angular", "shape-euclidean", "affine-invariant-0.1"])
    def test_that_do_not_settle_say_so(self, name, monkeypatch):
        row = metric(name)
        points = drawn_points(row, 1, 4)
        monkeypatch.setattr(sys.modules[type(row.space).__module__], "_STEPS", 1)
        with pytest.raises(ValueError, match=r"the mean still moves by [\d.]+ after 1 steps"):
            row.space.mean(points)

    def test_of_commuting_matrices_is_geometric(self):
        sizes = [draw(4, name=name).exp() for name in "abc"]
        expected = torch.stack(sizes).log().mean(0).exp().diag()
        assert torch.allclose(Definite().mean([each.diag() for each in sizes]), expected, rtol=0.0, atol=1e-9)


def between(space, points):
    return np.array([[float(space.distance(a, b)) for b in points] for a in points])


class TestPaths:
    def test_by_hand(self):
        points = [torch.tensor(each, dtype=torch.float64) for each in ([0, 0], [3, 0], [3, 4], [0, 4])]
        assert similarity.steps(between(Flat(), points)).tolist() == [3.0, 4.0, 3.0]
        assert similarity.straightness(between(Flat(), points)) == 0.4
        assert similarity.turning_angles(Flat(), points).tolist() == pytest.approx([math.pi / 2] * 2)

    def test_many_paths_are_read_at_once(self):
        points = np.array([[[0, 0], [3, 0], [3, 4]], [[1, 1], [1, 2], [1, 9]]])
        distances = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        assert similarity.steps(distances).tolist() == [[3.0, 4.0], [1.0, 7.0]]
        assert similarity.straightness(distances).tolist() == [5 / 7, 1.0]

    @pytest.mark.parametrize("name", ["cka-linear-lange", "stress"])
    def test_layers_are_as_far_from_each_target_as_one_by_one(self, name):
        layers = [draw(9, units, name=f"layer {units}") for units in (2, 5, 4)]
        targets = [draw(9, 3, name=f"target {number}") for number in range(2)]
        found = similarity.to_targets(metric(name), layers, targets)
        expected = [[metric(name).distance(layer, target) for layer in layers] for target in targets]
        assert [each.tolist() for each in found] == [pytest.approx(row, abs=1e-12) for row in expected]

    @pytest.mark.parametrize("row", **by_name(GEODESIC))
    def test_a_geodesic_is_straight_and_a_return_turns_back(self, row):
        a, b = drawn_points(row, 0, 2)
        points = [row.space.geodesic(a, b, share) for share in (0.0, 0.2, 0.7, 1.0)]
        whole = float(row.space.distance(a, b))
        assert similarity.straightness(between(row.space, points)) == pytest.approx(1.0, abs=1e-6)
        assert similarity.turning_angles(row.space, points).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
        shares = (similarity.steps(between(row.space, points)) / whole).tolist()
        assert shares == pytest.approx([0.2, 0.5, 0.3], abs=1e-6)
        assert float(similarity.turning_angles(row.space, [a, b, points[1]])) == pytest.approx(math.pi, abs=1e-5)

    def test_without_a_move_has_no_straightness(self):
        assert math.isnan(similarity.straightness(np.zeros((3, 3))))

    def test_need_points(self):
        points = [torch.zeros(2, dtype=torch.float64)] * 2
        with pytest.raises(ValueError, match="at least 3 points for this, got 2"):
            similarity.turning_angles(Flat(), points)
        for ask in (similarity.steps, similarity.straightness):
            with pytest.raises(ValueError, match="at least 2 points for this, got 1"):
                ask(np.zeros((1, 1)))


def with_nan():
    x = draw(5, 2)
    x[[1, 3], 0] = torch.nan
    return x


class TestBadInput:
    @pytest.mark.parametrize("each", **by_name(METRICS))
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (draw(5, 3, 4, 4), r"representation 1 has the shape \(5, 3, 4, 4\); .* flatten feature maps"),
            (with_nan(), "representation 1 has NaN or infinite numbers in 2 of 5 rows"),
            (draw(5, 2) / 0.0, "representation 1 has NaN or infinite numbers in 5 of 5 rows"),
            (torch.zeros(5, 2), "representation 1 is the same for all examples"),
            (torch.full((5, 2), 0.1, dtype=torch.float64), "representation 1 is the same for all examples"),
            (
                torch.ones(5, 2, dtype=torch.int64),
                "representation 1 has numbers of type int64; expected floating point",
            ),
            (draw(6, 2), "representations 0 and 1 need the same examples, got 5 and 6"),
            (draw(1, 2), "needs at least [24] examples, representation 1 has 1"),
        ],
        ids=["feature map", "NaN", "infinite", "zero", "constant", "integers", "examples", "too few"],
    )
    def test_says_what_is_wrong_and_where(self, each, bad, message):
        with pytest.raises(ValueError, match=message):
            each.distance(draw(5, 3), bad)

    def test_without_a_direction_is_refused(self):
        with pytest.raises(
            ValueError, match="no direction in the flavour 'song': its kernel is the same for all pairs"
        ):
            metric("cka-linear-song").point(torch.eye(6, dtype=torch.float64))
        classes = torch.eye(2, dtype=torch.float64)[[0, 0, 0, 0, 0, 1]]
        for name in ("stress", "cka-rbf-gretton"):
            with pytest.raises(ValueError, match="half of the pairs of examples have distance 0"):
                metric(name).point(classes)

    def test_options_are_checked(self):
        for make, message in (
            (lambda: metric("cca"), "unknown metric 'cca'; there are cka-linear-gretton, "),
            (lambda: similarity.cka("biased"), "unknown flavour 'biased'"),
            (lambda: similarity.cka(kernel="cosine"), "unknown kernel 'cosine'; there are linear, rbf"),
            (
                lambda: similarity.cka(kernel="rbf", bandwidth=0.0),
                r"positive multiple of the median distance, got 0\.0",
            ),
            (lambda: similarity.shape(1.5), r"alpha is between 0 \(white\) and 1 \(no whitening\), got 1\.5"),
            (lambda: similarity.affine_invariant(0.0), r"the ridge is positive, .* got 0\.0"),
        ):
            with pytest.raises(ValueError, match=message):
                make()

    def test_single_precision_is_computed_in_double(self):
        x, y = draw(9, 3).float(), draw(9, 4, name="y").float()
        for each in METRICS:
            assert each.distance(x, y) == each.distance(x.double(), y.double()), each.name
