r"""Two linear layers that learn a linear map: starts of a given balance, gradient flow, and its exact solution.

The network :math:`W_2 W_1` learns a target :math:`S` by the loss :math:`\frac12 \lVert W_2 W_1 - S \rVert^2`, that of
white inputs. It is :math:`\lambda`-balanced if :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I`, which gradient flow
conserves. Of such a network the *stack* :math:`Q = (W_1^\top; W_2)`, one row an input or an output and one column a
hidden unit, is known at all times but for a rotation of the hidden units (Dominé, Anguita, Proca, Braun, Kunin,
Mediano, Saxe 2025), and with it :math:`Q Q^\top`: the network function and the representations of inputs and outputs.
"""

__all__ = ["balanced_start", "exact", "gradient", "integrated", "kernel_distance", "loss", "mixed_start", "stack"]

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

# Of the numerical integration, relative and absolute.
_TOLERANCE = 1e-11


def gradient(
    target: Float[Tensor, "*#batch o i"], first: Float[Tensor, "*batch h i"], second: Float[Tensor, "*batch o h"]
) -> tuple[Float[Tensor, "*batch h i"], Float[Tensor, "*batch o h"]]:
    """The gradient of the loss by the first and by the second layer, of many networks at once."""
    error = second @ first - target
    return second.mT @ error, error @ first.mT


def stack(first: Float[Tensor, "*batch h i"], second: Float[Tensor, "*batch o h"]) -> Float[Tensor, "*batch n h"]:
    """The transposed first layer above the second one."""
    return torch.cat([first.mT, second], -2)


def loss(stacks: Float[Tensor, "*batch n h"], target: Float[Tensor, "o i"]) -> Float[Tensor, "*batch"]:
    """The loss of networks, by their stacks."""
    inputs = target.shape[1]
    product = stacks[..., inputs:, :] @ stacks[..., :inputs, :].mT
    return 0.5 * (product - target).square().sum((-2, -1))


def balanced_start(
    sizes: Sequence[int], balance: float, scale: float, *, generator: Generator
) -> tuple[Float[Tensor, "h i"], Float[Tensor, "o h"]]:
    r"""Draws a start with :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I`.

    The smaller layer is normal, with a standard deviation of ``scale`` by the root of the number of hidden units; the
    other one is the root of what the balance asks for, behind a rotation that is drawn.

    Args:
        sizes: numbers of inputs, hidden units and outputs.
        balance: :math:`\lambda`; the second layer is the larger one where it is positive.
        scale: size of the smaller layer.
        generator: draws.

    Raises:
        ValueError: if there are more hidden units than inputs or outputs: then not every balance can be had.
    """
    inputs, hidden, outputs = sizes
    if hidden > min(inputs, outputs):
        raise ValueError(f"{hidden} hidden units are more than the {min(inputs, outputs)} inputs or outputs")
    if balance < 0.0:
        second, first = balanced_start((outputs, hidden, inputs), -balance, scale, generator=generator)
        return first.T, second.T
    first = scale / hidden**0.5 * torch.randn(hidden, inputs, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(outputs, hidden, generator=generator, dtype=torch.float64)).Q
    values, vectors = torch.linalg.eigh(first @ first.T)
    root: Tensor = vectors * (values.clamp(min=0.0) + balance).sqrt() @ vectors.T
    return first, rotation @ root


def mixed_start(
    first: Float[Tensor, "h i"], second: Float[Tensor, "o h"], *, generator: Generator
) -> tuple[Float[Tensor, "h i"], Float[Tensor, "o h"]]:
    """Draws two normal layers of the same norms: balanced in the mean of hidden units, and not in each."""
    drawn = [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in (first, second)]
    one, other = (each * old.norm() / each.norm() for each, old in zip(drawn, (first, second), strict=True))
    return one, other


