"""What parameters take: conditions told before anything is trained, and hostile values for every parameter."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import simpleeval

from lmc_lib import definitions
from lmc_lib.cli import Refused, notebooks, running, tree
from lmc_lib.cli.parameters import parameters_of, resolve
from lmc_lib.definitions import DefinitionError, Limit

_PATH = Path(__file__).parents[1] / "benchmarks" / "parameters.py"
_SPEC = importlib.util.spec_from_file_location("hostile_parameters", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
hostile = sys.modules[_SPEC.name] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)

CLAIMS = list(definitions.load_all())


class TestLimit:
    @pytest.mark.parametrize(
        ("condition", "names"),
        [
            ("seeds >= 3", {"seeds"}),
            ("independent <= parents", {"independent", "parents"}),
            ("all(each < top for each in sizes)", {"top", "sizes"}),
            ('residual["seeds"] > len(widths)', {"residual", "widths"}),
        ],
    )
    def test_names_are_those_of_parameters(self, condition, names):
        assert Limit(condition, "").names == names

    @pytest.mark.parametrize(
        ("condition", "values", "holds"),
        [
            ("seeds >= 3", {"seeds": 3}, True),
            ("seeds >= 3", {"seeds": 2}, False),
            ("all(each < top for each in sizes)", {"top": 4, "sizes": [1, 3]}, True),
            ("all(each < top for each in sizes)", {"top": 3, "sizes": [1, 3]}, False),
            ("sizes[0] > 0", {"sizes": []}, False),
            ("sizes[0] > 0", {"sizes": ["a"]}, False),
            ('residual["seeds"] > 1', {"residual": {}}, False),
            ("min(sizes) / 0 > 1", {"sizes": [1]}, False),
        ],
    )
    def test_what_a_value_lacks_does_not_hold(self, condition, values, holds):
        assert Limit(condition, "").holds(values) is holds

    @pytest.mark.parametrize(
        "condition", ["open(name)", "name.__class__", "(lambda: name)()", "[name := 1]", "name.format(name)"]
    )
    def test_a_condition_does_nothing_but_what_it_may(self, condition):
        with pytest.raises(simpleeval.InvalidExpression):
            Limit(condition, "").holds({"name": "x"})

    @pytest.mark.parametrize(("value", "is_whole"), [(7, True), (7.0, False), (True, False), ("7", False)])
    def test_numbers_of_units_are_whole(self, value, is_whole):
        assert Limit("whole(width)", "").holds({"width": value}) is is_whole


class TestLimitsOfAClaim:
    def test_shared_ones_hold_where_all_their_names_are(self, tmp_path, write_claim):
        write_claim(tmp_path, limits={"sizes[0] == 1": "so"})
        found = {each.condition for each in definitions.limits("toy", ["seeds", "sizes"], tmp_path)}
        assert {"3 <= seeds <= 1000", "sizes[0] == 1"} <= found
        assert not any("parents" in each for each in found)

    def test_those_of_another_claim_come_first_where_their_names_are_known(self, tmp_path, write_claim):
        write_claim(tmp_path, limits={"this == 1": "a", "that == 2": "b"})
        write_claim(tmp_path, "other", place=2, limits={"same as": "toy", "this < 9": "c"})
        assert definitions.limits("other", ["this"], tmp_path) == [Limit("this == 1", "a"), Limit("this < 9", "c")]

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"seedz > 1": "so"}, r"toy\.yml:\d+: no parameter 'seedz'; there are seeds"),
            ({"seeds >": "so"}, r"toy\.yml:\d+: 'seeds >' is no expression in Python"),
            ({"same as": "toy"}, r"toy\.yml:\d+: goes round in a circle: toy, toy"),
            ({"same as": "nobody"}, "no claim 'nobody'"),
            ({"seeds > 1": 3}, r"toy\.yml:\d+: 'seeds > 1' takes text"),
        ],
    )
    def test_what_cannot_be_used_is_refused_with_its_line(self, limits, message, tmp_path, write_claim):
        write_claim(tmp_path, limits=limits)
        with pytest.raises(DefinitionError, match=message):
            definitions.limits("toy", ["seeds"], tmp_path)

    @pytest.mark.parametrize("claim", CLAIMS)
    def test_all_claims_have_some_and_every_parameter_that_is_a_number_or_a_list_is_in_one(self, claim):
        known = {each.name: each.default for each in notebooks.parameters(claim)}
        limits = definitions.limits(claim, known)
        named = {name for each in limits for name in each.names}
        bare = {name for name, value in known.items() if isinstance(value, int | float | list) and name not in named}
        assert bare - {name for name, value in known.items() if isinstance(value, bool)} == set()
        assert all(each.reason for each in limits)

    @pytest.mark.parametrize("claim", CLAIMS)
    def test_every_profile_keeps_within_them(self, claim):
        values = {profile: parameters_of(claim) | resolve(claim, profile) for profile in tree.PROFILES}
        limits = definitions.limits(claim, values["quick"])
        assert [(each.condition, p) for p in values for each in limits if not each.holds(values[p])] == []


@pytest.mark.parametrize(
    ("claim", "texts"),
    [
        ("weak-connectivity", ["seeds=2"]),
        ("weak-connectivity", ["widths=[]"]),
        ("weak-connectivity", ["points=2"]),
        ("weak-connectivity", ["width=8", "widths=[8]"]),
        ("weak-connectivity", ["width=0"]),
        ("weak-connectivity", ["seeds=1000000000000"]),
        ("weak-connectivity", ["examples.plain=[0, 500]"]),
        ("weak-connectivity", ["examples.plain=[500]"]),
        ("weak-connectivity", ["examples={'plain': [500, 500]}"]),
        ("weak-connectivity", ["residual.lr=0.1"]),
        ("weak-connectivity", ["training.steps=0"]),
        ("strong-connectivity", ["seeds=3"]),
        ("strong-connectivity", ["resolution=[5, 4, 4]"]),
        ("butterfly-onset", ["examples=[0, 300]"]),
        ("butterfly-onset", ["examples=[500]"]),
        ("butterfly-onset", ["steps=[0]"]),
        ("butterfly-onset", ["watch=[1, 2, 500]"]),
        ("butterfly-direction", ["judged=120"]),
        ("simultaneous-pruning", ["transported.levels=[]"]),
        ("simultaneous-pruning", ["levels=40"]),
        ("simultaneous-pruning", ["examples=[-1, 300]"]),
        ("difficulty-noise", ["test_examples=1"]),
        ("difficulty-noise", ["replicates=2"]),
        ("difficulty-noise", ["deep=['junk']"]),
        ("difficulty-noise", ["widths=[8, 16]"]),
        ("difficulty-fingerprint", ["score=junk"]),
        ("conservation-laws", ["momentum=-0.5"]),
        ("conservation-laws", ["weight_decay=-1"]),
        ("paths-and-training", ["independent=6"]),
        ("paths-metrics", ["images=[8, 32]"]),
    ],
)
def test_what_would_fail_after_training_is_refused_before(claim, texts):
    with pytest.raises(Refused) as caught:
        resolve(claim, "quick", texts)
    message = str(caught.value)
    assert hostile.named(message, texts)
    assert message.endswith("says what each parameter means")


@pytest.mark.parametrize(
    ("claim", "texts", "message"),
    [
        ("weak-connectivity", ["data=imagenet"], "unknown data set 'imagenet'"),
        ("weak-connectivity", ["training.momentum=-0.5"], "momentum takes 0 or more and less than 1, not -0.5"),
        ("weak-connectivity", ["training.weight_decay=-0.5"], "weight_decay takes 0 or more, not -0.5"),
        ("weak-connectivity", ["training.milestones=[-5]"], "milestones takes"),
        ("weak-connectivity", ["training.grid_bits=-5"], "grid_bits takes 1 to 52"),
        ("weak-connectivity", ["training.batch_size=1298"], "a batch of 1298 does not fit into 1297 examples"),
        ("weak-connectivity", ["examples.plain=[1298, 500]"], "train_examples is 1298"),
        ("weak-connectivity", ["plain=mlp-0"], "depth 1 or more"),
        ("weak-connectivity", ["plain=mlp-²"], "an architecture is FAMILY-DEPTH"),
        (
            "butterfly-finetuning",
            ["train_examples=530", "examples=[352, 200]"],
            "digits in these classes has 497 train",
        ),
    ],
)
def test_what_the_library_refuses_is_refused_before_training_too(claim, texts, message):
    found = hostile.outcome(claim, "quick", texts)
    assert found.kind == hostile.REFUSED
    assert message in found.message


def test_a_value_within_the_limits_reaches_the_first_training():
    assert hostile.outcome("weak-connectivity", "quick", ["seeds=3", "width=16"]).kind == hostile.ACCEPTED


def test_hostile_values_are_refused_by_name_or_reach_the_first_training():
    """A seeded sample; ``python benchmarks/parameters.py`` draws thousands."""
    drawn = [(*where, found) for *where, found in hostile.drawn(290, seed=11)]
    assert [each for each in drawn if not hostile.sound(each[2], each[3])] == []
    assert {found.kind for *_, found in drawn} == {hostile.REFUSED, hostile.ACCEPTED}


def test_what_a_notebook_refuses_is_told_with_the_parameters_that_were_given(monkeypatch, tmp_path):
    def stops(*_, **__):
        raise running.Stopped("toy stopped in cell 3")

    monkeypatch.setattr(running, "execute", stops)
    for run in (
        lambda **options: running.run(CLAIMS[0], out=tmp_path, **options),
        lambda **o: running.plan(CLAIMS[0], **o),
    ):
        with pytest.raises(running.Stopped, match=r"cell 3\ngiven were -p seeds=3 -p 'data=a b'$"):
            run(overrides=["seeds=3", "data=a b"])


def test_a_refused_set_is_refused_in_the_same_words_by_run_and_status(tmp_path):
    said = []
    for ask in (
        lambda **o: running.run("weak-connectivity", out=tmp_path, **o),
        lambda **o: running.plan("weak-connectivity", **o),
    ):
        with pytest.raises(Refused) as caught:
            ask(overrides=["seeds=2"])
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("weak-connectivity needs 3 <= seeds <= 1000, and seeds is 2: ")
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_accepted_survive_the_way_into_the_notebook():
    """What papermill writes is what was given, to the type."""
    for claim in CLAIMS:
        values = parameters_of(claim) | resolve(claim, "paper")
        names: dict[str, object] = {}
        exec(hostile.PythonTranslator.codify(values), names)
        assert json.dumps({name: names[name] for name in values}) == json.dumps(values)
