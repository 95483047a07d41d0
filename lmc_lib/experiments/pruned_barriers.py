"""Pairs of sequences of pruned networks: a permutation found at one level, used at all others."""

__all__ = [
    "FOUND",
    "MATCHINGS",
    "PrunedPairSpec",
    "PrunedPairs",
    "match_level",
    "measure_pruned",
    "pruned_evidence",
    "pruned_pairs",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import pruning, rng, symmetry
from lmc_lib.claims import Estimate, estimate
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.collecting import QUANTITIES, as_matrix, collect, columns, line_barriers, measured, on_device
from lmc_lib.experiments.pruned import obtain_sequence, sequence
from lmc_lib.experiments.runs import RunSpec
from lmc_lib.experiments.setting import DIGITS, Setting, rounded, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation

MATCHINGS = ("weights", "activations")

# Where a permutation is found: at level 0, at the level at which it is used, or at the last.
FOUND = ("dense", "rematched", "sparsest")


@dataclass(frozen=True)
class PrunedPairSpec:
    """All that defines the measurement of two sequences of pruned networks against each other.

    Attributes:
        target: the dense network whose sequence stays.
        source: the dense network whose sequence is permuted.
        rewind: the step to whose weights every level goes back.
        share: the share of the remaining weights that a level removes.
        levels: number of prunings, at least 1.
        points: points on each line, the two ends included.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of the order of groups in matching, and of the renumberings of the control.
    """

    noun: ClassVar[str] = "pairs of sequences"

    target: RunSpec
    source: RunSpec
    rewind: int
    share: float
    levels: int
    points: int = 11
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"a sequence has at least one level of pruning, got {self.levels}")

    @property
    def label(self) -> str:
        """The architecture."""
        return self.target.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The networks of both sequences."""
        pruned = [level for run in (self.target, self.source) for level in sequence(run, **self._options)]
        return self.target, self.source, *pruned

    def compute(self, store: Store) -> Result:
        """Matches the networks at every level and measures the barrier of each permutation."""
        return measured(
            (self.target, self.source),
            lambda run: obtain_sequence(store, run, **self._options),
            lambda target, source: {
                "densities": [round(pruning.density(level.masks), DIGITS) for level in source],
                **_measure(
                    self,
                    [on_device(level.state, self.target) for level in target],
                    [on_device(level.state, self.source) for level in source],
                ),
            },
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {"rewind": self.rewind, "share": self.share, "levels": self.levels}


@dataclass(frozen=True)
class PrunedPairs:
    """What was measured on all pairs of a set of sequences.

    Attributes:
        count: number of sequences.
        densities: the share of weights left at each level, from 1 down.
        values: for each pair what ``PrunedPairSpec`` measures.
        diverged: indices of sequences with a training that left the finite numbers; their pairs are missing.
    """

    count: int
    densities: tuple[float, ...]
    values: dict[tuple[int, int], dict[str, Any]]
    diverged: tuple[int, ...]

    def barriers(self, line: str, split: str, quantity: str) -> Float[ndarray, "pairs levels"]:
        """Barriers above the chord at every level.

        ``line`` is ``"none"``, ``"renumbered"`` (the control), or a matching and where its permutation was found, as
        in ``"activations, dense"``.
        """
        return np.array([each["barriers"][line][f"{split} {quantity}"] for each in self.values.values()])

    def under(self, found: str, split: str, quantity: str) -> Float[ndarray, "pairs levels"]:
        """Barriers at every level under the permutation that was found where ``found`` says, one of ``FOUND``.

        It comes from weight or activation matching, whichever has the lower barrier in train loss at the level at
        which it was found: the choice looks at no other level and at no test example.
        """
        home = {"dense": slice(0, 1), "rematched": slice(None), "sparsest": slice(-1, None)}[found]
        weights, activations = (self.barriers(f"{each}, {found}", "train", "loss")[:, home] for each in MATCHINGS)
        barriers = [self.barriers(f"{each}, {found}", split, quantity) for each in MATCHINGS]
        return np.where(weights <= activations, *barriers)

    def ends(self, split: str, quantity: str) -> Float[ndarray, "ends levels"]:
        """The scores of the networks themselves at every level, one row for each end of each line."""
        return np.concatenate([np.transpose(each["ends"][f"{split} {quantity}"]) for each in self.values.values()])

    def agreement(self, matching: str) -> Float[ndarray, "pairs levels"]:
        """The share of units that each level's permutation sends where the dense one does."""
        return np.array([each["agreement"][matching] for each in self.values.values()])

    def estimates(self, barriers: Float[ndarray, "pairs levels"], *, seed: int) -> list[Estimate]:
        """The median over pairs at every level, with its interval."""
        return [
            estimate(
                as_matrix(self.count, list(self.values), each), rng=rng.numpy_stream(seed, "bootstrap", "level", level)
            )
            for level, each in enumerate(barriers.T)
        ]


def pruned_pairs(runs: Sequence[RunSpec], **options: Any) -> list[PrunedPairSpec]:
    """Lists all unordered pairs of sequences, the earlier one as target; ``options`` are those of the spec."""
    return [PrunedPairSpec(target, source, **options) for target, source in combinations(runs, 2)]


