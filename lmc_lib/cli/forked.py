"""Kernels forked from a process that has loaded the library, so that a page need not load it again.

A kernel provisioner for Jupyter on the fork server of the standard library. It serves where
``JUPYTER_DEFAULT_PROVISIONER_NAME=lmc-forked``, which the Makefile sets: there kernels follow each other, and loading
takes longer than showing what is stored. Elsewhere Jupyter's own kernels serve, above all in a Jupyter that stays open
while the code changes: a forked kernel has the code that its server has loaded.
"""

__all__ = ["FIGURES", "ForkedProvisioner"]

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from types import ModuleType
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from lmc_lib.processes import end_with_parent

_LAUNCHER = [sys.executable, "-m", "ipykernel_launcher"]

# After each cell pyplot draws the figures that changed, and Jupyter draws them again to show them: once is enough.
FIGURES = (
    "--IPKernelApp.matplotlib=inline",
    "--IPKernelApp.exec_lines=__import__('matplotlib.pyplot').pyplot.uninstall_repl_displayhook()",
)


class ForkedProvisioner(LocalProvisioner):
    """Forks the kernels of this interpreter from a server, and starts all others as Jupyter does.

    The server starts with the first kernel and belongs to the process that asks for it. When that process ends,
    however it ends, its kernels end, and with the last of them the server. Where the system has no fork server
    (Windows), kernels are ordinary ones.

    A kernel has the environment, the folder and the outputs that it is given, and an empty standard input. Variables
    that a library reads while it is imported count as they were when the server started.
    """

    process: Any = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Starts a kernel; arguments as for ``subprocess.Popen``."""
        outputs = [1 if kwargs.get("stdout") is None else kwargs["stdout"]]
        outputs += [2 if kwargs.get("stderr") is None else kwargs["stderr"]]
        if cmd[: len(_LAUNCHER)] != _LAUNCHER or not _can_fork() or min(map(_descriptor, outputs)) < 0:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd = kwargs.get("cwd") or Path.cwd()
        arguments = cmd[len(_LAUNCHER) :]
        self.process = _Kernel(arguments, str(self.cwd), dict(kwargs["env"]), [*map(_descriptor, outputs)])
        self.pid = self.pgid = self.process.pid
        return self.connection_info

    async def send_signal(self, signum: int) -> None:
        """Sends a signal to the kernel and its workers; none when it has ended, since its number may be another's."""
        if await self.poll() is None:
            await super().send_signal(signum)


class _Kernel:
    """A forked kernel with that part of ``subprocess.Popen`` which Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(
        self, arguments: Sequence[str], folder: str, environment: dict[str, str], outputs: Sequence[int]
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lmc_lib.cli.loaded"])
        sent = [
            connection.Connection(os.dup(each)) for each in outputs
        ]  # a descriptor travels as what this class holds
        self._process = context.Process(target=_serve, args=(arguments, folder, environment, sent))
        with _nameless_main():
            self._process.start()
        for each in sent:
            each.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _can_fork() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _descriptor(output: Any) -> int:
    """The number of a file; negative for what only ``subprocess.Popen`` can make, such as a pipe."""
    return output if isinstance(output, int) else int(output.fileno())


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Hides the program that runs: a process of ``multiprocessing`` would import it, and a kernel must not."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(
    arguments: list[str], folder: str, environment: dict[str, str], outputs: list["connection.Connection[Any, Any]"]
) -> None:
    """What a forked process does: becomes the kernel that a new process would be."""
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415 -- the server has it; who only asks for kernels need not

    from lmc_lib.cli import loaded  # noqa: PLC0415 -- as above

    os.setsid()  # a group of its own: signals go to a kernel and its workers
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:], sys.path[:] = arguments, loaded.PATH
    for number, given in enumerate([os.open(os.devnull, os.O_RDONLY), *(each.fileno() for each in outputs)]):
        os.dup2(given, number)
    end_with_parent()
    once = [each for each in FIGURES if each not in arguments]  # `lmc run` gives them to kernels of every kind
    IPKernelApp.launch_instance([*arguments, *once], parent_handle=os.getppid())  # it ends with the server, too
