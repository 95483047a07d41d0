"""The skeleton of a claim's page: each part is made of a notebook and its report, and leaves them as they were."""

import base64
import copy
import importlib.util
import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pikepdf
import pytest
from docutils import nodes
from PIL import Image
from pybtex.database import parse_string
from sphinx import addnodes

from builder import citing, glance, layout, links, notebook, parameters, pictures, quick, tables, tabs, telling, verdict
from lmc_lib import claims, records
from lmc_lib.cli import Refused, notebooks

ROOT = Path(__file__).parents[1]
ONSET = claims.load("butterfly-onset")
WEAK = claims.load("weak-connectivity")
SOURCE = "# A title\n\nAn introduction with a [link](#run-toy)."
CELL = """scale: str = "quick"  # name of the profile
sizes: list = [0.1, 1.0]  # sizes of the perturbation, # 1 being large
training: dict = {
    "steps": 3,
}  # of every parent
seeds: int = 5
others: dict = {}  # further networks
"""


def code(source, tags=(), outputs=(), **metadata):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [*tags], **metadata})
    cell.outputs = [nbformat.v4.new_output("display_data", data) for data in outputs]
    return cell


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def notebook_of(*cells):
    return nbformat.v4.new_notebook(cells=[text(SOURCE), *cells])


def judged(claim=WEAK, verdict="supported", estimates=((0.5, 0.4, 0.6, 0.01, "met"),), **more):
    """A setting of a report; estimates are value, low, high, p and outcome of the conditions in their order."""
    conditions = [
        {
            "condition": condition.text,
            "quantity": condition.quantity,
            "outcome": outcome,
            # Conditions of one study may be of other sets of its units.
            "estimate": {"value": value, "low": low, "high": high, "count": f"7 networks ({21 - number} pairs)"},
            "p": p,
        }
        for number, (condition, (value, low, high, p, outcome)) in enumerate(
            zip((*claim.observable, *claim.supported), estimates, strict=False)
        )
    ]
    setting = {"part": "", "setting": "wide", "title": "wide", "verdict": verdict, "held": False, "of": ""}
    return setting | {"status": "preregistered", "conditions": conditions} | more


def report_of(*settings, verdict="supported", scope="proxy", controls=()):
    named = {"claim": "weak-connectivity", "scale": "laptop", "scope": scope, "unit": "network", "verdict": verdict}
    return named | {"settings": list(settings), "controls": list(controls)}


ROW = {
    "claim": "weak-connectivity", "scale": "laptop",
    "part": "", "setting": "wide", "condition": "the barrier is below 0.1", "unit": "network", "n": 7, "power": 0.25,
    "needed": 64, "most": 256, "underpowered": True,
}  # fmt: skip
ALIGNED = ((0.8, 0.7, 0.9, 0.001, "met"), (0.05, 0.03, 0.08, 0.02, "met"))


