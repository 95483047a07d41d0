"""What an architecture does to the paths of its networks: how far from those of others, how near to the labels."""

__all__ = [
    "check_skips",
    "evidence",
    "excess",
    "gain",
    "of_maps",
    "of_sampling",
    "of_stages",
    "seed_maps",
    "stage_steps",
    "step_lengths",
]

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
from lmc_lib.similarity import Embedding, embed, mismatch


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
    the two distances within an architecture; NaN for one seed. Averaged over pairs it is half the energy distance
    (Székely and Rizzo 2013) of the two samples: 0 in the mean where both have one distribution.

    Args:
        found: the paths.
        first: the networks of one architecture, one a seed.
        second: those of the other, with the same seeds.
    """
    across = found.apart(first, second)
    within = found.apart(first, first) + found.apart(second, second)
    return np.asarray(np.where(np.eye(len(across), dtype=bool), np.nan, (across + across.T - within) / 2))


def of_sampling(found: JointPaths, networks: Sequence[int]) -> dict[str, Estimate]:
    """``"excess"`` of an architecture and itself, where the layers of a path are every second one, or the others."""
    even, odd = ([found.every_second(which).paths[each] for each in networks] for which in (0, 1))
    both = replace(found, paths=[*even, *odd])
    own = range(len(networks))
    return {"excess": estimate(excess(both, own, range(len(own), 2 * len(own))), statistic="mean")}


def gain(found: JointPaths, networks: Sequence[int]) -> Float[ndarray, " networks"]:
    """How much nearer to the labels the last hidden layer is than the first."""
    return similarity.gain(found.along(networks)[:, :-1, -1])


def step_lengths(found: JointPaths, networks: Sequence[int]) -> Float[ndarray, "networks steps"]:
    """The length of each step, from the inputs over the hidden layers to the logits."""
    return similarity.steps(found.along(networks)[:, :-1, :-1])


def stage_steps(model: ModelSpec, *, into: bool = True) -> list[int]:
    """The steps that are compared with the two beside them, by their place in a path.

    Args:
        model: the architecture.
        into: whether to list steps into another stage, with a step within a stage on either side, or those steps within
            a stage that have any hidden layer's step on either side.
    """
    of_layers = list(stages(model).values())
    changes = [False, *(first != second for first, second in pairwise(of_layers)), False]
    inner = range(2, len(changes) - 2)
    if into:
        return [place for place in inner if changes[place - 1 : place + 2] == [False, True, False]]
    return [place for place in inner if not changes[place]]


def of_stages(
    found: JointPaths, model: ModelSpec, networks: Sequence[int], *, into: bool = True
) -> dict[str, Estimate]:
    """``"stages"``: how much longer steps into another stage are than the two beside them.

    The logarithm of the ratio to their geometric mean, in the mean over these steps and over networks; ``into`` is that
    of :func:`stage_steps`.
    """
    lengths, steps = np.log(step_lengths(found, networks)), np.array(stage_steps(model, into=into))
    ratios = lengths[:, steps] - (lengths[:, steps - 1] + lengths[:, steps + 1]) / 2
    return {"stages": estimate_of_mean(ratios.mean(1))}


def seed_maps(found: JointPaths, architectures: Sequence[Sequence[int]]) -> list[Embedding]:
    """A map for each seed, of the inputs, one network of every architecture, and the labels.

    Args:
        found: the paths.
        architectures: the networks of each, one a seed.
    """
    rows = [_rows(found, networks) for networks in zip(*architectures, strict=True)]
    return [embed(found.distances[np.ix_(each, each)]) for each in rows]


def of_maps(
    found: JointPaths, architectures: Sequence[Sequence[int]], maps: Sequence[Embedding]
) -> dict[str, Estimate]:
    """What is left between the maps of two seeds; means over pairs.

    Args:
        found: the paths.
        architectures: the networks of each, one a seed; the first two are equally deep.
        maps: what :func:`seed_maps` makes of them.

    Returns:
        ``"mismatch"``, of maps as they are; ``"exchanged"``, where the first two architectures change places on one of
        them; and ``"shifted"``, where each path stands in the place of the one before it, and goes through as many of
        its points as that has.
    """
    starts = np.cumsum([1, *(len(found.paths[each[0]]) for each in architectures)])
    paths = [list(range(*each)) for each in pairwise(starts.tolist())]
    shifted = [_through(after, len(path)) for path, after in zip(paths, [*paths[1:], paths[0]], strict=True)]
    orders = {"mismatch": paths, "exchanged": [paths[1], paths[0], *paths[2:]], "shifted": shifted}
    left = {name: np.full((len(maps), len(maps)), np.nan) for name in orders}
    for name, order in orders.items():
        turned = [0, *(row for path in order for row in path), -1]
        for i, j in permutations(range(len(maps)), 2):
            left[name][i, j] = mismatch(maps[i].points, maps[j].points[turned])
    return {name: estimate((each + each.T) / 2, statistic="mean") for name, each in left.items()}


def _rows(found: JointPaths, networks: Sequence[int]) -> list[int]:
    return [0, *(row for each in networks for row in found.paths[each]), len(found.distances) - 1]


def _through(path: Sequence[int], count: int) -> list[int]:
    """So many points of a path, at equal shares of their number."""
    return [path[place] for place in np.linspace(0, len(path) - 1, count).round().astype(int)]


def evidence(
    found: JointPaths, plain: Sequence[int], residual: Sequence[int], other: Sequence[int]
) -> dict[str, Estimate]:
    """The estimates for what a path tells of an architecture.

    Args:
        found: the paths.
        plain: networks that lack nothing but the skips of the residual ones, one a seed.
        residual: residual networks with the same seeds.
        other: networks of another family with the same seeds.

    Returns:
        ``"excess"`` of the residual and the other networks, the mean over pairs of seeds; and ``"gain more"``, by how
        much more residual networks gain on the labels than plain ones, the mean over seeds.
    """
    more = gain(found, residual) - gain(found, plain)
    apart = excess(found, residual, other)
    return {"excess": estimate(apart, statistic="mean"), "gain more": estimate_of_mean(more)}
