"""Training runs as values: what defines a replica, and how to obtain its trajectory."""

__all__ = [
    "CheckpointSpec", "OfStart", "RunSpec", "architecture", "drawn_start", "obtain_run", "replicas", "train_run",
    "trained", "trajectory_of",
]  # fmt: skip

import functools
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from lmc_lib import models, rng, text, training
from lmc_lib.data import NO_IMAGES, SHAPES, DataSpec
from lmc_lib.experiments.divergence import diverged_training, sound
from lmc_lib.experiments.loaded import dataset
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.models import ModelSpec
from lmc_lib.state import State, taken_over
from lmc_lib.store import Entry, Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Diverged, Trajectory, on_device


@dataclass(frozen=True)
class CheckpointSpec:
    """The weights of a training after a number of updates.

    Attributes:
        run: the training.
        step: the number of updates; one after which it keeps a checkpoint.
    """

    kind: ClassVar[str] = "Checkpoint"

    run: "RunSpec"
    step: int

    def __post_init__(self) -> None:
        kept = sorted({*self.run.save_at, *self.run.spawn_at, self.run.train.steps})
        if self.step not in kept:
            raise ValueError(
                f"no checkpoint at step {self.step}: the training keeps one at {', '.join(map(str, kept))} (save_at)"
            )


@dataclass(frozen=True)
class RunSpec(Spec):
    """All that defines a trained network.

    A training begins at random weights or, when it fine-tunes a pre-trained network, at a checkpoint of another
    training or at published weights. Then its last layer is drawn anew all the same, since it tells other classes
    apart, and the optimiser begins afresh.

    Attributes:
        model: the architecture.
        data: the data set.
        train: the hyperparameters.
        init_seed: stream of the initial weights.
        order_seed: stream of the batch order and augmentation.
        save_at: steps after which a checkpoint is kept, besides the last.
        spawn_at: steps after which a checkpoint and what the optimiser remembers are kept, so that children can start
            there.
        pretrained: the checkpoint whose weights it begins with, all but those of the last layer, or ``"minilm"`` for
            the layers of that sentence encoder; random weights if None.
        initial_scale: factor on the initial matrices, 1 being Kaiming's (see :func:`lmc_lib.models.initialise`).
    """

    VERSION: ClassVar[int] = 1
    kind: ClassVar[str] = "RunSpec"
    noun: ClassVar[str] = "networks"

    model: ModelSpec
    data: DataSpec
    train: TrainConfig
    init_seed: int = 0
    order_seed: int = 0
    save_at: tuple[int, ...] = ()
    spawn_at: tuple[int, ...] = ()
    pretrained: CheckpointSpec | str | None = None
    initial_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.initial_scale < math.inf:
            raise ValueError(f"initial weights are scaled by a positive number, not {self.initial_scale}")
        if isinstance(self.pretrained, str) and self.pretrained != "minilm":
            raise ValueError(f"published weights are those of 'minilm', not {self.pretrained!r}")
        self._check_steps()
        self._check_data()
        if self.train.augment and (others := NO_IMAGES.get(self.data.name)):
            raise ValueError(f"augmentation flips and crops images, and {self.data.name} are {others}: augment=False")
        if isinstance(self.pretrained, CheckpointSpec) and self.pretrained.run.model != self.model:
            raise ValueError(
                f"a pre-trained network is fine-tuned as it is: it is {self.pretrained.run.model}, not {self.model}"
            )

    def _check_steps(self) -> None:
        for name, steps in (("save_at", self.save_at), ("spawn_at", self.spawn_at)):
            if outside := [step for step in steps if not 0 <= step <= self.train.steps]:
                raise ValueError(
                    f"cannot keep a checkpoint at step {outside[0]}: the training runs from 0 to {self.train.steps} "
                    f"({name})"
                )

    def _check_data(self) -> None:
        examples = self.data.examples("train")
        if examples is not None and self.train.batch_size > examples:
            raise ValueError(f"a batch of {self.train.batch_size} does not fit into {examples} examples: batch_size")
        classes = SHAPES[self.data.name][1] if self.data.classes is None else len(self.data.classes)
        _check_fits(self.model, SHAPES[self.data.name][0], classes)

    @property
    def label(self) -> str:
        """The architecture, and the scale of its initial weights where that is not Kaiming's."""
        start = "" if self.initial_scale == 1 else f", initial weights × {self.initial_scale:g}"
        return self.model.label + start

    @property
    def examples(self) -> str:
        """How many examples it is trained on, and the share of them whose labels are wrong, in words."""
        noise = f", labels wrong {self.data.label_noise:g}" if self.data.label_noise else ""
        return f"{self.data.train_examples or 'all'} examples{noise}"

    @property
    def updates(self) -> int:
        """All steps."""
        return self.train.steps

    def pace(self) -> float:
        """Measures how many seconds an update takes here."""
        return training.step_seconds(self.model, self.data, self.train)

    def compute(self, store: Store) -> Result:
        """Trains the network; that its pre-training diverged is a result too."""
        try:
            found = train_run(self, store, save_at={*self.save_at, *self.spawn_at})
        except Diverged as error:
            return diverged_training(error, **{"in": "pre-training"})
        return trained(lambda: Trajectory.of(found), remember=self.spawn_at)


