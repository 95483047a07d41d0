"""Loss and error along straight lines and on simplices in weight space, and the barriers on them."""

__all__ = [
    "CONVENTIONS", "Curve", "Scores", "Simplex", "barrier", "barycentric", "bump_height", "convexity_gap", "curves",
    "evaluate", "gauss_lengths", "pairwise_barriers", "predict", "score", "simplex",
]  # fmt: skip

from lmc_lib.connectivity.evaluation import Scores, evaluate, predict, score
from lmc_lib.connectivity.lines import CONVENTIONS, Curve, barrier, convexity_gap, curves, pairwise_barriers
from lmc_lib.connectivity.monotonic import bump_height, gauss_lengths
from lmc_lib.connectivity.simplices import Simplex, barycentric, simplex
