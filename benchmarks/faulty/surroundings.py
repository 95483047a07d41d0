"""Disks, permissions, limits, clocks and names, as they are where something goes wrong."""

__all__ = ["rows"]

import contextlib
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

from faulty import kills, toy
from faulty.counted import Counted, forked, stamps
from lmc_lib.store import Store, StoreError
from lmc_lib.sweeps import fill, obtain

_NOBODY = 65534
_STEPS = toy.WANTED[:12]  # those that need no other

_NAMES = (
    "with spaces",
    "ünïcödé ☃ 数据",
    'quote\'s "here"',
    "{braces} %s $HOME",
    "-rf *",
    "#hash;semi",
    ".hidden",
    "x" * 200,
)


def rows(folder: Path, seed: int) -> Iterator[Counted]:
    """The rows of this part.

    Args:
        folder: where stores go.
        seed: of all that is drawn.
    """
    here = _Surroundings(folder, random.Random(seed))
    yield here.counted("a limit on the size of files, reached in the middle of a write", 60, here.size_limit)
    with _small_disk(folder / "disk") as disk:
        if disk:
            yield here.counted("a disk that is full in the middle of a write", 20, lambda row: here.full(row, disk))
            yield here.counted("a disk that is read-only", 20, lambda row: here.read_only(row, disk))
    if os.geteuid() == 0:
        yield here.counted("no permission to write, and half of the time none to read", 20, here.no_permission)
    yield here.counted("few open files: 4 to 40", 37, here.few_files)
    yield here.counted("little memory: 1 to 60 MB more than it has", 20, here.little_memory)
    yield here.counted("a clock that is set back, or forward, while all is computed anew", 20, here.clock)
    commands = _Commands(folder / "commands", here)
    yield here.counted("a folder whose name has spaces, other alphabets, quotes, braces", len(_NAMES), commands.names)
    yield here.counted("TMPDIR names a folder that is gone", 4, commands.no_temporary_folder)


