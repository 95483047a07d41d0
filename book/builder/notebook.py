"""What the build makes of an executed notebook: a page."""

__all__ = ["as_quick_page", "failed", "first_figure", "with_audit", "with_downloads"]

import base64
import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import nbformat

from builder import audits
from builder.downloads import SCORES
from builder.layout import Page
from lmc_lib.cli import Refused

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def with_downloads(
    notebook: nbformat.NotebookNode, name: str, contents: str, *, scores: bool = False
) -> nbformat.NotebookNode:
    """Adds a section with links to the files of a page, before its references."""
    text = f"""## Data

- {{download}}`{name}.csv.gz`: {contents}. `measurement` is the fingerprint under which the store and `records/`
  hold it.
- {{download}}`{name}.json`: the verdict, the estimates with their intervals, all medians, parameters and provenance."""
    if scores:
        text += f"\n- {{download}}`{name}-scores.csv.gz`: {SCORES}."
    return _with_section(notebook, text, "downloads")


def with_audit(notebook: nbformat.NotebookNode, rows: Sequence[Mapping[str, Any]]) -> nbformat.NotebookNode:
    """Adds a section that says how often the rule of the page errs, before its references."""
    return _with_section(notebook, audits.section(rows), "audit") if rows else notebook


def _with_section(notebook: nbformat.NotebookNode, text: str, name: str) -> nbformat.NotebookNode:
    before = [number for number, cell in enumerate(notebook.cells) if cell.source.startswith("## References")]
    page = copy.deepcopy(notebook)
    page.cells.insert(before[0] if before else len(page.cells), nbformat.v4.new_markdown_cell(text, id=name))
    return page


def as_quick_page(notebook: nbformat.NotebookNode, claim: str) -> nbformat.NotebookNode:
    """Gives a notebook labels of its own: the same notebook at another scale is another page."""
    page = copy.deepcopy(notebook)
    names = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in page.cells]
    labels = [name for name in names if name] + [f"run-{claim}"]
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


def first_figure(notebook: nbformat.NotebookNode) -> bytes:
    """The first figure, as PNG.

    Raises:
        Refused: if there is none.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise Refused("the notebook shows no figure, and its card on the first page needs one")


def failed(notebook: nbformat.NotebookNode, page: Page, said: str, trace: str) -> nbformat.NotebookNode:
    """The page of a notebook that failed: what failed, what to do, and what was done until then."""
    command = f"lmc run {page.claim} --profile {page.scale}" if page.claim else "make book"
    text = f"""# {page.title} (failed)

````{{error}}
This page could not be made when the book was built.

```text
{said}
```

What to do: if the message does not say it, `{command}` runs it alone, and computes what the records lack.
Then `make book` again: the pages that were made are kept, so that only this one is made anew. Below is what the
notebook showed before it stopped.
````

````{{dropdown}} Where it happened
```text
{_ANSI.sub("", trace)}
```
````"""
    shown = copy.deepcopy(notebook)
    # What papermill adds of its own; and outputs of the failing cell, which stand above.
    shown.cells = [cell for cell in shown.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])]
    for cell in shown.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
    title = next((cell for cell in shown.cells if cell.cell_type == "markdown"), None)
    if title is not None:
        title.source = re.sub(r"^# ", "## ", title.source)
    shown.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="failure"))
    return as_quick_page(shown, page.claim) if page.claim and page.name != page.claim else shown
