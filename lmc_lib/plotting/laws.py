"""Measurements beside what laws say of them: along time, and as powers of a rate."""

__all__ = ["against_laws", "powers"]

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy import ndarray

from lmc_lib.plotting.style import SERIES

_DASHES = ("-", "--", "-.")


def against_laws(
    ax: Axes,
    times: Float[ndarray, " times"],
    measured: Float[ndarray, " times"],
    laws: Mapping[str, Float[ndarray, " times"]],
    *,
    xlabel: str = "time (updates × rate)",
    ylabel: str,
) -> Axes:
    """Draws what was measured as points, and what each law says as a line.

    Args:
        ax: where to draw.
        times: where numbers were taken.
        measured: the numbers.
        laws: by its label what a law says.
        xlabel: what the times are, with their unit.
        ylabel: what the numbers are.
    """
    for (label, curve), colour, dashes in zip(laws.items(), SERIES, _DASHES, strict=False):
        ax.plot(times, curve, color=colour, linestyle=dashes, label=label)
    ax.plot(times, measured, "o", color="0.15", markersize=3.5, markevery=2, label="measured")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def powers(
    ax: Axes,
    rates: Sequence[float],
    sizes: Mapping[str, Float[ndarray, "networks rates"]],
    *,
    power: float,
    controls: Mapping[str, Float[ndarray, "networks rates"]],
    xlabel: str = "learning rate",
    ylabel: str,
) -> Axes:
    """Draws sizes that should grow as a power of a rate, on logarithmic axes: medians over networks, and each faintly.

    Args:
        ax: where to draw.
        rates: the rates.
        sizes: for each line, by its label, the sizes of every network.
        power: what theory says, as dotted lines through the medians at the largest rate.
        controls: sizes of networks of which theory says nothing; they have hollow marks.
        xlabel: what the rates are.
        ylabel: what the sizes are.
    """
    largest = int(np.argmax(rates))
    for group in (sizes, controls):
        for (label, values), colour, marker in zip(group.items(), SERIES, "osD^vX", strict=False):
            middle, inside = np.median(values, axis=0), colour if group is sizes else "white"
            ax.plot(rates, values.T, color=colour, alpha=0.25, linewidth=0.8)
            ax.plot(rates, middle, color=colour, marker=marker, mfc=inside, markersize=6, linestyle="none", label=label)
            if group is sizes:
                guide = middle[largest] * (np.array(rates) / rates[largest]) ** power
                ax.plot(rates, guide, color=colour, linestyle=":", linewidth=1.4)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(list(rates), [f"{rate:g}" for rate in rates])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax
