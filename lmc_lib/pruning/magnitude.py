"""Iterative magnitude pruning with rewinding; levels are values."""

__all__ = ["Level", "dense", "iterative_pruning", "magnitude_masks"]

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmc_lib.pruning.masks import EmptyLayer, Masks, full_masks, highest
from lmc_lib.state import State, masked


@dataclass(frozen=True)
class Level:
    """A round of iterative pruning.

    Attributes:
        number: 0 for the dense network.
        masks: the weights that are left.
        state: the weights, trained under the masks.
    """

    number: int
    masks: Masks
    state: State


def magnitude_masks(state: State, masks: Masks, share: float) -> Masks:
    """Removes the smallest of the weights that are left, over all layers at once.

    Of :math:`n` weights that are left, ``round(share * n)`` with the smallest magnitude go. Among equal ones, those go
    first that stand first, in the order of the layers' names and then within a layer.

    Args:
        state: trained weights.
        masks: the weights that are left so far; removed ones stay removed, whatever their value.
        share: the share of them to remove, between 0 and 1.

    Raises:
        EmptyLayer: if a layer would keep no weight.
        ValueError: if the share is not between 0 and 1, the masks do not fit the state, or a weight is not finite.

    Example:
        >>> import torch
        >>> state = {"weight": torch.tensor([[3.0, -1.0], [0.5, -2.0]]), "bias": torch.tensor([0.1, 0.1])}
        >>> magnitude_masks(state, full_masks(state), 0.5)["weight"]
        tensor([[ True, False],
                [False,  True]])
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share to prune lies between 0 and 1, not {share}")
    left = sum(int(mask.sum()) for mask in masks.values())
    return highest({name: value.abs() for name, value in state.items()}, masks, left - round(share * left))


def dense(state: State) -> Level:
    """The level before pruning: a trained network with all its weights."""
    return Level(0, full_masks(state), state)


def iterative_pruning(
    start: Level, rewound: State, train: Callable[[State, Masks], State], *, share: float
) -> Iterator[Level]:
    """Prunes, rewinds and trains, again and again (Frankle et al. 2020); yields the levels after ``start`` without end.

    Args:
        start: the level to go on from, ``dense(trained)`` at first.
        rewound: the weights of an early step, to which every level goes back.
        train: trains weights, given with the removed ones at zero, under masks.
        share: the share of the remaining weights that a level removes.

    Raises:
        EmptyLayer: at the level at which a layer would keep no weight.
        ValueError: as for :func:`magnitude_masks`.

    Example:
        >>> import torch
        >>> from lmc_lib.pruning import density
        >>> state = {"weight": torch.tensor([[3.0, -1.0], [0.5, -2.0]])}
        >>> levels = iterative_pruning(dense(state), state, lambda weights, masks: weights, share=0.25)
        >>> [density(level.masks) for level in itertools.islice(levels, 2)]
        [0.75, 0.5]
    """
    level = start
    for number in itertools.count(start.number + 1):
        try:
            masks = magnitude_masks(level.state, level.masks, share)
        except EmptyLayer as error:
            raise EmptyLayer(error.layer, error.density, number) from None
        level = Level(number, masks, train(masked(rewound, masks), masks))
        yield level
