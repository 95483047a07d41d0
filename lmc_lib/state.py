"""Weights as values: arithmetic on dictionaries of tensors.

A ``State`` maps the names of ``state_dict`` to tensors, parameters and buffers alike. It is separate from the module,
which is architecture only. No function here changes its arguments.
"""

__all__ = [
    "State", "apply", "cast", "clone", "combine", "distance", "fingerprint", "fitted", "flattened", "forget_", "given",
    "interpolate", "is_finite", "is_weight", "load_", "masked", "norm", "real", "shaped", "stacked", "taken_over",
    "under", "unstacked", "wide",
]  # fmt: skip

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lmc_lib import expected

State = dict[str, Tensor]


def apply(network: nn.Module, state: State, inputs: Tensor) -> Any:
    """Calls a network with these weights in place of its own, which stay as they are.

    A layer that stands at several places of the network is given once, under its first name.

    Args:
        network: the architecture, in the mode in which it is to run.
        state: the weights; entries that the network does not have are left out.
        inputs: what the network takes.

    Raises:
        ValueError: as for :func:`given`.
    """
    forget_(network)
    try:
        return torch.func.functional_call(network, given(network, state), (inputs,), tie_weights=False)
    finally:
        forget_(network)


def forget_(network: nn.Module) -> None:
    """Makes a network forget what it keeps of its weights in evaluation, which is wrong once it gets others.

    Some networks compute a table of their weights once, such as the biases of LeViT's attention, and keep it until they
    are trained; no name in ``state_dict`` tells of it. Whatever mode a layer is in, it stays.
    """
    for module in network.modules():
        if type(module).train is not nn.Module.train:  # only these can do anything when training begins
            modes = [(each, each.training) for each in module.modules()]
            module.train()
            for each, mode in modes:
                each.training = mode


def given(network: nn.Module, state: State) -> State:
    """The entries of a state that a network takes, each layer once under its first name.

    Raises:
        ValueError: if the state lacks one, for which the network would take its own; with the likely cause.
    """
    entries = {}
    for path, module in network.named_modules():
        for name, own in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            entry = f"{path}.{name}" if path else name
            if entry in state:
                entries[entry] = state[entry]
            elif name not in module._non_persistent_buffers_set:
                raise ValueError(_tied(network, entry, own, state) or _other(network, state))
    return entries


def load_(network: nn.Module, state: State) -> None:
    """Makes a network hold a copy of these weights.

    Raises:
        ValueError: if the state has other names than the network; with the likely cause.
    """
    given(network, state)
    if state.keys() != network.state_dict().keys():
        raise ValueError(_other(network, state))
    network.load_state_dict(state)
    forget_(network)


def is_weight(value: Tensor) -> bool:
    """Says whether an entry holds real or complex numbers, as weights do; counts and truth values are none."""
    return value.is_floating_point() or value.is_complex()


def real(state: State) -> State:
    """The entries that hold floating numbers, for what knows no complex ones.

    Raises:
        ValueError: if there are complex ones.
    """
    if found := [name for name, value in state.items() if value.is_complex()]:
        raise ValueError(
            f"{found[0]} holds complex numbers, where weights are real: give its real and imaginary parts as two "
            "entries, or leave it out"
        )
    return {name: value for name, value in state.items() if value.is_floating_point()}


def fitted(inputs: Tensor, state: State) -> Tensor:
    """Inputs as a network with these weights takes them: on their device and, where floating, in their precision.

    What is not floating stays as it is, as indices of tokens do. Where weights differ, the first one counts.

    Example:
        >>> state = {"weight": torch.zeros(2, dtype=torch.float64)}
        >>> fitted(torch.zeros(1), state).dtype, fitted(torch.zeros(1, dtype=torch.long), state).dtype
        (torch.float64, torch.int64)
    """
    like = next(filter(is_weight, state.values()), None)
    if like is None:
        return inputs
    return inputs.to(like.device, like.dtype.to_real() if inputs.is_floating_point() else inputs.dtype)


def clone(state: State) -> State:
    """Copies a state; the copy shares no memory with it and carries no gradient."""
    return {name: value.detach().clone() for name, value in state.items()}


def cast(state: State, dtype: torch.dtype) -> State:
    """Converts the weights of a state to ``dtype``, complex ones to pairs of at least 32 bits; integer buffers stay."""
    pairs = torch.complex128 if dtype == torch.float64 else torch.complex64
    return {
        name: value.to(pairs if value.is_complex() else dtype) if is_weight(value) else value
        for name, value in state.items()
    }


