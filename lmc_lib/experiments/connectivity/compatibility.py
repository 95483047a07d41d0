"""Which lower layers serve a network, by the penalties of stitched networks, and whether angles say the same."""

__all__ = ["agreement", "of_order", "of_penalty", "of_strength"]

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims import Estimate, estimate_by_jackknife, estimate_of_mean
from lmc_lib.experiments.connectivity.stitches import Stitches


def of_penalty(found: Stitches, untrained: Stitches, random_labels: Stitches, pixels: Stitches) -> dict[str, Estimate]:
    """How little is lost with some lower layers, and how much more with those that learnt nothing of the task.

    All by least squares, in test error, the mean over hidden layers and over pairs.

    Args:
        found: the lower layers that are judged.
        untrained: those of the same pairs before training.
        random_labels: those that learnt labels which say nothing.
        pixels: no lower layers but the images themselves.

    Returns:
        ``"penalty"`` of the first; and by how much it is larger of ``"untrained"``, ``"random labels"`` and
        ``"pixels"``.
    """
    lost = found.penalty().mean(0)
    others = {"untrained": untrained, "random labels": random_labels, "pixels": pixels}
    more = {name: estimate_of_mean(each.penalty().mean(0) - lost) for name, each in others.items()}
    return {"penalty": estimate_of_mean(lost), **more}


def of_strength(stronger: Stitches, own: Stitches, other: Stitches) -> dict[str, Estimate]:
    """By how much weak networks gain from the lower layers of stronger ones; means over hidden layers and pairs.

    Args:
        stronger: lower layers of stronger networks under upper layers of weak ones.
        own: those of the weak networks themselves.
        other: those of other weak networks.

    Returns:
        Which share of a test error is gone with the stronger ones, whose stitches are trained: of that of the weak
        network as it is, ``"improves"``; of that with its ``"own"`` and with ``"another"``'s lower layers, whose
        stitches are trained alike; and ``"farther"``, the angle to the stronger layers less that to the other weak ones
        (radians).
    """
    best = stronger.scores(trained=True).mean(0)
    numbers = {
        "improves": 1.0 - best / stronger.of("own", "test error"),
        "own": 1.0 - best / own.scores(trained=True).mean(0),
        "another": 1.0 - best / other.scores(trained=True).mean(0),
        "farther": (stronger.of("angles") - other.of("angles")).mean(0),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def of_order(kinds: Sequence[Stitches]) -> dict[str, Estimate]:
    """``"agreement"`` of penalties in test error and angles, with the interval of the jackknife over pairs.

    Args:
        kinds: several kinds of lower layers under the same upper ones. Pairs in which a training diverged, or a layer
            was never active, are left out.
    """
    penalties = np.stack([each.penalty() for each in kinds], -1)
    angles = np.stack([each.of("angles") for each in kinds], -1)
    known = np.isfinite(penalties).all((0, 2)) & np.isfinite(angles).all((0, 2))
    penalties, angles = penalties[:, known], angles[:, known]
    kept = [np.arange(known.sum()) != each for each in range(known.sum())]
    without = np.array([agreement(penalties[:, each], angles[:, each]) for each in kept])
    return {"agreement": estimate_by_jackknife(agreement(penalties, angles), without)}


def agreement(first: Float[ndarray, "layers pairs kinds"], second: Float[ndarray, "layers pairs kinds"]) -> float:
    r"""The rank correlation over kinds of two numbers, within layers, without what chance takes from it.

    Ranks are taken over the kinds of each layer and pair, centred, and divided by their length. With the mean inner
    products over layers and *different* pairs, it is the one of ranks by the first number and ranks by the second,
    divided by the geometric mean of those of each number with itself (Spearman's correction for attenuation): 1 where
    both have one order, however noisy, since what is random in one pair is not in another.

    Example:
        >>> numbers = np.array([[[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]])
        >>> round(agreement(numbers, 10.0 * numbers), 9), round(agreement(numbers, -numbers), 9)
        (1.0, -1.0)
    """
    from scipy.stats import rankdata  # noqa: PLC0415 -- slow to load, and of no use to workers

    one, other = (rankdata(each, axis=-1) for each in (first, second))
    one, other = (each - each.mean(-1, keepdims=True) for each in (one, other))
    one, other = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other))
    apart = ~np.eye(one.shape[1], dtype=bool)
    both, first_alone, second_alone = (
        np.einsum("lik,ljk->ijl", *each)[apart].mean() for each in ((one, other), (one, one), (other, other))
    )
    return float(both / np.sqrt(first_alone * second_alone))
