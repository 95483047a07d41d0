"""What figures have in common: one style and size, colours that repeat what dashes and markers say, three habits."""

__all__ = [
    "COLOURS",
    "DASHES",
    "LABELS",
    "MARKERS",
    "PALETTE",
    "SERIES",
    "STYLE",
    "log_from",
    "panels",
    "show_bound",
    "show_zero",
]

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# seaborn's palette "colorblind", which tells its colours apart under the common colour-vision deficiencies; dashes and
# markers repeat them. It is written out since each page would load seaborn for it, with all of scipy's statistics.
_COLORBLIND = "#0173B2 #DE8F05 #029E73 #D55E00 #CC78BC #CA9161 #FBAFE4 #949494 #ECE133 #56B4E9"
PALETTE = [to_rgb(each) for each in _COLORBLIND.split()]
COLOURS = {
    "none": PALETTE[3], "random": PALETTE[7], "weights": PALETTE[0], "activations": PALETTE[2],
    "merge": PALETTE[1], "cycle": PALETTE[4],
}  # fmt: skip
DASHES: dict[str, str | tuple[int, tuple[int, ...]]] = {
    "none": "-", "random": (0, (1, 1)), "weights": "--", "activations": "-.", "merge": (0, (5, 1)),
    "cycle": (0, (3, 1, 1, 1, 1, 1)),
}  # fmt: skip
MARKERS = {
    "none": "o", "random": "X", "weights": "s", "activations": "D", "merge": "^", "cycle": "v"
}  # fmt: skip

# Of lines that stand for no method.
SERIES = [PALETTE[each] for each in (3, 0, 2, 1, 4, 5)]

LABELS = {
    "none": "no permutation",
    "random": "random permutation",
    "weights": "weight matching",
    "activations": "activation matching",
    "merge": "merge-many",
    "cycle": "cycle-consistent matching",
}

STYLE = {
    "figure.dpi": 110,  # the page shows no figure smaller than 72 / 110 of this: a point of text has a pixel or more
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


def panels(count: int, *, height: float = 3.8, share: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of some panels in rows of two: three beside each other are too small on a page, or must be scrolled to.

    Every panel has its own numbers at its axes, so that it can be read where the others are out of sight.

    Args:
        count: how many panels, at least one.
        height: that of a row, in inches.
        share: whether the vertical axes have the same limits.
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    width = 8.8 if columns == 2 else 5.8
    figure, axes = plt.subplots(rows, columns, figsize=(width, height * rows), sharey=share, squeeze=False)
    for ax in axes.flat:
        ax.tick_params(labelleft=True)
    for ax in axes.flat[count:]:
        ax.remove()
    return figure, list(axes.flat[:count])


def show_zero(ax: Axes) -> None:
    """Draws the zero line, so that heights can be compared; a fixed limit would stop shared axes from growing."""
    ax.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)


def log_from(ax: Axes, floor: float) -> None:
    """A logarithmic axis on which the floor is seen to be one."""
    ax.set_yscale("log")
    # The line is part of what the axis shows; a limit set here would cut off what another panel draws higher up.
    ax.axhline(floor, color="0.6", linewidth=0.8, linestyle="--", zorder=0)


def show_bound(ax: Axes, bound: float | None) -> None:
    """Draws the bound of a claim, if there is one, as a dotted line."""
    if bound is not None:
        ax.axhline(bound, color="0.3", linewidth=1.0, linestyle=":")
