"""Networks trained on a part of the examples, and rankings of wrong labels: what plain loops give."""

import numpy as np
import pytest
import torch
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from scipy.stats import bootstrap, ttest_1samp  # noqa: F401 -- imports draw from Python's global stream
from sklearn.metrics import average_precision_score

from lmc_lib import difficulty, models, rng, training
from lmc_lib.claims import estimate_of_mean
from lmc_lib.data import DataSpec, load
from lmc_lib.experiments.difficulty import data_pruning, label_errors
from lmc_lib.experiments.difficulty.data_pruning import PLANS, Kept, KeptSpec
from lmc_lib.experiments.difficulty.label_errors import RECALLS, HeldOutSpec, LabelErrors, LabelErrorsSpec
from lmc_lib.experiments.difficulty.scores import ScoresSpec
from lmc_lib.experiments.difficulty.scores import read as read_scores
from lmc_lib.experiments.difficulty.scores import specs as score_specs
from lmc_lib.experiments.networks.runs import RunSpec, train_run
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import Diverged, TrainConfig

MODEL = ModelSpec("mlp", 16, 1)
CONFIG = TrainConfig(steps=40, batch_size=16, lr=0.1, precision="portable")
CLEAN = DataSpec("digits", train_examples=80)
NOISY = DataSpec("digits", train_examples=80, label_noise=0.2)
WILD = TrainConfig(steps=12, batch_size=16, lr=1e30, schedule="constant")


def scored(data, count=3):
    return tuple(score_specs(MODEL, data, CONFIG, replicates=count, checkpoints=4, deep=False))


def runs(data=CLEAN, count=3, config=CONFIG, first=100):
    return tuple(RunSpec(MODEL, data, config, seed, seed) for seed in range(first, first + count))


@pytest.fixture(scope="module")
def digits():
    """The examples."""
    return load(CLEAN)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def accuracy_by_hand(run, split, rows):
    model = models.build(MODEL, (1, 8, 8), 10)
    start = models.initialise(model, generator=rng.stream(run.init_seed, "initial weights"))
    state = training.train(model, start, split[torch.tensor(rows)], CONFIG, seed=run.order_seed).final
    test = load(CLEAN).test
    with torch.no_grad():
        logits = torch.func.functional_call(model.double(), state, test.inputs.double())
    return float((logits.argmax(1) == test.labels).double().mean())


