"""Vertices trained so that what they span with given networks has low loss: bends of curves, corners of simplices."""

__all__ = ["train_vertices"]

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import connectivity, norms, rng, state, training
from lmc_lib.data import Split
from lmc_lib.state import State
from lmc_lib.training import TrainConfig


def train_vertices(
    model: nn.Module,
    start: Float[Tensor, "sets numbers"],
    fixed: Float[Tensor, "sets pieces vertices numbers"],
    like: State,
    split: Split,
    config: TrainConfig,
    *,
    draw: Callable[[Generator], Float[Tensor, "pieces more"]],
    seeds: Sequence[int],
    volume: float = 0.0,
) -> Float[Tensor, "sets numbers"]:
    r"""Trains one vertex for each of several sets of networks, all at once.

    A set has pieces, simplices or curves, which share the trained vertex; besides it each has fixed ones of its own.
    Each update draws a point of every piece and lowers the mean loss at these points on a batch,
    :math:`\frac1P \sum_p L(\sum_i w_{pi} \theta_{pi})`, less ``volume`` times the logarithm of the volume of all
    pieces.

    The bend of a curve between two networks (Garipov et al. 2018): one piece, the ends, and weights at a position drawn
    uniformly. A vertex that connects modes by a volume (Benton et al. 2021): a piece for each mode, which has this mode
    and the vertices found before, and weights drawn uniformly from the simplex.

    Args:
        model: the architecture, in the precision of the configuration; unchanged.
        start: where each vertex begins, a point as :func:`lmc_lib.state.flattened` gives it.
        fixed: the vertices that stay, of each piece.
        like: a state of the architecture.
        split: the training examples.
        config: the hyperparameters.
        draw: draws the weights of one point of each piece; those of the trained vertex stand in the last column.
        seeds: streams of the batches and of the points, one for each set.
        volume: factor on the logarithm of the volume.

    Returns:
        The trained vertices; one whose training diverged is not finite.

    Raises:
        ValueError: if there is not one seed for each set, the network keeps statistics of batches, or the weights
            drawn do not fit the pieces.
    """
    if len(seeds) != len(fixed):
        raise ValueError(f"each set has its seed: {len(fixed)} sets, {len(seeds)} seeds")
    if norms.has_statistics(model):
        raise ValueError("a point between networks has no statistics of batches: take a network that keeps none")
    pieces, vertices = fixed.shape[1:3]
    generators = [rng.stream(seed, "points of pieces") for seed in seeds]
    drawn = (torch.stack([draw(each) for each in generators]).to(fixed) for _ in range(config.steps))
    rows = training.stacked_batches(len(split), config, seeds=seeds)
    log_volume, inputs = _log_volume_with(fixed), state.fitted(split.inputs, state.shaped(start[0], like))
    answers = torch.vmap(torch.vmap(partial(_answer, model, like), in_dims=(0, None)))

    def losses(live: State, _: int) -> Float[Tensor, " sets"]:
        weights, chosen = next(drawn), next(rows)
        if weights.shape[1:] != (pieces, vertices + 1):
            raise ValueError(f"a point has {vertices + 1} weights in each of {pieces} pieces, not {weights.shape[1:]}")
        free = live["vertex"][:, None, :]
        points = torch.einsum("spv,spvn->spn", weights[..., :-1], fixed) + weights[..., -1:] * free
        logits = answers(points, inputs[chosen])
        labels = split.labels[chosen][:, None].expand(-1, pieces, -1)
        loss = F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view(len(fixed), -1).mean(1)
        return loss if volume == 0.0 else loss - volume * torch.logsumexp(log_volume(free), 1)

    return list(training.train_stack(losses, {"vertex": start}, config))[-1].state["vertex"]


def _log_volume_with(
    fixed: Float[Tensor, "sets pieces vertices numbers"],
) -> Callable[[Float[Tensor, "sets one numbers"]], Float[Tensor, "sets pieces"]]:
    """The logarithm of the volume of each piece, of the trained vertex: by its height, so that one product suffices."""
    faces = connectivity.log_volume(fixed) - math.log(fixed.shape[2])
    first = fixed[:, :, 0]
    basis = torch.linalg.qr((fixed[:, :, 1:] - first[:, :, None]).mT).Q

    def log_volume(free: Tensor) -> Tensor:
        edge = free - first
        inside = torch.einsum("spnv,spn->spv", basis, edge)
        return faces + (edge.square().sum(-1) - inside.square().sum(-1)).log() / 2

    return log_volume


def _answer(model: nn.Module, like: State, point: Tensor, inputs: Tensor) -> Tensor:
    answer: Tensor = state.apply(model, state.shaped(point, like), inputs)
    return answer
