"""What the build makes of an executed notebook: a page."""

__all__ = [
    "failed", "with_audit", "with_citation", "with_commits", "with_downloads", "with_keywords", "with_verdict",
]  # fmt: skip

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nbformat

from builder import audits, citing, quick, verdict
from builder.downloads import SCORES
from builder.layout import Page
from builder.telling import NONE, Caveats, plain
from lmc_lib import claims
from lmc_lib.cli import Refused

_VERDICT = re.compile(r"^## Verdict$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def with_verdict(
    notebook: nbformat.NotebookNode,
    claim: claims.Claim,
    report: Mapping[str, Any],
    caveats: Caveats = NONE,
    glance: str = "",
) -> nbformat.NotebookNode:
    """Puts the verdict below the title, and folds the details of the box in the notebook, to which it leads.

    Args:
        notebook: an executed notebook; its first cell begins with the title.
        claim: the claim.
        report: the report of the page.
        caveats: what a reader must know of its verdicts.
        glance: what stands between the verdict and the introduction, as Markdown.

    Raises:
        Refused: if the notebook has no section "Verdict", or does not begin with a title.
    """
    page = copy.deepcopy(notebook)
    title, _, rest = page.cells[0].source.partition("\n")
    sections = [cell for cell in page.cells if cell.cell_type == "markdown" and _VERDICT.search(cell.source)]
    if not title.startswith("# ") or len(sections) != 1:
        raise Refused(f"{claim.id}.ipynb takes a title, '# ...', in its first line, and one section '## Verdict'")
    sections[0].source = _VERDICT.sub(f"(verdict-{claim.id})=\n## Verdict", sections[0].source)
    for output in (output for cell in page.cells for output in cell.get("outputs", [])):
        if claims.verdict.extract([output]):
            output["data"]["text/html"] = verdict.folded(output["data"]["text/html"])
    page.cells[0].source = title
    texts = {"verdict": verdict.box(claim, report, caveats), "glance": glance, "introduction": rest.strip()}
    page.cells[1:1] = [nbformat.v4.new_markdown_cell(text, id=name) for name, text in texts.items() if text]
    return page


def with_commits(notebook: nbformat.NotebookNode, repository: str, commits: Iterable[str]) -> nbformat.NotebookNode:
    """Makes links of the commits under Provenance, to their place in a repository; without one there are none."""
    # A commit that is unknown, or whose name ends in "-dirty", is not that of the code that ran.
    known = [each for each in commits if _COMMIT.fullmatch(each)]
    if not repository or not known:
        return notebook
    page = copy.deepcopy(notebook)
    for output in (output for cell in page.cells for output in cell.get("outputs", [])):
        if 'class="provenance"' in output.get("data", {}).get("text/html", ""):
            output["data"]["text/html"] = re.sub(
                rf"\b({'|'.join(known)})\b(?!-)",
                lambda found: f'<a href="{repository.rstrip("/")}/commit/{found[1]}">{found[1]}</a>',
                output["data"]["text/html"],
            )
    return page


def with_citation(notebook: nbformat.NotebookNode, claim: claims.Claim) -> nbformat.NotebookNode:
    """Adds a section that says how to cite the page and its paper, before its references."""
    return _with_section(notebook, citing.section(claim), "citation")


def with_downloads(
    notebook: nbformat.NotebookNode, name: str, contents: str, *, scores: bool = False
) -> nbformat.NotebookNode:
    """Adds a section with links to the files of a page, before its references; a table if there are ``contents``."""
    text = f"""## Data

Packed by xz: `pandas.read_csv` reads the tables as they are, and Python's `lzma.open` unpacks the report. Fractions
in tables have seven digits; `records/` has all that were kept.

- {{download}}`{name}.json.xz`: the verdict, the estimates with their intervals, all medians, parameters and
  provenance."""
    if contents:
        text += f"""
- {{download}}`{name}.csv.xz`: {contents}. `measurement` is the fingerprint under which the store and `records/`
  hold it."""
    if scores:
        text += f"\n- {{download}}`{name}-scores.csv.xz`: {SCORES}."
    return _with_section(notebook, text, "downloads")


def with_audit(notebook: nbformat.NotebookNode, rows: Sequence[Mapping[str, Any]]) -> nbformat.NotebookNode:
    """Adds a section that says how often the rule of the page errs, before its references."""
    return _with_section(notebook, audits.section(rows), "audit") if rows else notebook


def _with_section(notebook: nbformat.NotebookNode, text: str, name: str) -> nbformat.NotebookNode:
    before = [number for number, cell in enumerate(notebook.cells) if cell.source.startswith("## References")]
    page = copy.deepcopy(notebook)
    page.cells.insert(before[0] if before else len(page.cells), nbformat.v4.new_markdown_cell(text, id=name))
    return page


def with_keywords(notebook: nbformat.NotebookNode, keywords: Iterable[str]) -> nbformat.NotebookNode:
    """Lets the search find a page by words that it does not show.

    The index knows single words, so that of a keyword of several each counts.
    """
    page = copy.deepcopy(notebook)
    words = dict.fromkeys(re.findall(r"\w+", " ".join(keywords).lower()))
    page.metadata["myst"] = {"html_meta": {"keywords": ", ".join(words)}}
    return page


def failed(notebook: nbformat.NotebookNode, page: Page, said: str, trace: str) -> nbformat.NotebookNode:
    """The page of a notebook that failed: what failed, what to do, and what was done until then."""
    command = f"lmc run {page.claim} --profile {page.scale}" if page.claim else "make book"
    text = f"""# {plain(page.title)} (failed)

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
    return quick.relabelled(shown, page.claim) if page.claim and page.name != page.claim else shown