class TestVerdict:
    def test_what_one_condition_leaves_to_another_is_said_in_full(self):
        """The second condition on a ratio calls it "the same ratio"."""
        half = ONSET.part("B2")
        lower = [(1, 0.5, 2, 0.1, "met"), (1, 0.5, 2, 0.2, "met"), (1, 0.3, 5, 0.7, "met")]
        told = verdict.box(ONSET, report_of(judged(half, "supported", lower, part="B2")))
        assert half.supported[1].label == "the same ratio"
        assert f"the same ratio (as {half.supported[0].label}): **1.000 [0.300,\u00a05.000]**" in told

    def test_few_verdicts_stand_as_sentences_with_all_that_a_reader_must_know(self):
        settings = [
            judged(estimates=ALIGNED),
            judged(verdict="inconclusive", estimates=ALIGNED, setting="deep", title="deep", held=True),
        ]
        told = verdict.box(WEAK, report_of(*settings, verdict="inconclusive"), telling.caveats([ROW]))
        first, second = [line for line in told.splitlines() if line.startswith("- ")]
        assert first == (
            f"- **wide**: {telling.badge('supported')} the median error barrier after alignment: "
            "**0.050 [0.030,\u00a00.080]** (the paper: 0.078, printed), below 0.1 is needed; "
            "n = 7 networks (20 pairs), preregistered, underpowered."
        )
        assert second.startswith(f"- **deep**: {telling.badge('inconclusive')}")
        assert second.endswith("preregistered, a control could not say no.")
        assert told.startswith(":::::{div} verdict verdict-inconclusive\n")
        assert (
            "The paper: VGG-16 on CIFAR-10, error barrier without a permutation: 0.898 train, 0.900 test; the same"
            in told
        )
        assert "Scope: proxy, a smaller network" in told
        assert "(#verdict-weak-connectivity)" in told
        assert "(#how-to-read-a-verdict)" in told

    def test_many_verdicts_stand_in_a_table_with_the_sentences_folded(self):
        found = [(20, 11, 31, 0.01, "met")] * 3
        settings = [judged(part, estimates=found, part=part.id, setting="", title=part.heading) for part in ONSET.parts]
        settings[2] |= {"held": True, "status": "exploratory"}
        for condition in (found for each in settings for found in each["conditions"]):
            condition["estimate"]["count"] = "7 networks (21 pairs)"
        told = verdict.box(ONSET, report_of(*settings)).split("{dropdown}")
        rows = [line for line in told[0].splitlines() if line.startswith("| B")]
        notes = ["", "", "; *a control could not say no*", "", ""]
        assert [row.split(" | ")[0] for row in rows] == [f"| {part.heading}" for part in ONSET.parts]
        assert [re.sub(r".*(above|below) [\d.]+| \|$", "", row) for row in rows] == notes
        assert "All of them: n = 7 networks (21 pairs)." in told[1]
        first, second, third, *others = (part.id for part in ONSET.parts)
        assert f"\n{', '.join([first, second, *others])}: preregistered; {third}: exploratory.\n" in told[1]
        assert f"{telling.badge('supported')} 20.000 [11.000,\u00a031.000], above 0.05" in rows[0]
        assert told[1].count("\n- **B") == len(ONSET.parts)
        assert told[0].count("\n- **B") == 0

    def test_parts_in_several_networks_stand_as_a_matrix(self):
        first, second, *_ = ONSET.parts
        settings = [
            judged(part, found, [(20, 11, 31, 0.01, "met")] * 3, part=part.id, setting=name, title=f"{part.id}, {name}")
            for part, name, found in [
                (second, "", "supported"), (second, "deep", "inconclusive"), (first, "", "supported"),
                (second, "wide", "supported"),
            ]
        ]  # fmt: skip
        other = settings[1]["conditions"][2]["estimate"]
        other["low"], other["high"] = -40.0, -39.0  # so that another condition decides there
        told = verdict.box(ONSET, report_of(*settings))
        head, _, above, below = [line for line in told.splitlines() if line.startswith("|")]
        assert head == "| part, bound | the page's own | deep | wide |"
        assert above.count("], below 4") == 2 and "[-40.000,\u00a0-39.000], above 0.25" in above
        assert re.findall(r">([a-z ]+)</span>", above) == ["supported", "inconclusive", "supported"]
        assert below.startswith(f"| {first.heading}, above 0.05 | ")
        assert below.endswith(" | – | – |")

    def test_a_part_in_none_of_many_networks_begins_another_table(self):
        first, second, third, *_ = ONSET.parts
        named = [(first, "a"), (first, "b"), (second, "b"), (second, "c"), (third, "d"), (third, "e")]
        settings = [
            judged(part, estimates=[(20, 11, 31, 0.01, "met")] * 3, part=part.id, setting=name, title=name)
            for part, name in named
        ]
        told = verdict.box(ONSET, report_of(*settings)).split("{dropdown}")[0].split("{div} settings\n")[1]
        tables = [[line for line in table.splitlines() if line.startswith("|")] for table in told.split("\n\n")[:2]]
        assert [table[0] for table in tables] == ["| part, bound | a | b | c |", "| part, bound | d | e |"]
        assert [len(table) for table in tables] == [4, 3]
        assert tables[1][2].startswith(f"| {third.heading}, ")

    def test_of_many_parts_those_of_one_network_stand_above_the_others(self):
        weak = claims.load("symmetry-breaking")
        settings = [
            judged(part, estimates=[(1, 0.9, 1.1, 0.01, "met")] * 9, part=part.id, setting=name, title=part.heading)
            for part in weak.parts
            for name in (("wide", "deep") if part in weak.parts[-2:] else ("wide",))
        ]
        report = report_of(*settings)
        told = verdict.box(weak, report).split("{dropdown}")[0].split("{div} settings\n")[1]
        tables = [[line for line in table.splitlines() if line.startswith("|")] for table in told.split("\n\n")[:2]]
        assert [table[0] for table in tables] == [
            "| what | verdict, deciding number, bound |",
            "| part, bound | wide | deep |",
        ]
        assert [len(table) - 2 for table in tables] == [len(weak.parts) - 2, 2]
        assert tables[0][2].startswith(f"| {weak.parts[0].heading} | ")

    def test_numbers_of_units_that_differ_by_part_alone_stand_below_the_table(self):
        first, second, third, *_ = ONSET.parts

        def box(counts):
            named = [(first, "a"), (first, "b"), (second, "a"), (third, "a")]
            settings = [
                judged(part, estimates=[(20, 11, 31, 0.01, "met")] * 3, part=part.id, setting=name, title=name)
                for part, name in named
            ]
            for each, count in zip(settings, counts, strict=True):
                for condition in each["conditions"]:
                    condition["estimate"]["count"] = f"{count} seeds"
            return verdict.box(ONSET, report_of(*settings)).split("{dropdown}")

        table, below = box([40, 40, 40, 9])
        assert "seeds" not in table
        assert f"\n{first.id}, {second.id}: n = 40 seeds; {third.id}: n = 9 seeds.\n" in below
        # A part that has two of them keeps them where they belong.
        assert "; *n = 8 seeds* |" in box([40, 8, 40, 9])[0]

    def test_the_box_of_the_notebook_folds_the_conditions_of_each_setting(self):
        """The box is that of the library, so that its words stand in one place."""
        estimates = {"raw": claims.Estimate(0.8, 0.7, 0.9, 21, 7), "aligned": claims.Estimate(0.05, 0.03, 0.08, 21, 7)}
        found, control = (claims.judge(WEAK, name, estimates) for name in ("a < b", "narrow"))
        box = claims.conclude(WEAK, [found], [control], scale="laptop", numbers={})._repr_mimebundle_()["text/html"]
        first, second = re.findall("<details>(.*?)</details>", verdict.folded(box))
        assert first.startswith(
            "<summary><strong>a &lt; b: inconclusive</strong>, 7 networks (21 pairs), exploratory</summary><ul><li>"
        )
        assert "barrier after alignment is below 0.1: 0.050 [0.030, 0.080] (met)</li>" in first
        assert "did not come out as not supported" in first
        assert second.startswith(
            "<summary><strong>Negative control: narrow: supported</strong>, 7 networks (21 pairs)</s"
        )
        assert "did not come out" not in second
        unfolded = verdict.folded(box).replace("<details><summary>", "<p>").replace("</summary>", "</p>")
        assert unfolded.replace("</details>", "") == box

    @pytest.mark.parametrize("path", sorted((ROOT / "records").glob("*.json.gz")), ids=records.stem)
    def test_every_report_has_a_box_whose_number_is_that_of_the_report(self, path):
        report = records.head(path)
        told = verdict.box(claims.load(report["claim"]), report)
        values = {f"{c['estimate']['value']:.3f}" for each in report["settings"] for c in each["conditions"]}
        shown = re.findall(r"\*\*(-?[\d.]+) \[", told)
        assert len(shown) == len(report["settings"])
        assert set(shown) <= values


