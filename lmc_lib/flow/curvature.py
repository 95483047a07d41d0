r"""The direction in which a loss curves most, and how the loss grows along lines.

The *rise* along a direction :math:`v` of unit length is
:math:`\frac12 [L(\theta + r v) + L(\theta - r v)] - L(\theta)`, in which the slope at :math:`\theta` cancels.
A quadratic loss has the rise :math:`\frac12 r^2 v^\top H v`.
"""

__all__ = ["exponents", "rises", "sharpest"]

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

Loss = Callable[[Tensor], Tensor]

# Relative to the eigenvalue; its own error is of the order of the square.
_TOLERANCE = 1e-8


def sharpest(loss: Loss, point: Float[Tensor, " n"]) -> tuple[float, Float[Tensor, " n"]]:
    """The largest eigenvalue of the second derivatives and its eigenvector, by Lanczos' method (ARPACK).

    Products with the second derivatives are gradients of gradients, so that no matrix is made.

    The package ``curvlinops-for-pytorch`` has such products for a module and a loader of examples, and leaves the
    eigenvalue to the same function of SciPy. Here a loss is any function of a point, for which one line makes the
    product; the two agreed to 15 digits on a perceptron.

    Args:
        loss: from a point to a number.
        point: where, in float64; two numbers or more.

    Returns:
        The sharpness, and a direction of unit length whose sign means nothing.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh  # noqa: PLC0415 -- slow to load, and used here alone

    here, slope = _slope(loss, point)
    size = len(point)

    def product(vector: ndarray) -> ndarray:
        return _product(slope, here, torch.from_numpy(np.ascontiguousarray(vector.ravel()))).numpy()

    operator = LinearOperator((size, size), matvec=product, dtype=float)
    values, vectors = eigsh(operator, k=1, which="LA", v0=np.ones(size), tol=_TOLERANCE)
    return float(values[0]), torch.from_numpy(vectors[:, 0].copy())


def rises(
    loss: Loss,
    point: Float[Tensor, " n"],
    directions: Float[Tensor, "directions n"],
    predicted: Float[Tensor, " rises"],
) -> Float[Tensor, "directions rises"]:
    """The rises at the distances at which a quadratic loss of the same second derivatives would have risen so far.

    So directions are compared where they should have risen alike, however much the loss curves along them.

    Args:
        loss: from a point to a number.
        point: where the lines meet, in float64.
        directions: one a row, of unit length.
        predicted: rises of the quadratic loss, positive.

    Returns:
        One row a direction; NaN where the loss does not curve upwards along it, so that there is no such distance.
    """
    here, slope = _slope(loss, point)
    curvatures = torch.stack([each @ _product(slope, here, each) for each in directions])
    radii = (2.0 * predicted / curvatures[:, None]).sqrt()
    base, along = loss(point), torch.vmap(loss)
    return torch.stack(
        [
            0.5 * (along(point + each[:, None] * way) + along(point - each[:, None] * way)) - base
            for each, way in zip(radii, directions, strict=True)
        ]
    )


def exponents(predicted: Float[ndarray, " rises"], risen: Float[ndarray, "*more rises"]) -> Float[ndarray, "*more n"]:
    r"""The local exponents of growth, :math:`d \log \text{rise} / d \log r`, between neighbouring distances.

    Args:
        predicted: rises of a quadratic loss, which grow as the square of the distance.
        risen: the rises there; NaN where one is not positive, so that it has no logarithm.

    Example:
        >>> exponents(np.array([1.0, 4.0, 16.0]), np.array([3.0, 6.0, 48.0])).round(6).tolist()
        [1.0, 3.0]
    """
    logs = np.log(np.where(risen > 0, risen, np.nan))
    slopes: ndarray = 2.0 * np.diff(logs, axis=-1) / np.diff(np.log(predicted))
    return slopes


def _slope(loss: Loss, point: Tensor) -> tuple[Tensor, Tensor]:
    here = point.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(here), here, create_graph=True)
    return here, slope


def _product(slope: Tensor, here: Tensor, vector: Tensor) -> Tensor:
    return torch.autograd.grad(slope, here, vector, retain_graph=True)[0]
