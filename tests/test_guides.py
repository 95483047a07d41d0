"""The guides: thin cells, text before code, whole outputs. nbval runs them, and the book shows them."""

import ast
import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks" / "guides").glob("*.ipynb"))
LINES = 15


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def cells(request):
    return json.loads(request.param.read_text())["cells"]


def source(cell):
    return "".join(cell["source"])


def test_there_are_guides_and_the_contents_list_them():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    assert PATHS
    assert {f"book/guides/{path.stem}" for path in PATHS} <= listed


def test_cells_are_thin_and_define_nothing(cells):
    for cell in cells:
        if cell["cell_type"] == "code":
            assert len(source(cell).splitlines()) <= LINES, source(cell)
            nodes = list(ast.walk(ast.parse(source(cell))))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes), source(cell)


def test_text_stands_before_every_code_cell(cells):
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds[0] == "markdown"
    assert all(before == "markdown" for before, kind in pairwise(kinds) if kind == "code")


def test_cells_were_run_without_an_error_and_store_no_image(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any(outputs)
    assert all(output["output_type"] != "error" for output in outputs)
    assert not any(kind.startswith("image/") for output in outputs for kind in output.get("data", {}))


def test_figures_have_a_caption_a_name_and_words_for_who_cannot_see_them(cells):
    for cell in cells:
        if cell["cell_type"] == "code" and "plt.subplots" in source(cell):
            figure = cell["metadata"]["mystnb"]["figure"]
            assert figure["name"]
            assert figure["caption"]
            assert cell["metadata"]["mystnb"]["image"]["alt"]
