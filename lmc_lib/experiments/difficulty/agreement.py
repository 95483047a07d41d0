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
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.difficulty.pictures import NamesExamples
from lmc_lib.experiments.difficulty.reliability import PUBLISHED
from lmc_lib.experiments.found import Record
from lmc_lib.store import Result, Store
from lmc_lib.values import columns, digits, or_none

SHUFFLES = ("", "within classes", "all")

# Of the components of scores so many shares are kept; rank correlations from this on make two scores near copies.
_COMPONENTS = 5
_NEAR_COPY = 0.95


@dataclass(frozen=True)
class AgreementSpec(scoring.ScoredNetworks, NamesExamples):
    """All that defines the agreement of scores with each other.

    Attributes:
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

    def named(self, values: Mapping[str, Any]) -> list[int]:
        """The held-out examples at both ends."""
        return [place for end in ("easiest", "hardest") for place, _ in values["samples"]["test"][end]]

    def compute(self, store: Store) -> Result:
        """Correlates all scores of all networks with each other."""
        found = scoring.read(store, self.scored)
        samples = {}
        for sample in scoring.SAMPLES:
            stack = found.values[sample]
            if self.shuffled:
                together = self.labels(sample) * (self.shuffled == "within classes")
                stream = rng.numpy_stream(self.seed, "agreement", sample)
                of_scores = (difficulty.shuffle_within(each, together, rng=stream) for each in stack.swapaxes(0, 1))
                stack = np.stack(list(of_scores), axis=1)
            samples[sample] = _correlated(stack, found.names) | self._extremes(found, sample)
        return Result({"names": list(found.names), "networks": len(stack), "samples": samples})

    def _extremes(self, found: difficulty.Stacks, sample: str) -> dict[str, Any]:
        """The examples at both ends of the mean rank by the scores with published numbers, and what networks say."""
        order = difficulty.ranks(found.means(sample, PUBLISHED)).mean(0).argsort(kind="stable")
        said = difficulty.consensus(found.predictions[sample])
        ends = {"easiest": order[: self.shown], "hardest": order[::-1][: self.shown]}
        return {end: [[int(row), int(said[row])] for row in rows] for end, rows in ends.items()}


class Agreement(Record):
    """The agreement of scores, all turned so that higher means harder: what ``AgreementSpec`` measures.

    The stored values hold the ``"names"`` of the scores, the number of ``"networks"``, and by sample (``"samples"``):

    - the matrices of :func:`lmc_lib.difficulty.score_correlations`: ``"means"``, ``"same run"``, ``"other run"`` and
      ``"disattenuated"``, None where a score has one value;
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

    The scores as they are are held against the same with examples shuffled within classes, which agree on hard classes
    ``alone``.

    Returns:
        ``"correlation"``: the median size of the rank correlation between means of different scores, less that by
        classes alone; ``"dominance"``: the variance of the first principal component over that of the second, as a
        multiple of the same by classes alone; ``"loading"``: the smallest loading of the first component, whose sign is
        that of the mean confidence.
    """
    sides = (each.values["samples"][sample] for each in (found, alone))
    ours, theirs = (columns([each["whole"], *each["without"]]) for each in sides)
    values = {
        "correlation": np.subtract(ours["correlation"], theirs["correlation"]),
        "dominance": np.divide(ours["dominance"], theirs["dominance"]),
        "loading": np.array(ours["loading"]),
    }
    return {name: estimate_by_jackknife(float(each[0]), each[1:]) for name, each in values.items()}


def _correlated(stack: Float[ndarray, "networks scores examples"], names: tuple[str, ...]) -> dict[str, Any]:
    means = stack.mean(0)
    published = [names.index(name) for name in PUBLISHED]
    without = [np.delete(stack, gone, 0) for gone in range(len(stack))]
    varying = np.flatnonzero(np.ptp(means, axis=1) > 0.0)
    sets = {
        "published": np.array(published),
        "all": varying,
        "different": varying[difficulty.different_scores(means[varying], _NEAR_COPY)],
    }
    return {
        **or_none(difficulty.score_correlations(stack)),
        "components": {which: _components(means, rows, names) for which, rows in sets.items()},
        "whole": digits(difficulty.in_common(means[published])),
        "without": [digits(difficulty.in_common(each.mean(0)[published])) for each in without],
    }


def _components(means: ndarray, rows: Int[ndarray, " chosen"], names: tuple[str, ...]) -> dict[str, Any]:
    kept = [names[row] for row in rows]
    if len(rows) == 1:  # all others are copies of it
        return {"names": kept, "shares": [1.0], "loadings": [[1.0]]}
    found = difficulty.principal_components(means[rows])
    return {"names": kept, "shares": or_none(found.shares[:_COMPONENTS]), "loadings": or_none(found.loadings[:2])}
