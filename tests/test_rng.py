"""Streams are named by what they are for: stable across processes, independent of each other and of the order."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import rng

# A short alphabet, so that drawn names often look alike.
NAMES = st.lists(st.integers(-(2**40), 2**40) | st.text('ab1, "é', max_size=4), max_size=4)

PROGRAM = """
import torch
from lmc_lib import rng
print(rng.entropy(3, "replica", 1), torch.rand(3, generator=rng.stream(3, "replica", 1)).tolist(),
      rng.numpy_stream(3, "replica", 1).random(3).tolist())
"""


def test_stream_has_its_golden_value():
    # sha256 of '[0, "replica", 3, "order"]': stored results are addressed by these numbers, so they may never change.
    assert rng.entropy(0, "replica", 3, "order") == 4110152204964630246
    drawn = torch.randint(10, (8,), generator=rng.stream(0, "replica", 3, "order"))
    assert drawn.tolist()[:4] == [6, 0, 4, 0]


def test_stream_is_the_same_in_a_process_with_another_hash_salt():
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = (
        rng.entropy(3, "replica", 1),
        torch.rand(3, generator=rng.stream(3, "replica", 1)).tolist(),
        rng.numpy_stream(3, "replica", 1).random(3).tolist(),
    )
    assert printed.split() == " ".join(map(str, here)).split()


@given(seed=st.integers(0, 2**40), one=NAMES, other=NAMES)
def test_different_names_have_different_streams(seed, one, other):
    assert (rng.entropy(seed, *one) == rng.entropy(seed, *other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, "a", 1), (0, "a", "1")), ((0, "ab"), (0, "a", "b")), ((0, "a"), (1, "a")), ((0,), (0, "")), ((0, 1), (1, 0))],
)
def test_names_that_look_alike_are_told_apart(one, other):
    assert rng.entropy(*one) != rng.entropy(*other)
    assert not torch.equal(torch.rand(4, generator=rng.stream(*one)), torch.rand(4, generator=rng.stream(*other)))
    assert not np.array_equal(rng.numpy_stream(*one).random(4), rng.numpy_stream(*other).random(4))


@given(name=NAMES)
def test_entropy_fits_a_torch_seed(name):
    assert 0 <= rng.entropy(0, *name) < 2**63


def test_order_of_creation_is_irrelevant():
    first = rng.stream(0, "weights")
    torch.rand(100, generator=rng.stream(0, "order"))
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=rng.stream(0, "weights")))
