"""The first page and the page of verdicts: every number is that of a report, and many claims keep them readable."""

import gzip
import re
from collections import Counter
from dataclasses import replace
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import markdown_it
import nbformat
import pytest
from pybtex.database import Entry, Person

from builder import first_page, glance, parameters, results, telling, verdict, verdict_tables
from builder.layout import Page
from builder.making import Outcome
from builder.results import Result
from lmc_lib import claims, data, definitions, records

ROOT = Path(__file__).parents[1]
RECORDS = {path.name.removesuffix("-laptop.json.gz"): path for path in (ROOT / "records").glob("*-laptop.json.gz")}
DEFINITIONS = definitions.read_all()
PAPERS = dict.fromkeys((each.claim.source for each in DEFINITIONS.values()), "Somebody et al. (2024)")


def result(name, report=None):
    """A claim with a report of one scale; by default with that of its records, None for a page that failed."""
    return Result(DEFINITIONS[name], {"laptop": records.head(RECORDS[name]) if report is None else report or None})


def judged(part, verdict, *, setting="", value=20.0, p=0.001, **more):
    """A setting of a report, as far as the pages read it."""
    found = {"value": value, "low": value - 9, "high": value + 11, "pairs": 5, "replicas": 5, "count": "5 parents"}
    conditions = [
        {"condition": each.text, "quantity": each.quantity, "estimate": found, "p": p, "outcome": "met"}
        for each in (*part.observable, *part.supported)
    ]
    named = {"part": part.id if part.is_part else "", "setting": setting}
    named["title"] = ", ".join(each for each in (part.heading, setting) if each)
    return {**named, "verdict": verdict, "status": "exploratory", "held": False, "conditions": conditions} | more


def report_of(claim, *settings, scale="quick", verdict="mixed", controls=()):
    named = {"claim": claim.id, "scale": scale, "scope": "toy", "verdict": verdict, "parameters": {"data": "digits"}}
    return named | {"settings": list(settings), "controls": list(controls)}


def shown(found):
    """A number with its interval, as pages show it."""
    return re.sub(r"-(0\.000)(?!\d)", r"\1", f"{found['value']:.3f} [{found['low']:.3f},\u00a0{found['high']:.3f}]")


def tables_of(text):
    """The form and the table within the Markdown of the first page."""
    (html,) = re.findall(r"```{raw} html\n(.*)```\n", text, re.DOTALL)
    form, table = ElementTree.fromstring(f"<div>{html}</div>")
    return form, table


def words(element):
    return " ".join("".join(element.itertext()).split())


