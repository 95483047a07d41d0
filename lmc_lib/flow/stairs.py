"""Where a loss that goes down stairs stands between two steps, and where curves cross."""

__all__ = ["crossing", "plateaus"]

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def plateaus(
    times: Float[ndarray, "seeds steps"],
    levels: Float[ndarray, "seeds steps"],
    losses: Float[ndarray, "seeds records"],
    every: int,
) -> tuple[Float[ndarray, "seeds plateaus"], Float[ndarray, "seeds plateaus"]]:
    """The loss where it falls most slowly between two steps, and the sum of the heights of the later steps.

    Args:
        times: of each step, in updates, in any order.
        levels: the height of each step.
        losses: the loss at each record.
        every: the number of updates between two records.
    """
    ranks = times.argsort(1, kind="stable")
    remaining = np.take_along_axis(levels, ranks, 1)[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
    bounds = np.ceil(np.take_along_axis(times, ranks, 1) / every).astype(int).tolist()
    measured = [
        [_slowest(loss, low, high) for low, high in pairwise(of_seed)]
        for loss, of_seed in zip(losses, bounds, strict=True)
    ]
    return np.array(measured), remaining


def crossing(places: Float[ndarray, " n"], values: Float[ndarray, " n"]) -> float:
    """Where values first fall below 0, on a straight line between two places; the last place if never."""
    if not (values < 0.0).any():
        return float(places[-1])
    after = int((values < 0.0).argmax())
    if after == 0:
        return float(places[0])
    return float(np.interp(0.0, values[[after, after - 1]], places[[after, after - 1]]))


def _slowest(loss: Float[ndarray, " records"], low: int, high: int) -> float:
    """The loss from which the relative change to the next record is the least, between two records."""
    low = min(low, len(loss) - 2)
    window = loss[low : max(high, low + 1) + 1]
    return float(window[np.abs(np.diff(np.log(window))).argmin()])
