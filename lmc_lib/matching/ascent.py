"""Coordinate ascent over permutation groups: one linear assignment at a time, until none improves."""

__all__ = ["ORDERS", "Problem", "assign", "coordinate_ascent"]

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib.symmetry import Permutation, PermutationSpec, identity

lap: Any = None
with contextlib.suppress(ImportError):  # no wheel for this platform: scipy finds the same gain, 3 to 8 times slower
    import lap

ORDERS = ("random", "forward", "backward")

# An assignment is accepted only if it gains more than rounding could: float64 sums of a million terms err by 1e-13.
_RELATIVE_GAIN = 1e-11

# Gains are rounded to this share of the largest one before an assignment is solved, so that the last bits of a matrix
# product, which differ between processors, do not decide between two assignments.
_GRID = 2.0**-32


@runtime_checkable
class Problem(Protocol):
    """A source that is permuted step by step towards a target."""

    def gain(self, group: str) -> Tensor:
        """Gain of moving the unit now at place ``j`` of the source to place ``i``: a matrix for each block."""

    def across(self, group: str) -> Tensor:
        """The same for units of any two blocks: ``[p, q, i, j]`` is place ``i`` of block ``p``, unit ``j`` of ``q``."""

    def alone(self, group: str) -> Tensor:
        """The part of ``gain`` that does not come from the groups inside this one."""

    def is_linear(self, group: str) -> bool:
        """Says whether ``gain`` is exact: each tensor of the objective has the group on one axis at most."""

    def move(self, group: str, order: Tensor) -> None:
        """Rearranges the source: the unit now at place ``order[i]`` comes to place ``i``."""

    def score(self, group: str) -> float:
        """The part of the objective that depends on this group."""

    def total(self) -> float:
        """The objective."""


def coordinate_ascent(
    problem: Problem,
    spec: PermutationSpec,
    start: Permutation,
    *,
    generator: Generator,
    max_sweeps: int,
    order: str = "random",
    observe: Callable[[int, float], None] | None = None,
) -> Permutation:
    """Improves one group at a time until a whole sweep changes nothing.

    A group is solved again only if one that it shares a tensor with has moved since.

    Args:
        problem: the source in its original order; it is left in the final order.
        spec: the groups.
        start: the permutation to begin with.
        generator: source of the order of the groups.
        max_sweeps: number of sweeps after which to stop in any case.
        order: ``"random"``, a new order each sweep, ``"forward"`` from the input to the output, or ``"backward"``.
        observe: called after each sweep with the number of sweeps and the objective.

    Returns:
        A permutation from which no single group can be improved.
    """
    permutation = _begin(problem, start, spec)
    neighbours = _neighbours(problem, spec)
    unsolved = set(spec.groups)
    for sweep in range(max_sweeps):
        for group in _visits(list(spec.groups), order, generator):
            if group not in unsolved:
                continue
            unsolved.discard(group)
            if _improve(problem, permutation, group, spec):
                unsolved |= neighbours[group]
        if observe is not None:
            observe(sweep + 1, problem.total())
        if not unsolved:
            break
    return permutation


def _begin(problem: Problem, start: Permutation, spec: PermutationSpec) -> Permutation:
    permutation = identity(spec)
    for group in spec.groups:
        if not torch.equal(start[group], _still(start[group])):
            _move(problem, permutation, group, start[group], spec)
    return permutation


def assign(gain: Tensor) -> Tensor:
    """The assignment of rows to columns with the largest sum, for each matrix of a batch."""
    scale = float(gain.abs().max())
    if scale == 0.0:
        return torch.arange(gain.shape[-1]).expand(gain.shape[:-1]).clone()
    grid = math.ldexp(_GRID, math.frexp(scale)[1])
    costs = (gain.double() / grid).round_().neg_()
    flat = costs.reshape(-1, *gain.shape[-2:]).numpy()
    return torch.stack([torch.from_numpy(_solve(each)) for each in flat]).long().reshape(gain.shape[:-1])