class TestDeciding:
    """The condition on which a verdict hangs."""

    RULE = claims.load("weak-connectivity")

    def setting(self, *conditions):
        found = [{"estimate": {"low": low, "high": high}, "outcome": outcome} for low, high, outcome in conditions]
        return {"part": "", "conditions": found}

    def claim(self, *supported):
        first = self.RULE.supported[0]
        bounds = [replace(first, label=label, bound=bound, above=above) for label, bound, above in supported]
        return replace(self.RULE, supported=tuple(bounds))

    def test_a_precondition_counts_only_where_it_is_not_met(self):
        claim = self.claim(("aligned", 0.1, False))
        met = self.setting((0.2001, 0.9, "met"), (0.01, 0.02, "met"))
        assert claims.deciding(claim, met)[0] == "aligned"
        unmet = self.setting((0.1, 0.9, "open"), (0.01, 0.5, "open"))
        about, condition, found = claims.deciding(claim, unmet)
        assert (about, condition) == (claim.observable[0].label, claim.observable[0])
        assert found["estimate"]["low"] == 0.1

    @pytest.mark.parametrize(
        ("ratio", "size", "decides"),
        [
            ((3.0, 5.0), (0.02, 0.03), "ratio"),  # half of its length beyond the bound; the other seven lengths
            ((30.0, 31.0), (0.02, 0.07), "size"),
            ((1.0, 5.0), (0.02, 0.07), "ratio"),  # open
            ((1.5, 5.0), (0.2, 0.3), "size"),  # open, and failed
            ((7.0, 7.0), (0.02, 0.07), "size"),  # an interval without length lies far beyond
            ((1.0, 1.0), (0.2, 0.3), "ratio"),
        ],
    )
    def test_it_clears_its_bound_by_least_in_lengths_of_its_interval(self, ratio, size, decides):
        claim = self.claim(("ratio", 2.0, True), ("size", 0.1, False))
        setting = self.setting((0.5, 0.9, "met"), (*ratio, "met"), (*size, "met"))
        assert claims.deciding(claim, setting)[0] == decides

    def test_a_label_that_refers_to_another_stands_behind_it(self):
        claim = self.claim(("the ratio", 2.0, True), ("the same at the start", 9.0, False))
        setting = self.setting((0.5, 0.9, "met"), (30.0, 31.0, "met"), (7.0, 8.5, "met"))
        assert claims.deciding(claim, setting)[0] == "the same at the start (as the ratio)"

    def test_two_bounds_on_one_number_are_about_what_the_first_says(self):
        claim = self.claim(("the order", 0.5, True), ("the same order", 1.5, False))
        setting = self.setting((0.5, 0.9, "met"), (0.7, 1.4, "met"), (0.7, 1.4, "met"))
        assert claims.deciding(claim, setting)[0] == "the order"

    def test_a_part_is_judged_by_its_own_conditions(self):
        claim = claims.load("butterfly-onset")
        part = claim.part("B3")
        setting = judged(part, "supported")
        setting["conditions"][1]["estimate"] = {"low": 1.0, "high": 2.0}
        assert claims.deciding(claim, setting)[1] == part.supported[0]


