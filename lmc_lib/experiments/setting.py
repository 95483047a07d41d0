"""The setting of a run: its architecture, its groups and its data, each loaded once."""

__all__ = ["setting"]

import torch

from lmc_lib import norms
from lmc_lib.alignment import Setting
from lmc_lib.experiments.loaded import dataset, groups
from lmc_lib.experiments.networks.runs import RunSpec, architecture
from lmc_lib.training import device


def setting(
    run: RunSpec, train_examples: int | None, test_examples: int | None, matching_examples: int, reset_examples: int
) -> Setting:
    """Builds the setting of a run, on the device and in the precision of its training."""
    dtype = torch.float64 if run.train.precision == "portable" else torch.float32
    loaded = dataset(run.data)
    model = architecture(run).to(device(run.train), dtype)
    inputs = loaded.train.inputs.to(dtype)
    return Setting(
        model,
        groups(run.model, run.data, dtype),
        {"train": loaded.train[:train_examples], "test": loaded.test[:test_examples]},
        inputs[:matching_examples],
        inputs[:reset_examples] if norms.has_statistics(model) else None,
    )
