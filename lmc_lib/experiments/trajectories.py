"""Pairs of training trajectories: a permutation found at one checkpoint, used at all others."""

__all__ = [
    "JOINT",
    "Trajectories",
    "TrajectoryPairSpec",
    "measure_trajectories",
    "trajectory_evidence",
    "trajectory_pairs",
]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng, symmetry
from lmc_lib.claims import Estimate, estimate
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.collecting import as_matrix, collect, columns, line_barriers, measured, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation

# The permutation that is matched to all checkpoints at once.
JOINT = "joint"

_METHODS = ("weights", "activations")


@dataclass(frozen=True)
class TrajectoryPairSpec:
    """All that defines the measurement of two trajectories against each other.

    Attributes:
        target: the replica that stays, with its checkpoints.
        source: the replica whose units are permuted, with the same checkpoints.
        points: points on each line, the two ends included.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of the order of groups in matching.
    """

    noun: ClassVar[str] = "trajectories"

    target: RunSpec
    source: RunSpec
    points: int = 11
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.target.save_at != self.source.save_at or len(self.target.save_at) < 2:
            raise ValueError(
                "two trajectories are compared at the same checkpoints, at least two before the last step; they were "
                f"kept at {self.target.save_at} and {self.source.save_at}"
            )

    @property
    def label(self) -> str:
        """The architecture."""
        return self.target.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The two networks."""
        return self.target, self.source

    def compute(self, store: Store) -> Result:
        """Matches the networks at every checkpoint and measures the barrier of each permutation at every other."""
        return measured(
            (self.target, self.source),
            lambda run: [on_device(state, run) for state in obtain_run(store, run).states],
            lambda target, source: {"steps": self._steps, **_measure(self, target, source)},
        )

    @property
    def _steps(self) -> list[int]:
        return sorted({*self.target.save_at, self.target.train.steps})


@dataclass(frozen=True)
class Trajectories:
    """What was measured on all pairs of a set of trajectories.

    Attributes:
        count: number of replicas.
        steps: the checkpoints, in updates.
        groups: the permutation groups, from the input on.
        values: for each pair what ``TrajectoryPairSpec`` measures.
        diverged: indices of replicas whose training left the finite numbers; their pairs are missing.
    """

    count: int
    steps: tuple[int, ...]
    groups: tuple[str, ...]
    values: dict[tuple[int, int], dict[str, Any]]
    diverged: tuple[int, ...]

    def raw(self, split: str, quantity: str) -> Float[ndarray, "pairs steps"]:
        """Barriers without a permutation, at every checkpoint."""
        return self._of("none", split, quantity)

    def matrix(self, method: str, split: str, quantity: str) -> Float[ndarray, "pairs steps steps"]:
        """Barriers by the checkpoint at which the permutation was found and the one at which it is used."""
        return self._of(method, split, quantity)

    def joint(self, method: str, split: str, quantity: str) -> Float[ndarray, "pairs steps"]:
        """Barriers, at every checkpoint, under the permutation that is matched to all of them at once."""
        return self._of(f"{method}, {JOINT}", split, quantity)

    def mixed(self, side: str, split: str, quantity: str) -> Float[ndarray, "pairs steps groups"]:
        """Barriers at the end, by the checkpoint of the early permutation and the number of groups that take it.

        Both permutations are found by weight matching.
        ``side`` is ``"lower"`` if groups from the input on take the early permutation, ``"upper"`` if those from the
        output do; the others take the permutation of the end.
        """
        return self._of(side, split, quantity)

    def agreement(self, method: str) -> Float[ndarray, "pairs steps steps"]:
        """The share of units that two checkpoints' permutations send to the same place."""
        return np.array([each["agreement"][method] for each in self.values.values()])

    def along(self, split: str, quantity: str, *, found: int = -1) -> Float[ndarray, "pairs steps"]:
        """Barriers along training under one permutation, that of checkpoint number ``found``.

        It comes from weight or activation matching, whichever has the lower barrier in train loss at the checkpoint at
        which it was found: one permutation a pair, chosen without looking at other checkpoints or at test examples.
        """
        at_home = {m: self.matrix(m, "train", "loss")[:, found, found] for m in _METHODS}
        chosen = at_home["weights"] <= at_home["activations"]
        curves = [self.matrix(method, split, quantity)[:, found] for method in _METHODS]
        return np.where(chosen[:, None], *curves)

    def pairwise(self, values: Float[ndarray, " pairs"]) -> Float[ndarray, "count count"]:
        """One value a pair as a symmetric matrix, NaN on the diagonal and for missing pairs."""
        return as_matrix(self.count, list(self.values), values)

    def _of(self, method: str, split: str, quantity: str) -> ndarray:
        return np.array([each["barriers"][method][f"{split} {quantity}"] for each in self.values.values()])


