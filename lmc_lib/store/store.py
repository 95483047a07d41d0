"""Get or compute: the only way in which the book obtains a network or a number."""

__all__ = ["Entry", "NotStored", "Result", "Store", "StoreError"]

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import FileLock
from torch import Tensor

from lmc_lib import records
from lmc_lib.store.address import canonical, describe, fingerprint
from lmc_lib.store.origin import provenance

_LOG = logging.getLogger(__name__)
_TENSORS = "tensors.safetensors"
_ENTRY = "entry.json"


class StoreError(OSError):
    """The store cannot be read or written."""


class NotStored(KeyError):
    """A result is not in the store, and computing it was not allowed."""


@dataclass(frozen=True)
class Result:
    """What a computation returns: JSON-ready values and tensors by name."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A stored result with the description of its spec and its provenance."""

    fingerprint: str
    spec: dict[str, Any]
    values: dict[str, Any]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any]

    def as_record(self) -> dict[str, Any]:
        """The entry without its tensors, as it stands in a file of shipped records."""
        return {"spec": self.spec, "values": self.values, "provenance": self.provenance}


@dataclass(frozen=True)
class Store:
    """A folder of results, each at ``runs/<fingerprint>/`` with ``entry.json`` and, if any, ``tensors.safetensors``.

    An entry is written under a temporary name, flushed to disk and renamed, so it is whole or absent; one that it
    replaces is renamed away before and deleted after. When read, its checksum is verified; an entry that fails is
    reported, set aside and computed anew. Of two processes that want one entry, one computes and the other waits.
    Stores are values: pass them, pickle them to workers.

    Attributes:
        root: the folder; made when first written to.
        shipped: files of records (without tensors) that are consulted when the folder has no entry.
        compute: whether missing results may be computed.
        stale_before: entries made before this time (seconds since 1970) count as missing; for recomputation.
    """

    root: Path
    shipped: tuple[Path, ...] = ()
    compute: bool = True
    stale_before: float = 0.0

    @classmethod
    def from_environment(cls) -> "Store":
        """The store that ``LMC_STORE`` names, by default ``~/.cache/lmc/store``.

        ``LMC_RECORDS`` lists files of shipped records, separated like ``PATH``; ``LMC_COMPUTE=0`` forbids computing;
        ``LMC_STALE_BEFORE`` is set by ``lmc run --recompute``.
        """
        shipped = [Path(name) for name in os.environ.get("LMC_RECORDS", "").split(os.pathsep) if name]
        return cls(
            Path(os.environ.get("LMC_STORE") or "~/.cache/lmc/store").expanduser(),
            tuple(shipped),
            os.environ.get("LMC_COMPUTE", "1") != "0",
            float(os.environ.get("LMC_STALE_BEFORE", "0")),
        )

    def get(self, spec: Any) -> Entry | None:
        """Returns the entry of a spec if it is stored and sound, else None."""
        return self.find(fingerprint(spec))

    def find(self, key: str) -> Entry | None:
        """Returns the entry with this fingerprint if it is stored and sound, else None."""
        folder = self._folder(key)
        if (folder / _ENTRY).exists():
            try:
                entry = _read(folder, key)
            except _Damaged as damage:
                self._set_aside(folder, str(damage))
            else:
                if entry.provenance.get("finished", 0.0) >= self.stale_before:
                    return entry
        elif folder.exists():
            self._set_aside(folder, f"{_ENTRY} is missing")
        return self._shipped(key)

    def has(self, spec: Any) -> bool:
        """Says whether the entry of a spec is stored and sound; a damaged one counts as missing."""
        return self.get(spec) is not None

    def get_or_compute(self, spec: Any, compute: Callable[[], Result]) -> Entry:
        """Returns the entry of a spec, computing and storing it if it is not there.

        Args:
            spec: a frozen dataclass that says all that defines the result.
            compute: the computation; it must depend on ``spec`` alone.

        Raises:
            NotStored: if the entry is missing and this store does not compute.
            StoreError: if the store cannot be written: read-only, no permission, disk full. Nothing is left behind.
        """
        if (entry := self.get(spec)) is not None:
            return entry
        key = fingerprint(spec)
        if not self.compute:
            raise NotStored(
                f"no entry {key} in {self.root}, and computing is switched off: {canonical(describe(spec))}"
            )
        with self._lock(key):
            if (entry := self.get(spec)) is not None:
                return entry
            for orphan in self._folder(key).parent.glob(f".{key}-*"):
                _LOG.warning("removing %s, which a writer that was stopped left behind", orphan.name)
                shutil.rmtree(orphan, ignore_errors=True)
            started = time.perf_counter()
            result = compute()
            origin = provenance() | {"seconds": round(time.perf_counter() - started, 3), "finished": time.time()}
            self._write(key, describe(spec), result, origin)
            return Entry(key, describe(spec), result.values, result.tensors, origin)

    def _folder(self, key: str) -> Path:
        return self.root / "runs" / key

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        path = self.root / "locks" / f"{key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folder(key).parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK) or not os.access(self._folder(key).parent, os.W_OK):
                raise PermissionError(f"no permission to write to {self.root}")
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, key: str, spec: dict[str, Any], result: Result, origin: dict[str, Any]) -> None:
        folder = self._folder(key)
        temporary = folder.with_name(f".{key}-{os.getpid()}")
        tensors = safetensors.torch.save(result.tensors) if result.tensors else b""
        content = {"spec": spec, "values": result.values, "provenance": origin, "tensors": _digest(tensors)}
        try:
            temporary.mkdir()
            if tensors:
                _write_durably(temporary / _TENSORS, tensors)
            entry = content | {"checksum": _digest(canonical(content).encode())}
            _write_durably(temporary / _ENTRY, json.dumps(entry, indent=1, allow_nan=False).encode())
            _put(temporary, folder)
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _set_aside(self, folder: Path, reason: str) -> None:
        place = self.root / "set-aside" / f"{folder.name}-{time.time_ns()}"
        _LOG.warning("run %s is damaged (%s); it is set aside in %s and computed anew", folder.name, reason, place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(place)
        except FileNotFoundError:
            pass  # another process was faster
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error

    def _shipped(self, key: str) -> Entry | None:
        if self.stale_before > 0.0:
            return None
        for path in self.shipped:
            if (record := _records(path).get(key)) is not None:
                return Entry(key, record["spec"], record["values"], {}, record["provenance"])
        return None


class _Damaged(Exception):
    """An entry is not what was written."""


def _read(folder: Path, key: str) -> Entry:
    try:
        content = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
        digest = _digest(canonical(content).encode())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _Damaged(f"{_ENTRY} cannot be read: {error}") from error
    if checksum != digest:
        raise _Damaged(f"{_ENTRY} was altered")
    if hashlib.sha256(canonical(content["spec"]).encode()).hexdigest()[:20] != key:
        raise _Damaged("it is the entry of another run")
    path = folder / _TENSORS
    raw = path.read_bytes() if path.exists() else b""
    if content["tensors"] != _digest(raw):
        raise _Damaged(f"{_TENSORS} was altered or cut")
    tensors = safetensors.torch.load(raw) if raw else {}
    return Entry(key, content["spec"], content["values"], tensors, content["provenance"])


@functools.cache
def _records(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = records.read(path)["records"]
    except records.Damaged as error:
        raise StoreError(f"{error}: take it from git again") from error
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put(temporary: Path, folder: Path) -> None:
    """Renames a whole entry into its place, and an older one out of it.

    A folder cannot be replaced in one step, so a kill between the two leaves no entry, but never a part of one. The
    older one gets a name that starts like ``temporary``: no reader looks at it, and the next writer removes it.
    """
    older = temporary.with_name(f"{temporary.name}-older")
    try:
        with contextlib.suppress(FileNotFoundError):  # there is none, or a reader has just set it aside
            folder.rename(older)
        temporary.rename(folder)
    except BaseException:
        if not folder.exists():
            with contextlib.suppress(OSError):
                older.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(root: Path, error: OSError) -> str:
    return (
        f"the store {root} cannot be written: {error.strerror or error}. Runs that are already there stay valid; "
        "make room or permission, or set LMC_STORE to another folder, and run again: finished runs are not repeated"
    )
