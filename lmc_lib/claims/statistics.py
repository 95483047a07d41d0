"""Statistics of networks and their children, for estimates that resample networks.

Each takes arrays with one row a network and one column a child, NaN where a training diverged, and returns a number;
with further axes in front, as a bootstrap has them, it returns an array over these.
"""

__all__ = ["FLOOR", "mean", "median", "median_ratio", "ratio_of_ratios", "within_correlation"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# What counts as no barrier where barriers are divided: far below the bounds of any claim, above what is left by chance.
FLOOR = 0.001

# Statistics that are judged on the scale of logarithms, and those that cannot leave -1 to 1.
RATIOS = ("median_ratio", "ratio_of_ratios")
CORRELATIONS = ("within_correlation",)

_TWINS = (-2, -1)


def mean(values: Float[ndarray, "*draws parents children"]) -> Float[ndarray, "*draws"]:
    """The mean over all networks and children that have a value."""
    return np.asarray(np.nanmean(values, axis=_TWINS))


def median(values: Float[ndarray, "*draws parents children"]) -> Float[ndarray, "*draws"]:
    """The median over all networks and children that have a value."""
    # Where nothing is missing the plain median says the same in a twentieth of the time.
    function = np.nanmedian if np.isnan(values).any() else np.median
    return np.asarray(function(values, axis=_TWINS))


def median_ratio(
    above: Float[ndarray, "*draws parents children"],
    below: Float[ndarray, "*draws parents others"],
    *,
    floor: float = FLOOR,
) -> Float[ndarray, "*draws"]:
    """The ratio of two medians, in which what lies below ``floor`` counts as ``floor``.

    Example:
        >>> float(median_ratio(np.array([[0.2], [0.4]]), np.array([[0.0], [0.0]])).round(9))
        300.0
    """
    return np.asarray(np.maximum(median(above), floor) / np.maximum(median(below), floor))


def ratio_of_ratios(
    above: Float[ndarray, "*draws parents children"],
    below: Float[ndarray, "*draws parents children"],
    base_above: Float[ndarray, "*draws parents children"],
    base_below: Float[ndarray, "*draws parents children"],
    *,
    floor: float = FLOOR,
) -> Float[ndarray, "*draws"]:
    """One :func:`median_ratio` over another."""
    return np.asarray(median_ratio(above, below, floor=floor) / median_ratio(base_above, base_below, floor=floor))


def within_correlation(
    x: Float[ndarray, "*draws parents cells"], y: Float[ndarray, "*draws parents cells"]
) -> Float[ndarray, "*draws"]:
    """Spearman's correlation within cells: ranks are taken among the networks of each cell, then all are correlated.

    What makes cells differ from each other, as the time of a push does, has no part in it.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 -- slow to load, and of no use to workers

    both = np.isfinite(x) & np.isfinite(y)
    ranks = [rankdata(np.where(both, each, np.nan), axis=-2, nan_policy="omit") for each in (x, y)]
    centred = [each - np.nanmean(each, axis=-2, keepdims=True) for each in ranks]
    lengths = [np.sqrt(np.nansum(each**2, axis=_TWINS)) for each in centred]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(centred[0] * centred[1], axis=_TWINS) / (lengths[0] * lengths[1]))
