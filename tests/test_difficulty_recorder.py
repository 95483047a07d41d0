"""Scores from the batches of a training: those of its whole table, whatever order, ids and hooks it has."""

import csv
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import difficulty, rng
from lmc_lib.difficulty import POINTWISE, SCORES, History, Recorder, reliabilities

# Running means and deviations against those of a whole table: a few roundings of numbers up to about 10.
ROUNDING = 1e-12


def trained(seed, update, *, examples=37, epochs=6, batch=8):
    """A small training in a plain loop, in a random order with an incomplete last batch; all logits, by epoch."""
    inputs = torch.randn(examples, 5, generator=rng.stream(0, "inputs"))
    labels = (inputs[:, :3] + torch.randn(examples, 3, generator=rng.stream(0, "noise"))).argmax(1)
    generator = rng.stream(seed, "recorder")
    weights = torch.randn(5, 3, generator=generator).requires_grad_()
    table = []
    for _ in range(epochs):
        seen = torch.empty(examples, 3)
        for rows in torch.randperm(examples, generator=generator).split(batch):
            logits = inputs[rows] @ weights
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels[rows]), weights)
            update(rows, logits, labels[rows])
            seen[rows] = logits.detach()
            weights = (weights - 0.5 * gradient).detach().requires_grad_()
        table.append(seen)
    return torch.stack(table), labels


class TestScores:
    def test_they_are_those_of_a_history_to_the_bit_and_of_the_whole_table(self):
        recorder, history = Recorder(), None
        labels = trained(0, lambda *_: None)[1]
        history = History(labels)

        def both(rows, logits, given):
            recorder.update(rows, logits, given)
            history.update(logits, rows)

        table, _ = trained(0, both)
        scores = recorder.scores()
        assert recorder.ids() == list(range(37))
        assert recorder.labels().tolist() == labels.tolist()
        assert recorder.presentations().tolist() == [6] * 37
        for name, values in history.harder().items():
            assert np.array_equal(scores[name], values), name
        for name, function in POINTWISE.items():
            values = np.stack([function(each, labels) for each in table])
            turned = SCORES[name]
            np.testing.assert_allclose(scores[f"mean {name}"], turned * values.mean(0), atol=ROUNDING)
            # Not to the bit: the vector instructions of a whole table and of a batch round alike in most places only.
            np.testing.assert_allclose(scores[f"final {name}"], turned * values[-1], atol=ROUNDING)
        assert np.array_equal(scores["aum"], scores["mean logit_margin"])
        confidences = np.stack([POINTWISE["confidence"](each, labels) for each in table])
        np.testing.assert_allclose(scores["variability"], confidences.std(0), atol=ROUNDING)
        right = np.stack([POINTWISE["accuracy"](each, labels) for each in table])
        assert np.array_equal(scores["correctness"], -right.sum(0))
        assert 0 < (scores["forgetting"] > 0).sum() < 37

    def test_all_scores_that_follow_from_logits_are_there(self):
        recorder = Recorder()
        trained(0, recorder.update)
        others = {"grand", "grand_last_layer", "vog", "prediction_depth", "prototype_distance"}
        others |= {"self_prototype_distance", "agreement", "all_correct", "c_score", "memorisation", "unanimity"}
        assert {name.split(" ")[-1] for name in recorder.scores()} == SCORES.keys() - others

    def test_some_scores_alone(self):
        recorder = Recorder(["loss"])
        trained(0, recorder.update)
        scores = recorder.scores()
        assert {"mean loss", "final loss", "forgetting"} <= scores.keys()
        assert not {"aum", "variability", "mean accuracy"} & scores.keys()
        with pytest.raises(ValueError, match="unknown score 'depth'"):
            Recorder(["depth"])

    @given(order=st.permutations(range(12)), size=st.integers(1, 12))
    def test_the_order_of_ids_and_the_size_of_batches_make_no_difference(self, order, size):
        logits = torch.randn(3, 12, 4, generator=rng.stream(0), dtype=torch.float64)
        labels = torch.arange(12) % 4
        plain, mixed = Recorder(["margin", "confidence"]), Recorder(["margin", "confidence"])
        for epoch in logits:
            plain.update(range(12), epoch, labels)
            for rows in torch.tensor(order).split(size):
                mixed.update(rows.numpy(), epoch[rows], labels[rows].int())
        assert plain.ids() == mixed.ids()
        for name, values in plain.scores().items():
            np.testing.assert_allclose(values, mixed.scores()[name], atol=ROUNDING)

    def test_more_examples_than_places(self):
        recorder, generator = Recorder(["loss"]), rng.stream(0)
        logits, labels = torch.randn(2, 5000, 3, generator=generator), torch.arange(5000) % 3
        for epoch in logits:
            for rows in torch.randperm(5000, generator=generator).split(700):
                recorder.update(rows + 10**12, epoch[rows], labels[rows])
        values = np.stack([POINTWISE["loss"](each, labels) for each in logits])
        np.testing.assert_allclose(recorder.scores()["mean loss"], values.mean(0), atol=ROUNDING)
        assert recorder.ids()[-1] == 10**12 + 4999

    def test_memory_does_not_grow_with_epochs(self):
        recorder = Recorder()
        logits, labels = torch.randn(500, 3, generator=rng.stream(0)), torch.arange(500) % 3
        for _ in range(3):
            recorder.update(range(500), logits, labels)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(30):
            recorder.update(range(500), logits, labels)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 20_000  # one epoch of one score of 500 examples takes 4,000 bytes


LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0]])
LABELS = torch.tensor([0, 1, 0])


class TestBatches:
    def test_an_example_that_stands_twice_has_two_presentations_in_their_order(self):
        twice, apart = Recorder(), Recorder()
        twice.update(["a", "b", "a"], LOGITS, LABELS)
        apart.update(["a", "b"], LOGITS[:2], LABELS[:2])
        apart.update(["a"], LOGITS[2:], LABELS[2:])
        assert twice.presentations().tolist() == [2, 1]
        assert twice.scores()["forgetting"].tolist() == [1.0, 0.0]
        for name, values in twice.scores().items():
            np.testing.assert_array_equal(values, apart.scores()[name])
        assert np.isnan(twice.scores()["variability"]).tolist() == [False, True]

    @pytest.mark.parametrize(
        ("ids", "logits", "labels", "message"),
        [
            ([4, 5], LOGITS, LABELS, "got 3 rows and 2 ids"),
            ([4, 5, 6], LOGITS, LABELS[:2], "got 3 examples and 2 labels"),
            ([4, 5, 6], LOGITS, torch.tensor([0, 3, 0]), "example 1 has the label 3"),
            ([7, 8, 9], LOGITS, torch.tensor([1, 1, 0]), "example 7 had the label 0 before and has 1 now"),
            ([5, 4, 5], LOGITS, torch.tensor([1, 0, 2]), "example 5 had the label 1 before and has 2 now"),
            ([4, 5, 6], LOGITS.index_put((torch.tensor(1),), torch.tensor(math.nan)), LABELS, "logit of example 5"),
            ([4, 5, 6], LOGITS.index_put((torch.tensor(2),), torch.tensor(math.inf)), LABELS, "logit of example 6"),
            (["4", "5", "6"], LOGITS, LABELS, "got 7 and '4'"),
            ([4.0, 5.0, 6.0], LOGITS, LABELS, "an id is a whole number or a name, got 4.0"),
            ([True, False, True], LOGITS, LABELS, "got True"),
            ([4, 5, 6], LOGITS[:, :1], torch.tensor([0, 0, 0]), "single class"),
        ],
    )
    def test_what_cannot_be_recorded_is_refused_and_changes_nothing(self, ids, logits, labels, message):
        recorder = Recorder()
        recorder.update(torch.tensor([7, 8, 9]), LOGITS, LABELS)
        before = recorder.scores()
        with pytest.raises(ValueError, match=message):
            recorder.update(ids, logits, labels)
        assert recorder.ids() == [7, 8, 9]
        assert recorder.presentations().tolist() == [1, 1, 1]
        for name, values in recorder.scores().items():
            np.testing.assert_array_equal(values, before[name])

    def test_an_empty_record_and_an_empty_batch(self):
        recorder = Recorder()
        recorder.update([], LOGITS[:0], LABELS[:0])
        with pytest.raises(ValueError, match="nothing was recorded"):
            recorder.scores()

    def test_logits_of_half_precision_and_ids_of_any_kind(self):
        recorder = Recorder()
        recorder.update([np.int64(3), torch.tensor(5), 4], LOGITS.bfloat16().requires_grad_(), LABELS)
        assert recorder.ids() == [3, 4, 5]
        assert recorder.labels().tolist() == [0, 0, 1]


