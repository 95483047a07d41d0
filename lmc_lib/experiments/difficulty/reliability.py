"""How far scores of examples agree between networks, and how many networks it takes to make them stable."""

__all__ = ["PUBLISHED", "Reliability", "ReliabilitySpec", "evidence"]

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate, estimate_by_jackknife, symmetric
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.difficulty.scores import SAMPLES, ScoredNetworks
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.values import or_none, rounded
from lmc_lib.store import Result, Store

# The scores for which the authors' notebooks show numbers.
PUBLISHED = tuple(
    f"{when} {what}" for when in ("mean", "final") for what in ("confidence", "loss", "max_confidence", "accuracy")
)


@dataclass(frozen=True)
class ReliabilitySpec(ScoredNetworks):
    """All that defines the agreement of networks about examples.

    Attributes:
        scored: the networks, of one architecture.
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
        for sample in SAMPLES:
            values, classes = found.values[sample], self.labels(sample)
            if self.shuffled:
                values = np.stack([difficulty.shuffle_within(each, classes, rng=stream) for each in values])
            samples[sample] = {
                name: _agreement(values[:, place], orders, leave_out=name in PUBLISHED)
                for place, name in enumerate(found.names)
            }
        return Result({"networks": count, "diverged": list(found.diverged), "runs": _runs(count), "samples": samples})


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
        return self._law(self.matrix(sample, name))

    def departure(self, sample: str, names: Iterable[str]) -> Estimate:
        """The largest distance between what is measured and the law, over scores and numbers of runs.

        The jackknife leaves out one network after the other.
        """
        chosen = list(names)
        matrices = {name: self.matrix(sample, name) for name in chosen}
        without = [
            max(
                self._distance(np.delete(np.delete(matrices[name], gone, 0), gone, 1), sample, name, gone)
                for name in chosen
            )
            for gone in range(self.values["networks"])
        ]
        whole = max(self._distance(matrices[name], sample, name, None) for name in chosen)
        return estimate_by_jackknife(whole, np.array(without))

    def _distance(self, matrix: ndarray, sample: str, name: str, gone: int | None) -> float:
        kept = ("halves",) if gone is None else ("without", gone)
        return float(np.abs(self.of("samples", sample, name, *kept) - self._law(matrix)).max())

    def _law(self, matrix: ndarray) -> Float[ndarray, " runs"]:
        own = float(np.nanmean(matrix))
        return np.array([difficulty.spearman_brown(own, count) for count in self.values["runs"]])


def evidence(found: Reliability, sample: str) -> dict[str, Estimate]:
    """The estimates that the criterion asks for.

    Returns:
        The reliability of a single network by the scores ``"mean confidence"``, ``"mean accuracy"``, ``"final
        confidence"`` and ``"final accuracy"``; ``"first"``: by how much that of mean confidence is above that of final
        confidence, and ``"second"``: this above that of final accuracy; ``"departure"``: the largest
        distance from the law of Spearman and Brown over the scores with published numbers.
    """
    order = ["mean confidence", "mean accuracy", "final confidence", "final accuracy"]
    single = {name: found.single(sample, name) for name in order}
    steps = {
        place: estimate(found.matrix(sample, above) - found.matrix(sample, below), statistic="mean")
        for place, above, below in (
            ("first", "mean confidence", "final confidence"),
            ("second", "final confidence", "final accuracy"),
        )
    }
    return single | steps | {"departure": found.departure(sample, PUBLISHED)}


def _runs(count: int) -> list[int]:
    """Numbers of runs, evenly spaced on a logarithmic axis, of which two means fit in all networks but one."""
    largest = (count - 1) // 2
    return sorted({round(each) for each in np.geomspace(1, largest, 6)}) if largest else []


def _agreement(
    stack: Float[ndarray, "networks examples"], orders: Int[ndarray, "orders networks"], *, leave_out: bool
) -> dict[str, Any]:
    matrix = difficulty.correlations(stack).values
    runs = _runs(len(stack))
    left_out = range(len(stack)) if leave_out else ()
    without = [np.stack([order[order != gone] for order in orders]) for gone in left_out]
    return {
        "pairs": or_none(matrix[np.triu_indices(len(stack), 1)]),
        "ties": rounded(float(np.mean([difficulty.tie_share(row) for row in stack]))),
        "halves": _curve(stack, orders, runs),
        "without": [_curve(stack, each, runs) for each in without],
    }


def _curve(stack: ndarray, orders: ndarray, runs: list[int]) -> list[float | None]:
    return or_none(difficulty.split_by_orders(stack, orders, runs).mean(0))
