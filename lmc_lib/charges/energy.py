r"""Energy conserving descent, a motion of weights without friction that dwells where the loss is low.

Its version of unit speed moves weights :math:`\theta` along the velocity :math:`u` of length 1 by

.. math:: \dot\theta = u, \qquad \dot u = -(1 - u u^\top) \nabla U,
    \qquad U = \frac{\eta}{2} \frac{d}{d - 1} \ln(F - F_0),

with :math:`d` weights and the loss :math:`F`. That is a frictionless particle whose energy is :math:`|\Pi| e^U`, with
the momentum :math:`\Pi` along :math:`u`, by another clock; and a ray of light where the index of refraction is
:math:`e^{-U}`. Along symmetries of the loss, which turn weights, it conserves angular momenta,
:math:`e^{-U} \langle u, \xi \rangle`.

Sources: De Luca and Silverstein, 2022 (arXiv 2201.11137); De Luca, Gatti and Silverstein, 2023 (arXiv 2306.00352). The
steps are those of the code beside Silverstein, Kunin and Shyam, 2026 (arXiv 2601.22257), in the repository
evasilverstein/symmetry-breaking-files, but for the product :math:`u^\top \nabla U`, which is that of all weights of a
network, as in the equation, and there that of each array of weights.
"""

__all__ = ["ECD", "Conserving"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.charges.sphere import gradient
from lmc_lib.state import State
from lmc_lib.values import round_to_grid

# Losses of networks in a stack, from their weights and the number of updates so far.
Losses = Callable[[State, int], Float[Tensor, " networks"]]

# Squares of velocities on this grid add up without rounding in float64 while their sum is below 32, and so do products
# with gradients on a grid of about 20 binary digits.
_VELOCITY_BITS = 24


@dataclass(frozen=True)
class ECD:
    r"""What defines an energy conserving descent, apart from its rate.

    Attributes:
        concentration: :math:`\eta`: the larger, the more of the motion happens where the loss is low.
        floor: :math:`F_0`, below every loss that is met.
    """

    concentration: float = 100.0
    floor: float = 0.0


class Conserving:
    r"""The update rule of a stack of networks, each with a velocity of its own.

    Called with parameters that have gradients and the rate :math:`\rho`, it changes the parameters in place. With
    :math:`\Delta = \rho / \sqrt\eta` the velocity is brought to length 1, then :math:`u \leftarrow u - \Delta
    (1 - u u^\top) \nabla U`, then :math:`\theta \leftarrow \theta + \Delta u`. At the start it points down the
    gradient.

    Args:
        ecd: what defines the descent.
        losses: of all networks on their next batch; the rule sees them since training asks for them by
            :meth:`losses`.
        bits: gradients and losses are rounded to multiples of ``2 ** -bits``, and velocities to a grid of their own, so
            that updates are the same on every processor; None leaves them as they are.
    """

    def __init__(self, ecd: ECD, losses: Losses, bits: int | None = None) -> None:
        self.ecd = ecd
        self.bits = bits
        self.velocity: Float[Tensor, "networks weights"] | None = None
        self._losses = losses
        self._seen: Float[Tensor, " networks"] | None = None

    def losses(self, state: State, step: int) -> Float[Tensor, " networks"]:
        """The losses, which the next update sees."""
        found = self._losses(state, step)
        self._seen = found.detach().clone()
        return found

    @torch.no_grad()
    def __call__(self, parameters: Mapping[str, nn.Parameter], rate: float) -> None:
        """Makes one update."""
        assert self._seen is not None, "training asks for losses before it updates"
        slope = self._rounded(torch.cat([gradient(each).flatten(1) for each in parameters.values()], 1), self.bits)
        above = self._rounded(self._seen, self.bits) - self.ecd.floor
        velocity = -slope if self.velocity is None else self.velocity
        unit = self._rounded(velocity / _inner(velocity, velocity).sqrt(), _VELOCITY_BITS)
        weights, step = slope.shape[1], rate / math.sqrt(self.ecd.concentration)
        kick = (0.5 * step * self.ecd.concentration * weights / (weights - 1)) / above.unsqueeze(1)
        across = slope - unit * _inner(unit, slope)
        self.velocity = self._rounded(unit - across * kick, _VELOCITY_BITS)
        parts = torch.split(self.velocity * step, [each[0].numel() for each in parameters.values()], 1)
        for each, part in zip(parameters.values(), parts, strict=True):
            each.add_(part.view_as(each))

    def _rounded(self, numbers: Tensor, bits: int | None) -> Tensor:
        return numbers if self.bits is None or bits is None else round_to_grid(numbers, bits)


def _inner(
    one: Float[Tensor, "networks weights"], other: Float[Tensor, "networks weights"]
) -> Float[Tensor, "networks 1"]:
    return (one * other).sum(1, keepdim=True)
