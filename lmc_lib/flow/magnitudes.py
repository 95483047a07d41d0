"""A two-layer network at a minimum that is known, whose examples have one magnitude or two."""

__all__ = ["Problem", "planted"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lmc_lib.values import round_to_grid

# Hides the last bits in which normal draws differ between instruction sets.
_BITS = 30


@dataclass(frozen=True)
class Problem:
    """Examples, and first-layer weights that answer all of them.

    Attributes:
        inputs: one example a row, in float64.
        targets: what the planted weights answer.
        weights: the planted weights, all in a row; there the loss is zero.
    """

    inputs: Float[Tensor, "examples inputs"]
    targets: Float[Tensor, " examples"]
    weights: Float[Tensor, " n"]

    def loss(self, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        """Half of the mean squared error of the network with these first-layer weights."""
        loss: Tensor = 0.5 * (_answers(weights, self.inputs) - self.targets).square().mean()
        return loss


def planted(examples: int, inputs: int, units: int, ratio: float, *, mixed: bool, generator: Generator) -> Problem:
    """Draws a problem; of one generator, problems of one magnitude and of two differ in lengths of inputs alone.

    The network adds hyperbolic tangents of its units, divided by the root of their number. Planted weights and inputs
    are normal, inputs with an expected squared length of the squared magnitude.

    Args:
        examples: how many are drawn.
        inputs: numbers of an example.
        units: hidden units.
        ratio: of the larger magnitude, which is 1, to the smaller one.
        mixed: whether every other example has the smaller magnitude; if not, all have the larger one.
        generator: the stream.

    Raises:
        ValueError: if the ratio is below 1, or there are fewer than two examples.
    """
    if ratio < 1 or examples < 2:
        raise ValueError(f"two magnitudes take a ratio of 1 or more and two examples, not {ratio:g} and {examples}")
    drawn = round_to_grid(torch.randn(examples, inputs, generator=generator, dtype=torch.float64), _BITS) / inputs**0.5
    weights = round_to_grid(torch.randn(units * inputs, generator=generator, dtype=torch.float64), _BITS)
    if mixed:
        drawn[1::2] /= ratio
    return Problem(drawn, _answers(weights, drawn), weights)


def _answers(weights: Tensor, inputs: Tensor) -> Tensor:
    hidden = torch.tanh(inputs @ weights.view(-1, inputs.shape[1]).T)
    answers: Tensor = hidden.sum(1) / hidden.shape[1] ** 0.5
    return answers