def measure_pruned(store: Store, runs: Sequence[RunSpec], **options: Any) -> PrunedPairs:
    """Collects the measurements of all pairs of sequences; call ``fill`` before to compute them in parallel."""
    specs = zip(combinations(range(len(runs)), 2), pruned_pairs(runs, **options), strict=True)
    sound, diverged = collect(store, dict(specs))
    return PrunedPairs(len(runs), tuple(next(iter(sound.values()))["densities"]), sound, diverged)


def pruned_evidence(found: PrunedPairs, bound: float, *, seed: int, renumbered: bool = False) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Args:
        found: the measurements of one setting.
        bound: the largest barrier of a connected pair.
        seed: stream of the bootstrap.
        renumbered: whether to judge the negative control, in which the pruned networks of the source were renumbered.

    Returns:
        ``"raw"``, the median over pairs of the smallest barrier at any level without a permutation; ``"aligned"``, that
        of the largest one under the dense networks' permutation; ``"connected"``, the share of pairs whose largest one
        is within the bound.
    """
    kept = found.barriers("renumbered", "test", "error") if renumbered else found.under("dense", "test", "error")
    worst = kept.max(1)
    values = {
        "raw": (found.barriers("none", "test", "error").min(1), "median"),
        "aligned": (worst, "median"),
        "connected": ((worst <= bound).astype(float), "mean"),
    }
    return {
        name: estimate(
            as_matrix(found.count, list(found.values), each),
            rng=rng.numpy_stream(seed, "bootstrap", name),
            statistic=statistic,
        )
        for name, (each, statistic) in values.items()
    }


def match_level(
    here: Setting, matching: str, level: int, target: State, source: State, path: tuple[int, ...]
) -> Permutation:
    """The permutation by one of ``MATCHINGS`` at a level; ``path`` is the seed and what tells pairs apart."""
    seed, *pair = path
    return here.match(matching, target, source, generator=rng.stream(seed, "pruned", matching, level, *pair))


def _measure(spec: PrunedPairSpec, target: list[State], source: list[State]) -> dict[str, Any]:
    here = setting(
        spec.target,
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    path = (spec.seed, spec.target.init_seed, spec.source.init_seed)
    pairs = list(zip(target, source, strict=True))
    matched = {
        matching: [match_level(here, matching, level, *pair, path) for level, pair in enumerate(pairs)]
        for matching in MATCHINGS
    }
    lines = [_Lines(here, *pair, spec.points) for pair in pairs]
    found = [_at_level(each, matched, level) for level, each in enumerate(lines)]
    # The same choice as in `PrunedPairs.under`: the control is the permutation that is judged, renumbered.
    kept = matched[min(MATCHINGS, key=lambda matching: found[0][f"{matching}, dense"]["train loss"])][0]
    for level, (each, barriers) in enumerate(zip(lines, found, strict=True)):
        barriers["renumbered"] = each.barriers(
            symmetry.compose(kept, _renumbering(here, level, path), here.permutations)
        )
    return {
        "barriers": {line: columns(rows) for line, rows in columns(found).items()},
        "ends": columns([each.scores() for each in lines]),
        "agreement": {
            matching: [round(symmetry.agreement(permutations[0], each), DIGITS) for each in permutations]
            for matching, permutations in matched.items()
        },
    }


def _at_level(lines: "_Lines", matched: Mapping[str, Sequence[Permutation]], level: int) -> dict[str, dict[str, float]]:
    """The barriers at a level without a permutation and, for each matching, under those of ``FOUND``."""
    barriers = {"none": lines.barriers(symmetry.identity(lines.here.permutations))}
    for matching, permutations in matched.items():
        homes = dict(zip(FOUND, (0, level, len(permutations) - 1), strict=True))
        at = {home: lines.barriers(permutations[home]) for home in sorted(set(homes.values()))}
        barriers |= {f"{matching}, {name}": at[home] for name, home in homes.items()}
    return barriers


def _renumbering(here: Setting, level: int, path: tuple[int, ...]) -> Permutation:
    """How the control numbers the units of a pruned network anew; the dense network keeps its numbers."""
    if level == 0:
        return symmetry.identity(here.permutations)
    seed, *pair = path
    return symmetry.random(here.permutations, generator=rng.stream(seed, "pruned", "renumbering", level, *pair))


class _Lines:
    """The lines between the two networks of a level; their ends, which no permutation changes, are evaluated once."""

    def __init__(self, here: Setting, target: State, source: State, points: int) -> None:
        self.here, self.target, self.source, self.points = here, target, source, points
        self.known: dict[str, Curve] | None = None

    def barriers(self, permutation: Permutation) -> dict[str, float]:
        """The barriers under a permutation, by split and quantity."""
        lines = self._line(permutation)
        return line_barriers(lines)

    def scores(self) -> dict[str, list[float]]:
        """Loss and error of the two networks; for after a line was evaluated."""
        assert self.known is not None
        return {
            f"{split} {quantity}": [rounded(getattr(self.known[split].at(end), quantity)) for end in (0, -1)]
            for split, quantity in QUANTITIES
        }

    def _line(self, permutation: Permutation) -> dict[str, Curve]:
        moved = symmetry.permute(self.source, permutation, self.here.permutations)
        self.known = self.here.line(self.target, moved, self.points, ends_of=self.known)
        return self.known
