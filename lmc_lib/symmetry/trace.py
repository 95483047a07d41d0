"""Derivation of a network's permutation groups from its traced graph.

Every tensor dimension carries a tuple of *places*: nodes of a union-find structure, one for each independent factor of
the dimension. An operation unifies the places that must move together (the output channels of one layer with the
input channels of the next, the two summands of a residual sum) and pins those that must not move (pixels, inputs,
logits). What is still free after one forward pass is a permutation group. An operation that is not understood pins
everything it touches, so the result can be too small, but not wrong; ``prove`` checks it.
"""

__all__ = ["features", "permutation_spec"]

import copy
import math
import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F  # noqa: N812 -- the usual name
from torch.nn.utils import parametrize

from lmc_lib.symmetry.spec import Axis, Factor, PermutationSpec, SymmetryError, Tap

_ACTIVATION_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Tanh,
    nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh,
)  # fmt: skip
_ACTIVATION_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.hardsigmoid, F.hardtanh,
    torch.relu, torch.tanh, torch.sigmoid,
)  # fmt: skip
_ACTIVATION_METHODS = ("relu", "tanh", "sigmoid")
_UNCHANGED_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_UNCHANGED_FUNCTIONS: tuple[Callable[..., Any], ...] = (F.dropout, torch.clone, torch.square, torch.exp)
_UNCHANGED_METHODS = ("contiguous", "clone", "detach", "float", "double", "to", "square", "exp")
_POOL_MODULES = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_POOL_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d,
)  # fmt: skip
_ELEMENTWISE: tuple[Callable[..., Any], ...] = (
    operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv,
    torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum,
)  # fmt: skip
_ELEMENTWISE_METHODS = ("add", "add_", "sub", "mul", "mul_", "div")
_RESHAPE_MODULES = (nn.Flatten, nn.Unflatten)
_RESHAPE_FUNCTIONS: tuple[Callable[..., Any], ...] = (torch.flatten, torch.reshape, torch.unsqueeze, torch.squeeze)
_RESHAPE_METHODS = ("flatten", "view", "reshape", "unsqueeze", "squeeze")


class _Place:
    """A factor of a dimension: free, pinned, merged into another place, or split into several."""

    __slots__ = ("link", "parts", "pinned", "size")

    def __init__(self, size: int, *, pinned: bool = False) -> None:
        self.size = size
        self.pinned = pinned
        self.link: _Place | None = None
        self.parts: tuple[_Place, ...] = ()


_Dim = tuple[_Place, ...]


def permutation_spec(model: nn.Module, example_inputs: Tensor) -> PermutationSpec:
    """Derives the permutation groups of a network by tracing it with ``torch.fx``.

    Residual streams, flattened feature maps, grouped and depthwise convolutions, normalisation parameters and buffers,
    biases and tied weights are followed. Axes of an operation that is not understood are pinned and listed in
    ``spec.pinned``.

    Args:
        model: any traceable network; unchanged.
        example_inputs: a batch of the shape that the network takes; only the first example is used.

    Raises:
        SymmetryError: if the network cannot be traced, as with control flow that depends on data.

    Example:
        >>> from lmc_lib import models
        >>> print(permutation_spec(models.mlp(4, 3, widths=(8, 6)), torch.zeros(1, 4)).describe())
        1                                 8 units  1.weight[0], 1.bias[0], 3.weight[1]
        3                                 6 units  3.weight[0], 3.bias[0], 5.weight[1]
        2 groups, 14 units
    """
    root = copy.deepcopy(model).eval()
    traced = _trace(root)
    parameter = next(traced.parameters(), None)
    example = example_inputs[:1] if parameter is None else example_inputs[:1].to(parameter.dtype)
    ShapeProp(traced).propagate(example)
    walk = _Walk(root)
    for node in traced.graph.nodes:
        walk.visit(node)
    return walk.spec()


def features(model: nn.Module, nodes: Collection[str]) -> fx.GraphModule:
    """Returns a module that maps inputs to a dictionary of the activations of these nodes, in evaluation mode.

    Args:
        model: the traced network; unchanged, and not shared with the result.
        nodes: names of nodes as they stand in ``spec.taps``.
    """
    traced = _trace(copy.deepcopy(model).eval())
    graph = traced.graph
    values = {node.name: node for node in graph.nodes}
    graph.erase_node(next(node for node in graph.nodes if node.op == "output"))
    graph.output({name: values[name] for name in nodes})
    graph.eliminate_dead_code()
    return fx.GraphModule(traced, graph)