class TestTop:
    @pytest.fixture
    def page(self):
        html = '<div class="verdict"><p class="verdict-title">Verdict</p><p>long</p><ul><li>more</li></ul></div>'
        bundle = {"text/html": html, "application/vnd.lmc.report+json": json.dumps({"claim": "toy"})}
        return notebook_of(
            text("## Verdict\n\nThe rule."), code("claims.conclude()", outputs=[bundle, {"text/html": "<b>1</b>"}])
        )

    def test_the_verdict_stands_between_title_and_introduction(self, page):
        before = nbformat.writes(page)
        made = notebook.with_verdict(
            page, WEAK, report_of(judged(estimates=ALIGNED)), glance="## At a glance\n\n## Introduction"
        )
        assert [cell.source.splitlines()[0] for cell in made.cells[:5]] == [
            "# A title", ":::::{div} verdict verdict-supported", "## At a glance",
            "An introduction with a [link](#run-toy).", "(verdict-weak-connectivity)=",
        ]  # fmt: skip
        box, other = made.cells[-1].outputs
        assert "</p><details><summary>long</summary><ul><li>more</li></ul></details></div>" in box["data"]["text/html"]
        assert other["data"]["text/html"] == "<b>1</b>"
        assert nbformat.writes(page) == before
        nbformat.validate(made)

    def test_a_page_without_a_section_for_the_verdict_is_refused(self, page):
        page.cells[1].source = "## Result"
        with pytest.raises(Refused, match=r"weak-connectivity.ipynb takes a title, .* and one section '## Verdict'"):
            notebook.with_verdict(page, WEAK, report_of(judged(estimates=ALIGNED)))


