"""Scores of several networks: held-out and trained-on examples stay apart, votes are counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import rng
from lmc_lib.difficulty import (
    MixedSamples,
    agreement,
    all_correct,
    c_score,
    consensus,
    draw_members,
    mean_over_replicates,
    memorisation,
    unanimity,
)

SEEDS = st.integers(0, 2**40)


class TestMembers:
    @given(seed=SEEDS, size=st.integers(1, 19))
    def test_subsets_have_their_size_and_every_example_its_chance(self, seed, size):
        members = draw_members(20, size, 400, rng=rng.numpy_stream(seed))
        assert members.sum(1).tolist() == [size] * 400
        # Over 400 draws a share moves by 0.025; six times that among 20 examples.
        assert np.abs(members.mean(0) - size / 20).max() < 0.15
        assert members.tolist() == draw_members(20, size, 400, rng=rng.numpy_stream(seed)).tolist()

    @pytest.mark.parametrize("size", [0, 20, 21])
    def test_a_subset_holds_something_out(self, size):
        with pytest.raises(ValueError, match=f"1 to 19 of them, not {size}"):
            draw_members(20, size, 2, rng=rng.numpy_stream(0))


class TestMeans:
    SCORES = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 7.0]])
    MEMBERS = np.array([[True, False, True], [False, True, True]])

    def test_by_hand(self):
        assert mean_over_replicates(self.SCORES).tolist() == [2, 3, 5]
        assert mean_over_replicates(self.SCORES, self.MEMBERS, sample="in").tolist() == [1, 4, 5]
        assert mean_over_replicates(self.SCORES[:, :2], self.MEMBERS[:, :2], sample="out").tolist() == [3, 2]

    def test_samples_are_never_mixed(self):
        with pytest.raises(MixedSamples, match=r"replicate 0 was trained on example 0, but replicate 0 .*on example 1"):
            mean_over_replicates(self.SCORES, self.MEMBERS)
        for members in (np.ones_like(self.MEMBERS), np.zeros_like(self.MEMBERS)):
            assert mean_over_replicates(self.SCORES, members).tolist() == [2, 3, 5]

    def test_the_mean_of_norms_is_not_the_norm_of_the_mean(self):
        # EL2N of two networks that are sure of opposite answers: 0 and the root of 2; of their mean, half of that root.
        assert mean_over_replicates(np.array([[0.0], [2**0.5]])).item() == pytest.approx(2**0.5 / 2)

    @given(seed=SEEDS)
    def test_equal_to_a_loop(self, seed):
        generator = rng.numpy_stream(seed)
        scores, members = generator.normal(size=(8, 12)), generator.random((8, 12)) < 0.5
        members[0], members[1] = True, False
        for sample, chosen in (("in", members), ("out", ~members)):
            expected = [scores[chosen[:, each], each].mean() for each in range(12)]
            found = mean_over_replicates(np.where(chosen, scores, np.nan), members, sample=sample)
            assert found == pytest.approx(expected, abs=1e-14)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"example 2 was held out in none of the 2 replicates: draw more"):
            mean_over_replicates(self.SCORES, self.MEMBERS, sample="out")
        with pytest.raises(ValueError, match="'in' or 'out', not 'test'"):
            mean_over_replicates(self.SCORES, self.MEMBERS, sample="test")
        with pytest.raises(ValueError, match="say which examples are members"):
            mean_over_replicates(self.SCORES, sample="in")
        with pytest.raises(ValueError, match=r"\(2, 3\), \(2, 2\)"):
            mean_over_replicates(self.SCORES, self.MEMBERS[:, :2], sample="in")
        missing = self.SCORES.copy()
        missing[1, 2] = np.nan
        with pytest.raises(ValueError, match="the score of example 2 is missing in replicate 1"):
            mean_over_replicates(missing)


class TestCScore:
    def test_sizes_count_alike_however_many_subsets_they_have(self):
        members = np.array([[True, False, False], [False, True, False], [False, False, True], [True, True, False],
                            [False, True, True], [True, False, True]])  # fmt: skip
        right = np.array([[True, True, True], [False, True, False], [True, True, True], [True, True, False],
                          [True, True, True], [True, True, True]])  # fmt: skip
        expected = [(0.5 + 1) / 2, (1 + 1) / 2, (0.5 + 0) / 2]
        assert c_score(right, members).tolist() == expected
        # The same subsets again of one size only: the mean over subsets would move, that over sizes does not.
        again = [0, 1, 2, 0, 1, 2, 3, 4, 5]
        assert c_score(right[again], members[again]).tolist() == expected

    def test_memorisation_is_what_training_on_an_example_adds(self):
        members = np.array([[True, False], [False, True], [True, True], [False, False]])
        right = np.array([[True, True], [False, True], [True, True], [False, True]])
        assert memorisation(right, members).tolist() == [1.0, 0.0]

    def test_networks_that_memorise_and_never_generalise(self):
        members = draw_members(10, 5, 50, rng=rng.numpy_stream(0))
        assert c_score(members, members).tolist() == [0.0] * 10
        assert memorisation(members, members).tolist() == [1.0] * 10

    def test_an_example_that_no_subset_of_a_size_holds_out(self):
        members = np.array([[True, False], [True, False], [False, False]])
        with pytest.raises(ValueError, match="example 0 was held out in none of the 2"):
            c_score(members, members)


class TestAgreement:
    PREDICTIONS = np.array([[0, 1, 2, 2], [0, 2, 0, 2], [0, 1, 1, 2], [0, 2, 2, 1]])

    def test_by_hand(self):
        assert consensus(self.PREDICTIONS).tolist() == [0, 1, 2, 2]  # of 1 and 2 with two votes each, 1
        assert agreement(self.PREDICTIONS).tolist() == [1.0, 0.5, 0.5, 0.75]
        labels = np.array([0, 1, 3, 2])
        right = labels == self.PREDICTIONS
        assert unanimity(right).tolist() == [1, 0, -1, 0]
        assert all_correct(right).tolist() == [1, 0, 0, 0]

    def test_errors(self):
        for score in (consensus, agreement):
            with pytest.raises(ValueError, match="at least two replicates, got 1"):
                score(self.PREDICTIONS[:1])
            with pytest.raises(ValueError, match="classes from 0 on, got -1"):
                score(self.PREDICTIONS - 1)
        for score in (unanimity, all_correct):
            with pytest.raises(ValueError, match="at least two replicates, got 1"):
                score(np.ones((1, 3), dtype=bool))
