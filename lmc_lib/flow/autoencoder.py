"""Linear autoencoders: three losses, and what is known of their minima (Kunin, Bloom, Goeva, Seed 2019)."""

__all__ = ["REGULARISERS", "Landscape", "cosines", "posterior_mean", "principal", "squared_singular_values", "start"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

REGULARISERS = ("none", "product", "sum")


@dataclass(frozen=True)
class Landscape:
    r"""The loss of a linear autoencoder, which depends on the data through their covariance :math:`C` alone.

    With an encoder :math:`W_1` and a decoder :math:`W_2` it is
    :math:`\operatorname{tr}\,(I - W_2 W_1)\, C\, (I - W_2 W_1)^\top`, the mean squared error of reconstruction, and
    :math:`\lambda` times what the regulariser says: nothing (``"none"``), :math:`\lVert W_2 W_1 \rVert^2`
    (``"product"``), or :math:`\lVert W_1 \rVert^2 + \lVert W_2 \rVert^2` (``"sum"``).

    Attributes:
        covariance: the covariance of the data.
        regulariser: one of ``REGULARISERS``.
        strength: the factor :math:`\lambda`, in the unit of a variance.

    Raises:
        ValueError: for another regulariser.
    """

    covariance: Float[Tensor, "d d"]
    regulariser: str
    strength: float

    def __post_init__(self) -> None:
        if self.regulariser not in REGULARISERS:
            raise ValueError(f"the regulariser is one of {', '.join(REGULARISERS)}, not {self.regulariser!r}")

    def loss(
        self, encoder: Float[Tensor, "*batch k d"], decoder: Float[Tensor, "*batch d k"]
    ) -> Float[Tensor, "*batch"]:
        """The loss, of many networks at once."""
        product = decoder @ encoder
        residual = torch.eye(len(self.covariance), dtype=product.dtype) - product
        error = (residual @ self.covariance * residual).sum((-2, -1))
        if self.regulariser == "product":
            return error + self.strength * product.square().sum((-2, -1))
        if self.regulariser == "sum":
            return error + self.strength * (encoder.square().sum((-2, -1)) + decoder.square().sum((-2, -1)))
        return error

    def gradient(
        self, encoder: Float[Tensor, "*batch k d"], decoder: Float[Tensor, "*batch d k"]
    ) -> tuple[Float[Tensor, "*batch k d"], Float[Tensor, "*batch d k"]]:
        """The gradient of the loss by encoder and decoder; no network needs a matrix of the size of the covariance."""
        of_product, of_each = (self.strength if self.regulariser == each else 0.0 for each in ("product", "sum"))
        read = encoder @ self.covariance
        pulled = read + of_product * encoder
        by_encoder = decoder.mT @ decoder @ pulled - decoder.mT @ self.covariance + of_each * encoder
        by_decoder = decoder @ (pulled @ encoder.mT) - read.mT + of_each * decoder
        return 2.0 * by_encoder, 2.0 * by_decoder


def start(
    inputs: int, width: int, scale: float, *, generator: Generator
) -> tuple[Float[Tensor, "width inputs"], Float[Tensor, "inputs width"]]:
    """Draws an encoder and a decoder of normal weights, of standard deviation ``scale`` by the root of ``inputs``."""
    encoder, decoder = torch.randn(2, width, inputs, generator=generator, dtype=torch.float64) * scale / inputs**0.5
    return encoder, decoder.T


def principal(covariance: Float[Tensor, "d d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """The variances along the principal directions, the largest first, and these directions, one a column."""
    variances, directions = torch.linalg.eigh(covariance)
    return variances.flip(0), directions.flip(1)


def squared_singular_values(variances: Float[Tensor, " k"], strength: float) -> Float[Tensor, " k"]:
    r"""Those of encoder and decoder at the minimum with ``"sum"``: :math:`1 - \lambda / \sigma_i^2`, or 0 if negative.

    Source: the landscape theorem of Kunin, Bloom, Goeva, Seed (2019), with variances in place of squared singular
    values of the data, since the loss here is a mean.

    Args:
        variances: the variances :math:`\sigma_i^2` along the principal directions that are kept.
        strength: the factor :math:`\lambda`.

    Example:
        >>> squared_singular_values(torch.tensor([4.0, 2.0, 0.5]), 1.0).tolist()
        [0.75, 0.5, 0.0]
    """
    return (1.0 - strength / variances).clamp(min=0.0)


def cosines(decoder: Float[Tensor, "*batch d k"], directions: Float[Tensor, "d m"]) -> Float[Tensor, "*batch k m"]:
    """Cosines of a decoder's left singular vectors, a row each, with directions; the largest of a row is positive."""
    found: Tensor = torch.linalg.svd(decoder, full_matrices=False).U.mT @ directions
    return found * found.gather(-1, found.abs().argmax(-1, keepdim=True)).sign()


def posterior_mean(inputs: Float[Tensor, "examples d"], width: int) -> Float[Tensor, "d d"]:
    r"""What makes of an example :math:`x` the mean of :math:`W z` given :math:`x`, under probabilistic PCA.

    The model is :math:`x = W z + \mu + \varepsilon` with normal :math:`z` and noise :math:`\varepsilon` (Tipping and
    Bishop 1999), fitted by scikit-learn for the greatest likelihood. With the covariance :math:`C` that it has for
    :math:`x`, and its noise variance :math:`\lambda`, the mean is :math:`(I - \lambda C^{-1})(x - \mu)`.

    Args:
        inputs: the examples, one a row.
        width: number of components of :math:`z`.
    """
    from sklearn.decomposition import PCA  # noqa: PLC0415 -- slow to load, and used here alone

    model = PCA(width, svd_solver="full").fit(inputs.numpy())
    precision = torch.from_numpy(model.get_precision())
    return torch.eye(inputs.shape[1], dtype=precision.dtype) - float(model.noise_variance_) * precision
