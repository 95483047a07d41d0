"""Reliability and agreement of scores: closed forms of planted noise, and the same numbers by hand."""

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


def plant(store, scored, *, noise, seed=0, names=PUBLISHED, truth=None):
    """Puts scores into the store that are one truth and noise of their own, the same truth for all scores.

    ``noise`` is one number, or one a score.
    """
    generator = np.random.default_rng(seed)
    noise = np.broadcast_to(noise, len(names))[:, None]
    if truth is None:
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
            assert found.single("test", name).value == pytest.approx(expected, abs=0.08), name

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
        own = found.single("train", "mean loss")
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
        evidence = reliability.evidence(Reliability.read(trained, ReliabilitySpec(specs(), orders=4)), "test")
        for part in claims.load("difficulty-noise").parts:
            assert part.quantities <= evidence.keys()

    def test_steps_are_differences_of_the_same_pairs(self, trained):
        found = Reliability.read(trained, ReliabilitySpec(specs(), orders=4))
        evidence = reliability.evidence(found, "test")
        for step, above, below in (
            ("first", "mean confidence", "final confidence"),
            ("second", "final confidence", "final accuracy"),
        ):
            assert evidence[step].value == pytest.approx(evidence[above].value - evidence[below].value)
            differences = found.matrix("test", above) - found.matrix("test", below)
            assert evidence[step].triple == pytest.approx(claims.estimate(differences, statistic="mean").triple)
            assert evidence[step].count() == "9 networks (36 pairs)"
        assert evidence["first"].value != pytest.approx(evidence["second"].value, abs=0.02)

    def test_planted_noise_gives_the_steps_of_the_law(self, store):
        """Mean accuracy is the noisiest, so that a step to it would be another one; each step has its own length."""
        noises = {"mean confidence": 0.2, "final confidence": 0.6, "final accuracy": 1.5, "mean accuracy": 4.0}
        plant(store, specs(), noise=[noises.get(name, 1.0) for name in PUBLISHED])
        evidence = reliability.evidence(Reliability.read(store, ReliabilitySpec(specs())), "test")
        law = {name: 6.0 / np.pi * np.arcsin(0.5 / (1.0 + noise**2)) for name, noise in noises.items()}
        first = law["mean confidence"] - law["final confidence"]
        second = law["final confidence"] - law["final accuracy"]
        assert second > first + 0.15
        for name, expected in {**law, "first": first, "second": second}.items():
            assert evidence[name].value == pytest.approx(expected, abs=0.08), name
        assert evidence["first"].low > 0.0 < evidence["second"].low

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
        found, alone = (Agreement.read(store, AgreementSpec(specs(), shuffled=how)) for how in ("", "within classes"))
        evidence = agreement.evidence(found, alone, "test")
        whole = found.values["samples"]["test"]["whole"]
        assert whole["correlation"] > 0.97
        # The truth knows nothing of classes, so that within them hardly any agreement is left by the shuffle.
        assert evidence["correlation"].low > 0.8
        assert whole["dominance"] > evidence["dominance"].low > 3.0
        assert evidence["loading"].low > 0.3  # eight equal loadings are 0.354 each
        # Without noise the scores are the same; a single network's are not.
        assert np.nanmedian(found.between("test", "disattenuated", PUBLISHED)) == pytest.approx(1.0, abs=0.03)
        assert np.nanmedian(found.between("test", "other run", PUBLISHED)) < 0.95

    def test_what_classes_alone_bring_is_no_agreement(self, store):
        """Scores that are hard classes and noise agree as much as classes alone do; a truth within them is beyond."""
        hard = {sample: 2.0 * getattr(data.load(DIGITS), sample).labels.numpy() for sample in ("train", "test")}
        generator = np.random.default_rng(3)
        own = {sample: each + 3.0 * generator.normal(size=len(each)) for sample, each in hard.items()}
        found = {}
        for name, truth in (("classes", hard), ("examples", own)):
            here = Store(store.root.parent / name)
            plant(here, specs(), noise=1.0, truth=truth)
            pair = (Agreement.read(here, AgreementSpec(specs(), shuffled=how)) for how in ("", "within classes"))
            found[name] = agreement.evidence(*pair, "test")
        assert abs(found["classes"]["correlation"].value) < 0.02
        # The second component is the largest of seven of noise alone, which scatters; other truths give tens.
        assert 0.67 < found["classes"]["dominance"].value < 1.5
        assert found["examples"]["correlation"].low > 0.1
        assert found["examples"]["dominance"].low > 5.0

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
        single = Reliability.read(store, ReliabilitySpec(specs())).single("test", PUBLISHED[0]).value
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
        whole = found.values["samples"]["test"]["whole"]
        assert whole["correlation"] < 0.15
        assert whole["dominance"] < 1.8
        classes = Agreement.read(trained, AgreementSpec(specs(), shuffled="within classes"))
        nothing = agreement.evidence(found, classes, "test")
        assert nothing["correlation"].value < 0.0
        assert nothing["dominance"].value < 1.0

    def test_scores_beside_themselves_are_beyond_nothing(self, trained):
        found = Agreement.read(trained, AgreementSpec(specs()))
        evidence = agreement.evidence(found, found, "test")
        assert evidence["correlation"].triple == (0.0, 0.0, 0.0)
        assert evidence["dominance"].triple == (1.0, 1.0, 1.0)
        assert evidence["loading"].count() == "9 networks"

    def test_the_hardest_examples_are_those_of_the_highest_scores(self, store):
        truth = plant(store, specs(), noise=0.01)
        found = Agreement.read(store, AgreementSpec(specs(), shown=3))
        assert {place for place, _ in found.values["samples"]["test"]["hardest"]} == set(truth["test"].argsort()[-3:])
        assert {place for place, _ in found.values["samples"]["test"]["easiest"]} == set(truth["test"].argsort()[:3])

    def test_an_unknown_shuffle_says_which_there_are(self):
        with pytest.raises(ValueError, match=r"one of the ways .*'within classes', 'all'.*, not 'some'"):
            AgreementSpec(specs(), shuffled="some")


