"""Reliability and agreement of scores: closed forms of planted noise, and the same numbers by hand."""

import gzip
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from lmc_lib import claims, data, difficulty, models
from lmc_lib.data import DataSpec
from lmc_lib.experiments.difficulty import agreement, reliability
from lmc_lib.experiments.difficulty.agreement import Agreement, AgreementSpec
from lmc_lib.experiments.difficulty.reliability import PUBLISHED, Reliability, ReliabilitySpec
from lmc_lib.experiments.difficulty.score_table import ScoreTableSpec
from lmc_lib.experiments.difficulty.scores import read as read_scores
from lmc_lib.experiments.difficulty.scores import specs as score_specs
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DIGITS = DataSpec("digits", train_examples=300, test_examples=200)
CONFIG = TrainConfig(steps=30, batch_size=32, lr=0.1, precision="portable")
NETWORKS = 9


def specs(width=8, replicates=NETWORKS):
    return tuple(
        score_specs(models.ModelSpec("mlp", width, 1), DIGITS, CONFIG, replicates=replicates, checkpoints=3, deep=False)
    )


def classes(samples):
    """Predictions of two classes, one after the other."""
    return {f"{sample}/predictions": torch.arange(np.shape(each)[-1]) % 2 for sample, each in samples.items()}


def plant(store, scored, *, noise, seed=0, names=PUBLISHED):
    """Puts scores into the store that are one truth and noise of their own, the same truth for all scores."""
    generator = np.random.default_rng(seed)
    truth = {sample: generator.normal(size=size) for sample, size in (("train", 300), ("test", 200))}
    for spec in scored:
        tensors = {
            sample: torch.from_numpy(each + noise * generator.normal(size=(len(names), len(each))))
            for sample, each in truth.items()
        }
        tensors |= {
            f"{sample}/predictions": torch.zeros(len(each), dtype=torch.int64) for sample, each in truth.items()
        }
        store.get_or_compute(spec, lambda tensors=tensors: Result({"names": list(names)}, tensors))
    return truth


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


class TestReliability:
    def test_single_networks_agree_as_their_noise_says(self, store):
        plant(store, specs(), noise=1.0)
        found = Reliability.read(store, ReliabilitySpec(specs()))
        # Of normal values with correlation 1/2, the rank correlation is 6/pi asin(1/4).
        expected = 6.0 / np.pi * np.arcsin(0.25)
        for name in PUBLISHED:
            assert found.single("test", name, seed=0).value == pytest.approx(expected, abs=0.08), name

    def test_normal_noise_obeys_the_law(self, store):
        plant(store, specs(), noise=1.0)
        found = Reliability.read(store, ReliabilitySpec(specs(), orders=30))
        assert found.values["runs"] == [1, 2, 3, 4]
        for name in PUBLISHED:
            np.testing.assert_allclose(
                found.of("samples", "test", name, "halves"), found.predicted("test", name), atol=0.05
            )
        assert found.departure("test", PUBLISHED).value < 0.06

    def test_a_bias_that_some_networks_share_breaks_the_law(self, store):
        """Half of the networks agree on another truth: more of them do not help as the law says."""
        plant(store, specs()[:5], noise=0.05, seed=1)
        plant(store, specs()[5:], noise=0.05, seed=2)
        assert Reliability.read(store, ReliabilitySpec(specs(), orders=30)).departure("test", PUBLISHED).value > 0.1

    def test_is_what_pairs_and_halves_say(self, trained):
        found = Reliability.read(trained, ReliabilitySpec(specs(), orders=4))
        stack = read_scores(trained, specs()).stack("train", "mean loss")
        for i, j in itertools.combinations(range(NETWORKS), 2):
            expected = spearmanr(stack[i], stack[j]).statistic
            assert found.matrix("train", "mean loss")[i, j] == pytest.approx(expected, abs=1e-8)
        own = found.single("train", "mean loss", seed=0)
        assert own.value == pytest.approx(np.nanmean(found.matrix("train", "mean loss")))
        assert own.low < own.value < own.high
        np.testing.assert_allclose(found.of("samples", "train", "mean loss", "halves")[0], own.value, atol=0.1)
        assert found.of("samples", "train", "mean accuracy", "ties") == 1.0

    def test_what_is_left_within_classes_is_less(self, trained):
        whole, classes = (
            Reliability.read(trained, ReliabilitySpec(specs(), orders=4, shuffled=each)) for each in (False, True)
        )
        for name in ("mean loss", "mean confidence"):
            assert 0.0 < np.nanmean(classes.matrix("test", name)) < 0.7 * np.nanmean(whole.matrix("test", name))

    def test_evidence_names_what_the_claim_asks_for(self, trained):
        evidence = reliability.evidence(Reliability.read(trained, ReliabilitySpec(specs(), orders=4)), "test", seed=0)
        for part in claims.load("difficulty-noise").parts:
            assert {each.quantity for each in part.supported} <= evidence.keys()
        above = evidence["mean confidence"].value - evidence["mean accuracy"].value
        assert evidence["first"].value == pytest.approx(above)

    def test_scores_without_an_order_are_missing_and_not_zero(self, store):
        plant(store, specs(), noise=1.0)
        names = read_scores(store, specs()).names
        plain = Store(store.root.parent / "constant")
        for spec in specs():
            values = {sample: torch.zeros(len(names), size, dtype=torch.float64) for sample, size in
                      (("train", 300), ("test", 200))}  # fmt: skip
            values |= classes(values)
            plain.get_or_compute(spec, lambda values=values: Result({"names": list(names)}, values))
        found = Reliability.read(plain, ReliabilitySpec(specs()))
        assert np.isnan(found.matrix("test", "mean loss")).all()
        assert np.isnan(found.of("samples", "test", "mean loss", "halves")).all()


