"""One linear hidden neuron, from starts of several charges: how near training is to the exact solution, and regimes."""

__all__ = ["DescentSpec", "NeuronSpec", "Neurons", "descents", "regimes_of"]

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from lmc_lib.flow import Descent, neuron
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals

# Of the grid on which it is looked up when a tenth of the loss is left.
_GRID = 0.01


@dataclass(frozen=True)
class Neurons(Spec):
    """Networks of one linear hidden neuron, several charges a seed, all with the same product at the start.

    Target and start are vectors of drawn directions, the target of length 1. Times are those of gradient flow.

    Attributes:
        inputs: number of inputs.
        charges: the charges, rising, the one in the middle 0.
        size: length of the product at the start.
        horizon: for how long networks learn.
        points: at how many times they are looked at, the horizon the last.
        seeds: number of seeds, each with its own target and start.
        first_seed: the first of them.
        rates: those of the read-out and of the weights.
    """

    inputs: int
    charges: tuple[float, ...]
    size: float
    horizon: float
    points: int
    seeds: int
    first_seed: int = 0
    rates: tuple[float, float] = (1.0, 1.0)

    @property
    def label(self) -> str:
        """The network in short."""
        return f"one neuron of {self.inputs} inputs"

    @property
    def times(self) -> list[float]:
        """When networks are looked at: unless a subclass says otherwise, at evenly spaced times."""
        return [self.horizon * (place + 1) / self.points for place in range(self.points)]

    def targets(self) -> Float[Tensor, "seeds 1 i"]:
        """Draws the target of each seed."""
        return self._directions("target")

    def products(self) -> Float[Tensor, "seeds 1 i"]:
        """Draws the product at the start of each seed."""
        return self.size * self._directions("start")

    def starts(self) -> tuple[Float[Tensor, "seeds charges"], Float[Tensor, "seeds charges i"]]:
        """Read-outs and weights at the start."""
        products = self.products().expand(-1, len(self.charges), -1)
        charges = torch.tensor(self.charges, dtype=torch.float64).expand(self.seeds, -1)
        return neuron.start(products, charges, self.rates)

    def _directions(self, name: str) -> Float[Tensor, "seeds 1 i"]:
        streams = [rng.stream(self.first_seed + each, "neuron", name) for each in range(self.seeds)]
        drawn = torch.stack([torch.randn(1, self.inputs, generator=each, dtype=torch.float64) for each in streams])
        found: Tensor = drawn / drawn.norm(dim=-1, keepdim=True)
        return found


@dataclass(frozen=True)
class DescentSpec(Neurons):
    """All that defines what gradient descent makes of the charge and of the exact solution.

    It measures, by step size, one row a seed and one column a charge, the largest over times of ``drift``, how far the
    charge is from that at the start, in units of the root of the product of the rates times the length of the target,
    and ``missed``, the relative error of the exact solution.

    Attributes:
        steps: step sizes, falling.
        exchanged: whether charge and solution are told the rates of the two layers the wrong way round.
    """

    kind: ClassVar[str] = "NeuronDescentSpec"
    noun: ClassVar[str] = "descents of one neuron"

    steps: tuple[float, ...] = ()
    exchanged: bool = False

    def compute(self, store: Store) -> Result:
        """Descends and solves."""
        each = [self._descended(step) for step in self.steps]
        return Result({name: [decimals(found[name]) for found in each] for name in ("drift", "missed")})

    def _descended(self, step: float) -> dict[str, Tensor]:
        start, targets, told = self.starts(), self.targets(), self.rates[::-1] if self.exchanged else self.rates
        times = torch.tensor(self.times, dtype=torch.float64)
        read_outs, weights = neuron.exact(*start, targets, told, times)
        before = neuron.charge(*start, told)
        drift, missed = [], []
        for place, point in enumerate(_path(replace(self, exchanged=False), step)):
            drift.append((neuron.charge(*point, told) - before).abs() / (told[0] * told[1]) ** 0.5)
            missed.append(_error(point, (read_outs[..., place], weights[..., place, :])))
        return {"drift": torch.stack(drift).amax(0), "missed": torch.stack(missed).amax(0)}


