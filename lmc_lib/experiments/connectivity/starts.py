"""Random networks with one hidden layer: how far the midpoint of two is from the mean of what they compute."""

__all__ = ["StartSpec", "evidence", "gap", "slopes"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import hidden_layer
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits


@dataclass(frozen=True)
class StartSpec(Spec):
    r"""All that defines how far random networks are from being connected.

    Of two networks :math:`f(x) = \sum_i v_i \max(0, u_i \cdot x)` with independent uniform weights, :math:`u` within
    :math:`\pm 1 / \sqrt d` and :math:`v` within :math:`\pm 1 / \sqrt h`, it measures the *gap*: the largest distance,
    over inputs of length :math:`\sqrt d`, of the output of the midpoint from the mean of the two outputs. It stands
    under ``matched``, with the units of the second network in the order in which its :math:`u` are nearest to those of
    the first, and ``unmatched``; one row a pair and one column a width.

    Attributes:
        inputs: their dimension.
        widths: numbers of hidden units.
        pairs: number of pairs; at every width other networks.
        examples: number of inputs, the same for all.
        first_seed: the first pair.
    """

    kind: ClassVar[str] = "Starts"
    noun: ClassVar[str] = "random pairs"

    inputs: int
    widths: tuple[int, ...]
    pairs: int
    examples: int = 256
    first_seed: int = 0

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"one hidden layer, {self.inputs} inputs"

    def compute(self, store: Store) -> Result:
        """Draws and matches."""
        x = hidden_layer.directions(self.examples, self.inputs, generator=rng.stream(0, "starts", "examples"))
        x = x * self.inputs**0.5
        seeds = range(self.first_seed, self.first_seed + self.pairs)
        gaps = torch.tensor([[self._gaps(x, seed, width) for width in self.widths] for seed in seeds])
        return Result(digits({"matched": gaps[..., 0], "unmatched": gaps[..., 1]}, 6))

    def _gaps(self, x: Tensor, seed: int, width: int) -> tuple[float, float]:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 -- slow to load, and used here alone

        drawn = rng.stream(seed, "starts", self.inputs, width)
        first, second = (self._network(width, drawn) for _ in range(2))
        _, order = linear_sum_assignment(torch.cdist(first[0], second[0]).square().numpy())
        return gap(x, first, (second[0][order], second[1][order])), gap(x, first, second)

    def _network(self, width: int, drawn: Generator) -> tuple[Tensor, Tensor]:
        weights = 2.0 * torch.rand(width, self.inputs, generator=drawn, dtype=torch.float64) - 1.0
        read_out = 2.0 * torch.rand(width, generator=drawn, dtype=torch.float64) - 1.0
        return weights / self.inputs**0.5, read_out / width**0.5


def gap(x: Float[Tensor, "n d"], first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """The largest distance of what the midpoint computes from the mean of what two networks compute.

    Args:
        x: inputs.
        first: weights and read-out of one network.
        second: those of the other.
    """
    middle = ((a + b) / 2.0 for a, b in zip(first, second, strict=True))
    one, other, between = (hidden_layer.outputs(x, 0.0, *each) for each in (first, second, tuple(middle)))
    return float((between - (one + other) / 2.0).abs().max())


def slopes(gaps: Float[ndarray, "pairs widths"], widths: Sequence[int]) -> Float[ndarray, " pairs"]:
    """The power of the width as which the gap of each pair grows, by least squares on logarithmic axes.

    Example:
        >>> slopes(np.array([[1.0, 0.5, 0.25]]), (4, 16, 64)).round(9).tolist()
        [-0.5]
    """
    found: ndarray = np.polyfit(np.log(widths), np.log(gaps).T, 1)[0]
    return found


def evidence(found: Mapping[int, Record], units: str, widths: Sequence[int]) -> dict[str, Estimate]:
    """The estimates ``"slope INPUTS"`` for how fast gaps fall, means over pairs.

    Args:
        found: by the number of inputs what was measured.
        units: ``"matched"`` or ``"unmatched"``.
        widths: the widths.
    """
    return {f"slope {inputs}": estimate_of_mean(slopes(each.of(units), widths)) for inputs, each in found.items()}
