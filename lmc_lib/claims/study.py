"""The numbers that an estimate is made of, by independent units; the estimate is a function of them alone."""

__all__ = [
    "Study", "estimate", "estimate_by_jackknife", "estimate_of_mean", "estimate_of_twins", "jackknife_of_mean",
    "symmetric",
]  # fmt: skip

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lmc_lib.claims import statistics
from lmc_lib.claims.interval import Estimate, bootstrap_interval, bootstrap_p, name_of_sets

_OF_SETS: dict[str, Callable[..., Any]] = {"median": np.nanmedian, "mean": np.nanmean}
_WORDS = {3: "three", 4: "four"}
_RESAMPLES = 4000
# A level that is to hold for the smallest of many verdicts needs the ends of the distribution.
_FINE = 20000


@dataclass(frozen=True, eq=False)
class Study:
    """The numbers behind an estimate.

    Attributes:
        kind: ``"sets"``: one symmetric array with an axis a member, as :func:`estimate` takes it; ``"twins"``: arrays
            with one row a network, as :func:`estimate_of_twins` takes them; ``"jackknife"``: a statistic of all
            networks, and the statistics without each network in turn.
        statistic: its name: of sets ``"median"`` or ``"mean"``, of twins a function of
            :mod:`lmc_lib.claims.statistics`, of the jackknife ``""``.
        arrays: the numbers.
    """

    kind: Literal["sets", "twins", "jackknife"]
    statistic: str
    arrays: tuple[ndarray, ...]

    @property
    def units(self) -> int:
        """How many independent units there are; of sets, those that are in one."""
        if self.kind == "sets":
            return int(_used(self.arrays[0]).sum())
        return len(self.arrays[-1])

    def estimate(self, *, resamples: int = _RESAMPLES) -> Estimate:
        """The statistic with its 95 % interval.

        Raises:
            ValueError: if there are too few units, or the statistic is not a number.
        """
        if self.kind == "jackknife":
            from scipy.special import stdtrit  # noqa: PLC0415 -- the quantile of t, a second sooner than scipy.stats

            value, error, count = _jackknife(self)
            reach = float(stdtrit(count - 1, 0.975)) * error
            return Estimate(value, value - reach, value + reach, count, count, 0, self)
        drawn = self._drawn()
        low, high = bootstrap_interval(drawn.units, drawn.statistic, resamples=resamples)
        if self.kind == "sets" and (left_out := self._left_out()) is not None:
            other = left_out.estimate()
            low, high = (
                min(low, drawn.value + other.low - other.value),
                max(high, drawn.value + other.high - other.value),
            )
        return Estimate(drawn.value, low, high, drawn.count, drawn.units, drawn.size, self)

    def p(self, bound: float, *, above: bool, resamples: int = _FINE) -> float:
        """The least level, of one side, at which the interval clears a bound: a p-value for the truth being there.

        Args:
            bound: the bound.
            above: whether the interval is to lie above it.
            resamples: number of draws of the bootstrap.

        Raises:
            ValueError: as for :meth:`estimate`.
        """
        if self.kind == "jackknife":
            from scipy.special import stdtr  # noqa: PLC0415 -- the distribution of t, as above

            value, error, count = _jackknife(self)
            distance = value - bound if above else bound - value
            if error > 0.0:
                return float(stdtr(count - 1, -distance / error))
            # All units say the same, which they do by chance with the probability that all lie on one side.
            return 1.0 if distance <= 0.0 else 0.5**count
        drawn = self._drawn()
        p = bootstrap_p(drawn.units, drawn.statistic, bound, above=above, resamples=resamples)
        left_out = self._left_out() if self.kind == "sets" else None
        return p if left_out is None else max(p, left_out.p(bound, above=above))

    def _left_out(self) -> "Study | None":
        """Of sets the jackknife over replicas; None where too few are left for a set without each."""
        used = np.flatnonzero(_used(self.arrays[0]))
        size = self.arrays[0].ndim
        if len(used) < size + 1:
            return None
        kept = [np.ix_(*[used[used != gone]] * size) for gone in used]
        without = np.array([replace(self, arrays=(self.arrays[0][each],)).of_all() for each in kept])
        return Study("jackknife", "", (np.array(self.of_all()), without)) if np.isfinite(without).all() else None

    def _drawn(self) -> "_Drawn":
        return _of_sets(self) if self.kind == "sets" else _of_twins(self)

    def of_all(self) -> float:
        """The statistic of all units."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # diverged trainings alone have no statistic
            if self.kind == "sets":
                return float(_OF_SETS[self.statistic](_without_repeated(self.arrays[0])))
            if self.kind == "twins":
                return float(_function(self.statistic)(*self.arrays))
            return float(self.arrays[0])

    def as_json(self) -> dict[str, Any]:
        """JSON-ready data with six significant digits, None for NaN."""
        arrays = [_listed(each) for each in self.arrays]
        return {"kind": self.kind, "statistic": self.statistic, "arrays": arrays}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Study":
        """What :meth:`as_json` wrote, as a study."""
        arrays = tuple(np.array(each, dtype=float) for each in data["arrays"])
        return cls(data["kind"], data["statistic"], arrays)


def estimate(values: Float[ndarray, " replicas *others"], *, statistic: str = "median") -> Estimate:
    """Estimates a statistic over pairs or larger sets of replicas, with a 95 % bootstrap interval.

    Pairs that share a replica are not independent, so pairs must not be resampled: an interval from ten pairs of five
    networks would be too short. Replicas are drawn with replacement, and the statistic is taken over all pairs of
    different replicas among the drawn ones (:func:`~lmc_lib.claims.interval.bootstrap_interval`); likewise over
    triples. A draw with too few different replicas counts with the statistic of all. A replica that is drawn twice is
    in no set with itself, so that draws differ by less than they should, the more so the larger sets are and the fewer
    replicas; so each end is that of the jackknife over replicas (:func:`estimate_by_jackknife`) where that one is
    farther out.

    Args:
        values: a symmetric array with one axis a member of a set: a matrix for pairs, three axes for triples; NaN where
            there is no value. Where a replica stands twice, what is given does not count.
        statistic: ``"median"`` or ``"mean"``.

    Raises:
        ValueError: if the statistic is unknown, the axes differ in length, or there are not more replicas with values
            than a set has.

    Example:
        >>> values = np.array([[np.nan, 1, 2], [1, np.nan, 3], [2, 3, np.nan]])
        >>> str(estimate(values))
        '2.000 [-2.968, 6.968]'
    """
    if statistic not in _OF_SETS:
        raise ValueError(f"unknown statistic {statistic!r}; there are {', '.join(_OF_SETS)}")
    if len(set(values.shape)) != 1:
        raise ValueError(f"all axes stand for the same replicas, got the shape {values.shape}")
    return Study("sets", statistic, (values,)).estimate()


def estimate_of_twins(statistic: Callable[..., Any], *values: Float[ndarray, "_ _"]) -> Estimate:
    """Estimates a statistic of networks and their children, with a 95 % bootstrap interval that resamples networks.

    Children of one network are not independent, nor are measurements of one network in several settings, so networks
    are drawn with replacement, each with all its children in all arrays
    (:func:`~lmc_lib.claims.interval.bootstrap_interval`). A draw for which the statistic is not a number counts with
    the statistic of all.

    Args:
        statistic: a function of :mod:`lmc_lib.claims.statistics`.
        *values: arrays with one row a network and one column a child, NaN where there is no value.

    Raises:
        ValueError: if the arrays differ in their number of rows, there are fewer than two, or the statistic of all is
            not a number.

    Example:
        >>> from lmc_lib.claims.statistics import median
        >>> values = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
        >>> estimate_of_twins(median, values).count()
        '3 networks (6 twins)'
    """
    return Study("twins", statistic.__name__, values).estimate()


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
    return Study("jackknife", "", (np.array(value), without)).estimate()


def jackknife_of_mean(numbers: Float[ndarray, " units"]) -> Study:
    """The study of a mean, whose interval is that of Student's t."""
    return Study("jackknife", "", (np.array(numbers.mean()), (numbers.sum() - numbers) / (len(numbers) - 1)))


