"""Training from a state to a trajectory: SGD and AdamW, schedules, and arithmetic that is the same on every CPU."""

__all__ = ["PRECISIONS", "Diverged", "TrainConfig", "Trajectory", "learning_rate", "train"]

from lmc_lib.training.config import PRECISIONS, TrainConfig, learning_rate
from lmc_lib.training.loop import Diverged, Trajectory, train