def trajectory_pairs(runs: Sequence[RunSpec], **options: Any) -> list[TrajectoryPairSpec]:
    """Lists all unordered pairs of replicas, the earlier one as target; ``options`` are those of the spec."""
    return [TrajectoryPairSpec(target, source, **options) for target, source in combinations(runs, 2)]


def measure_trajectories(store: Store, runs: Sequence[RunSpec], **options: Any) -> Trajectories:
    """Collects the measurements of all pairs of ``runs``; call ``fill`` before to compute them in parallel."""
    specs = zip(combinations(range(len(runs)), 2), trajectory_pairs(runs, **options), strict=True)
    sound, diverged = collect(store, dict(specs))
    first = next(iter(sound.values()))
    return Trajectories(len(runs), tuple(first["steps"]), tuple(first["groups"]), sound, diverged)


def trajectory_evidence(found: Trajectories, *, at: int = -1, seed: int) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Args:
        found: the measurements of one setting.
        at: number of the checkpoint whose permutation is used all along.
        seed: stream of the bootstrap.

    Returns:
        ``"raw"`` and ``"along"``: the median over pairs of the largest barrier on the way, without a permutation and
        under the one permutation; ``"end"``: under it at the last checkpoint.
    """
    along = found.along("test", "error", found=at)
    values = {"raw": found.raw("test", "error").max(1), "along": along.max(1), "end": along[:, -1]}
    return {
        name: estimate(found.pairwise(each), rng=rng.numpy_stream(seed, "bootstrap", name))
        for name, each in values.items()
    }


def _measure(spec: TrajectoryPairSpec, target: list[State], source: list[State]) -> dict[str, Any]:
    here = setting(
        spec.target,
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    lines = _Lines(here, target, source, spec.points)
    found = {method: _matchings(spec, method, here, target, source) for method in _METHODS}
    barriers = {"none": lines.along(symmetry.identity(here.permutations))}
    for method, (*single, joint) in found.items():
        barriers[method] = columns([lines.along(each) for each in single])
        barriers[f"{method}, {JOINT}"] = lines.along(joint)
    *by_weights, last, _ = found["weights"]
    for side in ("lower", "upper"):
        mixtures = [_mixtures(early, last, side) for early in (*by_weights, last)]
        barriers[side] = columns([columns([lines.barriers(each, len(target) - 1) for each in row]) for row in mixtures])
    agreement = {
        method: [[round(symmetry.agreement(a, b), DIGITS) for b in single] for a in single]
        for method, (*single, _) in found.items()
    }
    return {"groups": list(here.permutations.groups), "barriers": barriers, "agreement": agreement}


def _matchings(
    spec: TrajectoryPairSpec, method: str, here: Setting, target: list[State], source: list[State]
) -> list[Permutation]:
    """The permutations of every checkpoint, and at the end that of all checkpoints at once."""
    stream = (spec.seed, "trajectory", method, spec.target.init_seed, spec.source.init_seed)
    single = [
        here.match(method, *ends, generator=rng.stream(*stream, step))
        for step, ends in enumerate(zip(target, source, strict=True))
    ]
    return [*single, here.match(method, target, source, generator=rng.stream(*stream, JOINT))]


class _Lines:
    """The lines between two trajectories at equal steps; without their ends, which no permutation changes."""

    def __init__(self, here: Setting, target: list[State], source: list[State], points: int) -> None:
        self.here, self.target, self.source, self.points = here, target, source, points
        self.ends: dict[int, dict[str, Curve]] = {}

    def along(self, permutation: Permutation) -> dict[str, list[float]]:
        """The barriers at every checkpoint under one permutation."""
        return columns([self.barriers(permutation, used) for used in range(len(self.target))])

    def barriers(self, permutation: Permutation, used: int) -> dict[str, float]:
        """The barriers at one checkpoint under a permutation."""
        moved = symmetry.permute(self.source[used], permutation, self.here.permutations)
        lines = self.here.line(self.target[used], moved, self.points, ends_of=self.ends.get(used))
        self.ends.setdefault(used, lines)
        return line_barriers(lines)


def _mixtures(early: Permutation, late: Permutation, side: str) -> list[Permutation]:
    """Permutations of which so many groups, from the input or from the output on, are early ones; from none to all."""
    names = list(early)
    ordered = names if side == "lower" else names[::-1]
    return [
        {name: (early if name in ordered[:count] else late)[name] for name in names} for count in range(len(names) + 1)
    ]
