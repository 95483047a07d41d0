"""Charges along a training, from its weights and velocities, beside what the laws predict."""

__all__ = ["Follower", "Motion"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib.charges.laws import LAWS, SGD, predicted
from lmc_lib.charges.symmetries import Charge, generator, inner, value
from lmc_lib.state import State, stacked

# Updates are looked at so many together that their weights and velocities are about this many numbers.
_TOGETHER = 2**21


@dataclass(frozen=True)
class Motion:
    """The charges of one family along a training, one column a unit.

    Attributes:
        charges: before the first update and after each.
        overlap: at each update how far the gradient is from being at right angles to the generator: the sum over units
            of the absolute inner products, by that of the products of lengths.
        predictions: the charges by each law of ``LAWS``, from those at the start and the drive of each update.
        squares: the squared length of the gradient of each unit's weights at each update.
    """

    charges: Float[ndarray, "after units"]
    overlap: Float[ndarray, " updates"]
    predictions: Mapping[str, Float[ndarray, "after units"]]
    squares: Float[ndarray, "updates units"]

    @property
    def drift(self) -> float:
        """How far the charges are from those at the start, in the second half of the training.

        It is the root mean square over time of the length of the difference, by the length of the charges at the start.
        """
        return self._size(self.charges - self.charges[0])

    @property
    def distances(self) -> dict[str, float]:
        """How far the charges are from those by each law, likewise."""
        return {name: self._size(self.charges - each) for name, each in self.predictions.items()}

    def _size(self, differences: Float[ndarray, "after units"]) -> float:
        late = differences[len(differences) // 2 :]
        return float(np.sqrt(np.square(late).sum(1).mean() / np.square(self.charges[0]).sum()))


class Follower:
    """Follows charges along a training by SGD, one look after every update.

    Args:
        charges: the charges.
        sgd: the rule of the updates.
    """

    def __init__(self, charges: Sequence[Charge], sgd: SGD) -> None:
        self.sgd = sgd
        self.families: dict[str, list[Charge]] = {}
        for each in charges:
            self.families.setdefault(each.family, []).append(each)
        self.names = {name for each in charges for name, _, _ in each.terms}
        self.updates: dict[str, list[Tensor]] = {family: [] for family in self.families}
        self.seen: list[tuple[State, State]] = []

    def visit(self, state: State, velocity: State) -> None:
        """Takes the weights and the velocity, at the start and after each update."""
        self.seen.append(({name: state[name] for name in self.names}, {name: velocity[name] for name in self.names}))
        if 2 * len(self.seen) * sum(state[name].numel() for name in self.names) > _TOGETHER:
            self._look()

    def motions(self) -> dict[str, Motion]:
        """The motion of each family, after one update at least."""
        self._look()
        return {family: self._motion(family) for family in self.families}

    def _look(self) -> None:
        """Looks at the updates that were seen since the last look; the state behind them is where the next begins."""
        if len(self.seen) < 2:
            return
        states, velocities = (stacked(each) for each in zip(*self.seen, strict=True))
        self.seen = self.seen[-1:]
        before, after = slice(None, -1), slice(1, None)
        earlier, later, slower, velocity = (
            {name: stack[name][part] for name in self.names}
            for stack, part in product((states, velocities), (before, after))
        )
        gradient = {
            name: velocity[name] - self.sgd.momentum * slower[name] - self.sgd.decay * earlier[name]
            for name in self.names
        }
        for family, own in self.families.items():
            rows = [torch.vmap(partial(_update, each))(earlier, later, velocity, gradient) for each in own]
            self.updates[family].append(torch.cat(rows, 2))

    def _motion(self, family: str) -> Motion:
        found = torch.cat(self.updates[family]).movedim(1, 0).double().numpy()
        before, after, drive, products, lengths, squares = found
        degree = self.families[family][0].degree
        predictions = {name: predicted(law(degree, self.sgd), before[0], drive) for name, law in LAWS.items()}
        return Motion(np.concatenate([before[:1], after]), products.sum(1) / lengths.sum(1), predictions, squares)


def _update(charge: Charge, state: State, later: State, velocity: State, gradient: State) -> Float[Tensor, "6 units"]:
    """Charges before, after and of the velocity; product, lengths of generator and gradient; square of the gradient."""
    direction, squares = generator(charge, state), inner(charge, gradient, gradient)
    lengths = (inner(charge, direction, direction) * squares).sqrt()
    drives = [value(charge, each) for each in (state, later, velocity)]
    return torch.stack([*drives, inner(charge, direction, gradient).abs(), lengths, squares])
