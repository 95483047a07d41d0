"""Two linear layers between lazy and rich learning: how near training is to the exact solution, and what it tells."""

__all__ = ["RegimeSpec", "SolutionSpec", "TwoLayers", "exactness", "halfway", "relearning", "richness"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import flow, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, two_layers
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals


@dataclass(frozen=True)
class TwoLayers(Spec):
    """Two linear layers that learn a target, several balances a seed.

    The singular values of a target are evenly spaced from 1 to a half, its singular vectors are drawn. Times are those
    of gradient flow.

    Attributes:
        sizes: numbers of inputs, hidden units and outputs.
        balances: the balances, rising, the one in the middle 0.
        scale: size of the smaller layer at the start.
        horizon: for how long a target is learnt.
        points: at how many evenly spaced times networks are looked at, the horizon the last.
        seeds: number of seeds, each with its own target and starts.
        first_seed: the first of them.
    """

    sizes: tuple[int, int, int]
    balances: tuple[float, ...]
    scale: float
    horizon: float
    points: int
    seeds: int
    first_seed: int = 0

    @property
    def label(self) -> str:
        """The network in short."""
        return "linear layers of {}, {} and {} units".format(*self.sizes)

    @property
    def times(self) -> list[float]:
        """When networks are looked at."""
        return [self.horizon * (place + 1) / self.points for place in range(self.points)]

    def target(self, seed: int, name: str) -> Float[Tensor, "o i"]:
        """Draws a target of a seed, by its name."""
        stream, (inputs, _, outputs) = rng.stream(seed, "two layers", name), self.sizes
        rank = min(inputs, outputs)
        drawn = [torch.randn(size, rank, generator=stream, dtype=torch.float64) for size in (outputs, inputs)]
        left, right = (torch.linalg.qr(each).Q for each in drawn)
        target: Tensor = left * torch.linspace(1.0, 0.5, rank, dtype=torch.float64) @ right.T
        return target

    def start(self, seed: int, balance: float) -> tuple[Float[Tensor, "h i"], Float[Tensor, "o h"]]:
        """Draws the balanced start of a seed."""
        stream = rng.stream(seed, "two layers", "start")
        return two_layers.balanced_start(self.sizes, balance, self.scale, generator=stream)

    def each(self, measured: Callable[[int, float], Tensor]) -> Float[Tensor, "seeds balances *more"]:
        """What is measured of each seed and balance."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return torch.stack([torch.stack([measured(seed, balance) for balance in self.balances]) for seed in seeds])


@dataclass(frozen=True)
class SolutionSpec(TwoLayers):
    """All that defines how far the exact solution is from what layers do, as the largest relative error over times.

    It measures, one row a seed and one column a balance, ``integrated``, the error by numerical integration of gradient
    flow, and ``descended``, by step size the errors by gradient descent. Compared are stacks by their transposes.

    Attributes:
        rates: step sizes, falling.
        mixed: whether layers start normal, with the norms of the balanced ones: balanced in the mean alone.
    """

    kind: ClassVar[str] = "SolutionSpec"
    noun: ClassVar[str] = "exact solutions"

    rates: tuple[float, ...] = ()
    mixed: bool = False

    def compute(self, store: Store) -> Result:
        """Solves, integrates and descends."""
        wanted = self.each(lambda seed, balance: _squared(self._exact(seed, balance)))
        integrated = self.each(lambda seed, balance: _squared(self._integrated(seed, balance)))
        descended = [_error(self._descended(rate), wanted).tolist() for rate in self.rates]
        return Result(
            {"integrated": decimals(_error(integrated, wanted)), "descended": decimals(torch.tensor(descended))}
        )

    def _layers(self, seed: int, balance: float) -> tuple[Tensor, Tensor]:
        layers = self.start(seed, balance)
        stream = rng.stream(seed, "two layers", "mixed")
        return two_layers.mixed_start(*layers, generator=stream) if self.mixed else layers

    def _exact(self, seed: int, balance: float) -> Tensor:
        start = two_layers.stack(*self._layers(seed, balance))
        return two_layers.exact(start, self.target(seed, "first"), balance, self.times)

    def _integrated(self, seed: int, balance: float) -> Tensor:
        return two_layers.integrated(*self._layers(seed, balance), self.target(seed, "first"), self.times)

    def _descended(self, rate: float) -> Tensor:
        first = self.each(lambda seed, balance: self._layers(seed, balance)[0])
        point: tuple[Tensor, ...] = (first, self.each(lambda seed, balance: self._layers(seed, balance)[1]))
        targets = self.each(lambda seed, _: self.target(seed, "first"))
        interval, found = Descent(round(self.horizon / self.points / rate), rate), []
        for _ in range(self.points):
            point = flow.descend(partial(two_layers.gradient, targets), point, interval)
            found.append(_squared(two_layers.stack(*point)))
        return torch.stack(found, 2)


@dataclass(frozen=True)
class RegimeSpec(TwoLayers):
    """All that defines what the balance decides, by the exact solution.

    It measures, one row a seed and one column a balance, ``distance``, that of the kernels before the first target is
    learnt and after, and, along the times, the loss that is left by that at the beginning: of the ``first`` target, and
    of what is learnt after it, its negative (``reversed``) or another one with the same singular values (``other``).
    """

    kind: ClassVar[str] = "RegimeSpec"
    noun: ClassVar[str] = "regimes of learning"

    def compute(self, store: Store) -> Result:
        """Solves for the first target, and for what comes after it."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        first, other = ([self.target(seed, name) for seed in seeds] for name in ("first", "other"))
        starts = self.each(lambda seed, balance: two_layers.stack(*self.start(seed, balance)))
        learnt, left = self._learn(starts, first)
        _, of_reversed = self._learn(learnt, [-target for target in first])
        _, of_other = self._learn(learnt, other)
        values = {"first": left, "reversed": of_reversed, "other": of_other}
        values["distance"] = two_layers.kernel_distance(starts, learnt, self.sizes[0])
        return Result({name: decimals(each) for name, each in values.items()})

    def _learn(self, starts: Float[Tensor, "s b n h"], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The stacks at the horizon, and the share of the loss that is left at each time, a target a seed."""
        ends, left = [], []
        for of_seed, target in zip(starts, targets, strict=True):
            pairs = zip(of_seed, self.balances, strict=True)
            stacks = torch.stack([two_layers.exact(start, target, balance, self.times) for start, balance in pairs])
            ends.append(stacks[:, -1])
            left.append(two_layers.loss(stacks, target) / two_layers.loss(of_seed, target)[:, None])
        return torch.stack(ends), torch.stack(left)


def exactness(found: Record, rates: Sequence[float]) -> dict[str, Estimate]:
    """Means over seeds of the largest error over balances.

    Args:
        found: what ``SolutionSpec`` measured.
        rates: its step sizes.

    Returns:
        ``"descended"``, the error of gradient descent at the first step size; ``"order"``, how far the slope of its
        logarithm over that of the step size is from 1; ``"integrated"``, the error of numerical integration.
    """
    errors = found.of("descended").max(-1)
    slopes = np.log(errors[0] / errors[-1]) / np.log(rates[0] / rates[-1])
    # The error of integration is one of rounding, which differs between processors; what a slope misses by steps that
    # are not small enough is below its third decimal.
    numbers = {
        "descended": errors[0],
        "order": np.abs(slopes - 1.0).round(3),
        "integrated": found.of("integrated").max(-1).round(7),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def richness(found: Record) -> dict[str, Estimate]:
    """Means over seeds of what kernel distances say at the balance 0 and at the two ends.

    Returns:
        ``"lazy"``, the larger distance of the two ends; ``"rich"``, by how much that at 0 exceeds it;
        ``"lower side"``, by how much that at the lower end exceeds that at the upper one, and ``"upper side"``, the
        same the other way round.
    """
    low, middle, high = _three(found.of("distance"))
    ends = np.maximum(low, high)
    numbers = {"lazy": ends, "rich": middle - ends, "lower side": low - high, "upper side": high - low}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def relearning(found: Record, name: str) -> dict[str, Estimate]:
    """Means over seeds of the loss that is left of a second target, after half of the time that the first one had.

    What shrinks while the first target is learnt grows for as long again in a reversal, and counts only after that.

    Args:
        found: what ``RegimeSpec`` measured.
        name: the second target, ``"reversed"`` or ``"other"``.

    Returns:
        ``"stuck"``, by how much more is left at the balance 0 than at both ends; ``"relearnt"``, the larger one that is
        left at the ends.
    """
    low, middle, high = _three(halfway(found, name))
    ends = np.maximum(low, high)
    return {"stuck": estimate_of_mean(middle - ends), "relearnt": estimate_of_mean(ends)}


def halfway(found: Record, name: str) -> Float[ndarray, "seeds balances"]:
    """The share of the loss that is left of a target at half of the horizon."""
    left = found.of(name)
    return left[..., left.shape[-1] // 2 - 1]


def _three(values: Float[ndarray, "seeds balances"]) -> tuple[ndarray, ndarray, ndarray]:
    """What stands at the lowest balance, at 0 and at the highest."""
    return values[:, 0], values[:, values.shape[1] // 2], values[:, -1]


def _squared(stacks: Float[Tensor, "*batch n h"]) -> Float[Tensor, "*batch n n"]:
    return stacks @ stacks.mT


def _error(found: Float[Tensor, "s b times n n"], wanted: Float[Tensor, "s b times n n"]) -> Float[Tensor, "s b"]:
    """The largest relative error over times."""
    missed, size = (torch.linalg.matrix_norm(each) for each in (found - wanted, wanted))
    errors: Tensor = (missed / size).amax(-1)
    return errors
