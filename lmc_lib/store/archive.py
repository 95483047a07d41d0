"""Entries as one file, to carry from one store to another.

A file is a tar archive that is not compressed: the entries as they stand in a store, then ``contents.json``, which
lists their fingerprints. Reading one unpacks nothing to disk and executes nothing, and takes no paths from the archive.
"""

__all__ = ["BadArchive", "read_archive", "write_archive"]

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lmc_lib import files
from lmc_lib.store.address import is_key
from lmc_lib.store.entry import Damaged, Entry, pack, unpack

_CONTENTS = "contents.json"
_SUFFIX = ".entry"


class BadArchive(ValueError):
    """A file is no archive of entries, or was cut or altered."""


def write_archive(path: Path, entries: Iterable[Entry]) -> list[str]:
    """Writes entries to an archive, whole or not at all; where there are none, what was there before stays.

    Args:
        path: the archive; its folder exists. One that is there already is replaced.
        entries: the entries, each another one; each is held in memory only while it is written.

    Returns:
        Their fingerprints.

    Raises:
        ValueError: if there are none.
        OSError: if it cannot be written.
    """
    keys = []
    with files.writing(path) as file, tarfile.open(fileobj=file, mode="w:") as archive:
        for entry in entries:
            keys.append(entry.fingerprint)
            _add(archive, entry.fingerprint + _SUFFIX, b"".join(pack(entry)))
        if not keys:
            raise ValueError(f"there are no entries to write to {path}")
        _add(archive, _CONTENTS, _listed(keys))
    return keys


def read_archive(path: Path) -> Iterator[Entry]:
    """The entries of an archive, each checked, one at a time. To know that all are sound, read to the end.

    Raises:
        BadArchive: if it is no archive of entries, or was cut or altered.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                yield from _entries(archive, path.stat().st_size)
        # The last two are those of tarfile, whose headers can refer to further headers and claim any size.
        except (tarfile.TarError, EOFError, ValueError, OverflowError, Damaged, RecursionError, MemoryError) as error:
            why = str(error) or "it asks for more memory than there is"
            raise BadArchive(f"{path} is no archive of results, or was cut or altered: {why}") from error


def _entries(archive: tarfile.TarFile, size: int) -> Iterator[Entry]:
    found: list[str] = []
    listed = None
    for member in archive:
        if listed is not None:
            raise ValueError(f"{member.name!r} stands behind {_CONTENTS}, which must be the last")
        # A link could lead out of a folder, and a sparse file of some bytes could stand for terabytes.
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse or not 0 <= member.size <= size:
            raise ValueError(f"{member.name!r} is no plain file")
        content = _content(archive, member)
        if member.name == _CONTENTS:
            listed = content
            continue
        key = member.name.removesuffix(_SUFFIX)
        if member.name != key + _SUFFIX or not is_key(key) or key in found:
            raise ValueError(f"{member.name!r} is no entry, or is there twice")
        found.append(key)
        yield unpack(key, content)
    if listed != _listed(found):
        raise ValueError(f"{_CONTENTS} at its end does not list its {len(found)} entries")


def _listed(keys: list[str]) -> bytes:
    return json.dumps(keys).encode()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) != member.size:
        raise EOFError(f"{member.name!r} is cut")
    return content


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a file; all else that an archive tells of it, such as its owner, is left at zero."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(content))
