"""The width at which networks of an architecture first learn to compose all sequences of elements of a group."""

__all__ = ["WidthSpec", "needed"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import rng, training
from lmc_lib.experiments.found import Record
from lmc_lib.flow import groups, sequences
from lmc_lib.flow.sequences import Composer
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits

# JSON knows neither infinity nor what is not a number.
_DIVERGED = 1e9


@dataclass(frozen=True, kw_only=True)
class WidthSpec(Spec):
    """All that defines at which width networks learn to compose, up a grid until all seeds have learnt at some width.

    It measures, one row a width that was trained, ``losses``, one a seed: the mean squared error over all sequences and
    coordinates at the end of training, by the mean square of the codes; and ``neurons``, of the widest hidden layer.

    Attributes:
        group: name of the group.
        length: number of elements that are composed.
        architecture: one of ``lmc_lib.flow.sequences.ARCHITECTURES``.
        widths: the grid, rising.
        train: the hyperparameters; each batch is all sequences.
        seeds: number of seeds, each with a template and starts of its own.
        first_seed: the first of them.
        level: the loss below which a network has learnt.
    """

    kind: ClassVar[str] = "WidthSpec"
    noun: ClassVar[str] = "widths needed"

    group: str
    length: int
    architecture: str
    widths: tuple[int, ...]
    train: TrainConfig
    seeds: int
    first_seed: int = 0
    level: float = 0.01

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"{self.architecture}, {self.length} elements of {self.group}"

    def compute(self, store: Store) -> Result:
        """Trains one width after the other."""
        group = groups.named(self.group)
        codes = torch.stack([self._codes(group, seed) for seed in self._seeds])
        losses, neurons = [], []
        learnt = torch.zeros(self.seeds, dtype=torch.bool)
        for width in self.widths:
            composer = sequences.ARCHITECTURES[self.architecture](group.order, width, self.length)
            losses.append(self._trained(composer, codes, group))
            neurons.append(composer.neurons)
            learnt |= losses[-1] < self.level
            if learnt.all():
                break
        return Result({"losses": digits(torch.stack(losses), 6), "neurons": neurons})

    @property
    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    def _codes(self, group: groups.Group, seed: int) -> Float[Tensor, "g g"]:
        """Codes of length 1, in which each representation has the power that it has in a lone 1."""
        powers = [each.size**2 / each.kind / (group.order - 1) for each in group.irreps[1:]]
        stream = rng.stream(seed, "sequences", self.group, "template")
        return group.shifted(group.template([0.0, *powers], generator=stream))

    def _trained(self, composer: Composer, codes: Float[Tensor, "seeds g g"], group: groups.Group) -> Tensor:
        targets = codes[:, sequences.products(group.table, self.length)] * group.order**0.5
        path = (self.architecture, self.group, self.length, composer.width)
        drawn = (rng.stream(seed, "sequences", "start", *path) for seed in self._seeds)
        start = stacked([composer.start(generator=stream) for stream in drawn])

        def losses(weights: Mapping[str, Tensor], step: int) -> Float[Tensor, " seeds"]:
            del step
            each: Tensor = (composer.outputs(weights, codes) - targets).square().mean((1, 2))
            return each

        (end,) = training.train_stack(losses, start, self.train)
        with torch.no_grad():
            return torch.nan_to_num(losses(end.state, self.train.steps), nan=_DIVERGED, posinf=_DIVERGED)


def needed(found: Record, level: float, enough: float = math.inf) -> Float[ndarray, " seeds"]:
    """The neurons of the widest layer at the first width at which each seed has learnt.

    Where a seed has learnt at none of the grid, twice the widest count, so that it counts as more than was tried. No
    seed counts with more than is enough.

    Args:
        found: what ``WidthSpec`` measured.
        level: the loss below which a network has learnt.
        enough: neurons with which exact weights are known.
    """
    learnt, neurons = found.of("losses") < level, found.of("neurons")
    first = np.where(learnt.any(0), neurons[learnt.argmax(0)], 2.0 * neurons[-1])
    counted: ndarray = np.minimum(first, enough)
    return counted
