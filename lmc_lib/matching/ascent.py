"""Coordinate ascent over permutation groups: one linear assignment at a time, until none improves."""

__all__ = ["Problem", "coordinate_ascent"]

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from lmc_lib.symmetry import Permutation

# An assignment is accepted only if it gains more than rounding could: float64 sums of a million terms err by 1e-13.
_RELATIVE_GAIN = 1e-11

# Gains are rounded to this share of the largest one before an assignment is solved, so that the last bits of a matrix
# product, which differ between processors, do not decide between two assignments.
_GRID = 2.0**-32


@runtime_checkable
class Problem(Protocol):
    """A source that is permuted step by step towards a target."""

    def gain(self, group: str) -> Tensor:
        """Matrix of the gain of moving the unit now at place ``j`` of the source to place ``i``."""

    def move(self, group: str, order: Tensor) -> None:
        """Rearranges the source: the unit now at place ``order[i]`` comes to place ``i``."""

    def score(self, group: str) -> float:
        """The part of the objective that depends on this group."""


def coordinate_ascent(
    problem: Problem, sizes: Mapping[str, int], start: Permutation, *, generator: Generator, max_sweeps: int
) -> Permutation:
    """Improves one group at a time, in a new random order each sweep, until a whole sweep changes nothing.

    Args:
        problem: the source in its original order; it is left in the final order.
        sizes: number of units of each group.
        start: the permutation to begin with.
        generator: source of the orders.
        max_sweeps: number of sweeps after which to stop in any case.

    Returns:
        A permutation from which no single group can be improved.
    """
    permutation = dict(start)
    for group, indices in permutation.items():
        problem.move(group, indices)
    groups = list(sizes)
    for _ in range(max_sweeps):
        changed = False
        for index in torch.randperm(len(groups), generator=generator).tolist():
            order = _improve(problem, groups[index])
            if order is not None:
                permutation[groups[index]] = permutation[groups[index]][order]
                changed = True
        if not changed:
            break
    return permutation


def _improve(problem: Problem, group: str) -> Tensor | None:
    """Moves one group to its best assignment; returns None, and moves nothing, if that is no strict gain."""
    gain = problem.gain(group)
    scale = float(gain.abs().max())
    if scale == 0.0:
        return None
    grid = math.ldexp(_GRID, math.frexp(scale)[1])
    order = torch.from_numpy(linear_sum_assignment((gain / grid).round().numpy(), maximize=True)[1])
    before = problem.score(group)
    problem.move(group, order)
    if problem.score(group) - before > _RELATIVE_GAIN * scale * len(order):
        return order
    problem.move(group, order.argsort())
    return None
