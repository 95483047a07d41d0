"""The neural tangent kernel of a network, and how far two of them are apart."""

__all__ = ["kernel_distance", "tangent_kernel"]

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.state import State, apply


def tangent_kernel(model: nn.Module, state: State, inputs: Tensor) -> Float[Tensor, "examples examples"]:
    r"""The neural tangent kernel :math:`\sum_c \nabla z_c(x) \cdot \nabla z_c(x')` of inputs, by logits :math:`z_c`.

    Gradients are those for all weights, in evaluation mode; products are summed in float64.

    Args:
        model: the architecture; unchanged.
        state: the weights, all of them floating numbers.
        inputs: the examples, in the dtype of the weights.
    """
    network = copy.deepcopy(model).eval()

    def logits(weights: State, example: Tensor) -> Tensor:
        found: Tensor = apply(network, weights, example[None])[0]
        return found

    weights = {name: value.detach() for name, value in state.items()}
    slopes = torch.vmap(torch.func.jacrev(logits), (None, 0))(weights, inputs)
    rows = [each.flatten(2).double() for each in slopes.values()]
    return torch.stack([torch.einsum("icw,jcw->ij", each, each) for each in rows]).sum(0)


def kernel_distance(first: Float[Tensor, "n n"], second: Float[Tensor, "n n"]) -> float:
    """1 less the cosine of the angle between two kernels: 0 if nothing but the scale has changed.

    Example:
        >>> kernel_distance(torch.eye(2), 3.0 * torch.eye(2)), kernel_distance(torch.eye(2), torch.eye(2)[[1, 0]])
        (0.0, 1.0)
    """
    cosine = float((first * second).sum() / (first.norm() * second.norm()))
    return max(0.0, 1.0 - cosine)  # by rounding a cosine can be above 1
