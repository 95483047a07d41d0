"""Metrics on representations: each is one row that says where they lie and what makes no difference to distances."""

__all__ = [
    "INVARIANCES", "METRICS", "Metric", "affine_invariant", "angular_cka", "bures", "cka", "distances",
    "metric", "shape", "stress",
]  # fmt: skip

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lmc_lib.similarity.definite import Definite
from lmc_lib.similarity.kernels import FLAVOURS, KERNELS, Kernels, linear_factor, median_of_pairs, rbf_factor
from lmc_lib.similarity.spaces import Flat, Shapes, Space, frobenius

# Ten times the root of the machine's precision: an eigenvalue of a product has the condition of both matrices.
_SMALLEST_RIDGE = 1.5e-7

# Products of four numbers of these sizes, as kernels are compared by, and sums of them stay within float64.
_SIZES = (1e-60, 1e70)

INVARIANCES = ("permutation", "orthogonal", "scaling", "linear", "translation")

_RIGID = frozenset({"permutation", "orthogonal", "translation"})


@dataclass(frozen=True)
class Metric:
    r"""A distance between representations of the same examples, whatever their numbers of units.

    A representation is a matrix :math:`X` with one row an example and one column a unit. The distance of two
    representations is that of their points in a space; what follows from shortest paths is asked of the space.

    Attributes:
        name: its name in ``METRICS`` and in tables.
        embed: the point of a representation, in float64; dimensions before the last two are a batch.
        space: distances, geodesics, angles, projections and means of points.
        invariances: which of ``INVARIANCES`` change no distance: ``"permutation"`` of units; ``"orthogonal"``,
            :math:`XQ` with :math:`Q^\top Q = I`; ``"scaling"``, :math:`cX` with :math:`c > 0`; ``"linear"``,
            :math:`XM` with an invertible :math:`M`; ``"translation"``, :math:`X + 1b^\top`.
        geodesics: whether the points between two points are of the same kind (kernels, shapes, distances between
            examples, positive definite matrices). The points between two whitened representations are not whitened:
            then only distances have a meaning.
        least: the smallest number of examples.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    space: Space
    invariances: frozenset[str]
    geodesics: bool = True
    least: int = 2

    def point(self, representation: Tensor) -> Tensor:
        """The point of one representation, one row an example.

        Raises:
            ValueError: if it is no matrix of finite floating-point numbers, has too few examples, is the same for all
                of them, or has no point in this space.
        """
        _check(representation, "the representation", self.least, self.name)
        return self.embed(representation.double())

    def distance(self, first: Tensor, second: Tensor) -> float:
        """The distance of two representations of the same examples.

        Raises:
            ValueError: as ``point`` does, and if the numbers of examples differ.
        """
        return float(distances(self, (first, second))[0, 1])

    def geometry(self) -> Space:
        """The space, for what follows from geodesics.

        Raises:
            ValueError: if the points between two points are of another kind.
        """
        if not self.geodesics:
            raise ValueError(
                f"the metric {self.name!r} has distances and no geodesics of representations: choose another, such as "
                "'shape-angular'"
            )
        return self.space


def distances(metric: Metric, representations: Sequence[Tensor]) -> Tensor:
    """The distances between all pairs of representations of the same examples, each embedded once.

    Args:
        metric: the metric.
        representations: matrices with one row an example; numbers of units may differ.

    Returns:
        A symmetric float64 matrix with zeros on the diagonal.

    Raises:
        ValueError: if the numbers of examples differ, or as ``Metric.point`` does; the message names the place.
    """
    for place, each in enumerate(representations):
        _check(each, f"representation {place}", metric.least, metric.name)
        if len(each) != len(representations[0]):
            counts = f"{len(representations[0])} and {len(each)}"
            raise ValueError(f"representations 0 and {place} need the same examples, got {counts}")
    points = [metric.embed(each.double()) for each in representations]
    if isinstance(metric.space, Kernels):
        return metric.space.distances(points)
    found = torch.zeros(len(points), len(points), dtype=torch.float64)
    for row, column in itertools.combinations(range(len(points)), 2):
        found[row, column] = found[column, row] = metric.space.distance(points[row], points[column])
    return found


def cka(flavour: str = "gretton", kernel: str = "linear", bandwidth: float = 1.0) -> Metric:
    r"""Angular centred kernel alignment: the angle between centred kernels (Lange et al. 2022).

    :math:`d = \arccos \langle c(K), c(L) \rangle / (\lVert c(K) \rVert \lVert c(L) \rVert)` with the kernels
    :math:`K, L` of two representations; ``Kernels`` has the flavours of :math:`c`.

    Args:
        flavour: one of ``FLAVOURS``. Only ``"gretton"`` keeps angles below :math:`\pi/2`.
        kernel: ``"linear"``, :math:`K = XX^\top`, or ``"rbf"``, :math:`\exp(-d_{ij}^2 / 2\sigma^2)` with the Euclidean
            distances :math:`d_{ij}` of examples.
        bandwidth: :math:`\sigma` as a multiple of the median distance.

    Raises:
        ValueError: if the flavour or the kernel is unknown, or the bandwidth is not positive.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"unknown flavour {flavour!r}; there are {', '.join(FLAVOURS)}")
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; there are {', '.join(KERNELS)}")
    if not 0.0 < bandwidth < math.inf:
        raise ValueError(f"the bandwidth is a positive multiple of the median distance, got {bandwidth}")
    factor = linear_factor if kernel == "linear" else partial(rbf_factor, bandwidth=bandwidth)
    space = Kernels(flavour)
    return Metric(
        f"cka-{kernel}-{flavour}",
        lambda representation: space.normalised(factor(representation)),
        space,
        _RIGID | {"scaling"},
        least=4 if flavour == "song" else 2,
    )


