"""The sphere of centred kernels of inputs, on which angular CKA is the distance; kernels are kept as their factors."""

__all__ = ["FLAVOURS", "KERNELS", "Kernels", "linear_factor", "median_of_pairs", "rbf_factor"]

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmc_lib.similarity.spaces import ROUNDING, Projection, check_share, sine_ratio, unsettled

FLAVOURS = ("gretton", "lange", "song")
KERNELS = ("linear", "rbf")

# Rows of a kernel that are held at once.
_ROWS = 1024

# Numbers of all kernels together that are held at once: an eighth of a GiB.
_HELD = 2**24

# Where 1 - cos is below this, the arc cosine has lost too many digits.
_NEAR = 1e-4

# Where the terms of an inner product are together larger than this multiple of what they come to, they cancel.
_CANCEL = 1e3

# A mean is found when it moves by less than this, the rounding of its moves, or after so many steps.
_SETTLED = 1e-7
_STEPS = 1000


@dataclass(frozen=True)
class Kernels:
    r"""Centred kernels of norm 1, with the angle between them as the distance.

    A point is a factor :math:`F`, one row an input, of the kernel :math:`K = FF^\top`; its columns have mean 0. On the
    sphere stands :math:`c(K)`, where :math:`c` is one of three linear ways to centre:

    - ``"gretton"``: :math:`K` as it is, since :math:`HKH = K` for centred columns;
    - ``"lange"``: :math:`K` with the diagonal set to zero;
    - ``"song"``: the diagonal set to zero before centring without bias,
      :math:`K_{ij} + (K_{ii} + K_{jj})/(m-2) - \mathrm{tr} K/((m-1)(m-2))` for :math:`i \ne j`, 0 for :math:`i = j`.

    All three inner products follow from factors of :math:`r` and :math:`s` columns without a matrix of inputs,

    .. math:: \langle c(K), c(L) \rangle = \lVert F^\top G \rVert^2 - a \sum_i K_{ii} L_{ii} + b\, \mathrm{tr} K\,
        \mathrm{tr} L,

    with :math:`(a, b)` equal to :math:`(0, 0)`, :math:`(1, 0)` and :math:`(m/(m-2), 1/((m-1)(m-2)))`. So they are
    computed where :math:`2r, 2s \le m`, the angle is not small and the terms do not cancel, as they do where one
    example is far larger than all others; elsewhere the chord :math:`\lVert c(K) - c(L)
    \rVert` is summed over some rows of the kernels at a time.

    Attributes:
        flavour: one of ``FLAVOURS``.
    """

    flavour: str

    def normalised(self, factor: Tensor) -> Tensor:
        """Scales a factor with centred columns so that its centred kernel has norm 1.

        Raises:
            ValueError: if the centred kernel is zero.
        """
        norm = self._norm(factor)
        if not bool((norm > 1e-14 * factor.square().sum(dim=(-2, -1))).all()):
            raise ValueError(
                f"a representation has no direction in the flavour {self.flavour!r}: its kernel is the same for all "
                "pairs of examples"
            )
        return factor / norm.sqrt()[..., None, None]

    def _norm(self, factor: Tensor) -> Tensor:
        if _few_features(factor):
            square, terms = self._inner(factor, factor)
            if bool((terms <= _CANCEL * square).all()):
                return square.sqrt()
        return torch.as_tensor(sum(rows.square().sum(dim=(-2, -1)) for rows in self._rows(factor))).sqrt()

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The angle between two centred kernels, in radians."""
        if _few_features(first) and _few_features(second):
            cosine, terms = self._inner(first, second)
            if bool(((1.0 - cosine > _NEAR) & (terms <= _CANCEL)).all()):
                return cosine.clamp(min=-1.0).acos()
        rows = zip(self._rows(first), self._rows(second), strict=True)
        chord = torch.as_tensor(sum((a - b).square().sum(dim=(-2, -1)) for a, b in rows)).sqrt()
        return 2.0 * torch.asin((chord / 2.0).clamp(max=1.0))

    def distances(self, points: Sequence[Tensor]) -> Tensor:
        """The angles between all pairs of centred kernels, in radians, as a symmetric matrix.

        Of many kernels it is cheaper to make each once, some rows of all of them at a time, than to make anew what each
        pair needs; only angles that are small are then measured pair by pair.
        """
        found = torch.zeros(len(points), len(points), dtype=torch.float64)
        pairs = list(itertools.combinations(range(len(points)), 2))
        if _together_is_cheaper(points):
            found = self._all_inner(points).clamp(-1.0, 1.0).acos().fill_diagonal_(0.0)
            pairs = [pair for pair in pairs if float(found[pair]) < math.acos(1.0 - _NEAR)]
        for row, column in pairs:
            found[row, column] = found[column, row] = self.distance(points[row], points[column])
        return found

    def chance(self, first: Tensor, second: Tensor) -> Tensor:
        r"""The mean cosine of two kernels over all orders of the examples of one of them: what is left by chance.

        With traces of the normalised kernels it is :math:`\mathrm{tr} K\, \mathrm{tr} L` by :math:`m - 1`
        (``"gretton"``) or by :math:`m(m - 1)` (``"lange"``), and 0 (``"song"``), since entries off the diagonal add
        up to :math:`-\mathrm{tr} K` in the first two, and to 0 in the last.
        """
        examples = first.shape[-2]
        share = {"gretton": 1.0 / (examples - 1), "lange": 1.0 / (examples * (examples - 1)), "song": 0.0}[self.flavour]
        return share * first.square().sum(dim=(-2, -1)) * second.square().sum(dim=(-2, -1))

    def geodesic(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        r"""The point of the great circle, whose kernel is a sum of both kernels with weights that are not negative.

        Its factor has the columns of both: :math:`[\sqrt{\sin((1-t)w)/\sin w}\, F, \sqrt{\sin(tw)/\sin w}\, G]`.

        Raises:
            ValueError: if the share is not between 0 and 1.
        """
        check_share(share)
        angle = self.distance(first, second)
        return _sum_of_kernels((first, second), [sine_ratio(part, angle) for part in (1.0 - share, share)])

    def tangent(self, first: Tensor, second: Tensor) -> Tensor:
        """The direction at the first centred kernel of the great circle to the second: a matrix of inputs."""
        angle = self.distance(first, second)[..., None, None]
        start, end = (torch.cat(list(self._rows(each)), dim=-2) for each in (first, second))
        return (end - start * torch.cos(angle)) / torch.sinc(angle / math.pi)

    def angle(self, first: Tensor, corner: Tensor, last: Tensor) -> Tensor:
        """The angle of the spherical triangle at ``corner``, from its sides; NaN if one of them is but rounding."""
        return _corner(self.distance(corner, first), self.distance(corner, last), self.distance(first, last))

    def project(self, point: Tensor, first: Tensor, last: Tensor) -> Projection:
        """The foot of the perpendicular on the great circle, or the nearer end, from the lengths of the sides.

        The distance of a point on the geodesic itself is 0 up to about 1e-8.
        """
        whole, begin, end = (float(self.distance(*each)) for each in ((first, last), (first, point), (point, last)))
        ends = min(Projection(0.0, begin), Projection(1.0, end), key=lambda each: each.distance)
        if whole == 0.0:
            return ends
        along = math.cos(begin)
        across = (math.cos(end) - math.cos(whole) * along) / math.sin(whole)
        share = math.atan2(across, along) / whole
        if not 0.0 <= share <= 1.0:
            return ends
        return Projection(share, math.acos(min(math.hypot(along, across), 1.0)))

    def mean(self, points: Sequence[Tensor]) -> Tensor:
        """The mean of angles on the sphere: a sum of the kernels whose weights follow from the angles between them.

        Raises:
            ValueError: if it does not settle.
        """
        cosines = torch.stack([torch.stack([self.distance(a, b) for b in points]) for a in points]).cos()
        weights, moves = torch.full_like(cosines[0], 1.0 / len(points)), math.inf
        weights = weights / (weights @ cosines @ weights).sqrt()
        for _ in range(_STEPS):
            angles = (cosines @ weights).clamp(-1.0, 1.0).acos()
            pulls = 1.0 / torch.sinc(angles / math.pi) / len(points)
            step = pulls - (pulls @ angles.cos()) * weights
            moves = float((step @ cosines @ step).clamp(min=0.0).sqrt())
            weights = math.cos(moves) * weights + math.sin(moves) / max(moves, 1e-300) * step
            weights = weights / (weights @ cosines @ weights).sqrt()
            if moves < _SETTLED:
                return _sum_of_kernels(points, list(weights))
        raise unsettled(moves, _STEPS)

    def _inner(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The inner product of two centred kernels from features, and the sum of the sizes of its terms."""
        examples = first.shape[-2]
        product = (first.mT @ second).square().sum(dim=(-2, -1))
        if self.flavour == "gretton":
            return product, product
        squares = [each.square().sum(-1) for each in (first, second)]
        diagonals = (squares[0] * squares[1]).sum(-1)
        if self.flavour == "lange":
            return product - diagonals, product + diagonals
        diagonals = diagonals * examples / (examples - 2)
        traces = squares[0].sum(-1) * squares[1].sum(-1) / ((examples - 1) * (examples - 2))
        return product - diagonals + traces, product + diagonals + traces

    def _rows(self, factor: Tensor) -> Iterator[Tensor]:
        """The centred kernel, some rows at a time."""
        count = factor.shape[-2]
        for begin in range(0, count, _ROWS):
            yield self._block(factor, begin, min(begin + _ROWS, count))

    def _block(self, factor: Tensor, begin: int, end: int, left: int = 0) -> Tensor:
        """Rows of the centred kernel, with its columns from ``left`` on, which is at most ``begin``."""
        count, squares = factor.shape[-2], factor.square().sum(-1)
        rows = factor[..., begin:end, :] @ factor[..., left:, :].mT
        if self.flavour == "song":
            # The sums of rows without their diagonal, in closed form: centred examples add up to zero.
            rows += (squares[..., begin:end, None] + squares[..., None, left:]) / (count - 2)
            rows -= squares.sum(-1)[..., None, None] / ((count - 1) * (count - 2))
        if self.flavour != "gretton":
            rows[..., torch.arange(end - begin), torch.arange(begin - left, end - left)] = 0.0
        return rows

    def _all_inner(self, points: Sequence[Tensor]) -> Tensor:
        """The inner products of all centred kernels with each other: every kernel is made once, and none is held."""
        count = points[0].shape[-2]
        height = max(1, _HELD // (len(points) * count))
        found = torch.zeros(len(points), len(points), dtype=points[0].dtype)
        for begin in range(0, count, height):
            end = min(begin + height, count)
            here = torch.stack([self._block(each, begin, end, begin) for each in points])
            here[..., end - begin :] *= math.sqrt(2.0)  # what stands on the right stands below, too
            here = here.flatten(1)
            found.addmm_(here, here.mT)
        return found


def _few_features(factor: Tensor) -> bool:
    """Whether inner products of features need less than the kernel."""
    return 2 * factor.shape[-1] <= factor.shape[-2]


def _together_is_cheaper(factors: Sequence[Tensor]) -> bool:
    """Whether all kernels, made once, take fewer multiplications than what each pair needs by itself."""
    examples, widths = factors[0].shape[-2], [each.shape[-1] for each in factors]
    few = [_few_features(each) for each in factors]
    pairs = sum(
        examples * widths[i] * widths[j] if few[i] and few[j] else examples**2 * (widths[i] + widths[j])
        for i, j in itertools.combinations(range(len(factors)), 2)
    )
    together = examples**2 * sum(widths) // 2 + (len(factors) * examples) ** 2 // 2
    return together < pairs and len(factors) > 2


def linear_factor(representation: Tensor) -> Tensor:
    """A factor of the linear kernel: the representation with centred columns."""
    return representation - representation.mean(-2, keepdim=True)


def rbf_factor(representation: Tensor, bandwidth: float) -> Tensor:
    r"""A factor of the centred kernel :math:`\exp(-d_{ij}^2 / 2\sigma^2)` of distances :math:`d_{ij}`.

    :math:`\sigma` is ``bandwidth`` times the median distance between two examples, so that scale makes no difference.

    Raises:
        ValueError: if the median is zero.
    """
    distances = torch.cdist(representation, representation, compute_mode="donot_use_mm_for_euclid_dist")
    count = distances.shape[-1]
    upper = torch.triu_indices(count, count, offset=1)
    median = median_of_pairs(distances[..., upper[0], upper[1]])[..., None, None]
    if not bool((median > 0.0).all()):
        raise ValueError(
            "half of the pairs of examples have distance 0, so the median distance, which sets the scale, is 0"
        )
    kernel = torch.exp(-0.5 * (distances / (bandwidth * median)).square())
    kernel = linear_factor(linear_factor(kernel).mT)
    values, vectors = torch.linalg.eigh((kernel + kernel.mT) / 2.0)
    return linear_factor(vectors * values.clamp(min=0.0).sqrt()[..., None, :])


def median_of_pairs(values: Tensor) -> Tensor:
    """The median over the last dimension; torch's own is the lower of two values in the middle."""
    return (values.median(-1).values - (-values).median(-1).values) / 2.0


def _sum_of_kernels(factors: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """A factor of the weighted sum of kernels, with no more columns than rows."""
    columns = [
        weight.clamp(min=0.0).sqrt()[..., None, None] * each for weight, each in zip(weights, factors, strict=True)
    ]
    factor = torch.cat(columns, dim=-1)
    return torch.linalg.qr(factor.mT, mode="r").R.mT if factor.shape[-1] > factor.shape[-2] else factor


def _corner(one: Tensor, other: Tensor, opposite: Tensor) -> Tensor:
    """The angle between two sides of a spherical triangle, by half angles, which lose no digits where it is thin."""
    half = (one + other + opposite) / 2.0
    sine = (torch.sin(half - one) * torch.sin(half - other)).clamp(min=0.0).sqrt()
    cosine = (torch.sin(half) * torch.sin(half - opposite)).clamp(min=0.0).sqrt()
    angle = 2.0 * torch.atan2(sine, cosine)
    return torch.where(torch.minimum(one, other) <= ROUNDING, torch.nan, angle)
