"""Claims: intervals that respect shared replicas, and verdicts by a rule whose errors are known."""

import itertools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lmc_lib import claims, rng
from lmc_lib.claims import (
    VERDICTS,
    Claim,
    Condition,
    Estimate,
    conclude,
    estimate,
    estimate_of_twins,
    highest_ratio,
    judge,
    judge_parts,
    mean,
    median,
    median_ratio,
    rank_correlation,
    rates_of_rule,
)
from lmc_lib.claims.verdict import extract
from lmc_lib.cli import tree
from lmc_lib.cli.parameters import resolve

ROOT = Path(__file__).parents[1]
# What one setting can come to; parts that differ are mixed.
OF_A_SETTING = SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, NOT_OBSERVABLE = VERDICTS[:4]
MIXED = VERDICTS[4]

CLAIM = Claim(
    id="test",
    title="A claim",
    statement="Barriers vanish.",
    source="nobody2024",
    where="Figure 1",
    published=({"what": "barrier", "value": "0.1"},),
    criterion="Measure.",
    observable=(Condition("raw", "the raw barrier", 0.2, above=True, reason="else nothing to explain"),),
    supported=(
        Condition("aligned", "the aligned barrier", 0.1, above=False, reason="published"),
        Condition("connected", "the share", 0.8, above=True, reason="each pair"),
    ),
    control="Narrow networks.",
)

# Intervals that meet, fail, or leave open each condition of the claim.
RAW = {"met": (0.3, 0.4), "failed": (0.1, 0.15), "open": (0.1, 0.3)}
ALIGNED = {"met": (0.01, 0.05), "failed": (0.2, 0.3), "open": (0.05, 0.2)}
CONNECTED = {"met": (0.9, 1.0), "failed": (0.1, 0.5), "open": (0.5, 1.0)}


def between(low, high):
    return Estimate((low + high) / 2, low, high, pairs=10, replicas=5)


def evidence(raw, aligned, connected):
    return {
        "raw": between(*RAW[raw]),
        "aligned": between(*ALIGNED[aligned]),
        "connected": between(*CONNECTED[connected]),
    }


def judgement_of(verdict, setting="a setting"):
    words = {
        SUPPORTED: ("met", "met", "met"),
        NOT_SUPPORTED: ("met", "failed", "met"),
        INCONCLUSIVE: ("met", "open", "met"),
        NOT_OBSERVABLE: ("failed", "met", "met"),
    }
    found = judge(CLAIM, setting, evidence(*words[verdict]))
    assert found.verdict == verdict
    return found


class TestJudge:
    @pytest.mark.parametrize("raw", ["failed", "open"])
    @pytest.mark.parametrize(("aligned", "connected"), list(itertools.product(ALIGNED, CONNECTED)))
    def test_without_its_precondition_nothing_is_observable(self, raw, aligned, connected):
        assert judge(CLAIM, "", evidence(raw, aligned, connected)).verdict == NOT_OBSERVABLE

    @pytest.mark.parametrize(
        ("aligned", "connected", "verdict"),
        [
            ("met", "met", SUPPORTED),
            ("met", "open", INCONCLUSIVE),
            ("met", "failed", NOT_SUPPORTED),
            ("open", "met", INCONCLUSIVE),
            ("open", "open", INCONCLUSIVE),
            ("open", "failed", NOT_SUPPORTED),
            ("failed", "met", NOT_SUPPORTED),
            ("failed", "open", NOT_SUPPORTED),
            ("failed", "failed", NOT_SUPPORTED),
        ],
    )
    def test_truth_table(self, aligned, connected, verdict):
        found = judge(CLAIM, "narrow", evidence("met", aligned, connected))
        assert (found.setting, found.verdict) == ("narrow", verdict)
        assert [outcome for _, _, outcome in found.conditions] == ["met", aligned, connected]
        assert [condition for condition, _, _ in found.conditions] == [*CLAIM.observable, *CLAIM.supported]

    @pytest.mark.parametrize(
        ("interval", "outcome"),
        [
            ((0.05, 0.1), "open"),
            ((0.1, 0.2), "open"),
            ((0.1, 0.1), "open"),
            ((0.05, 0.0999), "met"),
            ((0.1001, 0.2), "failed"),
        ],
    )
    def test_an_interval_that_touches_the_bound_leaves_it_open(self, interval, outcome):
        found = judge(CLAIM, "", evidence("met", "met", "met") | {"aligned": between(*interval)})
        assert found.conditions[1][2] == outcome

    def test_missing_evidence_is_an_error(self):
        with pytest.raises(KeyError, match="connected"):
            judge(CLAIM, "", {"raw": between(0.3, 0.4), "aligned": between(0.0, 0.05)})

    def test_a_condition_reads_as_a_sentence(self):
        texts = [condition.text for condition in (*CLAIM.observable, *CLAIM.supported)]
        assert texts == ["the raw barrier is above 0.2", "the aligned barrier is below 0.1", "the share is above 0.8"]


