"""Weight matching: the permutation under which two networks' weights are closest (Ainsworth et al. 2023)."""

__all__ = ["objective", "weight_matching"]

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain

import torch
from torch import Generator, Tensor

from lmc_lib.matching.ascent import ORDERS, assign, coordinate_ascent
from lmc_lib.norms import is_statistic
from lmc_lib.state import State, real
from lmc_lib.symmetry import Member, Permutation, PermutationSpec, check, identity, permute, random

STARTS = ("identity", "greedy", "random")


def weight_matching(  # noqa: PLR0913 -- the options that experiments compare
    spec: PermutationSpec,
    target: State | Sequence[State],
    source: State | Sequence[State],
    *,
    generator: Generator,
    start: str | Permutation = "identity",
    restarts: int = 1,
    order: str = "forward",
    kernel: str = "linear",
    vectors: bool = True,
    max_sweeps: int = 100,
    keep_gains: bool = True,
    observe: Callable[[int, float], None] | None = None,
) -> Permutation:
    r"""Finds a permutation :math:`\pi` that maximises :math:`\langle \theta_t, \pi(\theta_s) \rangle`.

    This minimises the Euclidean distance of the weights. Each group in turn is set to its best assignment given the
    others, until none gains: a local optimum, so that restarts can help. Blocks with groups inside, as heads are, are
    exchanged as wholes, each with its inside in the order that is best for where it goes. Sums are in float64. Running
    statistics move with the units but do not count.

    Args:
        spec: the groups, traced from the architecture of both networks.
        target: weights that stay; or several states (checkpoints, pruning levels), for one permutation that serves
            all pairs at once: the objective is the sum over pairs.
        source: weights to permute, as many states as targets; unchanged.
        generator: source of the orders and of random starts.
        start: for the first attempt ``"identity"``, ``"greedy"``, ``"random"`` or a permutation; later ones start at
            random. An identity start, the papers' own, biases the result towards the identity. The greedy start takes
            the groups from the inputs on, each by what is already aligned, since a layer whose other side is not
            aligned yet only adds noise; in ``benchmarks/matching.py`` it reached the best objective, and soonest.
        restarts: number of attempts, of which the best is returned.
        order: in which the groups are visited: ``"forward"`` from the inputs, ``"backward"``, or ``"random"``, anew
            each sweep, as in the papers.
        kernel: ``"linear"``, or ``"cosine"``, which compares units by angle, so that large ones count no more than
            others (Kwok's experiments have both). The cosine has no common objective: each group maximises its own.
        vectors: whether biases and normalisation scales count; Kwok's experiments have both.
        max_sweeps: bound on the sweeps of one attempt.
        keep_gains: whether the gain matrix of each group, in float64, is kept from visit to visit, which is faster; a
            transformer's take two to three times the memory of its weights.
        observe: called after each sweep with the number of sweeps done and the objective.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if a weight is not finite, the states differ in number, dtype or device, or an option is unknown.

    Example:
        >>> from lmc_lib import models, rng, symmetry
        >>> model = models.mlp(4, 3, widths=(16, 16))
        >>> spec = symmetry.permutation_spec(model, torch.zeros(1, 4))
        >>> target = models.initialise(model, generator=rng.stream(0, "weights"))
        >>> planted = symmetry.random(spec, generator=rng.stream(0, "planted"))
        >>> source = symmetry.permute(target, symmetry.inverse(planted, spec), spec)
        >>> found = weight_matching(spec, target, source, generator=rng.stream(0, "order"))
        >>> all(torch.equal(found[group], planted[group]) for group in planted)
        True
    """
    if (isinstance(start, str) and start not in STARTS) or restarts < 1:
        raise ValueError(f"start is one of {STARTS} and restarts at least 1, got {start!r} and {restarts}")
    if order not in ORDERS or kernel not in ("linear", "cosine"):
        raise ValueError(f"order is one of {ORDERS} and kernel 'linear' or 'cosine', got {order!r} and {kernel!r}")
    a, b = _sides(spec, target, source, vectors)
    best, best_objective = identity(spec), -float("inf")
    for attempt in range(restarts):
        first = _start(spec, start if attempt == 0 else "random", a, b, generator)
        problem = _Weights(spec, a, b, cosine=kernel == "cosine", keep_gains=keep_gains)
        found = coordinate_ascent(
            problem, spec, first, generator=generator, max_sweeps=max_sweeps, order=order, observe=observe
        )
        if problem.total() > best_objective:
            best, best_objective = found, problem.total()
    return best


def objective(
    spec: PermutationSpec,
    target: State | Sequence[State],
    source: State | Sequence[State],
    permutation: Permutation,
    *,
    vectors: bool = True,
) -> float:
    r"""The weight-matching objective :math:`\langle \theta_t, \pi(\theta_s) \rangle`, in float64; summed over pairs."""
    moved = [permute(each, permutation, spec) for each in _sequence(source)]
    a, b = _sides(spec, target, moved, vectors)
    return _Weights(spec, a, b).total()


