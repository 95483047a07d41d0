"""A second-order Markov chain: the next symbol depends on the last two."""

__all__ = ["Chain"]

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

# The largest weight of a symbol before it is cubed: so some symbols are a thousand times as likely as others.
_LARGEST = 10


@dataclass(frozen=True, eq=False)
class Chain:
    """A language in which the last two symbols tell how likely each next one is.

    Attributes:
        probabilities: in float64, of each next symbol (last axis) behind two others, the earlier one first.
    """

    probabilities: Float[Tensor, "symbols symbols symbols"]

    @classmethod
    def draw(cls, symbols: int, *, generator: Generator) -> "Chain":
        """Draws a language: cubes of numbers from 1 to 10, each triple of symbols its own, by their sum.

        Whole numbers and one division, so that it is the same to the bit on every processor.
        """
        weights = torch.randint(1, _LARGEST + 1, (symbols,) * 3, generator=generator).double() ** 3
        return cls(weights / weights.sum(-1, keepdim=True))

    def sample(self, count: int, length: int, *, generator: Generator) -> Int[Tensor, "count length"]:
        """Draws sequences; the first two symbols of each are uniform."""
        symbols = len(self.probabilities)
        found = [*torch.randint(symbols, (2, count), generator=generator)]
        bounds = self.probabilities.cumsum(-1)[..., :-1]  # the last one is 1, up to rounding
        for drawn in torch.rand(length - 2, count, 1, generator=generator, dtype=torch.float64):
            found.append((drawn >= bounds[found[-2], found[-1]]).sum(-1))
        return torch.stack(found, 1)

    def next(self, sequences: Int[Tensor, "count length"]) -> Float[Tensor, "count places symbols"]:
        """The probabilities of what follows each two symbols of a sequence, in float64."""
        return self.probabilities[sequences[:, :-1], sequences[:, 1:]]
