"""Values as they are kept: digits, None for what is no number, and tables of equal rows."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import values


def test_digits_are_those_that_are_kept_at_any_depth():
    kept = values.digits(
        {"a": np.array([[1 / 3, 2e-13 / 3]]), "b": {"c": torch.tensor([2 / 3], dtype=torch.float64), "d": 1 / 7}}
    )
    assert kept == {"a": [[0.333333333, 6.66666667e-14]], "b": {"c": [0.666666667], "d": 0.142857143}}
    assert values.digits(np.array([12.3456, -0.00123456]), 3) == [12.3, -0.00123]
    assert values.share(1 / 3) == 0.333333333


def test_what_is_no_number_is_none():
    assert values.or_none({"a": np.array([1.0, np.nan, np.inf])}) == {"a": [1.0, None, None]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found_at_any_depth(bad):
    sound = {"a": [1.0, {"b": None, "c": "nan", "d": True}], "e": 3}
    assert values.are_finite(sound)
    assert not values.are_finite(sound | {"a": [1.0, {"b": [0.0, bad]}]})


def test_rows_become_columns_at_every_depth():
    rows = [{"a": 1, "b": {"c": {"d": [1]}, "e": 2.0}}, {"a": 3, "b": {"c": {"d": [4]}, "e": 5.0}}]
    assert values.columns(rows) == {"a": [1, 3], "b": {"c": {"d": [[1], [4]]}, "e": [2.0, 5.0]}}


def test_loss_and_error_are_told_by_split():
    class Curve:
        loss, error = torch.tensor([1 / 3, 2.0], dtype=torch.float64), 0.25

    assert values.loss_and_error({"test": Curve}) == {"test": {"loss": [0.333333333, 2.0], "error": 0.25}}


def test_a_grid_hides_what_is_finer_than_half_a_step():
    drawn = torch.tensor([1.0 + 2.0**-12, -3.0 - 2.0**-9, 2.0**-11, -5.0], dtype=torch.float64)
    on_grid = values.round_to_grid(drawn, 10)
    assert on_grid is drawn
    # The third is half a step, which goes to the even side.
    assert on_grid.tolist() == [1.0, -3.0 - 2.0**-9, 0.0, -5.0]
    assert values.round_to_grid(torch.tensor([0.75 + 2.0**-20]), 1).tolist() == [1.0]


@given(last=st.integers(1, 10**6), count=st.integers(2, 60))
def test_whole_numbers_rise_from_one_to_the_last_by_like_factors(last, count):
    found = values.log_spaced(last, count)
    assert (found[0], found[-1]) == (1, last)
    assert found == sorted(set(found)) and len(found) <= count
    factor = last ** (1.0 / (count - 1))
    assert all(after <= factor * (before + 0.5) + 0.5 + 1e-6 * last for before, after in itertools.pairwise(found))


def test_small_numbers_stand_once():
    assert values.log_spaced(100, 7) == [1, 2, 5, 10, 22, 46, 100]
    assert values.log_spaced(5, 9) == [1, 2, 3, 4, 5]
