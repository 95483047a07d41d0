r"""One hidden layer of piecewise-linear units that learns from examples of a teacher.

The network is :math:`\sum_i a_i\, \phi(w_i^\top x)` with :math:`\phi(z) = z` where :math:`z > 0` and
:math:`\phi(z) = \kappa z` elsewhere: ReLU units at a leak :math:`\kappa` of 0, linear ones at 1. Its loss is the mean
squared error. Setting and measures follow Kunin, Raventós, Dominé, Chen, Klindt, Saxe, Ganguli 2024.
"""

__all__ = ["directions", "gradient", "kernel", "outputs", "paired", "patterns", "rescaled"]

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor


def directions(count: int, inputs: int, *, generator: Generator) -> Float[Tensor, "count i"]:
    """Draws unit vectors, uniform on the sphere."""
    drawn = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
    found: Tensor = drawn / drawn.norm(dim=-1, keepdim=True)
    return found


def paired(
    weights: Float[Tensor, "half i"], signs: Float[Tensor, " half"]
) -> tuple[Float[Tensor, "units i"], Float[Tensor, " units"]]:
    """Each unit twice, with opposite read-outs: the network computes 0 at all inputs, whatever its scale."""
    return torch.cat([weights, weights]), torch.cat([signs, -signs])


def rescaled(
    weights: Float[Tensor, "*batch units i"], read_out: Float[Tensor, "*batch units"], scale: float, shift: float
) -> tuple[Float[Tensor, "*batch units i"], Float[Tensor, "*batch units"]]:
    r"""Layers times a scale :math:`\tau`, the first one also times a shift :math:`s`, the read-out divided by it.

    The function is multiplied by :math:`\tau^2`, whatever the shift. Units with weights and read-outs of size 1 get the
    charge :math:`a_i^2 - \lVert w_i \rVert^2 = \tau^2 (s^{-2} - s^2)`.
    """
    return scale * shift * weights, scale / shift * read_out


def outputs(
    inputs: Float[Tensor, "*batch n i"],
    leak: float,
    weights: Float[Tensor, "*batch units i"],
    read_out: Float[Tensor, "*batch units"],
) -> Float[Tensor, "*batch n"]:
    """What networks compute, of many at once."""
    _, active = _hidden(inputs, leak, weights)
    return _read_out(active, read_out)


def gradient(
    inputs: Float[Tensor, "*batch n i"],
    wanted: Float[Tensor, "*batch n"],
    leak: float,
    weights: Float[Tensor, "*batch units i"],
    read_out: Float[Tensor, "*batch units"],
) -> tuple[Float[Tensor, "*batch units i"], Float[Tensor, "*batch units"]]:
    """The gradient of the mean squared error by weights and read-outs, of many networks at once."""
    if leak == 1.0:  # one linear map, so that no unit needs to see the inputs by itself
        error = 2.0 / inputs.shape[-2] * ((inputs @ (weights.mT @ read_out[..., None]))[..., 0] - wanted)
        pull = error[..., None, :] @ inputs
        return pull * read_out[..., None], (pull @ weights.mT)[..., 0, :]
    slopes, active = _hidden(inputs, leak, weights)
    error = 2.0 / inputs.shape[-2] * (_read_out(active, read_out) - wanted)
    # As products of a row, and by the inputs first: the other way round the same takes up to three times as long.
    by_weights = (inputs.mT @ slopes.mul_(error[..., None])).mT * read_out[..., None]
    return by_weights, (error[..., None, :] @ active)[..., 0, :]


def patterns(
    inputs: Float[Tensor, "*batch n i"], weights: Float[Tensor, "*batch units i"]
) -> Bool[Tensor, "*batch n units"]:
    """Which units see a positive sum at which inputs."""
    return inputs @ weights.mT > 0.0


def kernel(
    inputs: Float[Tensor, "*batch n i"],
    leak: float,
    weights: Float[Tensor, "*batch units i"],
    read_out: Float[Tensor, "*batch units"],
) -> Float[Tensor, "*batch n n"]:
    """The neural tangent kernel at some inputs, of all weights and read-outs."""
    slopes, active = _hidden(inputs, leak, weights)
    of_weights = (slopes * read_out.square()[..., None, :]) @ slopes.mT
    return of_weights.mul_(inputs @ inputs.mT).add_(active @ active.mT)


def _hidden(inputs: Tensor, leak: float, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes and activations of the hidden units."""
    sums = inputs @ weights.mT
    slopes = sums.sign().clamp_(min=leak)
    return slopes, sums * slopes


def _read_out(active: Tensor, read_out: Tensor) -> Tensor:
    found: Tensor = (read_out[..., None, :] @ active.mT)[..., 0, :]
    return found
