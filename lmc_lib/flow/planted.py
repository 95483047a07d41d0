r"""Weights with which networks compose sequences of elements exactly, and a width below which no two layers do.

The code of an element gives its matrices linearly, :math:`\rho(g) = \hat x_g(\rho)\, \hat x(\rho)^{-1}`, if no
coefficient of the template but the trivial one is singular, and matrices give codes. So a network composes if it makes
the entries of :math:`\rho(g_1) \cdots \rho(g_k)`: sums of products of :math:`k` numbers, one of each element. Such a
product is a sum of :math:`2^{k - 1}` powers of sums with signs. The widths are derived here.
"""

__all__ = ["least_width", "recurrent", "tree", "two_layers", "width"]

import math
from itertools import pairwise, product

import torch
from jaxtyping import Float
from torch import Tensor

from lmc_lib.flow.groups import Group, Irrep
from lmc_lib.flow.sequences import Tree, products

# Of a product, what is read of the matrix of each element, and what it adds to the matrix of their product.
_Term = tuple[list[Tensor], Tensor]


def two_layers(group: Group, template: Float[Tensor, " g"], length: int) -> dict[str, Tensor]:
    r"""Weights of two layers that compose sequences exactly.

    There are :math:`2^{k - 1}` neurons for each product, and :math:`k + 1` products for a representation of kind 2,
    which is of rotations, :math:`d^{k + 1}` for another one of dimension :math:`d`.

    Args:
        group: the group.
        template: the code of the neutral element, with mean 0 and no other singular coefficient.
        length: of the sequences.
    """
    neurons: list[list[Tensor]] = []
    for irrep, coefficient in zip(group.irreps[1:], group.coefficients(template)[1:], strict=True):
        read = torch.einsum("gij,jk->gik", irrep.matrices, torch.linalg.inv(coefficient))
        made = torch.einsum("gik,jk->gij", irrep.matrices, coefficient) * irrep.size / irrep.kind / group.order
        for factors, result in _terms(irrep, length):
            vectors = [torch.einsum("gij,ij->g", read, each) for each in factors]
            end = torch.einsum("gij,ij->g", made, result) / 2 ** (length - 1) / math.factorial(length)
            for signs in product((1.0, -1.0), repeat=length - 1):
                signed = [sign * each for sign, each in zip((1.0, *signs), vectors, strict=True)]
                neurons.append([*signed, math.prod(signs) * end])
    *first, last = (torch.stack(each) for each in zip(*neurons, strict=True))
    return {f"first {place}": each for place, each in enumerate(first)} | {"read": last}


def width(group: Group, length: int) -> int:
    """The number of neurons of :func:`two_layers`."""
    terms = sum(length + 1 if each.kind == 2 else int(each.size ** (length + 1)) for each in group.irreps[1:])
    return terms << (length - 1)


def recurrent(pair: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a recurrent network that composes sequences of any length, made of those of two layers for pairs."""
    mixed = pair["first 0"] @ pair["read"].mT
    return {"first": pair["first 0"], "next": pair["first 1"], "mixed": mixed, "read": pair["read"]}


def tree(pair: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """Weights of a tree that composes sequences of a length, made of those of two layers for pairs."""
    width, order = pair["read"].shape
    found = {"read": pair["read"]}
    for low, middle, high in Tree(order, width, length).nodes:
        for side, name, many in (("left", "first 0", middle - low), ("right", "first 1", high - middle)):
            found[f"{side} {low} {high}"] = pair[name] if many == 1 else pair[name] @ pair["read"].mT
    return found


def least_width(codes: Float[Tensor, "g g"], table: Tensor, length: int) -> int:
    """A width below which no two layers compose sequences exactly, whose codes have mean 0.

    What a neuron makes is a product of functions of one element each, plus what depends on fewer elements. Of the
    codes of products nothing depends on fewer, so that they are sums of as many products as there are neurons. Set out
    as a matrix, every other element against the remaining ones, the output as the last, a product has rank 1. So the
    rank of the codes is the bound.
    """
    order = len(codes)
    target = codes[products(table, length)].reshape([order] * (length + 1))
    places = [*range(0, length + 1, 2), *range(1, length + 1, 2)]
    rows = order ** len(range(0, length + 1, 2))
    return int(torch.linalg.matrix_rank(target.permute(places).reshape(rows, -1), rtol=1e-9))


def _terms(irrep: Irrep, length: int) -> list[_Term]:
    """Products that add up to the matrix of the product of a sequence."""
    if irrep.kind == 2:
        return [_turned(place, length) for place in range(length + 1)]
    unit = torch.eye(irrep.size, dtype=torch.float64)
    return [
        ([torch.outer(unit[i], unit[j]) for i, j in pairwise(chain)], torch.outer(unit[chain[0]], unit[chain[-1]]))
        for chain in product(range(irrep.size), repeat=length + 1)
    ]


def _turned(place: int, length: int) -> _Term:
    r"""One of the products of :math:`\cos(\theta_j + \alpha)` that add up to the rotation by the sum of the angles."""
    angle = math.pi * place / (length + 1)
    cosine, sine = math.cos(angle), math.sin(angle)
    factor = (-1.0) ** place * 2.0**length / (length + 1)
    read = torch.tensor([[cosine, 0.0], [-sine, 0.0]], dtype=torch.float64)
    return [read] * length, factor * torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
