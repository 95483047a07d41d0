"""Maps of representation space, how far paths are apart, and layers as representations."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from lmc_lib import rng, similarity
from lmc_lib.similarity import METRICS


def planted(count, dimensions, seed):
    return np.random.default_rng(seed).normal(size=(count, dimensions)) * np.arange(1, dimensions + 1)


@given(st.integers(4, 9), st.integers(0, 10**6))
def test_points_of_a_plane_are_found_again(count, seed):
    points = planted(count, 2, seed)
    found = similarity.embed(squareform(pdist(points)))
    # SMACOF ends when the stress changes by less than 1e-6 of its size; it begins at the classical, exact, solution.
    assert found.stress < 1e-6
    assert similarity.mismatch(points, found.points) < 1e-9


def test_stress_is_that_of_kruskal():
    # Corners of a simplex are equally far from each other, which no plane allows.
    distances = squareform(pdist(np.diag([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])))
    found = similarity.embed(distances)
    on_map = squareform(pdist(found.points))
    assert found.stress == pytest.approx(np.sqrt(((distances - on_map) ** 2).sum() / (on_map**2).sum()), rel=1e-3)
    assert found.stress > 0.05
    assert similarity.embed(distances, 3).stress < found.stress


def test_a_map_is_no_worse_than_the_two_main_components():
    points = planted(9, 5, 4)
    distances = pdist(points)
    left, sizes, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    projected = pdist((left * sizes)[:, :2])
    errors = [
        np.square(distances - each).sum() for each in (pdist(similarity.embed(squareform(distances)).points), projected)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.5, 3.0, 0.0]]), "symmetric matrix"),
        (np.full((4, 4), np.nan), "finite numbers"),
        (np.zeros((2, 2)), "more than 2 points, got 2"),
    ],
)
def test_what_is_no_matrix_of_distances_is_refused(distances, message):
    with pytest.raises(ValueError, match=message):
        similarity.embed(distances)


@given(st.integers(0, 10**6))
def test_maps_are_the_same_up_to_shift_turn_reflection_and_scale(seed):
    points = planted(6, 2, seed)
    turn = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(2, 2)))[0]
    assert similarity.mismatch(points, 0.3 * points @ turn + [5.0, -2.0]) < 1e-9
    other = points[[1, 0, 2, 3, 4, 5]]
    assert 0.0 < similarity.mismatch(points, other) <= 1.0


def test_mismatch_is_one_less_the_squared_correlation_on_a_line():
    first, second = np.array([[0.0], [1.0], [5.0], [2.0]]), np.array([[1.0], [0.0], [4.0], [4.5]])
    expected = 1.0 - np.corrcoef(first[:, 0], second[:, 0])[0, 1] ** 2
    assert similarity.mismatch(first, second) == pytest.approx(expected, rel=1e-12)


def on_sphere(count, seed):
    points = np.abs(np.random.default_rng(seed).normal(size=(count, 4)))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def angles(points):
    return np.arccos(np.clip(points @ points.T, -1.0, 1.0))


def nearest_by_trying(points, path):
    """The mean distance of points to a path, whose geodesics are walked in small steps."""
    places = [path[0]]
    for begin, end in itertools.pairwise(path):
        for share in np.linspace(0.0, 1.0, 400)[1:]:
            place = (1.0 - share) * begin + share * end  # on the chord below the geodesic, in the same order
            places.append(place / np.linalg.norm(place))
    return np.arccos(np.clip(points @ np.array(places).T, -1.0, 1.0)).min(1).mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 10**6))
def test_paths_are_apart_by_the_way_to_the_nearest_place(count, others, seed):
    points = on_sphere(count + others, seed)
    first, second = range(count), range(count, count + others)
    ways = nearest_by_trying(points[:count], points[count:]), nearest_by_trying(points[count:], points[:count])
    found = similarity.apart(angles(points), first, second)
    # The nearest of 400 places of a geodesic of at most a right angle is at most 0.002 beside the true one; an arc
    # cosine near 1 is known to 1e-8.
    assert found == pytest.approx(max(ways), abs=2e-3)
    assert found <= max(ways) + 1e-7
    assert found == similarity.apart(angles(points), second, first)


def test_feet_are_those_of_the_space():
    representations = [torch.randn(9, 5, generator=rng.stream(each), dtype=torch.float64) for each in range(5)]
    chosen = similarity.metric("cka-linear-lange")
    distances = similarity.distances(chosen, representations).numpy()
    points = [chosen.point(each) for each in representations]
    space = chosen.geometry()

    def way(rows, path):
        return np.mean([
            min(space.project(points[row], points[i], points[j]).distance for i, j in itertools.pairwise(path))
            for row in rows
        ])  # fmt: skip

    expected = max(way([0, 1, 2], [3, 4]), way([3, 4], [0, 1, 2]))
    assert similarity.apart(distances, [0, 1, 2], [3, 4]) == pytest.approx(expected, abs=1e-7)


def test_where_a_path_is_sampled_makes_no_difference_on_a_geodesic():
    turns = np.array([0.0, 0.2, 0.5, 1.1, 1.4])
    points = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    assert similarity.apart(angles(points), [0, 1, 4], [0, 2, 3, 4]) == pytest.approx(0.0, abs=1e-7)
    # Beyond its ends there is no path.
    assert similarity.apart(angles(points), [1, 2], [0, 1, 4]) == pytest.approx((0.2 + 0.0 + 0.9) / 3, abs=1e-7)


def test_a_point_that_stands_twice_makes_no_difference():
    points = on_sphere(5, 3)
    distances = angles(points[[0, 1, 1, 2, 3, 4]])
    np.fill_diagonal(distances, 0.0)
    distances[1, 2] = distances[2, 1] = 0.0
    # The points of the first path, with the one that stands twice, are farther in the mean than those of the second.
    expected = nearest_by_trying(points[[0, 1, 1, 2]], points[3:])
    assert expected > nearest_by_trying(points[3:], points[:3])
    assert similarity.apart(distances, [0, 1, 2, 3], [4, 5]) == pytest.approx(expected, abs=2e-3)
    with pytest.raises(ValueError, match="at least 2 points"):
        similarity.apart(distances, [0], [1, 2])


@pytest.mark.parametrize("each", METRICS, ids=lambda each: each.name)
def test_every_metric_finds_the_same_distances_between_compact_representations(each):
    wide, other = (
        torch.randn(9, units, generator=rng.stream(units, "layers"), dtype=torch.float64) for units in (40, 13)
    )
    small = similarity.compact(wide)
    assert small.shape == (9, 9)
    # White representations with more units than examples are all alike, at a distance of rounding.
    assert each.distance(small, other) == pytest.approx(each.distance(wide, other), rel=1e-9, abs=1e-6)


def test_narrow_representations_stay_as_they_are():
    narrow = torch.randn(9, 9, generator=rng.stream(0, "layers"), dtype=torch.float64)
    assert similarity.compact(narrow) is narrow
