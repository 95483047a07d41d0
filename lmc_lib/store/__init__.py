"""Runs and records by fingerprint: computed once, checked when read, never served half-written."""

__all__ = ["DIRTY", "Entry", "NotStored", "Result", "Store", "StoreError", "describe", "fingerprint", "provenance"]

from lmc_lib.store.address import describe, fingerprint
from lmc_lib.store.entry import Entry, Result
from lmc_lib.store.origin import DIRTY, provenance
from lmc_lib.store.store import NotStored, Store, StoreError
