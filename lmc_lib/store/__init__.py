"""Runs and records by fingerprint: computed once, checked when read, never served half-written."""

__all__ = [
    "DIRTY", "BadArchive", "Bucket", "Busy", "Entry", "NotStored", "Result", "Store", "StoreError", "Waste", "code_of",
    "describe", "fingerprint", "provenance", "read_archive", "remove", "waste", "write_archive",
]  # fmt: skip

from lmc_lib.store.address import describe, fingerprint
from lmc_lib.store.archive import BadArchive, read_archive, write_archive
from lmc_lib.store.bucket import Bucket
from lmc_lib.store.code import code_of
from lmc_lib.store.entry import Entry, Result
from lmc_lib.store.errors import Busy, NotStored, StoreError
from lmc_lib.store.origin import DIRTY, provenance
from lmc_lib.store.store import Store
from lmc_lib.store.upkeep import Waste, remove, waste