class TestTable:
    @pytest.mark.parametrize("name", RECORDS)
    def test_a_row_says_what_the_report_says(self, name):
        report, claim = records.head(RECORDS[name]), claims.load(name)
        _, table = tables_of(first_page.table([result(name)], PAPERS))
        (row,) = table.findall(".//tr[@data-verdict]")
        title, verdict, numbers, paper = row
        assert (title.tag, title.get("scope")) == ("th", "row")
        assert title.find("a").get("href") == f"claims/{name}.html"
        assert words(title) == claim.title
        assert words(verdict).startswith(report["verdict"])
        assert report["scope"] in words(verdict)
        assert all(each["status"] in words(verdict) for each in report["settings"])
        lines = numbers.findall(".//li")
        common = lines.pop() if words(lines[-1]).startswith("All of them: ") else numbers
        parts = Counter(each["part"] for each in report["settings"])
        settings, few = report["settings"], len(lines) <= 3
        if len(report["settings"]) > 12:
            assert [words(line).partition(":")[0] for line in lines if not line.findall("strong")] == [
                claim.part(part).title for part, count in parts.items() if count > 1
            ]
            settings = [each for each in settings if parts[each["part"]] == 1]
            lines = [line for line in lines if line.findall("strong")]
        for line, setting in zip(lines, settings, strict=True):
            about, _, found = claims.deciding(claim, setting)
            assert line.find("strong").text == shown(found["estimate"])
            assert f"n = {found['estimate']['count']}" in words(line) + words(common)
            assert (about in words(line)) == few
            assert setting["setting"] in words(line)
            assert len(lines) == 1 or setting["verdict"] in words(line)
        (*_, last) = DEFINITIONS[name].claim.beside
        assert words(paper).startswith("Somebody et al. (2024)")
        assert paper.findall(".//strong")[-1].text == last["value"].strip()
        said = {report["verdict"], *(each["verdict"] for each in report["settings"])}
        assert set(row.get("data-verdict").split("|")) == said
        asked = [row.get(f"data-{each}") for each in ("part", "paper", "scope")]
        assert asked == [DEFINITIONS[name].chapter, claim.source, report["scope"]]

    def test_many_verdicts_are_counted_by_part(self):
        claim = claims.load("synflow")
        first, second = claim.parts[:2]
        networks = [f"network {number}" for number in range(12)]
        rows = [judged(first, "supported", setting=name) for name in networks[:7]]
        rows += [judged(first, "inconclusive", setting=name) for name in networks[7:]]
        alone = judged(second, "not seen at this scale", setting="alone", status="confirmed")
        known = {("synflow", "quick", first.id, networks[each]): ["underpowered"] for each in (2, 8, 11)}

        def lines(*rows):
            _, table = tables_of(first_page.table([result("synflow", report_of(claim, *rows))], PAPERS, known))
            return [words(line) for line in table.findall(".//td[2]//li")]

        told = f"{first.title}: 7 supported, 5 inconclusive; exploratory, 3 underpowered"
        assert lines(*rows, alone)[0] == told
        assert lines(*rows, alone)[1].startswith(f"{second.title}, alone: not seen at this scale 20.000 [")
        assert len(lines(*rows, alone)) == 3
        assert len(lines(*rows)) == 13

    def test_is_one_for_a_screen_reader(self):
        _, table = tables_of(first_page.table([result(name) for name in DEFINITIONS], PAPERS))
        assert words(table.find("caption"))
        heads = table.findall("thead/tr/th")
        assert [head.get("scope") for head in heads] == ["col"] * 4
        groups = [group.find("tr/th") for group in table.findall("tbody")]
        assert [(each.get("scope"), words(each)) for each in groups] == [
            ("rowgroup", chapter) for chapter in definitions.CHAPTERS
        ]
        for row in table.findall(".//tr[@data-verdict]"):
            assert [cell.get("data-label") for cell in row.findall("td")] == [head.text for head in heads[1:]]

    @pytest.mark.parametrize("name", ["weak-connectivity", "butterfly-onset"])
    def test_says_where_it_stands_how_a_number_is_measured(self, name):
        _, table = tables_of(first_page.table([result(name)], PAPERS))
        (link,) = [each for each in table.findall(".//td/p/a") if words(each) == "How it is measured"]
        page, place = link.get("href").split("#")
        assert page == f"claims/{name}.html"
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", nbformat.NO_CONVERT)
        (section,) = [each.source for each in notebook.cells if each.source.startswith("## The claim\n")]
        assert section.partition("\n")[0].removeprefix("## ").lower().replace(" ", "-") == place

    def test_many_verdicts_of_a_claim_are_folded_under_their_count(self):
        whole = claims.load("butterfly-onset")
        verdicts = ["supported", "not seen at this scale", "supported", "inconclusive"]
        settings = [judged(part, verdict) for part, verdict in zip(whole.parts, verdicts, strict=False)]
        _, table = tables_of(first_page.table([result(whole.id, report_of(whole, *settings))], PAPERS))
        (folded,) = table.iter("details")
        assert words(folded.find("summary")) == "4 verdicts: 2 supported, 1 not seen at this scale, 1 inconclusive"
        told = list(map(words, folded.findall("ul/li")))
        # What is true of all is told once; the words for what is measured, and its bound, stand on the page.
        assert told[1] == f"{whole.parts[1].title}: not seen at this scale 20.000 [11.000, 31.000]"
        assert [len(told), told[-1]] == [5, "All of them: n = 5 parents, exploratory."]
        _, table = tables_of(first_page.table([result(whole.id, report_of(whole, *settings[:3]))], PAPERS))
        assert not list(table.iter("details"))
        assert len(table.findall(".//td/ul/li")) == 3 + len(DEFINITIONS[whole.id].claim.beside)

    def test_a_number_says_status_and_what_a_verdict_lacks(self):
        whole = claims.load("butterfly-onset")
        first, second, *_ = whole.parts
        rows = [
            judged(first, "inconclusive", held=True),
            judged(second, "not seen at this scale", setting="resnet-8"),
        ]
        known = {("butterfly-onset", "quick", second.id, "resnet-8"): ["underpowered", "lost"]}
        _, table = tables_of(first_page.table([result(whole.id, report_of(whole, *rows))], PAPERS, known))
        held, unseen = map(words, table.findall(".//td[2]//li"))
        assert held == (
            f"{first.title}: inconclusive {first.supported[0].label} 20.000 [11.000, 31.000], above 0.05 needed; "
            "n = 5 parents, exploratory, a control could not say no"
        )
        assert unseen.startswith(f"{second.title}, resnet-8: not seen at this scale ")
        assert unseen.endswith("n = 5 parents, exploratory, underpowered, lost")

    def test_a_page_that_failed_has_a_row(self):
        form, table = tables_of(first_page.table([result("weak-connectivity", {})], PAPERS))
        (row,) = table.findall(".//tr[@data-verdict]")
        assert "could not be made" in words(row)
        assert (row.get("data-verdict"), row.get("data-scope")) == ("", "")
        assert [[option.text for option in each] for each in form.iter("select")][2:] == [["all"], ["all"]]

    def test_text_of_a_claim_is_no_markup(self):
        definition = replace(
            DEFINITIONS["weak-connectivity"],
            claim=replace(claims.load("weak-connectivity"), title='"<i>" stays, a < b & c'),
        )
        told = replace(result("weak-connectivity"), definition=definition)
        _, table = tables_of(first_page.table([told], PAPERS))
        assert words(table.find(".//tr[@data-verdict]/th")) == '"<i>" stays, a < b & c'

    def test_stays_small_and_whole_with_45_claims(self):
        form, table = tables_of(text := first_page.table(forty_five(), PAPERS))
        assert len(table.findall(".//tr[@data-verdict]")) == 45
        links = [link.get("href") for link in table.findall(".//th/a")]
        assert len(set(links)) == 45
        assert [len(each) for each in form.iter("select")] == [1 + len(definitions.CHAPTERS), 1 + len(PAPERS), 6, 3]
        assert len(text.encode()) < 120_000
        assert len(gzip.compress(text.encode())) < 12_000

    def test_the_filter_offers_each_choice_once_and_waits_for_its_script(self):
        form, _ = tables_of(first_page.table([result(name) for name in DEFINITIONS], PAPERS))
        assert form.get("hidden") is not None
        choices = {each.get("name"): [option.get("value") for option in each] for each in form.iter("select")}
        assert choices["part"] == ["", *definitions.CHAPTERS]
        assert choices["paper"] == ["", *PAPERS]
        said = {records.head(path)["verdict"] for path in RECORDS.values()}
        assert choices["verdict"][0] == ""
        assert said < set(choices["verdict"])
        assert choices["scope"] == ["", "proxy", "toy"]
        assert all(each.find("select") is not None and each.text.strip() for each in form.findall("label"))

    def test_the_chapters_are_counted_with_links_to_their_rows(self):
        text = first_page.table([result("weak-connectivity"), result("strong-connectivity", {})], PAPERS)
        verdict = records.head(RECORDS["weak-connectivity"])["verdict"]
        assert text.splitlines()[0] == (
            f'- <a href="?part=Linear+mode+connectivity#claims">Linear mode connectivity</a> (2): 1 {verdict}, 1 failed'
        )


