"""Where the loss does not fall on the line from the start of a network to its end: what far, fast and turning do."""

__all__ = ["Cell", "evidence", "learnt", "read", "shares", "violations"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lmc_lib.claims import Estimate, estimate_of_mean, estimate_of_twins, within_correlation
from lmc_lib.experiments.found import Found

# Ranks of fewer networks say little.
_RANKED = 3


@dataclass(frozen=True)
class Cell:
    """Networks that differ in their seed alone.

    Attributes:
        network: the architecture without its normalisation.
        normalised: whether it has batch normalisation.
        optimiser: ``"sgd"`` or ``"adamw"``.
        rate: the learning rate.
        slow: whether that is the smallest one of the optimiser.
    """

    network: str
    normalised: bool
    optimiser: str
    rate: float
    slow: bool


def read(found: Mapping[Cell, Found], *path: str | int) -> Float[ndarray, "seeds cells"]:
    """What stands at a path in the measured lines; NaN where a training diverged."""
    values = np.full((max(each.count for each in found.values()), len(found)), np.nan)
    for column, each in enumerate(found.values()):
        values[[seed for (seed,) in each.values], column] = each.of(*path)
    return values


def learnt(found: Mapping[Cell, Found], most: float) -> Bool[ndarray, "seeds cells"]:
    """Which networks end with a training loss of at most so many nats."""
    return np.asarray(read(found, "curves", "train", "loss", -1) <= most)


def violations(
    found: Mapping[Cell, Found], bound: float, most: float, split: str = "train", what: str = "loss"
) -> Float[ndarray, "seeds cells"]:
    """Which lines have a bump above a bound: 1 or 0, and NaN for a network that has not learnt."""
    return np.where(learnt(found, most), read(found, "bumps", split, what) > bound, np.nan)


def shares(found: Mapping[Cell, Found], bound: float, most: float, short: float) -> dict[str, Estimate]:
    """The estimates for how often lines have a bump, among networks that have learnt, with the seed as unit.

    Shares are means over the networks of a seed. Halves are those of the networks of one seed and one architecture,
    with or without normalisation, by the rank of a number; the middle one of an odd number is in neither.

    Args:
        found: the lines.
        bound: the bump in training loss above which a line is said not to be monotonic.
        most: the training loss up to which a network has learnt.
        short: the Gauss length below which a path is short.

    Returns:
        ``"slow"``: the share of lines with a bump at the smallest rate of each optimiser; ``"short"``: among networks
        with short paths. By how much the share is larger: ``"far"``, in the half that moved farther; ``"adaptive"``,
        with AdamW than with SGD; ``"normalised"``, with batch normalisation; ``"long"``, in the half with the longer
        Gauss lengths.
    """
    broken, turned = violations(found, bound, most), read(found, "gauss")
    values = {
        "slow": _mean(broken[:, [cell.slow for cell in found]]),
        "far": _farther(found, broken, read(found, "distance")),
        "adaptive": _apart(broken, np.array([cell.optimiser != "sgd" for cell in found])),
        "normalised": _apart(broken, np.array([cell.normalised for cell in found])),
        "short": _mean(np.where(turned < short, broken, np.nan)),
        "long": _farther(found, broken, turned),
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}


def evidence(found: Mapping[Cell, Found], bound: float, most: float, short: float) -> dict[str, Estimate]:
    """The estimates of :func:`shares`, and two rank correlations within cells, so of networks with one rate.

    Returns:
        Besides the shares, ``"far alike"``: the correlation of the height of bumps with the distance moved, and
        ``"long alike"``: with the Gauss length.
    """
    kept = learnt(found, most)
    kept &= kept.sum(0) >= _RANKED
    heights, moved, turned = (
        np.where(kept, read(found, *path), np.nan)[:, kept.any(0)]
        for path in (("bumps", "train", "loss"), ("distance",), ("gauss",))
    )
    return shares(found, bound, most, short) | {
        "far alike": estimate_of_twins(within_correlation, moved, heights),
        "long alike": estimate_of_twins(within_correlation, turned, heights),
    }


def _mean(values: Float[ndarray, "seeds cells"]) -> Float[ndarray, " seeds"]:
    """The mean over what is a number in each row; NaN where nothing is."""
    count = np.isfinite(values).sum(1)
    return np.asarray(np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan))


def _apart(values: Float[ndarray, "seeds cells"], asked: Bool[ndarray, " cells"]) -> Float[ndarray, " seeds"]:
    return np.asarray(_mean(values[:, asked]) - _mean(values[:, ~asked]))


def _farther(
    found: Mapping[Cell, Found], values: Float[ndarray, "seeds cells"], by: Float[ndarray, "seeds cells"]
) -> Float[ndarray, " seeds"]:
    """The mean of the upper halves by another number less that of the lower halves."""
    kinds = [(cell.network, cell.normalised) for cell in found]
    sides = []
    for kind in dict.fromkeys(kinds):
        own = np.array([each == kind for each in kinds])
        ranked = np.where(np.isfinite(values[:, own]), by[:, own], np.nan)
        middle = np.array([[np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan] for row in ranked])
        sides.append([_mean(np.where(half, values[:, own], np.nan)) for half in (ranked > middle, ranked < middle)])
    upper, lower = np.moveaxis(np.array(sides), 0, -1)
    return _mean(upper - lower)
