"""Networks as paths: what a sequence of points, one a layer, says about the way from the inputs to a target."""

__all__ = ["apart", "length", "progress", "steps", "straightness", "turning_angles"]

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib.similarity.spaces import Space


def steps(space: Space, points: Sequence[Tensor]) -> Float[Tensor, " steps"]:
    """The distances between points that follow each other; divided by their sum, the share of each in the length.

    Args:
        space: the space of a metric.
        points: one for each layer, from the inputs on.

    Raises:
        ValueError: if there are fewer than two points.
    """
    _at_least(2, points)
    return torch.stack([space.distance(*each) for each in _runs(2, points)])


def length(space: Space, points: Sequence[Tensor]) -> float:
    r"""The length of a path, :math:`\sum_i d(x_i, x_{i+1})`.

    Args:
        space: the space of a metric.
        points: one for each layer, from the inputs on.

    Raises:
        ValueError: if there are fewer than two points.
    """
    return float(steps(space, points).sum())


def straightness(space: Space, points: Sequence[Tensor]) -> float:
    r"""The distance of the ends by the length, :math:`d(x_0, x_L) / \sum_i d(x_i, x_{i+1})`: 1 for a geodesic.

    Args:
        space: the space of a metric.
        points: one for each layer, from the inputs on.

    Returns:
        A number from 0 to 1; NaN for a path that does not move.

    Raises:
        ValueError: if there are fewer than two points.
    """
    whole = length(space, points)
    return float(space.distance(points[0], points[-1])) / whole if whole > 0.0 else math.nan


def turning_angles(space: Space, points: Sequence[Tensor]) -> Float[Tensor, " corners"]:
    r"""How far a path turns at each inner point, :math:`\pi` less the angle between its neighbours, in radians.

    Args:
        space: the geometry of a metric (``Metric.geometry``).
        points: one for each layer, from the inputs on.

    Returns:
        From 0 (straight on) to :math:`\pi` (back); NaN at a point that equals one of its neighbours.

    Raises:
        ValueError: if there are fewer than three points.
    """
    _at_least(3, points)
    return math.pi - torch.stack([space.angle(*each) for each in _runs(3, points)])


def progress(space: Space, points: Sequence[Tensor], target: Tensor) -> Float[Tensor, " steps"]:
    r"""How much nearer each step comes to a target, :math:`d(x_i, y) - d(x_{i+1}, y)`.

    Args:
        space: the space of a metric.
        points: one for each layer, from the inputs on.
        target: the point of the target, such as that of the one-hot labels.

    Raises:
        ValueError: if there are fewer than two points.
    """
    _at_least(2, points)
    return -torch.stack([space.distance(point, target) for point in points]).diff()


def apart(distances: Float[ndarray, "points points"], first: Sequence[int], second: Sequence[int]) -> float:
    r"""How far two paths are apart, which may have different numbers of points, where points lie on a sphere.

    A modified Hausdorff distance, :math:`\max(h(x, z), h(z, x))`: :math:`h(x, z)` is how far, in the mean, a point of
    one path is from the nearest place of the other, on the geodesics between the points that follow each other. The
    distances alone say how far that is where they are angles of unit vectors, as for kernel alignment.

    Args:
        distances: the angles between all points, in radians.
        first: the rows of the points of one path, in their order.
        second: those of the other.

    Raises:
        ValueError: if a path has fewer than two points.
    """
    _at_least(2, first)
    _at_least(2, second)
    return float(max(_nearest(distances, first, second).mean(), _nearest(distances, second, first).mean()))


def _nearest(distances: ndarray, points: Sequence[int], path: Sequence[int]) -> Float[ndarray, " points"]:
    """How far each point is from the nearest place of a path; the formulas are those of ``Kernels.project``."""
    ends = distances[np.ix_(points, path)]
    begin, end = ends[:, :-1], ends[:, 1:]
    step = distances[np.array(path[:-1]), np.array(path[1:])]
    along = np.cos(begin)
    with np.errstate(divide="ignore", invalid="ignore"):  # a step of length 0 has no inside
        aside = (np.cos(end) - along * np.cos(step)) / np.sin(step)
        share = np.arctan2(aside, along) / step
    inside = (share >= 0.0) & (share <= 1.0)
    foot = np.arccos(np.clip(np.hypot(along, np.where(inside, aside, 0.0)), 0.0, 1.0))
    return np.asarray(np.where(inside, foot, np.minimum(begin, end)).min(1))


def _at_least(least: int, points: Sequence[object]) -> None:
    if len(points) < least:
        raise ValueError(f"a path needs at least {least} points for this, got {len(points)}")


def _runs(size: int, points: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [points[begin : begin + size] for begin in range(len(points) - size + 1)]
