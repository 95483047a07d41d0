"""What a training will cost: the number of its updates, and how long one takes here."""

__all__ = ["step_seconds", "training_of"]

import time
from dataclasses import replace

import torch

from lmc_lib import data, models, rng, training
from lmc_lib.data import Split
from lmc_lib.experiments.pruned import PrunedSpec
from lmc_lib.experiments.runs import RunSpec, device
from lmc_lib.experiments.scores import ScoresSpec
from lmc_lib.experiments.spawn import ChildSpec
from lmc_lib.experiments.spec import Spec


def training_of(spec: Spec) -> tuple[RunSpec, int] | None:
    """The training that a result consists of, and the number of its updates; None for measurements.

    A child trains from its step on, a pruned network from where it is rewound to.
    """
    if isinstance(spec, RunSpec):
        return spec, spec.train.steps
    if isinstance(spec, ScoresSpec):
        return spec.run, spec.run.train.steps
    if isinstance(spec, ChildSpec):
        return spec.parent, spec.parent.train.steps - spec.step
    if isinstance(spec, PrunedSpec):
        return spec.run, spec.run.train.steps - spec.rewind
    return None


def step_seconds(run: RunSpec, *, steps: int = 1) -> float:
    """Measures how long an update takes, on random images of the right shape: the data set itself is not needed.

    Args:
        run: the training.
        steps: updates over which the time is averaged, after a first one that loads code.
    """
    shape, classes = data.SHAPES[run.data.name]
    classes = classes if run.data.classes is None else len(run.data.classes)
    generator = rng.stream(0, "cost")
    batch = run.train.batch_size
    images = Split(
        torch.randn(batch, *shape, generator=generator), torch.randint(classes, (batch,), generator=generator)
    )
    model = models.build(run.model, shape, classes)
    where = device(run.train)
    drawn = models.initialise(model, generator=generator)
    state = {name: value.to(where) for name, value in drawn.items()}
    # A rate of 0 cannot diverge, and takes as long.
    config = replace(run.train, steps=steps + 1, lr=0.0, warmup=0)
    found = training.checkpoints(model, state, images, config, seed=0, save_at=(1,))
    next(found)
    started = time.perf_counter()
    next(found)
    return (time.perf_counter() - started) / steps
