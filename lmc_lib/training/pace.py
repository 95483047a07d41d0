"""How long an update of a training takes here."""

__all__ = ["step_seconds"]

import functools
import time
from dataclasses import replace

import torch

from lmc_lib import data, models, rng
from lmc_lib.data import DataSpec, Split
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.models import ModelSpec
from lmc_lib.training.loop import checkpoints
from lmc_lib.training.placement import on_device


@functools.cache
def step_seconds(network: ModelSpec, images: DataSpec, train: TrainConfig, *, steps: int = 1) -> float:
    """Measures how long an update takes, on random images of the right shape: the data set itself is not needed.

    It runs in one thread, as the processes of a sweep do. Several would wait for each other where the cores are busy,
    and tell a sixtyfold time.

    Args:
        network: the architecture.
        images: the data.
        train: the hyperparameters.
        steps: updates over which the time is averaged, after a first one that loads code.
    """
    shape, classes = data.SHAPES[images.name]
    classes = classes if images.classes is None else len(images.classes)
    generator = rng.stream(0, "cost")
    drawn = torch.randn(train.batch_size, *shape, generator=generator)
    batch = Split(drawn, torch.randint(classes, (train.batch_size,), generator=generator))
    model = models.build(network, shape, classes)
    state = on_device(models.initialise(model, generator=generator), train)
    # A rate of 0 cannot diverge, and takes as long.
    config = replace(train, steps=steps + 1, lr=0.0, warmup=0)
    found = checkpoints(model, state, batch, config, seed=0, save_at=(1,))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        next(found)
        started = time.perf_counter()
        next(found)
        return (time.perf_counter() - started) / steps
    finally:
        torch.set_num_threads(threads)
