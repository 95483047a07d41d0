"""Files that are whole or not there: written aside, flushed to disk and put in place in one step."""

__all__ = ["ABANDONED", "aside", "write", "writing"]

import contextlib
import errno
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Seconds. Who writes needs few; what was written aside and not touched for a day belongs to nobody.
ABANDONED = 86400.0

_TRIES = 5

# What file systems without hard links say (Windows shares, FAT), and Android.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)


@contextlib.contextmanager
def writing(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which is put in its place at the end, so that readers see what was there before or all of it.

    No lock is needed: each writer writes aside, to a hidden name beside the file that holds its host, its process and a
    random part.

    Args:
        path: the file; its folder exists.
        replace: whether to replace a file that stands there.

    Raises:
        FileExistsError: if there is a file already, which is not to be replaced.
        OSError: if it cannot be written; what was there before is still there, and nothing else.
    """
    beside = path.with_name(f".{path.name}-{_host()}-{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put(beside, path, replace=replace)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write(path: Path, *parts: bytes, replace: bool = True) -> bool:
    """Writes a file in such a way that readers see what was there before or all of it, also after a kill.

    Args:
        path: the file; its folder exists.
        *parts: the content, in parts that follow each other.
        replace: whether to replace a file that stands there; else it stays.

    Returns:
        Whether the content stands there: False if another one stayed.

    Raises:
        OSError: if it cannot be written; what was there before is still there, and nothing else.
    """
    for attempt in range(_TRIES):
        try:
            with writing(path, replace=replace) as file:
                file.writelines(parts)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Somebody whose clock is wrong took what was written aside for abandoned.
            if attempt == _TRIES - 1:
                raise
        else:
            break
    return True


def aside(path: Path) -> Iterator[tuple[Path, bool]]:
    """What writers of a file that were stopped left beside it, whole or not.

    Returns:
        Each with whether it is so old that its writer cannot be alive; the others may be at work.
    """
    for each in sorted(path.parent.glob(f".{path.name}-*")):
        with contextlib.suppress(OSError):  # its writer was alive, and has finished
            yield each, time.time() - each.lstat().st_mtime > ABANDONED


def _put(beside: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            os.link(beside, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                raise FileExistsError(str(path)) from error
            # Without links two writers can both come here: then the last one wins.
        else:
            return
    beside.replace(path)


def _host() -> str:
    return re.sub(r"[^\w.]", "_", platform.node())[:64]


def _sync_folder(folder: Path) -> None:
    """Flushes the name of a file to disk, where the system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
