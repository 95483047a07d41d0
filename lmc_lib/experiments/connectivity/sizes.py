"""Barriers between pairs of networks of one setting, which are trained at once, and how far these networks moved."""

__all__ = ["SizeSpec", "Sizes"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import matching, rng, similarity, state, symmetry
from lmc_lib.alignment import MATCHERS, QUANTITIES, Lines, Setting
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.networks.runs import OfStart
from lmc_lib.experiments.networks.stacks import check_stack, train_stacked
from lmc_lib.experiments.setting import setting
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation
from lmc_lib.values import columns, digits, or_none


@dataclass(frozen=True)
class SizeSpec(OfStart):
    """All that defines the barriers of one setting.

    The networks are ``run`` and those with the following seeds. The first two are a pair, the next two another: no
    network is in two pairs, so that pairs are independent. By pair it measures ``"METHOD, SPLIT QUANTITY"``, the
    barrier under a permutation that is ``none``, found by ``weights`` or ``activations``, or by the weights of the two
    ``starts``; and ``agreement``, the share of units that weights and weights of the starts send to the same place.
    By network, two in a row: ``movement``, the distance to the start by the length of that; ``kernel``, the distance of
    the neural tangent kernels at the start and at the end; and loss and error of both splits. None stands where a
    training diverged.

    Attributes:
        pairs: number of pairs.
        points: points on the line, the two ends included.
        examples: number of training and of test examples for loss and error.
        matching_examples: training examples that activation matching sees.
        kernel_examples: training examples for tangent kernels; with 0 they are not measured.
        straight_through: updates of straight-through matching; with 0 it is not measured.
    """

    kind: ClassVar[str] = "Sizes"
    noun: ClassVar[str] = "stacks of pairs"

    pairs: int
    points: int = 11
    examples: int = 1000
    matching_examples: int = 512
    kernel_examples: int = 0
    straight_through: int = 0

    def __post_init__(self) -> None:
        check_stack(self.run)

    @property
    def methods(self) -> tuple[str, ...]:
        """The ways to find a permutation."""
        return ("none", *MATCHERS, "starts", *(["straight-through"] if self.straight_through else []))

    def compute(self, store: Store) -> Result:
        """Trains the networks and measures the lines between those of a pair."""
        seeds = range(2 * self.pairs)
        first = self.run
        runs = [replace(first, init_seed=first.init_seed + i, order_seed=first.order_seed + i) for i in seeds]
        starts, ends = train_stacked(runs)
        here = setting(first, self.examples, self.examples, self.matching_examples, 1)
        networks = [self._of_network(here, *each) for each in zip(starts, ends, strict=True)]
        pairs = [self._of_pair(here, i, starts[i : i + 2], ends[i : i + 2]) for i in seeds[::2]]
        return Result({"pairs": columns(pairs), "networks": columns(networks)})

    def _of_pair(self, here: Setting, place: int, starts: Sequence[State], ends: Sequence[State]) -> dict[str, Any]:
        names = [f"{method}, {split} {quantity}" for method in self.methods for split, quantity in QUANTITIES]
        if not all(map(state.is_finite, ends)):
            return dict.fromkeys([*names, "agreement"])
        found = {method: self._permutation(here, method, place, starts, ends) for method in self.methods}
        lines = Lines(here, ends[0], ends[1], self.points)
        heights = {method: lines.barriers(permutation) for method, permutation in found.items()}
        values = {f"{method}, {name}": height for method, of in heights.items() for name, height in of.items()}
        values["agreement"] = symmetry.agreement(found["weights"], found["starts"])
        stored: dict[str, Any] = digits(values, 6)
        return stored

    def _permutation(
        self, here: Setting, method: str, place: int, starts: Sequence[State], ends: Sequence[State]
    ) -> Permutation:
        # Starts and ends are matched in the same order of groups, so that what differs is not the search.
        searched = "weights" if method == "starts" else method
        generator = rng.stream(self.run.init_seed + place, "sizes", searched)
        if method == "none":
            return symmetry.identity(here.permutations)
        if method == "straight-through":
            seen = here.splits["train"][: self.matching_examples]
            target, source = ends
            return matching.straight_through(
                here.model, here.permutations, target, source, here.matching_inputs[: len(seen)], seen.labels,
                generator=generator, steps=self.straight_through,
            )  # fmt: skip
        if method == "starts":
            return here.match("weights", starts[0], starts[1], generator=generator)
        return here.match(method, ends[0], ends[1], generator=generator)

    def _of_network(self, here: Setting, start: State, end: State) -> dict[str, Any]:
        values = dict.fromkeys(["movement", "kernel", *(" ".join(each) for each in QUANTITIES)], math.nan)
        if state.is_finite(end):
            values["movement"] = state.distance(start, end) / state.norm(start)
            scores = here.scores(end)
            values |= {f"{split} {quantity}": getattr(scores[split], quantity) for split, quantity in QUANTITIES}
            if self.kernel_examples:
                inputs = here.inputs("train")[: self.kernel_examples]
                kernels = (similarity.tangent_kernel(here.model, each, inputs) for each in (start, end))
                values["kernel"] = similarity.kernel_distance(*kernels)
        stored: dict[str, Any] = or_none(digits(values, 6))
        return stored


@dataclass(frozen=True)
class Sizes(Record):
    """What ``SizeSpec`` measured, one number a pair; NaN where a training diverged."""

    def barriers(self, method: str, of: str = "train loss") -> Float[ndarray, " pairs"]:
        """Barriers under a method, or under ``"better"``: of weights and activations the lower one by train loss."""
        if method != "better":
            return self.of("pairs", f"{method}, {of}")
        by_weights, by_activations = (self.barriers(each) for each in MATCHERS)
        return np.where(by_weights <= by_activations, *(self.barriers(each, of) for each in MATCHERS))

    def share(self, method: str, of: str = "train loss") -> Float[ndarray, " pairs"]:
        """The share of the barrier without a permutation that is left under a method."""
        left: ndarray = self.barriers(method, of) / self.barriers("none", of)
        return left

    def networks(self, name: str) -> Float[ndarray, " pairs"]:
        """The mean over the two networks of each pair of what was measured of networks."""
        mean: ndarray = self.of("networks", name).reshape(-1, 2).mean(1)
        return mean