def _start(
    spec: PermutationSpec, start: str | Permutation, target: State, source: State, generator: Generator
) -> Permutation:
    if not isinstance(start, str):
        return start
    if start == "greedy":
        return _greedy(spec, target, source)
    return random(spec, generator=generator) if start == "random" else identity(spec)


def _greedy(spec: PermutationSpec, target: State, source: State) -> Permutation:
    """Each group by the entries of which it is the last to be aligned."""
    problem = _Weights(spec, target, source)
    waiting = {name: {group for group, _ in sharing} for name, sharing in problem.sharing.items()}
    permutation = identity(spec)
    for group in spec.groups:
        for others in waiting.values():
            others.discard(group)
        permutation[group] = assign(problem.gain(group, but={name for name, others in waiting.items() if others}))
        problem.move(group, permutation[group])
    return permutation


def _sequence(states: State | Sequence[State]) -> Sequence[State]:
    return [states] if isinstance(states, dict) else states


def _sides(
    spec: PermutationSpec, target: State | Sequence[State], source: State | Sequence[State], vectors: bool
) -> tuple[State, State]:
    targets, sources = _sequence(target), _sequence(source)
    if len(targets) != len(sources) or not targets:
        raise ValueError(f"one source is needed for each target, got {len(targets)} targets and {len(sources)} sources")
    sides = stacked(spec, targets, vectors), stacked(spec, sources, vectors)
    _check_same_kind(sources[0], targets[0])
    return sides


def stacked(spec: PermutationSpec, states: Sequence[State], vectors: bool) -> State:
    """The entries that count, those of several states side by side in a last dimension; of a single one not copied."""
    for state in states:
        check(spec, state)
        _check_finite(real(state))
        _check_same_kind(state, states[0])
    return {
        name: torch.stack([each[name].detach() for each in states], -1)
        if len(states) > 1
        else value.detach()[..., None]
        for name, value in states[0].items()
        if _counts(name, value, vectors)
    }


def _counts(name: str, value: Tensor, vectors: bool) -> bool:
    shaped = value.dim() > 1 or (vectors and value.dim() == 1 and not is_statistic(name))
    return shaped and value.is_floating_point()


def _check_finite(state: State) -> None:
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds values that are not finite; weights like these cannot be matched")


def _check_same_kind(state: State, first: State) -> None:
    for name, value in state.items():
        if (value.dtype, value.device) != (first[name].dtype, first[name].device):
            raise ValueError(
                f"{name} is {value.dtype} on {value.device} in one state and {first[name].dtype} on "
                f"{first[name].device} in another"
            )


def _with_vectors_joined(
    members: dict[str, list[Member]], target: State, source: State
) -> tuple[dict[str, list[Member]], State, State]:
    """Puts the biases and scales of each group side by side in one matrix, since many small products are slow."""
    sides = dict(target), dict(source)
    joined = {}
    for group, each in members.items():
        vectors = [m for m in each if target[m.name].dim() == 2 and m.places.dim() == 2 and m.places.shape[1] == 1]
        vectors = [m for m in vectors if len(m.places) == len(target[m.name])]
        names = {m.name for m in vectors}
        joined[group] = [m for m in each if m.name not in names]
        if vectors:
            name = f"vectors of {group}"
            for side in sides:
                side[name] = torch.cat([m.rows(side.pop(m.name)) for m in vectors], -1)
            joined[group].append(Member(name, 0, 1, torch.arange(len(vectors[0].places))[:, None]))
    return joined, *sides


