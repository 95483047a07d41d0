"""Processes: how many there can be, and that they do not outlive the one that asked for them."""

__all__ = ["end_with_parent", "usable_cores"]

import multiprocessing
import os
import threading
from multiprocessing import connection
from typing import Any


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent(held: "connection.Connection[Any, Any] | None" = None) -> None:
    """Ends this process, of ``multiprocessing``, at once when the one that asked for it ends, however that happens.

    So no orphan goes on computing. A process of the fork server counts as asked for by who asked the server.

    Args:
        held: the reading end of a pipe: this process ends too when all have closed the writing end.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    awaited: list[Any] = [parent.sentinel, *([] if held is None else [held])]
    threading.Thread(target=lambda: (connection.wait(awaited), os._exit(1)), daemon=True).start()
