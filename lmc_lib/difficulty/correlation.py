r"""How far a score can be trusted: agreement between replicates, between scores and between architectures.

A *stack* holds a score of every example for every replicate, of shape ``(replicates, examples)``. Ranks of equal values
are averaged: many scores are counts, and most examples share theirs.
"""

__all__ = [
    "Components", "Correlations", "averaged_runs", "correlations", "cross_correlation", "different_scores",
    "disattenuated", "principal_components", "ranks", "reliability", "reliability_of_means", "runs_needed",
    "runs_reaching", "score_correlations", "spearman_brown", "split_by_orders", "split_half", "tie_share",
]  # fmt: skip

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


@dataclass(frozen=True)
class Correlations:
    """Correlations between the rows of two stacks.

    Attributes:
        values: one row a row of the first stack, one column a row of the second; NaN where there is none.
        reason: why values are NaN; empty if none is.
    """

    values: Float[ndarray, "rows columns"]
    reason: str = ""


@dataclass(frozen=True)
class Components:
    """Principal components of scores.

    Attributes:
        shares: the share of the variance that each component explains, the largest first.
        loadings: one row a component, of length 1; one column a score, NaN for scores that are left out.
        reason: why scores are left out; empty if none is.
    """

    shares: Float[ndarray, " components"]
    loadings: Float[ndarray, "components scores"]
    reason: str = ""


def ranks(values: Float[ndarray, "... examples"]) -> Float[ndarray, "... examples"]:
    """The ranks of examples from 0 on, the mean rank for equal values; along the last axis.

    Raises:
        ValueError: if a value is missing.

    Example:
        >>> ranks(np.array([3.0, 1.0, 1.0, np.inf]))
        array([2. , 0.5, 0.5, 3. ])
    """
    from scipy.stats import rankdata  # noqa: PLC0415 -- slow to load, and of no use to workers

    _check_values(values)
    result: ndarray = rankdata(values, axis=-1) - 1.0
    return result


def tie_share(values: Float[ndarray, " examples"]) -> float:
    """The share of examples whose value another example has too.

    Example:
        >>> tie_share(np.array([3.0, 1.0, 1.0, 2.0]))
        0.5
    """
    counts = np.unique(values, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(values))


def correlations(
    stack: Float[ndarray, "rows examples"],
    other: Float[ndarray, "columns others"] | None = None,
    *,
    kind: str = "spearman",
) -> Correlations:
    r"""Correlations between the rows of a stack, or between those of two.

    Args:
        stack: one row a replicate, or a score.
        other: the rows to compare with; those of the same stack if None.
        kind: ``"spearman"``, the correlation of ranks; or ``"kendall"``, :math:`\tau_b`, which takes ties otherwise.

    Raises:
        ValueError: if the kind is unknown, the numbers of examples differ, or a value is missing.
    """
    if kind not in ("spearman", "kendall"):
        raise ValueError(f"unknown kind of correlation {kind!r}; there are spearman, kendall")
    other = stack if other is None else other
    if stack.shape[1] != other.shape[1]:
        raise ValueError(f"both stacks need the same examples, got {stack.shape[1]} and {other.shape[1]}")
    first, second = ranks(stack), ranks(other)
    constant = [[bool(np.ptp(row) == 0.0) for row in each] for each in (first, second)]
    values = _spearman(first, second) if kind == "spearman" else _kendall(first, second)
    values[constant[0]] = np.nan
    values[:, constant[1]] = np.nan
    return Correlations(values, _reason(constant[0], constant[1] if other is not stack else []))


def reliability(stack: Float[ndarray, "replicates examples"]) -> float:
    """The mean rank correlation between different replicates: how far a single one can be trusted.

    NaN if a replicate gives all examples one value; :func:`correlations` says which.

    Raises:
        ValueError: if there is a single replicate, or a value is missing.
    """
    _check_replicates(stack, 2, "the correlation between replicates")
    return cross_correlation(stack, stack, same_runs=True)