class TestConclude:
    def conclude(self, verdicts, control=NOT_SUPPORTED):
        judgements = [judgement_of(verdict) for verdict in verdicts]
        return conclude(CLAIM, judgements, judgement_of(control), scale="quick", numbers={})

    @pytest.mark.parametrize("verdict", OF_A_SETTING)
    @pytest.mark.parametrize("control", [NOT_SUPPORTED, INCONCLUSIVE, NOT_OBSERVABLE])
    def test_settings_that_agree_decide(self, verdict, control):
        assert self.conclude([verdict] * 2, control).verdict == verdict

    @pytest.mark.parametrize("verdicts", list(itertools.permutations(OF_A_SETTING, 2)))
    def test_settings_that_differ_are_inconclusive(self, verdicts):
        assert self.conclude(verdicts).verdict == INCONCLUSIVE

    @pytest.mark.parametrize("verdict", OF_A_SETTING)
    def test_a_supported_control_makes_every_verdict_inconclusive(self, verdict):
        assert self.conclude([verdict], SUPPORTED).verdict == INCONCLUSIVE


def matrix_of(pairs, replicas):
    """The symmetric matrix of values by pair, with gaps elsewhere."""
    matrix = np.full((replicas, replicas), np.nan)
    for (i, j), value in pairs.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def array_of(sets, replicas):
    """The symmetric array of values by set, one axis a member, with gaps elsewhere."""
    array = np.full((replicas,) * len(next(iter(sets))), np.nan)
    for members, value in sets.items():
        for places in itertools.permutations(members):
            array[places] = value
    return array


def exchangeable(generator, replicas):
    """Values of pairs around 1 that share the effects of their networks; the mean of all such values is 1."""
    networks = generator.standard_normal(replicas)
    pairs = itertools.combinations(range(replicas), 2)
    return matrix_of({(i, j): 1 + networks[i] + networks[j] + generator.standard_normal() for i, j in pairs}, replicas)


