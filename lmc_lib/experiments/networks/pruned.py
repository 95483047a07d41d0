"""Sequences of pruned networks, each level a result of its own."""

__all__ = ["PrunedSpec", "obtain_level", "obtain_sequence", "sequence", "trainer"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from lmc_lib import pruning, training
from lmc_lib.experiments.divergence import diverged_training, sound
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, obtain_run
from lmc_lib.pruning import Level, Masks
from lmc_lib.state import State, under
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Diverged, on_device


@dataclass(frozen=True)
class PrunedSpec(Spec):
    """All that defines one level of iterative magnitude pruning with rewinding.

    Attributes:
        run: the dense network, with a checkpoint at the rewind step.
        rewind: the step to whose weights every level goes back. From there on it sees the batches and learning rates
            that the dense network saw; its optimiser starts without momentum.
        share: the share of the remaining weights that a level removes.
        level: the number of prunings, at least 1.
    """

    kind: ClassVar[str] = "PrunedSpec"
    noun: ClassVar[str] = "pruned networks"

    run: RunSpec
    rewind: int
    share: float
    level: int

    def __post_init__(self) -> None:
        if self.rewind not in self.run.save_at or self.rewind >= self.run.train.steps:
            raise ValueError(
                f"pruned networks go back to step {self.rewind}, so the dense network must keep a checkpoint there, "
                f"before its end at step {self.run.train.steps}; it keeps {self.run.save_at}"
            )
        if not 0.0 < self.share < 1.0 or self.level < 1:
            raise ValueError(
                f"a level removes a share between 0 and 1 and counts from 1, got share {self.share}, level {self.level}"
            )

    @property
    def label(self) -> str:
        """The architecture and the level."""
        return f"{self.run.label}, level {self.level}"

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The dense network and the level before."""
        return (self.run,) if self.level == 1 else (self.run, self._before)

    @property
    def updates(self) -> int:
        """The steps from where it is rewound to."""
        return self.run.train.steps - self.rewind

    def compute(self, store: Store) -> Result:
        """Prunes the network of the level before, rewinds it and trains it."""
        try:
            run = obtain_run(store, self.run)
            before = pruning.dense(run.final) if self.level == 1 else obtain_level(store, self._before)
            train = trainer(self.run, self.rewind)
            level = next(pruning.iterative_pruning(before, run.at(self.rewind), train, share=self.share))
        except Diverged as error:
            return diverged_training(error)
        tensors = {f"weights/{name}": value for name, value in level.state.items()}
        tensors |= {f"masks/{name}": mask for name, mask in level.masks.items()}
        return Result({"density": pruning.density(level.masks)}, tensors)

    @property
    def _before(self) -> "PrunedSpec":
        return replace(self, level=self.level - 1)


def sequence(run: RunSpec, *, rewind: int, share: float, levels: int) -> list[PrunedSpec]:
    """Lists the levels of a sequence that follow the dense network."""
    return [PrunedSpec(run, rewind, share, level) for level in range(1, levels + 1)]


def obtain_level(store: Store, spec: PrunedSpec) -> Level:
    """Returns a pruned network from the store, pruning and training what is not there.

    Raises:
        Diverged: if its training diverged, or one before it.
        EmptyLayer: if a layer would keep no weight.
    """
    entry = obtain(store, spec)
    sound(entry.values)
    return Level(spec.level, under("masks/", entry.tensors), under("weights/", entry.tensors))


def obtain_sequence(store: Store, run: RunSpec, *, rewind: int, share: float, levels: int) -> list[Level]:
    """Returns a dense network and the pruned ones that follow, from level 0 to the last; raises as ``obtain_level``."""
    pruned = sequence(run, rewind=rewind, share=share, levels=levels)
    return [pruning.dense(obtain_run(store, run).final), *(obtain_level(store, each) for each in pruned)]


def trainer(run: RunSpec, rewind: int) -> Callable[[State, Masks], State]:
    """The training of a run from a step on, under masks, as ``iterative_pruning`` calls it."""
    model, split = architecture(run), dataset(run.data).train

    def train(state: State, masks: Masks) -> State:
        start, seed = on_device(state, run.train), run.order_seed
        found = training.train(model, start, split, run.train, seed=seed, start_step=rewind, masks=masks)
        return {name: value.cpu() for name, value in found.final.items()}

    return train