class TestGlance:
    SPECS = (
        {"type": "P", "target": {"model": {"type": "ModelSpec", "family": "mlp", "width": 8, "depth": 3},
                                 "data": {"name": "fashion_mnist", "train_examples": 500}, "train": {"steps": 4690}}},
        {"type": "P", "runs": [{"model": {"type": "ModelSpec", "family": "mlp", "width": 512, "depth": 3},
                                "data": {"name": "fashion_mnist"}, "train": {"steps": 4690}, "init_seed": seed}
                               for seed in (1, 2, 1)]},
        {"model": {"type": "ModelSpec", "family": "resnet", "width": 16, "depth": 8, "norm": "batch"},
         "data": {"name": "digits", "train_examples": 300}, "train": {"steps": 400},
         "pretrained": {"type": "Checkpoint", "run": {"train": {"steps": 700}}, "step": 700}},
    )  # fmt: skip

    def test_the_table_says_what_was_run(self):
        settings = [judged(estimates=ALIGNED), judged(estimates=ALIGNED, title="deep", setting="deep")]
        told = glance.table(WEAK, report_of(*settings, verdict="inconclusive"), self.SPECS, "two hours")
        rows = dict(re.findall(r"^\* - (.*)\n  - (.*)$", told, re.MULTILINE))
        assert rows == {
            "Networks": "MLP, 3 hidden layers, widths 8 and 512; ResNet-8, batch normalisation, width 16",
            "Data": "Fashion-MNIST, all training examples; digits of 8 × 8 pixels, 300 training examples",
            "Training": "400, 700 and 4,690 updates",
            "n": "7 networks (20 pairs)",
            "On two cores": "two hours",
            "Outcome": "inconclusive",
            "Ours": "wide: 0.050 [0.030,\u00a00.080] (1 more above)",
            "The paper's": "VGG-16 on CIFAR-10, error barrier without a permutation: 0.898 train, 0.900 test; the same "
            "after weight matching, two pairs: 0.074 and 0.077 train, 0.076 and 0.078 test",
        }

    def test_what_trains_no_known_architecture_names_its_data_and_updates_alone(self):
        specs = [
            {"data": {"name": "digits"}, "width": 5, "train": {"steps": 2000}},
            {"data": {"name": "mnist1d", "train_examples": 300}, "starts": 16, "examples": 70},
            {"data": {"name": "fashion_mnist"}, "examples": 200},
        ]
        told = glance.table(WEAK, report_of(judged(estimates=ALIGNED)), specs, "a minute")
        rows = dict(re.findall(r"^\* - (.*)\n  - (.*)$", told, re.MULTILINE))
        assert "Networks" not in rows
        assert rows["Data"] == (
            "digits of 8 × 8 pixels, all training examples; MNIST-1D (generated signals), 300 training examples; "
            "Fashion-MNIST, 200 training examples"
        )
        assert rows["Training"] == "2,000 updates"

    @pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
    @pytest.mark.parametrize("scale", ["quick", "laptop"])
    def test_every_notebook_says_what_it_costs(self, path, scale):
        assert re.search(r"\d (s|min|h)\b|minute|hour", notebooks.costs(path.stem)[scale])

    @pytest.mark.parametrize(
        ("estimate", "told"),
        [
            ((0.05, 0.03, 0.08, 0.02, "met"), "clears the bound 0.1 by 0.020."),
            ((0.3, 0.24, 0.5, 0.99, "failed"), "misses the bound 0.1 by 0.140."),
            (
                (0.09, 0.05, 0.17, 0.4, "open"),
                "has the bound 0.1 inside: its end would have to move by 0.070 to clear it.",
            ),
        ],
    )
    def test_says_how_far_the_interval_is_from_another_verdict(self, estimate, told):
        report = report_of(judged(estimates=[ALIGNED[0], estimate]), scope="exact")
        (line,) = glance.doubts(WEAK, report, []).splitlines()
        assert line.startswith(
            "- Nearest to its bound: *wide*: the interval of the median error barrier after alignment, "
        )
        assert line.endswith(told)

    @pytest.mark.parametrize(
        ("estimate", "told"),
        [
            ((4.0, 3.0, 9.0, 0.02, "met"), "clears the bound 0.05 by 2.950."),
            ((0.03, 0.01, 0.04, 0.99, "failed"), "misses the bound 0.05 by 0.010."),
            ((0.2, 0.03, 0.9, 0.4, "open"), "would have to move by 0.020 to clear it."),
        ],
    )
    def test_says_it_of_a_quantity_that_should_be_large_too(self, estimate, told):
        part = ONSET.part("B1")
        assert [(each.above, each.bound) for each in part.supported] == [(True, 0.05)]
        found = judged(part, estimates=[estimate], part="B1", setting="")
        assert glance.doubts(ONSET, report_of(found, scope="exact"), []).endswith(told)

    def test_open_conditions_come_before_those_that_are_only_near(self):
        still = judged(estimates=[ALIGNED[0], (0.09, 0.05, 0.17, 0.4, "open")], title="still open")
        other = judged(estimates=[ALIGNED[0], (0.09, 0.01, 0.9, 0.4, "open")], title="more open")
        near = judged(estimates=[ALIGNED[0], (0.05, 0.03, 0.099, 0.02, "met")], title="near")
        line = glance.doubts(WEAK, report_of(near, other, still), []).splitlines()[0]
        assert "*still open*" in line
        assert line.endswith("It is one of 2 verdicts with a condition that is open.")

    def test_says_which_verdicts_wait_for_a_control(self):
        held = judged(verdict="inconclusive", estimates=ALIGNED, title="deep", held=True)
        told = glance.doubts(WEAK, report_of(judged(estimates=ALIGNED), held), []).splitlines()
        assert told[1] == (
            "- Of *deep* the conditions are met, but a negative control could not say no; with more networks it might."
        )

    def test_says_how_many_units_would_do_and_what_the_scope_leaves_open(self):
        rows = [
            ROW,
            ROW | {"power": 0.4, "needed": None, "setting": "deep"},
            ROW | {"underpowered": False, "power": 0.9},
        ]
        _, small, scope = glance.doubts(WEAK, report_of(judged(estimates=ALIGNED)), rows).splitlines()
        assert small == (
            "- Underpowered: 2 of 3 conditions. For \u201cthe barrier is below 0.1\u201d (deep) the study has 7 "
            "networks and a power of 0.40; even 256 would not do."
        )
        assert "; 64 would do." in glance.doubts(WEAK, report_of(judged(estimates=ALIGNED)), rows[:1])
        assert "The scope is proxy" in scope
        assert "(#run-weak-connectivity)" in scope

    def test_options_among_the_costs_keep_their_dashes(self):
        told = glance.table(
            WEAK, report_of(judged(estimates=ALIGNED)), self.SPECS, notebooks.costs("weak-connectivity")["laptop"]
        )
        assert re.search(r"  - .* with `--recompute`\n", told)


