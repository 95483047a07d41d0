"""Scores of single predictions: equal to independent packages, exact where probabilities saturate, turned one way."""

import math

import aum
import numpy as np
import pytest
import scipy.special
import torch
from cleanlab.internal.label_quality_utils import get_normalized_entropy
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import difficulty, models, rng
from lmc_lib.difficulty import POINTWISE, SCORES, harder, pointwise, predict

SEEDS = st.integers(0, 2**40)
# Rounding of float64 sums of a few terms of size 1.
ROUNDING = 1e-14


def draw(seed=0, examples=50, classes=7, scale=3.0, dtype=torch.float64):
    generator = rng.stream(seed, "logits")
    logits = scale * torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(classes, (examples,), generator=generator)


class TestOracles:
    @given(seed=SEEDS, classes=st.integers(2, 12), scale=st.floats(0.1, 10.0))
    def test_cleanlab(self, seed, classes, scale):
        logits, labels = draw(seed, classes=classes, scale=scale)
        p, y = scipy.special.softmax(logits.numpy(), axis=1), labels.numpy()
        found = pointwise(logits, labels)
        np.testing.assert_allclose(found["confidence"], get_self_confidence_for_each_label(y, p), atol=ROUNDING)
        np.testing.assert_allclose((found["margin"] + 1) / 2, get_normalized_margin_for_each_label(y, p), atol=ROUNDING)
        np.testing.assert_allclose(found["entropy"], get_normalized_entropy(p) * math.log(classes), atol=ROUNDING)

    @given(seed=SEEDS, classes=st.integers(2, 12))
    def test_aum(self, seed, classes):
        steps = [draw(seed + step, classes=classes)[0] for step in range(4)]
        labels = draw(seed, classes=classes)[1]
        oracle = aum.AUMCalculator("unused")
        for logits in steps:
            found = oracle.update(logits, labels, list(range(len(labels))))
        expected = [found[number].aum for number in range(len(labels))]
        mean = np.mean([POINTWISE["logit_margin"](logits, labels) for logits in steps], axis=0)
        np.testing.assert_allclose(mean, expected, atol=ROUNDING, rtol=1e-13)
        history = difficulty.History(labels)
        for logits in steps:
            history.update(logits)
        np.testing.assert_allclose(history.mean("logit_margin"), expected, atol=ROUNDING, rtol=1e-13)

    @given(seed=SEEDS, classes=st.integers(2, 12), scale=st.floats(0.1, 10.0))
    def test_definitions_in_numpy(self, seed, classes, scale):
        logits, labels = draw(seed, classes=classes, scale=scale)
        p, y = scipy.special.softmax(logits.numpy(), axis=1), labels.numpy()
        own = p[np.arange(len(y)), y]
        expected = {
            "accuracy": p.argmax(1) == y,
            "el2n": np.linalg.norm(p - np.eye(classes)[y], axis=1),
            "entropy": scipy.special.entr(p).sum(1),
            "max_confidence": p.max(1),
        }
        found = pointwise(logits, labels)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-12)
        # Where the probability is near 1, numpy's logarithm of it has no more digits than the probability.
        np.testing.assert_allclose(found["loss"], -np.log(own), rtol=1e-9, atol=1e-13)
        others = np.where(np.eye(classes)[y] == 1, 0.0, p).sum(1)
        np.testing.assert_allclose(found["log_odds"], np.log(own) - np.log(others), rtol=1e-9, atol=1e-9)
        torch_loss = nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
        np.testing.assert_allclose(found["loss"], torch_loss, rtol=1e-9, atol=1e-13)


