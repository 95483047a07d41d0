"""Where trainings part: known differences, planted rates of flips, and statements that can fail."""

import json
import math

import arithmetic
import numpy as np
import pytest
import torch
from emulated import partings
from hypothesis import given
from hypothesis import strategies as st

from builder import benchmarks
from lmc_lib.values import round_to_grid


def test_the_parting_is_the_first_look_that_differs():
    first = {"0": "a", "1": "b", "10": "c", "2": "d"}
    assert partings.parting(first, first) is None
    assert partings.parting(first, first | {"10": "x", "2": "y"}) == 2


@given(st.integers(0, 50))
def test_expected_flips_are_those_of_values_that_lie_anywhere(seed):
    """Many values at random places of a grid, and a small difference of each."""
    generator = np.random.default_rng(seed)
    first = torch.from_numpy(generator.uniform(-1, 1, (1, 200_000)))
    second = first + torch.from_numpy(generator.normal(0, 2.0**-12, first.shape))
    expected = partings.expected_flips(first, second, 3, 8) / 3
    flipped = int((round_to_grid(first.clone(), 8) != round_to_grid(second.clone(), 8)).sum())
    assert abs(flipped - expected) < 5 * math.sqrt(expected)  # five deviations of a count


def test_a_difference_of_more_than_a_multiple_is_one_flip():
    assert partings.expected_flips(torch.zeros(2, 3), torch.full((2, 3), 9.0), 5, 1) == 15


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_the_factor_is_found_again(factor):
    generator = np.random.default_rng(3)
    rates = generator.uniform(0.01, 2.0, (60, 40)) / factor
    seen = generator.uniform(size=rates.shape) < -np.expm1(-factor * rates)
    found, low, high = partings.scale(rates.tolist(), seen.tolist(), draws=200)
    assert low < factor < high
    assert low < found < high
    assert high / low < 1.5


@pytest.mark.parametrize("total", [7, 40])
def test_the_interval_of_no_case_ends_where_none_has_a_chance_of_a_fortieth(total):
    low, high = partings.bounds(0, total)
    assert low == 0
    assert (1 - high) ** total == pytest.approx(0.025)


def test_the_median_has_an_interval_from_six_values_on():
    values = [5.0, 1.0, 9.0, 2.0, 4.0, 3.0]
    assert partings.median(values) == (3.5, 1.0, 9.0)
    assert math.isnan(partings.median(values[:5])[1])


def result_of(parted, factor, cost, again=0):
    """A result in which so many of ten seeds part in each arithmetic."""
    modes = {
        mode: {"seeds": 10, "parted": count, "step": 1 if count else None, "once more": again}
        for mode, count in parted.items()
    }
    case = {"steps": 7, "modes": modes, "flips": 1e-6, "portable / float64": [cost, cost, cost]}
    return {
        "cases": [{"case": name, **case} for name in "abcde"],
        "grids": {"rows": [{"case": "a", "bits": 37, "expected": 0.25, "parted": 0.3}], "factor": factor},
        "conditional": [{"processor": "SSE", "against": "as it is", "trainings": 9, "parted": 4, "time": [1.0, 1.5]}],
    }


ALL = {"float32": 10, "bfloat16": 10, "float64": 10, "portable": 0}


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({}, None),
        ({"parted": ALL | {"float32": 7}}, 0),
        ({"parted": ALL | {"bfloat16": 0}}, 1),
        ({"parted": ALL | {"float64": 3}}, 2),
        ({"parted": ALL | {"portable": 1}}, 3),
        ({"factor": [1.0, 0.3, 2.0]}, 4),
        ({"factor": [1.0, 0.5, 3.5]}, 4),
        ({"cost": 1.31}, 5),
        ({"again": 1}, 6),
    ],
)
def test_each_statement_can_fail(changed, fails):
    result = result_of(**({"parted": ALL, "factor": [1.0, 0.5, 2.0], "cost": 1.2} | changed))
    assert [at for at, row in enumerate(arithmetic.statements(result)) if not row["holds"]] == (
        [] if fails is None else [fails]
    )


def test_the_page_shows_statements_and_what_they_are_made_of():
    result = result_of(ALL, [1.0, 0.5, 2.0], 1.31)
    text = benchmarks.arithmetic_tables(result | {"statements": arithmetic.statements(result)})
    assert text.count("| holds |") == 6
    assert "| below 1.3 | 1.31 | does not hold |" in text
    assert "| a | 7 | 10 of 10, at update 1 | 10 of 10, at update 1 | 10 of 10, at update 1 | 0 of 10 |" in text
    assert "| SSE | as it is | 9 | 4 | 1.00 to 1.50 |" in text


def test_the_statements_of_the_page_follow_from_its_numbers():
    kept = json.loads(benchmarks.BOOK.joinpath("arithmetic.json").read_text())
    assert kept["statements"] == json.loads(json.dumps(arithmetic.statements(kept)))
    assert len(kept["cases"]) * len(kept["setting"]["seeds"]) >= 40
