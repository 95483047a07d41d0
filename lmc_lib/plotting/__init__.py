"""Figures of the book. Each function draws arrays on an ``Axes`` and returns it; nothing here computes a result."""

__all__ = [
    "LABELS", "SERIES", "STYLE", "along_steps", "barriers_against_width", "barriers_of_pairs", "compositions",
    "correlation_map", "divergence", "forest", "gallery", "growth", "interpolation_curves", "loadings", "manhattan",
    "matrix", "panels", "reliabilities", "scatter", "stability", "triangle", "with_intervals",
]  # fmt: skip

from lmc_lib.plotting.barriers import (
    barriers_against_width,
    barriers_of_pairs,
    compositions,
    interpolation_curves,
    triangle,
)
from lmc_lib.plotting.examples import correlation_map, gallery, loadings, manhattan, reliabilities, stability
from lmc_lib.plotting.series import along_steps, divergence, forest, growth, matrix, scatter, with_intervals
from lmc_lib.plotting.style import LABELS, SERIES, STYLE, panels
