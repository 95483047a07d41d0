"""Runs canonical notebooks at their defaults, from an empty store, and stores their text outputs.

``make notebooks`` calls it for all of them; arguments name some. Images, timestamps and the outputs of cells tagged
``nbval-ignore-output`` are not stored, so that a second run changes no byte.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill

_FOLDER = Path(__file__).parent


def main() -> None:
    """Refreshes each notebook in place."""
    for path in map(Path, sys.argv[1:] or sorted(_FOLDER.rglob("*.ipynb"))):
        with tempfile.TemporaryDirectory() as store:
            os.environ["LMC_STORE"] = store
            notebook = papermill.execute_notebook(
                str(path), None, cwd=str(_FOLDER), kernel_name="python3", progress_bar=False
            )
        nbformat.write(clean(notebook), path)


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Removes what differs from run to run, and images."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = {
            name: value for name, value in cell.metadata.items() if name in ("tags", "mystnb") and value != []
        }
        if cell.cell_type == "code":
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            cell.outputs = [] if ignored else [_without_images(output) for output in cell.outputs]
    return notebook


def _without_images(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "data" in output:
        output.data = {kind: value for kind, value in output.data.items() if not kind.startswith("image/")}
    return output


if __name__ == "__main__":
    main()
