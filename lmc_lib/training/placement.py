"""Where a training runs."""

__all__ = ["device", "on_device"]

import torch

from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State


def device(config: TrainConfig) -> torch.device:
    """A GPU if there is one; portable arithmetic stays on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() and config.precision != "portable" else "cpu")


def on_device(state: State, config: TrainConfig) -> State:
    """Weights where they are trained and measured."""
    where = device(config)
    return {name: value.to(where) for name, value in state.items()}
