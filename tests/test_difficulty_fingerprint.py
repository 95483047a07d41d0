"""Networks told apart by a few examples: planted examples are found, shuffled classes are not, and nothing leaks."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib.difficulty import cross_identify, identify, sensitive_examples, shuffle_classes
from lmc_lib.difficulty.fingerprint import Identified

REPLICATES, CLASSES, EXAMPLES = 8, 3, 60
NAMES = np.tile(np.arange(CLASSES), (REPLICATES, 1))
seeds = st.integers(0, 2**32 - 1)


def noise(seed, examples=EXAMPLES):
    return np.random.default_rng(seed).standard_normal((REPLICATES, CLASSES, examples))


def planted(seed, shift=8.0):
    """Example 10 tells class 0 from the others, example 20 class 2."""
    scores = noise(seed)
    scores[:, 0, 10] += shift
    scores[:, 2, 20] -= shift
    return scores


def flat(scores):
    return scores.reshape(-1, scores.shape[-1]), NAMES.ravel()


def test_the_most_chosen_stand_first_each_once():
    chosen = np.array([[7, 3, 9], [3, 5, 7], [3, 1, 2]])
    found = Identified(np.zeros((3, 2), dtype=int), np.zeros((3, 2, 1), dtype=int), chosen)
    assert found.most_chosen(2) == [(3, 3), (1, 1), (5, 1), (7, 1)]
    assert found.most_chosen(3)[:2] == [(3, 3), (7, 2)]


class TestSensitiveExamples:
    @given(seeds)
    def test_planted_ones_come_first(self, seed):
        assert set(sensitive_examples(*flat(planted(seed)), 2)) == {10, 20}

    @given(seeds, st.integers(1, EXAMPLES))
    def test_a_shorter_choice_begins_a_longer_one(self, seed, count):
        scores = flat(noise(seed))
        whole = sensitive_examples(*scores, EXAMPLES)
        assert sorted(whole) == list(range(EXAMPLES))
        np.testing.assert_array_equal(sensitive_examples(*scores, count), whole[:count])

    @given(seeds)
    def test_many_that_tell_one_class_do_not_crowd_out_those_that_tell_the_rest(self, seed):
        scores = noise(seed)
        scores[:, 0, :50] += 30.0
        scores[:, 2, 55] += 8.0
        # Two pairs of three have dozens of better examples; the third pair takes its turn first.
        assert sensitive_examples(*flat(scores), 3)[0] == 55

    @given(seeds)
    def test_names_of_classes_do_not_matter(self, seed):
        scores, classes = flat(planted(seed))
        np.testing.assert_array_equal(
            sensitive_examples(scores, classes, 9), sensitive_examples(scores, np.array([7, 2, 5])[classes], 9)
        )

    @pytest.mark.parametrize("count", [0, EXAMPLES + 1])
    def test_there_must_be_as_many(self, count):
        with pytest.raises(ValueError, match=f"cannot choose {count} of 60 examples to tell 3 classes"):
            sensitive_examples(*flat(noise(0)), count)

    def test_one_class_is_none(self):
        with pytest.raises(ValueError, match="tell 1 classes apart"):
            sensitive_examples(noise(0)[:, 0], np.zeros(REPLICATES, dtype=int), 3)


class TestIdentify:
    @given(seeds)
    def test_is_the_nearest_mean_after_scaling(self, seed):
        scores, classes = flat(noise(seed) * np.arange(1, EXAMPLES + 1))
        unknown = 30.0 * np.random.default_rng(seed + 1).standard_normal((5, EXAMPLES))
        unit = scores.std(0)
        means = np.stack([scores[classes == each].mean(0) for each in range(CLASSES)])
        far = np.linalg.norm((unknown[:, None] - means) / unit, axis=2)
        np.testing.assert_array_equal(identify(scores, classes, unknown), far.argmin(1))

    def test_an_example_on_which_all_agree_says_nothing(self):
        scores, classes = flat(planted(0))
        scores[:, 5] = 1.0
        said = identify(scores, classes, scores)
        rest = np.arange(EXAMPLES) != 5
        np.testing.assert_array_equal(said, identify(scores[:, rest], classes, scores[:, rest]))


class TestCrossIdentify:
    def test_planted_examples_identify_every_network(self):
        found = cross_identify(planted(0), NAMES, (1, 2))
        np.testing.assert_array_equal(found.said[..., 1], NAMES)
        assert {tuple(sorted(row[:2])) for row in found.chosen} == {(10, 20)}
        np.testing.assert_array_equal(found.accuracy()[:, 1], np.ones(REPLICATES))
        np.testing.assert_array_equal(found.confusion(1), np.eye(CLASSES))
        # One example tells one class from the other two.
        assert found.accuracy()[:, 0].mean() < 0.9

    def test_each_replicate_is_identified_by_the_others(self):
        scores = noise(1)
        found = cross_identify(scores, NAMES, (4,))
        for aside in range(REPLICATES):
            others = np.arange(REPLICATES) != aside
            known, names = scores[others].reshape(-1, EXAMPLES), NAMES[others].ravel()
            examples = sensitive_examples(known, names, 4)
            np.testing.assert_array_equal(found.chosen[aside], examples)
            expected = identify(known[:, examples], names, scores[aside][:, examples])
            np.testing.assert_array_equal(found.said[aside, :, 0], expected)

    def test_the_choice_never_sees_what_is_set_aside(self):
        scores = noise(2)
        seen = []

        def choose(known, names, count):
            assert known.shape == ((REPLICATES - 1) * CLASSES, EXAMPLES)
            assert len(names) == len(known)
            seen.append({row.tobytes() for row in known})
            return np.arange(count)

        cross_identify(scores, NAMES, (3,), choose)
        assert len(seen) == REPLICATES
        for rows, own in zip(seen, scores, strict=True):
            assert not rows & {row.tobytes() for row in own}

    def test_what_is_set_aside_moves_neither_the_choice_nor_what_is_said_of_others(self):
        scores = planted(3, shift=2.0)
        before = cross_identify(scores, NAMES, (5,))
        scores[4] = 100.0 * np.random.default_rng(9).standard_normal(scores[4].shape)
        np.testing.assert_array_equal(cross_identify(scores, NAMES, (5,)).chosen[4], before.chosen[4])

    def test_a_choice_that_sees_all_networks_would_find_classes_in_noise(self):
        """Why the choice is nested: from 5,000 examples of pure noise some always fit the networks at hand."""
        scores = noise(4, examples=5000)
        seen_all = sensitive_examples(*flat(scores), 10)
        leaking = cross_identify(scores, NAMES, (10,), lambda *_: seen_all).accuracy().mean()
        nested = cross_identify(scores, NAMES, (10,)).accuracy().mean()
        assert leaking > 0.8
        # 24 networks at a chance of one third: two standard errors are 0.19.
        assert nested < 0.53

    def test_shuffled_classes_are_told_no_better_than_by_chance(self):
        rng = np.random.default_rng(5)
        shares = [
            cross_identify(planted(5), shuffle_classes(NAMES, rng=rng), (5,)).accuracy().mean() for _ in range(30)
        ]
        # 30 shuffles of 24 networks that are not independent: the spread over shuffles gives the room.
        assert abs(np.mean(shares) - 1 / 3) < 3.0 * np.std(shares) / 30**0.5
        assert np.std(shares) < 0.2

    @given(seeds)
    def test_a_shuffle_keeps_a_network_of_every_class_in_each_replicate(self, seed):
        shuffled = shuffle_classes(NAMES, rng=np.random.default_rng(seed))
        np.testing.assert_array_equal(np.sort(shuffled, axis=1), NAMES)

    def test_two_replicates_are_too_few(self):
        with pytest.raises(ValueError, match="take at least three, not 2"):
            cross_identify(noise(0)[:2], NAMES[:2], (1,))

    def test_every_replicate_has_every_class(self):
        names = NAMES.copy()
        names[3] = 0
        with pytest.raises(ValueError, match="a network of every class"):
            cross_identify(noise(0), names, (1,))


class TestIdentified:
    # Two architectures of class 0 and one of class 1, two replicates, one size.
    CLASSES = np.array([[0, 0, 1], [0, 0, 1]])
    SAID = np.array([[0, 1, 1], [0, 0, 0]])[..., None]

    def test_each_class_counts_alike(self):
        found = Identified(self.CLASSES, self.SAID, np.zeros((2, 1), dtype=int))
        np.testing.assert_allclose(found.accuracy()[:, 0], [(0.5 + 1.0) / 2, (1.0 + 0.0) / 2])

    def test_confusion_has_a_row_for_what_a_network_is(self):
        found = Identified(self.CLASSES, self.SAID, np.zeros((2, 1), dtype=int))
        np.testing.assert_allclose(found.confusion(0), [[0.75, 0.25], [0.5, 0.5]])


def test_pairs_of_classes_are_all_looked_at():
    """Of four classes each pair has an example of its own; six are enough for six pairs."""
    rng = np.random.default_rng(0)
    scores, classes = rng.standard_normal((40, 100)), np.repeat(np.arange(4), 10)
    pairs = list(combinations(range(4), 2))
    for example, (a, b) in enumerate(pairs):
        scores[classes == a, example] += 20.0
        scores[classes == b, example] -= 20.0
    assert set(sensitive_examples(scores, classes, len(pairs))) == set(range(len(pairs)))
