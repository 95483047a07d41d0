"""How far each metric is from its laws on the layers of a network."""

__all__ = ["LawSpec", "summary"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lmc_lib import rng, similarity
from lmc_lib.alignment import Setting
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.similarity import INVARIANCES, METRICS, laws
from lmc_lib.state import State
from lmc_lib.values import or_none


@dataclass(frozen=True)
class LawSpec(Measurement):
    """All that defines the measurement of laws on a network's layers: inputs, activations, logits, and one-hot labels.

    It measures by metric what :func:`lmc_lib.similarity.laws.departures` finds; None where there are no geodesics.

    Attributes:
        run: the network; its last weights are measured, on all test examples.
    """

    kind: ClassVar[str] = "LawSpec"
    noun: ClassVar[str] = "laws"

    run: RunSpec

    def measure(self, here: Setting, *states: State) -> dict[str, Any]:
        """Measures every metric."""
        path = [*here.path(states[0], "test"), here.targets("test")]
        streams = {each: rng.stream(self.seed, "laws", each.name, self.run.init_seed) for each in METRICS}
        return {each.name: or_none(laws.departures(each, path, generator=draws)) for each, draws in streams.items()}


def summary(found: Found, name: str) -> dict[str, float]:
    """The worst that was found of a metric in any network.

    Returns:
        The laws that are measured; in place of ``changes``, ``"declared"``, the largest change where there should be
        none, and ``"others"``, the smallest where there may be one; NaN where nothing is asked.
    """
    kept = similarity.metric(name).invariances
    changes = {each: found.of(name, "changes", each) for each in INVARIANCES}
    others = [float(each.min()) for change, each in changes.items() if change not in kept]
    worst = {each: float(found.of(name, each).max()) for each in ("triangle", "symmetry", "uneven", "nearer")}
    declared = max(float(changes[each].max()) for each in kept)
    return worst | {"declared": declared, "others": min(others, default=np.nan)}
