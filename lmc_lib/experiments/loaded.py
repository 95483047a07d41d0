"""What a process loads once: data sets, the permutation groups of architectures, and where it computes."""

__all__ = ["dataset", "device", "groups", "on_device"]

import functools

import torch

from lmc_lib import data, models, symmetry
from lmc_lib.data import Dataset, DataSpec
from lmc_lib.models import ModelSpec
from lmc_lib.state import State
from lmc_lib.symmetry import PermutationSpec
from lmc_lib.training import TrainConfig


@functools.lru_cache(maxsize=4)
def dataset(spec: DataSpec) -> Dataset:
    """Loads a data set once a process."""
    return data.load(spec)


@functools.lru_cache(maxsize=16)
def groups(model: ModelSpec, data: DataSpec, dtype: torch.dtype) -> PermutationSpec:
    """Derives the permutation groups of an architecture once a process."""
    loaded = dataset(data)
    network = models.build(model, loaded.input_shape, loaded.num_classes).to(dtype)
    return symmetry.permutation_spec(network, loaded.train.inputs[:1].to(dtype))


def device(config: TrainConfig) -> torch.device:
    """A GPU if there is one; portable arithmetic stays on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and config.precision != "portable" else "cpu")


def on_device(state: State, config: TrainConfig) -> State:
    """Weights where they are trained and measured."""
    where = device(config)
    return {name: value.to(where) for name, value in state.items()}
