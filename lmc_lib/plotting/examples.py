"""Scores of examples: how far they are trusted, what they share, and the examples themselves."""

__all__ = ["correlation_map", "gallery", "loadings", "manhattan", "reliabilities", "stability"]

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from numpy import ndarray

from lmc_lib.plotting.style import PALETTE, SERIES, show_zero


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
    for (label, rows), offset, colour, marker in zip(series.items(), offsets, SERIES, "osD^vX", strict=False):
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
    for (label, values), colour, marker in zip(measured.items(), SERIES, "osD^vX", strict=False):
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
    from seaborn import color_palette  # noqa: PLC0415

    used = np.flatnonzero(~np.isnan(values).all(axis=1))
    kept = values[np.ix_(used, used)]
    distances = np.clip(1.0 - (kept + kept.T) / 2.0, 0.0, None)
    np.fill_diagonal(distances, 0.0)
    order = leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True))
    labels = [names[used[place]] for place in order]
    image = ax.imshow(kept[np.ix_(order, order)], cmap=color_palette("vlag", as_cmap=True), vmin=-1.0, vmax=1.0)
    ax.set_xticks(range(len(order)), labels, rotation=90, fontsize=9)
    ax.set_yticks(range(len(order)), labels, fontsize=9)
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
    for (label, values), colour, marker in zip(components.items(), SERIES, "osD^vX", strict=False):
        ax.plot(values, places, color=colour, marker=marker, linestyle="none", markersize=5, label=label)
    ax.axvline(0.0, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_yticks(places, list(names))
    ax.set_xlabel("loading")
    ax.grid(visible=False, axis="y")
    return ax


def manhattan(
    ax: Axes,
    strength: Float[ndarray, " examples"],
    classes: Int[ndarray, " examples"],
    marked: Sequence[int] = (),
    *,
    names: Sequence[str] | None = None,
    ylabel: str,
) -> Axes:
    """Draws the test of every example, sorted by class: upwards for one sign of the difference, else downwards.

    Args:
        ax: where to draw.
        strength: for each example minus the decimal logarithm of its p, with the sign of the difference.
        classes: the class of each example.
        marked: the examples that stand out.
        names: the names of the classes, by class; their numbers if None.
        ylabel: what is drawn, and what upwards means.
    """
    place = np.empty(len(classes), dtype=int)
    place[classes.argsort(kind="stable")] = np.arange(len(classes))
    present, counts = np.unique(classes, return_counts=True)
    tone = np.searchsorted(present, classes) % 2
    rest = ~np.isin(np.arange(len(classes)), marked)
    for each, colour in enumerate(("0.35", "0.65")):
        kept = rest & (tone == each)
        ax.scatter(place[kept], strength[kept], color=colour, s=6, linewidths=0)
    if not rest.all():
        ax.scatter(place[~rest], strength[~rest], color=PALETTE[3], marker="D", s=9, linewidths=0)
    middles = counts.cumsum() - counts / 2.0
    ax.set_xticks(middles, [str(each) if names is None else names[each] for each in present], fontsize=9)
    ax.set_xlabel("examples, sorted by class")
    ax.set_ylabel(ylabel)
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    show_zero(ax)
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
        ax.set_title(title, fontsize=9)
