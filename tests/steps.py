"""Specs that know no network, and what stores of them hold, for tests of sweeps."""

import os
import platform
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from lmc_lib import rng
from lmc_lib.store import Result, Store
from lmc_lib.store.entry import pack
from lmc_lib.sweeps import Spec, fill, obtain


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


@dataclass(frozen=True)
class Mortal(Step):
    """A result whose process ends from outside when it is first computed, or always if its folder is not there."""

    kind: ClassVar[str] = "Mortal"

    folder: str = ""

    def compute(self, store):
        try:
            (Path(self.folder) / f"died-{self.number}").touch(exist_ok=False)
        except FileExistsError:
            return super().compute(store)
        except FileNotFoundError:
            pass
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("outlived it")


class Awkward(Exception):
    """An error whose message is made of what it is given."""

    def __init__(self, what, why):
        super().__init__(f"{what} is {why}")


@dataclass(frozen=True)
class Unsayable(Step):
    """A result that fails with an error which another process cannot read."""

    kind: ClassVar[str] = "Unsayable"

    def compute(self, store):
        raise Awkward(self.label, "not to be computed")


@dataclass(frozen=True)
class Gated(Step):
    """A result with a tensor that tells which process is at it, and is computed once its folder holds ``open``."""

    kind: ClassVar[str] = "Gated"

    folder: str = ""

    def compute(self, store):
        folder = Path(self.folder)
        (folder / f"begun.{platform.node()}.{time.time_ns()}.{os.getpid()}").touch()
        end = time.monotonic() + 120
        while not (folder / "open").exists():
            if time.monotonic() > end:
                raise TimeoutError("nobody opened")
            time.sleep(0.05)
        drawn = torch.randn(1000, generator=rng.stream(self.number, "gated"))
        return Result(super().compute(store).values, {"drawn": drawn})


def gated(folder, count=4):
    """A result that needs some which wait for ``open`` in a folder."""
    return Step(200, tuple(Gated(number, (), folder) for number in range(20, 20 + count)))


def contents(folder):
    """What a store holds, as bytes, but for who has made it and when."""
    store = Store(folder)
    return {key: pack(replace(store.find(key), provenance={})) for key in store.keys()}  # noqa: SIM118 -- no mapping


def of_this_machine(folder, count=4):
    """The contents of a store that is filled in this process."""
    fill(Store(folder / "local"), [TOP, *FIRST, gated(str(folder), count)], workers=1)
    found = contents(folder / "local")
    assert len(found) == count + 8
    return found
