"""What a store holds that nobody asks for, and what that takes."""

__all__ = ["Waste", "remove", "waste"]

import contextlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from lmc_lib import files
from lmc_lib.store.address import is_key
from lmc_lib.store.bucket import Bucket
from lmc_lib.store.entry import Damaged, Unreadable, read
from lmc_lib.store.store import Store, names, unlistable

# The folders of a bucket, what is in them, and how it is named: others may keep objects in the same bucket.
_FOLDERS = {
    "runs": ("entry", re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{20}\.entry")),
    "set-aside": ("set aside", re.compile(r"set-aside/[0-9a-f]{20}\.entry-\d+-[0-9a-f]+")),
    "leases": ("lock", re.compile(r"leases/[0-9a-f]{2}/[0-9a-f]{20}\.json")),
}


@dataclass(frozen=True)
class Waste:
    """Something in a store that nobody asks for.

    Attributes:
        path: a file, a link or a folder; with a bucket the name of an object in it.
        kind: ``"entry"``, ``"left behind"`` by a writer that was stopped, ``"set aside"`` since it is damaged, or
            ``"lock"``.
        bytes: what it takes.
    """

    path: Path | PurePosixPath
    kind: str
    bytes: int
    bucket: Bucket | None = None


def waste(store: Store, wanted: Collection[str]) -> list[Waste]:
    """Lists what can be removed: nothing that is wanted, and nothing that was written or renamed within a day.

    What a stopped writer left of a wanted entry is wanted as long as it is whole and no sound entry stands in its
    place: the run that needs the entry takes it. What is set aside is damaged, whoever wants it.

    Args:
        store: the store.
        wanted: the fingerprints of the entries that are wanted.

    Raises:
        StoreError: if a folder cannot be listed.
    """
    found = []
    try:
        for kind, path in _everything(store.root):
            with contextlib.suppress(FileNotFoundError):  # somebody else has removed it
                if _is_old(path) and not _is_needed(store, wanted, kind, path):
                    found.append(Waste(path, kind, _bytes(path)))
    except OSError as error:
        raise unlistable(store.root, error) from error
    return found + (_waste_there(store.bucket, wanted) if store.bucket else [])


def _waste_there(bucket: Bucket, wanted: Collection[str]) -> list[Waste]:
    """What can be removed of a bucket."""
    found = []
    for folder, (kind, ours) in _FOLDERS.items():
        for name, size in [each for each in bucket.objects(folder) if ours.fullmatch(each[0])]:
            needed = kind != "set aside" and _key(PurePosixPath(name)) in wanted
            if not needed and bucket.age(name) > files.ABANDONED:
                found.append(Waste(PurePosixPath(name), kind, size, bucket))
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
            if _remove_there(each.bucket, str(each.path)) if each.bucket else _remove_here(Path(each.path)):
                removed.append(each)
    return removed


def _remove_here(path: Path) -> bool:
    """Removes something if it is old; says whether it did."""
    if not _is_old(path):
        return False
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def _remove_there(bucket: Bucket, name: str) -> bool:
    """Removes an object if it is old; says whether it did."""
    if bucket.age(name) <= files.ABANDONED:
        return False
    bucket.remove(name)
    return True


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


def _key(path: PurePath) -> str | None:
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
    runs, *by_digits = _with_folders(root / "runs")
    yield from (("entry", path) for folder in by_digits for path in _within(folder, "*.entry") if is_key(path.stem))
    yield from (("entry", path) for path in _within(runs) if is_key(path.name))
    yield from (("left behind", path) for folder in (runs, *by_digits) for path in _within(folder, ".*"))
    yield from (("set aside", path) for path in _within(root / "set-aside"))
    yield from (("lock", path) for folder in _with_folders(root / "locks") for path in _within(folder, "*.lock"))


def _with_folders(folder: Path) -> list[Path]:
    """A folder and those in it whose names are two digits."""
    return [folder, *(each for each in _within(folder, "??") if each.is_dir())]


def _within(folder: Path, pattern: str = "*") -> list[Path]:
    return [folder / name for name in sorted(names(folder, pattern))]


def _bytes(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    within = os.walk(path, onerror=_raise)
    return sum((Path(folder) / name).lstat().st_size for folder, _, found in within for name in found)


def _raise(error: OSError) -> None:
    raise error