def _trace(root: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(root)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        raise SymmetryError(f"{type(root).__name__} cannot be traced symbolically: {error}") from error


class _Walk:
    """One pass over the graph that assigns places to every tensor dimension."""

    def __init__(self, root: nn.Module) -> None:
        self.modules = dict(root.named_modules())
        # A buffer that the state dictionary leaves out cannot be permuted; it is not an entry.
        self.tensors: dict[str, Tensor] = root.state_dict(keep_vars=True)
        self.owner: dict[int, str] = {}
        self.entries: dict[str, list[_Dim]] = {}
        self.values: dict[fx.Node, list[_Dim]] = {}
        self.activations: list[fx.Node] = []
        self.pinned: list[str] = []

    # -- the table of operations ---------------------------------------------------------------------------------

    def visit(self, node: fx.Node) -> None:
        """Assigns places to the output of one node."""
        if node.op == "output":
            for source in node.all_input_nodes:
                self._pin(source)
        elif "tensor_meta" not in node.meta or not hasattr(node.meta["tensor_meta"], "shape"):
            self._not_a_tensor(node)
        elif node.op == "placeholder":
            self.values[node] = _pinned_dims(node)
        elif node.op == "get_attr":
            name = str(node.target)
            self.values[node] = self._entry(name) if name in self.tensors else _pinned_dims(node)
        elif node.op == "call_module":
            self._visit_module(node, self.modules[str(node.target)])
        else:
            self._visit_call(node)

    def _visit_module(self, node: fx.Node, module: nn.Module) -> None:
        name = str(node.target)
        if parametrize.is_parametrized(module):
            self._unknown(node, "a parametrised weight")
        elif isinstance(module, nn.Linear):
            self._linear(node, name)
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            self._convolution(node, name, module.groups)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.PReLU):
            self._affine(node, name, [self._input(node)[1]])
        elif isinstance(module, nn.LayerNorm):
            self._affine(node, name, self._input(node)[-len(module.normalized_shape) :])
        elif isinstance(module, nn.GroupNorm):
            channels = module.num_channels
            _unify(self._input(node)[1], _places(module.num_groups) + _places(channels // module.num_groups))
            self._affine(node, name, [self._input(node)[1]])
        else:
            self._visit_plain(node, type(module), _ACTIVATION_MODULES, _UNCHANGED_MODULES, _POOL_MODULES)

    def _visit_plain(self, node: fx.Node, kind: type, activations: Any, unchanged: Any, pools: Any) -> None:
        if issubclass(kind, activations):
            self._activation(node)
        elif issubclass(kind, unchanged):
            self.values[node] = self._input(node)
        elif issubclass(kind, pools):
            self._pool(node, kind.__name__)
        elif issubclass(kind, _RESHAPE_MODULES):
            self._reshape(node)
        else:
            self._unknown(node, kind.__name__)

    def _visit_call(self, node: fx.Node) -> None:  # noqa: C901 -- a table, one line a row
        target: Any = node.target
        if target in _ACTIVATION_FUNCTIONS or target in _ACTIVATION_METHODS:
            self._activation(node)
        elif target in _UNCHANGED_FUNCTIONS or target in _UNCHANGED_METHODS:
            self.values[node] = self._input(node)
        elif target in _POOL_FUNCTIONS:
            self._pool(node, target.__name__)
        elif target in _ELEMENTWISE or target in _ELEMENTWISE_METHODS:
            self._elementwise(node)
        elif target in _RESHAPE_FUNCTIONS or target in _RESHAPE_METHODS:
            self._reshape(node)
        elif target is F.layer_norm:
            self._layer_norm(node)
        elif target in (torch.permute, "permute"):
            self._permute(node)
        elif target in (torch.transpose, "transpose"):
            self._transpose(node)
        elif target in (torch.mean, torch.sum, "mean", "sum"):
            self._reduce(node)
        else:
            self._unknown(node, getattr(target, "__name__", str(target)))

    # -- one method an operation ---------------------------------------------------------------------------------

    def _linear(self, node: fx.Node, name: str) -> None:
        source = self._input(node)
        out, inner = self._entry(f"{name}.weight")
        _unify(inner, source[-1])
        self._unify_if_present(f"{name}.bias", out)
        self.values[node] = [*source[:-1], out]

    def _convolution(self, node: fx.Node, name: str, groups: int) -> None:
        # A grouped convolution maps (group, i) to (group, o); its weight has axes (group, o), i and the kernel.
        out, inner, *kernel = self._entry(f"{name}.weight")
        *examples, channels = self._input(node)[: -len(kernel)]
        pixels = self._input(node)[-len(kernel) :]
        block = _places(groups)
        _unify(channels, block + inner)
        _unify(out, block + _places(_size(out) // groups))
        _pin_all([*kernel, *pixels])
        self._unify_if_present(f"{name}.bias", out)
        self.values[node] = [*examples, out, *_pinned_dims(node)[-len(kernel) :]]

    def _affine(self, node: fx.Node, name: str, dims: Sequence[_Dim]) -> None:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            self._unify_if_present(f"{name}.{entry}", *dims)
        self.values[node] = self._input(node)

    def _layer_norm(self, node: fx.Node) -> None:
        source, *affine = (self.values[each] for each in node.all_input_nodes if each in self.values)
        for entry in affine:
            for mine, other in zip(entry, source[-len(entry) :], strict=True):
                _unify(mine, other)
        self.values[node] = source

    def _activation(self, node: fx.Node) -> None:
        self.activations.append(node)
        self.values[node] = self._input(node)

    def _pool(self, node: fx.Node, name: str) -> None:
        # Windows pin the pixels, as many dimensions as the name says; examples and channels pass.
        rank = int(name[name.lower().index("d", name.lower().index("pool")) - 1])
        _pin_all(self._input(node)[-rank:])
        self.values[node] = [*self._input(node)[:-rank], *_pinned_dims(node)[-rank:]]

    def _elementwise(self, node: fx.Node) -> None:
        shape = _shape(node)
        out: list[_Dim] = []
        for dim in range(-len(shape), 0):
            operands = [
                self.values[source][dim]
                for source in node.all_input_nodes
                if source in self.values and len(self.values[source]) >= -dim and _size(self.values[source][dim]) > 1
            ]
            for other in operands[1:]:
                _unify(operands[0], other)
            out.append(operands[0] if operands else ())
        self.values[node] = out

    def _reshape(self, node: fx.Node) -> None:
        pending = [place for dim in self._input(node) for place in _resolve(dim)]
        out: list[_Dim] = []
        for size in _shape(node):
            taken: list[_Place] = []
            missing = size
            while missing > 1:
                place = _pop(pending)
                if missing % place.size:
                    if place.size % missing:
                        self._unknown(node, "reshape that splits units unevenly")
                        return
                    first, rest = _split(place, missing)
                    pending.insert(0, rest)
                    place = first
                taken.append(place)
                missing //= place.size
            out.append(tuple(taken))
        self.values[node] = out

    def _permute(self, node: fx.Node) -> None:
        order: Any = node.kwargs.get("dims", node.args[1:])
        order = order[0] if isinstance(order[0], tuple | list) else order
        source = self._input(node)
        self.values[node] = [source[int(dim)] for dim in order]

    def _transpose(self, node: fx.Node) -> None:
        dims = list(self._input(node))
        given: Any = [*node.args[1:], *(node.kwargs[name] for name in ("dim0", "dim1") if name in node.kwargs)]
        first, second = (int(dim) for dim in given)
        dims[first], dims[second] = dims[second], dims[first]
        self.values[node] = dims

    def _reduce(self, node: fx.Node) -> None:
        source = self._input(node)
        if node.kwargs.keys() - {"dim", "keepdim", "dtype"}:
            self._unknown(node, f"a reduction with {', '.join(node.kwargs)}")
            return
        over: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if over is None:
            self.values[node] = []
            return
        dropped = {int(dim) % len(source) for dim in (over if isinstance(over, tuple | list) else (over,))}
        kept = [() if dim in dropped else places for dim, places in enumerate(source)]
        keepdim = len(_shape(node)) == len(source)
        self.values[node] = kept if keepdim else [p for dim, p in enumerate(kept) if dim not in dropped]

    def _unknown(self, node: fx.Node, operation: str) -> None:
        for source in node.all_input_nodes:
            self._pin(source)
        if node.op == "call_module":
            for entry in self.tensors:
                if entry.startswith(f"{node.target}."):
                    _pin_all(self._entry(entry))
        self.values[node] = _pinned_dims(node)
        self.pinned.append(f"{node.name}: {operation} is not understood")

    def _not_a_tensor(self, node: fx.Node) -> None:
        # Shapes and integers carry no units; a tuple of tensors is not followed.
        if "tensor_meta" in node.meta:
            self._unknown_sources(node)

    def _unknown_sources(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            self._pin(source)
        self.pinned.append(f"{node.name}: several outputs are not followed")

    # -- bookkeeping ---------------------------------------------------------------------------------------------

    def _input(self, node: fx.Node) -> list[_Dim]:
        source = node.all_input_nodes[0]
        return self.values[source]

    def _pin(self, node: fx.Node) -> None:
        _pin_all(self.values.get(node, []))

    def _entry(self, name: str) -> list[_Dim]:
        """The places of a parameter or buffer; tied tensors share theirs."""
        owner = self.owner.setdefault(id(self.tensors[name]), name)
        if owner not in self.entries:
            self.entries[owner] = [_places(size) for size in self.tensors[owner].shape]
        return self.entries[owner]

    def _unify_if_present(self, name: str, *dims: _Dim) -> None:
        if name in self.tensors and self.tensors[name].numel() > 1:
            for mine, other in zip(self._entry(name), dims, strict=True):
                _unify(mine, other)

    # -- the result ----------------------------------------------------------------------------------------------

    def spec(self) -> PermutationSpec:
        """Names the free places and lists where each occurs."""
        names = self._group_names()
        axes = {}
        for name, tensor in self.tensors.items():
            owner = self.owner.get(id(tensor))
            dims = self.entries[owner] if owner else [(_Place(size, pinned=True),) for size in tensor.shape]
            axes[name] = tuple(_axis(dim, names, size) for dim, size in zip(dims, tensor.shape, strict=True))
        sizes = {group: place.size for place, group in names.items()}
        return PermutationSpec(sizes, axes, self._taps(names), tuple(self.pinned))

    def _group_names(self) -> dict[_Place, str]:
        """A group is called after the layer whose outputs it permutes first."""
        names: dict[_Place, str] = {}
        for entry, dims in self.entries.items():
            layer = entry.rpartition(".")[0] or entry
            for place in (place for dim in dims for place in _resolve(dim)):
                if place.pinned or place in names:
                    continue
                taken = sum(1 for group in names.values() if group == layer or group.startswith(f"{layer}/"))
                names[place] = f"{layer}/{taken}" if taken else layer
        return names

    def _taps(self, names: dict[_Place, str]) -> tuple[Tap, ...]:
        taps = self._taps_at(self.activations, names)
        seen = {factor.group for tap in taps for factor in tap.axis}
        # A group that no activation function shows is observed where it was last carried.
        for tap in reversed(self._taps_at(list(self.values), names)):
            if missing := {factor.group for factor in tap.axis} - seen - {None}:
                taps.append(tap)
                seen |= missing
        return tuple(taps)

    def _taps_at(self, nodes: Sequence[fx.Node], names: dict[_Place, str]) -> list[Tap]:
        taps = []
        for node in nodes:
            for dim, (places, size) in enumerate(zip(self.values[node], _shape(node), strict=True)):
                axis = _axis(places, names, size)
                if any(factor.group for factor in axis):
                    taps.append(Tap(node.name, dim, axis))
        return taps


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _places(size: int) -> _Dim:
    """A free place of this size; a dimension of size 1 has nothing to permute and needs none."""
    return () if size == 1 else (_Place(size),)


def _pinned_dims(node: fx.Node) -> list[_Dim]:
    return [() if size == 1 else (_Place(size, pinned=True),) for size in _shape(node)]


def _size(dim: _Dim) -> int:
    return math.prod(place.size for place in dim)


def _root(place: _Place) -> _Place:
    while place.link is not None:
        place = place.link
    return place


def _resolve(dim: _Dim) -> list[_Place]:
    """The current factors of a dimension: links followed, splits unfolded."""
    resolved: list[_Place] = []
    for place in dim:
        root = _root(place)
        resolved += _resolve(root.parts) if root.parts else [root]
    return resolved


def _pop(places: list[_Place]) -> _Place:
    """Takes the first factor off a list; an earlier step may have linked or split it since the list was made."""
    places[:1] = _resolve((places[0],))
    return places.pop(0)


def _split(place: _Place, size: int) -> tuple[_Place, _Place]:
    """Splits a place row-major into an outer factor of this size and an inner one."""
    place.parts = (_Place(size, pinned=place.pinned), _Place(place.size // size, pinned=place.pinned))
    return place.parts


def _pin_all(dims: Sequence[_Dim]) -> None:
    for dim in dims:
        for place in _resolve(dim):
            place.pinned = True


def _unify(first: _Dim, second: _Dim) -> None:
    """Makes two dimensions of equal size move together, splitting factors where their boundaries differ."""
    left, right = _resolve(first), _resolve(second)
    while left and right:
        a, b = _pop(left), _pop(right)
        if a.size > b.size and a.size % b.size == 0:
            a, rest = _split(a, b.size)
            left.insert(0, rest)
        elif b.size > a.size and b.size % a.size == 0:
            b, rest = _split(b, a.size)
            right.insert(0, rest)
        elif a.size != b.size:
            _pin_all([(a, b), tuple(left), tuple(right)])
            return
        a, b = _root(a), _root(b)
        if a is not b:
            b.pinned = a.pinned = a.pinned or b.pinned
            b.link = a


def _axis(dim: _Dim, names: dict[_Place, str], size: int) -> Axis:
    """The named factors of a dimension; neighbours that belong to no group are merged."""
    factors: list[Factor] = []
    for place in _resolve(dim):
        group = names.get(place)
        if group is None and factors and factors[-1].group is None:
            factors[-1] = Factor(None, factors[-1].size * place.size)
        else:
            factors.append(Factor(group, place.size))
    return tuple(factors) or (Factor(None, size),)
