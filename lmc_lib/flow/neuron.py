r"""One hidden neuron that learns a linear map of white inputs: what its training conserves, and its exact solution.

The network :math:`a\, w^\top x` learns a target :math:`\beta` by the loss :math:`\frac12 \lVert a w - \beta \rVert^2`,
that of white inputs. Its read-out :math:`a` is trained at the rate :math:`\eta_a`, its weights :math:`w` at
:math:`\eta_w`. Gradient flow conserves the charge :math:`\delta = \eta_w a^2 - \eta_a \lVert w \rVert^2` (Kunin,
Raventós, Dominé, Chen, Klindt, Saxe, Ganguli 2024).
"""

__all__ = ["charge", "exact", "gradient", "kernel_distance", "loss", "start"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def charge(
    read_out: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch i"], rates: Sequence[float]
) -> Float[Tensor, "*batch"]:
    r"""The charge :math:`\delta = \eta_w a^2 - \eta_a \lVert w \rVert^2`.

    Args:
        read_out: :math:`a`.
        weights: :math:`w`.
        rates: :math:`\eta_a` and :math:`\eta_w`.
    """
    of_read_out, of_weights = rates
    return of_weights * read_out.square() - of_read_out * weights.square().sum(-1)


def start(
    product: Float[Tensor, "*batch i"], charges: Float[Tensor, "*batch"], rates: Sequence[float]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch i"]]:
    """The read-out, which is positive, and the weights that have a product and a charge.

    Args:
        product: read-out times weights, which is what the network computes; not 0.
        charges: the charges.
        rates: those of the read-out and of the weights.
    """
    of_read_out, of_weights = rates
    size = product.square().sum(-1)
    root = (charges.square() + 4.0 * of_read_out * of_weights * size).sqrt()
    # The difference of two nearly equal numbers, as it is at large negative charges, would leave no digits.
    upper = torch.where(
        charges < 0.0, 4.0 * of_read_out * of_weights * size / (root + charges.abs()), root + charges.abs()
    )
    read_out = (upper / (2.0 * of_weights)).sqrt()
    return read_out, product / read_out[..., None]


def loss(
    target: Float[Tensor, "*#batch i"], read_out: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch i"]
) -> Float[Tensor, "*batch"]:
    """Half of the squared distance of the product from the target."""
    return 0.5 * (read_out[..., None] * weights - target).square().sum(-1)


def gradient(
    target: Float[Tensor, "*#batch i"],
    rates: Sequence[float],
    read_out: Float[Tensor, "*batch"],
    weights: Float[Tensor, "*batch i"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch i"]]:
    """The gradient of the loss by read-out and weights, each times its rate, of many networks at once."""
    error = read_out[..., None] * weights - target
    return rates[0] * (weights * error).sum(-1), rates[1] * read_out[..., None] * error


def exact(
    read_out: Float[Tensor, "*batch"],
    weights: Float[Tensor, "*batch i"],
    target: Float[Tensor, "*#batch i"],
    rates: Sequence[float],
    times: Float[Tensor, " times"],
) -> tuple[Float[Tensor, "*batch times"], Float[Tensor, "*batch times i"]]:
    r"""Read-out and weights under gradient flow, at any charge.

    With :math:`q = (\sqrt{\eta_w}\, a, \sqrt{\eta_a}\, w)` and :math:`b = \sqrt{\eta_a \eta_w}\, \beta` gradient flow
    is :math:`\dot q = F q - \frac12 \lVert q \rVert^2 q`, where
    :math:`F = \begin{pmatrix} \delta/2 & b^\top \\ b & -\delta/2 \end{pmatrix}`. So
    :math:`q(t) = e^{Ft} q_0 / \sqrt{1 + \int_0^t \lVert e^{Fs} q_0 \rVert^2 ds}`. The eigenvalues of :math:`F` are
    :math:`\pm\rho` with :math:`\rho^2 = \delta^2/4 + \lVert b \rVert^2` in the plane of read-out and target, and
    :math:`-\delta/2` across the target. Numerator and denominator are taken times :math:`e^{-\rho t}`.

    Args:
        read_out: :math:`a` at time 0.
        weights: :math:`w` at time 0.
        target: :math:`\beta`, not 0.
        rates: :math:`\eta_a` and :math:`\eta_w`.
        times: the times.
    """
    scales = rates[1] ** 0.5, rates[0] ** 0.5
    size = torch.linalg.vector_norm(target, dim=-1)
    direction = target / size[..., None]
    along = (weights * direction).sum(-1)
    across = weights - along[..., None] * direction
    first, second = scales[0] * read_out, scales[1] * along
    half, pull = 0.5 * charge(read_out, weights, rates), scales[0] * scales[1] * size
    rate = (half.square() + pull.square()).sqrt()
    turned = (half * first + pull * second) / rate, (pull * first - half * second) / rate
    growing = [0.5 * (each + other)[..., None] for each, other in zip((first, second), turned, strict=True)]
    falling = [0.5 * (each - other)[..., None] for each, other in zip((first, second), turned, strict=True)]
    decay = torch.exp(-2.0 * rate[..., None] * times)
    passed = (1.0 - decay) / (2.0 * rate[..., None])
    sizes = [one.square() + other.square() for one, other in (growing, falling)]
    grown = (sizes[0] + sizes[1] * decay) * passed
    aside = rates[0] * across.square().sum(-1)[..., None] * _aside(half[..., None], rate[..., None], times)
    norm = (decay + grown + aside).sqrt()
    now, then = ((each + decay * other) / norm for each, other in zip(growing, falling, strict=True))
    left = torch.exp(-(half + rate)[..., None] * times) / norm
    found = then[..., None] * direction[..., None, :] / scales[1] + left[..., None] * across[..., None, :]
    return now / scales[0], found


def _aside(
    half: Float[Tensor, "*batch 1"], rate: Float[Tensor, "*batch 1"], times: Float[Tensor, " times"]
) -> Float[Tensor, "*batch times"]:
    """The integral of the exponential of a negative charge, times that of twice the negative rate, which is larger."""
    whole = 2.0 * half.abs()
    passed = torch.where(whole == 0.0, times, -torch.expm1(-whole * times) / whole)
    # Where the charge is negative the integral alone would overflow.
    return passed * torch.exp(-2.0 * (rate + half.clamp(max=0.0)) * times)


def kernel_distance(
    one: tuple[Float[Tensor, "*#batch"], Float[Tensor, "*#batch i"]],
    other: tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch i"]],
    rates: Sequence[float],
) -> Float[Tensor, "*batch"]:
    r"""1 less the cosine of two networks' neural tangent kernels: 0 if nothing but their scale has changed.

    On white inputs, each derivative times its rate, the kernel is :math:`\eta_w a^2 I + \eta_a w w^\top`.

    Args:
        one: read-out and weights.
        other: the same of other networks.
        rates: those of the read-out and of the weights.
    """
    return 1.0 - _inner(one, other, rates) / (_inner(one, one, rates) * _inner(other, other, rates)).sqrt()


def _inner(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rates: Sequence[float]) -> Tensor:
    """The inner product of two kernels, without making them."""
    (first, weights), (second, others) = one, other
    here, there = rates[1] * first.square(), rates[1] * second.square()
    sizes = rates[0] * weights.square().sum(-1), rates[0] * others.square().sum(-1)
    overlap = rates[0] * (weights * others).sum(-1)
    return weights.shape[-1] * here * there + here * sizes[1] + there * sizes[0] + overlap.square()
