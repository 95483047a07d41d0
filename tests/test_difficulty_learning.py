"""Scores of a training: the same as from the whole table of steps, in memory that does not know their number."""

import itertools
import math
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lmc_lib import difficulty, rng
from lmc_lib.difficulty import NEVER_LEARNED, POINTWISE, History, Learning, Moments

TABLES = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 6)))
VALUES = arrays.arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 6)), elements=st.floats(-1e3, 1e3))


def followed(table):
    learning = Learning(table.shape[1])
    for row in table:
        learning.update(row)
    return learning


class TestByHand:
    # Five steps each of examples that are never learned, always right, flicker, come late, and are lost.
    TABLE = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=bool)

    def test_the_counts_of_five_histories(self):
        learning = followed(self.TABLE.T)
        assert learning.forgetting("zero").tolist() == [0, 0, 1, 0, 1]
        assert learning.first_learned().tolist() == [5, 0, 1, 2, 0]
        assert learning.iteration_learned().tolist() == [5, 0, 3, 2, 5]
        assert learning.first_forgotten().tolist() == [0, 5, 0, 0, 4]
        assert learning.iteration_unlearned().tolist() == [0, 5, 5, 5, 4]
        assert learning.correctness().tolist() == [0, 5, 3, 3, 4]
        assert learning.unforgettable().tolist() == [0, 1, 0, 1, 0]
        assert learning.never_learned().tolist() == [True, False, False, False, False]
        assert learning.updates().tolist() == [5] * 5

    def test_never_learned_examples_by_every_convention(self):
        learning = followed(self.TABLE.T)
        counts = {name: learning.forgetting(name) for name in NEVER_LEARNED}
        assert {name: each[0] for name, each in counts.items()} == {
            "updates": 5, "zero": 0, "infinity": math.inf, "thousand": 1000,
        }  # fmt: skip
        assert all(each[1:].tolist() == [0, 1, 0, 1] for each in counts.values())
        assert learning.forgetting().tolist() == counts["updates"].tolist()
        # Only "zero" ranks what was never learned among the easiest.
        ranks = {name: difficulty.ranks(each)[0] for name, each in counts.items()}
        assert ranks == {"updates": 4, "zero": 1, "infinity": 4, "thousand": 4}


class TestLaws:
    @given(table=TABLES)
    def test_counts_are_those_of_the_whole_table(self, table):
        learning, steps = followed(table), len(table)
        for number, column in enumerate(table.T):
            falls = sum(a and not b for a, b in itertools.pairwise(column))
            assert learning.forgetting("zero")[number] == falls
            first = next((step for step in range(steps) if column[step]), steps)
            assert learning.first_learned()[number] == first
            assert learning.iteration_learned()[number] == next(s for s in range(steps + 1) if column[s:].all())

    @given(table=TABLES)
    def test_unlearning_mirrors_learning(self, table):
        learning, mirrored = followed(table), followed(~table)
        assert learning.first_forgotten().tolist() == mirrored.first_learned().tolist()
        assert learning.iteration_unlearned().tolist() == mirrored.iteration_learned().tolist()

    @given(table=TABLES, seed=st.integers(0, 2**40))
    def test_presentations_in_batches_are_steps_of_each_example(self, table, seed):
        # One epoch after the other, examples in another order and in two batches each.
        examples, draws = table.shape[1], rng.numpy_stream(seed)
        learning = Learning(examples)
        for row in table:
            for rows in np.array_split(draws.permutation(examples), 2):
                learning.update(row[rows], rows)
        whole = followed(table)
        for name in ("forgetting", "first_learned", "iteration_learned", "first_forgotten", "iteration_unlearned"):
            assert getattr(learning, name)().tolist() == getattr(whole, name)().tolist()

    def test_examples_that_were_seen_less_often_have_steps_of_their_own(self):
        learning = Learning(2)
        learning.update(np.array([False, True]))
        learning.update(np.array([False]), np.array([1]))
        learning.update(np.array([False]), np.array([1]))
        assert learning.updates().tolist() == [1, 3]
        assert learning.first_learned().tolist() == [1, 0]
        assert learning.iteration_learned().tolist() == [1, 3]
        assert learning.forgetting().tolist() == [1, 1]

    @given(values=VALUES)
    def test_moments_are_those_of_the_whole_table(self, values):
        moments = Moments(values.shape[1])
        for row in values:
            moments.update(row)
        np.testing.assert_allclose(moments.mean(), values.mean(0), atol=1e-10)
        for ddof in (0, 1):
            # Of numbers up to a thousand, squares have rounding errors of some 1e-10.
            np.testing.assert_allclose(moments.variance(ddof=ddof), values.var(0, ddof=ddof), rtol=1e-10, atol=1e-8)

    def test_a_large_mean_costs_no_digits_of_a_small_variance(self):
        values = 1e9 + np.array([[4.0], [7.0], [13.0], [16.0]])
        moments = Moments(1)
        for row in values:
            moments.update(row)
        assert moments.variance(ddof=1).item() == 30.0
        squares = (values**2).sum() - len(values) * values.mean() ** 2
        assert abs(squares / 3 - 30.0) > 1.0  # what the difference of sums makes of it

    def test_moments_of_images_may_come_in_parts(self):
        values = rng.numpy_stream(0, "values").normal(size=(5, 6, 3, 2))
        moments = Moments(6, 3, 2)
        for each in values:
            moments.update(each[:2], np.arange(2))
            moments.update(each[2:], np.arange(2, 6))
        np.testing.assert_allclose(moments.mean(), values.mean(0), atol=1e-14)
        np.testing.assert_allclose(moments.variance(ddof=1), values.var(0, ddof=1), atol=1e-14)
        assert moments.count().tolist() == [5] * 6