def forty_five():
    """The claims of the book, with copies, as many as it may have one day."""
    found = []
    for number, name in enumerate([*DEFINITIONS, *DEFINITIONS, *DEFINITIONS][:45]):
        told = result(name)
        claim = replace(told.claim, id=f"{name}-{number}")
        found.append(replace(told, definition=replace(told.definition, claim=claim)))
    return found


class TestFindings:
    @pytest.mark.parametrize("name", ["weak-connectivity", "simultaneous-training", "strong-connectivity"])
    def test_say_of_a_claim_with_a_headline_what_its_report_says(self, name):
        report, claim = records.head(RECORDS[name]), claims.load(name)
        text = first_page.findings([result("matching-limits"), result(name)])
        assert "matching-limits" not in text
        assert f"**[{DEFINITIONS[name].headline}](claims/{name}.ipynb)**" in text
        assert DEFINITIONS[name].brief in text
        assert telling.badge(report["verdict"]) in text
        assert "Measured on Fashion-MNIST; the scope is *proxy*" in text
        for setting in report["settings"]:
            (line,) = [each for each in text.splitlines() if f"{setting['setting']}:" in each]
            _, _, found = claims.deciding(claim, setting)
            assert shown(found["estimate"]) in line
            assert telling.badge(setting["verdict"]) in line
            assert f"n\u00a0=\u00a0{setting['conditions'][0]['estimate']['count']}" in line

    def test_name_each_kind_of_connectivity(self):
        text = first_page.findings([result(name) for name in DEFINITIONS])
        assert re.findall(r"\*\*\[(\w+) connectivity", text) == ["Weak", "Simultaneous", "Simultaneous", "Strong"]

    def test_say_that_a_page_failed(self):
        text = first_page.findings([result("weak-connectivity", {})])
        assert "- **[Weak connectivity](claims/weak-connectivity.ipynb)**" in text
        assert "the page could not be made" in text
        assert "Measured on" not in text

    def test_name_the_pages_that_could_not_be_made_first(self):
        page = Page("weak-connectivity", ROOT / "notebooks" / "weak-connectivity.ipynb", "weak-connectivity", "laptop")
        text = first_page.files([Outcome(page, {}, failure="torn")])["findings.md"].decode()
        assert "1 of its pages could not be made" in text.split("Weak connectivity")[0]
        assert "[weak-connectivity at laptop scale](claims/weak-connectivity.ipynb)" in text

    def test_a_paper_that_is_not_listed_leaves_the_others_their_page(self, monkeypatch):
        """The page of such a claim fails, and says what to do."""
        path = ROOT / "notebooks" / "weak-connectivity.ipynb"
        failed = Outcome(Page("weak-connectivity", path, "weak-connectivity", "laptop"), {}, failure="no such paper")
        definition = DEFINITIONS["weak-connectivity"]
        odd = replace(definition, claim=replace(definition.claim, source="unlisted2024"))
        monkeypatch.setattr(results, "read_all", lambda: {"weak-connectivity": odd})
        assert "unlisted2024" in first_page.files([failed])["claims.md"].decode()


