"""Loss and error along straight lines in weight space, and the barriers on them."""

__all__ = ["CONVENTIONS", "Curve", "Scores", "barrier", "curves", "evaluate", "pairwise_barriers"]

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib import norms
from lmc_lib.data import Split
from lmc_lib.models import memory_format
from lmc_lib.state import State, apply, interpolate

CONVENTIONS = ("chord", "endpoint_mean", "at_maximum")


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats and error as a share of the examples."""

    loss: float
    error: float


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


def evaluate(model: nn.Module, state: State, split: Split, *, batch_size: int = 1024) -> Scores:
    """Evaluates weights on a split, in evaluation mode; the sum over examples runs in float64.

    Args:
        model: the architecture; unchanged.
        state: weights; their dtype is that of the forward pass.
        split: the examples.
        batch_size: examples a batch; it bounds the memory.
    """
    return _evaluate(copy.deepcopy(model).eval(), state, split, batch_size)


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
    if reset_inputs is None and norms.has_statistics(model):
        raise ValueError("the network keeps BatchNorm statistics: pass reset_inputs to re-estimate them on the line")
    network = copy.deepcopy(model).eval()
    alphas = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    scores: dict[str, list[Scores]] = {name: [] for name in splits}
    for index, alpha in enumerate(alphas.tolist()):
        if ends_of is not None and index in (0, points - 1):
            for name in splits:
                scores[name].append(ends_of[name].at(-1 if index else 0))
            continue
        state = interpolate(start, end, alpha)
        if reset_inputs is not None:
            state = norms.reset(model, state, reset_inputs)
        for name, split in splits.items():
            scores[name].append(_evaluate(network, state, split, 1024))
    return {
        name: Curve(
            alphas,
            torch.tensor([each.loss for each in values], dtype=torch.float64),
            torch.tensor([each.error for each in values], dtype=torch.float64),
        )
        for name, values in scores.items()
    }


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


def _evaluate(network: nn.Module, state: State, split: Split, batch_size: int) -> Scores:
    dtype = next(value.dtype for value in state.values() if value.is_floating_point())
    order = memory_format(network) if split.inputs.dim() == 4 else torch.contiguous_format
    loss = error = 0.0
    with torch.no_grad():
        for first in range(0, len(split), batch_size):
            batch = split[first : first + batch_size]
            inputs = batch.inputs.to(next(iter(state.values())).device, dtype).contiguous(memory_format=order)
            logits = apply(network, state, inputs).double().cpu()
            loss += float(nn.functional.cross_entropy(logits, batch.labels, reduction="sum"))
            error += float((logits.argmax(1) != batch.labels).sum())
    return Scores(loss / len(split), error / len(split))
