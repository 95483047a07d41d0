r"""What attention heads conserve: the charges of pairs of matrices that count by a product alone.

A head sees queries and keys by :math:`W_Q^\top W_K` alone, and its values and output by :math:`W_O^\top W_V`, where
each matrix has a row for each feature of the head. So for any matrix :math:`M` the loss stays as it is along
:math:`\xi = (M W_Q, -M^\top W_K)`, and the gradients obey :math:`G_Q W_Q^\top = W_K G_K^\top`. Of symmetric
:math:`M`, stretches, this makes the charge :math:`W_Q W_Q^\top - W_K W_K^\top`, which gradient flow conserves; a
rotation of the head turns it. Of antisymmetric :math:`M`, rotations, :math:`\langle \xi, \theta \rangle` is always 0.
A bias that is learnt is one more column of the matrix that it belongs to, so that the charge is
:math:`W_Q W_Q^\top + b b^\top - W_K W_K^\top`.
"""

__all__ = ["PAIRS", "across", "overlap", "value", "weights_alone"]

import torch
from jaxtyping import Float
from torch import Tensor

from lmc_lib.state import State

# By the name of a charge its two matrices, the one that may have a bias first.
PAIRS = {"query and key": ("query", "key"), "value and output": ("value", "output")}


def value(state: State, pair: str) -> Float[Tensor, "*heads d d"]:
    r"""The charge of each head.

    Of the gradients in place of the weights it is the *drive*: if gradients obey the symmetry, an update of SGD at the
    rate :math:`\eta`, without momentum and weight decay, adds :math:`\eta^2` times the drive to the charge.

    Args:
        state: for each name of the pair one matrix a head, features of the head by features of a token, and
            ``NAME_bias`` of the first one where it is learnt.
        pair: one of ``PAIRS``.
    """
    first, second = _matrices(state, pair)
    return first @ first.mT - second @ second.mT


def across(charge: Float[Tensor, "*heads d d"], bias: Float[Tensor, "*heads d"]) -> Float[Tensor, "*heads d d"]:
    r"""The part of a charge at right angles to a bias: :math:`P C P` with :math:`P = 1 - b b^\top / |b|^2`.

    A bias :math:`b` that stays, and is not learnt, leaves it the symmetry of those :math:`M` with :math:`M b = 0`, so
    that gradient flow conserves it. At right angles to a bias of length 0 is all of it.
    """
    length: Tensor = torch.linalg.vector_norm(bias, dim=-1, keepdim=True)
    along: Tensor = (bias / length.where(length > 0, torch.ones_like(length))).unsqueeze(-1)
    part: Tensor = charge - along @ (along.mT @ charge)
    found: Tensor = part - (part @ along) @ along.mT
    return found


def overlap(state: State, gradient: State, pair: str) -> Float[Tensor, " *heads"]:
    r"""How far the gradients of each head are from the symmetry: :math:`|G_Q W_Q^\top - W_K G_K^\top|`, from 0 to 1.

    It is divided by the most that it could be with matrices of these lengths.
    """
    (first, second), (by_first, by_second) = _matrices(state, pair), _matrices(gradient, pair)
    size = sum(_norm(weights) * _norm(slope) for weights, slope in ((first, by_first), (second, by_second)))
    return _norm(by_first @ first.mT - second @ by_second.mT) / size


def weights_alone(state: State) -> State:
    """A state without its biases."""
    return {name: each for name, each in state.items() if not name.endswith("_bias")}


def _matrices(state: State, pair: str) -> tuple[Tensor, Tensor]:
    first, second = PAIRS[pair]
    bias = state.get(f"{first}_bias")
    return state[first] if bias is None else torch.cat([state[first], bias.unsqueeze(-1)], -1), state[second]


def _norm(matrices: Float[Tensor, "*heads rows columns"]) -> Float[Tensor, " *heads"]:
    norms: Tensor = torch.linalg.matrix_norm(matrices)
    return norms
