r"""A linear map whose blocks of weights have degrees of their own, past the point at which it separates two classes.

The map :math:`w` has the weights :math:`w = (u^D - v^D) / \sqrt 2`, input by input, with a degree :math:`D` for each
input. Its output is multiplied by :math:`e^a` when each parameter is multiplied by :math:`e^{a / D}`: the map is
quasi-homogeneous, with the rates :math:`1 / D` (Kunin, Yamamura, Ma, Ganguli 2023), and homogeneous if all degrees are
the same. Points are given by their label times their inputs, so that a positive output is right.
"""

__all__ = [
    "angle", "balls", "grown", "jacobian", "margin", "max_margin", "separable", "velocity", "weights",
]  # fmt: skip

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.random import Generator

# Of the numerical integration, which with much less does not end where rounding is all that is left. Parameters that
# shrink to nothing need no digits.
_RELATIVE = 1e-8
_ABSOLUTE = 1e-12
# By how much less a free weight counts than one that is paid for, as a factor of its size; and what counts as 1.
_FREE = 1e-4
_CLOSE = 1e-6
# Of the two rows of parameters, with the factor that makes degree 1 the plain linear map.
_SIGNS = np.array([[1.0], [-1.0]]) / 2**0.5


def balls(
    count: int, sizes: Sequence[int], distances: Sequence[float], *, generator: Generator
) -> Float[ndarray, "count inputs"]:
    """Draws points evenly in balls of radius 1, block by block.

    The first input of a block is the one along which its ball is moved; the balls of the two classes are mirror images,
    and one ball holds the points of both, times their labels. A block separates the classes alone if its distance is
    above 1, and may do so with few points if it is not.

    Args:
        count: number of points.
        sizes: numbers of inputs, by block.
        distances: of the centre of the ball from zero, by block.
        generator: draws.
    """
    blocks = []
    for size, distance in zip(sizes, distances, strict=True):
        drawn = generator.normal(size=(count, size))
        radii = generator.uniform(size=(count, 1)) ** (1.0 / size)
        drawn *= radii / np.linalg.norm(drawn, axis=1, keepdims=True)
        drawn[:, 0] += distance
        blocks.append(drawn)
    return np.concatenate(blocks, 1)


def separable(points: Float[ndarray, "points inputs"]) -> bool:
    """Whether some linear map, without a bias, is right at all points."""
    from scipy.optimize import linprog  # noqa: PLC0415 -- slow to load, here and below

    count, inputs = points.shape
    found = linprog(np.zeros(inputs), A_ub=-points, b_ub=-np.ones(count), bounds=(None, None))
    return bool(found.status == 0)


def max_margin(points: Float[ndarray, "points inputs"], paid: Bool[ndarray, " inputs"]) -> Float[ndarray, " inputs"]:
    """The map with the least norm of the weights that are paid for, among those whose outputs are at least 1.

    If all weights are paid for, it has the greatest margin in the inputs. Where some are free, and several maps are
    alike, it is the one with the least norm of the free weights. The least distance is found by non-negative least
    squares (Lawson, Hanson 1974, chapter 23), exactly but for the price of a free weight, a hundred millionth.

    Args:
        points: labels times inputs.
        paid: by input, whether its weight counts.

    Raises:
        ValueError: if no map separates the classes.
    """
    from scipy.optimize import nnls  # noqa: PLC0415

    prices = np.where(paid, 1.0, _FREE)
    least = np.vstack([(points / prices).T, np.ones(len(points))])
    wanted = np.append(np.zeros(len(paid)), 1.0)
    left = least @ nnls(least, wanted)[0] - wanted
    found: ndarray = -left[:-1] / left[-1] / prices
    if not (points @ found > 1.0 - _CLOSE).all():
        raise ValueError(f"no map separates the {len(points)} points")
    return found


def weights(parameters: Float[ndarray, "2 inputs"], degrees: Int[ndarray, " inputs"]) -> Float[ndarray, " inputs"]:
    """The map of two rows of parameters, above and below zero."""
    above, below = parameters**degrees
    return np.asarray((above - below) / 2**0.5)


