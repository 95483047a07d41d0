"""Entries as objects of a bucket, such as Amazon's S3, which machines without a common folder share."""

__all__ = ["Bucket"]

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lmc_lib.store.address import is_key
from lmc_lib.store.entry import Entry, unpack
from lmc_lib.store.errors import Busy, StoreError

# Bytes that are read of an object whose tensors nobody wants; few descriptions are longer, and of those all is read.
_HEAD = 65536

# Seconds for which who computes something says that others need not, and seconds after which it is said again.
_LEASE = 300.0
_RENEWED = 100.0

# Answers to a conditional write: the condition does not hold, or somebody else writes.
_TAKEN = (409, 412)

# Seconds between two looks at what another process computes.
_PAUSE = 2.0


@dataclass(frozen=True)
class Bucket:
    """Objects ``<address>/runs/<two digits>/<fingerprint>.entry``, each with the content that the file would have.

    An object appears whole or not at all, and of two writers the first one wins, if the bucket knows conditional writes
    (``If-None-Match``), as S3 and MinIO do. Nothing that is stored depends on that, since both write the same values.
    The clocks of all machines should agree to a minute: on that rests who waits for whom, and nothing else.

    Attributes:
        address: as fsspec takes it, such as ``s3://name/folder``.
    """

    address: str

    def fetch(self, key: str, *, tensors: bool = True) -> Entry | None:
        """The entry with this fingerprint; None if there is no such object.

        Args:
            key: the fingerprint.
            tensors: whether to read the tensors; without them the entry has none, and their damage does not show.

        Raises:
            Damaged: if the object is not what was written, or the entry of another spec.
            StoreError: if the bucket cannot be read.
        """
        content = self._content(self._entry(key), whole=tensors)
        return None if content is None else unpack(key, content, tensors=tensors)

    def put(self, key: str, *parts: bytes, replace: bool = False) -> bool:
        """Writes an object; says whether it stands there: False if there was one, which is not to be replaced.

        Raises:
            StoreError: if the bucket cannot be written.
        """
        return self._put(self._entry(key), b"".join(parts), replace=replace)

    def keys(self) -> list[str]:
        """The fingerprints of all objects, in order.

        Raises:
            StoreError: if the bucket cannot be listed.
        """
        names = [name.rpartition("/")[2] for name, _ in self.objects("runs")]
        return [name.removesuffix(".entry") for name in names if is_key(name.removesuffix(".entry"))]

    def set_aside(self, key: str) -> str:
        """Moves an object out of its place, to ``<address>/set-aside``; returns where it is.

        Raises:
            StoreError: if it cannot be moved.
        """
        place = f"set-aside/{key}.entry-{time.time_ns()}-{secrets.token_hex(4)}"
        with self._told("written") as (files, root), contextlib.suppress(FileNotFoundError):  # another one was faster
            files.mv(f"{root}/{self._entry(key)}", f"{root}/{place}")
        return f"{self.address}/{place}"

    def objects(self, folder: str) -> list[tuple[str, int]]:
        """The names of all objects in a folder, below the address, and the bytes that each takes; in order.

        Raises:
            StoreError: if the bucket cannot be listed.
        """
        with self._told("listed") as (files, root):
            found = files.find(f"{root}/{folder}", detail=True)
            return sorted((path.removeprefix(f"{root}/"), each["size"]) for path, each in found.items())

    def age(self, name: str) -> float:
        """The seconds since an object was written; none if it is not there.

        Raises:
            StoreError: if the bucket cannot be read.
        """
        with self._told("read") as (files, root):
            try:
                written: datetime = files.modified(f"{root}/{name}")
            except FileNotFoundError:
                return 0.0
            return time.time() - written.timestamp()

    def remove(self, name: str) -> None:
        """Removes an object, if it is there.

        Raises:
            StoreError: if it cannot be removed.
        """
        with self._told("written") as (files, root), contextlib.suppress(FileNotFoundError):
            files.rm_file(f"{root}/{name}")

    @contextlib.contextmanager
    def lease(self, key: str, *, wait: bool) -> Iterator[None]:
        """Makes others wait, or go on, who want the same entry, as long as this process lives.

        Args:
            key: the fingerprint.
            wait: whether to wait for another process that has it.

        Raises:
            Busy: if another process has it, and ``wait`` is false.
            StoreError: if the bucket cannot be read or written.
        """
        path, mine = self._lease(key), secrets.token_hex(8)
        while not self._take(path, mine):
            if not wait:
                raise Busy(f"another process computes {key}")
            time.sleep(_PAUSE)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(path, mine, ended), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(StoreError):  # it runs out by itself
                self._release(path, mine)

    def is_leased(self, key: str) -> bool:
        """Says whether a process has an entry now.

        Raises:
            StoreError: if the bucket cannot be read.
        """
        return self._holder(self._lease(key)) is not None

    def _take(self, path: str, mine: str) -> bool:
        """Tries to get a lease. Of two who find one that has run out, both can get it: then both compute."""
        if (holder := self._holder(path)) is None and self._put(path, _claim(mine)):
            return True
        # Looked at once more: what has written it may have been this call, whose answer was lost.
        if (holder := holder or self._holder(path)) is not None:
            return holder == mine
        self._put(path, _claim(mine), replace=True)
        return self._holder(path) == mine

    def _renew(self, path: str, mine: str, ended: threading.Event) -> None:
        while not ended.wait(_RENEWED):
            with contextlib.suppress(StoreError):  # a lease that runs out costs work and nothing else
                self._put(path, _claim(mine), replace=True)

    def _release(self, path: str, mine: str) -> None:
        if self._holder(path) == mine:
            self.remove(path)

    def _holder(self, path: str) -> str | None:
        """Who has a lease; None if nobody, or if it has run out, or has been written by a clock that is far ahead."""
        content = self._content(path, whole=True)
        try:
            claim = json.loads(content or b"{}")
            return str(claim["token"]) if 0.0 < float(claim["until"]) - time.time() < 2.0 * _LEASE else None
        except (ValueError, KeyError, TypeError):
            return None

    def _content(self, path: str, *, whole: bool) -> bytes | None:
        with self._told("read") as (files, root):
            try:
                head: bytes | None = None if whole else _head(files, f"{root}/{path}")
                content: bytes = files.cat_file(f"{root}/{path}") if head is None else head
            except FileNotFoundError as error:
                if _answer(error).get("Error", {}).get("Code") == "NoSuchBucket":
                    raise
                return None
            return content

    def _put(self, path: str, content: bytes, *, replace: bool = False) -> bool:
        with self._told("written") as (files, root):
            try:
                files.pipe_file(f"{root}/{path}", content, mode="overwrite" if replace else "create")
            except FileExistsError:
                return False
            except OSError as error:
                # There is one, or somebody writes it: not all servers say so in words that s3fs knows.
                if replace or _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode") not in _TAKEN:
                    raise
                return False
        return True

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[tuple[Any, str]]:
        """The file system of fsspec and the root in it; what goes wrong there is told in words of the store.

        Raises:
            StoreError: for whatever is raised; libraries of buckets have errors of their own.
        """
        try:
            # Looked up each time: processes and threads share neither loops nor connections.
            import fsspec  # noqa: PLC0415 -- torch brings it; most stores are folders

            files, root = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
            yield files, root.rstrip("/")
        except StoreError:
            raise
        except ImportError as error:
            raise StoreError(
                f"the store {self.address} needs a package: {error}. pip install -e '.[cluster]' brings that for S3"
            ) from error
        except Exception as error:
            raise self._error(done, error) from error

    def _error(self, done: str, error: Exception) -> StoreError:
        return StoreError(
            f"the store {self.address} cannot be {done}: {str(error) or type(error).__name__}. Runs that are already "
            "there stay valid; see that the bucket is there and that this machine may use it, and run again: finished "
            "runs are not repeated"
        )

    @staticmethod
    def _entry(key: str) -> str:
        return f"runs/{key[:2]}/{key}.entry"

    @staticmethod
    def _lease(key: str) -> str:
        return f"leases/{key[:2]}/{key}.json"


def _head(files: Any, path: str) -> bytes | None:
    """The beginning of an object, if the whole first line is in it."""
    try:
        head: bytes = files.cat_file(path, start=0, end=_HEAD)
    except FileNotFoundError:
        raise
    except OSError:  # an empty object has no such range
        return None
    return head if b"\n" in head or len(head) < _HEAD else None


def _answer(error: Exception) -> Mapping[str, Any]:
    """What the server said, if it said anything."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
    return answer


def _claim(token: str) -> bytes:
    """What a lease says: whose it is and until when, in seconds since 1970."""
    who = {"host": platform.node(), "process": os.getpid()}
    return json.dumps({"token": token, "until": time.time() + _LEASE, **who}).encode()
