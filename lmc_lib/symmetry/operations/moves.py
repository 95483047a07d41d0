"""Operations that move places: reshapes, transpositions, parts, concatenations, lookups."""

__all__ = [
    "cat", "channel_shuffle", "embedding", "flip", "index", "index_select", "item", "narrow", "pad", "permute",
    "pieces", "pixel_shuffle", "pixel_unshuffle", "repeat", "repeat_interleave", "reshape", "roll", "select",
    "slice_of",
]  # fmt: skip

import math

import numpy as np
from torch import fx

from lmc_lib.symmetry.layout import Block, Places
from lmc_lib.symmetry.nodes import (
    argument,
    arguments,
    dims_of,
    is_tensor,
    named,
    operation,
    relabelled,
    shape_of,
    shifted,
    sizes_of,
)
from lmc_lib.symmetry.walk import NotFollowedError, Walk


def reshape(walk: Walk, node: fx.Node) -> None:
    """Merges and splits dimensions."""
    source = walk.source(node)
    walk.values[node] = walk.layout.reshaped(walk.values[source], shape_of(source), shape_of(node))


def permute(walk: Walk, node: fx.Node) -> None:
    """Changes the order of the dimensions."""
    source = walk.source(node)
    rank, name = len(shape_of(source)), operation(node)
    if name == "permute":
        order = [dim % rank for dim in argument(node, 1, "dims")]
    elif name in ("movedim", "moveaxis"):
        # The shape of this array is the list of its dimensions.
        order = list(np.moveaxis(np.empty(range(rank)), *arguments(node)[1:3]).shape)
    elif name in ("t", "numpy_T"):
        order = list(range(rank))[::-1]
    else:
        first, second = arguments(node)[1:3] if len(arguments(node)) > 2 else (-2, -1)
        order = list(range(rank))
        order[first], order[second] = order[second], order[first]
    walk.values[node] = relabelled(walk.values[source], {old: new for new, old in enumerate(order)})


def slice_of(walk: Walk, node: fx.Node) -> None:
    """Takes every so many places of a range."""
    source = walk.source(node)
    dim = argument(node, 1, "dim", 0) % len(shape_of(source))
    start, end, step = (argument(node, at, name, default) for at, name, default in
                        ((2, "start", None), (3, "end", None), (4, "step", 1)))  # fmt: skip
    index = np.arange(shape_of(source)[dim])[start:end:step]
    walk.values[node] = walk.layout.indexed(walk.values[source], dim, index)


def narrow(walk: Walk, node: fx.Node) -> None:
    """Takes a range of places."""
    source = walk.source(node)
    dim, start, length = arguments(node)[1:4]
    walk.values[node] = walk.layout.indexed(
        walk.values[source], dim % len(shape_of(source)), np.arange(start, start + length)
    )


def select(walk: Walk, node: fx.Node) -> None:
    """Takes one place and drops the dimension."""
    source = walk.source(node)
    dim = argument(node, 1, "dim") % len(shape_of(source))
    index = np.arange(shape_of(source)[dim])[[argument(node, 2, "index")]]
    walk.values[node] = _dropped(walk.layout.indexed(walk.values[source], dim, index), dim)


def flip(walk: Walk, node: fx.Node) -> None:
    """Reverses the order of places."""
    source = walk.source(node)
    walk.values[node] = walk.values[source]
    for dim in dims_of(argument(node, 1, "dims"), len(shape_of(node))):
        walk.values[node] = walk.layout.indexed(walk.values[node], dim, np.arange(shape_of(node)[dim])[::-1])


def roll(walk: Walk, node: fx.Node) -> None:
    """Shifts places round."""
    source = walk.source(node)
    shifts, dims = argument(node, 1, "shifts"), argument(node, 2, "dims", ())
    shifts, dims = ([each] if isinstance(each, int) else each for each in (shifts, dims))
    walk.values[node] = walk.values[source]
    if not dims:
        raise NotFollowedError("of a flattened tensor is not understood")
    for shift, dim in zip(shifts, dims_of(list(dims), len(shape_of(node)), ordered=True), strict=True):
        walk.values[node] = walk.layout.indexed(walk.values[node], dim, np.roll(np.arange(shape_of(node)[dim]), shift))


