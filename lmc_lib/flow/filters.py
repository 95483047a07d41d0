r"""Two convolutions and a linear read-out, of piecewise-linear units without biases, and what becomes of the filters.

Units are :math:`\phi(z) = z` where :math:`z > 0` and :math:`\phi(z) = \kappa z` elsewhere, with a leak :math:`\kappa`
of 0 or 1 (linear). So two layers can be multiplied by a number and divided by it, and the network computes the same.
Weights are stacks: axes in front count networks.
"""

__all__ = ["LAYERS", "neighbours", "outputs", "patches", "start", "turned"]

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.values import round_to_grid

LAYERS = ("filters", "second", "read_out")

_SECOND = 3  # pixels of a side of a filter of the second layer
_DRAWN_BITS = 30  # normal draws differ between instruction sets beyond


def start(
    side: int, size: int, channels: Sequence[int], classes: int, *, stride: int = 1, generator: Generator
) -> dict[str, Tensor]:
    """Draws layers of length 1 each; channels of the second come twice, with opposite read-outs.

    Such a network computes 0, however its layers are scaled.

    Args:
        side: pixels of a side of an image.
        size: pixels of a side of a filter.
        channels: those of the first and of the second layer, the second number even.
        classes: number of outputs.
        stride: pixels from one place of a filter to the next.
        generator: the stream.
    """
    first, half = channels[0], channels[1] // 2
    places = ((side - size) // stride + 1 - _SECOND + 1) ** 2
    shapes = (size**2, first), (_SECOND**2 * first, half), (places, half, classes)
    drawn = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    filters, second, read_out = (each / torch.linalg.vector_norm(each) for each in drawn)
    twice = torch.cat([second, second], 1), torch.cat([read_out, -read_out], 1).flatten(0, 1)
    layers = filters, twice[0] / 2**0.5, twice[1] / 2**0.5
    return {name: round_to_grid(each, _DRAWN_BITS) for name, each in zip(LAYERS, layers, strict=True)}


def patches(
    images: Float[Tensor, "*batch n h w c"], size: int, stride: int = 1
) -> Float[Tensor, "*batch n h2 w2 seen"]:
    """What a filter of so many pixels a side sees at each of its places: the pixels of each channel after another."""
    return images.unfold(-3, size, stride).unfold(-3, size, stride).flatten(-3)


def outputs(
    seen: Float[Tensor, "*batch n h w pixels"], weights: Mapping[str, Tensor], leak: float
) -> Float[Tensor, "*batch n classes"]:
    """What networks compute, from what the filters of the first layer see."""
    hidden = _convolved(seen, weights["filters"], leak)
    return _convolved(patches(hidden, _SECOND), weights["second"], leak).flatten(-3) @ weights["read_out"]


def turned(
    before: Float[Tensor, "*batch pixels channels"], now: Float[Tensor, "*batch pixels channels"]
) -> Float[Tensor, "*batch"]:
    """1 less the cosine of the angle of each filter with what it was, mean over filters."""
    return 1.0 - torch.cosine_similarity(before, now, dim=-2).mean(-1)


def neighbours(filters: Float[Tensor, "*batch pixels channels"]) -> Float[Tensor, "*batch"]:
    r"""Moran's :math:`I` of pixels that share an edge, mean over filters.

    With :math:`z` the weights less their mean, it is the mean of :math:`z_i z_j` over pairs of neighbours by the mean
    of :math:`z_i^2` (Moran 1950). For :math:`m` pixels in random order its mean is :math:`-1 / (m - 1)`; the smoothest
    filters of 4 × 4 pixels have 0.75, those of 5 × 5 pixels 0.85.
    """
    size = round(filters.shape[-2] ** 0.5)
    centred = (filters - filters.mean(-2, keepdim=True)).reshape(*filters.shape[:-2], size, size, -1)
    pairs = (centred[..., 1:, :, :] * centred[..., :-1, :, :]).sum((-3, -2))
    pairs = pairs + (centred[..., :, 1:, :] * centred[..., :, :-1, :]).sum((-3, -2))
    found: Tensor = pairs / (2 * size * (size - 1)) / centred.square().mean((-3, -2))
    return found.mean(-1)


def _convolved(
    seen: Float[Tensor, "*batch n h w pixels"], filters: Float[Tensor, "*batch pixels d"], leak: float
) -> Float[Tensor, "*batch n h w d"]:
    """A convolution as a product of matrices, and the units behind it."""
    sums = seen.flatten(-4, -2) @ filters
    return F.leaky_relu(sums, leak).view(*seen.shape[:-1], -1)
