"""The files of the claims: what they may hold, what one takes from another, and what follows from them."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from lmc_lib import definitions
from lmc_lib.cli import Refused
from lmc_lib.definitions import Condition, DefinitionError, deviations, load, load_all, profile, read_all

ROOT = Path(__file__).parents[1]

TEXT = """\
# a comment
chapter: Example difficulty
place: 2
title: A toy
brief: toys fall
statement: >
  Every toy
  falls.
source: nobody2024
where: Figure 1
published:
  - what: toys that fall
    value: all
criterion: Count the toys that fall.
unit: seed
scope: {quick: toy, laptop: proxy, paper: exact}
observable: &dropped
  - {quantity: dropped, label: toys, above: 3, reason: no share, null value: 0, exchange: none, effect: 9, from: ours}
supported:
  - quantity: fallen
    label: the share of toys
    below: 0.5
    reason: most of them
    null value: 1
    exchange: shuffle
    effect: 0.25
    from: figure
control: Toys on a string.
profiles:
  laptop:
    toys: 8
  paper:
    toys: 100
deviations: |
  ## A toy

  None.
"""


@pytest.fixture
def refused(tmp_path):
    """What is said of the text with one piece replaced, without the name of the folder."""

    def refused(old, new):
        assert TEXT.count(old) == 1
        (tmp_path / "toy.yml").write_text(TEXT.replace(old, new))
        with pytest.raises(DefinitionError) as caught:
            load("toy", tmp_path)
        return [line.removeprefix(f"{tmp_path.name}/") for line in str(caught.value).splitlines()]

    return refused


def the_program():
    """``notebooks/refresh.py`` as a module."""
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "notebooks" / "refresh.py")
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)
    return refresh


class TestSchema:
    def test_a_whole_file_is_read(self, tmp_path):
        (tmp_path / "toy.yml").write_text(TEXT)
        claim = load("toy", tmp_path)
        assert (claim.id, claim.title, claim.statement) == ("toy", "A toy", "Every toy falls.")
        assert claim.published == ({"what": "toys that fall", "value": "all"},)
        assert claim.observable == (Condition("dropped", "toys", 3.0, True, "no share", 0.0, "none", 9.0, "ours"),)
        assert claim.supported == (
            Condition("fallen", "the share of toys", 0.5, False, "most of them", 1.0, "shuffle", 0.25, "figure"),
        )
        assert (claim.unit, claim.scope) == ("seed", {"quick": "toy", "laptop": "proxy", "paper": "exact"})
        assert (claim.preregistered, claim.confirmed, claim.is_part, claim.heading) == ({}, {}, False, "")
        assert claim.quantities == {"dropped", "fallen"}

    def test_what_only_the_first_page_and_the_search_need_may_be_left_out(self, tmp_path):
        (tmp_path / "toy.yml").write_text(TEXT)
        bare = read_all(tmp_path)["toy"]
        assert (bare.headline, bare.claim.keywords, bare.claim.beside) == ("", (), bare.claim.published)
        added = "headline: Toys\nkeywords: [falling, free fall]\nsource:"
        (tmp_path / "toy.yml").write_text(TEXT.replace("source:", added))
        full = read_all(tmp_path)["toy"]
        assert (full.headline, full.claim.keywords) == ("Toys", ("falling", "free fall"))
        assert all(part.keywords == () for part in full.claim.parts)

    @pytest.mark.parametrize(
        ("names", "marked", "shown"),
        [
            (["a", "b", "c"], None, ["a"]),
            (["a", "b", "c"], 1, ["b"]),
            (["a", "b", "the same of c", "the same of d", "e"], 3, ["b", "the same of c", "the same of d"]),
            (["the same", "b"], None, ["the same"]),
        ],
    )
    def test_the_marked_number_stands_beside_ours_behind_what_it_refers_to(
        self, tmp_path, write_claim, names, marked, shown
    ):
        published = [
            {"what": name, "value": f"{number}"} | ({"beside": True} if number == marked else {})
            for number, name in enumerate(names)
        ]
        write_claim(tmp_path, published=published)
        definition = read_all(tmp_path)["toy"]
        assert [each["what"] for each in definition.claim.beside] == shown
        assert [each.keys() for each in definition.claim.published] == [{"what", "value"}] * len(names)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("    value: all\n", "    value: all\n    beside: false\n", "14: 'beside' is refused: True was expected"),
            ("source:", "keywords: chaos\nsource:", "9: 'keywords' takes a list, not 'chaos'"),
            ("source:", "keyword: [chaos]\nsource:", "9: unknown key 'keyword', perhaps 'keywords' is meant"),
            (
                "observable:",
                "observabel:",
                "17: unknown key 'observabel', perhaps 'observable' is meant; known are chap",
            ),
            (
                "    reason:",
                "    reasons:",
                "23: unknown key 'reasons', perhaps 'reason' is meant; known are quantity,",
            ),
            ("    value:", "    number:", "13: unknown key 'number'; known are what, value, beside"),
            ("  laptop:", "  lap:", "30: unknown key 'lap', perhaps 'laptop' is meant; known are laptop, paper"),
            ("brief: toys fall\n", "", "2: the file lacks the key 'brief'"),
            ("    label: the share of toys\n", "", "20: this item lacks the key 'label'"),
            ("    value: all\n", "    value: 0.5\n", "13: 'value' takes text, not 0.5"),
            ("below: 0.5", "below: half", "22: 'below' takes a number, not 'half'"),
            ("below: 0.5", "below: true", "22: 'below' takes a number, not True"),
            ("place: 2", "place: second", "3: 'place' takes a number, not 'second'"),
            ("title: A toy", "title: ''", "4: 'title' is refused: '' should be non-empty"),
            ("Example difficulty", "Exampel difficulty", "2: 'chapter' is 'Exampel difficulty', perhaps 'Example"),
            ("    below: 0.5\n", "", "20: this item needs either 'above' or 'below', and not both"),
            ("below: 0.5", "below: 0.5\n    above: 0.1", "20: this item needs either 'above' or 'below', and not both"),
            ("above: 3,", "above: 3, below: 4,", "18: this item needs either 'above' or 'below', and not both"),
            (
                "control:",
                "parts: {A: {title: T, supported: *dropped}}\ncontrol:",
                "2: the file needs either 'supported'",
            ),
            (
                "control:",
                "parts: {A: {titel: T}}\ncontrol:",
                "28: unknown key 'titel', perhaps 'title' is meant; known",
            ),
            (
                "control:",
                "control_rule: {parts: A}\ncontrol:",
                "28: unknown key 'parts', perhaps 'part' is meant; known",
            ),
            ("supported:\n", "supported: []\nproof:\n", "19: 'supported' is refused: [] should be non-empty"),
            ("  laptop:\n    toys: 8\n", "  laptop: eight\n", "30: 'laptop' takes a mapping, not 'eight'"),
            (
                "deviations: |\n  ## A toy\n\n  None.",
                "deviations: [none]",
                "34: 'deviations' takes what is done otherwise",
            ),
            ("unit: seed\n", "", "2: the file lacks the key 'unit'"),
            (
                "unit: seed",
                "unit: sed",
                "15: 'unit' is 'sed', perhaps 'seed' is meant; it may be network, parent, seed",
            ),
            ("scope: {quick: toy, laptop: proxy, paper: exact}\n", "", "2: the file lacks the key 'scope'"),
            ("quick: toy, ", "", "16: 'scope' lacks the key 'quick'"),
            (
                "quick: toy,",
                "quick: toys,",
                "16: 'quick' is 'toys', perhaps 'toy' is meant; it may be exact, proxy, toy",
            ),
            ("quick: toy,", "quick: toy, desk: toy,", "16: unknown key 'desk'; known are quick, laptop, paper"),
            ("    null value: 1\n", "", "20: this item lacks the key 'null value'"),
            ("null value: 1", "null value: none", "24: 'null value' takes a number, not 'none'"),
            ("null value: 0, ", "", "18: this item lacks the key 'null value'"),
            ("    exchange: shuffle\n", "", "20: this item lacks the key 'exchange'"),
            (
                "exchange: shuffle",
                "exchange: shufle",
                "25: 'exchange' is 'shufle', perhaps 'shuffle' is meant; it may be ",
            ),
            ("    effect: 0.25\n", "", "20: this item lacks the key 'effect'"),
            ("effect: 0.25", "effect: large", "26: 'effect' takes a number, not 'large'"),
            ("    from: figure\n", "", "20: this item lacks the key 'from'"),
            ("from: figure", "from: press", "27: 'from' is 'press'; it may be printed, figure, summary, ours"),
            (
                "    from: figure",
                "    form: figure",
                "27: unknown key 'form', perhaps 'from' is meant; known are quantity",
            ),
            (
                "control:",
                "preregistered: {desk: abc}\ncontrol:",
                "28: unknown key 'desk'; known are quick, laptop, paper",
            ),
            (
                "control:",
                "confirmed: {laptop: 7}\ncontrol:",
                "28: 'laptop' takes the fingerprint of a rule, or one for each setting",
            ),
            ("control:", "control_rule: {part: A}\ncontrol:", "28: 'control_rule' lacks the key 'quantities'"),
            ("place: 2", "place: 2\nplace: 3", "4: key 'place' stands twice"),
            ("    toys: 8", "    toys: 8\n    toys: 9", "32: key 'toys' stands twice"),
            ("title: A toy", "title: A: toy", "4: this is no YAML: mapping values are not allowed"),
            ("title: A toy", "title: A\0toy", "1: this is no text in UTF-8: "),
            ("    toys: 8", "    toys: .nan", "31: nan is no finite number"),
            ("    toys: 8", "    toys: [8, {a: -.inf}]", "31: -inf is no finite number"),
        ],
    )
    def test_what_it_does_not_know_is_refused_with_the_line(self, refused, old, new, message):
        assert any(line.startswith(f"toy.yml:{message}") for line in refused(old, new))

    def test_all_that_is_wrong_is_said_at_once(self, refused):
        assert refused("title: A toy\nbrief", "titel: A toy\nbreif") == [
            "toy.yml:2: the file lacks the key 'brief'",
            "toy.yml:2: the file lacks the key 'title'",
        ] + [
            f"toy.yml:{line}: unknown key {wrong!r}, perhaps {right!r} is meant; known are "
            + ", ".join(definitions.document._SCHEMA["properties"])
            for line, wrong, right in ((4, "titel", "title"), (5, "breif", "brief"))
        ]

    def test_another_encoding_is_refused(self, tmp_path):
        (tmp_path / "toy.yml").write_bytes("title: Gül\n".encode("latin-1"))
        with pytest.raises(DefinitionError, match=r"/toy\.yml:1: this is no text in UTF-8: .* can't decode byte 0xfc"):
            load("toy", tmp_path)

    @pytest.mark.parametrize("text", ["", "- a list\n", "a text\n"])
    def test_what_is_no_mapping_is_refused(self, tmp_path, text):
        (tmp_path / "toy.yml").write_text(text)
        with pytest.raises(DefinitionError, match=r"/toy\.yml:1: expected a mapping with the keys chapter, "):
            load("toy", tmp_path)

    def test_the_line_of_what_a_merge_brings_is_its_own(self, refused):
        more = "null value: 0, exchange: none, effect: 2, from: ours"
        one = f"  - &one {{quantity: one, label: l, below: 1, reason: r, {more}}}\n"
        new = f"{one}  - {{<<: *one, label: 7}}\n  - quantity: fallen"
        assert refused("  - quantity: fallen", new) == ["toy.yml:21: 'label' takes text, not 7"]

    def test_a_claim_without_a_file_is_named_with_those_that_there_are(self):
        with pytest.raises(
            DefinitionError,
            match=r"no claim 'strong': there is no notebooks/strong\.yml; there are .*weak-connectivity",
        ):
            load("strong")


class TestBook:
    def test_claims_stand_in_the_order_of_chapters_and_places(self, tmp_path, write_claim):
        write_claim(tmp_path, "a", place=3)
        write_claim(tmp_path, "b", place=1.5)
        write_claim(tmp_path, "c", place=20, chapter="The butterfly effect")
        write_claim(tmp_path, "d", place=1)
        assert list(load_all(tmp_path)) == ["c", "d", "b", "a"]
        assert [each.chapter for each in read_all(tmp_path).values()] == [
            "The butterfly effect", *["Example difficulty"] * 3
        ]  # fmt: skip

    def test_a_place_is_taken_once(self, tmp_path, write_claim):
        for name in ("first", "second"):
            write_claim(tmp_path, name)
        with pytest.raises(DefinitionError, match=r"/second\.yml:2: the same chapter and place as first"):
            load_all(tmp_path)

    def test_deviations_stand_in_the_order_of_the_book_and_once_for_claims_that_share_them(self, tmp_path, write_claim):
        write_claim(tmp_path, "last", place=3, deviations="## Last\n\nFewer.\n")
        write_claim(tmp_path, "first", place=1, deviations="## First\n\nMore.\n")
        write_claim(tmp_path, "second", place=2, deviations={"same as": "first"})
        first = "(deviations-first)=\n(deviations-second)=\n## First\n\nMore.\n"
        assert deviations(tmp_path) == f"{first}\n(deviations-last)=\n## Last\n\nFewer.\n"

    @pytest.mark.parametrize("other", ["nowhere", "second"])
    def test_deviations_that_are_not_there_cannot_be_shared(self, tmp_path, write_claim, other):
        write_claim(tmp_path, "first")
        write_claim(tmp_path, "second", place=2, deviations={"same as": other})
        with pytest.raises(
            DefinitionError, match=rf"/second\.yml:\d+: {other} has no section of its own; .* are first$"
        ):
            deviations(tmp_path)


class TestProfiles:
    def write(self, write_claim, folder, **profiles):
        for place, (name, laptop) in enumerate(profiles.items()):
            write_claim(folder, name, place=place, profiles={"laptop": laptop, "paper": {"width": 512}})

    def test_is_what_stands_there(self, tmp_path, write_claim):
        self.write(write_claim, tmp_path, one={"width": 8, "training": {"steps": 9}})
        assert profile("one", "laptop", tmp_path) == {"width": 8, "training": {"steps": 9}}
        assert profile("one", "paper", tmp_path) == {"width": 512}

    def test_own_entries_replace_those_of_the_other_claim(self, tmp_path, write_claim):
        one = {"width": 8, "seeds": 3, "training": {"steps": 9, "lr": 0.5}}
        self.write(
            write_claim, tmp_path, one=one, two={"width": 4, "same as": "one"}, three={"same as": "two", "seeds": 7}
        )
        assert profile("two", "laptop", tmp_path) == {**one, "width": 4}
        assert profile("three", "laptop", tmp_path) == {**one, "width": 4, "seeds": 7}

    def test_a_mapping_within_takes_what_stands_in_the_same_place(self, tmp_path, write_claim):
        training = {"steps": 9, "lr": 0.5}
        self.write(
            write_claim,
            tmp_path,
            one={"width": 8, "training": training},
            two={"same as": "one"},
            three={"width": 3, "training": {"same as": "two", "lr": 0.1}},
        )
        assert profile("three", "laptop", tmp_path) == {"width": 3, "training": {"steps": 9, "lr": 0.1}}

    @pytest.mark.parametrize(
        ("two", "message"),
        [
            ({"same as": "nowhere"}, "no claim 'nowhere': there is no .*; there are one, two"),
            ({"training": {"same as": "one"}}, r"one has no mapping in this place \(profiles / laptop / training\)"),
            ({"width": {"same as": "one"}}, r"one has no mapping in this place \(profiles / laptop / width\)"),
            ({"same as": "two"}, "goes round in a circle: two, two"),
        ],
    )
    def test_what_is_not_there_cannot_be_shared(self, tmp_path, write_claim, two, message):
        self.write(write_claim, tmp_path, one={"width": 8}, two=two)
        with pytest.raises(DefinitionError, match=rf"/two\.yml:\d+: {message}$"):
            profile("two", "laptop", tmp_path)

    def test_a_circle_of_claims_is_refused(self, tmp_path, write_claim):
        self.write(write_claim, tmp_path, one={"training": {"same as": "two"}}, two={"same as": "one"})
        with pytest.raises(DefinitionError, match=r"goes round in a circle: one, two, one$"):
            profile("one", "laptop", tmp_path)


def condition(bound, quantity="fallen", **others):
    entries = {"quantity": quantity, "label": "the share of toys", "above": bound, "reason": "most of them"}
    entries |= {"null value": 0.2, "exchange": "none", "effect": 0.95, "from": "ours"} | others
    return {name: value for name, value in entries.items() if value is not None}


def part(bound, quantity="fallen", **others):
    return {"title": "a part", "supported": [condition(bound, quantity)], **others}


class TestParts:
    def test_say_that_they_are_and_have_from_the_whole_what_they_do_not_say(self, tmp_path, write_claim):
        parts = {"A": part(0.5), "B": part(0.7, "broken", title="others", observable=[condition(3, "dropped")])}
        write_claim(tmp_path, unit="parent", supported=None, parts=parts)
        whole = load("toy", tmp_path)
        assert [(each.unit, each.scope, each.is_part) for each in whole.parts] == [("parent", whole.scope, True)] * 2
        assert [each.heading for each in (whole, *whole.parts)] == ["", "A: a part", "B: others"]
        assert [each.quantities for each in (whole, *whole.parts)] == [set(), {"fallen"}, {"dropped", "broken"}]


class TestRule:
    """The fingerprint of what is judged."""

    OBSERVABLE, SUPPORTED = [condition(3, "dropped")], [condition(0.5), condition(0.1, "broken")]

    def rule(self, write_claim, folder, **changes):
        write_claim(folder, **({"observable": self.OBSERVABLE, "supported": self.SUPPORTED} | changes))
        return load("toy", folder).rule

    @pytest.mark.parametrize(
        "changes",
        [
            {"supported": [condition(0.6), SUPPORTED[1]]},
            {"supported": [condition(0.5, "risen"), SUPPORTED[1]]},
            {"supported": [condition(None, below=0.5), SUPPORTED[1]]},
            {"observable": [condition(4, "dropped")]},
            {"observable": [condition(None, "dropped", below=3)]},
            # The same conditions in the same order, but another of them is a precondition.
            {"observable": [*OBSERVABLE, SUPPORTED[0]], "supported": SUPPORTED[1:]},
            {"observable": None, "supported": OBSERVABLE + SUPPORTED},
            {"supported": SUPPORTED[:1]},
            {"supported": [SUPPORTED[0] | {"null value": 0.3}, SUPPORTED[1]]},
            {"supported": [SUPPORTED[0], SUPPORTED[1] | {"exchange": "sign"}]},
            {"control_rule": {"quantities": [SUPPORTED[1]["quantity"]]}},
        ],
    )
    def test_changes_with_what_is_judged(self, tmp_path, write_claim, changes):
        assert self.rule(write_claim, tmp_path, **changes) != self.rule(write_claim, tmp_path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"reason": "a good one"},
            {"effect": 2},
            {"from": "figure"},
        ],
    )
    def test_stays_where_words_and_expectations_change(self, tmp_path, write_claim, changes):
        observable, supported = ([each | changes for each in some] for some in (self.OBSERVABLE, self.SUPPORTED))
        expected = self.rule(write_claim, tmp_path)
        assert self.rule(write_claim, tmp_path, observable=observable, supported=supported) == expected
        others = {"title": "Another", "criterion": "Count again.", "unit": "seed", "confirmed": {"paper": "abc"}}
        assert self.rule(write_claim, tmp_path, **others) == expected

    def test_that_was_written_into_a_file_stays(self, tmp_path):
        # What a file says was there before the numbers has its fingerprint from here.
        (tmp_path / "toy.yml").write_text(TEXT)
        assert load("toy", tmp_path).rule == "13073fb3d574"


class TestStatus:
    SCALES = ("quick", "laptop", "paper")

    def statuses(self, write_claim, folder, **entries):
        write_claim(folder, **entries)
        claim = load("toy", folder)
        return [claim.status(scale, "wide") for scale in self.SCALES]

    def rule(self, write_claim, folder):
        write_claim(folder)
        return load("toy", folder).rule

    def test_is_exploratory_unless_the_file_says_otherwise(self, tmp_path, write_claim):
        assert self.statuses(write_claim, tmp_path) == ["exploratory"] * 3

    def test_is_of_each_scale(self, tmp_path, write_claim):
        rule = self.rule(write_claim, tmp_path)
        entries = {"preregistered": {"laptop": rule, "paper": rule}, "confirmed": {"paper": rule}}
        assert self.statuses(write_claim, tmp_path, **entries) == ["exploratory", "preregistered", "confirmed"]

    def test_is_lost_with_another_rule(self, tmp_path, write_claim):
        rule = self.rule(write_claim, tmp_path)
        entries = {"preregistered": {"quick": rule, "laptop": rule}, "confirmed": {"laptop": rule, "paper": rule}}
        assert self.statuses(write_claim, tmp_path, **entries) == ["preregistered", "confirmed", "confirmed"]
        assert self.statuses(write_claim, tmp_path, supported=[condition(0.4)], **entries) == ["exploratory"] * 3

    def test_of_a_rule_that_was_confirmed_before_it_changed_is_what_is_left(self, tmp_path, write_claim):
        rule = self.rule(write_claim, tmp_path)
        entries = {"preregistered": {"laptop": rule}, "confirmed": {"laptop": "0" * 12}}
        assert self.statuses(write_claim, tmp_path, **entries)[1] == "preregistered"

    def test_can_be_that_of_some_settings(self, tmp_path, write_claim):
        rule = self.rule(write_claim, tmp_path)
        rules = {"preregistered": {"laptop": rule}, "confirmed": {"laptop": {"wide": rule, "deep": "0" * 12}}}
        write_claim(tmp_path, **rules)
        claim = load("toy", tmp_path)
        settings = ("wide", "deep", "narrow")
        assert [claim.status("laptop", each) for each in settings] == ["confirmed", "preregistered", "preregistered"]
        assert claim.status("quick", "wide") == "exploratory"

    def test_of_a_part_is_its_own(self, tmp_path, write_claim):
        write_claim(tmp_path, supported=None, parts={"A": part(0.5), "B": part(0.7)})
        rule = load("toy", tmp_path).part("A").rule
        parts = {name: part(bound, preregistered={"laptop": rule}) for name, bound in (("A", 0.5), ("B", 0.7))}
        write_claim(tmp_path, supported=None, parts=parts)
        assert [each.status("laptop", "wide") for each in load("toy", tmp_path).parts] == [
            "preregistered",
            "exploratory",
        ]


class TestBounds:
    def test_are_asked_for_by_name(self, tmp_path):
        (tmp_path / "toy.yml").write_text(TEXT)
        claim = load("toy", tmp_path)
        assert (claim.bound("dropped"), claim.bound("fallen")) == (3.0, 0.5)
        with pytest.raises(KeyError, match="toy has no condition on 'risen'; there are dropped, fallen"):
            claim.bound("risen")

    def test_of_parts_are_those_of_the_claim_unless_parts_differ(self, tmp_path, write_claim):
        parts = {"A": part(0.5), "B": part(0.5), "C": part(0.7, "broken"), "D": part(0.9, "broken")}
        write_claim(tmp_path, supported=None, parts=parts)
        claim = load("toy", tmp_path)
        assert claim.bound("fallen") == 0.5
        assert claim.part("D").bound("broken") == 0.9
        with pytest.raises(KeyError, match="the parts of toy have different bounds for 'broken': ask one of them"):
            claim.bound("broken")


class TestControlRule:
    def load(self, write_claim, folder, **rule):
        parts = {"A": part(0.5), "B": part(0.7, "broken", observable=part(3, "dropped")["supported"])}
        write_claim(folder, supported=None, parts=parts, control_rule=rule)
        return load("toy", folder)

    def test_is_the_part_with_the_named_conditions_alone(self, tmp_path, write_claim):
        claim = self.load(write_claim, tmp_path, part="B", quantities=["broken"])
        assert claim.control_rule.id == "B"
        assert claim.control_rule.observable == ()
        assert claim.control_rule.supported == claim.part("B").supported
        assert claim.part("B").observable

    def test_of_a_claim_without_parts_is_the_claim_itself(self, tmp_path, write_claim):
        entries = {
            "observable": [condition(3, "dropped"), condition(2, "counted")],
            "supported": [condition(0.5), condition(0.9, "broken")],
        }
        write_claim(tmp_path, control_rule={"quantities": ["broken", "counted"]}, **entries)
        claim = load("toy", tmp_path)
        assert (claim.control_rule.id, claim.control_rule.heading) == ("toy", "")
        assert claim.control_rule.observable == claim.observable[1:]
        assert claim.control_rule.supported == claim.supported[1:]
        assert claim.control_rule.quantities == {"counted", "broken"}
        assert len(claim.observable) == len(claim.supported) == 2

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"part": "A", "quantities": ["fallen"]}, "no part 'A'; there are toy"),
            ({"quantities": ["risen"]}, "toy has no quantity 'risen'; there are dropped, fallen"),
            ({"quantities": ["dropped"]}, "names no condition of the verdict on toy, but preconditions alone"),
        ],
    )
    def test_without_parts_speaks_of_what_there_is(self, tmp_path, write_claim, rule, message):
        with pytest.raises(DefinitionError, match=rf"/toy\.yml:\d+: {message}$"):
            write_claim(tmp_path, observable=[condition(3, "dropped")], control_rule=rule)
            load("toy", tmp_path)

    def test_of_a_claim_with_parts_names_one(self, tmp_path, write_claim):
        with pytest.raises(DefinitionError, match=r"/toy\.yml:\d+: no part 'toy'; there are A, B$"):
            self.load(write_claim, tmp_path, quantities=["fallen"])

    def test_is_none_where_the_control_is_judged_like_the_claim(self, tmp_path, write_claim):
        write_claim(tmp_path)
        assert load("toy", tmp_path).control_rule is None

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"part": "C", "quantities": ["broken"]}, "no part 'C'; there are A, B"),
            ({"part": "B", "quantities": ["fallen"]}, "B has no quantity 'fallen'; there are dropped, broken"),
            (
                {"part": "B", "quantities": ["dropped"]},
                "names no condition of the verdict on B, but preconditions alone",
            ),
        ],
    )
    def test_speaks_of_what_there_is(self, tmp_path, write_claim, rule, message):
        with pytest.raises(DefinitionError, match=rf"/toy\.yml:\d+: {message}"):
            self.load(write_claim, tmp_path, **rule)

    def test_of_the_page_on_triples_does_not_ask_for_the_fall_with_width(self):
        # The control has a single width. (On text, where a rule was narrower once, exchanges are judged as the part.)
        claim = load("strong-connectivity")
        assert [each.quantity for each in claim.control_rule.supported] == ["smallest"]
        assert claim.control_rule.observable == claim.observable
        assert [each.quantity for each in claim.supported] == ["slope", "smallest"]


class TestFiles:
    def test_every_notebook_has_one_and_every_one_a_notebook(self):
        names = [{path.stem for path in (ROOT / "notebooks").glob(f"*.{kind}")} for kind in ("yml", "ipynb")]
        assert names[0] == names[1]

    def test_the_contents_and_the_readme_list_the_claims_as_they_stand(self):
        refresh = the_program()
        stale = [path.name for path, text in refresh.lists().items() if path.read_text() != text]
        assert stale == [], "out of step with notebooks/*.yml; mend them with: python notebooks/refresh.py --lists"

    def test_a_bar_in_a_brief_does_not_end_its_cell(self, monkeypatch):
        refresh = the_program()
        (name, first), *_ = definitions.read_all().items()
        told = {name: dataclasses.replace(first, brief="loss | error falls")}
        monkeypatch.setattr(refresh.definitions, "read_all", lambda: told)
        assert f"| `{name}` | loss \\| error falls |\n" in refresh.table_of((ROOT / "README.md").read_text())

    @pytest.mark.parametrize(
        ("text", "said"),
        [("# No table\n", "has 0 places for this"), ("| page | claim |\n|---|---|\n\n" * 2, "has 2 places")],
    )
    def test_a_list_without_its_place_is_refused(self, text, said):
        with pytest.raises(Refused, match=said):
            the_program().table_of(text)

    def test_the_program_tells_what_is_wrong_in_a_line(self, monkeypatch, capsys):
        refresh = the_program()
        monkeypatch.setattr("sys.argv", ["refresh.py", "notebooks/nothing.ipynb"])
        with pytest.raises(SystemExit):
            refresh.main()
        assert "there is no notebook notebooks/nothing.ipynb" in capsys.readouterr().err
        monkeypatch.setattr("sys.argv", ["refresh.py", "--lists"])
        monkeypatch.setattr(refresh, "lists", lambda: (_ for _ in ()).throw(DefinitionError("toy.yml:3: wrong")))
        with pytest.raises(SystemExit) as ended:
            refresh.main()
        assert (ended.value.code, capsys.readouterr().err) == (1, "toy.yml:3: wrong\n")

    def test_reading_them_loads_no_library_of_numbers(self):
        program = (
            "import sys; from lmc_lib import cli, definitions; cli.main(['list']); definitions.deviations(); "
            "print(*{'torch', 'numpy', 'scipy', 'matplotlib'} & sys.modules.keys())"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == ""