class TestEstimate:
    @pytest.mark.parametrize("statistic", ["median", "mean"])
    @pytest.mark.parametrize(("replicas", "missing"), [(3, []), (4, [(0, 1)]), (6, [(0, 1), (2, 5)]), (9, [])])
    def test_value_is_the_statistic_of_the_list_of_pairs(self, statistic, replicas, missing):
        generator = rng.numpy_stream(replicas, "test")
        pairs = {pair: generator.normal() for pair in itertools.combinations(range(replicas), 2) if pair not in missing}
        found = estimate(matrix_of(pairs, replicas), rng=generator, statistic=statistic)
        # The mean is summed in another order: a few roundings of 1e-16.
        assert found.value == pytest.approx(getattr(statistics, statistic)(pairs.values()), abs=1e-14)
        assert (found.pairs, found.replicas) == (len(pairs), replicas)
        assert found.triple == (found.value, found.low, found.high)

    @pytest.mark.parametrize("statistic", ["median", "mean"])
    def test_interval_is_that_of_all_resamples_counted_out(self, statistic):
        # Four replicas have 256 resamples; the oracle takes all of them, the library draws 4,000.
        values = exchangeable(rng.numpy_stream(1, "test"), 4)
        function = getattr(statistics, statistic)
        overall = function([values[pair] for pair in itertools.combinations(range(4), 2)])
        everything = []
        for drawn in itertools.product(range(4), repeat=4):
            different = [values[pair] for pair in itertools.permutations(drawn, 2) if pair[0] != pair[1]]
            everything.append(function(different) if different else overall)
        found = estimate(values, rng=rng.numpy_stream(0, "test"), statistic=statistic, resamples=4000)
        # A drawn quantile has its level of 2.5 % up to sqrt(0.025 * 0.975 / 4000) = 0.25 %; four times that is 1 %. The
        # slack of 1e-12 is for values that equal a quantile but for the order of a sum.
        for end, level in ((found.low, 2.5), (found.high, 97.5)):
            low, high = np.percentile(everything, [level - 1, level + 1], method="nearest")
            assert low - 1e-12 <= end <= high + 1e-12

    @pytest.mark.parametrize("statistic", ["median", "mean"])
    @pytest.mark.parametrize("replicas", [3, 5, 10])
    def test_interval_contains_the_value(self, statistic, replicas):
        for seed in range(20):
            generator = rng.numpy_stream(seed, "test", replicas)
            found = estimate(exchangeable(generator, replicas), rng=generator, statistic=statistic, resamples=500)
            assert found.low <= found.value <= found.high

    def test_interval_covers_the_truth_nearly_as_often_as_it_says(self):
        # Nominal are 95 %. A percentile bootstrap of few clusters undercovers: it has no quantile of Student's t, and
        # its variance lacks the factor n / (n - 1). With 8 networks 88 % were measured. The share of 400 studies has a
        # deviation of 1.7 %, so chance does not take it below 80 %; resampling pairs, the mistake, covers 54 %.
        generator = rng.numpy_stream(0, "coverage")
        studies = (exchangeable(generator, 8) for _ in range(400))
        found = [estimate(each, rng=generator, statistic="mean", resamples=300) for each in studies]
        assert sum(each.low <= 1 <= each.high for each in found) / 400 >= 0.8

    def test_equal_values_have_an_interval_of_length_zero(self):
        matrix = matrix_of(dict.fromkeys(itertools.combinations(range(5), 2), 0.25), 5)
        assert estimate(matrix, rng=rng.numpy_stream(0)).triple == (0.25, 0.25, 0.25)

    @pytest.mark.parametrize("statistic", ["median", "mean"])
    def test_a_draw_of_a_single_replica_counts_with_the_statistic_of_all(self, statistic):
        # Of the 27 draws of three replicas 3 hold a single one, and no pair: too many to fall out of the interval.
        values = matrix_of({(0, 1): 4.0, (0, 2): 5.0, (1, 2): 9.0}, 3)
        found = estimate(values, rng=rng.numpy_stream(0), statistic=statistic)
        assert (found.low, found.high) == (4.0, 9.0)

    def test_same_stream_gives_the_same_interval(self):
        values = exchangeable(rng.numpy_stream(0, "test"), 5)
        once, again, other = (estimate(values, rng=rng.numpy_stream(s), statistic="mean") for s in (0, 0, 1))
        assert once == again != other

    def test_the_diagonal_does_not_count(self):
        values = exchangeable(rng.numpy_stream(0, "test"), 5)
        filled = values.copy()
        np.fill_diagonal(filled, -100.0)
        assert estimate(filled, rng=rng.numpy_stream(0)) == estimate(values, rng=rng.numpy_stream(0))

    def test_replicas_without_values_are_left_out(self):
        values = exchangeable(rng.numpy_stream(0, "test"), 5)
        wide = np.full((7, 7), np.nan)
        kept = np.ix_([0, 1, 3, 4, 6], [0, 1, 3, 4, 6])
        wide[kept] = values
        assert estimate(wide, rng=rng.numpy_stream(0)) == estimate(values, rng=rng.numpy_stream(0))

    @pytest.mark.parametrize("size", [3, 4])
    @pytest.mark.parametrize("statistic", ["median", "mean"])
    def test_interval_over_larger_sets_is_that_of_all_resamples_counted_out(self, size, statistic):
        # Five replicas have 3,125 resamples; the bounds on the drawn quantiles are those of the pairs above.
        generator = rng.numpy_stream(2, "test", size)
        networks = generator.standard_normal(5)
        sets = {
            each: networks[list(each)].sum() + generator.normal() for each in itertools.combinations(range(5), size)
        }
        function = getattr(statistics, statistic)
        overall, everything = function(sets.values()), []
        for drawn in itertools.product(range(5), repeat=5):
            different = [
                sets[tuple(sorted(each))] for each in itertools.permutations(drawn, size) if len(set(each)) == size
            ]
            everything.append(function(different) if different else overall)
        values = array_of(sets, 5)
        found = estimate(values, rng=rng.numpy_stream(0, "test"), statistic=statistic, resamples=4000)
        for end, level in ((found.low, 2.5), (found.high, 97.5)):
            low, high = np.percentile(everything, [level - 1, level + 1], method="nearest")
            assert low - 1e-12 <= end <= high + 1e-12
        assert found.value == pytest.approx(overall, abs=1e-14)
        assert (found.pairs, found.replicas, found.size) == (len(sets), 5, size)

    def test_what_the_statistic_is_over_has_its_name(self):
        names = {2: "6 pairs of 4 networks", 3: "4 triples of 4 networks", 4: "15 sets of 4 of 6 networks"}
        for size, name in names.items():
            count = {2: 4, 3: 4, 4: 6}[size]
            values = array_of(dict.fromkeys(itertools.combinations(range(count), size), 1.0), count)
            assert estimate(values, rng=rng.numpy_stream(0)).count == name

    def test_places_of_a_triple_with_one_replica_twice_do_not_count(self):
        sets = {each: float(sum(each)) for each in itertools.combinations(range(5), 3)}
        filled = np.where(np.isnan(array_of(sets, 5)), -100.0, array_of(sets, 5))
        assert estimate(filled, rng=rng.numpy_stream(0)) == estimate(array_of(sets, 5), rng=rng.numpy_stream(0))

    def test_fewer_than_four_replicas_are_refused_for_triples(self):
        with pytest.raises(ValueError, match="over triples needs at least four replicas, got 3"):
            estimate(array_of({(0, 1, 2): 1.0}, 5), rng=rng.numpy_stream(0))

    def test_axes_of_different_length_are_refused(self):
        with pytest.raises(ValueError, match=r"same replicas, got the shape \(3, 4\)"):
            estimate(np.ones((3, 4)), rng=rng.numpy_stream(0))

    def test_an_unknown_statistic_is_refused(self):
        with pytest.raises(ValueError, match="unknown statistic 'mode'; there are median, mean"):
            estimate(exchangeable(rng.numpy_stream(0), 5), rng=rng.numpy_stream(0), statistic="mode")

    @pytest.mark.parametrize(("pairs", "left"), [({(0, 1): 1.0}, 2), ({}, 0)])
    def test_fewer_than_three_replicas_are_refused(self, pairs, left):
        with pytest.raises(ValueError, match=f"at least three replicas, got {left}"):
            estimate(matrix_of(pairs, 4), rng=rng.numpy_stream(0))


