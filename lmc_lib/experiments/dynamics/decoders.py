"""Decoders that learn a synthetic language, many at once, with biases that are drawn for each batch, or once."""

__all__ = ["DecoderSpec", "LossSpec", "chosen", "gains", "lowest"]

from abc import ABC
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import rng, training
from lmc_lib.charges import ECD, Conserving
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.language import Biases, Chain, Decoder
from lmc_lib.state import State, cast, stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import Checkpoint
from lmc_lib.values import or_none

# By optimiser, rate and standard deviation of the biases (0 without any) the excess loss of each seed.
Losses = Mapping[tuple[str, float, float], Float[ndarray, " seeds"]]


@dataclass(frozen=True)
class DecoderSpec(Spec, ABC):
    """A set of decoders that are trained at once, one a seed, each on a language of its own and no sequence twice.

    What is drawn for a seed, its language, sequences, weights and biases before they are scaled, is the same in all
    sets.

    Attributes:
        decoder: the architecture.
        train: the hyperparameters; a batch is so many sequences.
        biases: of queries and values, drawn anew for each batch, or once, and not learnt; none if None.
        seeds: number of seeds.
        first_seed: the first of them.
        ecd: trains by energy conserving descent in place of the optimiser of the hyperparameters, if given.
    """

    decoder: Decoder
    train: TrainConfig
    biases: Biases | None
    seeds: int
    first_seed: int = 0
    ecd: ECD | None = field(default=None, kw_only=True)

    @property
    def label(self) -> str:
        """The architecture in short."""
        return self.decoder.label

    @property
    def factors(self) -> str:
        """How they were trained."""
        name = {"sgd": f"SGD, momentum {self.train.momentum:g}", "adamw": "AdamW"}[self.train.optimiser]
        name = name if self.ecd is None else f"ECD, concentration {self.ecd.concentration:g}"
        drawn = f", biases {self.biases.mean:g} ± {self.biases.deviation:g}" if self.biases else ""
        return f"{name}, rate {self.train.lr:g}{drawn}{'' if not self.biases or self.biases.redrawn else ', fixed'}"

    def start(self) -> State:
        """The weights before the first update."""
        return self._stack(lambda seed: self.decoder.initialise(generator=rng.stream(seed, "decoder", "start")))

    def drawn(self, step: int, dtype: torch.dtype) -> State:
        """The biases of the batch behind so many updates."""
        if (biases := self.biases) is None:
            return {}

        def of_seed(seed: int) -> State:
            batch = step if biases.redrawn else 0
            return biases.draw(self.decoder, generator=rng.stream(seed, "decoder", "biases", batch))

        return self._stack(of_seed, dtype)

    def usual(self, dtype: torch.dtype) -> State:
        """The biases that stand in their place when a network is evaluated."""
        spec = self if self.biases is None else replace(self, biases=self.biases.usual)
        return spec.drawn(0, dtype)

    def path(self, start: State, *, save_at: Collection[int] = ()) -> Iterator[Checkpoint]:
        """Trains from these weights; see :func:`lmc_lib.training.train_stack`."""
        batch = self.train.batch_size
        sequences = torch.stack([self.sequences(seed, "training", self.train.steps * batch) for seed in self._seeds])

        def losses(state: State, step: int) -> Float[Tensor, " networks"]:
            tokens = sequences[:, step * batch : (step + 1) * batch]
            state = state | self.drawn(step, state["query"].dtype)
            # Behind the first symbol of a sequence nothing is asked, since it has no two before it.
            said = self.decoder.logits(state, tokens[..., :-1])[:, :, 1:]
            return F.cross_entropy(said.movedim(-1, 1), tokens[..., 2:], reduction="none").mean((1, 2))

        if self.ecd is None:
            return training.train_stack(losses, start, self.train, save_at=save_at)
        bits = self.train.grid_bits if self.train.precision == "portable" else None
        rule = Conserving(self.ecd, losses, bits)
        return training.train_stack(rule.losses, start, self.train, save_at=save_at, rule=rule)

    def language(self, seed: int) -> Chain:
        """The language of a seed."""
        return Chain.draw(self.decoder.symbols, generator=rng.stream(seed, "decoder", "language"))

    def sequences(self, seed: int, name: str, count: int) -> Tensor:
        """Sequences of the language of a seed, of one symbol more than a decoder sees."""
        stream = rng.stream(seed, "decoder", name)
        return self.language(seed).sample(count, self.decoder.length + 1, generator=stream)

    @property
    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    def _stack(self, drawn: Callable[[int], State], dtype: torch.dtype = torch.float64) -> State:
        return cast(stacked([drawn(seed) for seed in self._seeds]), dtype)