class TestExample:
    def test_goes_through_the_conditions_of_one_verdict(self):
        report, claim = records.head(RECORDS["weak-connectivity"]), claims.load("weak-connectivity")
        text = first_page.example([result("matching-limits"), result("weak-connectivity")])
        setting, control = report["settings"][0], report["controls"][0]
        asked, holds, refused = [line for line in text.splitlines() if line.startswith("- ")]
        for line, condition, found in zip(
            (asked, holds), (*claim.observable, *claim.supported), setting["conditions"], strict=True
        ):
            assert f"{condition.text} ({condition.reason})" in line
            assert shown(found["estimate"]) in line
            assert line.endswith(f"the condition is {found['outcome']}.")
        assert "anything to explain?" in asked
        assert f"{control['title']}, says {telling.badge(control['verdict'])}" in refused
        assert f"So this verdict is {telling.badge(setting['verdict'])}" in text
        others = len(report["settings"]) - 1
        assert f"judges {others} more, and says {telling.badge(report['verdict'])} as a whole" in text

    def test_is_left_out_where_its_page_failed(self):
        assert first_page.example([result("weak-connectivity", {}), result("matching-limits")]) == ""


class TestVerdicts:
    """The page with the evidence behind each verdict."""

    def test_parts_of_a_claim_have_rows_of_their_own(self):
        """Each part stands with its verdict and its evidence; the page's own verdict stands on the page."""
        whole = claims.load("butterfly-onset")
        verdicts = ["supported", "not seen at this scale", "inconclusive", "supported", "supported"]
        rows = [judged(part, verdict) for part, verdict in zip(whole.parts, verdicts, strict=True)]
        control = judged(whole.parts[0], "not supported", setting="shallow")
        told = Result(DEFINITIONS[whole.id], {"quick": report_of(whole, *rows, controls=[control])})
        table = verdict_tables.tables([told])
        assert f"{{dropdown}} {whole.title}" in table
        for part, row in zip(whole.parts, rows, strict=True):
            (line,) = [each for each in table.splitlines() if f"| {part.id}: " in each]
            assert f"{telling.badge(row['verdict'])} exploratory |" in line
            assert "20.000 [11.000,\u00a031.000]" in line
            assert line.endswith("| 5 parents |")
            assert all(condition.text in line for condition in part.supported)
        (line,) = [each for each in table.splitlines() if "| negative control: " in each]
        assert f"shallow | {telling.badge('not supported')} |" in line

    def test_rows_say_status_and_what_a_verdict_lacks(self):
        whole = claims.load("butterfly-onset")
        first, second, *_ = whole.parts
        rows = [
            judged(first, "inconclusive", held=True),
            judged(second, "supported", status="preregistered"),
            judged(second, "not seen at this scale", setting="resnet-8"),
        ]
        weak = {"claim": whole.id, "scale": "quick", "part": second.id, "setting": "resnet-8", "underpowered": True}
        strong = weak | {"part": first.id, "setting": "", "underpowered": False}
        told = Result(DEFINITIONS[whole.id], {"quick": report_of(whole, *rows)})
        table = verdict_tables.tables([told], telling.caveats([weak, strong]))
        said = [line.split(" | ")[2].partition("</span> ")[2] for line in table.splitlines() if "| [quick]" in line]
        assert said == ["exploratory, a control could not say no", "preregistered", "exploratory, underpowered"]

    @pytest.mark.parametrize("name", ["weak-connectivity", "difficulty-uses"])
    def test_all_published_numbers_and_both_scales_are_there(self, name):
        quick = records.head(ROOT / "records" / f"{name}-quick.json.gz")
        told = Result(DEFINITIONS[name], {"laptop": records.head(RECORDS[name]), "quick": quick})
        table = verdict_tables.tables([told])
        assert all(each["value"].strip() in table for each in told.claim.published)
        for scale, page in (("laptop", name), ("quick", f"{name}-quick")):
            lines = [line for line in table.splitlines() if f"| [{scale}](claims/{page}.ipynb), " in line]
            report = told.reports[scale]
            assert len(lines) == len(report["settings"]) + len(report["controls"])
            for line, each in zip(lines, [*report["settings"], *report["controls"]], strict=True):
                assert each["title"] in line
                assert all(shown(found["estimate"]) in line for found in each["conditions"])

    def test_a_bar_in_a_label_does_not_end_its_cell(self):
        whole = claims.load("butterfly-onset")
        row = judged(whole.parts[0], "supported", setting="a | b")
        told = Result(DEFINITIONS[whole.id], {"quick": report_of(whole, row)})
        (line,) = [each for each in verdict_tables.tables([told]).splitlines() if "20.000" in each]
        assert "a \\| b |" in line
        assert len(re.findall(r"(?<!\\)\|", line)) == 6

    def test_a_page_that_failed_has_a_row(self):
        told = Result(DEFINITIONS["weak-connectivity"], {"laptop": None})
        assert "| [laptop](claims/weak-connectivity.ipynb) | failed |" in verdict_tables.tables([told])

    def test_many_verdicts_are_counted_and_corrected(self):
        whole = claims.load("butterfly-onset")
        parts = whole.parts
        # By Benjamini and Hochberg, of 4 verdicts those with p up to 0.025 * rank / 4 stay: 0.001 and 0.012, not 0.02.
        rows = [judged(part, "supported", p=p) for part, p in zip(parts, (0.02, 0.001, 0.012), strict=False)]
        rows.append(judged(parts[3], "inconclusive", p=0.9))
        rates = [
            {
                "claim": whole.id,
                "scale": "laptop",
                "part": parts[0].id,
                "setting": "",
                "false_positive": rate,
                "precondition": False,
            }
            for rate in (0.01, 0.04)
        ]
        rates.append(rates[0] | {"false_positive": 0.9, "precondition": True})  # that there is something to explain
        other = report_of(whole, judged(parts[0], "supported", p=0.9))
        laptop, quick = verdict_tables.multiplicity([report_of(whole, *rows, scale="laptop"), other], rates)
        conditions = sum(len((*part.observable, *part.supported)) for part in parts[:4])
        assert (
            f"The laptop scale has 4 verdicts from {conditions} conditions; 3 of the verdicts say *supported*."
            in laptop
        )
        # The highest rate of the first, and 0.025 for each of the three others.
        assert f"at most {0.04 + 3 * 0.025:.1f} would still say so" in laptop
        assert f"1 of them would not stay: butterfly-onset ({parts[0].heading})." in laptop
        assert quick.startswith("- The quick scale has 1 verdicts from 1 conditions")
        assert "1 of them would not stay" in quick

    def test_a_verdict_that_its_number_would_undo_is_told_beside_it(self):
        whole = claims.load("butterfly-onset")
        first, second, third, *_ = whole.parts
        # Of 3 verdicts those with p up to 0.025 * rank / 3 stay; what is not "supported" has nothing to lose.
        rows = [judged(first, "supported", p=0.02), judged(second, "supported", p=0.001)]
        rows.append(judged(third, "inconclusive", p=0.9))
        laptop, quick = report_of(whole, *rows, scale="laptop"), report_of(whole, judged(first, "supported", p=0.02))
        assert telling.not_kept([laptop, quick]) == {(whole.id, "laptop", first.id, "")}
        weak = {"claim": whole.id, "scale": "laptop", "part": first.id, "setting": "", "underpowered": True}
        known = telling.caveats([weak], [laptop, quick])
        assert telling.notes(laptop, rows[0], known) == [
            "exploratory", "underpowered", "does not stay if corrected"
        ]  # fmt: skip
        assert telling.notes(laptop, rows[1], known) == telling.notes(quick, rows[0], known) == ["exploratory"]


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_every_verdict_has_a_badge(verdict):
    assert ElementTree.fromstring(telling.badge(verdict)).text == verdict


