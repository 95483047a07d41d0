"""Layouts: which unit stands at which place of a tensor, and what the basic operations on tensors do to it.

A tensor's dimensions are covered by *blocks*. Most blocks cover one dimension, with one unit a place. A block over
several dimensions, as after a split into heads and channels, has one unit for each joint place. A dimension without a
block imposes nothing: it has size 1, or all its places hold the same.
"""

__all__ = ["Block", "Layout", "Link", "Places"]

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lmc_lib.symmetry.units import Ids, Units


class Block(NamedTuple):
    """Dimensions and their units; ``ids`` has their sizes, or is None for one dimension that keeps its places."""

    dims: tuple[int, ...]
    ids: Ids | None


Places = list[Block]


class Link(NamedTuple):
    """Says that place ``here[i]`` of one array moves with place ``there[i]`` of another, both arrays flattened.

    Where a unit stands at several places of an array, its places are told apart by their order. Links keep that
    consistent from array to array: without them ``cat([u, f(u)])[::3]`` would take a unit for its copy.
    """

    first: int
    here: Ids
    second: int
    there: Ids


class Layout:
    """Units, the arrays in which they stand, and the moves between arrays."""

    def __init__(self) -> None:
        self.units = Units()
        self.arrays: list[Ids] = []
        self.links: list[Link] = []
        self._numbers: dict[int, int] = {}

    def note(self, ids: Ids) -> int:
        """The number of an array; a reshaped view of a noted array is the same array."""
        base = ids
        while isinstance(base.base, np.ndarray) and base.base.size == base.size and base.flags.c_contiguous:
            base = base.base
        if id(base) not in self._numbers:
            self._numbers[id(base)] = len(self.arrays)
            self.arrays.append(base)
        return self._numbers[id(base)]

    def fresh(self, shape: Sequence[int]) -> Places:
        """A new block for each dimension that has more than one place."""
        return [Block((dim,), self.units.fresh(size)) for dim, size in enumerate(shape) if size > 1]

    def pin(self, blocks: Collection[Block]) -> None:
        """Says that all units of these blocks keep their places."""
        for block in blocks:
            if block.ids is not None:
                self.note(block.ids)
                self.units.pin(block.ids)

    def unify(self, first: Block, second: Block) -> None:
        """Says that units at the same place of two blocks move together."""
        self._unify(_ids(first), _ids(second))

    # -- blocks seen from other sides ----------------------------------------------------------------------------

    def arranged(self, block: Block, dims: Sequence[int]) -> Ids:
        """The units of a block with its dimensions in this order."""
        ids = _ids(block)
        if tuple(dims) == block.dims:
            return ids
        order = [block.dims.index(dim) for dim in dims]
        return self._taken(ids, np.arange(ids.size).reshape(ids.shape).transpose(order))

    def rows(self, block: Block, dims: Sequence[int]) -> Ids:
        """Units of the rows along ``dims``: the units of a row stay together, in an order of its own."""
        rest = [dim for dim in block.dims if dim not in dims]
        ids = self.arranged(block, [*dims, *rest])
        shape = ids.shape[: len(dims)]
        ids = ids.reshape(math.prod(shape), -1)
        rows = self._rows(ids, outside=block.dims[0] in dims)
        if ids.shape[1] > 1:
            self._link(ids, rows, np.repeat(np.arange(len(ids)), ids.shape[1]))
        return rows.reshape(shape)

    def opened(self, rows: Ids, width: int) -> Ids:
        """So many new units inside each of these."""
        ids = self.units.pair(rows[:, None], self.units.fresh(len(rows), width))
        self._link(ids, rows, np.repeat(np.arange(len(rows)), width))
        return ids

    def _rows(self, ids: Ids, *, outside: bool) -> Ids:
        """The nodes of rows; new ones become the outer or the inner parts of the units."""
        ids = self.units.find(ids)
        if len(np.unique(ids)) < ids.size:
            ids = np.unique(ids, axis=1)  # a column that repeats another one says nothing new
        if ids.shape[1] == 1:
            return ids.reshape(-1)
        parts = self.units.parts(ids)
        rows = None if parts is None else self._rows_of_pairs(*parts, outside=outside)
        if rows is None:
            rows, inside = self.units.fresh(len(ids)), self.units.fresh(*ids.shape)
            column = rows[:, None]
            self.units.unify(ids, self.units.pair(column, inside) if outside else self.units.pair(inside, column))
        return rows

    def _rows_of_pairs(self, outer: Ids, inner: Ids, *, outside: bool) -> Ids | None:
        """Rows of units that have an order by rows already, along this or another dimension."""
        for part, other in ((outer, inner), (inner, outer)):
            if (part == part[:, :1]).all():
                rows = part[:, 0]
                if len(np.unique(rows)) == len(rows) or (other == other[:1]).all():
                    return rows
                inside = self._rows(other, outside=outside)
                return self.units.pair(rows, inside) if part is outer else self.units.pair(inside, rows)
        for part, other in ((outer, inner), (inner, outer)):
            if (part == part[:1]).all():
                return self._rows_beside(part, other, outside=outside)
        for part, other in ((outer, inner), (inner, outer)):
            if (across := self._rows_across(part, other, outside=outside)) is not None:
                return across
        return self._rows_of_rows(outer, outside=outside)

    def _rows_beside(self, columns: Ids, other: Ids, *, outside: bool) -> Ids:
        """Rows of units of which one part tells columns apart: those of the other part."""
        if len(np.unique(columns[0])) < columns.shape[1] and not self.units.any_free(columns):
            return self._rows(other, outside=outside)
        self.units.unify(other, np.broadcast_to(other[:, :1], other.shape))
        first: Ids = other[:, 0]
        return first

    def _rows_across(self, part: Ids, other: Ids, *, outside: bool) -> Ids | None:
        """Rows of units that lie in rows along other dimensions too, as queries that share keys: (key, query, channel).

        Each of the units has an order by (key, channel) already, and is now one of (key, query). Only an order that
        fits both is left: one of the keys, and for each key one of its queries and one of its channels.
        """
        shared, number = np.unique(part, axis=0, return_inverse=True)
        number = number.reshape(-1)
        if not len(shared) < len(part) or len(np.unique(part)) < shared.size:
            return None
        keys = self._rows(shared, outside=outside)
        inside = self.units.pair(keys[number], self.units.fresh(len(number)))
        self.units.unify(other, np.broadcast_to(inside[:, None], other.shape))
        return inside

    def _rows_of_rows(self, outer: Ids, *, outside: bool) -> Ids | None:
        """Rows of several rows that are known already, if each of these lies in one."""
        several = len(np.unique(outer[0]))
        if outer.shape[1] % several == 0:
            outer = outer.reshape(len(outer), several, -1)
            if (outer == outer[..., :1]).all() and len(np.unique(outer)) == len(outer) * several:
                return self._rows(outer[..., 0], outside=outside)
        return None

    def apart(self, blocks: Places, dim: int) -> Places:
        """The same blocks with this dimension in one of its own, so that all rows along it are in the same order."""
        joint = next((block for block in blocks if dim in block.dims), None)
        if joint is None or len(joint.dims) == 1:
            return blocks
        rest = tuple(each for each in joint.dims if each != dim)
        order = [(dim,), rest] if joint.dims[0] == dim else [rest, (dim,)]
        parts = [Block(dims, self.rows(joint, dims)) for dims in order]
        return [block for block in blocks if block is not joint] + parts

    def product(self, blocks: Sequence[Block], sizes: dict[int, int]) -> Block:
        """One block over the dimensions of several: its units are the pairs of theirs."""
        filled = [self.filled(block, sizes) for block in blocks]
        dims = tuple(itertools.chain.from_iterable(block.dims for block in filled))
        ids = _ids(filled[0])
        for block in filled[1:]:
            inner = _ids(block)
            outer = ids.reshape(*ids.shape, *[1] * inner.ndim)
            joint = self.units.pair(outer, inner)
            places = np.arange(joint.size)
            self._link(joint, ids, places // inner.size)
            self._link(joint, inner, places % inner.size)
            ids = joint
        return Block(dims, ids)

    def filled(self, block: Block, sizes: dict[int, int]) -> Block:
        """The block, with pinned units if it had none."""
        if block.ids is not None:
            return block
        ids = self.units.fresh(sizes[block.dims[0]])
        self.units.pin(ids)
        return Block(block.dims, ids)

    # -- operations ----------------------------------------------------------------------------------------------

    def combined(self, operands: Sequence[Places], sizes: dict[int, int]) -> Places:
        """Blocks of the elementwise product of tensors whose dimensions are broadcast by label."""
        components: list[set[int]] = []
        for block in itertools.chain.from_iterable(operands):
            touched = [each for each in components if each & set(block.dims)]
            components = [each for each in components if each not in touched]
            components.append(set(block.dims).union(*touched))
        return [block for labels in components for block in self._combine(sorted(labels), operands, sizes)]

    def _combine(self, labels: list[int], operands: Sequence[Places], sizes: dict[int, int]) -> Places:
        parts = [[block for block in blocks if block.dims[0] in labels] for blocks in operands]
        parts = [blocks for blocks in parts if blocks]
        everything = list(itertools.chain.from_iterable(parts))
        if len(labels) == 1 and any(block.ids is None for block in everything):
            self.pin(everything)
            return [Block((label,), None) for label in labels]
        whole = next((block for block in everything if set(block.dims) == set(labels)), None)
        if whole is None:
            # Dimensions of which each operand has some, as (key, query) and (key, channel).
            whole = Block(tuple(labels), self.units.fresh(*(sizes[label] for label in labels)))
        ids = self.arranged(whole, labels)
        result = Block(tuple(labels), ids)
        for blocks in parts:
            if blocks[0] is whole:
                continue
            other = self.product(blocks, sizes) if len(blocks) > 1 else self.filled(blocks[0], sizes)
            covered = [label for label in labels if label in other.dims]
            mine = ids if covered == labels else self.rows(result, covered)
            self._unify(mine, self.arranged(other, covered))
        return [result]

    def reduced(self, blocks: Places, dims: Collection[int]) -> Places:
        """Blocks after a sum over some dimensions."""
        kept = []
        for block in blocks:
            rest = tuple(dim for dim in block.dims if dim not in dims)
            if rest == block.dims:
                kept.append(block)
            elif rest:
                kept.append(Block(rest, self.rows(block, rest)))
        return kept

    def reshaped(self, blocks: Places, before: Sequence[int], after: Sequence[int]) -> Places:
        """Blocks after a reshape: dimensions that are merged become one of pairs, split ones stay one block."""
        # Old dimensions are labelled by negative numbers until they are replaced by new ones.
        blocks = [Block(tuple(-1 - dim for dim in block.dims), block.ids) for block in blocks]
        sizes = {-1 - dim: size for dim, size in enumerate(before)}
        for old, new in _matching_runs(before, after):
            blocks = self._regroup(blocks, [-1 - dim for dim in old], new, sizes, after)
        return blocks

    def _regroup(
        self, blocks: Places, old: list[int], new: list[int], sizes: dict[int, int], after: Sequence[int]
    ) -> Places:
        touched = [block for block in blocks if set(block.dims) & set(old)]
        others = [block for block in blocks if not set(block.dims) & set(old)]
        if len(old) == len(new) == 1:
            renamed = {old[0]: new[0]}
            return others + [Block(tuple(renamed.get(dim, dim) for dim in b.dims), b.ids) for b in touched]
        if all(block.ids is None for block in touched):
            return others + [Block((dim,), None) for dim in new if touched]
        touched.sort(key=lambda block: min(old.index(dim) for dim in block.dims if dim in old))
        joint = self.product(touched, sizes)
        outside = [dim for dim in joint.dims if dim not in old]
        covered = [dim for dim in old if dim in joint.dims]
        ids = self.arranged(joint, [*outside, *covered])
        if len(covered) < len(old):
            ids = self._copies(joint, outside, old, sizes)
        shape = [*ids.shape[: len(outside)], *(after[dim] for dim in new)]
        return [*others, Block((*outside, *new), ids.reshape(shape))]

    def _copies(self, block: Block, outside: list[int], old: list[int], sizes: Mapping[int, int]) -> Ids:
        """Units of a block over more dimensions: along these all places hold the same, and may be exchanged."""
        covered = [dim for dim in old if dim in block.dims]
        missing = [dim for dim in old if dim not in block.dims]
        # What is copied is a row as a whole, such as the key of a head.
        rows = self.rows(block, covered)
        copies = self.opened(rows.reshape(-1), math.prod(sizes[dim] for dim in missing))
        dims = [*covered, *missing]
        ids = self.arranged(Block(tuple(dims), copies.reshape([sizes[dim] for dim in dims])), old)
        if not outside:
            return ids
        source = self.arranged(block, [*outside, *covered])
        places = np.arange(source.size).reshape(
            *source.shape[: len(outside)], *(sizes[dim] if dim in covered else 1 for dim in old)
        )
        places = np.broadcast_to(places, (*source.shape[: len(outside)], *ids.shape))
        outer, inner = self.units.parts(source) or (source, source)
        for part, rest in ((outer, inner.ravel()[places]), (inner, outer.ravel()[places])):
            if part is not source and (part == self.units.find(rows)).all():
                joint = self.units.pair(ids, rest) if part is outer else self.units.pair(rest, ids)
                self._link(joint, source, places.ravel())
                return joint
        return self._taken(source, places)

    def copied(self, blocks: Places, shape: Sequence[int], dim: int, count: int, *, whole: bool = False) -> Places:
        """Blocks after each place of a dimension stands so many times, side by side, or else all places as a whole."""
        at = dim + (not whole)
        before = [*shape[:at], count, *shape[at:]]
        after = [*shape[:dim], shape[dim] * count, *shape[dim + 1 :]]
        moved = [Block(tuple(each + (each >= at) for each in block.dims), block.ids) for block in blocks]
        return self.reshaped(moved, before, after)

    def indexed(self, blocks: Places, dim: int, index: Ids) -> Places:
        """Blocks after ``tensor.index_select(dim, index)``."""
        result = []
        for block in blocks:
            if dim not in block.dims:
                result.append(block)
            elif block.ids is None:
                result += [block] if len(index) > 1 else []
            else:
                axis = block.dims.index(dim)
                places = np.arange(block.ids.size).reshape(block.ids.shape).take(index, axis)
                dims = block.dims
                if len(index) == 1:
                    places, dims = places.squeeze(axis), tuple(each for each in dims if each != dim)
                if dims:
                    result.append(Block(dims, self._taken(block.ids, places)))
                else:
                    # A place that is looked at alone is told apart from all others.
                    self.note(block.ids)
                    self.units.pin(block.ids.ravel()[places.reshape(-1)])
        return result

    def concatenated(
        self, operands: Sequence[Places], lengths: Sequence[int], dim: int, sizes: dict[int, int]
    ) -> Places:
        """Blocks after a concatenation along ``dim``, where the operands have these lengths."""
        operands = [self.apart(blocks, dim) for blocks in operands]
        along = [next((block for block in blocks if dim in block.dims), None) for blocks in operands]
        others = self.combined([[b for b in blocks if dim not in b.dims] for blocks in operands], sizes)
        if all(
            (block is not None and block.ids is None) or size == 1 for block, size in zip(along, lengths, strict=True)
        ):
            return [*others, Block((dim,), None)] if sum(lengths) > 1 else others
        parts = []
        for block, length in zip(along, lengths, strict=True):
            if block is not None and block.ids is not None:
                parts.append(block.ids)
                continue
            # Places of a constant may be exchanged freely; a dimension of size 1, or a pinned one, has named places.
            parts.append(self.units.fresh(length))
            if block is not None or length == 1:
                self.units.pin(parts[-1])
        joint = np.concatenate(parts)
        starts = np.cumsum([0, *lengths])
        for part, start in zip(parts, starts, strict=False):
            places = np.arange(len(part))
            self.links.append(Link(self.note(joint), places + start, self.note(part), places))
        return [*others, Block((dim,), joint)]

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def _unify(self, first: Ids, second: Ids) -> None:
        self.note(first)
        self.note(second)
        if first is not second:
            self.units.unify(first, second)

    def _taken(self, ids: Ids, places: Ids) -> Ids:
        taken = ids.ravel()[places]
        self._link(taken, ids, places.ravel())
        return taken

    def _link(self, first: Ids, second: Ids, there: Ids) -> None:
        self.links.append(Link(self.note(first), np.arange(first.size), self.note(second), there))


def _ids(block: Block) -> Ids:
    assert block.ids is not None, "a dimension that keeps its places has no units"
    return block.ids


def _matching_runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of old and new dimensions with equal products; dimensions of size 1 belong to none."""
    old = [dim for dim, size in enumerate(before) if size > 1]
    new = [dim for dim, size in enumerate(after) if size > 1]
    runs = []
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        while (a := math.prod(before[d] for d in left)) != (b := math.prod(after[d] for d in right)):
            (left if a < b else right).append((old if a < b else new).pop(0))
        runs.append((left, right))
    return runs
