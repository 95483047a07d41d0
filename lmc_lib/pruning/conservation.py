r"""Whether synaptic saliency is conserved, by units and by cuts (Tanaka et al. 2020).

Where a function :math:`R` of the outputs is all that is derived, the saliency that comes into a hidden unit with a
rectifier, its bias included, is what leaves it. That is algebra: a rectifier is homogeneous, so a factor on what comes
in and its inverse on what leaves change nothing, and :math:`R` has no slope along this rescale symmetry. So all cuts
have equal sums, if biases are counted with them.

Batch normalisation in evaluation mode is a factor and a shift. With fresh statistics, of mean 0, the shift is the bias
of a unit, and the factor has the same saliency as all weights that come into it.
"""

__all__ = ["cut_totals", "cuts", "imbalances", "with_shortcut_factors"]

import copy
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib import charges
from lmc_lib.charges import Charge
from lmc_lib.pruning.objectives import Objective, gradient
from lmc_lib.state import State, cast


def imbalances(network: nn.Module, objective: Objective, state: State) -> Float[Tensor, " layers"]:
    """How far the saliency that comes into hidden units is from what leaves them, one number a hidden layer.

    It is the sum over units of the absolute differences, by that of the absolute saliencies of all their weights and
    biases; NaN where these are zero, as in a layer whose units are silent for all examples.

    Args:
        network: a chain of layers, as :func:`lmc_lib.charges.of_chain` takes it. The shift of batch normalisation is a
            bias, and what comes into a unit are the weights before it.
        objective: the function whose saliency it is.
        state: the weights.
    """
    weights, slopes = cast(state, torch.float64), gradient(objective, state)
    found = []
    for charge in _of_units(network):
        along = charges.generator(charge, weights)
        differences = charges.inner(charge, along, slopes)
        sizes = torch.stack([(weights[name] * slopes[name]).abs().sum() for name, _, _ in charge.terms])
        found.append(differences.abs().sum() / sizes.sum())
    return torch.stack(found)


def cuts(network: nn.Module) -> list[tuple[str, ...]]:
    """The cuts of a network between its inputs and its outputs: sets of layers of which every path takes one.

    Each layer of a chain is a cut. In a residual block there are two, its first and its second layer, each with the
    shortcut around them.

    Args:
        network: a ``nn.Sequential`` of layers and residual blocks, in which each shortcut has weights
            (:func:`with_shortcut_factors`).

    Returns:
        For each cut, from the inputs on, the names of its weights; a shortcut's come last.
    """
    found = []
    for place, part in network.named_children():
        names = [f"{place}.{name}" for name, value in part.named_parameters() if value.dim() > 1]
        around = tuple(name for name in names if name.startswith(f"{place}.shortcut."))
        found += [(name, *around) for name in names if name not in around]
    return found


def cut_totals(network: nn.Module, scores: State, *, biases: bool = True) -> Float[Tensor, " cuts"]:
    """The sum of the saliencies of each cut, from the inputs on.

    Args:
        network: the architecture, as :func:`cuts` takes it.
        scores: the saliencies of all weights and biases, as :func:`~lmc_lib.pruning.saliency` gives them.
        biases: whether the biases of a cut and of all behind it are counted with its weights, those of batch
            normalisation too: all that comes in from there on, which is conserved. Otherwise weights alone are.
    """
    sums = {name: score.sum() for name, score in scores.items()}
    order = [name for name, _ in network.named_parameters()]
    found = []
    for cut in cuts(network):
        behind = [name for name in order[order.index(cut[0]) :] if biases and name.endswith("bias")]
        found.append(torch.stack([sums[name] for name in (*cut, *behind)]).sum())
    return torch.stack(found)


def with_shortcut_factors(network: nn.Module) -> nn.Module:
    """A copy in which each residual block without weights on its shortcut has a factor of 1 there.

    So what takes the shortcut has a saliency; the authors' code has one a channel. Networks that are pruned have none.
    """
    changed = copy.deepcopy(network)
    for path in [path for path, layer in changed.named_modules() if isinstance(layer, nn.Identity)]:
        if path.endswith(".shortcut"):
            changed.set_submodule(path, _Factor())
    return changed


class _Factor(nn.Module):
    """Multiplies all channels by one weight, which is 1 as it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def _of_units(network: nn.Module) -> list[Charge]:
    """The rescale symmetries of hidden units, of the weights of a layer and not of the factor of its normalisation."""
    found = charges.of_chain(network)
    units = [found[0]] if found[0].family == "rescale" else []
    for before, charge in pairwise(found):
        if charge.family == "rescale":
            into = before.terms if before.family == "scale" else charge.terms[:1]
            units.append(Charge("rescale", (*into, *charge.terms[1:])))
    return units
