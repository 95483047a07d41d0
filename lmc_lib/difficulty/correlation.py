r"""How far a score can be trusted: agreement between replicates, between scores and between architectures.

A *stack* holds a score of every example for every replicate, of shape ``(replicates, examples)``. Ranks of equal values
are averaged: many scores are counts, and most examples share theirs.
"""

__all__ = [
    "Components", "Correlations", "correlations", "cross_correlation", "different_scores", "disattenuated",
    "in_common", "principal_components", "ranks", "reliability", "score_correlations", "tie_share",
]  # fmt: skip

import math
from dataclasses import dataclass

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
    check_replicates(stack, 2, "the correlation between replicates")
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
        check_replicates(first, 2, "a correlation over different runs")
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


def check_replicates(stack: ndarray, least: int, what: str) -> None:
    """Refuses fewer replicates than something needs.

    Raises:
        ValueError: saying what.
    """
    if len(stack) < least:
        raise ValueError(f"{what} needs at least {least} replicates, got {len(stack)}")


def in_common(scores: Float[ndarray, "scores examples"]) -> dict[str, float]:
    """How far scores go together.

    Args:
        scores: one row a score, turned so that higher means harder; the sign of components is that of the first.

    Returns:
        ``"correlation"``: the median size of the rank correlation between different scores; ``"dominance"``: the
        variance of the first principal component over that of the second; ``"loading"``: the smallest loading of the
        first component.

    Raises:
        ValueError: if fewer than two scores vary, or a value is missing.
    """
    between = np.abs(correlations(scores).values[np.triu_indices(len(scores), 1)])
    found = principal_components(scores)
    return {
        "correlation": float(np.median(between)),
        "dominance": float(found.shares[0] / found.shares[1]),
        "loading": float(found.loadings[0].min()),
    }