class TestKept:
    def test_networks_are_trained_on_the_examples_with_the_highest_mean_score(self, store, digits):
        values = obtain(store, KeptSpec(runs(), "hard", 0.4, scored(CLEAN), "mean loss")).values
        mean = read_scores(store, scored(CLEAN)).stack("train", "mean loss").mean(0)
        rows = np.sort(np.argsort(mean)[-32:])  # of 80; means of losses are all different
        for place, run in enumerate(runs()):
            assert values["accuracy"][place] == pytest.approx(accuracy_by_hand(run, digits.train, rows), abs=1e-9)
            assert values["kept"][place] == np.bincount(digits.train.labels[rows], minlength=10).tolist()
        shares = np.bincount(digits.test.labels, minlength=10) / len(digits.test)
        assert np.array(values["accuracy by class"]) @ shares == pytest.approx(values["accuracy"], abs=1e-8)

    def test_all_examples_give_the_run_itself(self, store, digits):
        values = obtain(store, KeptSpec(runs())).values
        rows = list(range(80))
        assert values["accuracy"] == pytest.approx([accuracy_by_hand(run, digits.train, rows) for run in runs()])

    def test_random_parts_need_no_scores_and_differ_between_networks(self, store):
        spec = KeptSpec(runs(), "random", 0.5)
        assert spec.needs == ()
        assert len({tuple(each) for each in obtain(store, spec).values["kept"]}) > 1

    def test_classes_keep_their_share_where_asked(self, store, digits):
        whole = np.bincount(digits.train.labels)
        for policy, by in (("random", ()), ("easy", scored(CLEAN))):
            kept = np.array(obtain(store, KeptSpec(runs(), policy, 0.5, by, balanced=True)).values["kept"])
            assert (np.abs(kept - whole / 2) < 1.0).all()
            assert (kept.sum(1) == 40).all()

    def test_shuffled_scores_keep_as_many_of_each_class_but_others(self, store):
        spec = KeptSpec(runs(), "hard", 0.4, scored(CLEAN), "mean loss")
        shuffled = KeptSpec(runs(), "hard", 0.4, scored(CLEAN), "mean loss", shuffled=True)
        first, second = (obtain(store, each).values for each in (spec, shuffled))
        assert first["kept"] == second["kept"]
        assert first["accuracy"] != second["accuracy"]

    def test_plans_are_listed_at_every_share(self, store):
        cells = data_pruning.specs(runs(), scored(CLEAN), shares=[0.75], score="mean loss")
        assert cells.keys() == {("random", 1.0), *((plan, share) for plan in PLANS for share in (0.5, 0.75))} - {
            ("hard by shuffled scores", 0.75)
        }
        assert {(spec.score, spec.scored) for (plan, _), spec in cells.items() if "random" not in plan} == {
            ("mean loss", scored(CLEAN))
        }
        assert {spec.policy for (plan, _), spec in cells.items() if "random" in plan} == {"random"}
        assert [cells[f"{policy} of each class", 0.5].balanced for policy in difficulty.POLICIES] == [True] * 3
        some = {cell: cells[cell] for cell in [("random", 1.0), ("hard", 0.5)]}
        found = data_pruning.measure(store, some)
        assert found.of("hard", 1.0).tolist() == found.of("easy", 1.0).tolist()
        assert found.of("hard", 0.5, "kept").mean(0).sum() == 40
        by_class = obtain(store, some["hard", 0.5]).values["accuracy by class"]
        assert found.of("hard", 0.5, "accuracy by class").tolist() == by_class

    def test_a_training_on_rows_is_one_on_a_part(self, store):
        rows = torch.arange(10, 50)
        (last,) = train_run(runs()[0], store, rows=rows)
        model = models.build(MODEL, (1, 8, 8), 10)
        start = models.initialise(model, generator=rng.stream(100, "initial weights"))
        plain = training.train(model, start, load(CLEAN).train[rows], CONFIG, seed=100).final
        assert all(torch.equal(last.state[name], plain[name]) for name in plain)

    def test_errors(self, store):
        with pytest.raises(ValueError, match="random ones are not"):
            KeptSpec(runs(), "hard", 0.5)
        with pytest.raises(ValueError, match="random ones are not"):
            KeptSpec(runs(), "random", 0.5, scored(CLEAN))
        with pytest.raises(ValueError, match="need the same examples"):
            KeptSpec(runs(), "hard", 0.5, scored(NOISY))
        with pytest.raises(ValueError, match="cannot choose its own examples"):
            KeptSpec(runs(first=2), "hard", 0.5, scored(CLEAN))


@pytest.fixture(scope="module")
def wrong():
    """Whose label was replaced."""
    marks = np.zeros(80, dtype=bool)
    marks[load(NOISY).noisy.numpy()] = True
    assert marks.sum() == 16
    return marks


