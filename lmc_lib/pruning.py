"""Iterative magnitude pruning with rewinding; masks and levels are values.

A mask is True where a weight stays. Only tensors with more than one dimension are pruned: biases and the scales of
normalisation are few, and a unit without its scale is gone. Masks travel with the units of a network like its weights:
``symmetry.permute(masks, permutation, spec, partial=True)``.
"""

__all__ = [
    "EmptyLayer",
    "Level",
    "Masks",
    "dense",
    "density",
    "full_masks",
    "iterative_pruning",
    "magnitude_masks",
    "overlap",
    "shuffled",
]

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from lmc_lib.state import State, masked

Masks = dict[str, Bool[Tensor, "..."]]


class EmptyLayer(ValueError):
    """A layer would lose its last weight, and with it the network its function."""

    def __init__(self, layer: str, density: float, level: int | None = None) -> None:
        where = "" if level is None else f"at level {level} "
        super().__init__(
            f"{where}{layer} would keep no weight, at a density of {density:.3g} over all layers: prune fewer levels, "
            "a smaller share, or a wider network"
        )
        self.layer, self.density, self.level = layer, density, level

    def __reduce__(self) -> tuple[type["EmptyLayer"], tuple[str, float, int | None]]:
        return type(self), (self.layer, self.density, self.level)


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


def full_masks(state: State) -> Masks:
    """The masks of a dense network: every weight of every tensor with more than one dimension."""
    return {
        name: torch.ones_like(value, dtype=torch.bool)
        for name, value in state.items()
        if value.dim() > 1 and value.is_floating_point()
    }


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
        >>> state = {"weight": torch.tensor([[3.0, -1.0], [0.5, -2.0]]), "bias": torch.tensor([0.1, 0.1])}
        >>> magnitude_masks(state, full_masks(state), 0.5)["weight"]
        tensor([[ True, False],
                [False,  True]])
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share to prune lies between 0 and 1, not {share}")
    masked(state, masks)  # raises if they do not fit
    names = sorted(masks)  # the order in which a dictionary was filled carries no meaning
    left = torch.cat([masks[name].reshape(-1) for name in names])
    sizes = torch.cat([state[name].detach().abs().reshape(-1) for name in names])[left]
    if not bool(sizes.isfinite().all()):
        raise ValueError("a weight is not finite; weights like these have no order of magnitude")
    # A stable sort, so that the mask does not depend on how equal magnitudes come to lie.
    smallest = sizes.sort(stable=True).indices[: round(share * len(sizes))]
    left[left.nonzero().squeeze(1)[smallest]] = False
    parts = torch.split(left, [masks[name].numel() for name in names])
    pruned = {name: part.reshape(masks[name].shape).clone() for name, part in zip(names, parts, strict=True)}
    for name, mask in pruned.items():
        if not bool(mask.any()):
            raise EmptyLayer(name, density(pruned))
    return pruned


def density(masks: Masks) -> float:
    r"""The share of weights that are left, :math:`\sum_l |m_l| / \sum_l n_l`; 1 for a dense network."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def overlap(masks: Masks, others: Masks) -> float:
    """The share of the weights left by ``masks`` that ``others`` leave too."""
    both = sum(int((mask & others[name]).sum()) for name, mask in masks.items())
    return both / sum(int(mask.sum()) for mask in masks.values())


def shuffled(masks: Masks, *, generator: Generator) -> Masks:
    """Masks that leave as many weights of each layer, at random places: the null baseline of a mask."""
    drawn = {}
    for name in sorted(masks):  # so that the same generator gives the same masks in whatever order they are given
        order = torch.randperm(masks[name].numel(), generator=generator).to(masks[name].device)
        drawn[name] = masks[name].reshape(-1)[order].reshape(masks[name].shape)
    return drawn


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
