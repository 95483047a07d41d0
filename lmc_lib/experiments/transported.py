"""Masks that travel: networks trained under the mask that another network's pruning found."""

__all__ = ["MASKS", "TransportSpec", "Transports", "measure_transports", "transports"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, norms, pruning, rng, symmetry
from lmc_lib.experiments.collecting import as_matrix, collect, on_device
from lmc_lib.experiments.pruned import PrunedSpec, obtain_level, trainer
from lmc_lib.experiments.pruned_barriers import match_level
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.pruning import Masks
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.training import Diverged

# A network's own mask; another's, brought into its units; another's as it is; one at random, as sparse in each layer.
MASKS = ("own", "permuted", "unpermuted", "random")


@dataclass(frozen=True)
class TransportSpec:
    """All that defines the training of one network under another's mask.

    Attributes:
        target: the dense network whose mask travels.
        source: the dense network that is trained under it, and to whose units it is brought.
        rewind: the step to whose weights networks go back.
        share: the share of the remaining weights that a level removes.
        level: the level of the mask.
        matching: how the dense networks' permutation is found, ``"weights"`` or ``"activations"``.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of the random mask and of the order of groups in matching.
    """

    noun: ClassVar[str] = "transported masks"

    target: RunSpec
    source: RunSpec
    rewind: int
    share: float
    level: int
    matching: str = "activations"
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    @property
    def label(self) -> str:
        """The architecture and the level."""
        return f"{self.target.label}, level {self.level}"

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The dense networks, and both at the level of the mask."""
        return self.target, self.source, self._pruned(self.target), self._pruned(self.source)

    def compute(self, store: Store) -> Result:
        """Trains the source under each mask and evaluates it."""
        here = setting(
            self.target,
            train_examples=self.train_examples,
            test_examples=self.test_examples,
            matching_examples=self.matching_examples,
            reset_examples=self.reset_examples,
        )
        states: dict[str, State] = {}
        side = 0
        try:
            obtain_level(store, self._pruned(self.target))
            side = 1
            masks = self._masks(store, here)
            rewound = obtain_run(store, self.source).at(self.rewind)
            train = trainer(self.source, self.rewind)
            for name, each in masks.items():
                if name == "own":  # this training is in the store
                    states[name] = obtain_level(store, self._pruned(self.source)).state
                else:
                    states[name] = train(rewound, each)
        except Diverged as error:
            return Result({"diverged": [side], "step": error.step, "loss": str(error.loss)})
        return Result(
            {
                "density": round(pruning.density(masks["permuted"]), DIGITS),
                "scores": {name: _scores(here, self.source, state) for name, state in states.items()},
                "overlap": {name: round(pruning.overlap(each, masks["own"]), DIGITS) for name, each in masks.items()},
            }
        )

    def _pruned(self, run: RunSpec) -> PrunedSpec:
        return PrunedSpec(run, self.rewind, self.share, self.level)

    def _masks(self, store: Store, here: Setting) -> dict[str, Masks]:
        path = (self.seed, self.target.init_seed, self.source.init_seed)
        target, source = (on_device(obtain_run(store, run).final, run) for run in (self.target, self.source))
        permutation = match_level(here, self.matching, 0, target, source, path)
        given, own = (obtain_level(store, self._pruned(run)).masks for run in (self.target, self.source))
        # The permutation brings the source's units to the target's places; the mask goes the other way.
        back = symmetry.inverse(permutation, here.permutations)
        generator = rng.stream(self.seed, "pruned", "random mask", self.level, *path[1:])
        return {
            "own": own,
            "permuted": symmetry.permute(given, back, here.permutations, partial=True),
            "unpermuted": given,
            "random": pruning.shuffled(given, generator=generator),
        }


@dataclass(frozen=True)
class Transports:
    """What was measured on all pairs of a set of networks, the earlier one giving the mask, at one level.

    Attributes:
        count: number of networks.
        density: the share of weights that the masks leave.
        values: for each pair what ``TransportSpec`` measures.
        diverged: indices of networks with a training that left the finite numbers; their pairs are missing.
    """

    count: int
    density: float
    values: dict[tuple[int, int], dict[str, Any]]
    diverged: tuple[int, ...]

    def scores(self, mask: str, split: str, quantity: str) -> Float[ndarray, " pairs"]:
        """Loss or error of the networks trained under one of ``MASKS``, one for each pair."""
        return np.array([each["scores"][mask][split][quantity] for each in self.values.values()])

    def overlap(self, mask: str) -> Float[ndarray, " pairs"]:
        """The share of a mask's weights that the network's own mask leaves too."""
        return np.array([each["overlap"][mask] for each in self.values.values()])

    def pairwise(self, values: Float[ndarray, " pairs"]) -> Float[ndarray, "count count"]:
        """One value a pair as a symmetric matrix, NaN on the diagonal and for missing pairs."""
        return as_matrix(self.count, list(self.values), values)


def transports(runs: Sequence[RunSpec], **options: Any) -> list[TransportSpec]:
    """Lists all pairs of networks, the earlier one giving its mask; ``options`` are those of the spec."""
    return [TransportSpec(target, source, **options) for target, source in combinations(runs, 2)]


def measure_transports(store: Store, runs: Sequence[RunSpec], **options: Any) -> Transports:
    """Collects what was measured on all pairs; call ``fill`` before to compute it in parallel."""
    specs = zip(combinations(range(len(runs)), 2), transports(runs, **options), strict=True)
    sound, diverged = collect(store, dict(specs))
    return Transports(len(runs), next(iter(sound.values()))["density"], sound, diverged)


def _scores(here: Setting, run: RunSpec, state: State) -> dict[str, dict[str, float]]:
    state = on_device(state, run)
    if here.reset_inputs is not None:
        state = norms.reset(here.model, state, here.reset_inputs)
    scores = {name: connectivity.evaluate(here.model, state, split) for name, split in here.splits.items()}
    return {
        name: {"loss": float(f"{each.loss:.{DIGITS}g}"), "error": float(f"{each.error:.{DIGITS}g}")}
        for name, each in scores.items()
    }
