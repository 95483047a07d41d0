"""Networks as paths: what a sequence of points, one a layer, says about the way from the inputs to a target."""

__all__ = ["apart", "gain", "layer_angles", "nearer", "steps", "straightness", "to_targets", "turning_angles"]

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib.similarity.metrics import Metric, angular_cka
from lmc_lib.similarity.spaces import Space


def to_targets(
    metric: Metric, layers: Sequence[Tensor], targets: Sequence[Tensor]
) -> list[Float[ndarray, " {len(layers)}"]]:
    """The distances of all layers to each of some targets.

    Args:
        metric: the metric.
        layers: representations of the same examples.
        targets: representations of them too, such as the labels as one-hot rows.
    """
    points, ends = ([metric.point(each) for each in every] for every in (layers, targets))
    return [np.array([float(metric.space.distance(point, end)) for point in points]) for end in ends]


def layer_angles(
    first: Sequence[Tensor], second: Sequence[Tensor], *, flavour: str = "gretton"
) -> Float[ndarray, " {len(first)}"]:
    """The angle between two networks at each layer, in radians; NaN where a layer of one of them is dead.

    A dead layer is the same for all examples, so that it has no direction.

    Args:
        first: representations of some examples, one a layer.
        second: those of the same examples by another network.
        flavour: one of ``FLAVOURS``.
    """
    pairs = list(zip(first, second, strict=True))
    dead = [any(bool((each == each[0]).all()) for each in pair) for pair in pairs]
    return np.array(
        [math.nan if gone else angular_cka(*pair, flavour=flavour) for gone, pair in zip(dead, pairs, strict=True)]
    )


def steps(distances: Float[ndarray, "*paths points points"]) -> Float[ndarray, "*paths steps"]:
    """The distances between points that follow each other; divided by their sum, the share of each in the length.

    Args:
        distances: those between the points of each path, in the order of the layers.

    Raises:
        ValueError: if there are fewer than two points.
    """
    _at_least(2, distances.shape[-1])
    return np.diagonal(distances, offset=1, axis1=-2, axis2=-1)


def straightness(distances: Float[ndarray, "*paths points points"]) -> Float[ndarray, "*paths"]:
    r"""The distance of the ends by the length, :math:`d(x_0, x_L) / \sum_i d(x_i, x_{i+1})`: 1 for a geodesic.

    Args:
        distances: those between the points of each path, in the order of the layers.

    Returns:
        Numbers from 0 to 1; NaN for a path that does not move.

    Raises:
        ValueError: if there are fewer than two points.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(distances[..., 0, -1] / steps(distances).sum(-1))


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
    _at_least(3, len(points))
    return math.pi - torch.stack([space.angle(*points[place : place + 3]) for place in range(len(points) - 2)])


def gain(to_target: Float[ndarray, "*paths points"]) -> Float[ndarray, "*paths"]:
    """How much nearer to the target the last hidden layer is than the first.

    Args:
        to_target: the distances to the target of the inputs, of each hidden layer and of the logits.

    Example:
        >>> float(gain(np.array([1.5, 1.25, 1.5, 0.75, 0.5])))
        0.5
    """
    return np.asarray(to_target[..., 1] - to_target[..., -2])


def nearer(to_target: Float[ndarray, "*paths points"]) -> Float[ndarray, "*paths"]:
    """The share of the steps from a hidden layer to the next that come nearer to the target; takes what ``gain`` takes.

    Example:
        >>> float(nearer(np.array([1.5, 1.25, 1.5, 0.75, 0.5])))
        0.5
    """
    return np.asarray((np.diff(to_target[..., 1:-1]) < 0.0).mean(-1))


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
    _at_least(2, len(first))
    _at_least(2, len(second))
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


def _at_least(least: int, points: int) -> None:
    if points < least:
        raise ValueError(f"a path needs at least {least} points for this, got {points}")
