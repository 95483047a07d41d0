"""Get or compute: the only way in which the book obtains a network or a number."""

__all__ = ["Store", "names", "unlistable"]

import contextlib
import fnmatch
import functools
import logging
import os
import re
import secrets
import shutil
import stat
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lmc_lib import files, records
from lmc_lib.store.address import canonical, describe, fingerprint, hashed, is_key
from lmc_lib.store.bucket import Bucket
from lmc_lib.store.code import code_of
from lmc_lib.store.entry import Damaged, Entry, Result, Unreadable, from_record, pack, read
from lmc_lib.store.errors import Busy, NotStored, StoreError
from lmc_lib.store.origin import provenance

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A folder of results, each a file ``runs/<two digits>/<fingerprint>.entry``.

    A file begins with a line of JSON: the description of the spec, values, provenance and a checksum. Tensors, if any,
    follow as a safetensors file. It is written aside and put in place in one step, so a reader sees one entry or the
    other, and each is whole. Of two processes that want one entry, one computes and the other waits; where locks do
    not work both compute, and the first to finish is kept. When read, the checksum is verified: a damaged entry is
    reported and counts as missing; who computes it anew sets it aside before. Entries of earlier versions, each a
    folder ``runs/<fingerprint>/``, are read where they are, so that also a store that cannot be written is served.
    Stores are values: pass them, pickle them to workers.

    With a bucket, what is not in the folder is looked for there, and what is computed is put there first. The folder
    then has copies, and what could not be put there: the next who wants that entry takes it, and puts it there.

    Attributes:
        root: the folder; made when first written to.
        shipped: files of records (without tensors) that are consulted when the folder has no entry.
        compute: whether missing results may be computed.
        stale_before: when a recomputation began (seconds since 1970): entries that were neither made for it nor
            finished between then and now count as missing; 0 if all count.
        stale: the fingerprints of the entries to which that applies; all if None.
        bucket: where the entries are that machines without a common folder share.
    """

    root: Path
    shipped: tuple[Path, ...] = ()
    compute: bool = True
    stale_before: float = 0.0
    stale: frozenset[str] | None = None
    bucket: Bucket | None = None

    @classmethod
    def from_environment(cls) -> "Store":
        """The store that ``LMC_STORE`` names, by default ``~/.cache/lmc/store``.

        An address such as ``s3://name/folder`` names a bucket; the folder of its copies is in ``~/.cache/lmc/buckets``.
        ``LMC_RECORDS`` lists files of shipped records, separated like ``PATH``; ``LMC_COMPUTE=0`` forbids computing;
        ``LMC_STALE_BEFORE`` is set by ``lmc run --recompute``.

        Raises:
            StoreError: if a file of records is not there.
        """
        shipped = [Path(name) for name in os.environ.get("LMC_RECORDS", "").split(os.pathsep) if name]
        if missing := [str(path) for path in shipped if not path.is_file()]:
            raise StoreError(
                f"LMC_RECORDS lists {', '.join(missing)}, and there is no such file: name files of records, or unset it"
            )
        named = os.environ.get("LMC_STORE") or "~/.cache/lmc/store"
        bucket = Bucket(named.rstrip("/")) if "://" in named else None
        return cls(
            Path(f"~/.cache/lmc/buckets/{hashed({'address': bucket.address})}" if bucket else named).expanduser(),
            tuple(shipped),
            os.environ.get("LMC_COMPUTE", "1") != "0",
            float(os.environ.get("LMC_STALE_BEFORE", "0")),
            bucket=bucket,
        )

    @property
    def name(self) -> str:
        """The folder, or the address of the bucket."""
        return self.bucket.address if self.bucket else str(self.root)

    def get(self, spec: Any) -> Entry | None:
        """Returns the entry of a spec if it is stored and sound, else None."""
        return self.find(fingerprint(spec))

    def find(self, key: str, *, tensors: bool = True) -> Entry | None:
        """Returns the entry with this fingerprint if it is stored and sound, else None.

        Args:
            key: the fingerprint.
            tensors: whether to read the tensors; without them the entry has none, and their damage does not show.
        """
        found = self._look(key, tensors=tensors)
        entry = self._served(key, found)
        if entry is None and isinstance(found, Damaged):
            _LOG.warning("run %s is damaged (%s): it counts as missing", key, found)
        return entry

    def has(self, spec: Any) -> bool:
        """Says whether the entry of a spec is stored, by its description alone, whose checksum is verified.

        Tensors are not read, so that asking for many entries costs little. Should they be damaged, who reads the entry
        finds out, and ``get_or_compute`` computes it anew.
        """
        return self.find(fingerprint(spec), tensors=False) is not None

    def keys(self) -> list[str]:
        """The fingerprints of the entries in the folder and the bucket, sound or not, in order; not of those that ship.

        Raises:
            StoreError: if one of them cannot be listed.
        """
        runs = self.root / "runs"
        try:
            former = names(runs)
            digits = [name for name in former if re.fullmatch("[0-9a-f]{2}", name)]
            stems = {each.removesuffix(".entry") for name in digits for each in names(runs / name, f"{name}*.entry")}
        except OSError as error:
            raise unlistable(self.root, error) from error
        return sorted(filter(is_key, stems.union(former, self.bucket.keys() if self.bucket else ())))

    def damage(self, key: str) -> str | None:
        """Says what is wrong with an entry, all of which is read; None if it is sound or not there.

        Of a bucket the object is read; copies of a sound one are made anew when somebody wants them.
        """
        found = self._look_here(key) if self.bucket is None else self._look_there(key)
        return str(found) if isinstance(found, Damaged) else None

    def set_aside(self, key: str) -> list[str]:
        """Moves an entry out of its place if it is damaged; what this process cannot read stays.

        Returns:
            Where it is now: a file, a folder of an earlier version, an object of a bucket; empty if it stays.

        Raises:
            StoreError: if the store cannot be written.
        """
        here = self._look_here(key)
        moved = self._set_aside_there(self.bucket, key, here) if self.bucket else []
        if isinstance(here, Damaged) and not isinstance(here, Unreadable):
            moved += map(str, self._set_aside(key, here))
        return moved

    def add(self, entry: Entry) -> bool:
        """Keeps an entry that was made elsewhere, unless there is a sound one.

        Returns:
            Whether it is kept.

        Raises:
            StoreError: if the store cannot be written, or holds one that this process cannot read.
        """
        if isinstance(found := self._look(entry.fingerprint), Entry):
            return False
        self._prepare(entry.fingerprint)
        if isinstance(found, Damaged):
            self._set_aside(entry.fingerprint, found)
        return self._keep(entry) is entry

    def is_computed(self, key: str) -> bool:
        """Says whether a process, of any machine, computes an entry now; False where locks do not work.

        Raises:
            StoreError: if the bucket, if there is one, cannot be read.
        """
        if self.bucket:
            return self.bucket.is_leased(key)
        path = self._lock_of(key)
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        except (OSError, NotImplementedError):
            return False
        lock.release()
        return False

    def failure(self, key: str) -> Path | None:
        """The file that says why an entry could not be computed when that was last tried; None if it did not fail."""
        path = self._failure_of(key)
        return path if path.exists() else None

    def note_failure(self, key: str, why: str) -> None:
        """Writes down why an entry could not be computed, if that can be written; the next try removes it."""
        with contextlib.suppress(OSError):
            self._folder("failed", key[:2])
            files.write(self._failure_of(key), why.encode())

    def get_or_compute(self, spec: Any, compute: Callable[[], Result], *, wait: bool = True) -> Entry:
        """Returns the entry of a spec, computing and storing it if it is not there.

        Args:
            spec: a frozen dataclass that says all that defines the result.
            compute: the computation; it must depend on ``spec`` alone.
            wait: whether to wait for another process that computes it.

        Raises:
            Busy: if another process computes it, and ``wait`` is false.
            NotStored: if the entry is missing and this store does not compute.
            StoreError: if the store cannot be written: read-only, no permission, disk full. Nothing is left behind.
                Also if it holds an entry that this process cannot read.
        """
        key = fingerprint(spec)
        found = self._look(key)
        if (entry := self._served(key, found)) is not None:
            return entry
        if not self.compute:
            if (entry := self._hidden(key)) is not None:
                return entry
            what = f"entry {key} is damaged ({found})" if isinstance(found, Damaged) else f"no entry {key}"
            raise NotStored(f"{what} in {self.name}, and computing is switched off: {canonical(describe(spec))}")
        self._prepare(key)
        with self._lock(key, wait=wait):
            found = self._look(key)
            if (entry := self._served(key, found)) is not None:
                return entry
            if isinstance(found, Damaged):
                self._set_aside(key, found)
            if (entry := self._hidden(key)) is not None:
                _LOG.warning("run %s is there: what a writer had finished, and not put in its place, is taken", key)
            else:
                entry = self._computed(spec, compute)
            return self._keep(entry)

    def _computed(self, spec: Any, compute: Callable[[], Result]) -> Entry:
        code = code_of(type(spec).__module__)  # before the files can change
        key = fingerprint(spec)
        with contextlib.suppress(OSError):
            self._failure_of(key).unlink()
        started = time.perf_counter()
        try:
            result = compute()
        except StoreError:  # of a result that it needs; it tells nothing of this one
            raise
        except Exception:
            self.note_failure(key, f"{canonical(describe(spec))}\n{traceback.format_exc()}")
            raise
        origin = provenance() | ({} if code is None else {"code": code})
        origin |= {"seconds": round(time.perf_counter() - started, 3), "finished": time.time()}
        # A clock can be set back while it computes: then the time alone would not say that it is new.
        origin |= {"recomputation": self.stale_before} if self.stale_before else {}
        return Entry(key, describe(spec), result.values, result.tensors, origin)

    def _served(self, key: str, found: Entry | Damaged | None) -> Entry | None:
        """What is served where this was found: nothing that is damaged or stale; else what ships."""
        if isinstance(found, Entry) and self._is_fresh(found):
            return found
        entry = self._shipped(key)
        if entry is not None and isinstance(found, Damaged):
            _LOG.warning("run %s is damaged (%s): the record that ships is taken", key, found)
        return entry

    def _is_renewed(self, key: str) -> bool:
        return self.stale_before > 0.0 and (self.stale is None or key in self.stale)

    def _is_fresh(self, entry: Entry) -> bool:
        made = entry.provenance
        return (
            not self._is_renewed(entry.fingerprint)
            or made.get("recomputation") == self.stale_before
            or self.stale_before <= made.get("finished", 0.0) <= time.time()
        )

    def _path(self, key: str) -> Path:
        return self.root / "runs" / key[:2] / f"{key}.entry"

    def _lock_of(self, key: str) -> Path:
        return self.root / "locks" / key[:2] / f"{key}.lock"

    def _failure_of(self, key: str) -> Path:
        return self.root / "failed" / key[:2] / f"{key}.log"

    def _places(self, key: str) -> tuple[Path, Path]:
        """Where an entry can stand: its file, and the folder in which an earlier version kept it."""
        return self._path(key), self.root / "runs" / key

    def _look(self, key: str, *, tensors: bool = True) -> Entry | Damaged | None:
        """What stands in the place of an entry."""
        here = self._look_here(key, tensors=tensors)
        if self.bucket is None or (isinstance(here, Entry) and self._is_fresh(here)):
            return here
        there = self._look_there(key, tensors=tensors)
        if isinstance(there, Entry) and tensors:
            self._copy(there)
        # What is stale or damaged here counts where there is nothing better.
        return there if isinstance(there, Entry) or here is None else here

    def _look_there(self, key: str, *, tensors: bool = True) -> Entry | Damaged | None:
        """What the bucket has, if there is one."""
        try:
            return self.bucket.fetch(key, tensors=tensors) if self.bucket else None
        except Damaged as damage:
            return damage

    def _copy(self, entry: Entry) -> None:
        """Keeps a copy of what the bucket has, if it can be kept."""
        with contextlib.suppress(OSError):
            self._folder("runs", entry.fingerprint[:2])
            files.write(self._path(entry.fingerprint), *pack(entry))

    def _look_here(self, key: str, *, tensors: bool = True) -> Entry | Damaged | None:
        """What stands in the folder."""
        found: Damaged | None = None
        for path in self._places(key) * 2:  # twice: a folder can go, and a file come, between the one and the other
            try:
                entry = read(path, key, tensors=tensors)
            except Damaged as damage:
                # What may be sound counts more than what is not: neither is touched then.
                found = found if isinstance(found, Unreadable) else damage
            except FileNotFoundError:
                pass
            else:
                # What replaces a stale entry would replace a damaged one beside it, which may be sound for its owner.
                if found is None or self._is_fresh(entry):
                    return entry
        return found

    def _prepare(self, key: str) -> None:
        """Makes the folder of an entry, so that a store that cannot be written is told before anything is computed."""
        try:
            folder = self._folder("runs", key[:2])
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"no permission to write to {folder}")
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error

    def _folder(self, *names: str) -> Path:
        """Makes a folder with the permissions of the one above, so that a shared store is shared in all its parts."""
        folder = self.root
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            above, folder = folder, folder / name
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                with contextlib.suppress(OSError):
                    folder.chmod(stat.S_IMODE(above.stat().st_mode))
        return folder

    @contextlib.contextmanager
    def _lock(self, key: str, *, wait: bool) -> Iterator[None]:
        """Makes others wait, or go on, who want the same entry. That saves work and is needed for nothing else."""
        lock = FileLock(self._lock_of(key))
        try:
            self._folder("locks", key[:2])
            lock.acquire(blocking=wait)
        except Timeout as error:
            raise Busy(f"another process computes {key}") from error
        except (OSError, NotImplementedError) as error:
            _LOG.warning("run %s is computed without a lock (%s): others who want it compute it too", key, error)
        try:
            with self.bucket.lease(key, wait=wait) if self.bucket else contextlib.nullcontext():
                yield
        finally:
            with contextlib.suppress(OSError):
                lock.release()

    def _hidden(self, key: str) -> Entry | None:
        """A whole entry that a writer who was stopped did not put in place, or had moved out of it."""
        for path, _ in self._left_behind(key):
            with contextlib.suppress(Damaged, FileNotFoundError):
                if self._is_fresh(entry := read(path, key)):
                    return entry
        return None

    def _left_behind(self, key: str) -> Iterator[tuple[Path, bool]]:
        """What writers of an entry that were stopped left, and whether it is so old that none of them can be alive."""
        for place in self._places(key):
            with contextlib.suppress(OSError):  # a folder that cannot be listed now holds nothing for now
                yield from files.aside(place)

    def _keep(self, entry: Entry) -> Entry:
        """Puts an entry in its place; returns the one that stands there, which can be that of a faster writer."""
        if self.bucket is None:
            return self._keep_here(entry)
        path, parts = self._path(entry.fingerprint), pack(entry)
        beside = f".{path.name}-unshared-"
        try:
            files.write(path.with_name(f"{beside}{secrets.token_hex(8)}"), *parts)
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error
        kept = self._keep_here(self._share(self.bucket, entry, parts))  # what cannot be shared stays beside
        for each in path.parent.glob(f"{beside}*"):
            _remove(each)
        return kept

    def _set_aside_there(self, bucket: Bucket, key: str, here: Entry | Damaged | None) -> list[str]:
        """Moves a damaged object out of its place, unless somebody computes it, who does so too."""
        with contextlib.suppress(Busy), bucket.lease(key, wait=False):
            if isinstance(self._look_there(key), Damaged):
                place = bucket.set_aside(key)
                if isinstance(here, Entry):  # a copy is as good, and other machines see it there alone
                    bucket.put(key, *pack(here))
                return [place]
        return []

    def _share(self, bucket: Bucket, entry: Entry, parts: tuple[bytes, bytes]) -> Entry:
        """Puts an entry into the bucket; returns the one that stands there, which can be that of a faster writer."""
        if bucket.put(entry.fingerprint, *parts):
            return entry
        there = self._look_there(entry.fingerprint)
        if isinstance(there, Entry) and self._is_fresh(there):
            return there
        if isinstance(there, Damaged):
            place = bucket.set_aside(entry.fingerprint)
            _LOG.warning("run %s is damaged (%s); it is set aside in %s", entry.fingerprint, there, place)
        bucket.put(entry.fingerprint, *parts, replace=True)
        return entry

    def _keep_here(self, entry: Entry) -> Entry:
        """Puts an entry into the folder; returns the one that stands there."""
        path, former = self._places(entry.fingerprint)
        parts = pack(entry)
        try:
            if not files.write(path, *parts, replace=False):
                found = self._look_here(entry.fingerprint)
                if isinstance(found, Entry) and self._is_fresh(found):
                    return found
                if isinstance(found, Damaged):
                    self._set_aside(entry.fingerprint, found)
                files.write(path, *parts)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(_advice(self.root, error)) from error
        _remove(former)
        for left, is_old in self._left_behind(entry.fingerprint):
            if is_old:
                _LOG.warning("removing %s, which a writer that was stopped left behind", left.name)
                _remove(left)
        return entry

    def _set_aside(self, key: str, damage: Damaged) -> list[Path]:
        """Moves what is damaged out of the place of an entry; what turns out to be sound goes back.

        Raises:
            StoreError: if this process cannot read it, so that it may be sound, or if it cannot be moved.
        """
        if isinstance(damage, Unreadable):
            raise StoreError(f"{damage}. {damage.advice}")
        moved = []
        for path in self._places(key):
            place = self.root / "set-aside" / f"{path.name}-{time.time_ns()}-{secrets.token_hex(4)}"
            try:
                self._folder("set-aside")
                path.rename(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise StoreError(_advice(self.root, error)) from error
            try:
                read(place, key)
            except Unreadable as unreadable:
                place.rename(path)
                raise StoreError(f"{unreadable}. {unreadable.advice}") from unreadable
            except (Damaged, FileNotFoundError):
                _LOG.warning("run %s is damaged (%s); it is set aside in %s and computed anew", key, damage, place)
                moved.append(place)
            else:  # another writer was faster
                with contextlib.suppress(OSError):
                    place.rename(path)
        return moved

    def _shipped(self, key: str) -> Entry | None:
        if self._is_renewed(key):
            return None
        for path in self.shipped:
            if (record := _records(path).get(key)) is not None:
                try:
                    return from_record(key, record)
                except Damaged as damage:
                    raise StoreError(f"{path}, record {key}: {damage}: take the file from git again") from damage
        return None


def unlistable(root: Path, error: OSError) -> StoreError:
    """What is told of a store of which a folder cannot be listed."""
    return StoreError(
        f"the store {root} cannot be listed: {error.strerror or error}: {error.filename}. "
        "Its owner can permit it or mend it, or set LMC_STORE to another folder"
    )


def names(folder: Path, pattern: str = "*") -> list[str]:
    """What a folder holds, nothing where there is none; a glob would hide that it cannot be listed.

    Raises:
        OSError: if it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [each.name for each in entries if fnmatch.fnmatchcase(each.name, pattern)]
    except FileNotFoundError:
        return []


@functools.cache
def _records(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = records.read(path)["records"]
    except (records.Damaged, OSError) as error:
        raise StoreError(f"{error}: take it from git again") from error
    return found


def _remove(path: Path) -> None:
    """Removes a file, a link or a folder, as far as that is allowed."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _advice(root: Path, error: OSError) -> str:
    return (
        f"the store {root} cannot be written: {error.strerror or error}. Runs that are already there stay valid; "
        "make room or permission, or set LMC_STORE to another folder, and run again: finished runs are not repeated"
    )
