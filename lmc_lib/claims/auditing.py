"""How often a condition errs: what it says of simulated studies with the scatter of a recorded one."""

__all__ = ["Audit", "audit"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmc_lib.claims.interval import Estimate
from lmc_lib.claims.simulation import RESAMPLES, Population, exchanged
from lmc_lib.claims.study import Study
from lmc_lib.claims.verdict import outcome_of
from lmc_lib.definitions import Condition

_ENOUGH = 0.8
# Multiples of the number of units that are tried, until enough studies with the effect are recognised.
_MULTIPLES = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SETS = 2500


@dataclass(frozen=True)
class Audit:
    """How a condition fares at the number of units and with the scatter of a study.

    Attributes:
        n: number of independent units.
        at_bound: how often it is met where the truth is exactly at the bound.
        exchanged: how often it is met by the study's own numbers, made exchangeable; None where that says nothing.
        power: how often it is met where the truth is the effect, and its exchanged control, if it has one, says no.
        coverage: how often the interval holds the truth, at the bound or at the effect, whichever is less.
        needed: the least number tried of units with which it is met by four fifths of studies with the effect; ``n``
            itself if that is enough, None if none of those tried is.
        most: the largest number tried.
    """

    n: int
    at_bound: float
    exchanged: float | None
    power: float
    coverage: float
    needed: int | None
    most: int

    @property
    def false_positive(self) -> float:
        """The higher rate of "met" where the claim is false."""
        return max(self.at_bound, self.exchanged or 0.0)

    @property
    def underpowered(self) -> bool:
        """Whether a study like this would often miss the effect."""
        return self.power < _ENOUGH


def audit(condition: Condition, study: Study, *, draws: int = 500, seed: int = 0) -> Audit:
    """Simulates studies like one that is recorded, and judges each by a condition.

    Args:
        condition: the condition, with its null and its effect.
        study: the recorded study.
        draws: number of simulated studies of each kind.
        seed: stream of the simulation.
    """
    generator = np.random.default_rng(seed)
    population = Population.like(study)
    bound, effect = population.moved(condition.bound), population.moved(condition.effect)
    of_bound = [bound.estimate(study.units, generator) for _ in range(draws)]
    of_effect = [effect.estimate(study.units, generator) for _ in range(draws)]
    power = _share(of_effect, lambda each: _shown(condition, each, population.logarithmic))
    others = None
    if condition.exchange != "none":
        drawn = (exchanged(study, condition.exchange, condition.null, generator) for _ in range(draws))
        others = _share([each.estimate(resamples=RESAMPLES) for each in drawn], lambda each: _met(condition, each))
    tried = [study.units] if power >= _ENOUGH else _numbers(study)
    return Audit(
        n=study.units,
        # Without any scatter the interval is the truth, but for the last bits.
        at_bound=_share(of_bound, lambda each: _met(condition, each) and not bound.is_held(each)),
        exchanged=others,
        power=power,
        coverage=min(_share(of_bound, bound.is_held), _share(of_effect, effect.is_held)),
        needed=study.units if power >= _ENOUGH else _needed(condition, effect, tried, draws, generator),
        most=max(tried, default=study.units),
    )


def _share(estimates: Sequence[Estimate], holds: Callable[[Estimate], bool]) -> float:
    return sum(map(holds, estimates)) / len(estimates)


def _met(condition: Condition, estimate: Estimate) -> bool:
    return outcome_of(condition, estimate) == "met"


def _shown(condition: Condition, estimate: Estimate, logarithmic: bool) -> bool:
    """Whether a condition is met, and would fail if the interval lay about the null: what a typical exchange says."""
    if condition.exchange == "none" or not _met(condition, estimate):
        return _met(condition, estimate)
    low, high = (
        condition.null * end / estimate.value if logarithmic else condition.null + end - estimate.value
        for end in (estimate.low, estimate.high)
    )
    return outcome_of(condition, replace(estimate, low=low, high=high)) == "failed"


def _numbers(study: Study) -> list[int]:
    """Larger numbers of units to try, if any; of sets not so many that there would be too many of these."""
    size = study.arrays[0].ndim if study.kind == "sets" else 1
    numbers = [math.ceil(multiple * study.units) for multiple in _MULTIPLES]
    return [many for many in numbers if many > study.units and (size == 1 or many**size <= _SETS)]


def _needed(
    condition: Condition, effect: Population, tried: Sequence[int], draws: int, generator: np.random.Generator
) -> int | None:
    for many in tried:
        found = [effect.estimate(many, generator) for _ in range(max(draws // 5, 20))]
        if _share(found, lambda each: _shown(condition, each, effect.logarithmic)) >= _ENOUGH:
            return many
    return None
