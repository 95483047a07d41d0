"""Numerical proof that a spec is right: permuted weights must give the same function."""

__all__ = ["function_change", "prove", "proven_spec"]

import contextlib
import itertools
import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from lmc_lib.state import State, cast, clone, forget_, given, is_weight, wide
from lmc_lib.symmetry.graph import Inputs, arguments, copied, first_line
from lmc_lib.symmetry.precision import Float64, in_float64
from lmc_lib.symmetry.spec import Permutation, PermutationSpec, SymmetryError, check, identity, permute, random
from lmc_lib.symmetry.trace import permutation_spec

# An output that depends on the inputs by less than this share of its size hides what a wrong spec changes, and shows
# rounding instead.
_LEAST = 1e-5

# Sums of a few thousand float64 terms in another order differ by about 1e-14 of their spread; a wrong spec by about 1.
_TOLERANCE = 1e-10

# How often weights are drawn at random until the outputs depend on the inputs. In narrow networks they often do not, as
# where all units of a layer are dead.
_TRIES = 20

# The sizes of the weights in these tries, in turn: the inputs are lost on the way where biases outweigh them, and
# products of many layers outgrow all digits.
GAINS = (1.0, 1.0, 2.0, 0.5, 4.0, 0.25)

# A change of the outputs this many times as large as one in the last digit of all weights makes is no rounding.
_MARGIN = 1000.0


class _ProvesNothingError(SymmetryError):
    """The outputs do not depend on the inputs, depend on the last digits of the weights, or are not finite."""


def function_change(
    model: nn.Module,
    state: State,
    permutation: Permutation,
    spec: PermutationSpec,
    inputs: Inputs,
    *,
    training: bool = False,
) -> float:
    """Measures how far a permutation changes a network's outputs, in units of their spread.

    Both sets of weights are evaluated in float64, also where the network asks for less. A symmetry gives about 1e-15, a
    permutation that is none about 1.

    Args:
        model: the architecture; unchanged.
        state: the weights before the permutation.
        permutation: the permutation to test.
        spec: where its groups act.
        inputs: a batch: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        training: whether the network runs in training mode, where normalisation uses the batch; dropout stays off.

    Returns:
        The largest change of an output divided by the standard deviation of that output over its places.

    Raises:
        SymmetryError: if the network cannot be called so, if permutation, state and spec do not fit together, or if the
            outputs do not depend on the inputs, or are not finite, so that nothing can be told.
    """
    check(spec, state, permutation)
    state = cast(state, torch.float64)
    return _difference(model, state, permute(state, permutation, spec), inputs, training=training)


def _difference(model: nn.Module, first: State, second: State, inputs: Inputs, *, training: bool) -> float:
    """How far the outputs with two states are apart, in units of the spread of those with the first."""
    network = _in_float64(model).train(training)
    for module in network.modules():
        # The last two have a dropout of their own, which is all that their mode switches.
        if isinstance(module, nn.modules.dropout._DropoutNd | nn.MultiheadAttention | nn.RNNBase):
            module.eval()
    # In training mode a network writes to the statistics that it is given.
    before, after = (_outputs(network, clone(state), inputs) for state in (first, second))
    spreads = [_spread(each) for each in before]
    if not before or not all(0.0 < spread < math.inf for spread in spreads):
        raise _ProvesNothingError(
            f"outputs with a spread of {spreads} prove nothing; give a batch of inputs that differ"
        )
    # Over the examples, at each place: classes differ from each other by their biases alone.
    if not any(float(each.std(0).max()) > _LEAST * float(each.abs().max()) for each in before if len(each) > 1):
        raise _ProvesNothingError(
            f"the outputs of {type(model).__name__} do not depend on these inputs, which proves nothing; give a batch "
            "of inputs that differ"
        )
    return max(float((b - a).abs().max()) / s for a, b, s in zip(before, after, spreads, strict=True))


