"""Pruning before training: which weights of a network at its start stay, for a given compression."""

__all__ = ["SCORES", "Method", "compressed", "connected", "on_paths", "shortest_path"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, nn

from lmc_lib.data import Split
from lmc_lib.pruning.masks import Masks, full_masks, highest
from lmc_lib.pruning.objectives import gradient_flow, mean_loss, saliency, synaptic_flow
from lmc_lib.state import State, masked
from lmc_lib.values import round_to_grid

SCORES = ("random", "magnitude", "snip", "grasp", "absolute grasp", "synflow")

_NAMES = {
    "random": "random", "magnitude": "magnitude", "snip": "SNIP", "grasp": "GraSP", "absolute grasp": "|GraSP|",
    "synflow": "SynFlow",
}  # fmt: skip

# Paths that share no weight have weights with equal scores but for the last bits, in which processors differ; so bits
# behind these do not count, and the order of the layers decides.
_BITS = 32


@dataclass(frozen=True)
class Method:
    r"""A way to choose the weights that stay: those with the highest scores.

    Attributes:
        score: ``"random"``; ``"magnitude"``, :math:`|\theta|`; ``"snip"``, the absolute saliency of the loss
            :math:`|g \odot \theta|` (Lee et al. 2019); ``"grasp"``, :math:`H g \odot \theta` (Wang et al. 2020);
            ``"absolute grasp"``, its absolute value; ``"synflow"``, the saliency of the synaptic flow (Tanaka et al.
            2020).
        iterations: how often scores are taken anew, of the weights that are left. Of :math:`N` weights
            :math:`N \rho^{-k / n}` stay after :math:`k` of :math:`n` iterations, with the compression :math:`\rho`.
        by_layer: whether every layer keeps the same share, and one weight at least, in place of the highest scores over
            all layers at once.

    Raises:
        ValueError: if the score is unknown, or there is no iteration.
    """

    score: str
    iterations: int = 1
    by_layer: bool = False

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(f"unknown score {self.score!r}; there are {', '.join(SCORES)}")
        if self.iterations < 1:
            raise ValueError(f"weights are scored once at least, not {self.iterations} times")

    @property
    def label(self) -> str:
        """The method in words, such as ``"SynFlow × 100"``."""
        times = f" × {self.iterations}" if self.iterations > 1 else ""
        return _NAMES[self.score] + times + (", by layer" if self.by_layer else "")


def compressed(
    method: Method,
    network: nn.Module,
    state: State,
    batch: Split,
    compression: float,
    *,
    generator: Generator,
    empty: bool = False,
) -> Masks:
    r"""The masks of a network that keep one of so many weights.

    Args:
        method: how weights are chosen.
        network: the architecture.
        state: the weights that are scored; unchanged.
        batch: the examples by which ``"snip"`` and ``"grasp"`` score; of the others only the shape of one is seen.
        compression: :math:`\rho`, the number of weights by that of those that stay.
        generator: source of random scores.
        empty: whether a layer may lose its last weight, as in a residual network, where a shortcut leads around it.

    Raises:
        EmptyLayer: if a layer would keep no weight, unless it may.
        ValueError: if the compression is less than 1.
    """
    if not compression >= 1.0:
        raise ValueError(f"a compression is 1 or more, not {compression}")
    score, masks = _score(method.score, network, batch, generator), full_masks(state)
    total = sum(mask.numel() for mask in masks.values())
    for iteration in range(1, method.iterations + 1):
        rate = compression ** (iteration / method.iterations)
        scores = {name: _rounded(value) for name, value in score(masked(state, masks)).items() if name in masks}
        if method.by_layer:
            masks = _highest_by_layer(scores, masks, rate)
        else:
            masks = highest(scores, masks, round(total / rate), empty=empty)
    return masks


def connected(network: nn.Module, masks: Masks, shape: Sequence[int]) -> bool:
    """Whether a path of weights that are left leads from an input to an output.

    Args:
        network: the architecture, without normalisation or with that over batches, in evaluation mode a factor.
        masks: the weights that are left.
        shape: that of one input.
    """
    return bool(synaptic_flow(network, shape)(_sized(network, masks, 1.0)) > 0)


def on_paths(network: nn.Module, masks: Masks, shape: Sequence[int]) -> float:
    """Of the weights that are left the share that lies on a path from an input to an output; 0 if no weight is left.

    Without such weights nothing would change: what they give never comes to an output, or nothing comes to them. The
    arguments are those of :func:`connected`.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> masks = {"0.weight": torch.tensor([[True], [True]]), "2.weight": torch.tensor([[True, False]])}
        >>> round(on_paths(network, masks, [1]), 2)
        0.67
    """
    used = saliency(synaptic_flow(network, shape), _sized(network, masks, 1.0))
    left = sum(int(mask.sum()) for mask in masks.values())
    return sum(int((used[name] > 0).sum()) for name in masks) / max(left, 1)


def shortest_path(network: nn.Module, shape: Sequence[int]) -> int:
    """The number of weights on the shortest path from an input to an output.

    In a chain that is the number of layers; in a residual network shortcuts without weights are not counted. It is the
    lowest power in the synaptic flow of a factor that all weights have in common, read off where that is small. The
    network is one as :func:`connected` takes it.

    Example:
        >>> shortest_path(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), [3])
        2
    """
    masks = full_masks(network.state_dict())
    flow = synaptic_flow(network, shape)
    small, smaller = (flow(_sized(network, masks, each)) for each in (1e-8, 1e-9))
    return round(float((small / smaller).log10()))


def _sized(network: nn.Module, masks: Masks, size: float) -> State:
    """A state in which all weights that are left have the same size, there are no biases, and factors are 1."""
    names = network.state_dict()
    plain = {
        name: torch.full_like(value, not name.endswith(("bias", "running_mean")), dtype=torch.float64)
        for name, value in names.items()
    }
    return plain | {name: size * mask.double() for name, mask in masks.items()}


def _score(name: str, network: nn.Module, batch: Split, generator: Generator) -> Callable[[State], State]:
    if name == "random":
        return lambda state: {
            each: torch.rand(state[each].shape, generator=generator, dtype=torch.float64) for each in sorted(state)
        }
    if name == "magnitude":
        return lambda state: {each: value.abs() for each, value in state.items()}
    if name == "snip":
        loss = mean_loss(network, batch)
        return lambda state: {each: value.abs() for each, value in saliency(loss, state).items()}
    if name == "synflow":
        flow = synaptic_flow(network, batch.inputs.shape[1:])
        return lambda state: saliency(flow, state)
    change = gradient_flow(network, batch)
    if name == "grasp":
        return lambda state: saliency(change, state)
    return lambda state: {each: value.abs() for each, value in saliency(change, state).items()}


def _highest_by_layer(scores: State, masks: Masks, rate: float) -> Masks:
    kept: Masks = {}
    for name, mask in masks.items():
        kept |= highest(scores, {name: mask}, max(1, round(mask.numel() / rate)))
    return kept


def _rounded(scores: torch.Tensor) -> torch.Tensor:
    mantissa, exponent = torch.frexp(scores.double())
    return torch.ldexp(round_to_grid(mantissa, _BITS), exponent)