def stacked(states: Sequence[State]) -> State:
    """States of one architecture as one, whose tensors have an axis more in front, which counts them."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def unstacked(stack: State) -> list[State]:
    """The states of which :func:`stacked` made a stack, which share its memory."""
    count = len(next(iter(stack.values())))
    return [{name: value[place] for name, value in stack.items()} for place in range(count)]


def flattened(states: Sequence[State]) -> Tensor:
    """States of one architecture as points, one row each: all floating entries, one after another.

    Raises:
        ValueError: if the states differ in names or shapes, or are complex.

    Example:
        >>> flattened([{"weight": torch.ones(1, 2), "bias": torch.zeros(1)}]).tolist()
        [[1.0, 1.0, 0.0]]
    """
    for other in states[1:]:
        _check_same_architecture(states[0], other)
    names = real(states[0])
    return torch.stack([torch.cat([state[name].reshape(-1) for name in names]) for state in states])


def shaped(point: Tensor, like: State) -> State:
    """The state of which :func:`flattened` made a point, which shares the memory of the point.

    Args:
        point: all floating entries, one after another.
        like: a state of the architecture; what is not floating is taken from it.

    Raises:
        ValueError: if the point has another number of entries, or the network is complex.
    """
    sizes = {name: value.numel() for name, value in real(like).items()}
    if point.shape != (sum(sizes.values()),):
        raise ValueError(f"the network has {sum(sizes.values())} entries, but the point has shape {tuple(point.shape)}")
    parts = dict(zip(sizes, torch.split(point, list(sizes.values())), strict=True))
    return {name: parts[name].view(value.shape) if name in parts else value for name, value in like.items()}


def combine(states: Sequence[State], weights: Sequence[float]) -> State:
    """Returns the weighted sum of states, the point with these barycentric coordinates if the weights sum to 1.

    Sums run in float64 and are rounded once, to the dtype of the states. Integer buffers (the batch counters of
    BatchNorm) have no meaningful average and are taken from the first state.

    Raises:
        ValueError: if the states differ in names or shapes, or their number is not that of the weights.
    """
    if len(states) != len(weights) or not states:
        raise ValueError(f"need one weight a state and at least one state, got {len(states)} and {len(weights)}")
    first = states[0]
    for other in states[1:]:
        _check_same_architecture(first, other)
    return {
        name: _sum([state[name] for state in states], weights) if is_weight(value) else value.clone()
        for name, value in first.items()
    }


def _sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    terms = (weight * wide(value) for weight, value in zip(weights, values, strict=True))
    dtype = functools.reduce(torch.promote_types, (value.dtype for value in values))
    return functools.reduce(torch.add, terms).to(dtype)


def wide(value: Tensor) -> Tensor:
    """A tensor of weights in float64, of complex ones in pairs of it."""
    return value.to(torch.promote_types(value.dtype, torch.float64))


def interpolate(start: State, end: State, alpha: float) -> State:
    """Returns ``(1 - alpha) * start + alpha * end``, exactly ``start`` at 0 and exactly ``end`` at 1."""
    return combine([start, end], [1.0 - alpha, alpha])


def distance(a: State, b: State) -> float:
    r"""Euclidean distance :math:`\lVert a - b \rVert_2` over all weights, in float64."""
    _check_same_architecture(a, b)
    return norm({name: wide(value) - wide(b[name]) for name, value in a.items() if is_weight(value)})


def norm(state: State) -> float:
    r"""Euclidean norm :math:`\lVert \theta \rVert_2` over all weights, in float64; 0 if there are none."""
    squares = [wide(value).abs().square().sum() for value in state.values() if is_weight(value)]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def is_finite(state: State) -> bool:
    """Says whether no tensor of the state holds a NaN or an infinity."""
    return all(bool(value.isfinite().all()) for value in state.values())


def masked(state: State, masks: Mapping[str, Tensor]) -> State:
    """Sets to zero what masks leave out.

    Args:
        state: weights; unchanged.
        masks: for some entries of the state a tensor of booleans of the same shape, True where a weight stays.

    Raises:
        ValueError: if the masks do not fit the state.
    """
    for name, mask in masks.items():
        if name not in state:
            raise ValueError(f"there is a mask for {name}, which is not in the state: it is another architecture's")
        if mask.shape != state[name].shape or mask.dtype != torch.bool:
            raise ValueError(
                f"the mask of {name} holds {mask.dtype} of shape {tuple(mask.shape)}; it should hold booleans of shape "
                f"{tuple(state[name].shape)}"
            )
    return state | {name: state[name].masked_fill(~mask.to(state[name].device), 0) for name, mask in masks.items()}


def taken_over(drawn: State, before: State, own: Collection[str]) -> State:
    """The weights with which fine-tuning begins: those of another network, but for some entries of its own.

    Args:
        drawn: new weights of the network; unchanged.
        before: the weights that are taken over; unchanged.
        own: the entries that stay as they are drawn, such as those of the last layer.

    Raises:
        ValueError: if an entry that is taken over stands in only one of them, or has another shape.
    """
    body = {name: value for name, value in before.items() if name not in own}
    if missing := sorted(drawn.keys() - body.keys() - set(own)):
        raise ValueError(f"the pre-trained network has no {missing[0]}, which this network has")
    for name, value in body.items():
        if name not in drawn or value.shape != drawn[name].shape:
            here = list(drawn[name].shape) if name in drawn else "missing"
            raise ValueError(f"{name} is {list(value.shape)} in the pre-trained network, but {here} in this one")
    return drawn | body


def under(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    """The tensors whose names begin with a prefix, by what follows it.

    Example:
        >>> under("4/", {"4/bias": torch.ones(2), "14/bias": torch.zeros(2)})
        {'bias': tensor([1., 1.])}
    """
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fingerprint(state: State) -> str:
    """Returns 16 hexadecimal digits that are equal for two states only if they agree to the bit."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tied(network: nn.Module, entry: str, own: Tensor, state: Mapping[str, Any]) -> str:
    """That an entry was not saved since it is another one too; empty if that is not so."""
    others = (name for name, each in network.named_parameters(remove_duplicate=False) if each is own)
    there = next((name for name in others if name in state), "")
    return there and (
        f"the state lacks {entry}, which is tied to {there} in the network and was not saved twice: add it, "
        f"state | {{{entry!r}: state[{there!r}]}}"
    )


def _other(network: nn.Module, state: Mapping[str, Any]) -> str:
    return f"not a state of this network: {expected.names(state, network.state_dict(), 'the network')}"


def _check_same_architecture(a: State, b: State) -> None:
    if a.keys() != b.keys():
        raise ValueError(f"states of different architectures: {expected.names(b, a, 'the first')}")
    for name, value in a.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is no tensor but {type(value).__name__}: a state maps names to tensors")
        if value.shape != b[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} in one state and {tuple(b[name].shape)} in the other"
            )