class TestRule:
    """The rule of weak-connectivity on 200 simulated studies each; the published rates are of 1,000."""

    DRAWS = 200

    def rate(self, **effect):
        return rates_of_rule(claims.load("weak-connectivity"), raw=0.9, draws=self.DRAWS, **effect)

    @pytest.mark.parametrize(
        "effect",
        [{"aligned": 0.9, "spread": 0.05}, {"aligned": 0.1, "spread": 0.01}],
        ids=["no effect", "an effect at the bound"],
    )
    def test_is_rarely_met_without_the_effect(self, effect):
        # 5 % and three standard deviations of a share of 200 draws.
        assert self.rate(**effect) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / self.DRAWS)

    def test_is_met_by_the_published_effect(self):
        assert self.rate(aligned=0.0755, spread=0.005) >= 0.9

    def test_is_never_met_when_there_is_nothing_to_explain(self):
        claim = claims.load("weak-connectivity")
        assert rates_of_rule(claim, raw=0.1, aligned=0.05, spread=0.005, draws=20) == 0.0

    def test_rates_are_reproducible(self):
        claim = claims.load("weak-connectivity")
        # At half power the rate moves with any change of the draws.
        once, again, other = (
            rates_of_rule(claim, raw=0.9, aligned=0.093, spread=0.01, draws=40, seed=seed) for seed in (0, 0, 1)
        )
        assert once == again
        assert 0 < once < 1
        assert other != once