def test_all_data_and_scopes_have_words():
    assert telling.DATA.keys() == set(data.NAMES)
    assert telling.SCOPES.keys() == {"exact", "proxy", "toy"}


def test_the_data_of_a_page_are_told_once():
    claim = claims.load("weak-connectivity")
    report = report_of(claim) | {"parameters": {"data": ["fashion_mnist", "digits", "fashion_mnist"]}}
    assert result(claim.id, report).data == "Fashion-MNIST and digits of 8 × 8 pixels"
    assert result(claim.id, report | {"parameters": {}}).data == ""


def test_results_stand_in_the_order_of_the_book_with_their_own_scale_first():
    names = ["strong-connectivity", "weak-connectivity"]
    outcomes = [
        Outcome(Page(f"{name}-{scale}", ROOT / "notebooks" / f"{name}.ipynb", name, scale), {}, failure="torn")
        for name in names
        for scale in ("quick", "laptop")
    ]
    guide = Outcome(Page("how-matching-works", ROOT / "notebooks" / "guides" / "how-matching-works.ipynb"), {})
    found = results.by_claim([*outcomes, guide])
    assert [each.claim.id for each in found] == ["weak-connectivity", "strong-connectivity"]
    assert [list(each.reports) for each in found] == [["laptop", "quick"]] * 2


