r"""Whether synaptic saliency is conserved, by units and by layers (Tanaka et al. 2020).

Where a function :math:`R` of the outputs is all that is derived, the saliency that comes into a hidden unit with a
rectifier, its bias included, is what leaves it. That is algebra: a rectifier is homogeneous, so a factor on what comes
in and its inverse on what leaves change nothing, and :math:`R` has no slope along this rescale symmetry. That layers
have equal sums follows from it, if biases are counted with them.
"""

__all__ = ["imbalances", "layer_totals"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib import charges
from lmc_lib.pruning.objectives import Objective, gradient, saliency
from lmc_lib.state import State, cast


def imbalances(network: nn.Module, objective: Objective, state: State) -> Float[Tensor, " layers"]:
    """How far the saliency that comes into hidden units is from what leaves them, one number a hidden layer.

    It is the sum over units of the absolute differences, by that of the absolute saliencies of all their weights and
    biases; NaN where these are zero, as in a layer whose units are silent for all examples.

    Args:
        network: a chain of layers, as :func:`lmc_lib.charges.of_chain` takes it.
        objective: the function whose saliency it is.
        state: the weights.
    """
    weights, slopes = cast(state, torch.float64), gradient(objective, state)
    found = []
    for charge in (each for each in charges.of_chain(network) if each.family == "rescale"):
        along = charges.generator(charge, weights)
        differences = charges.gram(charge, [along, slopes])[:, 0, 1]
        sizes = torch.stack([(weights[name] * slopes[name]).abs().sum() for name, _, _ in charge.terms])
        found.append(differences.abs().sum() / sizes.sum())
    return torch.stack(found)


def layer_totals(objective: Objective, state: State, *, biases: bool = True) -> Float[Tensor, " layers"]:
    """The sum of the saliencies of each layer of a chain, from the first to the last.

    Args:
        objective: the function whose saliency it is.
        state: the weights, in the order of the layers: of each its matrix, and its biases behind it.
        biases: whether the biases of a layer and of all behind it are counted with its weights: all that comes in from
            there on, which is conserved. Otherwise weights alone are.
    """
    saliencies = saliency(objective, state).values()
    totals = torch.stack([each.sum() for each in saliencies if each.dim() > 1])
    if not biases:
        return totals
    own = torch.stack([each.sum() for each in saliencies if each.dim() == 1])
    return totals + own.flip(0).cumsum(0).flip(0)