class TestReport:
    @pytest.fixture
    def report(self):
        judgements = [judgement_of(SUPPORTED, "wide & <deep>"), judgement_of(SUPPORTED, "residual")]
        numbers = {"barrier": np.float64(0.12345678), "count": 3}
        return conclude(CLAIM, judgements, judgement_of(NOT_SUPPORTED, "narrow"), scale="quick", numbers=numbers)

    def test_json_says_everything(self, report):
        found = report.as_json()
        assert (found["claim"], found["scale"], found["verdict"]) == ("test", "quick", SUPPORTED)
        assert found["numbers"] == {"barrier": 0.123457, "count": 3.0}
        assert [each["setting"] for each in (*found["settings"], found["control"])] == [
            "wide & <deep>", "residual", "narrow"
        ]  # fmt: skip
        assert found["control"]["conditions"][1] == {
            "condition": "the aligned barrier is below 0.1",
            "quantity": "aligned",
            "outcome": "failed",
            "estimate": {"value": 0.25, "low": 0.2, "high": 0.3, "pairs": 10, "replicas": 5},
        }

    def test_estimates_over_triples_say_so(self):
        triples = Estimate(0.25, 0.2, 0.3, pairs=10, replicas=5, size=3)
        judged = judge(CLAIM, "three", evidence("met", "met", "met") | {"raw": triples})
        bundle = conclude(CLAIM, [judged], judged, scale="quick", numbers={})._repr_mimebundle_()
        (kind,) = (name for name in bundle if name.endswith("report+json"))
        of_triples, of_pairs, _ = (each["estimate"] for each in bundle[kind]["settings"][0]["conditions"])
        assert (of_triples["pairs"], of_triples["replicas"], of_triples["size"]) == (10, 5, 3)
        assert of_pairs.keys() == {"value", "low", "high", "pairs", "replicas"}
        for words in (bundle["text/plain"], bundle["text/html"]):
            assert "10 triples of 5 networks" in words

    def test_json_round_trip(self, report):
        assert json.loads(json.dumps(report.as_json(), allow_nan=False)) == report.as_json()

    @pytest.mark.parametrize("pack", [dict, json.dumps], ids=["data", "text"])
    def test_is_found_among_the_outputs_of_a_notebook(self, report, pack):
        bundle = report._repr_mimebundle_()
        (kind,) = (name for name in bundle if name.endswith("report+json"))
        outputs = [
            {"output_type": "stream", "text": "words"},
            {"output_type": "display_data", "data": {"text/plain": "a figure"}},
            {"output_type": "execute_result", "data": bundle | {kind: pack(bundle[kind])}},
        ]
        assert extract(outputs) == report.as_json()
        assert extract(outputs[:2]) is None

    def test_text_and_box_carry_the_verdicts(self, report):
        bundle = report._repr_mimebundle_()
        assert bundle["text/plain"].splitlines()[0] == "test (quick): supported"
        assert "negative control, narrow: not supported" in bundle["text/plain"]
        assert 'class="verdict verdict-supported"' in bundle["text/html"]
        assert "wide &amp; &lt;deep&gt;" in bundle["text/html"]
        assert "<deep>" not in bundle["text/html"]

    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_every_verdict_has_a_class_without_spaces(self, verdict):
        judgements = [judgement_of(each) for each in ((SUPPORTED, NOT_SUPPORTED) if verdict == MIXED else (verdict,))]
        claim = replace(CLAIM, parts=(CLAIM, CLAIM)) if verdict == MIXED else CLAIM
        report = conclude(claim, judgements, judgement_of(NOT_SUPPORTED), scale="quick", numbers={})
        html = report._repr_mimebundle_()["text/html"]
        name = "not-observable" if verdict == NOT_OBSERVABLE else verdict.replace(" ", "-")
        assert f'<div class="verdict verdict-{name}">' in html