class TestAgreement:
    def test_one_truth_is_one_direction(self, store):
        plant(store, specs(), noise=0.3)
        found = Agreement.read(store, AgreementSpec(specs()))
        evidence = agreement.evidence(found, "test")
        assert evidence["correlation"].low > 0.95
        assert evidence["dominance"].low > 3.0
        assert evidence["loading"].low > 0.3  # eight equal loadings are 0.354 each
        # Without noise the scores are the same; a single network's are not.
        assert np.nanmedian(found.between("test", "disattenuated", PUBLISHED)) == pytest.approx(1.0, abs=0.03)
        assert np.nanmedian(found.between("test", "other run", PUBLISHED)) < 0.95

    def test_same_run_shares_noise_and_other_runs_do_not(self, store):
        """Scores of a run that are copies of each other have correlation 1 there, and their reliability elsewhere."""
        generator = np.random.default_rng(0)
        truth = {"train": generator.normal(size=300), "test": generator.normal(size=200)}
        for spec in specs():
            rows = {name: each + generator.normal(size=len(each)) for name, each in truth.items()}
            # Not quite copies, of which there would be a single component and nothing to divide by.
            tensors = {
                name: torch.from_numpy(row + 1e-3 * generator.normal(size=(len(PUBLISHED), len(row))))
                for name, row in rows.items()
            }
            tensors |= classes(rows)
            store.get_or_compute(spec, lambda tensors=tensors: Result({"names": list(PUBLISHED)}, tensors))
        found = Agreement.read(store, AgreementSpec(specs()))
        np.testing.assert_allclose(found.between("test", "same run", PUBLISHED), 1.0, atol=1e-3)
        single = Reliability.read(store, ReliabilitySpec(specs())).single("test", PUBLISHED[0], seed=0).value
        np.testing.assert_allclose(found.between("test", "other run", PUBLISHED), single, atol=1e-3)
        np.testing.assert_allclose(found.between("test", "disattenuated", PUBLISHED), 1.0, atol=1e-3)

    def test_is_what_means_and_runs_say(self, trained):
        found = Agreement.read(trained, AgreementSpec(specs()))
        scores = read_scores(trained, specs())
        a, b = (found.values["names"].index(name) for name in ("mean loss", "forgetting"))
        first, second = scores.stack("test", "mean loss"), scores.stack("test", "forgetting")
        means = spearmanr(first.mean(0), second.mean(0)).statistic
        assert found.of("samples", "test", "means")[a, b] == pytest.approx(means, abs=1e-8)
        same = np.mean([spearmanr(x, y).statistic for x, y in zip(first, second, strict=True)])
        assert found.of("samples", "test", "same run")[a, b] == pytest.approx(same, abs=1e-8)
        other = np.mean([spearmanr(first[i], second[j]).statistic for i in range(NETWORKS) for j in range(NETWORKS)
                         if i != j])  # fmt: skip
        assert found.of("samples", "test", "other run")[a, b] == pytest.approx(other, abs=1e-8)
        components = difficulty.principal_components(scores.means("test", PUBLISHED))
        np.testing.assert_allclose(
            found.of("samples", "test", "components", "published", "shares"), components.shares[:5], atol=1e-8
        )

    def test_shuffled_examples_share_nothing(self, trained):
        found = Agreement.read(trained, AgreementSpec(specs(), shuffled="all"))
        assert agreement.evidence(found, "test")["correlation"].value < 0.15
        assert agreement.evidence(found, "test")["dominance"].value < 1.8

    def test_the_hardest_examples_are_those_of_the_highest_scores(self, store):
        truth = plant(store, specs(), noise=0.01)
        found = Agreement.read(store, AgreementSpec(specs(), shown=3))
        assert {place for place, _ in found.values["samples"]["test"]["hardest"]} == set(truth["test"].argsort()[-3:])
        assert {place for place, _ in found.values["samples"]["test"]["easiest"]} == set(truth["test"].argsort()[:3])

    def test_an_unknown_shuffle_says_which_there_are(self):
        with pytest.raises(ValueError, match=r"one of the ways .*'within classes', 'all'.*, not 'some'"):
            AgreementSpec(specs(), shuffled="some")


