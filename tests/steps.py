"""Specs that know no network, for tests of sweeps."""

from dataclasses import dataclass
from typing import ClassVar

from lmc_lib.store import Result
from lmc_lib.sweeps import Spec, obtain


@dataclass(frozen=True)
class Step(Spec):
    """A result that needs others; the negative ones fail."""

    kind: ClassVar[str] = "Step"
    noun: ClassVar[str] = "steps"

    number: int
    before: tuple[Spec, ...] = ()

    @property
    def label(self):
        return f"step {self.number}"

    def compute(self, store):
        if self.number < 0:
            raise ValueError(f"no {self.number}")
        return Result({"sum": self.number + sum(obtain(store, each).values["sum"] for each in self.before)})


FIRST = [Step(number) for number in range(1, 6)]
SUM = Step(10, (FIRST[0], FIRST[3]))
TOP = Step(100, (SUM, FIRST[1]))
