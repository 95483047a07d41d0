"""Barriers on lines, triangles and chains, by the method of matching."""

__all__ = ["barriers_against_width", "barriers_of_pairs", "compositions", "interpolation_curves", "plane", "triangle"]

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.patheffects import withStroke
from numpy import ndarray

from lmc_lib.plotting.style import COLOURS, DASHES, LABELS, MARKERS, show_bound, show_zero

# What a label of a contour needs around its middle, in sides of the triangle.
_ROOM = 0.07


def interpolation_curves(
    ax: Axes, alphas: Float[ndarray, " points"], curves: Mapping[str, Float[ndarray, "pairs points"]], *, ylabel: str
) -> Axes:
    """Draws scores along the line between two networks: the median over pairs, and each pair faintly.

    Args:
        ax: where to draw.
        alphas: points of the line, 0 at the target and 1 at the permuted source.
        curves: for each method the curve of every pair.
        ylabel: the score with its unit.
    """
    for method, values in curves.items():
        colour = COLOURS[method]
        ax.plot(alphas, values.T, color=colour, alpha=0.18, linewidth=0.8)
        ax.plot(alphas, np.median(values, axis=0), color=colour, linestyle=DASHES[method], label=LABELS[method])
    ax.set_xlabel(r"position $\alpha$ on the line (0: target, 1: source)")
    ax.set_ylabel(ylabel)
    show_zero(ax)
    return ax


def barriers_of_pairs(
    ax: Axes, barriers: Mapping[str, Float[ndarray, " pairs"]], *, bound: float | None = None, ylabel: str
) -> Axes:
    """Draws one mark a pair and method, the median as a bar, and the criterion's bound as a line.

    Args:
        ax: where to draw.
        barriers: for each method the barrier of every pair.
        bound: the largest barrier of a connected pair.
        ylabel: the barrier with its unit.
    """
    for place, (method, values) in enumerate(barriers.items()):
        # Spread by rank, not by chance, so that the figure is the same each time.
        offsets = (np.argsort(np.argsort(values)) % 5 - 2) * 0.07
        ax.scatter(place + offsets, values, color=COLOURS[method], marker=MARKERS[method], s=26, alpha=0.75, zorder=3)
        ax.hlines(np.median(values), place - 0.3, place + 0.3, color=COLOURS[method], linewidth=2.5, zorder=4)
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
        ax.annotate("connected", (0.01, bound), xycoords=("axes fraction", "data"), ha="left", va="top", fontsize=9)
    ax.set_xticks(range(len(barriers)), [LABELS[method].replace(" ", "\n", 1) for method in barriers], fontsize=9)
    ax.set_xlim(-0.6, len(barriers) - 0.4)
    ax.set_ylabel(ylabel)
    show_zero(ax)
    return ax


