"""Operations that keep every place, drop whole dimensions, or normalise along them."""

__all__ = [
    "batch_norm", "constant", "elementwise", "expand", "fill", "group_norm", "layer_norm", "nothing", "range_of",
    "reduce", "scan", "softmax", "spatial",
]  # fmt: skip

import re

from torch import fx

from lmc_lib.symmetry.layout import Block
from lmc_lib.symmetry.nodes import (
    argument,
    dims_of,
    first_shape,
    is_in_place,
    named,
    operation,
    shape_of,
    shifted,
    sizes_of,
)
from lmc_lib.symmetry.walk import Walk


def elementwise(walk: Walk, node: fx.Node) -> None:
    """Operands are broadcast, and units at the same place move together."""
    if operation(node) == "prelu":
        source, weight = walk.operands(node)
        scale = [Block((1,), block.ids) for block in walk.values[weight]]
        walk.values[node] = walk.layout.combined([walk.values[source], scale], sizes_of(node))
        return
    walk.values[node] = walk.broadcast([(walk.values[s], shape_of(s)) for s in walk.operands(node)], shape_of(node))


def expand(walk: Walk, node: fx.Node) -> None:
    """A dimension that is repeated imposes nothing."""
    source = walk.source(node)
    walk.values[node] = shifted(walk.values[source], len(shape_of(node)) - len(shape_of(source)))


def reduce(walk: Walk, node: fx.Node) -> None:
    """A summed dimension goes; units that are summed only in part keep to their rows."""
    source = walk.source(node)
    rank = len(shape_of(source))
    given = argument(node, 2 if operation(node) in ("linalg_vector_norm", "norm") else 1, "dim")
    if operation(node) in ("std", "var") and isinstance(given, bool):
        given = None
    dims = dims_of(given, rank)
    places = walk.layout.reduced(walk.values[source], dims)
    if len(shape_of(node)) != rank:
        kept = [dim for dim in range(rank) if dim not in dims]
        places = [Block(tuple(kept.index(dim) for dim in block.dims), block.ids) for block in places]
    walk.values[node] = places


def softmax(walk: Walk, node: fx.Node) -> None:
    """Places stay; what is normalised together stays together."""
    source = walk.source(node)
    walk.layout.reduced(walk.values[source], dims_of(argument(node, 1, "dim"), len(shape_of(node))))
    walk.values[node] = walk.values[source]


def scan(walk: Walk, node: fx.Node) -> None:
    """A running sum depends on the order along its dimension, which is pinned."""
    source = walk.source(node)
    dims = dims_of(argument(node, 1, "dim"), len(shape_of(node)))
    if any(block.ids is not None and set(block.dims) & set(dims) for block in walk.values[source]):
        walk.pinned.append(f"{node.name}: {operation(node)} runs along units")
    walk.values[node] = walk.kept(walk.values[source], dims)


def batch_norm(walk: Walk, node: fx.Node) -> None:
    """Scale, shift and statistics move with the channels."""
    source, *vectors = walk.operands(node)
    places = walk.layout.apart(walk.values[source], 1)
    operands = [places, *([Block((1,), block.ids) for block in walk.values[each]] for each in vectors)]
    walk.values[node] = walk.layout.combined(operands, sizes_of(source))
    walk.several[node] = [walk.values[node]]


def layer_norm(walk: Walk, node: fx.Node) -> None:
    """Scale and shift move with the dimensions that are normalised."""
    source, *affine = walk.operands(node)
    rank, normalised = len(shape_of(source)), len(argument(node, 1, "normalized_shape"))
    walk.layout.reduced(walk.values[source], range(rank - normalised, rank))
    operands = [(walk.values[each], shape_of(each)) for each in (source, *affine)]
    walk.values[node] = walk.broadcast(operands, shape_of(source))


def group_norm(walk: Walk, node: fx.Node) -> None:
    """Channels stay in their group of the normalisation; groups may move as wholes."""
    source, *affine = walk.operands(node)
    groups = int(argument(node, 1, "num_groups"))
    places = walk.layout.apart(walk.values[source], 1)
    block = next((each for each in places if each.dims == (1,)), None)
    if block is not None and block.ids is not None and 1 < groups < block.ids.size:
        walk.layout.rows(Block((1, 2), block.ids.reshape(groups, -1)), [1])
    operands = [places, *([Block((1,), each.ids) for each in walk.values[a]] for a in affine)]
    walk.values[node] = walk.layout.combined(operands, sizes_of(source))


def spatial(walk: Walk, node: fx.Node) -> None:
    """Windows over the last dimensions pin them."""
    rank = int(re.findall(r"(\d)d", operation(node))[0])
    source = walk.source(node)
    size = len(shape_of(source))
    pixels = list(range(size - rank, size))
    kept = [block for block in walk.kept(walk.values[source], pixels) if block.dims[0] not in pixels]
    places = [*kept, *(Block((dim,), None) for dim in pixels if first_shape(node)[dim] > 1)]
    walk.values[node] = places
    walk.several[node] = [places, places]


def constant(walk: Walk, node: fx.Node) -> None:
    """A tensor whose places all hold the same imposes nothing, unless it is written to or looked at in parts."""
    uses = {operation(user) if user.op == "call_function" else user.op for user in node.users}
    plain = uses <= {"cat", "add", "sub", "mul", "div"} and not any(is_in_place(user) for user in node.users)
    walk.values[node] = (
        [] if plain and not operation(node).startswith(("empty", "new_empty")) else named(shape_of(node))
    )


def range_of(walk: Walk, node: fx.Node) -> None:
    """A constant tensor that tells its places apart."""
    walk.values[node] = named(shape_of(node))


def nothing(walk: Walk, node: fx.Node) -> None:
    """A check, with no value of interest."""
    walk.values[node] = []


def fill(walk: Walk, node: fx.Node) -> None:
    """A tensor that is written over is pinned."""
    walk.pin(walk.source(node))
    walk.values[node] = named(shape_of(node))
