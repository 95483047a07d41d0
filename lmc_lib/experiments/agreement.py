"""What scores of examples share: their correlations, with noise and without, and the components behind them."""

__all__ = [
    "SHUFFLES", "TABLED", "Agreement", "AgreementSpec", "ScoreTableSpec", "agreement_evidence", "measure_agreement",
    "score_table",
]  # fmt: skip

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import data, difficulty, rng
from lmc_lib.claims import Estimate, estimate_by_jackknife
from lmc_lib.experiments.reliability import PUBLISHED
from lmc_lib.experiments.runs import dataset
from lmc_lib.experiments.scores import SAMPLES, ScoredNetworks, Scores, ScoresSpec, read_scores
from lmc_lib.experiments.setting import or_none, rounded
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.store import Result, Store

SHUFFLES = ("", "within classes", "all")

# The scores of a table: one of each family of near copies, and those of which there are no copies.
TABLED = (
    "mean accuracy", "mean confidence", "mean loss", "mean el2n", "mean logit_margin", "final loss", "variability",
    "forgetting", "iteration_learned", "early el2n", "early grand", "vog", "prediction_depth", "prototype_distance",
)  # fmt: skip

# Of the components of scores so many shares are kept; rank correlations from this on make two scores near copies.
_COMPONENTS = 5
_NEAR_COPY = 0.95


@dataclass(frozen=True)
class AgreementSpec(ScoredNetworks):
    """All that defines the agreement of scores with each other.

    Attributes:
        scored: the networks, of one architecture.
        shuffled: one of ``SHUFFLES``, how the examples of each score are exchanged, alike in all networks and otherwise
            for each score: ``""``, not at all; ``"within classes"``, so that what is left of the agreement is between
            classes; ``"all"``, so that nothing is left.
        shown: how many of the easiest and of the hardest examples are listed.
        seed: stream of the shuffles.
    """

    noun: ClassVar[str] = "agreements"

    shuffled: str = ""
    shown: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shuffled not in SHUFFLES:
            raise ValueError(f"examples are shuffled in one of the ways {SHUFFLES}, not {self.shuffled!r}")

    @property
    def images(self) -> data.DataSpec:
        """The examples."""
        return self.scored[0].run.data

    def named(self, values: Mapping[str, Any]) -> list[int]:
        """The held-out examples at both ends."""
        ends: list[list[list[int]]] = [values["samples"]["test"][end] for end in ("easiest", "hardest")]
        return [place for end in ends for place, _ in end]

    def compute(self, store: Store) -> Result:
        """Correlates all scores of all networks with each other."""
        found = read_scores(store, self.scored)
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


@dataclass(frozen=True)
class Agreement:
    """The agreement of scores, all turned so that higher means harder.

    Attributes:
        names: the scores.
        networks: how many networks there are.
        samples: by sample what was measured.
    """

    names: tuple[str, ...]
    networks: int
    samples: dict[str, dict[str, Any]]

    def matrix(self, sample: str, kind: str) -> Float[ndarray, "scores scores"]:
        """Rank correlations between scores; NaN where a score has one value.

        Args:
            sample: one of ``SAMPLES``.
            kind: ``"means"``, of the means over all networks; ``"same run"``, within a network, the mean over networks;
                ``"other run"``, of one score by a network and another score by another network; ``"disattenuated"``,
                the last divided by the root of both reliabilities.
        """
        return np.array(self.samples[sample][kind], dtype=float)

    def between(self, sample: str, kind: str, names: Sequence[str]) -> Float[ndarray, " pairs"]:
        """The correlations between different ones of some scores."""
        rows = [self.names.index(name) for name in names]
        return self.matrix(sample, kind)[np.ix_(rows, rows)][np.triu_indices(len(rows), 1)]

    def components(self, sample: str, which: str) -> dict[str, Any]:
        """Shares and loadings of the principal components of the means.

        Args:
            sample: one of ``SAMPLES``.
            which: ``"published"``, of the scores with published numbers; ``"all"``; or ``"different"``, of all scores
                but those that are near copies of an earlier one.
        """
        found: dict[str, Any] = self.samples[sample]["components"][which]
        return found

    def extremes(self, sample: str, end: str) -> list[tuple[int, int]]:
        """The ``"easiest"`` or ``"hardest"`` examples: the place of each, and the class that most networks see."""
        return [(row, said) for row, said in self.samples[sample][end]]


def measure_agreement(store: Store, spec: AgreementSpec) -> Agreement:
    """Collects what was measured; call ``fill`` before to compute in parallel."""
    values = obtain(store, spec).values
    return Agreement(tuple(values["names"]), values["networks"], values["samples"])


def agreement_evidence(found: Agreement, sample: str) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, by the jackknife over networks, of scores with published numbers.

    Returns:
        ``"correlation"``: the median size of the rank correlation between means of different scores; ``"dominance"``:
        the variance of the first principal component over that of the second; ``"loading"``: the smallest loading of
        the first component, whose sign is that of the mean confidence.
    """
    whole, without = found.samples[sample]["whole"], found.samples[sample]["without"]
    return {
        name: estimate_by_jackknife(value, np.array([each[name] for each in without])) for name, value in whole.items()
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


@dataclass(frozen=True)
class ScoreTableSpec:
    """All that defines a table of scores: the mean over networks of each score, one row an example.

    Attributes:
        scored: the networks of each architecture.
        names: the scores; an architecture without one of them has no such column.
        digits: significant digits of a score.
    """

    noun: ClassVar[str] = "tables of scores"

    scored: tuple[tuple[ScoresSpec, ...], ...]
    names: tuple[str, ...] = TABLED
    digits: int = 4

    @property
    def label(self) -> str:
        """The architectures."""
        return ", ".join(each[0].label for each in self.scored)

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The scores of all networks."""
        return tuple(spec for each in self.scored for spec in each)

    def compute(self, store: Store) -> Result:
        """Averages the scores of each architecture."""
        spec = self.scored[0][0].run.data
        loaded, places = dataset(spec), data.positions(spec)
        parts = {sample: getattr(loaded, sample).labels for sample in SAMPLES}
        table: dict[str, list[Any]] = {
            "sample": [SAMPLES[sample] for sample, labels in parts.items() for _ in labels],
            "position": [int(row) for sample in parts for row in places[sample]],
            "label": [int(label) for labels in parts.values() for label in labels],
        }
        for specs in self.scored:
            found = read_scores(store, specs)
            for name in [each for each in self.names if each in found.names]:
                values = np.concatenate([found.means(sample, [name])[0] for sample in parts])
                table[f"{specs[0].label}: {name}"] = [float(f"{each:.{self.digits}g}") for each in values]
        return Result({"table": table})


def score_table(store: Store, spec: ScoreTableSpec) -> dict[str, list[Any]]:
    """The columns of a table of scores by name."""
    table: dict[str, list[Any]] = obtain(store, spec).values["table"]
    return table
