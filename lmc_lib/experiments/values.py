"""Values as they are stored: what JSON knows, with as many digits as two CPUs agree on."""

__all__ = ["DIGITS", "columns", "digits", "or_none", "rounded", "share"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

# Enough digits for any use, few enough that two CPUs agree on them.
DIGITS = 9


def rounded(value: float) -> float:
    """A number with the significant digits that are stored."""
    return float(f"{value:.{DIGITS}g}")


def share(value: float) -> float:
    """A share between 0 and 1 with the decimals that are stored."""
    return round(value, DIGITS)


def digits(values: Tensor) -> list[float]:
    """A vector as numbers of the digits that are stored."""
    return [rounded(value) for value in values.tolist()]


def or_none(values: Float[ndarray, " examples"]) -> list[float | None]:
    """A vector as numbers of the digits that are stored, None for NaN, which JSON does not know."""
    return [rounded(float(value)) if np.isfinite(value) else None for value in values]


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list of equal dictionaries as a dictionary of lists."""
    return {name: [row[name] for row in rows] for name in rows[0]}