class TestClaims:
    @pytest.mark.parametrize("claim", claims.load_all().values(), ids=claims.load_all())
    def test_every_claim_has_a_source_a_notebook_and_profiles(self, claim):
        assert f"{{{claim.source}," in (ROOT / "book" / "references.bib").read_text()
        assert (ROOT / "notebooks" / f"{claim.id}.ipynb").exists()
        for profile in tree.PROFILES:
            assert resolve(claim.id, profile)["scale"] == profile

    def test_the_box_escapes_and_shows_every_condition(self):
        html = CLAIM._repr_html_()
        for condition in (*CLAIM.observable, *CLAIM.supported):
            assert f"<li>{condition.text} ({condition.reason})</li>" in html


class TestEstimateOfTwins:
    """Networks and their children: the intervals resample networks."""

    def test_is_the_statistic_of_all_twins(self):
        values = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 9.0]])
        found = estimate_of_twins(median, values, rng=rng.numpy_stream(0))
        assert (found.value, found.pairs, found.replicas, found.size) == (3.0, 5, 3, 1)
        assert found.count == "5 twins of 3 networks"

    def test_covers_the_truth_as_often_as_it_says_although_children_are_alike(self):
        """Children share most of their parent's effect: to resample twins would cover far too rarely."""
        generator = rng.numpy_stream(0, "coverage")
        covered = {"parents": 0, "twins": 0}
        for _ in range(150):
            parents = generator.standard_normal((12, 1))
            values = parents + 0.2 * generator.standard_normal((12, 6))
            as_parents = estimate_of_twins(mean, values, rng=generator, resamples=300)
            as_twins = estimate_of_twins(mean, values.reshape(-1, 1), rng=generator, resamples=300)
            covered["parents"] += as_parents.low <= 0.0 <= as_parents.high
            covered["twins"] += as_twins.low <= 0.0 <= as_twins.high
        # The percentile method with 12 parents covers about 92 %; three standard errors of 150 draws are 7 %.
        assert covered["parents"] / 150 > 0.85
        assert covered["twins"] / 150 < 0.75

    def test_arrays_are_resampled_together(self):
        """A ratio of two measurements of the same networks is exact, however much networks differ."""
        values = np.array([[1.0], [10.0], [100.0], [1000.0]])
        found = estimate_of_twins(median_ratio, 3 * values, values, rng=rng.numpy_stream(0))
        assert found.triple == pytest.approx((3.0, 3.0, 3.0))

    def test_a_draw_of_diverged_trainings_counts_with_the_statistic_of_all(self):
        # Of the 27 draws of three networks 8 hold none but those that diverged.
        values = np.array([[np.nan, np.nan], [7.0, 9.0], [np.nan, np.nan]])
        assert estimate_of_twins(mean, values, rng=rng.numpy_stream(0)).triple == (8.0, 8.0, 8.0)

    def test_bad_input_is_named(self):
        with pytest.raises(ValueError, match=r"the same two or more, got \[2, 3\]"):
            estimate_of_twins(mean, np.zeros((2, 1)), np.zeros((3, 1)), rng=rng.numpy_stream(0))
        with pytest.raises(ValueError, match="the same two or more"):
            estimate_of_twins(mean, np.zeros((1, 4)), rng=rng.numpy_stream(0))
        with pytest.raises(ValueError, match="trainings diverged"):
            estimate_of_twins(mean, np.full((3, 1), np.nan), rng=rng.numpy_stream(0))


