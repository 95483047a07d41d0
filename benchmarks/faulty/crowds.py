"""Several processes that want overlapping results at once."""

__all__ = ["rows"]

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from faulty import toy
from faulty.counted import Counted
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import fill
from lmc_lib.sweeps.plan import stages
from lmc_lib.sweeps.working import work


def rows(folder: Path, seed: int) -> Iterator[Counted]:
    """The rows of this part.

    Args:
        folder: where stores go.
        seed: of what each process asks for.
    """
    expected = toy.undisturbed()
    for processes, rounds in ((2, 60), (8, 30)):
        for how in ("fill the store", "work at one sweep"):
            drawn = random.Random(seed)
            row = Counted("crowds", f"{processes} processes that {how}")
            for _ in range(rounds):
                row.rounds += 1
                _round(row, folder / "round", expected, _wanted(drawn, processes, whole=how != "fill the store"))
            yield row


def _wanted(drawn: random.Random, processes: int, *, whole: bool) -> list[list[toy.Step]]:
    """What each process asks for: most of the results, in an order of its own."""
    size = len(toy.WANTED) if whole else 14
    return [drawn.sample(toy.WANTED, size) for _ in range(processes)]


def _round(row: Counted, folder: Path, expected: dict[str, bytes], wanted: Sequence[list[toy.Step]]) -> None:
    folder.mkdir()
    store = Store(folder / "store")
    whole = all(len(each) == len(toy.WANTED) for each in wanted)
    children = [_start(store, folder / "go", each, work_at=whole) for each in wanted]
    (folder / "go").touch()
    row.untold += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    computed = Counter((folder / "computed").read_text().split()[::2])
    row.lost += sum(count - 1 for count in computed.values())
    served = toy.contents(store)
    row.wrong += sum(each != expected[key] for key, each in served.items())
    row.lost += len({fingerprint(step) for each in wanted for step in each} - served.keys())
    row.lost += len(computed.keys() - served.keys())
    fill(store, toy.WANTED, workers=1)
    row.unequal += toy.contents(store) != expected
    shutil.rmtree(folder)


def _start(store: Store, go: Path, wanted: list[toy.Step], *, work_at: bool) -> int:
    """Forks a process that begins when all are there; returns its number."""
    if child := os.fork():
        return child
    code = 1
    try:
        while not go.exists():
            time.sleep(0.001)
        random.seed(os.getpid())  # noqa: TID251 -- of a process that ends with its round
        if work_at:
            code = bool(work(store, stages(store, wanted)).failed)
        else:
            fill(store, wanted, workers=1)
            code = 0
    finally:
        os._exit(code)
