"""Curves with bends between networks, and their loss and error."""

__all__ = ["bezier_weights", "chain_weights", "path"]

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.connectivity.evaluation import Points, in_tensors
from lmc_lib.connectivity.lines import Curve
from lmc_lib.data import Split
from lmc_lib.state import State


def bezier_weights(positions: Float[Tensor, " points"], vertices: int = 3) -> Float[Tensor, "points vertices"]:
    r"""The weights of the vertices at points of a Bézier curve, which begins at the first and ends at the last.

    With vertices :math:`\theta_0, \dots, \theta_n` the curve is
    :math:`\sum_i \binom{n}{i} (1 - t)^{n - i} t^i \theta_i`; with three it is quadratic and has one bend. It passes
    through no vertex but its ends.

    Args:
        positions: the points, by :math:`t` from 0 to 1.
        vertices: how many there are.

    Raises:
        ValueError: if there are fewer than two vertices.

    Example:
        >>> bezier_weights(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]
    """
    _check(vertices)
    last = vertices - 1
    terms = [math.comb(last, i) * (1.0 - positions) ** (last - i) * positions**i for i in range(vertices)]
    return torch.stack(terms, -1)


def chain_weights(positions: Float[Tensor, " points"], vertices: int = 3) -> Float[Tensor, "points vertices"]:
    r"""The weights of the vertices at points of a polygonal chain, straight from each to the next.

    Each vertex has its turn after the same share of :math:`t`, whatever the lengths.

    Args:
        positions: the points, by :math:`t` from 0 to 1.
        vertices: how many there are.

    Raises:
        ValueError: if there are fewer than two vertices.

    Example:
        >>> chain_weights(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist()
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _check(vertices)
    turns = torch.arange(vertices, dtype=positions.dtype)
    return (1.0 - (positions[:, None] * (vertices - 1) - turns).abs()).clamp(min=0.0)


def path(
    model: nn.Module,
    vertices: Sequence[State],
    weights: Float[Tensor, "points vertices"],
    splits: Mapping[str, Split],
    *,
    reset_inputs: Tensor | None = None,
) -> dict[str, Curve]:
    """Evaluates a curve between networks at evenly spaced positions.

    Args:
        model: the architecture; unchanged.
        vertices: the networks; unchanged.
        weights: those of each point, as :func:`bezier_weights` and :func:`chain_weights` give them.
        splits: the splits to evaluate on, by name.
        reset_inputs: as for :func:`~lmc_lib.connectivity.curves`.

    Returns:
        One curve for each split; its ``alphas`` are the positions.

    Raises:
        ValueError: if there are fewer than three points, the columns of the weights are not the vertices, or
            ``reset_inputs`` is missing for a network with BatchNorm.
    """
    if len(weights) < 3:
        raise ValueError(f"a barrier needs a point between the two ends: points is at least 3, got {len(weights)}")
    if weights.shape[1] != len(vertices):
        raise ValueError(f"each vertex has its column of weights: {weights.shape[1]} columns, {len(vertices)} vertices")
    points = Points(model, vertices, splits, reset_inputs)
    scores = [points.scores(row) for row in weights.tolist()]
    alphas = torch.linspace(0.0, 1.0, len(weights), dtype=torch.float64)
    return {name: Curve(alphas, **in_tensors(scores, name)) for name in splits}


def _check(vertices: int) -> None:
    if vertices < 2:
        raise ValueError(f"a curve has two ends: vertices is at least 2, got {vertices}")