class TestFiles:
    def test_every_digit_comes_back(self, tmp_path):
        recorder = Recorder()
        recorder.update(["b", 'a "quoted", name', "ä"], LOGITS, LABELS)
        recorder.update(["b"], LOGITS[:1] / 3, LABELS[:1])
        recorder.write_csv(tmp_path / "scores.csv")
        with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        scores = recorder.scores()
        assert head == ["id", "label", "presentations", *scores]
        assert [row[:3] for row in rows] == [['a "quoted", name', "1", "1"], ["b", "0", "2"], ["ä", "0", "1"]]
        for number, name in enumerate(scores):
            read = [float(row[number + 3] or "nan") for row in rows]
            np.testing.assert_array_equal(read, scores[name])


class TestReliability:
    def test_it_is_the_correlation_between_trainings(self):
        recorders = [Recorder() for _ in range(3)]
        for seed, recorder in enumerate(recorders):
            trained(seed, recorder.update)
        found = reliabilities(recorders)
        assert found.keys() == recorders[0].scores().keys()
        stack = np.stack([each.scores()["aum"] for each in recorders])
        assert found["aum"] == difficulty.reliability(stack)

    def test_one_training_and_other_examples_are_refused(self):
        first, second, third = Recorder(), Recorder(), Recorder()
        first.update([1, 2, 3], LOGITS, LABELS)
        second.update([1, 2, 4], LOGITS, LABELS)
        third.update([1, 2, 3], LOGITS, LABELS.flip(0) + 1)
        with pytest.raises(ValueError, match="at least 2 replicates, got 1"):
            reliabilities([first])
        with pytest.raises(ValueError, match="3 stands only in one of number 0 and number 1"):
            reliabilities([first, second])
        with pytest.raises(ValueError, match="number 0 and number 1 have other labels"):
            reliabilities([first, third])
        assert math.isnan(reliabilities([first, first])["variability"])


class Callback:
    """What callbacks of Lightning and of Hugging Face are: methods that do nothing, one for each event."""

    def on_train_batch_end(self, *_, **__):
        raise AssertionError

    def on_train_begin(self, *_, **__):
        raise AssertionError

    def on_epoch_end(self, *_, **__):
        return None


class Scores(Recorder, Callback):
    pass


class Model(nn.Module):
    """A network as those of Hugging Face: called by keywords, it answers loss and logits, and knows no ids."""

    def forward(self, inputs, labels=None):
        return SimpleNamespace(loss=inputs.mean(), logits=2.0 * inputs)


class TestHooks:
    def test_lightning_hands_on_what_a_step_returned(self):
        scores, recorder = Scores(), Recorder()
        outputs = {"loss": LOGITS.mean(), "ids": [3, 4, 5], "logits": LOGITS, "labels": LABELS}
        scores.on_train_batch_end(None, None, outputs, batch=None, batch_idx=0)
        recorder.update([3, 4, 5], LOGITS, LABELS)
        assert scores.on_epoch_end() is None
        assert scores.scores()["aum"].tolist() == recorder.scores()["aum"].tolist()
        with pytest.raises(ValueError, match="training_step has to return a dictionary"):
            scores.on_train_batch_end(None, None, LOGITS.mean(), None, 1)

    def test_the_trainer_of_hugging_face_is_watched_from_beginning_to_end(self):
        scores, model = Scores(), Model()
        batch = {"inputs": LOGITS, "labels": LABELS, "ids": torch.tensor([3, 4, 5])}
        scores.on_train_begin(None, None, None, model=model, optimizer=None)
        model(**batch)
        model.eval()
        model(**batch)  # an evaluation is not recorded, though it has ids
        model.train()
        model(inputs=LOGITS, labels=LABELS)  # nor what has none
        scores.on_train_end(None, None, None, model=model)
        assert scores.presentations().tolist() == [1, 1, 1]
        assert scores.scores()["aum"].tolist() == [-2.0, -4.0, 6.0]
        with pytest.raises(TypeError, match="ids"):
            model(**batch)

    def test_a_watch_ends_when_it_is_told_to(self):
        recorder, model = Recorder(), Model()
        stop = recorder.watch(model, ids="number")
        model(inputs=LOGITS, labels=LABELS, number=["a", "b", "c"])
        stop()
        model(inputs=LOGITS, labels=LABELS)
        assert recorder.ids() == ["a", "b", "c"]
        assert recorder.presentations().tolist() == [1, 1, 1]

    def test_logits_of_tokens_are_refused(self):
        recorder, model = Recorder(), Model()
        recorder.watch(model)
        with pytest.raises(ValueError, match=r"one row an example.*got shape \(3, 1, 3\)"):
            model(inputs=LOGITS[:, None], labels=LABELS, ids=[1, 2, 3])
