"""The group of a network's permutations, as a value, and its operations on weights."""

__all__ = [
    "Group",
    "Member",
    "Permutation",
    "PermutationSpec",
    "SymmetryError",
    "Tap",
    "agreement",
    "agreement_by_size",
    "chance_agreement",
    "check",
    "compose",
    "fixed_points",
    "identity",
    "inverse",
    "mixtures",
    "permute",
    "random",
    "rearrange",
    "unit_norms",
]

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from lmc_lib import expected
from lmc_lib.state import State

# For each group the source unit that comes to each place: permuted[i] = original[permutation[i]]. A group inside the
# blocks of another has one such row a block, for the block that ends there.
Permutation = dict[str, Tensor]


class SymmetryError(ValueError):
    """A permutation does not fit a spec, or a spec does not fit a network."""


class Group(NamedTuple):
    """Units that can be exchanged.

    Attributes:
        size: number of units that are exchanged with each other.
        within: the group whose units are the blocks in which this one acts, as heads are for the channels of a head;
            None if it acts on the whole network at once, or in blocks that keep their places.
        blocks: number of blocks along each level of nesting; empty for most groups.
    """

    size: int
    within: str | None = None
    blocks: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the group's part of a permutation."""
        return (*self.blocks, self.size)


@dataclass(frozen=True, eq=False)
class Member:
    """An axis along which a group acts.

    Attributes:
        name: entry of the state dictionary.
        dim: first dimension of the axis.
        span: number of dimensions that are flattened to make the axis: 1, or 2 for inputs of a grouped convolution.
        places: indices along the axis, of shape ``(*blocks, size, places of one unit)``.
    """

    name: str
    dim: int
    span: int
    places: Tensor

    def flat(self, value: Tensor) -> Tensor:
        """The tensor with the axis as one dimension, ``dim``; further dimensions behind its own are allowed."""
        return value.flatten(self.dim, self.dim + self.span - 1)

    def rows(self, value: Tensor) -> Tensor:
        """The tensor as ``(*blocks, size, everything else)``: what belongs to each unit."""
        front = self.flat(value).movedim(self.dim, 0)
        if not (self._begins_in_order and len(front) == self.places.numel()):
            front = front[self.places.reshape(-1)]
        return front.reshape(*self.places.shape[:-1], -1)

    @functools.cached_property
    def _begins_in_order(self) -> bool:
        """Whether the places are the first ones along the axis in their order, so that nothing need be copied."""
        return bool((self.places.reshape(-1) == torch.arange(self.places.numel())).all())

    def moved(self, order: Tensor) -> Tensor:
        """The places from which each unit's places are filled when the units are put into this order."""
        return self.places.take_along_dim(order[..., None], -2)


class Tap(NamedTuple):
    """An activation that shows units.

    Attributes:
        node: name of the traced operation.
        dim: the dimension along which the units stand, in the activation for a batch of one.
        places: each group's places along it, as in ``Member``.
    """

    node: str
    dim: int
    places: Mapping[str, Tensor]


