"""Units: the things that a permutation moves, as a union-find structure over individual indices.

A unit is a node with a number. Two nodes that must move together are united. A node is *free*, *pinned* (it must keep
its place), or stands for an ordered *pair* of others: a channel and a pixel after a flatten, a head and a channel
inside it. What an array of nodes means is resolved last, so that what is learned late in a network refines what was
written down early.
"""

__all__ = ["Units"]

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

# A pair that holds itself has no meaning; nothing that a network does nests this deeply otherwise.
_DEEPEST = 16


class Units:
    """Nodes with the relations *same as*, *pinned* and *pair of*."""

    def __init__(self) -> None:
        self._parent = np.empty(0, dtype=np.int64)
        self._outer = np.empty(0, dtype=np.int64)
        self._inner = np.empty(0, dtype=np.int64)
        self._pinned = np.empty(0, dtype=bool)
        self.count = 0

    def fresh(self, *shape: int) -> Ids:
        """New free nodes in an array of this shape."""
        first, self.count = self.count, self.count + int(np.prod(shape))
        if self.count > len(self._parent):
            more = max(self.count, 2 * len(self._parent)) - len(self._parent)
            self._parent = np.concatenate([self._parent, np.arange(len(self._parent), len(self._parent) + more)])
            self._outer = np.concatenate([self._outer, np.full(more, -1)])
            self._inner = np.concatenate([self._inner, np.full(more, -1)])
            self._pinned = np.concatenate([self._pinned, np.zeros(more, dtype=bool)])
        return np.arange(first, self.count).reshape(shape)

    def pair(self, outer: Ids, inner: Ids) -> Ids:
        """New nodes that stand for pairs; the two arrays are broadcast against each other."""
        outer, inner = np.broadcast_arrays(outer, inner)
        ids = self.fresh(*outer.shape)
        self._outer[ids], self._inner[ids] = outer, inner
        return ids

    def pin(self, ids: Ids) -> None:
        """Says that these nodes keep their places."""
        self._pinned[self.find(ids)] = True

    def find(self, ids: Ids) -> Ids:
        """The representatives of nodes."""
        roots = self._parent[ids]
        while not np.array_equal(above := self._parent[roots], roots):
            roots = above
        self._parent[ids] = roots
        return roots

    def unify(self, first: Ids, second: Ids) -> None:
        """Says that nodes at the same place of two arrays move together; pairs are united part by part."""
        pending = [(first.ravel(), second.ravel())]
        while pending:
            a, b = pending.pop()
            while True:
                a, b = self.find(a), self.find(b)
                a, b = a[a != b], b[a != b]
                if not len(a):
                    break
                # A total order of the nodes, pairs before free ones, so that links never run in a circle.
                swap = self._order(b) < self._order(a)
                keep, drop = np.where(swap, b, a), np.where(swap, a, b)
                both = self._outer[drop] >= 0
                if both.any():
                    pending.append((self._outer[keep[both]], self._outer[drop[both]]))
                    pending.append((self._inner[keep[both]], self._inner[drop[both]]))
                np.logical_or.at(self._pinned, keep, self._pinned[drop])
                # Of several links of one node the last stands; the next round of the loop makes the others.
                self._parent[drop] = keep

    def parts(self, ids: Ids) -> tuple[Ids, Ids] | None:
        """What these nodes are pairs of; None if one is no pair, as far as is known now."""
        roots = self.find(ids)
        self._free_of_themselves(roots.ravel())
        outer, inner = self._outer[roots], self._inner[roots]
        return None if (outer < 0).any() else (self.find(outer), self.find(inner))

    def settle(self) -> None:
        """Pins what holds itself, and carries pins from pairs to their parts; called when all is united."""
        self._free_of_themselves(self._pairs())
        tangled = self._tangled()
        self._pinned[self.find(np.concatenate([tangled, self._outer[tangled], self._inner[tangled]]))] = True
        self._outer[tangled] = self._inner[tangled] = -1
        while True:
            pairs = np.flatnonzero((self._outer[: self.count] >= 0) & self._pinned[: self.count])
            parts = self.find(np.concatenate([self._outer[pairs], self._inner[pairs]]))
            if self._pinned[parts].all():
                return
            self._pinned[parts] = True

    def is_pinned(self, node: int) -> bool:
        """Says whether a representative keeps its place."""
        return bool(self._pinned[node])

    def any_free(self, ids: Ids) -> bool:
        """Says whether any of these nodes may still move."""
        return not bool(self._pinned[self.find(ids)].all())

    def _order(self, roots: Ids) -> Ids:
        return np.where(self._outer[roots] >= 0, 0, self.count) + roots

    def leaves(self, root: int) -> tuple[int, ...]:
        """What a representative stands for: itself, or the nodes of its nested pairs from the outside in."""
        if self._outer[root] < 0:
            return (root,)
        parts = self.find(np.array([self._outer[root], self._inner[root]])).tolist()
        return tuple(leaf for part in parts for leaf in self.leaves(part))

    def _free_of_themselves(self, roots: Ids) -> None:
        """A pair of itself and something else moves like itself, if the other part keeps its place."""
        roots = roots[self._outer[roots] >= 0]
        outer, inner = self.find(self._outer[roots]), self.find(self._inner[roots])
        own = (outer == roots) ^ (inner == roots)
        self._pinned[np.where(outer == roots, inner, outer)[own]] = True
        self._outer[roots[own]] = self._inner[roots[own]] = -1

    def _pairs(self) -> Ids:
        """The representatives that stand for pairs."""
        roots = np.unique(self.find(np.flatnonzero(self._outer[: self.count] >= 0)))
        return roots[self._outer[roots] >= 0]

    def _tangled(self) -> Ids:
        """Pairs that hold themselves, or nest deeper than a network's operations do."""
        roots = self._pairs()
        depth = np.zeros(self.count, dtype=np.int64)
        for _ in range(_DEEPEST):
            below = np.maximum(depth[self.find(self._outer[roots])], depth[self.find(self._inner[roots])])
            depth[roots] = below + 1
        return roots[depth[roots] >= _DEEPEST]
