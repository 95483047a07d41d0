"""Statistics of networks and their children, for estimates that resample networks."""

__all__ = ["FLOOR", "highest_ratio", "median", "median_ratio", "rank_correlation"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# What counts as no barrier where barriers are divided: far below the bounds of any claim, above what is left by chance.
FLOOR = 0.001


def median(values: Float[ndarray, "parents *children"]) -> float:
    """The median over all networks and children that have a value."""
    return float(np.nanmedian(values))


def median_ratio(
    above: Float[ndarray, "parents *children"], below: Float[ndarray, "parents *others"], *, floor: float = FLOOR
) -> float:
    """The ratio of two medians, in which what lies below ``floor`` counts as ``floor``.

    Example:
        >>> median_ratio(np.array([[0.2], [0.4]]), np.array([[0.0], [0.0]]))
        300.0
    """
    return round(max(median(above), floor) / max(median(below), floor), 9)


def highest_ratio(*cells: Float[ndarray, "parents *children"], floor: float = FLOOR) -> float:
    """The ratio of the highest to the lowest of several medians; what lies below ``floor`` counts as ``floor``."""
    medians = [max(median(each), floor) for each in cells]
    return max(medians) / min(medians)


def rank_correlation(x: Float[ndarray, "parents *children"], y: Float[ndarray, "parents *children"]) -> float:
    """Spearman's correlation over all networks and children that have both values; ties share their mean rank."""
    from scipy.stats import spearmanr  # noqa: PLC0415 -- slow to load, and of no use to workers

    both = np.isfinite(x) & np.isfinite(y)
    return float(spearmanr(x[both], y[both]).statistic)
