r"""One hidden layer of ReLU units that learns the table of addition modulo a number from some of its entries.

Of two summands :math:`i` and :math:`j`, each one-hot, unit :math:`k` sees :math:`u_{ik} + v_{jk}`, and the network is
:math:`\sum_k a_k \max(u_{ik} + v_{jk}, 0)`, one output for each result. Its loss is the squared error from the result,
one-hot, summed over outputs. Weights are stacks: axes in front count networks.
"""

__all__ = ["accuracy", "loss", "outputs", "start"]

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.values import round_to_grid

_DRAWN_BITS = 30  # normal draws differ between instruction sets beyond


def start(modulus: int, units: int, *, generator: Generator) -> dict[str, Tensor]:
    """Draws weights of length 1 for each unit, and read-outs of length 1, each unit twice with opposite read-outs.

    Such a network computes 0, however its layers are scaled.

    Args:
        modulus: number of summands and of results.
        units: number of hidden units, even.
        generator: the stream.

    Returns:
        ``"summands"`` of shape ``(2, modulus, units)`` and ``"read_out"`` of shape ``(units, modulus)``.
    """
    drawn = torch.randn(3, modulus, units // 2, generator=generator, dtype=torch.float64)
    weights = drawn[:2] / drawn[:2].square().sum((0, 1)).sqrt()
    read_out = (drawn[2] / drawn[2].norm(dim=0)).mT
    pairs = {"summands": torch.cat([weights, weights], -1), "read_out": torch.cat([read_out, -read_out])}
    return {name: round_to_grid(each, _DRAWN_BITS) for name, each in pairs.items()}


def outputs(
    summands: Float[Tensor, "*batch 2 p units"], read_out: Float[Tensor, "*batch units p"]
) -> Float[Tensor, "*batch p p p"]:
    """What networks compute for the whole table: by the first summand, the second, and the result."""
    sums = summands[..., 0, :, None, :] + summands[..., 1, None, :, :]
    computed = sums.relu_().flatten(-3, -2) @ read_out  # in place: new memory takes longer
    return computed.view(*sums.shape[:-1], -1)


def loss(computed: Float[Tensor, "*batch p p p"], entries: Bool[Tensor, "*batch p p"]) -> Float[Tensor, "*batch"]:
    """The mean over some entries of the table of the squared error; 1 for a network that computes 0."""
    wanted = F.one_hot(_sums(computed.shape[-1]), computed.shape[-1]).to(computed.dtype)
    missed = (computed - wanted).square().sum(-1)
    return _mean(missed, entries)


def accuracy(computed: Float[Tensor, "*batch p p p"], entries: Bool[Tensor, "*batch p p"]) -> Float[Tensor, "*batch"]:
    """The share of some entries of the table at which the largest output is that of the right result."""
    return _mean((computed.argmax(-1) == _sums(computed.shape[-1])).to(computed.dtype), entries)


def _sums(modulus: int) -> Tensor:
    """The table."""
    numbers = torch.arange(modulus)
    return (numbers[:, None] + numbers) % modulus


def _mean(values: Tensor, entries: Tensor) -> Tensor:
    found: Tensor = (values * entries).sum((-2, -1)) / entries.sum((-2, -1))
    return found
