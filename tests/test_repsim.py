"""Numbers of repsim, the library of the authors of the metrics: where ours are the same, and where they differ and why.

The numbers were computed by repsim 0.8.3 (https://github.com/wrongu/repsim, commit ecd0a54, MIT licence) in float64,
with torch 2.14.1, from the three representations below: seven examples, and three, four and five units. Options are
its own defaults but for ``use_unbiased_hsic=False`` ("gretton"), ``p=5`` and ``alpha`` of the shape metrics,
``rescale=True`` ("stress") and ``eps=0.1`` of the affine-invariant metric, to which it was given centred
representations whose kernels have the mean eigenvalue 1. "song" is its function ``kernels.cka`` of two linear kernels,
since its ``AngularCKA`` has "lange" alone.
"""

import math

import pytest
import torch

from lmc_lib import similarity
from lmc_lib.similarity import metric


def drawn(units, first, second):
    i, j = torch.arange(1, 8)[:, None], torch.arange(1, units + 1)
    return ((first * i * i + second * i * j + 3 * j * j) % 17).double() / 4


X, Y, Z = drawn(3, 5, 2), drawn(4, 3, 7), drawn(5, 2, 11)

# By metric the distances of X and Y, Y and Z, X and Z.
DISTANCES = {
    "cka-linear-gretton": (1.18327381383471, 0.997783159158326, 1.29339255747763),
    "cka-linear-lange": (1.63176820637, 1.36385155787084, 1.71120443296304),
    "cka-linear-song": (1.80676101539747, 1.48772544474129, 1.84292002813725),
    "shape-angular": (0.988802924092418, 0.792657549874363, 1.04454801356613),
    "shape-angular-0.5": (0.94509006242825, 0.746233994972581, 0.927558749064803),
    "shape-angular-0": (0.933369954777915, 0.722310224477016, 0.843621762115765),
    "shape-euclidean": (5.93014988945533, 5.30803576506134, 5.734485206927),
    "shape-euclidean-0.5": (5.02813595622787, 4.44272841528144, 4.85165906761154),
    "shape-euclidean-0": (4.48751257878545, 4.00312587900854, 4.46715290767272),
    "stress": (0.362592084103418, 0.341803959554302, 0.439816183298133),
    "stress-unscaled": (2.16678493794392, 1.34882382988515, 2.01354818812605),
    "affine-invariant-0.1": (5.97129558200766, 5.330231525998, 6.1511438039821),
}
# By metric the angle at Z between the ways to X and Y, and the distance of Z from the middle of X and Y.
ANGLES = {
    "cka-linear-gretton": (1.28295625647759, 1.05691056768279),
    "cka-linear-lange": (1.60400983292285, 1.52296632974549),
    "shape-angular": (1.6790854736973, 0.916929901948389),
    "shape-euclidean": (1.38294278514307, 5.09194933985119),
    "stress": (0.93393857897902, 0.349665348676921),
    "stress-unscaled": (1.35204953898506, 1.32782219184675),
    "affine-invariant-0.1": (0.821733254627258, 4.52115019989838),
}
# By metric the share of the way from X to Y at which Z is nearest to it, and its distance there, by the iteration of
# repsim with a tolerance of 1e-10.
PROJECTIONS = {
    "cka-linear-gretton": (0.8845918431392, 0.991707848779442),
    "shape-euclidean": (0.6757668210278, 5.01440147594156),
    "stress": (0.7913461965117, 0.33332579187066),
    "stress-unscaled": (0.7380267377748, 1.22356482205978),
    "affine-invariant-0.1": (0.5943389348144, 4.46894800106365),
}


class TestAgree:
    @pytest.mark.parametrize("name", DISTANCES)
    def test_distances(self, name):
        ours = [metric(name).distance(*pair) for pair in ((X, Y), (Y, Z), (X, Z))]
        # Fifteen digits were printed; whitening loses two more.
        assert ours == pytest.approx(DISTANCES[name], rel=1e-12)

    @pytest.mark.parametrize("name", ANGLES)
    def test_angles_and_middles(self, name):
        row = metric(name)
        x, y, z = map(row.point, (X, Y, Z))
        middle = row.space.geodesic(x, y, 0.5)
        ours = float(row.space.angle(x, z, y)), float(row.space.distance(middle, z))
        assert ours == pytest.approx(ANGLES[name], rel=1e-12)

    @pytest.mark.parametrize("name", PROJECTIONS)
    def test_projections(self, name):
        row = metric(name)
        x, y, z = map(row.point, (X, Y, Z))
        share, distance = row.space.project(z, x, y)
        # Near its smallest value a distance is flat: an error of 1e-7 in the place is one of 1e-14 in it.
        assert (share, distance) == (
            pytest.approx(PROJECTIONS[name][0], abs=1e-7),
            pytest.approx(PROJECTIONS[name][1], rel=1e-12),
        )


class TestDiffer:
    def test_the_scale_of_a_kernel_counts_there_and_not_here(self):
        """The distance of X and Y as they are, with the ridge of 0.1: theirs is that of a matrix 2.5 times as large."""
        theirs = 9.18309334678525
        assert metric("affine-invariant-0.1").distance(X, Y) == pytest.approx(5.97129558200766, rel=1e-12)
        kernels = [
            (each - each.mean(0)) @ (each - each.mean(0)).T + 0.1 * torch.eye(7, dtype=torch.float64) for each in (X, Y)
        ]
        assert float(similarity.Definite().distance(*kernels)) == pytest.approx(theirs, rel=1e-12)

    def test_a_geodesic_ends_here_and_goes_on_there(self):
        """By lange Z is nearest to the great circle beyond Y: at 1.34 of the way, 1.3265 from it."""
        row = metric("cka-linear-lange")
        x, y, z = map(row.point, (X, Y, Z))
        assert row.space.project(z, x, y) == (1.0, pytest.approx(1.36385155787084, rel=1e-12))

    def test_their_iteration_does_not_settle_where_shapes_turn(self):
        """In a hundred steps; it then returns X, at 1.0445, and its bisection Y, the nearest point, as ours."""
        row = metric("shape-angular")
        x, y, z = map(row.point, (X, Y, Z))
        share, distance = row.space.project(z, x, y)
        assert (share, distance) == (1.0, pytest.approx(0.792657549874363, rel=1e-12))
        assert distance < DISTANCES["shape-angular"][2]

    def test_the_median_of_an_even_number_of_pairs_is_the_lower_one_there(self):
        few = [each[:4] for each in (X, Y)]
        medians = [torch.pdist(each).median() for each in few]  # of torch: the lower of the two in the middle
        lower = torch.pdist(few[0]) / medians[0] - torch.pdist(few[1]) / medians[1]
        assert float(lower.square().mean().sqrt()) == pytest.approx(0.373202438676497, rel=1e-12)
        assert metric("stress").distance(*few) == pytest.approx(0.353647644343836, rel=1e-12)

    @pytest.mark.parametrize(
        ("name", "theirs"), [("cka-linear-gretton", 0.0), ("shape-angular", 1.4901161193847656e-08)]
    )
    def test_the_arc_cosine_loses_small_distances(self, name, theirs):
        """A number changed by 1e-9, and by 2e-9: to first order the distance doubles."""
        near, far = X.clone(), X.clone()
        near[2, 1] += 1e-9
        far[2, 1] += 2e-9
        ours = metric(name).distance(X, near)
        assert metric(name).distance(X, far) / ours == pytest.approx(2.0, rel=1e-4)
        assert abs(ours - theirs) > 1e-10
        assert math.acos(1.0 - 2.0**-53) == pytest.approx(1.4901161193847656e-08)
