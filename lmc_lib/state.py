"""Weights as values: arithmetic on dictionaries of tensors.

A ``State`` maps the names of ``state_dict`` to tensors, parameters and buffers alike. It is separate from the module,
which is architecture only. No function here changes its arguments.
"""

__all__ = [
    "State", "apply", "cast", "clone", "combine", "distance", "fingerprint", "flattened", "given", "interpolate",
    "is_finite", "masked", "norm", "shaped", "stacked", "taken_over", "under", "unstacked",
]  # fmt: skip

import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def apply(network: nn.Module, state: State, inputs: Tensor) -> Any:
    """Calls a network with these weights in place of its own, which stay as they are.

    A layer that stands at several places of the network is given once, under its first name.

    Args:
        network: the architecture, in the mode in which it is to run.
        state: the weights; entries that the network does not have are left out.
        inputs: what the network takes.
    """
    return torch.func.functional_call(network, given(network, state), (inputs,), tie_weights=False)


def given(network: nn.Module, state: State) -> State:
    """The entries of a state that a network takes, each layer once under its first name."""
    entries = {}
    for path, module in network.named_modules():
        for name, _ in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            entry = f"{path}.{name}" if path else name
            if entry in state:
                entries[entry] = state[entry]
    return entries


def clone(state: State) -> State:
    """Copies a state; the copy shares no memory with it and carries no gradient."""
    return {name: value.detach().clone() for name, value in state.items()}


def cast(state: State, dtype: torch.dtype) -> State:
    """Converts the floating tensors of a state to ``dtype``; integer buffers stay as they are."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


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
        ValueError: if the states differ in names or shapes.

    Example:
        >>> flattened([{"weight": torch.ones(1, 2), "bias": torch.zeros(1)}]).tolist()
        [[1.0, 1.0, 0.0]]
    """
    for other in states[1:]:
        _check_same_architecture(states[0], other)
    names = [name for name, value in states[0].items() if value.is_floating_point()]
    return torch.stack([torch.cat([state[name].reshape(-1) for name in names]) for state in states])


def shaped(point: Tensor, like: State) -> State:
    """The state of which :func:`flattened` made a point, which shares the memory of the point.

    Args:
        point: all floating entries, one after another.
        like: a state of the architecture; what is not floating is taken from it.

    Raises:
        ValueError: if the point has another number of entries.
    """
    sizes = {name: value.numel() for name, value in like.items() if value.is_floating_point()}
    if point.shape != (sum(sizes.values()),):
        raise ValueError(f"the network has {sum(sizes.values())} entries, but the point has shape {tuple(point.shape)}")
    parts = dict(zip(sizes, torch.split(point, list(sizes.values())), strict=True))
    return {name: parts[name].view(value.shape) if name in parts else value for name, value in like.items()}


def combine(states: Sequence[State], weights: Sequence[float]) -> State:
    """Returns the weighted sum of states, the point with these barycentric coordinates if the weights sum to 1.

    Integer buffers (the batch counters of BatchNorm) have no meaningful average and are taken from the first state.

    Raises:
        ValueError: if the states differ in names or shapes, or their number is not that of the weights.
    """
    if len(states) != len(weights) or not states:
        raise ValueError(f"need one weight a state and at least one state, got {len(states)} and {len(weights)}")
    first = states[0]
    for other in states[1:]:
        _check_same_architecture(first, other)
    return {
        name: sum((w * s[name] for s, w in zip(states[1:], weights[1:], strict=True)), weights[0] * value)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


def interpolate(start: State, end: State, alpha: float) -> State:
    """Returns ``(1 - alpha) * start + alpha * end``, exactly ``start`` at 0 and exactly ``end`` at 1."""
    return combine([start, end], [1.0 - alpha, alpha])


def distance(a: State, b: State) -> float:
    r"""Euclidean distance :math:`\lVert a - b \rVert_2` over all floating tensors, in float64."""
    _check_same_architecture(a, b)
    return norm({name: a[name].double() - b[name].double() for name in a if a[name].is_floating_point()})


def norm(state: State) -> float:
    r"""Euclidean norm :math:`\lVert \theta \rVert_2` over all floating tensors, in float64."""
    squares = [value.double().square().sum() for value in state.values() if value.is_floating_point()]
    return float(torch.stack(squares).sum().sqrt())


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


def _check_same_architecture(a: State, b: State) -> None:
    if missing := a.keys() ^ b.keys():
        raise ValueError(f"states of different architectures: {sorted(missing)[:4]} stand in only one of them")
    for name, value in a.items():
        if value.shape != b[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} in one state and {tuple(b[name].shape)} in the other"
            )
