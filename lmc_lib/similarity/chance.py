"""What a few examples tell of angles: between layers that have nothing in common, and of how near layers are to labels.

The angles are those of linear kernels, in each flavour.
"""

__all__ = ["mean_angles", "orders", "rank_correlation", "unrelated"]

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib.similarity.kernels import FLAVOURS, Kernels
from lmc_lib.similarity.metrics import Metric, cka
from lmc_lib.similarity.paths import to_targets

_ANGLES: dict[str, Metric] = {flavour: cka(flavour) for flavour in FLAVOURS}


def unrelated(layers: Sequence[Tensor], count: int, generators: Iterable[Generator]) -> list[tuple[Tensor, Tensor]]:
    """Neighbouring layers on random examples, which the second of the two has in another order.

    Args:
        layers: representations of the same examples.
        count: number of examples, at most all.
        generators: one for each draw of examples; a draw gives one pair for each two neighbours.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    for generator in generators:
        rows = torch.randperm(len(layers[0]), generator=generator)[:count]
        order = rows[torch.randperm(count, generator=generator)]
        pairs += [(first[rows], second[order]) for first, second in pairwise(layers)]
    return pairs


def mean_angles(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
    """By flavour the mean ``"angle"`` between two representations, and the mean cosine by ``"chance"``.

    Args:
        pairs: two representations of equally many examples each.

    Returns:
        Radians, and what :meth:`~lmc_lib.similarity.Kernels.chance` says of the two.
    """
    found = {}
    for flavour, each in _ANGLES.items():
        points = [(each.point(first), each.point(second)) for first, second in pairs]
        ways = {"angle": each.space.distance, "chance": Kernels(flavour).chance}
        found[flavour] = {name: float(np.mean([float(way(*two)) for two in points])) for name, way in ways.items()}
    return found


def orders(
    layers: Sequence[Tensor], labels: Tensor, count: int, generators: Iterable[Generator]
) -> dict[str, dict[str, float]]:
    """How a few examples order layers by their distance to the labels: by flavour, of labels as they are and of others.

    Args:
        layers: representations of the same examples.
        labels: that of their labels, such as one-hot rows.
        count: number of examples, less than all.
        generators: one for each draw of examples.

    Returns:
        The mean over draws of the rank correlation over layers between their distances on these examples, and those
        without bias (``"song"``) on all other examples; of the labels (``"true"``), and of labels that were given to
        other examples (``"shuffled"``).
    """
    ranks: dict[str, dict[str, list[float]]] = {each: {"true": [], "shuffled": []} for each in FLAVOURS}
    for generator in generators:
        rows = torch.randperm(len(labels), generator=generator)
        targets = (labels, labels[torch.randperm(len(labels), generator=generator)])
        few, others = (
            ([layer[part] for layer in layers], [target[part] for target in targets])
            for part in (rows[:count], rows[count:])
        )
        known = to_targets(_ANGLES["song"], *others)
        for flavour, angle in _ANGLES.items():
            for how, *both in zip(ranks[flavour], to_targets(angle, *few), known, strict=True):
                ranks[flavour][how].append(rank_correlation(*both))
    return {name: {how: float(np.mean(draws)) for how, draws in each.items()} for name, each in ranks.items()}


def rank_correlation(first: Float[ndarray, " layers"], second: Float[ndarray, " layers"]) -> float:
    """Spearman's rank correlation of numbers without ties.

    With integers up to one division, so that it has the same last bit everywhere; means of it are near 0 in controls.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 9.0, 2.0]))
        0.5
    """
    ranks = (each.argsort().argsort() for each in (first, second))
    one, other = (each - each.mean() for each in ranks)
    return float(one @ other / (one @ one))  # the same ranks in another order have the same length