@pytest.mark.parametrize(
    ("authors", "cited"),
    [
        (["Altıntaş, Gül Sena"], "Altıntaş (2025)"),
        (["Kwok, Devin", "von Rolnick, David"], "Kwok and Rolnick (2025)"),
        (["Sharma, Ekansh", "Kwok, Devin", "Roy, Daniel"], "Sharma et al. (2025)"),
    ],
)
def test_papers_are_named_as_in_a_text(authors, cited):
    paper = Entry("article", {"year": "2025"}, {"author": [Person(each) for each in authors]})
    assert first_page._short(paper) == cited


@pytest.mark.parametrize("name", DEFINITIONS)
def test_keywords_are_for_the_search_alone(name):
    """Stored notebooks show the claim, and must not change with a keyword."""
    claim = claims.load(name)
    assert claim.keywords
    without = replace(claim, keywords=())
    assert (repr(claim), claim._repr_html_()) == (repr(without), without._repr_html_())
    assert all(each.keys() == {"what", "value"} for each in claim.published)


class TestMarkup:
    """Texts of a claim, planted with marks of HTML, of Markdown and of tables, are shown as they are."""

    MARKS = 'a <script>x()</script> | *b* `c` [d](e) &amp; $f$ {g} "h" _i_ <img src=x onerror=y()>'

    @pytest.fixture
    def planted(self):
        """A claim of two parts and its report, with the marks in titles, labels, statements and settings."""
        whole = claims.load("butterfly-onset")
        conditions = tuple(replace(each, label=self.MARKS, reason=self.MARKS) for each in whole.parts[0].supported)
        parts = tuple(
            replace(each, title=f"{number} {self.MARKS}", observable=(), supported=conditions)
            for number, each in enumerate(whole.parts[:2])
        )
        texts = dict.fromkeys(("title", "statement", "criterion", "where"), self.MARKS)
        claim = replace(whole, parts=parts, **texts)
        settings = [judged(part, "supported", setting=f"{self.MARKS} {n}") for part in parts for n in range(2)]
        report = report_of(claim, *settings, controls=[judged(parts[0], "supported", setting=self.MARKS)])
        definition = replace(DEFINITIONS[whole.id], claim=claim, brief=self.MARKS, headline=self.MARKS)
        return Result(definition, {"quick": report})

    def test_no_mark_makes_an_element_or_ends_a_cell(self, planted):
        claim, report = planted.claim, planted.reports["quick"]
        held = [each | {"held": True} for each in report["settings"]]
        pages = {
            "verdict": verdict.box(claim, report),
            "few verdicts": verdict.box(claim, report | {"settings": report["settings"][:1]}),
            "evidence": verdict_tables.tables([planted]),
            "example": first_page.example([planted]),
            "doubts": glance.doubts(claim, report | {"unit": "seed", "settings": held}, []),
        }
        for name, text in pages.items():
            rows = re.sub(r"^:+.*$", "", text, flags=re.MULTILINE)  # the fences of MyST
            html = markdown_it.MarkdownIt("commonmark").enable("table").render(rows)
            assert not re.search(r'<(script|img|code|a href="e)', html), name
            tables = re.findall(r"<table>(.*?)</table>", html, re.DOTALL)
            for table in tables:
                widths = {len(re.findall(r"<t[hd]", row)) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)}
                assert len(widths) == 1, name
            assert "a &lt;script&gt;x()&lt;/script&gt; | *b* `c` [d](e) &amp;amp; $f$ {g}" in html, name

    def test_the_table_of_the_first_page_has_none_either(self, planted):
        _, table = tables_of(first_page.table([planted], PAPERS))
        assert self.MARKS in words(table)
        assert not list(table.iter("script"))
        assert not list(table.iter("img"))

    def test_nor_has_the_box_of_a_notebook(self, planted):
        html = planted.claim._repr_html_()
        assert not re.search(r"<(script|img)", html)
        assert escape(self.MARKS) in html

    def test_nor_has_the_table_of_parameters(self):
        source = f'data: str = "digits"  # {self.MARKS}\n'
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
        page = parameters.with_table(nbformat.v4.new_notebook(cells=[cell]), {"data": self.MARKS})
        text = page.cells[-1].source
        rows = "\n".join(line for line in text.splitlines() if not line.startswith(":"))
        html = markdown_it.MarkdownIt("commonmark").render(rows)
        assert not re.search(r"<(script|img|a )", html)
        assert html.count("&lt;script&gt;x()&lt;/script&gt; | *b* `c`") == 2
