"""Maps of representation space: points in few dimensions whose distances are nearly those of the representations."""

__all__ = ["Embedding", "embed", "mismatch"]

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Embedding(NamedTuple):
    """A map.

    Attributes:
        points: one row a representation, one column a dimension.
        stress: Kruskal's stress-1, the root of the squared errors of the distances over that of their squares on the
            map: 0 where the map is true; by Kruskal's words 0.05 is good, 0.1 fair and 0.2 poor.
    """

    points: Float[ndarray, "points dimensions"]
    stress: float


def embed(distances: Float[ndarray, "points points"], dimensions: int = 2) -> Embedding:
    """Places points so that their distances fit given ones, by multidimensional scaling (SMACOF).

    It begins with the classical solution, so that nothing is drawn. A map has no orientation: it may be turned over.

    Args:
        distances: those between all points, such as :func:`~lmc_lib.similarity.distances` finds them.
        dimensions: of the map.

    Raises:
        ValueError: if the distances are no symmetric square matrix of finite numbers, or there are fewer points than
            dimensions and one.
    """
    from sklearn.manifold import MDS  # noqa: PLC0415 -- slow to load, and of no use to workers

    if not np.allclose(distances, distances.T):  # NaN is not close to itself
        raise ValueError("distances are a symmetric matrix of finite numbers, and these are not")
    if len(distances) <= dimensions:
        raise ValueError(f"a map of {dimensions} dimensions needs more than {dimensions} points, got {len(distances)}")
    scaling = MDS(dimensions, metric="precomputed", n_init=1, init="classical_mds", normalized_stress=True)
    points = scaling.fit_transform(distances)
    return Embedding(points, float(scaling.stress_))


def mismatch(first: Float[ndarray, "points dimensions"], second: Float[ndarray, "points dimensions"]) -> float:
    """What is left between two maps of the same points, after the best shift, rotation, reflection and scale.

    Returns:
        The sum of squared differences where the first map has norm 1 (Procrustes), from 0 for the same map to 1.

    Raises:
        ValueError: if the maps differ in shape, or all points of one stand at one place.

    Example:
        >>> corner = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
        >>> round(mismatch(corner, 2.0 * corner[:, ::-1] + 5.0), 12)
        0.0
    """
    from scipy.spatial import procrustes  # noqa: PLC0415 -- slow to load, and used here alone

    return float(procrustes(first, second)[2])
