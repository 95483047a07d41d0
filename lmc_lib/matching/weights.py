"""Weight matching: the permutation under which two networks' weights are closest (Ainsworth et al. 2023)."""

__all__ = ["objective", "weight_matching"]

import torch
from torch import Generator, Tensor

from lmc_lib.matching.ascent import coordinate_ascent
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation, PermutationSpec, check, identity, permute, random

_STATISTICS = ("running_mean", "running_var")


def weight_matching(
    spec: PermutationSpec,
    target: State,
    source: State,
    *,
    generator: Generator,
    start: str = "identity",
    restarts: int = 1,
    vectors: bool = True,
    max_sweeps: int = 100,
) -> Permutation:
    r"""Finds a permutation :math:`\pi` that maximises :math:`\langle \theta_t, \pi(\theta_s) \rangle`.

    This minimises the Euclidean distance of the weights. Each group in turn is set to its best assignment given the
    others, in a random order of the groups, until none gains: a local optimum, so that restarts can help. Sums are in
    float64. Running statistics move with the units but do not count.

    Args:
        spec: the groups, traced from the architecture of both networks.
        target: weights that stay.
        source: weights to permute; unchanged.
        generator: source of the orders and of random starts.
        start: ``"identity"`` or ``"random"``, for the first attempt; later ones always start at random. An identity
            start biases the result towards the identity.
        restarts: number of attempts, of which the best is returned.
        vectors: whether biases and normalisation scales count; Kwok's experiments have both.
        max_sweeps: bound on the sweeps of one attempt.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if a weight is not finite, or an option is unknown.

    Example:
        >>> from lmc_lib import models, rng, symmetry
        >>> model = models.mlp(4, 3, widths=(16, 16))
        >>> spec = symmetry.permutation_spec(model, torch.zeros(1, 4))
        >>> target = models.initialise(model, generator=rng.stream(0, "weights"))
        >>> planted = symmetry.random(spec, generator=rng.stream(0, "planted"))
        >>> source = symmetry.permute(target, symmetry.inverse(planted), spec)
        >>> found = weight_matching(spec, target, source, generator=rng.stream(0, "order"))
        >>> all(torch.equal(found[group], planted[group]) for group in planted)
        True
    """
    if start not in ("identity", "random") or restarts < 1:
        raise ValueError(f"start is 'identity' or 'random' and restarts at least 1, got {start!r} and {restarts}")
    a, b = (_factored(spec, state, vectors) for state in (target, source))
    best, best_objective = identity(spec), -float("inf")
    for attempt in range(restarts):
        at_random = start == "random" or attempt > 0
        first = random(spec, generator=generator) if at_random else identity(spec)
        problem = _Weights(spec, a, dict(b))
        found = coordinate_ascent(problem, spec.sizes, first, generator=generator, max_sweeps=max_sweeps)
        if problem.total() > best_objective:
            best, best_objective = found, problem.total()
    return best


def objective(
    spec: PermutationSpec, target: State, source: State, permutation: Permutation, *, vectors: bool = True
) -> float:
    r"""The weight-matching objective :math:`\langle \theta_t, \pi(\theta_s) \rangle`, in float64."""
    a, b = (_factored(spec, state, vectors) for state in (target, permute(source, permutation, spec)))
    return _Weights(spec, a, b).total()


def _factored(spec: PermutationSpec, state: State, vectors: bool) -> State:
    """The entries that count, in float64, with one dimension for each factor of the spec."""
    check(spec, state)
    entries = {}
    for name, value in state.items():
        counts = value.dim() > 1 or (vectors and value.dim() == 1 and not name.endswith(_STATISTICS))
        if counts and value.is_floating_point():
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} holds values that are not finite; weights like these cannot be matched")
            entries[name] = value.detach().double().reshape(spec.factored_shape(name))
    return entries


class _Weights:
    """The problem of ``coordinate_ascent``: target and source weights, the source permuted in place."""

    def __init__(self, spec: PermutationSpec, target: State, source: State) -> None:
        self.target = target
        self.source = source
        self.members: dict[str, list[tuple[str, int]]] = {group: [] for group in spec.sizes}
        for name in target:
            for dim, group in enumerate(spec.factor_groups(name)):
                if group is not None:
                    self.members[group].append((name, dim))

    def gain(self, group: str) -> Tensor:
        return torch.stack(
            [
                self.target[name].movedim(dim, 0).flatten(1) @ self.source[name].movedim(dim, 0).flatten(1).T
                if self.target[name].dim() > 1
                else torch.outer(self.target[name], self.source[name])
                for name, dim in self.members[group]
            ]
        ).sum(0)

    def move(self, group: str, order: Tensor) -> None:
        for name, dim in self.members[group]:
            self.source[name] = self.source[name].index_select(dim, order)

    def score(self, group: str) -> float:
        return sum(self._inner(name) for name in {name for name, _ in self.members[group]})

    def total(self) -> float:
        return sum(self._inner(name) for name in self.target)

    def _inner(self, name: str) -> float:
        return float(torch.vdot(self.target[name].reshape(-1), self.source[name].reshape(-1)))
