"""Similarity of representations: a metric that rotations and scales leave alone."""

import math

import ckatorch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import rng
from lmc_lib.similarity import angular_cka


def draw(*shape, name):
    return torch.randn(*shape, generator=rng.stream(0, "similarity", name), dtype=torch.float64)


@given(seed=st.integers(0, 2**40), units=st.integers(1, 8), others=st.integers(1, 8))
def test_is_the_arc_cosine_of_the_oracles_similarity(seed, units, others):
    generator = rng.stream(seed)
    x, y = (torch.randn(20, size, generator=generator, dtype=torch.float64) for size in (units, others))
    expected = float(ckatorch.cka_base(x, y, kernel="linear", unbiased=False))
    # The arc cosine magnifies rounding where the similarity is near 1; random representations are far from it.
    assert angular_cka(x, y) == pytest.approx(math.acos(expected), abs=1e-7)


@given(seed=st.integers(0, 2**40), scale=st.floats(1e-3, 1e3))
def test_rotation_shift_and_scale_make_no_difference(seed, scale):
    generator = rng.stream(seed)
    x, y = (torch.randn(15, 6, generator=generator, dtype=torch.float64) for _ in "ab")
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    assert angular_cka(scale * x @ rotation + 3.0, y) == pytest.approx(angular_cka(x, y), abs=1e-9)
    assert angular_cka(scale * x @ rotation + 3.0, x) == pytest.approx(0.0, abs=1e-9)


@given(seed=st.integers(0, 2**40))
def test_is_symmetric_and_obeys_the_triangle_inequality(seed):
    generator = rng.stream(seed)
    x, y, z = (torch.randn(12, size, generator=generator, dtype=torch.float64) for size in (3, 5, 8))
    assert angular_cka(x, y) == angular_cka(y, x)
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
