"""Makes what follows from the claims' files and from the notebooks: two lists of claims, stored outputs, quick records.

``make notebooks`` calls it for all of them; arguments name some notebooks. First the claims in ``_toc.yml`` and in the
table of ``README.md`` are brought in step with ``notebooks/*.yml``; ``--lists`` does no more than that. Then canonical
notebooks are run at their defaults, from an empty store; their text outputs and their records are stored. Images,
timestamps and the outputs of cells tagged ``nbval-ignore-output`` are not stored, so that a second run changes no byte.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

from lmc_lib import definitions
from lmc_lib.cli import Refused, records, running, tree

_FOLDER = Path(__file__).resolve().parent
_ROOT = _FOLDER.parent


def main() -> None:
    """Refreshes the lists, and each notebook in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", action="store_true", help="refresh _toc.yml and README.md, but run no notebook")
    parser.add_argument("notebooks", nargs="*", type=Path, help="these alone (default: all)")
    options = parser.parse_args()
    if missing := [path for path in options.notebooks if not path.is_file()]:
        parser.error(f"there is no notebook {missing[0]}")
    try:
        for path, text in lists().items():
            path.write_text(text, encoding="utf-8")
        if not options.lists:
            refresh([path.resolve() for path in options.notebooks] or sorted(_FOLDER.rglob("*.ipynb")))
    except (Refused, definitions.DefinitionError) as error:
        parser.exit(1, f"{error}\n")


def refresh(paths: Sequence[Path]) -> None:
    """Runs notebooks, and writes them when all have run: else a change of one would mark the code of the next."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMC_STORE"] = str(Path(folder) / "store")
        executed = {path: run(path, Path(folder)) for path in paths}
    for path, notebook in executed.items():
        nbformat.write(clean(notebook), path)


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Executes a notebook; that of a claim also writes its records."""
    if path.parent != _FOLDER:
        return running.execute(path, folder / path.name)
    result = running.run(path.stem, out=folder, records=False)
    # Code that is not committed yet may be tried: each test run computes these records again and compares.
    records.keep(folder / path.name, result, allow_dirty=True)
    return nbformat.read(folder / path.name, as_version=4)


def lists() -> dict[Path, str]:
    """What ``_toc.yml`` and ``README.md`` should say; all but their claims stays as it is."""
    contents, readme = _ROOT / "_toc.yml", _ROOT / "README.md"
    return {
        contents: contents_of(contents.read_text(encoding="utf-8")),
        readme: table_of(readme.read_text(encoding="utf-8")),
    }


def contents_of(text: str) -> str:
    """The contents of the book with the pages of all claims; a claim with laptop records has a second page."""
    pages: dict[str, list[str]] = {chapter: [] for chapter in definitions.CHAPTERS}
    for claim_id, each in definitions.read_all().items():
        lines = [f"      - file: book/claims/{claim_id}"]
        if tree.record_of(claim_id, "laptop").exists():
            lines += ["        sections:", f"          - file: book/claims/{claim_id}-quick"]
        pages[each.chapter] += lines
    for chapter, lines in pages.items():
        head = f"  - caption: {chapter}\n    chapters:\n"
        text = _replaced(text, re.escape(head) + r"(?:      .*\n)*", head + "\n".join([*lines, ""]))
    return text


def table_of(text: str) -> str:
    """The README with a row for each claim."""
    head = "| page | claim |\n|---|---|\n"
    briefs = {claim_id: each.brief.replace("|", "\\|") for claim_id, each in definitions.read_all().items()}
    rows = "".join(f"| `{claim_id}` | {brief} |\n" for claim_id, brief in briefs.items())
    return _replaced(text, re.escape(head) + r"(?:\|.*\n)*", head + rows)


def _replaced(text: str, pattern: str, new: str) -> str:
    """The text with the one place that a pattern fits replaced.

    Raises:
        Refused: if it does not fit once.
    """
    found, count = re.subn(pattern, lambda _: new, text)
    if count != 1:
        raise Refused(f"_toc.yml or README.md has {count} places for this, expected one: add its first line\n{new}")
    return found


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Removes what differs from run to run, and images."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    # What papermill passes on are the defaults.
    cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = {
            name: value for name, value in cell.metadata.items() if name in ("tags", "mystnb") and value != []
        }
        if cell.cell_type == "code":
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            cell.outputs = [] if ignored else cell.outputs
    code = [cell for cell in cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    notebook.cells = cells
    return running.without_figures(notebook)


if __name__ == "__main__":
    main()
