"""What a training gives: checkpoints, all of them as one value, or the news that it diverged."""

__all__ = ["Checkpoint", "Diverged", "Trajectory"]

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from lmc_lib.state import State, under


class Diverged(ArithmeticError):
    """A training diverged: its loss is not finite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"training diverged: the loss is {loss} at step {step}; a lower learning rate may help")
        self.step = step
        self.loss = loss

    def __reduce__(self) -> tuple[type["Diverged"], tuple[int, float]]:
        return type(self), (self.step, self.loss)


class Checkpoint(NamedTuple):
    """The weights after ``step`` updates, and what the optimiser remembers there."""

    step: int
    state: State
    memory: State


@dataclass(frozen=True)
class Trajectory:
    """Weights along a training: ``states[i]`` holds after ``steps[i]`` updates.

    ``memories[i]`` is what the optimiser remembers there: its running averages of gradients, as a state whose names
    begin with that of the average, and empty where that is not known.
    """

    steps: tuple[int, ...]
    states: tuple[State, ...]
    memories: tuple[State, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Checkpoint]) -> "Trajectory":
        """Keeps all checkpoints of a training; there is at least one, the last."""
        return cls(*(tuple(each) for each in zip(*found, strict=True)))

    @property
    def final(self) -> State:
        """The weights after the last update."""
        return self.states[-1]

    def at(self, step: int) -> State:
        """The weights after ``step`` updates.

        Raises:
            KeyError: if no checkpoint was kept there.
        """
        return self.states[self._place(step)]

    def memory(self, step: int) -> State:
        """What the optimiser remembers after ``step`` updates.

        Raises:
            KeyError: if no checkpoint was kept there.
        """
        return self.memories[self._place(step)]

    def tensors(self, remember: Collection[int] = ()) -> dict[str, Tensor]:
        """All weights by step and name, on the CPU; at the steps to ``remember`` with the memory of the optimiser."""
        memories = {f"memory/{step}": self.memory(step) for step in remember}
        states = dict(zip(map(str, self.steps), self.states, strict=True)) | memories
        return {f"{part}/{name}": value.cpu() for part, state in states.items() for name, value in state.items()}

    @classmethod
    def of_tensors(cls, steps: Sequence[int], tensors: Mapping[str, Tensor]) -> "Trajectory":
        """What :meth:`tensors` made of a trajectory with these steps, as a trajectory."""
        states, memories = (tuple(under(f"{part}{step}/", tensors) for step in steps) for part in ("", "memory/"))
        return cls(tuple(steps), states, memories)

    def _place(self, step: int) -> int:
        if step not in self.steps:
            raise KeyError(f"no checkpoint at step {step}; there are {', '.join(map(str, self.steps))}")
        return self.steps.index(step)
