"""How often a condition errs: what it says of simulated studies with the scatter of a recorded one."""

__all__ = ["Audit", "audit"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from lmc_lib.claims.simulation import Population, exchanged
from lmc_lib.claims.study import Study
from lmc_lib.claims.verdict import outcome_of
from lmc_lib.definitions import Condition

_RESAMPLES = 2000
_ENOUGH = 0.8
# Multiples of the number of units that are tried, until enough studies with the effect are recognised.
_MULTIPLES = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Audit:
    """How a condition fares at the number of units and with the scatter of a study.

    Attributes:
        n: number of independent units.
        at_bound: how often it is met where the truth is exactly at the bound.
        exchanged: how often it is met by the study's own numbers, made exchangeable; None where that says nothing.
        power: how often it is met where the truth is the effect.
        coverage: how often the interval holds the truth, at the bound or at the effect, whichever is less.
        needed: the least number tried of units with which it is met by four fifths of studies with the effect; ``n``
            itself if that is enough, None if none of those tried is.
    """

    n: int
    at_bound: float
    exchanged: float | None
    power: float
    coverage: float
    needed: int | None

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
    at_bound, held = _rates(condition, population, condition.bound, study.units, draws, generator)
    power, held_there = _rates(condition, population, condition.effect, study.units, draws, generator)
    others = None
    if condition.exchange != "none":
        others = _met(condition, partial(exchanged, study, condition.exchange, condition.null, generator), draws)
    return Audit(
        study.units, at_bound, others, power, min(held, held_there),
        _needed(condition, population, study.units, power, draws, generator),
    )  # fmt: skip


def _rates(
    condition: Condition, population: Population, truth: float, units: int, draws: int, generator: np.random.Generator
) -> tuple[float, float]:
    """How often the condition is met where a truth holds, and how often the interval holds that truth."""
    moved = population.moved(truth)
    estimates = [moved.draw(units, generator).estimate(resamples=_RESAMPLES) for _ in range(draws)]
    met = sum(outcome_of(condition, each) == "met" for each in estimates) / draws
    slack = 1e-9 * max(1.0, abs(moved.truth))  # equal but for the order of a sum
    held = sum(each.low - slack <= moved.truth <= each.high + slack for each in estimates) / draws
    return met, held


def _met(condition: Condition, draw: Callable[[], Study], draws: int) -> float:
    return sum(outcome_of(condition, draw().estimate(resamples=_RESAMPLES)) == "met" for _ in range(draws)) / draws


def _needed(
    condition: Condition, population: Population, units: int, power: float, draws: int, generator: np.random.Generator
) -> int | None:
    if power >= _ENOUGH:
        return units
    moved = population.moved(condition.effect)
    for multiple in _MULTIPLES:
        many = math.ceil(multiple * units)
        if _met(condition, partial(moved.draw, many, generator), max(draws // 5, 20)) >= _ENOUGH:
            return many
    return None
