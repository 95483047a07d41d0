r"""Continuous symmetries of a chain of layers, and the charge that belongs to each.

A symmetry moves the weights along its generator :math:`\xi(\theta)` and leaves the loss as it is, so that the gradient
has no part along it: :math:`\langle \xi(\theta), g \rangle = 0`. Here generators are constant or linear in the weights,
and the charge is :math:`\langle \xi(\theta), \theta \rangle` (Kunin et al. 2021).
"""

__all__ = [
    "FAMILIES", "Charge", "asymmetric", "generator", "inhomogeneous", "inner", "of_chain", "value", "with_epsilon",
]  # fmt: skip

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmc_lib.state import State

FAMILIES = ("translation", "scale", "rescale")


@dataclass(frozen=True)
class Charge:
    r"""The charges of one layer, one a unit.

    Attributes:
        family: ``"translation"``: of weights whose common shift changes nothing, :math:`\sum_i \theta_i`; ``"scale"``:
            of weights whose common factor changes nothing, :math:`\sum_i \theta_i^2`; ``"rescale"``: of weights into
            and out of a unit, where a factor on one side undoes that on the other,
            :math:`\sum_{in} \theta_i^2 - \sum_{out} \theta_i^2`.
        terms: the name of a parameter, the axis that counts the units (None if all of it belongs to one), and its sign.
    """

    family: str
    terms: tuple[tuple[str, int | None, int], ...]

    @property
    def degree(self) -> int:
        """1 where the charge is linear in the weights, 2 where it is quadratic."""
        return 1 if self.family == "translation" else 2


def of_chain(network: nn.Module) -> list[Charge]:
    """Finds the charges of a chain of layers that ends with the logits of a softmax.

    A linear or convolutional layer behind which batch normalisation follows has a scale charge for each of its units. A
    hidden unit has a rescale charge between what is trained just before its rectifier, a normalisation's factor and
    shift if there is one, and the weights of the next layer. The last layer has a translation charge for each of its
    inputs, and one for its biases.

    Args:
        network: a ``nn.Sequential`` whose hidden layers end with a positively homogeneous function such as a rectifier.

    Raises:
        ValueError: if it is no chain, or does not end with a linear layer.
    """
    layers = [(name, each) for name, each in network.named_children() if [*each.parameters()]]
    nested = any([*each.children()] for _, each in layers)
    if not isinstance(network, nn.Sequential) or nested or not layers or not isinstance(layers[-1][1], nn.Linear):
        raise ValueError(f"charges are those of a chain of single layers with a linear one at its end, not {network}")
    found = [each for pair in pairwise(layers) for each in _between(*pair)]
    last = layers[-1][0]
    shifts = ((f"{last}.weight", 1, 1), (f"{last}.bias", None, 1))
    return [*found, *(Charge("translation", (each,)) for each in shifts)]


def _between(before: tuple[str, nn.Module], behind: tuple[str, nn.Module]) -> Iterator[Charge]:
    """The charges of two layers that follow each other."""
    (name, layer), (following, other) = before, behind
    if isinstance(other, _BatchNorm):
        yield Charge("scale", ((f"{name}.weight", 0, 1),))
    else:
        into = tuple((f"{name}.{each}", 0, 1) for each, _ in layer.named_parameters())
        yield Charge("rescale", (*into, (f"{following}.weight", 1, -1)))


def generator(charge: Charge, state: State) -> State:
    """The direction in which the symmetry moves the weights, for the parameters that it concerns."""
    if charge.degree == 1:
        return {name: torch.ones_like(state[name]) for name, _, _ in charge.terms}
    return {name: sign * state[name] for name, _, sign in charge.terms}


def inner(charge: Charge, one: State, other: State) -> Float[Tensor, " units"]:
    """The inner product of two states over the weights of each unit."""
    return torch.stack([_summed(one[name] * other[name], axis) for name, axis, _ in charge.terms]).sum(0)


def _summed(values: Tensor, axis: int | None) -> Float[Tensor, " units"]:
    rows = values.unsqueeze(0) if axis is None else values.movedim(axis, 0)
    return rows.reshape(len(rows), -1).sum(1)


def value(charge: Charge, state: State) -> Float[Tensor, " units"]:
    r"""The charge of each unit, :math:`\langle \xi(\theta), \theta \rangle`."""
    return inner(charge, generator(charge, state), state)


def with_epsilon(network: nn.Module, epsilon: float) -> nn.Module:
    """A copy whose batch normalisation adds this number to variances; the scale symmetry is exact in its limit to 0."""
    changed = copy.deepcopy(network)
    for layer in changed.modules():
        if isinstance(layer, _BatchNorm):
            layer.eps = epsilon
    return changed


def asymmetric(network: nn.Module) -> nn.Module:
    """A copy of a chain with the same weights that has none of the symmetries, for controls.

    Batch normalisation adds 0.1 to variances, so that the scale of weights counts. GELU stands in place of rectifiers,
    so that a factor no longer passes through. And the softmax has one more class, whose logit is always 0, so that a
    common shift of the others counts.
    """
    layers = [nn.GELU() if isinstance(layer, nn.ReLU) else layer for layer in network.children()]
    return nn.Sequential(*(with_epsilon(layer, 0.1) for layer in layers), nn.ZeroPad1d((0, 1)))


def inhomogeneous(network: nn.Module) -> nn.Module:
    r"""A copy of a network with softsign, :math:`x / (1 + |x|)`, in place of rectifiers, for controls.

    It is monotone and leaves zero at zero, like a rectifier, and is far from proportional for large numbers, where GELU
    is proportional to rounding and tanh has no slope left.
    """
    changed = copy.deepcopy(network)
    for path in [path for path, layer in changed.named_modules() if isinstance(layer, nn.ReLU)]:
        changed.set_submodule(path, nn.Softsign())
    return changed
