"""From units to groups: which units can be exchanged, alone or as blocks, and where each stands.

Two units are interchangeable if they stand in the same arrays in the same way. A unit that never stands without
another one is *inside* it, as a channel is inside its head: units inside the same block may be exchanged among
themselves, and blocks with the same inside as wholes.
"""

__all__ = ["Family", "Grouping"]

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmc_lib.symmetry.layout import Layout
from lmc_lib.symmetry.units import Ids

_Hashes = NDArray[np.uint64]

# The owner of units that are inside no other.
_NOWHERE = -1


@dataclass
class Family:
    """Interchangeable units, of shape ``(*blocks, size)``: one order a block of the family above."""

    units: Ids
    above: "Family | None"
    below: list["Family"] = field(default_factory=list)


class Grouping:
    """The families of a network, after the pass over its graph."""

    def __init__(self, layout: Layout) -> None:
        self._units = layout.units
        self._units.settle()
        found = [self._units.find(array.ravel()) for array in layout.arrays]
        # Nodes that stand for the same units, in pairs that were made apart, are one.
        self._nodes = np.unique(np.concatenate([*found, np.empty(0, dtype=np.int64)]))
        leaves = [self._units.leaves(node) for node in self._nodes.tolist()]
        first: dict[tuple[int, ...], int] = {}
        same = [first.setdefault(each, node) for each, node in zip(leaves, self._nodes.tolist(), strict=True)]
        self._same = np.array(same, dtype=np.int64)
        self._leaves = {node: each for each, node in first.items()}
        roots = [self._same[np.searchsorted(self._nodes, array)] for array in found]
        everything = np.array(sorted(self._leaves), dtype=np.int64)
        self._pinned = {
            leaf: self._units.is_pinned(leaf) for leaf in {leaf for each in self._leaves.values() for leaf in each}
        }
        signatures = _signatures(everything, roots, layout)
        self._chain = self._chains()
        self._name: dict[int, int] = {}
        self._colour = self._colours(dict(zip(everything.tolist(), signatures.tolist(), strict=True)))
        self.families = self._families()
        self._rank = {
            unit: (number, index)
            for number, family in enumerate(self.families)
            for row in family.units.reshape(-1, family.units.shape[-1]).tolist()
            for index, unit in enumerate(row)
        }

    def _roots(self, ids: Ids) -> Ids:
        same: Ids = self._same[np.searchsorted(self._nodes, self._units.find(ids.ravel()))]
        return same

    def places(self, ids: Ids, *, without: Sequence[frozenset[int]] = ()) -> dict[int, Ids]:
        """Where each family's units stand along an axis: arrays ``(*blocks, size, places of a unit)`` by family.

        Args:
            ids: the units of the axis.
            without: for each place units that are to be left out there.
        """
        found: dict[int, list[tuple[tuple[int, ...], int, int]]] = defaultdict(list)
        seen: dict[int, int] = defaultdict(int)
        for place, root in enumerate(self._roots(ids).tolist()):
            leaves = self._leaves[root]
            for at, leaf in enumerate(leaves):
                if leaf in self._rank and not (without and leaf in without[place]):
                    # Keys are of different lengths where a unit stands alone and beside another: only equal ones may
                    # be told apart by what follows.
                    found[leaf].append((self._key(leaf, leaves, at), seen[root], place))
            seen[root] += 1
        result = {}
        for number in sorted({self._rank[leaf][0] for leaf in found}):
            units = self.families[number].units
            rows = [[key[-1] for key in sorted(found[unit])] for unit in units.ravel().tolist()]
            result[number] = np.array(rows, dtype=np.int64).reshape(*units.shape, -1)
        return result

    def leaves(self, ids: Ids) -> list[frozenset[int]]:
        """The units of each place of an axis."""
        return [frozenset(self._leaves[root]) for root in self._roots(ids).tolist()]

    def _key(self, leaf: int, leaves: tuple[int, ...], at: int) -> tuple[int, ...]:
        """What tells the places of a unit apart, in terms that are the same for all units of a family."""
        key: tuple[int, ...] = ()
        for other_at, other in enumerate(leaves):
            if other_at == at or other in self._chain.get(leaf, ()):
                continue
            if leaf in self._chain.get(other, ()):
                key += (other_at, 0, self._colour[other], self._rank.get(other, (0, 0))[1])
            else:
                inside = self._chain.get(other) == self._chain[leaf]
                key += (other_at, 1, self._name[other] if inside else other, 0)
        return key

    def _chains(self) -> dict[int, tuple[int, ...]]:
        """For each free unit the units that it is inside of, from the outermost to the innermost."""
        company: dict[int, frozenset[int]] = {}
        example: dict[int, tuple[int, ...]] = {}
        for leaves in self._leaves.values():
            free = [leaf for leaf in leaves if not self._pinned[leaf]]
            for leaf in free:
                others = frozenset(free) - {leaf}
                company[leaf] = company[leaf] & others if leaf in company else others
                example.setdefault(leaf, leaves)
        above = {}
        for leaf, others in company.items():
            before = example[leaf][: example[leaf].index(leaf)]
            owners = [each for each in before if each in others]
            above[leaf] = owners[-1] if owners else None
        chains: dict[int, tuple[int, ...]] = {}
        for leaf in above:
            chain: list[int] = []
            each = above[leaf]
            while each is not None:
                chain.append(each)
                each = above[each]
            chains[leaf] = tuple(reversed(chain))
        return chains

    def _colours(self, signature: dict[int, int]) -> dict[int, int]:
        """A number for each free unit that is equal for two units only if they stand alike."""
        standing: dict[int, list[int]] = defaultdict(list)
        for root, leaves in self._leaves.items():
            for leaf in dict.fromkeys(leaves):
                if not self._pinned[leaf]:
                    standing[leaf].append(root)
        # Units inside the same block that cross each other, as the queries of a key and its channels, have names that
        # mean the same in every block: the kind and the number there.
        kinds = self._coloured(standing, signature, dict.fromkeys(standing, 0))
        counts: dict[tuple[tuple[int, ...], int], int] = defaultdict(int)
        numbers: dict[tuple[int, int], int] = {}
        for unit in sorted(standing):
            here = (self._chain[unit], kinds[unit])
            self._name[unit] = numbers.setdefault((kinds[unit], counts[here]), len(numbers))
            counts[here] += 1
        return self._coloured(standing, signature, self._name)

    def _coloured(
        self, standing: dict[int, list[int]], signature: dict[int, int], names: dict[int, int]
    ) -> dict[int, int]:
        """Numbers of how units stand, if those beside them in their block are told apart by these names."""
        colour: dict[int, int] = {}
        for unit in sorted(standing, key=lambda each: -len(self._chain[each])):
            seen = []
            for root in standing[unit]:
                leaves = self._leaves[root]
                if len(leaves) == 1:
                    seen.append(signature[root])
                else:
                    seen.append(hash((signature[root], *(self._role(unit, each, colour, names) for each in leaves))))
            colour[unit] = hash(tuple(sorted(seen)))
        return colour

    def _role(self, unit: int, other: int, colour: dict[int, int], names: dict[int, int]) -> tuple[int, int]:
        """How a unit sees another one beside it: itself, around it, inside it, in its block, or elsewhere."""
        if other == unit:
            return (0, 0)
        if other in self._chain[unit]:
            return (1, self._chain[unit].index(other))
        if unit in self._chain.get(other, ()):
            return (2, colour[other])
        if self._chain.get(other) == self._chain[unit]:
            return (3, names[other])
        return (4, other)

    def _families(self) -> list[Family]:
        members: dict[tuple[int, int], list[int]] = defaultdict(list)
        for unit in sorted(self._colour):
            chain = self._chain[unit]
            members[chain[-1] if chain else _NOWHERE, self._colour[unit]].append(unit)
        inside: dict[int, dict[int, list[int]]] = defaultdict(dict)
        for (owner, colour), units in members.items():
            inside[owner][colour] = units
        return list(_unfold(np.array([[_NOWHERE]]), None, inside))


