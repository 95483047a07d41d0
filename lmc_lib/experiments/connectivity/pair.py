"""Pairs of networks: aligned in several ways, measured along the line between them."""

__all__ = ["METHODS", "PairSpec", "barriers", "best", "evidence"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, state, symmetry
from lmc_lib.alignment import MATCHERS, Lines, Setting
from lmc_lib.claims import Estimate
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation
from lmc_lib.values import digits, loss_and_error, rounded, share

METHODS = ("none", "random", *MATCHERS)


@dataclass(frozen=True)
class PairSpec(PairMeasurement):
    """All that defines the measurement of a pair.

    It measures ``curves`` by method, split and quantity, and ``fixed_points`` and ``distance`` by method.

    Attributes:
        points: points on the line, the two ends included.
        restarts: attempts of weight matching.
    """

    kind: ClassVar[str] = "PairSpec"
    noun: ClassVar[str] = "pairs"

    points: int = 25
    restarts: int = 1

    @property
    def VERSION(self) -> int:  # noqa: N802 -- read by the store
        """Moves portable results apart from those made when ties between assignments were broken otherwise."""
        return 2 if self.target.train.precision == "portable" else 1

    def measure(self, here: Setting, target: State, source: State) -> dict[str, Any]:
        """Aligns the two networks in several ways and evaluates the lines between them."""
        values: dict[str, Any] = {"curves": {}, "fixed_points": {}, "distance": {}}
        lines = Lines(here, target, source, self.points)
        for method in METHODS:
            permutation = self._permutation(here, method, target, source)
            values["curves"][method] = loss_and_error(lines.under(permutation))
            values["fixed_points"][method] = share(symmetry.fixed_points(permutation))
            values["distance"][method] = rounded(state.distance(target, here.permuted(source, permutation)))
        values["alphas"] = digits(lines.last["train"].alphas)
        return values

    def _permutation(self, here: Setting, method: str, target: State, source: State) -> Permutation:
        if method == "none":
            return symmetry.identity(here.permutations)
        generator = self.stream(method)
        if method == "random":
            return symmetry.random(here.permutations, generator=generator)
        options: dict[str, Any] = {"restarts": self.restarts} if method == "weights" else {}
        return here.match(method, target, source, generator=generator, **options)


def barriers(found: Found, method: str, split: str, quantity: str) -> Float[ndarray, " pairs"]:
    """Barriers above the chord, from the curves."""
    alphas = torch.tensor(found.shared("alphas"), dtype=torch.float64)
    curves = torch.from_numpy(found.of("curves", method, split, quantity))
    return np.array([connectivity.barrier(curve, alphas) for curve in curves])


def best(found: Found, split: str, quantity: str) -> Float[ndarray, " pairs"]:
    """Barriers under the better of weight and activation matching, chosen for each pair by its train loss."""
    return found.better(
        lambda method: barriers(found, method, split, quantity), lambda method: barriers(found, method, "train", "loss")
    )


def evidence(found: Found) -> dict[str, Estimate]:
    """The estimates that the criterion of a pairwise claim asks for, from barriers in test error.

    Returns:
        ``"raw"``, the median without a permutation; ``"aligned"``, the median under the better matching.
    """
    aligned = best(found, "test", "error")
    raw = barriers(found, "none", "test", "error")
    return found.estimates({"raw": raw, "aligned": aligned})
