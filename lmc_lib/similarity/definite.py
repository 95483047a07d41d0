"""Positive definite matrices with the affine-invariant Riemannian metric."""

__all__ = ["Definite"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmc_lib.similarity.spaces import Projection, angle_between, check_share, frobenius, nearest_share, unsettled

# A mean is found when it moves by less than this, or after so many steps.
_SETTLED = 1e-9
_STEPS = 1000


@dataclass(frozen=True)
class Definite:
    r"""Symmetric positive definite matrices, with the distance :math:`\lVert \log(A^{-1/2} B A^{-1/2}) \rVert`.

    The geodesic is :math:`A^{1/2} (A^{-1/2} B A^{-1/2})^t A^{1/2}`. The space has no positive curvature, so that the
    nearest point of a geodesic and the mean are unique. A tangent vector is given as
    :math:`\log(A^{-1/2} B A^{-1/2})`, in the coordinates in which its length is its Frobenius norm.
    """

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The norm of the logarithms of the generalised eigenvalues."""
        lower = torch.linalg.cholesky(first)
        half = torch.linalg.solve_triangular(lower, second, upper=False)
        between = torch.linalg.solve_triangular(lower, half.mT, upper=False)
        values: Tensor = torch.linalg.eigvalsh((between + between.mT) / 2.0)
        return values.log().square().sum(-1).sqrt()

    def geodesic(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """The weighted geometric mean of two matrices.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        check_share(share)
        root, inverse = _roots(first)
        return root @ _of_eigenvalues(inverse @ second @ inverse, lambda values: values**share) @ root

    def tangent(self, first: Tensor, second: Tensor) -> Tensor:
        """The logarithm of the second matrix as seen from the first."""
        _, inverse = _roots(first)
        return _of_eigenvalues(inverse @ second @ inverse, torch.log)

    def angle(self, first: Tensor, corner: Tensor, last: Tensor) -> Tensor:
        """The angle at ``corner`` between the paths to two points, in radians."""
        return angle_between(self.tangent(corner, first), self.tangent(corner, last), torch.linalg.cond(corner))

    def project(self, point: Tensor, first: Tensor, last: Tensor) -> Projection:
        """The nearest point of the geodesic, by numeric minimisation of a convex function."""
        return nearest_share(lambda share: float(self.distance(point, self.geodesic(first, last, share))))

    def mean(self, points: Sequence[Tensor]) -> Tensor:
        """The point at which the tangent vectors to all others add up to zero, by iteration.

        Raises:
            ValueError: if it does not settle.
        """
        mean, moves = torch.stack(list(points)).mean(0), math.inf
        for _ in range(_STEPS):
            root, inverse = _roots(mean)
            steps = [_of_eigenvalues(inverse @ point @ inverse, torch.log) for point in points]
            step = torch.stack(steps).mean(0)
            moves = float(frobenius(step))
            mean = root @ _of_eigenvalues(step, torch.exp) @ root
            if moves < _SETTLED:
                return (mean + mean.mT) / 2.0
        raise unsettled(moves, _STEPS)


def _of_eigenvalues(matrix: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2.0)
    found: Tensor = (vectors * function(values)[..., None, :]) @ vectors.mT
    return found


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a matrix and its inverse."""
    return _of_eigenvalues(matrix, torch.sqrt), _of_eigenvalues(matrix, torch.rsqrt)
