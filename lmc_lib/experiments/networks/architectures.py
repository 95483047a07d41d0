"""What an architecture does to the paths of its networks: how far from those of others, how near to the labels."""

__all__ = ["check_skips", "evidence", "excess", "gain", "of_maps", "of_stages", "stage_steps", "step_lengths"]

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import similarity
from lmc_lib.claims import Estimate, estimate, estimate_of_mean
from lmc_lib.experiments.networks.joint_paths import JointPaths
from lmc_lib.models import ModelSpec, stages
from lmc_lib.similarity import embed, mismatch


def check_skips(models: Sequence[ModelSpec]) -> None:
    """Refuses architectures of which the first two differ in more, or in less, than skips.

    Raises:
        ValueError: naming the two.
    """
    first, second = [*models, None, None][:2]
    if first is None or first.family != "plain" or second != replace(first, family="resnet"):
        got = " and ".join(each.label for each in models[:2]) or "none"
        raise ValueError(
            f"the first two architectures are a plain and a residual network alike in depth, width and normalisation, "
            f"like plain-14-batch and resnet-14-batch, got {got}"
        )


def excess(found: JointPaths, first: Sequence[int], second: Sequence[int]) -> Float[ndarray, "seeds seeds"]:
    """How much farther paths of two architectures are apart than paths of one, for each pair of seeds.

    The mean of the two distances from a network of the first to one of the second with the other seed, less the mean of
    the two distances within an architecture: half the energy distance (Székely and Rizzo 2013) of the two samples where
    it is averaged over pairs, and 0 in the mean where architecture makes no difference.

    Args:
        found: the paths.
        first: the networks of one architecture, one a seed.
        second: those of the other, with the same seeds.
    """
    across = found.apart(first, second)
    within = found.apart(first, first) + found.apart(second, second)
    return np.asarray(np.where(np.eye(len(across), dtype=bool), np.nan, (across + across.T - within) / 2))


def gain(found: JointPaths, networks: Sequence[int]) -> Float[ndarray, " networks"]:
    """How much nearer to the labels the last hidden layer is than the first."""
    return similarity.gain(found.along(networks)[:, :-1, -1])


def step_lengths(found: JointPaths, networks: Sequence[int]) -> Float[ndarray, "networks steps"]:
    """The length of each step, from the inputs over the hidden layers to the logits."""
    return similarity.steps(found.along(networks)[:, :-1, :-1])


def stage_steps(model: ModelSpec) -> list[int]:
    """The steps into another stage that have a step within a stage on either side, by their place in a path."""
    of_layers = list(stages(model).values())
    changes = [False, *(first != second for first, second in pairwise(of_layers)), False]
    return [place for place in range(2, len(changes) - 2) if changes[place - 1 : place + 2] == [False, True, False]]


def of_stages(found: JointPaths, model: ModelSpec, networks: Sequence[int]) -> dict[str, Estimate]:
    """``"stages"``: how much longer steps into another stage are than their neighbours.

    The logarithm of the ratio to the geometric mean of the steps before and after, in the mean over these steps and
    over networks.
    """
    lengths, steps = np.log(step_lengths(found, networks)), np.array(stage_steps(model))
    ratios = lengths[:, steps] - (lengths[:, steps - 1] + lengths[:, steps + 1]) / 2
    return {"stages": estimate_of_mean(ratios.mean(1))}


def of_maps(found: JointPaths, architectures: Sequence[Sequence[int]]) -> dict[str, Estimate]:
    """What is left between the maps of two seeds, each with one network of every architecture.

    Args:
        found: the paths.
        architectures: the networks of each, one a seed; the first two are equally deep.

    Returns:
        ``"mismatch"``, the mean over pairs of seeds; and ``"exchanged"``, by how much it grows if the first two
        architectures change places on one of the maps.
    """
    seeds = range(len(architectures[0]))
    members = [[each[seed] for each in architectures] for seed in seeds]
    maps = [embed(found.distances[np.ix_(rows, rows)]).points for rows in (_rows(found, each) for each in members)]
    turned = _exchanged(len(found.paths[members[0][0]]), len(maps[0]))
    same, other = (np.full((len(seeds), len(seeds)), np.nan) for _ in range(2))
    for i, j in permutations(seeds, 2):
        same[i, j], other[i, j] = mismatch(maps[i], maps[j]), mismatch(maps[i], maps[j][turned])
    more = other - same
    return {
        "mismatch": estimate((same + same.T) / 2, statistic="mean"),
        "exchanged": estimate((more + more.T) / 2, statistic="mean"),
    }


def _rows(found: JointPaths, networks: Sequence[int]) -> list[int]:
    return [0, *(row for each in networks for row in found.paths[each]), len(found.distances) - 1]


def _exchanged(depth: int, points: int) -> list[int]:
    """The rows of a map with the first two paths, of equal depth, in each other's place."""
    return [0, *range(1 + depth, 1 + 2 * depth), *range(1, 1 + depth), *range(1 + 2 * depth, points)]


def evidence(found: JointPaths, plain: Sequence[int], residual: Sequence[int]) -> dict[str, Estimate]:
    """The estimates for what skips do, of networks that differ in nothing else.

    Args:
        found: the paths.
        plain: networks without skips, one a seed.
        residual: networks with skips and the same seeds.

    Returns:
        ``"excess"``, the mean over pairs of seeds; and ``"gain more"``, by how much more residual networks gain on the
        labels than plain ones, the mean over seeds.
    """
    more = gain(found, residual) - gain(found, plain)
    return {
        "excess": estimate(excess(found, plain, residual), statistic="mean"),
        "gain more": estimate_of_mean(more),
    }
