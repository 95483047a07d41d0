"""Whether a quantity falls all the way along a line, and how much the answers of a network turn on it."""

__all__ = ["bump_height", "gauss_lengths"]

import copy
import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, replace_all_batch_norm_modules_, vmap

from lmc_lib.state import State, apply, fitted, real


def bump_height(values: Float[Tensor, " points"]) -> float:
    r"""By how much values rise along a line: :math:`\max_{j \le i} (v_i - v_j)`, 0 if they never do.

    It is the height above the lowest value so far, as in the code of Lucas et al. (2021), which leaves out a rise that
    begins at the last point but one.

    Args:
        values: loss or error at the points of the line, in their order.

    Raises:
        ValueError: if there is no value.

    Example:
        >>> bump_height(torch.tensor([2.0, 1.0, 1.25, 0.5, 0.75, 0.25]))
        0.25
    """
    if not len(values):
        raise ValueError("a bump is looked for along a line, and there is no point on it")
    return float((values - values.cummin(0).values).max())


def gauss_lengths(
    model: nn.Module, start: State, end: State, inputs: Tensor, *, points: int = 25
) -> tuple[Float[Tensor, " examples"], Float[Tensor, " examples"]]:
    r"""The lengths of the Gauss map of the logits along a line: by how much the direction of their path turns.

    With logits :math:`z(\alpha)` of an example and the unit tangent :math:`t = z' / \lVert z' \rVert`, the length is
    that of the way of :math:`t` on the unit sphere, in radians: 0 if the logits move straight on, :math:`\pi / 2` for a
    quarter of a circle. Two estimates come from evenly spaced points: the sum of the angles between one tangent and the
    next; and the integral :math:`\int_0^1 \lVert t'(\alpha) \rVert \, d\alpha` by trapezia, as Lucas et al. (2021) have
    it. At a kink, which the path of a network of rectifiers has wherever a unit switches, the tangent jumps: the sum
    counts it, the integral does not.

    Args:
        model: the architecture; unchanged.
        start: weights at the beginning.
        end: weights at the end.
        inputs: the examples. In a network with BatchNorm they are normalised by their own statistics, at each point,
            so that these move with the weights and the tangent is that of the path.
        points: number of points, the two ends included.

    Returns:
        The sum of angles and the integral, for each example; NaN for one whose logits stand still at a point, where
        they have no direction.

    Raises:
        ValueError: if there are fewer than two points.
    """
    if points < 2:
        raise ValueError(f"a path turns between two points: points is at least 2, got {points}")
    network = replace_all_batch_norm_modules_(copy.deepcopy(model).eval())
    place = next(iter(real(end).values()))
    inputs = fitted(inputs, end)

    one = torch.ones((), dtype=place.dtype, device=place.device)

    def tangent(alpha: Tensor) -> Tensor:
        moved: Tensor = jvp(lambda at: apply(network, _between(start, end, at), inputs), (alpha,), (one,))[1]
        direction: Tensor = moved / moved.norm(dim=1, keepdim=True)
        return direction

    alphas = torch.linspace(0.0, 1.0, points, dtype=place.dtype, device=place.device)
    with torch.no_grad(), warnings.catch_warnings():
        # The first derivative forward of a process loads parts of torch that still use what torch deprecates.
        warnings.filterwarnings("ignore", ".*torch.jit.script.*", FutureWarning)
        tangents, turns = vmap(lambda at: jvp(tangent, (at,), (one,))[:2])(alphas)
    t = tangents.double().cpu()
    # Exact near 0, where the arc cosine of an inner product is not.
    angles = 2.0 * torch.atan2((t[1:] - t[:-1]).norm(dim=-1), (t[1:] + t[:-1]).norm(dim=-1))
    speeds = turns.double().cpu().norm(dim=-1)
    return angles.sum(0), torch.trapezoid(speeds, alphas.double().cpu(), dim=0)


def _between(start: State, end: State, alpha: Tensor) -> State:
    """The point of a line at a number that is differentiated; what is no number of a weight is that of the start."""
    return {
        name: torch.lerp(value, end[name], alpha) if value.is_floating_point() else value
        for name, value in start.items()
    }
