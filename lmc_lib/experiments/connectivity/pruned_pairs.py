"""Pairs of sequences of pruned networks: a permutation found at one level, used at all others."""

__all__ = ["FOUND", "PrunedPairSpec", "ends", "estimates", "evidence", "under"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import pruning, symmetry
from lmc_lib.alignment import MATCHERS, Lines, Setting, scores_at
from lmc_lib.claims import Estimate, estimate
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.networks.pruned import obtain_sequence, sequence
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.pruning import Level
from lmc_lib.store import Store
from lmc_lib.sweeps import Spec
from lmc_lib.symmetry import Permutation
from lmc_lib.training import on_device
from lmc_lib.values import columns, digits, share

# Where a permutation is found: at level 0, at the level at which it is used, or at the last.
FOUND = ("dense", "rematched", "sparsest")


@dataclass(frozen=True)
class PrunedPairSpec(PairMeasurement):
    """All that defines the measurement of two sequences of pruned networks against each other.

    It measures at every level ``densities``, the share of weights left; ``barriers`` by split and quantity on several
    lines: ``"none"``, ``"renumbered"`` (the control), or a matching and one of ``FOUND``, as ``"activations, dense"``;
    ``ends``, the loss and error of the two networks; and ``agreement`` by matching, the share of units that the level's
    permutation sends where the dense one does.

    Attributes:
        rewind: the step to whose weights every level goes back.
        share: the share of the remaining weights that a level removes.
        levels: number of prunings, at least 1.
        points: points on each line, the two ends included.
    """

    kind: ClassVar[str] = "PrunedPairSpec"
    noun: ClassVar[str] = "pairs of sequences"

    rewind: int
    share: float
    levels: int
    points: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1:
            raise ValueError(f"a sequence has at least one level of pruning, got {self.levels}")

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The networks of both sequences."""
        pruned = [level for run in (self.target, self.source) for level in sequence(run, **self._options)]
        return self.target, self.source, *pruned

    @property
    def _options(self) -> dict[str, Any]:
        return {"rewind": self.rewind, "share": self.share, "levels": self.levels}

    def get(self, store: Store, run: RunSpec) -> list[Level]:
        """All levels."""
        return obtain_sequence(store, run, **self._options)

    def measure(self, here: Setting, target: list[Level], source: list[Level]) -> dict[str, Any]:
        """Matches the networks at every level and measures the barrier of each permutation."""
        pairs = [
            (on_device(first.state, self.target.train), on_device(second.state, self.source.train))
            for first, second in zip(target, source, strict=True)
        ]
        matched = {
            how: [here.match(how, *pair, generator=self.stream("pruned", how, at)) for at, pair in enumerate(pairs)]
            for how in MATCHERS
        }
        lines = [Lines(here, *pair, self.points) for pair in pairs]
        barriers = [digits(_at_level(line, matched, level)) for level, line in enumerate(lines)]
        # The same choice as in `under`: the control is the permutation that is judged, renumbered.
        kept = matched[min(MATCHERS, key=lambda how: barriers[0][f"{how}, dense"]["train loss"])][0]
        for level, line in enumerate(lines):
            renumbered = symmetry.compose(kept, self._renumbering(here, level), here.permutations)
            barriers[level]["renumbered"] = digits(line.barriers(renumbered))
        return {
            "densities": [share(pruning.density(level.masks)) for level in source],
            "barriers": columns(barriers),
            "ends": digits(columns([columns([scores_at(line.last, end) for end in (0, -1)]) for line in lines])),
            "agreement": {
                how: [share(symmetry.agreement(found[0], each)) for each in found] for how, found in matched.items()
            },
        }

    def _renumbering(self, here: Setting, level: int) -> Permutation:
        """How the control numbers the units of a pruned network anew; the dense network keeps its numbers."""
        if level == 0:
            return symmetry.identity(here.permutations)
        return symmetry.random(here.permutations, generator=self.stream("pruned", "renumbering", level))


def under(found: Found, where: str, split: str, quantity: str) -> Float[ndarray, "pairs levels"]:
    """Barriers at every level under the permutation that was found ``where`` it says, one of ``FOUND``.

    It comes from weight or activation matching, whichever has the lower barrier in train loss at the level at which it
    was found: the choice looks at no other level and at no test example.
    """
    home = {"dense": slice(0, 1), "rematched": slice(None), "sparsest": slice(-1, None)}[where]
    return found.better(
        lambda matching: found.of("barriers", f"{matching}, {where}", f"{split} {quantity}"),
        lambda matching: found.of("barriers", f"{matching}, {where}", "train loss")[:, home],
    )


def ends(found: Found, split: str, quantity: str) -> Float[ndarray, "ends levels"]:
    """Loss or error of the networks themselves at every level, one row for each end of each line."""
    return np.concatenate(found.of("ends", f"{split} {quantity}").swapaxes(1, 2))


def estimates(found: Found, barriers: Float[ndarray, "pairs levels"]) -> list[Estimate]:
    """The median over pairs at every level, with its interval."""
    return [estimate(found.symmetric(of_level)) for of_level in barriers.T]


def evidence(found: Found, *, renumbered: bool = False) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Returns:
        ``"raw"``, the median over pairs of the smallest barrier at any level without a permutation; ``"aligned"``, that
        of the largest one under the dense networks' permutation or, for the negative control, where the pruned networks
        of the source were ``renumbered`` before.
    """
    raw, control = (found.of("barriers", line, "test error") for line in ("none", "renumbered"))
    worst = (control if renumbered else under(found, "dense", "test", "error")).max(1)
    return found.estimates({"raw": raw.min(1), "aligned": worst})


def _at_level(lines: Lines, matched: Mapping[str, Sequence[Permutation]], level: int) -> dict[str, dict[str, float]]:
    """The barriers at a level without a permutation and, for each matching, under those of ``FOUND``."""
    barriers = {"none": lines.barriers(symmetry.identity(lines.here.permutations))}
    for matching, permutations in matched.items():
        homes = dict(zip(FOUND, (0, level, len(permutations) - 1), strict=True))
        at = {home: lines.barriers(permutations[home]) for home in sorted(set(homes.values()))}
        barriers |= {f"{matching}, {name}": at[home] for name, home in homes.items()}
    return barriers
