"""What defines a training, apart from its architecture, data and seeds."""

__all__ = ["PRECISIONS", "TrainConfig", "learning_rate"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("constant", "linear", "cosine", "steps")
PRECISIONS = ("float32", "bfloat16", "portable")

# Binary digits of a float64 behind the point: a finer grid would round nothing.
_MANTISSA = 52


@dataclass(frozen=True)
class TrainConfig:
    r"""Hyperparameters of one training.

    Attributes:
        steps: number of updates.
        batch_size: examples an update.
        lr: peak learning rate.
        optimiser: ``"sgd"`` or ``"adamw"`` (betas 0.9 and 0.999, epsilon 1e-8).
        momentum: of SGD, as in torch: :math:`v \leftarrow \mu v + g`, :math:`\theta \leftarrow \theta - \eta v`.
        weight_decay: added to the gradient (sgd) or decoupled (adamw); it acts on every parameter.
        warmup: updates over which the rate rises linearly from 0 to ``lr``.
        schedule: what follows: ``"constant"``, ``"linear"`` or ``"cosine"`` decay to 0, or ``"steps"``.
        milestones: with ``"steps"``, the updates from which the rate is ten times lower than before.
        augment: whether to flip and crop images at random.
        precision: ``"float32"``, ``"bfloat16"`` (matrix products only; weights stay float32) or ``"portable"``
            (float64 with gradients rounded to a grid, the same bits on every CPU).
        grid_bits: with ``"portable"``, gradients are rounded to multiples of ``2 ** -grid_bits``.
    """

    steps: int
    batch_size: int = 128
    lr: float = 0.1
    optimiser: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup: int = 0
    schedule: str = "cosine"
    milestones: Sequence[int] = ()
    augment: bool = False
    precision: str = "float32"
    grid_bits: int = 20

    @property
    def VERSION(self) -> int | None:  # noqa: N802 -- read by the store, like the class attribute of a spec
        """Moves portable results apart from those made when the default grid was ``2 ** -24``; no others."""
        return 2 if self.precision == "portable" else None

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # notebooks write lists
        for name, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; there are {', '.join(allowed)}")
        for name, fits, takes in (
            ("steps", self.steps >= 0, "0 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("warmup", 0 <= self.warmup <= max(self.steps, 1), "0 to the number of steps"),
            ("lr", 0 <= self.lr < math.inf, "0 or more"),
            ("momentum", 0 <= self.momentum < 1, "0 or more and less than 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("milestones", all(each >= 0 for each in self.milestones), "numbers of updates, 0 or more"),
            ("grid_bits", 1 <= self.grid_bits <= _MANTISSA, f"1 to {_MANTISSA}, the digits of float64"),
        ):
            if not fits:
                raise ValueError(
                    f"{name} takes {takes}, not {getattr(self, name)}: these do not make a training: {self}"
                )


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of the update that follows ``step`` updates.

    Example:
        >>> config = TrainConfig(steps=10, lr=0.4, warmup=2, schedule="linear")
        >>> [learning_rate(config, step) for step in (0, 1, 2, 6)]
        [0.2, 0.4, 0.4, 0.2]
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    remaining = 1.0 - (step - config.warmup) / max(config.steps - config.warmup, 1)
    if config.schedule == "linear":
        return config.lr * remaining
    if config.schedule == "cosine":
        # Rounded, since the last bit of a cosine differs between C libraries.
        return config.lr * round(0.5 * (1.0 - math.cos(math.pi * remaining)), 12)
    return config.lr * 0.1 ** sum(step >= milestone for milestone in config.milestones)
