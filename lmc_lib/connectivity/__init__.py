"""Loss and error along lines and curves, on simplices and planes in weight space, and the barriers on them."""

__all__ = [
    "CONVENTIONS", "Curve", "Plane", "Scores", "Simplex", "barrier", "barycentric", "bezier_weights", "bump_height",
    "chain_weights", "convexity_gap", "curves", "evaluate", "gauss_lengths", "height", "log_volume",
    "pairwise_barriers", "path", "plane", "predict", "predict_points", "score", "simplex", "turned_away",
    "uniform_weights",
]  # fmt: skip

from lmc_lib.connectivity.evaluation import Scores, evaluate, predict, predict_points, score
from lmc_lib.connectivity.lines import CONVENTIONS, Curve, barrier, convexity_gap, curves, pairwise_barriers
from lmc_lib.connectivity.monotonic import bump_height, gauss_lengths
from lmc_lib.connectivity.paths import bezier_weights, chain_weights, path
from lmc_lib.connectivity.planes import Plane, plane
from lmc_lib.connectivity.simplices import Simplex, barycentric, simplex
from lmc_lib.connectivity.volumes import height, log_volume, turned_away, uniform_weights
