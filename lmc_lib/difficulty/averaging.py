"""How many networks make a score stable: the reliability of means over some, measured and by a law."""

__all__ = [
    "averaged_runs", "departures", "reliability_of_means", "runs_needed", "runs_reaching", "spearman_brown",
    "split_by_orders", "split_half",
]  # fmt: skip

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib.difficulty.correlation import check_replicates, correlations, ranks, tie_share


def spearman_brown(single: float, runs: Any) -> Any:
    r"""The reliability of a mean over :math:`R` runs from that of one, :math:`R r / (1 + (R - 1) r)`.

    The law is about numbers that are averaged and compared as numbers, by Pearson's correlation: it holds for scores,
    and for ranks. Where scores are averaged and the means ranked, as in :func:`split_half`, it is a rule of thumb,
    since ranks of a mean are no means of ranks; for scores with ties or a bound that many examples reach it promises
    too much.

    Example:
        >>> round(spearman_brown(0.52, 17.5), 2)
        0.95
    """
    return runs * single / (1.0 + (runs - 1.0) * single)


def runs_needed(single: float, target: float) -> float:
    r"""The number of runs whose mean has a reliability, :math:`\frac{t (1 - r)}{r (1 - t)}`, by the same law.

    Where means were measured, :func:`runs_reaching` says what they reached.

    Raises:
        ValueError: if a reliability is not between 0 and 1.

    Example:
        >>> [round(runs_needed(each, 0.95), 1) for each in (0.93, 0.88, 0.79, 0.64)]
        [1.4, 2.6, 5.1, 10.7]
    """
    if not (0.0 < single < 1.0 and 0.0 < target < 1.0):
        raise ValueError(f"reliabilities lie between 0 and 1, got {single} for one run and {target} for the mean")
    return target * (1.0 - single) / (single * (1.0 - target))


def runs_reaching(runs: Sequence[int], measured: Float[ndarray, " runs"], target: float) -> float:
    """The least number of runs from which on the measured reliability of their means stays at a target or above.

    It assumes no law and says nothing beyond the numbers of runs that were measured.

    Args:
        runs: the numbers of runs, rising.
        measured: the reliability of means over so many; NaN, where a mean is the same for all examples, is below.
        target: the reliability that is wanted.

    Returns:
        One of ``runs``; infinity if the last of them is still below the target.

    Raises:
        ValueError: if numbers and reliabilities do not go together, or the numbers do not rise.

    Example:
        >>> runs_reaching([1, 2, 4, 9], np.array([0.76, 0.91, 0.88, 0.92]), 0.9)
        9.0
    """
    if len(runs) != len(measured):
        raise ValueError(f"every number of runs needs one reliability, got {len(runs)} and {len(measured)}")
    if any(later <= earlier for earlier, later in pairwise(runs)):
        raise ValueError(f"the numbers of runs must rise, got {list(runs)}")
    below = np.flatnonzero(~(measured >= target))
    enough = below[-1] + 1 if len(below) else 0
    return float(runs[enough]) if enough < len(runs) else math.inf


def averaged_runs(count: int) -> list[int]:
    """Numbers of runs, evenly spaced on a logarithmic axis, of which two means fit in all of ``count`` runs but one.

    Example:
        >>> averaged_runs(21)
        [1, 2, 3, 4, 6, 10]
    """
    largest = (count - 1) // 2
    return sorted({round(each) for each in np.geomspace(1, largest, 6)}) if largest else []


