"""Pairs of training trajectories: a permutation found at one checkpoint, used at all others."""

__all__ = ["JOINT", "TrajectoryPairSpec", "along", "evidence"]

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng, symmetry
from lmc_lib.alignment import MATCHERS, Lines, Setting
from lmc_lib.claims import Estimate
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.state import State
from lmc_lib.store import Store
from lmc_lib.symmetry import Permutation
from lmc_lib.training import on_device
from lmc_lib.values import columns, digits, share

# The permutation that is matched to all checkpoints at once.
JOINT = "joint"


@dataclass(frozen=True)
class TrajectoryPairSpec(PairMeasurement):
    """All that defines the measurement of two trajectories with the same checkpoints against each other.

    It measures ``barriers`` by split and quantity on several lines: ``"none"``, at each checkpoint, without a
    permutation; ``"weights"`` and ``"activations"``, by the checkpoint at which the permutation was found and the one
    at which it is used; ``"weights, joint"`` and ``"activations, joint"``, at each checkpoint, under the permutation
    that is matched to all of them at once; ``"lower"`` and ``"upper"``, at the end, by the checkpoint of an early
    permutation and the number of groups, from the input or from the output on, that take it, while the others take that
    of the end. And by matching ``agreement``: the share of units that two checkpoints' permutations send to the same
    unit.

    Attributes:
        points: points on each line, the two ends included.
    """

    kind: ClassVar[str] = "TrajectoryPairSpec"
    noun: ClassVar[str] = "trajectories"

    points: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target.save_at != self.source.save_at or len(self.target.save_at) < 2:
            raise ValueError(
                "two trajectories are compared at the same checkpoints, at least two before the last step; they were "
                f"kept at {self.target.save_at} and {self.source.save_at}"
            )

    def get(self, store: Store, run: RunSpec) -> list[State]:
        """All checkpoints."""
        return [on_device(state, run.train) for state in obtain_run(store, run).states]

    def measure(self, here: Setting, target: list[State], source: list[State]) -> dict[str, Any]:
        """Matches the networks at every checkpoint and measures the barrier of each permutation at every other."""
        lines = [Lines(here, *ends, self.points) for ends in zip(target, source, strict=True)]
        matched = {method: self._matchings(method, here, target, source) for method in MATCHERS}
        barriers = {"none": _barriers(lines, symmetry.identity(here.permutations))}
        for method, (*single, joint) in matched.items():
            barriers[method] = columns([_barriers(lines, permutation) for permutation in single])
            barriers[f"{method}, {JOINT}"] = _barriers(lines, joint)
        *single, _ = matched["weights"]
        for side, order in {"lower": 1, "upper": -1}.items():
            mixtures = [symmetry.mixtures(early, single[-1], list(early)[::order]) for early in single]
            barriers[side] = columns([columns([lines[-1].barriers(mixture) for mixture in row]) for row in mixtures])
        agreement = {
            method: [[share(symmetry.agreement(first, second)) for second in single] for first in single]
            for method, (*single, _) in matched.items()
        }
        steps = sorted({*self.target.save_at, self.target.train.steps})
        groups = list(here.permutations.groups)
        return {"steps": steps, "groups": groups, "barriers": digits(barriers), "agreement": agreement}

    def _matchings(self, method: str, here: Setting, target: list[State], source: list[State]) -> list[Permutation]:
        """The permutations of every checkpoint, and at the end that of all checkpoints at once."""
        stream = (self.seed, "trajectory", method, self.target.init_seed, self.source.init_seed)
        ends = zip(target, source, strict=True)
        single = [here.match(method, *pair, generator=rng.stream(*stream, step)) for step, pair in enumerate(ends)]
        return [*single, here.match(method, target, source, generator=rng.stream(*stream, JOINT))]


def along(found: Found, split: str, quantity: str, *, at: int = -1) -> Float[ndarray, "pairs steps"]:
    """Barriers along training under one permutation, that of checkpoint number ``at``.

    It comes from weight or activation matching, whichever has the lower barrier in train loss at the checkpoint at
    which it was found: one permutation a pair, chosen without looking at other checkpoints or at test examples.
    """
    return found.better(
        lambda method: found.of("barriers", method, f"{split} {quantity}")[:, at],
        lambda method: found.of("barriers", method, "train loss")[:, at, at],
    )


def evidence(found: Found, *, at: int = -1) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Returns:
        ``"raw"`` and ``"along"``: the median over pairs of the largest barrier on the way, without a permutation and
        under that of checkpoint number ``at``; ``"end"``: under it at the last checkpoint.
    """
    raw, under = found.of("barriers", "none", "test error"), along(found, "test", "error", at=at)
    return found.estimates({"raw": raw.max(1), "along": under.max(1), "end": under[:, -1]})


def _barriers(lines: list[Lines], permutation: Permutation) -> dict[str, list[float]]:
    """The barriers at every checkpoint under one permutation."""
    return columns([line.barriers(permutation) for line in lines])
