"""Scores from representations: how deep an example is decided (prediction depth), how far it lies from prototypes."""

__all__ = ["prediction_depth", "prototype_distance", "self_prototype_distance"]

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import expected
from lmc_lib.difficulty.learning import Learning


def prediction_depth(
    layers: Iterable[Float[ndarray, "examples _units"]],
    labels: Int[ndarray, " rows"],
    *,
    final: Int[ndarray, " others"] | None = None,
    neighbours: int = 30,
    with_self: bool = False,
    queries: Iterable[Float[ndarray, "queries _units"]] | None = None,
    query_labels: Int[ndarray, " answers"] | None = None,
) -> Float[ndarray, " placed"]:
    r"""The first layer from which nearest neighbours always vote for an example's class (Baldock et al. 2021).

    At each layer the nearest examples vote with their labels, by Euclidean distance; of classes with as many votes the
    smallest wins. The depth is 0 if all layers agree, and the number of layers if the last one does not.

    Args:
        layers: representations of the examples that vote, from the inputs to the outputs, one row an example. They are
            taken one after the other, so a generator keeps a single layer in memory.
        labels: classes of the examples that vote.
        final: what the vote is compared with: the network's final predictions, as Baldock et al. do; the true labels if
            None, as Kwok et al. (2024) do.
        neighbours: number of examples that vote.
        with_self: whether an example is among its own neighbours, as in the code of Kwok et al.; this makes examples
            look easier.
        queries: representations of other examples, whose depth is wanted in place of that of those that vote.
        query_labels: their classes.

    Raises:
        ValueError: if there are more neighbours than examples, the numbers of examples differ, two layers in a row are
            the same, there is no layer, a representation is not finite, or labels are given without queries.
    """
    # Slow to load, and of no use to the workers that train and measure.
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

    if (queries is None) != (query_labels is None):
        raise ValueError("other examples need both their representations and their labels: queries and query_labels")
    if queries is not None and with_self:
        raise ValueError("other examples are not among those that vote, so with_self has no meaning for them")
    truth = labels if query_labels is None else query_labels
    expected.labels(torch.as_tensor(truth), examples=len(truth))
    wanted = truth if final is None else final
    if len(wanted) != len(truth):
        raise ValueError(f"there are {len(truth)} examples to place and {len(wanted)} final predictions")
    learning, before, number = Learning(len(truth)), None, -1
    for number, (layer, asked) in enumerate(_in_step(layers, queries)):
        _check_layer(layer, labels, before, number)
        available = len(layer) - (asked is None and not with_self)
        if not 1 <= neighbours <= available:
            raise ValueError(f"{neighbours} neighbours of {available} examples at hand: ask for fewer, at least 1")
        votes = KNeighborsClassifier(neighbours).fit(layer, labels)
        asked = layer if asked is None and with_self else asked
        learning.update(np.asarray(votes.predict(asked)) == wanted)  # of None: each example without itself
        before = layer
    if number < 0:
        raise ValueError("there is no layer to look at")
    return learning.iteration_learned()


def prototype_distance(
    features: Float[ndarray, "examples units"], labels: Int[ndarray, " rows"], *, with_self: bool = True
) -> Float[ndarray, " examples"]:
    """The Euclidean distance of an example to the mean of its class.

    Args:
        features: representations of the last layer, one row an example.
        labels: class of each example.
        with_self: whether the mean counts the example itself, as Kwok et al. (2024) do; it draws the mean nearer.

    Raises:
        ValueError: if the numbers of examples differ, or an example is alone in its class and does not count itself.
    """
    _check_features(features, labels)
    distances = np.empty(len(features))
    for each in np.unique(labels):
        own = features[labels == each].astype(float)
        if len(own) == 1 and not with_self:
            raise ValueError(f"class {each} has a single example, so without it there is no mean to be far from")
        far = np.linalg.norm(own - own.mean(0), axis=1)
        # Without the example, the mean of the n - 1 others is n / (n - 1) times as far away.
        distances[labels == each] = far if with_self else far * len(own) / (len(own) - 1)
    return distances


def self_prototype_distance(
    features: Float[ndarray, "examples units"], *, prototypes: int = 30, rng: np.random.Generator
) -> Float[ndarray, " examples"]:
    """The Euclidean distance of an example to the nearest of several k-means centres, which know no labels.

    Args:
        features: representations of the last layer, one row an example.
        prototypes: number of centres.
        rng: source of the first centres.

    Raises:
        ValueError: if there are more centres than different examples.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 -- as above
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    different = len(np.unique(features, axis=0))
    if not 1 <= prototypes <= different:
        raise ValueError(f"{prototypes} prototypes of {different} different examples: ask for fewer, at least 1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(prototypes, n_init=1, random_state=int(rng.integers(2**31))).fit(features)
    distances: ndarray = means.transform(features).min(1).astype(float)
    return distances


def _in_step(layers: Iterable[ndarray], queries: Iterable[ndarray] | None) -> Iterable[tuple[ndarray, ndarray | None]]:
    """Each layer with the queries at that layer."""
    if queries is None:
        return ((layer, None) for layer in layers)
    return zip(layers, queries, strict=True)


def _check_layer(layer: ndarray, labels: ndarray, before: ndarray | None, number: int) -> None:
    _check_features(layer, labels)
    if before is not None and np.array_equal(layer, before):
        raise ValueError(f"layers {number - 1} and {number} are the same: list each layer once, in order")


def _check_features(features: ndarray, labels: ndarray) -> None:
    expected.labels(torch.as_tensor(labels), examples=len(features))
    if not np.isfinite(features).all():
        raise ValueError("a representation is not finite: leave a network out whose training diverged")
