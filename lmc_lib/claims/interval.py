"""Estimates with bootstrap intervals that respect how the evidence was made."""

__all__ = ["Estimate", "estimate", "estimate_by_jackknife", "estimate_of_twins"]

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

_STATISTICS: dict[str, Callable[..., Any]] = {"median": np.nanmedian, "mean": np.nanmean}
_SETS = {1: "twins", 2: "pairs", 3: "triples"}
_WORDS = {3: "three", 4: "four"}


@dataclass(frozen=True)
class Estimate:
    """A statistic over pairs of networks, larger sets, or networks and their children, with its 95 % interval.

    Attributes:
        value: the statistic of all pairs.
        low: lower end of the interval.
        high: upper end of the interval.
        pairs: number of pairs, of larger sets, or of twins: a network and its child.
        replicas: number of independent networks that make them.
        size: number of independent networks in each: 2 for pairs, 3 for triples, 1 for twins; 0 for a statistic of
            the whole set of networks.
    """

    value: float
    low: float
    high: float
    pairs: int
    replicas: int
    size: int = 2

    @property
    def count(self) -> str:
        """What the statistic is taken over, as ``"10 pairs of 5 networks"``; of single networks, how many."""
        if self.size == 0:
            return f"{self.replicas} networks"
        return f"{self.pairs} {_name(self.size)} of {self.replicas} networks"

    @property
    def triple(self) -> tuple[float, float, float]:
        """Value, lower and upper end, as a row for a figure."""
        return self.value, self.low, self.high

    def __str__(self) -> str:
        """The estimate and its interval with three decimals."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(
    values: Float[ndarray, "replicas *others"],
    *,
    rng: np.random.Generator,
    statistic: str = "median",
    resamples: int = 2000,
) -> Estimate:
    """Estimates a statistic over pairs or larger sets of replicas, with a 95 % bootstrap interval.

    Pairs that share a replica are not independent, so pairs must not be resampled: an interval from ten pairs of five
    networks would be too short. Replicas are drawn with replacement, and the statistic is taken over all pairs of
    different replicas among the drawn ones (percentile method, ``scipy.stats.bootstrap``); likewise over triples. A
    draw with too few different replicas counts with the statistic of all.

    Args:
        values: a symmetric array with one axis a member of a set: a matrix for pairs, three axes for triples; NaN where
            there is no value. Where a replica stands twice, what is given does not count.
        rng: source of the resamples.
        statistic: ``"median"`` or ``"mean"``.
        resamples: number of resamples.

    Raises:
        ValueError: if the statistic is unknown, the axes differ in length, or there are not more replicas with values
            than a set has.

    Example:
        >>> values = np.array([[np.nan, 1, 2], [1, np.nan, 3], [2, 3, np.nan]])
        >>> str(estimate(values, rng=np.random.default_rng(0)))
        '2.000 [1.000, 3.000]'
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"unknown statistic {statistic!r}; there are {', '.join(_STATISTICS)}")
    size = values.ndim
    if len(set(values.shape)) != 1:
        raise ValueError(f"all axes stand for the same replicas, got the shape {values.shape}")
    function = _STATISTICS[statistic]
    used = ~np.isnan(values).all(axis=tuple(range(1, size)))
    of_sets = np.where(_repeated(values.shape), np.nan, values)[np.ix_(*[used] * size)]
    if len(of_sets) <= size:
        least = _WORDS.get(size + 1, str(size + 1))
        raise ValueError(f"an interval over {_name(size)} needs at least {least} replicas, got {len(of_sets)}")
    overall = float(function(of_sets))

    def over_sets(drawn: ndarray, axis: int = -1) -> ndarray:
        drawn = np.moveaxis(drawn, axis, -1).astype(int)
        places = [np.expand_dims(drawn, [each - size for each in range(size) if each != own]) for own in range(size)]
        chosen = of_sets[tuple(places)].reshape(*drawn.shape[:-1], -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a draw of too few different replicas has no set
            result = np.asarray(function(chosen, axis=-1))
        return np.where(np.isnan(result), overall, result)

    low, high = _interval(len(of_sets), over_sets, rng, resamples)
    count = int((~np.isnan(of_sets)).sum()) // math.factorial(size)
    return Estimate(overall, low, high, count, len(of_sets), size)


def estimate_of_twins(
    statistic: Callable[..., Any],
    *values: Float[ndarray, "_ _"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Estimate:
    """Estimates a statistic of networks and their children, with a 95 % bootstrap interval that resamples networks.

    Children of one network are not independent, nor are measurements of one network in several settings, so networks
    are drawn with replacement, each with all its children in all arrays (percentile method,
    ``scipy.stats.bootstrap``). A draw for which the statistic is not a number counts with the statistic of all.

    Args:
        statistic: takes the arrays and returns a number, as those of this package; a bootstrap gives it arrays with
            further axes in front.
        *values: arrays with one row a network and one column a child, NaN where there is no value.
        rng: source of the resamples.
        resamples: number of resamples.

    Raises:
        ValueError: if the arrays differ in their number of rows, there are fewer than two, or the statistic of all is
            not a number.

    Example:
        >>> from lmc_lib.claims.statistics import median
        >>> values = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
        >>> estimate_of_twins(median, values, rng=np.random.default_rng(0)).count
        '6 twins of 3 networks'
    """
    rows = {len(each) for each in values}
    if len(rows) != 1 or min(rows) < 2:
        raise ValueError(f"an interval over networks and their children needs the same two or more, got {sorted(rows)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # diverged trainings alone have no statistic
        overall = float(statistic(*values))
        if not math.isfinite(overall):
            raise ValueError(f"the statistic is {overall}: too few of the values are numbers, since trainings diverged")

        def over_parents(drawn: ndarray, axis: int = -1) -> ndarray:
            drawn = np.moveaxis(drawn, axis, -1).astype(int)
            found = np.asarray(statistic(*(each[drawn] for each in values)))
            return np.where(np.isfinite(found), found, overall)

        low, high = _interval(len(values[0]), over_parents, rng, resamples)
    count = int((~np.isnan(values[0])).sum())
    return Estimate(overall, low, high, count, len(values[0]), size=1)


def estimate_by_jackknife(value: float, without: Float[ndarray, " replicas"]) -> Estimate:
    r"""A statistic of a whole set of networks with a 95 % interval by the jackknife.

    For statistics that compare one part of the networks with another, as split halves: a bootstrap would put the same
    network into both parts. With :math:`\theta_{(i)}` the statistic without network :math:`i`, the standard error is
    :math:`\sqrt{\frac{n - 1}{n} \sum_i (\theta_{(i)} - \bar\theta_{(\cdot)})^2}`, and the interval is that of Student's
    t with :math:`n - 1` degrees of freedom around the value.

    Args:
        value: the statistic of all networks.
        without: the statistic with each network left out in turn, by the same draws where it draws.

    Raises:
        ValueError: if there are fewer than three networks, or a value is not a number.

    Example:
        >>> numbers = np.array([1.0, 2.0, 3.0, 6.0])
        >>> str(estimate_by_jackknife(numbers.mean(), (numbers.sum() - numbers) / 3))
        '3.000 [-0.437, 6.437]'
    """
    from scipy.stats import t  # noqa: PLC0415 -- slow to load, and of no use to workers

    count = len(without)
    if count < 3:
        raise ValueError(f"an interval by the jackknife needs at least three networks, got {count}")
    if not (math.isfinite(value) and np.isfinite(without).all()):
        raise ValueError("the statistic is not a number, of all networks or without one of them: see its reason")
    error = math.sqrt((count - 1) / count * float(np.square(without - without.mean()).sum()))
    reach = float(t.ppf(0.975, count - 1)) * error
    return Estimate(float(value), float(value) - reach, float(value) + reach, count, count, size=0)


def _interval(
    replicas: int, statistic: Callable[..., Any], rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    # Slow to load, and of no use to the workers that train and measure.
    from scipy.stats import bootstrap  # noqa: PLC0415

    interval = bootstrap(
        (np.arange(replicas),), statistic, n_resamples=resamples, method="percentile", rng=rng, vectorized=True
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _repeated(shape: tuple[int, ...]) -> Bool[ndarray, "..."]:
    """Where an array over sets has the same replica twice."""
    places = np.indices(shape)
    return np.asarray(np.any([a == b for a, b in combinations(places, 2)], axis=0))


def _name(size: int) -> str:
    return _SETS.get(size, f"sets of {size}")
