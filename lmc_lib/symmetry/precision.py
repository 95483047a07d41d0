"""Networks in float64, whatever precision they ask for."""

__all__ = ["Float64", "in_float64"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Float64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes in float64 what a network computes in a lower precision: casts, new tensors, constants.

    A normalisation that casts to float32, or a state that begins as ``torch.zeros``, would round the two sides of a
    proof differently, or not meet the weights at all.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls an operation with arguments in float64, and gives its results so."""
        # What is written to must stay the tensor that it is.
        lift = _dtype if func._schema.is_mutable else _lifted
        args, kwargs = pytree.tree_map(lift, (args, dict(kwargs or {})))
        return pytree.tree_map(_lifted, func(*args, **kwargs))


def in_float64(value: Any) -> Any:
    """The same with its floating tensors, at any depth, in float64, or in complex128; integers stay as they are."""
    return pytree.tree_map_only(Tensor, _lifted, value)


def _lifted(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(_dtype(value.dtype))
    return _dtype(value)


def _dtype(value: Any) -> Any:
    if not isinstance(value, torch.dtype) or not (value.is_floating_point or value.is_complex):
        return value
    return torch.complex128 if value.is_complex else torch.float64
