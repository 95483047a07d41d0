"""Which examples are kept, and how well wrong labels are ranked: by law, by a loop, and by hand."""

import numpy as np
import pytest
import sklearn.metrics  # noqa: F401 -- its import draws from Python's global stream, so before any test
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import rng
from lmc_lib.difficulty import POLICIES, average_precision, keep, precisions, shuffle_within

SEEDS = st.integers(0, 2**40)
SHARES = st.floats(0.05, 1.0)


def drawn(seed, examples=40, values=6):
    """Scores with ties, and classes of different sizes."""
    generator = rng.numpy_stream(seed)
    return generator.integers(0, values, examples).astype(float), generator.integers(0, 3, examples), generator


class TestKeep:
    @given(seed=SEEDS, share=SHARES, policy=st.sampled_from(POLICIES), balanced=st.booleans())
    def test_keeps_so_many_different_examples_in_their_order(self, seed, share, policy, balanced):
        scores, classes, generator = drawn(seed)
        kept = keep(scores, share, policy=policy, rng=generator, classes=classes if balanced else None)
        assert len(kept) == round(share * 40)
        assert (np.diff(kept) > 0).all()
        assert kept.min() >= 0
        assert kept.max() < 40

    @given(seed=SEEDS, share=SHARES)
    def test_no_example_left_out_is_harder_than_a_hard_one_or_easier_than_an_easy_one(self, seed, share):
        scores, _, generator = drawn(seed)
        for policy, sign in (("hard", 1.0), ("easy", -1.0)):
            kept = keep(scores, share, policy=policy, rng=generator)
            out = np.delete(sign * scores, kept)
            assert out.size == 0 or (sign * scores[kept]).min() >= out.max()

    @given(seed=SEEDS, share=SHARES, policy=st.sampled_from(POLICIES))
    def test_classes_keep_their_share(self, seed, share, policy):
        scores, classes, generator = drawn(seed)
        kept = keep(scores, share, policy=policy, rng=generator, classes=classes)
        for each in range(3):
            own = classes == each
            assert abs(own[kept].sum() - share * own.sum()) < 1.0
            inside, out = scores[kept][own[kept]], np.delete(scores, kept)[np.delete(own, kept)]
            if policy == "hard" and inside.size and out.size:
                assert inside.min() >= out.max()

    @given(seed=SEEDS)
    def test_hard_and_easy_halves_are_all_examples_where_no_score_is_shared(self, seed):
        scores = rng.numpy_stream(seed).permutation(40).astype(float)
        halves = [keep(scores, 0.5, policy=policy, rng=rng.numpy_stream(seed)) for policy in ("hard", "easy")]
        assert sorted(np.concatenate(halves)) == list(range(40))

    @given(seed=SEEDS, share=SHARES)
    def test_the_order_of_scores_is_all_that_counts(self, seed, share):
        scores, _, _ = drawn(seed)
        found = [
            keep(each, share, policy="hard", rng=rng.numpy_stream(seed)) for each in (scores, np.exp(scores) - 3.0)
        ]
        assert found[0].tolist() == found[1].tolist()

    @pytest.mark.parametrize("policy", POLICIES)
    def test_examples_of_equal_score_have_equal_chances(self, policy):
        scores = np.where(np.arange(20) < 4, 1.0, 0.0)
        sure = {"hard": [0, 1, 2, 3], "easy": [], "random": []}[policy]
        kept = np.zeros(20)
        for each in range(1000):
            kept[keep(scores, 0.5, policy=policy, rng=rng.numpy_stream(0, each))] += 1
        assert kept[sure].tolist() == [1000.0] * len(sure)
        tied = {"hard": np.arange(4, 20), "easy": np.arange(4, 20), "random": np.arange(20)}[policy]
        expected = (10 - len(sure)) / len(tied)
        # Over 1000 draws a share moves by at most 0.016; five times that.
        assert np.abs(kept[tied] / 1000 - expected).max() < 0.08

    def test_by_hand(self):
        scores, classes = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0]), np.array([0, 0, 0, 0, 1, 1])
        generator = rng.numpy_stream(0)
        assert keep(scores, 0.5, policy="hard", rng=generator).tolist() == [0, 1, 2]
        assert keep(scores, 0.5, policy="hard", rng=generator, classes=classes).tolist() == [0, 1, 4]
        assert keep(scores, 0.5, policy="easy", rng=generator, classes=classes).tolist() == [2, 3, 5]
        assert keep(scores, 1.0, policy="easy", rng=generator).tolist() == [0, 1, 2, 3, 4, 5]
        # Two of six: 4/3 and 2/3, so the larger remainder is that of the second class.
        assert keep(scores, 1 / 3, policy="hard", rng=generator, classes=classes).tolist() == [0, 4]

    def test_errors(self):
        generator, scores = rng.numpy_stream(0), np.arange(10.0)
        with pytest.raises(ValueError, match="unknown policy 'best'; there are hard, easy, random"):
            keep(scores, 0.5, policy="best", rng=generator)
        for share in (0.01, 0.0, -0.5, 1.2, float("nan")):
            with pytest.raises(ValueError, match=f"share of {share} of 10 examples"):
                keep(scores, share, policy="hard", rng=generator)
        with pytest.raises(ValueError, match="10 scores and 9 classes"):
            keep(scores, 0.5, policy="hard", rng=generator, classes=np.zeros(9, dtype=int))
        scores[3] = np.nan
        with pytest.raises(ValueError, match="the score of example 3 is missing"):
            keep(scores, 0.5, policy="random", rng=generator)


