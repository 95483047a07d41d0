r"""Small finite groups, their irreducible representations over the reals, and what these make of a template.

A *template* :math:`x` is a real function on a group :math:`G`; its coefficient at an irreducible representation
:math:`\rho` is :math:`\hat x(\rho) = \sum_g x(g) \rho(g)`. Over the reals, the representations of a pair of complex
conjugate ones are one, of rotations: its *kind*, the dimension of what commutes with it, is 2, that of the others 1.
"""

__all__ = ["Group", "Irrep", "cyclic", "dihedral", "named", "relabelled"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor


@dataclass(frozen=True)
class Irrep:
    """An irreducible representation by orthogonal matrices.

    Attributes:
        name: what it is called.
        matrices: one for each element of the group.
        kind: 1 if nothing but multiples of the identity commutes with it, 2 if what commutes are the complex numbers.
    """

    name: str
    matrices: Float[Tensor, "g d d"]
    kind: int = 1

    @property
    def size(self) -> int:
        """Its dimension."""
        return self.matrices.shape[1]

    @property
    def unit_gain(self) -> float:
        """The gain of a power of 1 that lies in an orthogonal coefficient; gains grow as powers to three halves."""
        return float((self.kind / self.size**2) ** 1.5 / self.size**0.5)


@dataclass(frozen=True)
class Group:
    """A finite group; its elements are numbers, the neutral one 0.

    Attributes:
        table: the product of each two elements.
        irreps: its irreducible representations over the reals, the trivial one first.
    """

    table: Int[Tensor, "g g"]
    irreps: tuple[Irrep, ...]

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.table)

    @property
    def inverses(self) -> Int[Tensor, " g"]:
        """The inverse of each element."""
        return (self.table == 0).int().argmax(1)

    def shifted(self, template: Float[Tensor, " g"]) -> Float[Tensor, "g g"]:
        r"""The code of each element :math:`g`, a row each: :math:`x_g(h) = x(g^{-1} h)`."""
        shifted: Tensor = template[self.table[self.inverses]]
        return shifted

    def coefficients(self, template: Float[Tensor, " g"]) -> list[Float[Tensor, "_ _"]]:
        r"""The coefficients :math:`\hat x(\rho)` of a template."""
        return [torch.einsum("g,gij->ij", template, each.matrices) for each in self.irreps]

    def powers(self, template: Float[Tensor, " g"]) -> Float[Tensor, " irreps"]:
        r"""The power in each representation, :math:`(d / c)\, \lVert \hat x(\rho) \rVert_F^2 / |G|`.

        Here :math:`d` is the dimension and :math:`c` the kind. They add up to the squared length of the template.
        """
        squares = torch.stack([each.square().sum() for each in self.coefficients(template)])
        return squares * torch.tensor([each.size / each.kind for each in self.irreps]) / self.order

    def gains(self, template: Float[Tensor, " g"]) -> Float[Tensor, " irreps"]:
        r"""The gain of each representation, :math:`\lVert \hat x(\rho) \rVert^3 / (|G|^{3/2} \sqrt d)`.

        That is how steeply a lone neuron can begin to learn it: the largest mean over :math:`g, h` of
        :math:`\langle u, x_g \rangle \langle v, x_h \rangle \langle w, x_{gh} \rangle` for vectors of length 1
        that transform by it; the norm is the largest singular value. Derived here; that Fourier statistics of the
        template decide what is learnt first is from Marchetti, Kunin, Myers, Acosta, Miolane (2026).
        """
        norms = torch.stack([torch.linalg.matrix_norm(each, 2) for each in self.coefficients(template)])
        sizes = torch.tensor([each.size for each in self.irreps], dtype=norms.dtype)
        gains: Tensor = norms**3 / (self.order**1.5 * sizes.sqrt())
        return gains

    def projections(self) -> Float[Tensor, "irreps g g"]:
        """For each representation the orthogonal projection of functions on the group to what transforms by it."""
        quotients = self.table[:, self.inverses]
        traces = [each.matrices.diagonal(dim1=1, dim2=2).sum(1)[quotients] for each in self.irreps]
        factors = [each.size / each.kind / self.order for each in self.irreps]
        return torch.stack([factor * trace for factor, trace in zip(factors, traces, strict=True)])

    def template(self, powers: Sequence[float], *, generator: Generator, ratio: float = 1.0) -> Float[Tensor, " g"]:
        """Draws a template of given powers.

        Args:
            powers: one for each representation.
            generator: draws the orthogonal matrices to which coefficients are proportional.
            ratio: what one singular value of a coefficient is made to be by the others, where the dimension is 2 and
                the kind 1; of the others the singular values are always equal.
        """
        template = torch.zeros(self.order, dtype=torch.float64)
        for irrep, power in zip(self.irreps, powers, strict=True):
            coefficient = _orthogonal(irrep, generator)
            if irrep.kind == 1:
                coefficient[:, 0] *= ratio
            wave = torch.einsum("gij,ij->g", irrep.matrices, coefficient)
            template += wave * power**0.5 / wave.norm()
        return template


