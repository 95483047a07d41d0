r"""The critical points of the sum-regularised linear autoencoder: those of the theorem, and a search that knows none.

At a critical point the decoder is :math:`W_2 = W_1^\top = U_I (I - \lambda \Sigma_I^{-1})^{1/2} O` for some set
:math:`I` of at most :math:`k` principal directions whose variances are above :math:`\lambda`, and rows :math:`O` that
are orthonormal (Kunin, Bloom, Goeva, Seed 2019). ``kept`` marks :math:`I` among the principal directions.
"""

__all__ = ["height", "hessian", "index", "kinds", "land"]

from collections.abc import Iterator
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lmc_lib.flow.autoencoder import Landscape, squared_singular_values

# Exact for polynomials of degree four, so that the step may be as long as the weights.
_STENCIL = ((1.0, 8.0 / 12.0), (-1.0, -8.0 / 12.0), (2.0, -1.0 / 12.0), (-2.0, 1.0 / 12.0))


def kinds(variances: Float[Tensor, " d"], strength: float, width: int) -> Iterator[Bool[Tensor, " d"]]:
    """The sets of directions that a critical point may keep: at most ``width``, of variances above the factor."""
    allowed = torch.nonzero(variances > strength).flatten().tolist()
    for count in range(min(width, len(allowed)) + 1):
        for places in combinations(allowed, count):
            yield torch.isin(torch.arange(len(variances)), torch.tensor(places, dtype=torch.int64))


def index(variances: Float[Tensor, " d"], strength: float, kept: Bool[Tensor, " d"], width: int) -> int:
    r"""The number of directions in which the loss falls at a critical point, to second order.

    One for each pair of a direction that is kept and a larger one that is not (the latent unit can turn to it), and one
    for each pair of a latent unit that is not in use and a direction above :math:`\lambda` that is not kept (the
    unit can grow into it). It follows from the second-order term of the loss, which falls apart into blocks of at most
    four entries.

    Args:
        variances: the variances along all principal directions.
        strength: the factor :math:`\lambda`.
        kept: which of these directions the point keeps.
        width: the number :math:`k` of latent units.
    """
    others = variances[~kept]
    turns = int((others[:, None] > variances[kept]).sum())
    return turns + (width - int(kept.sum())) * int((others > strength).sum())


def height(variances: Float[Tensor, " d"], strength: float, kept: Bool[Tensor, " d"]) -> float:
    r"""The loss at a critical point: :math:`\sum_{i \notin I} \sigma_i^2 + \sum_{i \in I} \lambda (1 + a_i^2)`.

    The squared singular values are :math:`a_i^2 = 1 - \lambda / \sigma_i^2`.
    """
    return float(variances[~kept].sum() + strength * (1.0 + squared_singular_values(variances[kept], strength)).sum())


def hessian(
    landscape: Landscape, encoder: Float[Tensor, "k d"], decoder: Float[Tensor, "d k"]
) -> Float[ndarray, "n n"]:
    """The second derivatives of the loss by all entries of the encoder, then of the decoder, each row by row.

    The gradient is a polynomial of degree three, so that five-point differences are exact but for rounding.
    """
    point = _flat(encoder, decoder)
    steps = torch.eye(len(point), dtype=point.dtype)
    columns = [
        factor * _flat(*landscape.gradient(*_matrices(point + length * steps, encoder.shape)))
        for length, factor in _STENCIL
    ]
    return torch.stack(columns).sum(0).numpy()


def land(
    landscape: Landscape, encoder: Float[Tensor, "k d"], decoder: Float[Tensor, "d k"]
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "d k"]]:
    """Searches a critical point, of whatever index, from a start.

    Levenberg and Marquardt's method for a gradient of zero (MINPACK): it can walk uphill, and ends at a saddle or a
    minimum near by, or where the gradient is short and yet not zero. There are no maxima: for a fixed decoder the loss
    is a convex quadratic in the encoder.
    """
    from scipy.optimize import root  # noqa: PLC0415 -- slow to load, and used here alone

    shape = encoder.shape

    def slope(point: ndarray) -> ndarray:
        return _flat(*landscape.gradient(*_matrices(torch.from_numpy(point), shape))).numpy()

    def curvature(point: ndarray) -> ndarray:
        return hessian(landscape, *_matrices(torch.from_numpy(point), shape))

    start = _flat(encoder, decoder).numpy()
    end = root(slope, start, jac=curvature, method="lm", options={"xtol": 1e-14, "ftol": 1e-14, "maxiter": 2000}).x
    return _matrices(torch.from_numpy(end), shape)


def _flat(encoder: Tensor, decoder: Tensor) -> Tensor:
    return torch.cat([encoder.flatten(-2), decoder.flatten(-2)], -1)


def _matrices(flat: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    k, d = shape
    many = flat.shape[:-1]
    return flat[..., : k * d].reshape(*many, k, d), flat[..., k * d :].reshape(*many, d, k)
