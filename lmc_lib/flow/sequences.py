r"""Networks that learn the product of a sequence of elements of a group, in two layers, step by step, or as a tree.

Two layers raise the sum of what they read of all :math:`k` elements to the power :math:`k`. The two others square sums
of two, and use that products are associative: a recurrent network takes one element more in each step, with the same
weights, and a tree composes neighbours, with weights of their own at each node (Marchetti, Kunin, Myers, Acosta,
Miolane 2026). For two elements all three are the same network. Networks are evaluated many at once, on all sequences.
"""

__all__ = ["ARCHITECTURES", "Composer", "Recurrent", "Tree", "TwoLayers", "doublings", "grid_to", "products"]

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib.flow.composition import sums_of_all

# By name the weights, each with the axes (*batch, neurons, read or made).
Weights = Mapping[str, Tensor]


def products(table: Int[Tensor, "g g"], length: int) -> Int[Tensor, " sequences"]:
    """The product of each sequence of elements; the last element changes fastest.

    Args:
        table: the product of each two elements.
        length: of the sequences.
    """
    found = torch.arange(len(table))
    for _ in range(length - 1):
        found = table[found].flatten()
    return found


@dataclass(frozen=True)
class Composer(ABC):
    """An architecture that makes a code of the codes of a sequence.

    Attributes:
        order: number of elements of the group, and of entries of a code.
        width: number of neurons of a hidden layer, of a tree those of a node.
        length: of the sequences, at least 2.
    """

    order: int
    width: int
    length: int

    @property
    def neurons(self) -> int:
        """The number of neurons of the widest hidden layer."""
        return self.width

    @property
    @abstractmethod
    def variances(self) -> dict[str, tuple[int, float]]:
        """By the name of its weights how many entries a neuron reads, and the variance of each at the start."""

    @abstractmethod
    def hidden(self, weights: Weights, codes: Float[Tensor, "*batch g g"]) -> Float[Tensor, "*batch n sequences"]:
        """The neurons that are read out, for each sequence."""

    def start(self, *, generator: Generator) -> dict[str, Tensor]:
        """Draws normal weights for which sums of codes of length 1 and of hidden neurons have variances near 1."""
        return {
            name: variance**0.5 * torch.randn(self.width, size, generator=generator, dtype=torch.float64)
            for name, (size, variance) in self.variances.items()
        }

    def outputs(self, weights: Weights, codes: Float[Tensor, "*batch g g"]) -> Float[Tensor, "*batch sequences g"]:
        """The code that the network makes of each sequence; the last element changes fastest.

        Args:
            weights: those of each network.
            codes: the codes of the elements, a row each.
        """
        return self.hidden(weights, codes).mT @ weights["read"]


class TwoLayers(Composer):
    """The sum of what is read of each element, to the power of the length."""

    @property
    def variances(self) -> dict[str, tuple[int, float]]:
        """Those of a sum of variance 1, whose power has the odd factorial as mean square."""
        first = {f"first {place}": (self.order, 1.0 / self.length) for place in range(self.length)}
        return first | {"read": (self.order, 1.0 / self.width / math.prod(range(1, 2 * self.length, 2)))}

    def hidden(self, weights: Weights, codes: Float[Tensor, "*batch g g"]) -> Float[Tensor, "*batch n sequences"]:
        """The powers."""
        sums = weights["first 0"] @ codes.mT
        for place in range(1, self.length):
            sums = _sums(sums, weights[f"first {place}"] @ codes.mT)
        return sums**self.length


class Recurrent(Composer):
    """The square of what is read of the neurons and of the next element, with the same weights in each step."""

    @property
    def variances(self) -> dict[str, tuple[int, float]]:
        """Those of sums of variance 1, whose squares have 3 as mean square."""
        mixed = {"mixed": (self.width, 1.0 / 6.0 / self.width)} if self.length > 2 else {}
        read = {"read": (self.order, 1.0 / 3.0 / self.width)}
        return {"first": (self.order, 0.5), "next": (self.order, 0.5)} | mixed | read

    def hidden(self, weights: Weights, codes: Float[Tensor, "*batch g g"]) -> Float[Tensor, "*batch n sequences"]:
        """The neurons behind the last step."""
        following = weights["next"] @ codes.mT
        state = _sums(weights["first"] @ codes.mT, following).square()
        for _ in range(self.length - 2):
            state = _sums(weights["mixed"] @ state, following).square()
        return state


class Tree(Composer):
    """Squares of what is read of two halves of the sequence, each of them a tree or an element."""

    @property
    def neurons(self) -> int:
        """Those of the level that has most nodes."""
        level = {(0, self.length): 0}
        for low, middle, high in self.nodes:
            level |= dict.fromkeys([(low, middle), (middle, high)], level[low, high] + 1)
        return self.width * max(Counter(level[low, high] for low, _, high in self.nodes).values())

    @property
    def nodes(self) -> list[tuple[int, int, int]]:
        """The parts that are composed, the whole sequence first: where each begins, is split and ends."""
        found, waiting = [], [(0, self.length)]
        while waiting:
            low, high = waiting.pop(0)
            if high - low > 1:
                middle = (low + high + 1) // 2
                found.append((low, middle, high))
                waiting += [(low, middle), (middle, high)]
        return found

    @property
    def variances(self) -> dict[str, tuple[int, float]]:
        """As for the recurrent network."""
        found = {}
        for low, middle, high in self.nodes:
            for side, many in (("left", middle - low), ("right", high - middle)):
                inside = (self.width, 1.0 / 6.0 / self.width)
                found[f"{side} {low} {high}"] = (self.order, 0.5) if many == 1 else inside
        return found | {"read": (self.order, 1.0 / 3.0 / self.width)}

    def hidden(self, weights: Weights, codes: Float[Tensor, "*batch g g"]) -> Float[Tensor, "*batch n sequences"]:
        """The neurons of the root."""
        made = {(place, place + 1): codes.mT for place in range(self.length)}
        for low, middle, high in reversed(self.nodes):
            left = weights[f"left {low} {high}"] @ made[low, middle]
            right = weights[f"right {low} {high}"] @ made[middle, high]
            made[low, high] = _sums(left, right).square()
        return made[0, self.length]


# Each takes the order of the group, a width and a length.
ARCHITECTURES: Mapping[str, Callable[[int, int, int], Composer]] = {
    "two layers": TwoLayers,
    "recurrent": Recurrent,
    "tree": Tree,
}


def grid_to(widest: int) -> tuple[int, ...]:
    """Widths from 4 on, in steps of a half and a third, to the widest.

    Example:
        >>> grid_to(16)
        (4, 6, 8, 12, 16)
    """
    both = (base * 2**power for power in range(widest.bit_length()) for base in (4, 6))
    return tuple(each for each in both if each <= widest)


def doublings(widths: Mapping[int, Float[ndarray, " seeds"]]) -> Float[ndarray, " seeds"]:
    """By how many doublings the width grows with each element more, by least squares, of each seed.

    Args:
        widths: by the length of the sequences the width that each seed needs.
    """
    fitted: ndarray = np.polyfit(list(widths), np.log2(np.stack(list(widths.values()))), 1)[0]
    return fitted


def _sums(first: Tensor, second: Tensor) -> Float[Tensor, "*batch n sequences"]:
    """The sums for each two of what is on the last axes; the second one changes fastest."""
    return sums_of_all(first, second).flatten(-2)
