"""Children of a training: they start from one of its checkpoints, perturbed, and see the batches that it saw."""

__all__ = ["ChildSpec", "obtain_child", "spawn_point"]

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

from lmc_lib import rng, training
from lmc_lib.data import batch_order
from lmc_lib.experiments.divergence import diverged_training
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, obtain_run, trained, trajectory_of
from lmc_lib.perturbation import Perturbation, Realised, batch_direction, gaussian_direction, perturb
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Diverged, Trajectory, on_device
from lmc_lib.values import rounded


@dataclass(frozen=True)
class ChildSpec(Spec):
    """All that defines a child of a training.

    The child takes up the training of its parent at a step: the same weights but for the perturbation, the same memory
    of the optimiser, the same learning rates, and, unless it has an order of its own, the same batches. Both end at the
    same step.

    Attributes:
        parent: the training, with ``spawn_at`` at the step.
        step: the number of updates that the child has in common with its parent.
        perturbation: what is added to the weights there.
        seed: stream of the perturbation.
        order_seed: stream of the batch order and augmentation from the step on; the parent's if None (children that see
            other batches are those of Frankle et al. 2020).
        save_at: steps after which a checkpoint is kept, besides the last.
    """

    kind: ClassVar[str] = "ChildSpec"
    noun: ClassVar[str] = "children"

    parent: RunSpec
    step: int
    perturbation: Perturbation
    seed: int = 0
    order_seed: int | None = None
    save_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.step not in self.parent.spawn_at:
            raise ValueError(
                f"a child cannot start at step {self.step}: its parent, of {self.parent.train.steps} steps, keeps what "
                f"is needed at {', '.join(map(str, self.parent.spawn_at)) or 'no step'} (spawn_at)"
            )

    @property
    def label(self) -> str:
        """The architecture and the step."""
        return f"{self.parent.label}, from step {self.step}"

    @property
    def updates(self) -> int:
        """The steps from its own on."""
        return self.parent.train.steps - self.step

    def compute(self, store: Store) -> Result:
        """Perturbs the parent's checkpoint and trains on."""
        try:
            parent = obtain_run(store, self.parent)
        except Diverged as error:
            return diverged_training(error)
        start = spawn_point(self, parent)
        result = trained(
            lambda: training.train(
                architecture(self.parent),
                on_device(start.state, self.parent.train),
                dataset(self.parent.data).train,
                self.parent.train,
                seed=self.parent.order_seed if self.order_seed is None else self.order_seed,
                start_step=self.step,
                memory=on_device(parent.memory(self.step), self.parent.train),
                save_at=self.save_at,
            )
        )
        facts = {name: value for name, value in asdict(start).items() if name != "state"}
        facts |= {name: rounded(value) for name, value in facts.items() if isinstance(value, float)}
        return Result(result.values | {"perturbation": facts}, result.tensors)


def obtain_child(store: Store, spec: ChildSpec) -> tuple[Trajectory, dict[str, Any]]:
    """Returns a trained child and what its perturbation came to: the fields of ``Realised`` but for the weights.

    Raises:
        Diverged: if its training diverged, or its parent's.
    """
    entry = obtain(store, spec)
    return trajectory_of(entry), entry.values["perturbation"]


def spawn_point(spec: ChildSpec, parent: Trajectory) -> Realised:
    """The perturbed weights from which a child starts."""
    state, perturbation = parent.at(spec.step), spec.perturbation
    stream = partial(rng.stream, spec.seed, "perturbation", spec.parent.init_seed, spec.step)
    if perturbation.direction == "batch":
        examples = dataset(spec.parent.data).train
        batch = examples[batch_order(len(examples), spec.parent.train.batch_size, generator=stream("batch"))[0]]
        direction = batch_direction(architecture(spec.parent), state, batch.inputs, batch.labels, perturbation.layers)
    else:
        direction = gaussian_direction(state, perturbation.layers, generator=stream("direction"))
    return perturb(state, direction, perturbation, generator=stream("weights"))
