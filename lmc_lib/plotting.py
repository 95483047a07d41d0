"""Figures of the book. Each function draws arrays on an ``Axes`` and returns it; nothing here computes a result."""

__all__ = [
    "LABELS", "STYLE", "accuracies", "along_steps", "barriers_against_width", "barriers_of_pairs", "compositions",
    "correlation_map", "divergence", "forest", "gallery", "growth", "interpolation_curves", "loadings", "manhattan",
    "matrix", "reliabilities", "scatter", "stability", "triangle", "with_intervals",
]  # fmt: skip

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from numpy import ndarray

# The palette tells its colours apart under the common colour-vision deficiencies; dashes and markers repeat them.
_PALETTE = sns.color_palette("colorblind")
_COLOURS = {
    "none": _PALETTE[3], "random": _PALETTE[7], "weights": _PALETTE[0], "activations": _PALETTE[2],
    "merge": _PALETTE[1], "cycle": _PALETTE[4], "apart": _PALETTE[5],
}  # fmt: skip
_DASHES: dict[str, str | tuple[int, tuple[int, ...]]] = {
    "none": "-", "random": (0, (1, 1)), "weights": "--", "activations": "-.", "merge": (0, (5, 1)),
    "cycle": (0, (3, 1, 1, 1, 1, 1)), "apart": (0, (1, 2)),
}  # fmt: skip
_MARKERS = {
    "none": "o", "random": "X", "weights": "s", "activations": "D", "merge": "^", "cycle": "v", "apart": "P"
}  # fmt: skip

# Of lines that stand for no method.
_SERIES = [_PALETTE[each] for each in (3, 0, 2, 1, 4, 5)]

LABELS = {
    "none": "no permutation",
    "random": "random permutation",
    "weights": "weight matching",
    "activations": "activation matching",
    "merge": "merge-many",
    "cycle": "cycle-consistent matching",
    "apart": "matched to different copies",
}

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


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
        colour = _COLOURS[method]
        ax.plot(alphas, values.T, color=colour, alpha=0.18, linewidth=0.8)
        ax.plot(alphas, np.median(values, axis=0), color=colour, linestyle=_DASHES[method], label=LABELS[method])
    ax.set_xlabel(r"position $\alpha$ on the line (0: target, 1: source)")
    ax.set_ylabel(ylabel)
    _show_zero(ax)
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
        ax.scatter(place + offsets, values, color=_COLOURS[method], marker=_MARKERS[method], s=26, alpha=0.75, zorder=3)
        ax.hlines(np.median(values), place - 0.3, place + 0.3, color=_COLOURS[method], linewidth=2.5, zorder=4)
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
        ax.annotate("connected", (0.01, bound), xycoords=("axes fraction", "data"), ha="left", va="top", fontsize=9)
    ax.set_xticks(range(len(barriers)), [LABELS[method].replace(" ", "\n", 1) for method in barriers], fontsize=9)
    ax.set_xlim(-0.6, len(barriers) - 0.4)
    ax.set_ylabel(ylabel)
    _show_zero(ax)
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
            color=_COLOURS[method],
            linestyle=_DASHES[method],
            marker=_MARKERS[method],
            markersize=5,
            capsize=3,
            label=LABELS[method],
        )
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(widths), [str(width) for width in widths])
    ax.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _show_zero(ax)
    return ax


def along_steps(
    ax: Axes,
    steps: Sequence[int | str],
    curves: Mapping[str, Float[ndarray, "pairs steps"]],
    *,
    bound: float | None = None,
    floor: float | None = None,
    xlabel: str = "checkpoint (updates)",
    ylabel: str,
) -> Axes:
    """Draws barriers along a sequence: the median over pairs, and each pair faintly. Steps are evenly spaced.

    Args:
        ax: where to draw.
        steps: the checkpoints of a training, in updates, or the levels of a pruning.
        curves: for each line, by its label, the barriers (or other scores) of every pair.
        bound: the largest barrier of a connected pair.
        floor: if given, the axis is logarithmic and begins here; what lies below is drawn here.
        xlabel: what the steps are, with their unit.
        ylabel: the barrier with its unit.
    """
    places = np.arange(len(steps))
    for (label, values), colour, marker in zip(curves.items(), _SERIES, "osD^vX", strict=False):
        shown = values if floor is None else np.maximum(values, floor)
        ax.plot(places, shown.T, color=colour, alpha=0.18, linewidth=0.8)
        ax.plot(places, np.nanmedian(shown, axis=0), color=colour, marker=marker, markersize=5, label=label)
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_xticks(places, [str(step) for step in steps])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _show_zero(ax) if floor is None else _log_from(ax, floor)
    return ax


