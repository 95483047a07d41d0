"""What must hold of a metric on given representations, and by how much it does not."""

__all__ = ["changed", "departures", "nearer", "triangle_excess", "uneven"]

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lmc_lib.similarity.metrics import INVARIANCES, Metric, distances
from lmc_lib.similarity.spaces import Space

# Where on a geodesic its points are looked at: not in the middle, where what is wrong may cancel.
_SHARE = 0.3


def departures(metric: Metric, layers: Sequence[Tensor], *, generator: Generator) -> dict[str, Any]:
    """How far a metric is from its laws on given representations, as shares of the largest distance between them.

    Args:
        metric: the metric.
        layers: at least three representations of the same examples, the last of which is not changed.
        generator: draws the changes.

    Returns:
        ``"triangle"``, the largest excess of a side over the two others, negative where all are shorter;
        ``"symmetry"``, the largest difference of a distance from that in the other direction; ``"changes"``, by
        invariance the largest change of a distance to the layer before; ``"uneven"``, how far a point of a geodesic
        between neighbours is from its place; and ``"nearer"``, how much nearer to the layer in the middle some point of
        the geodesic between the ends is than the projection. The last two are NaN where there are no geodesics.
    """
    points, between = [metric.point(layer) for layer in layers], distances(metric, layers)
    space, size = metric.space, float(between.max())
    pairs = combinations(range(len(layers)), 2)
    back = [abs(float(space.distance(points[j], points[i]) - between[i, j])) for i, j in pairs]
    changes = {}
    for name in INVARIANCES:
        moved = [
            abs(metric.distance(changed(layer, name, generator=generator), before) - metric.distance(layer, before))
            for before, layer in pairwise(layers[:-1])
        ]
        changes[name] = max(moved) / size
    found = {"triangle": triangle_excess(between) / size, "symmetry": max(back) / size, "changes": changes}
    if not metric.geodesics:
        return found | {"uneven": math.nan, "nearer": math.nan}
    off = max(uneven(space, *pair, _SHARE) for pair in pairwise(points))
    return found | {"uneven": off, "nearer": nearer(space, points[len(points) // 2], points[0], points[-1]) / size}


def changed(
    representation: Float[Tensor, "examples units"], invariance: str, *, generator: Generator
) -> Float[Tensor, "examples units"]:
    """A representation after a random change of one kind.

    Args:
        representation: one row an example.
        invariance: one of ``INVARIANCES``. A ``"linear"`` map is the identity and as large a random matrix, a
            ``"translation"`` is as large as the units' deviations, and ``"scaling"`` is by 3.
        generator: draws.

    Raises:
        ValueError: if the kind is unknown.
    """
    units = representation.shape[1]

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=representation.dtype)

    if invariance == "permutation":
        return representation[:, torch.randperm(units, generator=generator)]
    if invariance == "orthogonal":
        rotation: Tensor = torch.linalg.qr(drawn(units, units)).Q
        return representation @ rotation
    if invariance == "scaling":
        return 3.0 * representation
    if invariance == "linear":
        return representation + representation @ drawn(units, units) / math.sqrt(units)
    if invariance == "translation":
        shift: Tensor = representation.std() * drawn(units)
        return representation + shift
    raise ValueError(f"unknown invariance {invariance!r}; there are {', '.join(INVARIANCES)}")


def triangle_excess(distances: Float[Tensor, "points points"]) -> float:
    """By how much a distance is longer than the way by a third point, at most; negative where all are shorter.

    Args:
        distances: a symmetric matrix of at least three points.

    Example:
        >>> triangle_excess(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [5.0, 2.0, 0.0]]))
        2.0
    """
    excess = distances[:, None, :] - distances[:, :, None] - distances[None, :, :]
    count = torch.arange(len(distances))
    for place in ((count, count, slice(None)), (slice(None), count, count), (count, slice(None), count)):
        excess[place] = -torch.inf
    return float(excess.max())


def uneven(space: Space, first: Tensor, last: Tensor, share: float) -> float:
    r"""By how much a point of the geodesic is not where it should be: :math:`|d(a, g(t)) / d(a, b) - t|`.

    Args:
        space: the geometry of a metric.
        first: where the geodesic begins.
        last: where it ends.
        share: the place :math:`t`, from 0 to 1.
    """
    whole = space.distance(first, last)
    return abs(float(space.distance(first, space.geodesic(first, last, share)) / whole) - share)


def nearer(space: Space, point: Tensor, first: Tensor, last: Tensor, *, places: int = 41) -> float:
    """By how much some point of the geodesic is nearer than the projection says; not above 0 where it is right.

    Args:
        space: the geometry of a metric.
        point: what is projected.
        first: where the geodesic begins.
        last: where it ends.
        places: how many points of the geodesic, evenly spaced, are tried.
    """
    tried = (space.distance(point, space.geodesic(first, last, each / (places - 1))) for each in range(places))
    return space.project(point, first, last).distance - min(float(each) for each in tried)
