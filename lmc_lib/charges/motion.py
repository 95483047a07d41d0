"""Charges along a training, from its weights and velocities, beside what the laws predict."""

__all__ = ["Follower", "Motion"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib.charges.laws import LAWS, SGD, predicted
from lmc_lib.charges.symmetries import Charge, generator, gram
from lmc_lib.state import State


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
        self.before: tuple[State, State] | None = None

    def visit(self, state: State, velocity: State) -> None:
        """Takes the weights and the velocity, at the start and after each update."""
        if self.before is not None:
            earlier, slower = self.before
            gradient = {
                name: velocity[name] - self.sgd.momentum * slower[name] - self.sgd.decay * earlier[name]
                for name in self.names
            }
            for family, own in self.families.items():
                rows = [_update(each, earlier, state, velocity, gradient) for each in own]
                self.updates[family].append(torch.cat(rows, 1))
        self.before = state, velocity

    def motions(self) -> dict[str, Motion]:
        """The motion of each family, after one update at least."""
        return {family: self._motion(family) for family in self.families}

    def _motion(self, family: str) -> Motion:
        before, after, drive, products, lengths, squares = torch.stack(self.updates[family], 1).double().numpy()
        degree = self.families[family][0].degree
        predictions = {name: predicted(law(degree, self.sgd), before[0], drive) for name, law in LAWS.items()}
        return Motion(np.concatenate([before[:1], after]), products.sum(1) / lengths.sum(1), predictions, squares)


def _update(charge: Charge, state: State, later: State, velocity: State, gradient: State) -> Float[Tensor, "6 units"]:
    """Charges before, after and of the velocity; product, lengths of generator and gradient; square of the gradient."""
    directions = [generator(charge, each) for each in (state, later, velocity)]
    products = gram(charge, [*directions, state, later, velocity, gradient]).movedim(0, 2)
    lengths, squares = (products[0, 0] * products[6, 6]).sqrt(), products[6, 6]
    return torch.stack([*(products[place, place + 3] for place in range(3)), products[0, 6].abs(), lengths, squares])
