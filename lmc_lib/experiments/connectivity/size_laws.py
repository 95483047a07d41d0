"""How the barrier that is left after alignment depends on width, depth, task and on how far networks moved."""

__all__ = ["evidence", "excess", "orders"]

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.alignment import MATCHERS
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.connectivity.sizes import Sizes


def orders(
    values: Float[ndarray, "pairs settings"], by: Float[ndarray, "*#pairs settings"]
) -> Float[ndarray, " pairs"]:
    """Spearman's rank correlation of two numbers over settings, for each pair of networks by itself.

    It is 0 where one of them is the same in all settings, and NaN where a training diverged.

    Example:
        >>> orders(np.array([[3.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), np.array([8.0, 16.0, 32.0])).round(9).tolist()
        [-0.866025404, 0.0]
    """
    from scipy.stats import rankdata  # noqa: PLC0415 -- slow to load, and of no use to workers

    ranks = [rankdata(each, axis=-1) for each in np.broadcast_arrays(values, by)]
    one, other = (each - each.mean(-1, keepdims=True) for each in ranks)
    product, lengths = (one * other).sum(-1), np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    found = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0.0)
    return np.where(np.isfinite(values).all(-1), found, np.nan)


def excess(found: Sizes) -> Float[ndarray, " pairs"]:
    """The share of the barrier left by weight matching, less that by activation matching."""
    by_weights, by_activations = (found.share(each) for each in MATCHERS)
    more: ndarray = by_weights - by_activations
    return more


def evidence(
    widths: Mapping[int, Sizes],
    depths: Mapping[int, Sizes],
    tasks: Sequence[Sizes],
    scales: Mapping[float, Sizes],
    others: Sequence[Sizes],
) -> dict[str, Estimate]:
    """The estimates of how barriers in train loss depend on what networks are, means over pairs.

    The barrier that is left is the lower one of weight and activation matching.

    Args:
        widths: by width what was measured.
        depths: by number of hidden layers.
        tasks: an easier task and a harder one.
        scales: by the scale of initial weights, 1 among them, rising.
        others: networks of scale 1 that were trained otherwise.

    Returns:
        ``"width"`` and ``"depth"``, the rank correlation with the barrier that is left; ``"harder"``, by how much the
        test error of the harder task is larger, and ``"difficulty"``, the barrier that is left; ``"moved"``, the rank
        correlation over scales of the movement with the share of the barrier that weight matching leaves; ``"alone"``,
        by how much its :func:`excess` is larger at the largest scale than at the smallest; ``"moved otherwise"``, the
        rank correlation over ways to train; ``"starts"``, the share left by the permutation of the starts.
    """
    easier, harder = tasks
    trained = [scales[1.0], *others]
    numbers = {
        "width": _with(widths),
        "depth": _with(depths),
        "harder": harder.networks("test error") - easier.networks("test error"),
        "difficulty": harder.barriers("better") - easier.barriers("better"),
        "moved": _with_movement(scales.values()),
        "alone": excess(scales[max(scales)]) - excess(scales[min(scales)]),
        "moved otherwise": _with_movement(trained),
        "starts": scales[1.0].share("starts"),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def _with(found: Mapping[int, Sizes]) -> Float[ndarray, " pairs"]:
    return orders(
        np.stack([each.barriers("better") for each in found.values()], -1), np.array(list(found), dtype=float)
    )


def _with_movement(found: Iterable[Sizes]) -> Float[ndarray, " pairs"]:
    shares, moved = zip(*[(each.share("weights"), each.networks("movement")) for each in found], strict=True)
    return orders(np.stack(shares, -1), np.stack(moved, -1))
