"""Where in depth twins differ, and whether the distance of their paths tells the barrier between them."""

__all__ = ["AnglesSpec", "between_paths", "correlations", "evidence"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.alignment import Setting
from lmc_lib.claims import Estimate, estimate_by_jackknife, estimate_of_twins, median_ratio, within_correlation
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.state import State
from lmc_lib.values import or_none


@dataclass(frozen=True)
class AnglesSpec(PairMeasurement):
    """All that defines how far apart two networks see the same examples.

    It measures ``angles``, in radians, between the test examples behind each activation function, from the input on;
    None for a dead layer.

    Attributes:
        feature_examples: number of test examples.
    """

    kind: ClassVar[str] = "AnglesSpec"
    noun: ClassVar[str] = "angles of pairs"

    feature_examples: int = 256

    def measure(self, here: Setting, target: State, source: State) -> dict[str, Any]:
        """Compares the two networks as they are: angles do not ask how units are numbered."""
        return {"angles": or_none(here.angles(target, source, self.feature_examples))}


def between_paths(found: Twins, cells: Cell | Sequence[Cell]) -> Float[ndarray, "parents children"]:
    """The distance of two paths: the mean over layers of the angle between the two networks."""
    return np.asarray(found.of(cells, "angles").mean(-1))


def correlations(found: Twins, cells: Sequence[Cell]) -> list[Estimate]:
    """The rank correlation, within cells, of the angle at each layer and the barrier in train loss."""
    layers = np.moveaxis(found.of(cells, "angles"), -1, 0)
    return [estimate_of_twins(within_correlation, angles, found.barriers(cells)) for angles in layers]


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
    paths, weights, barriers = between_paths(found, cells), found.distance(cells), found.barriers(cells)
    at_start, others = found.of(cells[0], "angles"), independent.of("angles")
    return {
        "paths": estimate_of_twins(within_correlation, paths, barriers),
        "weights": estimate_of_twins(within_correlation, weights, barriers),
        "weights, more": _more(weights, paths, barriers),
        "twins": estimate_of_twins(median_ratio, at_start[..., 1], at_start[..., -1]),
        **independent.estimates({"independent": others[:, 1] / others[:, -1]}),
    }


def _more(first: ndarray, second: ndarray, barriers: ndarray) -> Estimate:
    """By how much the first goes with the barrier more closely than the second; each parent is left out in turn."""
    every = np.arange(len(barriers))
    whole, *without = (
        float(within_correlation(first[rows], barriers[rows]) - within_correlation(second[rows], barriers[rows]))
        for rows in (every, *(np.delete(every, gone) for gone in every))
    )
    return estimate_by_jackknife(whole, np.array(without))