class TestLabels:
    def test_each_score_of_each_network_is_ranked(self, store, wrong):
        found, scores = LabelErrors.read(store, LabelErrorsSpec(scored(NOISY))), read_scores(store, scored(NOISY))
        assert found.values["share"] == 0.2
        assert list(found.values["scores"]) == list(scores.names)
        for name in scores.names:
            stack = scores.stack("train", name)
            expected = [average_precision_score(wrong, row) for row in stack]
            assert found.average_precision(name) == pytest.approx(expected, abs=1e-8)
            assert found.of_mean(name).value == pytest.approx(
                average_precision_score(wrong, np.float32(stack.mean(0))), abs=1e-8
            )
            pairs = [np.float32((stack[first] + stack[second]) / 2) for first, second in ((1, 2), (0, 2), (0, 1))]
            without = [average_precision_score(wrong, each) for each in pairs]
            assert found.of("scores", name, "without") == pytest.approx(without, abs=1e-8)
            assert found.of("scores", name, "precisions").shape == (3, len(RECALLS))
            assert found.of("scores", name, "precisions")[:, -1].min() >= 0.2 - 1e-9
        assert found.average_precision("mean loss").min() > 0.5

    def test_equal_means_of_counts_are_ties_whatever_the_order_of_networks(self):
        # In tenths, as shares of ten checkpoints are: 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in their last bit.
        stack = np.array([[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]])
        assert stack.mean(0)[0] != stack.mean(0)[1]
        ranked = label_errors._ranked({"accuracy": stack}, np.array([True, False]))["scores"]["accuracy"]
        assert ranked["mean"] == 0.5

    def test_memorised_is_how_often_the_wrong_label_is_answered(self, store, wrong):
        found = LabelErrors.read(store, LabelErrorsSpec(scored(NOISY)))
        answers = read_scores(store, scored(NOISY)).predictions["train"]
        given = load(NOISY).train.labels.numpy()
        assert found.memorised == pytest.approx([(row == given)[wrong].mean() for row in answers], abs=1e-8)

    def test_shuffled_scores_find_no_more_than_chance(self, store):
        found = LabelErrors.read(store, LabelErrorsSpec(scored(NOISY), shuffled=True))
        # Of 80 examples 16 are wrong: a random order has 0.25 with a deviation of 0.06, the mean of three less.
        assert found.average_precision("mean loss").mean() < 0.4
        again = LabelErrors.read(store, LabelErrorsSpec(scored(NOISY), shuffled=True, seed=1))
        assert found.average_precision("mean loss").tolist() != again.average_precision("mean loss").tolist()

    def test_held_out_examples_are_ranked_as_cleanlab_ranks_them(self, store, wrong, monkeypatch):
        given, probabilities, seen = load(NOISY).train, {}, []

        def predict_after(store, run, rows, inputs):
            logits = kept_predict(store, run, rows, inputs)
            held = np.setdiff1d(np.arange(80), rows.numpy())
            places = [next(i for i in held if torch.equal(given.inputs[i], each)) for each in inputs]
            assert sorted(places) == held.tolist()  # all that is not trained on, and nothing else
            table = probabilities.setdefault(run.init_seed, np.zeros((80, 10)))
            table[places] = logits.softmax(1).numpy()
            seen.append(len(held))
            return logits

        kept_predict = label_errors.predict_after
        monkeypatch.setattr(label_errors, "predict_after", predict_after)
        found = LabelErrors.read(store, HeldOutSpec(runs(NOISY), folds=3))
        assert sorted(seen) == [26, 26, 26] + [27] * 6
        for place, table in enumerate(probabilities.values()):
            y = given.labels.numpy()
            for name, quality in (
                ("held-out confidence", get_self_confidence_for_each_label(y, table)),
                ("held-out margin", get_normalized_margin_for_each_label(y, table)),
            ):
                expected = average_precision_score(wrong, -quality)
                assert found.average_precision(name)[place] == pytest.approx(expected, abs=1e-8)

    def test_a_divergence_is_told(self, store):
        with pytest.raises(Diverged):
            LabelErrors.read(store, HeldOutSpec(runs(NOISY, config=WILD), folds=2))


def test_a_network_that_diverges_has_no_accuracy_and_the_others_have(store):
    """A rate that is too high for every network, and then an array with one that has none."""
    lost = data_pruning.measure(store, {("random", 1.0): KeptSpec(runs(config=WILD))})
    assert np.isnan(lost.of("random", 1.0)).all()
    found = estimate_of_mean(np.array([0.3, np.nan, 0.5, 0.4, 0.9]))
    assert (found.value, found.replicas) == (pytest.approx(0.525), 4)
    with pytest.raises(ValueError, match="at least three units with a number, got 0"):
        estimate_of_mean(lost.of("random", 1.0))


