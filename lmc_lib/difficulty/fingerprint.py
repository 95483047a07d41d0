"""Which architecture a network has, told from how hard it found a few examples."""

__all__ = ["Identified", "cross_identify", "identify", "sensitive_examples", "shuffle_classes"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib.difficulty.sensitivity import welch_test

# Takes scores of networks, their classes and a number, and returns as many examples, the best first.
Choice = Callable[[ndarray, ndarray, int], ndarray]


@dataclass(frozen=True)
class Identified:
    """What was said of networks that had no part in it.

    Attributes:
        classes: the class of each network, one row a replicate.
        said: the class that it was taken for by the networks of the other replicates, for each number of examples.
        chosen: the examples that were looked at for each replicate, the best first.
    """

    classes: Int[ndarray, "replicates architectures"]
    said: Int[ndarray, "replicates architectures sizes"]
    chosen: Int[ndarray, "replicates most"]

    def accuracy(self) -> Float[ndarray, "replicates sizes"]:
        """The share that was right, of each class alike: a class of few architectures counts as much as one of many."""
        alike = np.stack([1.0 / np.count_nonzero(row == row[:, None], axis=1) for row in self.classes])
        weights = alike / alike.sum(1, keepdims=True)
        return np.asarray(((self.said == self.classes[..., None]) * weights[..., None]).sum(1))

    def most_chosen(self, count: int) -> list[tuple[int, int]]:
        """The examples among the first so many of any replicate, each with the number of replicates, the most first."""
        examples, folds = np.unique(self.chosen[:, :count], return_counts=True)
        order = (-folds).argsort(kind="stable")
        return list(zip(examples[order].tolist(), folds[order].tolist(), strict=True))

    def confusion(self, size: int) -> Float[ndarray, "classes classes"]:
        """For each class the shares of its networks that were taken for each class; ``size`` by its place."""
        counts = np.zeros((self.classes.max() + 1,) * 2)
        np.add.at(counts, (self.classes, self.said[..., size]), 1.0)
        shares: ndarray = counts / counts.sum(1, keepdims=True)
        return shares


def sensitive_examples(
    scores: Float[ndarray, "networks examples"], classes: Int[ndarray, " networks"], count: int
) -> Int[ndarray, " {count}"]:
    """The examples on which classes of networks differ most.

    Two classes at a time are compared by Welch's t. Each two choose their example with the largest distance from 0 in
    turn, those that are hardest to tell apart first; what was chosen already is passed over. So examples that tell one
    class from all others cannot crowd out those that tell the others apart.

    Args:
        scores: one row a network.
        classes: the class of each network, at least two networks each.
        count: how many to choose.

    Raises:
        ValueError: if there are fewer examples, or a single class; and as for ``welch_test``.
    """
    names = np.unique(classes)
    if not 1 <= count <= scores.shape[1] or len(names) < 2:
        raise ValueError(f"cannot choose {count} of {scores.shape[1]} examples to tell {len(names)} classes apart")
    tests = [welch_test(*(scores[classes == each] for each in two)) for two in combinations(names, 2)]
    apart = np.stack([np.abs(np.nan_to_num(each.statistic)) for each in tests])
    hardest = apart[apart.max(1).argsort(kind="stable")]
    # Row by row after the transposition: the first choice of every two classes, then the second.
    turns = (-hardest).argsort(1, kind="stable")[:, :count].T.ravel()
    first = np.sort(np.unique(turns, return_index=True)[1])
    chosen: ndarray = turns[first][:count]
    return chosen


def identify(
    scores: Float[ndarray, "networks examples"],
    classes: Int[ndarray, " networks"],
    unknown: Float[ndarray, "others examples"],
) -> Int[ndarray, " others"]:
    """The class whose mean lies nearest, after each example was scaled to unit deviation over the known networks.

    Examples that are the same for all known networks are left out.
    """
    from sklearn.neighbors import NearestCentroid  # noqa: PLC0415 -- slow to load, and of no use to workers

    deviation = scores.std(0)
    varies = deviation > 0.0
    known, asked = (each[:, varies] / deviation[varies] for each in (scores, unknown))
    said: ndarray = NearestCentroid().fit(known, classes).predict(asked)
    return said


def cross_identify(
    scores: Float[ndarray, "replicates architectures examples"],
    classes: Int[ndarray, "replicates architectures"],
    sizes: Sequence[int],
    choose: Choice = sensitive_examples,
) -> Identified:
    """Identifies the networks of each replicate by those of the others, which alone choose the examples too.

    Networks of one replicate may share the order of their batches, so they are set aside together.

    Args:
        scores: a score of every example by every network.
        classes: what is to be told; every class in each replicate.
        sizes: numbers of examples to look at, of the same choice.
        choose: chooses examples from the networks that are not set aside.

    Raises:
        ValueError: if there are fewer than three replicates, so that a class may have a single network to learn from;
            or a replicate lacks a class.
    """
    count, architectures = classes.shape
    if count < 3:
        raise ValueError(f"to set aside one replicate and learn from the rest, take at least three, not {count}")
    if any(set(row.tolist()) != set(classes[0].tolist()) for row in classes):
        raise ValueError("each replicate needs a network of every class")
    said = np.zeros((count, architectures, len(sizes)), dtype=np.int64)
    chosen = np.zeros((count, max(sizes)), dtype=np.int64)
    for aside in range(count):
        known = np.delete(scores, aside, 0).reshape(-1, scores.shape[-1])
        names = np.delete(classes, aside, 0).ravel()
        chosen[aside] = choose(known, names, max(sizes))
        for place, size in enumerate(sizes):
            here = chosen[aside, :size]
            said[aside, :, place] = identify(known[:, here], names, scores[aside][:, here])
    return Identified(classes, said, chosen)


def shuffle_classes(
    classes: Int[ndarray, "replicates architectures"], *, rng: np.random.Generator
) -> Int[ndarray, "replicates architectures"]:
    """Exchanges classes at random among the networks of each replicate, so that there is nothing to tell."""
    return rng.permuted(classes, axis=1)
