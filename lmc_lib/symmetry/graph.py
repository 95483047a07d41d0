"""A network's graph of operations, by ``torch.export``."""

__all__ = ["Graph", "Inputs", "arguments", "export", "observer"]

import contextlib
import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from lmc_lib.state import State, given
from lmc_lib.symmetry.spec import SymmetryError

# What a network is called with: one tensor, the tuple of its positional arguments, or its keyword arguments.
Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


class Graph(NamedTuple):
    """A traced network: its graph module, and for each entry of the state dictionary the name it has there."""

    module: fx.GraphModule
    owner: dict[str, str]


def export(model: nn.Module, example_inputs: Inputs) -> Graph:
    """Traces a network in evaluation mode with a single example.

    Raises:
        SymmetryError: if the network cannot be traced, as with control flow that depends on data.
    """
    # A copy, so that the mode and hooks of the model stay; it shares the parameters, which nothing here changes.
    network = copy.deepcopy(model, {id(each): each for each in model.parameters()}).eval()
    args, kwargs = arguments(example_inputs)
    args, kwargs = pytree.tree_map_only(Tensor, lambda value: _first(value, network), (args, kwargs))
    try:
        with _quiet(), _python_attention():
            module: Any = torch.export.export(network, args, kwargs, strict=False).module(check_guards=False)
    except Exception as error:  # whatever stops the tracer
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SymmetryError(f"{type(model).__name__} cannot be traced: {reason}") from error
    owner: dict[int, str] = {}
    names = {}
    known = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    entries = network.state_dict(keep_vars=True)
    for name, value in sorted(entries.items(), key=lambda each: each[0] not in known):
        names[name] = owner.setdefault(id(value), name)
    return Graph(module, {name: names[name] for name in entries})


def observer(module: fx.GraphModule, nodes: Collection[str]) -> Callable[[State, Inputs], dict[str, Tensor]]:
    """Returns a function of weights and a batch that gives the activations of these nodes, in evaluation mode.

    The first dimension of an activation counts the examples; the others are those that it has for one example, with
    the batch of one that the network was traced with among them.
    """
    graph = copy.deepcopy(module.graph)
    values = {node.name: node for node in graph.nodes}
    graph.erase_node(next(node for node in graph.nodes if node.op == "output"))
    graph.output({name: values[name] for name in nodes})
    graph.set_codegen(CodeGen())  # takes the leaves of the arguments as they are, and returns a plain dictionary
    graph.eliminate_dead_code()
    network = fx.GraphModule(module, graph)

    def observe(state: State, inputs: Inputs) -> dict[str, Tensor]:
        # The graph was traced with a batch of one example, and some of its reshapes say so.
        def one(example: Any) -> Any:
            leaves = pytree.tree_leaves(arguments(pytree.tree_map_only(Tensor, lambda value: value[None], example)))
            return torch.func.functional_call(network, entries, tuple(leaves), tie_weights=False)

        entries = given(network, state)
        with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention that can be mapped over examples
            found: dict[str, Tensor] = torch.vmap(one)(inputs)
        return found

    return observe


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _first(value: Tensor, network: nn.Module) -> Tensor:
    parameter = next(network.parameters(), None)
    value = value[:1] if value.dim() else value
    return value.to(parameter.dtype) if parameter is not None and value.is_floating_point() else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _python_attention() -> Iterator[None]:
    """Keeps transformers from a fused operation that hides their heads."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
