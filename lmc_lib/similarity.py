"""Similarity of two networks' representations of the same inputs."""

__all__ = ["angular_cka"]

import math

from jaxtyping import Float
from torch import Tensor


def angular_cka(first: Float[Tensor, "examples units"], second: Float[Tensor, "rows others"]) -> float:
    r"""The angle between two representations by linear centred kernel alignment, in radians.

    With centred representations :math:`X, Y` and their kernels :math:`K = XX^\top`, :math:`L = YY^\top`:
    :math:`\arccos \langle K, L \rangle / (\lVert K \rVert \lVert L \rVert)`, from 0 (equal up to rotation and scale) to
    :math:`\pi / 2`. It is a metric between kernels (Lange et al. 2022). Small angles come from the chord between the
    two kernels, since the arc cosine of a number near 1 loses half of its digits.

    Args:
        first: one row an example.
        second: the same examples, seen by another network or layer; the number of units may differ.

    Raises:
        ValueError: if the numbers of examples differ, or a representation is the same for all examples.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], dtype=torch.float64)
        >>> angular_cka(x, 3.0 * x.flip(1))
        0.0
    """
    if len(first) != len(second):
        raise ValueError(f"both representations need the same examples, got {len(first)} and {len(second)}")
    kernels = [_kernel(each) for each in (first, second)]
    chord = float((kernels[0] - kernels[1]).norm())
    return 2.0 * math.asin(min(chord / 2.0, 1.0))


def _kernel(representation: Tensor) -> Tensor:
    """The centred kernel, of norm 1."""
    centred = representation.double() - representation.double().mean(0)
    kernel: Tensor = centred @ centred.T
    norm = kernel.norm()
    if not float(norm) > 0.0:
        raise ValueError("a representation that is the same for all examples has no angle to another")
    return kernel.div(norm)
