"""Numerical proof that a spec is right: permuted weights must give the same function."""

__all__ = ["function_change", "prove"]

import copy

import torch
from torch import Generator, Tensor, nn

from lmc_lib.state import State, apply, cast
from lmc_lib.symmetry.spec import Permutation, PermutationSpec, SymmetryError, permute, random

# Sums of a few thousand float64 terms in another order differ by about 1e-14 of their spread; a wrong spec by about 1.
_TOLERANCE = 1e-10


def function_change(
    model: nn.Module, state: State, permutation: Permutation, spec: PermutationSpec, inputs: Tensor
) -> float:
    """Measures how far a permutation changes a network's outputs, in units of their spread.

    Both sets of weights are evaluated in float64 and in evaluation mode. A symmetry gives about 1e-15, a permutation
    that is none about 1.

    Args:
        model: the architecture; unchanged.
        state: the weights before the permutation.
        permutation: the permutation to test.
        spec: where its groups act.
        inputs: a batch.

    Returns:
        The largest change of an output divided by the standard deviation of the outputs over the batch.
    """
    network = copy.deepcopy(model).double().eval()
    state = cast(state, torch.float64)
    with torch.no_grad():
        before = apply(network, state, inputs.double())
        after = apply(network, permute(state, permutation, spec), inputs.double())
    return float((after - before).abs().max() / before.std())


def prove(model: nn.Module, spec: PermutationSpec, inputs: Tensor, *, generator: Generator, draws: int = 3) -> float:
    """Checks that random permutations of every group leave the network's function unchanged.

    Weights, biases, scales and normalisation statistics are drawn at random, so that an entry which a spec forgets
    cannot hide behind zeros and ones. Each group is also permuted alone, so that a wrong one is named.

    Args:
        model: the architecture; unchanged.
        spec: the spec to prove.
        inputs: a batch.
        generator: source of weights and permutations.
        draws: number of independent draws of weights and permutations.

    Returns:
        The largest change of an output, in units of the outputs' spread; of the order of 1e-14.

    Raises:
        SymmetryError: if a permutation changes the function; the message names the guilty groups.
    """
    worst = 0.0
    for _ in range(draws):
        state = _random_weights(model, generator)
        permutation = random(spec, generator=generator)
        change = function_change(model, state, permutation, spec, inputs)
        if not change <= _TOLERANCE:
            raise SymmetryError(
                f"the function changes by {change:.1e}: {_guilty(model, state, permutation, spec, inputs)}"
            )
        worst = max(worst, change)
    return worst


def _random_weights(model: nn.Module, generator: Generator) -> State:
    state: State = {}
    drawn: dict[int, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not value.is_floating_point():
            state[name] = value.clone()
            continue
        if id(value) in drawn:  # tied to an earlier entry
            state[name] = drawn[id(value)]
            continue
        draw = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if value.dim() > 1:
            draw /= value[0].numel() ** 0.5
        elif name.endswith("running_var"):
            draw = draw.square() + 0.5
        elif name.endswith("weight"):
            draw = 1.0 + 0.3 * draw
        state[name] = drawn[id(value)] = draw
    return state


def _guilty(model: nn.Module, state: State, permutation: Permutation, spec: PermutationSpec, inputs: Tensor) -> str:
    still = {group: torch.arange(size) for group, size in spec.sizes.items()}
    changes = {
        group: function_change(model, state, still | {group: indices}, spec, inputs)
        for group, indices in permutation.items()
    }
    guilty = [f"{group} ({change:.1e})" for group, change in changes.items() if not change <= _TOLERANCE]
    return f"the groups {', '.join(guilty)} are no symmetries" if guilty else "no group alone is guilty"
