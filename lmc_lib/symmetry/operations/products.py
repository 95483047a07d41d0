"""Operations that multiply and sum: linear layers, convolutions, matrix products, attention."""

__all__ = ["addmm", "attention", "convolution", "einsum", "linear", "matmul"]

import string

from torch import fx

from lmc_lib.symmetry.layout import Block, Places
from lmc_lib.symmetry.nodes import argument, arguments, letters, operation, shape_of
from lmc_lib.symmetry.walk import NotFollowedError, Walk


def linear(walk: Walk, node: fx.Node) -> None:
    """Inputs meet the second axis of the weight; outputs are its first."""
    source, weight, *bias = walk.operands(node)
    batch = letters(len(shape_of(source)) - 1)
    inputs = walk.layout.apart(walk.values[source], len(batch))
    operands = [(inputs, shape_of(source), batch + "y"), (walk.values[weight], shape_of(weight), "zy")]
    walk.values[node] = walk.product(operands, batch + "z")
    if bias:
        operand = (walk.values[bias[0]], shape_of(bias[0]))
        walk.values[node] = walk.broadcast([(walk.values[node], shape_of(node)), operand], shape_of(node))


def matmul(walk: Walk, node: fx.Node) -> None:
    """A matrix product, with batch dimensions broadcast."""
    first, second = walk.operands(node)
    a, b = len(shape_of(first)), len(shape_of(second))
    if min(a, b) == 1:
        words = ("x", "xz", "z") if a == 1 and b > 1 else (letters(a - 1) + "x", "x", letters(a - 1))
        if a == 1 and b > 2:
            raise NotFollowedError("of a vector and a batch is not understood")
        result = words[2]
    else:
        batch = letters(max(a, b) - 2)
        words = (batch[len(batch) - a + 2 :] + "yx", batch[len(batch) - b + 2 :] + "xz", "")
        result = batch + "yz"
    operands = [(walk.values[n], shape_of(n), w) for n, w in zip((first, second), words, strict=False)]
    walk.values[node] = walk.product(operands, result)


def addmm(walk: Walk, node: fx.Node) -> None:
    """A matrix product and a bias."""
    bias, first, second = walk.operands(node)
    batch = letters(len(shape_of(first)) - 2)
    operands = [(walk.values[n], shape_of(n), w) for n, w in ((first, batch + "yx"), (second, batch + "xz"))]
    product = (walk.product(operands, batch + "yz"), shape_of(node))
    walk.values[node] = walk.broadcast([product, (walk.values[bias], shape_of(bias))], shape_of(node))


def einsum(walk: Walk, node: fx.Node) -> None:
    """A sum of products in Einstein's notation."""
    equation, sources = str(arguments(node)[0]).replace(" ", ""), arguments(node)[1]
    if "->" not in equation:
        raise NotFollowedError("without a result is not understood")
    *words, result = equation.replace("->", ",").replace("...", ".").split(",")
    unused = "".join(sorted(set(string.ascii_letters) - set(equation)))
    # Dimensions behind an ellipsis are aligned at the right.
    behind = max(len(shape_of(n)) - len(w) + 1 if "." in w else 0 for n, w in zip(sources, words, strict=True))
    operands = []
    for each, word in zip(sources, words, strict=True):
        own = len(shape_of(each)) - len(word) + 1
        operands.append((walk.values[each], shape_of(each), word.replace(".", unused[behind - own : behind])))
    walk.values[node] = walk.product(operands, result.replace(".", unused[:behind]))


def attention(walk: Walk, node: fx.Node) -> None:
    """Queries and keys share the channels of a head, values and outputs have theirs; heads are a batch."""
    query, key, value, *mask = walk.operands(node)
    batch = letters(len(shape_of(query)) - 2)
    keys, values = (_repeated(walk, each, query) for each in (key, value))
    operands = [(walk.values[query], shape_of(query), batch + "yx"), (*keys, batch + "zx")]
    scores, shape = walk.product(operands, batch + "yz"), (*shape_of(query)[:-1], shape_of(key)[-2])
    if mask:
        scores = walk.broadcast([(scores, shape), (walk.values[mask[0]], shape_of(mask[0]))], shape)
    if argument(node, 5, "is_causal", False):
        scores = walk.kept(scores, [len(shape) - 2, len(shape) - 1], shape)
    walk.layout.reduced(scores, [len(shape) - 1])
    operands = [(scores, shape, batch + "yz"), (*values, batch + "zx")]
    walk.values[node] = walk.product(operands, batch + "yx")


