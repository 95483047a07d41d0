"""Matching of many networks: permutations that bring all of them to one order of units.

Permutations found pair by pair need not compose: bringing ``k`` to ``j`` and on to ``i`` may differ from bringing ``k``
to ``i``. One permutation a network, to a reference, a mean or a common *universe*, composes by construction.
"""

__all__ = ["cycle_consistent", "cycle_error", "joint_objective", "merge_many", "pairwise", "to_reference"]

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.matching.ascent import assign
from lmc_lib.matching.weights import stacked, weight_matching
from lmc_lib.state import State, cast, combine
from lmc_lib.symmetry import (
    Member,
    Permutation,
    PermutationSpec,
    check,
    compose,
    fixed_points,
    identity,
    inverse,
    permute,
)

# For each group one doubly stochastic matrix a network, of shape (networks, size, size): row ``i`` says of which source
# units place ``i`` is the weighted mean.
_Soft = dict[str, Tensor]

# A direction must promise more than this share of the largest gradient a unit: `assign` rounds gains to 2e-10 of it.
_RELATIVE_GAIN = 1e-9


def to_reference(
    spec: PermutationSpec, states: Sequence[State], *, generator: Generator, reference: int = 0, **options: Any
) -> list[Permutation]:
    """Matches each network to one of them.

    Args:
        spec: the groups, traced from the architecture of all networks.
        states: weights of at least two networks; unchanged.
        generator: source of the order of groups.
        reference: index of the network that stays.
        **options: of ``weight_matching``.

    Returns:
        One permutation a network, that of the reference the identity.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if there are fewer than two networks, none has the index of the reference, or a weight is not
            finite.
    """
    _check_several(states)
    if not 0 <= reference < len(states):
        raise ValueError(f"the reference is one of the networks 0 to {len(states) - 1}, got {reference}")
    return [
        identity(spec)
        if index == reference
        else weight_matching(spec, states[reference], state, generator=generator, **options)
        for index, state in enumerate(states)
    ]


def merge_many(
    spec: PermutationSpec,
    states: Sequence[State],
    *,
    generator: Generator,
    start: Sequence[Permutation] | None = None,
    max_rounds: int = 100,
    **options: Any,
) -> list[Permutation]:
    """Matches each network in turn to the mean of the others as they stand (MergeMany, Ainsworth et al. 2023).

    A round visits all networks in a random order; a visit starts from the permutation that the network has. Rounds end
    when one changes nothing. No visit lowers :func:`joint_objective`, but for ``kernel="cosine"``, which has another
    objective. The result is a local optimum and depends on the order.

    Args:
        spec: the groups, traced from the architecture of all networks.
        states: weights of at least two networks; unchanged.
        generator: source of the orders of networks and groups.
        start: one permutation a network to begin with; the identity if None.
        max_rounds: bound on the number of rounds.
        **options: of ``weight_matching``; not ``start``.

    Returns:
        One permutation a network. The order of units that they have in common is that of no network in particular.

    Raises:
        SymmetryError: if a state or a permutation of ``start`` does not fit the spec.
        ValueError: if there are fewer than two networks, ``start`` has another length, or a weight is not finite.
    """
    _check_several(states)
    permutations = [identity(spec) for _ in states] if start is None else list(start)
    if len(permutations) != len(states):
        raise ValueError(f"one permutation is needed for each network, got {len(permutations)} for {len(states)}")
    for state, permutation in zip(states, permutations, strict=True):
        check(spec, state, permutation)
    doubles = [cast(state, torch.float64) for state in states]
    aligned = [permute(*each, spec) for each in zip(doubles, permutations, strict=True)]
    for _ in range(max_rounds):
        changed = False
        for index in torch.randperm(len(states), generator=generator).tolist():
            # The sum stands for the mean: a factor does not change the best permutation.
            others = combine(aligned[:index] + aligned[index + 1 :], [1.0] * (len(states) - 1))
            before = permutations[index]
            found = weight_matching(spec, others, doubles[index], generator=generator, start=before, **options)
            if any(not torch.equal(found[group], before[group]) for group in spec.groups):
                permutations[index], aligned[index] = found, permute(doubles[index], found, spec)
                changed = True
        if not changed:
            break
    return permutations


