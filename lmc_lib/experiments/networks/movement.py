"""How far training moves the weights of a network from their random start, and its features to those of the end."""

__all__ = ["FeatureSpec", "MovementSpec", "relative"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import state
from lmc_lib.experiments.divergence import divergence, measured
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.norms import without_statistics
from lmc_lib.similarity import angular_cka
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.training import Trajectory
from lmc_lib.values import rounded


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


@dataclass(frozen=True)
class FeatureSpec(Spec):
    """All that defines how a network's features settle: the angle of each checkpoint's features to those of the end.

    Attributes:
        run: the network, with checkpoints.
        examples: number of test examples whose features are compared.
    """

    kind: ClassVar[str] = "FeatureSpec"
    noun: ClassVar[str] = "features"

    run: RunSpec
    examples: int = 256

    def compute(self, store: Store) -> Result:
        """Compares the activations behind each activation function, in radians."""
        return measured((self.run,), lambda run: obtain_run(store, run), self._angles)

    def _angles(self, trajectory: Trajectory) -> dict[str, Any]:
        here = setting(self.run, *[self.examples] * 4)
        features = [here.features(state, here.inputs("test")) for state in trajectory.states]
        angles = {
            node: [rounded(angular_cka(seen[node], last)) for seen in features] for node, last in features[-1].items()
        }
        return {"steps": list(trajectory.steps), "angles": angles}


def relative(store: Store, specs: Sequence[MovementSpec]) -> Float[ndarray, " networks"]:
    """Distances to the start as multiples of its length, of the networks whose training did not diverge."""
    found = [obtain(store, spec).values for spec in specs]
    return np.array([each["distance"] / each["start"] for each in found if divergence(each) is None])
