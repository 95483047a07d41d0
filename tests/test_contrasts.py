"""Summaries of scores by architecture: what the library says of the scores that are in the store."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lmc_lib import difficulty, experiments, models
from lmc_lib.claims import estimate_by_jackknife
from lmc_lib.data import DataSpec
from lmc_lib.experiments.difficulty.contrasts import ContrastSpec
from lmc_lib.experiments.difficulty.fingerprints import FingerprintSpec
from lmc_lib.experiments.difficulty.scores import read as read_scores
from lmc_lib.experiments.difficulty.scores import replicates_of, sound_stacks
from lmc_lib.experiments.difficulty.scores import specs as score_specs
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

REPLICATES = 6
DIGITS = DataSpec("digits", train_examples=60, test_examples=50)
CONFIG = TrainConfig(steps=12, batch_size=16, lr=0.1, precision="portable")


def scored(width=8, depth=1, replicates=REPLICATES, config=CONFIG):
    model = models.ModelSpec("mlp", width, depth)
    return score_specs(model, DIGITS, config, replicates=replicates, checkpoints=3, deep=False)


NARROW, WIDE, DEEP = scored()[0], scored(32)[0], scored(8, 2)[0]
NETWORKS = NARROW, WIDE, DEEP


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def stack(store, first, sample="test", name="mean confidence", replicates=REPLICATES):
    return read_scores(store, replicates_of(first, replicates)).stack(sample, name)


def test_replicates_are_those_that_other_pages_list():
    assert replicates_of(NARROW, REPLICATES) == tuple(scored())
    assert [each.run.init_seed for each in replicates_of(scored()[3], 2)] == [3, 4]


class TestContrast:
    @pytest.fixture(scope="class")
    @classmethod
    def values(cls, store):
        return obtain(store, ContrastSpec(NARROW, WIDE, REPLICATES, splits=3, permutations=50, gallery=4)).values

    def test_halves_are_compared_with_all_and_without_each_replicate(self, store, values):
        first, second = stack(store, NARROW), stack(store, WIDE)
        stream = experiments.contrasts.rng.numpy_stream(0, "contrast")
        orders = np.stack([stream.permutation(REPLICATES) for _ in range(3)])
        for place, without in enumerate((None, *range(REPLICATES))):
            expected = difficulty.compare_halves(first, second, orders, without=without)
            for name, value in vars(expected).items():
                assert values["halves"][name][place] == pytest.approx(value, rel=1e-8), name

    def test_all_examples_are_tested_by_place_and_by_value(self, store, values):
        first, second = stack(store, NARROW), stack(store, WIDE)
        for name, pair in {
            "values": (first, second),
            "places": (difficulty.places(first), difficulty.places(second)),
        }.items():
            assert values["tested"][name]["welch"] == (difficulty.welch_test(*pair).q <= 0.05).mean()
            assert values["tested"][name]["least"] == pytest.approx(1 / 51)

    def test_the_gallery_is_the_ends_of_the_order_by_t(self, store, values):
        test = difficulty.welch_test(*(difficulty.places(stack(store, each)) for each in (NARROW, WIDE)))
        assert values["gallery"]["first"] == np.argsort(-test.statistic)[:4].tolist()
        assert values["gallery"]["second"] == np.argsort(test.statistic)[:4].tolist()
        hard = np.minimum(*np.array(values["places"]))
        alike = np.flatnonzero(test.p > 0.5)
        # Places are kept to four digits.
        assert hard[values["gallery"]["alike"]].min() >= np.sort(hard[alike])[-4] - 1e-3
        np.testing.assert_allclose(np.abs(values["strength"]), -np.log10(test.p), rtol=1e-3)
        np.testing.assert_array_equal(np.sign(values["strength"]), np.sign(test.statistic))

    def test_without_a_gallery_examples_are_not_kept(self, store):
        values = obtain(store, ContrastSpec(NARROW, WIDE, REPLICATES, splits=1, permutations=20)).values
        assert set(values) == {"replicates", "halves", "tested"}

    def test_the_other_sample_has_other_examples(self, store):
        spec = ContrastSpec(NARROW, WIDE, REPLICATES, sample="train", splits=1, permutations=20, gallery=3)
        values = obtain(store, spec).values
        assert len(values["strength"]) == 60
        means = difficulty.places(stack(store, NARROW, "train")).mean(0)
        np.testing.assert_allclose(values["places"][0], means, rtol=1e-3)

    def test_is_json(self, values):
        assert json.loads(json.dumps(values)) == values

    def test_says_what_it_compares(self):
        spec = ContrastSpec(NARROW, DEEP, 2)
        assert spec.label == "MLP, 1 hidden layer, width 8 and MLP, 2 hidden layers, width 8"
        assert spec.needs == (*replicates_of(NARROW, 2), *replicates_of(DEEP, 2))


def test_a_replicate_that_diverged_is_left_out_of_all(store):
    wild = scored(config=TrainConfig(steps=12, batch_size=16, lr=1e30, schedule="constant"))
    broken = [*replicates_of(WIDE, 2), wild[2], *replicates_of(WIDE, 4)[3:]]
    sound = list(replicates_of(NARROW, 4))
    first, second = sound_stacks(store, (sound, broken), "test", "mean loss")
    np.testing.assert_array_equal(first, stack(store, NARROW, name="mean loss")[[0, 1, 3]])
    np.testing.assert_array_equal(second, stack(store, WIDE, name="mean loss")[[0, 1, 3]])
    with pytest.raises(ValueError, match=r"as many replicates, got \[4, 3\]"):
        sound_stacks(store, (sound, broken[:3]), "test", "mean loss")


class TestContrasts:
    def test_pairs_are_all_and_the_last_of_each_family_are_drawn(self):
        resnet = replace(NARROW, run=replace(NARROW.run, model=models.ModelSpec("resnet", 4, 8)))
        specs = experiments.contrasts.specs((NARROW, WIDE, resnet), REPLICATES, gallery=3, splits=2)
        assert {pair: spec.gallery for pair, spec in specs.items()} == {(0, 1): 0, (0, 2): 0, (1, 2): 3}
        assert {spec.splits for spec in specs.values()} == {2}

    def test_correlations_stand_where_they_belong(self, store):
        specs = experiments.contrasts.specs(NETWORKS, REPLICATES, splits=2, permutations=20)
        found = experiments.contrasts.measure(store, specs)
        matrix = found.correlations()
        assert found.labels == tuple(each.label for each in NETWORKS)
        assert found.across() == []
        assert found.across(families=False) == [(0, 1), (0, 2), (1, 2)]
        for (i, j), values in found.values.items():
            assert matrix[i, j] == matrix[j, i] == values["halves"]["between"][0]
            # The same splits in all pairs, so one number for each architecture with itself.
            assert (matrix[i, i], matrix[j, j]) == (values["halves"]["first"][0], values["halves"]["second"][0])
        assert found.drawn() == {}


class TestContrastEvidence:
    def values(self, **halves):
        even = {"between": [0.8], "first": [0.9], "second": [0.9], "found": [0.2], "reproduced": [0.1]}
        rows = {name: np.resize(row, 5).tolist() for name, row in (even | halves).items()}
        return {"replicates": 4, "halves": rows}

    def test_is_the_mean_over_pairs_with_all_and_without_each(self):
        pairs = [self.values(between=[0.8, 0.7, 0.8, 0.8, 0.9]), self.values(between=[0.6], first=[0.4])]
        found = experiments.contrasts.evidence(pairs)
        expected = estimate_by_jackknife(0.7, np.array([0.65, 0.7, 0.7, 0.75]))
        assert found["between"].triple == pytest.approx(expected.triple)
        within = (0.9 + 0.6) / 2
        assert found["within"].value == pytest.approx(within)
        assert found["gap"].value == pytest.approx(within - 0.7)
        assert {each.count("replicate") for each in found.values()} == {"4 replicates"}
        assert found["disattenuated"].value == pytest.approx(0.7 / within)
        assert found["again"].value == pytest.approx(0.5)
        assert found["gap"].high - found["gap"].value == pytest.approx(found["between"].high - 0.7)

    def test_nothing_found_is_nothing_again(self):
        found = experiments.contrasts.evidence([self.values(found=[0.0], reproduced=[0.0])])
        assert found["again"].triple == (0.0, 0.0, 0.0)

    def test_pairs_have_as_many_replicates(self):
        with pytest.raises(ValueError, match=r"pairs of \[4, 5\] replicates"):
            experiments.contrasts.evidence([self.values(), self.values() | {"replicates": 5}])


class TestFingerprint:
    CLASSES = ("narrow", "wide", "narrow")

    def spec(self, **options):
        options = {"classes": self.CLASSES, "sizes": (1, 4), "shown": 4, "draws": 2} | options
        return FingerprintSpec(NETWORKS, REPLICATES, **options)

    def scores(self, store):
        return np.stack([stack(store, each) for each in NETWORKS], axis=1)

    @pytest.mark.parametrize("places", [False, True])
    def test_networks_are_identified_from_the_stored_scores(self, store, places):
        values = obtain(store, self.spec(places=places)).values
        scores = difficulty.places(self.scores(store)) if places else self.scores(store)
        expected = difficulty.cross_identify(scores, np.tile([0, 1, 0], (REPLICATES, 1)), (1, 4))
        np.testing.assert_allclose(values["chosen"], expected.accuracy(), rtol=1e-8)
        np.testing.assert_allclose(values["confusion"], expected.confusion(1), rtol=1e-8)
        assert values["names"] == ["narrow", "wide"]
        counts = np.bincount(expected.chosen.ravel())
        assert [counts[example] for example, _ in values["examples"]] == [folds for _, folds in values["examples"]]
        assert sum(folds for _, folds in values["examples"]) == 4 * REPLICATES
        most = [example for example, _ in values["examples"][:2]]
        np.testing.assert_allclose(values["plane"], scores[..., most], rtol=1e-8)

    def test_random_examples_are_the_mean_over_draws(self, store):
        one, two, both = (
            np.array(obtain(store, self.spec(draws=draws, seed=3)).values["random"]) for draws in (1, 2, 3)
        )
        assert one.shape == (REPLICATES, 2)
        # Further draws leave the earlier ones as they are.
        second = 2 * two - one
        assert set(np.unique(second.round(6))) <= set(np.unique(one.round(6))) | {0.0, 0.25, 0.5, 0.75, 1.0}
        assert not np.array_equal(two, both)

    def test_shuffled_classes_are_the_mean_over_exchanges(self, store):
        spec = self.spec(shuffled=True, classes=("a", "b", "c"))
        values = obtain(store, spec).values
        runs = []
        for draw in range(2):
            stream = experiments.fingerprints.rng.numpy_stream(0, "exchange", draw)
            classes = difficulty.shuffle_classes(np.tile([0, 1, 2], (REPLICATES, 1)), rng=stream)
            runs.append(difficulty.cross_identify(self.scores(store), classes, (1, 4)).accuracy())
        assert not np.array_equal(*runs)
        np.testing.assert_allclose(values["chosen"], np.mean(runs, axis=0), rtol=1e-8)
        assert values["chosen"] != obtain(store, replace(spec, shuffled=False)).values["chosen"]

    def test_estimates_are_means_over_replicates(self, store):
        found = experiments.fingerprints.Fingerprints.read(store, self.spec())
        assert (found.values["names"], found.chance) == (["narrow", "wide"], 0.5)
        chosen, random = (2 * found.of(how)[:, 1] - 1 for how in ("chosen", "random"))
        evidence = experiments.fingerprints.evidence(found, 1)
        assert evidence["ten"].value == pytest.approx(chosen.mean())
        assert evidence["advantage"].value == pytest.approx((chosen - random).mean())
        error = chosen.std(ddof=1) / REPLICATES**0.5
        from scipy.stats import t

        assert evidence["ten"].high == pytest.approx(chosen.mean() + t.ppf(0.975, REPLICATES - 1) * error)
        assert evidence["ten"].count("replicate") == f"{REPLICATES} replicates"
        assert found.curve("chosen")[1].value == pytest.approx((chosen.mean() + 1) / 2)

    def test_what_cancels_is_zero_without_a_sign(self, store):
        found = experiments.fingerprints.Fingerprints.read(store, self.spec())
        assert str(found.mean(np.array([0.1, -1e-17, -0.1])))[0] == "0"

    def test_classes_are_those_of_the_architectures(self):
        with pytest.raises(ValueError, match="3 architectures cannot be told apart as one, two"):
            self.spec(classes=("one", "two"))
        with pytest.raises(ValueError, match="cannot be told apart as one, one, one"):
            self.spec(classes=("one",) * 3)
        with pytest.raises(ValueError, match=r"10 examples are shown, but only \(1, 4\)"):
            self.spec(shown=10)

    def test_says_what_it_tells_apart(self):
        assert self.spec().label == "narrow or wide"
        assert len(self.spec().needs) == 3 * REPLICATES
