"""Scores from several networks: on which subsets an example is right, and whether networks agree on it.

Members say which examples a network was trained on. A score of an example that was trained on and one of an example
that was held out are different scores, and are never averaged together.
"""

__all__ = [
    "MixedSamples", "agreement", "all_correct", "c_score", "consensus", "draw_members", "mean_over_replicates",
    "memorisation", "unanimity",
]  # fmt: skip

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


class MixedSamples(ValueError):
    """Scores of examples that were trained on stand beside scores of examples that were held out."""


def draw_members(
    examples: int, size: int, replicates: int, *, rng: np.random.Generator
) -> Bool[ndarray, "{replicates} {examples}"]:
    """Draws training subsets of one size, one for each replicate.

    Args:
        examples: number of examples to draw from.
        size: number of examples in a subset.
        replicates: number of subsets.
        rng: source of the draws.

    Raises:
        ValueError: if a subset would be empty or hold out nothing.
    """
    if not 0 < size < examples:
        raise ValueError(f"a subset of {examples} examples has 1 to {examples - 1} of them, not {size}")
    return rng.permuted(np.tile(np.arange(examples) < size, (replicates, 1)), axis=1)


def mean_over_replicates(
    scores: Float[ndarray, "replicates examples"],
    members: Bool[ndarray, "rows columns"] | None = None,
    *,
    sample: str | None = None,
) -> Float[ndarray, " examples"]:
    """The mean of a score over replicates.

    Args:
        scores: one row a replicate.
        members: which examples each replicate was trained on, if that differs.
        sample: ``"in"`` for the mean over replicates that were trained on an example, ``"out"`` over those that were
            not. None if all scores are of one kind.

    Raises:
        MixedSamples: if members differ and no sample is chosen.
        ValueError: if the sample is unknown, given without members, or an example has no replicate of this kind, and if
            shapes differ or a score is missing.
    """
    chosen = _chosen(scores, members, sample)
    if (missing := np.isnan(scores) & chosen).any():
        replicate, example = np.argwhere(missing)[0]
        raise ValueError(f"the score of example {example} is missing in replicate {replicate}: leave one of them out")
    counts = chosen.sum(0)
    if (counts == 0).any():
        kind = "trained on" if sample == "in" else "held out"
        raise ValueError(
            f"example {int((counts == 0).argmax())} was {kind} in none of the {len(scores)} replicates: draw more"
        )
    mean: ndarray = np.where(chosen, scores, 0.0).sum(0) / counts
    return mean


def c_score(
    right: Bool[ndarray, "replicates examples"], members: Bool[ndarray, "rows columns"]
) -> Float[ndarray, " examples"]:
    """The expected correctness of held-out examples, over subsets and their sizes (Jiang et al. 2021).

    The mean over subsets of one size comes first and that over sizes second, so that sizes count alike however many
    subsets each has.

    Args:
        right: whether each example was classified correctly by the network of each subset.
        members: which examples each network was trained on.

    Raises:
        ValueError: if an example is held out by no subset of some size, or shapes differ.
    """
    _check_members(right, members)
    sizes = members.sum(1)
    rows = [sizes == size for size in np.unique(sizes)]
    means = [mean_over_replicates(right[each].astype(float), members[each], sample="out") for each in rows]
    result: ndarray = np.mean(means, axis=0)
    return result


def memorisation(
    right: Bool[ndarray, "replicates examples"], members: Bool[ndarray, "rows columns"]
) -> Float[ndarray, " examples"]:
    """How much more often an example is right if it was trained on than if it was held out (Feldman and Zhang 2020).

    Raises:
        ValueError: if an example is never trained on or never held out, or shapes differ.
    """
    inside, outside = (mean_over_replicates(right.astype(float), members, sample=sample) for sample in ("in", "out"))
    difference: ndarray = inside - outside
    return difference


def unanimity(right: Bool[ndarray, "replicates examples"]) -> Float[ndarray, " examples"]:
    """1 for examples that all networks classify correctly, -1 for those that none does, 0 for the others."""
    _check_several(right)
    always: ndarray = right.all(0).astype(float)
    return always - (~right).all(0)


def all_correct(right: Bool[ndarray, "replicates examples"]) -> Float[ndarray, " examples"]:
    """1 for examples that all networks classify correctly, else 0."""
    _check_several(right)
    always: ndarray = right.all(0).astype(float)
    return always


def consensus(predictions: Int[ndarray, "replicates examples"]) -> Int[ndarray, " examples"]:
    """The class that most networks predict; of classes with as many votes the smallest.

    Raises:
        ValueError: if there is a single network, or a prediction is negative.
    """
    winners: ndarray = _votes(predictions).argmax(0)
    return winners


def agreement(predictions: Int[ndarray, "replicates examples"]) -> Float[ndarray, " examples"]:
    """The share of networks that predict the consensus, whatever the label.

    Raises:
        ValueError: as for :func:`consensus`.
    """
    shares: ndarray = _votes(predictions).max(0) / len(predictions)
    return shares


def _votes(predictions: ndarray) -> ndarray:
    _check_several(predictions)
    if predictions.min() < 0:
        raise ValueError(f"predictions are classes from 0 on, got {predictions.min()}")
    return np.stack([(predictions == each).sum(0) for each in range(int(predictions.max()) + 1)])


def _check_several(values: ndarray) -> None:
    if len(values) < 2:
        raise ValueError(f"agreement is between networks, so it needs at least two replicates, got {len(values)}")


def _chosen(scores: ndarray, members: ndarray | None, sample: str | None) -> ndarray:
    """Which scores count for a mean over one sample."""
    if members is None:
        if sample is not None:
            raise ValueError(f"to average over the {sample!r} sample, say which examples are members")
        return np.ones(scores.shape, dtype=bool)
    _check_members(scores, members)
    if sample not in ("in", "out", None):
        raise ValueError(f"the sample is 'in' or 'out', not {sample!r}")
    if sample is not None:
        return members if sample == "in" else ~members
    if members.any() and not members.all():
        inside, outside = (tuple(int(each) for each in np.argwhere(where)[0]) for where in (members, ~members))
        raise MixedSamples(
            f"replicate {inside[0]} was trained on example {inside[1]}, but replicate {outside[0]} was not trained on "
            f"example {outside[1]}: these scores are not comparable; choose sample='in' or sample='out'"
        )
    return np.ones(scores.shape, dtype=bool)


def _check_members(scores: ndarray, members: ndarray) -> None:
    if scores.shape != members.shape:
        raise ValueError(
            f"scores and members stand for the same replicates and examples: {scores.shape}, {members.shape}"
        )