@dataclass(frozen=True)
class PermutationSpec:
    """Which axes of which parameters and buffers each permutation group moves.

    Attributes:
        groups: size and nesting of each group, in the order of the forward pass; outer groups before inner ones.
        members: for each group the axes along which it acts.
        shapes: shape of each entry of the state dictionary.
        taps: activations in which the units of the groups can be observed, for activation matching.
        pinned: what was left unpermuted because its operation is not understood, with the reason.
        observe: a function of weights and a batch of inputs that returns the activations at the taps by node, in
            evaluation mode; their first dimension counts the examples, the others are those of one example.
    """

    groups: Mapping[str, Group]
    members: Mapping[str, tuple[Member, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    taps: tuple[Tap, ...] = ()
    pinned: tuple[str, ...] = ()
    observe: Callable[[State, Any], dict[str, Tensor]] | None = field(default=None, compare=False, repr=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of units of each group; of one block, where a group acts in several."""
        return {name: group.size for name, group in self.groups.items()}

    @property
    def units(self) -> int:
        """Number of units over all groups and blocks."""
        return sum(math.prod(group.shape) for group in self.groups.values())

    def inside(self, group: str) -> list[str]:
        """The groups that act in the units of this one, directly."""
        return [name for name, each in self.groups.items() if each.within == group]

    def describe(self) -> str:
        """Returns a table of the groups: name, number of units, entries that they move, and what was pinned."""
        rows = []
        for name, group in self.groups.items():
            count = " x ".join(str(size) for size in group.shape)
            where = ", ".join(f"{member.name}[{member.dim + member.span - 1}]" for member in self.members[name])
            rows.append(
                f"{name:<28} {count:>6} units  {where}" + (f"  (inside {group.within})" if group.within else "")
            )
        total = f"{len(self.groups)} groups, {self.units} units"
        return "\n".join([*rows, total, *(f"pinned: {reason}" for reason in self.pinned)])


def identity(spec: PermutationSpec) -> Permutation:
    """The permutation that moves nothing."""
    return {name: torch.arange(group.size).expand(group.shape).clone() for name, group in spec.groups.items()}


def random(spec: PermutationSpec, *, generator: Generator) -> Permutation:
    """Draws a uniformly random permutation of every group, and in every block of it."""
    drawn = {}
    for name, group in spec.groups.items():
        rows = [torch.randperm(group.size, generator=generator) for _ in range(math.prod(group.blocks))]
        drawn[name] = torch.stack(rows).reshape(group.shape)
    return drawn


def inverse(permutation: Permutation, spec: PermutationSpec) -> Permutation:
    """The permutation that undoes ``permutation``."""
    undone: Permutation = {}
    for name, group in spec.groups.items():
        rows = permutation[name].reshape(-1, group.size)
        undone[name] = rows[_blocks(undone, name, spec)].argsort(-1).reshape(group.shape)
    return undone


def compose(outer: Permutation, inner: Permutation, spec: PermutationSpec) -> Permutation:
    """The permutation that acts like ``inner`` followed by ``outer``.

    Raises:
        SymmetryError: if one of the two permutes other groups than the spec's.
    """
    for each in (outer, inner):
        _check_groups(spec, each)
    composed = {}
    for name, group in spec.groups.items():
        rows = inner[name].reshape(-1, group.size)[_blocks(outer, name, spec)]
        composed[name] = rows.gather(-1, outer[name].reshape(-1, group.size)).reshape(group.shape)
    return composed


def _blocks(permutation: Permutation, name: str, spec: PermutationSpec) -> Tensor:
    """For each block of a group, in a flat list, the block that ``permutation`` brings to its place."""
    group = spec.groups[name]
    if group.within is None:
        return torch.arange(math.prod(group.blocks))
    around = spec.groups[group.within]
    first = _blocks(permutation, group.within, spec) * around.size
    return (first[:, None] + permutation[group.within].reshape(-1, around.size)).reshape(-1)


def fixed_points(permutation: Permutation) -> float:
    """The share of units that stay in place, over all groups; inside a block that moves, of places in the block.

    Raises:
        SymmetryError: if there are no groups.
    """
    fixed = sum(int((indices == torch.arange(indices.shape[-1])).sum()) for indices in permutation.values())
    return fixed / _count(permutation)


def agreement(first: Permutation, second: Permutation) -> float:
    """The share of units that two permutations send to the same place, over all groups.

    Raises:
        SymmetryError: if they have other groups than each other, or none.
    """
    if missing := sorted(first.keys() ^ second.keys()):
        raise SymmetryError(f"group {missing[0]} stands only in one of the permutations")
    same = sum(int((indices == second[name]).sum()) for name, indices in first.items())
    return same / _count(first)


def _count(permutation: Permutation) -> int:
    """The number of units that a permutation is of."""
    if not permutation:
        raise SymmetryError("a network without groups has no units, of which a share could be given")
    return sum(indices.numel() for indices in permutation.values())


def chance_agreement(spec: PermutationSpec) -> float:
    """The share of units on which two random permutations agree, on average: one of each exchangeable set.

    Raises:
        SymmetryError: if there are no groups.
    """
    if not spec.groups:
        raise SymmetryError("a network without groups has no units, of which a share could be given")
    return sum(math.prod(group.blocks) for group in spec.groups.values()) / spec.units


def unit_norms(state: State, spec: PermutationSpec) -> dict[str, Tensor]:
    """For each group, by block and unit, the norm of all matrix and filter weights that belong to a unit."""
    squares = {
        name: [
            each.rows(state[each.name]).abs().double().square().sum(-1)
            for each in members
            if state[each.name].dim() > 1
        ]
        for name, members in spec.members.items()
    }
    return {name: torch.stack(parts).sum(0).sqrt() for name, parts in squares.items()}


def agreement_by_size(first: Permutation, second: Permutation, sizes: dict[str, Tensor], bins: int) -> list[float]:
    """The agreement of two permutations in equal parts of each group's units, from those of the smallest size on.

    Args:
        first: a permutation.
        second: another of the same groups.
        sizes: a size of every unit, by group.
        bins: number of parts.
    """
    shares, counts = torch.zeros(bins, dtype=torch.float64), torch.zeros(bins, dtype=torch.float64)
    for name, size in sizes.items():
        same = (first[name] == second[name]).reshape(-1)[size.reshape(-1).argsort(stable=True)].double()
        parts = same.tensor_split(bins)
        shares += torch.stack([part.sum() for part in parts])
        counts += torch.tensor([len(part) for part in parts])
    return [float(each) for each in shares / counts.clamp(min=1)]


def mixtures(first: Permutation, second: Permutation, order: Sequence[str]) -> list[Permutation]:
    """Permutations that take so many groups, in this order, from the first and the others from the second; none to all.

    Example:
        >>> a, b = {"1": torch.tensor([0, 1])}, {"1": torch.tensor([1, 0])}
        >>> [each["1"].tolist() for each in mixtures(a, b, ["1"])]
        [[1, 0], [0, 1]]
    """
    counts = range(len(order) + 1)
    return [{name: (first if name in order[:count] else second)[name] for name in first} for count in counts]


def permute(state: State, permutation: Permutation, spec: PermutationSpec, *, partial: bool = False) -> State:
    """Applies a permutation to weights and buffers, which leaves the network's function unchanged.

    Args:
        state: weights by state-dict name; unchanged.
        permutation: for each group of ``spec`` the source unit of each place.
        spec: where the groups act.
        partial: whether the state may hold only some of the entries, as the masks of a pruned network do: they travel
            with the weights.

    Raises:
        SymmetryError: if state, permutation and spec do not fit together.
    """
    check(spec, state, permutation, partial=partial)
    permuted = {name: value.clone() for name, value in state.items()}
    # Outer groups come before inner ones: a block moves, then what is inside it.
    for group in spec.groups:
        for member in spec.members[group]:
            if member.name in permuted:
                permuted[member.name] = rearrange(permuted[member.name], member, permutation[group])
    return permuted


def rearrange(value: Tensor, member: Member, order: Tensor) -> Tensor:
    """Moves one group's units along one axis of a tensor: place ``i`` gets what stood at place ``order[i]``."""
    flat = member.flat(value)
    source = torch.arange(flat.shape[member.dim])
    source[member.places.reshape(-1)] = member.moved(order).reshape(-1)
    return flat.index_select(member.dim, source.to(value.device)).reshape(value.shape)


def check(
    spec: PermutationSpec, state: State, permutation: Permutation | None = None, *, partial: bool = False
) -> None:
    """Raises a ``SymmetryError`` that names the first entry in which state or permutation do not fit the spec."""
    if not isinstance(state, Mapping):
        raise SymmetryError(
            f"a state is a dictionary of tensors, as `state_dict()` gives it, but this is a {type(state).__name__}"
        )
    if state.keys() - spec.shapes.keys() or (not partial and spec.shapes.keys() - state.keys()):
        raise SymmetryError(
            f"not a state of this spec: {expected.names(state, spec.shapes, 'the spec')}{_tie(spec, state)}"
        )
    for name, value in state.items():
        if tuple(value.shape) != spec.shapes[name]:
            raise SymmetryError(f"{name} has shape {tuple(value.shape)}, but the spec expects {spec.shapes[name]}")
    if permutation is None:
        return
    _check_groups(spec, permutation)
    for name, group in spec.groups.items():
        indices = permutation[name]
        places = torch.arange(group.size)
        if tuple(indices.shape) != group.shape or not bool((indices.sort(-1).values == places).all()):
            raise SymmetryError(f"group {name} needs each of 0 to {group.size - 1} once, got {indices.tolist()}")


def _tie(spec: PermutationSpec, state: Mapping[str, Any]) -> str:
    """That what a state lacks may be what it has under another name, where shapes let it."""
    lacking = [shape for name, shape in spec.shapes.items() if name not in state]
    shapes = {tuple(value.shape) for value in state.values() if isinstance(value, Tensor)}
    if state.keys() - spec.shapes.keys() or not shapes.issuperset(lacking):
        return ""
    return "; weights that are tied, as a head to an embedding, stand in a state under each of their names"


def _check_groups(spec: PermutationSpec, permutation: Permutation) -> None:
    if missing := sorted(spec.groups.keys() ^ permutation.keys()):
        raise SymmetryError(f"group {missing[0]} stands only in one of spec and permutation")
