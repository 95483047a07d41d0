"""How far training moves a network from its random start."""

__all__ = ["MovementSpec", "relative"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import state
from lmc_lib.experiments.divergence import divergence, measured
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start, obtain_run
from lmc_lib.experiments.values import rounded
from lmc_lib.norms import without_statistics
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain


@dataclass(frozen=True)
class MovementSpec(Spec):
    """All that defines how far a network moves.

    It measures ``distance``, to the random start of ``run``, and ``start``, the length of that; statistics of BatchNorm
    do not count.
    """

    kind: ClassVar[str] = "MovementSpec"
    noun: ClassVar[str] = "movements"

    run: RunSpec

    def compute(self, store: Store) -> Result:
        """Measures the way from the start to the last weights."""
        return measured((self.run,), lambda run: obtain_run(store, run).final, self._moved)

    def _moved(self, final: State) -> dict[str, Any]:
        start, end = map(without_statistics, (drawn_start(self.run, architecture(self.run)), final))
        return {"distance": rounded(state.distance(start, end)), "start": rounded(state.norm(start))}


def relative(store: Store, specs: Sequence[MovementSpec]) -> Float[ndarray, " networks"]:
    """Distances to the start as multiples of its length, of the networks whose training did not diverge."""
    found = [obtain(store, spec).values for spec in specs]
    return np.array([each["distance"] / each["start"] for each in found if divergence(each) is None])
