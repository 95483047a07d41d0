r"""Small transformer decoders as stacks: every weight has one axis more in front, which counts networks.

A layer adds to each token what its heads attend to, and then what two linear layers with a GELU between them make of
it, each of the normalised token; normalisation has no weights. Without biases a head is the same for any invertible
:math:`A` if its queries become :math:`A W_Q` and its keys :math:`A^{-\top} W_K`; likewise its values and its output.
"""

__all__ = ["Biases", "Decoder"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.state import State
from lmc_lib.values import round_to_grid

_DRAWN_BITS = 30  # normal draws differ between instruction sets beyond


@dataclass(frozen=True)
class Biases:
    """Biases of queries and values that are not learnt: each number is normal.

    Attributes:
        mean: its mean.
        deviation: its standard deviation.
        redrawn: whether they are drawn anew for each batch; if not, those of the first batch stay.
    """

    mean: float = 0.0
    deviation: float = 0.0
    redrawn: bool = True

    @property
    def usual(self) -> "Biases":
        """What stands in their place when a network is evaluated: their mean, or those that stay."""
        return replace(self, deviation=0.0) if self.redrawn else self

    def draw(self, decoder: "Decoder", *, generator: Generator) -> State:
        """Draws the biases of one network, as :meth:`Decoder.logits` takes them."""
        shape = (decoder.layers, decoder.heads, decoder.head_width)
        return {name: self.mean + self.deviation * _normal(shape, generator) for name in ("query_bias", "value_bias")}


@dataclass(frozen=True)
class Decoder:
    """The architecture of a decoder.

    Attributes:
        symbols: how many there are.
        length: tokens of a sequence.
        width: features of a token.
        heads: heads of a layer; they share the width.
        layers: number of layers.
    """

    symbols: int
    length: int
    width: int
    heads: int = 2
    layers: int = 2

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads share the width: {self.width} features are not {self.heads} times as many")

    @property
    def head_width(self) -> int:
        """Features of a head."""
        return self.width // self.heads

    @property
    def label(self) -> str:
        """The architecture in short."""
        return f"decoder, {self.layers} {'layer' if self.layers == 1 else 'layers'}, width {self.width}"

    def initialise(self, *, generator: Generator) -> State:
        """Draws the weights of one network: normal, with a variance of 1 by the number of inputs, of tokens 1."""
        layers, heads = self.layers, self.heads
        shapes = {
            "embedding": ((self.symbols, self.width), 1),
            "positions": ((self.length, self.width), 1),
            "query": ((layers, heads, self.head_width, self.width), self.width),
            "key": ((layers, heads, self.head_width, self.width), self.width),
            "value": ((layers, heads, self.head_width, self.width), self.width),
            "output": ((layers, heads, self.head_width, self.width), self.width),
            "hidden": ((layers, 4 * self.width, self.width), self.width),
            "back": ((layers, self.width, 4 * self.width), 4 * self.width),
            "logits": ((self.symbols, self.width), self.width),
        }
        return {name: _normal(shape, generator) / math.sqrt(inputs) for name, (shape, inputs) in shapes.items()}

    def logits(
        self, state: State, tokens: Int[Tensor, "networks batch tokens"]
    ) -> Float[Tensor, "networks batch tokens symbols"]:
        """What a stack of networks says of the symbol behind each token, from it and those before it.

        Args:
            state: the weights, one network behind the other; biases of queries and values are optional.
            tokens: the sequences of each network.
        """
        symbols = F.one_hot(tokens, self.symbols).to(state["embedding"].dtype)
        x = symbols @ state["embedding"].unsqueeze(1) + state["positions"].unsqueeze(1)
        for layer in range(self.layers):
            own = {name: each[:, layer] for name, each in state.items() if each.dim() > 3}
            x = x + _attended(own, self._normalised(x))
            inner = F.gelu(self._normalised(x) @ own["hidden"].unsqueeze(1).mT)
            x = x + inner @ own["back"].unsqueeze(1).mT
        return self._normalised(x) @ state["logits"].unsqueeze(1).mT

    def _normalised(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,))


def _attended(own: State, x: Float[Tensor, "networks batch tokens width"]) -> Tensor:
    """What the heads of a layer add."""
    query, key, value = (torch.einsum("nbtw,nhdw->nbhtd", x, own[name]) for name in ("query", "key", "value"))
    if "query_bias" in own:
        query = query + own["query_bias"][:, None, :, None]
        value = value + own["value_bias"][:, None, :, None]
    scores = query @ key.mT / math.sqrt(key.shape[-1])
    unseen = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool).triu(1)
    seen = scores.masked_fill(unseen, -math.inf).softmax(-1) @ value
    return torch.einsum("nbhtd,nhdw->nbtw", seen, own["output"])


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return round_to_grid(torch.randn(shape, generator=generator, dtype=torch.float64), _DRAWN_BITS)
