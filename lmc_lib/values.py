"""Values as they are stored: what JSON knows, with as many digits as two CPUs agree on."""

__all__ = [
    "DIGITS",
    "are_finite",
    "columns",
    "decimals",
    "digits",
    "log_spaced",
    "loss_and_error",
    "or_none",
    "round_to_grid",
    "rounded",
    "share",
]

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from torch import Tensor

# Enough digits for any use, few enough that two CPUs agree on them.
DIGITS = 9


def log_spaced(last: int, count: int) -> list[int]:
    """Whole numbers from 1 to a last one, about so many, evenly spaced on a logarithmic axis as far as they can be."""
    found: list[int] = np.unique(np.geomspace(1, last, count).round().astype(int)).tolist()
    return found


def rounded(value: float, figures: int = DIGITS) -> float:
    """A number with the significant digits that are stored."""
    return float(f"{value:.{figures}g}")


def round_to_grid(value: Tensor, bits: int) -> Tensor:
    """Rounds in place to multiples of ``2 ** -bits``, which hides last bits that differ between instruction sets.

    Both scalings are exact.
    """
    return value.mul_(2.0**bits).round_().mul_(2.0**-bits)


def share(value: float) -> float:
    """A share between 0 and 1 with the decimals that are stored."""
    return round(value, DIGITS)


def decimals(values: Tensor) -> Any:
    """A tensor as lists in lists of numbers with the decimals that are stored, where rounding alone would be left."""
    return (values.round(decimals=DIGITS) + 0.0).tolist()  # the sum makes 0 of -0


def digits(values: Tensor | ndarray | float | Mapping[str, Any], figures: int = DIGITS) -> Any:
    """A number, or an array as lists in lists, with the digits that are stored; also of arrays by name."""
    return _each(values, lambda value: rounded(value, figures))


def or_none(values: ndarray | Mapping[str, Any]) -> Any:
    """The same, with None for what is not finite, which JSON does not know."""
    return _each(values, lambda value: rounded(value) if math.isfinite(value) else None)


def are_finite(values: Any) -> bool:
    """Whether all numbers in nested dictionaries and lists are finite; what is no number is."""
    if isinstance(values, Mapping | list):
        return all(map(are_finite, values.values() if isinstance(values, Mapping) else values))
    return not isinstance(values, float) or math.isfinite(values)


def _each(values: Any, stored: Callable[[float], float | None]) -> Any:
    if isinstance(values, Mapping):
        return {name: _each(value, stored) for name, value in values.items()}
    if isinstance(values, list):
        return [_each(value, stored) for value in values]
    return stored(values) if isinstance(values, float | int) else _each(values.tolist(), stored)


def loss_and_error(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By split the loss and the error of what has them, as the points of a line."""
    return {split: {"loss": digits(each.loss), "error": digits(each.error)} for split, each in scores.items()}


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A list of equal dictionaries, which may hold others, as one dictionary of lists."""
    each = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: columns(values) if isinstance(values[0], Mapping) else values for name, values in each.items()}
