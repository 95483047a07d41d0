"""What is counted of each kind of fault."""

__all__ = ["Counted", "forked", "stamps"]

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmc_lib.store import Store


@dataclass
class Counted:
    """What rounds of one kind of fault came to.

    Attributes:
        part: what stands above the rows of its kind.
        fault: what was done.
        rounds: how often.
        lost: results that were finished and are no longer there, or were computed once more.
        wrong: results that were served and are not those of an undisturbed run.
        orphans: processes that were alive 5 s later.
        unequal: rounds after which, all being computed that was missing, a byte differs from an undisturbed run.
        untold: rounds in which what went wrong was not told in words that are meant for it.
        harmless: damage that changes nothing that is read.
    """

    part: str
    fault: str
    rounds: int = 0
    lost: int = 0
    wrong: int = 0
    orphans: int = 0
    unequal: int = 0
    untold: int = 0
    harmless: int = 0


def forked(task: Callable[[], Any]) -> Any:
    """What a task returns in a process of its own, so that limits that it sets end with it.

    Raises:
        RuntimeError: if the task failed.
    """
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        try:
            told = json.dumps({"returned": task()})
        except BaseException as error:
            told = json.dumps({"failed": f"{type(error).__name__}: {error}"})
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    told = json.loads(text or '{"failed": "it ended"}')
    if "failed" in told:
        raise RuntimeError(told["failed"])
    return told["returned"]


def stamps(store: Store) -> dict[Path, tuple[int, int]]:
    """By its file, what changes when an entry is written anew."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in store.root.glob("runs/*/*.entry")}