class TestTable:
    def test_rows_are_examples_where_they_stand_in_the_files(self, trained):
        table = pd.DataFrame(obtain(trained, ScoreTableSpec((specs(),))).values["table"])
        whole = data.load(DataSpec("digits"))
        loaded = data.load(DIGITS)
        for sample, part in (("in-sample", "train"), ("out-of-sample", "test")):
            rows = table[table["sample"] == sample]
            here, there = getattr(loaded, part), getattr(whole, part)
            np.testing.assert_array_equal(rows["label"], there.labels[torch.tensor(rows["position"].to_numpy())])
            assert torch.equal(here.inputs, there.inputs[torch.tensor(rows["position"].to_numpy())])
            expected = read_scores(trained, specs()).means(part, ["mean loss"])[0]
            np.testing.assert_allclose(rows["MLP, 1 hidden layer, width 8: mean loss"], expected, rtol=5e-4)

    def test_the_file_of_the_book_is_read_in_one_line(self, trained, tmp_path):
        from builder import downloads

        table = obtain(trained, ScoreTableSpec((specs(),))).values["table"]
        path = tmp_path / "scores.csv.gz"
        path.write_bytes(downloads.packed(downloads.score_rows(table)))
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.DataFrame(table))
        assert path.read_bytes() == downloads.packed(downloads.score_rows(table))
        assert gzip.decompress(path.read_bytes()).startswith(b"sample,position,label,")


class TestJackknife:
    def test_of_a_mean_is_the_interval_of_student(self):
        from scipy.stats import sem, t

        numbers = np.random.default_rng(0).normal(size=12)
        found = claims.estimate_by_jackknife(numbers.mean(), (numbers.sum() - numbers) / 11)
        low, high = t.interval(0.95, 11, numbers.mean(), sem(numbers))
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.count == "12 networks"

    @pytest.mark.parametrize(("value", "without", "message"), [
        (1.0, [1.0, 2.0], "at least three networks, got 2"),
        (np.nan, [1.0, 2.0, 3.0], "not a number"),
        (1.0, [1.0, np.nan, 3.0], "not a number"),
    ])  # fmt: skip
    def test_errors(self, value, without, message):
        with pytest.raises(ValueError, match=message):
            claims.estimate_by_jackknife(value, np.array(without))


@pytest.mark.parametrize(("networks", "runs"), [(2, []), (3, [1]), (6, [1, 2]), (8, [1, 2, 3]), (9, [1, 2, 3, 4])])
def test_two_means_fit_in_all_networks_but_one(networks, runs):
    assert reliability._runs(networks) == runs


def test_orders_too_short_for_two_means_are_refused():
    stack = np.random.default_rng(0).normal(size=(6, 50))
    with pytest.raises(ValueError, match="two means over 3 runs need 6 replicates, got 5"):
        difficulty.split_by_orders(stack, np.arange(5)[None], [1, 3])
