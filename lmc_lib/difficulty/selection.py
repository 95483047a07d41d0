"""What scores are used for: which examples to keep, and how well they rank the examples whose label is wrong."""

__all__ = ["POLICIES", "average_precision", "keep", "precisions", "ranking", "shuffle_within"]

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

# Which end of the order of difficulty is kept.
POLICIES = ("hard", "easy", "random")


def keep(
    scores: Float[ndarray, " examples"],
    share: float,
    *,
    policy: str,
    rng: np.random.Generator,
    classes: Int[ndarray, " rows"] | None = None,
) -> Int[ndarray, " kept"]:
    """Chooses the hardest, the easiest or random examples.

    Examples of equal score are taken in random order, so a score that is a count does not favour the first ones.

    Args:
        scores: higher means harder; for random examples only their number counts.
        share: how much is kept, rounded to whole examples.
        policy: one of ``POLICIES``.
        rng: source of the order among equal scores, and of random examples.
        classes: if given, every class keeps this share of its own examples. Of the examples that rounding leaves over,
            the classes with the largest remainders get one each, so that as many are kept as without.

    Returns:
        The places of the examples that are kept, rising.

    Raises:
        ValueError: if the policy is unknown, the share keeps nothing or more than there is, a score is missing, or
            there is not one class for each example.

    Example:
        >>> scores = np.array([0.1, 0.9, 0.5, 0.7])
        >>> keep(scores, 0.5, policy="hard", rng=np.random.default_rng(0))
        array([1, 3])
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; there are {', '.join(POLICIES)}")
    if np.isnan(scores).any():
        raise ValueError(f"the score of example {int(np.isnan(scores).argmax())} is missing")
    if not (share <= 1.0 and round(share * len(scores)) >= 1):
        raise ValueError(f"a share of {share} of {len(scores)} examples keeps none of them, or more than there are")
    sign = {"hard": -1.0, "easy": 1.0, "random": 0.0}[policy]
    drawn = rng.permutation(len(scores))
    order = drawn[np.argsort(np.where(sign == 0.0, 0.0, sign * scores)[drawn], kind="stable")]
    if classes is None:
        return np.sort(order[: round(share * len(scores))])
    _check_classes(scores, classes)
    present, counts = np.unique(classes, return_counts=True)
    kept = [order[classes[order] == each][:some] for each, some in zip(present, _parts(counts, share), strict=True)]
    return np.sort(np.concatenate(kept))


def shuffle_within(
    scores: Float[ndarray, "... examples"], classes: Int[ndarray, " rows"], *, rng: np.random.Generator
) -> Float[ndarray, "... examples"]:
    """Gives each example the score of another of its class: what is left says something of the class alone.

    Args:
        scores: along the last axis; other axes are shuffled alike.
        classes: class of each example.
        rng: source of the order.

    Raises:
        ValueError: if there is not one class for each example.
    """
    _check_classes(scores, classes)
    places = np.arange(len(classes))
    for each in np.unique(classes):
        places[classes == each] = rng.permutation(np.flatnonzero(classes == each))
    shuffled: ndarray = scores[..., places]
    return shuffled


def average_precision(scores: Float[ndarray, " examples"], wrong: Bool[ndarray, " rows"]) -> float:
    r"""How well a score ranks wrong labels first: :math:`\sum_k (R_k - R_{k - 1}) P_k` over its different values.

    :math:`P_k` and :math:`R_k` are precision and recall of the examples whose score is at least the :math:`k`-th
    highest value; examples of equal score stand or fall together (``sklearn.metrics.average_precision_score``). A
    random order has the share of wrong labels, on average.

    Raises:
        ValueError: if all labels are wrong or none is.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 -- slow to load, and not needed to train

    _check_wrong(wrong)
    return float(average_precision_score(wrong, scores))


def precisions(
    scores: Float[ndarray, " examples"], wrong: Bool[ndarray, " rows"], recalls: Float[ndarray, " levels"]
) -> Float[ndarray, " levels"]:
    """The precision where the ranking has first found so much of the wrong labels.

    Args:
        scores: higher means more likely wrong.
        wrong: whose label is wrong.
        recalls: shares of the wrong labels, above 0 and up to 1.

    Raises:
        ValueError: if all labels are wrong or none is, or a level is outside.
    """
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415 -- as above

    _check_wrong(wrong)
    if not ((recalls > 0.0) & (recalls <= 1.0)).all():
        raise ValueError(f"levels of recall lie above 0 and up to 1, not {recalls.tolist()}")
    precision, recall, _ = precision_recall_curve(wrong, scores)
    precision, recall = precision[::-1], recall[::-1]  # from the highest score down, so that recall rises
    # A recall is a count over a count, and 0.3 of ten is three of them however it is rounded.
    places = np.searchsorted(recall, recalls - 1e-9)
    found: ndarray = precision[places]
    return found


def ranking(
    stack: Float[ndarray, "networks examples"], wrong: Bool[ndarray, " rows"], recalls: Float[ndarray, " levels"]
) -> dict[str, ndarray]:
    """How well a score ranks wrong labels: by each network, by the mean, and by the mean without each network.

    Returns:
        Average precisions: ``"each"``, of each network; ``"mean"``, of the mean over all; ``"without"``, of the mean
        without each network; and by network ``"precisions"``, as :func:`precisions`.

    Raises:
        ValueError: as :func:`precisions`.
    """
    # In float32: equal means of counts differ in their last bits, and are ties all the same.
    without = [np.delete(stack, place, axis=0).mean(0).astype(np.float32) for place in range(len(stack))]
    return {
        "each": np.array([average_precision(row, wrong) for row in stack]),
        "mean": np.array(average_precision(stack.mean(0).astype(np.float32), wrong)),
        "without": np.array([average_precision(row, wrong) for row in without]),
        "precisions": np.array([precisions(row, wrong, recalls) for row in stack]),
    }


def _parts(counts: ndarray, share: float) -> ndarray:
    """Whole numbers near a share of each count that add up to the rounded share of all; larger remainders first."""
    wanted = share * counts
    parts = np.floor(wanted + 1e-9).astype(int)  # a share of 0.7 of 10 is 7 and not 6
    left = round(share * int(counts.sum())) - int(parts.sum())
    parts[np.argsort(parts - wanted, kind="stable")[:left]] += 1
    return parts


def _check_classes(scores: ndarray, classes: ndarray) -> None:
    if scores.shape[-1] != len(classes):
        raise ValueError(f"every example needs one class, got {scores.shape[-1]} scores and {len(classes)} classes")


def _check_wrong(wrong: ndarray) -> None:
    if wrong.all() or not wrong.any():
        raise ValueError("to rank wrong labels before right ones there must be some of both")
