"""What architectures agree on and where they differ: summaries of the scores of two of them at a time."""

__all__ = ["ContrastSpec", "Contrasts", "evidence", "measure", "specs"]

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate_by_jackknife
from lmc_lib.experiments.difficulty.pictures import NamesExamples
from lmc_lib.experiments.difficulty.scores import ScoresSpec, replicates_of, sound_stacks
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.values import columns, digits


@dataclass(frozen=True)
class ContrastSpec(NamesExamples):
    """All that defines the comparison of two architectures.

    Attributes:
        first: the scores of the first replicate of one architecture; the others have the seeds that follow.
        second: those of the other architecture; replicates in the same place are left out together.
        replicates: networks of each architecture.
        sample: ``"train"`` or ``"test"``: examples that the networks were trained on, or held-out ones.
        score: the score that is compared.
        splits: number of random splits of the replicates into halves.
        permutations: number of exchanges of the permutation test.
        gallery: how many examples of each kind to name; with any, the tests of all examples are kept too.
        seed: stream of the splits and exchanges.
    """

    kind: ClassVar[str] = "ContrastSpec"
    noun: ClassVar[str] = "contrasts of architectures"

    first: ScoresSpec
    second: ScoresSpec
    replicates: int
    sample: str = "test"
    score: str = "mean confidence"
    splits: int = 20
    permutations: int = 999
    gallery: int = 0
    seed: int = 0

    @property
    def label(self) -> str:
        """The two architectures."""
        return f"{self.first.label} and {self.second.label}"

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The scores of all networks."""
        return tuple(spec for each in self._networks for spec in each)

    @property
    def _networks(self) -> list[tuple[ScoresSpec, ...]]:
        return [replicates_of(each, self.replicates) for each in (self.first, self.second)]

    def named(self, values: Mapping[str, Any]) -> list[int]:
        """The examples of the gallery."""
        return [place for places in values["gallery"].values() for place in places]

    def compute(self, store: Store) -> Result:
        """Compares halves, tests every example, and names some."""
        first, second = sound_stacks(store, self._networks, self.sample, self.score)
        stream = rng.numpy_stream(self.seed, "contrast")
        orders = np.stack([stream.permutation(len(first)) for _ in range(self.splits)])
        left_out = (None, *range(len(first)))
        halves = [difficulty.compare_halves(first, second, orders, without=each) for each in left_out]
        at = difficulty.places(first), difficulty.places(second)
        tested = {
            what: difficulty.differing(
                *pair, rng=rng.numpy_stream(self.seed, "exchanges"), permutations=self.permutations
            )
            for what, pair in {"places": at, "values": (first, second)}.items()
        }
        values: dict[str, Any] = {
            "replicates": len(first),
            "halves": digits(columns([*map(asdict, halves)])),
            "tested": digits(tested),
        }
        if self.gallery:
            halfway = len(first) // 2
            again = difficulty.reproduced(*at, orders[0][:halfway], orders[0][halfway:])[1]
            values |= _examples(*at, again, self.gallery)
        return Result(values)


@dataclass(frozen=True)
class Contrasts:
    """The comparisons of all pairs of some architectures.

    Attributes:
        labels: the architectures.
        families: the family of each.
        values: for each pair what ``ContrastSpec`` measures.
    """

    labels: tuple[str, ...]
    families: tuple[str, ...]
    values: dict[tuple[int, int], dict[str, Any]]

    def across(self, *, families: bool = True) -> list[tuple[int, int]]:
        """The pairs of architectures of different families; else those that differ in width alone."""
        return [(i, j) for i, j in self.values if (self.families[i] != self.families[j]) == families]

    def evidence(self, *, families: bool = True) -> dict[str, Estimate]:
        """The estimates over pairs of different families, or over those that differ in width alone."""
        return evidence([self.values[pair] for pair in self.across(families=families)])

    def correlations(self) -> Float[ndarray, "architectures architectures"]:
        """Rank correlations between halves of architectures, on the diagonal of each with itself."""
        matrix = np.full((len(self.labels),) * 2, np.nan)
        for (i, j), values in self.values.items():
            halves = values["halves"]
            matrix[i, j] = matrix[j, i] = halves["between"][0]
            matrix[i, i], matrix[j, j] = halves["first"][0], halves["second"][0]
        return matrix

    def drawn(self) -> dict[tuple[int, int], dict[str, Any]]:
        """The pairs of which the tests of all examples were kept."""
        return {pair: values for pair, values in self.values.items() if "places" in values}


def specs(
    networks: Sequence[ScoresSpec], replicates: int, *, gallery: int = 0, **options: Any
) -> dict[tuple[int, int], ContrastSpec]:
    """Lists all pairs of architectures, each told by the scores of its first replicate; options are those of the spec.

    Of pairs of the last architectures of families, so many examples are named as ``gallery`` says.
    """
    last = set({each.run.model.family: place for place, each in enumerate(networks)}.values())
    return {
        (i, j): ContrastSpec(networks[i], networks[j], replicates, gallery=gallery if {i, j} <= last else 0, **options)
        for i, j in combinations(range(len(networks)), 2)
    }


def measure(store: Store, specs: Mapping[tuple[int, int], ContrastSpec]) -> Contrasts:
    """Collects the comparisons of all pairs; call ``fill`` before to compute them in parallel."""
    models = {place: each.run.model for (i, j), s in specs.items() for place, each in ((i, s.first), (j, s.second))}
    return Contrasts(
        tuple(models[place].label for place in sorted(models)),
        tuple(models[place].family for place in sorted(models)),
        {pair: obtain(store, spec).values for pair, spec in specs.items()},
    )


def evidence(values: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Those of :func:`lmc_lib.difficulty.mean_of_halves`, over what was measured of each pair, by the jackknife.

    Raises:
        ValueError: if the pairs have different numbers of replicates, since trainings diverged.
    """
    counts = {each["replicates"] for each in values}
    if len(counts) != 1:
        raise ValueError(f"pairs of {sorted(counts)} replicates: trainings diverged, lower their rate")
    halves = [{name: np.array(row) for name, row in each["halves"].items()} for each in values]
    found = difficulty.mean_of_halves(halves)
    return {name: estimate_by_jackknife(float(each[0]), each[1:]) for name, each in found.items()}


def _examples(first: ndarray, second: ndarray, again: ndarray, count: int) -> dict[str, Any]:
    """The places of all examples and their tests, and the names of some."""
    test, means = difficulty.welch_test(first, second), (first.mean(0), second.mean(0))
    return {
        "places": digits(np.stack(means), 4),
        "strength": digits(test.strength, 4),
        "reproduced": np.flatnonzero(again).tolist(),
        "gallery": {name: rows.tolist() for name, rows in difficulty.kinds(test, means, count).items()},
    }