def repeat(walk: Walk, node: fx.Node) -> None:
    """Sets copies side by side."""
    source = walk.source(node)
    before = len(shape_of(node)) - len(shape_of(source))
    places = shifted(walk.values[source], before)
    shape = [*[1] * before, *shape_of(source)]
    for dim, size in enumerate(shape_of(node)):
        places = walk.layout.copied(places, shape, dim, size // shape[dim], whole=True)
        shape[dim] = size
    walk.values[node] = places


def repeat_interleave(walk: Walk, node: fx.Node) -> None:
    """Sets copies of each place side by side."""
    source = walk.source(node)
    count, dim = argument(node, 1, "repeats"), argument(node, 2, "dim")
    if not isinstance(count, int) or dim is None:
        raise NotFollowedError("of a flattened tensor, or with several numbers, is not understood")
    shape = shape_of(source)
    walk.values[node] = walk.layout.copied(walk.values[source], shape, dim % len(shape), count)


def pieces(walk: Walk, node: fx.Node) -> None:
    """Cuts a dimension into parts."""
    source = walk.source(node)
    name = operation(node)
    dim = argument(node, 1 if name == "unbind" else 2, "dim", 0) % len(shape_of(source))
    size = shape_of(source)[dim]
    widths = [1] * size if name == "unbind" else [each.shape[dim] for each in node.meta["val"]]
    starts = np.cumsum([0, *widths])
    # Parts that nothing uses tell no units apart.
    used = {arguments(user)[1] for user in node.users if user.users}
    pieces = [
        walk.layout.indexed(walk.values[source], dim, np.arange(a, a + w)) if at in used else []
        for at, (a, w) in enumerate(zip(starts, widths, strict=False))
    ]
    walk.several[node] = [_dropped(each, dim) if name == "unbind" else each for each in pieces]


def item(walk: Walk, node: fx.Node) -> Places:
    """Takes one of several values."""
    source = arguments(node)[0]
    if isinstance(source, fx.Node) and source in walk.several:
        return walk.several[source][arguments(node)[1]]
    return named(shape_of(node)) if is_tensor(node) else []


def cat(walk: Walk, node: fx.Node) -> None:
    """Sets tensors side by side along an old dimension, or along a new one."""
    sources = [each for each in arguments(node)[0] if math.prod(shape_of(each)) > 0]
    rank = len(shape_of(node))
    dim = argument(node, 1, "dim", 0) % rank
    places = [walk.values[each] for each in sources]
    if operation(node) == "stack":
        places = [relabelled(each, {old: old + (old >= dim) for old in range(rank - 1)}) for each in places]
        lengths = [1] * len(sources)
    else:
        lengths = [shape_of(each)[dim] for each in sources]
    walk.values[node] = walk.layout.concatenated(places, lengths, dim, sizes_of(node))


def pad(walk: Walk, node: fx.Node) -> None:
    """Puts a constant around; any other border pins its dimension."""
    source = walk.source(node)
    rank, widths = len(shape_of(source)), list(argument(node, 1, "pad"))
    constant = operation(node) == "constant_pad_nd" or argument(node, 2, "mode", "constant") == "constant"
    places = walk.values[source]
    for index in range(len(widths) // 2):
        dim, before, after = rank - 1 - index, widths[2 * index], widths[2 * index + 1]
        if before == after == 0:
            continue
        block = next((each for each in walk.layout.apart(places, dim) if dim in each.dims), None)
        if not constant or min(before, after) < 0 or block is None or block.ids is None:
            places = walk.kept(places, [dim], shape_of(node))
            continue
        sizes = dict(enumerate(shape_of(source)))
        lengths = [before, shape_of(source)[dim], after]
        operands = [[], places, []]
        parts = [(each, length) for each, length in zip(operands, lengths, strict=True) if length]
        places = walk.layout.concatenated([p for p, _ in parts], [n for _, n in parts], dim, sizes)
    walk.values[node] = places


def pixel_shuffle(walk: Walk, node: fx.Node) -> None:
    """Moves blocks of channels to pixels."""
    source = walk.source(node)
    factor = int(argument(node, 1, "upscale_factor"))
    *batch, channels, height, width = shape_of(source)
    split = [*batch, channels // factor**2, factor, factor, height, width]
    places = walk.layout.reshaped(walk.values[source], shape_of(source), split)
    rank = len(batch)
    order = [*range(rank), rank, rank + 3, rank + 1, rank + 4, rank + 2]
    places = relabelled(places, {old: new for new, old in enumerate(order)})
    walk.values[node] = walk.layout.reshaped(places, [split[dim] for dim in order], shape_of(node))


def pixel_unshuffle(walk: Walk, node: fx.Node) -> None:
    """Moves blocks of pixels to channels."""
    source = walk.source(node)
    factor = int(argument(node, 1, "downscale_factor"))
    *batch, channels, height, width = shape_of(source)
    split = [*batch, channels, height // factor, factor, width // factor, factor]
    places = walk.layout.reshaped(walk.values[source], shape_of(source), split)
    rank = len(batch)
    order = [*range(rank + 1), rank + 2, rank + 4, rank + 1, rank + 3]
    places = relabelled(places, {old: new for new, old in enumerate(order)})
    walk.values[node] = walk.layout.reshaped(places, [split[dim] for dim in order], shape_of(node))


def channel_shuffle(walk: Walk, node: fx.Node) -> None:
    """Interleaves groups of channels."""
    source = walk.source(node)
    groups = int(argument(node, 1, "groups"))
    batch, channels, *pixels = shape_of(source)
    split = [batch, groups, channels // groups, *pixels]
    places = walk.layout.reshaped(walk.values[source], shape_of(source), split)
    places = relabelled(places, {1: 2, 2: 1, **{dim: dim for dim in range(len(split)) if dim not in (1, 2)}})
    walk.values[node] = walk.layout.reshaped(places, [batch, channels // groups, groups, *pixels], shape_of(node))


def index(walk: Walk, node: fx.Node) -> None:
    """Looks up places by number along neighbouring dimensions, which are pinned."""
    source = walk.source(node)
    given = [at for at, each in enumerate(arguments(node)[1]) if each is not None]
    if not given or given != list(range(given[0], given[-1] + 1)):
        raise NotFollowedError("with indices apart is not understood")
    for each in arguments(node)[1]:
        if isinstance(each, fx.Node):
            walk.pin(each)
    walk.report(node, given, "looks units up by number")
    places = walk.kept(walk.values[source], given, shape_of(source))
    added = len(shape_of(node)) - len(shape_of(source)) + len(given)
    moved = {dim: dim if dim < given[0] else dim - len(given) + added for dim in range(len(shape_of(source)))}
    places = [block for block in places if block.dims[0] not in given]
    new = [dim for dim in range(given[0], given[0] + added) if shape_of(node)[dim] > 1]
    walk.values[node] = [*relabelled(places, moved), *(Block((dim,), None) for dim in new)]


def index_select(walk: Walk, node: fx.Node) -> None:
    """Looks up places by number along one dimension, which is pinned."""
    source = walk.source(node)
    dim = argument(node, 1, "dim") % len(shape_of(source))
    walk.pin(argument(node, 2, "index"))
    walk.report(node, [dim], "looks units up by number")
    places = [block for block in walk.kept(walk.values[source], [dim], shape_of(source)) if dim not in block.dims]
    walk.values[node] = [*places, Block((dim,), None)] if shape_of(node)[dim] > 1 else places


def embedding(walk: Walk, node: fx.Node) -> None:
    """Looks up rows of a table: its rows have names, its columns are units."""
    weight, index = walk.operands(node)[:2]
    walk.pin(index)
    rank = len(shape_of(node)) - 1
    kept = [block for block in walk.kept(walk.values[weight], [0], shape_of(weight)) if block.dims == (1,)]
    walk.values[node] = [*named(shape_of(index)), *relabelled(kept, {1: rank})]


def _dropped(places: Places, dim: int) -> Places:
    return [Block(tuple(each - (each > dim) for each in block.dims), block.ids) for block in places]
