"""What a measurement needs besides weights: the architecture, its groups and the data, as one value."""

__all__ = ["MATCHERS", "Setting", "setting"]

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmc_lib import connectivity, matching, norms, symmetry
from lmc_lib.connectivity import Curve
from lmc_lib.data import Split
from lmc_lib.experiments.loaded import dataset, groups
from lmc_lib.experiments.networks.runs import RunSpec, architecture
from lmc_lib.experiments.values import or_none
from lmc_lib.similarity import layer_angles
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation, PermutationSpec
from lmc_lib.training import device

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
        return self.splits[split].inputs.to(self.matching_inputs.dtype)

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

    def angles(self, target: State, source: State, examples: int) -> list[float | None]:
        """The angle between two networks' features of test examples, layer by layer; None for a dead one."""
        inputs = self.inputs("test")[:examples]
        features = (list(self.features(each, inputs).values()) for each in (target, source))
        found: list[float | None] = or_none(layer_angles(*features, flavour="lange"))
        return found

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


def setting(
    run: RunSpec, train_examples: int | None, test_examples: int | None, matching_examples: int, reset_examples: int
) -> Setting:
    """Builds the setting of a run, on the device and in the precision of its training."""
    dtype = torch.float64 if run.train.precision == "portable" else torch.float32
    loaded = dataset(run.data)
    model = architecture(run).to(device(run.train), dtype)
    inputs = loaded.train.inputs.to(dtype)
    return Setting(
        model,
        groups(run.model, run.data, dtype),
        {"train": loaded.train[:train_examples], "test": loaded.test[:test_examples]},
        inputs[:matching_examples],
        inputs[:reset_examples] if norms.has_statistics(model) else None,
    )
