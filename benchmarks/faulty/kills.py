"""Signals to the command line, to a kernel, to a worker, at random moments of a sweep."""

__all__ = ["SIGNALS", "WAYS", "Kills"]

import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from faulty import shared, toy
from faulty.counted import Counted, stamps
from lmc_lib.cli import main, running, tree
from lmc_lib.store import Store
from lmc_lib.sweeps import fill

# How a sweep is run, and which processes it has: as a command that is forked from this process, its kernels and workers
# from one server; as a command that loads all that it needs; as a program that fills the store without a notebook.
WAYS = {
    "forked": ("the command line", "a kernel", "a worker"),
    "alone": ("the command line", "a kernel", "a worker"),
    "program": ("a program that fills the store", "a worker of such a program"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

# Seconds: a command that has not ended is stuck; a process that has not is an orphan.
_STUCK = 60.0
_ORPHANED = 5.0

_ARGUMENTS = ("work", "toy", "--workers", "2")
_SET_CHILD_SUBREAPER = 36  # of prctl

_PROGRAM = """
import sys
from pathlib import Path
from lmc_lib.cli import main, tree
tree.NOTEBOOKS = Path(sys.argv[1])
tree.RECORDS = Path(sys.argv[1]) / "records"
sys.exit(main(sys.argv[2:]))
"""


class Kills:
    """Rounds in which a sweep of the command line with two workers is disturbed by a signal, and resumed.

    All processes that a round starts are, or become, those below this one: so it sees which of them are left.

    Args:
        folder: where stores and the claim go.
        seed: of the moments.
        kernels: whether commands are forked, so that the server must have loaded what kernels need.
    """

    def __init__(self, folder: Path, seed: int, *, kernels: bool = True) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.claim = folder / "claim"
        self.claim.mkdir()
        toy.claim(self.claim)
        self.expected = toy.undisturbed()
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.serving = shared.start("faulty.toy", *(["lmc_lib.cli.loaded"] if kernels else []))
        self._lasting("forked" if kernels else "program")  # the server loads what all rounds need
        self.lasting: dict[str, dict[str, float]] = {}

    def rounds(self, way: str, target: str, signum: signal.Signals, number: int) -> Counted:
        """Disturbs a sweep some times.

        Args:
            way: one of ``WAYS``.
            target: one of its processes.
            signum: the signal.
            number: how often; a round whose target had ended before does not count.
        """
        counted = Counted("kills", f"{signum.name} to {target}" + (", all loaded anew" if way == "alone" else ""))
        if way not in self.lasting:
            self.lasting[way] = self._lasting(way)
        while counted.rounds < number:
            with self._round() as store:
                self._disturb(store, way, target, signum, counted)
        return counted

    def _disturb(self, store: Store, way: str, target: str, signum: signal.Signals, counted: Counted) -> None:
        command = self._start(store, way)
        moment = self.random.uniform(0.0, self.lasting[way]["end"] - self.lasting[way][target])
        process = self._target(store, target, command)
        if process is not None:
            time.sleep(moment)
        finished = set(store.keys())
        if process is None or not _send(process, signum):
            self._await(command)
            return
        counted.rounds += 1
        counted.untold += not self._await(command) or b"Traceback" in _errors(store)
        counted.orphans += self.orphans()
        served = toy.contents(store)
        counted.wrong += sum(each != self.expected[key] for key, each in served.items())
        before = stamps(store)
        fill(store, toy.WANTED, workers=1)
        counted.lost += len(finished - served.keys()) + sum(
            stamps(store)[path] != each for path, each in before.items()
        )
        counted.unequal += toy.contents(store) != self.expected

    @contextlib.contextmanager
    def _round(self) -> Iterator[Store]:
        """A store in a folder of its own."""
        folder = self.folder / "round"
        folder.mkdir()
        try:
            yield Store(folder / "store")
        finally:
            shutil.rmtree(folder)

    def _lasting(self, way: str) -> dict[str, float]:
        """When there is each process, in seconds after an undisturbed start, and when the sweep ends."""
        with self._round() as store:
            started = time.monotonic()
            command = self._start(store, way)
            found = {}
            for target in WAYS[way]:
                assert self._target(store, target, command), f"no {target}: {_errors(store).decode()}"
                found[target] = time.monotonic() - started
            assert self._await(command), "an undisturbed command is stuck"
            assert toy.contents(store) == self.expected, _errors(store).decode()
            return found | {"end": time.monotonic() - started}

    def undisturbed(self, name: str, environment: Mapping[str, str]) -> tuple[Store, bool]:
        """The store of a sweep in a folder of this name, and whether the command ended well and without a traceback."""
        store = Store(self.folder / name / "store")
        store.root.parent.mkdir()
        command = self._start(store, "forked", environment)
        return store, self._await(command) and b"Traceback" not in _errors(store)

    def _start(self, store: Store, way: str, environment: Mapping[str, str] | None = None) -> int:
        """Starts a sweep; returns the number of its process."""
        environment = {"LMC_STORE": str(store.root), "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
        if way == "program":
            return _fork(lambda: _program(store), store)
        if way == "forked":
            environment["JUPYTER_DEFAULT_PROVISIONER_NAME"] = "lmc-forked"
            return _fork(lambda: _command(self.claim, environment), store)
        command = [sys.executable, "-c", _PROGRAM, str(self.claim), *_ARGUMENTS]
        with store.root.with_name("errors").open("wb") as file, running.variables(environment):
            return subprocess.Popen(command, stdout=file, stderr=file).pid

    def _target(self, store: Store, target: str, command: int) -> psutil.Process | None:
        """The process, as soon as there is one; None if the command ends before."""
        name = "kernel" if "kernel" in target else "computed"
        process = psutil.Process(command)
        while True:
            if not _alive(process):
                return None
            if target.startswith("the command") or target.startswith("a program"):
                return process
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if pids := re.findall(r"(\d+)\n", store.root.with_name(name).read_text()):
                    return psutil.Process(int(pids[-1]))
            time.sleep(0.002)

    def _await(self, command: int) -> bool:
        """Waits until a command has ended, and says whether it has within the time for it; else it is killed."""
        end = time.monotonic() + _STUCK
        while time.monotonic() < end:
            if os.waitpid(command, os.WNOHANG)[0]:
                return True
            time.sleep(0.005)
        os.kill(command, signal.SIGKILL)
        os.waitpid(command, 0)
        return False

    def orphans(self) -> int:
        """How many processes of a round outlive it; they are killed."""
        end = time.monotonic() + _ORPHANED
        while (left := self._left()) and time.monotonic() < end:
            time.sleep(0.02)
        for each in left:
            each.kill()
        return len(left)

    def _left(self) -> list[psutil.Process]:
        """The processes below this one that serve no other round; those that have ended are seen off."""
        found = [each for each in psutil.Process().children(recursive=True) if each.pid not in self.serving]
        for each in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(each.pid, os.WNOHANG)
        return [each for each in found if _alive(each)]


def _fork(task: Callable[[], int], store: Store) -> int:
    """Runs a task in a process of its own, which leads a session; returns its number."""
    errors = os.open(store.root.with_name("errors"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    if child := os.fork():
        os.close(errors)
        return child
    code = 70
    try:
        os.setsid()
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        code = task()
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        os.write(2, f"Traceback: {type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def _command(claim: Path, environment: Mapping[str, str]) -> int:
    tree.NOTEBOOKS, tree.RECORDS = claim, claim / "records"
    with running.variables(environment):
        code = main(_ARGUMENTS)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _program(store: Store) -> int:
    try:
        fill(store, toy.WANTED, workers=2)
    except RuntimeError as error:  # what it says of workers that were ended
        os.write(2, str(error).encode())
        return 1
    return 0


def _send(process: psutil.Process, signum: signal.Signals) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        if _alive(process):
            process.send_signal(signum)
            return True
    return False


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _errors(store: Store) -> bytes:
    return store.root.with_name("errors").read_bytes()
