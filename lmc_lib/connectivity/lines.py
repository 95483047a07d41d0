"""Loss and error along straight lines in weight space, and the barriers on them."""

__all__ = ["CONVENTIONS", "Curve", "barrier", "convexity_gap", "curves", "pairwise_barriers"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.connectivity.evaluation import Points, Scores, in_tensors
from lmc_lib.data import Split
from lmc_lib.state import State

CONVENTIONS = ("chord", "endpoint_mean", "at_maximum")


@dataclass(frozen=True)
class Curve:
    """Scores along the line from a start (``alpha`` 0) to an end (``alpha`` 1)."""

    alphas: Float[Tensor, " points"]
    loss: Float[Tensor, " points"]
    error: Float[Tensor, " points"]

    def at(self, index: int) -> Scores:
        """The scores at one point of the line."""
        return Scores(float(self.loss[index]), float(self.error[index]))

    def barrier(self, quantity: str = "loss", *, convention: str = "chord") -> float:
        """The barrier in ``"loss"`` or ``"error"``; see :func:`barrier`."""
        return barrier(getattr(self, quantity), self.alphas, convention=convention)


def curves(
    model: nn.Module,
    start: State,
    end: State,
    splits: Mapping[str, Split],
    *,
    points: int = 25,
    reset_inputs: Tensor | None = None,
    ends_of: Mapping[str, Curve] | None = None,
) -> dict[str, Curve]:
    r"""Evaluates the straight line :math:`(1 - \alpha)\,\theta_0 + \alpha\,\theta_1` at evenly spaced points.

    Args:
        model: the architecture; unchanged.
        start: weights at ``alpha = 0``.
        end: weights at ``alpha = 1``.
        splits: the splits to evaluate on, by name.
        points: number of points, the two ends included.
        reset_inputs: training examples for the statistics of BatchNorm, which are re-estimated at every point, the
            ends included, so that the curve does not jump; needed if and only if the network keeps statistics.
        ends_of: curves between the same two networks under another permutation, whose ends are reused: a permutation
            does not change what a network computes.

    Returns:
        One curve for each split.

    Raises:
        ValueError: if there are fewer than three points, or ``reset_inputs`` is missing for a network with BatchNorm.
    """
    if points < 3:
        raise ValueError(f"a barrier needs a point between the two ends: points is at least 3, got {points}")
    alphas = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    line = Points(model, [start, end], splits, reset_inputs)
    scores = [
        {name: each.at(-1 if index else 0) for name, each in ends_of.items()}
        if ends_of is not None and index in (0, points - 1)
        else line.scores([1.0 - alpha, alpha])
        for index, alpha in enumerate(alphas.tolist())
    ]
    return {name: Curve(alphas, **in_tensors(scores, name)) for name in splits}


def barrier(
    values: Float[Tensor, " points"], alphas: Float[Tensor, " points"] | None = None, *, convention: str = "chord"
) -> float:
    r"""The height of the barrier on a line between two networks.

    With values :math:`v(\alpha)` and the chord :math:`c(\alpha) = (1-\alpha)\,v(0) + \alpha\,v(1)`:

    - ``"chord"``: :math:`\sup_\alpha [v(\alpha) - c(\alpha)]` (Frankle et al. 2020, Entezari et al. 2022; the default);
    - ``"endpoint_mean"``: :math:`\sup_\alpha v(\alpha) - \tfrac12 [v(0) + v(1)]` (Ainsworth et al. 2023);
    - ``"at_maximum"``: :math:`v(\alpha^*) - c(\alpha^*)` where :math:`v` is largest (the code of Altıntaş et al. 2025).

    Args:
        values: loss or error at the points of the line, the two ends included.
        alphas: the points, evenly spaced if None.
        convention: one of ``CONVENTIONS``.

    Returns:
        The barrier in the units of ``values``; with ``"chord"`` never negative, since the ends count.

    Raises:
        ValueError: if the convention is unknown.

    Example:
        >>> barrier(torch.tensor([0.0, 0.75, 1.0], dtype=torch.float64))
        0.25
        >>> barrier(torch.tensor([0.0, 0.75, 1.0], dtype=torch.float64), convention="at_maximum")
        0.0
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; there are {', '.join(CONVENTIONS)}")
    if alphas is None:
        alphas = torch.linspace(0.0, 1.0, len(values), dtype=values.dtype)
    if convention == "endpoint_mean":
        return float(values.max() - (values[0] + values[-1]) / 2)
    gap = values - torch.lerp(values[0], values[-1], alphas)
    return float(gap.max() if convention == "chord" else gap[values.argmax()])


def convexity_gap(values: Float[Tensor, " points"], alphas: Float[Tensor, " points"] | None = None) -> float:
    r"""The highest barrier on any part of a line, by the convention ``"chord"`` (Juneja et al. 2023).

    With values :math:`v(\alpha)` it is the largest :math:`v(\gamma) - c_{\alpha\beta}(\gamma)` with
    :math:`\alpha \le \gamma \le \beta`, where :math:`c_{\alpha\beta}` is the chord from :math:`v(\alpha)` to
    :math:`v(\beta)`. It is 0 if and only if the values are convex, and at least the barrier of the whole line, which
    misses a hill between a valley and an end.

    Args:
        values: loss or error at the points of the line, the two ends included.
        alphas: the points, evenly spaced if None.

    Returns:
        The gap in the units of ``values``.

    Raises:
        ValueError: if there are fewer than two points.

    Example:
        >>> values = torch.tensor([1.0, 0.0, 0.75, 0.5, 1.0], dtype=torch.float64)
        >>> convexity_gap(values), barrier(values)
        (0.5, 0.0)
    """
    if len(values) < 2:
        raise ValueError(f"a line has two ends: there are {len(values)} points")
    if alphas is None:
        alphas = torch.linspace(0.0, 1.0, len(values), dtype=values.dtype)
    parts = combinations(range(len(values)), 2)
    return max(_above_chord(values[i : j + 1], alphas[i : j + 1]) for i, j in parts)


def _above_chord(values: Tensor, alphas: Tensor) -> float:
    along = (alphas - alphas[0]) / (alphas[-1] - alphas[0])
    return float((values - torch.lerp(values[0], values[-1], along)).max())


def pairwise_barriers(
    model: nn.Module,
    states: Sequence[State],
    split: Split,
    *,
    quantity: str = "loss",
    points: int = 25,
    reset_inputs: Tensor | None = None,
) -> Float[Tensor, "n n"]:
    """The symmetric matrix of barriers between all pairs of networks, with a zero diagonal."""
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    for i, start in enumerate(states):
        for j in range(i):
            line = curves(model, start, states[j], {"": split}, points=points, reset_inputs=reset_inputs)[""]
            matrix[i, j] = matrix[j, i] = line.barrier(quantity)
    return matrix
