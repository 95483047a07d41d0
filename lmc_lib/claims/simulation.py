"""Populations that scatter like a recorded study, moved to where its statistic has a given truth."""

__all__ = ["Population", "exchanged"]

from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lmc_lib.claims.statistics import CORRELATIONS, RATIOS
from lmc_lib.claims.study import Study

_MANY = 4096
_STEPS = 60
# Below what pages print; a barrier of 0 has no logarithm.
_SMALL = 1e-6


@dataclass(frozen=True)
class Population:
    """Where studies are drawn from.

    Twins: normal rows with the covariance of those recorded, all arrays together, so that what goes together in the
    study does so here. Sets: the sum of normal effects of the members and of the set, with the variances of the study.
    Numbers that cannot be negative are drawn on the logarithmic scale. For correlations, columns of the second array
    depend on those of the first.

    Attributes:
        study: the recorded study.
        logarithmic: whether it scatters on the logarithmic scale.
        shift: by how much the first array is moved, on that scale; for correlations, the correlation itself.
        truth: the statistic of the population.
    """

    study: Study
    logarithmic: bool
    shift: float = 0.0
    truth: float = float("nan")

    @classmethod
    def like(cls, study: Study) -> "Population":
        """The population of a study, at its own place."""
        study = _single_numbers(study)
        known = [each[np.isfinite(each)] for each in study.arrays]
        positive = all((each >= 0.0).all() for each in known)
        logarithmic = study.statistic in RATIOS or (positive and study.statistic == "median")
        return cls(study, logarithmic)

    def moved(self, truth: float) -> "Population":
        """The population in which the statistic has another value.

        Raises:
            ValueError: if there is none.
        """
        many = np.random.default_rng(1)
        state = many.bit_generator.state

        def at(shift: float) -> float:
            many.bit_generator.state = state
            count = _MANY if self.study.kind == "twins" else 48
            return replace(self, shift=shift).draw(count, many).of_all()

        low, high = self._range(truth)
        if not at(low) - 1e-3 <= truth <= at(high) + 1e-3:
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
        spread = max(float(np.ptp(each[np.isfinite(each)])) for each in self.study.arrays)
        reach = 10.0 * (spread + abs(truth) + abs(self.study.of_all()) + _SMALL)
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
        return replace(self.study, arrays=arrays)

    def _scaled(self, values: ndarray) -> ndarray:
        return self._unscaled(values + self.shift)

    def _unscaled(self, values: ndarray) -> ndarray:
        return np.asarray(np.exp(values)) if self.logarithmic else values

    def _own(self, values: ndarray) -> ndarray:
        return np.asarray(np.log(np.maximum(values, _SMALL))) if self.logarithmic else values

    def _rows(self, units: int, generator: np.random.Generator) -> list[ndarray]:
        """Rows of all arrays; a normal combination of the recorded deviations has their covariance."""
        arrays = [self._own(each) for each in self.study.arrays]
        weights = generator.standard_normal((units, len(arrays[0]))) / np.sqrt(len(arrays[0]) - 1)
        return [_centre(each) + weights @ _deviations(each) for each in arrays]

    def _correlated(self, units: int, generator: np.random.Generator) -> tuple[ndarray, ndarray]:
        """Columns with one correlation within each cell; rows keep what the cells of one network have in common."""
        first, second = (_deviations(each) for each in self.study.arrays)
        count = len(first)
        drawn, own = generator.standard_normal((2, units, count)) / np.sqrt(count - 1)
        x = _standard(first, drawn)
        y = self.shift * x + np.sqrt(1.0 - self.shift**2) * _standard(second, own)
        return x, y

    def _sets(self, units: int, generator: np.random.Generator) -> ndarray:
        values = self._own(self.study.arrays[0])
        centre, of_members, of_sets = variance_components(values)
        size = values.ndim
        effects = of_members * generator.standard_normal(units)
        array = np.full((units,) * size, np.nan)
        members = np.array(list(combinations(range(units), size)))
        numbers = centre + effects[members].sum(1) + of_sets * generator.standard_normal(len(members))
        for order in permutations(range(size)):
            array[tuple(members[:, order].T)] = numbers
        return array


