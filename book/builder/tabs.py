"""How to run a page, in tabs: one for each scale and for values of one's own, made of the table in the notebook.

The tabs need no script: they are radio buttons, which a keyboard moves between by its arrows.
"""

__all__ = ["with_tabs"]

import copy
import re

import nbformat

from builder.telling import SCOPES
from lmc_lib import claims
from lmc_lib.cli import notebooks

_TABLE = re.compile(r"^\| scale \| command \|.*\n\|[-:| ]+\|\n(?:\|.*(?:\n|\Z))+", re.MULTILINE)


def with_tabs(notebook: nbformat.NotebookNode, claim: claims.Claim) -> nbformat.NotebookNode:
    """Puts tabs in place of the table under *Run this yourself*.

    Args:
        notebook: a notebook.
        claim: the claim, whose scopes the tabs of its scales name.
    """
    page = copy.deepcopy(notebook)
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = _TABLE.sub(lambda table: _tabs(notebooks.runs_in(table[0]), claim), cell.source)
    return page


def _tabs(runs: list[notebooks.Run], claim: claims.Claim) -> str:
    lines = [":::::{tab-set}"]
    for run in runs:
        cost = run.cost if run.cost.startswith("GPUs") else f"On two cores: {run.cost}"
        scope = claim.scope.get(run.name)
        lines += [f"::::{{tab-item}} {run.name}", "```bash", run.command, "```", f"{cost}."]
        lines += [f"Scope: {scope}, {SCOPES[scope]}."] if scope else []
        lines += ["::::"]
    return "\n".join([*lines, ":::::", ""])
