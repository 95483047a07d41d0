r"""Two layers that learn to compose two elements of a group, and what they have learnt of it.

The network makes :math:`W^\top (U x_g + V x_h)^2` of the codes of two elements, with the square of each neuron, and
learns the code :math:`x_{gh}` of their product (Marchetti, Kunin, Myers, Acosta, Miolane 2026). The loss is the mean
squared error over all pairs and coordinates. Networks are trained many at once, each with codes of its own.
"""

__all__ = ["errors", "gradient", "half_times", "normalised", "start", "sums_of_all"]

import torch
from jaxtyping import Float
from torch import Generator, Tensor

# The three layers, each of shape (*batch, n, g).
Layers = tuple[Tensor, ...]


def start(order: int, width: int, scale: float, *, generator: Generator) -> Layers:
    """Draws normal layers :math:`U`, :math:`V`, :math:`W`, of standard deviation ``scale`` by the root of ``order``."""
    layers = scale * torch.randn(3, width, order, generator=generator, dtype=torch.float64) / order**0.5
    return tuple(layers)


def gradient(
    codes: Float[Tensor, "*batch g g"],
    targets: Float[Tensor, "*batch pairs g"],
    first: Float[Tensor, "*batch n g"],
    second: Float[Tensor, "*batch n g"],
    read: Float[Tensor, "*batch n g"],
) -> Layers:
    """The gradient of the loss by the three layers.

    Args:
        codes: the codes of the elements, a row each.
        targets: what is to be made of each pair; the second element changes fastest.
        first: the layer that reads the first element.
        second: the layer that reads the second one.
        read: the layer that is read out.
    """
    sums = _sums(codes, first, second)
    squares = sums.square().flatten(-2)
    missed = squares.mT @ read - targets
    factor = 2.0 / targets.shape[-2] / targets.shape[-1]
    # In place: here new memory of this size takes longer than the product.
    by_sums = (read @ missed.mT).view(sums.shape).mul_(sums)
    return (
        2.0 * factor * by_sums.sum(-1) @ codes,
        2.0 * factor * by_sums.sum(-2) @ codes,
        squares.mul_(factor) @ missed,
    )


def normalised(slopes: Layers, layers: Layers) -> Layers:
    """A gradient, that of each neuron divided by the length of its weights.

    The network is of degree three in the weights of a neuron, so that without this a small neuron would hardly move.
    """
    lengths = torch.stack([each.square().sum(-1, keepdim=True) for each in layers]).sum(0).sqrt()
    return tuple(slope / lengths for slope in slopes)


def errors(
    projections: Float[Tensor, "irreps g g"],
    codes: Float[Tensor, "*batch g g"],
    targets: Float[Tensor, "*batch pairs g"],
    layers: Layers,
) -> Float[Tensor, "*batch irreps"]:
    """The part of the loss in each representation, by its orthogonal projection; together they are the loss."""
    first, second, read = layers
    missed = _sums(codes, first, second).square().flatten(-2).mT @ read - targets
    return (missed.unsqueeze(-3) @ projections).square().mean((-2, -1))


def half_times(shares: Float[Tensor, "times ..."], every: int) -> Float[Tensor, "..."]:
    """The update at which a share first falls below a half, between records by a straight line; the last one if never.

    Args:
        shares: a share at each record; at the first one it is above a half.
        every: the number of updates between two records.
    """
    below = shares < 0.5
    after = torch.where(below.any(0), below.int().argmax(0), len(shares) - 1).clamp(min=1).unsqueeze(0)
    high, low = shares.gather(0, after - 1)[0], shares.gather(0, after)[0]
    part = torch.where(below.any(0), (high - 0.5) / (high - low), 1.0)
    return every * (after[0] - 1 + part)


def sums_of_all(first: Tensor, second: Tensor) -> Float[Tensor, "*batch n a b"]:
    """What each neuron adds up of two elements, for each pair of what is on the last axes."""
    return first.unsqueeze(-1) + second.unsqueeze(-2)


def _sums(codes: Tensor, first: Tensor, second: Tensor) -> Float[Tensor, "*batch n g g"]:
    """What each neuron squares, for each pair of elements."""
    return sums_of_all(first @ codes.mT, second @ codes.mT)
