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
    highest_ratio,
    mean,
    median,
    median_ratio,
    rank_correlation,
    within_correlation,
)
from lmc_lib.experiments.evidence import Question, over_twins
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.perturbation import Perturbation, growth_exponents

# Twins with a lower barrier count as connected.
CALM = 0.1


def start_evidence(
    found: Twins, *, steps: Sequence[int], one: Perturbation, smallest: float, seed: int
) -> dict[str, Estimate]:
    """The estimates for whether the smallest perturbation is enough at the start, from barriers in train loss.

    Args:
        found: twins after one weight was moved and after noise of the smallest size, at the first and the last step.
        steps: the steps at which children are perturbed, the first of them 0.
        one: the perturbation of one weight.
        smallest: the size of the noise.
        seed: stream of the bootstrap.

    Returns:
        ``"one weight"`` and ``"smallest"``: the median barrier at the first step over that at the last; ``"one weight,
        start"`` and ``"smallest, start"``: the median barrier at the first step.
    """
    values: dict[str, Question] = {}
    for name, perturbation in {"one weight": one, "smallest": Perturbation(smallest)}.items():
        start, late = (found.barriers(Cell(step, perturbation)) for step in (steps[0], steps[-1]))
        values[name] = median_ratio, (start, late)
        values[f"{name}, start"] = median, (start,)
    return over_twins(values, seed=seed)


def onset_evidence(
    found: Twins, *, steps: Sequence[int], sizes: Sequence[float], large: float, seed: int
) -> dict[str, Estimate]:
    """The estimates for how the size and the time of a perturbation count, from barriers in train loss.

    Args:
        found: twins after Gaussian noise at all steps and sizes, and of the large size at the last step.
        steps: the steps at which children are perturbed, the first of them 0, rising.
        sizes: sizes of Gaussian perturbations, rising.
        large: the size that is large enough late in training.
        seed: stream of the bootstrap.

    Returns:
        ``"start"``: the median at the first step, for the smallest size; ``"spread"``: the highest over the lowest
        median of all sizes there; ``"fall"``: the median at the first step over that at the second, for the smallest
        size; ``"rest"``: that at the last step; ``"late, largest"`` and ``"late, large"``: the median at the last step
        of the largest of the sizes and of the large one; ``"nonlinearity"``: the factor, up or down, between how much
        distances grow until the second step after the smallest and after the largest size, 1 in a linear system;
        ``"earlier exponent"`` and ``"later exponent"``: those of ``growth_exponents`` for the smallest size, if any
        twins were near for long enough.
    """
    first, second, last = steps[0], steps[1], steps[-1]
    start, early, late = (found.barriers(_gaussian(step, sizes[0])) for step in (first, second, last))
    growth = [np.log(_growth(found, _gaussian(first, size), second)) for size in (sizes[0], sizes[-1])]
    earlier, later = np.moveaxis(growth_exponents(*found.along(_gaussian(first, sizes[0]))), -1, 0)
    values: dict[str, Question] = {
        "start": (median, (start,)),
        "spread": (highest_ratio, tuple(found.barriers(_gaussian(first, size)) for size in sizes)),
        "fall": (median_ratio, (start, early)),
        "rest": (median, (late,)),
        "late, largest": (median, (found.barriers(_gaussian(last, sizes[-1])),)),
        "late, large": (median, (found.barriers(_gaussian(last, large)),)),
        "nonlinearity": (median, (np.exp(np.abs(growth[0] - growth[1])),)),
    }
    if np.isfinite(earlier).any():
        values |= {"earlier exponent": (median, (earlier,)), "later exponent": (median, (later,))}
    return over_twins(values, seed=seed)


