"""One fork server for all rounds: who imports this starts none of its own, in this process and in those it forks.

A server of its own would load the library in each round, for seconds.
"""

__all__ = ["start"]

import errno
import os
import socket
import sys
from multiprocessing import forkserver, reduction, resource_tracker

from lmc_lib.cli import running
from lmc_lib.store import provenance


def start(*modules: str) -> set[int]:
    """Starts the server, from this process; returns the numbers of the processes that serve all rounds.

    Args:
        *modules: what it loads.
    """
    server = forkserver._forkserver
    if server._forkserver_pid is None:
        server.set_forkserver_preload([*modules, __name__])
        with running.variables({"PYTHONPATH": os.pathsep.join(sys.path)}):
            _ENSURE(server)
    return {server._forkserver_pid, resource_tracker._resource_tracker._pid}


def _received(client: socket.socket, size: int) -> list[int]:
    """What a client of the server sends; before Python 3.14 one that is killed as it asks would end the server.

    With it would end all later rounds. After the error that is raised here the server goes on.
    """
    try:
        return _RECEIVED(client, size)
    except EOFError as error:
        raise ConnectionAbortedError(errno.ECONNABORTED, "a client has gone") from error


_RECEIVED = reduction.recvfds
reduction.recvfds = _received
_ENSURE = forkserver.ForkServer.ensure_running
forkserver.ForkServer.ensure_running = lambda self: None
provenance()  # it asks git for the commit, once in a process
