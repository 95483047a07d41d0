"""Activation matching: the permutation under which two networks' units respond most alike to the same inputs."""

__all__ = ["activation_matching"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lmc_lib.matching.ascent import coordinate_ascent
from lmc_lib.state import State
from lmc_lib.symmetry import Member, Permutation, PermutationSpec, check, identity, rearrange


def activation_matching(
    spec: PermutationSpec,
    target: State | Sequence[State],
    source: State | Sequence[State],
    inputs: Tensor,
    *,
    generator: Generator,
    kernel: str = "correlation",
    batch_size: int = 256,
    max_sweeps: int = 100,
    observe: Callable[[int, float], None] | None = None,
) -> Permutation:
    """Finds a permutation that maximises the summed similarity of matched units' activations.

    Both networks see the same batches, in evaluation mode. Activations are taken behind each activation function
    that shows a group (for a residual stream behind every addition); pixels count as further samples. Sums run in
    float64 and in one pass; memory is that of one batch and one matrix a tap.

    Args:
        spec: the groups, traced from the architecture of both networks.
        target: weights that stay; or several states, for one permutation that serves all pairs: similarities are
            summed over pairs.
        source: weights to permute, as many states as targets; unchanged.
        inputs: examples, in the dtype of the weights.
        generator: source of the order of groups; it matters only where an axis has several groups.
        kernel: ``"correlation"`` (centred and scaled, Jordan et al. 2023) or ``"inner_product"`` (raw, as in Kwok's
            nnperm).
        batch_size: examples a batch.
        max_sweeps: bound on the number of sweeps.
        observe: called after each sweep with the number of sweeps done and the summed similarity.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if there are no inputs, an activation is not finite, or the kernel is unknown.
    """
    if kernel not in ("correlation", "inner_product"):
        raise ValueError(f"unknown kernel {kernel!r}; there are 'correlation' and 'inner_product'")
    if len(inputs) == 0:
        raise ValueError("activation matching needs at least one example")
    targets, sources = ([each] if isinstance(each, dict) else each for each in (target, source))
    if len(targets) != len(sources) or not targets:
        raise ValueError(f"one source is needed for each target, got {len(targets)} targets and {len(sources)} sources")
    pairs = []
    for first, second in zip(targets, sources, strict=True):
        check(spec, first)
        check(spec, second)
        moments = _moments(spec, first, second, inputs, batch_size)
        pairs.append([each.correlation() if kernel == "correlation" else each.products for each in moments])
    problem = _Activations(spec, [torch.stack(each).sum(0) for each in zip(*pairs, strict=True)])
    return coordinate_ascent(problem, spec, identity(spec), generator=generator, max_sweeps=max_sweeps, observe=observe)


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


def _moments(spec: PermutationSpec, target: State, source: State, inputs: Tensor, batch_size: int) -> list[_Moments]:
    if spec.observe is None:
        raise ValueError("this spec was not traced from a network, so that its activations cannot be observed")
    moments: list[_Moments] = []
    with torch.no_grad():
        for batch in torch.split(inputs, batch_size):
            first, second = (spec.observe(state, batch) for state in (target, source))
            for index, tap in enumerate(spec.taps):
                a, b = (each[tap.node].movedim(tap.dim + 1, 0).flatten(1).double() for each in (first, second))
                if index == len(moments):
                    moments.append(_empty_moments(len(a)))
                moments[index].add(a, b)
    for tap, each in zip(spec.taps, moments, strict=True):
        if not bool(each.products.isfinite().all()):
            raise ValueError(f"activations at {tap.node} are not finite; check the weights and the inputs")
    return moments


def _empty_moments(units: int) -> _Moments:
    zeros = [torch.zeros(units, dtype=torch.float64) for _ in range(4)]
    products = torch.zeros(units, units, dtype=torch.float64)
    return _Moments(0, (zeros[0], zeros[1]), (zeros[2], zeros[3]), products)


class _Activations:
    """The problem of ``coordinate_ascent``: a similarity matrix at each tap, its columns permuted in place."""

    def __init__(self, spec: PermutationSpec, similarity: list[Tensor]) -> None:
        self.spec = spec
        self.taps = spec.taps
        self.similarity = list(similarity)

    def gain(self, group: str) -> Tensor:
        if not self.spec.groups[group].blocks:
            return self._sum(group, [self._between(index, group) for index in self._members(group)])
        return self.across(group).diagonal().permute(2, 0, 1).reshape(*self.spec.groups[group].shape, -1)

    def across(self, group: str) -> Tensor:
        size = self.spec.groups[group].size
        total = torch.stack([self._between(index, group) for index in self._members(group)]).sum(0)
        return total.reshape(-1, size, total[0].numel() // size, size).transpose(1, 2)

    def alone(self, group: str) -> Tensor:
        covered = {index for name in self.spec.inside(group) for index in self._members(name)}
        mine = [index for index in self._members(group) if index not in covered]
        return self._sum(group, [self._between(index, group) for index in mine])

    def is_linear(self, group: str) -> bool:
        return not any(len(self.taps[index].places) > 1 for index in self._members(group))

    def move(self, group: str, order: Tensor) -> None:
        for index in self._members(group):
            tap = self.taps[index]
            axis = Member(tap.node, 1, 1, tap.places[group])
            self.similarity[index] = rearrange(self.similarity[index], axis, order)

    def score(self, group: str) -> float:
        return sum(float(self.similarity[index].diagonal().sum()) for index in self._members(group))

    def total(self) -> float:
        return sum(float(each.diagonal().sum()) for each in self.similarity)

    def _members(self, group: str) -> list[int]:
        return [index for index, tap in enumerate(self.taps) if group in tap.places]

    def _between(self, index: int, group: str) -> Tensor:
        """Summed similarity of any two units of a group, whatever their blocks, over the places of a unit."""
        places = self.taps[index].places[group].flatten(0, -2)
        return torch.stack([self.similarity[index][each][:, each] for each in places.T]).sum(0)

    def _sum(self, group: str, parts: list[Tensor]) -> Tensor:
        size = self.spec.groups[group].size
        return torch.stack(parts).sum(0) if parts else torch.zeros(size, size, dtype=torch.float64)
