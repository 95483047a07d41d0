"""What trainings cost: operations, and seconds of a core here."""

__all__ = ["Update", "run_of", "update"]

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from lmc_lib import data, models, training
from lmc_lib.data import DataSpec
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.models import ModelSpec

# What an update costs depends on, but for network and images.
_TELLING = ("batch_size", "optimiser", "augment", "precision")

# Updates over which the time of one is averaged.
_STEPS = 2


@dataclass(frozen=True)
class Update:
    """An update of a training: its floating point operations, and its seconds on one core of this machine."""

    operations: float
    seconds: float


def run_of(described: Any) -> Mapping[str, Any] | None:
    """The description of the training that a described result is or begins with; None if it has no such part."""
    if isinstance(described, Mapping):
        if "model" in described and "data" in described and "train" in described:
            return described
        described = list(described.values())
    if isinstance(described, list):
        return next((found for each in described if (found := run_of(each)) is not None), None)
    return None


def update(run: Mapping[str, Any]) -> Update:
    """What an update of a described training costs.

    Args:
        run: with ``model``, ``data`` and ``train``, as :func:`lmc_lib.store.describe` writes them.
    """
    return _update(*(json.dumps(run[name], sort_keys=True) for name in ("model", "data", "train")))


@functools.cache
def _update(model: str, images: str, train: str) -> Update:
    network, source = ModelSpec(**_fields(model)), DataSpec(**_fields(images))
    config = TrainConfig(steps=1, **{name: value for name, value in _fields(train).items() if name in _TELLING})
    return Update(operations(network, source, config.batch_size), _seconds(network, source, config))


@functools.cache
def operations(network: ModelSpec, images: DataSpec, batch: int) -> float:
    """Operations of one pass forward and backward: each product of a sum counts two, all else nothing.

    Args:
        network: the architecture.
        images: the data.
        batch: how many examples.
    """
    shape, classes = data.SHAPES[images.name]
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        model = models.build(network, shape, classes)
        logits = model(torch.empty(batch, *shape))
        functional.cross_entropy(logits, torch.zeros(batch, dtype=torch.long)).backward()
    assert math.isfinite(counted.get_total_flops())
    return float(counted.get_total_flops())


@functools.cache
def _seconds(network: ModelSpec, images: DataSpec, config: TrainConfig) -> float:
    return training.step_seconds(network, images, config, steps=_STEPS)


def _fields(described: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(described).items() if name not in ("type", "version")}
