"""The parameters of a page: one table of those that hold, in place of the two cells that papermill leaves."""

__all__ = ["meanings", "with_table"]

import ast
import copy
import io
import tokenize
from collections.abc import Mapping
from typing import Any

import nbformat

_CELLS = {"parameters", "injected-parameters"}


def with_table(notebook: nbformat.NotebookNode, values: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Shows a folded table of parameters; the cells stay in the notebook, so that it can be run, but are not shown.

    Args:
        notebook: an executed notebook.
        values: the parameters that hold, by name.

    Raises:
        ValueError: if the notebook has no parameters cell.
    """
    page = copy.deepcopy(notebook)
    places = [n for n, cell in enumerate(page.cells) if _CELLS & set(cell.metadata.get("tags", []))]
    if not places:
        raise ValueError("the notebook has no cell with the tag 'parameters': the page shows its values and meanings")
    words = meanings(page.cells[places[0]].source)
    for number in places:
        page.cells[number].metadata["tags"] = [*page.cells[number].metadata["tags"], "remove-cell"]
    rows = [f"* - `{name}`\n  - `{value!r}`\n  - {words.get(name, '')}" for name, value in values.items()]
    head = [":::{list-table}", ":header-rows: 1", ":class: parameters", "", "* - name\n  - value\n  - meaning"]
    text = "\n".join([f"::::{{dropdown}} The {len(rows)} parameters of this page", *head, *rows, ":::", "::::"])
    page.cells.insert(places[-1] + 1, nbformat.v4.new_markdown_cell(text, id="parameters"))
    return page


def meanings(source: str) -> dict[str, str]:
    """What the parameters of a cell mean: of each the comment at the end of its assignment."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
    return {
        node.target.id: comments.get(node.end_lineno or 0, "") for node in assigned if isinstance(node.target, ast.Name)
    }
