"""Distances between a network's layers and the labels under each metric, and angles of what has nothing in common."""

__all__ = [
    "STATES", "GeometrySpec", "NoiseSpec", "OfStates", "evidence", "order_by_metric", "rank_correlation",
]  # fmt: skip

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import rng, similarity
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import Setting
from lmc_lib.experiments.values import digits, rounded
from lmc_lib.similarity import FLAVOURS, METRICS, Kernels, Metric
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import on_device

STATES = ("untrained", "trained")

_ANGLES = {flavour: similarity.cka(flavour) for flavour in FLAVOURS}
_LABELS = ("true", "shuffled")


@dataclass(frozen=True)
class OfStates(Measurement):
    """The measurement of one network before and after training.

    Attributes:
        run: the network, with a checkpoint at step 0.
    """

    run: RunSpec

    def get(self, store: Store, run: RunSpec) -> dict[str, State]:
        """The weights by state, one of ``STATES``."""
        found = obtain_run(store, run)
        return {
            name: on_device(state, run.train) for name, state in zip(STATES, (found.at(0), found.final), strict=True)
        }


@dataclass(frozen=True)
class GeometrySpec(OfStates):
    """All that defines the measurement of a network's layers: inputs, activations, logits.

    It measures ``units`` of each layer, and by state (one of ``STATES``):

    - ``target``: by metric the distance of each layer to the one-hot labels, on all test examples;
    - ``unrelated``: by flavour, and by number of images, the mean ``angle`` and the mean ``chance`` cosine
      (:meth:`~lmc_lib.similarity.Kernels.chance`) of neighbouring activations, one of which has its images shuffled;
    - ``order``, after training only: by flavour, and by number of images, the mean rank correlation over layers between
      their distances to the labels on these images, and those without bias (``"song"``) on all other images; of labels
      as they are (``"true"``), and of labels that were given to other images (``"shuffled"``).

    Attributes:
        images: numbers of images.
        shuffles: draws of images.
    """

    kind: ClassVar[str] = "GeometrySpec"
    noun: ClassVar[str] = "geometries"

    images: tuple[int, ...] = (16, 32, 125)
    shuffles: int = 20

    def measure(self, here: Setting, *got: Mapping[str, State]) -> dict[str, Any]:
        """Measures the representations of the test images."""
        labels = here.targets("test")
        values: dict[str, Any] = {}
        for name, state in got[0].items():
            path = here.path(state, "test")
            values["units"] = [layer.shape[1] for layer in path]
            values[name] = {
                "target": {each.name: digits(_to_targets(each, path, [labels])[0]) for each in METRICS},
                "unrelated": self._unrelated(path[1:-1]),
            }
            if name == "trained":
                values[name]["order"] = self._order(path, labels)
        return values

    def _unrelated(self, layers: Sequence[Tensor]) -> dict[str, Any]:
        counts = []
        for count in self.images:
            draws: list[tuple[Tensor, Tensor]] = []
            for stream in self._streams("unrelated", count):
                rows = torch.randperm(len(layers[0]), generator=stream)[:count]
                order = rows[torch.randperm(count, generator=stream)]
                draws += [(first[rows], second[order]) for first, second in pairwise(layers)]
            counts.append(draws)
        return _by_chance(counts)

    def _order(self, path: Sequence[Tensor], labels: Tensor) -> dict[str, Any]:
        found: dict[str, Any] = {flavour: {how: [] for how in _LABELS} for flavour in FLAVOURS}
        for count in self.images:
            ranks: dict[tuple[str, str], list[float]] = {each: [] for each in product(FLAVOURS, _LABELS)}
            for stream in self._streams("order", count):
                rows = torch.randperm(len(labels), generator=stream)
                here, other = rows[:count], rows[count:]
                targets = (labels, labels[torch.randperm(len(labels), generator=stream)])
                known = _to_targets(_ANGLES["song"], [each[other] for each in path], [each[other] for each in targets])
                for flavour, angle in _ANGLES.items():
                    seen = _to_targets(angle, [each[here] for each in path], [each[here] for each in targets])
                    for how, *both in zip(_LABELS, seen, known, strict=True):
                        ranks[flavour, how].append(rank_correlation(*both))
            for (flavour, how), of_draws in ranks.items():
                found[flavour][how].append(rounded(float(np.mean(of_draws))))
        return found

    def _streams(self, what: str, count: int) -> list[Generator]:
        return [
            rng.stream(self.seed, "geometry", what, count, draw, self.run.init_seed) for draw in range(self.shuffles)
        ]


