"""Derivation of a network's permutation groups from its traced graph.

``graph`` traces the network, ``operations`` says for each operation which units move together, ``grouping`` finds the
units that can be exchanged, and here they get their names and places. ``proof`` checks the result.
"""

__all__ = ["permutation_spec"]

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from lmc_lib.symmetry.graph import Inputs, export, observer
from lmc_lib.symmetry.grouping import Family, Grouping
from lmc_lib.symmetry.layout import Places
from lmc_lib.symmetry.nodes import operation, written
from lmc_lib.symmetry.operations import ACTIVATIONS, visit
from lmc_lib.symmetry.spec import Group, Member, PermutationSpec, SymmetryError, Tap
from lmc_lib.symmetry.walk import Walk


def permutation_spec(model: nn.Module, example_inputs: Inputs, *, strict: bool = False) -> PermutationSpec:
    """Derives the permutation groups of a network by tracing it with ``torch.export``.

    Residual streams, concatenations, splits and shuffles of channels, flattened feature maps, grouped and depthwise
    convolutions, attention heads, normalisation parameters and buffers, biases and tied weights are followed. Heads,
    and the groups of a grouped convolution, are exchanged as wholes, and what is inside each of them in an order of
    its own. Axes of an operation that is not understood are pinned and listed in ``spec.pinned``.

    Args:
        model: any network that can be exported; unchanged.
        example_inputs: a tensor, a tuple of positional arguments or a dictionary of keyword arguments, of the shapes
            that the network takes; only the first example is used. A small image is enough for most networks.
        strict: whether an operation that is not understood is an error.

    Raises:
        SymmetryError: if the network cannot be traced, as with control flow that depends on data; in strict mode also
            if anything had to be pinned.

    Example:
        >>> from lmc_lib import models
        >>> print(permutation_spec(models.mlp(4, 3, widths=(8, 6)), torch.zeros(1, 4)).describe())
        1                                 8 units  1.weight[0], 1.bias[0], 3.weight[1]
        3                                 6 units  3.weight[0], 3.bias[0], 5.weight[1]
        2 groups, 14 units
    """
    graph = export(model, example_inputs)
    buffers = {name for name, _ in model.named_buffers()}
    entries = model.state_dict(keep_vars=True)
    nodes = list(graph.module.graph.nodes)
    walk = Walk(frozenset(entries) & buffers, frozenset(entries) - buffers, graph.owner, written(nodes))
    for node in nodes:
        visit(walk, node)
    for places in walk.values.values():
        for block in places:
            if block.ids is not None:
                walk.layout.note(block.ids)
    if strict and walk.pinned:
        raise SymmetryError(f"{type(model).__name__} has operations that are not understood: {'; '.join(walk.pinned)}")
    spec = _Result(walk, Grouping(walk.layout), graph.owner, entries).spec()
    return replace(spec, observe=observer(graph.module, list(dict.fromkeys(tap.node for tap in spec.taps))))


