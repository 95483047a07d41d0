"""What was measured, read from the store: of sets of replicas, or of one thing."""

__all__ = ["Found", "Record", "measure"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.alignment import MATCHERS
from lmc_lib.claims import Estimate, estimate, symmetric
from lmc_lib.experiments.divergence import divergence, sound
from lmc_lib.store import Store
from lmc_lib.sweeps import Spec, obtain

_Record = TypeVar("_Record", bound="Record")


@dataclass(frozen=True)
class Found:
    """Measurements of sets of replicas, such as pairs.

    Attributes:
        count: number of replicas.
        values: the stored values of each set, by the indices of its replicas; only those of sound trainings.
        diverged: indices of replicas whose training diverged; their sets are missing.
    """

    count: int
    values: Mapping[tuple[int, ...], Mapping[str, Any]]
    diverged: tuple[int, ...] = ()

    def of(self, *path: str | int) -> Float[ndarray, "sets ..."]:
        """What stands at a path in the stored values, one row a set; NaN for None."""
        return np.array([at(values, *path) for values in self.values.values()], dtype=float)

    def shared(self, *path: str | int) -> Any:
        """What stands at a path that is the same in all sets."""
        return at(next(iter(self.values.values())), *path)

    def better(self, read: Callable[[str], ndarray], by: Callable[[str], ndarray]) -> ndarray:
        """What is read under weight or activation matching, for each set under the one that is lower ``by``.

        Claims say that a permutation exists. Where the choice looks at the training set, what is read of the test set
        is not selected upon.
        """
        weights, activations = (by(matcher) for matcher in MATCHERS)
        values = [read(matcher) for matcher in MATCHERS]
        chosen = (weights <= activations).reshape(weights.shape + (1,) * (values[0].ndim - weights.ndim))
        return np.where(chosen, *values)

    def at_most(self, of_sets: Float[ndarray, " sets"], bound: float) -> str:
        """How many sets have a value of at most ``bound``, as ``"9 of 10"``."""
        return f"{int((of_sets <= bound).sum())} of {len(self.values)}"

    def symmetric(self, of_sets: Float[ndarray, " sets"]) -> Float[ndarray, "count count *more"]:
        """One value a set as a symmetric array with one axis a member; NaN where there is no set."""
        return symmetric(self.count, self.values, of_sets)

    def estimates(self, values: Mapping[str, Float[ndarray, " sets"]]) -> dict[str, Estimate]:
        """The median over sets of each quantity, with an interval that resamples replicas."""
        return {name: estimate(self.symmetric(of_sets)) for name, of_sets in values.items()}


def measure(store: Store, specs: Mapping[tuple[int, ...], Spec]) -> Found:
    """Obtains measurements by the indices of their replicas; call ``fill`` before to compute them in parallel.

    Raises:
        Diverged: if no measurement is sound.
    """
    records = {members: obtain(store, spec).values for members, spec in specs.items()}
    values = {members: record for members, record in records.items() if divergence(record) is None}
    if not values:
        sound(next(iter(records.values())))
    lost = {members[side] for members in records.keys() - values.keys() for side in records[members]["diverged"]}
    return Found(1 + max(max(members) for members in specs), values, tuple(sorted(lost)))


@dataclass(frozen=True)
class Record:
    """One measurement, by its stored values."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls: type[_Record], store: Store, spec: Spec) -> _Record:
        """Obtains a measurement; call ``fill`` before to compute several in parallel.

        Raises:
            Diverged: if a training behind it diverged.
        """
        return cls(sound(obtain(store, spec).values))

    def of(self, *path: str | int) -> ndarray:
        """What stands at a path in the stored values, as an array; NaN for None."""
        return np.array(at(self.values, *path), dtype=float)


def at(values: Any, *path: str | int) -> Any:
    """What stands at a path in nested dictionaries and lists."""
    for name in path:
        values = values[name]
    return values
