"""Three and more networks at once: one permutation each, measured on the whole simplex that they span."""

__all__ = ["METHODS", "SimplexSpec", "barriers", "corners", "evidence", "simplex", "specs", "typical"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, matching, rng, symmetry
from lmc_lib.alignment import MATCHERS, Setting
from lmc_lib.claims import FLOOR, Estimate, balanced_sets
from lmc_lib.connectivity import Simplex
from lmc_lib.experiments.found import Found, at
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation
from lmc_lib.values import loss_and_error, share

METHODS = ("none", *MATCHERS, "merge", "cycle")


@dataclass(frozen=True)
class SimplexSpec(Measurement):
    """All that defines the measurement of several networks at once.

    It measures ``scores``, loss and error at all points by method and split, and ``cycle_error`` by matching: how far
    permutations matched pair by pair fail to compose; see :func:`lmc_lib.matching.cycle_error`.

    Attributes:
        networks: the replicas; the first is the one to which the others are matched.
        methods: how they are aligned, of ``METHODS``, ``"weights"`` and ``"activations"`` among them.
        resolution: steps on each edge of the simplex.
    """

    kind: ClassVar[str] = "SimplexSpec"
    noun: ClassVar[str] = "simplices"

    networks: tuple[RunSpec, ...]
    methods: tuple[str, ...]
    resolution: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.networks) < 3:
            raise ValueError(f"a simplex has at least three networks here, got {len(self.networks)}; pairs have lines")
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise ValueError(f"unknown method {unknown[0]!r}; there are {', '.join(METHODS)}")
        if not set(MATCHERS) <= set(self.methods):
            raise ValueError(f"the better of {' and '.join(MATCHERS)} is looked for: both must be among the methods")

    def measure(self, here: Setting, *states: State) -> dict[str, Any]:
        """Aligns the networks in several ways and evaluates the simplices that they span."""
        # For each two networks the permutation that brings the later to the earlier.
        pairs = list(combinations(range(len(states)), 2))
        pairwise = {how: {pair: self.match(here, how, states, *pair) for pair in pairs} for how in MATCHERS}
        errors = {how: share(matching.cycle_error(here.permutations, found)) for how, found in pairwise.items()}
        values: dict[str, Any] = {"scores": {}, "cycle_error": errors}
        model, inputs, known = here.model, here.reset_inputs, None
        for method in self.methods:
            found = self._permutations(here, method, states, pairwise)
            moved = [here.permuted(state, permutation) for state, permutation in zip(states, found, strict=True)]
            known = connectivity.simplex(
                model, moved, here.splits, resolution=self.resolution, reset_inputs=inputs, corners_of=known
            )
            values["scores"][method] = loss_and_error(known)
        return values

    def _permutations(
        self, here: Setting, method: str, states: Sequence[State], pairwise: Mapping[str, Mapping[Any, Permutation]]
    ) -> list[Permutation]:
        """One permutation a network."""
        groups = here.permutations
        generator = rng.stream(self.seed, "simplex", method, *(run.init_seed for run in self.networks))
        if method == "none":
            return [symmetry.identity(groups) for _ in states]
        if method == "merge":
            return matching.merge_many(groups, list(states), generator=generator, order="random")
        if method == "cycle":
            return matching.cycle_consistent(groups, list(states), generator=generator, order="random")
        return [symmetry.identity(groups), *(pairwise[method][0, j] for j in range(1, len(states)))]


def specs(
    runs: Sequence[RunSpec], size: int = 3, rounds: int | None = None, **options: Any
) -> dict[tuple[int, ...], SimplexSpec]:
    """Sets of so many replicas by their indices, the earliest as the one that stays.

    The sets, and what ``rounds`` are, are those of :func:`lmc_lib.claims.balanced_sets`, which raises; ``options`` are
    those of the spec.
    """
    sets = balanced_sets(len(runs), size, rounds)
    return {members: SimplexSpec(tuple(runs[member] for member in members), **options) for members in sets}


def simplex(found: Found, members: tuple[int, ...], method: str, split: str) -> Simplex:
    """Loss and error of one set at all points."""
    loss, error = (
        torch.tensor(at(found.values[members], "scores", method, split, name), dtype=torch.float64)
        for name in ("loss", "error")
    )
    return Simplex.of_scores(len(members), loss, error)


def barriers(found: Found, method: str, split: str, quantity: str, *, part: str = "simplex") -> Float[ndarray, " sets"]:
    """One barrier a set, under one of ``METHODS`` or ``"best"``.

    This is weight or activation matching, whichever has the lower simplex barrier in train loss: barriers of the test
    set are not selected upon. ``part`` is that of :meth:`lmc_lib.connectivity.Simplex.barrier`: networks were matched
    to the first, so that lines between the others are ``"indirect"``.
    """
    if method == "best":
        return found.better(
            lambda matcher: barriers(found, matcher, split, quantity, part=part),
            lambda matcher: barriers(found, matcher, "train", "loss"),
        )
    sets = [simplex(found, members, method, split) for members in found.values]
    return np.array([each.barrier(quantity, part=part) for each in sets])


def typical(found: Found, method: str, split: str, quantity: str) -> tuple[int, ...]:
    """The set whose barrier is the median, or next below it."""
    order = barriers(found, method, split, quantity).argsort(kind="stable")
    return list(found.values)[int(order[(len(order) - 1) // 2])]


def corners(found: Found, split: str, quantity: str) -> Float[ndarray, " corners"]:
    """Loss or error of the trained networks themselves, one for each corner of each set."""
    return np.concatenate([simplex(found, each, "none", split).corners(quantity).numpy() for each in found.values])


def evidence(found: Mapping[int, Found], *, method: str = "best") -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from simplex barriers in test error by width, all of the same seeds.

    Returns:
        ``"raw"`` and ``"smallest"``, the median at the largest width without a permutation and aligned; ``"slope"``,
        the median over sets of seeds of the ratio of the aligned barrier at the largest width to that at the smallest,
        where what is below ``claims.FLOOR`` counts as that, so that no barrier at either has the ratio 1.
    """
    narrow, wide = found[min(found)], found[max(found)]
    aligned = barriers(wide, method, "test", "error")
    members = tuple(np.transpose(list(wide.values)))
    when_narrow = narrow.symmetric(barriers(narrow, method, "test", "error"))[members]
    values = {
        "raw": barriers(wide, "none", "test", "error"),
        "smallest": aligned,
        "slope": np.maximum(aligned, FLOOR) / np.maximum(when_narrow, FLOOR),
    }
    return wide.estimates(values)
