"""Similarity of two networks' representations of the same inputs, and of what they predict."""

__all__ = ["FLAVOURS", "angular_cka", "disagreement"]

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

FLAVOURS = ("gretton", "lange", "song")

# Rows of a kernel that are held at once.
_ROWS = 1024


def angular_cka(
    first: Float[Tensor, "examples units"], second: Float[Tensor, "rows others"], *, flavour: str = "gretton"
) -> float:
    r"""The angle between two representations by linear kernel alignment, in radians.

    With the kernels :math:`K = XX^\top`, :math:`L = YY^\top` of two representations and a way :math:`c` of centring:
    :math:`\arccos \langle c(K), c(L) \rangle / (\lVert c(K) \rVert \lVert c(L) \rVert)`. The angle is 0 for
    representations that are equal up to rotation and scale. The flavours centre differently:

    - ``"gretton"``: :math:`c(K) = HKH` with :math:`H` the projection on vectors of sum zero; a metric between kernels
      with angles up to :math:`\pi/2` (Lange et al. 2022), biased towards small angles where units outnumber examples;
    - ``"lange"``: the same with the diagonal set to zero afterwards, the default of the authors' code;
    - ``"song"``: the diagonal set to zero first, then centred without bias (Song et al. 2007), so that unrelated
      representations are at right angles on average; the angle of the debiased alignment.

    Small angles come from the chord between the two kernels, since the arc cosine of a number near 1 loses half of its
    digits. Sums run in float64, over some rows of the kernels at a time: memory grows with the number of examples, not
    with its square.

    Args:
        first: one row an example.
        second: the same examples, seen by another network or layer; the number of units may differ.
        flavour: one of ``FLAVOURS``.

    Raises:
        ValueError: if the numbers of examples differ or are too few for the flavour (two; four for ``"song"``), the
            flavour is unknown, or a representation is the same for all examples.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], dtype=torch.float64)
        >>> angular_cka(x, 3.0 * x.flip(1))
        0.0
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"unknown flavour {flavour!r}; there are {', '.join(FLAVOURS)}")
    if len(first) != len(second):
        raise ValueError(f"both representations need the same examples, got {len(first)} and {len(second)}")
    if len(first) < (least := 4 if flavour == "song" else 2):
        raise ValueError(f"the flavour {flavour!r} needs at least {least} examples, got {len(first)}")
    kernels = [_Kernel(each, flavour) for each in (first, second)]
    rows = zip(kernels[0].rows(), kernels[1].rows(), strict=True)
    chord = math.sqrt(sum(float((a - b).square().sum()) for a, b in rows))
    return 2.0 * math.asin(min(chord / 2.0, 1.0))


def disagreement(
    first: Float[Tensor, "examples classes"], second: Float[Tensor, "examples classes"]
) -> tuple[float, float]:
    """How far two networks predict different things: both numbers are 0 for equal predictions.

    Args:
        first: the logits of one network.
        second: those of another for the same examples.

    Returns:
        The share of examples that they give other classes, and the mean Euclidean distance of their probabilities.

    Example:
        >>> sure = torch.tensor([[50.0, 0.0], [0.0, 50.0]], dtype=torch.float64)
        >>> [round(each, 6) for each in disagreement(sure, sure[[0, 0]])]
        [0.5, 0.707107]
    """
    classes = (first.argmax(1) != second.argmax(1)).double().mean()
    probabilities = (first.softmax(1) - second.softmax(1)).norm(dim=1).mean()
    return float(classes), float(probabilities)


class _Kernel:
    """A centred kernel of norm 1, some rows at a time."""

    def __init__(self, representation: Tensor, flavour: str) -> None:
        # Centring the examples first changes no flavour and keeps digits where all of them are far from zero.
        self.examples = representation.double() - representation.double().mean(0)
        self.flavour = flavour
        self.norm = 1.0
        self.squares = self.examples.square().sum(1)
        norm = math.sqrt(sum(float(rows.square().sum()) for rows in self.rows()))
        if not norm > 1e-14 * float(self.squares.sum()):
            raise ValueError("a representation that is the same for all examples has no angle to another")
        self.norm = norm

    def rows(self) -> Iterator[Tensor]:
        count = len(self.examples)
        for first in range(0, count, _ROWS):
            here = torch.arange(first, min(first + _ROWS, count))
            rows = self.examples[here] @ self.examples.T
            if self.flavour == "song":
                # The sums of rows without their diagonal, in closed form: centred examples add up to zero.
                rows += (self.squares[here, None] + self.squares) / (count - 2)
                rows -= self.squares.sum() / ((count - 1) * (count - 2))
            if self.flavour != "gretton":
                rows[torch.arange(len(here)), here] = 0.0
            yield rows / self.norm
