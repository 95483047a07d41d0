"""The canonical notebooks: one skeleton, thin cells, whole and clean outputs. They are read here, nbval runs them."""

import ast
import io
import json
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest
from mdit_py_plugins.anchors.index import slugify

from lmc_lib import claims, definitions
from lmc_lib.claims.verdict import extract

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
METHODS = ROOT / "book" / "methods.md"
LINES = 15
# The same notebook makes pages of all scales, of which the quick one alone is portable.
PROMISE = (
    "The date and the machine differ from run to run. Where\n"
    "`precision` is `portable`, as at the quick scale, the digits above are the same on every processor; elsewhere "
    "others may come out on another one."
)
SECTIONS = ["claim", "setting", "verdict", "deviations", "run this yourself", "provenance", "references"]


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text())


@pytest.fixture
def code(notebook):
    """The code cells by their number in the notebook."""
    return {number: cell for number, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"}


@pytest.fixture
def outputs(code):
    """All outputs, each with the number of its cell."""
    return [(number, output) for number, cell in code.items() for output in cell["outputs"]]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def headings(notebook):
    """Level and text of every heading, in the order of the page."""
    text = "\n\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return [(len(marks), words) for marks, words in re.findall(r"^(#+) +(.+?) *$", text, re.MULTILINE)]


def figures(code):
    """The cells that draw, by what they call or by what they show."""
    return {
        number: cell
        for number, cell in code.items()
        if re.search(r"plt\.(subplots|figure)\(|plotting\.panels\(", source(cell))
        or "<Figure size" in json.dumps(cell["outputs"])
    }


def test_there_are_notebooks():
    assert PATHS


class TestParameters:
    @pytest.fixture
    def parameters(self, code):
        (cell,) = [cell for cell in code.values() if "parameters" in tags(cell)]
        return source(cell)

    def test_are_annotated_literals_and_nothing_else(self, parameters):
        for statement in ast.parse(parameters).body:
            text = ast.unparse(statement)
            assert isinstance(statement, ast.AnnAssign), text
            assert isinstance(statement.target, ast.Name), text
            annotated = ast.unparse(statement.annotation)
            assert type(ast.literal_eval(statement.value)).__name__ == annotated, text

    def test_have_a_comment_each(self, parameters):
        tokens = tokenize.generate_tokens(io.StringIO(parameters).readline)
        commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and len(token.string) > 5}
        bare = [
            statement.target.id
            for statement in ast.parse(parameters).body
            if not commented & set(range(statement.lineno, statement.end_lineno + 1))
        ]
        assert bare == []

    def test_are_those_of_the_canonical_page(self, code):
        assert not [number for number, cell in code.items() if "injected-parameters" in tags(cell)]


class TestCells:
    def test_define_nothing(self, code):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [n for n, cell in code.items() for node in ast.walk(ast.parse(source(cell))) if isinstance(node, kinds)]
        assert found == []

    def test_call_no_magic_and_no_shell(self, code):
        found = [number for number, cell in code.items() if re.search(r"^\s*[%!?]|\?\s*$", source(cell), re.MULTILINE)]
        assert found == []

    def test_are_short(self, code):
        lengths = {number: len(source(cell).splitlines()) for number, cell in code.items()}
        assert {number: length for number, length in lengths.items() if length > LINES} == {}

    def test_ask_for_bounds_by_name_and_leave_rules_as_they_are(self, code):
        nodes = [node for cell in code.values() for node in ast.walk(ast.parse(source(cell)))]
        used = {getattr(node, "attr", getattr(node, "arg", None)) for node in nodes}
        assert not used & {"observable", "supported"}, (
            "a rule stands in its file: claim.bound(NAME), claim.control_rule"
        )

    def test_stand_behind_words(self, notebook, code):
        cells = notebook["cells"]
        assert [n for n in code if n == 0 or cells[n - 1]["cell_type"] != "markdown"] == []
        assert all(source(cell).strip() for cell in cells)

    def test_have_names_of_their_own(self, notebook):
        assert set(Counter(cell["id"] for cell in notebook["cells"]).values()) == {1}


class TestPage:
    def test_title_is_that_of_the_claim(self, path, notebook):
        assert headings(notebook)[0] == (1, claims.load(path.stem).title)
        assert [level for level, _ in headings(notebook)].count(1) == 1

    def test_has_the_sections_of_every_page_in_their_order(self, notebook):
        words = [text.lower() for level, text in headings(notebook) if level == 2]
        places = [next((i for i, text in enumerate(words) if section in text), None) for section in SECTIONS]
        assert None not in places, dict(zip(SECTIONS, places, strict=True))
        assert places == sorted(places)

    def test_links_to_the_methods_lead_to_a_section(self, notebook):
        sections = {
            slugify(text) for text in re.findall(r"^## (.*)$", METHODS.read_text(encoding="utf-8"), re.MULTILINE)
        }
        words = "".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        meant = re.findall(r"\]\([^)]*methods\.md([^)]*)\)", words)
        assert len(meant) > 1
        assert {each.removeprefix("#") for each in meant} <= sections

    def test_names_its_own_command(self, path, notebook):
        words = "".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        for options in ("", " --profile laptop", " --profile paper", " -p "):
            assert f"`lmc run {path.stem}{options}" in words

    def test_promises_the_same_digits_where_arithmetic_is_portable_alone(self, notebook):
        (words,) = [source(cell) for cell in notebook["cells"] if source(cell).endswith(PROMISE)]
        assert f"\n{words}".rpartition("\n## ")[2].startswith("Provenance\n")
        whole = " ".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
        assert whole.count("digits above") == 1

    def test_loads_its_own_claim(self, path, code):
        assert any(f'claims.load("{path.stem}")' in source(cell) for cell in code.values())

    def test_figures_have_a_caption_a_name_and_words_for_those_who_cannot_see(self, code):
        assert figures(code)
        for number, cell in figures(code).items():
            book = cell["metadata"].get("mystnb", {})
            texts = [
                book.get("figure", {}).get("caption"),
                book.get("figure", {}).get("name"),
                book.get("image", {}).get("alt"),
            ]
            assert all(texts), (number, texts)
            assert texts[0] != texts[2], "what a figure means and what it looks like are two things"

    def test_figures_have_no_text_below_nine_points(self, code):
        """A page shows a point as a pixel or more."""
        found = [
            float(size)
            for cell in figures(code).values()
            for size in re.findall(r"\b(?:font|label)?size=([\d.]+)", source(cell))
        ]
        assert min(found, default=9.0) >= 9.0

    def test_runs_on_any_python_3(self, notebook):
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        assert notebook["nbformat"] == 4


class TestOutputs:
    def test_every_cell_was_executed_once_in_order(self, code):
        assert [cell["execution_count"] for cell in code.values()] == list(range(1, len(code) + 1))

    def test_no_cell_failed(self, outputs):
        assert [number for number, output in outputs if output["output_type"] == "error"] == []

    def test_nothing_was_written_to_stderr(self, outputs):
        assert [number for number, output in outputs if output.get("name") == "stderr"] == []

    def test_no_images_are_stored(self, outputs):
        assert [n for n, output in outputs if any(kind.startswith("image/") for kind in output.get("data", {}))] == []

    def test_the_verdict_is_stored(self, path, outputs):
        (report,) = [found for _, output in outputs if (found := extract([output])) is not None]
        assert report["claim"] == path.stem
        assert report["verdict"] in claims.VERDICTS

    def test_nothing_tells_of_the_machine_it_ran_on(self, path, notebook):
        assert notebook["metadata"].keys() <= {"kernelspec", "language_info"}
        assert notebook["metadata"].get("language_info", {}).keys() <= {"name"}
        for cell in notebook["cells"]:
            assert cell["metadata"].keys() <= {"tags", "mystnb", "jupyter"}
        # Addresses of objects differ from run to run.
        assert not re.search(r" at 0x[0-9a-f]{6,}", path.read_text())


def test_names_of_figures_are_unique_in_the_book():
    names = Counter(
        cell["metadata"]["mystnb"]["figure"]["name"]
        for path in PATHS
        for cell in json.loads(path.read_text())["cells"]
        if "figure" in cell["metadata"].get("mystnb", {})
    )
    assert set(names.values()) == {1}


# Of 95 % are all intervals; the others are what a network or a data set is called.
NAMES = {"95"}


def numbers_in(text):
    """The numbers of a text, without code, formulas, names of roles, addresses and tables of costs."""
    text = re.sub(r"```.*?```|\{[^}]*\}`[^`]*`|`[^`]*`|\$[^$]*\$|\]\([^)]*\)|\(run-.*", "", text, flags=re.DOTALL)
    return [each.replace(",", "") for each in re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)", text)]


def test_numbers_are_those_of_sentences():
    text = "at $x = 7$ of `b 8` {cite}`k2024`, 25,000 updates, 0.31 and 2 (ResNet-20)\n(run-x)=\n## Run\n| 12 min |"
    assert numbers_in(text) == ["25000", "0.31", "2", "20"]


@pytest.mark.parametrize("claim", claims.load_all())
def test_prose_says_no_number_that_neither_the_claim_nor_its_parameters_have(claim):
    """What was measured stands in tables, which are made anew at each scale; prose is the same at all of them."""
    path = PATHS[0].with_name(f"{claim}.ipynb")
    cells = json.loads(path.read_text())["cells"]
    known = [path.with_suffix(".yml").read_text(), definitions.deviations()]
    known += [source(cell) for cell in cells if cell["cell_type"] == "code"]
    known += [json.dumps(definitions.profile(claim, scale)) for scale in ("laptop", "paper")]
    allowed = set(re.findall(r"\d+(?:\.\d+)?", "\n".join(known).replace(",", ""))) | NAMES
    for cell in cells:
        if cell["cell_type"] == "markdown":
            found = [each for each in numbers_in(source(cell)) if each not in allowed]
            assert not found, f"{found} in: {source(cell)[:200]}"
