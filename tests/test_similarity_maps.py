"""Maps of representation space, how far paths are apart, and layers as representations."""

import numpy as np
import pytest
import torch
from hypothesis import given
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


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_paths_are_apart_by_the_farther_mean_of_nearest_points(rows, columns, seed):
    distances = np.random.default_rng(seed).random((rows, columns))
    ways = [
        sum(min(distances[i, j] for j in range(columns)) for i in range(rows)) / rows,
        sum(min(distances[i, j] for i in range(rows)) for j in range(columns)) / columns,
    ]
    assert similarity.apart(distances) == pytest.approx(max(ways), rel=1e-12)
    assert similarity.apart(distances) == similarity.apart(distances.T)


def test_paths_through_the_same_points_are_not_apart():
    points = planted(5, 3, 8)
    distances = squareform(pdist(points))
    assert similarity.apart(distances[:, [3, 1, 0, 2, 4, 4]]) == 0.0
    with pytest.raises(ValueError, match="a row and a column at least"):
        similarity.apart(np.zeros((0, 3)))


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
