"""What a process loads once: data sets and the permutation groups of architectures."""

__all__ = ["dataset", "groups"]

import functools

import torch

from lmc_lib import data, models, symmetry
from lmc_lib.data import Dataset, DataSpec
from lmc_lib.models import ModelSpec
from lmc_lib.symmetry import PermutationSpec


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