class _Result:
    """Names and places of the groups."""

    def __init__(self, walk: Walk, grouping: Grouping, owner: dict[str, str], entries: dict[str, Tensor]) -> None:
        self.walk = walk
        self.grouping = grouping
        self.owner = owner
        self.shapes = {name: tuple(value.shape) for name, value in entries.items()}
        # Entries in the order of the forward pass.
        self.axes = {name: self._axes(name, places) for name, places in walk.entries.items()}
        self.names = self._names()

    def spec(self) -> PermutationSpec:
        groups = {}
        for number, name in self.names.items():
            family = self.grouping.families[number]
            *blocks, size = family.units.shape
            groups[name] = Group(
                size, None if family.above is None else self.names[self._number(family.above)], tuple(blocks)
            )
        members: dict[str, list[Member]] = {name: [] for name in groups}
        for entry in self.shapes:
            for dim, span, number, places in self.axes.get(self.owner[entry], []):
                members[self.names[number]].append(Member(entry, dim, span, places))
        return PermutationSpec(
            groups,
            {name: tuple(each) for name, each in members.items()},
            self.shapes,
            self._taps(),
            tuple(self.walk.pinned),
        )

    def _axes(self, entry: str, places: Places) -> list[tuple[int, int, int, Tensor]]:
        """For each group in each axis of an entry: dimension, span, number of the group, places."""
        axes = []
        conditional = self.walk.conditional.get(entry)
        for block in sorted(places, key=lambda each: each.dims):
            if block.ids is not None and not (conditional is not None and block.dims == (1,)):
                found = self.grouping.places(block.ids)
                axes += [(block.dims[0], 1, number, torch.from_numpy(each)) for number, each in found.items()]
        if conditional is not None and conditional.shape[1] > 1:
            rows = next((block.ids for block in places if block.dims == (0,)), None)
            axes += [(0, 2, number, each) for number, each in self._inside_groups(entry, conditional, rows)]
        return axes

    def _inside_groups(self, entry: str, inside: np.ndarray, rows: np.ndarray | None) -> list[tuple[int, Tensor]]:
        """Places of the units inside the groups of a grouped convolution, along its first two axes flattened."""
        groups, width = inside.shape
        each = self.shapes[entry][0] // groups
        leaves = self.grouping.leaves(rows) if rows is not None else [frozenset[int]()] * (groups * each)
        around = [frozenset.intersection(*leaves[g * each : (g + 1) * each]) for g in range(groups)]
        found = self.grouping.places(inside, without=[around[g] for g in range(groups) for _ in range(width)])
        # All output channels of a group have its inputs in the same order.
        channels = np.arange(each) * width
        result = []
        for number, places in found.items():
            first = places // width * each * width + places % width
            spread = (first[..., None] + channels).reshape(*places.shape[:-1], -1)
            result.append((number, torch.from_numpy(spread)))
        return result

    def _names(self) -> dict[int, str]:
        """A group is called after the layer whose outputs it permutes first."""
        order: dict[int, str] = {}
        for entry, axes in self.axes.items():
            for _, _, number, _ in sorted(axes, key=lambda axis: (axis[0] + axis[1], axis[2])):
                for each in self._around(number):
                    order.setdefault(each, entry.rpartition(".")[0] or entry)
        taken: dict[str, int] = {}
        names = {}
        for number, layer in order.items():
            names[number] = f"{layer}/{taken[layer]}" if layer in taken else layer
            taken[layer] = taken.get(layer, 0) + 1
        return names

    def _around(self, number: int) -> list[int]:
        """The numbers of the families around one and its own, the outermost first."""
        chain: list[int] = []
        family: Family | None = self.grouping.families[number]
        while family is not None:
            chain.append(self._number(family))
            family = family.above
        return chain[::-1]

    def _number(self, family: Family) -> int:
        return next(number for number, each in enumerate(self.grouping.families) if each is family)

    def _taps(self) -> tuple[Tap, ...]:
        activations = [
            node for node in self.walk.values if operation(node) in ACTIVATIONS and node.op == "call_function"
        ]
        taps = self._taps_at(activations)
        seen = {group for tap in taps for group in tap.places}
        if missing := set(self.names.values()) - seen:
            # A group that no activation function shows is observed where it was last carried.
            for tap in reversed(self._taps_at([node for node in self.walk.values if node.op == "call_function"])):
                if found := set(tap.places) & missing:
                    taps.append(tap)
                    missing -= found
        return tuple(taps)

    def _taps_at(self, nodes: Sequence[fx.Node]) -> list[Tap]:
        taps = []
        for node in nodes:
            for block in self.walk.values[node]:
                if block.ids is None or len(block.dims) > 1 or math.prod(block.ids.shape) == 0:
                    continue
                places = {
                    self.names[number]: torch.from_numpy(each)
                    for number, each in self.grouping.places(block.ids).items()
                    if number in self.names
                }
                if places:
                    taps.append(Tap(node.name, block.dims[0], places))
        return taps
