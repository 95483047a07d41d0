"""Networks that are trained on a part of the examples, chosen by what other networks find hard."""

__all__ = ["PLANS", "Kept", "KeptSpec", "evidence", "measure", "predict_after", "specs"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.difficulty.scores import ScoresSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, train_run
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Diverged
from lmc_lib.values import columns, rounded

# Ways to choose examples: which end of the order is kept, whether within each class, whether scores are shuffled.
PLANS = {
    "hard": ("hard", False, False),
    "easy": ("easy", False, False),
    "random": ("random", False, False),
    "hard of each class": ("hard", True, False),
    "easy of each class": ("easy", True, False),
    "random of each class": ("random", True, False),
    "hard by shuffled scores": ("hard", False, True),
}


@dataclass(frozen=True)
class KeptSpec(Spec):
    """All that defines the accuracy of networks that are trained on a part of the examples.

    Every network makes as many updates as its configuration says, however few examples it sees.

    Attributes:
        runs: the networks to train; their data are what is kept from.
        policy: which examples are kept, one of ``difficulty.POLICIES``.
        share: how much is kept.
        scored: the networks whose mean score says what is hard, others than those that are trained; none where random
            examples are kept.
        score: the score.
        balanced: whether every class keeps this share.
        shuffled: whether scores are shuffled within the classes, otherwise for each network, as a control.
        seed: stream of random choices; each network makes its own.
    """

    kind: ClassVar[str] = "KeptSpec"
    noun: ClassVar[str] = "kept parts"

    runs: tuple[RunSpec, ...]
    policy: str = "random"
    share: float = 1.0
    scored: tuple[ScoresSpec, ...] = ()
    score: str = "mean el2n"
    balanced: bool = False
    shuffled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.policy == "random") != (not self.scored):
            raise ValueError("hard and easy examples are so by the scores of networks, random ones are not: see scored")
        if any(each.run.data != run.data for each in self.scored for run in self.runs):
            raise ValueError("the networks that score and those that are trained need the same examples")
        if {each.run.init_seed for each in self.scored} & {run.init_seed for run in self.runs}:
            raise ValueError("a network cannot choose its own examples: take other seeds than those of the scores")

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The scores, and what the trainings begin with."""
        return (*self.scored, *(each for run in self.runs for each in run.needs))

    @property
    def factors(self) -> str:
        """How many examples there are, and which of them are kept."""
        parts = [self.runs[0].examples, f"{self.policy} {self.share:g} kept"]
        parts += ["of each class"] * self.balanced + ["scores shuffled"] * self.shuffled
        return ", ".join(parts)

    def compute(self, store: Store) -> Result:
        """Trains the networks and tests them; one whose training diverged has no accuracy."""
        scores = np.zeros(len(dataset(self.runs[0].data).train))
        if self.scored:
            scores = scoring.read(store, self.scored).means("train", [self.score])[0]
        return Result(columns([self._train(store, run, scores) for run in self.runs]))

    def _train(self, store: Store, run: RunSpec, scores: Float[ndarray, " examples"]) -> dict[str, Any]:
        data, stream = dataset(run.data), rng.numpy_stream(self.seed, "kept", run.init_seed)
        classes = data.train.labels.numpy()
        if self.shuffled:
            scores = difficulty.shuffle_within(scores, classes, rng=stream)
        within = classes if self.balanced else None
        rows = torch.from_numpy(difficulty.keep(scores, self.share, policy=self.policy, rng=stream, classes=within))
        kept = np.bincount(classes[rows.numpy()], minlength=data.num_classes).tolist()
        try:
            logits, labels = predict_after(store, run, rows, data.test.inputs), data.test.labels
        except Diverged:
            return {"accuracy": None, "accuracy by class": [None] * data.num_classes, "kept": kept}
        right = (logits.argmax(1) == labels).double()
        by_class = [rounded(float(right[labels == each].mean())) for each in range(data.num_classes)]
        return {"accuracy": rounded(float(right.mean())), "accuracy by class": by_class, "kept": kept}


@dataclass(frozen=True)
class Kept:
    """What networks learn from a part of the examples: by plan and share what ``KeptSpec`` measures."""

    cells: dict[tuple[str, float], dict[str, Any]]

    def of(self, plan: str, share: float, what: str = "accuracy") -> Float[ndarray, " networks *classes"]:
        """The test accuracy, NaN where a training diverged; with a share of 1 all examples are kept by any plan.

        ``what`` is ``"accuracy"``, ``"accuracy by class"``, or ``"kept"`` for the number of examples of each class.
        """
        return np.array(self.cells["random" if share == 1.0 else plan, share][what], dtype=float)


def specs(
    runs: Sequence[RunSpec], scored: Sequence[ScoresSpec], *, shares: Sequence[float], half: float = 0.5, score: str
) -> dict[tuple[str, float], KeptSpec]:
    """Lists what to train on, by plan and share: all examples, every plan at all shares, shuffled scores at the half.

    The ``runs`` are trained; those that were ``scored`` say what is hard. The half is added to the shares.
    """
    cells = {("random", 1.0): KeptSpec(tuple(runs))}
    for share in sorted({*shares, half}):
        for plan, (policy, balanced, shuffled) in PLANS.items():
            spec = KeptSpec(tuple(runs), "random", share, balanced=balanced)
            if policy != "random":
                spec = replace(spec, policy=policy, scored=tuple(scored), score=score, shuffled=shuffled)
            if share == half or not shuffled:
                cells[plan, share] = spec
    return cells


def measure(store: Store, specs: Mapping[tuple[str, float], KeptSpec]) -> Kept:
    """Obtains what networks learn from parts of the examples."""
    return Kept({cell: obtain(store, spec).values for cell, spec in specs.items()})


def evidence(plenty: Kept, scarce: Kept, *, half: float = 0.5) -> dict[str, Estimate]:
    """The estimates that the parts on kept examples ask for: differences between networks of equal initial weights."""
    values = {}
    for size, here, good, bad in (("plenty", plenty, "hard", "easy"), ("scarce", scarce, "easy", "hard")):
        for within, ending in (("", ""), (" of each class", ", by class")):
            others = {plan: here.of(f"{plan}{within}", half) for plan in ("random", bad)} | {"all": here.of(good, 1.0)}
            for plan, other in others.items():
                values[f"{good} and {plan}, {size}{ending}"] = here.of(f"{good}{within}", half) - other
        values[f"shuffled and random, {size}"] = here.of("hard by shuffled scores", half) - here.of("random", half)
    return {name: estimate_of_mean(each) for name, each in values.items()}


def predict_after(
    store: Store, run: RunSpec, rows: Int[Tensor, " kept"], inputs: Float[Tensor, "examples ..."]
) -> Float[Tensor, "examples classes"]:
    """The logits of a network that is trained on some of a run's examples, here and now, for other inputs.

    Raises:
        Diverged: if the training diverged.
    """
    *_, last = train_run(run, store, rows=rows)
    return difficulty.predict(architecture(run), last.state, inputs, mode="eval")
