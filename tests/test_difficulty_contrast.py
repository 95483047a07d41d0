"""Two architectures on halves of their replicates: planted differences, none at all, and cases made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, spearmanr, ttest_ind

from lmc_lib import difficulty
from lmc_lib.difficulty import LEVEL, Sensitivity, compare_halves, places, reproduced

EXAMPLES, PLANTED = 300, 12
seeds = st.integers(0, 2**32 - 1)


def stacks(seed, replicates=12, shift=0.0, noise=0.05):
    """Two architectures with one difficulty in common; the first finds the first few examples harder by a shift."""
    rng = np.random.default_rng(seed)
    shared = rng.uniform(size=EXAMPLES)
    first, second = (shared + noise * rng.standard_normal((replicates, EXAMPLES)) for _ in range(2))
    first[:, :PLANTED] += shift
    return first, second


def halves_of(count):
    return np.arange(count // 2), np.arange(count // 2, count)


def orders(seed, count, splits=5):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(count) for _ in range(splits)])


def test_kinds_of_examples_by_hand():
    nan = np.nan
    test = Sensitivity(np.array([3.0, -2.0, 0.1, nan, -5.0]), np.array([1e-3, 1e-2, 0.9, nan, 1e-9]), np.ones(5), 0.0)
    assert test.strength == pytest.approx([3.0, -2.0, -np.log10(0.9), 0.0, -9.0])
    means = np.array([0.9, 0.9, 0.3, 0.6, 0.9]), np.array([0.9, 0.9, 0.8, 0.5, 0.9])
    found = difficulty.kinds(test, means, 2)
    # Alike are those that do not differ, however hard the others are; of two means the smaller counts.
    assert {name: each.tolist() for name, each in found.items()} == {"first": [0, 2], "second": [4, 1], "alike": [3, 2]}


class TestPlaces:
    @given(seeds)
    def test_tell_the_order_and_nothing_else(self, seed):
        scores = np.random.default_rng(seed).standard_normal((3, 40))
        np.testing.assert_array_equal(places(scores), places(np.exp(2.0 * scores) - 7.0))
        np.testing.assert_allclose(np.sort(places(scores), axis=1), np.tile(np.linspace(0.0, 1.0, 40), (3, 1)))

    def test_one_example_has_no_place(self):
        with pytest.raises(ValueError, match="at least two examples"):
            places(np.ones((3, 1)))


class TestReproduced:
    def test_is_by_a_test_and_a_correction_on_each_half(self):
        first, second = stacks(12, shift=0.2)
        first[6:, :PLANTED] -= 0.12  # weaker on the other half, so that some are not found again
        half, other = halves_of(12)
        found, again = reproduced(first, second, half, other)
        p = [ttest_ind(first[rows], second[rows], equal_var=False) for rows in (half, other)]
        expected = false_discovery_control(p[0].pvalue) <= LEVEL
        np.testing.assert_array_equal(found, expected)
        repeated = np.zeros_like(expected)
        repeated[expected] = false_discovery_control(p[1].pvalue[expected]) <= LEVEL
        np.testing.assert_array_equal(again, repeated & (np.sign(p[0].statistic) == np.sign(p[1].statistic)))
        # So few differ again that the correction on the second half has a part in it.
        assert 0 < again.sum() < (p[1].pvalue[found] <= LEVEL).sum() < found.sum() < EXAMPLES

    @pytest.mark.parametrize("seed", range(5))
    def test_finds_what_was_planted(self, seed):
        first, second = stacks(seed, shift=0.4)
        found, again = reproduced(first, second, *halves_of(12))
        assert again[:PLANTED].all()
        # Of what is found on both halves hardly any is wrong.
        assert again[PLANTED:].sum() <= 1
        assert (found >= again).all()

    def test_a_difference_of_the_other_sign_is_none_again(self):
        first, second = stacks(0)
        first[:6, :PLANTED] += 0.4
        first[6:, :PLANTED] -= 0.4
        found, again = reproduced(first, second, *halves_of(12))
        assert found[:PLANTED].all()
        assert not again[:PLANTED].any()

    def test_nothing_found_is_nothing_reproduced(self):
        first, _ = stacks(0)
        found, again = reproduced(first, first.copy(), *halves_of(12))
        assert not found.any()
        assert not again.any()

    def test_halves_share_no_replicate(self):
        first, second = stacks(0)
        with pytest.raises(ValueError, match=r"both have \[5\]"):
            reproduced(first, second, np.arange(6), np.arange(5, 12))


class TestCompareHalves:
    def test_one_split_by_hand(self):
        first, second = stacks(1, shift=0.3, noise=0.3)
        half, other = halves_of(12)
        found = compare_halves(first, second, np.arange(12)[None])

        def rho(a, b):
            return spearmanr(a.mean(0), b.mean(0)).statistic

        between = (rho(first[half], second[other]) + rho(first[other], second[half])) / 2.0
        assert found.between == pytest.approx(between, abs=1e-12)
        assert found.first == pytest.approx(rho(first[half], first[other]), abs=1e-12)
        assert found.second == pytest.approx(rho(second[half], second[other]), abs=1e-12)
        assert found.within == pytest.approx((found.first * found.second) ** 0.5)
        ways = [(half, other), (other, half)]
        shares = np.mean([[x.mean() for x in reproduced(places(first), places(second), *way)] for way in ways], axis=0)
        assert (found.found, found.reproduced) == pytest.approx(tuple(shares))

    @given(seeds)
    def test_is_the_same_the_other_way_round(self, seed):
        first, second = stacks(seed, replicates=8, shift=0.2)
        drawn = orders(seed, 8, splits=2)
        one, other = compare_halves(first, second, drawn), compare_halves(second, first, drawn)
        assert (one.first, one.second) == pytest.approx((other.second, other.first))
        assert one.between == pytest.approx(other.between)
        assert (one.found, one.reproduced) == (other.found, other.reproduced)

    def test_an_architecture_that_is_better_at_all_examples_is_not_different(self):
        first, second = stacks(2)
        drawn = orders(2, 12)
        moved = compare_halves(first - 5.0, second, drawn)
        np.testing.assert_allclose(
            list(vars(moved).values()), list(vars(compare_halves(first, second, drawn)).values())
        )
        assert difficulty.welch_test(first - 5.0, second).q.max() <= LEVEL  # though every value is

    def test_without_a_replicate_its_scores_do_not_count(self):
        first, second = stacks(3, shift=0.2)
        drawn = orders(3, 12)
        kept = compare_halves(first, second, drawn, without=4)
        first[4], second[4] = first[4, ::-1], 7.0 * second[4, ::-1]
        assert compare_halves(first, second, drawn, without=4) == kept
        assert compare_halves(first, second, drawn) != kept

    def test_two_samples_of_one_architecture_are_as_far_apart_as_its_halves(self):
        first, second = stacks(4, noise=0.1)
        found = compare_halves(first, second, orders(4, 12, splits=20))
        # Of correlations near 0.98 over 300 examples chance leaves less than this.
        assert abs(found.within - found.between) < 0.01
        assert found.reproduced == 0.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((8, 7, 8, None), "as many replicates, got 8 and 7"),
            ((8, 8, 7, None), "order of the 8 replicates"),
            ((3, 3, 3, None), "take at least 4"),
            ((5, 5, 5, 1), "take at least 6"),
        ],
    )
    def test_errors_say_what_is_needed(self, arguments, message):
        first, second, ordered, without = arguments
        one = np.random.default_rng(0).uniform(size=(first, 5))
        with pytest.raises(ValueError, match=message):
            compare_halves(one, np.resize(one, (second, 5)), np.arange(ordered)[None], without=without)
