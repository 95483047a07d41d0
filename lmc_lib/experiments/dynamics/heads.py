"""Charges of attention heads along a training by SGD, with biases that are drawn, learnt or absent."""

__all__ = ["HeadsSpec", "along_rates", "decades", "estimates", "evidence"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import charges
from lmc_lib.charges import heads
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.dynamics.decoders import DecoderSpec
from lmc_lib.experiments.found import Record
from lmc_lib.state import State, under
from lmc_lib.store import Result, Store
from lmc_lib.values import DIGITS, digits

# More digits are not counted: behind them is the rounding of float64, which differs from processor to processor.
_MOST = 12

# What was measured by learning rate.
Rates = Mapping[float, Record]


@dataclass(frozen=True)
class HeadsSpec(DecoderSpec):
    """All that defines the charges of heads along a training by SGD without momentum and weight decay, in float64.

    It measures, by pair of matrices and one number a seed: ``drift``, how far the charges are from those at the start;
    ``with biases``, the same of the charges in which biases that are learnt count; ``law``, how far these are from the
    discrete law; and the largest ``overlap`` of an update and a head. Sizes are root mean squares over the second half
    of the training of lengths over all heads, by that at the start. ``times`` are some numbers of updates times the
    rate, and ``growth`` the drift there, one row a seed. ``across`` is the drift of the part of the charges at right
    angles to the mean of the biases, or to biases that stay, by that part at the start.

    Attributes:
        learnt: whether the biases of the first batch are kept as weights that are learnt.
        across: whether the part at right angles is measured too.
    """

    kind: ClassVar[str] = "HeadCharges"
    noun: ClassVar[str] = "charges of heads"

    learnt: bool = False
    across: bool = False

    def __post_init__(self) -> None:
        train = self.train
        plain = (train.optimiser, train.momentum, train.weight_decay, train.schedule, train.warmup, train.precision)
        if self.ecd is not None or plain != ("sgd", 0.0, 0.0, "constant", 0, "portable"):
            raise ValueError(f"the law is that of plain SGD in float64 at a constant rate, not of {train}")
        if self.across and (self.learnt or self.biases is None):
            raise ValueError("at right angles to biases that are not learnt: there are none")

    def compute(self, store: Store) -> Result:
        """Trains and follows the charges."""
        start, train = self.start(), self.train
        if self.learnt:
            start |= self.drawn(0, torch.float64)
        path = replace(self, biases=None if self.learnt else self.biases).path(start, save_at=range(train.steps + 1))
        states, slopes = zip(*((now.state, under("momentum_buffer/", now.memory)) for now in path), strict=True)
        places = np.unique(np.linspace(0, train.steps, 41).round().astype(int))
        values = {pair: self._followed(states, slopes[1:], pair, places) for pair in heads.PAIRS}
        return Result(digits(values) | {"times": digits(places * train.lr)})

    def _followed(self, states: Sequence[State], slopes: Sequence[State], pair: str, places: ndarray) -> dict[str, Any]:
        """What is measured of a pair, from the weights before the first update and after each, and the gradients."""
        alone, whole, drive = (
            torch.stack([heads.value(each, pair) for each in some])
            for some in ([heads.weights_alone(each) for each in states], states, slopes)
        )
        law = whole[0] + self.train.lr**2 * torch.cat([torch.zeros_like(drive[:1]), drive]).cumsum(0)
        overlaps = [heads.overlap(*each, pair) for each in zip(states, slopes, strict=False)]
        growth = _length(alone - alone[0]) / _length(alone[:1])
        part = {}
        if self.across:
            bias = self.usual(torch.float64)[f"{heads.PAIRS[pair][0]}_bias"]
            rest = heads.across(alone, bias.expand(alone.shape[:-1]))
            part["across"] = _late(_length(rest - rest[0]) / _length(rest[:1]))
        return part | {
            "drift": _late(growth),
            "with biases": _late(_length(whole - whole[0]) / _length(whole[:1])),
            "law": _late(_length(whole - law) / _length(whole[:1])),
            "overlap": torch.stack(overlaps).amax((0, 2, 3)),
            "growth": growth[places].T,
        }


def along_rates(found: Rates, pair: str, name: str) -> Float[ndarray, "seeds rates"]:
    """What was measured of a pair at each rate."""
    return np.stack([each.of(pair, name) for each in found.values()], axis=1)


def evidence(plain: Rates, drawn: Rates, learnt: Rates) -> dict[str, Estimate]:
    """The estimates for what heads conserve, means over seeds.

    Args:
        plain: by learning rate, the smallest one last, what was measured without biases.
        drawn: with biases that are drawn anew for each batch.
        learnt: with biases that are learnt.

    Returns:
        By pair of matrices ``"digits PAIR"``, the decimal digits, of 12 at most, to which the discrete law holds at
        each rate without biases; ``"order PAIR"``, the power of the rate as which the drift grows without them, again
        as ``"order PAIR beyond"`` for a bound to its other side; ``"drawn PAIR"``, that with biases that are drawn;
        ``"decades PAIR"``, by how many powers of ten the drift is larger with these, at the smallest rate;
        ``"learnt PAIR"``, the power with biases that are learnt, where they count, and ``"alone PAIR"``, where they do
        not.
    """
    values = {}
    for pair in heads.PAIRS:
        drift = {"plain": along_rates(plain, pair, "drift"), "drawn": along_rates(drawn, pair, "drift")}
        values[f"digits {pair}"] = -np.log10(along_rates(plain, pair, "law").max(1).clip(10.0**-_MOST))
        order = charges.order(list(plain), drift["plain"])
        values |= {f"order {pair}": order, f"order {pair} beyond": order}
        values[f"drawn {pair}"] = charges.order(list(drawn), drift["drawn"])
        values[f"decades {pair}"] = decades(drift["drawn"], drift["plain"])
        values[f"learnt {pair}"] = charges.order(list(learnt), along_rates(learnt, pair, "with biases"))
        values[f"alone {pair}"] = charges.order(list(learnt), along_rates(learnt, pair, "drift"))
    return estimates(values)


def decades(larger: Float[ndarray, "seeds rates"], smaller: Float[ndarray, "seeds rates"]) -> Float[ndarray, " seeds"]:
    """By how many powers of ten something is larger at the last rate."""
    found: ndarray = np.log10(larger / smaller)[:, -1]
    return found


def estimates(values: Mapping[str, Float[ndarray, " seeds"]]) -> dict[str, Estimate]:
    """Of means over seeds."""
    # Rounded, since last bits of logarithms differ between processors, and where numbers cancel nothing else is left.
    return {name: estimate_of_mean(each.round(DIGITS)) for name, each in values.items()}


def _length(charges: Float[Tensor, "times networks layers heads d d"]) -> Float[Tensor, "times networks"]:
    return charges.square().sum((2, 3, 4, 5)).sqrt()


def _late(sizes: Float[Tensor, "times networks"]) -> Float[Tensor, " networks"]:
    """The root mean square over the second half."""
    return sizes[len(sizes) // 2 :].square().mean(0).sqrt()
