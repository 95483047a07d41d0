"""What two architectures share, and on which examples they differ, in one half of the replicates and in the other."""

__all__ = ["LEVEL", "Halves", "compare_halves", "differing", "kinds", "mean_of_halves", "places", "reproduced"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from lmc_lib.difficulty.correlation import correlations, ranks
from lmc_lib.difficulty.sensitivity import Sensitivity, permutation_test, welch_test

# Of the examples that are found, at most this share is expected to be wrong.
LEVEL = 0.05


@dataclass(frozen=True)
class Halves:
    """Means over random halves of the replicates.

    Attributes:
        between: rank correlation of the mean over one half of an architecture and that over the other's other half.
        first: rank correlation of the two halves of the first architecture.
        second: that of the second.
        found: share of the examples whose places differ between the architectures, on one half.
        reproduced: share of the examples that are found and differ again, with the same sign, on the other half.
    """

    between: float
    first: float
    second: float
    found: float
    reproduced: float

    @property
    def within(self) -> float:
        """The correlation between architectures if they differed by noise alone; NaN if one of them has none."""
        return math.sqrt(self.first * self.second) if min(self.first, self.second) > 0.0 else math.nan


def places(scores: Float[ndarray, "... examples"]) -> Float[ndarray, "... examples"]:
    """Where each example stands in the order of all of them, from 0 to 1 and in equal steps; along the last axis.

    A place does not tell how good a network is at all examples together.

    Raises:
        ValueError: if a value is missing, or there is a single example.

    Example:
        >>> places(np.array([0.1, 9.0, 0.3]))
        array([0. , 1. , 0.5])
    """
    if scores.shape[-1] < 2:
        raise ValueError("an order needs at least two examples")
    found: ndarray = ranks(scores) / (scores.shape[-1] - 1)
    return found


def reproduced(
    first: Float[ndarray, "replicates examples"],
    second: Float[ndarray, "others columns"],
    half: Int[ndarray, " some"],
    other: Int[ndarray, " rest"],
) -> tuple[Bool[ndarray, " examples"], Bool[ndarray, " examples"]]:
    """Which examples differ between two architectures on one half of the replicates, and which of them again.

    Both halves are tested by Welch's t with the correction of Benjamini and Hochberg: the first for all examples, the
    second for those that were found.

    Args:
        first: a score of one architecture, one row a replicate.
        second: the same score of the other; the same rows make a half.
        half: the replicates on which examples are found.
        other: the replicates on which they are tested again.

    Returns:
        The found examples, and those of them that differ again with the same sign.

    Raises:
        ValueError: if the halves share a replicate; and as for ``welch_test``.
    """
    if shared := set(half.tolist()) & set(other.tolist()):
        raise ValueError(f"halves have no replicate in common, but both have {sorted(shared)}")
    test = welch_test(first[half], second[half])
    found = test.q <= LEVEL
    again = np.zeros_like(found)
    if found.any():
        repeated = welch_test(first[np.ix_(other, found)], second[np.ix_(other, found)])
        again[found] = (repeated.q <= LEVEL) & (np.sign(repeated.statistic) == np.sign(test.statistic[found]))
    return found, again


def kinds(
    test: Sensitivity, means: tuple[Float[ndarray, " examples"], Float[ndarray, " examples"]], count: int
) -> dict[str, Int[ndarray, " {count}"]]:
    """The examples of three kinds, by what a test says of them.

    Args:
        test: the test of all examples.
        means: the mean places of the examples in both architectures.
        count: how many of each kind.

    Returns:
        ``"first"``: those that are harder for the first architecture, the clearest first; ``"second"``: likewise;
        ``"alike"``: of those that do not differ, with p above a half, the hardest for both.
    """
    statistic, p = np.nan_to_num(test.statistic), np.nan_to_num(test.p, nan=1.0)
    alike = np.where(p > 0.5, np.minimum(*means), -1.0)
    orders = {"first": statistic, "second": -statistic, "alike": alike}
    return {name: (-each).argsort(kind="stable")[:count] for name, each in orders.items()}


def compare_halves(
    first: Float[ndarray, "replicates examples"],
    second: Float[ndarray, "others examples"],
    orders: Int[ndarray, "splits columns"],
    *,
    without: int | None = None,
) -> Halves:
    """Compares two architectures on halves of their replicates, so that no network is compared with itself.

    Correlations are of means of the scores; tests are of the places of examples, so that an architecture for which all
    examples are easier is not different for that. Each half has both parts in turn, and all splits are averaged.

    Args:
        first: a score of one architecture, one row a replicate.
        second: the same of the other; replicates of the same number are left out together.
        orders: one row a split: an order of the replicates, whose first half is one half.
        without: a replicate that is left out of its half, for the jackknife.

    Raises:
        ValueError: if the numbers of replicates differ, orders are none of them, or a half has less than two; and if a
            score is not finite.
    """
    count = len(first)
    if len(second) != count:
        raise ValueError(f"both architectures need as many replicates, got {count} and {len(second)}")
    if not all(np.array_equal(np.sort(order), np.arange(count)) for order in orders):
        raise ValueError(f"each split is an order of the {count} replicates")
    least = 2 + (without is not None)
    if count // 2 < least:
        raise ValueError(f"halves of {count} replicates are too small: take at least {2 * least}")
    at = places(first), places(second)
    rows = []
    for order in orders:
        half, other = (part[part != without] for part in (order[: count // 2], order[count // 2 :]))
        means = [np.stack([first[part].mean(0), second[part].mean(0)]) for part in (half, other)]
        own = correlations(*means).values
        shares = [[each.mean() for each in reproduced(*at, *parts)] for parts in ((half, other), (other, half))]
        rows.append([(own[0, 1] + own[1, 0]) / 2.0, own[0, 0], own[1, 1], *np.mean(shares, axis=0)])
    return Halves(*(float(each) for each in np.mean(rows, axis=0)))


def mean_of_halves(pairs: Sequence[Mapping[str, Float[ndarray, " draws"]]]) -> dict[str, Float[ndarray, " draws"]]:
    """What halves say of several pairs of architectures, in the mean over pairs.

    Args:
        pairs: for each pair the attributes of :class:`Halves` by name, as arrays: of all replicates, and without each.

    Returns:
        ``"between"``, ``"found"`` and ``"reproduced"``; ``"within"``: the root of ``first`` times ``second``;
        ``"gap"``: within less between; ``"disattenuated"``: between as share of within; ``"again"``: the reproduced as
        share of the found, 0 if none is found.
    """
    mean = {name: np.mean([each[name] for each in pairs], axis=0) for name in ("between", "found", "reproduced")}
    within = np.mean([np.sqrt(each["first"] * each["second"]) for each in pairs], axis=0)
    return {
        **mean,
        "within": within,
        "gap": within - mean["between"],
        "disattenuated": mean["between"] / within,
        "again": np.divide(mean["reproduced"], mean["found"], out=np.zeros_like(within), where=mean["found"] > 0.0),
    }


def differing(
    first: Float[ndarray, "replicates examples"],
    second: Float[ndarray, "others columns"],
    *,
    rng: np.random.Generator,
    permutations: int,
) -> dict[str, float]:
    """The share of examples that differ between two architectures, by two tests on all replicates.

    Args:
        first: a score of one architecture, one row a replicate.
        second: the same score of the other.
        rng: source of the exchanges.
        permutations: number of exchanges.

    Returns:
        By ``"welch"`` and by ``"permutation"``, of what these find at ``LEVEL`` after correction for many examples; and
        ``"least"``, the smallest p that the exchanges can give.

    Raises:
        ValueError: as for ``welch_test`` and ``permutation_test``.
    """
    by_t, by_exchange = welch_test(first, second), permutation_test(first, second, rng=rng, permutations=permutations)
    shares = {"welch": by_t.q, "permutation": by_exchange.q}
    return {name: float((q <= LEVEL).mean()) for name, q in shares.items()} | {"least": by_exchange.least}