def velocity(
    points: Float[ndarray, "points inputs"], parameters: Float[ndarray, "2 inputs"], degrees: Int[ndarray, " inputs"]
) -> Float[ndarray, "2 inputs"]:
    r"""How parameters move under gradient flow on the mean exponential loss, in a time that runs as it falls.

    It is the negative gradient of the logarithm of the loss: :math:`d\tau = L\, dt`, on the same path.
    """
    pull = _shares(points, parameters, degrees) @ points
    return np.asarray(_SIGNS * degrees * parameters ** (degrees - 1) * pull)


def jacobian(
    points: Float[ndarray, "points inputs"], parameters: Float[ndarray, "2 inputs"], degrees: Int[ndarray, " inputs"]
) -> Float[ndarray, "both both"]:
    """The derivative of the velocity by the parameters, both rows of them in one."""
    shares = _shares(points, parameters, degrees)
    pull = shares @ points
    slopes = (_SIGNS * degrees * parameters ** (degrees - 1)).ravel()
    bends = _SIGNS * degrees * (degrees - 1) * parameters ** np.maximum(degrees - 2, 0) * pull
    spread = (points.T * shares) @ points - np.outer(pull, pull)
    return np.asarray(np.diag(bends.ravel()) - np.outer(slopes, slopes) * np.tile(spread, (2, 2)))


def grown(
    points: Float[ndarray, "points inputs"],
    start: Float[ndarray, "2 inputs"],
    degrees: Int[ndarray, " inputs"],
    norms: Sequence[float],
) -> Float[ndarray, "norms inputs"]:
    """The map when its norm reaches some values, under gradient flow, by numerical integration (LSODA of scipy).

    Args:
        points: labels times inputs.
        start: the parameters, positive, of a map whose norm is below the first one that is asked for.
        degrees: by input.
        norms: rising.

    Raises:
        ValueError: if no map separates the classes: then the norm does not grow without end.
        RuntimeError: if the integration stops on the way.
    """
    from scipy.integrate import solve_ivp  # noqa: PLC0415

    if not separable(points):
        raise ValueError(f"no map separates the {len(points)} points")

    def flow(_: float, flat: ndarray) -> ndarray:
        return velocity(points, flat.reshape(2, -1), degrees).ravel()

    def bending(_: float, flat: ndarray) -> ndarray:
        return jacobian(points, flat.reshape(2, -1), degrees)

    found, flat = [], start.ravel()
    for norm in norms:

        def reached(_: float, now: ndarray, norm: float = norm) -> float:
            return float(np.linalg.norm(weights(now.reshape(2, -1), degrees))) - norm

        reached.terminal = True  # type: ignore[attr-defined]
        options = {"rtol": _RELATIVE, "atol": _ABSOLUTE, "jac": bending}
        solved = solve_ivp(flow, (0.0, np.inf), flat, "LSODA", events=reached, **options)
        if solved.status != 1:
            raise RuntimeError(f"the integration stopped before the norm {norm:g}: {solved.message}")
        flat = solved.y[:, -1]
        found.append(weights(flat.reshape(2, -1), degrees))
    return np.stack(found)


def margin(points: Float[ndarray, "points inputs"], map_: Float[ndarray, "*maps inputs"]) -> Float[ndarray, "*maps"]:
    """How far the nearest point is from the boundary, negative if it lies on the wrong side."""
    return np.asarray((map_ @ points.T).min(-1) / np.linalg.norm(map_, axis=-1))


def angle(one: Float[ndarray, "*#maps inputs"], other: Float[ndarray, "*#maps inputs"]) -> Float[ndarray, "*maps"]:
    """The angle between maps in radians, exact where it is small too."""
    first, second = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other))
    apart, together = (np.linalg.norm(each, axis=-1) for each in (first - second, first + second))
    return np.asarray(2.0 * np.arctan2(apart, together))


def _shares(points: ndarray, parameters: ndarray, degrees: ndarray) -> ndarray:
    """By point its share of the loss, a softmax: scipy's checks what it is given for longer than this takes."""
    outputs = -points @ weights(parameters, degrees)
    powers = np.exp(outputs - outputs.max())
    return np.asarray(powers / powers.sum())
