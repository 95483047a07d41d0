"""Addition modulo a number from starts whose scale is moved between layers: when networks do new sums as well."""

__all__ = ["Accuracies", "AdditionSpec", "Arrivals", "sooner"]

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import rng, training
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import modular_addition
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State, stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals, log_spaced


@dataclass(frozen=True)
class AdditionSpec(Spec):
    """All that defines networks that learn addition modulo a number, several starts a seed that compute the same.

    It measures, one row a seed and one column a shift, after each number of updates in ``steps``, ``train`` and
    ``test``, the accuracies at the entries of the table that are trained on and at the others.

    Attributes:
        modulus: number of summands.
        units: number of hidden units, even.
        share: of the entries of the table that are trained on, all at every update.
        scale: by which both layers are multiplied.
        shifts: by which the first layer is multiplied, and the read-out divided.
        train: the hyperparameters; a batch is the whole share.
        looks: about how many times networks are looked at, evenly on a logarithmic axis, the last update the last.
        seeds: number of seeds, each with its own share and directions.
        first_seed: the first of them.
        redrawn: whether the directions are others, with the same share of the table.
    """

    kind: ClassVar[str] = "AdditionSpec"
    noun: ClassVar[str] = "networks that learn addition"

    modulus: int
    units: int
    share: float
    scale: float
    shifts: tuple[float, ...]
    train: TrainConfig
    looks: int
    seeds: int
    first_seed: int = 0
    redrawn: bool = False

    @property
    def label(self) -> str:
        """The network in short."""
        return f"{self.units} units, addition modulo {self.modulus}"

    def entries(self) -> Tensor:
        """Of each seed which entries of the table are trained on."""
        streams = [rng.stream(self.first_seed + each, "addition", "entries") for each in range(self.seeds)]
        orders = torch.stack([torch.randperm(self.modulus**2, generator=each) for each in streams])
        return (orders < round(self.share * self.modulus**2)).view(-1, self.modulus, self.modulus)

    def start(self, shift: float) -> State:
        """The weights of each seed before the first update."""
        name = "other start" if self.redrawn else "start"
        streams = [rng.stream(self.first_seed + each, "addition", name) for each in range(self.seeds)]
        drawn = [modular_addition.start(self.modulus, self.units, generator=each) for each in streams]
        stacks = stacked(drawn)
        sizes = {"summands": self.scale * shift, "read_out": self.scale / shift}
        return {layer: size * stacks[layer] for layer, size in sizes.items()}

    def compute(self, store: Store) -> Result:
        """Trains the networks of each shift, those of all seeds at once."""
        steps = log_spaced(self.train.steps, self.looks)
        each = [self._trained(shift, steps) for shift in self.shifts]
        train, test = (decimals(torch.stack([found[place] for found in each], 1)) for place in (0, 1))
        return Result({"steps": steps, "train": train, "test": test})

    def _trained(self, shift: float, steps: list[int]) -> Float[Tensor, "2 seeds looks"]:
        entries, looks = self.entries(), []

        def losses(state: State, _: int) -> Float[Tensor, " seeds"]:
            return modular_addition.loss(modular_addition.outputs(**state), entries)

        for checkpoint in training.train_stack(losses, self.start(shift), self.train, save_at=steps):
            computed = modular_addition.outputs(**checkpoint.state)
            looks.append([modular_addition.accuracy(computed, each) for each in (entries, ~entries)])
        return torch.stack([torch.stack(each) for each in looks], -1)


@dataclass(frozen=True)
class Accuracies(Record):
    """What ``AdditionSpec`` measured, read between the updates at which networks were looked at."""

    def updates(self, split: str, level: float) -> Float[ndarray, "seeds shifts"]:
        """After how many updates an accuracy has first come up to a level; the last ones looked at if it never has."""
        steps, best = np.log(self.of("steps")), np.maximum.accumulate(self.of(split), axis=-1)
        rows = best.reshape(-1, best.shape[-1])
        found: ndarray = np.exp([_crossing(steps, row, level) for row in rows]).reshape(best.shape[:-1])
        return found

    def reached(self, split: str, level: float) -> Bool[ndarray, "seeds shifts"]:
        """Whether an accuracy has come up to a level."""
        found: ndarray = self.of(split).max(-1) >= level
        return found

    def arrivals(self, place: int) -> "Arrivals":
        """When the start at a place among the shifts knows 99 % of what it is trained on, and does 0.9 of new sums."""
        each = ("train", 0.99), ("test", 0.9)
        trained, new = (self.updates(*one)[:, place] for one in each)
        return Arrivals(trained, new, self.reached(*each[1])[:, place])


class Arrivals(NamedTuple):
    """When one start arrives, by seed.

    Attributes:
        trained: number of updates until it knows what it is trained on.
        new: number of updates until it does new sums.
        reached: whether it does new sums at all; times alone do not say so of one that arrives at the last update.
    """

    trained: Float[ndarray, " seeds"]
    new: Float[ndarray, " seeds"]
    reached: Bool[ndarray, " seeds"]


def sooner(one: Arrivals, other: Arrivals) -> dict[str, Estimate]:
    """Means over seeds of how much sooner one start does new sums than another, within seeds.

    Who has not arrived at the last update counts as arriving there. If only the other start has not, its gain is at
    least what is said; if the one start has not, no gain is counted, so that a start that never arrives has none.

    Args:
        one: the one start.
        other: the other one.

    Returns:
        ``"sooner"``, the decimal logarithm of the updates to new sums, other less one; ``"delay"``, the same of updates
        to new sums in units of those to what was trained on.
    """
    gain = np.log10(other.new / one.new)
    numbers = {"sooner": gain, "delay": gain - np.log10(other.trained / one.trained)}
    return {
        name: estimate_of_mean(np.where(one.reached, each, np.minimum(each, 0.0))) for name, each in numbers.items()
    }


def _crossing(along: Float[ndarray, " looks"], rising: Float[ndarray, " looks"], level: float) -> float:
    """Where a line through points that never falls comes up to a level, or the last place."""
    above = np.flatnonzero(rising >= level)
    if not above.size:
        return float(along[-1])
    first = above[0]
    if first == 0:
        return float(along[0])
    gone = (level - rising[first - 1]) / (rising[first] - rising[first - 1])
    return float(along[first - 1] + gone * (along[first] - along[first - 1]))