# Scores that are counts of steps, or shares of them.
COUNTED = {"mean accuracy", "final accuracy", "forgetting", "first_learned", "iteration_learned"}


def steps(count=6, examples=40, classes=5):
    generator = rng.stream(0, "steps")
    logits = [torch.randn(examples, classes, generator=generator, dtype=torch.float64) for _ in range(count)]
    return logits, torch.randint(classes, (examples,), generator=generator)


class TestHistory:
    def test_is_what_the_scores_of_all_steps_say(self):
        logits, labels = steps()
        history = History(labels)
        for each in logits:
            history.update(each)
        table = [difficulty.pointwise(each, labels) for each in logits]
        for name in POINTWISE:
            whole = np.array([row[name] for row in table])
            np.testing.assert_allclose(history.mean(name), whole.mean(0), atol=1e-13)
            np.testing.assert_array_equal(history.final(name), whole[-1])
            np.testing.assert_allclose(history.variability(name), whole.std(0), atol=1e-13)
        right = np.array([row["accuracy"] == 1.0 for row in table])
        assert history.learning.forgetting().tolist() == followed(right).forgetting().tolist()
        assert (history.mean("accuracy") * 6).round().tolist() == history.learning.correctness().tolist()

    def test_all_scores_are_turned_so_that_higher_is_harder(self):
        logits, labels = steps()
        history = History(labels)
        for each in logits:
            history.update(each)
        scores = history.harder()
        assert scores.keys() == {f"{when} {name}" for when in ("mean", "final") for name in POINTWISE} | {
            "variability", "forgetting", "first_learned", "iteration_learned",
        }  # fmt: skip
        assert scores["mean confidence"].tolist() == (-history.mean("confidence")).tolist()
        assert scores["final loss"].tolist() == history.final("loss").tolist()
        assert History(labels, ["loss"]).learning is not None
        family = [scores[f"mean {name}"] for name in POINTWISE if name not in ("entropy", "max_confidence")]
        assert difficulty.correlations(np.array(family)).values.min() > 0.3
        hardest = history.harder(never="infinity")["forgetting"]
        assert np.isinf(hardest).tolist() == history.learning.never_learned().tolist()

    def test_batches_of_a_training_are_taken_in_by_row(self):
        logits, labels = steps(3)
        history, whole = History(labels), History(labels)
        for each in logits:
            whole.update(each)
            for rows in torch.randperm(40, generator=rng.stream(0, "rows")).split(16):
                history.update(each[rows], rows)
        for name, values in whole.harder().items():
            # Counts to the bit. In the last digits of the others a processor's vectors show: what fills no whole vector
            # at the end of a batch is computed one by one, by another approximation of the exponential function.
            tolerance = 0.0 if name in COUNTED else 1e-13
            np.testing.assert_allclose(history.harder()[name], values, rtol=tolerance, atol=tolerance, err_msg=name)

    def test_an_error_leaves_the_history_as_it_was(self):
        logits, labels = steps(3)
        history = History(labels)
        for each in logits:
            history.update(each)
        before = history.harder()
        with pytest.raises(ValueError, match="not finite"):
            history.update(logits[0] * math.nan)
        for name, values in history.harder().items():
            np.testing.assert_array_equal(values, before[name])

    def test_can_be_kept_and_gone_on_with(self):
        logits, labels = steps(4)
        history = History(labels)
        for each in logits:
            history = pickle.loads(pickle.dumps(history))
            history.update(each)
        whole = History(labels)
        for each in logits:
            whole.update(each)
        assert {k: v.tolist() for k, v in history.harder().items()} == {
            k: v.tolist() for k, v in whole.harder().items()
        }

    def test_memory_does_not_grow_with_the_number_of_checkpoints(self):
        def peak(checkpoints):
            logits, labels = steps(1, examples=5000)
            tracemalloc.start()
            history = History(labels, ["confidence", "loss"])
            for _ in range(checkpoints):
                history.update(logits[0])
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        peak(1)  # what is loaded once
        # A table of 60 steps of one score would need 2.4 million bytes.
        assert peak(60) - peak(3) < 40_000