@dataclass(frozen=True)
class LossSpec(DecoderSpec):
    """All that defines how well decoders learn.

    It measures, one number a seed, ``excess``: the loss on sequences that were not trained on less the entropy of the
    language there, in nats a symbol, which is 0 for a model that knows the language; and that ``entropy``. Both are
    means over what the language says may follow, not over what did. Biases that are drawn anew have their mean. None
    stands where a training diverged.

    Attributes:
        examples: number of sequences that the loss is taken of.
    """

    kind: ClassVar[str] = "DecoderLosses"
    noun: ClassVar[str] = "losses of decoders"

    examples: int = 200

    def compute(self, store: Store) -> Result:
        """Trains and evaluates."""
        *_, last = self.path(self.start())
        state = last.state | self.usual(last.state["query"].dtype)
        tokens = torch.stack([self.sequences(seed, "validation", self.examples) for seed in self._seeds])
        with torch.no_grad():
            said = self.decoder.logits(state, tokens[..., :-1])[:, :, 1:].log_softmax(-1).double()
        true = torch.stack(
            [self.language(seed).next(each[:, :-1]) for seed, each in zip(self._seeds, tokens, strict=True)]
        )
        entropy = torch.special.entr(true).sum(-1).mean((1, 2))
        excess = -(true * said).sum(-1).mean((1, 2)) - entropy
        return Result(or_none({"excess": excess, "entropy": entropy}))


def lowest(means: Mapping[float, float]) -> float:
    """The rate of the lowest mean; one at which a training diverged has none."""
    return min((rate for rate, mean in means.items() if np.isfinite(mean)), key=means.__getitem__)


def chosen(excess: Losses, optimiser: str, choosing: int) -> tuple[float, float]:
    """The rate and the strength of the biases of an optimiser, chosen on the last seeds alone.

    The rate is that of the lowest mean over those seeds and all strengths, 0 among them, so that it is the same with
    and without biases; the strength is that of the lowest mean at this rate of those above 0. A rate at which a
    training diverged is not chosen.

    Args:
        excess: the excess losses.
        optimiser: whose.
        choosing: number of seeds to choose on.
    """
    own = {key[1:]: float(each[-choosing:].mean()) for key, each in excess.items() if key[0] == optimiser}
    strengths = sorted({strength for _, strength in own})
    means = {rate: float(np.mean([own[rate, strength] for strength in strengths])) for rate, _ in own}
    rate = lowest(means)
    return rate, min(strengths[1:], key=lambda strength: own[rate, strength])


def gains(excess: Losses, choosing: int) -> dict[str, Estimate]:
    """The estimates for what biases that are drawn anew bring, means over the seeds on which nothing was chosen.

    Args:
        excess: the excess losses of ``"AdamW"``, ``"momentum"`` and others.
        choosing: number of seeds to choose on, the last ones.

    Returns:
        By optimiser ``"gain OPTIMISER"``, the loss without biases less that with them; ``"gap"``, the loss of SGD with
        momentum less that of AdamW, both without biases; ``"narrowing"``, by how much this gap is smaller with them.
    """
    values = {}
    for name in dict.fromkeys(key[0] for key in excess):
        rate, strength = chosen(excess, name, choosing)
        values[name] = np.stack([excess[name, rate, each][:-choosing] for each in (0.0, strength)])
    numbers = {f"gain {name}": without - given for name, (without, given) in values.items()}
    apart = values["momentum"] - values["AdamW"]
    numbers |= {"gap": apart[0], "narrowing": apart[0] - apart[1]}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}
