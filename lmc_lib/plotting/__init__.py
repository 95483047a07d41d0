"""Figures of the book. Each function draws arrays on an ``Axes`` and returns it; nothing here computes a result."""

__all__ = [
    "LABELS", "SERIES", "STYLE", "against_laws", "along_steps", "barriers_against_width", "barriers_of_pairs",
    "compositions", "correlation_map", "divergence", "forest", "gallery", "growth", "interpolation_curves",
    "loadings", "manhattan", "matrix", "orders", "panels", "paths_in_space", "paths_on_map", "plane", "powers",
    "reliabilities", "scatter", "stability", "triangle", "with_intervals",
]  # fmt: skip

from lmc_lib.plotting.barriers import (
    barriers_against_width,
    barriers_of_pairs,
    compositions,
    interpolation_curves,
    plane,
    triangle,
)
from lmc_lib.plotting.examples import correlation_map, gallery, loadings, manhattan, reliabilities, stability
from lmc_lib.plotting.laws import against_laws, powers
from lmc_lib.plotting.series import along_steps, divergence, forest, growth, matrix, orders, scatter, with_intervals
from lmc_lib.plotting.space import paths_in_space, paths_on_map
from lmc_lib.plotting.style import LABELS, SERIES, STYLE, panels
