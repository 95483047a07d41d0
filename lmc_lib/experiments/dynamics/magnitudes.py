"""Two-layer networks at planted minima: how the loss grows where examples have one magnitude, or two."""

__all__ = ["FAR", "PREDICTED", "MagnitudeSpec", "evidence", "exponents"]

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import curvature, magnitudes
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import or_none

# Rises of a quadratic loss, at whose distances the rises of the loss are measured.
PREDICTED = np.array([10.0 ** (each / 4) for each in range(-12, 21)])

# Between these of them the loss is out of reach of the larger magnitude, and in that of the smaller one.
FAR = 1e2, 1e4


@dataclass(frozen=True)
class MagnitudeSpec(Spec):
    """All that defines two-layer networks at planted minima, and what is measured there.

    It measures the rises of :func:`~lmc_lib.flow.curvature.rises` at ``PREDICTED`` along the eigenvector of the largest
    second derivative, one row a seed: ``two``, where every other example has the smaller magnitude, and ``one``, where
    all have the larger one and all else is the same.

    Attributes:
        examples: number of examples.
        inputs: numbers of an example.
        units: hidden units.
        ratio: of the larger magnitude to the smaller one.
        seeds: number of problems.
        first_seed: seed of the first of them.
    """

    kind: ClassVar[str] = "MagnitudeSpec"
    noun: ClassVar[str] = "sets of planted minima"

    examples: int
    inputs: int
    units: int
    ratio: float
    seeds: int
    first_seed: int = 0

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"two-layer network, {self.units} units"

    @property
    def factors(self) -> str:
        """What they are asked."""
        return f"{self.examples} examples, magnitudes 1 and 1 / {self.ratio:g}"

    def compute(self, store: Store) -> Result:
        """Draws the problems, and measures each."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        risen = {
            name: np.stack([self._rises(seed, mixed=name == "two").numpy() for seed in seeds])
            for name in ("two", "one")
        }
        return Result(or_none(risen))

    def _rises(self, seed: int, *, mixed: bool) -> torch.Tensor:
        generator = rng.stream(seed, "magnitudes")
        sizes = self.examples, self.inputs, self.units, self.ratio
        problem = magnitudes.planted(*sizes, mixed=mixed, generator=generator)
        _, top = curvature.sharpest(problem.loss, problem.weights)
        return curvature.rises(problem.loss, problem.weights, top[None], torch.from_numpy(PREDICTED))[0].detach()


def evidence(found: Record) -> dict[str, Estimate]:
    """Means over seeds of the exponent of growth far out: with two magnitudes (``"two"``) and with one (``"one"``).

    ``"further"`` is the difference, of problems of the same draws.
    """
    ends = [int(np.abs(np.log(PREDICTED / each)).argmin()) for each in FAR]
    far = {each: curvature.exponents(PREDICTED[ends], found.of(each)[:, ends])[:, 0] for each in ("two", "one")}
    numbers = far | {"further": far["two"] - far["one"]}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def exponents(found: Record, kind: str) -> Float[ndarray, "seeds exponents"]:
    """The local exponents of growth between neighbours of ``PREDICTED``, one row a seed.

    Args:
        found: a set of planted minima.
        kind: ``"two"`` or ``"one"``.
    """
    return curvature.exponents(PREDICTED, found.of(kind))