def _unfold(owners: Ids, above: Family | None, inside: dict[int, dict[int, list[int]]]) -> Iterator[Family]:
    """Families inside these owners, of shape ``(*blocks, size)``, outer ones first."""
    first = inside.get(int(owners.flat[0]), {})
    for colour, example in first.items():
        units = np.array([inside[owner][colour] for owner in owners.ravel().tolist()], dtype=np.int64)
        units = units.reshape(*owners.shape, len(example)) if above is not None else units.reshape(-1)
        if len(example) > 1:
            family = Family(units, above)
            if above is not None:
                above.below.append(family)
            yield family
            yield from _unfold(units, family, inside)
        else:
            # A single unit has no order; what is inside it belongs to the block around it.
            alone = units.reshape(owners.shape) if above is not None else units.reshape(1, 1)
            yield from _unfold(alone, above, inside)


def _signatures(everything: Ids, roots: Sequence[Ids], layout: Layout) -> _Hashes:
    """For each node a hash of the arrays, repetitions and moves between arrays in which it stands."""
    total = np.zeros(len(everything), dtype=np.uint64)
    repeated = [_repetitions(each) for each in roots]
    for number, (array, count) in enumerate(zip(roots, repeated, strict=True)):
        np.add.at(
            total, np.searchsorted(everything, array), _mix(np.uint64(2 * number + 1), count, np.zeros_like(count))
        )
    for number, link in enumerate(layout.links):
        here, there = repeated[link.first][link.here], repeated[link.second][link.there]
        if here.any() or there.any():
            nodes = np.searchsorted(everything, roots[link.first][link.here])
            np.add.at(total, nodes, _mix(np.uint64(2 * number + 2), here, there))
    return total


def _repetitions(array: Ids) -> Ids:
    """How often the node at each place stood before it in the array."""
    order = np.argsort(array, kind="stable")
    ordered = array[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(array) else np.empty(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(array)])
    count = np.empty(len(array), dtype=np.int64)
    count[order] = np.arange(len(array)) - np.repeat(starts, lengths)
    return count


def _mix(number: np.uint64, first: Ids, second: Ids) -> _Hashes:
    """Hashes of triples by the finaliser of SplitMix64, whose sums tell multisets apart."""
    with np.errstate(over="ignore"):
        value = number * np.uint64(0x9E3779B97F4A7C15) + first.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        value = value + second.astype(np.uint64) * np.uint64(0x8CB92BA72F3D8DD7)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