class TestShuffle:
    @given(seed=SEEDS)
    def test_each_class_keeps_its_scores_and_rows_stay_together(self, seed):
        generator = rng.numpy_stream(seed)
        classes = generator.integers(0, 3, 30)
        scores = np.stack([np.arange(30.0), -np.arange(30.0)])
        found = shuffle_within(scores, classes, rng=generator)
        assert (found[0] == -found[1]).all()
        for each in range(3):
            assert sorted(found[0, classes == each]) == sorted(scores[0, classes == each])
        assert (found != scores).any()

    def test_every_order_of_a_class_can_come(self):
        classes = np.array([0, 1, 0, 0])
        found = {tuple(shuffle_within(np.arange(4.0), classes, rng=rng.numpy_stream(0, n))) for n in range(200)}
        assert len(found) == 6

    def test_errors(self):
        with pytest.raises(ValueError, match="4 scores and 3 classes"):
            shuffle_within(np.zeros((2, 4)), np.zeros(3, dtype=int), rng=rng.numpy_stream(0))


class TestPrecision:
    def test_by_hand(self):
        scores, wrong = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
        assert average_precision(scores, wrong) == pytest.approx((1 + 2 / 3) / 2)
        assert precisions(scores, wrong, np.array([0.25, 0.5, 0.75, 1.0])).tolist() == [1.0, 1.0, 2 / 3, 2 / 3]
        # Equal scores stand or fall together: all four are taken at once.
        assert average_precision(np.zeros(4), wrong) == 0.5
        assert precisions(np.zeros(4), wrong, np.array([0.1, 1.0])).tolist() == [0.5, 0.5]

    @given(seed=SEEDS)
    def test_equal_to_a_loop_over_cuts(self, seed):
        scores, _, generator = drawn(seed)
        wrong = generator.random(40) < 0.3
        wrong[:2] = True, False
        levels = np.arange(1, wrong.sum() + 1) / wrong.sum()
        area, before, expected = 0.0, 0.0, {}
        for cut in sorted(set(scores), reverse=True):
            taken = scores >= cut
            precision, recall = wrong[taken].mean(), wrong[taken].sum() / wrong.sum()
            area, before = area + (recall - before) * precision, recall
            expected |= {level: precision for level in levels if level <= recall + 1e-9 and level not in expected}
        assert average_precision(scores, wrong) == pytest.approx(area)
        assert precisions(scores, wrong, levels) == pytest.approx([expected[level] for level in levels])

    def test_a_random_order_has_the_share_of_wrong_labels(self):
        generator = rng.numpy_stream(0)
        wrong = np.arange(2000) < 200
        found = [average_precision(generator.random(2000), wrong) for _ in range(50)]
        # One order has a standard deviation of about 0.007; the finite number of errors adds 0.002.
        assert np.mean(found) == pytest.approx(0.1, abs=0.006)

    def test_errors(self):
        for wrong in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
            with pytest.raises(ValueError, match="some of both"):
                average_precision(np.arange(3.0), wrong)
            with pytest.raises(ValueError, match="some of both"):
                precisions(np.arange(3.0), wrong, np.array([0.5]))
        with pytest.raises(ValueError, match=r"above 0 and up to 1, not \[0.0, 0.5\]"):
            precisions(np.arange(3.0), np.array([True, False, True]), np.array([0.0, 0.5]))
