"""How well scores find labels that were replaced: those of networks trained on them, and of held-out predictions."""

__all__ = ["RECALLS", "HeldOutSpec", "LabelErrors", "LabelErrorsSpec", "evidence"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate_by_jackknife, estimate_of_mean
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.difficulty.data_pruning import predict_after
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits, rounded

# Shares of the wrong labels at which the precision is taken.
RECALLS = tuple(level / 10 for level in range(1, 11))

# Which scores of held-out predictions rank labels: those of cleanlab, the second scaled from 0 to 1 there.
_HELD_OUT = ("confidence", "margin")


@dataclass(frozen=True)
class LabelErrorsSpec(scoring.ScoredNetworks):
    """All that defines how well the scores of networks rank the labels that were replaced in their training data.

    Attributes:
        shuffled: whether the scores of each network are shuffled within the classes, as a control.
        seed: stream of the shuffles.
    """

    kind: ClassVar[str] = "LabelErrorsSpec"
    noun: ClassVar[str] = "rankings of labels"

    shuffled: bool = False
    seed: int = 0

    @property
    def factors(self) -> str:
        """How many examples there are, and how many of their labels are wrong."""
        return self.scored[0].run.examples + ", scores shuffled" * self.shuffled

    def compute(self, store: Store) -> Result:
        """Ranks the training examples by each score of each network, and of their mean."""
        labels, found = self.labels("train"), scoring.read(store, self.scored)
        values, stream = found.values["train"], rng.numpy_stream(self.seed, "shuffled labels")
        if self.shuffled:
            values = np.stack([difficulty.shuffle_within(each, labels, rng=stream) for each in values])
        stacks = {name: values[:, place] for place, name in enumerate(found.names)}
        wrong = dataset(self.scored[0].run.data).mislabelled.numpy()
        memorised = (found.predictions["train"] == labels)[:, wrong].mean(1)
        return Result(_ranked(stacks, wrong) | {"by heart": digits(memorised)})


@dataclass(frozen=True)
class HeldOutSpec(Spec):
    """All that defines how well predictions for held-out examples rank replaced labels, by cross-validation.

    Attributes:
        runs: the trainings, each repeated once a fold, on all examples that are not in the fold.
        folds: into how many parts the examples are divided, otherwise for each training.
        seed: stream of the division.
    """

    kind: ClassVar[str] = "HeldOutSpec"
    noun: ClassVar[str] = "cross-validations"

    runs: tuple[RunSpec, ...]
    folds: int = 5
    seed: int = 0

    @property
    def needs(self) -> tuple[Spec, ...]:
        """What the trainings begin with; the networks are trained here."""
        return tuple(each for run in self.runs for each in run.needs)

    @property
    def factors(self) -> str:
        """How many examples there are, and how many of their labels are wrong."""
        return self.runs[0].examples

    def compute(self, store: Store) -> Result:
        """Trains a network for each fold and ranks the examples that it did not see."""
        return measured(self.runs, lambda run: self._scores(store, run), self._rank)

    def _scores(self, store: Store, run: RunSpec) -> dict[str, ndarray]:
        split = dataset(run.data).train
        order = rng.stream(self.seed, "folds", run.init_seed)
        parts = torch.randperm(len(split), generator=order).tensor_split(self.folds)
        logits = torch.empty(len(split), dataset(run.data).num_classes, dtype=torch.float64)
        for place, fold in enumerate(parts):
            rows = torch.cat([*parts[:place], *parts[place + 1 :]])
            logits[fold] = predict_after(store, run, rows, split.inputs[fold])
        scores = difficulty.pointwise(logits, split.labels, _HELD_OUT)
        return {f"held-out {name}": difficulty.harder(name, values) for name, values in scores.items()}

    def _rank(self, *found: dict[str, ndarray]) -> dict[str, Any]:
        stacks = {name: np.stack([each[name] for each in found]) for name in found[0]}
        return _ranked(stacks, dataset(self.runs[0].data).mislabelled.numpy())


class LabelErrors(Record):
    """How well scores rank replaced labels: what ``LabelErrorsSpec`` or ``HeldOutSpec`` measures.

    The stored values hold ``"share"``, that of replaced labels, which is the average precision of a random order; and
    by name of the score (``"scores"``) for each network the average precision (``"each"``) and the ``"precisions"``
    where ``RECALLS`` are reached, and the average precision of the mean over all networks and without each network.
    """

    @property
    def memorised(self) -> Float[ndarray, " networks"]:
        """The share of replaced labels that each network answers with at the end; of no network if held out."""
        return np.array(self.values.get("by heart", []))

    def average_precision(self, name: str) -> Float[ndarray, " networks"]:
        """Of each network's own score."""
        return self.of("scores", name, "each")

    def of_mean(self, name: str) -> Estimate:
        """The average precision of the mean score of all networks."""
        return estimate_by_jackknife(self.values["scores"][name]["mean"], self.of("scores", name, "without"))


def evidence(plenty: LabelErrors, scarce: LabelErrors, held_out: LabelErrors) -> dict[str, Estimate]:
    """The estimates that the parts on labels ask for; differences are within a network, or between equal seeds.

    Networks had plenty of data, or few, so that they memorised wrong labels; held-out predictions are on these few.
    """
    own = scarce.average_precision
    values = {
        "mean loss": plenty.average_precision("mean loss"),
        "AUM": plenty.average_precision("mean logit_margin"),
        "by heart": scarce.memorised,
        "mean and final loss": own("mean loss") - own("final loss"),
        "mean and final margin": own("mean logit_margin") - own("final logit_margin"),
        "held-out and final": held_out.average_precision("held-out confidence") - own("final confidence"),
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}


def _ranked(stacks: Mapping[str, ndarray], wrong: Bool[ndarray, " examples"]) -> dict[str, Any]:
    scores = {name: digits(difficulty.ranking(stack, wrong, np.array(RECALLS))) for name, stack in stacks.items()}
    return {"share": rounded(float(wrong.mean())), "scores": scores}