class _Weights:
    """The problem of ``coordinate_ascent``: target and source weights, the source permuted in place.

    The gain of a group is kept, and corrected for what another group's move has changed; a move of few units then
    costs little. Weights stay in their own precision, which saves memory; products and sums are in float64.
    """

    def __init__(
        self, spec: PermutationSpec, target: State, source: State, *, cosine: bool = False, keep_gains: bool = True
    ) -> None:
        self.spec = spec
        self.cosine = cosine
        self.keep_gains = keep_gains
        members = {group: [m for m in each if m.name in target] for group, each in spec.members.items()}
        self.members, self.target, self.source = _with_vectors_joined(members, target, source)
        # The gain of a group so far, and the entries that it counts.
        self._gains: dict[str, Tensor] = {}
        self._counted: dict[str, set[str]] = {group: set() for group in self.members}
        self.sharing: dict[str, list[tuple[str, Member]]] = {}
        for group, each in self.members.items():
            for member in each:
                self.sharing.setdefault(member.name, []).append((group, member))

    def gain(self, group: str, *, but: Collection[str] = ()) -> Tensor:
        counted = self._counted[group]
        fresh = [m for m in self.members[group] if m.name not in counted and m.name not in but]
        if fresh or group not in self._gains:
            known = [self._gains[group]] if group in self._gains else []
            # One at a time: a residual stream has as many of them as layers.
            products = (self._products(m, self.target, self.source) for m in fresh)
            self._gains[group] = self._sum(group, chain(known, products))
            counted.update(m.name for m in fresh)
        gain = self._normalised(group, self._gains[group]) if self.cosine else self._gains[group]
        if not self.keep_gains:
            self._forget(group)
        return gain

    def across(self, group: str) -> Tensor:
        size = self.spec.groups[group].size
        rows = [
            [member.rows(state[member.name]).flatten(0, -2).double() for state in (self.target, self.source)]
            for member in self.members[group]
        ]
        total = self._sum(group, [target @ source.T for target, source in rows], square=True)
        return total.reshape(-1, size, len(total) // size, size).transpose(1, 2)

    def alone(self, group: str) -> Tensor:
        covered = {(m.name, m.dim, m.span) for name in self.spec.inside(group) for m in self.members[name]}
        mine = [m for m in self.members[group] if (m.name, m.dim, m.span) not in covered]
        return self._sum(group, [self._products(m, self.target, self.source) for m in mine])

    def is_linear(self, group: str) -> bool:
        names = [member.name for member in self.members[group]]
        return len(set(names)) == len(names)

    def move(self, group: str, order: Tensor) -> None:
        if group in self._gains:
            columns = order[..., None, :].expand(self._gains[group].shape)
            self._gains[group] = self._gains[group].gather(-1, columns)
        for member in self.members[group]:
            self._rearrange(group, member, order)

    def score(self, group: str) -> float:
        return sum(self._inner(name) for name in {member.name for member in self.members[group]})

    def total(self) -> float:
        return sum(self._inner(name) for name in self.target)

    def _rearrange(self, group: str, member: Member, order: Tensor) -> None:
        """Moves a group along one axis, and corrects the gains of the groups along the other axes."""
        changed = order != torch.arange(order.shape[-1])
        places, sources = member.places[changed].reshape(-1), member.moved(order)[changed].reshape(-1)
        flat = member.flat(self.source[member.name])
        old, new = flat.index_select(member.dim, places), flat.index_select(member.dim, sources)
        result = flat.index_copy(member.dim, places, new)
        others = [
            (name, each)
            for name, each in self.sharing[member.name]
            if member.name in self._counted[name] and each is not member
        ]
        if others:
            fixed = member.flat(self.target[member.name]).index_select(member.dim, places)
            for name, other in others:
                if name == group or other.span > 1 or member.span > 1 or other.dim == member.dim:
                    if not self._are_apart(group, member, name, other):
                        self._forget(name)
                else:
                    change = new.double() - old.double()
                    self._gains[name] += self._products(other, {member.name: fixed}, {member.name: change})
        self.source[member.name] = result.reshape(self.source[member.name].shape)

    def _forget(self, group: str) -> None:
        self._gains.pop(group, None)
        self._counted[group].clear()

    def _are_apart(self, group: str, member: Member, name: str, other: Member) -> bool:
        """Whether two groups stand on the same axis at different places, so that neither sees the other move."""
        if name == group or (member.dim, member.span) != (other.dim, other.span):
            return False
        return not bool(torch.isin(member.places, other.places).any())

    def _products(self, member: Member, target: State, source: State) -> Tensor:
        rows = (member.rows(state[member.name]).double() for state in (target, source))
        return next(rows) @ next(rows).transpose(-1, -2)

    def _sum(self, group: str, parts: Iterable[Tensor], *, square: bool = False) -> Tensor:
        total = None
        for part in parts:
            total = part if total is None else total + part
        if total is not None:
            return total
        shape = self.spec.groups[group].shape
        side = torch.Size(shape).numel() if square else shape[-1]
        return torch.zeros(*(() if square else shape[:-1]), side, side, dtype=torch.float64)

    def _normalised(self, group: str, gain: Tensor) -> Tensor:
        mine = [m for m in self.members[group] if m.name in self._counted[group]]
        if not mine:
            return gain
        norms = [
            torch.stack([m.rows(state[m.name]).double().square().sum(-1) for m in mine]).sum(0).sqrt()
            for state in (self.target, self.source)
        ]
        inverse = [torch.where(each > 0, each, torch.inf).reciprocal() for each in norms]
        return gain * inverse[0][..., :, None] * inverse[1][..., None, :]

    def _inner(self, name: str) -> float:
        target, source = (state[name].reshape(-1).double() for state in (self.target, self.source))
        return float(torch.vdot(target, source))
