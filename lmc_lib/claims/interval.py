"""A statistic with its 95 % interval."""

__all__ = ["Estimate", "bootstrap_interval", "bootstrap_p"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lmc_lib.claims.study import Study

_SETS = {1: "twins", 2: "pairs", 3: "triples"}

# Every interval is drawn from this stream, so that it is a function of its data.
_SEED = 0


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
        study: the numbers that it is made of, from which it can be made again.
    """

    value: float
    low: float
    high: float
    pairs: int
    replicas: int
    size: int = 2
    study: "Study | None" = field(default=None, compare=False, repr=False)

    def count(self, unit: str = "network") -> str:
        """How many independent units there are, and what they make, as ``"5 networks (10 pairs)"``."""
        if self.size == 0 or (self.size == 1 and self.pairs == self.replicas):
            return f"{self.replicas} {unit}s"
        return f"{self.replicas} {unit}s ({self.pairs} {name_of_sets(self.size)})"

    @property
    def triple(self) -> tuple[float, float, float]:
        """Value, lower and upper end, as a row for a figure."""
        return self.value, self.low, self.high

    def __str__(self) -> str:
        """The estimate and its interval with three decimals; what rounds to zero has no sign."""
        return f"{self.value:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"


def name_of_sets(size: int) -> str:
    """What sets of so many networks are called."""
    return _SETS.get(size, f"sets of {size}")


def bootstrap_interval(units: int, statistic: Callable[..., Any], *, resamples: int) -> tuple[float, float]:
    r"""The 95 % interval of a statistic by the expanded percentile bootstrap (Hesterberg 2015).

    The percentile interval of few units is too short: it uses quantiles of the normal distribution where Student's t
    belongs, and a variance with :math:`n` where :math:`n - 1` belongs. Here the percentiles are those of the level
    :math:`\Phi(-\sqrt{n / (n - 1)}\, t_{0.025, n - 1})`: 0.6 and 99.4 for eight units, 2.1 and 97.9 for fifty.

    Args:
        units: how many independent units are drawn from, at least two.
        statistic: takes the numbers of the drawn units, and ``axis``; returns a number a draw.
        resamples: number of draws.
    """
    # Slow to load, and of no use to the workers that train and measure.
    from scipy.stats import norm, t  # noqa: PLC0415

    level = norm.cdf(-math.sqrt(units / (units - 1)) * t.ppf(0.975, units - 1))
    interval = _bootstrap(units, statistic, resamples, 1.0 - 2.0 * level).confidence_interval
    return float(interval.low), float(interval.high)


def bootstrap_p(units: int, statistic: Callable[..., Any], bound: float, *, above: bool, resamples: int) -> float:
    r"""The least level, of one side, at which an interval like :func:`bootstrap_interval` clears a bound.

    It is never below :math:`2^{-n}`: with that probability all of :math:`n` units lie on one side of their median, and
    no resample tells.

    Args:
        units: how many independent units are drawn from.
        statistic: as for the interval.
        bound: the bound.
        above: whether the interval is to lie above it.
        resamples: number of draws.
    """
    from scipy.stats import norm, t  # noqa: PLC0415

    found = _bootstrap(units, statistic, resamples, 0.95).bootstrap_distribution
    missed = int((found <= bound).sum() if above else (found >= bound).sum())
    level = -norm.ppf((missed + 1) / (resamples + 2))
    return max(float(t.sf(level / math.sqrt(units / (units - 1)), units - 1)), 0.5**units)


def _bootstrap(units: int, statistic: Callable[..., Any], resamples: int, level: float) -> Any:
    from scipy.stats import bootstrap  # noqa: PLC0415

    return bootstrap(
        (np.arange(units),),
        statistic,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(_SEED),
        vectorized=True,
    )