def shape(alpha: float = 1.0, *, angular: bool = True) -> Metric:
    r"""A generalised shape metric: the distance after the best rotation, of partially whitened representations.

    With the thin singular value decomposition :math:`U \mathrm{diag}(s) V^\top` of the centred representation, of
    :math:`m` examples, and :math:`\alpha` from 0 (white) to 1 (as it is), the point is
    :math:`U \mathrm{diag}(\alpha s + (1 - \alpha) \sqrt m) V^\top` over singular values that are not zero. It is
    divided by its norm for the angular metric, :math:`\arccos \lVert A^\top B \rVert_*`; the Euclidean one is
    :math:`d^2 = \lVert A \rVert^2 + \lVert B \rVert^2 - 2 \lVert A^\top B \rVert_*`, which for :math:`\alpha = 1` is
    the Bures distance between the kernels :math:`XX^\top`. As in the authors' code (Lange et al. 2022), the scale is
    not removed before whitening, so that it matters where :math:`0 < \alpha < 1`. White representations with as many
    units as examples, less one, are all alike: for :math:`\alpha = 0` take many more examples than units.

    Args:
        alpha: how much of the singular values stays.
        angular: an angle between points of norm 1, or a Euclidean distance.

    Raises:
        ValueError: if alpha is not between 0 and 1.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is between 0 (white) and 1 (no whitening), got {alpha}")
    kept = {0.0: {"scaling", "linear"}, 1.0: {"scaling"} if angular else set()}.get(alpha, set())
    name = ("shape-angular" if angular else "shape-euclidean") + ("" if alpha == 1.0 else f"-{alpha:g}")
    embed = partial(_shape_point, alpha=alpha, unit=angular)
    return Metric(name, embed, Shapes(angular), _RIGID | kept, geodesics=alpha == 1.0)


def bures() -> Metric:
    r"""The Bures distance between the kernels of centred representations, divided by their traces.

    :math:`d^2 = \mathrm{tr} K + \mathrm{tr} L - 2\, \mathrm{tr} (K^{1/2} L K^{1/2})^{1/2}`, where the last trace is the
    sum of the singular values of :math:`X^\top Y`: no matrix of examples is made, and the geodesic of the kernels,
    :math:`[(1-t) I + tT] K [(1-t) I + tT]`, is the straight line to the rotated :math:`Y`. With traces of 1 it is the
    chord of the angle ``shape-angular``, :math:`d^2 = 2 - 2 \cos`; without that division it is ``shape-euclidean``.
    """
    return Metric("bures", partial(_shape_point, alpha=1.0, unit=True), Shapes(angular=False), _RIGID | {"scaling"})


def affine_invariant(ridge: float = 0.1) -> Metric:
    r"""The affine-invariant Riemannian distance between regularised kernels.

    :math:`d = \lVert \log(A^{-1/2} B A^{-1/2}) \rVert` with :math:`A = m K / \mathrm{tr} K + \rho I` for the kernel
    :math:`K = XX^\top` of the :math:`m` centred examples. Without the ridge :math:`\rho`, relative to the mean
    eigenvalue, all distances were infinite, since centred kernels are singular; distances grow as it shrinks. Points
    are matrices of examples and take :math:`O(m^3)`; a ridge below :math:`1.5 \cdot 10^{-7}\, m` is refused
    where a point is made, since the logarithms would be those of rounding.

    Args:
        ridge: :math:`\rho`.

    Raises:
        ValueError: if the ridge is not positive and finite.
    """
    if not 0.0 < ridge < math.inf:
        raise ValueError(f"the ridge is positive, relative to the mean eigenvalue of the kernel, got {ridge}")
    return Metric(
        f"affine-invariant-{ridge:g}", partial(_definite_point, ridge=ridge), Definite(), _RIGID | {"scaling"}
    )


def stress(*, rescaled: bool = True) -> Metric:
    r"""The root mean square difference of the distances between examples.

    :math:`d^2 = \frac{2}{m(m-1)} \sum_{i<j} (D_{ij} - E_{ij})^2` with the Euclidean distances :math:`D, E` between
    examples in two representations. The space is flat.

    Args:
        rescaled: whether distances are divided by their median.
    """
    kept = {"scaling"} if rescaled else set()
    name = "stress" if rescaled else "stress-unscaled"
    return Metric(name, partial(_distances_of_examples, rescaled=rescaled), Flat(), _RIGID | kept)


def metric(name: str) -> Metric:
    """The row of ``METRICS`` with this name.

    Raises:
        ValueError: if there is none.

    Example:
        >>> metric("shape-angular").geodesics, metric("shape-angular-0").geodesics
        (True, False)
    """
    for each in METRICS:
        if each.name == name:
            return each
    raise ValueError(f"unknown metric {name!r}; there are {', '.join(each.name for each in METRICS)}")


def angular_cka(
    first: Tensor, second: Tensor, *, flavour: str = "gretton", kernel: str = "linear", bandwidth: float = 1.0
) -> float:
    r"""The angle between two representations by kernel alignment, in radians: the distance of the metric ``cka``.

    The angle is 0 for representations that are equal up to rotation, scale and translation. The flavours centre
    differently:

    - ``"gretton"``: :math:`c(K) = HKH` with :math:`H` the projection on vectors of sum zero; a metric between kernels
      with angles up to :math:`\pi/2` (Lange et al. 2022), biased towards small angles where units outnumber examples;
    - ``"lange"``: the same with the diagonal set to zero afterwards, the default of the authors' code;
    - ``"song"``: the diagonal set to zero first, then centred without bias (Song et al. 2007), so that unrelated
      representations are at right angles on average; the angle of the debiased alignment.

    Small angles come from the chord between the two kernels, since the arc cosine of a number near 1 loses half of its
    digits. Sums run in float64; no linear kernel is held as a whole.

    Args:
        first: one row an example.
        second: the same examples, seen by another network or layer; the number of units may differ.
        flavour: one of ``FLAVOURS``.
        kernel: one of ``KERNELS``.
        bandwidth: of the kernel ``"rbf"``, as a multiple of the median distance between examples.

    Raises:
        ValueError: if the numbers of examples differ or are too few for the flavour (two; four for ``"song"``), the
            flavour or the kernel is unknown, a representation is no matrix of finite numbers, or it is the same for all
            examples.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], dtype=torch.float64)
        >>> round(angular_cka(x, 3.0 * x.flip(1)), 14)
        0.0
    """
    return cka(flavour, kernel, bandwidth).distance(first, second)


def _check(representation: Tensor, what: str, least: int, name: str) -> None:
    """Refuses what is no representation.

    Raises:
        ValueError: saying what is wrong with ``what``.
    """
    shape_, kind = tuple(representation.shape), str(representation.dtype).removeprefix("torch.")
    if representation.dim() != 2:
        raise ValueError(
            f"{what} has the shape {shape_}; expected one row an example and one column a unit: flatten feature maps "
            "(flatten(1)) or average them over places (mean((2, 3)))"
        )
    if not representation.is_floating_point():
        raise ValueError(f"{what} has numbers of type {kind}; expected floating point, as .double() makes them")
    if len(representation) < least:
        raise ValueError(f"the metric {name!r} needs at least {least} examples, {what} has {len(representation)}")
    broken = int((~representation.isfinite()).any(1).sum())
    if broken:
        raise ValueError(f"{what} has NaN or infinite numbers in {broken} of {len(representation)} rows")
    largest = float(representation.abs().max())
    if largest > 0.0 and not _SIZES[0] < largest < _SIZES[1]:
        raise ValueError(
            f"{what} has numbers of up to {largest:.3g}, whose products float64 cannot hold: divide all of them by "
            "one number first, such as the largest"
        )
    centred = linear_factor(representation.double())
    if not float(centred.norm()) > 1e-14 * float(representation.double().norm()):
        raise ValueError(f"{what} is the same for all examples, so it has no direction and no distance to others")


def _shape_point(representation: Tensor, *, alpha: float, unit: bool) -> Tensor:
    point = linear_factor(representation)
    if alpha < 1.0 or point.shape[-1] > point.shape[-2]:
        left, sizes, _ = torch.linalg.svd(point, full_matrices=False)
        examples = point.shape[-2]
        zero = sizes <= max(point.shape[-2:]) * torch.finfo(sizes.dtype).eps * sizes[..., :1]
        point = left * torch.where(zero, 0.0, alpha * sizes + (1.0 - alpha) * math.sqrt(examples))[..., None, :]
    return point / frobenius(point)[..., None, None] if unit else point


def _definite_point(representation: Tensor, *, ridge: float) -> Tensor:
    factor, examples = linear_factor(representation), representation.shape[-2]
    if ridge < (least := _SMALLEST_RIDGE * examples):
        raise ValueError(
            f"a ridge of {ridge:g} is lost in rounding with {examples} examples: take at least {least:.1g}"
        )
    factor = factor * (math.sqrt(examples) / frobenius(factor)[..., None, None])
    return factor @ factor.mT + ridge * torch.eye(examples, dtype=factor.dtype)


def _distances_of_examples(representation: Tensor, *, rescaled: bool) -> Tensor:
    examples = representation.shape[-2]
    between = torch.cdist(representation, representation, compute_mode="donot_use_mm_for_euclid_dist")
    upper = torch.triu_indices(examples, examples, offset=1)
    pairs = between[..., upper[0], upper[1]]
    if rescaled:
        median = median_of_pairs(pairs)[..., None]
        if not bool((median > 0.0).all()):
            raise ValueError(
                "half of the pairs of examples have distance 0, so distances cannot be divided by their median"
            )
        pairs = pairs / median
    return pairs / math.sqrt(pairs.shape[-1])


# Last, since the rows are made by what stands above.
METRICS = (
    *(cka(flavour) for flavour in FLAVOURS),
    *(cka(flavour, "rbf") for flavour in FLAVOURS),
    *(shape(alpha, angular=angular) for angular in (True, False) for alpha in (1.0, 0.5, 0.0)),
    bures(),
    affine_invariant(),
    stress(),
    stress(rescaled=False),
)