def direction_evidence(
    found: Twins, *, step: int, small: float, large: float, direction: str = "batch", seed: int
) -> dict[str, Estimate]:
    """The estimates for whether the direction matters, from barriers in train loss.

    Args:
        found: Gaussian twins and those in another direction, at the step, of both sizes.
        step: the step at which children are perturbed.
        small: a small size.
        large: a large size.
        direction: what is compared with Gaussian noise; ``"gaussian"`` compares the second child of each parent with
            the first, for the control.
        seed: stream of the bootstrap.

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
    return over_twins(values, seed=seed)


def alignment_evidence(
    found: Mapping[str, Twins], cells: Sequence[Cell], *, planted: bool = False, seed: int
) -> dict[str, Estimate]:
    """The estimates for whether a permutation explains the barrier, from barriers in train loss.

    Args:
        found: twins of each optimiser, ``"sgd"`` among them.
        cells: where children are perturbed; the first is the one that is judged, all count for the units that stay.
        planted: whether to judge the control, in which children of the last cell were renumbered at random before.
        seed: stream of the bootstrap.

    Returns:
        For each optimiser ``"OPTIMISER, raw"``, the median barrier, and ``"OPTIMISER, kept"``, the ratio of the median
        barrier after weight matching to it; ``"stay"``, if there are twins with a barrier below 0.1: the mean share of
        their units that weight matching leaves in place from a random start, under SGD.
    """
    values: dict[str, Question] = {}
    for optimiser, each in found.items():
        cell, raw, matched = (cells[-1], "planted", "undone") if planted else (cells[0], "none", "weights")
        barriers = each.barriers(cell, alignment=raw)
        values[f"{optimiser}, raw"] = median, (barriers,)
        values[f"{optimiser}, kept"] = median_ratio, (each.barriers(cell, alignment=matched), barriers)
    stay = [found["sgd"].of(cell, "fixed_points", "weights, random start") for cell in cells]
    calm = [found["sgd"].barriers(cell) < CALM for cell in cells]
    near = np.where(np.concatenate(calm, axis=1), np.concatenate(stay, axis=1), np.nan)
    if np.isfinite(near).any():
        values["stay"] = mean, (near,)
    return over_twins(values, seed=seed)


def hyperparameter_evidence(
    found: Mapping[str, Twins], *, steps: Mapping[str, tuple[int, int]], size: float, seed: int
) -> dict[str, Estimate]:
    """The estimates for what makes a training stable: medians of the base setting over those of others, or the reverse.

    Args:
        found: twins of each setting; ``"base"`` is what the others are compared with.
        steps: for each setting the start and an early step.
        size: the size of the Gaussian perturbation.
        seed: stream of the bootstrap.

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
    return over_twins(values, seed=seed)


def distance_evidence(found: Twins, cells: Sequence[Cell], *, swapped: bool = False, seed: int) -> dict[str, Estimate]:
    """How the distance of twins at the end goes with their barrier in train loss.

    Args:
        found: twins of one setting.
        cells: when and how children are perturbed, in the order of the steps.
        swapped: whether to give the twins of the first cell the distances of the last, and so on, for the control.
        seed: stream of the bootstrap.

    Returns:
        ``"correlation"``: the rank correlation over all cells; ``"within"``: that within cells, in which time and size
        have no part.
    """
    barriers = np.concatenate([found.barriers(cell) for cell in cells], axis=1)
    distances = np.concatenate([found.distance(cell) for cell in cells], axis=1)
    if swapped:
        distances = distances[:, ::-1]
    pair = distances, barriers
    return over_twins({"correlation": (rank_correlation, pair), "within": (within_correlation, pair)}, seed=seed)


def representation_evidence(
    found: Twins, cells: Sequence[Cell], *, layer: int = -1, swapped: bool = False, seed: int
) -> dict[str, Estimate]:
    """How the angle between representations goes with what an ensemble gains and with disagreement.

    Args:
        found: twins of one setting.
        cells: when and how children are perturbed, in the order of the steps.
        layer: the layer of the representations, counted from the input.
        swapped: whether to give the twins of the first cell the angles of the last, and so on, for the control.
        seed: stream of the bootstrap.

    Returns:
        ``"gain"``: the rank correlation of the angle and the gain of the ensemble in test loss over the mean of the two
        networks; ``"disagreement"``: that of the angle and the share of test examples with other classes;
        ``"within"``: that of the angle and the gain within cells, in which time and size have no part.
    """
    angles = np.concatenate([found.angle(cell, layer) for cell in cells], axis=1)
    if swapped:
        angles = angles[:, ::-1]
    gains = np.concatenate([found.improvement(cell) for cell in cells], axis=1)
    others = np.concatenate([found.disagreement(cell) for cell in cells], axis=1)
    pairs = {"gain": (angles, gains), "disagreement": (angles, others)}
    values: dict[str, Question] = {name: (rank_correlation, each) for name, each in pairs.items()}
    return over_twins(values | {"within": (within_correlation, pairs["gain"])}, seed=seed)


def _gaussian(step: int, size: float) -> Cell:
    return Cell(step, Perturbation(size))


def _growth(found: Twins, cell: Cell, step: int) -> ndarray:
    """How many times farther apart twins are at a step than where they begin to differ."""
    steps, distances = found.along(cell)
    return np.asarray(distances[..., list(steps).index(step)] / distances[..., 0])
