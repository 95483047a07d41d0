r"""Synaptic saliency: the derivative of a function of the weights, times the weights (Tanaka et al. 2020).

Of a chain of layers with rectifiers what comes into a hidden unit, its bias included, is as much as what leaves it: a
factor on one side and its inverse on the other change nothing, which is the rescale symmetry of ``lmc_lib.charges``.
"""

__all__ = ["Objective", "gradient", "gradient_flow", "mean_loss", "saliency", "synaptic_flow"]

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from lmc_lib.data import Split
from lmc_lib.state import State, apply, cast, fitted, real

Objective = Callable[[State], Tensor]

_TEMPERATURE = 200.0

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def synaptic_flow(network: nn.Module, shape: Sequence[int]) -> Objective:
    r"""The sum of the outputs for an input of ones and the absolute values of all weights, the objective of SynFlow.

    Of a chain of layers with rectifiers and no biases it is :math:`1^T \prod_l |\theta_l|\, 1`, the sum over all paths
    of the product of the absolute weights on it. No data enter.

    Args:
        network: the architecture, run in evaluation mode.
        shape: that of one input.
    """
    evaluated, ones = _evaluated(network), torch.ones(1, *shape, dtype=torch.float64)

    def objective(state: State) -> Tensor:
        absolute = {name: value.abs() for name, value in state.items()}
        outputs: Tensor = apply(evaluated, absolute, ones).sum()
        return outputs

    return objective


def mean_loss(network: nn.Module, batch: Split, *, temperature: float = 1.0) -> Objective:
    """The mean cross-entropy of a batch, in nats, with the network in evaluation mode.

    Args:
        network: the architecture.
        batch: the examples.
        temperature: what the logits are divided by.
    """
    evaluated = _evaluated(network)
    inputs = fitted(batch.inputs, evaluated.state_dict())
    return lambda state: nn.functional.cross_entropy(apply(evaluated, state, inputs) / temperature, batch.labels)


def gradient_flow(network: nn.Module, batch: Split) -> Objective:
    r"""Half the squared length of the gradient of the mean loss by the weights that are not zero.

    Its derivative is :math:`H g`, with the Hessian :math:`H`, so that its saliency is the score of GraSP (Wang et al.
    2020). As in their code logits are divided by 200. Biases have no part in it.
    """
    loss = mean_loss(network, batch, temperature=_TEMPERATURE)

    def objective(state: State) -> Tensor:
        weights = [value for value in real(state).values() if value.dim() > 1]
        slopes = torch.autograd.grad(loss(state), weights, create_graph=True)
        squares = [slope[weight != 0].square().sum() for slope, weight in zip(slopes, weights, strict=True)]
        return 0.5 * torch.stack(squares).sum()

    return objective


def gradient(objective: Objective, state: State) -> State:
    """The derivative of an objective by all weights, in float64; zero where it does not depend on them.

    The statistics of batch normalisation are no weights: they stay as they are.
    """
    exact = cast(state, torch.float64)
    leaves = {name: value.detach().requires_grad_() for name, value in exact.items() if not name.endswith(_STATISTICS)}
    value = objective(exact | leaves)
    slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, slopes, strict=True))


def saliency(objective: Objective, state: State) -> State:
    r"""The synaptic saliency of each weight, :math:`S = \partial R / \partial \theta \odot \theta`.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 1, bias=False))
        >>> saliency(synaptic_flow(network, [2]), {"0.weight": torch.tensor([[-3.0, 2.0]])})["0.weight"].tolist()
        [[3.0, 2.0]]
    """
    slopes = gradient(objective, state)
    return {name: slope * state[name].double() for name, slope in slopes.items()}


@lru_cache(maxsize=1)
def _evaluated(network: nn.Module) -> nn.Module:
    """A copy that is run with weights of others; the last one is kept, since to copy takes longer than to run."""
    return copy.deepcopy(network).double().eval()
