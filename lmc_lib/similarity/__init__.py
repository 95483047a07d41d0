"""Distances between representations of the same examples, their geometry, and what two networks predict differently.

A ``Metric`` is one row of ``METRICS``: it takes a representation, one row an example, to a point of a space, and says
what makes no difference to its distances. A space has distances, geodesics, tangent vectors, angles, projections and
means; a network is a path through it, one point a layer.
"""

__all__ = [
    "FLAVOURS", "INVARIANCES", "KERNELS", "METRICS", "READINGS", "Definite", "Embedding", "Flat", "Kernels", "Metric",
    "Projection", "Shapes", "Space", "affine_invariant", "angular_cka", "apart", "bures", "cka", "collapse", "compact",
    "disagreement", "distances", "embed", "gain", "kernel_distance", "laws", "layer_angles", "mean_angles", "metric",
    "mismatch", "nearer", "orders", "rank_correlation", "read", "shape", "steps", "straightness", "stress",
    "tangent_kernel", "to_targets", "turning_angles", "unrelated",
]  # fmt: skip

from lmc_lib.similarity import collapse, laws
from lmc_lib.similarity.chance import mean_angles, orders, rank_correlation, unrelated
from lmc_lib.similarity.definite import Definite
from lmc_lib.similarity.embedding import Embedding, embed, mismatch
from lmc_lib.similarity.kernels import FLAVOURS, KERNELS, Kernels
from lmc_lib.similarity.metrics import (
    INVARIANCES,
    METRICS,
    Metric,
    affine_invariant,
    angular_cka,
    bures,
    cka,
    distances,
    metric,
    shape,
    stress,
)
from lmc_lib.similarity.paths import apart, gain, layer_angles, nearer, steps, straightness, to_targets, turning_angles
from lmc_lib.similarity.predictions import disagreement
from lmc_lib.similarity.readings import READINGS, compact, read
from lmc_lib.similarity.spaces import Flat, Projection, Shapes, Space
from lmc_lib.similarity.tangents import kernel_distance, tangent_kernel