def cycle_consistent(
    spec: PermutationSpec,
    states: Sequence[State],
    *,
    generator: Generator,
    iterations: int = 200,
    vectors: bool = True,
    **options: Any,
) -> list[Permutation]:
    r"""Finds permutations of all networks to a common universe at once (after C2M3, Crisostomi et al. 2024).

    Frank-Wolfe maximises :func:`joint_objective` with doubly stochastic matrices in place of permutations, those of all
    networks and groups together: the direction is one linear assignment a network and group for the gradient, and the
    step the exact maximum along the segment, where the objective is a polynomial. It starts in the middle, where every
    unit is the mean of its group, but for one network that is drawn and starts at the identity; so how the units of the
    others are numbered does not matter. The result is rounded to permutations and polished by :func:`merge_many`.

    Where :func:`merge_many` alone gets further, its permutations are returned. Groups that are blocks for others, or
    act in blocks, keep its permutations during Frank-Wolfe, which did worse on them.

    Args:
        spec: the groups, traced from the architecture of all networks.
        states: weights of at least two networks; unchanged.
        generator: source of the network that starts at the identity, and of the orders in the polish.
        iterations: bound on the steps of Frank-Wolfe.
        vectors: whether biases and normalisation scales count.
        **options: of :func:`merge_many` and ``weight_matching``, for the polish.

    Returns:
        One permutation a network, as :func:`merge_many` does.

    Raises:
        SymmetryError: if a state does not fit the spec.
        ValueError: if there are fewer than two networks, a weight is not finite, or the states differ in dtype or
            device.
    """
    _check_several(states)
    by_rounds = merge_many(spec, states, generator=generator, vectors=vectors, **options)
    free = [name for name, group in spec.groups.items() if not group.blocks and not spec.inside(name)]
    still = {name: each for name, each in identity(spec).items() if name in free}
    held = [permute(state, found | still, spec) for state, found in zip(states, by_rounds, strict=True)]
    values = cast(stacked(spec, held, vectors), torch.float64)
    anchor = int(torch.randint(len(states), (), generator=generator))
    point = _frank_wolfe(spec, values, _middle(spec, free, len(states), anchor), iterations)
    orders = {name: assign(soft) for name, soft in point.items()}
    start = [found | {name: each[index] for name, each in orders.items()} for index, found in enumerate(by_rounds)]
    polished = merge_many(spec, states, generator=generator, start=start, vectors=vectors, **options)
    return max(by_rounds, polished, key=lambda found: joint_objective(spec, states, found, vectors=vectors))


def joint_objective(
    spec: PermutationSpec, states: Sequence[State], permutations: Sequence[Permutation], *, vectors: bool = True
) -> float:
    r"""The sum of :math:`\langle \pi_i(\theta_i), \pi_j(\theta_j) \rangle` over pairs of networks, in float64.

    Args:
        spec: the groups, traced from the architecture of all networks.
        states: weights of at least two networks.
        permutations: one a network.
        vectors: whether biases and normalisation scales count.

    Raises:
        SymmetryError: if a state or a permutation does not fit the spec.
        ValueError: if there are fewer than two networks, or the states differ in number, dtype or device.
    """
    _check_several(states)
    aligned = [permute(*each, spec) for each in zip(states, permutations, strict=True)]
    return float(_pairs(cast(stacked(spec, aligned, vectors), torch.float64)))


def pairwise(spec: PermutationSpec, universe: Sequence[Permutation]) -> dict[tuple[int, int], Permutation]:
    """For each pair of networks ``(i, j)`` the permutation that brings ``j`` to ``i`` by way of the universe.

    Args:
        spec: the groups.
        universe: one permutation a network, as the functions of this module return them.

    Example:
        >>> from lmc_lib import models, rng, symmetry
        >>> spec = symmetry.permutation_spec(models.mlp(4, 3, widths=(8,)), torch.zeros(1, 4))
        >>> universe = [symmetry.random(spec, generator=rng.stream(0, index)) for index in range(4)]
        >>> cycle_error(spec, pairwise(spec, universe))
        0.0
    """
    return {
        (i, j): compose(inverse(universe[i], spec), universe[j], spec)
        for i, j in itertools.permutations(range(len(universe)), 2)
    }


def cycle_error(spec: PermutationSpec, permutations: Mapping[tuple[int, int], Permutation]) -> float:
    r"""How far permutations of pairs fail to compose, from 0 to 1.

    With :math:`\pi_{ij}` bringing network :math:`j` to network :math:`i`, as ``weight_matching`` does with target
    :math:`i` and source :math:`j`: the share of units for which :math:`\pi_{jk}` followed by :math:`\pi_{ij}` differs
    from :math:`\pi_{ik}`, averaged over all ordered triples of different networks. Units are counted as by
    :func:`~lmc_lib.symmetry.fixed_points`.

    Args:
        spec: the groups.
        permutations: by ``(i, j)``; where only one of ``(i, j)`` and ``(j, i)`` is given, the other is its inverse.

    Raises:
        SymmetryError: if a permutation does not fit the spec.
        ValueError: if there are fewer than three networks, or a pair is missing.
    """
    networks = sorted({index for pair in permutations for index in pair})
    if len(networks) < 3:
        raise ValueError(f"a cycle needs at least three networks, got {len(networks)}")
    between = {(j, i): inverse(each, spec) for (i, j), each in permutations.items()} | dict(permutations)
    if missing := [pair for pair in itertools.combinations(networks, 2) if pair not in between]:
        raise ValueError("there is no permutation between the networks {} and {}".format(*missing[0]))
    errors = []
    for i, j, k in itertools.permutations(networks, 3):
        around = compose(between[i, j], between[j, k], spec)
        errors.append(1.0 - fixed_points(compose(inverse(between[i, k], spec), around, spec)))
    return sum(errors) / len(errors)


