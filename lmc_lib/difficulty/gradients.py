r"""Scores from gradients: of the weights, example by example (GraNd), and of the inputs along a training (VoG).

Gradients are taken in evaluation mode. In training mode BatchNorm mixes the examples of a batch, and an example has no
gradient of its own.
"""

__all__ = ["VOG", "grand", "grand_last_layer", "input_gradients", "vog", "within_classes"]

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.difficulty.moments import Moments
from lmc_lib.difficulty.predictions import check, el2n
from lmc_lib.state import State, apply, fitted, given

# What is followed through a training, by name, from the logits and the class that is looked at.
_FOLLOWED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "probability": lambda logits, classes: logits.softmax(1).gather(1, classes[:, None]),
    "logit": lambda logits, classes: logits.gather(1, classes[:, None]),
    "loss": lambda logits, classes: F.cross_entropy(logits, classes, reduction="none"),
}

# The spread over checkpoints at each pixel, by who takes it so, from the input gradients' moments.
VOG: dict[str, Callable[[Moments], ndarray]] = {
    # Kwok et al. 2024, in their code
    "variance": lambda moments: moments.variance(ddof=1),
    # Agarwal et al. 2022, the root taken of the mean square
    "deviation": lambda moments: np.sqrt(moments.variance(ddof=0)),
    # the same, the root taken of the number of checkpoints alone
    "root_of_count": lambda moments: moments.variance(ddof=0) * np.sqrt(moments.count())[:, None],
}

# Numbers that the inputs and the gradients of a batch hold by default.
_NUMBERS = 2**23

# By name of a linear layer, a tensor for each time it is called.
_Calls = dict[str, list[Tensor]]