def cross_correlation(
    first: Float[ndarray, "replicates examples"], second: Float[ndarray, "others columns"], *, same_runs: bool
) -> float:
    """The mean rank correlation of one score on one replicate with another score on another replicate.

    Two scores of one run share its noise, so their correlation says more about the run than about the examples.

    Args:
        first: a score.
        second: another score, or the same of another architecture.
        same_runs: whether row ``i`` of both is the same run; these pairs are left out.

    Raises:
        ValueError: if pairs are to be left out and the numbers of replicates differ or none is left; and as for
            :func:`correlations`.
    """
    if same_runs and len(first) != len(second):
        raise ValueError(f"the same runs have as many rows in both stacks, got {len(first)} and {len(second)}")
    if same_runs:
        _check_replicates(first, 2, "a correlation over different runs")
    values = correlations(first, second).values
    return float(values[~np.eye(len(first), dtype=bool)].mean() if same_runs else values.mean())


def disattenuated(
    first: Float[ndarray, "replicates examples"], second: Float[ndarray, "others columns"], *, same_runs: bool
) -> Correlations:
    r"""The correlation that two scores would have without noise, :math:`r_{ab} / \sqrt{r_{aa}\, r_{bb}}`.

    The correlation of two noisy scores is bounded by the root of their reliabilities. Where the bound itself is
    uncertain, the result may lie above 1. All three are means over different runs.

    Args:
        first: a score.
        second: another score.
        same_runs: as for :func:`cross_correlation`.

    Returns:
        One row and column; NaN with the reason where a score has no positive reliability.
    """
    own = [reliability(each) for each in (first, second)]
    if not min(own) > 0.0 or math.isnan(sum(own)):
        reason = f"the reliabilities are {own[0]:.3g} and {own[1]:.3g}; both need to be positive"
        return Correlations(np.full((1, 1), np.nan), reason)
    raw = cross_correlation(first, second, same_runs=same_runs)
    return Correlations(np.array([[raw / math.sqrt(own[0] * own[1])]]))


def score_correlations(stack: Float[ndarray, "networks scores examples"]) -> dict[str, ndarray]:
    """Matrices of rank correlations between scores, one row and one column a score; NaN where a score has one value.

    Returns:
        ``"means"``: of the means over all networks; ``"same run"``: within a network, the mean over networks; ``"other
        run"``: of one score by a network and another score by another network, the mean over all such pairs;
        ``"disattenuated"``: the last divided by the root of both reliabilities, as :func:`disattenuated`.
    """
    networks, scores, _ = stack.shape
    every = correlations(stack.reshape(networks * scores, -1)).values
    every = every.reshape(networks, scores, networks, scores).swapaxes(1, 2)
    other = every[~np.eye(networks, dtype=bool)].mean(0)
    reliability = other.diagonal()
    with np.errstate(invalid="ignore"):  # a score without positive reliability has no correlation free of noise
        free = other / np.sqrt(np.outer(reliability, reliability))
    np.fill_diagonal(free, np.where(np.isfinite(free.diagonal()), 1.0, np.nan))
    same = every[range(networks), range(networks)].mean(0)
    return {"means": correlations(stack.mean(0)).values, "same run": same, "other run": other, "disattenuated": free}


