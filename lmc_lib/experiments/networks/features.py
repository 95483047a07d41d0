"""How the features of a network settle in training."""

__all__ = ["FeatureSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.experiments.values import rounded
from lmc_lib.similarity import angular_cka
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import Trajectory


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