def prove(
    model: nn.Module,
    spec: PermutationSpec,
    inputs: Inputs,
    *,
    generator: Generator,
    draws: int = 3,
    training: bool = False,
) -> float:
    """Checks that random permutations, which move every unit of every group, leave the network's function unchanged.

    Weights, biases, scales and normalisation statistics are drawn at random, so that an entry which a spec forgets
    cannot hide behind zeros and ones.

    Args:
        model: the architecture; unchanged.
        spec: the spec to prove.
        inputs: a batch.
        generator: source of weights and permutations.
        draws: number of independent draws of weights and permutations.
        training: whether to prove it in training mode.

    Returns:
        The largest change of an output, in units of the outputs' spread; of the order of 1e-14.

    Raises:
        SymmetryError: if a permutation changes the function, where the message names the guilty groups, or if the
            outputs depend on the inputs with none of many weights.
    """
    worst = 0.0
    for _ in range(draws):
        state, permutation, change = _drawn(model, spec, inputs, generator, training=training)
        if not change <= _TOLERANCE:
            found = guilty_groups(model, state, permutation, spec, inputs, training=training)
            raise SymmetryError(
                f"the function changes by {change:.1e}: "
                + (f"the groups {', '.join(found)} are no symmetries" if found else "no group alone is guilty")
            )
        worst = max(worst, change)
    return worst


def proven_spec(
    model: nn.Module, example_inputs: Inputs, *, generator: Generator, draws: int = 3, strict: bool = False
) -> PermutationSpec:
    """Derives a network's groups and proves them; a group that fails is pinned and reported.

    Args:
        model: the architecture; unchanged.
        example_inputs: a batch of at least two different examples.
        generator: source of weights and permutations.
        draws: number of independent draws.
        strict: whether a group that fails, or an operation that is not understood, is an error.

    Raises:
        SymmetryError: if the network cannot be traced or its outputs prove nothing; in strict mode see above.
    """
    spec = permutation_spec(model, example_inputs, strict=strict)
    for _ in range(draws):
        state, permutation, change = _drawn(model, spec, example_inputs, generator)
        if change <= _TOLERANCE:
            continue
        found = guilty_groups(model, state, permutation, spec, example_inputs)
        if strict or not found:
            raise SymmetryError(f"the proof fails for the groups {', '.join(found)}")
        spec = without(spec, found, "fails the proof")
    return spec


def _drawn(
    model: nn.Module, spec: PermutationSpec, inputs: Inputs, generator: Generator, *, training: bool = False
) -> tuple[State, Permutation, float]:
    """Weights at random, a permutation that moves all units, and how far it changes the outputs.

    Raises:
        SymmetryError: if with none of several weights the outputs depend on the inputs, and on more than rounding.
    """

    def draw(gain: float) -> tuple[State, Permutation, float]:
        state, permutation = random_weights(model, generator, gain), cycles(spec, generator=generator)
        change = function_change(model, state, permutation, spec, inputs, training=training)
        if change > _TOLERANCE:
            rounding = _difference(model, state, _last_digits(state, generator), inputs, training=training)
            if change <= _MARGIN * rounding:
                raise _ProvesNothingError(
                    f"the outputs of {type(model).__name__} change by {rounding:.1e} with the last digits of its "
                    "weights, so that rounding hides what a wrong group changes"
                )
        return state, permutation, change

    gains = list(itertools.islice(itertools.cycle(GAINS), _TRIES))
    for gain in gains[:-1]:
        with contextlib.suppress(_ProvesNothingError):
            return draw(gain)
    return draw(gains[-1])


def _last_digits(state: State, generator: Generator) -> State:
    """The same weights with about their last binary digit drawn anew."""
    last = torch.finfo(torch.float64).eps
    return {
        name: value * (1.0 + last * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device))
        if is_weight(value)
        else value
        for name, value in state.items()
    }


