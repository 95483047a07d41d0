"""What the claims about perturbed trainings ask of twins: ratios, correlations and exponents, with intervals."""

__all__ = [
    "alignment_evidence", "direction_evidence", "distance_evidence", "hyperparameter_evidence",
    "onset_evidence", "representation_evidence", "start_evidence",
]  # fmt: skip

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

from lmc_lib.claims import (
    Estimate,
    mean,
    median,
    median_ratio,
    within_correlation,
)
from lmc_lib.experiments.evidence import Question, over_twins
from lmc_lib.experiments.setting import MATCHERS
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.perturbation import Perturbation, growth_exponents

# Twins with a lower barrier count as connected.
CALM = 0.1


def start_evidence(found: Twins, *, step: int, one: Perturbation) -> dict[str, Estimate]:
    """The estimate for whether one weight is enough at the start, from barriers in train loss.

    Args:
        found: twins after one weight was moved.
        step: the first step at which children are perturbed.
        one: the perturbation of one weight.

    Returns:
        ``"one weight, start"``: the median barrier.
    """
    return over_twins({"one weight, start": (median, (found.barriers(Cell(step, one)),))})


def onset_evidence(found: Twins, *, steps: Sequence[int], sizes: Sequence[float], large: float) -> dict[str, Estimate]:
    """The estimates for how the size and the time of a perturbation count, from barriers in train loss.

    Args:
        found: twins after Gaussian noise at all steps and sizes, and of the large size at the last step.
        steps: the steps at which children are perturbed, the first of them 0, rising.
        sizes: sizes of Gaussian perturbations, rising.
        large: a size that is expected to matter late in training too.

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
    growth = tuple(_growth(found, _gaussian(first, size), second) for size in sizes[:2])
    earlier, later = np.moveaxis(growth_exponents(*found.along(_gaussian(first, sizes[0]))), -1, 0)
    values: dict[str, Question] = {
        "start": (median, (start,)),
        "sizes": (median_ratio, (found.barriers(_gaussian(first, sizes[-1])), start)),
        "fall": (median_ratio, (start, early)),
        "rest": (median, (late,)),
        "late, largest": (median, (found.barriers(_gaussian(last, sizes[-1])),)),
        "late, large": (median, (found.barriers(_gaussian(last, large)),)),
        "nonlinearity": (median_ratio, growth),
    }
    if np.isfinite(earlier).any():
        values |= {"earlier exponent": (median, (earlier,)), "later exponent": (median, (later,))}
    return over_twins(values)


def direction_evidence(
    found: Twins, *, step: int, small: float, large: float, direction: str = "batch"
) -> dict[str, Estimate]:
    """The estimates for whether the direction matters, from barriers in train loss.

    Args:
        found: Gaussian twins and those in another direction, at the step, of both sizes.
        step: the step at which children are perturbed.
        small: a small size.
        large: a large size.
        direction: what is compared with Gaussian noise; ``"gaussian"`` compares the second child of each parent with
            the first, for the control.

    Returns:
        ``"noise"``: the median barrier after Gaussian noise of the large size; ``"small"`` and ``"large"``: the median
        barrier of the direction over that of Gaussian noise, by size.
    """
    values: dict[str, Question] = {"noise": (median, (found.barriers(_gaussian(step, large)),))}
    for name, size in {"small": small, "large": large}.items():
        noise = found.barriers(_gaussian(step, size))
        if direction == "gaussian":
            pair = noise[:, 1:], noise[:, :1]
        else:
            pair = found.barriers(Cell(step, Perturbation(size, direction))), noise
        values[name] = (median_ratio, pair)
    return over_twins(values)


def alignment_evidence(
    found: Mapping[str, Twins], cells: Sequence[Cell], *, planted: bool = False
) -> dict[str, Estimate]:
    """The estimates for whether a permutation explains the barrier, from barriers in train loss.

    Args:
        found: twins of each optimiser, ``"sgd"`` among them.
        cells: where children are perturbed; the first is the one that is judged, all count for the units that stay.
        planted: whether to judge the control, in which children of the last cell were renumbered at random before.

    Returns:
        For each optimiser ``"OPTIMISER, raw"``, the median barrier, and ``"OPTIMISER, kept"``, the ratio of the median
        barrier after weight or activation matching, whichever is lower, to it; ``"stay"``, if there are twins with a
        barrier below 0.1: the mean share of their units that weight matching leaves in place from a random start, under
        SGD.
    """
    values: dict[str, Question] = {}
    for optimiser, each in found.items():
        cell, raw, matched = (cells[-1], "planted", ["undone"]) if planted else (cells[0], "none", MATCHERS)
        barriers = each.barriers(cell, alignment=raw)
        lowest = np.min([each.barriers(cell, alignment=way) for way in matched], axis=0)
        values[f"{optimiser}, raw"] = median, (barriers,)
        values[f"{optimiser}, kept"] = median_ratio, (lowest, barriers)
    stay = [found["sgd"].of(cell, "fixed_points", "weights, random start") for cell in cells]
    calm = [found["sgd"].barriers(cell) < CALM for cell in cells]
    near = np.where(np.concatenate(calm, axis=1), np.concatenate(stay, axis=1), np.nan)
    if np.isfinite(near).any():
        values["stay"] = mean, (near,)
    return over_twins(values)


def hyperparameter_evidence(
    found: Mapping[str, Twins], *, steps: Mapping[str, tuple[int, int]], size: float
) -> dict[str, Estimate]:
    """The estimates for what makes a training stable: medians of the base setting over those of others, or the reverse.

    Args:
        found: twins of each setting; ``"base"`` is what the others are compared with.
        steps: for each setting the start and an early step.
        size: the size of the Gaussian perturbation.

    Returns:
        For each other setting ``"SETTING, start"`` and ``"SETTING, early"``: the median barrier of the base setting
        over its own, so that above 1 is more stable; ``"SETTING, fall"``: its own at the start over that early; and
        ``"SETTING, barrier"``: its own at the start.
    """
    at = {
        (name, when): each.barriers(_gaussian(step, size))
        for name, each in found.items()
        for when, step in zip(("start", "early"), steps[name], strict=True)
    }
    values: dict[str, Question] = {}
    for name in found:
        values[f"{name}, fall"] = median_ratio, (at[name, "start"], at[name, "early"])
        values[f"{name}, barrier"] = median, (at[name, "start"],)
        if name != "base":
            for when in ("start", "early"):
                values[f"{name}, {when}"] = median_ratio, (at["base", when], at[name, when])
    return over_twins(values)


def distance_evidence(found: Twins, cells: Sequence[Cell]) -> dict[str, Estimate]:
    """How the distance of twins at the end goes with their barrier in train loss.

    Args:
        found: twins of one setting.
        cells: when and how children are perturbed.

    Returns:
        ``"within"``: the rank correlation within cells: twins of one cell were perturbed at one time by one size, so
        that neither has a part in it.
    """
    pair = tuple(np.concatenate([get(cell) for cell in cells], axis=1) for get in (found.distance, found.barriers))
    return over_twins({"within": (within_correlation, pair)})


def representation_evidence(found: Twins, cells: Sequence[Cell], *, layer: int = -1) -> dict[str, Estimate]:
    """How the angle between representations goes with what an ensemble gains and with disagreement.

    Args:
        found: twins of one setting.
        cells: when and how children are perturbed.
        layer: the layer of the representations, counted from the input.

    Returns:
        Within cells, in which time and size have no part, ``"gain"``: the rank correlation of the angle and the gain of
        the ensemble in test loss over the mean of the two networks; ``"disagreement"``: that of the angle and the share
        of test examples with other classes.
    """
    angles, gains, others = (
        np.concatenate([get(cell) for cell in cells], axis=1)
        for get in (lambda cell: found.angle(cell, layer), found.improvement, found.disagreement)
    )
    pairs = {"gain": (angles, gains), "disagreement": (angles, others)}
    return over_twins({name: (within_correlation, pair) for name, pair in pairs.items()})


def _gaussian(step: int, size: float) -> Cell:
    return Cell(step, Perturbation(size))


def _growth(found: Twins, cell: Cell, step: int) -> ndarray:
    """How many times farther apart twins are at a step than where they begin to differ."""
    steps, distances = found.along(cell)
    return np.asarray(distances[..., list(steps).index(step)] / distances[..., 0])
