"""Points and sizes of simplices in any space, such as that of the weights of a network."""

__all__ = ["height", "log_volume", "turned_away", "uniform_weights"]

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def uniform_weights(points: int, corners: int, *, generator: Generator) -> Float[Tensor, "points corners"]:
    """Barycentric coordinates of points drawn uniformly from a simplex, those of Dirichlet(1, ..., 1), in float64.

    Args:
        points: how many.
        corners: the corners of the simplex.
        generator: draws.

    Raises:
        ValueError: if there is no corner.
    """
    if corners < 1:
        raise ValueError(f"a simplex has at least one corner, got {corners}")
    exponential = -torch.log1p(-torch.rand(points, corners, dtype=torch.float64, generator=generator))
    return exponential / exponential.sum(1, keepdim=True)


def log_volume(corners: Float[Tensor, "*sets corners numbers"]) -> Float[Tensor, "*sets"]:
    r"""The logarithm of the volume of simplices, in as many dimensions as they have.

    With the edges from one corner to the :math:`n` others as rows of :math:`A` it is
    :math:`\tfrac12 \log\det(A A^\top) - \log n!`; minus infinity where corners lie in a plane of fewer dimensions, and
    0 for a single corner.

    Args:
        corners: the corners as points; see :func:`lmc_lib.state.flattened`.

    Example:
        >>> round(float(log_volume(torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 4.0]])).exp()), 4)
        6.0
    """
    edges = corners[..., 1:, :] - corners[..., :1, :]
    logarithm: Tensor = torch.linalg.slogdet(edges @ edges.mT)[1] / 2 - math.lgamma(corners.shape[-2])
    return logarithm


def height(corners: Float[Tensor, "corners numbers"]) -> float:
    """How far the last corner of a simplex lies from the plane through the others, its *height*.

    The volume is that of the face of these others by the height over the number of dimensions.

    Raises:
        ValueError: if there are fewer than two corners.
    """
    return float(_upright(corners).norm())


def turned_away(corners: Float[Tensor, "corners numbers"], *, generator: Generator) -> Float[Tensor, " numbers"]:
    """A point as far from the plane of the others as the last corner, above the same place, in a random direction.

    In place of the last corner it makes a simplex of the same shape. Its direction is drawn uniformly from those at
    right angles to the plane of the other corners.

    Raises:
        ValueError: if there are fewer than two corners, or no direction is at right angles to the others.
    """
    upright = _upright(corners)
    if corners.shape[1] < len(corners):
        raise ValueError(
            f"{len(corners) - 1} corners leave no other direction in {corners.shape[1]} dimensions to turn to"
        )
    drawn = torch.randn(corners.shape[1], dtype=torch.float64, generator=generator).to(corners)
    direction = _upright(torch.cat([corners[:-1], (corners[0] + drawn)[None]]))
    turned: Tensor = corners[-1] - upright + direction * (upright.norm() / direction.norm())
    return turned


def _upright(corners: Tensor) -> Tensor:
    """What of the last corner stands at right angles to the plane through the others."""
    if len(corners) < 2:
        raise ValueError(f"a simplex with a height has at least two corners, got {len(corners)}")
    last = corners[-1] - corners[0]
    if len(corners) == 2:
        return last
    basis = torch.linalg.qr((corners[1:-1] - corners[0]).T).Q
    inside: Tensor = basis @ (basis.T @ last)
    # Once more, since what is left of a long edge holds its rounding.
    rough = last - inside
    upright: Tensor = rough - basis @ (basis.T @ rough)
    return upright
