"""Similarity of representations: a metric that rotations and scales leave alone."""

import math

import ckatorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import rng, similarity
from lmc_lib.similarity import angular_cka, kernels


def draw(*shape, name):
    return torch.randn(*shape, generator=rng.stream(0, "similarity", name), dtype=torch.float64)


@given(seed=st.integers(0, 2**40), units=st.integers(1, 8), others=st.integers(1, 8))
def test_is_the_arc_cosine_of_the_oracles_similarity(seed, units, others):
    generator = rng.stream(seed)
    x, y = (torch.randn(20, size, generator=generator, dtype=torch.float64) for size in (units, others))
    expected = float(ckatorch.cka_base(x, y, kernel="linear", unbiased=False))
    # The arc cosine magnifies rounding where the similarity is near 1; random representations are far from it.
    assert angular_cka(x, y) == pytest.approx(math.acos(expected), abs=1e-7)


@given(seed=st.integers(0, 2**40), units=st.integers(1, 40))
def test_the_unbiased_flavour_is_that_of_the_oracle(seed, units):
    generator = rng.stream(seed)
    x = torch.randn(20, units, generator=generator, dtype=torch.float64)
    y = x + torch.randn(20, units, generator=generator, dtype=torch.float64)
    expected = float(ckatorch.cka_base(x, y, kernel="linear", unbiased=True))
    assert angular_cka(x, y, flavour="song") == pytest.approx(math.acos(expected), abs=1e-7)


@given(seed=st.integers(0, 2**40))
def test_the_flavour_of_the_authors_centres_and_then_drops_the_diagonal(seed):
    generator = rng.stream(seed)
    kernels = []
    representations = [torch.randn(9, 5, generator=generator, dtype=torch.float64) for _ in "ab"]
    for each in representations:
        centring = torch.eye(9, dtype=torch.float64) - 1 / 9
        kernel = centring @ (each @ each.T) @ centring
        kernels.append((kernel - torch.diag(kernel.diagonal())).flatten())
    expected = float(torch.nn.functional.cosine_similarity(*kernels, dim=0))
    assert angular_cka(*representations, flavour="lange") == pytest.approx(math.acos(expected), abs=1e-7)


def test_unrelated_representations_are_at_right_angles_only_without_bias():
    x, y = draw(40, 400, name="x"), draw(40, 400, name="y")
    # The cosine scatters by the root of one over the number of pairs of examples, 0.036; three times that.
    assert angular_cka(x, y, flavour="song") == pytest.approx(math.pi / 2, abs=0.11)
    assert angular_cka(x, y) < 0.6


@pytest.mark.parametrize("flavour", similarity.FLAVOURS)
def test_rows_at_a_time_give_what_the_whole_kernel_gives(flavour, monkeypatch):
    x, y = draw(30, 4, name="x"), draw(30, 6, name="y")
    whole = angular_cka(x, y, flavour=flavour)
    monkeypatch.setattr(kernels, "_ROWS", 7)
    assert angular_cka(x, y, flavour=flavour) == pytest.approx(whole, abs=1e-12)


@given(seed=st.integers(0, 2**40), scale=st.floats(1e-3, 1e3), flavour=st.sampled_from(similarity.FLAVOURS))
def test_rotation_shift_and_scale_make_no_difference(seed, scale, flavour):
    generator = rng.stream(seed)
    x, y = (torch.randn(15, 6, generator=generator, dtype=torch.float64) for _ in "ab")
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    turned = scale * x @ rotation + 3.0
    assert angular_cka(turned, y, flavour=flavour) == pytest.approx(angular_cka(x, y, flavour=flavour), abs=1e-9)
    assert angular_cka(turned, x, flavour=flavour) == pytest.approx(0.0, abs=1e-9)


@given(seed=st.integers(0, 2**40))
def test_is_symmetric_and_obeys_the_triangle_inequality(seed):
    generator = rng.stream(seed)
    x, y, z = (torch.randn(12, size, generator=generator, dtype=torch.float64) for size in (3, 5, 8))
    # The sum of a product's squares runs in another order.
    assert angular_cka(x, y) == pytest.approx(angular_cka(y, x), abs=1e-14)
    assert angular_cka(x, z) <= angular_cka(x, y) + angular_cka(y, z) + 1e-12


def test_small_angles_keep_their_digits():
    x = draw(30, 4, name="x")
    noise = draw(30, 4, name="noise")
    angles = [angular_cka(x, x + size * noise) for size in (1e-6, 1e-7, 1e-8)]
    # To first order the angle is proportional to the noise; the arc cosine would give 0 for the smallest.
    assert angles[0] / angles[1] == pytest.approx(10.0, rel=1e-4)
    assert angles[1] / angles[2] == pytest.approx(10.0, rel=1e-4)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="the same examples, got 4 and 5"):
        angular_cka(draw(4, 2, name="x"), draw(5, 2, name="y"))
    with pytest.raises(ValueError, match="the same for all examples"):
        angular_cka(torch.ones(4, 2, dtype=torch.float64), draw(4, 2, name="y"))
    with pytest.raises(ValueError, match="unknown flavour 'biased'; there are gretton, lange, song"):
        angular_cka(draw(4, 2, name="x"), draw(4, 2, name="y"), flavour="biased")
    with pytest.raises(ValueError, match="'cka-linear-song' needs at least 4 examples, representation 0 has 3"):
        angular_cka(draw(3, 2, name="x"), draw(3, 2, name="y"), flavour="song")


@pytest.mark.parametrize("size", [1e100, 1e300, 1e-100, 1e-300])
@pytest.mark.parametrize("chosen", similarity.METRICS, ids=lambda metric: metric.name)
def test_numbers_whose_products_are_lost_are_refused_for_that(chosen, size):
    x, y = torch.randn(2, 9, 4, generator=rng.stream(0, "size"), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"representation 1 has numbers of up to .* float64 cannot hold: divide"):
        chosen.distance(x, size * y)


@pytest.mark.parametrize("size", [1e-50, 1e-20, 1e20, 1e60])
@pytest.mark.parametrize(
    "chosen", [each for each in similarity.METRICS if "scaling" in each.invariances], ids=lambda m: m.name
)
def test_what_scale_is_no_matter_to_is_the_same_at_every_size(chosen, size):
    x, y = torch.randn(2, 9, 4, generator=rng.stream(0, "size"), dtype=torch.float64)
    assert chosen.distance(x, size * y) == pytest.approx(chosen.distance(x, y), rel=1e-9)
