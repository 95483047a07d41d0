"""What scores of examples share: their correlations, with noise and without, and the components behind them."""

__all__ = ["SHUFFLES", "Agreement", "AgreementSpec", "evidence"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate_by_jackknife
from lmc_lib.data import DataSpec
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.difficulty.pictures import NamesExamples
from lmc_lib.experiments.difficulty.reliability import PUBLISHED
from lmc_lib.experiments.difficulty.scores import SAMPLES, ScoredNetworks, Scores
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.values import or_none, rounded
from lmc_lib.store import Result, Store

SHUFFLES = ("", "within classes", "all")

# Of the components of scores so many shares are kept; rank correlations from this on make two scores near copies.
_COMPONENTS = 5
_NEAR_COPY = 0.95


@dataclass(frozen=True)
class AgreementSpec(ScoredNetworks, NamesExamples):
    """All that defines the agreement of scores with each other.

    Attributes:
        scored: the networks, of one architecture.
        shuffled: one of ``SHUFFLES``, how the examples of each score are exchanged, alike in all networks and otherwise
            for each score: ``""``, not at all; ``"within classes"``, so that what is left of the agreement is between
            classes; ``"all"``, so that nothing is left.
        shown: how many of the easiest and of the hardest examples are listed.
        seed: stream of the shuffles.
    """

    kind: ClassVar[str] = "AgreementSpec"
    noun: ClassVar[str] = "agreements"

    shuffled: str = ""
    shown: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shuffled not in SHUFFLES:
            raise ValueError(f"examples are shuffled in one of the ways {SHUFFLES}, not {self.shuffled!r}")

    @property
    def images(self) -> DataSpec:
        """The examples."""
        return self.scored[0].run.data

    def named(self, values: Mapping[str, Any]) -> list[int]:
        """The held-out examples at both ends."""
        ends: list[list[list[int]]] = [values["samples"]["test"][end] for end in ("easiest", "hardest")]
        return [place for end in ends for place, _ in end]

    def compute(self, store: Store) -> Result:
        """Correlates all scores of all networks with each other."""
        found = scoring.read(store, self.scored)
        samples = {}
        for sample in SAMPLES:
            stack = found.values[sample]
            if self.shuffled:
                together = self.labels(sample) * (self.shuffled == "within classes")
                stream = rng.numpy_stream(self.seed, "agreement", sample)
                of_scores = (difficulty.shuffle_within(each, together, rng=stream) for each in stack.swapaxes(0, 1))
                stack = np.stack(list(of_scores), axis=1)
            samples[sample] = _correlated(stack, found.names) | self._extremes(found, sample)
        return Result({"names": list(found.names), "networks": len(stack), "samples": samples})

    def _extremes(self, found: Scores, sample: str) -> dict[str, Any]:
        """The examples at both ends of the mean rank by the scores with published numbers, and what networks say."""
        order = difficulty.ranks(found.means(sample, PUBLISHED)).mean(0).argsort(kind="stable")
        said = difficulty.consensus(found.predictions[sample])
        ends = {"easiest": order[: self.shown], "hardest": order[::-1][: self.shown]}
        return {end: [[int(row), int(said[row])] for row in rows] for end, rows in ends.items()}


class Agreement(Record):
    """The agreement of scores, all turned so that higher means harder: what ``AgreementSpec`` measures.

    The stored values hold the ``"names"`` of the scores, the number of ``"networks"``, and by sample (``"samples"``):

    - matrices of rank correlations between scores, None where a score has one value: ``"means"``, of the means over all
      networks; ``"same run"``, within a network, the mean over networks; ``"other run"``, of one score by a network and
      another score by another network; ``"disattenuated"``, the last divided by the root of both reliabilities;
    - ``"components"``, names, shares and loadings of the principal components of the means: ``"published"``, of the
      scores with published numbers; ``"all"``; or ``"different"``, of all but near copies of an earlier one;
    - the ``"easiest"`` and ``"hardest"`` examples: the place of each, and the class that most networks see.
    """

    def between(self, sample: str, kind: str, names: Sequence[str]) -> Float[ndarray, " pairs"]:
        """The correlations between different ones of some scores."""
        rows = [self.values["names"].index(name) for name in names]
        return self.of("samples", sample, kind)[np.ix_(rows, rows)][np.triu_indices(len(rows), 1)]


def evidence(found: Agreement, alone: Agreement, sample: str) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, by the jackknife over networks, of scores with published numbers.

    Args:
        found: the scores as they are.
        alone: the same with examples shuffled within classes, so that they agree on hard classes alone.
        sample: ``"train"`` or ``"test"``.

    Returns:
        ``"correlation"``: the median size of the rank correlation between means of different scores, less that by
        classes alone; ``"dominance"``: the variance of the first principal component over that of the second, as a
        multiple of the same by classes alone; ``"loading"``: the smallest loading of the first component, whose sign is
        that of the mean confidence.
    """
    whole, without = (_beyond(found, alone, sample, name) for name in ("whole", "without"))
    return {name: estimate_by_jackknife(float(each), without[name]) for name, each in whole.items()}


def _beyond(found: Agreement, alone: Agreement, sample: str, which: str) -> dict[str, ndarray]:
    """The statistics beyond those by classes alone, of all networks or without each."""
    ours, theirs = (np.atleast_1d(each.values["samples"][sample][which]) for each in (found, alone))
    at = {
        (name, side): np.squeeze([row[name] for row in rows])
        for name in ("correlation", "dominance", "loading")
        for side, rows in (("ours", ours), ("theirs", theirs))
    }
    return {
        "correlation": np.asarray(at["correlation", "ours"] - at["correlation", "theirs"]),
        "dominance": np.asarray(at["dominance", "ours"] / at["dominance", "theirs"]),
        "loading": at["loading", "ours"],
    }


def _correlated(stack: Float[ndarray, "networks scores examples"], names: tuple[str, ...]) -> dict[str, Any]:
    networks, scores, _ = stack.shape
    every = difficulty.correlations(stack.reshape(networks * scores, -1)).values
    every = every.reshape(networks, scores, networks, scores).swapaxes(1, 2)
    other = every[~np.eye(networks, dtype=bool)].mean(0)
    reliability = other.diagonal()
    with np.errstate(invalid="ignore"):  # a score without positive reliability has no correlation free of noise
        free = other / np.sqrt(np.outer(reliability, reliability))
    np.fill_diagonal(free, np.where(np.isfinite(free.diagonal()), 1.0, np.nan))
    means = stack.mean(0)
    kinds = {
        "means": difficulty.correlations(means).values,
        "same run": every[range(networks), range(networks)].mean(0),
        "other run": other,
        "disattenuated": free,
    }
    published = [names.index(name) for name in PUBLISHED]
    varying = np.flatnonzero(np.ptp(means, axis=1) > 0.0)
    sets = {
        "published": np.array(published),
        "all": varying,
        "different": varying[difficulty.different_scores(means[varying], _NEAR_COPY)],
    }
    return {kind: [or_none(row) for row in matrix] for kind, matrix in kinds.items()} | {
        "components": {which: _components(means, rows, names) for which, rows in sets.items()},
        "whole": _summary(means[published]),
        "without": [_summary(np.delete(stack, gone, 0).mean(0)[published]) for gone in range(networks)],
    }


def _summary(means: Float[ndarray, "scores examples"]) -> dict[str, float]:
    correlated = np.abs(difficulty.correlations(means).values[np.triu_indices(len(means), 1)])
    found = difficulty.principal_components(means)
    return {
        "correlation": rounded(float(np.median(correlated))),
        "dominance": rounded(float(found.shares[0] / found.shares[1])),
        "loading": rounded(float(found.loadings[0].min())),
    }


def _components(means: ndarray, rows: Int[ndarray, " chosen"], names: tuple[str, ...]) -> dict[str, Any]:
    kept = [names[row] for row in rows]
    if len(rows) == 1:  # all others are copies of it
        return {"names": kept, "shares": [1.0], "loadings": [[1.0]]}
    found = difficulty.principal_components(means[rows])
    shares, loadings = or_none(found.shares[:_COMPONENTS]), [or_none(row) for row in found.loadings[:2]]
    return {"names": kept, "shares": shares, "loadings": loadings}
