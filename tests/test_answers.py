"""The page of answers: each part is told with the verdicts of its claims, and says where these have changed."""

from pathlib import Path

import pytest

from builder import answers, telling
from builder.answers import Answer, AnswerError
from builder.results import Result
from lmc_lib import definitions, records

ROOT = Path(__file__).parents[1]
DEFINITIONS = definitions.read_all()
PART = "Straight lines before any alignment"


def result(name, report=None):
    """A claim with the report of its records at the laptop scale, or with another one; {} is a page that failed."""
    path = ROOT / "records" / f"{name}-laptop.json.gz"
    return Result(DEFINITIONS[name], {"laptop": records.head(path) if report is None else report or None})


def answer(**verdicts):
    return Answer(PART, "What does a line tell?", "A little.", "As they say.", "Rather.", verdicts)


def written(tmp_path, text):
    file = tmp_path / "some.yml"
    file.write_text(text)
    return answers.read(file)


class TestReading:
    def test_texts_are_folded_into_lines(self, tmp_path):
        (found,) = written(
            tmp_path,
            """
            - chapter: A part
              question: Why?
              found: >
                For two
                reasons.
              papers: They agree.
              sure: Not at all.
              verdicts: {weak-connectivity: mixed, synflow: not seen at this scale}
            """,
        )
        verdicts = {"weak-connectivity": "mixed", "synflow": "not seen at this scale"}
        assert found == Answer("A part", "Why?", "For two reasons.", "They agree.", "Not at all.", verdicts)

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            ("{chapter: a, question: b, found: c, papers: d, sure: e}", "answer 1: expected chapter, .*'verdicts'"),
            ("{chapter: a, question: b, found: c, papers: d, verdicts: {}}", "answer 1: expected .*'sure'"),
            ("{chapter: a, question: b, found: 3, papers: d, sure: e, verdicts: {}}", "answer 1: expected "),
            ("{chapter: a, question: b, found: c, papers: d, sure: e, verdicts: [f]}", "answer 1: expected "),
            (
                "{chapter: a, question: b, found: c, papers: d, sure: e, verdicts: {x: sopported}}",
                "answer 1: no verdicts are 'sopported'; there are supported, ",
            ),
        ],
    )
    def test_what_is_no_answer_is_refused(self, tmp_path, entry, told):
        with pytest.raises(AnswerError, match=f"some.yml, {told}"):
            written(tmp_path, f"- {entry}")


class TestPage:
    def test_a_part_is_told_with_the_verdicts_of_its_claims_and_of_no_others(self):
        asked = answer(**{"monotonic-interpolation": "mixed", "edge-of-stability": "mixed"})
        own = [result("monotonic-interpolation"), result("weak-connectivity"), result("edge-of-stability")]
        text = answers.sections([asked], own)
        order = [
            f"## {PART}",
            "*What does a line tell?*",
            "A little.",
            "As they say.",
            "Rather.",
            "monotonic",
            "edge-of",
        ]
        places = [text.index(each) for each in order]
        assert places == sorted(places)
        assert "weak-connectivity" not in text and "changed" not in text
        (row,) = [line for line in text.splitlines() if "claims/monotonic-interpolation.ipynb" in line]
        settings = own[0].report["settings"]
        supported = sum(each["verdict"] == "supported" for each in settings)
        assert 0 < supported < len(settings)
        assert telling.badge("mixed") in row and f"| {supported} supported, " in row
        assert row.endswith("| proxy; preregistered |")

    def test_it_says_which_verdicts_are_others_than_those_it_was_written_for(self):
        asked = answer(**{"monotonic-interpolation": "supported"})
        text = answers.sections([asked], [result("monotonic-interpolation")])
        assert f"have changed or come: {DEFINITIONS['monotonic-interpolation'].claim.title}." in text
        text = answers.sections([answer()], [result("edge-of-stability")])
        assert f"have changed or come: {DEFINITIONS['edge-of-stability'].claim.title}." in text

    def test_a_page_that_failed_is_named(self):
        text = answers.sections([answer(**{"edge-of-stability": "mixed"})], [result("edge-of-stability", {})])
        assert "(claims/edge-of-stability.ipynb) | failed |" in text and "have changed" in text


class TestThatOfTheBook:
    ANSWERS = answers.read()

    def test_every_part_and_every_claim_is_answered_once_in_the_order_of_the_book(self):
        parts = dict.fromkeys(each.chapter for each in DEFINITIONS.values())
        assert [each.chapter for each in self.ANSWERS] == list(parts)
        told = [(each.chapter, name) for each in self.ANSWERS for name in each.verdicts]
        assert told == [(each.chapter, name) for name, each in DEFINITIONS.items()]

    def test_it_was_written_for_the_verdicts_that_stand(self):
        found = {name: records.head(ROOT / "records" / f"{name}-laptop.json.gz")["verdict"] for name in DEFINITIONS}
        assert {name: said for each in self.ANSWERS for name, said in each.verdicts.items()} == found

    def test_words_have_no_numbers_of_their_own(self):
        for each in self.ANSWERS:
            assert not [word for word in each.found.split() if any(map(str.isdigit, word))], each.chapter
