"""Networks that are trained on one task and then on another: how they are listed, and what a claim about them asks."""

__all__ = ["evidence", "fine_tuned", "pretrained_evidence"]

from collections.abc import Mapping, Sequence

import numpy as np

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_twins, median, median_ratio, ratio_of_ratios, within_correlation
from lmc_lib.data import DataSpec
from lmc_lib.experiments.networks.runs import CheckpointSpec, RunSpec
from lmc_lib.experiments.stability.butterfly import distance_evidence
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.models import ModelSpec

_EASY = "many to few"
_HARD = "few to many"


def fine_tuned(
    model: ModelSpec,
    before: DataSpec,
    after: DataSpec,
    pretraining: TrainConfig,
    train: TrainConfig,
    count: int,
    *,
    length: int,
    save_at: Sequence[int] = (),
    spawn_at: Sequence[int] = (),
) -> list[RunSpec]:
    """Lists replicas that are pre-trained on one task and then trained on another.

    Replicas of the same number have the same last layer at the start of fine-tuning and the same batches from there on,
    however long they were pre-trained. Their pre-training has streams of its own, so that the new last layer has
    nothing to do with the old one.

    The weights after so many updates of the pre-training as ``length`` says are taken, random ones if it is 0. The
    pre-training keeps checkpoints at ``save_at``: all lengths, so that they share it; children can start at the updates
    ``spawn_at`` of the fine-tuning.

    Raises:
        ValueError: if the pre-training keeps no checkpoint there.
    """
    starts: list[CheckpointSpec | None] = [None] * count
    if length > 0:
        kept = tuple(step for step in save_at if step > 0)
        own = [rng.entropy(seed, "pre-training") for seed in range(count)]
        starts = [CheckpointSpec(RunSpec(model, before, pretraining, each, each, kept), length) for each in own]
    return [
        RunSpec(model, after, train, seed, seed, spawn_at=tuple(spawn_at), pretrained=start)
        for seed, start in enumerate(starts)
    ]


def evidence(
    found: Mapping[tuple[str, int], Twins], cells: Sequence[Cell], *, lengths: Sequence[int]
) -> dict[str, Estimate]:
    """The estimates for how stable fine-tuning is, from barriers in train loss.

    Twins by direction, ``"many to few"`` classes and ``"few to many"``, and by length of pre-training, rising from 0,
    are judged in the first cell; all cells count for distances.

    Returns:
        ``"direction"``: the median barrier from few classes to many over that from many to few, after the longest
        pre-training; ``"task"``: the same without pre-training; ``"beyond the task"``: the first ratio over the second.
        For each direction ``"DIRECTION, none"`` and ``"DIRECTION, longest"``: the median barrier without and after the
        longest pre-training; ``"DIRECTION, gain"``: the ratio of the two; ``"DIRECTION, longer"``: the median barrier
        after the shortest pre-training over that after the longest; and ``"DIRECTION, within"``: the rank correlation
        of distance and barrier within cells of equal length, time and size.
    """
    none, shortest, longest = lengths[0], lengths[1], lengths[-1]
    at = {key: each.barriers(cells[0]) for key, each in found.items()}
    direction, task = ([at[way, length] for way in (_HARD, _EASY)] for length in (longest, none))
    values = {
        "direction": estimate_of_twins(median_ratio, *direction),
        "task": estimate_of_twins(median_ratio, *task),
        "beyond the task": estimate_of_twins(ratio_of_ratios, *direction, *task),
    }
    for way in (_EASY, _HARD):
        distances = np.hstack([found[way, length].distance(cells) for length in lengths])
        barriers = np.hstack([found[way, length].barriers(cells) for length in lengths])
        values[f"{way}, none"] = estimate_of_twins(median, at[way, none])
        values[f"{way}, longest"] = estimate_of_twins(median, at[way, longest])
        values[f"{way}, gain"] = estimate_of_twins(median_ratio, at[way, none], at[way, longest])
        values[f"{way}, longer"] = estimate_of_twins(median_ratio, at[way, shortest], at[way, longest])
        values[f"{way}, within"] = estimate_of_twins(within_correlation, distances, barriers)
    return values


def pretrained_evidence(random: Twins, pretrained: Twins, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """The estimates for what one pre-trained network does to twins of its fine-tunings, from barriers in train loss.

    Twins of networks that begin at random and at pre-trained weights are compared in the first cell; all cells count
    for distances.

    Returns:
        ``"random"`` and ``"pre-trained"``: the median barriers; ``"gain"``: the ratio of the two; ``"within"``: of the
        pre-trained the rank correlation of distance and barrier within cells.
    """
    first, second = (each.barriers(cells[0]) for each in (random, pretrained))
    values = {
        "random": estimate_of_twins(median, first),
        "pre-trained": estimate_of_twins(median, second),
        "gain": estimate_of_twins(median_ratio, first, second),
    }
    return values | distance_evidence(pretrained, cells)