def divergence(
    ax: Axes,
    steps: Sequence[int],
    distances: Mapping[str, Float[ndarray, "twins steps"]],
    *,
    xlabel: str = "updates since they parted",
    ylabel: str = "distance of twins (Euclidean)",
) -> Axes:
    """Draws how twins part on logarithmic axes: the median distance, and each pair faintly.

    Args:
        ax: where to draw.
        steps: updates since the parting; the first is 0 and drawn at one half.
        distances: for each kind of twins, by its label, their distances at these steps.
        xlabel: what the steps are.
        ylabel: what the distances are.
    """
    places = np.maximum(np.asarray(steps, dtype=float), 0.5)
    for (label, values), colour, marker in zip(distances.items(), _SERIES, "osD^vX", strict=False):
        ax.plot(places, values.T, color=colour, alpha=0.18, linewidth=0.8)
        ax.plot(places, np.nanmedian(values, axis=0), color=colour, marker=marker, markersize=4, label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def scatter(
    ax: Axes,
    points: Mapping[str, tuple[Float[ndarray, " twins"], Float[ndarray, " twins"]]],
    *,
    floor: float | None = None,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws one mark a pair of twins; kinds differ by colour and shape.

    Args:
        ax: where to draw.
        points: for each kind, by its label, two values of every pair.
        floor: if given, the vertical axis is logarithmic and begins here; what lies below is drawn here.
        xlabel: the first value with its unit.
        ylabel: the second value with its unit.
    """
    for (label, (x, y)), colour, marker in zip(points.items(), _SERIES, "osD^vX", strict=False):
        shown = y if floor is None else np.maximum(y, floor)
        ax.scatter(x, shown, color=colour, marker=marker, s=20, alpha=0.7, linewidths=0, label=label)
    if floor is not None:
        _log_from(ax, floor)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def forest(
    ax: Axes,
    rows: Mapping[str, tuple[float, float, float]],
    *,
    reference: float = 1.0,
    bounds: Mapping[str, float] | None = None,
    xlabel: str,
) -> Axes:
    """Draws ratios with their intervals, one row each, from the top down, on a logarithmic axis.

    Args:
        ax: where to draw.
        rows: by its label the ratio and the two ends of its interval.
        reference: the ratio that means no difference.
        bounds: for some rows the bound of a claim, as a cross-line.
        xlabel: what the ratio is.
    """
    places = np.arange(len(rows))[::-1]
    values, low, high = np.array(list(rows.values())).T
    ax.errorbar(values, places, xerr=[values - low, high - values], fmt="o", color=_PALETTE[0], capsize=3, markersize=5)
    for name, bound in (bounds or {}).items():
        place = places[list(rows).index(name)]
        ax.vlines(bound, place - 0.3, place + 0.3, color=_PALETTE[3], linewidth=2.0)
    ax.axvline(reference, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_yticks(places, list(rows))
    ax.set_xscale("log")
    ax.set_xlabel(xlabel)
    ax.grid(visible=False, axis="y")
    return ax


def with_intervals(
    ax: Axes,
    places: Sequence[float],
    estimates: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws estimates with their intervals against a number; lines stand a little apart, so that intervals are seen.

    Args:
        ax: where to draw.
        places: the numbers, rising.
        estimates: for each line, by its label, the value and the two ends of the interval at every place.
        xlabel: what the numbers are, with their unit.
        ylabel: what is estimated, with its unit.
    """
    apart = 0.012 * (max(places) - min(places))
    for place, (label, values) in enumerate(estimates.items()):
        middle, low, high = np.array(values).T
        shift = apart * (place - (len(estimates) - 1) / 2)
        ax.errorbar(
            np.array(places) + shift,
            middle,
            yerr=[middle - low, high - middle],
            color=_SERIES[place],
            marker="osD^vX"[place],
            markersize=5,
            capsize=3,
            label=label,
        )
    ax.set_xticks(list(places), [f"{place:g}" for place in places])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def matrix(
    ax: Axes,
    values: Float[ndarray, "rows columns"],
    rows: Sequence[int | str],
    columns: Sequence[int | str],
    *,
    xlabel: str,
    ylabel: str,
    highest: float,
) -> Axes:
    """Draws a matrix as colours with its numbers written in.

    Args:
        ax: where to draw.
        values: the numbers, from 0 on.
        rows: names of the rows, the first one at the bottom.
        columns: names of the columns.
        xlabel: what the columns are.
        ylabel: what the rows are.
        highest: the number that gets the strongest colour.
    """
    ax.imshow(values, origin="lower", cmap="cividis", vmin=0.0, vmax=highest, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 0.5 * highest else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8.5)
    ax.set_xticks(range(len(columns)), [str(each) for each in columns])
    ax.set_yticks(range(len(rows)), [str(each) for each in rows])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(visible=False)
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
    ax.clabel(lines, fontsize=7.5, fmt="%.2g")
    ax.plot(x, y, ".", color="black", markersize=2, alpha=0.5)
    sides = [((0, -6), "center"), ((0, -6), "center"), ((7, 0), "left")]  # beside the top, where a title is near
    for name, place, (shift, side) in zip(corners, places, sides, strict=True):
        ax.annotate(name, (place[0], place[1]), shift, textcoords="offset points", ha=side, va="top")
    ax.set_aspect("equal")
    ax.set_axis_off()
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
        colour = _COLOURS[method]
        ax.plot(numbers, values.T, color=colour, alpha=0.3, linewidth=0.8)
        ax.plot(
            numbers,
            np.median(values, axis=0),
            color=colour,
            linestyle=_DASHES[method],
            marker=_MARKERS[method],
            markersize=5,
            label=LABELS[method],
        )
        ax.set_xticks(numbers, [str(number) for number in numbers])
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _show_zero(ax)
    return ax


def reliabilities(
    ax: Axes,
    names: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    bounds: Mapping[str, float] | None = None,
    xlabel: str,
) -> Axes:
    """Draws correlations with their intervals, one row a name, from the top down, side by side for several series.

    Args:
        ax: where to draw.
        names: the rows.
        series: for each series, by its label, value and interval of each row; NaN where there is none.
        bounds: for some rows the bound of a claim, as a cross-line.
        xlabel: what the correlation is.
    """
    places = np.arange(len(names))[::-1]
    offsets = np.linspace(0.24, -0.24, len(series)) if len(series) > 1 else [0.0]
    for (label, rows), offset, colour, marker in zip(series.items(), offsets, _SERIES, "osD^vX", strict=False):
        values, low, high = np.array(rows, dtype=float).T
        ax.errorbar(
            values, places + offset, xerr=[values - low, high - values],
            fmt=marker, color=colour, capsize=2, markersize=4.5, linewidth=1.2, label=label,
        )  # fmt: skip
    for name, bound in (bounds or {}).items():
        place = places[list(names).index(name)]
        ax.vlines(bound, place - 0.4, place + 0.4, color="0.45", linewidth=1.6, linestyle="--")
    ax.set_yticks(places, list(names))
    ax.set_xlabel(xlabel)
    ax.grid(visible=False, axis="y")
    return ax


def stability(
    ax: Axes,
    runs: Sequence[int],
    measured: Mapping[str, Float[ndarray, " runs"]],
    predicted: Mapping[str, Float[ndarray, " runs"]],
    *,
    xlabel: str = "networks that are averaged",
    ylabel: str,
) -> Axes:
    """Draws how means over networks become stable: marks for what is measured, lines for the law.

    Args:
        ax: where to draw.
        runs: numbers of networks.
        measured: for each score, by its label, the correlation of two means.
        predicted: the same by the law.
        xlabel: what the numbers are.
        ylabel: what the correlation is.
    """
    for (label, values), colour, marker in zip(measured.items(), _SERIES, "osD^vX", strict=False):
        ax.plot(runs, predicted[label], color=colour, linewidth=1.2, alpha=0.8)
        ax.plot(runs, values, color=colour, marker=marker, linestyle="none", markersize=6, label=label)
    ax.set_xscale("log")
    ax.set_xticks(list(runs), [str(each) for each in runs])
    ax.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def correlation_map(ax: Axes, values: Float[ndarray, "scores scores"], names: Sequence[str]) -> Axes:
    """Draws rank correlations as colours, scores that are alike side by side.

    The order is that of a hierarchical clustering by average linkage, of distances that are 1 less the correlation.

    Args:
        ax: where to draw.
        values: correlations from -1 to 1; scores with NaN are left out.
        names: the scores.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415 -- slow to load, and used here alone
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    used = np.flatnonzero(~np.isnan(values).all(axis=1))
    kept = values[np.ix_(used, used)]
    distances = np.clip(1.0 - (kept + kept.T) / 2.0, 0.0, None)
    np.fill_diagonal(distances, 0.0)
    order = leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True))
    labels = [names[used[place]] for place in order]
    image = ax.imshow(kept[np.ix_(order, order)], cmap="vlag", vmin=-1.0, vmax=1.0)
    ax.set_xticks(range(len(order)), labels, rotation=90, fontsize=8)
    ax.set_yticks(range(len(order)), labels, fontsize=8)
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, shrink=0.7, label="rank correlation")
    return ax


def loadings(ax: Axes, names: Sequence[str], components: Mapping[str, Float[ndarray, " scores"]]) -> Axes:
    """Draws what each score adds to principal components, one row a score, from the top down.

    Args:
        ax: where to draw.
        names: the scores.
        components: for each component, by its label, one loading a score.
    """
    places = np.arange(len(names))[::-1]
    for (label, values), colour, marker in zip(components.items(), _SERIES, "osD^vX", strict=False):
        ax.plot(values, places, color=colour, marker=marker, linestyle="none", markersize=5, label=label)
    ax.axvline(0.0, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_yticks(places, list(names))
    ax.set_xlabel("loading")
    ax.grid(visible=False, axis="y")
    return ax


def gallery(
    axes: Iterable[Axes], images: Float[ndarray, "images channels height width"], titles: Sequence[str]
) -> None:
    """Draws one image an axis, with its title; axes without an image stay empty.

    Args:
        axes: where to draw.
        images: the images, of any range: each is drawn from its darkest to its brightest value.
        titles: what stands above each.
    """
    row = list(axes)
    for ax in row:
        ax.axis("off")
    for ax, image, title in zip(row, images, titles, strict=False):
        shown = (image - image.min()) / max(float(np.ptp(image)), 1e-12)
        ax.imshow(shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0), cmap="gray")
        ax.set_title(title, fontsize=8)


def manhattan(
    ax: Axes,
    strength: Float[ndarray, " examples"],
    classes: Int[ndarray, " examples"],
    marked: Sequence[int] = (),
    *,
    ylabel: str,
) -> Axes:
    """Draws the test of every example, sorted by class: upwards for one sign of the difference, else downwards.

    Args:
        ax: where to draw.
        strength: for each example minus the decimal logarithm of its p, with the sign of the difference.
        classes: the class of each example.
        marked: the examples that stand out.
        ylabel: what is drawn, and what upwards means.
    """
    place = np.empty(len(classes), dtype=int)
    place[classes.argsort(kind="stable")] = np.arange(len(classes))
    names, counts = np.unique(classes, return_counts=True)
    tone = np.searchsorted(names, classes) % 2
    rest = ~np.isin(np.arange(len(classes)), marked)
    for each, colour in enumerate(("0.35", "0.65")):
        kept = rest & (tone == each)
        ax.scatter(place[kept], strength[kept], color=colour, s=6, linewidths=0)
    if not rest.all():
        ax.scatter(place[~rest], strength[~rest], color=_PALETTE[3], marker="D", s=9, linewidths=0)
    middles = counts.cumsum() - counts / 2.0
    ax.set_xticks(middles, [str(name) for name in names])
    ax.set_xlabel("examples, sorted by class")
    ax.set_ylabel(ylabel)
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    _show_zero(ax)
    return ax


def accuracies(
    ax: Axes,
    sizes: Sequence[int],
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    chance: float,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws accuracies against a number on a logarithmic axis, with 95 % intervals, and the accuracy of guessing.

    Args:
        ax: where to draw.
        sizes: the numbers, rising.
        curves: for each line, by its label, value and interval at each number.
        chance: the accuracy of guessing.
        xlabel: what the numbers are.
        ylabel: what the accuracy is of.
    """
    for place, (label, rows) in enumerate(curves.items()):
        values, low, high = np.array(rows).T
        shift = 1.0 + 0.05 * (place - (len(curves) - 1) / 2.0)
        ax.errorbar(
            np.array(sizes) * shift, values, yerr=[values - low, high - values],
            color=_SERIES[place], marker="osD^vX"[place], markersize=5, capsize=3, label=label,
        )  # fmt: skip
    ax.axhline(chance, color="0.3", linewidth=1.0, linestyle=":")
    ax.annotate("chance", (0.99, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9)
    ax.set_xscale("log")
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def growth(ax: Axes, sizes: Sequence[int], seconds: Mapping[str, Sequence[float]], *, xlabel: str) -> Axes:
    """Draws times against a size, both on logarithmic axes.

    Args:
        ax: where to draw.
        sizes: the sizes, rising.
        seconds: for each part of a computation its time at each size.
        xlabel: the size with its unit.
    """
    labels = {"setup_seconds": "tracing", "sweep_seconds": "one sweep", "seconds": "total"}
    for (part, values), marker, dashes in zip(seconds.items(), "os^", ["-", "--", "-."], strict=True):
        ax.plot(sizes, values, marker=marker, markersize=5, linestyle=dashes, label=labels[part])
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel(xlabel)
    ax.set_ylabel("time (s)")
    return ax


def _show_zero(ax: Axes) -> None:
    """Draws the zero line, so that heights can be compared; a fixed limit would stop shared axes from growing."""
    ax.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)


def _log_from(ax: Axes, floor: float) -> None:
    """A logarithmic axis on which the floor is seen to be one."""
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7 * floor)
    ax.axhline(floor, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