class TestParameters:
    def test_one_table_of_what_holds_stands_in_place_of_both_cells(self):
        page = notebook_of(code(CELL, ["parameters"]), code("seeds = 9", ["injected-parameters"]), text("After."))
        before = nbformat.writes(page)
        made = parameters.with_table(
            page, {"scale": "laptop", "sizes": [0.5], "training": {"steps": 3}, "seeds": 9, "others": {}}
        )
        assert [cell.metadata.get("tags") for cell in made.cells[1:3]] == [
            ["parameters", "remove-cell"], ["injected-parameters", "remove-cell"],
        ]  # fmt: skip
        assert [cell.source for cell in made.cells if "remove-cell" in cell.metadata.get("tags", [])] == [
            CELL,
            "seeds = 9",
        ]
        assert re.findall(r"\* - `(.*)`\n  - `(.*)`\n  - (.*)", made.cells[3].source) == [
            ("scale", "'laptop'", "name of the profile"),
            ("sizes", "[0.5]", "sizes of the perturbation, # 1 being large"),
            ("training", "{'steps': 3}", "of every parent"),
            ("seeds", "9", ""),
            ("others", "{}", "further networks"),
        ]
        assert made.cells[3].source.startswith("::::{dropdown} The 5 parameters of this page")
        assert nbformat.writes(page) == before

    def test_a_notebook_without_parameters_is_refused(self):
        with pytest.raises(ValueError, match="no cell with the tag 'parameters'"):
            parameters.with_table(notebook_of(code("1")), {})


def test_an_interval_in_a_table_does_not_break_within_its_brackets():
    cells = "<table><td>0.690 [0.566, -0.750]</td><td>[1, 2, 3]</td></table>"
    page = notebook_of(code("frame", outputs=[{"text/html": cells}, {"text/html": "<p>[0.1, 0.2]</p>"}]))
    before = nbformat.writes(page)
    table, other = (each.data["text/html"] for each in tables.readable(page).cells[1].outputs)
    assert table == cells.replace("0.566, ", "0.566,\u00a0")
    assert other == "<p>[0.1, 0.2]</p>"
    assert nbformat.writes(page) == before


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("supported", True), ("the ratio of the 2 is above 3", True), ("the barrier, size 0.01, is low", True),
        ("below 1e-12", False), ("0.5", False), ("3 parents (9 pairs)", False), ("nan", False), ("a", False),
    ],
)  # fmt: skip
def test_cells_of_words_are_marked(cell, words):
    page = notebook_of(code("frame", outputs=[{"text/html": f"<table><td>{cell}</td></table>"}]))
    marked = tables.readable(page).cells[1].outputs[0].data["text/html"]
    mark = ' class="words"' if words else ""
    assert marked == f"<table><td{mark}>{cell}</td></table>"


class TestLinks:
    WORDS = ("barrier", "simplex barrier", "twins", "AUM", "weight matching")

    def test_words_of_a_glossary_are_linked_where_they_first_stand(self):
        page = notebook_of(
            text(
                "## The barrier\n\nNo `barrier`, $barrier$, [barrier](a.md), {numref}`barrier`. *Simplex\nbarriers* and"
            ),
            code("barrier"),
            text("| barrier |\n\na barrier of *twins*, a barrier. Intertwins, aum; Weight matching."),
        )
        before = nbformat.writes(page)
        first, _, last = links.to_glossary(page, self.WORDS).cells[1:]
        assert first.source == page.cells[1].source.replace(
            "*Simplex\nbarriers*", "*{term}`Simplex barriers <simplex barrier>`*"
        )
        assert last.source == (
            "| barrier |\n\na {term}`barrier <barrier>` of *{term}`twins <twins>`*, a barrier. Intertwins, "
            "{term}`aum <AUM>`; {term}`Weight matching <weight matching>`."
        )
        assert nbformat.writes(page) == before

    def test_words_are_those_of_the_glossary_without_those_of_other_senses(self):
        words = links.words_of((ROOT / "book" / "glossary.md").read_text())
        assert {"barrier", "EL2N", "linear mode connectivity", "twins"} <= set(words)
        assert not {"error", "state"} & set(words)
        assert all(len(word) < 30 and not word.startswith(("`", "{")) for word in words)

    def test_deviations_are_those_of_the_page(self):
        page = notebook_of(text("See [deviations](../deviations.md) and [methods](../methods.md)."))
        (cell,) = links.to_deviations(page, "toy").cells[1:]
        assert cell.source == "See [deviations](#deviations-toy) and [methods](../methods.md)."


