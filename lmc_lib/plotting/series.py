"""Numbers along steps, widths and parts of the data; distances of twins; ratios; tables of colours."""

__all__ = ["along_steps", "divergence", "forest", "growth", "matrix", "orders", "scatter", "with_intervals"]

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from numpy import ndarray

from lmc_lib.plotting.style import PALETTE, SERIES, log_from, show_bound, show_zero

# More labels than this run into each other on an axis of half the width of a page.
_LABELS = 10


def along_steps(
    ax: Axes,
    steps: Sequence[int | str],
    curves: Mapping[str, Float[ndarray, "pairs steps"]],
    *,
    bound: float | None = None,
    floor: float | None = None,
    zero: bool = True,
    xlabel: str = "checkpoint (updates)",
    ylabel: str,
) -> Axes:
    """Draws barriers along a sequence: the median over pairs, and each pair faintly. Steps are evenly spaced.

    Of many steps not every one is named.

    Args:
        ax: where to draw.
        steps: the checkpoints of a training, in updates, the levels of a pruning, or the layers of a network.
        curves: for each line, by its label, the barriers (or other scores) of every pair or network.
        bound: the largest barrier of a connected pair, or another number to compare with.
        floor: if given, the axis is logarithmic and begins here; what lies below is drawn here.
        zero: whether the axis shows zero, so that heights can be compared; not for numbers that are all far from it.
        xlabel: what the steps are, with their unit.
        ylabel: the barrier with its unit.
    """
    places = np.arange(len(steps))
    for (label, values), colour, marker in zip(curves.items(), SERIES, "osD^vX", strict=False):
        shown = values if floor is None else np.maximum(values, floor)
        ax.plot(places, shown.T, color=colour, alpha=0.18, linewidth=0.8)
        ax.plot(places, np.nanmedian(shown, axis=0), color=colour, marker=marker, markersize=5, label=label)
    show_bound(ax, bound)
    stride = -(-len(steps) // _LABELS)
    ax.set_xticks(places, [str(step) if place % stride == 0 else "" for place, step in enumerate(steps)])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if floor is not None:
        log_from(ax, floor)
    elif zero:
        show_zero(ax)
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
    for (label, values), colour, marker in zip(distances.items(), SERIES, "osD^vX", strict=False):
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
    for (label, (x, y)), colour, marker in zip(points.items(), SERIES, "osD^vX", strict=False):
        shown = y if floor is None else np.maximum(y, floor)
        ax.scatter(x, shown, color=colour, marker=marker, s=20, alpha=0.7, linewidths=0, label=label)
    if floor is not None:
        log_from(ax, floor)
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
    ax.errorbar(values, places, xerr=[values - low, high - values], fmt="o", color=PALETTE[0], capsize=3, markersize=5)
    for name, bound in (bounds or {}).items():
        place = places[list(rows).index(name)]
        ax.vlines(bound, place - 0.3, place + 0.3, color=PALETTE[3], linewidth=2.0)
    ax.axvline(reference, color="0.3", linewidth=1.0, linestyle=":")
    ax.set_yticks(places, list(rows))
    ax.set_xscale("log")
    # By default, what spans less than a decade gets labels between its ticks that run into each other.
    low_end, high_end = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high_end < 1000.0 * low_end else (1.0,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(xlabel)
    ax.grid(visible=False, axis="y")
    return ax


def with_intervals(
    ax: Axes,
    places: Sequence[float | int],
    estimates: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    logarithmic: bool = False,
    chance: float | None = None,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """Draws estimates with their intervals against a number; lines stand a little apart, so that intervals are seen.

    Args:
        ax: where to draw.
        places: the numbers, rising.
        estimates: for each line, by its label, the value and the two ends of the interval at every place.
        logarithmic: whether the axis of the numbers is.
        chance: if given, the accuracy of guessing, as a dotted line.
        xlabel: what the numbers are, with their unit.
        ylabel: what is estimated, with its unit.
    """
    at = np.array(places, dtype=float)
    for number, (label, values) in enumerate(estimates.items()):
        middle, low, high = np.array(values).T
        aside = number - (len(estimates) - 1) / 2
        moved = at * 1.05**aside if logarithmic else at + 0.012 * np.ptp(at) * aside
        ax.errorbar(
            moved, middle, yerr=[middle - low, high - middle],
            color=SERIES[number], marker="osD^vX"[number], markersize=5, capsize=3, label=label,
        )  # fmt: skip
    if chance is not None:
        show_bound(ax, chance)
        # Beside the axes, where no point can be.
        ax.annotate("chance", (1.01, chance), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=9)
    if logarithmic:
        ax.set_xscale("log")
    ax.set_xticks(list(places), [f"{place:g}" for place in places])
    ax.minorticks_off()
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
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    ax.set_xticks(range(len(columns)), [str(each) for each in columns])
    ax.set_yticks(range(len(rows)), [str(each) for each in rows])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(visible=False)
    return ax


def orders(ax: Axes, values: Mapping[str, tuple[float, float]], *, sides: tuple[str, str]) -> Axes:
    """Draws two orders of the same things, the least on top, with a line from the place of each to its other place.

    Lines are dark where the places are two or more apart.

    Args:
        ax: where to draw.
        values: by name the numbers that give the two orders.
        sides: what the orders are by.
    """
    places = np.argsort(np.argsort(np.array(list(values.values())), axis=0), axis=0)
    for name, (left, right) in zip(values, places, strict=True):
        ax.plot([0, 1], [left, right], color="0.15" if abs(left - right) > 1 else "0.7", marker="o", markersize=4)
        ax.text(-0.06, left, name, ha="right", va="center", fontsize=9)
        ax.text(1.06, right, name, ha="left", va="center", fontsize=9)
    ax.set(xlim=(-1.0, 2.0), ylim=(len(values) - 0.5, -0.7), yticks=[], xticks=[0, 1], xticklabels=sides)
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False)
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