def _check_several(states: Sequence[State]) -> None:
    if len(states) < 2:
        raise ValueError(f"at least two networks are needed, got {len(states)}")


def _middle(spec: PermutationSpec, groups: Sequence[str], networks: int, anchor: int) -> _Soft:
    """The point that prefers no permutation, but for one network, which is at the identity."""
    point = {}
    for name in groups:
        size = spec.groups[name].size
        point[name] = torch.full((networks, size, size), 1.0 / size, dtype=torch.float64)
        point[name][anchor] = torch.eye(size, dtype=torch.float64)
    return point


def _frank_wolfe(spec: PermutationSpec, values: State, point: _Soft, iterations: int) -> _Soft:
    """Ascends from a point until no permutation of a group in a network promises a gain.

    Args:
        spec: the groups.
        values: the entries that count, those of the networks side by side in the last dimension.
        point: where to start.
        iterations: bound on the number of steps.
    """
    for _ in range(iterations if point else 0):
        gradient = _gradient(spec, values, point)
        direction = {name: _direction(gradient[name], soft) for name, soft in point.items()}
        if not any(bool(each.any()) for each in direction.values()):
            break
        point = _moved(point, direction, _best_step(spec, values, point, direction))
    return point


def _gradient(spec: PermutationSpec, values: State, point: _Soft) -> _Soft:
    leaves = {name: soft.detach().requires_grad_() for name, soft in point.items()}
    with torch.enable_grad():
        value = _pairs(_mixed(spec, values, leaves))
    # A group of which no entry counts has no part in the objective.
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def _direction(gradient: Tensor, soft: Tensor) -> Tensor:
    """The way to the best permutation of each network, or none if it is no better: ties move nothing."""
    towards = _vertex(assign(gradient)) - soft
    gain = (gradient * towards).sum((-2, -1), keepdim=True)
    rounding = _RELATIVE_GAIN * gradient.shape[-1] * gradient.abs().amax((-2, -1), keepdim=True)
    return torch.where(gain > rounding, towards, 0.0)


def _best_step(spec: PermutationSpec, values: State, point: _Soft, direction: _Soft) -> float:
    """The share of the way along a direction of ascent at which the objective is largest."""
    axes = Counter(member.name for name in point for member in spec.members[name] if member.name in values)
    # Each axis of each of the two networks of a pair is linear in the step.
    degree = 2 * max(axes.values())
    steps = (1.0 - np.cos(np.pi * np.arange(degree + 1) / degree)) / 2.0
    with torch.no_grad():
        heights = [float(_pairs(_mixed(spec, values, _moved(point, direction, step)))) for step in steps.tolist()]
    curve = np.polynomial.Polynomial.fit(steps, heights, degree, domain=[0.0, 1.0])
    slope = curve.deriv()
    roots = slope.trim(1e-12 * np.abs(slope.coef).max()).roots()
    inner = [root.real for root in roots.tolist() if abs(root.imag) < 1e-9 and 0.0 < root.real < 1.0]
    return float(max([*inner, 1.0], key=curve))


def _moved(point: _Soft, direction: _Soft, step: float) -> _Soft:
    return {name: soft + step * direction[name] for name, soft in point.items()}


def _vertex(order: Tensor) -> Tensor:
    """A permutation as a matrix: row ``i`` is 1 at ``order[i]``."""
    return F.one_hot(order, order.shape[-1]).double()


def _pairs(values: State) -> Tensor:
    """The sum of inner products over pairs of networks, which stand side by side in the last dimension."""
    parts = [value.sum(-1).square().sum() - value.square().sum() for value in values.values()]
    return torch.stack(parts).sum() / 2.0


def _mixed(spec: PermutationSpec, values: State, point: _Soft) -> State:
    """The networks with their units mixed; at a vertex they are permuted."""
    mixed = dict(values)
    for group, soft in point.items():
        for member in spec.members[group]:
            if member.name in mixed:
                mixed[member.name] = _mix(mixed[member.name], member, soft)
    return mixed


def _mix(value: Tensor, member: Member, soft: Tensor) -> Tensor:
    """Mixes the units of one group along one axis of an entry, networks in the last dimension."""
    flat = member.flat(value).movedim(member.dim, 0)
    places = member.places.reshape(-1)
    chosen = flat[places]
    rows = chosen.movedim(-1, 0).reshape(*soft.shape[:-1], -1)
    result = (soft @ rows).reshape(chosen.shape[-1], *chosen.shape[:-1]).movedim(0, -1)
    return flat.index_copy(0, places, result).movedim(0, member.dim).reshape(value.shape)
