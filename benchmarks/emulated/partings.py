"""When trainings part, how often rounding is expected to hide a difference, and how often it did."""

__all__ = ["bounds", "expected_flips", "median", "parting", "scale"]

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize, stats
from torch import Tensor


def parting(first: Mapping[str, str], second: Mapping[str, str]) -> int | None:
    """The first step that was looked at after which two trainings have other weights; None if there is none.

    Args:
        first: fingerprints of the weights by step.
        second: those of the other training, at the same steps.
    """
    return min((int(step) for step, each in first.items() if second[step] != each), default=None)


def expected_flips(first: Tensor, second: Tensor, steps: int, bits: int) -> float:
    r"""How many entries of gradients two processors are expected to round to different multiples of :math:`2^{-b}`.

    Where a value lies between two multiples depends on nothing of importance, so that a difference
    :math:`\delta` parts an entry with probability :math:`\min(1, |\delta| 2^b)`.

    Args:
        first: gradients at some steps, a row each.
        second: those of the other processor, at the same weights.
        steps: updates of the training.
        bits: of the grid.
    """
    chances = ((first - second).abs() * 2.0**bits).clamp(max=1.0)
    return float(chances.sum(1).mean()) * steps


def bounds(count: int, total: int) -> tuple[float, float]:
    """The exact 95 % interval of a share, by Clopper and Pearson."""
    found = stats.binomtest(count, total).proportion_ci(0.95, "exact")
    return float(found.low), float(found.high)


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and its 95 % interval by the order of the values, which needs six of them or more."""
    found = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(np.median(values)), float(found.low), float(found.high)


def scale(
    flips: Sequence[Sequence[float]], parted: Sequence[Sequence[bool]], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    r"""By which factor flips come more often than expected, with a 95 % interval that draws seeds with replacement.

    The chance that a training parts is :math:`1 - e^{-s \lambda}` with the expected number of flips :math:`\lambda`;
    the factor :math:`s` is the one under which what was seen is most likely.

    Args:
        flips: expected flips, for each seed those of its trainings.
        parted: whether these parted.
        draws: of the interval.
        seed: of the draws.
    """
    rates, seen = np.array(flips), np.array(parted)
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(len(rates), size=len(rates)) for _ in range(draws)]
    found = sorted(_likeliest(rates[rows], seen[rows]) for rows in drawn)
    return _likeliest(rates, seen), found[round(0.025 * (draws - 1))], found[round(0.975 * (draws - 1))]


def _likeliest(rates: np.ndarray, seen: np.ndarray) -> float:
    def unlikely(logarithm: float) -> float:
        expected = math.exp(logarithm) * rates
        return float(expected[~seen].sum() - np.log(-np.expm1(-expected[seen])).sum())

    return math.exp(optimize.minimize_scalar(unlikely, bounds=(-7.0, 7.0), method="bounded").x)