class TestStatistics:
    def test_ratios_have_a_floor_on_both_sides(self):
        none, some = np.zeros((3, 2)), np.full((3, 2), 0.02)
        assert median_ratio(some, none) == pytest.approx(20.0)
        assert median_ratio(none, some) == pytest.approx(0.05)
        assert median_ratio(none, none) == 1.0
        assert highest_ratio(none, some, np.full((3, 1), 0.004)) == pytest.approx(20.0)

    def test_diverged_trainings_are_left_out(self):
        values = np.array([[0.1, np.nan], [0.3, 0.2]])
        assert median(values) == 0.2
        assert rank_correlation(values, np.array([[1.0, 5.0], [3.0, 2.0]])) == pytest.approx(1.0)
        assert rank_correlation(values, np.array([[3.0, 5.0], [1.0, 2.0]])) == pytest.approx(-1.0)


class TestParts:
    @pytest.fixture
    def whole(self, tmp_path, write_claim):
        raw, aligned, connected = (
            {"quantity": each.quantity, "label": each.label, ("above" if each.above else "below"): each.bound}
            | {"reason": each.reason}
            for each in (*CLAIM.observable, *CLAIM.supported)
        )
        parts = {
            "A": {"title": "the first part", "observable": [raw], "supported": [aligned]},
            "B": {"title": "the second part", "statement": "Something of its own.", "supported": [connected]},
        }
        write_claim(tmp_path, "whole", statement="It holds.", supported=None, parts=parts)
        return claims.load("whole", tmp_path)

    def test_take_from_the_whole_what_they_do_not_say(self, whole):
        assert [part.id for part in whole.parts] == ["A", "B"]
        assert [part.statement for part in whole.parts] == ["It holds.", "Something of its own."]
        assert whole.part("A").source == "nobody2024"
        assert not whole.part("B").observable
        assert whole.part("A").parts == ()
        with pytest.raises(KeyError, match="whole has no part 'C'; there are A, B"):
            whole.part("C")

    @pytest.mark.parametrize(
        ("aligned", "connected", "verdict"),
        [
            ("met", "met", SUPPORTED),
            ("failed", "failed", NOT_SUPPORTED),
            ("open", "open", INCONCLUSIVE),
            ("met", "failed", MIXED),
            ("met", "open", MIXED),
        ],
    )
    def test_are_judged_one_by_one(self, whole, aligned, connected, verdict):
        judgements = judge_parts(whole, evidence("met", aligned, connected))
        assert [each.setting for each in judgements] == ["A: the first part", "B: the second part"]
        control = judge(whole.part("A"), "control", evidence("met", "failed", "met"))
        assert conclude(whole, judgements, control, scale="quick", numbers={}).verdict == verdict

    def test_a_control_that_is_supported_makes_all_of_it_inconclusive(self, whole):
        judgements = judge_parts(whole, evidence("met", "met", "met"))
        control = judge(whole.part("A"), "control", evidence("met", "met", "met"))
        assert conclude(whole, judgements, control, scale="quick", numbers={}).verdict == INCONCLUSIVE

    def test_stand_on_the_page_with_their_rules(self, whole):
        page = whole._repr_html_()
        for part in whole.parts:
            assert f"{part.id}: {part.title}" in page
            assert all(condition.text in page for condition in (*part.observable, *part.supported))


def test_rank_correlation_is_scipys_also_with_gaps_and_ties_and_for_many_draws_at_once():
    generator = rng.numpy_stream(0, "ranks")
    x, y = generator.integers(0, 6, (2, 4, 5, 3)).astype(float)
    x[0, 0, 0] = y[1, 2, 1] = np.nan
    found = rank_correlation(x, y)
    assert found.shape == (4,)
    for draw in range(4):
        both = np.isfinite(x[draw]) & np.isfinite(y[draw])
        expected = stats.spearmanr(x[draw][both], y[draw][both]).statistic
        assert found[draw] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones((3, 1)), np.arange(3.0)[:, None]))