class TestByHand:
    def test_two_classes_of_odds_three_to_one(self):
        logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]], dtype=torch.float64)
        found = pointwise(logits, torch.tensor([0, 1]))
        expected = {
            "accuracy": [1, 0],
            "confidence": [0.75, 0.25],
            "el2n": [math.sqrt(2) / 4, 3 * math.sqrt(2) / 4],
            "entropy": [math.log(4) - 0.75 * math.log(3)] * 2,
            "log_odds": [math.log(3), -math.log(3)],
            "logit_margin": [math.log(3), -math.log(3)],
            "loss": [math.log(4 / 3), math.log(4)],
            "margin": [0.5, -0.5],
            "max_confidence": [0.75, 0.75],
        }
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, abs=ROUNDING), name

    def test_of_equal_logits_the_first_class_wins(self):
        found = pointwise(torch.zeros(3, 3), torch.tensor([0, 1, 2]))
        assert found["accuracy"].tolist() == [1, 0, 0]
        assert found["margin"].tolist() == [0, 0, 0]

    def test_bounds(self):
        right, wrong = torch.tensor([[800.0, 0.0]]), torch.tensor([[0.0, 800.0]])
        label = torch.tensor([0])
        assert pointwise(right, label)["el2n"].item() == pytest.approx(0.0)
        assert pointwise(wrong, label)["el2n"].item() == pytest.approx(math.sqrt(2))
        assert pointwise(wrong, label)["loss"].item() == 800.0
        assert pointwise(wrong, label)["margin"].item() == -1.0
        assert all(np.isfinite(values).all() for values in pointwise(wrong, label).values())