def without(spec: PermutationSpec, groups: Collection[str], reason: str) -> PermutationSpec:
    """The spec without some groups; what is inside their units stays, in blocks that keep their places."""
    kept = {
        name: group._replace(within=None) if group.within in groups else group
        for name, group in spec.groups.items()
        if name not in groups
    }
    members = {name: spec.members[name] for name in kept}
    taps = tuple(
        tap._replace(places={name: each for name, each in tap.places.items() if name in kept}) for tap in spec.taps
    )
    pinned = (*spec.pinned, *(f"{name}: {reason}" for name in groups))
    return replace(spec, groups=kept, members=members, taps=tuple(tap for tap in taps if tap.places), pinned=pinned)


def guilty_groups(
    model: nn.Module,
    state: State,
    permutation: Permutation,
    spec: PermutationSpec,
    inputs: Inputs,
    *,
    training: bool = False,
) -> list[str]:
    """The groups of a permutation that change the function, found by halving the set of suspects."""
    still = identity(spec)

    def innocent(groups: list[str]) -> bool:
        moved = still | {group: permutation[group] for group in groups}
        return function_change(model, state, moved, spec, inputs, training=training) <= _TOLERANCE

    def search(suspects: list[str]) -> list[str]:
        if innocent(suspects):
            return []
        if len(suspects) == 1:
            return suspects
        half = len(suspects) // 2
        return search(suspects[:half]) + search(suspects[half:])

    return search(list(permutation))


def cycles(spec: PermutationSpec, *, generator: Generator) -> Permutation:
    """Moves all units of every group and block round one random cycle.

    What stays in place proves nothing, and of two units a random permutation leaves both in place half of the time.
    """
    drawn = random(spec, generator=generator)
    return {name: order.scatter(-1, order, order.roll(1, -1)) for name, order in drawn.items()}


def _in_float64(model: nn.Module) -> nn.Module:
    """A copy that shares the parameters, which every call replaces, and has its other tensors in float64."""
    network = copied(model)
    for module in network.modules():
        for name, value in [*module.named_buffers(recurse=False), *vars(module).items()]:
            if isinstance(value, Tensor):
                setattr(module, name, in_float64(value.detach()))
    return network


def _outputs(network: nn.Module, state: State, inputs: Inputs) -> list[Tensor]:
    args, kwargs = in_float64(arguments(inputs))
    entries = given(network, state)
    forget_(network)
    try:
        with torch.no_grad(), Float64():  # type: ignore[no-untyped-call]
            found = torch.func.functional_call(network, entries, args, kwargs, tie_weights=False)
    except Exception as error:  # whatever stops the network
        raise SymmetryError(
            f"{type(network).__name__} cannot be called with these inputs in float64: {first_line(error)}"
        ) from error
    return [each for each in _tensors(found) if is_weight(each)]


def _spread(output: Tensor) -> float:
    if output.numel() < 2:
        return 0.0
    return max(float(output.std()), _LEAST * float(output.abs().max()))


def _tensors(value: Any) -> list[Tensor]:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def random_weights(model: nn.Module, generator: Generator, gain: float = 1.0) -> State:
    """Draws every parameter and statistic of a network at random, in float64; tied ones stay tied.

    Args:
        model: the architecture; unchanged.
        generator: source of the weights.
        gain: factor of matrices and filters, which at 1 keep the size of what they are multiplied with.
    """
    state: State = {}
    drawn: dict[int, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not is_weight(value):
            state[name] = value.clone()
            continue
        if id(value) in drawn:  # tied to an earlier entry
            state[name] = drawn[id(value)]
            continue
        draw = torch.randn(value.shape, generator=generator, dtype=wide(value).dtype)
        if value.dim() > 1:
            draw *= gain / max(1, value[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            draw = draw.square() + 0.5
        elif name.endswith("weight"):
            draw = 1.0 + 0.3 * draw
        state[name] = drawn[id(value)] = draw.to(value.device)
    return state