def _solve(costs: ndarray) -> ndarray:
    columns: ndarray
    if lap is not None:
        columns = lap.lapjvr(costs)[2]
    else:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 -- slow to load, and hardly ever needed

        columns = linear_sum_assignment(costs)[1]
    return columns


def _improve(problem: Problem, permutation: Permutation, group: str, spec: PermutationSpec) -> bool:
    """Moves one group to its best assignment; moves nothing, and says so, if that is no strict gain."""
    if spec.inside(group) and not spec.groups[group].blocks:
        moves, scale = _whole_blocks(problem, group, spec)
        linear = False
    else:
        gain = problem.gain(group)
        order = assign(gain)
        moves, scale = [(group, order)], float(gain.abs().max())
        linear = problem.is_linear(group)
    if all(torch.equal(order, _still(order)) for _, order in moves):
        return False
    bound = _RELATIVE_GAIN * scale * sum(order.numel() for _, order in moves)
    if linear:
        better = gain.take_along_dim(order[..., None], -1).sum() - gain.diagonal(dim1=-2, dim2=-1).sum()
        if float(better) <= bound:
            return False
    before = 0.0 if linear else problem.score(group)
    for name, order in moves:
        _move(problem, permutation, name, order, spec)
    if linear or problem.score(group) - before > bound:
        return True
    for name, order in reversed(moves):
        _move(problem, permutation, name, order.argsort(-1), spec)
    return False


def _whole_blocks(problem: Problem, group: str, spec: PermutationSpec) -> tuple[list[tuple[str, Tensor]], float]:
    """The best exchange of whole blocks, each with its inside in the order that is best for where it goes."""
    gain = problem.alone(group)
    orders = {}
    for name in spec.inside(group):
        across = problem.across(name)
        orders[name] = assign(across)
        gain = gain + across.take_along_dim(orders[name][..., None], -1).sum((-2, -1))
    order = assign(gain)
    chosen = {name: each[torch.arange(len(order)), order] for name, each in orders.items()}
    return [(group, order), *chosen.items()], float(gain.abs().max())


def _move(problem: Problem, permutation: Permutation, group: str, order: Tensor, spec: PermutationSpec) -> None:
    problem.move(group, order)
    permutation[group] = permutation[group].gather(-1, order)
    _carry(permutation, group, order, spec)


def _carry(permutation: Permutation, group: str, order: Tensor, spec: PermutationSpec) -> None:
    """What is inside the units of a group moves with them, at any depth."""
    waiting = spec.inside(group)
    while waiting:
        name = waiting.pop()
        inside = permutation[name]
        index = order.reshape(*order.shape, *[1] * (inside.dim() - order.dim())).expand_as(inside)
        permutation[name] = inside.gather(order.dim() - 1, index)
        waiting += spec.inside(name)


def _still(order: Tensor) -> Tensor:
    return torch.arange(order.shape[-1]).expand_as(order)


def _visits(groups: list[str], order: str, generator: Generator) -> Iterator[str]:
    if order == "random":
        return (groups[index] for index in torch.randperm(len(groups), generator=generator).tolist())
    return iter(groups if order == "forward" else groups[::-1])


def _neighbours(problem: Problem, spec: PermutationSpec) -> dict[str, set[str]]:
    """For each group those whose gain may change when it moves: they share a tensor or an activation with it."""
    sharing: dict[str, set[str]] = {}
    for group, members in spec.members.items():
        for member in members:
            sharing.setdefault(member.name, set()).add(group)
    for number, tap in enumerate(spec.taps):
        sharing[f"tap {number}"] = set(tap.places)
    found: dict[str, set[str]] = {group: set() if problem.is_linear(group) else {group} for group in spec.groups}
    for groups in sharing.values():
        for group in groups:
            found[group] |= groups - {group}
    return found