def spearman_brown(single: float, runs: int | float) -> float:
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
    _check_replicates(stack, 2, "a split into halves")
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
        ``"pairs"``: the rank correlations of pairs of replicates; ``"ties"``: the mean :func:`tie_share`; ``"halves"``:
        the mean over the splits of :func:`split_by_orders`, by :func:`averaged_runs`; ``"without"``: the same without
        each replicate, one row each; no rows if none is left out.
    """
    runs, every = averaged_runs(len(stack)), range(len(stack))
    without = [np.stack([order[order != gone] for order in orders]) for gone in every] if leave_out else []
    return {
        "pairs": correlations(stack).values[np.triu_indices(len(stack), 1)],
        "ties": np.array(np.mean([tie_share(row) for row in stack])),
        "halves": split_by_orders(stack, orders, runs).mean(0),
        "without": np.array([split_by_orders(stack, each, runs).mean(0) for each in without]),
    }


def principal_components(scores: Float[ndarray, "scores examples"], *, anchor: int = 0) -> Components:
    """Principal components of scores, on ranks of unit variance: those of the matrix of rank correlations.

    A component's sign is arbitrary; it is chosen so that the anchor loads positively.

    Args:
        scores: one row a score, turned so that higher means harder.
        anchor: the row that fixes the signs; where its loading vanishes, the largest loading does.

    Raises:
        ValueError: if the anchor is no row or is left out, fewer than two scores vary, or a value is missing.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 -- slow to load, and of no use to workers

    if not 0 <= anchor < len(scores):
        raise ValueError(f"the anchor is one of {len(scores)} scores, counted from 0, not {anchor}")
    placed = ranks(scores)
    constant = [bool(np.ptp(row) == 0.0) for row in placed]
    varying = [number for number, each in enumerate(constant) if not each]
    if anchor not in varying or len(varying) < 2:
        raise ValueError(
            f"components need an anchor and another score that vary over examples; {_reason(constant, [])}"
        )
    used = placed[varying]
    used = (used - used.mean(1, keepdims=True)) / used.std(1, keepdims=True)
    found = PCA(svd_solver="full").fit(used.T)
    rows = found.components_
    signs = rows[:, varying.index(anchor)]
    # Rounding leaves some 1e-16 of a loading that vanishes.
    signs = np.where(np.abs(signs) > 1e-9, signs, rows[np.arange(len(rows)), np.abs(rows).argmax(1)])
    loadings = np.full((len(rows), len(scores)), np.nan)
    loadings[:, varying] = rows * np.sign(signs)[:, None]
    return Components(found.explained_variance_ratio_, loadings, _reason(constant, []))


def different_scores(scores: Float[ndarray, "scores examples"], limit: float = 0.95) -> Int[ndarray, " kept"]:
    """The rows that are no near copies of an earlier one: their rank correlation stays below a limit in size.

    Confidence, loss, EL2N and margin say almost the same, and near copies make a first component look large.

    Raises:
        ValueError: if a value is missing.
    """
    close = np.abs(correlations(scores).values)
    kept: list[int] = []
    for number, row in enumerate(close):
        if not any(row[earlier] >= limit for earlier in kept):
            kept.append(number)
    return np.array(kept)


def _spearman(first: ndarray, second: ndarray) -> ndarray:
    units = []
    for each in (first, second):
        centred = each - each.mean(1, keepdims=True)
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        units.append(centred / np.where(norms > 0.0, norms, 1.0))
    result: ndarray = units[0] @ units[1].T
    return result.clip(-1.0, 1.0)


def _kendall(first: ndarray, second: ndarray) -> ndarray:
    from scipy.stats import kendalltau  # noqa: PLC0415 -- as above

    return np.array([[kendalltau(a, b).statistic for b in second] for a in first], dtype=float)


def _reason(rows: list[bool], columns: list[bool]) -> str:
    """Which rows hold a single value for all examples."""
    found = [
        f"{where} {', '.join(str(number) for number, each in enumerate(constant) if each)}"
        for where, constant in (("row", rows), ("row of the second stack", columns))
        if any(constant)
    ]
    return f"all examples have the same value in {' and '.join(found)}, so there is no order of them" if found else ""


def _check_values(values: ndarray) -> None:
    if np.isnan(values).any():
        raise ValueError(f"a value is missing at {tuple(int(each) for each in np.argwhere(np.isnan(values))[0])}")


def _check_replicates(stack: ndarray, least: int, what: str) -> None:
    if len(stack) < least:
        raise ValueError(f"{what} needs at least {least} replicates, got {len(stack)}")
