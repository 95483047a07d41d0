"""Loss and error of networks, and of many points between networks without building a module for each."""

__all__ = ["Points", "Scores", "evaluate"]

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmc_lib import norms
from lmc_lib.data import Split
from lmc_lib.models import memory_format
from lmc_lib.state import State, combine, given


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats and error as a share of the examples."""

    loss: float
    error: float


def evaluate(model: nn.Module, state: State, split: Split, *, batch_size: int = 1024) -> Scores:
    """Evaluates weights on a split, in evaluation mode; the sum over examples runs in float64.

    Args:
        model: the architecture; unchanged.
        state: weights; their dtype is that of the forward pass.
        split: the examples.
        batch_size: examples a batch; it bounds the memory.
    """
    network = copy.deepcopy(model).eval()
    _install(network, state)
    return _score(network, state, split, batch_size)


class Points:
    """Evaluates points between networks in one module, whose weights are overwritten from point to point.

    Args:
        model: the architecture; unchanged.
        states: weights of the networks; unchanged.
        splits: the splits to evaluate on, by name.
        reset_inputs: training examples for the statistics of BatchNorm, which are re-estimated at every point, the
            networks themselves included, so that scores do not jump; needed if and only if there are statistics.

    Raises:
        ValueError: if the states are of different architectures, or ``reset_inputs`` is missing.
    """

    def __init__(
        self, model: nn.Module, states: Sequence[State], splits: Mapping[str, Split], reset_inputs: Tensor | None
    ) -> None:
        if reset_inputs is None and norms.has_statistics(model):
            raise ValueError("the network keeps BatchNorm statistics: pass reset_inputs to re-estimate them on the way")
        self.states, self.splits = states, splits
        like = next(value for value in states[0].values() if value.is_floating_point())
        self.reset_inputs = None if reset_inputs is None else reset_inputs.to(like.device, like.dtype)
        self.network = copy.deepcopy(model).eval()
        start = combine(states, [1.0] + [0.0] * (len(states) - 1))
        self.places = {
            name: place for name, place in _install(self.network, start).items() if place.is_floating_point()
        }

    def scores(self, weights: Sequence[float]) -> dict[str, Scores]:
        """The scores of the weighted sum of the networks, on every split; bit for bit those of ``combine``."""
        first, *others = self.states
        with torch.no_grad():
            for name, place in self.places.items():
                torch.mul(first[name], weights[0], out=place)
                for weight, state in zip(weights[1:], others, strict=True):
                    place.add_(weight * state[name])
        if self.reset_inputs is not None:
            norms.reset_(self.network, self.reset_inputs)
        return {name: _score(self.network, first, split, 1024) for name, split in self.splits.items()}


def _install(network: nn.Module, state: State) -> State:
    """Puts copies of these weights into a network, each in the dtype and on the device it has; returns the copies."""
    places = {}
    for name, value in given(network, state).items():
        path, _, entry = name.rpartition(".")
        module = network.get_submodule(path)
        places[name] = value.detach().clone()
        # A parameter shares the memory of its copy, so that it follows what is written there.
        wrapped = isinstance(getattr(module, entry), nn.Parameter)
        setattr(module, entry, nn.Parameter(places[name], requires_grad=False) if wrapped else places[name])
    return places


def _score(network: nn.Module, like: State, split: Split, batch_size: int) -> Scores:
    """Evaluates a network that holds its weights, on the device and in the dtype of ``like``."""
    place = next(value for value in like.values() if value.is_floating_point())
    order = memory_format(network) if split.inputs.dim() == 4 else torch.contiguous_format
    loss = error = 0.0
    with torch.no_grad():
        for first in range(0, len(split), batch_size):
            batch = split[first : first + batch_size]
            inputs = batch.inputs.to(place.device, place.dtype).contiguous(memory_format=order)
            logits = network(inputs).double().cpu()
            loss += float(nn.functional.cross_entropy(logits, batch.labels, reduction="sum"))
            error += float((logits.argmax(1) != batch.labels).sum())
    return Scores(loss / len(split), error / len(split))
