"""Tables of a page that its notebook has made."""

__all__ = ["readable"]

import copy
import re

import nbformat

_INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")
# Words, but not "below 1e-12".
_WORDS = re.compile(r"<td>(?!nan<)(?=[A-Za-z][A-Za-z])(?=[^<\d]*(?:</td>|[a-z] [A-Za-z][a-z]))")


def readable(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Marks cells that hold words, not numbers, and keeps the two ends of an interval on one line.

    A narrow column then breaks before the bracket of an interval, not within it, and words are set to the left.
    """
    page = copy.deepcopy(notebook)
    for data in (output.get("data", {}) for cell in page.cells for output in cell.get("outputs", [])):
        if "<table" in data.get("text/html", ""):
            data["text/html"] = _WORDS.sub('<td class="words">', _INTERVAL.sub("[\\1,\u00a0\\2]", data["text/html"]))
    return page
