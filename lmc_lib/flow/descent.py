"""Plain gradient descent on a few matrices."""

__all__ = ["Descent", "descend"]

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Point = tuple[Tensor, ...]


@dataclass(frozen=True)
class Descent:
    """What defines a gradient descent: all examples at once, no momentum, one step size.

    Attributes:
        steps: number of updates.
        rate: the step size; in which unit says who descends.
    """

    steps: int
    rate: float


def descend(gradient: Callable[..., Point], start: Point, descent: Descent) -> Point:
    """Where gradient descent arrives; many starts at once, if the gradient takes batches.

    Args:
        gradient: from the matrices to the gradient by each of them.
        start: the matrices before the first update.
        descent: how many updates, and how long.
    """
    point = start
    for _ in range(descent.steps):
        point = tuple(matrix - descent.rate * slope for matrix, slope in zip(point, gradient(*point), strict=True))
    return point
