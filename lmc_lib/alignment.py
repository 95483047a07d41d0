"""Networks of one architecture brought together: what that needs besides weights, and the lines between two of them."""

__all__ = ["MATCHERS", "QUANTITIES", "Lines", "Setting", "line_barriers", "scores_at"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from lmc_lib import connectivity, matching, norms, symmetry
from lmc_lib.connectivity import Curve, Scores
from lmc_lib.data import Split
from lmc_lib.similarity import layer_angles
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation, PermutationSpec

# What is measured along a line.
QUANTITIES = [(split, quantity) for split in ("train", "test") for quantity in ("loss", "error")]

# The ways to find a permutation that are compared throughout.
MATCHERS = ("weights", "activations")


@dataclass(frozen=True)
class Setting:
    """Architecture, groups and data of a measurement.

    Attributes:
        model: the architecture, in the precision of the weights.
        permutations: its groups.
        splits: the examples on which lines are evaluated, by name.
        matching_inputs: the examples that activation matching sees.
        reset_inputs: the examples for BatchNorm statistics; None if the network keeps none.
    """

    model: nn.Module
    permutations: PermutationSpec
    splits: dict[str, Split]
    matching_inputs: Tensor
    reset_inputs: Tensor | None

    def inputs(self, split: str) -> Tensor:
        """The inputs of a split, in the precision of the weights."""
        inputs = self.splits[split].inputs
        return inputs.to(self.matching_inputs.dtype) if inputs.is_floating_point() else inputs

    def targets(self, split: str) -> Tensor:
        """The labels of a split as a representation: one row an example and one column a class, in float64."""
        return torch.nn.functional.one_hot(self.splits[split].labels).double()

    def maps(self, state: State, inputs: Tensor) -> dict[str, Tensor]:
        """The activations behind each activation function, from the input on, in the shape in which they are there."""
        assert self.permutations.observe is not None
        with torch.no_grad():
            seen = self.permutations.observe(state, inputs)
        # The network was traced with one example, which is a dimension of length 1.
        return {tap.node: seen[tap.node].squeeze(1) for tap in self.permutations.taps}

    def features(self, state: State, inputs: Tensor) -> dict[str, Tensor]:
        """The same, one row an example."""
        return {node: seen.flatten(1) for node, seen in self.maps(state, inputs).items()}

    def path(self, state: State, split: str) -> list[Tensor]:
        """A network as a path: the representations of a split by inputs, activations from the input on, and logits."""
        inputs = self.inputs(split)
        logits = connectivity.predict(self.model, state, inputs)
        return [each.double() for each in (inputs.flatten(1), *self.features(state, inputs).values(), logits)]

    def angles(self, target: State, source: State, examples: int) -> Float[ndarray, " layers"]:
        """The angle between two networks' features of test examples, layer by layer; NaN for a dead one."""
        inputs = self.inputs("test")[:examples]
        features = (list(self.features(each, inputs).values()) for each in (target, source))
        return layer_angles(*features, flavour="lange")

    def logits(self, state: State, split: str) -> Float[Tensor, "examples classes"]:
        """What a network says of a split, with the statistics of BatchNorm re-estimated."""
        inputs = self.splits[split].inputs
        return connectivity.predict(self.model, state, inputs, reset_inputs=self.reset_inputs)

    def scores(self, state: State) -> dict[str, Scores]:
        """Loss and error of a network on every split, with the statistics of BatchNorm re-estimated."""
        if self.reset_inputs is not None:
            state = norms.reset(self.model, state, self.reset_inputs)
        return {name: connectivity.evaluate(self.model, state, split) for name, split in self.splits.items()}

    def permuted(self, state: State, permutation: Permutation) -> State:
        """A network with its units in another order."""
        return symmetry.permute(state, permutation, self.permutations)

    def line(
        self, target: State, source: State, points: int, ends_of: dict[str, Curve] | None = None
    ) -> dict[str, Curve]:
        """The straight line between two networks, on every split."""
        return connectivity.curves(
            self.model, target, source, self.splits, points=points, reset_inputs=self.reset_inputs, ends_of=ends_of
        )

    def match(
        self,
        method: str,
        target: State | list[State],
        source: State | list[State],
        *,
        generator: torch.Generator,
        inputs: Tensor | None = None,
        **options: Any,
    ) -> Permutation:
        """The permutation of the source's units by ``"weights"``, groups in random order, or by ``"activations"``.

        Target and source are a network each, or several. Activations are those of ``matching_inputs``, unless other
        inputs are given; ``options`` are those of the matching.
        """
        if method == "weights":
            options = {"order": "random"} | options
            return matching.weight_matching(self.permutations, target, source, generator=generator, **options)
        seen = self.matching_inputs if inputs is None else inputs
        return matching.activation_matching(self.permutations, target, source, seen, generator=generator, **options)


class Lines:
    """The lines between two networks under permutations of the second; their ends, equal for all, are evaluated once.

    Attributes:
        last: the line of each split that was evaluated last; empty before.
    """

    def __init__(self, here: Setting, target: State, source: State, points: int) -> None:
        self.here, self.target, self.source, self.points = here, target, source, points
        self.last: dict[str, Curve] = {}

    def under(self, permutation: Permutation) -> dict[str, Curve]:
        """The line on every split."""
        moved = self.here.permuted(self.source, permutation)
        self.last = self.here.line(self.target, moved, self.points, ends_of=self.last or None)
        return self.last

    def barriers(self, permutation: Permutation) -> dict[str, float]:
        """The barriers, by split and quantity."""
        return line_barriers(self.under(permutation))


def line_barriers(lines: Mapping[str, Curve], *, convention: str = "chord") -> dict[str, float]:
    """The barriers on the lines of several splits, by split and quantity.

    They are differences of scores: what is below 1e-12 is the last bits of these, in which processors differ, and is 0.
    """
    heights = {f"{s} {q}": lines[s].barrier(q, convention=convention) for s, q in QUANTITIES}
    return {name: height if abs(height) >= 1e-12 else 0.0 for name, height in heights.items()}


def scores_at(lines: Mapping[str, Curve], place: int) -> dict[str, float]:
    """Loss and error at one point of the lines, by split and quantity."""
    return {f"{split} {quantity}": getattr(lines[split].at(place), quantity) for split, quantity in QUANTITIES}
