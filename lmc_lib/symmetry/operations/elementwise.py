"""Operations that keep every place, drop whole dimensions, or normalise along them."""

__all__ = [
    "batch_norm", "constant", "elementwise", "expand", "extremum", "fill", "glu", "group_norm", "layer_norm", "nothing",
    "range_of", "reduce", "scan", "softmax", "spatial", "weight_norm",
]  # fmt: skip

import operator
import re

import numpy as np
from torch import fx

from lmc_lib.symmetry.layout import Block
from lmc_lib.symmetry.nodes import (
    argument,
    arguments,
    dims_of,
    first_shape,
    named,
    operation,
    shape_of,
    shifted,
    sizes_of,
)
from lmc_lib.symmetry.walk import NotFollowedError, Walk


def elementwise(walk: Walk, node: fx.Node) -> None:
    """Operands are broadcast, and units at the same place move together."""
    if operation(node) == "prelu":
        source, weight = walk.operands(node)
        scale = [Block((1,), block.ids) for block in walk.values[weight]]
        walk.values[node] = walk.layout.combined([walk.values[source], scale], sizes_of(node))
        return
    operands = walk.operands(node)
    if operation(node) in ("to", "type_as"):
        operands = operands[:1]
    walk.values[node] = walk.broadcast([(walk.values[s], shape_of(s)) for s in operands], shape_of(node))


def glu(walk: Walk, node: fx.Node) -> None:
    """One half of the units gates the other."""
    source = walk.source(node)
    dim = argument(node, 1, "dim", -1) % len(shape_of(source))
    places = np.arange(shape_of(source)[dim])
    halves = [walk.layout.indexed(walk.values[source], dim, half) for half in np.split(places, 2)]
    walk.values[node] = walk.layout.combined(halves, sizes_of(node))


def expand(walk: Walk, node: fx.Node) -> None:
    """A dimension that is repeated imposes nothing."""
    source = walk.source(node)
    walk.values[node] = shifted(walk.values[source], len(shape_of(node)) - len(shape_of(source)))


def reduce(walk: Walk, node: fx.Node) -> None:
    """A summed dimension goes; units that are summed only in part keep to their rows."""
    source = walk.source(node)
    rank = len(shape_of(source))
    given = argument(node, 2 if operation(node) in ("linalg_vector_norm", "norm") else 1, "dim")
    if operation(node).startswith(("std", "var")) and isinstance(given, bool):
        given = None
    dims = dims_of(given, rank)
    places = walk.layout.reduced(walk.values[source], dims)
    if len(first_shape(node)) != rank:
        kept = [dim for dim in range(rank) if dim not in dims]
        places = [Block(tuple(kept.index(dim) for dim in block.dims), block.ids) for block in places]
    walk.values[node] = places
    walk.several[node] = [places, places]


def extremum(walk: Walk, node: fx.Node) -> None:
    """The larger of two tensors, or the largest value along a dimension; the number of its place names a unit."""
    if len(walk.operands(node)) > 1:
        elementwise(walk, node)
        return
    if any(arguments(user)[1] == 1 and user.users for user in node.users if user.target is operator.getitem):
        raise NotFollowedError("with the number of a place is not understood")
    reduce(walk, node)


def softmax(walk: Walk, node: fx.Node) -> None:
    """Places stay; what is normalised together stays together."""
    source = walk.source(node)
    walk.layout.reduced(walk.values[source], dims_of(argument(node, 1, "dim"), len(shape_of(node))))
    walk.values[node] = walk.values[source]


def scan(walk: Walk, node: fx.Node) -> None:
    """A running sum, or a triangle, depends on the order along its dimensions, which are pinned."""
    source = walk.source(node)
    rank = len(shape_of(node))
    dims = [rank - 2, rank - 1] if operation(node) in ("tril", "triu") else dims_of(argument(node, 1, "dim"), rank)
    walk.report(node, dims, "runs along units")
    walk.values[node] = walk.kept(walk.values[source], dims, shape_of(node))


def batch_norm(walk: Walk, node: fx.Node) -> None:
    """Scale, shift and statistics move with the channels."""
    source, *vectors = walk.operands(node)
    walk.layout.reduced(walk.values[source], [dim for dim in range(len(shape_of(source))) if dim != 1])
    channels = [[Block((1,), block.ids) for block in walk.values[each]] for each in vectors]
    walk.values[node] = walk.layout.combined([walk.values[source], *channels], sizes_of(source))
    walk.several[node] = [walk.values[node]]


def layer_norm(walk: Walk, node: fx.Node) -> None:
    """Scale and shift move with the dimensions that are normalised."""
    source, *affine = walk.operands(node)
    rank, normalised = len(shape_of(source)), len(argument(node, 1, "normalized_shape"))
    walk.layout.reduced(walk.values[source], range(rank - normalised, rank))
    operands = [(walk.values[each], shape_of(each)) for each in (source, *affine)]
    walk.values[node] = walk.broadcast(operands, shape_of(source))


def weight_norm(walk: Walk, node: fx.Node) -> None:
    """Each row of a weight is normalised and scaled."""
    source = walk.source(node)
    rank = len(shape_of(source))
    kept = dims_of(argument(node, 2, "dim", 0), rank)
    walk.layout.reduced(walk.values[source], [dim for dim in range(rank) if dim not in kept])
    elementwise(walk, node)


def group_norm(walk: Walk, node: fx.Node) -> None:
    """Channels stay in their group of the normalisation; groups may move as wholes."""
    source, *affine = walk.operands(node)
    batch, channels, *pixels = shape_of(source)
    groups = int(argument(node, 1, "num_groups"))
    split = [batch, groups, channels // groups, *pixels]
    walk.layout.reduced(walk.layout.reshaped(walk.values[source], shape_of(source), split), range(2, len(split)))
    vectors = [[Block((1,), block.ids) for block in walk.values[each]] for each in affine]
    walk.values[node] = walk.layout.combined([walk.values[source], *vectors], sizes_of(source))


def spatial(walk: Walk, node: fx.Node) -> None:
    """Windows over the last dimensions pin them."""
    rank = int(re.findall(r"(\d)d", operation(node))[0])
    source = walk.source(node)
    size = len(shape_of(source))
    pixels = list(range(size - rank, size))
    kept = [block for block in walk.kept(walk.values[source], pixels, shape_of(source)) if block.dims[0] not in pixels]
    places = [*kept, *(Block((dim,), None) for dim in pixels if first_shape(node)[dim] > 1)]
    walk.values[node] = places
    walk.several[node] = [places, places]


def constant(walk: Walk, node: fx.Node) -> None:
    """A tensor whose places all hold the same imposes nothing."""
    walk.values[node] = named(shape_of(node)) if "empty" in operation(node) else []


def range_of(walk: Walk, node: fx.Node) -> None:
    """A constant tensor that tells its places apart."""
    walk.values[node] = named(shape_of(node))


def nothing(walk: Walk, node: fx.Node) -> None:
    """A check, with no value of interest."""
    walk.values[node] = []


def fill(walk: Walk, node: fx.Node) -> None:
    """A tensor that is written over holds the same at all places, or at random something else at each."""
    source = walk.source(node)
    if operation(node) not in ("fill", "zero"):
        walk.pin(source)
    walk.values[node] = walk.values[source]