class TestSaturation:
    def test_the_order_stays_where_float32_probabilities_are_one(self):
        gaps = torch.tensor([20.0, 25.0, 50.0, 100.0, 600.0])
        logits = torch.stack([gaps, torch.zeros(5)], 1)
        labels = torch.zeros(5, dtype=torch.int64)
        assert bool((logits.softmax(1)[:, 0] == 1.0).all())
        found = pointwise(logits, labels)
        for name in ("loss", "el2n", "log_odds", "logit_margin"):
            assert (np.diff(harder(name, found[name])) < 0).all(), name
        # exp(-600) is a number of float64, though 1 - exp(-600) is 1.
        assert found["loss"][-1] == pytest.approx(math.exp(-600), rel=1e-12, abs=0)
        assert found["el2n"][-1] == pytest.approx(math.sqrt(2) * math.exp(-600), rel=1e-12, abs=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_logits_of_low_precision_are_scored_in_float64(self, dtype):
        logits, labels = draw(dtype=dtype)
        expected = pointwise(logits.double(), labels)
        for name, values in pointwise(logits, labels).items():
            assert values.dtype == np.float64
            assert values.tolist() == expected[name].tolist()


class TestLaws:
    @given(seed=SEEDS, shift=st.floats(-100, 100))
    def test_a_constant_added_to_all_logits_makes_no_difference(self, seed, shift):
        logits, labels = draw(seed)
        moved = pointwise(logits + shift, labels)
        for name, values in pointwise(logits, labels).items():
            # Adding 100 costs two digits.
            np.testing.assert_allclose(moved[name], values, atol=1e-12, rtol=1e-11, err_msg=name)

    @given(seed=SEEDS)
    def test_renaming_classes_makes_no_difference(self, seed):
        logits, labels = draw(seed)
        order = torch.randperm(7, generator=rng.stream(seed, "order"))
        renamed = pointwise(logits[:, order], order.argsort()[labels])
        for name, values in pointwise(logits, labels).items():
            np.testing.assert_allclose(renamed[name], values, atol=1e-12, err_msg=name)

    @given(seed=SEEDS)
    def test_a_higher_logit_of_the_label_is_never_harder(self, seed):
        logits, labels = draw(seed)
        raised = logits + 0.5 * nn.functional.one_hot(labels, 7)
        before, after = pointwise(logits, labels), pointwise(raised, labels)
        for name in POINTWISE.keys() - {"entropy", "max_confidence"}:  # these do not look at the label
            assert (harder(name, after[name]) <= harder(name, before[name])).all(), name

    @given(seed=SEEDS)
    def test_a_sharper_prediction_is_not_harder_by_the_scores_that_know_no_label(self, seed):
        logits, labels = draw(seed)
        before, after = pointwise(logits, labels), pointwise(2 * logits, labels)
        for name in ("entropy", "max_confidence"):
            assert (harder(name, after[name]) <= harder(name, before[name])).all(), name

    def test_every_score_of_the_package_has_an_orientation(self):
        assert POINTWISE.keys() <= SCORES.keys()
        assert set(SCORES.values()) == {1, -1}
        functions = {name for name in SCORES if callable(getattr(difficulty, name, None))}
        methods = {name for name in SCORES if hasattr(difficulty.Learning, name) or hasattr(difficulty.History, name)}
        assert SCORES.keys() - functions - methods - POINTWISE.keys() == {"aum"}  # the mean of the logit margin


class Noisy(nn.Module):
    """A network that answers otherwise in training."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(x))


class TestPredict:
    def test_evaluation_is_a_plain_forward_pass_in_any_batches(self):
        model = models.build(models.parse("mlp-2-batch", 8), (1, 4, 4), 3).eval().double()
        state = models.initialise(model, generator=rng.stream(0, "weights"))
        model.load_state_dict(state)
        inputs = torch.randn(20, 1, 4, 4, generator=rng.stream(0, "inputs"), dtype=torch.float64)
        expected = model(inputs).detach()
        for size in (3, 20, 100):
            torch.testing.assert_close(predict(model.train(), state, inputs, mode="eval", batch_size=size), expected)
        assert model.training

    def test_training_mode_uses_the_batch_and_leaves_the_statistics_alone(self):
        model, inputs = Noisy(), 5.0 + torch.randn(64, 4, generator=rng.stream(0, "inputs"))
        state = {name: value.clone() for name, value in model.state_dict().items()}
        in_training = predict(model, state, inputs, mode="train")
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
        assert abs(float(predict(model, state, inputs, mode="eval").mean()) - 5.0) < 0.5
        # Half of the entries are dropped, the others doubled, and standardised before.
        assert 0.3 < float((in_training == 0.0).double().mean()) < 0.7
        assert abs(float(in_training.mean())) < 0.5
        assert torch.equal(in_training, predict(model, state, inputs, mode="train"))
        assert not torch.equal(in_training, predict(model, state, inputs, mode="train", seed=1))

    def test_the_mode_has_to_be_said(self):
        model = nn.Flatten()
        with pytest.raises(ValueError, match="'train' or 'eval', not 'test'"):
            predict(model, {}, torch.zeros(1, 2), mode="test")
        with pytest.raises(TypeError, match="mode"):
            predict(model, {}, torch.zeros(1, 2))


class TestErrors:
    @pytest.mark.parametrize("name", POINTWISE)
    @pytest.mark.parametrize("label", [-1, 3])
    def test_labels_out_of_range_are_named(self, name, label):
        with pytest.raises(ValueError, match=rf"from 0 to 2.*example 1 has the label {label}"):
            pointwise(torch.zeros(2, 3), torch.tensor([0, label]), [name])

    @pytest.mark.parametrize("name", POINTWISE)
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_networks_that_diverged_have_no_scores(self, name, bad):
        logits = torch.zeros(3, 3)
        logits[2, 1] = bad
        with pytest.raises(ValueError, match=r"example 2 is not finite.*diverged"):
            pointwise(logits, torch.tensor([0, 1, 2]), [name])

    def test_other_bad_input_is_named(self):
        with pytest.raises(ValueError, match="2 examples and 3 labels"):
            pointwise(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
        with pytest.raises(ValueError, match="a single class"):
            pointwise(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"unknown score 'hardness'.*accuracy"):
            pointwise(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64), ["hardness"])
        with pytest.raises(ValueError, match=r"unknown score 'hardness'"):
            harder("hardness", np.zeros(2))
