"""What the claims about perturbed trainings ask of twins: ratios, correlations and exponents, with intervals.

Barriers are those in train loss, and intervals resample parents.
"""

__all__ = [
    "alignment_evidence", "direction_evidence", "distance_evidence", "hyperparameter_evidence",
    "onset_evidence", "representation_evidence", "start_evidence",
]  # fmt: skip

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

from lmc_lib.alignment import MATCHERS
from lmc_lib.claims import Estimate, estimate_of_twins, mean, median, median_ratio, within_correlation
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.perturbation import Perturbation, growth_exponents

# Twins with a lower barrier count as connected.
CALM = 0.1


def start_evidence(found: Twins, *, step: int, one: Perturbation) -> dict[str, Estimate]:
    """``"one weight, start"``: the median barrier of twins after the perturbation of ``one`` weight at a step."""
    return {"one weight, start": estimate_of_twins(median, found.barriers(Cell(step, one)))}


def onset_evidence(found: Twins, *, steps: Sequence[int], sizes: Sequence[float], large: float) -> dict[str, Estimate]:
    """The estimates for how the size and the time of a perturbation count.

    Children are perturbed by Gaussian noise at all steps, rising from 0, by all sizes, rising, and at the last step by
    a ``large`` size that is expected to matter late in training too.

    Returns:
        ``"start"``: the median at the first step, for the smallest size; ``"sizes"``: that for the largest size over
        it; ``"fall"``: the median at the first step over that at the second, for the smallest size; ``"rest"``: that at
        the last step; ``"late, largest"`` and ``"late, large"``: the median at the last step of the largest of the
        sizes and of the large one; ``"nonlinearity"``: by how much the distance grows until the second step after the
        smallest size, over that after the next size, 1 in a linear system; ``"earlier exponent"`` and ``"later
        exponent"``: those of ``growth_exponents`` for the smallest size, if any twins were near for long enough.
    """
    first, second, last = steps[0], steps[1], steps[-1]
    start, early, late = (found.barriers(_gaussian(step, sizes[0])) for step in (first, second, last))
    growth = [_growth(found, _gaussian(first, size), second) for size in sizes[:2]]
    exponents = np.moveaxis(growth_exponents(*found.along(_gaussian(first, sizes[0]))), -1, 0)
    values = {
        "start": estimate_of_twins(median, start),
        "sizes": estimate_of_twins(median_ratio, found.barriers(_gaussian(first, sizes[-1])), start),
        "fall": estimate_of_twins(median_ratio, start, early),
        "rest": estimate_of_twins(median, late),
        "late, largest": estimate_of_twins(median, found.barriers(_gaussian(last, sizes[-1]))),
        "late, large": estimate_of_twins(median, found.barriers(_gaussian(last, large))),
        "nonlinearity": estimate_of_twins(median_ratio, *growth),
    }
    if np.isfinite(exponents[0]).any():
        names = ("earlier exponent", "later exponent")
        values |= {name: estimate_of_twins(median, each) for name, each in zip(names, exponents, strict=True)}
    return values


def direction_evidence(
    found: Twins, *, step: int, small: float, large: float, direction: str = "batch"
) -> dict[str, Estimate]:
    """The estimates for whether the direction matters.

    What is compared, at one step and by two sizes, is Gaussian noise and another direction; ``"gaussian"`` compares the
    second child of each parent with the first, for the control.

    Returns:
        ``"noise"``: the median barrier after Gaussian noise of the large size; ``"small"`` and ``"large"``: the median
        barrier of the direction over that of Gaussian noise, by size.
    """
    values = {"noise": estimate_of_twins(median, found.barriers(_gaussian(step, large)))}
    for name, size in {"small": small, "large": large}.items():
        noise, other = (found.barriers(Cell(step, Perturbation(size, each))) for each in ("gaussian", direction))
        pair = (noise[:, 1:], noise[:, :1]) if direction == "gaussian" else (other, noise)
        values[name] = estimate_of_twins(median_ratio, *pair)
    return values


