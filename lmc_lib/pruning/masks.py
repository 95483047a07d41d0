"""Masks as values: what is left of a network, and which weights stay by scores.

A mask is True where a weight stays. Only tensors with more than one dimension are pruned: biases and the scales of
normalisation are few, and a unit without its scale is gone. Masks travel with the units of a network like its weights:
``symmetry.permute(masks, permutation, spec, partial=True)``.
"""

__all__ = ["EmptyLayer", "Masks", "density", "full_masks", "highest", "overlap", "shuffled"]

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from lmc_lib.state import State, masked, real

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


def full_masks(state: State) -> Masks:
    """The masks of a dense network: every weight of every tensor with more than one dimension."""
    return {name: torch.ones_like(value, dtype=torch.bool) for name, value in real(state).items() if value.dim() > 1}


def highest(scores: State, masks: Masks, count: int, *, empty: bool = False) -> Masks:
    """Keeps so many of the weights that are left, those with the highest scores, over all layers at once.

    Among equal ones, those go first that stand first, in the order of the layers' names and then within a layer.

    Args:
        scores: a number for each weight; entries without a mask are not looked at.
        masks: the weights that are left so far; removed ones stay removed, whatever their score.
        count: how many stay.
        empty: whether a layer may lose its last weight, as where there is a way around it.

    Raises:
        EmptyLayer: if a layer would keep no weight, unless it may.
        ValueError: if fewer weights are left, the masks do not fit the scores, or a score is not finite.

    Example:
        >>> scores = {"a": torch.tensor([[3.0, 1.0]]), "b": torch.tensor([[2.0, 0.5]])}
        >>> [mask.tolist() for mask in highest(scores, full_masks(scores), 2).values()]
        [[[True, False]], [[True, False]]]
    """
    masked(scores, masks)  # raises if they do not fit
    names = sorted(masks)  # the order in which a dictionary was filled carries no meaning
    left = torch.cat([masks[name].reshape(-1) for name in names])
    ranked = torch.cat([scores[name].detach().reshape(-1) for name in names])[left]
    if not bool(ranked.isfinite().all()):
        raise ValueError("a score is not finite; weights with scores like these have no order")
    if not 0 <= count <= len(ranked):
        raise ValueError(f"{count} weights cannot stay where {len(ranked)} are left")
    # A stable sort, so that the mask does not depend on how equal scores come to lie.
    lowest = ranked.sort(stable=True).indices[: len(ranked) - count]
    left[left.nonzero().squeeze(1)[lowest]] = False
    parts = torch.split(left, [masks[name].numel() for name in names])
    kept = {name: part.reshape(masks[name].shape).clone() for name, part in zip(names, parts, strict=True)}
    for name, mask in kept.items():
        if not empty and not bool(mask.any()):
            raise EmptyLayer(name, density(kept))
    return kept


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