def exchanged(study: Study, how: str, null: float, generator: np.random.Generator | None = None) -> Study:
    """The study's own numbers, made exchangeable: what it might hold, were the claim false, and all else alike.

    What the study found is taken out first, so that what is left is its scatter; then what the claim tells apart is
    exchanged, so that no difference but that of chance can be left.

    Args:
        study: the study.
        how: ``"swap"``: the ratio becomes the null, and in half of the units the first half of the arrays changes
            places with the second; ``"sign"``: differences from the null, which becomes their centre, change sign in
            half of the units, or of the sets of them; ``"shuffle"``: within each column the first array's numbers are
            given to units in a random order.
        null: the value that the statistic has where the claim is false.
        generator: draws which units, or the orders; without it every other unit is taken, and the orders are drawn from
            a fixed stream.
    """
    study = _single_numbers(study)
    first, *others = study.arrays
    if how == "shuffle":
        moved = (generator or np.random.default_rng(0)).permuted(first, axis=0)
        return replace(study, arrays=(moved, *others))
    if how == "sign":
        return replace(study, arrays=(null + _signs(study, generator) * (first - study.of_all()), *others))
    chosen = _half(len(first), generator)[:, None]
    width = min(each.shape[1] for each in study.arrays)
    kept = [each[:, :width] for each in (first * null / study.of_all(), *others)]
    turned = kept[len(kept) // 2 :] + kept[: len(kept) // 2]
    return replace(study, arrays=tuple(np.where(chosen, b, a) for a, b in zip(kept, turned, strict=True)))


def _half(count: int, generator: np.random.Generator | None) -> Bool[ndarray, " count"]:
    """Every other one, or each with even chances."""
    return np.asarray(np.arange(count) % 2 == 1 if generator is None else generator.integers(2, size=count) == 1)


def _signs(study: Study, generator: np.random.Generator | None) -> ndarray:
    """A sign a unit, or a set of units."""
    values = study.arrays[0]
    if study.kind == "twins":
        return np.where(_half(len(values), generator), -1.0, 1.0)[:, None]
    signs, sets = np.ones_like(values), list(combinations(range(len(values)), values.ndim))
    for members, turned in zip(sets, _half(len(sets), generator), strict=True):
        for order in permutations(members):
            signs[order] = -1.0 if turned else 1.0
    return signs


def variance_components(values: Float[ndarray, "replicas *others"]) -> tuple[float, float, float]:
    """The mean over sets, and the standard deviations of the effects of members and of sets.

    Least squares with one effect a replica; the variance of the effects is that of the estimates less their own error.
    """
    size = values.ndim
    members = np.array([each for each in combinations(range(len(values)), size) if np.isfinite(values[each])])
    numbers = np.array([values[tuple(each)] for each in members])
    design = np.zeros((len(members), len(values)))
    for place in range(size):
        design[np.arange(len(members)), members[:, place]] += 1.0
    centre = float(numbers.mean())
    inverse = np.linalg.pinv(design.T @ design)
    effects = inverse @ design.T @ (numbers - centre)
    freedom = max(len(numbers) - len(values), 1)
    of_sets = float(np.square(numbers - centre - design @ effects).sum()) / freedom
    own_error = of_sets * float(np.trace(inverse)) / len(values)
    of_members = float(np.square(effects).sum()) / (len(values) - 1) - own_error
    return centre, float(np.sqrt(max(of_members, 0.0))), float(np.sqrt(of_sets))


def _single_numbers(study: Study) -> Study:
    """A jackknife as a mean of pseudo-values, of which it has the interval; other studies as they are."""
    if study.kind != "jackknife":
        return study
    whole, without = study.arrays
    numbers = len(without) * float(whole) - (len(without) - 1) * without
    return Study("twins", "mean", (numbers[:, None],))


def _centre(values: ndarray) -> ndarray:
    return np.asarray(np.nanmean(values, axis=0))


def _deviations(values: ndarray) -> ndarray:
    """Deviations from the means of the columns; what has no number deviates by nothing."""
    return np.asarray(np.nan_to_num(values - _centre(values)))


def _standard(deviations: ndarray, weights: Any) -> ndarray:
    """Normal combinations of deviations, each column with variance 1."""
    lengths = np.sqrt(np.square(deviations).sum(0) / (len(deviations) - 1))
    return np.asarray(weights @ deviations / np.where(lengths > 0.0, lengths, 1.0))
