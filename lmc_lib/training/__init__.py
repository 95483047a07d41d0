"""Training from a state to a trajectory: SGD and AdamW, schedules, and arithmetic that is the same on every CPU."""

__all__ = [
    "PRECISIONS", "Checkpoint", "Diverged", "TrainConfig", "Trajectory", "batches", "checkpoints",
    "contrastive_loss", "device", "learning_rate", "on_device", "stacked_batches", "step_seconds", "train",
    "train_stack",
]  # fmt: skip

from lmc_lib.hyperparameters import PRECISIONS, TrainConfig, learning_rate
from lmc_lib.training.contrast import contrastive_loss
from lmc_lib.training.loop import batches, checkpoints, stacked_batches, train, train_stack
from lmc_lib.training.pace import step_seconds
from lmc_lib.training.placement import device, on_device
from lmc_lib.training.trajectory import Checkpoint, Diverged, Trajectory