def barriers_against_width(
    ax: Axes,
    widths: Sequence[int],
    estimates: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    bound: float | None = None,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws barriers against width on a logarithmic axis, with 95 % intervals.

    Args:
        ax: where to draw.
        widths: the widths, rising.
        estimates: for each method and width: median, lower and upper end of the interval.
        bound: the largest barrier of a connected pair.
        xlabel: the width with its unit.
        ylabel: the barrier with its unit.
    """
    for place, (method, values) in enumerate(estimates.items()):
        middle, low, high = np.array(values).T
        shift = 2.0 ** (0.06 * (place - (len(estimates) - 1) / 2))
        ax.errorbar(
            np.array(widths) * shift,
            middle,
            yerr=[middle - low, high - middle],
            color=COLOURS[method],
            linestyle=DASHES[method],
            marker=MARKERS[method],
            markersize=5,
            capsize=3,
            label=LABELS[method],
        )
    show_bound(ax, bound)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(widths), [str(width) for width in widths])
    ax.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    show_zero(ax)
    return ax


def compositions(
    ax: Axes,
    barriers: Mapping[str, Float[ndarray, "chains lengths"]],
    *,
    bound: float | None = None,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws barriers against the number of composed permutations: the median over chains, and each chain faintly.

    Args:
        ax: where to draw.
        barriers: for each method the barriers of every chain, from one permutation on.
        bound: the largest barrier of a connected pair.
        xlabel: what was composed.
        ylabel: the barrier with its unit.
    """
    for method, values in barriers.items():
        numbers = np.arange(1, values.shape[1] + 1)
        colour = COLOURS[method]
        ax.plot(numbers, values.T, color=colour, alpha=0.3, linewidth=0.8)
        ax.plot(
            numbers,
            np.median(values, axis=0),
            color=colour,
            linestyle=DASHES[method],
            marker=MARKERS[method],
            markersize=5,
            label=LABELS[method],
        )
        ax.set_xticks(numbers, [str(number) for number in numbers])
    show_bound(ax, bound)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    show_zero(ax)
    return ax


def triangle(
    ax: Axes,
    weights: Float[ndarray, "points 3"],
    values: Float[ndarray, " points"],
    corners: Sequence[str],
    *,
    levels: Float[ndarray, " levels"],
) -> Axes:
    """Draws scores between three networks as a contour map; its colours are the first collection of the axes.

    Args:
        ax: where to draw.
        weights: barycentric coordinates, the corners among them.
        values: the scores at the points.
        corners: names of the three networks: at the lower left, the lower right and the top.
        levels: the heights of the contours, rising; the same for maps that are compared.
    """
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    x, y = (weights @ places).T
    # Each step between two levels counts alike for the colours, also where levels are not evenly spaced.
    norm = BoundaryNorm(levels, 256, extend="both")
    ax.tricontourf(x, y, values, levels=levels, cmap="cividis", norm=norm, extend="both")
    lines = ax.tricontour(x, y, values, levels=levels[::2], colors="white", linewidths=0.6)
    for text in ax.clabel(lines, fontsize=9, fmt="%.2g", inline=False):
        text.set_path_effects([withStroke(linewidth=2.0, foreground="0.25")])
        # A side would cut a label, and in a corner many lines meet.
        if _distance_to_a_side(np.array(text.get_position()), places) < _ROOM:
            text.remove()
    ax.plot(x, y, ".", color="black", markersize=2, alpha=0.5)
    sides = [((0, -6), "center"), ((0, -6), "center"), ((7, 0), "left")]  # beside the top, where a title is near
    for name, place, (shift, side) in zip(corners, places, sides, strict=True):
        ax.annotate(name, (place[0], place[1]), shift, textcoords="offset points", ha=side, va="top")
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def plane(
    ax: Axes,
    x: Float[ndarray, " columns"],
    y: Float[ndarray, " rows"],
    values: Float[ndarray, "rows columns"],
    networks: Mapping[str, Sequence[float]],
    *,
    levels: Float[ndarray, " levels"],
) -> Axes:
    """Draws scores on a plane in weight space as a contour map; its colours are the first collection of the axes.

    Args:
        ax: where to draw.
        x: first coordinates of the columns, rising.
        y: second coordinates of the rows, rising.
        values: the scores.
        networks: for each network, by its name, its two coordinates.
        levels: the heights of the contours, rising; the same for maps that are compared.
    """
    norm = BoundaryNorm(levels, 256, extend="both")
    ax.contourf(x, y, values, levels=levels, cmap="cividis", norm=norm, extend="both")
    ax.contour(x, y, values, levels=levels[::2], colors="white", linewidths=0.6)
    for name, (across, up) in networks.items():
        ax.plot(across, up, "o", color="white", markeredgecolor="black", markersize=7)
        text = ax.annotate(name, (across, up), (0, 8), textcoords="offset points", ha="center", fontsize=11)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    ax.set_aspect("equal")
    ax.grid(visible=False)
    ax.set_xlabel("distance between weights")
    ax.set_ylabel("distance between weights")
    return ax


def _distance_to_a_side(point: Float[ndarray, " 2"], corners: Float[ndarray, "3 2"]) -> float:
    """How far a point lies inside a triangle whose corners stand counter-clockwise; negative outside."""
    sides = np.roll(corners, -1, axis=0) - corners
    away = point - corners
    crossed = sides[:, 0] * away[:, 1] - sides[:, 1] * away[:, 0]
    return float((crossed / np.linalg.norm(sides, axis=1)).min())
