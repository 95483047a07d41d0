"""Populations that scatter like a recorded study, moved to where its statistic has a given truth."""

__all__ = ["RESAMPLES", "Population", "exchanged", "pseudo_values", "variance_components"]

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims import statistics
from lmc_lib.claims.interval import Estimate
from lmc_lib.claims.statistics import CORRELATIONS, FLOOR, RATIOS
from lmc_lib.claims.study import Study, jackknife_of_mean, symmetric

# Of a simulated study; a recorded one has four times as many.
RESAMPLES = 1000

_MANY = 4096
_STEPS = 60
_SLACK = 1e-3
# In place of the floor of a ratio, where no scatter is to be lost; a barrier of 0 has no ratio.
_TINY = 1e-9
# Digits of exchanged deviations, far more than a report shows, and far fewer than those in which processors differ.
_BITS = 30


@dataclass(frozen=True)
class Population:
    """Where studies are drawn from.

    Twins: normal rows with the covariance of those recorded, all arrays together, so that what goes together in the
    study does so here. Sets: the sum of normal effects of the members and of the set, with the variances of the study.
    Numbers that cannot be negative are drawn on the logarithmic scale. For correlations, columns of the second array
    depend on those of the first.

    Attributes:
        study: the recorded study.
        rows: its arrays; of a jackknife, its pseudo-values.
        logarithmic: whether it scatters on the logarithmic scale.
        shift: by how much the first array is moved, on that scale; for correlations, the correlation itself.
        truth: the statistic of the population.
    """

    study: Study
    rows: tuple[ndarray, ...]
    logarithmic: bool
    shift: float = 0.0
    truth: float = float("nan")

    @classmethod
    def like(cls, study: Study) -> "Population":
        """The population of a study, at its own place."""
        if study.statistic in CORRELATIONS:
            study = _with_scatter(study)
        rows = (pseudo_values(study)[:, None],) if study.kind == "jackknife" else study.arrays
        known = [each[np.isfinite(each)] for each in rows]
        positive = all((each >= 0.0).all() for each in known)
        logarithmic = study.statistic in RATIOS or (positive and study.statistic == "median")
        return cls(study, rows, logarithmic)

    def moved(self, truth: float) -> "Population":
        """The population in which the statistic has another value.

        Raises:
            ValueError: if there is none.
        """
        if self.study.kind == "sets":  # symmetric about its centre, so that mean and median are there
            place = np.log(truth) if self.logarithmic else truth
            return replace(self, shift=float(place - self._components()[0]), truth=truth)
        many = np.random.default_rng(1)
        state = many.bit_generator.state

        def at(shift: float) -> float:
            many.bit_generator.state = state
            return replace(self, shift=shift).draw(_MANY, many).of_all()

        low, high = self._range(truth)
        if not at(low) - _SLACK <= truth <= at(high) + _SLACK:
            raise ValueError(f"no population like this has the statistic {truth}: {at(low)} to {at(high)}")
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if at(middle) < truth else (low, middle)
        return replace(self, shift=(low + high) / 2, truth=truth)

    def _range(self, truth: float) -> tuple[float, float]:
        if self.study.statistic in CORRELATIONS:
            return -0.999, 0.999
        if self.logarithmic:
            return -20.0, 20.0
        spread = max(float(np.ptp(each[np.isfinite(each)])) for each in self.rows)
        reach = 10.0 * (spread + abs(truth) + abs(self.study.of_all()) + _TINY)
        return -reach, reach

    def draw(self, units: int, generator: np.random.Generator) -> Study:
        """A study of so many units."""
        arrays: tuple[ndarray, ...]
        if self.study.kind == "sets":
            arrays = (self._scaled(self._sets(units, generator)),)
        elif self.study.statistic in CORRELATIONS:
            arrays = self._correlated(units, generator)
        else:
            first, *others = self._rows(units, generator)
            arrays = (self._scaled(first), *(self._unscaled(each) for each in others))
        if self.study.kind == "jackknife":
            return jackknife_of_mean(arrays[0][:, 0])
        return replace(self.study, arrays=arrays)

    def estimate(self, units: int, generator: np.random.Generator) -> Estimate:
        """What such a study says."""
        return self.draw(units, generator).estimate(resamples=RESAMPLES)

    def is_held(self, estimate: Estimate) -> bool:
        """Whether the interval of an estimate holds the truth."""
        slack = 1e-9 * max(1.0, abs(self.truth))  # equal but for the order of a sum
        return estimate.low - slack <= self.truth <= estimate.high + slack

    def _scaled(self, values: ndarray) -> ndarray:
        return self._unscaled(values + self.shift)

    def _unscaled(self, values: ndarray) -> ndarray:
        return np.asarray(np.exp(values)) if self.logarithmic else values

    def _own(self, values: ndarray) -> ndarray:
        return np.asarray(np.log(np.maximum(values, FLOOR))) if self.logarithmic else values

    def _rows(self, units: int, generator: np.random.Generator) -> list[ndarray]:
        """Rows of all arrays; a normal combination of the recorded deviations has their covariance."""
        arrays = [self._own(each) for each in self.rows]
        weights = generator.standard_normal((units, len(arrays[0]))) / np.sqrt(len(arrays[0]) - 1)
        return [_centre(each) + weights @ _deviations(each) for each in arrays]

    def _correlated(self, units: int, generator: np.random.Generator) -> tuple[ndarray, ndarray]:
        """Columns with one correlation within each cell; rows keep what the cells of one network have in common."""
        first, second = (_deviations(each) for each in self.rows)
        count = len(first)
        drawn, own = generator.standard_normal((2, units, count)) / np.sqrt(count - 1)
        x = _standard(first, drawn)
        y = self.shift * x + np.sqrt(1.0 - self.shift**2) * _standard(second, own)
        return x, y

    def _components(self) -> tuple[float, float, float]:
        return variance_components(self._own(self.study.arrays[0]))

    def _sets(self, units: int, generator: np.random.Generator) -> ndarray:
        centre, of_members, of_sets = self._components()
        effects = of_members * generator.standard_normal(units)
        used = np.unique(_of_sets(self.study.arrays[0])[0])  # whoever diverged is in no set
        recorded = self.study.arrays[0][np.ix_(*(used,) * self.study.arrays[0].ndim)]
        # Where not every set was measured, a study of as many units leaves out the same ones.
        members = (
            _of_sets(recorded)[0]
            if units == len(recorded)
            else np.array(list(combinations(range(units), recorded.ndim)))
        )
        numbers = centre + effects[members].sum(1) + of_sets * generator.standard_normal(len(members))
        return symmetric(units, members.tolist(), numbers)