def cyclic(order: int) -> Group:
    """The cyclic group of an order, by rotations: the representation of frequency ``k`` has the name ``k``."""
    elements = torch.arange(order)
    lines = {0: torch.ones(order, 1, 1, dtype=torch.float64)}
    if order % 2 == 0:
        lines[order // 2] = _signs(elements)
    rotations = {k: _rotations(k * elements, order) for k in range(1, (order + 1) // 2)}
    irreps = [Irrep(str(k), each) for k, each in lines.items()] + [
        Irrep(str(k), each, 2) for k, each in rotations.items()
    ]
    return Group((elements[:, None] + elements) % order, tuple(irreps))


def dihedral(sides: int) -> Group:
    """The symmetries of a regular polygon with an odd number of sides: first its rotations, then these behind a mirror.

    Raises:
        ValueError: for an even number of sides, where there are more representations.
    """
    if sides % 2 == 0:
        raise ValueError(
            f"a dihedral group of a polygon with {sides} sides has other representations than are made here"
        )
    turns, mirrored = torch.arange(2 * sides) % sides, torch.arange(2 * sides) // sides
    table = (turns[:, None] + (1 - 2 * mirrored[:, None]) * turns) % sides + sides * (mirrored[:, None] ^ mirrored)
    mirror = torch.stack([torch.ones(2 * sides), 1.0 - 2.0 * mirrored], -1).double().diag_embed()
    planes = [Irrep(f"plane {k}", _rotations(k * turns, sides) @ mirror) for k in range(1, (sides + 1) // 2)]
    trivial = torch.ones(2 * sides, 1, 1, dtype=torch.float64)
    return Group(table, (Irrep("trivial", trivial), Irrep("sign", _signs(mirrored)), *planes))


def named(name: str) -> Group:
    """The group of a name: ``C_11`` is the cyclic one of order 11, ``D_3`` the dihedral one of a triangle.

    Raises:
        ValueError: for another name.
    """
    family, _, size = name.partition("_")
    if family not in {"C", "D"} or not size.isdigit():
        raise ValueError(f"a group is called C_ and its order or D_ and an odd number of sides, not {name!r}")
    return cyclic(int(size)) if family == "C" else dihedral(int(size))


def relabelled(table: Int[Tensor, "g g"], *, generator: Generator) -> Int[Tensor, "g g"]:
    """Permutes rows, columns and entries of a table of products: each element stands once in each row and column."""
    rows, columns, entries = (torch.randperm(len(table), generator=generator) for _ in range(3))
    return entries[table[rows][:, columns]]


def _signs(numbers: Int[Tensor, " g"]) -> Float[Tensor, "g 1 1"]:
    """The representation by 1 and -1 of what is even and odd."""
    return (1.0 - 2.0 * (numbers % 2)).double()[:, None, None]


def _rotations(turns: Int[Tensor, " g"], whole: int) -> Float[Tensor, "g 2 2"]:
    """Rotations of the plane by numbers of parts of a whole turn."""
    angles = 2.0 * math.pi * (turns % whole).double() / whole
    rows = torch.stack([angles.cos(), -angles.sin()], -1), torch.stack([angles.sin(), angles.cos()], -1)
    return torch.stack(rows, -2)


def _orthogonal(irrep: Irrep, generator: Generator) -> Float[Tensor, "d d"]:
    """Draws an orthogonal matrix; a rotation, if the representation is of rotations."""
    matrix: Tensor = torch.linalg.qr(torch.randn(irrep.size, irrep.size, generator=generator, dtype=torch.float64)).Q
    if irrep.kind == 2:
        matrix[:, 0] *= torch.linalg.det(matrix)
    return matrix
