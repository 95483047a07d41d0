"""Straight-through estimation: the permutation under which the midpoint of two networks has the lowest loss."""

__all__ = ["straight_through"]

import copy
import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import expected, norms
from lmc_lib.matching.weights import weight_matching
from lmc_lib.state import State, apply, clone, interpolate
from lmc_lib.symmetry import Permutation, PermutationSpec, permute


def straight_through(  # noqa: PLR0913 -- networks, examples and the four numbers of an optimiser
    model: nn.Module,
    spec: PermutationSpec,
    target: State,
    source: State,
    inputs: Tensor,
    labels: Tensor,
    *,
    generator: Generator,
    steps: int = 100,
    batch_size: int = 256,
    lr: float = 0.1,
    momentum: float = 0.9,
) -> Permutation:
    r"""Finds a permutation that lowers the loss at the midpoint (Ainsworth et al. 2023, section 3.3).

    Free weights start at the target. Each step projects them to the nearest permutation of the source, by weight
    matching from the last permutation on, takes the gradient of the cross-entropy at the midpoint of target and
    projection, and moves the free weights by it as if the projection were the identity, with momentum.

    The first projection is plain weight matching. Of all permutations on the way the one with the lowest midpoint loss
    on all examples is returned, so that the loss is never above that of weight matching there.

    Gradients are taken in evaluation mode, but for BatchNorm, which normalises by the batch, as in training: running
    statistics are wrong at a midpoint. For the loss on all examples they are re-estimated by ``norms.reset``.

    Args:
        model: the architecture; unchanged.
        spec: its groups.
        target: weights that stay.
        source: weights to permute; unchanged.
        inputs: examples, in the dtype of the weights.
        labels: class of each example.
        generator: source of the batches and of the orders of groups.
        steps: number of updates of the free weights.
        batch_size: examples an update, and largest number in memory.
        lr: learning rate.
        momentum: as in ``torch.optim.SGD``.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if there are no examples or not one label for each, the loss is not finite, or the free weights
            leave the finite numbers.
    """
    if len(inputs) == 0:
        raise ValueError(f"examples with one label each are needed, got 0 examples and {len(labels)} labels")
    labels = expected.labels(labels, examples=len(inputs))
    network = _with_batch_statistics(model)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    free = clone(target)
    optimiser = torch.optim.SGD([free[name] for name in names], lr=lr, momentum=momentum)
    permutation = best = weight_matching(spec, target, source, generator=generator)
    projected = permute(source, permutation, spec)
    lowest = _midpoint_loss(model, target, projected, inputs, labels, batch_size)
    for _ in range(steps):
        rows = torch.randperm(len(inputs), generator=generator)[:batch_size]
        gradients = _gradients(network, target, projected, names, inputs[rows], labels[rows])
        for name, gradient in zip(names, gradients, strict=True):
            free[name].grad = gradient
        optimiser.step()
        found = weight_matching(spec, free, source, generator=generator, start=permutation)
        if all(torch.equal(found[group], permutation[group]) for group in spec.groups):
            continue
        permutation, projected = found, permute(source, found, spec)
        loss = _midpoint_loss(model, target, projected, inputs, labels, batch_size)
        if loss < lowest:
            best, lowest = permutation, loss
    return best


def _with_batch_statistics(model: nn.Module) -> nn.Module:
    """The network in evaluation mode, but for BatchNorm."""
    network = copy.deepcopy(model).eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    return network


def _gradients(
    network: nn.Module, target: State, projected: State, names: list[str], inputs: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    """The gradient of the midpoint's loss for the named entries of the projection."""
    leaves = {name: projected[name].detach().requires_grad_() for name in names}
    with torch.enable_grad():
        logits = apply(network, interpolate(target, projected | leaves, 0.5), inputs)
        loss = F.cross_entropy(logits, labels)
    # The further names of a layer that stands at several places take no part.
    return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)


def _midpoint_loss(
    model: nn.Module, target: State, projected: State, inputs: Tensor, labels: Tensor, batch_size: int
) -> float:
    """Mean cross-entropy of the midpoint in evaluation mode; the sum over examples runs in float64."""
    midpoint = norms.reset(model, interpolate(target, projected, 0.5), inputs, batch_size=batch_size)
    network = copy.deepcopy(model).eval()
    total = 0.0
    with torch.no_grad():
        for batch, truth in zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True):
            logits = apply(network, midpoint, batch).double()
            total += float(F.cross_entropy(logits, truth, reduction="sum"))
    if not math.isfinite(total):
        raise ValueError(f"the loss at the midpoint is {total}; check the inputs and the weights")
    return total / len(inputs)
