"""What a sweep can compute: results that say what defines them, what they need, and how they are made."""

__all__ = ["Spec", "obtain", "one_thread"]

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from lmc_lib.store import Entry, Result, Store


@dataclass(frozen=True)
class Spec(ABC):
    """All that defines a result: a frozen dataclass whose fingerprint is the result's address.

    Attributes:
        kind: what stands as type in its description, so that a class can be renamed without moving its results.
        noun: what many of its kind are called.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]

    @property
    def needs(self) -> tuple["Spec", ...]:
        """The results that are computed first: unless a subclass says otherwise, all specs that its fields hold."""
        return tuple(_specs(getattr(self, field.name) for field in fields(self)))

    @property
    def label(self) -> str:
        """The setting in short, for tables: unless a subclass says otherwise, that of the first spec in its fields."""
        return self._first.label

    @property
    def factors(self) -> str:
        """What was done to networks or their data, in words for a table; nothing, unless a subclass says so."""
        return ""

    @property
    def updates(self) -> int:
        """The number of updates of the training that it is; 0 for a measurement."""
        return 0

    def pace(self) -> float:
        """How many seconds an update of its training takes here: unless a subclass measures it, as its first spec's."""
        return self._first.pace()

    @property
    def _first(self) -> "Spec":
        held = next(_specs(getattr(self, field.name) for field in fields(self)), None)
        if held is None:
            raise TypeError(f"{type(self).__name__} holds no spec whose label and pace it could have: it needs its own")
        return held

    @abstractmethod
    def compute(self, store: Store) -> Result:
        """Makes the result; a training that diverges is a result too."""


def _specs(values: Iterable[Any]) -> Iterator[Spec]:
    """The specs among some values, and those in tuples and in dataclasses that are no specs themselves."""
    for value in values:
        if isinstance(value, Spec):
            yield value
        elif isinstance(value, tuple):
            yield from _specs(value)
        elif is_dataclass(value):
            yield from _specs(getattr(value, field.name) for field in fields(value))


def obtain(store: Store, spec: Spec) -> Entry:
    """Returns a result from the store; what is not there is computed with one thread, and kept."""
    with one_thread():
        return store.get_or_compute(spec, lambda: spec.compute(store))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute with one thread for a while."""
    import torch  # noqa: PLC0415 -- who only plans need not wait for it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
