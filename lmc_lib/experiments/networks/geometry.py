"""Distances between a network's layers and the labels under each metric, and angles of what has nothing in common."""

__all__ = ["STATES", "GeometrySpec", "NoiseSpec", "OfStates", "evidence", "order_by_metric"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import rng, similarity
from lmc_lib.alignment import Setting
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.similarity import FLAVOURS, METRICS, mean_angles, rank_correlation, to_targets, unrelated
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import on_device
from lmc_lib.values import columns, digits

STATES = ("untrained", "trained")


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
    - ``unrelated``: by flavour, and by number of images, the ``angle`` and the ``chance`` cosine of neighbouring
      activations, one of which has its images shuffled (:func:`~lmc_lib.similarity.mean_angles`);
    - ``order``, after training only: by flavour, by labels as they are (``"true"``) or ``"shuffled"``, and by number
      of images, how these images order the layers (:func:`~lmc_lib.similarity.orders`).

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
            pairs = [unrelated(path[1:-1], count, self._streams("unrelated", count)) for count in self.images]
            values[name] = {
                "target": {each.name: digits(to_targets(each, path, [labels])[0]) for each in METRICS},
                "unrelated": digits(columns([mean_angles(each) for each in pairs])),
            }
            if name == "trained":
                orders = [similarity.orders(path, labels, each, self._streams("order", each)) for each in self.images]
                values[name]["order"] = digits(columns(orders))
        return values

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
        rows = [columns([mean_angles(self._pairs(count, each)) for each in self.units]) for count in self.images]
        return Result(digits(columns(rows)))

    def _pairs(self, count: int, units: int) -> list[tuple[Tensor, Tensor]]:
        stream = rng.stream(self.seed, "noise", count, units)
        return [tuple(torch.randn(2, count, units, generator=stream, dtype=torch.float64)) for _ in range(self.draws)]


def evidence(found: Found, how: str = "true") -> dict[str, Estimate]:
    """The means over trained networks that the criterion asks for, with labels as they are, or ``"shuffled"``.

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
