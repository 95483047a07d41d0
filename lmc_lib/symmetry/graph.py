"""A network's graph of operations, by ``torch.export``."""

__all__ = ["Graph", "Inputs", "arguments", "copied", "export", "first_line", "observer"]

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

from lmc_lib.state import State, forget_, given
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
        SymmetryError: if the network cannot be copied or traced, as with control flow that depends on data.
    """
    network = copied(model).eval()
    args, kwargs = arguments(example_inputs)
    args, kwargs = pytree.tree_map_only(Tensor, lambda value: _first(value, network), (args, kwargs))
    try:
        with _quiet(), _python_attention():
            module: Any = torch.export.export(network, args, kwargs, strict=False).module(check_guards=False)
    except Exception as error:  # whatever stops the tracer
        raise SymmetryError(f"{type(model).__name__} cannot be traced: {first_line(error)}") from error
    owner: dict[int, str] = {}
    names = {}
    known = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    entries = network.state_dict(keep_vars=True)
    for name, value in sorted(entries.items(), key=lambda each: each[0] not in known):
        names[name] = owner.setdefault(id(value), name)
    return Graph(module, {name: names[name] for name in entries})


def copied(model: nn.Module) -> nn.Module:
    """A copy of a network whose mode and hooks can change; it shares the parameters, and what was computed of them.

    Raises:
        SymmetryError: if this is no network, or one in a wrapping that can be neither copied nor traced.
    """
    if not isinstance(model, nn.Module):
        raise SymmetryError(f"a network is a torch.nn.Module, but this is a {type(model).__name__}")
    for name, module in model.named_modules():
        where = f"{name or 'the network'} is a {type(module).__name__}"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise SymmetryError(
                f"{where}, which spreads a network over devices: give its attribute `module`, and states without "
                "`module.` in front of their names"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise SymmetryError(f"{where}, which cannot be traced again: give the network that it was made from")
    # A tensor that a module keeps and that has a gradient (an activation, the weight of an old `weight_norm`, which is
    # computed before each call) can be shared, but not copied.
    kept = [each for module in model.modules() for each in pytree.tree_leaves(vars(module))]
    shared = [*model.parameters(), *(each for each in kept if isinstance(each, Tensor) and not each.is_leaf)]
    try:
        network = copy.deepcopy(model, {id(each): each for each in shared})
    except Exception as error:  # whatever cannot be copied
        raise SymmetryError(
            f"{type(model).__name__} cannot be copied: {first_line(error)}; give one that was made anew, with the "
            "weights of this one"
        ) from error
    forget_(network)
    return network


def first_line(error: Exception) -> str:
    """What an error says in its first line, or else its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
    traced = _sizes([node.meta["val"] for node in graph.nodes if node.op == "placeholder"])

    def observe(state: State, inputs: Inputs) -> dict[str, Tensor]:
        # The graph was traced with a batch of one example, and some of its reshapes say so.
        def one(example: Any) -> Any:
            leaves = pytree.tree_leaves(arguments(pytree.tree_map_only(Tensor, lambda value: value[None], example)))
            return torch.func.functional_call(network, entries, tuple(leaves), tie_weights=False)

        entries = given(network, state)
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention that can be mapped over examples
                found: dict[str, Tensor] = torch.vmap(one)(inputs)
        except RuntimeError as error:
            raise SymmetryError(
                f"the activations cannot be observed: {first_line(error)}; trace the network with inputs of the size "
                f"that is used, here {_sizes(inputs)} for one example, not {traced}"
            ) from error
        return found

    return observe


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _sizes(inputs: Any) -> str:
    """The shape of each tensor for one example."""
    shapes = [tuple(each.shape[1:]) for each in pytree.tree_leaves(inputs) if isinstance(each, Tensor)]
    return " and ".join(map(str, shapes))


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
