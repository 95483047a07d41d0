"""Two layers that learn to compose two elements of a group: how high their loss stands, and what is learnt first."""

__all__ = ["Composition", "StairsSpec", "TurnSpec", "heights", "order", "plateaus", "turns"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lmc_lib import flow, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, composition, groups, stairs
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits


@dataclass(frozen=True, kw_only=True)
class Composition(Spec):
    """Two layers that learn to compose two elements of a group by plain gradient descent on all pairs.

    Attributes:
        group: name of the group, such as ``"C_11"`` or ``"D_3"``.
        width: number of neurons.
        start: size of the weights at the start.
        train: number and size of the updates.
        every: number of updates between two records.
        normalised: whether the gradient of a neuron is divided by the length of its weights.
        seeds: number of seeds, each with a template and a start of its own.
        first_seed: the first of them.
    """

    group: str
    width: int
    start: float
    train: Descent
    every: int
    seeds: int
    first_seed: int = 0
    normalised: bool = True

    @property
    def label(self) -> str:
        """The network in short."""
        return f"{self.width} neurons for {self.group}"

    def follow(self, codes: Float[Tensor, "*batch g g"], targets: Float[Tensor, "*batch pairs g"]) -> Tensor:
        """The errors by representation at each record, of networks that differ by seed along the first axis."""
        group, (count, *more) = groups.named(self.group), codes.shape[:-2]
        drawn = [
            composition.start(
                group.order, self.width, self.start, generator=rng.stream(seed, "composition", self.group, "start")
            )
            for seed in range(self.first_seed, self.first_seed + count)
        ]
        layers = tuple(
            torch.stack(each).view(count, *[1] * len(more), self.width, group.order).expand(count, *more, -1, -1)
            for each in zip(*drawn, strict=True)
        )
        look = partial(composition.errors, group.projections(), codes, targets)
        interval, found = Descent(self.every, self.train.rate), [look(layers)]
        for _ in range(self.train.steps // self.every):
            layers = flow.descend(partial(self._slopes, codes, targets), layers, interval)
            found.append(look(layers))
        return torch.stack(found)

    def _slopes(self, codes: Tensor, targets: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        slopes = composition.gradient(codes, targets, *layers)
        return composition.normalised(slopes, layers) if self.normalised else slopes


@dataclass(frozen=True, kw_only=True)
class StairsSpec(Composition):
    """All that defines what is learnt of a group, step by step.

    It measures, one row a seed, ``loss`` at each record, and, one column a gain, ``levels``, the powers of the
    representations that have these gains by the order of the group, and ``half times``, when half of each is learnt.
    ``shares`` are what is left of each at each record, of the first seed alone.

    Attributes:
        gains: falling; each seed draws the representations that have them, and the others have no power.
        relabelled: whether rows, columns and entries of the table of products are permuted, by seed.
        ratio: of the two singular values of coefficients of planes.
    """

    kind: ClassVar[str] = "StairsSpec"
    noun: ClassVar[str] = "stairs of learning"

    gains: tuple[float, ...]
    relabelled: bool = False
    ratio: float = 1.0

    def compute(self, store: Store) -> Result:
        """Draws templates, trains, and looks at each representation."""
        group = groups.named(self.group)
        drawn = [self._drawn(group, seed) for seed in range(self.first_seed, self.first_seed + self.seeds)]
        codes, tables, chosen = (torch.stack(each) for each in zip(*drawn, strict=True))
        targets = torch.stack([code[table.flatten()] for code, table in zip(codes, tables, strict=True)])
        errors = self.follow(codes, targets)
        levels = torch.stack([group.powers(code[0]) / group.order for code in codes]).gather(1, chosen)
        shares = errors.gather(2, chosen.expand(len(errors), -1, -1)) / levels
        times = composition.half_times(shares, self.every)
        values = {"loss": errors.sum(-1).T, "levels": levels, "half times": times, "shares": shares[:, 0].T}
        return Result({name: digits(each.round(decimals=9), 6) for name, each in values.items()})

    def _drawn(self, group: groups.Group, seed: int) -> tuple[Tensor, Tensor, Int[Tensor, " gains"]]:
        """The codes of a seed, the table of products, and which representations have the gains."""
        stream = rng.stream(seed, "composition", self.group, "template")
        chosen = 1 + torch.randperm(len(group.irreps) - 1, generator=stream)[: len(self.gains)]
        powers = [0.0] * len(group.irreps)
        for place, gain in zip(chosen.tolist(), self.gains, strict=True):
            powers[place] = (gain / group.irreps[place].unit_gain) ** (2.0 / 3.0)
        codes = group.shifted(group.template(powers, ratio=self.ratio, generator=stream))
        table = groups.relabelled(group.table, generator=stream) if self.relabelled else group.table
        return codes, table, chosen


@dataclass(frozen=True, kw_only=True)
class TurnSpec(Composition):
    """All that defines at which ratio of their powers two representations change places in the order of learning.

    It measures ``half times``, one row a seed, one column a ratio, and in it the first and the second representation;
    and ``predicted``, the ratio at which their gains are the same.

    Attributes:
        pair: names of the two representations; the others have no power.
        power: that of the first of them.
        ratios: powers of the second one by that of the first, rising.
    """

    kind: ClassVar[str] = "TurnSpec"
    noun: ClassVar[str] = "turns of the order"

    pair: tuple[str, str]
    power: float
    ratios: tuple[float, ...]

    def compute(self, store: Store) -> Result:
        """Trains one network for each seed and ratio."""
        group = groups.named(self.group)
        names = [each.name for each in group.irreps]
        chosen = [names.index(each) for each in self.pair]
        codes = torch.stack([
            torch.stack([self._codes(group, chosen, seed, ratio) for ratio in self.ratios])
            for seed in range(self.first_seed, self.first_seed + self.seeds)
        ])  # fmt: skip
        # Two ratios at a time stay in the cache of a processor.
        parts = torch.split(codes, 2, dim=1)
        errors = torch.cat([self.follow(each, each[:, :, group.table.flatten()])[..., chosen] for each in parts], dim=2)
        first, second = (group.irreps[place].unit_gain for place in chosen)
        times = composition.half_times(errors / errors[0], self.every)
        return Result({"half times": digits(times, 6), "predicted": digits((first / second) ** (2.0 / 3.0))})

    def _codes(self, group: groups.Group, chosen: Sequence[int], seed: int, ratio: float) -> Float[Tensor, "g g"]:
        powers = [0.0] * len(group.irreps)
        powers[chosen[0]], powers[chosen[1]] = self.power, self.power * ratio
        stream = rng.stream(seed, "composition", self.group, "template")
        return group.shifted(group.template(powers, generator=stream))


def plateaus(found: Record, every: int) -> tuple[Float[ndarray, "seeds plateaus"], Float[ndarray, "seeds plateaus"]]:
    """The loss where it falls most slowly between half times, and what is left of the powers by the group's order.

    Args:
        found: what ``StairsSpec`` measured.
        every: its number of updates between two records.
    """
    return stairs.plateaus(found.of("half times"), found.of("levels"), found.of("loss"), every)


def heights(found: Record, every: int) -> Float[ndarray, " seeds"]:
    """The largest relative error of the height of a plateau, of each seed."""
    measured, predicted = plateaus(found, every)
    errors: ndarray = np.abs(measured / predicted - 1.0).max(1)
    return errors


def order(found: Record) -> Estimate:
    """The mean over seeds of Kendall's rank correlation of half times with the rank of the gain, the largest first."""
    times = found.of("half times")
    from scipy.stats import kendalltau  # noqa: PLC0415 -- slow to load, and used here alone

    return estimate_of_mean(np.array([kendalltau(each, np.arange(len(each))).statistic for each in times]))


def turns(found: Record, ratios: Sequence[float]) -> Float[ndarray, " seeds"]:
    """The ratio of powers at which both representations have the same half time, of each seed.

    It is found on a straight line between two ratios, in logarithms of ratios and times; where the order never turns,
    it is the nearer end of the ratios.
    """
    leads = np.log(found.of("half times")[..., 1] / found.of("half times")[..., 0])
    return np.array([np.exp(stairs.crossing(np.log(ratios), each)) for each in leads])