@dataclass(frozen=True)
class NoiseSpec(Spec):
    """All that defines how unrelated random representations look: the units of each are independent normal numbers.

    It measures by flavour the mean ``angle`` and the mean ``chance`` cosine, a row a number of images and a column a
    number of units.

    Attributes:
        images: numbers of images.
        units: numbers of units.
        draws: pairs of representations.
        seed: stream of the numbers.
    """

    kind: ClassVar[str] = "NoiseSpec"
    noun: ClassVar[str] = "random representations"

    images: tuple[int, ...] = (16, 64)
    units: tuple[int, ...] = (4, 16, 64, 256, 1024)
    draws: int = 10
    seed: int = 0

    @property
    def label(self) -> str:
        """What it measures, since no network does."""
        return "random representations"

    def pace(self) -> float:
        """It trains nothing."""
        return 0.0

    def compute(self, store: Store) -> Result:
        """Draws pairs and measures their angles."""
        rows = [_by_chance([self._pairs(count, units) for units in self.units]) for count in self.images]
        names = product(FLAVOURS, ("angle", "chance"))
        found: dict[str, Any] = {flavour: {} for flavour in FLAVOURS}
        for flavour, name in names:
            found[flavour][name] = [row[flavour][name] for row in rows]
        return Result(found)

    def _pairs(self, count: int, units: int) -> list[tuple[Tensor, Tensor]]:
        stream = rng.stream(self.seed, "noise", count, units)
        return [tuple(torch.randn(2, count, units, generator=stream, dtype=torch.float64)) for _ in range(self.draws)]


def evidence(found: Found, how: str = "true") -> dict[str, Estimate]:
    """The means over trained networks that the criterion asks for.

    Args:
        found: the measurements of networks.
        how: labels as they are (``"true"``), or ``"shuffled"``.

    Returns:
        By flavour the right angle less the angle of unrelated activations, on the least number of images; ``"song
        beyond"``, the same with its sign changed; ``"order"``, the rank correlation of the biased flavour, on the
        largest number of images, with the unbiased one on other images; and by metric its rank correlation with the
        unbiased flavour on all images.
    """
    angles = {flavour: found.of("trained", "unrelated", flavour, "angle")[:, 0] for flavour in FLAVOURS}
    numbers = {flavour: math.pi / 2 - each for flavour, each in angles.items()}
    numbers |= {"song beyond": -numbers["song"], "order": found.of("trained", "order", "gretton", how)[:, -1]}
    return {name: estimate_of_mean(each) for name, each in (numbers | order_by_metric(found, "trained")).items()}


def order_by_metric(found: Found, state: str) -> dict[str, Float[ndarray, " networks"]]:
    """By metric the rank correlation over layers of each network's distances to the labels with those by "song"."""
    layers = {each.name: found.of(state, "target", each.name) for each in METRICS}
    of_networks = {name: zip(each, layers["cka-linear-song"], strict=True) for name, each in layers.items()}
    return {name: np.array([rank_correlation(*both) for both in each]) for name, each in of_networks.items()}


def rank_correlation(first: Float[ndarray, " layers"], second: Float[ndarray, " layers"]) -> float:
    """Spearman's rank correlation of numbers without ties.

    With integers up to one division, so that it has the same last bit everywhere; means of it are near 0 in controls.
    """
    ranks = (each.argsort().argsort() for each in (first, second))
    one, other = (each - each.mean() for each in ranks)
    return float(one @ other / (one @ one))  # the same ranks in another order have the same length


def _by_chance(sets: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> dict[str, dict[str, list[float]]]:
    """By flavour the mean angle of the pairs in each set, and their mean cosine by chance."""
    found: dict[str, dict[str, list[float]]] = {}
    for flavour, each in _ANGLES.items():
        points = [[(each.point(first), each.point(second)) for first, second in pairs] for pairs in sets]
        measured = {"angle": each.space.distance, "chance": Kernels(flavour).chance}
        found[flavour] = {
            name: [rounded(float(np.mean([float(of(*pair)) for pair in pairs]))) for pairs in points]
            for name, of in measured.items()
        }
    return found


def _to_targets(each: Metric, path: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Float[ndarray, " layers"]]:
    """The distances of all layers to each target."""
    points, ends = ([each.point(layer) for layer in layers] for layers in (path, targets))
    return [np.array([float(each.space.distance(point, end)) for point in points]) for end in ends]
