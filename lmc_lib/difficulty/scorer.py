"""All scores of a set of examples by one network, from one checkpoint of its training at a time."""

__all__ = ["Scorer"]

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from lmc_lib.difficulty.gradients import grand, input_gradients, vog
from lmc_lib.difficulty.learning import History
from lmc_lib.difficulty.moments import Moments
from lmc_lib.difficulty.neighbours import prediction_depth, prototype_distance
from lmc_lib.difficulty.predictions import pointwise, predict
from lmc_lib.state import State

# The scores of single checkpoints whose mean and final value are kept.
_FOLLOWED = ("accuracy", "confidence", "max_confidence", "entropy", "margin", "logit_margin", "el2n", "loss")


class Scorer:
    """What is followed of one set of examples, in memory that does not grow with the number of checkpoints.

    Args:
        model: the architecture, in the precision of the inputs.
        inputs: the examples.
        labels: class of each example.
        early: the step at which EL2N and GraNd are also taken alone, as their authors do.
        features: gives the activations of weights for inputs, by layer from the input on. With it come the scores that
            cost more than logits: of gradients (GraNd, VoG) and of representations (prediction depth, distance to
            prototypes).
        neighbours: how many examples vote at each layer for the prediction depth.
        voters: the examples that vote, which see the same checkpoints; these examples themselves if None, none of which
            votes for itself.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Int[Tensor, " examples"],
        *,
        early: int,
        features: Callable[[State, Tensor], Mapping[str, Tensor]] | None = None,
        neighbours: int = 30,
        voters: "Scorer | None" = None,
    ) -> None:
        self.model, self.inputs, self.labels = model, inputs, labels
        self.step_of_early, self.features, self.neighbours, self.voters = early, features, neighbours, voters or self
        self.history = History(labels, _FOLLOWED)
        self.gradients = Moments(len(inputs), inputs[0, 0].numel()) if features is not None else None
        self.early: dict[str, ndarray] = {}
        self.logits: Tensor

    def visit(self, step: int, state: State) -> None:
        """Takes in the weights after so many steps.

        Raises:
            ValueError: if a logit is not finite.
        """
        self.state, self.logits = state, predict(self.model, state, self.inputs, mode="eval")
        self.history.update(self.logits)
        if self.gradients is not None:
            self.gradients.update(input_gradients(self.model, state, self.inputs, self.labels))
        if step == self.step_of_early:
            self.early["early el2n"] = pointwise(self.logits, self.labels, ["el2n"])["el2n"]
            if self.features is not None:
                self.early["early grand"] = grand(self.model, state, self.inputs, self.labels)

    def scores(self) -> dict[str, Float[ndarray, " examples"]]:
        """All scores at the end by name, turned so that higher means harder."""
        found = self.history.harder() | self.early
        if self.features is not None and self.gradients is not None:
            *_, last = self.features(self.state, self.inputs).values()
            found["vog"] = vog(self.gradients)
            found["prediction_depth"] = self._depth()
            found["prototype_distance"] = prototype_distance(last.cpu().numpy(), self.labels.numpy())
        return found

    def _depth(self) -> Float[ndarray, " examples"]:
        others = dict[str, Any]()
        if self.voters is not self:
            others = {"queries": self._layers(), "query_labels": self.labels.numpy()}
        layers, labels = self.voters._layers(), self.voters.labels.numpy()
        return prediction_depth(layers, labels, neighbours=self.neighbours, **others)

    def _layers(self) -> Iterator[ndarray]:
        """Representations from the inputs to the logits."""
        yield self.inputs.flatten(1).numpy()
        assert self.features is not None
        for each in self.features(self.state, self.inputs).values():
            yield each.cpu().numpy()
        yield predict(self.model, self.state, self.inputs, mode="eval").numpy()
