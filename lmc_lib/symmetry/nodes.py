"""What is asked of a node of a traced graph, and of the places of a tensor's dimensions."""

__all__ = [
    "argument", "arguments", "dims_of", "first_shape", "is_in_place", "is_tensor", "letters", "named", "operation",
    "relabelled", "shape_of", "shifted", "sizes_of", "written",
]  # fmt: skip

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from lmc_lib.symmetry.layout import Block, Places


def operation(node: fx.Node) -> str:
    """The name of a node's operation, the same in place and out of place: ``relu`` for ``aten.relu_.default``."""
    name = _overload(node)
    return name if name.startswith("_") else name.rstrip("_")


def is_in_place(node: fx.Node) -> bool:
    """Says whether a node writes to its first argument."""
    return _overload(node).endswith("_")


def written(nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """The nodes whose tensors are written to later, by themselves or through a view of them."""
    # Out of training a dropout hands its argument on.
    shared = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})
    owner: dict[fx.Node, fx.Node] = {}
    found = set()
    for node in nodes:
        source = next((each for each in node.args if isinstance(each, fx.Node)), None)
        schema = getattr(node.target, "_schema", None)
        view = schema is not None and any(each.alias_info is not None for each in schema.returns)
        item = node.target is operator.getitem and source is not None and owner[source] is not source
        owner[node] = owner[source] if source is not None and (view or item or operation(node) in shared) else node
        if is_in_place(node):
            found.add(owner[node])
    return frozenset(found)


def _overload(node: fx.Node) -> str:
    name = str(node.target)
    return name.split(".")[1] if name.startswith(("aten.", "prims.", "torchvision.")) else name


def arguments(node: fx.Node) -> Any:
    """The positional arguments."""
    return node.args


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument, whether it was given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def is_tensor(node: fx.Node) -> bool:
    """Says whether a node's value is one tensor."""
    return isinstance(node.meta.get("val"), Tensor)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's value, for a batch of one."""
    return tuple(int(size) for size in node.meta["val"].shape)


def first_shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of the first of a node's values."""
    value = node.meta["val"]
    return tuple((value if isinstance(value, Tensor) else value[0]).shape)


def sizes_of(node: fx.Node) -> dict[int, int]:
    """The size of each dimension."""
    return dict(enumerate(shape_of(node)))


def dims_of(given: Any, rank: int, *, ordered: bool = False) -> list[int]:
    """Dimensions as numbers from 0; all of them if none is given."""
    if given is None or given == []:
        return list(range(rank))
    dims = [dim % rank for dim in ([given] if isinstance(given, int) else given)]
    return dims if ordered else sorted(dims)


def letters(count: int) -> str:
    """Names of batch dimensions in an Einstein sum."""
    return "abcdefghij"[:count]


def named(shape: Sequence[int]) -> Places:
    """Blocks of a tensor whose places all keep their meaning."""
    return [Block((dim,), None) for dim, size in enumerate(shape) if size > 1]


def shifted(places: Places, by: int) -> Places:
    """The same blocks on dimensions that are so many further on."""
    return [Block(tuple(dim + by for dim in block.dims), block.ids) for block in places]


def relabelled(places: Places, labels: Mapping[int, int]) -> Places:
    """The same blocks on other dimensions."""
    return [Block(tuple(labels[dim] for dim in block.dims), block.ids) for block in places]
