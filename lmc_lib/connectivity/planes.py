"""Loss and error on the plane through three networks."""

__all__ = ["Plane", "plane"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.connectivity.evaluation import Points, in_tensors
from lmc_lib.data import Split
from lmc_lib.state import State, flattened


@dataclass(frozen=True)
class Plane:
    """Scores on a rectangle of the plane through three networks, in distances between weights.

    Attributes:
        places: where the networks are: the first at the origin, the second on the first axis, the third above it.
        x: the first coordinates of the columns of points, rising.
        y: the second coordinates of the rows, rising.
        loss: mean cross-entropy in nats.
        error: share of the examples.
    """

    places: Float[Tensor, "3 2"]
    x: Float[Tensor, " columns"]
    y: Float[Tensor, " rows"]
    loss: Float[Tensor, "rows columns"]
    error: Float[Tensor, "rows columns"]


def plane(
    model: nn.Module,
    states: Sequence[State],
    splits: Mapping[str, Split],
    *,
    points: int = 21,
    margin: float = 0.25,
    reset_inputs: Tensor | None = None,
) -> dict[str, Plane]:
    """Evaluates the plane through three networks on a grid (Garipov et al. 2018).

    Args:
        model: the architecture; unchanged.
        states: weights of three networks; unchanged.
        splits: the splits to evaluate on, by name.
        points: points of a row, and rows.
        margin: how far the rectangle goes beyond the networks on each side, by its own width and height.
        reset_inputs: as for :func:`~lmc_lib.connectivity.curves`.

    Returns:
        One plane for each split.

    Raises:
        ValueError: if there are not three networks, they lie on a line, there are fewer than two points, or
            ``reset_inputs`` is missing for a network with BatchNorm.
    """
    if len(states) != 3:
        raise ValueError(f"a plane goes through three networks, got {len(states)}")
    if points < 2:
        raise ValueError(f"a rectangle has corners: points is at least 2, got {points}")
    places = _places(flattened(states).double())
    low, high = places.min(0).values, places.max(0).values
    beyond = margin * (high - low)
    steps = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    x, y = torch.lerp(low - beyond, high + beyond, steps[:, None]).T
    found = Points(model, states, splits, reset_inputs)
    scores = [found.scores(_weights(places, across, up)) for up in y.tolist() for across in x.tolist()]
    return {
        name: Plane(places, x, y, **{of: each.view(points, points) for of, each in in_tensors(scores, name).items()})
        for name in splits
    }


def _places(corners: Float[Tensor, "3 numbers"]) -> Float[Tensor, "3 2"]:
    along, other = corners[1] - corners[0], corners[2] - corners[0]
    across = float(along.norm())
    if across == 0.0 or (up := float((other - along * (other @ along) / across**2).norm())) <= 1e-9 * across:
        raise ValueError("the three networks lie on a line, through which there is no single plane")
    return torch.tensor([[0.0, 0.0], [across, 0.0], [float(other @ along) / across, up]], dtype=torch.float64)


def _weights(places: Tensor, x: float, y: float) -> list[float]:
    """The weights of the networks at a point; they sum to 1, and outside of the triangle some are negative."""
    third = y / float(places[2, 1])
    second = (x - third * float(places[2, 0])) / float(places[1, 0])
    return [1.0 - second - third, second, third]
