"""Critical points of linear autoencoders, found by a search that knows nothing of them."""

__all__ = ["CriticalSpec", "evidence", "places"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import flow, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments.dynamics.autoencoders import principal_variances
from lmc_lib.experiments.found import Record
from lmc_lib.flow import autoencoder, critical
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits, rounded

# Relative to the largest variance: what counts as a gradient of zero, and as a second derivative of zero.
_FLAT = 1e-9
_LEVEL = 1e-6


@dataclass(frozen=True)
class CriticalSpec(Spec):
    """All that defines a search for critical points of a small linear autoencoder, many starts a seed.

    The inputs are the first principal components of a data set, and the factor of the regulariser is the mean of the
    last two of their variances, so that the last component is not worth its cost. It measures ``variances`` and
    ``strength``, that factor, and by seed, in ``points``, one row a critical point that was found: ``kept``, which
    components it keeps, as a text of zeros and ones; ``symmetric``, whether the encoder is the transposed decoder;
    ``height``, its loss, and ``index``, its number of negative second derivatives, both as ``found`` and as
    ``predicted`` from ``kept``.

    Attributes:
        data: the data set.
        components: number of inputs.
        width: number of latent units.
        regulariser: one of ``flow.REGULARISERS``.
        starts: number of searches a seed.
        seeds: number of seeds.
        first_seed: the first of them.
    """

    kind: ClassVar[str] = "CriticalSpec"
    noun: ClassVar[str] = "searches for critical points"

    data: DataSpec
    components: int
    width: int
    regulariser: str
    starts: int
    seeds: int
    first_seed: int = 0

    @property
    def label(self) -> str:
        """The network in short."""
        return f"linear autoencoder of {self.components} inputs, width {self.width}"

    @property
    def factors(self) -> str:
        """How it was regularised."""
        return f"{self.data.name}, regulariser {self.regulariser}"

    def compute(self, store: Store) -> Result:
        """Searches from all starts."""
        variances = principal_variances(self.data, self.components)
        landscape = flow.Landscape(torch.diag(variances), self.regulariser, float(variances[-2:].mean()))
        points = [self._points(landscape, self.first_seed + each) for each in range(self.seeds)]
        return Result({"variances": digits(variances), "strength": rounded(landscape.strength), "points": points})

    def _points(self, landscape: flow.Landscape, seed: int) -> list[dict[str, Any]]:
        found = []
        for number in range(self.starts):
            stream = rng.stream(seed, "critical point", number)
            encoder, decoder = critical.land(
                landscape, *autoencoder.start(self.components, self.width, 1.0, generator=stream)
            )
            slope = max(float(each.norm()) for each in landscape.gradient(encoder, decoder))
            if slope < _FLAT * float(landscape.covariance[0, 0]):
                found.append(_measured(landscape, encoder, decoder))
        return found


def _measured(landscape: flow.Landscape, encoder: Tensor, decoder: Tensor) -> dict[str, Any]:
    variances, strength = landscape.covariance.diag(), landscape.strength
    # A component is kept by its share of 1 - strength / variance, or not at all.
    least = float(autoencoder.squared_singular_values(variances, strength)[variances > strength].min())
    kept = (decoder @ encoder).diag() > least / 2.0
    curvatures = np.linalg.eigvalsh(critical.hessian(landscape, encoder, decoder))
    return {
        "kept": "".join(str(int(each)) for each in kept),
        # By how much it is not is a matter of where on a flat valley the search ended, and of the last bits.
        "symmetric": bool((encoder - decoder.T).norm() < _LEVEL),
        "height": {
            "found": rounded(float(landscape.loss(encoder, decoder))),
            "predicted": rounded(critical.height(variances, strength, kept)),
        },
        "index": {
            "found": int((curvatures < -_LEVEL * float(variances[0])).sum()),
            "predicted": critical.index(variances, strength, kept, len(encoder)),
        },
    }


def evidence(found: Record, *, exchanged: bool = False) -> dict[str, Estimate]:
    """Means over seeds of numbers of critical points.

    Args:
        found: the search.
        exchanged: whether what is predicted of a point is held against the next one of the seed.

    Returns:
        ``"points"``, the number that was found; ``"asymmetric"``, of those at which the encoder is not the transposed
        decoder; and ``"misplaced"``, of those whose index or height is not as predicted.
    """
    counts: dict[str, list[int]] = {"points": [], "asymmetric": [], "misplaced": []}
    for points in found.values["points"]:
        predicted = [points[number - exchanged] for number in range(len(points))]
        counts["points"].append(len(points))
        counts["asymmetric"].append(sum(not each["symmetric"] for each in points))
        counts["misplaced"].append(sum(not _agree(*each) for each in zip(points, predicted, strict=True)))
    return {name: estimate_of_mean(np.array(each, dtype=float)) for name, each in counts.items()}


def _agree(point: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    same = point["index"]["found"] == other["index"]["predicted"]
    return same and math.isclose(point["height"]["found"], other["height"]["predicted"], rel_tol=_LEVEL)


def places(found: Record, width: int) -> dict[str, tuple[Float[ndarray, " points"], Float[ndarray, " points"]]]:
    """Indices, and heights by the total variance, of the critical points of the theorem and of those that were found.

    Args:
        found: the search.
        width: the number of latent units.
    """
    variances, strength = torch.from_numpy(found.of("variances")), float(found.of("strength"))
    predicted = [
        (critical.index(variances, strength, kept, width), critical.height(variances, strength, kept))
        for kept in critical.kinds(variances, strength, width)
    ]
    points = [(each["index"]["found"], each["height"]["found"]) for seed in found.values["points"] for each in seed]
    both = {"by the theorem": np.array(predicted), "found by the search": np.array(points)}
    return {label: (each[:, 0], each[:, 1] / float(variances.sum())) for label, each in both.items()}
