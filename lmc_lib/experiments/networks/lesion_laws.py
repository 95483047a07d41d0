"""What it costs to leave out blocks or to shuffle them, and how long the paths are on which the gradient comes."""

__all__ = ["Lesions", "growth", "lengths", "rises"]

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.connectivity.size_laws import orders
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks.lesions import LesionSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain


class Lesions(Found):
    """What ``LesionSpec`` measured, one row a network; NaN where a training diverged."""

    @classmethod
    def read(cls, store: Store, specs: Sequence[LesionSpec]) -> "Lesions":
        """Obtains the networks of several specs; call ``fill`` before to compute them in parallel."""
        found = [obtain(store, spec).values for spec in specs]
        shared = [{name: values[name] for name in ("places", "chance")} for values in found]
        rows = [both | row for both, values in zip(shared, found, strict=True) for row in values["networks"]]
        return cls(len(rows), {(number,): row for number, row in enumerate(rows)})

    @property
    def places(self) -> list[int]:
        """The places of the exchangeable blocks, rising."""
        return sorted(itertools.chain.from_iterable(self.shared("places")))

    def rise(self, *path: str) -> Float[ndarray, "networks ..."]:
        """By how much an error is above that of the whole network, as a share of the way from there to guessing.

        Args:
            *path: ``"one"``, ``"many"`` or ``"shuffled"``, and ``"test error"`` or ``"train error"``.
        """
        found = self.of(*path)
        chance, whole = (
            each.reshape(-1, *[1] * (found.ndim - 1)) for each in (self.of("chance"), self.of("whole", path[-1]))
        )
        risen: ndarray = (found - whole) / (chance - whole)
        return risen

    def damage(self, of: str = "test error") -> Float[ndarray, " networks"]:
        """The rise without one exchangeable block, mean over blocks."""
        mean: ndarray = self.rise("one", of)[:, self.places].mean(1)
        return mean

    def steps(self, of: str = "test error") -> Float[ndarray, "networks orders"]:
        """The largest step of the error as blocks are left out one by one, by what it rises in all, for each order.

        It is 1 if a single block makes all of the rise, and 1 by the number of blocks if all make as much.
        """
        errors = self.of("many", of)
        largest: ndarray = np.diff(errors, axis=-1).max(-1) / (errors[..., -1] - errors[..., 0])
        return largest

    def graded(self, of: str = "test error") -> Float[ndarray, " networks"]:
        """Spearman's rank correlation of the error with the disorder of the blocks, over the shuffles of a network."""
        count = len(self.values)
        return orders(self.of("shuffled", of).reshape(count, -1), self.of("disorder").reshape(count, -1))

    def first_swap(self, of: str = "test error") -> Float[ndarray, " networks"]:
        """The rise when blocks changed places least often, by that when they did most often; means over shuffles."""
        risen = self.rise("shuffled", of).mean(-1)
        ratio: ndarray = risen[:, 0] / risen[:, -1]
        return ratio

    def length(self, when: str = "end", by: str = "paths") -> Float[ndarray, " networks"]:
        """The mean length of the paths on which the gradient comes, in blocks.

        Args:
            when: ``"start"`` or ``"end"`` of training.
            by: ``"paths"``, weighted by the sizes of single paths, or ``"sums"``, by the parts of the gradient.
        """
        shares = self.of(when, by)
        mean: ndarray = shares @ np.arange(shares.shape[1])
        return mean

    def share(self, when: str = "end", by: str = "paths") -> Float[ndarray, " networks"]:
        """The mean length as a share of the number of blocks."""
        part: ndarray = self.length(when, by) / (self.of(when, by).shape[1] - 1)
        return part


def growth(by_blocks: Mapping[int, Lesions], when: str = "end") -> Float[ndarray, " networks"]:
    """The power of the number of blocks as which the mean length grows, by least squares on logarithmic axes."""
    counts = np.log(np.array(list(by_blocks), dtype=float))
    lengths = np.log(np.stack([each.length(when) for each in by_blocks.values()]))
    centred = counts - counts.mean()
    slope: ndarray = centred @ lengths / (centred @ centred)
    return slope


def rises(residual: Lesions, plain: Lesions) -> dict[str, Estimate]:
    """The estimates of what blocks are to residual networks, means over networks.

    Args:
        residual: residual networks.
        plain: their plain twins, in the order of the seeds.

    Returns:
        ``"damage"``, :meth:`Lesions.damage` of the residual networks, and ``"spared"``, by how much it is larger in
        their twins; of the residual ones ``"jump"``, the mean over orders of :meth:`Lesions.steps`,
        ``"graded"`` and ``"first swap"``.
    """
    numbers = {
        "damage": residual.damage(),
        "spared": plain.damage() - residual.damage(),
        "jump": residual.steps().mean(1),
        "graded": residual.graded(),
        "first swap": residual.first_swap(),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def lengths(by_blocks: Mapping[int, Lesions], blocks: int, when: str = "end") -> dict[str, Estimate]:
    """The estimates of how long paths are, means over networks.

    Args:
        by_blocks: residual networks by their number of blocks, rising.
        blocks: that of the networks of which lengths are judged.
        when: ``"start"`` or ``"end"`` of training.

    Returns:
        ``"length"``, the mean length as a share of the number of blocks; ``"growth"``, :func:`growth`; ``"shortened"``,
        the share less that at the start.
    """
    own = by_blocks[blocks]
    numbers = {
        "length": own.share(when),
        "growth": growth(by_blocks, when),
        "shortened": own.share(when) - own.share("start"),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}