def grand(
    network: nn.Module,
    state: State,
    inputs: Shaped[Tensor, "examples ..."],
    labels: Int[Tensor, " rows"],
    *,
    batch_size: int | None = None,
) -> Float[ndarray, " examples"]:
    r"""GraNd: :math:`\lVert \nabla_\theta \mathcal L_i \rVert_2` of each example's loss, over all parameters.

    By ``torch.func``, several examples at once. The gradient of a linear layer is the product of what comes in and of
    the gradient of what goes out, so that its norm follows from theirs and the matrix is never formed: exact, and many
    times faster where layers are wide. Paul et al. (2021) average over networks at an early step: take the mean over
    replicates. In a fresh network the score is mostly the norm of the input.

    Args:
        network: the architecture; unchanged. It runs in evaluation mode.
        state: the weights.
        inputs: one example a row.
        labels: class of each example.
        batch_size: examples at once; each needs the memory of one gradient of all layers that are not linear. If None,
            16 to 1,024, so that inputs and gradients are some eight million numbers.

    Raises:
        ValueError: if a label is not a class, the numbers of examples differ, or a logit is not finite.
    """
    network, inputs = _ready(network, state, inputs)
    with torch.no_grad(), _linear_calls(network, {}) as (_, outputs):
        first = apply(network, state, inputs[:1])
    labels = check(first.expand(len(inputs), -1), labels)
    probes = {path: [torch.zeros_like(each) for each in calls] for path, calls in outputs.items()}
    products = {f"{path}.{entry}".lstrip(".") for path in probes for entry in ("weight", "bias")}
    entries, names = given(network, state), _parameters(network)
    varied = {same[0]: entries[same[0]] for same in names if same[0] not in products}

    def loss(values: State, probes: _Calls, example: Tensor, label: Tensor) -> tuple[Tensor, tuple[_Calls, Tensor]]:
        tied = {name: values[same[0]] for same in names if same[0] in values for name in same}
        with _linear_calls(network, probes) as (seen, _):
            logits = apply(network, entries | tied, example[None])
        return F.cross_entropy(logits.double(), label[None]), (seen, logits[0])

    numbers = inputs[0].numel() + sum(each.numel() for each in varied.values())
    batch_size = batch_size or min(max(_NUMBERS // numbers, 16), 1024)
    gradients = vmap(grad(loss, argnums=(0, 1), has_aux=True), in_dims=(None, None, 0, 0))
    squares = []
    for batch, classes in zip(
        torch.split(inputs, batch_size), torch.split(labels.to(inputs.device), batch_size), strict=True
    ):
        with warnings.catch_warnings():
            # Some operations have no rule for several examples yet; torch loops over the examples, and says so.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            (direct, outgoing), (incoming, logits) = gradients(varied, probes, batch, classes)
        check(logits, classes)
        parts = [torch.linalg.vector_norm(each.flatten(1), dim=1).double().square() for each in direct.values()]
        parts += [_square_of_linear(network.get_submodule(path), incoming[path], outgoing[path]) for path in probes]
        squares.append(torch.stack(parts).sum(0))
    result: ndarray = torch.cat(squares).sqrt().cpu().numpy()
    return result


def grand_last_layer(
    network: nn.Module,
    state: State,
    inputs: Shaped[Tensor, "examples ..."],
    labels: Int[Tensor, " rows"],
    *,
    layer: str,
    batch_size: int = 1024,
) -> Float[ndarray, " examples"]:
    r"""An approximation of GraNd: the part of the gradient's norm that belongs to the last layer.

    In closed form :math:`\lVert p - e_y \rVert \cdot \lVert [h, 1] \rVert`, with what comes into the layer :math:`h`,
    and the 1 if it has a bias. It is never above ``grand``, and ranks examples otherwise.

    Args:
        network: the architecture; unchanged. It runs in evaluation mode.
        state: the weights.
        inputs: one example a row.
        labels: class of each example.
        layer: name of the linear layer whose output are the logits, as ``"2"`` or ``"head.linear"``.
        batch_size: examples at once.

    Raises:
        ValueError: if the layer is not linear or its output are not the logits, and as for ``grand``.
    """
    network, inputs = _ready(network, state, inputs)
    last = dict(network.named_modules()).get(layer)
    if not isinstance(last, nn.Linear):
        linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
        raise ValueError(f"{layer!r} is no linear layer of the network; those are {', '.join(linear) or 'none'}")
    features, logits = [], []
    with torch.no_grad():
        for batch in torch.split(inputs, batch_size):
            with _linear_calls(network, {}, only=layer) as (incoming, outgoing):
                logits.append(apply(network, state, batch).double())
            if len(outgoing[layer]) != 1 or not torch.equal(outgoing[layer][0].double(), logits[-1]):
                raise ValueError(f"the output of {layer!r} are not the logits, so it is not the last layer")
            features.append(incoming[layer][0].double())
    squares = torch.cat(features).square().sum(1) + (last.bias is not None)
    result: ndarray = el2n(torch.cat(logits), labels) * squares.sqrt().cpu().numpy()
    return result


def input_gradients(
    network: nn.Module,
    state: State,
    inputs: Float[Tensor, "examples channels *pixels"],
    classes: Int[Tensor, " rows"],
    *,
    of: str = "probability",
    batch_size: int = 256,
) -> Float[ndarray, "examples places"]:
    """Gradients by the inputs at one checkpoint, averaged over the channels of a pixel: what VoG follows.

    Args:
        network: the architecture; unchanged. It runs in evaluation mode.
        state: the weights of a checkpoint.
        inputs: one example a row; inputs without pixels are taken as they are.
        classes: the class that is looked at: the labels, or what the network predicts.
        of: ``"probability"`` of the class (Kwok et al. 2024), its ``"logit"`` (Agarwal et al. 2022), or its ``"loss"``.
        batch_size: examples at once.

    Raises:
        ValueError: if ``of`` is unknown, the inputs are not floating, a class is not one, or a logit is not finite.
    """
    if of not in _FOLLOWED:
        raise ValueError(f"unknown quantity {of!r} to follow; there are {', '.join(_FOLLOWED)}")
    network, inputs = _ready(network, state, inputs)
    if not inputs.is_floating_point():
        raise ValueError("inputs that are no floating numbers, such as indices of tokens, have no gradients")
    if len(classes) != len(inputs):
        raise ValueError(f"every example needs one class, got {len(inputs)} examples and {len(classes)} classes")
    parts = []
    for part, looked_at in zip(
        torch.split(inputs, batch_size), torch.split(classes.to(inputs.device), batch_size), strict=True
    ):
        batch = part.detach().requires_grad_()
        logits = apply(network, state, batch).double()
        check(logits, looked_at)
        # In evaluation an example's logits depend on its own input alone, so the sum's gradient is that of each.
        (gradient,) = torch.autograd.grad(_FOLLOWED[of](logits, looked_at).sum(), batch)
        parts.append((gradient.mean(1) if gradient.dim() > 2 else gradient).flatten(1).double().cpu())
    result: ndarray = torch.cat(parts).numpy()
    return result


def vog(gradients: Moments, spread: str = "variance") -> Float[ndarray, " examples"]:
    r"""The variance of gradients: how far the input gradients of an example spread over a training.

    With gradients :math:`S_t` at :math:`K` checkpoints and their mean :math:`\mu`, the mean over pixels of
    :math:`\sum_t (S_t - \mu)^2 / (K - 1)`. Agarwal et al. (2022) take a root, and then :func:`within_classes`.

    Args:
        gradients: the moments over checkpoints of ``input_gradients``: ``Moments(examples, pixels)``, updated once a
            checkpoint. They need 16 bytes a pixel of each example; take the examples in parts if that is much.
        spread: ``"variance"``; ``"deviation"``, the root of :math:`\sum_t (S_t - \mu)^2 / K`; or ``"root_of_count"``,
            :math:`\sqrt{1 / K} \sum_t (S_t - \mu)^2`, as the formula of the paper is also read.

    Raises:
        ValueError: if the spread is unknown, or there is a single checkpoint.
    """
    if spread not in VOG:
        raise ValueError(f"unknown spread {spread!r}; there are {', '.join(VOG)}")
    result: ndarray = VOG[spread](gradients).mean(1)
    return result


def within_classes(
    values: Float[ndarray, " examples"], labels: Int[Tensor, " examples"]
) -> Float[ndarray, " examples"]:
    """A score less its mean over the examples of the same class, over their standard deviation as a population.

    Where all examples of a class have one value, or there is a single one, no scale exists, and the result is NaN.
    """
    result = np.full(len(values), np.nan)
    classes = labels.cpu().numpy()
    for each in np.unique(classes):
        own = values[classes == each]
        if np.ptp(own) > 0.0:
            result[classes == each] = (own - own.mean()) / own.std()
    return result


def _ready(network: nn.Module, state: State, inputs: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy of the network in evaluation mode, and the inputs where and as its weights are."""
    if len(inputs) == 0:
        raise ValueError("there are no examples to take gradients of")
    return copy.deepcopy(network).eval(), fitted(inputs, state)


def _parameters(network: nn.Module) -> list[list[str]]:
    """The names of each parameter: several if different layers share it."""
    names = defaultdict(list)
    for name, value in given(network, network.state_dict(keep_vars=True)).items():
        if isinstance(value, nn.Parameter):
            names[id(value)].append(name)
    return list(names.values())


@contextmanager
def _linear_calls(
    network: nn.Module, probes: Mapping[str, list[Tensor]], *, only: str | None = None
) -> Iterator[tuple[_Calls, _Calls]]:
    """Notes what comes into linear layers and what goes out, call by call, and adds probes to what goes out.

    Layers that share a weight with another, or are of a kind of their own, are left out: their gradient is no product.
    """
    alone = {same[0] for same in _parameters(network) if len(same) == 1}
    incoming: _Calls = {}
    outgoing: _Calls = {}

    def hook_of(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            call = len(incoming.setdefault(path, []))
            incoming[path].append(arguments[0])
            outgoing.setdefault(path, []).append(output)
            return output + probes[path][call] if probes else output

        return hook

    chosen = [
        (path, module)
        for path, module in network.named_modules()
        if type(module) is nn.Linear
        and (path == only if only else {f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters()} <= alone)
    ]
    handles = [module.register_forward_hook(hook_of(path)) for path, module in chosen]
    try:
        yield incoming, outgoing
    finally:
        for handle in handles:
            handle.remove()


def _square_of_linear(layer: nn.Module, incoming: list[Tensor], outgoing: list[Tensor]) -> Tensor:
    r"""The squared norm of each example's gradient of a linear layer, over all its calls and positions.

    :math:`\lVert \sum_u \delta_u a_u^\top \rVert^2 = \sum_{u, v} (a_u \cdot a_v)(\delta_u \cdot \delta_v)`.
    """
    a = torch.cat([each.reshape(len(each), -1, each.shape[-1]) for each in incoming], 1).double()
    d = torch.cat([each.reshape(len(each), -1, each.shape[-1]) for each in outgoing], 1).double()
    square = ((a @ a.mT) * (d @ d.mT)).sum((1, 2))
    return square if layer.bias is None else square + d.sum(1).square().sum(1)