def alignment_evidence(
    found: Mapping[str, Twins], cells: Sequence[Cell], *, planted: bool = False
) -> dict[str, Estimate]:
    """The estimates for whether a permutation explains the barrier.

    Of the twins of each optimiser, ``"sgd"`` among them, those of the first cell are judged, and all count for the
    units that stay. In the control, ``planted``, children of the last cell were renumbered at random before.

    Returns:
        For each optimiser ``"OPTIMISER, raw"``, the median barrier, and ``"OPTIMISER, kept"``, the ratio of the median
        barrier after weight or activation matching, whichever is lower, to it; ``"stay"``, if there are twins with a
        barrier below 0.1: the mean share of their units that weight matching leaves in place from a random start, under
        SGD.
    """
    cell, raw, matched = (cells[-1], "planted", ("undone",)) if planted else (cells[0], "none", MATCHERS)
    values = {}
    for optimiser, each in found.items():
        barriers = each.barriers(cell, alignment=raw)
        lowest = np.min([each.barriers(cell, alignment=way) for way in matched], axis=0)
        values[f"{optimiser}, raw"] = estimate_of_twins(median, barriers)
        values[f"{optimiser}, kept"] = estimate_of_twins(median_ratio, lowest, barriers)
    stay = found["sgd"].of(cells, "fixed_points", "weights, random start")
    near = np.where(found["sgd"].barriers(cells) < CALM, stay, np.nan)
    return values | ({"stay": estimate_of_twins(mean, near)} if np.isfinite(near).any() else {})


def hyperparameter_evidence(
    found: Mapping[str, Twins], *, steps: Mapping[str, tuple[int, int]], size: float
) -> dict[str, Estimate]:
    """The estimates for what makes a training stable: medians of the base setting over those of others, or the reverse.

    Twins of one size of Gaussian noise are compared at the start and at an early step, which each setting has its own.

    Returns:
        For each setting but ``"base"`` ``"SETTING, start"`` and ``"SETTING, early"``: the median barrier of the base
        setting over its own, so that above 1 is more stable; and for all ``"SETTING, fall"``: its own at the start over
        that early; and ``"SETTING, barrier"``: its own at the start.
    """
    at = {name: [each.barriers(_gaussian(step, size)) for step in steps[name]] for name, each in found.items()}
    values = {}
    for name, (start, early) in at.items():
        values[f"{name}, fall"] = estimate_of_twins(median_ratio, start, early)
        values[f"{name}, barrier"] = estimate_of_twins(median, start)
        if name != "base":
            values[f"{name}, start"] = estimate_of_twins(median_ratio, at["base"][0], start)
            values[f"{name}, early"] = estimate_of_twins(median_ratio, at["base"][1], early)
    return values


def distance_evidence(found: Twins, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """``"within"``: the rank correlation of distance at the end and barrier within cells.

    Twins of one cell were perturbed at one time by one size, so that neither has a part in it.
    """
    return {"within": estimate_of_twins(within_correlation, found.distance(cells), found.barriers(cells))}


def representation_evidence(found: Twins, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """How the angle between representations of the last layer goes with what an ensemble gains and with disagreement.

    Returns:
        Within cells, in which time and size have no part, ``"gain"``: the rank correlation of the angle and the gain of
        the ensemble in test loss over the mean of the two networks; ``"disagreement"``: that of the angle and the share
        of test examples with other classes.
    """
    others = {"gain": found.improvement(cells), "disagreement": found.disagreement(cells)}
    return {name: estimate_of_twins(within_correlation, found.angle(cells), each) for name, each in others.items()}


def _gaussian(step: int, size: float) -> Cell:
    return Cell(step, Perturbation(size))


def _growth(found: Twins, cell: Cell, step: int) -> ndarray:
    """How many times farther apart twins are at a step than where they begin to differ."""
    steps, distances = found.along(cell)
    return np.asarray(distances[..., list(steps).index(step)] / distances[..., 0])
