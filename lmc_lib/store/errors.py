"""What a store refuses."""

__all__ = ["Busy", "NotStored", "StoreError"]


class StoreError(OSError):
    """The store cannot be read or written."""


class NotStored(KeyError):
    """A result is not in the store, and computing it was not allowed."""


class Busy(RuntimeError):
    """Another process computes a result, and waiting for it was not wanted."""
