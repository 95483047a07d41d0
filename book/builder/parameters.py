"""The parameters of a page: one table of those that hold, in place of the two cells that papermill leaves."""

__all__ = ["with_table"]

import copy
import re
from collections.abc import Mapping
from typing import Any

import nbformat

from builder.telling import plain
from lmc_lib.cli import notebooks

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
    words = {each.name: each.meaning for each in notebooks.parameters_in(page.cells[places[0]].source)}
    for number in places:
        page.cells[number].metadata["tags"] = [*page.cells[number].metadata["tags"], "remove-cell"]
    rows = [f"* - `{name}`\n  - {_code(value)}\n  - {plain(words.get(name, ''))}" for name, value in values.items()]
    head = [":::{list-table}", ":header-rows: 1", ":class: parameters", "", "* - name\n  - value\n  - meaning"]
    text = "\n".join([f"::::{{dropdown}} The {len(rows)} parameters of this page", *head, *rows, ":::", "::::"])
    page.cells.insert(places[-1] + 1, nbformat.v4.new_markdown_cell(text, id="parameters"))
    return page


def _code(value: Any) -> str:
    """A value as Python writes it, between more backticks than stand in a row within it."""
    text = repr(value)
    longest = max(map(len, re.findall("`+", text)), default=0)
    marks = "`" * (longest + 1)
    return f"{marks} {text} {marks}" if longest else f"`{text}`"
