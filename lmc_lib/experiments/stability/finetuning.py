"""Networks that are trained on one task and then on another: how they are listed, and what a claim about them asks."""

__all__ = ["evidence", "fine_tuned", "pretrained_evidence"]

from collections.abc import Mapping, Sequence

import numpy as np

from lmc_lib import rng
from lmc_lib.claims import Estimate, median, median_ratio, ratio_of_ratios, within_correlation
from lmc_lib.data import DataSpec
from lmc_lib.experiments.evidence import Question, over_twins
from lmc_lib.experiments.networks.runs import CheckpointSpec, RunSpec
from lmc_lib.experiments.stability.butterfly import distance_evidence
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.models import ModelSpec
from lmc_lib.training import TrainConfig

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

    Args:
        model: the architecture.
        before: the task of the pre-training.
        after: the task of the fine-tuning.
        pretraining: hyperparameters of the pre-training.
        train: hyperparameters of the fine-tuning.
        count: the number of replicas.
        length: the update of the pre-training whose weights are taken; 0 for networks that begin at random weights.
        save_at: updates at which the pre-training keeps a checkpoint: all lengths, so that they share one pre-training.
        spawn_at: updates of the fine-tuning at which children can start.

    Raises:
        ValueError: if the pre-training keeps no checkpoint there.
    """
    found = []
    for seed in range(count):
        start = None
        if length > 0:
            own = rng.entropy(seed, "pre-training")
            kept = tuple(step for step in save_at if step > 0)
            start = CheckpointSpec(RunSpec(model, before, pretraining, own, own, kept), length)
        found.append(RunSpec(model, after, train, seed, seed, spawn_at=tuple(spawn_at), pretrained=start))
    return found


def evidence(
    found: Mapping[tuple[str, int], Twins],
    cells: Sequence[Cell],
    *,
    lengths: Sequence[int],
) -> dict[str, Estimate]:
    """The estimates for how stable fine-tuning is, from barriers in train loss.

    Args:
        found: twins by direction, ``"many to few"`` classes and ``"few to many"``, and by length of pre-training.
        cells: when and how children are perturbed; the first is the one that is judged, all count for distances.
        lengths: the lengths of pre-training, rising from 0.

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
    directions = (_HARD, longest), (_EASY, longest)
    tasks = (_HARD, none), (_EASY, none)
    values: dict[str, Question] = {
        "direction": (median_ratio, [at[key] for key in directions]),
        "task": (median_ratio, [at[key] for key in tasks]),
        "beyond the task": (ratio_of_ratios, [at[key] for key in (*directions, *tasks)]),
    }
    for way in (_EASY, _HARD):
        every = [(found[way, length], cell) for length in lengths for cell in cells]
        pair = [np.hstack([each.distance(cell) for each, cell in every])]
        pair += [np.hstack([each.barriers(cell) for each, cell in every])]
        values[f"{way}, none"] = median, [at[way, none]]
        values[f"{way}, longest"] = median, [at[way, longest]]
        values[f"{way}, gain"] = median_ratio, [at[way, none], at[way, longest]]
        values[f"{way}, longer"] = median_ratio, [at[way, shortest], at[way, longest]]
        values[f"{way}, within"] = within_correlation, pair
    return over_twins(values)


def pretrained_evidence(random: Twins, pretrained: Twins, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """The estimates for what one pre-trained network does to twins of its fine-tunings, from barriers in train loss.

    Args:
        random: twins of networks that begin at random weights.
        pretrained: twins of networks that begin at the pre-trained weights.
        cells: when and how children are perturbed; the first is the one that is judged, all count for distances.

    Returns:
        ``"random"`` and ``"pre-trained"``: the median barriers; ``"gain"``: the ratio of the two; ``"within"``: of the
        pre-trained the rank correlation of distance and barrier within cells.
    """
    first, second = (each.barriers(cells[0]) for each in (random, pretrained))
    values: dict[str, Question] = {
        "random": (median, [first]),
        "pre-trained": (median, [second]),
        "gain": (median_ratio, [first, second]),
    }
    return over_twins(values) | distance_evidence(pretrained, cells)