def split_half(
    stack: Float[ndarray, "replicates examples"], *, rng: np.random.Generator, splits: int = 100
) -> Float[ndarray, "{splits} _"]:
    """The measured reliability of means over 1, 2, ... runs, up to half of them, to hold against the law above.

    Each split draws a random order of the replicates; for each number of runs, the mean over the first so many is
    compared with the mean over the next so many, by rank correlation. Scores are averaged as they are, not as ranks.

    Args:
        stack: a score, one row a replicate.
        rng: source of the orders.
        splits: number of orders.

    Returns:
        One row a split, one column a number of runs, from 1 on; NaN where a mean is the same for all examples.

    Raises:
        ValueError: if there is a single replicate, or a value is missing or infinite.
    """
    check_replicates(stack, 2, "a split into halves")
    orders = np.stack([rng.permutation(len(stack)) for _ in range(splits)])
    return split_by_orders(stack, orders, range(1, len(stack) // 2 + 1))


def split_by_orders(
    stack: Float[ndarray, "replicates examples"], orders: Int[ndarray, "splits _"], runs: Sequence[int]
) -> Float[ndarray, "{len(orders)} {len(runs)}"]:
    """The reliability of means over some numbers of runs, as :func:`split_half`, by given orders of the replicates.

    Orders of some of the replicates give what is measured without the others, by the same splits otherwise.

    Args:
        stack: a score, one row a replicate.
        orders: in each row different replicates, at least twice as many as runs are averaged.
        runs: the numbers of runs to average.

    Raises:
        ValueError: if an order is too short, or a value is missing or infinite.
    """
    if not np.isfinite(stack).all():
        raise ValueError("a value is missing or infinite, and has no mean; infinity is a convention for never-learned")
    if max(runs) * 2 > orders.shape[1]:
        raise ValueError(f"two means over {max(runs)} runs need {2 * max(runs)} replicates, got {orders.shape[1]}")
    means = np.stack([[[stack[order[:n]].mean(0), stack[order[n : 2 * n]].mean(0)] for n in runs] for order in orders])
    placed = ranks(means)
    centred = placed - placed.mean(-1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=-1)
    with np.errstate(invalid="ignore"):  # where all values are equal there is no correlation: NaN
        result: ndarray = (centred[..., 0, :] * centred[..., 1, :]).sum(-1) / (lengths[..., 0] * lengths[..., 1])
    return result.clip(-1.0, 1.0)


def reliability_of_means(
    stack: Float[ndarray, "replicates examples"], orders: Int[ndarray, "splits replicates"], *, leave_out: bool = False
) -> dict[str, ndarray]:
    """What is measured of the agreement between replicates of a score, and between means over some and over others.

    Args:
        stack: a score, one row a replicate.
        orders: one row a split: an order of the replicates.
        leave_out: whether to repeat the splits without each replicate.

    Returns:
        ``"pairs"``: the rank correlations of pairs of replicates; ``"ties"``: the mean share of tied examples;
        ``"halves"``: the mean over the splits of :func:`split_by_orders`, by :func:`averaged_runs`; ``"without"``: the
        same without each replicate, one row each; no rows if none is left out.
    """
    runs, every = averaged_runs(len(stack)), range(len(stack))
    without = [np.stack([order[order != gone] for order in orders]) for gone in every] if leave_out else []
    return {
        "pairs": correlations(stack).values[np.triu_indices(len(stack), 1)],
        "ties": np.array(np.mean([tie_share(row) for row in stack])),
        "halves": split_by_orders(stack, orders, runs).mean(0),
        "without": np.array([split_by_orders(stack, each, runs).mean(0) for each in without]),
    }


def departures(
    pairs: Float[ndarray, "replicates replicates"],
    halves: Float[ndarray, " runs"],
    without: Float[ndarray, "replicates runs"],
    runs: Sequence[int],
) -> Float[ndarray, " {len(pairs)+1}"]:
    """The largest distance of measured reliabilities from the law, by all replicates and without each.

    Args:
        pairs: rank correlations between replicates; NaN on the diagonal.
        halves: the measured reliability of means over so many runs (:func:`reliability_of_means`).
        without: the same without each replicate.
        runs: the numbers of runs.
    """
    left = [np.delete(np.delete(pairs, gone, 0), gone, 1) for gone in range(len(pairs))]
    laws = [spearman_brown(float(np.nanmean(each)), np.array(runs)) for each in (pairs, *left)]
    return np.asarray(np.abs(np.vstack([halves, without]) - np.stack(laws)).max(1))
