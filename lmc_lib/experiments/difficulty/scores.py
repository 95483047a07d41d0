"""Scores of every example by one network, taken while it trains: of what it is trained on and of what is held out."""

__all__ = ["SAMPLES", "ScoredNetworks", "ScoresSpec", "read", "replicates_of", "sound_stacks", "specs"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from lmc_lib.data import DataSpec
from lmc_lib.difficulty import Scorer, Stacks
from lmc_lib.experiments.divergence import diverged_training, divergence, sound
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, replicas, train_run
from lmc_lib.experiments.setting import setting
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.models import ModelSpec
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Diverged

# The two sets of examples. Their scores are different scores and never stand in one array.
SAMPLES = {"train": "in-sample", "test": "out-of-sample"}


@dataclass(frozen=True)
class ScoresSpec(Spec):
    """All that defines the scores of one network.

    The network is trained for its scores alone and is not kept; nor are its checkpoints, which are scored one by one.

    Attributes:
        run: the training.
        checkpoints: steps after which all examples are scored, in evaluation mode.
        early: the one of them at which EL2N and GraNd are also taken alone, as their authors do.
        deep: whether to take what costs more than logits: gradients (GraNd, VoG) and representations (prediction depth,
            distance to prototypes).
        neighbours: training examples that vote at each layer for the prediction depth.
    """

    kind: ClassVar[str] = "ScoresSpec"
    noun: ClassVar[str] = "scored networks"

    run: RunSpec
    checkpoints: tuple[int, ...]
    early: int
    deep: bool = True
    neighbours: int = 30

    def __post_init__(self) -> None:
        if self.early not in self.checkpoints:
            raise ValueError(f"the early step {self.early} is none of the checkpoints {self.checkpoints}")

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The pre-training of the network, if there is one; the network itself is trained here."""
        return self.run.needs

    @property
    def updates(self) -> int:
        """Those of the network."""
        return self.run.updates

    def compute(self, store: Store) -> Result:
        """Trains the network and scores its examples."""
        here = setting(self.run, train_examples=None, test_examples=None, matching_examples=1, reset_examples=1)
        features = here.features if self.deep else None
        options: dict[str, Any] = {"early": self.early, "features": features, "neighbours": self.neighbours}
        samples: dict[str, Scorer] = {}
        for name, split in here.splits.items():
            # Training examples vote on the others.
            samples[name] = Scorer(here.model, here.inputs(name), split.labels, voters=samples.get("train"), **options)
        try:
            for checkpoint in train_run(self.run, store, save_at=self.checkpoints):
                for each in samples.values():
                    each.visit(checkpoint.step, checkpoint.state)
        except Diverged as error:
            return diverged_training(error)
        found = {name: each.scores() for name, each in samples.items()}
        tensors = {name: torch.from_numpy(np.stack(list(each.values()))) for name, each in found.items()}
        tensors |= {f"{name}/predictions": each.logits.argmax(1) for name, each in samples.items()}
        return Result({"names": list(found["train"])}, tensors)


@dataclass(frozen=True)
class ScoredNetworks(Spec):
    """What summaries of the scores of one architecture have in common.

    Attributes:
        scored: the networks.
    """

    scored: tuple[ScoresSpec, ...]

    def labels(self, sample: str) -> Int[ndarray, " examples"]:
        """The classes of the examples of a sample, as the networks are told."""
        return np.asarray(getattr(dataset(self.scored[0].run.data), sample).labels)


def specs(
    model: ModelSpec,
    data: DataSpec,
    train: TrainConfig,
    *,
    replicates: int,
    checkpoints: int,
    first_seed: int = 0,
    **options: Any,
) -> list[ScoresSpec]:
    """Lists the scores of independent replicates: other initial weights and another batch order each.

    Their seeds begin at ``first_seed``; from another one on they are replicates that no one has seen.
    Examples are scored at so many ``checkpoints``, evenly spaced; the first is the early one, the last the end of the
    training. ``options`` are those of the spec.

    Raises:
        ValueError: if there are fewer than two replicates, or more checkpoints than steps.
    """
    if not 2 <= checkpoints <= train.steps:
        raise ValueError(f"scores are followed at 2 to {train.steps} checkpoints of this training, not {checkpoints}")
    steps = tuple(train.steps * (number + 1) // checkpoints for number in range(checkpoints))
    runs = replicas(model, data, train, replicates, first_seed=first_seed)
    return [ScoresSpec(run, steps, steps[0], **options) for run in runs]


def read(store: Store, specs: Sequence[ScoresSpec]) -> Stacks:
    """Obtains the scores of several networks of one architecture; networks that diverged are left out.

    Raises:
        Diverged: if all of them did.
        ValueError: if the networks have different scores, or scores of different examples.
    """
    entries = [obtain(store, spec) for spec in specs]
    diverged = tuple(place for place, entry in enumerate(entries) if divergence(entry.values) is not None)
    good = [entry for place, entry in enumerate(entries) if place not in diverged]
    if not good:
        sound(entries[0].values)
    kinds = {(tuple(entry.values["names"]), *(entry.tensors[name].shape[1] for name in SAMPLES)) for entry in good}
    if len(kinds) > 1:
        raise ValueError("networks to compare need the same scores of the same examples; take specs that differ in run")
    values, predictions = (
        {sample: np.stack([entry.tensors[sample + what].numpy() for entry in good]) for sample in SAMPLES}
        for what in ("", "/predictions")
    )
    return Stacks(tuple(good[0].values["names"]), values, predictions, diverged)


def replicates_of(first: ScoresSpec, count: int) -> tuple[ScoresSpec, ...]:
    """The scores of networks of one kind, from the seeds of the first on."""
    run = first.run
    return tuple(
        replace(first, run=replace(run, init_seed=run.init_seed + number, order_seed=run.order_seed + number))
        for number in range(count)
    )


def sound_stacks(store: Store, networks: Sequence[Sequence[ScoresSpec]], sample: str, score: str) -> list[ndarray]:
    """One score by the networks of several architectures; a replicate that diverged in one is left out of all.

    Raises:
        ValueError: if the numbers of replicates differ; and as for ``read``.
    """
    if len({len(replicates) for replicates in networks}) != 1:
        raise ValueError(f"architectures need as many replicates, got {[len(each) for each in networks]}")
    found = [read(store, replicates) for replicates in networks]
    lost = [place for scores in found for place in scores.diverged]
    trained = [np.delete(np.arange(len(networks[0])), list(scores.diverged)) for scores in found]
    return [each.stack(sample, score)[~np.isin(rows, lost)] for each, rows in zip(found, trained, strict=True)]
