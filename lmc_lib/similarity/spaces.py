"""What the geometries of representations have in common, and the two plain ones: a flat space and rotated shapes."""

__all__ = [
    "ROUNDING",
    "Flat",
    "Projection",
    "Shapes",
    "Space",
    "angle_between",
    "check_share",
    "frobenius",
    "nearest_share",
    "sine_ratio",
    "unsettled",
]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

# A mean is found when it moves by less than this share of its size, or after so many steps.
_SETTLED = 1e-10
_STEPS = 1000

# Points nearer to each other than this, relative to their size, are equal but for rounding.
ROUNDING = 1e-12

# Singular values smaller than this, relative to the largest, are zero but for rounding.
_SAME = 1e-10

# A projection is sought by numeric minimisation around the best of so many points of the geodesic.
_POINTS = 33


class Projection(NamedTuple):
    """The point of a geodesic that is nearest to another point.

    Attributes:
        share: where on the geodesic it lies, from 0 at its beginning to 1 at its end.
        distance: how far the other point is from it.
    """

    share: float
    distance: float


@runtime_checkable
class Space(Protocol):
    """Points with a distance and with shortest paths.

    A point is a tensor with two last dimensions (one, in a flat space); dimensions before them are a batch.
    """

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance of two points."""

    def geodesic(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The point of the shortest path from ``first`` that has covered ``share`` of it, from 0 to 1."""

    def tangent(self, first: Tensor, second: Tensor) -> Tensor:
        """The direction at ``first`` of the path to ``second``.

        Its Frobenius norm is the distance, and Frobenius products of tangent vectors at one point give their angles.
        """

    def angle(self, first: Tensor, corner: Tensor, last: Tensor) -> Tensor:
        """The angle at ``corner`` between the paths to two points, in radians; NaN if one of them is at the corner."""

    def project(self, point: Tensor, first: Tensor, last: Tensor) -> Projection:
        """The place of the path from ``first`` to ``last`` that is nearest to a point."""

    def mean(self, points: Sequence[Tensor]) -> Tensor:
        r"""The Fréchet mean, :math:`\arg\min_p \sum_i d(p, x_i)^2`."""


