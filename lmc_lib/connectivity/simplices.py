"""Loss and error on the simplex that several networks span, and the barrier on it."""

__all__ = ["Simplex", "barycentric", "simplex"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmc_lib.connectivity.evaluation import Points, Scores, in_tensors
from lmc_lib.connectivity.lines import Curve
from lmc_lib.data import Split
from lmc_lib.state import State


@dataclass(frozen=True)
class Simplex:
    """Scores at points of a simplex; its corners, where one weight is 1, are among them.

    Attributes:
        weights: barycentric coordinates, rows that sum to 1.
        loss: mean cross-entropy in nats.
        error: share of the examples.
    """

    weights: Float[Tensor, "points corners"]
    loss: Float[Tensor, " points"]
    error: Float[Tensor, " points"]

    @classmethod
    def of_scores(cls, corners: int, loss: Float[Tensor, " points"], error: Float[Tensor, " points"]) -> "Simplex":
        """The simplex of so many corners from scores at all its points, in the order of :func:`barycentric`.

        Raises:
            ValueError: if no resolution has so many points.
        """
        resolution = next(steps for steps in count(1) if math.comb(steps + corners - 1, corners - 1) >= len(loss))
        weights = barycentric(corners, resolution)
        if len(weights) != len(loss):
            raise ValueError(
                f"no simplex of {corners} corners has {len(loss)} points: {len(weights)} would be the next"
            )
        return cls(weights, loss, error)

    def corners(self, quantity: str = "loss") -> Float[Tensor, " corners"]:
        """The scores of the networks themselves."""
        values: Tensor = getattr(self, quantity)
        return values[self.weights.argmax(0)]

    def heights(self, quantity: str = "loss") -> Float[Tensor, " points"]:
        """How far each point lies above the plane through the corners."""
        values: Tensor = getattr(self, quantity)
        return values - self.weights @ self.corners(quantity)

    def barrier(self, quantity: str = "loss", *, part: str = "simplex") -> float:
        r"""The largest height :math:`\sup_w [v(\sum_i w_i \theta_i) - \sum_i w_i v(\theta_i)]`; never negative.

        It is no smaller than the barrier of any edge, and with two corners it is that of the line.

        Args:
            quantity: ``"loss"`` or ``"error"``.
            part: ``"simplex"`` for all of it; ``"direct"`` for the highest barrier on the edges from the first corner,
                or ``"indirect"`` for that on the edges between the others.
        """
        if part == "simplex":
            return float(self.heights(quantity).max())
        edges = combinations(range(self.weights.shape[1]), 2)
        return max(self.edge(*edge).barrier(quantity) for edge in edges if (edge[0] == 0) == (part == "direct"))

    def edge(self, start: int, end: int) -> Curve:
        """The line between two corners."""
        others = [corner for corner in range(self.weights.shape[1]) if corner not in (start, end)]
        on_edge = (self.weights[:, others] == 0.0).all(1).nonzero().squeeze(1)
        order = on_edge[self.weights[on_edge, end].argsort()]
        return Curve(self.weights[order, end], self.loss[order], self.error[order])


def barycentric(corners: int, resolution: int) -> Float[Tensor, "points corners"]:
    """All barycentric coordinates that are multiples of ``1 / resolution``, in falling order of the first, second, ...

    Example:
        >>> barycentric(3, 2).tolist()
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    """
    # Bars between stars: the gaps between the bars are the numerators.
    places = resolution + corners - 1
    bars = torch.tensor([[-1, *chosen, places] for chosen in combinations(range(places), corners - 1)])
    return (bars.diff(dim=1) - 1).flip(0).double() / resolution


def simplex(
    model: nn.Module,
    states: Sequence[State],
    splits: Mapping[str, Split],
    *,
    resolution: int = 10,
    reset_inputs: Tensor | None = None,
    corners_of: Mapping[str, Simplex] | None = None,
) -> dict[str, Simplex]:
    r"""Evaluates :math:`\sum_i w_i \theta_i` at all weights that are multiples of ``1 / resolution`` and sum to 1.

    There are :math:`\binom{r + n - 1}{n - 1}` points for ``n`` networks: 66 for three at resolution 10, 286 for four.

    Args:
        model: the architecture; unchanged.
        states: weights of at least two networks; unchanged.
        splits: the splits to evaluate on, by name.
        resolution: steps on each edge; the centre is among the points if it is a multiple of the number of networks.
        reset_inputs: training examples for the statistics of BatchNorm, which are re-estimated at every point; needed
            if and only if the network keeps statistics.
        corners_of: simplices of the same networks under other permutations, whose corners are reused: a permutation
            does not change what a network computes.

    Returns:
        One simplex for each split.

    Raises:
        ValueError: if there are fewer than two networks, no point between them, the states are of different
            architectures, or ``reset_inputs`` is missing for a network with BatchNorm.
    """
    if len(states) < 2:
        raise ValueError(f"a simplex needs at least two networks, got {len(states)}")
    if resolution < 2:
        raise ValueError(f"a barrier needs a point between the networks: resolution is at least 2, got {resolution}")
    points = Points(model, states, splits, reset_inputs)
    weights = barycentric(len(states), resolution)
    known = {} if corners_of is None else _corners(corners_of, weights)
    scores = [known.get(index) or points.scores(row) for index, row in enumerate(weights.tolist())]
    return {name: Simplex(weights, **in_tensors(scores, name)) for name in splits}


def _corners(known: Mapping[str, Simplex], weights: Tensor) -> dict[int, dict[str, Scores]]:
    """The known scores of the corners by their place in a simplex with these weights."""
    return {
        place: {
            name: Scores(float(each.corners("loss")[corner]), float(each.corners("error")[corner]))
            for name, each in known.items()
        }
        for corner, place in enumerate(weights.argmax(0).tolist())
    }