class TestTabs:
    TABLE = """## Run this yourself

Words.

| scale | command | on two cores |
|---|---|---|
| quick | `lmc run toy` | 10 s; a minute with `--recompute` |
| paper | `lmc run toy --profile paper` | GPUs: 90 networks |
| your own | `lmc run toy -p 'widths=[3, 4]'` | a minute |
"""

    def test_a_tab_for_each_row_holds_its_command_its_cost_and_its_scope(self):
        page = notebook_of(text(self.TABLE + "\nAfter."), code("'| scale | command |'"))
        before = nbformat.writes(page)
        made = tabs.with_tabs(page, WEAK)
        told = made.cells[1].source
        assert told.startswith("## Run this yourself\n\nWords.\n\n:::::{tab-set}\n")
        assert told.endswith(":::::\n\nAfter.")
        assert "|" not in told
        assert re.findall(r"::::\{tab-item\} (.*)\n```bash\n(.*)\n```\n(.*)\n(?:(Scope: .*)\n)?::::\n", told) == [
            ("quick", "lmc run toy", "On two cores: 10 s; a minute with `--recompute`.",
             f"Scope: toy, {telling.SCOPES['toy']}."),
            ("paper", "lmc run toy --profile paper", "GPUs: 90 networks.", f"Scope: exact, {telling.SCOPES['exact']}."),
            ("your own", "lmc run toy -p 'widths=[3, 4]'", "On two cores: a minute.", ""),
        ]  # fmt: skip
        assert made.cells[2].source == page.cells[2].source
        assert nbformat.writes(page) == before

    def test_other_tables_stay(self):
        page = notebook_of(text("| scale | data |\n|---|---|\n| quick | digits |\n"))
        assert tabs.with_tabs(page, WEAK) == page

    @pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
    def test_every_notebook_has_a_table_of_which_they_are_made(self, path):
        page = tabs.with_tabs(nbformat.read(path, 4), claims.load(path.stem))
        told = "".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
        names = re.findall(r"\{tab-item\} (.*)", told)
        assert names[:4] == ["quick", "laptop", "paper", "your own"]
        assert told.count("{tab-set}") == 1


class TestQuick:
    @pytest.fixture
    def made(self):
        figure = {"figure": {"name": "toy-lines", "caption": "Lines."}}
        cells = [
            text("## The claim\n\nSee {numref}`here (toy-lines)`."),
            code("claim", outputs=[{"text/html": '<dl class="claim">'}]),
            text("## Setting\n\nLong. And longer."),
            code("sweeps.fill(store, wanted)"),
            text("## Lines\n\nHow lines rise. They do."),
            code("plot()", ["hide-input"], [{"image/png": "AAAA"}], mystnb=figure),
            text("Numbers of 3.5 lines\nor more. No more."),
            code("frame", outputs=[{"text/html": "<table>"}]),
            text("## Last\n\nWords.\n\n(run-toy)=\n## Run this yourself\n\n## Provenance\n\nFrom here. Not there."),
            code("origin", outputs=[{"text/html": "<table class='provenance'>"}]),
            text("## References"),
        ]
        page = parameters.with_table(notebook_of(code(CELL, ["parameters"]), *cells), {"scale": "quick"})
        self.before = nbformat.writes(page)
        made = quick.as_quick_page(page, "toy")
        assert nbformat.writes(page) == self.before
        nbformat.validate(made)
        return made

    def shown(self, page):
        return [cell for cell in page.cells if "remove-cell" not in cell.metadata.get("tags", [])]

    def test_shows_what_was_measured_and_no_second_copy_of_the_text(self, made):
        title, table, *others = self.shown(made)
        assert title.source.splitlines()[0] == "# A title (quick scale)"
        assert "(toy.ipynb)" in title.source
        assert table.id == "parameters"
        assert [cell.source for cell in others] == [
            "## Lines", "plot()", "Numbers of 3.5 lines\nor more.", "frame", "## Provenance\n\nFrom here.", "origin",
        ]  # fmt: skip
        assert all("remove-input" in cell.metadata["tags"] for cell in others if cell.cell_type == "code")

    def test_can_still_be_run(self, made):
        ran = [cell.source for cell in made.cells if cell.cell_type == "code"]
        assert ran == [CELL, "claim", "sweeps.fill(store, wanted)", "plot()", "frame", "origin"]

    def test_has_labels_of_its_own_and_stays_out_of_the_search(self, made):
        (figure,) = [cell.metadata["mystnb"]["figure"] for cell in made.cells if "mystnb" in cell.metadata]
        assert figure["name"] == "toy-lines-quick"
        written = nbformat.writes(made)
        assert "(toy-lines-quick)" in written
        assert "(run-toy-quick)=" in written
        assert made.metadata["nosearch"] is True

    def test_a_stored_notebook_becomes_a_short_page(self):
        path = ROOT / "notebooks" / "butterfly-onset.ipynb"
        page = nbformat.read(path, 4)
        report = next(filter(None, (claims.verdict.extract(cell.get("outputs", [])) for cell in page.cells)))
        # As papermill leaves it; the notebook in the repository holds no figures.
        for cell in page.cells:
            for output in cell.get("outputs", []):
                if "<Figure" in output.get("data", {}).get("text/plain", ""):
                    output["data"]["image/png"] = "AAAA"
        page = parameters.with_table(page, {"scale": "quick"})
        page = quick.as_quick_page(notebook.with_verdict(page, ONSET, report), "butterfly-onset")
        shown = self.shown(page)
        assert shown[1].id == "verdict"
        assert "(#verdict-butterfly-onset-quick)" in shown[1].source
        assert "(verdict-butterfly-onset-quick)=\n## Verdict" in [cell.source for cell in shown]
        assert sum(len(cell.source) for cell in shown if cell.cell_type == "markdown") < 8000
        assert [cell for cell in shown if "image/png" in str(cell.get("outputs"))]


