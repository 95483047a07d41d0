r"""RMSProp on the directions of weights whose lengths are fixed: a twin without the freedom of scale.

What is divided by the root of a running mean is the step of a whole unit, not of each weight, as lengths are one number
a unit.
"""

__all__ = ["OnSphere", "RMSProp", "gradient", "on_sphere"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.charges.laws import SGD
from lmc_lib.charges.symmetries import Charge, value
from lmc_lib.state import State


@dataclass(frozen=True)
class RMSProp:
    r"""Steps that are divided by the root of a running mean of squared gradients, one for all weights of a unit.

    Attributes:
        base: what is divided, a number or one for each unit.
        forgetting: the share of the mean that each update replaces.
        mean: the running mean of :math:`|\hat g|^2` by unit, before the gradient of the update that it divides.
        told: what the mean is made of in place of the squared gradients, if anything.
    """

    base: float | Float[Tensor, " units"]
    forgetting: float
    mean: Float[Tensor, " units"]
    told: Float[Tensor, " units"] | None = None

    @classmethod
    def of(cls, sgd: SGD, lengths: Float[Tensor, " units"]) -> "RMSProp":
        r"""The one that SGD is: base :math:`\sqrt{2 \eta \lambda}` and forgetting :math:`4 \eta \lambda`.

        Args:
            sgd: the rule of the updates.
            lengths: the squares :math:`|w|^2` at the start, of which its mean begins; of zeros it begins as torch's.
        """
        return cls(
            (2.0 * sgd.rate * sgd.decay) ** 0.5,
            4.0 * sgd.rate * sgd.decay,
            2.0 * sgd.decay / sgd.rate * lengths.square(),
        )

    @classmethod
    def constant(cls, steps: Float[Tensor, " units"]) -> "RMSProp":
        """The one that learns nothing of the gradients and keeps these steps, for controls."""
        return cls(steps, 0.0, torch.ones_like(steps))

    def scheduled(self, squares: Float[Tensor, " units"]) -> "RMSProp":
        """The one that is told of these squares at every update and sees no gradient, for controls: a schedule."""
        return replace(self, told=squares)

    @property
    def steps(self) -> Float[Tensor, " units"]:
        """The steps that it takes now."""
        steps: Tensor = self.base / self.mean.sqrt()
        return steps

    def after(self, squares: Float[Tensor, " units"]) -> "RMSProp":
        """What it is after an update with these squared gradients."""
        newest = squares if self.told is None else self.told
        return replace(self, mean=(1.0 - self.forgetting) * self.mean + self.forgetting * newest)

    def along(self, squares: Float[Tensor, "updates units"]) -> Float[Tensor, "updates units"]:
        """The steps that it takes along given gradients, which do not depend on them."""
        now, found = self, []
        for each in squares:
            found.append(now.steps)
            now = now.after(each)
        return torch.stack(found)


def on_sphere(charges: Sequence[Charge], state: State) -> State:
    """A state whose weights with a scale charge have the length 1 in each unit, with the same directions."""
    return state | {
        name: state[name] / _along(value(each, state).sqrt(), state[name]) for each in charges for name in _names(each)
    }


class OnSphere:
    """The update rule of directions: weights with a scale charge keep the length 1, and step as RMSProp says.

    All others learn by SGD with weight decay. Called with parameters that have gradients and the rate, it changes the
    parameters in place and appends what it stepped to ``steps``. A direction moves against its gradient
    and is brought back to length 1.

    Args:
        charges: the scale charges of the network.
        rmsprop: the steps, their units in the order of the charges.
        decay: weight decay of the other weights.
    """

    def __init__(self, charges: Sequence[Charge], rmsprop: RMSProp, decay: float) -> None:
        self.names = [name for each in charges for name in _names(each)]
        self.rmsprop = rmsprop
        self.decay = decay
        self.steps: list[Float[Tensor, " units"]] = []

    @torch.no_grad()
    def __call__(self, parameters: Mapping[str, nn.Parameter], rate: float) -> None:
        """Makes one update."""
        gradients = {name: gradient(each) for name, each in parameters.items()}
        steps = self.rmsprop.steps
        self.steps.append(steps)
        squares = [gradients[name].flatten(1).square().sum(1) for name in self.names]
        parts = torch.split(steps, [len(each) for each in squares])
        self.rmsprop = self.rmsprop.after(torch.cat(squares))
        sizes = dict(zip(self.names, parts, strict=True))
        for name, each in parameters.items():
            if name in sizes:
                each.sub_(_along(sizes[name], each) * gradients[name])
                each.div_(_along(each.flatten(1).norm(dim=1), each))
            else:
                each.sub_(rate * (gradients[name] + self.decay * each))


def _names(charge: Charge) -> list[str]:
    return [name for name, _, _ in charge.terms]


def gradient(parameter: nn.Parameter) -> Tensor:
    """That of a parameter which has one, as in a rule of training."""
    assert parameter.grad is not None
    return parameter.grad


def _along(units: Tensor, weights: Tensor) -> Tensor:
    """A number a unit in a shape in which it multiplies the unit's weights."""
    return units.view(-1, *(1 for _ in weights.shape[1:]))