def summaries(correlation, dominance, loading):
    """What is stored of a sample: of all networks, which stands first, and without each."""
    rows = zip(correlation, dominance, loading, strict=True)
    whole, *without = (dict(zip(("correlation", "dominance", "loading"), row, strict=True)) for row in rows)
    return {"whole": whole, "without": without}


class TestAgreementEvidence:
    """By hand, of numbers that no exchange leaves as they are."""

    FOUND = (0.80, 0.70, 0.82, 0.90), (12.0, 9.0, 13.0, 10.0), (0.30, 0.28, 0.31, 0.29)
    ALONE = (0.50, 0.45, 0.52, 0.65), (3.0, 2.0, 4.0, 2.5), (0.10, 0.05, 0.11, 0.20)

    def evidence(self, first, second, sample="test"):
        # The other sample has impossible numbers.
        found, alone = (
            Agreement({"samples": {"train": summaries(*[(-5.0, -6.0, -7.0, -9.0)] * 3), "test": summaries(*each)}})
            for each in (first, second)
        )
        return agreement.evidence(found, alone, sample)

    def test_is_the_excess_and_the_multiple_over_classes_alone(self):
        found = self.evidence(self.FOUND, self.ALONE)
        expected = {
            "correlation": (0.3, [0.25, 0.3, 0.25]),
            "dominance": (4.0, [4.5, 3.25, 4.0]),
            # The smallest loading is that of the scores as they are.
            "loading": (0.3, [0.28, 0.31, 0.29]),
        }
        assert found.keys() == expected.keys()
        for name, (whole, without) in expected.items():
            by_hand = claims.estimate_by_jackknife(whole, np.array(without))
            assert found[name].triple == pytest.approx(by_hand.triple), name
            assert found[name].count("network") == "3 networks"
            np.testing.assert_allclose(found[name].study.arrays[0], whole)
            np.testing.assert_allclose(found[name].study.arrays[1], without)

    def test_the_other_way_round_is_less_and_a_fraction(self):
        found = self.evidence(self.ALONE, self.FOUND)
        values = {name: each.value for name, each in found.items()}
        assert values == pytest.approx({"correlation": -0.3, "dominance": 0.25, "loading": 0.1})

    def test_is_of_the_sample_that_is_asked_for(self):
        assert self.evidence(self.FOUND, self.ALONE, "train")["loading"].value == -5.0


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
        path = tmp_path / "scores.csv.xz"
        path.write_bytes(downloads.packed(downloads.as_csv(downloads.score_rows(table))))
        # Fractions have seven digits.
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.DataFrame(table), rtol=1e-6)
        assert downloads.unpacked(path.read_bytes()).startswith(b"sample,position,label,")


class TestJackknife:
    def test_of_a_mean_is_the_interval_of_student(self):
        from scipy.stats import sem, t

        numbers = np.random.default_rng(0).normal(size=12)
        found = claims.estimate_by_jackknife(numbers.mean(), (numbers.sum() - numbers) / 11)
        low, high = t.interval(0.95, 11, numbers.mean(), sem(numbers))
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.count() == "12 networks"
        assert found.count("replicate") == "12 replicates"

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
    assert difficulty.averaged_runs(networks) == runs


def test_orders_too_short_for_two_means_are_refused():
    stack = np.random.default_rng(0).normal(size=(6, 50))
    with pytest.raises(ValueError, match="two means over 3 runs need 6 replicates, got 5"):
        difficulty.split_by_orders(stack, np.arange(5)[None], [1, 3])
