"""Loss and error of networks, and of many points between networks without building a module for each."""

__all__ = ["Points", "Scores", "evaluate", "in_tensors", "predict", "predict_points", "score"]

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmc_lib import expected, norms
from lmc_lib.data import Split
from lmc_lib.models import memory_format
from lmc_lib.state import State, apply, combine, fitted, forget_, given, is_weight, shaped


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats and error as a share of the examples."""

    loss: float
    error: float


# Entries begin at multiples of so many numbers, 64 bytes or more: as aligned as tensors of their own.
_ALIGNED = 32


def evaluate(model: nn.Module, state: State, split: Split, *, batch_size: int = 1024) -> Scores:
    """Evaluates weights on a split, in evaluation mode; the sum over examples runs in float64.

    Args:
        model: the architecture; unchanged.
        state: weights; their dtype is that of the forward pass.
        split: the examples.
        batch_size: examples a batch; it bounds the memory.

    Raises:
        ValueError: if the state is another network's, or there are no examples, or a label is not a class.
    """
    network = copy.deepcopy(model).eval()
    _install(network, {name: value.detach().clone() for name, value in given(network, state).items()})
    return _score(network, _batches(network, state, split, batch_size))


def predict(
    model: nn.Module, state: State, inputs: Tensor, *, reset_inputs: Tensor | None = None, batch_size: int = 1024
) -> Float[Tensor, "examples classes"]:
    """The logits of a network in evaluation mode, in float64 on the CPU.

    Args:
        model: the architecture; unchanged.
        state: weights; their dtype is that of the forward pass.
        inputs: the examples.
        reset_inputs: training examples from which the statistics of BatchNorm are re-estimated first, if given.
        batch_size: examples a batch; it bounds the memory.

    Raises:
        ValueError: if the state is another network's, or there are no examples.
    """
    if reset_inputs is not None:
        state = norms.reset(model, state, reset_inputs)
    network = copy.deepcopy(model).eval()
    _install(network, {name: value.detach().clone() for name, value in given(network, state).items()})
    unlabelled = Split(inputs, torch.zeros(len(inputs), dtype=torch.long))
    with torch.no_grad():
        batches = _batches(network, state, unlabelled, batch_size)
        return torch.cat([network(batch.inputs).double().cpu() for batch in batches])


def predict_points(
    model: nn.Module,
    points: Float[Tensor, "points numbers"],
    like: State,
    inputs: Tensor,
) -> Float[Tensor, "points examples classes"]:
    """The logits of many small networks at once, in evaluation mode, in float64 on the CPU.

    Args:
        model: the architecture, in the precision of the points; unchanged.
        points: the networks, as :func:`lmc_lib.state.flattened` gives them.
        like: a state of the architecture.
        inputs: the examples.

    Raises:
        ValueError: if the network keeps BatchNorm statistics, which mean nothing at other points.
    """
    if norms.has_statistics(model):
        raise ValueError("points in weight space have no BatchNorm statistics: evaluate them one by one, with predict")
    network = copy.deepcopy(model).eval()
    seen = fitted(inputs, shaped(points[0], like))
    with torch.no_grad():
        logits: Tensor = torch.vmap(lambda point: apply(network, shaped(point, like), seen), chunk_size=16)(points)
    return logits.double().cpu()


def in_tensors(scores: Sequence[Mapping[str, Scores]], name: str) -> dict[str, Tensor]:
    """``"loss"`` and ``"error"`` of many points on a split, as a curve or a simplex has them.

    Args:
        scores: those of each point, by split.
        name: the split.
    """
    return {
        of: torch.tensor([getattr(each[name], of) for each in scores], dtype=torch.float64) for of in ("loss", "error")
    }


def score(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Scores:
    """The scores of predictions, such as the mean of the logits of several networks.

    Raises:
        ValueError: if there are no examples, or a label is not a class.

    Example:
        >>> score(torch.tensor([[0.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])).error
        0.5
    """
    labels = _classes(logits, labels)
    error = (logits.argmax(1) != labels).double().mean()
    return Scores(float(nn.functional.cross_entropy(logits, labels)), float(error))


class Points:
    """Evaluates points between networks in one module, whose weights are overwritten from point to point.

    It keeps the weights once more, and a copy of the examples if they are not yet in the dtype, in the order of memory
    and on the device that the network wants.

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
        self.network = copy.deepcopy(model).eval()
        middle = given(self.network, combine(states, [1.0 / len(states)] * len(states)))
        weights = {name: value for name, value in middle.items() if is_weight(value)}
        self.parts = [
            _Part([name for name in weights if weights[name].dtype == dtype], states)
            for dtype in {value.dtype for value in weights.values()}
        ]
        _install(self.network, {**middle, **{name: view for part in self.parts for name, view in part.views.items()}})
        self.reset_inputs = None if reset_inputs is None else fitted(reset_inputs, weights)
        self.batches = {name: list(_batches(self.network, weights, split, 1024)) for name, split in splits.items()}

    def scores(self, weights: Sequence[float]) -> dict[str, Scores]:
        """The scores of the weighted sum of the networks, on every split."""
        for part in self.parts:
            part.move(weights)
        forget_(self.network)
        if self.reset_inputs is not None:
            norms.reset_(self.network, self.reset_inputs)
        return {name: _score(self.network, batches) for name, batches in self.batches.items()}


class _Part:
    """Entries of one dtype, those of each network in a row of a matrix, so that one product mixes all of them.

    Where float32 has more digits than they, it holds the rows, and what the product gives is rounded once.
    """

    def __init__(self, names: Sequence[str], states: Sequence[State]) -> None:
        first = states[0]
        sizes = [-(-first[name].numel() // _ALIGNED) * _ALIGNED for name in names]
        like = first[names[0]]
        wide = torch.promote_types(like.dtype, torch.float32)
        self.rows = torch.zeros(len(states), sum(sizes), dtype=wide, device=like.device)
        self.mixed = torch.zeros_like(self.rows[0])
        self.point = self.mixed.to(like.dtype)  # the same memory where nothing is rounded
        self.views: State = {}
        for name, place in zip(names, accumulate(sizes, initial=0), strict=False):
            stretch = slice(place, place + first[name].numel())
            for row, state in zip(self.rows, states, strict=True):
                row[stretch] = state[name].detach().reshape(-1)
            self.views[name] = self.point[stretch].view(first[name].shape)

    def move(self, weights: Sequence[float]) -> None:
        """Makes the views those of the weighted sum of the networks."""
        torch.mv(self.rows.T, self.rows.new_tensor(weights), out=self.mixed)
        if self.point is not self.mixed:
            self.point.copy_(self.mixed)


def _install(network: nn.Module, state: State) -> None:
    """Makes a network hold these tensors, which it shares and does not copy."""
    for name, value in state.items():
        path, _, entry = name.rpartition(".")
        module = network.get_submodule(path)
        wrapped = isinstance(getattr(module, entry), nn.Parameter)
        setattr(module, entry, nn.Parameter(value, requires_grad=False) if wrapped else value)


def _batches(network: nn.Module, like: State, split: Split, batch_size: int) -> Iterator[Split]:
    """The examples in batches, on the device, in the dtype and in the order of memory that a network wants."""
    if len(split) == 0:
        raise ValueError("there are no examples to evaluate on")
    order = memory_format(network) if split.inputs.dim() == 4 else torch.contiguous_format
    for first in range(0, len(split), batch_size):
        batch = split[first : first + batch_size]
        yield Split(fitted(batch.inputs, like).contiguous(memory_format=order), batch.labels)


def _score(network: nn.Module, batches: Iterable[Split]) -> Scores:
    """Evaluates a network that holds its weights."""
    loss = error = 0.0
    count = 0
    with torch.no_grad():
        for batch in batches:
            logits = network(batch.inputs).double().cpu()
            labels = _classes(logits, batch.labels)
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            error += float((logits.argmax(1) != labels).sum())
            count += len(batch)
    return Scores(loss / count, error / count)


def _classes(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels in int64, where they and the logits are those of a classifier.

    Raises:
        ValueError: if they are not.
    """
    if logits.dim() != 2:
        raise ValueError(f"a classifier gives one row of logits an example, got logits of shape {tuple(logits.shape)}")
    if len(logits) == 0:
        raise ValueError("there are no examples to evaluate on")
    return expected.labels(labels, examples=len(logits), classes=logits.shape[1])
