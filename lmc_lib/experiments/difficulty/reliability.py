"""How far scores of examples agree between networks, and how many networks it takes to make them stable."""

__all__ = ["PUBLISHED", "Reliability", "ReliabilitySpec", "evidence"]

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate, estimate_by_jackknife, symmetric
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.found import Record
from lmc_lib.store import Result, Store
from lmc_lib.values import or_none

# The scores for which the authors' notebooks show numbers.
PUBLISHED = tuple(
    f"{when} {what}" for when in ("mean", "final") for what in ("confidence", "loss", "max_confidence", "accuracy")
)


@dataclass(frozen=True)
class ReliabilitySpec(scoring.ScoredNetworks):
    """All that defines the agreement of networks about examples.

    Attributes:
        orders: random orders of the networks for split halves.
        shuffled: whether the examples are shuffled within their class, in each network otherwise: what is left of the
            agreement is between classes.
        seed: stream of the orders and of the shuffles.
    """

    kind: ClassVar[str] = "ReliabilitySpec"
    noun: ClassVar[str] = "reliabilities"

    orders: int = 10
    shuffled: bool = False
    seed: int = 0

    def compute(self, store: Store) -> Result:
        """Compares all pairs of networks, and means over some with means over others."""
        found = scoring.read(store, self.scored)
        stream = rng.numpy_stream(self.seed, "reliability")
        count = len(found.values["train"])
        orders = np.stack([stream.permutation(count) for _ in range(self.orders)])
        samples = {}
        for sample in scoring.SAMPLES:
            values, classes = found.values[sample], self.labels(sample)
            if self.shuffled:
                values = np.stack([difficulty.shuffle_within(each, classes, rng=stream) for each in values])
            samples[sample] = {
                name: or_none(difficulty.reliability_of_means(values[:, place], orders, leave_out=name in PUBLISHED))
                for place, name in enumerate(found.names)
            }
        runs, diverged = difficulty.averaged_runs(count), list(found.diverged)
        return Result({"networks": count, "diverged": diverged, "runs": runs, "samples": samples})


class Reliability(Record):
    """The agreement of networks about examples: what ``ReliabilitySpec`` measures.

    The stored values hold how many ``"networks"`` there are, which of those that were asked for ``"diverged"``, the
    numbers of ``"runs"`` over which means were taken, and by sample and score (``"samples"``): the rank correlations of
    ``"pairs"``; ``"ties"``, the share of examples whose score by one network is that of another example, the mean over
    networks; ``"halves"``, the rank correlation of means over some networks with means over as many others, by the
    number of runs; and the same ``"without"`` each network.
    """

    @property
    def names(self) -> list[str]:
        """The scores."""
        return list(self.values["samples"]["test"])

    def matrix(self, sample: str, name: str) -> Float[ndarray, "networks networks"]:
        """Rank correlations between networks; NaN on the diagonal."""
        networks = self.values["networks"]
        return symmetric(networks, combinations(range(networks), 2), self.of("samples", sample, name, "pairs"))

    def single(self, sample: str, name: str) -> Estimate:
        """The reliability of a single network: the mean rank correlation between two."""
        return estimate(self.matrix(sample, name), statistic="mean")

    def predicted(self, sample: str, name: str) -> Float[ndarray, " runs"]:
        """The rank correlation of means over some networks with means over others by the law of Spearman and Brown."""
        own = float(np.nanmean(self.matrix(sample, name)))
        return np.asarray(difficulty.spearman_brown(own, np.array(self.values["runs"])))

    def departure(self, sample: str, names: Iterable[str]) -> Estimate:
        """The largest distance between what is measured and the law, over scores and numbers of runs.

        The jackknife leaves out one network after the other.
        """
        whole, *without = np.max([self._departures(sample, name) for name in names], axis=0)
        return estimate_by_jackknife(float(whole), np.array(without))

    def _departures(self, sample: str, name: str) -> ndarray:
        halves, without = (self.of("samples", sample, name, what) for what in ("halves", "without"))
        return difficulty.departures(self.matrix(sample, name), halves, without, self.values["runs"])


def evidence(found: Reliability, sample: str) -> dict[str, Estimate]:
    """The estimates that the criterion asks for.

    Returns:
        The reliability of a single network by the scores ``"mean confidence"``, ``"mean accuracy"``, ``"final
        confidence"`` and ``"final accuracy"``; ``"first"``: by how much that of mean confidence is above that of final
        confidence, and ``"second"``: this above that of final accuracy; ``"departure"``: the largest distance from the
        law of Spearman and Brown over the scores with published numbers.
    """
    names = ["mean confidence", "mean accuracy", "final confidence", "final accuracy"]
    matrices = {name: found.matrix(sample, name) for name in names}
    matrices["first"] = matrices["mean confidence"] - matrices["final confidence"]
    matrices["second"] = matrices["final confidence"] - matrices["final accuracy"]
    single = {name: estimate(each, statistic="mean") for name, each in matrices.items()}
    return single | {"departure": found.departure(sample, PUBLISHED)}