def estimate_of_mean(numbers: Float[ndarray, " units"]) -> Estimate:
    """The mean over units, with the interval of Student's t: the jackknife of a mean is just that.

    Units without a number, such as networks whose training diverged, are left out; how many there are stands in the
    estimate.

    Raises:
        ValueError: if there are fewer than three.
    """
    known = numbers[np.isfinite(numbers)]
    if len(known) < 3:
        raise ValueError(f"the interval of a mean needs at least three units with a number, got {len(known)}")
    return jackknife_of_mean(known).estimate()


def symmetric(
    count: int, sets: Iterable[Iterable[int]], of_sets: Float[ndarray, " sets"]
) -> Float[ndarray, "count count *more"]:
    """One value a set of indices below ``count`` as a symmetric array, one axis a member; NaN where there is no set."""
    members = np.array([tuple(each) for each in sets])
    array = np.full((count,) * members.shape[1], np.nan)
    for order in permutations(range(members.shape[1])):
        array[tuple(members[:, order].T)] = of_sets
    return array


@dataclass(frozen=True)
class _Drawn:
    """What a bootstrap of a study needs: how many units are drawn, and the statistic of those drawn."""

    units: int
    statistic: Callable[..., ndarray]
    value: float
    count: int
    size: int


def _of_sets(study: Study) -> _Drawn:
    values, function = study.arrays[0], _OF_SETS[study.statistic]
    size, used = values.ndim, _used(values)
    of_sets = _without_repeated(values)[np.ix_(*[used] * size)]
    if len(of_sets) <= size:
        least = _WORDS.get(size + 1, str(size + 1))
        raise ValueError(f"an interval over {name_of_sets(size)} needs at least {least} replicas, got {len(of_sets)}")
    overall = float(function(of_sets))

    def over_sets(drawn: ndarray, axis: int = -1) -> ndarray:
        drawn = np.moveaxis(drawn, axis, -1).astype(int)
        places = [np.expand_dims(drawn, [each - size for each in range(size) if each != own]) for own in range(size)]
        chosen = of_sets[tuple(places)].reshape(*drawn.shape[:-1], -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a draw of too few different replicas has no set
            result = np.asarray(function(chosen, axis=-1))
        return np.where(np.isnan(result), overall, result)

    count = int((~np.isnan(of_sets)).sum()) // math.factorial(size)
    return _Drawn(len(of_sets), over_sets, overall, count, size)


def _of_twins(study: Study) -> _Drawn:
    values, statistic = study.arrays, _function(study.statistic)
    rows = {len(each) for each in values}
    if len(rows) != 1 or min(rows) < 2:
        raise ValueError(f"an interval over networks and their children needs the same two or more, got {sorted(rows)}")
    overall = study.of_all()
    if not math.isfinite(overall):
        raise ValueError(f"the statistic is {overall}: too few of the values are numbers, since trainings diverged")

    def over_parents(drawn: ndarray, axis: int = -1) -> ndarray:
        drawn = np.moveaxis(drawn, axis, -1).astype(int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # diverged trainings alone have no statistic
            found = np.asarray(statistic(*(each[drawn] for each in values)))
        return np.where(np.isfinite(found), found, overall)

    return _Drawn(len(values[0]), over_parents, overall, int((~np.isnan(values[0])).sum()), 1)


def _jackknife(study: Study) -> tuple[float, float, int]:
    """The statistic, its standard error and the number of networks."""
    value, without = float(study.arrays[0]), study.arrays[1]
    count = len(without)
    if count < 3:
        raise ValueError(f"an interval by the jackknife needs at least three networks, got {count}")
    if not (math.isfinite(value) and np.isfinite(without).all()):
        raise ValueError("the statistic is not a number, of all networks or without one of them: see its reason")
    return value, math.sqrt((count - 1) / count * float(np.square(without - without.mean()).sum())), count


def _function(name: str) -> Callable[..., Any]:
    if name not in statistics.__all__:
        raise ValueError(f"unknown statistic {name!r} of twins: see lmc_lib.claims.statistics")
    function: Callable[..., Any] = getattr(statistics, name)
    return function


def _used(values: ndarray) -> Bool[ndarray, " replicas"]:
    """Which replicas are in a set that has a value."""
    return np.asarray(~np.isnan(_without_repeated(values)).all(axis=tuple(range(1, values.ndim))))


def _without_repeated(values: ndarray) -> ndarray:
    """An array over sets, NaN where the same replica stands twice."""
    places = np.indices(values.shape)
    repeated = np.any([a == b for a, b in combinations(places, 2)], axis=0)
    return np.where(repeated, np.nan, values)


def _listed(values: Any) -> Any:
    """An array as nested lists of numbers with six significant digits."""
    if np.ndim(values) > 0:
        return [_listed(each) for each in values]
    return float(f"{values:.6g}") if math.isfinite(values) else None