@functools.cache
def _check_fits(model: ModelSpec, shape: tuple[int, ...], classes: int) -> None:
    """Builds a network without weights, which raises where it does not fit the data."""
    with torch.device("meta"):
        models.build(model, shape, classes)


@dataclass(frozen=True)
class OfStart(Spec):
    """What a run gives from its start on, by its weights there or by a training that is followed and not kept.

    Attributes:
        run: the run.
    """

    run: RunSpec

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Nothing: the start is drawn, and the network trained, here."""
        return ()


def drawn_start(spec: RunSpec, model: nn.Module) -> State:
    """The random weights of a run, at which it begins if nothing is pre-trained, in float64."""
    generator = rng.stream(spec.init_seed, "initial weights")
    return models.initialise(model, generator=generator, scale=spec.initial_scale)


def _start(spec: RunSpec, model: nn.Module, store: Store) -> State:
    """The weights at which a training begins."""
    drawn = drawn_start(spec, model)
    if spec.pretrained is None:
        return drawn
    if isinstance(spec.pretrained, str):
        before = text.encoder().layers()
    else:
        before = obtain_run(store, spec.pretrained.run).at(spec.pretrained.step)
    return taken_over(drawn, before, models.classifier(model))


def replicas(
    model: ModelSpec, data: DataSpec, train: TrainConfig, count: int, *, first_seed: int = 0, **options: Any
) -> list[RunSpec]:
    """Lists ``count`` independent replicas: other initial weights and another batch order each.

    Their seeds begin at ``first_seed``; from another one on they are replicas that no one has seen. ``options`` are
    those of the spec.

    Raises:
        ValueError: if there are fewer than two.
    """
    if count < 2:
        raise ValueError(f"a pair needs two replicas, got {count}")
    return [RunSpec(model, data, train, seed, seed, **options) for seed in range(first_seed, first_seed + count)]


def obtain_run(store: Store, spec: RunSpec) -> Trajectory:
    """Returns a trained replica from the store, training it if it is not there.

    Raises:
        Diverged: if the training diverged, now or when it was first run.
    """
    return trajectory_of(obtain(store, spec))


def train_run(
    spec: RunSpec, store: Store, *, save_at: Collection[int] = (), rows: Int[Tensor, " kept"] | None = None
) -> Iterator[training.Checkpoint]:
    """Trains the network of a run here and now, and yields each checkpoint as it comes; none is stored.

    There is one after each of the steps ``save_at`` and at the end. ``rows`` are the training examples to train on.

    Raises:
        Diverged: if the training diverged, when it gets there; if the pre-training did, at once.
    """
    model = architecture(spec)
    state = on_device(_start(spec, model, store), spec.train)
    split = dataset(spec.data).train
    split = split if rows is None else split[rows]
    return training.checkpoints(model, state, split, spec.train, seed=spec.order_seed, save_at=save_at)


def trained(train: Callable[[], Trajectory], *, remember: Collection[int] = ()) -> Result:
    """Makes a training a result for the store; at the steps to ``remember`` with the memory of its optimiser."""
    try:
        trajectory = train()
    except Diverged as error:
        return diverged_training(error)
    return Result({"steps": list(trajectory.steps)}, trajectory.tensors(remember))


def trajectory_of(entry: Entry) -> Trajectory:
    """Reads a stored training; raises as :func:`obtain_run`."""
    return Trajectory.of_tensors(sound(entry.values)["steps"], entry.tensors)


def architecture(spec: RunSpec) -> nn.Module:
    """Builds the module of a run."""
    loaded = dataset(spec.data)
    return models.build(spec.model, loaded.input_shape, loaded.num_classes)