class TestErrors:
    def test_nothing_to_read_yet(self):
        for read in ("forgetting", "first_learned", "correctness", "unforgettable", "iteration_learned"):
            with pytest.raises(ValueError, match="example 0 had no update"):
                getattr(Learning(2), read)()
        with pytest.raises(ValueError, match="a mean needs at least 1 update of every example; example 0 had 0"):
            Moments(2).mean()
        partly = Moments(2)
        partly.update(np.ones(1), np.array([0]))
        with pytest.raises(ValueError, match="example 1 had 0"):
            partly.mean()

    def test_a_single_value_does_not_vary(self):
        moments = Moments(2)
        moments.update(np.ones(2))
        for ddof in (0, 1):
            with pytest.raises(ValueError, match=r"a variance needs at least 2 updates.*example 0 had 1"):
                moments.variance(ddof=ddof)
        logits, labels = steps(1)
        history = History(labels)
        history.update(logits[0])
        with pytest.raises(ValueError, match="a variance needs at least 2"):
            history.variability()

    @pytest.mark.parametrize(
        ("values", "rows", "message"),
        [
            (np.ones(2), None, "3 examples needs as many values, got 2"),
            (np.ones(2), np.array([0, 3]), "from 0 to 2, got 0 to 3"),
            (np.ones(2), np.array([-1, 0]), "from 0 to 2, got -1 to 0"),
            (np.ones(2), np.array([1, 1]), "twice in one update"),
            (np.array([1.0, math.nan, 1.0]), None, "not finite"),
        ],
    )
    def test_updates_that_do_not_fit(self, values, rows, message):
        with pytest.raises(ValueError, match=message):
            Moments(3).update(values, rows)

    def test_unknown_names(self):
        logits, labels = steps(1)
        history = History(labels, ["loss"])
        history.update(logits[0])
        with pytest.raises(ValueError, match="does not keep 'margin', only loss"):
            history.mean("margin")
        with pytest.raises(ValueError, match="unknown score 'hardness'"):
            History(labels, ["hardness"])
        with pytest.raises(ValueError, match=r"unknown convention 'max'.*updates, zero, infinity, thousand"):
            history.learning.forgetting("max")