class TestCiting:
    def test_the_book_is_cited_with_the_page(self):
        citation = {"title": "A book", "version": "0.2", "license": "MIT", "date-released": "2026-11-22"}
        people = [{"given-names": "Ada", "family-names": "Byron"}, {"name": "The authors"}]
        words, entry = citing.book(citation | {"authors": people, "url": "https://example.org"}, "A title")
        assert words == "Ada Byron, The authors (2026). “A title”, in A book, version 0.2. https://example.org"
        (read,) = parse_string(entry, "bibtex").entries.values()
        assert [str(each) for each in read.persons["author"]] == ["Byron, Ada", "{The authors}"]
        assert (read.fields["title"], read.fields["year"], read.fields["url"]) == (
            "A title",
            "2026",
            "https://example.org",
        )
        assert "url" not in citing.book(citation | {"authors": people}, "A title")[1]

    @pytest.mark.parametrize("claim", claims.load_all().values(), ids=lambda claim: claim.id)
    def test_every_claim_names_its_paper(self, claim):
        told = citing.section(claim)
        (theirs,) = [each for each in re.findall(r"```bibtex\n(.*?)```", told, re.DOTALL) if claim.source in each]
        (read,) = parse_string(theirs, "bibtex").entries.values()
        assert read.fields["year"] in told.split("The paper: ")[1].split("```")[0]
        assert claim.title in told

    def test_a_paper_that_is_not_listed_is_named(self):
        with pytest.raises(KeyError, match=r"nobody2020 is not in book/references.bib: add the paper"):
            citing.paper(parse_string("", "bibtex"), "nobody2020")


class TestCommits:
    TABLE = '<table class="provenance"><td>0123456789ab (3); ba9876543210-dirty (1)</td></table>'

    def page(self):
        return notebook_of(code("origin", outputs=[{"text/html": self.TABLE}, {"text/html": "0123456789ab"}]))

    def test_lead_to_the_repository_where_one_is_set(self):
        commits = ["0123456789ab", "ba9876543210", "ba9876543210-dirty", "unknown"]
        made = notebook.with_commits(self.page(), "https://example.org/o/r/", commits)
        table, other = (output["data"]["text/html"] for output in made.cells[1].outputs)
        link = '<a href="https://example.org/o/r/commit/0123456789ab">0123456789ab</a>'
        assert table == self.TABLE.replace("0123456789ab", link)
        assert other == "0123456789ab"

    def test_lead_nowhere_without_one(self):
        page = self.page()
        assert notebook.with_commits(page, "", ["0123456789ab"]) is page
        assert notebook.with_commits(page, "https://example.org", ["unknown", "0123456789ab-dirty"]) is page

    def test_the_repository_is_that_of_the_settings(self, tmp_path, monkeypatch):
        monkeypatch.setattr(layout, "ROOT", tmp_path)
        for settings, address in (("title: a", ""), ("repository: {url: 'https://a.b/c'}", "https://a.b/c")):
            (tmp_path / "_config.yml").write_text(settings)
            assert layout.repository() == address


class TestFigures:
    @pytest.fixture
    def extension(self):
        spec = importlib.util.spec_from_file_location("figures_extension", ROOT / "book" / "_ext" / "figures.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_each_page_counts_its_own(self, extension):
        numbers = {"a": {"figure": {"x": (7,), "y": (9,)}, "table": {"z": (4,)}}, "b": {"figure": {"w": (8,)}}}
        assert extension.by_page(numbers) == {
            "a": {"figure": {"x": (1,), "y": (2,)}, "table": {"z": (1,)}}, "b": {"figure": {"w": (1,)}},
        }  # fmt: skip
        assert numbers["a"]["figure"]["y"] == (9,)

    def test_a_picture_tells_its_width(self, extension):
        figure, _ = plt.subplots(figsize=(3, 2))
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=50)
        plt.close(figure)
        assert extension.width_of(drawn.getvalue()) == 150

    def test_a_figure_scrolls_in_a_box_with_a_name(self, extension):
        link = addnodes.download_reference("", "", nodes.literal("", "PDF"))
        caption = nodes.caption("", "", nodes.Text("Lines of “a” & <b>. "), link)
        figure = nodes.figure("", nodes.image(uri="a.png"), caption)
        extension.boxed(figure, 900)
        opening, image, closing, caption = figure.children
        assert opening.astext() == (
            '<div class="figure-box" tabindex="0" role="region" aria-label="Lines of “a” &amp; &lt;b&gt;." '
            'style="--least-width: 589px">'
        )
        assert isinstance(image, nodes.image)
        assert closing.astext() == "</div>"
        assert isinstance(caption, nodes.caption)


def png(image, **options):
    written = io.BytesIO()
    image.save(written, "PNG", **options)
    return written.getvalue()


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def drawn(kind="png"):
    """A figure with text, lines that are blended with their ground, and a colour map."""
    figure, axes = plt.subplots(1, 2, figsize=(5, 2.2))
    axes[0].plot(np.linspace(0, 1, 40), np.linspace(0, 1, 40) ** 3, label="a curve")
    axes[0].legend()
    axes[1].imshow(np.arange(91.0).reshape(7, 13), cmap="viridis")
    written = io.BytesIO()
    figure.savefig(written, format=kind, dpi=96)
    plt.close(figure)
    return written.getvalue()


