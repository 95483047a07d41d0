"""What a store holds that nobody asks for, and what that takes."""

__all__ = ["Waste", "remove", "waste"]

import contextlib
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lmc_lib import files
from lmc_lib.store.address import is_key
from lmc_lib.store.entry import Damaged, Unreadable, read
from lmc_lib.store.store import Store


@dataclass(frozen=True)
class Waste:
    """Something in the folder of a store that nobody asks for.

    Attributes:
        path: a file, a link or a folder.
        kind: ``"entry"``, ``"left behind"`` by a writer that was stopped, ``"set aside"`` since it is damaged, or
            ``"lock"``.
        bytes: what it takes.
    """

    path: Path
    kind: str
    bytes: int


def waste(store: Store, wanted: Collection[str]) -> list[Waste]:
    """Lists what can be removed: nothing that is wanted, and nothing that was written or renamed within a day.

    What a stopped writer left of a wanted entry is wanted as long as it is whole and no sound entry stands in its
    place: the run that needs the entry takes it. What is set aside is damaged, whoever wants it.

    Args:
        store: the store.
        wanted: the fingerprints of the entries that are wanted.
    """
    found = []
    for kind, path in _everything(store.root):
        with contextlib.suppress(OSError):  # somebody else has removed it
            if _is_old(path) and not _is_needed(store, wanted, kind, path):
                found.append(Waste(path, kind, _bytes(path)))
    return found


def remove(found: Iterable[Waste]) -> list[Waste]:
    """Removes what :func:`waste` has found; a link goes, and what it leads to stays.

    What has become young since then stays, too: somebody has written it anew.

    Returns:
        What is removed.

    Raises:
        OSError: if something cannot be removed.
    """
    removed = []
    for each in found:
        with contextlib.suppress(FileNotFoundError):
            if not _is_old(each.path):
                continue
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink()
            removed.append(each)
    return removed


def _is_old(path: Path) -> bool:
    status = path.lstat()
    return time.time() - max(status.st_mtime, status.st_ctime) > files.ABANDONED


def _is_needed(store: Store, wanted: Collection[str], kind: str, path: Path) -> bool:
    key = _key(path)
    if key is None or key not in wanted or kind == "set aside":
        return False
    if kind != "left behind":
        return True
    return _may_be_read(path, key) and replace(store, shipped=()).find(key) is None  # records lack tensors


def _key(path: Path) -> str | None:
    """The fingerprint with which a name begins, or that follows the dot of a hidden one."""
    found = re.match(r"\.?([0-9a-f]{20})(?![0-9a-f])", path.name)
    return found and found[1]


def _may_be_read(path: Path, key: str) -> bool:
    """Says whether something is a whole entry, or may be one for somebody who is permitted to read it."""
    try:
        read(path, key)
    except Unreadable:
        return True
    except (Damaged, FileNotFoundError):
        return False
    return True


def _everything(root: Path) -> Iterator[tuple[str, Path]]:
    yield from (("entry", path) for path in sorted(root.glob("runs/??/*.entry")) if is_key(path.stem))
    yield from (("entry", path) for path in sorted(root.glob("runs/*")) if is_key(path.name))
    for pattern in ("runs/.*", "runs/??/.*"):
        yield from (("left behind", path) for path in sorted(root.glob(pattern)))
    yield from (("set aside", path) for path in sorted(root.glob("set-aside/*")))
    for pattern in ("locks/*.lock", "locks/??/*.lock"):
        yield from (("lock", path) for path in sorted(root.glob(pattern)))


def _bytes(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())
    return path.lstat().st_size
