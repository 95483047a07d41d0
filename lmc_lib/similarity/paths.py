"""Networks as paths: what a sequence of points, one a layer, says about the way from the inputs to a target."""

__all__ = ["apart", "length", "progress", "steps", "straightness", "turning_angles"]

import math
from collections.abc import Sequence

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


def apart(distances: Float[ndarray, "first second"]) -> float:
    r"""How far two paths are apart, which may have different numbers of points: their modified Hausdorff distance.

    :math:`\max(\operatorname{mean}_i \min_j d(x_i, y_j), \operatorname{mean}_j \min_i d(x_i, y_j))`: how
    far a point of one path is in the mean from the nearest point of the other. The order of points does not count.

    Args:
        distances: those from each point of the first path to each of the second.

    Raises:
        ValueError: if a path has no points.

    Example:
        >>> import numpy as np
        >>> apart(np.array([[0.0, 3.0], [1.0, 4.0], [2.0, 2.0]]))
        1.5
    """
    if distances.ndim != 2 or not distances.size:
        raise ValueError(
            f"two paths have a matrix of distances with a row and a column at least, got {distances.shape}"
        )
    return float(max(distances.min(1).mean(), distances.min(0).mean()))


def _at_least(least: int, points: Sequence[Tensor]) -> None:
    if len(points) < least:
        raise ValueError(f"a path needs at least {least} points for this, got {len(points)}")


def _runs(size: int, points: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [points[begin : begin + size] for begin in range(len(points) - size + 1)]
