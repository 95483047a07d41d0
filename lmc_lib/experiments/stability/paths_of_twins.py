"""Where in depth twins differ, and whether the distance of their paths tells the barrier between them."""

__all__ = ["between_paths", "correlations", "evidence", "profile"]

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims import Estimate, estimate_by_jackknife, estimate_of_twins, median_ratio, within_correlation
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.stability.twins import Cell, Twins


def profile(found: Twins, cell: Cell) -> Float[ndarray, "parents children layers"]:
    """The angle between twins at each layer, from the input on."""
    return np.stack([found.angle(cell, layer) for layer in range(found.layers)], axis=-1)


def between_paths(found: Twins, cell: Cell) -> Float[ndarray, "parents children"]:
    """The distance of two paths: the mean over layers of the angle between the two networks."""
    return np.asarray(profile(found, cell).mean(-1))


def correlations(found: Twins, cells: Sequence[Cell]) -> list[Estimate]:
    """The rank correlation, within cells, of the angle at each layer and the barrier in train loss."""
    barriers = np.hstack([found.barriers(cell) for cell in cells])
    layers = [np.hstack([found.angle(cell, layer) for cell in cells]) for layer in range(found.layers)]
    return [estimate_of_twins(within_correlation, angles, barriers) for angles in layers]


def evidence(found: Twins, cells: Sequence[Cell], independent: Found) -> dict[str, Estimate]:
    """The estimates for what the distance of paths tells.

    Args:
        found: the twins.
        cells: times and sizes of the perturbation, the first at the start of training.
        independent: angles of pairs of the parents, which are networks of other seeds.

    Returns:
        Within cells, in which time and size have no part, ``"paths"``: the rank correlation of the distance of paths
        and the barrier in train loss; ``"weights"``: that of the Euclidean distance of weights; ``"weights, more"``:
        by how much the second is higher. Of the angle behind the second layer over that behind the last, ``"twins"``:
        the ratio of medians in the first cell; ``"independent"``: the median ratio of the independent pairs.
    """
    columns = {
        name: np.hstack([get(cell) for cell in cells])
        for name, get in {
            "paths": lambda cell: between_paths(found, cell),
            "weights": found.distance,
            "barrier": found.barriers,
        }.items()
    }
    at_start, others = profile(found, cells[0]), independent.of("angles")
    return {
        **{
            name: estimate_of_twins(within_correlation, columns[name], columns["barrier"])
            for name in ("paths", "weights")
        },
        "weights, more": _more(columns),
        "twins": estimate_of_twins(median_ratio, at_start[..., 1], at_start[..., -1]),
        **independent.estimates({"independent": others[:, 1] / others[:, -1]}),
    }


def _more(columns: Mapping[str, ndarray]) -> Estimate:
    """By how much weights go with the barrier more closely than paths do; each parent is left out in turn."""

    def difference(rows: ndarray) -> float:
        paths, weights, barrier = (columns[name][rows] for name in ("paths", "weights", "barrier"))
        return float(within_correlation(weights, barrier) - within_correlation(paths, barrier))

    every = np.arange(len(columns["barrier"]))
    return estimate_by_jackknife(difference(every), np.array([difference(np.delete(every, each)) for each in every]))