def _repeated(walk: Walk, node: fx.Node, query: fx.Node) -> tuple[Places, list[int]]:
    """Places and shape of keys or values, repeated for the heads of the queries that share them."""
    places, shape = walk.values[node], list(shape_of(node))
    if len(shape) != len(shape_of(query)):
        raise NotFollowedError("of tensors with different numbers of dimensions is not understood")
    for dim, (own, wanted) in enumerate(zip(shape[:-2], shape_of(query)[:-2], strict=True)):
        if own != wanted:
            places = walk.layout.copied(places, shape, dim, wanted // own)
            shape[dim] = wanted
    return places, shape


def convolution(walk: Walk, node: fx.Node) -> None:
    """Channels as in a linear layer; pixels are pinned."""
    source, weight, *bias = walk.operands(node)
    pixels = len(shape_of(weight)) - 2
    transposed = "transpose" in operation(node)
    if len(shape_of(source)) != pixels + 2:
        raise NotFollowedError("without a batch is not understood")
    groups = int(argument(node, 6, "groups", 1))
    kernel = list(range(2, pixels + 2))
    inputs = walk.layout.apart(walk.kept(walk.values[source], kernel, shape_of(source)), 1)
    filters = walk.kept(walk.values[weight], kernel, shape_of(weight))
    channels = (shape_of(source)[1], shape_of(node)[1])
    if groups == 1:
        word = "xo" if transposed else "ox"
        places = [block for block in inputs if block.dims[0] < 2]
        matrix = [block for block in filters if block.dims[0] < 2]
        operands = [(places, shape_of(source)[:2], "nx"), (matrix, shape_of(weight)[:2], word)]
        out = walk.product(operands, "no")
    else:
        out = [block for block in inputs if block.dims == (0,)]
        out += _grouped(walk, weight, filters, inputs, groups, channels, transposed=transposed)
    if bias:
        out = walk.broadcast([(out, (1, channels[1])), (walk.values[bias[0]], shape_of(bias[0]))], (1, channels[1]))
    walk.values[node] = [*out, *(Block((dim,), None) for dim in kernel if shape_of(node)[dim] > 1)]


def _grouped(
    walk: Walk,
    weight: fx.Node,
    filters: Places,
    inputs: Places,
    groups: int,
    channels: tuple[int, int],
    *,
    transposed: bool,
) -> Places:
    """Input and output channels of each group move inside their group, and the groups as wholes."""
    layout = walk.layout
    block = layout.filled(next((each for each in inputs if each.dims == (1,)), Block((1,), None)), {1: channels[0]})
    assert block.ids is not None, "units were filled in"
    rows = layout.rows(Block((1, 2), block.ids.reshape(groups, -1)), [1])
    inside = channels[1] // groups
    out = rows if inside == 1 else layout.opened(rows, inside)
    first, second = (block.ids, out) if transposed else (out, block.ids)
    second = second.reshape(groups, -1)
    filters = layout.apart(filters, 1)
    for stored in filters:
        if stored.dims == (0,):
            layout.unify(layout.filled(stored, {0: first.size}), Block((0,), first.reshape(-1)))
        elif stored.dims == (1,) and not walk.is_used_once(weight):
            # A matrix that serves elsewhere too has one order of its columns for all groups.
            shared = layout.product([Block((0,), rows), stored], {1: second.shape[1]})
            layout.unify(Block((0, 1), second), shared)
    if walk.is_used_once(weight):
        walk.conditional[walk.name(weight)] = second
    return [Block((1,), out.reshape(-1))] if channels[1] > 1 else []