def exact(
    start: Float[Tensor, "n h"], target: Float[Tensor, "o i"], balance: float, times: Sequence[float]
) -> Float[Tensor, "times n h"]:
    r"""The stack at rising times under gradient flow, but for a rotation of the hidden units.

    It solves :math:`\dot X = F X + X F - X^2` for :math:`X = Q Q^\top`, with
    :math:`F = \begin{pmatrix} -\lambda/2 & S^\top \\ S & \lambda/2 \end{pmatrix}`: after a time :math:`t`,
    :math:`X = e^{Ft} Q\, (I + Q^\top \Phi\, Q)^{-1} Q^\top e^{Ft}` with :math:`\Phi = \int_0^t e^{2Fs}\, ds`. No
    inverse of :math:`F` is needed, so that a balance of 0 and unequal sizes are allowed. Each time begins with the
    stack at the one before, since over long times the growing directions would leave no digits to the others.

    Args:
        start: the stack at time 0, of a balanced network.
        target: :math:`S`.
        balance: :math:`\lambda`.
        times: rising times.
    """
    outputs, inputs = target.shape
    lower = torch.cat([target, 0.5 * balance * torch.eye(outputs, dtype=target.dtype)], 1)
    upper = torch.cat([-0.5 * balance * torch.eye(inputs, dtype=target.dtype), target.T], 1)
    rates, vectors = torch.linalg.eigh(torch.cat([upper, lower]))
    found = [vectors.T @ start]
    for earlier, later in pairwise([0.0, *times]):
        found.append(_after(later - earlier, rates, found[-1]))
    return torch.stack([vectors @ each for each in found[1:]])


def _after(time: float, rates: Float[Tensor, " n"], start: Float[Tensor, "n h"]) -> Float[Tensor, "n h"]:
    """A factor of X after some time, in the basis of F: all in one singular value decomposition, and no inverse."""
    integral = torch.where(rates == 0.0, time, torch.expm1(2.0 * rates * time) / (2.0 * rates))
    left, values, _ = torch.linalg.svd(integral.sqrt()[:, None] * start, full_matrices=False)
    growth = torch.exp(rates * time) / integral.sqrt()
    found: Tensor = growth[:, None] * left * values / (1.0 + values.square()).sqrt()
    return found


def integrated(
    first: Float[Tensor, "h i"], second: Float[Tensor, "o h"], target: Float[Tensor, "o i"], times: Sequence[float]
) -> Float[Tensor, "times n h"]:
    """The stack at rising times under gradient flow, by numerical integration (DOP853 of scipy), balanced or not."""
    from scipy.integrate import solve_ivp  # noqa: PLC0415 -- slow to load, and used here alone

    def layers(flat: ndarray) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(flat)
        return both[: first.numel()].view(first.shape), both[first.numel() :].view(second.shape)

    def flow(_: float, flat: ndarray) -> ndarray:
        return -np.concatenate([each.flatten().numpy() for each in gradient(target, *layers(flat))])

    start = torch.cat([first.flatten(), second.flatten()]).numpy()
    solved = solve_ivp(flow, (0.0, times[-1]), start, "DOP853", times, rtol=_TOLERANCE, atol=_TOLERANCE)
    return torch.stack([stack(*layers(flat)) for flat in solved.y.T.copy()])


def kernel_distance(
    one: Float[Tensor, "*#batch n h"], other: Float[Tensor, "*#batch n h"], inputs: int
) -> Float[Tensor, "*batch"]:
    r"""1 less the cosine of two networks' neural tangent kernels: 0 if nothing but their scale has changed.

    On white inputs the kernel is :math:`I \otimes W_2 W_2^\top + W_1^\top W_1 \otimes I`.

    Args:
        one: stacks.
        other: stacks.
        inputs: number of inputs.
    """
    return 1.0 - _inner(one, other, inputs) / (_inner(one, one, inputs) * _inner(other, other, inputs)).sqrt()


def _inner(one: Tensor, other: Tensor, inputs: int) -> Tensor:
    """The inner product of two kernels, without making them."""
    above, below = ((each[..., :inputs, :], each[..., inputs:, :]) for each in (one, other))
    (of_inputs, of_outputs), (to_inputs, to_outputs) = above, below
    outputs = of_outputs.shape[-2]
    alike = inputs * _overlap(of_outputs, to_outputs) + outputs * _overlap(of_inputs, to_inputs)
    traces = [each.square().sum((-2, -1)) for each in (of_inputs, to_outputs, to_inputs, of_outputs)]
    return alike + traces[0] * traces[1] + traces[2] * traces[3]


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """The inner product of the squares (rows by rows) of two matrices."""
    return (one.mT @ other).square().sum((-2, -1))
