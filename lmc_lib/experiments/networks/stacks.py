"""Runs that differ in their seeds alone, trained at once as a stack."""

__all__ = ["check_stack", "train_stacked"]

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import norms, state, training
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start
from lmc_lib.state import State


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


def train_stacked(runs: Sequence[RunSpec]) -> tuple[list[State], list[State]]:
    """Trains runs that differ in their seeds alone, each as by itself but for rounding.

    Of small networks, many at once take hardly longer than one.

    Args:
        runs: the runs.

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
    model, split = architecture(first), dataset(first.data).train
    if norms.has_statistics(model):
        raise ValueError(f"{first.label} keeps statistics of batches, which a stack cannot: train it by itself")
    orders = [training.batches(len(split), first.train, seed=run.order_seed) for run in runs]
    steps = list(zip(*orders, strict=True))
    answers = torch.vmap(partial(state.apply, model))

    def losses(weights: State, step: int) -> Float[Tensor, " networks"]:
        rows = torch.stack([rows for _, rows in steps[step]])
        inputs = split.inputs[rows].to(next(iter(weights.values())).dtype)
        logits = answers(weights, inputs)
        return F.cross_entropy(logits.movedim(-1, 1), split.labels[rows], reduction="none").mean(1)

    drawn = state.stacked([drawn_start(run, model) for run in runs])
    seen = [state.unstacked(each.state) for each in training.train_stack(losses, drawn, first.train, save_at=(0,))]
    return seen[0], seen[-1]
