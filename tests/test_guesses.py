"""The page of guesses: each is answered by parts that exist, with the numbers of their reports and no others."""

import re
from pathlib import Path

import pytest

from builder import guesses, telling
from builder.guesses import Answer, Guess, GuessError
from builder.results import Result
from lmc_lib import definitions, records
from lmc_lib.cli import judging

ROOT = Path(__file__).parents[1]
DEFINITIONS = definitions.read_all()
CLAIMS = {name: each.claim for name, each in DEFINITIONS.items()}
ASKED = Guess(
    "Width leaves room", "Wider layers have room.", "They do.", (Answer("barrier-and-size", ("depth", "ends")),)
)


def result(name, report=None):
    """A claim with the report of its records at the laptop scale, or None for a page that failed."""
    path = ROOT / "records" / f"{name}-laptop.json.gz"
    return Result(DEFINITIONS[name], {"laptop": records.head(path) if report is None else report or None})


def written(tmp_path, text):
    file = tmp_path / "some.yml"
    file.write_text(text)
    return guesses.read(CLAIMS, file)


class TestReading:
    def test_texts_are_folded_into_lines_and_answers_may_name_parts(self, tmp_path):
        text = """
        - title: Width
          supposed: >
            Wider layers
            have room.
          seen: They do.
          answers:
            - {claim: weak-connectivity}
            - {claim: barrier-and-size, parts: [depth, ends]}
        - {title: Nothing, supposed: So., seen: No page.}
        """
        first, second = written(tmp_path, text)
        assert first.supposed == "Wider layers have room."
        assert first.answers == (Answer("weak-connectivity"), Answer("barrier-and-size", ("depth", "ends")))
        assert second.answers == ()

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            (
                "{title: a, supposed: b, seen: c, answers: [{claim: barrier-and-size, parts: [width, wide]}]}",
                "guess 2: barrier-and-size has no part 'wide'; it has width, depth, ",
            ),
            (
                "{title: a, supposed: b, seen: c, answers: [{claim: weak-connectivity, parts: [width]}]}",
                "guess 2: weak-connectivity has no part 'width'; it has none",
            ),
            ("{title: a, supposed: b}", "guess 2: expected title, supposed, seen, and answers"),
            ("{title: a, supposed: b, seen: c, says: d}", "guess 2: expected title, supposed, seen, and answers"),
            ("{title: a, supposed: b, seen: 3}", "guess 2: expected title, supposed, seen, and answers"),
            (
                "{title: a, supposed: b, seen: c, answers: [{parts: [width]}]}",
                "guess 2: expected title, supposed, seen",
            ),
            ("just words", "guess 2: expected title, supposed, seen, and answers"),
        ],
    )
    def test_a_guess_that_nothing_answers_is_refused_by_its_place(self, tmp_path, entry, told):
        with pytest.raises(GuessError, match=re.escape(f"some.yml, {told}")):
            written(tmp_path, f"- {{title: a, supposed: b, seen: c}}\n- {entry}\n")


class TestSections:
    def test_the_verdicts_of_the_parts_that_answer_stand_under_a_guess(self):
        told = result("barrier-and-size")
        text = guesses.sections([ASKED], [result("weak-connectivity"), told])
        rows = [line for line in text.splitlines() if "claims/barrier-and-size.ipynb" in line]
        settings = [each for each in told.report["settings"] if each["part"] in ("depth", "ends")]
        assert len(rows) == len(settings) == 2
        for row, setting in zip(rows, settings, strict=True):
            assert telling.plain(setting["title"]) in row
            assert telling.badge(setting["verdict"]) in row
            assert setting["status"] in row
            assert all(telling.interval(each["estimate"]) in row for each in setting["conditions"])
            assert telling.count_of(setting) in row
        assert "weak-connectivity" not in text

    def test_a_claim_without_named_parts_answers_with_all_its_settings(self):
        told = result("weak-connectivity")
        asked = [Guess("a", "b", "c", (Answer("weak-connectivity"),))]
        assert guesses.sections(asked, [told]).count("claims/weak-connectivity.ipynb") == len(told.report["settings"])

    def test_what_a_reader_must_know_stands_beside_the_verdict(self):
        told = result("barrier-and-size")
        (setting,) = [each for each in told.report["settings"] if each["part"] == "depth"]
        known = {judging.place({**told.report, **setting}): ["underpowered"]}
        rows = guesses.sections([ASKED], [told], known).splitlines()
        assert [line.count("underpowered") for line in rows if "claims/barrier-and-size" in line] == [1, 0]

    def test_a_page_that_failed_says_so(self):
        text = guesses.sections([ASKED], [result("barrier-and-size", {})])
        assert [line for line in text.splitlines() if "| failed |" in line] != []

    def test_a_book_of_a_few_claims_says_which_it_lacks(self, tmp_path):
        asked = written(tmp_path, "- {title: a, supposed: b, seen: c, answers: [{claim: weak, parts: [width]}]}")
        assert "| `weak` | not in this book |" in guesses.sections(asked, [result("barrier-and-size")])

    def test_a_guess_that_no_page_tests_has_no_table(self):
        text = guesses.sections([Guess("a", "b", "No page.")], [])
        assert text == "## a\n\n**Supposed.** b\n\n**Seen here.** No page.\n"


class TestTheBook:
    GUESSES = guesses.read(CLAIMS)

    def test_words_of_the_page_hold_no_number(self):
        for guess in self.GUESSES:
            assert re.findall(r"\d", guess.seen) == [], guess.title

    def test_has_every_claim_that_answers(self):
        assert {answer.claim for guess in self.GUESSES for answer in guess.answers} <= set(CLAIMS)

    def test_titles_differ(self):
        titles = [each.title for each in self.GUESSES]
        assert len(set(titles)) == len(titles)

    def test_every_page_on_the_papers_of_the_list_answers(self):
        papers = {
            "ainsworth2023",
            "entezari2022",
            "juneja2023",
            "lucas2021",
            "mccoy2020",
            "veit2016",
            "bansal2021",
            "benton2021",
        }
        pages = {name for name, each in CLAIMS.items() if each.source in papers}
        assert pages - {answer.claim for guess in self.GUESSES for answer in guess.answers} == set()
        assert len(pages) >= 6
