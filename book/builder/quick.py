"""The page of a claim at the quick scale: no second copy of the text, but what the quick scale shows."""

__all__ = ["as_quick_page", "relabelled"]

import copy
import re

import nbformat

# A heading, with the label that others refer to it by.
_HEADING = re.compile(r"^(?:\(.*\)=\n)?#+ .*", re.MULTILINE)
# What the build has added, and the quick page shows as well.
_ADDED = {"verdict", "parameters"}


def as_quick_page(notebook: nbformat.NotebookNode, claim: str) -> nbformat.NotebookNode:
    """Shows of a notebook what the quick scale measured: figures, tables and verdicts, each under its heading.

    Its text and code are those of the claim's own page. They stay in the notebook, so that it can be run, but are not
    shown, and the search leaves the page out. A table keeps the sentence that says what it is.

    Args:
        notebook: an executed notebook, with its verdict below its title and a table of its parameters.
        claim: the claim, whose name is that of its own page.
    """
    page = relabelled(notebook, claim)
    page.metadata["nosearch"] = True
    cells: list[nbformat.NotebookNode] = []
    heading, words = "", ""
    for cell in page.cells:
        if cell.cell_type == "code":
            shows = _shows(cell)
            said = [each for each in (heading, words if _is_table(cell) else "") if each and shows]
            cells += [_text("\n\n".join(said), len(cells))] if said else []
            heading, words = ("", "") if shows else (heading, words)
            _tag(cell, "remove-input" if shows else "remove-cell")
        elif cell.id not in _ADDED:
            heading = [heading, *_HEADING.findall(cell.source)][-1]
            words = _first_sentence(cell.source)
            _tag(cell, "remove-cell")
        cells.append(cell)
    title = page.cells[0].source.partition("\n")[0]
    lead = f"What is measured here, why, and the code stand on [the page of the claim]({claim}.ipynb)."
    page.cells = [_text(f"{title}\n\n{lead}", "title"), *cells]
    return page


def relabelled(notebook: nbformat.NotebookNode, claim: str) -> nbformat.NotebookNode:
    """Gives a notebook a title and labels of its own: the same notebook at another scale is another page."""
    page = copy.deepcopy(notebook)
    names = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in page.cells]
    labels = [name for name in names if name] + [f"run-{claim}", f"verdict-{claim}"]
    for cell in page.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("name"):
            figure["name"] += "-quick"
        if cell.cell_type == "markdown":
            cell.source = re.sub(rf"([(#])({'|'.join(labels)})\b", r"\1\2-quick", cell.source)
    first = page.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title} (quick scale)\n{rest}"
    return page


def _shows(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell shows a figure, a table or a verdict; the claim is that of its own page."""
    shown = [output.get("data", {}) for output in cell.outputs]
    return any("image/png" in data or 'class="claim"' not in data.get("text/html", 'class="claim"') for data in shown)


def _is_table(cell: nbformat.NotebookNode) -> bool:
    return any("<table" in output.get("data", {}).get("text/html", "") for output in cell.outputs)


def _first_sentence(text: str) -> str:
    words = _HEADING.split(text)[-1].strip().split("\n\n")[0]
    return re.split(r"(?<=\.)\s+(?=[A-Z*])", words)[0]


def _tag(cell: nbformat.NotebookNode, tag: str) -> None:
    cell.metadata["tags"] = list(dict.fromkeys([*cell.metadata.get("tags", []), tag]))


def _text(source: str, name: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, id=f"quick-{name}")
