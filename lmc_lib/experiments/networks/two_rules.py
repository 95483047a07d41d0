"""Networks that learn a task in which two rules tell the class: how well they score, and which rule they follow."""

__all__ = ["Followed", "TwoRulesSpec", "evidence", "spread"]

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.func import vmap

from lmc_lib import models, rng, training
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import Split, batch_order
from lmc_lib.experiments.found import Record
from lmc_lib.flow.two_rules import TASKS
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State, apply, stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals

# New examples on which networks are scored.
_NEW = 1024


@dataclass(frozen=True, kw_only=True)
class TwoRulesSpec(Spec):
    """All that defines perceptrons with two hidden layers that learn a task of two rules, several replicas a seed.

    Replicas of a seed have one training set, each its own order of batches. It measures, one row a seed, one column a
    replica, after each number of updates in ``steps``: ``shares``, of new examples on which the rules disagree those
    that are told as the first rule has it; and ``accuracies``, of new examples on which they agree those that are told
    as both have it.

    Attributes:
        task: one of ``lmc_lib.flow.two_rules.TASKS``.
        length: number of symbols.
        order: symbols of a rule.
        width: units of a hidden layer.
        examples: training examples.
        train: the hyperparameters.
        replicas: networks of a seed.
        seeds: how many there are.
        first_seed: the first of them.
        common: whether the replicas of a seed begin at the same weights, so that the order of batches alone differs.
        told: whether the rules disagree in half of the training examples, whose class is that of the first rule.
        looks: how many times networks are looked at, evenly, the last update the last.
    """

    kind: ClassVar[str] = "TwoRulesSpec"
    noun: ClassVar[str] = "stacks of networks that learn two rules"

    task: str
    length: int
    order: int
    width: int
    examples: int
    train: TrainConfig
    replicas: int
    seeds: int
    first_seed: int = 0
    common: bool = False
    told: bool = False
    looks: int = 6

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r}; there are {', '.join(TASKS)}")
        if self.train.batch_size > self.examples:
            raise ValueError(f"a batch of {self.train.batch_size} does not fit into {self.examples} training examples")

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"{self.task} of {self.order}, width {self.width}"

    @property
    def model(self) -> nn.Module:
        """The architecture."""
        like = self.drawn(0, "new")
        classes = 1 + int(like.labels.max())
        return models.mlp(like.inputs.shape[-1], classes, widths=(self.width, self.width)).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the training."""
        return torch.float64 if self.train.precision == "portable" else torch.float32

    def drawn(self, place: int, name: str, *, agree: bool = True, examples: int = _NEW) -> Split:
        """Examples of the seed at a place; every name has its own."""
        stream = rng.stream(self.first_seed + place, "two rules", self.task, name)
        inputs, labels = TASKS[self.task](examples, self.length, self.order, agree=agree, generator=stream)
        return Split(inputs[:, None, None].to(self.dtype), labels)

    def training_set(self, place: int) -> Split:
        """The training examples of the seed at a place."""
        if not self.told:
            return self.drawn(place, "train", examples=self.examples)
        half = self.examples // 2
        agreed = self.drawn(place, "train", examples=self.examples - half)
        apart = self.drawn(place, "told", agree=False, examples=half)
        return Split(torch.cat([agreed.inputs, apart.inputs]), torch.cat([agreed.labels, apart.labels]))

    def start(self) -> State:
        """The weights of all networks before the first update, those of a seed behind each other."""
        starts = [[0] * self.replicas if self.common else list(range(self.replicas))] * self.seeds
        streams = [
            rng.stream(self.first_seed + place, "two rules", "start", self.width, each)
            for place, row in enumerate(starts)
            for each in row
        ]
        model = self.model
        return stacked([models.initialise(model, generator=each) for each in streams])

    def compute(self, store: Store) -> Result:
        """Trains all networks at once."""
        model, steps = self.model, sorted({self.train.steps * (each + 1) // self.looks for each in range(self.looks)})
        inside, outside = ([self.drawn(each, "new", agree=how) for each in range(self.seeds)] for how in (True, False))
        accuracies, shares, final = [], [], {}
        for checkpoint in training.train_stack(self._losses(model), self.start(), self.train, save_at=steps):
            final = checkpoint.state
            accuracies.append(self._right(model, final, inside))
            shares.append(self._right(model, final, outside))
        values = {"accuracies": decimals(torch.stack(accuracies, -1)), "shares": decimals(torch.stack(shares, -1))}
        return Result({"steps": steps, **values}, final)

    def _losses(self, model: nn.Module) -> Callable[[State, int], Tensor]:
        """The loss of each network on its next batch."""
        sets = [self.training_set(each) for each in range(self.seeds)]
        inputs, labels = torch.stack([each.inputs for each in sets]), torch.stack([each.labels for each in sets])
        own = torch.arange(self.seeds).repeat_interleave(self.replicas)[:, None]
        per_epoch = self.examples // self.train.batch_size

        @functools.lru_cache(maxsize=1)
        def orders(epoch: int) -> Tensor:
            names = [(place, each) for place in range(self.seeds) for each in range(self.replicas)]
            streams = [rng.stream(self.first_seed + s, "two rules", "order", r, epoch) for s, r in names]
            return torch.stack(
                [
                    torch.stack(list(batch_order(self.examples, self.train.batch_size, generator=each)))
                    for each in streams
                ]
            )

        def losses(state: State, step: int) -> Tensor:
            rows = orders(step // per_epoch)[:, step % per_epoch]
            logits = vmap(functools.partial(apply, model))(state, inputs[own, rows])
            return vmap(nn.functional.cross_entropy)(logits, labels[own, rows])

        return losses

    def _right(self, model: nn.Module, state: State, splits: list[Split]) -> Float[Tensor, "seeds replicas"]:
        """Of each network the share of examples that it tells as they are labelled."""
        rows = []
        with torch.no_grad():
            for place, split in enumerate(splits):
                own = {n: each[place * self.replicas : (place + 1) * self.replicas] for n, each in state.items()}
                logits = vmap(lambda one, split=split: apply(model, one, split.inputs))(own)
                rows.append((logits.argmax(-1) == split.labels).double().mean(-1))
        return torch.stack(rows)


@dataclass(frozen=True)
class Followed(Record):
    """What ``TwoRulesSpec`` measured."""

    def at_end(self, name: str) -> Float[ndarray, "seeds replicas"]:
        """Shares or accuracies after the last update."""
        last: ndarray = self.of(name)[..., -1]
        return last


def spread(values: Float[ndarray, "seeds replicas"]) -> Float[ndarray, " seeds"]:
    """The standard deviation over the replicas of each seed."""
    found: ndarray = values.std(axis=1, ddof=1)
    return found


def evidence(found: Followed) -> dict[str, Estimate]:
    """The estimates that the criteria ask for, means over seeds of standard deviations over replicas.

    Returns:
        ``"inside"``, of accuracies where the rules agree; ``"outside"``, of shares where they disagree, less the first.

    Raises:
        ValueError: if there are fewer than three seeds.
    """
    inside, outside = (spread(found.at_end(name)) for name in ("accuracies", "shares"))
    return {"inside": estimate_of_mean(inside), "outside": estimate_of_mean(outside - inside)}
