"""Results that hold next to nothing: what they cost is what a sweep adds to each result."""

__all__ = ["Empty", "overhead"]

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, fill


@dataclass(frozen=True)
class Empty(Spec):
    """A number.

    Attributes:
        number: the number.
    """

    kind: ClassVar[str] = "Empty"
    noun: ClassVar[str] = "numbers"

    number: int

    @property
    def label(self) -> str:
        """The same for all."""
        return "a number"

    def compute(self, store: Store) -> Result:
        """Keeps it."""
        return Result({"number": self.number}, {})


def overhead(folder: Path, results: int, workers: int) -> Mapping[str, float]:
    """Fills a store and asks for the same once more.

    Args:
        folder: where the store goes.
        results: how many results.
        workers: how many processes.

    Returns:
        Milliseconds a result: to compute and keep it, ``fill``, and to find it, ``again``; bytes on disk and files a
        result; ``memory``, the most that this process had, in MiB.
    """
    store, specs = Store(folder / f"{results}-{workers}"), [Empty(number) for number in range(results)]
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        fill(store, specs, workers=workers)
        seconds.append(time.perf_counter() - started)
    files = [Path(path) / name for path, _, names in os.walk(store.root) for name in names]
    blocks = sum(each.stat().st_blocks for each in files)
    return {
        "results": results,
        "workers": workers,
        "fill": 1e3 * seconds[0] / results,
        "again": 1e3 * seconds[1] / results,
        "bytes": 512 * blocks / results,
        "files": len(files) / results,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
