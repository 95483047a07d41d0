"""Runs that differ in their seeds alone, trained at once as a stack."""

__all__ = ["TASKS", "StackSpec", "check_stack", "train_stacked"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import models, norms, rng, state, training
from lmc_lib.data import NO_IMAGES, quarter_turns, view
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, drawn_start
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.values import share

# What the networks of a stack can learn, and how many numbers they give for it; None for one a class.
TASKS = {"classes": None, "turns": 4, "views": 16}

# Of the softmax over views. Of 0.1, 0.2 and 0.5 it is the one with which digits learn most.
_TEMPERATURE = 0.2


@dataclass(frozen=True)
class StackSpec(OfStart):
    """All that defines networks that differ in their seeds alone: ``run``, and those with the following seeds.

    Their weights are kept as a stack. It measures ``errors``, one a network, on the test set: of classes, of turns, or
    the share of images of which another image has a nearer second view; None where a training diverged.

    Attributes:
        networks: how many there are.
        task: what they learn: ``"classes"``; ``"turns"``, by how many quarter turns an image was turned; or
            ``"views"``, which images of a batch are views of the same one. The last two see no label.
    """

    kind: ClassVar[str] = "Stack"
    noun: ClassVar[str] = "stacks of networks"

    networks: int
    task: str = "classes"

    def __post_init__(self) -> None:
        check_stack(self.run)
        if self.networks < 1:
            raise ValueError(f"a stack has networks, got {self.networks}")
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r} of a stack; there are {', '.join(TASKS)}")
        if self.task != "classes" and (others := NO_IMAGES.get(self.run.data.name)):
            raise ValueError(f"the task {self.task!r} is one of images, and {self.run.data.name} are {others}")

    @property
    def network(self) -> nn.Module:
        """The architecture, with as many numbers at its end as the task asks for."""
        return _network(self.run, self.task)

    def compute(self, store: Store) -> Result:
        """Trains all networks at once."""
        first, seeds = self.run, range(self.networks)
        runs = [replace(first, init_seed=first.init_seed + i, order_seed=first.order_seed + i) for i in seeds]
        _, ends = train_stacked(runs, self.task)
        errors = [
            _error(run, self.task, end) if state.is_finite(end) else None for run, end in zip(runs, ends, strict=True)
        ]
        return Result({"errors": errors}, state.stacked(ends))


def check_stack(run: RunSpec) -> None:
    """Refuses a run that cannot be trained in a stack.

    Raises:
        ValueError: if it augments images, starts from another training, or computes in bfloat16.
    """
    for what, value in (
        ("augmentation", run.train.augment),
        ("a pre-trained start", run.pretrained is not None),
        ("bfloat16", run.train.precision == "bfloat16"),
    ):
        if value:
            raise ValueError(f"networks in a stack have no {what}: train this run by itself")


def train_stacked(runs: Sequence[RunSpec], task: str = "classes") -> tuple[list[State], list[State]]:
    """Trains runs that differ in their seeds alone, each as by itself but for rounding.

    Of small networks, many at once take hardly longer than one.

    Args:
        runs: the runs.
        task: what they learn, one of ``TASKS``.

    Returns:
        The starts and the ends, in the precision of the training. Of a run that diverged the end is not finite.

    Raises:
        ValueError: if the runs differ in more than their seeds, the network keeps statistics of batches, or
            :func:`check_stack` refuses them.
    """
    first = runs[0]
    check_stack(first)
    if any(replace(run, init_seed=first.init_seed, order_seed=first.order_seed) != first for run in runs):
        raise ValueError("the runs of a stack differ in their seeds alone; others are trained by themselves")
    model, split = _network(first, task), dataset(first.data).train
    split = quarter_turns(split) if task == "turns" else split
    if norms.has_statistics(model):
        raise ValueError(f"{first.label} keeps statistics of batches, which a stack cannot: train it by itself")
    steps = list(training.stacked_batches(len(split), first.train, seeds=[run.order_seed for run in runs]))
    answers = torch.vmap(partial(state.apply, model))

    def losses(weights: State, step: int) -> Float[Tensor, " networks"]:
        rows = steps[step]
        inputs = split.inputs[rows].to(next(iter(weights.values())).dtype)
        if task == "views":
            seen = (answers(weights, _views(runs, inputs, step, each)) for each in ("first", "second"))
            return torch.vmap(partial(training.contrastive_loss, temperature=_TEMPERATURE))(*seen)
        logits = answers(weights, inputs)
        return F.cross_entropy(logits.movedim(-1, 1), split.labels[rows], reduction="none").mean(1)

    drawn = state.stacked([drawn_start(run, model) for run in runs])
    seen = [state.unstacked(each.state) for each in training.train_stack(losses, drawn, first.train, save_at=(0,))]
    return seen[0], seen[-1]


def _network(run: RunSpec, task: str) -> nn.Module:
    loaded = dataset(run.data)
    return models.build(run.model, loaded.input_shape, TASKS[task] or loaded.num_classes)


@torch.no_grad()
def _error(run: RunSpec, task: str, weights: State) -> float:
    """What a network gets wrong of its own task on the test set, as a share."""
    network, split = _network(run, task), dataset(run.data).test
    dtype = next(iter(weights.values())).dtype
    if task == "views":
        streams = [rng.stream(run.order_seed, "views", name, "test") for name in ("first", "second")]
        seen = [view(split.inputs.to(dtype), generator=each) for each in streams]
        first, second = (F.normalize(state.apply(network, weights, each), dim=1) for each in seen)
        return share(float((torch.cdist(first, second).argmin(1) != torch.arange(len(split))).double().mean()))
    split = quarter_turns(split) if task == "turns" else split
    answers = state.apply(network, weights, split.inputs.to(dtype)).argmax(1)
    return share(float((answers != split.labels).double().mean()))


def _views(runs: Sequence[RunSpec], inputs: Tensor, step: int, name: str) -> Tensor:
    """A view of the batch of each network, drawn for it alone."""
    streams = [rng.stream(run.order_seed, "views", name, step) for run in runs]
    return torch.stack([view(batch, generator=each) for batch, each in zip(inputs, streams, strict=True)])
