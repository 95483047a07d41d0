"""The lower layers of one network, an affine map, and the upper layers of another (Lenc and Vedaldi 2015).

A *stitch* is an affine map from what a layer of one network gives to what a layer of another one gives, as a state with
the entries ``weight`` and ``bias``: those of a linear layer, or, of feature maps of shape ``(N, C, H, W)``, those of a
1x1 convolution, which is the same map at every pixel. Both networks stay as they are.
"""

__all__ = ["cut", "join", "least_squares", "penalty", "through", "train_stitches"]

import copy
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import connectivity, expected, state, training
from lmc_lib.connectivity import Scores
from lmc_lib.data import Split
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State

# Directions in which a layer varies by less than this share of its largest are rounding.
_RANK = 1e-10


def cut(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """Cuts a network behind a layer, so that the second part of what the first gives is what the network gives.

    Both parts share the weights of the network and keep their names, so that a state of the network is one of each part
    (:func:`lmc_lib.state.apply`).

    Args:
        network: the network, of one input.
        layer: the name of a layer, as ``named_modules`` has it.

    Returns:
        The layers up to this one, and those behind it.

    Raises:
        ValueError: if there is no such layer, it runs never or several times, something goes past it to the layers
            behind, as a shortcut does, or the network cannot be traced.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> bottom, top = cut(network, "1")
        >>> sorted(bottom.state_dict()), sorted(top.state_dict())
        (['0.bias', '0.weight'], ['2.bias', '2.weight'])
    """
    names = [name for name, _ in network.named_modules() if name]
    if layer not in names:
        raise ValueError(f"{type(network).__name__} has no layer {layer!r} to cut behind; it has {', '.join(names)}")
    try:
        graph = _Tracer(layer).trace(network)
    except Exception as error:  # whatever stops the tracer
        raise ValueError(f"{type(network).__name__} cannot be traced, so it cannot be cut: {error}") from error
    runs = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
    if len(runs) != 1:
        raise ValueError(f"a network is cut behind a layer that runs once; {layer!r} runs {len(runs)} times")
    return _below(network, graph, runs[0]), _above(network, graph, runs[0], layer)


def least_squares(source: Tensor, target: Tensor, *, ridge: float = 0.0) -> State:
    r"""The affine stitch that brings one layer nearest to another on some examples.

    With the features :math:`x_i` and :math:`y_i` of example :math:`i` (of feature maps: of each pixel of each example)
    it minimises :math:`\frac1n \sum_i \lVert W x_i + b - y_i \rVert^2 + \rho\, \bar v \lVert W \rVert^2`, where
    :math:`\bar v` is the mean variance of the units of :math:`x`. Without ridge it is the solution of the least norm.

    Args:
        source: what the layer of the lower network gives, ``(N, ..., units)``, or ``(N, C, H, W)``.
        target: what the layer of the upper network gives to the same examples.
        ridge: :math:`\rho`, 0 or more.

    Returns:
        ``weight`` and ``bias``, in the precision of the source; the sums run in float64.

    Raises:
        ValueError: if examples or places differ, a layer gives what is no number, or the ridge is negative.
    """
    if source.dim() != target.dim() or _places(source) != _places(target):
        raise ValueError(
            f"a stitch joins layers of the same examples and places, got {tuple(source.shape)} and "
            f"{tuple(target.shape)}: pool or flatten what the layers give first"
        )
    for which, each in (("lower", source), ("upper", target)):
        if not bool(each.isfinite().all()):
            raise ValueError(
                f"the layer of the {which} network gives NaN or infinite numbers: has its training diverged?"
            )
    if not ridge >= 0.0:
        raise ValueError(f"the ridge is 0 or more, got {ridge}")
    x, y = (_rows(each).double() for each in (source, target))
    (x, mean_x), (y, mean_y) = ((each - each.mean(0), each.mean(0)) for each in (x, y))
    left, sizes, right = torch.linalg.svd(x, full_matrices=False)
    kept = sizes > _RANK * sizes.max()
    damped = torch.where(kept, sizes, 1.0) ** 2 + ridge * x.square().sum() / x.shape[1]
    weight = (y.T @ left * torch.where(kept, sizes, 0.0) / damped) @ right
    bias = mean_y - weight @ mean_x
    if source.dim() == 4:
        weight = weight[:, :, None, None]
    return state.cast({"weight": weight, "bias": bias}, source.dtype)


def through(stitch: State, features: Tensor) -> Tensor:
    """What a stitch makes of what a layer gives.

    Raises:
        ValueError: if the layer has another number of units than the stitch takes.
    """
    weight, bias = stitch["weight"], stitch["bias"]
    units = features.shape[1 if weight.dim() == 4 else -1]
    if units != weight.shape[1]:
        raise ValueError(f"the stitch takes {weight.shape[1]} units, and the layer gives {units}")
    return F.conv2d(features, weight, bias) if weight.dim() == 4 else F.linear(features, weight, bias)


def join(bottom: nn.Module, top: nn.Module, stitch: State) -> nn.Sequential:
    """The stitched network, whose layers are ``bottom``, ``stitch`` and ``top``; it shares the weights of all three.

    Args:
        bottom: the lower part of a network, as :func:`cut` gives it.
        top: the upper part of another one.
        stitch: the map between them.
    """
    weight, bias = stitch["weight"], stitch["bias"]
    outward, inward = weight.shape[:2]
    with torch.device("meta"):  # without weights, and without moving the global random stream
        layer: nn.Module = nn.Conv2d(inward, outward, 1) if weight.dim() == 4 else nn.Linear(inward, outward)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return nn.Sequential(OrderedDict(bottom=bottom, stitch=layer, top=top))


def penalty(stitched: nn.Module, whole: nn.Module, split: Split) -> Scores:
    """Loss and error of a stitched network less those of the network whose upper layers it has.

    It is negative where the lower layers of the other network serve better than its own.

    Args:
        stitched: the network that :func:`join` made.
        whole: the network that gave the upper layers.
        split: examples, such as those of a test set.
    """
    found, own = (connectivity.evaluate(each, each.state_dict(), split) for each in (stitched, whole))
    return Scores(found.loss - own.loss, found.error - own.error)


def train_stitches(
    stitches: State,
    features: Float[Tensor, "networks examples *units"],
    top: nn.Module,
    tops: State,
    labels: Int[Tensor, " examples"],
    config: TrainConfig,
    *,
    seeds: Sequence[int],
) -> State:
    """Trains the stitches of several networks at once to lower the loss of the stitched networks, all else frozen.

    Features are divided by their standard deviation meanwhile, so that a rate means the same whatever their size.

    Args:
        stitches: where they begin, such as least squares, as a stack (:func:`lmc_lib.state.stacked`).
        features: what the lower layers give to the training examples, by network.
        top: the upper layers, as :func:`cut` gives them.
        tops: their weights, as a stack.
        labels: the classes of the examples.
        config: the hyperparameters.
        seeds: for each network the stream of the order of its batches.

    Returns:
        The trained stitches, as a stack; those that diverged are not finite.

    Raises:
        ValueError: if the numbers of stitches, lower and upper networks and seeds differ, or there is not one label for
            each example.
    """
    counts = {len(stitches["weight"]), len(features), len(next(iter(tops.values()))), len(seeds)}
    if len(counts) != 1:
        raise ValueError(f"each stitch has lower and upper layers and a seed, got {sorted(counts)} of them")
    labels = expected.labels(labels, examples=features.shape[1])
    steps = list(training.stacked_batches(len(labels), config, seeds=seeds))
    own, size = torch.arange(len(seeds))[:, None], features.flatten(1).std(1)
    features = features / _along(size, features)

    def one(stitch: State, weights: State, seen: Tensor) -> Any:
        return state.apply(top, weights, through(stitch, seen))

    def losses(weights: State, step: int) -> Tensor:
        rows = steps[step]
        logits = torch.vmap(one)(weights, tops, features[own, rows])
        return torch.vmap(partial(F.cross_entropy))(logits, labels[rows])

    begun = stitches | {"weight": stitches["weight"] * _along(size, stitches["weight"])}
    *_, last = training.train_stack(losses, begun, config)
    return last.state | {"weight": last.state["weight"] / _along(size, last.state["weight"])}


def _along(numbers: Tensor, stack: Tensor) -> Tensor:
    """A number for each member of a stack, in a shape that multiplies it."""
    return numbers.view(-1, *[1] * (stack.dim() - 1))


class _Tracer(fx.Tracer):
    """Traces a network down to torch's own layers, and to the one that is asked for."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name == self.layer or super().is_leaf_module(m, module_qualified_name)


def _below(network: nn.Module, whole: fx.Graph, at: fx.Node) -> nn.Module:
    graph, nodes = _copied(whole)
    graph.erase_node(nodes["output"])
    graph.output(nodes[at.name])
    _drop_unused(graph)
    return fx.GraphModule(network, graph)


def _above(network: nn.Module, whole: fx.Graph, at: fx.Node, layer: str) -> nn.Module:
    graph, nodes = _copied(whole)
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    with graph.inserting_before(nodes[at.name]):
        given = graph.placeholder("features")
    nodes[at.name].replace_all_uses_with(given)
    _drop_unused(graph)
    for node in inputs:
        if node.users:
            raise ValueError(f"the network cannot be cut behind {layer!r}: something goes past it, as a shortcut does")
        graph.erase_node(node)
    return fx.GraphModule(network, graph)


def _drop_unused(graph: fx.Graph) -> None:
    """Erases what nothing uses; torch's own way would keep a layer that might have side effects."""
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _copied(whole: fx.Graph) -> tuple[fx.Graph, dict[str, fx.Node]]:
    graph = copy.deepcopy(whole)
    return graph, {node.name: node for node in graph.nodes}


def _rows(features: Tensor) -> Tensor:
    """One row an example and place, one column a unit."""
    last = features.movedim(1, -1) if features.dim() == 4 else features
    return last.flatten(0, -2)


def _places(features: Tensor) -> tuple[int, ...]:
    """The numbers of examples and of places."""
    shape = tuple(features.shape)
    return (shape[0], *shape[2:]) if features.dim() == 4 else shape[:-1]
