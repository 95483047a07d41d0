"""Linear autoencoders after training: what their decoders have in common with principal components."""

__all__ = ["AutoencoderSpec", "evidence", "principal_directions", "principal_variances", "squares"]

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import flow, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.flow import Descent, autoencoder
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import DIGITS, decimals, digits, rounded


@dataclass(frozen=True)
class AutoencoderSpec(Spec):
    """All that defines a set of linear autoencoders, which differ in their starts alone, and what is measured of them.

    It measures the ``variances`` along the principal directions that can be kept and along the next one, ``noise``, the
    mean variance along all that cannot, and, one row a start: ``cosines`` of the decoder's left singular vectors (rows)
    with the principal directions (columns); ``squares`` of its singular values; ``asymmetry``, the norm of the encoder
    less the transposed decoder, by that of the decoder; ``posterior``, how far the reconstruction is from the posterior
    mean of probabilistic PCA, by the norm of that; and ``slope``, the norm of the gradient by the largest variance.

    Attributes:
        data: the data set, whose training inputs are reconstructed.
        width: number of latent units.
        regulariser: one of ``flow.REGULARISERS``.
        train: the descent; its rate is in units of one by the largest variance.
        seeds: number of starts.
        first_seed: seed of the first of them; the start of a seed is the same for all regularisers.
        strength: the factor of the regulariser, in units of the noise.
        scale: the size of the start; 1 is the usual one, weights with a variance of one by the number of inputs.
    """

    kind: ClassVar[str] = "AutoencoderSpec"
    noun: ClassVar[str] = "sets of linear autoencoders"

    data: DataSpec
    width: int
    regulariser: str
    train: Descent
    seeds: int
    first_seed: int = 0
    strength: float = 1.0
    scale: float = 1.0

    @property
    def label(self) -> str:
        """The network in short."""
        return f"linear autoencoder, width {self.width}"

    @property
    def factors(self) -> str:
        """How it was regularised, and from where it started."""
        return f"{self.data.name}, regulariser {self.regulariser}, strength {self.strength:g}, start {self.scale:g}"

    def compute(self, store: Store) -> Result:
        """Trains from all starts at once, and measures."""
        inputs = _inputs(self.data)
        covariance = torch.cov(inputs.T)
        variances, directions = autoencoder.principal(covariance)
        noise = float(variances[self.width :].mean())
        landscape = flow.Landscape(covariance, self.regulariser, self.strength * noise)
        descent = replace(self.train, rate=self.train.rate / float(variances[0]))
        encoder, decoder = flow.descend(landscape.gradient, self._starts(inputs.shape[1]), descent)
        wanted = autoencoder.posterior_mean(inputs, self.width)
        values = {
            "cosines": autoencoder.cosines(decoder, directions[:, : self.width]),
            "squares": torch.linalg.svdvals(decoder).square(),
            "asymmetry": _norm(encoder - decoder.mT) / _norm(decoder),
            "posterior": _norm(decoder @ encoder - wanted) / _norm(wanted),
            "slope": sum(map(_norm, landscape.gradient(encoder, decoder))) / variances[0],
        }
        facts = {"variances": digits(variances[: self.width + 1]), "noise": rounded(noise)}
        return Result(facts | {name: decimals(each) for name, each in values.items()})

    def _starts(self, inputs: int) -> tuple[Tensor, ...]:
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        streams = [rng.stream(seed, "linear autoencoder") for seed in seeds]
        starts = [autoencoder.start(inputs, self.width, self.scale, generator=each) for each in streams]
        return tuple(torch.stack(each) for each in zip(*starts, strict=True))


def evidence(found: Record) -> dict[str, Estimate]:
    """Means over starts of what the claims ask of trained autoencoders.

    Returns:
        ``"directions"``, the smallest cosine of a left singular vector of the decoder with the principal direction of
        the same number; ``"subspace"``, that of the largest principal angle between the spaces that these span;
        ``"asymmetry"`` and ``"posterior"`` of ``AutoencoderSpec``; and ``"singular values"``, the largest relative
        deviation of a squared singular value from its prediction for a strength of 1.
    """
    cosines, predicted = found.of("cosines"), 1.0 - found.of("noise") / found.of("variances")[:-1]
    numbers = {
        "directions": np.abs(np.diagonal(cosines, axis1=1, axis2=2)).min(-1),
        "subspace": np.linalg.svd(cosines, compute_uv=False)[:, -1],
        "singular values": np.abs(found.of("squares") / predicted - 1.0).max(-1),
    }
    numbers |= {name: found.of(name) for name in ("asymmetry", "posterior")}
    return {name: estimate_of_mean(each.round(DIGITS - 1)) for name, each in numbers.items()}


def squares(found: Record, strength: float) -> tuple[Float[ndarray, " values"], Float[ndarray, " values"]]:
    """All squared singular values, each behind the variance along its direction in units of the regulariser's factor.

    Args:
        found: a set of autoencoders.
        strength: the factor of their regulariser, in units of the noise.
    """
    squared = found.of("squares")
    ratios = found.of("variances")[:-1] / (strength * found.of("noise"))
    return np.tile(ratios, len(squared)), squared.ravel()


def principal_variances(data: DataSpec, count: int) -> Float[Tensor, " count"]:
    """The largest variances of a data set along its principal directions."""
    return autoencoder.principal(torch.cov(_inputs(data).T))[0][:count]


def principal_directions(data: DataSpec, width: int) -> Float[ndarray, "width inputs"]:
    """The first principal directions of a data set, one a row."""
    directions: ndarray = autoencoder.principal(torch.cov(_inputs(data).T))[1][:, :width].T.numpy()
    return directions


def _inputs(data: DataSpec) -> Float[Tensor, "examples inputs"]:
    return dataset(data).train.inputs.flatten(1).double()


def _norm(matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch"]:
    norms: Tensor = torch.linalg.matrix_norm(matrices)
    return norms
