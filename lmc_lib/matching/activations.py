"""Activation matching: the permutation under which two networks' units respond most alike to the same inputs."""

__all__ = ["activation_matching"]

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lmc_lib.matching.ascent import coordinate_ascent
from lmc_lib.state import State, apply
from lmc_lib.symmetry import Axis, Permutation, PermutationSpec, Tap, check, features, identity


def activation_matching(
    model: nn.Module,
    spec: PermutationSpec,
    target: State,
    source: State,
    inputs: Tensor,
    *,
    generator: Generator,
    kernel: str = "correlation",
    batch_size: int = 256,
    max_sweeps: int = 100,
) -> Permutation:
    """Finds a permutation that maximises the summed similarity of matched units' activations.

    Both networks see the same batches, in evaluation mode. Activations are taken behind each activation function
    that shows a group (for a residual stream behind every addition); pixels count as further samples. Sums run in
    float64 and in one pass; memory is that of one batch and one matrix a tap.

    Args:
        model: the architecture; unchanged.
        spec: its permutation groups.
        target: weights that stay.
        source: weights to permute; unchanged.
        inputs: examples, in the dtype of the weights.
        generator: source of the order of groups; it matters only where an axis has several groups.
        kernel: ``"correlation"`` (centred and scaled, Jordan et al. 2023) or ``"inner_product"`` (raw, as in Kwok's
            nnperm).
        batch_size: examples a batch.
        max_sweeps: bound on the number of sweeps.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if there are no inputs, an activation is not finite, or the kernel is unknown.
    """
    if kernel not in ("correlation", "inner_product"):
        raise ValueError(f"unknown kernel {kernel!r}; there are 'correlation' and 'inner_product'")
    if len(inputs) == 0:
        raise ValueError("activation matching needs at least one example")
    check(spec, target)
    check(spec, source)
    moments = _moments(model, spec.taps, target, source, inputs, batch_size)
    similarity = [each.correlation() if kernel == "correlation" else each.products for each in moments]
    problem = _Activations(spec.taps, similarity)
    return coordinate_ascent(problem, spec.sizes, identity(spec), generator=generator, max_sweeps=max_sweeps)


@dataclass
class _Moments:
    """Sums over samples of two sets of units: counts, values, squares and products across the sets."""

    count: int
    sums: tuple[Tensor, Tensor]
    squares: tuple[Tensor, Tensor]
    products: Tensor

    def add(self, a: Tensor, b: Tensor) -> None:
        """Adds samples; ``a`` and ``b`` have shape ``(units, samples)``."""
        self.count += a.shape[1]
        for x, sums, squares in zip((a, b), self.sums, self.squares, strict=True):
            sums += x.sum(1)
            squares += x.square().sum(1)
        self.products += a @ b.T

    def correlation(self) -> Tensor:
        """Pearson correlation across the sets; 0 for a unit that never changes, so that it carries no signal."""
        means = [sums / self.count for sums in self.sums]
        variances = [q / self.count - m.square() for q, m in zip(self.squares, means, strict=True)]
        # A variance below the rounding error of its two terms is none.
        floors = [1e-12 * q / self.count for q in self.squares]
        inverse = [torch.where(v > f, v, torch.inf).rsqrt() for v, f in zip(variances, floors, strict=True)]
        covariance = self.products / self.count - torch.outer(*means)
        return covariance * torch.outer(*inverse)


def _moments(
    model: nn.Module, taps: tuple[Tap, ...], target: State, source: State, inputs: Tensor, batch_size: int
) -> list[_Moments]:
    network = features(model, {tap.node for tap in taps})
    moments: list[_Moments] = []
    with torch.no_grad():
        for batch in torch.split(inputs, batch_size):
            first, second = (apply(network, state, batch) for state in (target, source))
            for index, tap in enumerate(taps):
                a, b = (each[tap.node].movedim(tap.dim, 0).flatten(1).double() for each in (first, second))
                if index == len(moments):
                    moments.append(_empty_moments(len(a)))
                moments[index].add(a, b)
    for tap, each in zip(taps, moments, strict=True):
        if not bool(each.products.isfinite().all()):
            raise ValueError(f"activations at {tap.node} are not finite; check the weights and the inputs")
    return moments


def _empty_moments(units: int) -> _Moments:
    zeros = [torch.zeros(units, dtype=torch.float64) for _ in range(4)]
    products = torch.zeros(units, units, dtype=torch.float64)
    return _Moments(0, (zeros[0], zeros[1]), (zeros[2], zeros[3]), products)


class _Activations:
    """The problem of ``coordinate_ascent``: a similarity matrix at each tap, its columns permuted in place."""

    def __init__(self, taps: tuple[Tap, ...], similarity: list[Tensor]) -> None:
        self.axes = [tap.axis for tap in taps]
        self.similarity = list(similarity)

    def gain(self, group: str) -> Tensor:
        return torch.stack(
            [
                self._blocks(index, position).diagonal(dim1=0, dim2=3).diagonal(dim1=1, dim2=3).sum((-1, -2))
                for index, position in self._members(group)
            ]
        ).sum(0)

    def move(self, group: str, order: Tensor) -> None:
        for index, position in self._members(group):
            matrix = self.similarity[index]
            self.similarity[index] = self._blocks(index, position).index_select(4, order).reshape(matrix.shape)

    def score(self, group: str) -> float:
        return sum(float(self.similarity[index].diagonal().sum()) for index in {i for i, _ in self._members(group)})

    def _members(self, group: str) -> list[tuple[int, int]]:
        return [
            (index, position)
            for index, axis in enumerate(self.axes)
            for position, factor in enumerate(axis)
            if factor.group == group
        ]

    def _blocks(self, index: int, position: int) -> Tensor:
        """The matrix with the group's factor apart on both sides: (outer, unit, inner, outer, unit, inner)."""
        outer, unit, inner = _sides(self.axes[index], position)
        return self.similarity[index].reshape(outer, unit, inner, outer, unit, inner)


def _sides(axis: Axis, position: int) -> tuple[int, int, int]:
    sizes = torch.tensor([1, *(factor.size for factor in axis), 1])
    return int(sizes[: position + 1].prod()), axis[position].size, int(sizes[position + 2 :].prod())