def letters(font):
    """How each letter of a font of a PDF is drawn."""
    return {name: letter.read_bytes() for name, letter in font.CharProcs.items()}


class TestPictures:
    def test_a_figure_looks_the_same_and_takes_half_the_bytes_at_most(self):
        before = drawn()
        after = pictures.in_palette(before)
        difference = np.abs(pixels_of(after) - pixels_of(before))
        assert len(after) < len(before) / 2
        # Of 256 levels; many blended colours of an edge share one of the palette, less than a tenth of the range away.
        assert difference.mean() < 0.5 and np.quantile(difference, 0.999) < 24
        white = (pixels_of(before) == 255).all(-1)
        assert white.mean() > 0.4 and (pixels_of(after)[white] == 255).all()

    def test_the_palette_is_as_small_as_no_one_sees(self):
        noise = Image.effect_noise((101, 80), 90)
        few, many = noise.convert("RGB"), Image.merge("RGB", [noise.rotate(each) for each in (0, 90, 180)])
        sizes = [len(Image.open(io.BytesIO(pictures.in_palette(png(each)))).getcolors()) for each in (few, many)]
        assert sizes[0] <= 64 < sizes[1] <= 128

    def test_few_colours_and_the_resolution_are_kept(self):
        image = Image.new("RGB", (31, 12), (250, 3, 17))
        image.paste((9, 200, 101), (3, 2, 11, 9))
        image.putpixel((30, 11), (1, 2, 3))
        after = pictures.in_palette(before := png(image, dpi=(150, 150)))
        assert (pixels_of(after) == pixels_of(before)).all()
        assert Image.open(io.BytesIO(after)).info["dpi"] == pytest.approx((150, 150), rel=1e-3)

    @pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
    def test_what_sees_through_or_is_small_already_stays(self, mode):
        image = Image.effect_noise((40, 30), 80).convert(mode)
        if mode == "RGBA":
            image.putpixel((5, 6), (10, 20, 30, 254))
        assert pictures.in_palette(before := png(image)) == before

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA"])
    def test_no_pixel_differs_as_webp(self, mode):
        image = Image.effect_noise((41, 30), 80).convert("RGB")
        image.paste((9, 200, 101), (3, 2, 11, 27))
        image = image.quantize(17) if mode == "P" else image.convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        after = pictures.as_webp(before := png(image))
        kept = "RGBA" if mode in ("RGBA", "LA") else "RGB"
        assert Image.open(io.BytesIO(after)).format == "WEBP"
        first, second = (np.asarray(Image.open(io.BytesIO(each)).convert(kept)) for each in (before, after))
        assert (first == second).all()

    def test_a_figure_is_smaller_as_webp(self):
        before = pictures.in_palette(drawn())
        assert len(pictures.as_webp(before)) < len(before)

    def test_the_caption_of_a_figure_leads_to_its_pdf(self):
        def figure(name, vector):
            data = {"image/png": "AAAA", "application/pdf": base64.b64encode(vector).decode()}
            return code("draw()", outputs=[data], mystnb={"figure": {"name": name, "caption": "Lines."}})

        few = drawn("pdf")
        page = notebook_of(
            figure("few", few),
            figure("many", 30_000 * b"a page"),
            code("draw()", outputs=[{"application/pdf": "AA=="}]),
        )
        before = nbformat.writes(page)
        made, files = pictures.with_vectors(page)
        assert files == {"few.pdf": pictures.packed(few)}
        captions = [cell.metadata.mystnb.figure.caption for cell in made.cells[1:3]]
        assert captions == ["Lines. {download}`PDF <few.pdf>`", "Lines."]
        assert [list(cell.outputs[0].data) for cell in made.cells[1:]] == [["image/png"], ["image/png"], []]
        assert nbformat.writes(page) == before

    def test_a_packed_pdf_draws_the_same(self):
        before = drawn("pdf")
        after = pictures.packed(before)
        assert len(after) < 0.95 * len(before) and pictures.packed(before) == after
        with pikepdf.open(io.BytesIO(before)) as own, pikepdf.open(io.BytesIO(after)) as other:
            ((page,), (small,)) = own.pages, other.pages
            assert small.mediabox.as_list() == page.mediabox.as_list()
            assert small.Contents.read_bytes() == page.Contents.read_bytes()
            glyphs = [{name: letters(font) for name, font in each.resources.Font.items()} for each in (page, small)]
            assert glyphs[0] == glyphs[1] and any(glyphs[0].values())

    def test_pictures_of_a_notebook_are_made_small_and_nothing_else(self):
        cell = nbformat.v4.new_code_cell("draw()", id="drawn")
        data = {"image/png": base64.b64encode(drawn()).decode(), "text/plain": "<Figure>"}
        cell.outputs = [nbformat.v4.new_output("display_data", data), nbformat.v4.new_output("stream", text="said")]
        before = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title", id="title"), cell])
        kept = copy.deepcopy(before)
        after = pictures.with_small_pictures(before)
        assert before == kept
        small = after.cells[1].outputs[0].data.pop("image/png")
        assert base64.b64decode(small) == pictures.in_palette(base64.b64decode(data["image/png"]))
        del kept.cells[1].outputs[0].data["image/png"]
        assert after == kept
