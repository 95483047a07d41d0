"""The group of a network's permutations, as a value, and its operations on weights."""

__all__ = [
    "Axis",
    "Factor",
    "Permutation",
    "PermutationSpec",
    "SymmetryError",
    "Tap",
    "check",
    "compose",
    "fixed_points",
    "identity",
    "inverse",
    "permute",
    "random",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from lmc_lib.state import State

# For each group the source unit that comes to each place: permuted[i] = original[permutation[i]].
Permutation = dict[str, Tensor]


class SymmetryError(ValueError):
    """A permutation does not fit a spec, or a spec does not fit a network."""


class Factor(NamedTuple):
    """A part of an axis: ``size`` places that belong to a permutation group, or to none (``group`` is None)."""

    group: str | None
    size: int


# An axis is a row-major product of factors. Most have one; after a flatten a group of channels is followed by its
# pixels, and under a group normalisation a group of blocks is followed by a group of channels inside the block.
Axis = tuple[Factor, ...]


class Tap(NamedTuple):
    """An activation that carries permuted units: the traced node's name, the dimension and its factors."""

    node: str
    dim: int
    axis: Axis


@dataclass(frozen=True)
class PermutationSpec:
    """Which axes of which parameters and buffers each permutation group moves.

    Attributes:
        sizes: number of units of each group, in the order of the forward pass.
        axes: for each entry of the state dictionary, the factors of each of its axes.
        taps: activations in which the units of the groups can be observed, for activation matching.
        pinned: what was left unpermuted because its operation is not understood, with the reason.
    """

    sizes: Mapping[str, int]
    axes: Mapping[str, tuple[Axis, ...]]
    taps: tuple[Tap, ...] = ()
    pinned: tuple[str, ...] = ()

    def members(self, group: str) -> list[tuple[str, int, int]]:
        """Lists where a group acts: the entry's name, the axis, and the factor within the axis."""
        return [
            (name, dim, position)
            for name, axes in self.axes.items()
            for dim, axis in enumerate(axes)
            for position, factor in enumerate(axis)
            if factor.group == group
        ]

    def factored_shape(self, name: str) -> tuple[int, ...]:
        """The shape of an entry with one dimension for each factor."""
        return tuple(factor.size for axis in self.axes[name] for factor in axis)

    def factor_groups(self, name: str) -> tuple[str | None, ...]:
        """The group of each dimension of ``factored_shape``."""
        return tuple(factor.group for axis in self.axes[name] for factor in axis)

    def describe(self) -> str:
        """Returns a table of the groups: name, number of units, entries that they move, and what was pinned."""
        rows = [
            f"{group:<28} {size:>6} units  " + ", ".join(f"{name}[{dim}]" for name, dim, _ in self.members(group))
            for group, size in self.sizes.items()
        ]
        total = f"{len(self.sizes)} groups, {sum(self.sizes.values())} units"
        return "\n".join([*rows, total, *(f"pinned: {reason}" for reason in self.pinned)])


def identity(spec: PermutationSpec) -> Permutation:
    """The permutation that moves nothing."""
    return {group: torch.arange(size) for group, size in spec.sizes.items()}


def random(spec: PermutationSpec, *, generator: Generator) -> Permutation:
    """Draws a uniformly random permutation of every group."""
    return {group: torch.randperm(size, generator=generator) for group, size in spec.sizes.items()}


def inverse(permutation: Permutation) -> Permutation:
    """The permutation that undoes ``permutation``."""
    return {group: indices.argsort() for group, indices in permutation.items()}


def compose(outer: Permutation, inner: Permutation) -> Permutation:
    """The permutation that acts like ``inner`` followed by ``outer``.

    Raises:
        SymmetryError: if the two permute different groups.
    """
    if outer.keys() != inner.keys():
        raise SymmetryError(f"permutations of different groups: {sorted(outer.keys() ^ inner.keys())[:4]}")
    return {group: inner[group][indices] for group, indices in outer.items()}


def fixed_points(permutation: Permutation) -> float:
    """The share of units that stay in place, over all groups."""
    fixed = sum(int((indices == torch.arange(len(indices))).sum()) for indices in permutation.values())
    return fixed / sum(len(indices) for indices in permutation.values())


def permute(state: State, permutation: Permutation, spec: PermutationSpec) -> State:
    """Applies a permutation to weights and buffers, which leaves the network's function unchanged.

    Args:
        state: weights by state-dict name; unchanged.
        permutation: for each group of ``spec`` the source unit of each place.
        spec: where the groups act.

    Raises:
        SymmetryError: if state, permutation and spec do not fit together.
    """
    check(spec, state, permutation)
    permuted = {}
    for name, value in state.items():
        moved = value
        for dim, axis in enumerate(spec.axes[name]):
            if any(factor.group for factor in axis):
                moved = moved.index_select(dim, axis_indices(axis, permutation).to(value.device))
        permuted[name] = moved if moved is not value else value.clone()
    return permuted


def axis_indices(axis: Axis, permutation: Permutation) -> Tensor:
    """The source index of each place along an axis, built from the permutations of its factors."""
    indices = torch.zeros(1, dtype=torch.long)
    for factor in axis:
        places = torch.arange(factor.size) if factor.group is None else permutation[factor.group]
        indices = (indices[:, None] * factor.size + places).reshape(-1)
    return indices


def check(spec: PermutationSpec, state: State, permutation: Permutation | None = None) -> None:
    """Raises a ``SymmetryError`` that names the first entry in which state or permutation do not fit the spec."""
    if missing := sorted(spec.axes.keys() ^ state.keys()):
        where = "the spec" if missing[0] in spec.axes else "the state"
        raise SymmetryError(f"{missing[0]} stands only in {where}: the spec was traced from another architecture")
    for name, axes in spec.axes.items():
        expected = tuple(math.prod(factor.size for factor in axis) for axis in axes)
        if tuple(state[name].shape) != expected:
            raise SymmetryError(f"{name} has shape {tuple(state[name].shape)}, but the spec expects {expected}")
    if permutation is None:
        return
    if missing := sorted(spec.sizes.keys() ^ permutation.keys()):
        raise SymmetryError(f"group {missing[0]} stands only in one of spec and permutation")
    for group, size in spec.sizes.items():
        if not torch.equal(permutation[group].sort().values, torch.arange(size)):
            raise SymmetryError(f"group {group} needs each of 0 to {size - 1} once, got {permutation[group].tolist()}")