def _with_scatter(study: Study) -> Study:
    """Without the columns in which an array has one value for all units: there nothing is correlated."""
    scatter = np.all([np.square(_deviations(each)).sum(0) > 0.0 for each in study.arrays], axis=0)
    if not scatter.any():
        raise ValueError("no column has different numbers in both arrays, so that nothing can be correlated")
    return replace(study, arrays=tuple(each[:, scatter] for each in study.arrays))


def exchanged(study: Study, how: str, null: float, generator: np.random.Generator) -> Study:
    """The study's own numbers, made exchangeable: what it might hold, were the claim false, and all else alike.

    What the study found is taken out first, so that what is left is its scatter; then what the claim tells apart is
    exchanged in units drawn at random, so that no difference but that of chance can be left.

    Args:
        study: the study.
        how: ``"swap"``: the smaller side of the ratio is raised until the ratio is the null, and in half of the units
            the first half of the arrays changes places with the second; ``"sign"``: differences from the null, which
            becomes their centre, change sign in half of the units (of sets: the effects of members, and what is left of
            each set); ``"shuffle"``: the rows of the first array are given to units in a random order, each as a
            whole, since the numbers of one unit in several columns belong together.
        null: the value that the statistic has where the claim is false.
        generator: draws.
    """
    if how == "shuffle":
        first, *others = study.arrays
        return replace(study, arrays=(first[generator.permutation(len(first))], *others))
    if how == "sign":
        return _turned(study, null, generator)
    width = min(each.shape[1] for each in study.arrays)
    kept = [each[:, :width] for each in study.arrays]
    ratio = float(getattr(statistics, study.statistic)(*kept, floor=_TINY)) / null
    # To lower the larger side would push what is small below the floor of the statistic, and its scatter with it.
    raised = len(kept) // 2 if ratio > 1.0 else 0
    kept[raised] = kept[raised] * (ratio if ratio > 1.0 else 1.0 / ratio)
    turned = kept[len(kept) // 2 :] + kept[: len(kept) // 2]
    chosen = generator.integers(2, size=(len(kept[0]), 1)) == 1
    return replace(study, arrays=tuple(np.where(chosen, b, a) for a, b in zip(kept, turned, strict=True)))


def _turned(study: Study, null: float, generator: np.random.Generator) -> Study:
    """Deviations from the centre, turned at random about the null."""
    if study.kind == "jackknife":
        numbers = pseudo_values(study)
        deviations = _in_few_digits(numbers - numbers.mean())
        return jackknife_of_mean(null + generator.choice([-1.0, 1.0], size=len(numbers)) * deviations)
    values = study.arrays[0]
    if study.kind == "twins":
        signs = generator.choice([-1.0, 1.0], size=(len(values), 1))
        return replace(study, arrays=(null + signs * (values - study.of_all()),))
    members, numbers, design = _of_sets(values)
    effects, rest = _fitted(design, numbers - study.of_all())
    signs = generator.choice([-1.0, 1.0], size=len(values))
    found = null + design @ (signs * effects) + generator.choice([-1.0, 1.0], size=len(rest)) * rest
    return replace(study, arrays=(symmetric(len(values), members.tolist(), found),))


def _in_few_digits(values: ndarray) -> ndarray:
    """Numbers in multiples of about a billionth of the largest, so that what should cancel does on every processor."""
    grid = 2.0 ** (np.frexp(np.abs(values).max())[1] - _BITS)
    return np.asarray(np.round(values / grid) * grid)


def variance_components(values: Float[ndarray, " replicas *others"]) -> tuple[float, float, float]:
    """The mean over sets, and the standard deviations of the effects of members and of sets.

    Least squares with one effect a replica; the variance of the effects is that of the estimates less their own error.
    Both are about the mean of the replicas, which is not an effect but the centre.
    """
    _, numbers, design = _of_sets(values)
    centre = float(numbers.mean())
    effects, rest = _fitted(design, numbers - centre)
    of_sets = float(np.square(rest).sum()) / max(len(numbers) - len(values), 1)
    covariance = np.linalg.pinv(design.T @ design)
    own_error = of_sets * float(np.trace(covariance) - covariance.sum() / len(values)) / (len(values) - 1)
    of_members = float(effects.var(ddof=1)) - own_error
    return centre, float(np.sqrt(max(of_members, 0.0))), float(np.sqrt(of_sets))


def pseudo_values(study: Study) -> Float[ndarray, " units"]:
    """The numbers of which a jackknife is the mean: they have its value, and its standard error."""
    whole, without = float(study.arrays[0]), study.arrays[1]
    numbers = len(without) * whole - (len(without) - 1) * without
    return np.asarray(numbers + whole - numbers.mean())


def _of_sets(values: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """The members of each set, its number, and a matrix with a row a set and a column a replica: 1 for its members."""
    every = combinations(range(len(values)), values.ndim)
    members = np.array([each for each in every if np.isfinite(values[each])])
    design = np.zeros((len(members), len(values)))
    for column in members.T:
        design[np.arange(len(members)), column] = 1.0
    return members, values[tuple(members.T)], design


def _fitted(design: ndarray, numbers: ndarray) -> tuple[ndarray, ndarray]:
    """The effects of replicas by least squares, and what they leave of each set."""
    effects = np.linalg.pinv(design) @ numbers
    return effects, numbers - design @ effects


def _centre(values: ndarray) -> ndarray:
    return np.asarray(np.nanmean(values, axis=0))


def _deviations(values: ndarray) -> ndarray:
    """Deviations from the means of the columns; what has no number deviates by nothing."""
    return np.asarray(np.nan_to_num(values - _centre(values)))


def _standard(deviations: ndarray, weights: ndarray) -> ndarray:
    """Normal combinations of deviations, each column with variance 1."""
    return np.asarray(weights @ deviations / np.sqrt(np.square(deviations).sum(0) / (len(deviations) - 1)))
