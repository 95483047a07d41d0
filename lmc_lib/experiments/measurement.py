"""Pairs of networks: aligned in several ways, measured along the line between them."""

__all__ = ["METHODS", "Measurements", "PairSpec", "evidence", "measure", "obtain_pair", "pairs"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, rng, state, symmetry
from lmc_lib.claims import Estimate, estimate
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.collecting import collect, measured, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, digits, setting
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation

METHODS = ("none", "random", "weights", "activations")


@dataclass(frozen=True)
class PairSpec:
    """All that defines the measurement of a pair.

    Attributes:
        target: the replica that stays.
        source: the replica whose units are permuted.
        points: points on the line, the two ends included.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        restarts: attempts of weight matching.
        seed: stream of random permutations and of the order of groups in matching.
    """

    noun: ClassVar[str] = "pairs"

    target: RunSpec
    source: RunSpec
    points: int = 25
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    restarts: int = 1
    seed: int = 0

    @property
    def VERSION(self) -> int:  # noqa: N802 -- read by the store
        """Moves portable results apart from those made when ties between assignments were broken otherwise."""
        return 2 if self.target.train.precision == "portable" else 1

    @property
    def label(self) -> str:
        """The architecture."""
        return self.target.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The two networks."""
        return self.target, self.source

    def compute(self, store: Store) -> Result:
        """Aligns the two networks in several ways and evaluates the lines between them."""
        return measured(
            (self.target, self.source),
            lambda run: on_device(obtain_run(store, run).final, run),
            lambda target, source: _measure(self, target, source),
        )


@dataclass(frozen=True)
class Measurements:
    """What was measured on all pairs of a set of replicas.

    Attributes:
        count: number of replicas.
        alphas: the points of the lines.
        values: for each pair, by method, split and quantity: the curve.
        fixed_points: for each pair, by method: the share of units that stay in place.
        diverged: indices of replicas whose training left the finite numbers; their pairs are missing.
    """

    count: int
    alphas: Float[ndarray, " points"]
    values: dict[tuple[int, int], dict[str, Any]]
    fixed_points: dict[tuple[int, int], dict[str, float]]
    diverged: tuple[int, ...]

    def curves(self, method: str, split: str, quantity: str) -> Float[ndarray, "pairs points"]:
        """The curves of all pairs, e.g. of ``("weights", "test", "error")``."""
        return np.array([curve[method][split][quantity] for curve in self.values.values()])

    def barriers(self, method: str, split: str, quantity: str) -> Float[ndarray, "count count"]:
        """The symmetric matrix of barriers above the chord; NaN on the diagonal and for missing pairs."""
        matrix = np.full((self.count, self.count), np.nan)
        alphas = torch.from_numpy(self.alphas)
        for (i, j), curve in self.values.items():
            line = torch.tensor(curve[method][split][quantity], dtype=torch.float64)
            matrix[i, j] = matrix[j, i] = connectivity.barrier(line, alphas)
        return matrix

    def of_pairs(self, method: str, split: str, quantity: str) -> Float[ndarray, " pairs"]:
        """The barriers above the chord as a list, one for each pair."""
        matrix = self.barriers(method, split, quantity)
        return np.array([matrix[pair] for pair in self.values])

    def median(self, method: str, split: str, quantity: str) -> float:
        """The median barrier over all pairs."""
        return float(np.median(self.of_pairs(method, split, quantity)))

    def best(self, split: str, quantity: str) -> Float[ndarray, "count count"]:
        """Barriers under the better of weight and activation matching, chosen for each pair by its train loss.

        The claim is that a permutation exists. The choice looks at the training set, so barriers of the test set are
        not selected upon.
        """
        weights, activations = (self.barriers(method, "train", "loss") for method in ("weights", "activations"))
        return np.where(
            weights <= activations,
            self.barriers("weights", split, quantity),
            self.barriers("activations", split, quantity),
        )

    def connected(self, bound: float, split: str, quantity: str) -> Float[ndarray, "count count"]:
        """1 for each pair whose best barrier is at most ``bound``, else 0; NaN where there is no pair."""
        barriers = self.best(split, quantity)
        return np.where(np.isnan(barriers), np.nan, barriers <= bound)

    def count_connected(self, bound: float, split: str, quantity: str) -> str:
        """How many pairs are connected, as ``"9 of 10"``."""
        connected = self.connected(bound, split, quantity)
        return f"{int(np.nansum(connected)) // 2} of {len(self.values)}"

    def ends(self, split: str, quantity: str) -> Float[ndarray, " ends"]:
        """The scores of the trained networks themselves, one for each end of each line."""
        return self.curves("none", split, quantity)[:, [0, -1]].reshape(-1)


def pairs(runs: Sequence[RunSpec], **options: Any) -> list[PairSpec]:
    """Lists all unordered pairs of replicas, the earlier one as target; ``options`` are those of ``PairSpec``."""
    return [PairSpec(target, source, **options) for target, source in combinations(runs, 2)]


def obtain_pair(store: Store, spec: PairSpec) -> dict[str, Any]:
    """Returns the measurement of a pair from the store, training and measuring what is not there."""
    return obtain(store, spec).values


def measure(store: Store, runs: Sequence[RunSpec], **options: Any) -> Measurements:
    """Collects the measurements of all pairs of ``runs``; call ``fill`` before to compute them in parallel."""
    specs = zip(combinations(range(len(runs)), 2), pairs(runs, **options), strict=True)
    sound, diverged = collect(store, dict(specs))
    return Measurements(
        count=len(runs),
        alphas=np.array(next(iter(sound.values()))["alphas"]),
        values={pair: record["curves"] for pair, record in sound.items()},
        fixed_points={pair: record["fixed_points"] for pair, record in sound.items()},
        diverged=diverged,
    )


def evidence(found: Measurements, bound: float, *, seed: int) -> dict[str, Estimate]:
    """The estimates that the criterion of a pairwise claim asks for, from barriers in test error.

    Args:
        found: the measurements of one setting.
        bound: the largest barrier of a connected pair.
        seed: stream of the bootstrap.

    Returns:
        ``"raw"``, the median without a permutation; ``"aligned"``, the median under the better matching;
        ``"connected"``, the share of pairs within the bound.
    """
    connected = found.connected(bound, "test", "error")
    return {
        "raw": estimate(found.barriers("none", "test", "error"), rng=rng.numpy_stream(seed, "bootstrap", "raw")),
        "aligned": estimate(found.best("test", "error"), rng=rng.numpy_stream(seed, "bootstrap", "aligned")),
        "connected": estimate(connected, rng=rng.numpy_stream(seed, "bootstrap", "connected"), statistic="mean"),
    }


def _measure(spec: PairSpec, target: State, source: State) -> dict[str, Any]:
    here = setting(
        spec.target,
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    values: dict[str, Any] = {"curves": {}, "fixed_points": {}, "distance": {}}
    lines: dict[str, Curve] | None = None
    for method in METHODS:
        permutation = _permutation(method, spec, here, target, source)
        moved = symmetry.permute(source, permutation, here.permutations)
        lines = here.line(target, moved, spec.points, ends_of=lines)
        values["curves"][method] = {
            name: {"loss": digits(line.loss), "error": digits(line.error)} for name, line in lines.items()
        }
        values["fixed_points"][method] = round(symmetry.fixed_points(permutation), DIGITS)
        values["distance"][method] = float(f"{state.distance(target, moved):.{DIGITS}g}")
        values["alphas"] = digits(lines["train"].alphas)
    return values


def _permutation(method: str, spec: PairSpec, here: Setting, target: State, source: State) -> Permutation:
    generator = rng.stream(spec.seed, method, spec.target.init_seed, spec.source.init_seed)
    if method == "none":
        return symmetry.identity(here.permutations)
    if method == "random":
        return symmetry.random(here.permutations, generator=generator)
    return here.match(method, target, source, generator=generator, restarts=spec.restarts)
