"""Which examples one architecture finds harder than another: a test for each example."""

__all__ = ["Sensitivity", "permutation_test", "welch_test"]

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


@dataclass(frozen=True)
class Sensitivity:
    """What a test says of each example.

    Attributes:
        statistic: of Welch's test t, positive where the first architecture has the higher score; of the permutation
            test the distance between the mean scores. NaN where there is none.
        p: probability of a statistic at least as far out, if architecture made no difference.
        q: p adjusted for the number of examples (Benjamini and Hochberg): of the examples with ``q <= 0.05``, about one
            in twenty is expected to be wrong.
        least: the smallest p that the test can give with these replicates.
        reason: why values are NaN, or why no example can be found; else empty.
    """

    statistic: Float[ndarray, " examples"]
    p: Float[ndarray, " examples"]
    q: Float[ndarray, " examples"]
    least: float
    reason: str = ""

    @property
    def strength(self) -> Float[ndarray, " examples"]:
        """Minus the decimal logarithm of p with the sign of the statistic; 0 where there is none."""
        statistic, p = np.nan_to_num(self.statistic), np.nan_to_num(self.p, nan=1.0)
        return np.asarray(np.sign(statistic) * -np.log10(np.maximum(p, np.finfo(float).tiny)))


def welch_test(first: Float[ndarray, "replicates examples"], second: Float[ndarray, "others columns"]) -> Sensitivity:
    """Welch's t test for each example, between replicates of two architectures.

    Args:
        first: a score of one architecture, one row a replicate.
        second: the same score of the other.

    Raises:
        ValueError: if an architecture has a single replicate, the examples differ, or a value is not finite.
    """
    from scipy.stats import ttest_ind_from_stats  # noqa: PLC0415 -- slow to load, and of no use to workers

    _check(first, second)
    constant = (np.ptp(first, axis=0) == 0.0) & (np.ptp(second, axis=0) == 0.0)
    statistic, p = (np.full(first.shape[1], np.nan) for _ in range(2))
    if not constant.all():
        of_each = [
            (each.mean(0), each.std(0, ddof=1), len(each)) for each in (first[:, ~constant], second[:, ~constant])
        ]
        found = ttest_ind_from_stats(*of_each[0], *of_each[1], equal_var=False)
        statistic[~constant], p[~constant] = found.statistic, found.pvalue
    return Sensitivity(statistic, p, _adjusted(p), 0.0, _without_spread(constant))


def permutation_test(
    first: Float[ndarray, "... replicates examples"],
    second: Float[ndarray, "... others columns"],
    *,
    rng: np.random.Generator,
    permutations: int = 999,
) -> Sensitivity:
    r"""The distance of two architectures' mean scores of an example, among those with replicates exchanged.

    With :math:`r` of :math:`n` random exchanges at least as far apart as what was found, :math:`p = (r + 1) / (n + 1)`,
    which is never 0. If there are no more than :math:`n` ways to exchange replicates, each is taken once, and
    :math:`p` is the share of them. All examples are exchanged alike.

    Args:
        first: one or several scores of one architecture; of several, the distance is that of vectors, so scale them
            alike before.
        second: the same of the other.
        rng: source of the exchanges.
        permutations: number of exchanges :math:`n`.

    Raises:
        ValueError: as for :func:`welch_test`, and if no exchange is asked for.
    """
    _check(first, second)
    if permutations < 1:
        raise ValueError(f"a permutation test needs at least one permutation, not {permutations}")
    pooled = np.concatenate([first, second], axis=-2)
    size, count = first.shape[-2], pooled.shape[-2]
    ways = math.comb(count, size)
    exact = ways <= permutations
    chosen: Iterable[tuple[int, ...] | ndarray] = (
        combinations(range(count), size) if exact else (rng.permutation(count)[:size] for _ in range(permutations))
    )
    total = pooled.sum(-2)
    found = _apart(pooled, total, np.arange(size))
    # Exchanges that give the same replicates in another order differ in rounding.
    enough = found * (1.0 - 1e-9)
    beyond = np.zeros(len(found), dtype=np.int64)
    for each in chosen:
        beyond += _apart(pooled, total, np.asarray(each)) >= enough
    p = beyond / ways if exact else (beyond + 1) / (permutations + 1)
    # Of as many replicates each, the two sides can be exchanged as a whole, and every distance occurs twice.
    least = (2 if 2 * size == count else 1) / ways if exact else 1 / (permutations + 1)
    reason = (
        ""
        if least * len(found) <= 0.05
        else (
            f"no p is below {least:.2g} here, so a single example among {len(found)} cannot stand out: take more "
            f"{'replicates' if exact else 'permutations'}, or Welch's test"
        )
    )
    return Sensitivity(found, p, _adjusted(p), least, reason)


def _apart(pooled: ndarray, total: ndarray, rows: ndarray) -> ndarray:
    """The distance between the means over some replicates and over the others, for each example."""
    inside = pooled[..., rows, :].sum(-2)
    others = pooled.shape[-2] - len(rows)
    difference = inside / len(rows) - (total - inside) / others
    result: ndarray = np.sqrt(np.square(difference).reshape(-1, difference.shape[-1]).sum(0))
    return result


def _adjusted(p: ndarray) -> ndarray:
    from scipy.stats import false_discovery_control  # noqa: PLC0415 -- as above

    adjusted = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested])
    return adjusted


def _without_spread(constant: Bool[ndarray, " examples"]) -> str:
    if not constant.any():
        return ""
    return (
        f"{int(constant.sum())} examples have the same score in all replicates of each architecture, the first of them "
        f"example {int(constant.argmax())}: without a spread there is no test"
    )


def _check(first: ndarray, second: ndarray) -> None:
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"both architectures need the same examples, got {first.shape[-1]} and {second.shape[-1]}")
    if few := [each.shape[-2] for each in (first, second) if each.shape[-2] < 2]:
        raise ValueError(f"a spread over replicates needs at least two for each architecture, got {few[0]}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a score is missing or infinite: leave it out, or choose another convention for never-learned")
