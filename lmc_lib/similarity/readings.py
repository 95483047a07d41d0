"""From the activations of a layer to a representation: one row an example and one column a unit."""

__all__ = ["READINGS", "compact", "read"]

import torch
from jaxtyping import Float
from torch import Tensor

READINGS = ("flattened", "pooled", "pixels")


def read(maps: Tensor, reading: str) -> Tensor:
    """Feature maps of shape ``(N, C, H, W)`` as a representation in float64.

    Args:
        maps: the feature maps.
        reading: ``"flattened"``, a row an image and a column a channel and pixel; ``"pooled"``, a row an image and a
            column a channel, the mean over pixels; ``"pixels"``, a row an image and pixel and a column a channel.

    Raises:
        ValueError: if there is no such reading.
    """
    if reading not in READINGS:
        raise ValueError(f"feature maps are read in one of the ways {', '.join(READINGS)}, not {reading!r}")
    maps = maps.double()
    if reading == "pooled":
        return maps.mean((2, 3))
    return maps.flatten(1) if reading == "flattened" else maps.movedim(1, 3).flatten(0, 2)


def compact(representation: Float[Tensor, "examples units"]) -> Float[Tensor, "examples fewer"]:
    r"""A representation turned so that it has no more columns than examples: all metrics find the same distances.

    With :math:`X^\top = QR`, it is :math:`XQ = R^\top`. One that has no more columns is returned as it is.
    """
    examples, units = representation.shape
    return representation if units <= examples else torch.linalg.qr(representation.T, mode="r").R.T