class TestEvidence:
    def test_a_mean_over_networks_has_the_interval_of_students_t(self):
        values = np.array([0.3, 0.5, 0.4, 0.9])
        found, expected = estimate_of_mean(values), ttest_1samp(values, 0.0).confidence_interval()
        assert found.value == pytest.approx(0.525)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert found.replicas == 4

    def test_labels_by_hand(self):
        def errors(scale, *names):
            each = {name: {"each": [scale * (1 + place), scale * (1 + place), scale]} for place, name in names}
            return LabelErrors({"scores": each, "by heart": [scale, scale, scale]})

        names = ["final loss", "mean loss", "final logit_margin", "mean logit_margin", "final confidence"]
        plenty, scarce = errors(0.1, *enumerate(names)), errors(0.01, *enumerate(names))
        held_out = LabelErrors({"scores": {"held-out confidence": {"each": [0.5, 0.6, 0.7]}}})
        found = {name: each.value for name, each in label_errors.evidence(plenty, scarce, held_out).items()}
        assert found == pytest.approx(
            {
                "mean loss": (0.2 + 0.2 + 0.1) / 3,
                "AUM": (0.4 + 0.4 + 0.1) / 3,
                "by heart": 0.01,
                "mean and final loss": 0.02 / 3,
                "mean and final margin": 0.02 / 3,
                "held-out and final": 0.6 - (0.05 + 0.05 + 0.01) / 3,
            }
        )

    def test_parts_by_hand(self):
        def kept(step):
            values = {plan: 0.5 + step * place for place, plan in enumerate(PLANS)}
            cells = {(plan, 0.5): {"accuracy": [value, value, value]} for plan, value in values.items()}
            return Kept({("random", 1.0): {"accuracy": [0.6, 0.6, 0.6]}, **cells})

        # In their order: hard, easy, random; the same of each class; hard by shuffled scores.
        found = {name: each.value for name, each in data_pruning.evidence(kept(0.01), kept(0.001)).items()}
        expected = {
            "hard and random, plenty": -0.02, "hard and easy, plenty": -0.01, "hard and all, plenty": -0.1,
            "hard and random, plenty, by class": -0.02, "hard and easy, plenty, by class": -0.01,
            "hard and all, plenty, by class": -0.07, "shuffled and random, plenty": 0.04,
            "easy and random, scarce": -0.001, "easy and hard, scarce": 0.001, "easy and all, scarce": -0.099,
            "easy and random, scarce, by class": -0.001, "easy and hard, scarce, by class": 0.001,
            "easy and all, scarce, by class": -0.096, "shuffled and random, scarce": 0.004,
        }  # fmt: skip
        assert found == pytest.approx(expected)


def test_factors_say_what_networks_were_trained_on():
    data = DataSpec("digits", 200, label_noise=0.1)
    runs, others = (
        tuple(RunSpec(ModelSpec("mlp", 8, 3), data, TrainConfig(9), seed, seed) for seed in seeds)
        for seeds in ((5, 6), (1, 2))
    )
    judges = tuple(ScoresSpec(run, (3, 9), 3) for run in others)
    specs = {
        "200 examples, labels wrong 0.1, random 1 kept": KeptSpec(runs),
        "200 examples, labels wrong 0.1, hard 0.5 kept, of each class": KeptSpec(
            runs, "hard", 0.5, judges, balanced=True
        ),
        "200 examples, labels wrong 0.1, easy 0.25 kept, scores shuffled": KeptSpec(
            runs, "easy", 0.25, judges, shuffled=True
        ),
        "200 examples, labels wrong 0.1, scores shuffled": LabelErrorsSpec(judges, shuffled=True),
        "200 examples, labels wrong 0.1": HeldOutSpec(runs),
        "all examples": HeldOutSpec((RunSpec(ModelSpec("mlp", 8, 3), DataSpec("digits"), TrainConfig(9)),)),
    }
    assert [spec.factors for spec in specs.values()] == list(specs)