@dataclass(frozen=True)
class Flat:
    """Vectors with the Euclidean distance: geodesics are straight lines."""

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The norm of the difference."""
        return (first - second).square().sum(-1).sqrt()

    def geodesic(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The point of the line.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        check_share(share)
        return (1.0 - share) * first + share * second

    def tangent(self, first: Tensor, second: Tensor) -> Tensor:
        """The difference."""
        return second - first

    def angle(self, first: Tensor, corner: Tensor, last: Tensor) -> Tensor:
        """The angle between the lines to two points, in radians."""
        sides = (first - corner)[..., None], (last - corner)[..., None]
        return angle_between(*sides, corner.square().sum(-1).sqrt())

    def project(self, point: Tensor, first: Tensor, last: Tensor) -> Projection:
        """The foot of the perpendicular, or the nearer end of the segment."""
        line = last - first
        length = float(line @ line)
        share = min(max(float((point - first) @ line) / length, 0.0), 1.0) if length else 0.0
        return Projection(share, float(self.distance(point, self.geodesic(first, last, share))))

    def mean(self, points: Sequence[Tensor]) -> Tensor:
        """The arithmetic mean."""
        return torch.stack(list(points)).mean(0)


@dataclass(frozen=True)
class Shapes:
    r"""Matrices with one row an input, up to a rotation or reflection of their columns.

    Two points :math:`A, B` are brought together by the rotation that maximises :math:`\langle A, BR \rangle`
    (orthogonal Procrustes); narrower ones have columns of zeros added. Then the distance is that of :math:`A` and
    :math:`BR` in the flat space, :math:`d^2 = \lVert A \rVert^2 + \lVert B \rVert^2 - 2 \lVert A^\top B \rVert_*`, or
    on the unit sphere, :math:`d = \arccos \lVert A^\top B \rVert_*`; geodesics are lines or great circles from
    :math:`A` to :math:`BR`.

    Attributes:
        angular: whether points have norm 1, and distances are angles.
    """

    angular: bool

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance after the best rotation; from the difference, so that small ones keep their digits."""
        first, second = _aligned(first, second)
        return self._length(frobenius(first - second))

    def geodesic(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The point of the line or great circle to the rotated second point.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        check_share(share)
        return self._between(*_aligned(first, second), share)

    def tangent(self, first: Tensor, second: Tensor) -> Tensor:
        """The difference to the rotated second point; on the sphere without its part along the first."""
        first, second = _aligned(first, second)
        if not self.angular:
            return second - first
        angle = self._length(frobenius(first - second))[..., None, None]
        across = second - (first * second).sum(dim=(-2, -1), keepdim=True) * first
        return across / torch.sinc(angle / math.pi)

    def angle(self, first: Tensor, corner: Tensor, last: Tensor) -> Tensor:
        """The angle between the paths to two points, both rotated to the corner, in radians.

        NaN also where a point has more dimensions than the corner sees of it: then many rotations are best, and as many
        paths are shortest.
        """
        first, corner, last = _padded(first, corner, last)
        angle = angle_between(self.tangent(corner, first), self.tangent(corner, last), frobenius(corner))
        return torch.where(_seen_whole(corner, first) & _seen_whole(corner, last), angle, torch.nan)

    def project(self, point: Tensor, first: Tensor, last: Tensor) -> Projection:
        """The nearest point, by numeric minimisation: the best rotation differs from place to place."""
        first, last = _aligned(first, last)
        return nearest_share(lambda share: float(self.distance(point, self._between(first, last, share))))

    def mean(self, points: Sequence[Tensor]) -> Tensor:
        """The generalised Procrustes mean: rotate all points to it, average, and again until nothing moves.

        It starts at the first of the points with the most dimensions, to which all others have one best rotation; where
        points are far apart, another start may find another local minimum.

        Raises:
            ValueError: if it does not settle.
        """
        points = _padded(*points)
        mean, moves = max(points, key=lambda point: int(_rank(point))), math.inf
        for _ in range(_STEPS):
            step = torch.stack([self.tangent(mean, point) for point in points]).mean(0)
            moves = float(frobenius(step) / frobenius(mean))
            mean = self._moved(mean, step)
            if moves < _SETTLED:
                return mean
        raise unsettled(moves, _STEPS)

    def _between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The point of the geodesic between two points that are rotated to each other."""
        if not self.angular:
            return (1.0 - share) * first + share * second
        angle = self._length(frobenius(first - second))[..., None, None]
        both = sine_ratio(1.0 - share, angle) * first + sine_ratio(share, angle) * second
        return both / frobenius(both)[..., None, None]

    def _moved(self, point: Tensor, step: Tensor) -> Tensor:
        if not self.angular:
            return point + step
        size = frobenius(step)
        moved = torch.cos(size) * point + torch.sinc(size / math.pi) * step
        return moved / frobenius(moved)

    def _length(self, chord: Tensor) -> Tensor:
        return 2.0 * torch.asin((chord / 2.0).clamp(max=1.0)) if self.angular else chord


def frobenius(matrix: Tensor) -> Tensor:
    """The root of the sum of squares over the last two dimensions."""
    return matrix.square().sum(dim=(-2, -1)).sqrt()


def check_share(share: float) -> None:
    """Refuses a place that is not on the path between two points.

    Raises:
        ValueError: if the share is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a place on a geodesic is a share of it between 0 and 1, got {share}")


def unsettled(moves: float, steps: int) -> ValueError:
    """The error of a mean that was not found."""
    return ValueError(f"the mean still moves by {moves:.1g} after {steps} steps: the points are too far apart")


def angle_between(first: Tensor, second: Tensor, size: Tensor) -> Tensor:
    r"""The angle between two tangent vectors, from 0 to :math:`\pi`; NaN where one of them is but rounding.

    From the difference and the sum of the unit vectors, since an arc cosine near 1 loses half of its digits.

    Args:
        first: a tangent vector.
        second: another at the same point.
        size: how large numbers are whose rounding is in the vectors.
    """
    lengths = [frobenius(each) for each in (first, second)]
    first, second = (each / long[..., None, None] for each, long in zip((first, second), lengths, strict=True))
    angle = 2.0 * torch.atan2(frobenius(first - second), frobenius(first + second))
    return torch.where(torch.minimum(*lengths) <= ROUNDING * size, torch.nan, angle)


def nearest_share(distance: Callable[[float], float]) -> Projection:
    """Where a distance from a path is smallest: the best of evenly spaced places, refined between its neighbours."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 -- slow to load, and used here alone

    places = [step / (_POINTS - 1) for step in range(_POINTS)]
    values = [distance(place) for place in places]
    best = min(range(_POINTS), key=values.__getitem__)
    around = (places[max(best - 1, 0)], places[min(best + 1, _POINTS - 1)])
    found = minimize_scalar(distance, bounds=around, method="bounded", options={"xatol": 1e-10})
    return min(
        (Projection(places[best], values[best]), Projection(float(found.x), float(found.fun))),
        key=lambda each: each.distance,
    )


def sine_ratio(share: float, angle: Tensor) -> Tensor:
    """sin(share · angle) / sin(angle), which is smooth at 0: the weight of an end of a great circle."""
    return share * torch.sinc(share * angle / math.pi) / torch.sinc(angle / math.pi)


def _rank(matrix: Tensor) -> Tensor:
    found: Tensor = torch.linalg.matrix_rank(matrix, rtol=_SAME)
    return found


def _seen_whole(corner: Tensor, other: Tensor) -> Tensor:
    """Whether one rotation alone brings another point nearest to a corner."""
    whole: Tensor = _rank(other.mT @ corner) == _rank(other)
    return whole


def _padded(*points: Tensor) -> tuple[Tensor, ...]:
    width = max(point.shape[-1] for point in points)
    return tuple(F.pad(point, (0, width - point.shape[-1])) for point in points)


def _aligned(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both points with equally many columns, the second rotated to the first."""
    first, second = _padded(first, second)
    left, _, right = torch.linalg.svd(second.mT @ first, full_matrices=False)
    return first, second @ (left @ right)
