"""What each operation of a traced network says about the units of its operands and of its result.

An operation unites the units that must move together (the output channels of a layer with the input channels of the
next, the two summands of a residual sum) and pins those that must not move (pixels, inputs, logits). One that is not
understood pins everything it touches, so a spec can be too small, but not wrong.
"""

__all__ = ["ACTIVATIONS", "visit"]

import operator
import re
from collections.abc import Callable

from torch import fx

from lmc_lib.symmetry.nodes import is_tensor, named, operation, shape_of
from lmc_lib.symmetry.operations import elementwise, moves, products
from lmc_lib.symmetry.walk import NotFollowedError, Walk

# Nonlinear functions that act on every unit alike, behind which units are best observed.
ACTIVATIONS = frozenset(
    {
        *(
            "relu",
            "relu6",
            "hardtanh",
            "leaky_relu",
            "prelu",
            "elu",
            "selu",
            "celu",
            "gelu",
            "silu",
            "mish",
            "softplus",
        ),
        *("tanh", "sigmoid", "hardswish", "hardsigmoid", "softsign", "log_sigmoid"),
    }
)
_ELEMENTWISE = ACTIVATIONS | {
    *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "clone", "contiguous", "detach", "alias"),
    *("to", "lift_fresh_copy", "type_as", "exp", "log", "sqrt", "rsqrt", "square", "neg", "abs", "clamp", "clamp_min"),
    *("clamp_max", "clip", "erf", "sin", "cos", "reciprocal", "log1p", "expm1", "nan_to_num", "sign", "add", "sub"),
    *("rsub", "mul", "multiply", "div", "divide", "true_divide", "subtract", "maximum", "minimum", "where", "pow"),
    *("masked_fill", "lerp", "addcmul", "addcdiv", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"),
    *("logical_not", "logical_xor", "copy", "floor", "ceil", "round", "trunc", "frac", "remainder", "fmod", "log2"),
    *("log10", "exp2", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc"),
    *("softshrink", "hardshrink", "threshold", "logit", "logaddexp", "hypot", "isnan", "isfinite", "sgn"),
}
_RULES: dict[str, Callable[[Walk, fx.Node], None]] = {
    "|".join(_ELEMENTWISE): elementwise.elementwise,
    r"view|reshape|(un)?flatten|(un)?squeeze|_unsafe_view|view_as|reshape_as|_reshape_alias": moves.reshape,
    r"mean|sum|amax|amin|(std|var)(_mean)?|linalg_vector_norm|norm|logsumexp|prod": elementwise.reduce,
    r"max|min": elementwise.extremum,
    r"glu": elementwise.glu,
    r"expand(_as)?|broadcast_to": elementwise.expand,
    r"_?(log_)?softmax": elementwise.softmax,
    r"cumsum|cumprod|tril|triu": elementwise.scan,
    r"(batch|instance)_norm": elementwise.batch_norm,
    r"layer_norm|rms_norm": elementwise.layer_norm,
    r"group_norm": elementwise.group_norm,
    r"_weight_norm": elementwise.weight_norm,
    r"(max|avg|lp)_pool[123]d|adaptive_(max|avg)_pool[123]d|max_pool[123]d_with_indices": elementwise.spatial,
    r"upsample_\w+[123]d|(reflection|replication)_pad[123]d": elementwise.spatial,
    r"(new_)?(zeros|ones|full|empty)|(zeros|ones|full)_like|scalar_tensor": elementwise.constant,
    r"arange|linspace|eye": elementwise.range_of,
    r"fill|zero|normal|uniform|bernoulli": elementwise.fill,
    r"_assert_tensor_metadata|_assert_scalar|sym_size": elementwise.nothing,
    r"permute|transpose|t|swapaxes|swapdims|movedim|moveaxis|mT|numpy_T": moves.permute,
    r"slice": moves.slice_of,
    r"narrow": moves.narrow,
    r"select": moves.select,
    r"flip": moves.flip,
    r"roll": moves.roll,
    r"repeat|tile": moves.repeat,
    r"repeat_interleave": moves.repeat_interleave,
    r"chunk|split|split_with_sizes|unbind|tensor_split|unsafe_chunk|unsafe_split": moves.pieces,
    r"cat|concat|concatenate|stack": moves.cat,
    r"pad|constant_pad_nd": moves.pad,
    r"pixel_shuffle": moves.pixel_shuffle,
    r"pixel_unshuffle": moves.pixel_unshuffle,
    r"channel_shuffle": moves.channel_shuffle,
    r"index": moves.index,
    r"index_select": moves.index_select,
    r"embedding": moves.embedding,
    r"linear": products.linear,
    r"matmul|mm|bmm": products.matmul,
    r"addmm|baddbmm": products.addmm,
    r"einsum": products.einsum,
    r"scaled_dot_product_attention": products.attention,
    r"conv(_transpose)?[123]d": products.convolution,
}


def visit(walk: Walk, node: fx.Node) -> None:
    """Assigns places to the result of one node."""
    if node.op == "output":
        for source in node.all_input_nodes:
            walk.pin(source)
    elif node.op == "get_attr":
        statistic = all(operation(user) in ("batch_norm", "instance_norm") for user in node.users)
        walk.values[node] = walk.entry(node, as_statistic=statistic)
    elif node.op == "placeholder":
        walk.values[node] = named(shape_of(node)) if is_tensor(node) else []
    elif node.target is operator.getitem:
        walk.values[node] = moves.item(walk, node)
    else:
        _call(walk, node)
    if node in walk.written and is_tensor(node):
        # What is written to no longer holds the same at all places.
        covered = {dim for block in walk.values[node] for dim in block.dims}
        missing = [block for block in walk.layout.fresh(shape_of(node)) if block.dims[0] not in covered]
        walk.values[node] = [*walk.values[node], *missing]


def _call(walk: Walk, node: fx.Node) -> None:
    name = operation(node)
    rule = next((rule for pattern, rule in _RULES.items() if re.fullmatch(pattern, name)), None)
    if rule is None:
        walk.unknown(node, f"{name} is not understood")
        return
    try:
        rule(walk, node)
    except NotFollowedError as error:
        walk.unknown(node, f"{name} {error}")
    except (LookupError, ValueError, TypeError, AssertionError) as error:
        # What was united before the rule gave up only makes the result smaller.
        walk.unknown(node, f"{name} in this form is not understood ({type(error).__name__})")
