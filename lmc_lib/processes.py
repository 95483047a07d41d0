"""Processes: how many there can be, and that they do not outlive the one that asked for them."""

__all__ = ["end_with_parent", "usable_cores"]

import multiprocessing
import os
import threading
from multiprocessing import connection


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Ends this process, of ``multiprocessing``, at once when the one that asked for it ends, however that happens.

    So no orphan goes on computing. A process of the fork server counts as asked for by who asked the server.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    threading.Thread(target=lambda: (connection.wait([sentinel]), os._exit(1)), daemon=True).start()
