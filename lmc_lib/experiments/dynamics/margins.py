"""Linear maps with two blocks of weights, trained past separation: where they turn to, and what margin is left."""

__all__ = ["MarginSpec", "angles", "discarding", "kept", "robustness", "shares", "turning"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import margins
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits

# Data that are not as asked for are drawn again so often.
_ATTEMPTS = 1000


@dataclass(frozen=True)
class MarginSpec(Spec):
    """All that defines linear maps with a wide and a narrow block of inputs, under gradient flow.

    It measures, one row a seed and one column a norm, ``maps`` of length 1, their ``margins``, ``losses`` as powers of
    ten, and ``errors`` on fresh points, by how far these are moved against their label; and by seed, of length 1, the
    map with the greatest margin, ``widest``, this margin, ``greatest``, and the map in which the norm of the wide block
    is least, ``cheapest``.

    Attributes:
        sizes: numbers of inputs of the wide and of the narrow block.
        degrees: of the wide and of the narrow block.
        distances: of the centre of a class from zero, in the wide and in the narrow block.
        spare: whether the narrow block separates the classes alone.
        points: number of points that are learnt.
        norms: rising.
        moved: distances by which fresh points are moved.
        seeds: number of seeds, each with its own points and start.
        first_seed: the first of them.
        fresh: number of fresh points.
    """

    kind: ClassVar[str] = "MarginSpec"
    noun: ClassVar[str] = "maps past separation"

    sizes: tuple[int, int]
    degrees: tuple[int, int]
    distances: tuple[float, float]
    spare: bool
    points: int
    norms: tuple[float, ...]
    moved: tuple[float, ...]
    seeds: int
    first_seed: int = 0
    fresh: int = 2000

    @property
    def label(self) -> str:
        """The degrees in short."""
        return "degrees {} and {}".format(*self.degrees)

    def learnt(self, seed: int) -> Float[ndarray, "points inputs"]:
        """Draws the points of a seed, again and again until the narrow block separates them alone, or does not.

        Raises:
            ValueError: if no draw is as it should be.
        """
        for attempt in range(_ATTEMPTS):
            points = self._drawn(self.points, seed, "points", attempt)
            if margins.separable(points[:, self.sizes[0] :]) == self.spare:
                return points
        raise ValueError(f"of {_ATTEMPTS} draws none has a narrow block that separates alone: {self.spare}")

    def compute(self, store: Store) -> Result:
        """Draws points and starts, trains, and solves for the ends."""
        rows = [self._row(seed) for seed in range(self.first_seed, self.first_seed + self.seeds)]
        return Result({name: digits(np.stack([row[name] for row in rows])) for name in rows[0]})

    def _drawn(self, count: int, seed: int, *name: str | int) -> ndarray:
        stream = rng.numpy_stream(seed, "margins", *name)
        return margins.balls(count, self.sizes, self.distances, generator=stream)

    def _row(self, seed: int) -> dict[str, ndarray]:
        points, fresh = self.learnt(seed), self._drawn(self.fresh, seed, "fresh")
        start = rng.numpy_stream(seed, "margins", "start").uniform(0.2, 0.8, (2, sum(self.sizes)))
        found = margins.grown(points, start, np.repeat(self.degrees, self.sizes), self.norms)
        maps = found / np.linalg.norm(found, axis=1, keepdims=True)
        wide = np.arange(sum(self.sizes)) < self.sizes[0]
        ends = {"widest": margins.max_margin(points, np.ones_like(wide)), "cheapest": margins.max_margin(points, wide)}
        outputs = -points @ found.T
        return {
            "maps": maps,
            "margins": margins.margin(points, maps),
            "greatest": margins.margin(points, ends["widest"]),
            "losses": (np.log10(np.e) * (np.logaddexp.reduce(outputs, 0) - np.log(self.points))).round(1),
            "errors": (fresh @ maps.T < np.reshape(self.moved, (-1, 1, 1))).mean(1).T,
            **{name: each / np.linalg.norm(each) for name, each in ends.items()},
        }


def angles(found: Record, end: str) -> Float[ndarray, "seeds norms"]:
    """The angles between maps and an end, ``"widest"`` or ``"cheapest"``."""
    return margins.angle(found.of("maps"), found.of(end)[:, None])


def shares(found: Record, wide: int) -> Float[ndarray, "seeds norms"]:
    """The norm of the wide block, of so many inputs, by that of all weights."""
    return np.asarray(np.linalg.norm(found.of("maps")[..., :wide], axis=-1))


def kept(found: Record) -> Float[ndarray, "seeds norms"]:
    """The margins by the greatest one of each seed."""
    return np.asarray(found.of("margins") / found.of("greatest")[:, None])


def turning(found: Record, end: str, norms: Sequence[float]) -> dict[str, Estimate]:
    """Means over seeds of the ``"angle"`` to an end at the largest norm, and of its ``"slope"`` up to there."""
    return dict(zip(("angle", "slope"), _last(angles(found, end), norms), strict=True))


def discarding(found: Record, wide: int, norms: Sequence[float]) -> dict[str, Estimate]:
    """Means over seeds of the ``"share"`` of the wide block at the largest norm, and of its ``"share slope"``."""
    return dict(zip(("share", "share slope"), _last(shares(found, wide), norms), strict=True))


def robustness(found: Record, base: Record, place: int) -> dict[str, Estimate]:
    """Means over seeds at the largest norm.

    Args:
        found: what is judged.
        base: networks with the same data and starts whose errors are taken off.
        place: of the distance by which points are moved, among those that were measured.

    Returns:
        ``"margin"``, by the greatest one, and ``"error"`` on moved points, less that of the base.
    """
    worse = (found.of("errors") - base.of("errors"))[:, -1, place]
    return {"margin": estimate_of_mean(kept(found)[:, -1].round(4)), "error": estimate_of_mean(worse)}


def _last(values: Float[ndarray, "seeds norms"], norms: Sequence[float]) -> tuple[Estimate, Estimate]:
    """Means over seeds of the last value, and of its slope over the norm on logarithmic scales."""
    # Reports keep six digits, and steps of the integration hang on last bits, which differ between processors.
    slopes = np.log(values[:, -1] / values[:, -2]) / np.log(norms[-1] / norms[-2])
    return estimate_of_mean(values[:, -1].round(5)), estimate_of_mean(slopes.round(2))
