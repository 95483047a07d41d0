"""What a sweep can compute: results that say what defines them, what they need, and how they are made."""

__all__ = ["Spec", "obtain"]

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from lmc_lib.store import Entry, Result, Store


@runtime_checkable
class Spec(Protocol):
    """A frozen dataclass whose fields are all that defines a result; its fingerprint is the result's address.

    Attributes:
        noun: what many of its kind are called.
        __dataclass_fields__: marks a dataclass.
    """

    noun: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def label(self) -> str:
        """The setting in short, for tables."""
        ...

    @property
    def needs(self) -> tuple["Spec", ...]:
        """The results that are computed first."""
        ...

    def compute(self, store: Store) -> Result:
        """Makes the result; a training that diverges is a result too."""
        ...


def obtain(store: Store, spec: Spec) -> Entry:
    """Returns a result from the store; what is not there is computed with one thread, and kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return store.get_or_compute(spec, lambda: spec.compute(store))
    finally:
        torch.set_num_threads(threads)