@functools.cache  # what charge and solution are told changes no descent
def _path(spec: DescentSpec, step: float) -> list[tuple[Tensor, Tensor]]:
    """Where gradient descent is at each of the times."""
    point, found, targets = spec.starts(), [], spec.targets()
    interval = Descent(round(spec.horizon / spec.points / step), step)
    for _ in range(spec.points):
        read_outs, weights = flow.descend(partial(neuron.gradient, targets, spec.rates), point, interval)
        point = (read_outs, weights)
        found.append(point)
    return found


@dataclass(frozen=True)
class NeuronSpec(Neurons):
    """All that defines what the charge decides, by the exact solution.

    It measures, one row a seed and one column a charge, along the times, ``distance``, that of the kernels at the
    start and then, and ``left``, the share of the loss that is left; and ``duration``, the time after which a tenth of
    the loss is left, the horizon where more is left for longer.

    Attributes:
        along: whether the start has the direction of the target, so that no direction has to turn.
    """

    kind: ClassVar[str] = "NeuronSpec"
    noun: ClassVar[str] = "regimes of one neuron"

    along: bool = False

    @property
    def times(self) -> list[float]:
        """When networks are looked at: evenly on a logarithmic axis, over four powers of ten."""
        return [float(each) for each in np.geomspace(1e-4 * self.horizon, self.horizon, self.points)]

    def products(self) -> Float[Tensor, "seeds 1 i"]:
        """Those that are drawn, or along the target."""
        return self.size * self.targets() if self.along else super().products()

    def compute(self, store: Store) -> Result:
        """Solves."""
        at = torch.tensor(self.times, dtype=torch.float64)
        grid = torch.arange(1, round(self.horizon / _GRID) + 1, dtype=torch.float64) * _GRID
        start, (coarse, left), (_, fine) = self.starts(), self._solved(at), self._solved(grid)
        before = start[0][..., None], start[1][..., None, :]
        values = {"distance": neuron.kernel_distance(before, coarse, self.rates), "left": left}
        values["duration"] = ((fine > 0.1).sum(-1) + 1).clamp(max=len(grid)) * _GRID
        return Result({name: decimals(each.double()) for name, each in values.items()})

    def _solved(self, times: Float[Tensor, " times"]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Networks at some times, and the share of the loss that is left."""
        start, targets = self.starts(), self.targets()
        found = neuron.exact(*start, targets, self.rates, times)
        return found, neuron.loss(targets[..., None, :], *found) / neuron.loss(targets, *start)[..., None]


def descents(found: Record, steps: Sequence[float]) -> dict[str, Estimate]:
    """Means over seeds of the largest drift and error over charges.

    Args:
        found: what ``DescentSpec`` measured.
        steps: its step sizes.

    Returns:
        ``"drift"`` and ``"missed"`` at the first step size; ``"drift order"`` and ``"missed order"``, how far the
        slopes of their logarithms over that of the step size are from 1.
    """
    numbers: dict[str, ndarray] = {}
    for name in ("drift", "missed"):
        largest = found.of(name).max(-1)
        slopes = np.log(largest[0] / largest[-1]) / np.log(steps[0] / steps[-1])
        # The scatter of slopes is below their third decimal, where reports would print what no reader can use.
        numbers |= {name: largest[0], f"{name} order": np.abs(slopes - 1.0).round(3)}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def regimes_of(found: Record) -> dict[str, Estimate]:
    """Means over seeds of what the charge at the two ends and at 0 decides.

    Returns:
        ``"lazy"``, the kernel distance at the upper end; ``"rich"``, by how much that at 0 exceeds it; ``"turned"``, by
        how much that at the lower end exceeds that at 0; ``"delayed"``, the decimal logarithm of the ratio of the
        durations at the lower end and at 0.
    """
    distance, duration = found.of("distance")[..., -1], found.of("duration")
    middle = distance.shape[1] // 2
    numbers = {
        "lazy": distance[:, -1],
        "rich": distance[:, middle] - distance[:, -1],
        "turned": distance[:, 0] - distance[:, middle],
        "delayed": np.log10(duration[:, 0] / duration[:, middle]),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def _error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Float[Tensor, "seeds charges"]:
    """The relative error of read-out and weights together."""
    one, other = (torch.cat([read_out[..., None], weights], -1) for read_out, weights in (found, wanted))
    error: Tensor = (one - other).norm(dim=-1) / other.norm(dim=-1)
    return error
