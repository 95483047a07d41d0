r"""Stacks of perceptrons without biases whose last features are normalised or not, and their loss past separation.

A perceptron has rectified hidden layers; what the last of them gives, its features, may be normalised before a linear
classifier :math:`W` makes logits of them. Without normalisation all weights have the same rate, so that the perceptron
is homogeneous. With it, the logits do not change when weights of the hidden layers are multiplied by a number: these
have the rate 0, and those of the classifier the rate 1 (Kunin, Yamamura, Ma, Ganguli 2023).
"""

__all__ = ["NORMS", "descend", "features", "initialise", "log_loss", "logits"]

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.values import round_to_grid

# Weights of a stack of networks, under the numbers of the layers.
State = dict[str, Tensor]

# By which mean and deviation a feature is normalised: none, those of its example, or those of its unit.
NORMS = ("none", "layer", "batch")

# Below so small a loss of one example, as a logarithm, it is that of a plain exponential to the last bit.
_EXPONENTIAL = -40.0
# A deviation below this is none: the feature is 0, also where `like` is silent and an example is not.
_LEAST = 1e-12
# Gradients are rounded to multiples of two to the power of minus this, so that sums of their squares are exact.
_BITS = 20


def initialise(sizes: Sequence[int], *, generator: Generator) -> State:
    r"""Draws weights from :math:`N(0, 2 / n)` for :math:`n` inputs of a layer, under the numbers of the layers.

    Args:
        sizes: numbers of inputs, of units by hidden layer, and of classes.
        generator: draws.
    """
    layers = zip(sizes[1:], sizes[:-1], strict=True)
    return {
        str(place): torch.randn(shape, generator=generator, dtype=torch.float64) * (2.0 / shape[1]) ** 0.5
        for place, shape in enumerate(layers)
    }


def features(
    state: State,
    inputs: Float[Tensor, "*some n inputs"],
    norm: str,
    like: Float[Tensor, "*some m inputs"] | None = None,
) -> Float[Tensor, "*stack n units"]:
    """What the classifiers of a stack of perceptrons see.

    Args:
        state: the weights, which may have axes more in front.
        inputs: the examples, the same for all networks or some for each.
        norm: one of ``NORMS``.
        like: with ``"batch"`` the examples whose means and deviations are taken, those of ``inputs`` if None. A unit
            that says the same of all of them has features of 0.

    Raises:
        ValueError: for another norm.
    """
    found = _hidden(state, inputs)
    if norm == "none":
        return found
    if norm not in NORMS:
        raise ValueError(f"features are normalised by one of {', '.join(NORMS)}, not {norm!r}")
    axis = -1 if norm == "layer" else -2
    base = found if norm == "layer" or like is None else _hidden(state, like)
    centred, deviation = found - base.mean(axis, keepdim=True), base.std(axis, correction=0, keepdim=True)
    return centred / deviation.where(deviation > _LEAST, torch.inf)


def logits(state: State, found: Float[Tensor, "*stack n units"]) -> Float[Tensor, "*stack n classes"]:
    """What the classifiers make of features."""
    return found @ state[str(len(state) - 1)].mT


def log_loss(said: Float[Tensor, "*stack n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, "*stack"]:
    """The logarithm of the mean cross-entropy, exact where that is far below the last digit of 1 too.

    Descending it is gradient descent in a time that runs the slower the smaller the loss is.
    """
    right = F.one_hot(labels, said.shape[-1]).bool()
    apart = said - said[..., torch.arange(len(labels)), labels][..., None]
    below = apart.masked_fill(right, -torch.inf).logsumexp(-1)
    near = torch.logaddexp(below.clamp(min=_EXPONENTIAL), torch.zeros_like(below)).log()  # softplus cuts at 20
    each = torch.where(below < _EXPONENTIAL, below, near)
    return each.logsumexp(-1) - math.log(len(labels))


def descend(
    losses: Callable[[State], Float[Tensor, " stack"]], start: State, *, drop: float, rate: float
) -> Iterator[tuple[State, Float[Tensor, " stack"]]]:
    r"""Gradient descent of a stack of networks on logarithms of losses, each with a rate of its own, without end.

    The rate of a network is :math:`\delta / \lVert g \rVert^2` with its gradient :math:`g`, so that the logarithm of
    its loss falls by :math:`\delta` to first order: gradient flow in a time that the loss tells. It is no larger than a
    bound, which holds where gradients are small.

    Args:
        losses: from the weights to the logarithm of the loss of each network.
        start: the weights, counted by the first axis; unchanged.
        drop: :math:`\delta`, of a natural logarithm.
        rate: the largest rate.

    Yields:
        the weights and the logarithms of the losses, from the start on.
    """
    names, weights = list(start), [each.clone().requires_grad_() for each in start.values()]
    while True:
        found = losses(dict(zip(names, weights, strict=True)))
        yield {name: each.detach() for name, each in zip(names, weights, strict=True)}, found.detach()
        slopes = [round_to_grid(each, _BITS) for each in torch.autograd.grad(found.sum(), weights)]
        squares = torch.stack([each.flatten(1).square().sum(1) for each in slopes]).sum(0)
        rates = (drop / squares).clamp(max=rate)
        weights = [
            (each.detach() - rates[:, None, None] * slope).requires_grad_()
            for each, slope in zip(weights, slopes, strict=True)
        ]


def _hidden(state: State, inputs: Tensor) -> Tensor:
    for place in range(len(state) - 1):
        inputs = (inputs @ state[str(place)].mT).relu()
    return inputs
