"""A claim whose results take milliseconds, and what they are where nothing disturbs it."""

__all__ = ["WANTED", "Step", "claim", "content", "contents", "undisturbed"]

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import nbformat
import torch
from safetensors.torch import save

from lmc_lib.store import Entry, Result, Store, fingerprint
from lmc_lib.sweeps import Spec, fill, obtain, working

# Seconds before a process looks again at what others compute: these results take milliseconds, not minutes.
working._PAUSE = 0.02

# Seconds that a result takes beside being written, which takes about as long.
_PAUSE = 0.004

# What a result holds: two bytes of each of its kibibytes are telling, the others alike.
_NUMBERS = 8_000

_PARAMETERS = 'scale: str = "quick"  # name of the profile'
_CELL = """
import os

from faulty import toy

from lmc_lib import sweeps
from lmc_lib.store import Store

store = Store.from_environment()
store.root.with_name("kernel").write_text(f"{os.getpid()}\\n")
sweeps.fill(store, toy.WANTED)
"""


@dataclass(frozen=True)
class Step(Spec):
    """A sum of numbers, with 64 kB of tensors; beside the store stands who computed which.

    Attributes:
        number: the number.
        before: the sums to which it is added.
    """

    kind: ClassVar[str] = "Step"
    noun: ClassVar[str] = "steps"

    number: int
    before: tuple[Spec, ...] = ()

    @property
    def label(self) -> str:
        """Its number."""
        return f"step {self.number}"

    def compute(self, store: Store) -> Result:
        """Adds, and says so before."""
        with store.root.with_name("computed").open("a") as file:
            file.write(f"{fingerprint(self)} {os.getpid()}\n")
        time.sleep(_PAUSE)
        total = self.number + sum(obtain(store, each).values["sum"] for each in self.before)
        return Result({"sum": total, "third": total / 3}, {"numbers": total + torch.arange(_NUMBERS).double()})


_FIRST = [Step(number) for number in range(1, 13)]
_SUMS = [Step(number, tuple(_FIRST[number % 5 :: 3])) for number in range(100, 106)]
WANTED: list[Step] = [*_FIRST, *_SUMS, Step(1000, tuple(_SUMS))]


def content(entry: Entry) -> bytes:
    """The bytes of values and tensors, which are the same whenever and wherever an entry is made."""
    return json.dumps(entry.values, sort_keys=True).encode() + save(entry.tensors)


def contents(store: Store) -> dict[str, bytes]:
    """What a store serves, by fingerprint; nothing for what it does not."""
    found = {key: store.find(key) for key in store.keys()}  # noqa: SIM118 -- a store is no mapping
    return {key: content(entry) for key, entry in found.items() if entry is not None}


def undisturbed() -> dict[str, bytes]:
    """What the store holds when all of the claim is computed, and nothing comes between."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        fill(store, WANTED, workers=1)
        return contents(store)


def claim(folder: Path) -> None:
    """Writes the claim ``toy`` to a folder: its definition and its notebook."""
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    first = nbformat.v4.new_code_cell(_PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [first, nbformat.v4.new_code_cell(_CELL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "toy.ipynb")
    (folder / "toy.yml").write_text(json.dumps(_DEFINITION))  # JSON is YAML


_DEFINITION = {
    "chapter": "Example difficulty",
    "place": 1,
    "title": "A toy",
    "brief": "toys fall",
    "statement": "Every toy falls.",
    "source": "nobody2024",
    "where": "Figure 1",
    "published": [{"what": "toys that fall", "value": "all"}],
    "criterion": "Count the toys that fall.",
    "unit": "network",
    "scope": {"quick": "toy", "laptop": "proxy", "paper": "exact"},
    "supported": [
        {
            "quantity": "fallen",
            "label": "the share of toys",
            "above": 0.5,
            "reason": "most of them",
            "null value": 0.25,
            "exchange": "none",
            "effect": 0.9,
            "from": "printed",
        }
    ],
    "control": "Toys on a string.",
    "profiles": {"laptop": {}, "paper": {}},
    "deviations": "## A toy\n\nNone.\n",
}
