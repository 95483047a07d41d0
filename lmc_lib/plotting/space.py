"""Paths of networks on a map of representation space: as a figure, and in three dimensions that a reader can turn."""

__all__ = ["paths_in_space", "paths_on_map"]

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy import ndarray

from lmc_lib.plotting.style import SERIES

# Half of the shorter side of the drawing, less room for labels.
_REACH = 200.0


def paths_on_map(ax: Axes, paths: Mapping[str, Float[ndarray, "networks points 2"]]) -> Axes:
    """Draws paths on a map of two dimensions: each network faintly, the mean over networks with a marker a layer.

    All paths begin at the inputs and end at the labels; both are named. The map has no orientation and no unit of its
    own but that of the distances, which both axes share.

    Args:
        ax: where to draw.
        paths: for each line, by its label, the places of the points of every network, from the inputs to the labels.
    """
    for (label, places), colour, marker in zip(paths.items(), SERIES, "osD^vX", strict=False):
        for each in places:
            ax.plot(*each.T, color=colour, alpha=0.18, linewidth=0.8)
        mean = places.mean(0)
        ax.plot(*mean.T, color=colour, marker=marker, markersize=5, markevery=slice(1, -1), label=label)
    for name, point in _ends(paths).items():
        ax.plot(*point, "o", color="black", markersize=7, zorder=5)
        ax.annotate(name, (point[0], point[1]), xytext=(7, 7), textcoords="offset points")
    ax.set_aspect("equal", "datalim")
    return ax


def paths_in_space(paths: Mapping[str, Float[ndarray, "networks points 3"]], *, name: str, description: str) -> str:
    """Paths in three dimensions as HTML: sliders or a pointer turn it, and it needs nothing from outside.

    Lines and colours are those of :func:`paths_on_map`, whose figure stands beside it and has the legend.

    Args:
        paths: for each line, by its label, the places of the points of every network, from the inputs to the labels.
        name: an identifier that no other view on the page has.
        description: what it shows, for those who do not see it.
    """
    every = np.concatenate([each.reshape(-1, 3) for each in paths.values()])
    centre = every.mean(0)
    scale = _REACH / np.linalg.norm(every - centre, axis=1).max()
    drawn = []
    for places, colour in zip(paths.values(), SERIES, strict=False):
        for line, bold in [*((each, False) for each in places), (places.mean(0), True)]:
            points = (scale * (line - centre)).round(1).tolist()
            drawn.append({"points": points, "colour": to_hex(colour), "bold": bold})
    template = Template(files(__package__).joinpath("space.html").read_text("utf-8"))
    return template.substitute(
        name=html.escape(name), description=html.escape(description), data=json.dumps(drawn, separators=(",", ":"))
    )


def _ends(paths: Mapping[str, ndarray]) -> dict[str, ndarray]:
    first = next(iter(paths.values()))
    return {"inputs": first[:, 0].mean(0), "labels": first[:, -1].mean(0)}
