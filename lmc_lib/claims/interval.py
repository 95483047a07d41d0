"""Estimates with bootstrap intervals that respect how the evidence was made."""

__all__ = ["Estimate", "estimate"]

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import bootstrap

_STATISTICS: dict[str, Callable[..., Any]] = {"median": np.nanmedian, "mean": np.nanmean}


@dataclass(frozen=True)
class Estimate:
    """A statistic over pairs with its 95 % interval.

    Attributes:
        value: the statistic of all pairs.
        low: lower end of the interval.
        high: upper end of the interval.
        pairs: number of pairs.
        replicas: number of independent networks that make them.
    """

    value: float
    low: float
    high: float
    pairs: int
    replicas: int

    @property
    def triple(self) -> tuple[float, float, float]:
        """Value, lower and upper end, as a row for a figure."""
        return self.value, self.low, self.high

    def __str__(self) -> str:
        """The estimate and its interval with three decimals."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(
    pairwise: Float[ndarray, "replicas replicas"],
    *,
    rng: np.random.Generator,
    statistic: str = "median",
    resamples: int = 2000,
) -> Estimate:
    """Estimates a statistic over pairs of replicas with a 95 % bootstrap interval that resamples replicas.

    Pairs that share a replica are not independent, so pairs must not be resampled: an interval from ten pairs of five
    networks would be too short. Replicas are drawn with replacement, and the statistic is taken over all pairs of
    different replicas among the drawn ones (percentile method, ``scipy.stats.bootstrap``).

    Args:
        pairwise: a symmetric matrix of values; NaN where there is none, as on the diagonal.
        rng: source of the resamples.
        statistic: ``"median"`` or ``"mean"``.
        resamples: number of resamples.

    Raises:
        ValueError: if the statistic is unknown or there are fewer than three replicas with values.

    Example:
        >>> values = np.array([[np.nan, 1, 2], [1, np.nan, 3], [2, 3, np.nan]])
        >>> str(estimate(values, rng=np.random.default_rng(0)))
        '2.000 [1.000, 3.000]'
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"unknown statistic {statistic!r}; there are {', '.join(_STATISTICS)}")
    function = _STATISTICS[statistic]
    used = ~np.isnan(pairwise).all(axis=1)
    matrix = np.where(np.eye(len(pairwise), dtype=bool), np.nan, pairwise)[np.ix_(used, used)]
    if len(matrix) < 3:
        raise ValueError(f"an interval over pairs needs at least three replicas, got {len(matrix)}")
    overall = float(function(matrix))

    def over_pairs(drawn: ndarray, axis: int = -1) -> ndarray:
        drawn = np.moveaxis(drawn, axis, -1).astype(int)
        values = matrix[drawn[..., :, None], drawn[..., None, :]].reshape(*drawn.shape[:-1], -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a draw of one replica only has no pair
            result = np.asarray(function(values, axis=-1))
        return np.where(np.isnan(result), overall, result)

    interval = bootstrap(
        (np.arange(len(matrix)),), over_pairs, n_resamples=resamples, method="percentile", rng=rng, vectorized=True
    ).confidence_interval
    pairs = int((~np.isnan(matrix)).sum()) // 2
    return Estimate(overall, float(interval.low), float(interval.high), pairs, len(matrix))
