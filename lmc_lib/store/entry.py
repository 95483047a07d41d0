"""An entry of the store and its file: a line of JSON, then the tensors, checked when they are read."""

__all__ = ["Damaged", "Entry", "Result", "Unreadable", "from_record", "pack", "read", "unpack"]

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from safetensors import SafetensorError

from lmc_lib.store.address import canonical, hashed

if TYPE_CHECKING:
    from torch import Tensor

# How earlier versions kept an entry: a folder of two files.
_FOLDER = ("entry.json", "tensors.safetensors")

# What every provenance tells, and what pages show of it.
_TOLD = {"created": str, "commit": str, "machine": str, "device": str, "seconds": int | float}

# What the system says of what is no file, or of a disk that lost it. All else, such as too many open files or a server
# that does not answer, tells of this process or of this moment, and nothing of the entry.
_DAMAGE = (errno.EIO, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG)


class Damaged(Exception):
    """An entry is not what was written."""


class Unreadable(Damaged):
    """An entry may be sound, but this process cannot read it.

    Attributes:
        advice: what to do.
    """

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Result:
    """What a computation returns: JSON-ready values and tensors by name."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: "dict[str, Tensor]" = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A stored result with the description of its spec and its provenance."""

    fingerprint: str
    spec: dict[str, Any]
    values: dict[str, Any]
    tensors: "dict[str, Tensor]"
    provenance: dict[str, Any]

    def as_record(self) -> dict[str, Any]:
        """The entry without its tensors, as it stands in a file of shipped records."""
        return {"spec": self.spec, "values": self.values, "provenance": self.provenance}


def from_record(key: str, record: Any) -> Entry:
    """The entry, without tensors, that stands in a record under a fingerprint.

    Raises:
        Damaged: if the record is none, or if its spec has another fingerprint.
    """
    parts = [record.get(name) if isinstance(record, Mapping) else None for name in ("spec", "values", "provenance")]
    spec, values, provenance = parts
    if not (isinstance(spec, dict) and isinstance(values, dict) and isinstance(provenance, dict)):
        raise Damaged("it lacks a spec, values or a provenance")
    if hashed(spec) != key:
        raise Damaged("it is the entry of another run")
    wrong = [name for name, kind in _TOLD.items() if not isinstance(provenance.get(name), kind)]
    if wrong or not isinstance(provenance.get("finished", 0.0), int | float):
        raise Damaged(f"its provenance is incomplete: {', '.join(wrong) or 'finished'}")
    return Entry(key, spec, values, {}, provenance)


def pack(entry: Entry) -> tuple[bytes, bytes]:
    """The content of an entry's file, in two parts.

    Raises:
        ValueError: if a value is no number that JSON has.
    """
    tensors = _tensors().save(entry.tensors) if entry.tensors else b""
    content = entry.as_record() | {"tensors": _digest(tensors)}
    head = content | {"checksum": _digest(canonical(content).encode())}
    return json.dumps(head, allow_nan=False).encode() + b"\n", tensors


def read(path: Path, key: str, *, tensors: bool = True) -> Entry:
    """Reads the file of an entry, or its folder where an earlier version wrote it.

    What is read is what one writer wrote: a file that is replaced meanwhile stays readable to its end.

    Args:
        path: the file or folder.
        key: the fingerprint of the entry.
        tensors: whether to read the tensors; without them the entry has none, and damage to them does not show.

    Raises:
        FileNotFoundError: if nothing stands there.
        Damaged: if it is not what was written, cannot be read, or is the entry of another spec.
        Unreadable: if this process is not permitted to read it, or cannot do so now.
    """
    try:
        head, raw = _read_folder(path, tensors=tensors) if path.is_dir() else _read_file(path, tensors=tensors)
        return _decoded(key, head, raw)
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise Damaged("it is a link to what is not there") from error
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        if error.errno in _DAMAGE:
            raise Damaged(f"it cannot be read: {error.strerror or error}") from error
        advice = "Its owner can permit it" if isinstance(error, PermissionError) else "That may pass: run again"
        raise _unreadable(path, error.strerror or str(error), advice) from error
    except MemoryError as error:
        raise _unreadable(path, "it does not fit into memory", "Run again where more memory is free") from error


def _unreadable(path: Path, why: str, advice: str) -> Unreadable:
    return Unreadable(f"{path} cannot be read: {why}", f"{advice}, or set LMC_STORE to another folder")


def unpack(key: str, content: bytes, *, tensors: bool = True) -> Entry:
    """The entry whose file has this content.

    Args:
        key: the fingerprint of the entry.
        content: of the file; all of it, or its first line and whatever follows where no tensors are wanted.
        tensors: whether to read the tensors; without them the entry has none, and damage to them does not show.

    Raises:
        Damaged: if it is not what was written, or the entry of another spec.
        MemoryError: if its tensors do not fit into memory.
    """
    head, _, raw = content.partition(b"\n")
    return _decoded(key, head, raw if tensors else None)


def _tensors() -> ModuleType:
    """What reads and writes tensors. It loads torch, for which those who only ask what is stored need not wait."""
    import safetensors.torch  # noqa: PLC0415

    return safetensors.torch


def _decoded(key: str, head: bytes, raw: bytes | None) -> Entry:
    content = _content(head)
    entry = from_record(key, content)
    if raw is None:
        return entry
    if content.get("tensors") != _digest(raw):
        raise Damaged("its tensors were altered or cut")
    try:
        return replace(entry, tensors=_tensors().load(raw) if raw else {})
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if "allocate memory" in str(error):  # as torch tells it
            raise MemoryError(str(error)) from error
        raise Damaged(f"its tensors are none: {error}") from error


def _content(head: bytes) -> dict[str, Any]:
    """What the JSON of an entry says, without its checksum."""
    try:
        content: dict[str, Any] = json.loads(head)
        checksum = content.pop("checksum")
        digest = _digest(canonical(content).encode())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise Damaged(f"its description cannot be read: {error}") from error
    if checksum != digest:
        raise Damaged("its description was altered")
    return content


def _read_file(path: Path, *, tensors: bool) -> tuple[bytes, bytes | None]:
    with _open(path) as file:
        head = file.readline()
        return head, file.read() if tensors else None


def _read_folder(folder: Path, *, tensors: bool) -> tuple[bytes, bytes | None]:
    try:
        with _open(folder / _FOLDER[0]) as file:
            head = file.read()
    except FileNotFoundError as error:
        raise Damaged(f"{_FOLDER[0]} is missing") from error
    if not tensors:
        return head, None
    try:
        with _open(folder / _FOLDER[1]) as file:
            return head, file.read()
    except FileNotFoundError:
        return head, b""


def _open(path: Path) -> BinaryIO:
    # Opening a pipe would wait for somebody who writes to it.
    waitless = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | waitless))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Damaged("it is no file")
    return file


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
