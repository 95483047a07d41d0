"""How far each metric is from its laws on the layers of a network."""

__all__ = ["LawSpec", "summary"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, ClassVar

import numpy as np
from torch import Generator, Tensor

from lmc_lib import rng, similarity
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.experiments.setting import Setting
from lmc_lib.experiments.values import rounded
from lmc_lib.similarity import INVARIANCES, METRICS, Metric, laws
from lmc_lib.state import State

# Where on a geodesic its points are looked at: not in the middle, where what is wrong may cancel.
_SHARE = 0.3


@dataclass(frozen=True)
class LawSpec(Measurement):
    """All that defines the measurement of laws on a network's layers: inputs, activations, logits, and one-hot labels.

    It measures by metric, as shares of the largest distance between layers: ``triangle``, the largest excess of a side
    over the two others, negative where all are shorter; ``symmetry``, the largest difference of a distance from that in
    the other direction; ``changes``, by invariance the largest change of a distance to the layer before;
    ``uneven``, how far a point of a geodesic between neighbours is from its place; and ``nearer``, how much nearer to
    the layer in the middle some point of the geodesic between the ends is than the projection. The last two are None
    where there are no geodesics.

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
        return {each.name: _laws(each, path, stream) for each, stream in streams.items()}


def _laws(each: Metric, path: Sequence[Tensor], generator: Generator) -> dict[str, Any]:
    points, distances = [each.point(layer) for layer in path], similarity.distances(each, path)
    size, middle = float(distances.max()), len(path) // 2
    back = [abs(float(each.space.distance(points[j], points[i]) - distances[i, j])) for i, j in _pairs(path)]
    values: dict[str, Any] = {
        "triangle": rounded(laws.triangle_excess(distances) / size),
        "symmetry": rounded(max(back) / size),
        "changes": {},
        "uneven": None,
        "nearer": None,
    }
    for name in INVARIANCES:
        moved = [
            abs(each.distance(laws.changed(layer, name, generator=generator), before) - each.distance(layer, before))
            for before, layer in pairwise(path[:-1])
        ]
        values["changes"][name] = rounded(max(moved) / size)
    if each.geodesics:
        values["uneven"] = rounded(max(laws.uneven(each.space, *pair, _SHARE) for pair in pairwise(points)))
        values["nearer"] = rounded(laws.nearer(each.space, points[middle], points[0], points[-1]) / size)
    return values


def _pairs(path: Sequence[Tensor]) -> list[tuple[int, int]]:
    return list(combinations(range(len(path)), 2))


def summary(found: Found, name: str) -> dict[str, float]:
    """The worst that was found of a metric in any network.

    Returns:
        The laws of ``LawSpec``; in place of ``changes``, ``"declared"``, the largest change where there should be none,
        and ``"others"``, the smallest where there may be one; NaN where nothing is asked.
    """
    kept = similarity.metric(name).invariances
    changes = {each: found.of(name, "changes", each) for each in INVARIANCES}
    others = [float(each.min()) for change, each in changes.items() if change not in kept]
    worst = {each: float(found.of(name, each).max()) for each in ("triangle", "symmetry", "uneven", "nearer")}
    declared = max(float(changes[each].max()) for each in kept)
    return worst | {"declared": declared, "others": min(others, default=np.nan)}
