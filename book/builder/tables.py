"""Tables of a page that its notebook has made."""

__all__ = ["with_whole_intervals"]

import copy
import re

import nbformat

_INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")


def with_whole_intervals(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keeps the two ends of an interval on one line: a narrow column breaks before the bracket, not within it."""
    page = copy.deepcopy(notebook)
    for data in (output.get("data", {}) for cell in page.cells for output in cell.get("outputs", [])):
        if "<table" in data.get("text/html", ""):
            data["text/html"] = _INTERVAL.sub("[\\1,\u00a0\\2]", data["text/html"])
    return page