class _Surroundings:
    def __init__(self, folder: Path, drawn: random.Random) -> None:
        self.folder, self.drawn = folder, drawn
        folder.chmod(0o755)  # somebody else gets there
        self.expected = toy.undisturbed()
        self.round = 0

    def counted(self, fault: str, number: int, disturb: Callable[[Counted], None]) -> Counted:
        row = Counted("surroundings", fault)
        for _ in range(number):
            row.rounds += 1
            disturb(row)
        return row

    @contextlib.contextmanager
    def store(self, finished: int = 5) -> Iterator[Store]:
        """A store with some results, which others may read."""
        folder = self.folder / "round"
        folder.mkdir()
        store = Store(folder / "store")
        fill(store, _STEPS[:finished], workers=1)
        try:
            yield store
        finally:
            shutil.rmtree(folder)

    def check(self, row: Counted, store: Store, before: dict[Path, tuple[int, int]]) -> None:
        """Counts what was lost or is wrong, and resumes."""
        self.served(row, store)
        row.lost += sum(stamps(store).get(path) != each for path, each in before.items())
        hidden = [*store.root.glob("runs/*/.*")]
        row.untold += bool(hidden)  # a write that fails leaves nothing
        fill(store, toy.WANTED, workers=1)
        row.unequal += toy.contents(store) != self.expected

    def served(self, row: Counted, store: Store) -> None:
        row.wrong += sum(each != self.expected[key] for key, each in toy.contents(store).items())

    def try_all(self, store: Store) -> dict[str, int]:
        """Asks for all results of a process under limits: how many were obtained, refused in words, and else failed."""
        found = {"obtained": 0, "refused": 0, "else": 0}
        for step in _STEPS:
            try:
                entry = obtain(store, step)
                found["obtained" if toy.content(entry) == self.expected[entry.fingerprint] else "else"] += 1
            except StoreError:
                found["refused"] += 1
            except Exception:
                found["else"] += 1
        return found

    def size_limit(self, row: Counted) -> None:
        with self.store() as store:
            before = stamps(store)
            size = next(iter(before)).stat().st_size
            most = self.drawn.randrange(2_000, size)

            def limited() -> dict[str, int]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
                return self.try_all(store)

            row.untold += forked(limited) != {"obtained": 5, "refused": 7, "else": 0}
            self.check(row, store, before)

    def full(self, row: Counted, disk: Path) -> None:
        """Some results, and ballast, so that the next one finds a part of the room that it needs."""
        store = Store(disk / "store")
        fill(store, _STEPS[:2], workers=1)
        before = stamps(store)
        size = next(iter(before)).stat().st_size
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(bytes(free - self.drawn.randrange(8_192, size)))
        found = self.try_all(store)
        row.untold += found["else"] > 0 or found["refused"] == 0
        self.served(row, store)
        row.lost += sum(stamps(store).get(path) != each for path, each in before.items())
        row.untold += bool([*store.root.glob("runs/*/.*")])
        (disk / "ballast").unlink()
        room = Store(self.folder / "room" / "store")
        shutil.copytree(store.root, room.root)
        fill(room, toy.WANTED, workers=1)
        row.unequal += toy.contents(room) != self.expected
        shutil.rmtree(room.root.parent)
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read_only(self, row: Counted, disk: Path) -> None:
        store = Store(disk / "store")
        fill(store, _STEPS[:2], workers=1)
        before = stamps(store)
        computed = (disk / "computed").read_text()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        try:
            row.untold += self.try_all(store) != {"obtained": 2, "refused": 10, "else": 0}
            row.untold += (disk / "computed").read_text() != computed  # it is told before anything is computed
            self.served(row, store)
            row.lost += sum(stamps(store).get(path) != each for path, each in before.items())
        finally:
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        shutil.rmtree(store.root)
        (disk / "computed").unlink()

    def no_permission(self, row: Counted) -> None:
        with self.store() as store:
            before = stamps(store)
            unreadable = row.rounds % 2
            closed = self.drawn.sample(sorted(before), 3 * unreadable)
            for path in closed:
                path.chmod(0)

            def as_nobody() -> dict[str, int]:
                os.setgroups([])
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
                return self.try_all(store)

            row.untold += forked(as_nobody) != {"obtained": 5 - len(closed), "refused": 7 + len(closed), "else": 0}
            for path in closed:
                path.chmod(0o644)
            self.check(row, store, before)

    def few_files(self, row: Counted) -> None:
        with self.store() as store:
            before = stamps(store)
            most = 4 + (row.rounds - 1) % 37

            def limited() -> dict[str, int]:
                open_now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- of which one is that of the listing
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, open_now + 3), most))
                return self.try_all(store)

            row.untold += forked(limited)["else"] > 0
            self.check(row, store, before)

    def little_memory(self, row: Counted) -> None:
        with self.store() as store:
            before = stamps(store)
            more = self.drawn.randrange(2**20, 60 * 2**20)

            def limited() -> dict[str, int]:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                most = pages * resource.getpagesize() + more
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
                return self.try_all(store)

            row.untold += forked(limited)["else"] > 0
            self.check(row, store, before)

    def clock(self, row: Counted) -> None:
        """Computes all anew, with a clock that is set in the middle of it: each once, and not once more."""
        with self.store(len(_STEPS)) as store:
            store.root.with_name("computed").unlink()
            now = time.time
            again = replace(store, stale_before=now())
            jump = self.drawn.uniform(-1e8, 1e8)
            fill(again, _STEPS[:6], workers=1)
            with mock.patch.object(time, "time", lambda: now() + jump):
                for _ in range(2):
                    fill(again, _STEPS, workers=1)
            computed = store.root.with_name("computed").read_text().split()[::2]
            row.lost += len(computed) - len(set(computed))
            row.unequal += len(set(computed)) != len(_STEPS)
            self.check(row, store, stamps(store))


class _Commands:
    """Rounds of the command line, from one fork server."""

    def __init__(self, folder: Path, here: _Surroundings) -> None:
        folder.mkdir()
        self.here = here
        self.killing = kills.Kills(folder, 0)

    def names(self, row: Counted) -> None:
        self._work(row, _NAMES[row.rounds - 1], {})

    def no_temporary_folder(self, row: Counted) -> None:
        gone = tempfile.mkdtemp()
        Path(gone).rmdir()
        self._work(row, "round", {"TMPDIR": gone})

    def _work(self, row: Counted, name: str, environment: dict[str, str]) -> None:
        store, told = self.killing.undisturbed(name, environment)
        row.untold += not told
        row.orphans += self.killing.orphans()
        self.here.served(row, store)
        row.unequal += toy.contents(store) != self.here.expected
        shutil.rmtree(store.root.parent)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of 256 kB; None where this process must not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
