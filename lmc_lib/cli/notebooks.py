"""What a claim's notebook says of itself, read without running it: its parameters, and what its runs cost.

Loads neither torch nor papermill, so that help, lists and completion take no time.
"""

__all__ = ["Parameter", "Run", "code", "costs", "kind", "parameters", "parameters_in", "runs_in"]

import ast
import io
import json
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmc_lib.cli import tree
from lmc_lib.cli.refused import Refused


@dataclass(frozen=True)
class Parameter:
    """An assignment in the cell that is tagged ``parameters``, ``name: type = default  # meaning``.

    Attributes:
        name: its name.
        default: its value at the quick scale.
        meaning: its comment; empty if there is none.
    """

    name: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Run:
    """A row of the table under *Run this yourself*.

    Attributes:
        name: the profile, or another name such as "your own".
        command: what starts the run.
        cost: what it takes on two cores, in words of Markdown.
    """

    name: str
    command: str
    cost: str


def parameters(claim: str) -> list[Parameter]:
    """The parameters of a claim's notebook, in its order.

    Raises:
        Refused: if there is no such notebook, or if its cell of parameters cannot be read.
    """
    path = tree.NOTEBOOKS / f"{claim}.ipynb"
    if path.parent != tree.NOTEBOOKS or not path.exists():
        there = ", ".join(sorted(each.stem for each in tree.NOTEBOOKS.glob("*.ipynb"))) or f"none in {tree.NOTEBOOKS}"
        raise Refused(f"no notebook for the claim {claim!r}; there are: {there}")
    found = [each for each in _cells(path) if "parameters" in each["metadata"].get("tags", [])]
    try:
        return [parameter for cell in found for parameter in parameters_in("".join(cell["source"]))]
    except ValueError as error:
        raise Refused(f"the cell of parameters of {path.name}: {error}") from error


def parameters_in(source: str) -> list[Parameter]:
    """The parameters that a cell assigns.

    What one means is the comment within its lines; where there is none, that on a line of its own before them.

    Raises:
        ValueError: if a statement is no ``name: type = literal``; the message names its line.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} is no Python: {error.msg}") from error
    except (MemoryError, RecursionError) as error:
        raise ValueError("a value is too deep for Python to read") from error
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    before = {line: words for line, words in comments.items() if source.splitlines()[line - 1].startswith("#")}
    found = []
    for each in statements:
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name) or each.value is None:
            raise ValueError(f"line {each.lineno} is no `name: type = value  # meaning`, but {ast.unparse(each)!r}")
        try:
            default = ast.literal_eval(each.value)
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"line {each.lineno}: {each.target.id} takes a value that needs no computing") from error
        lines = range(each.lineno, (each.end_lineno or each.lineno) + 1)
        meaning = " ".join(comments[line] for line in lines if line in comments)
        found.append(Parameter(each.target.id, default, meaning or before.get(each.lineno - 1, "")))
    return found


def code(path: Path) -> str:
    """The code of a notebook, cell after cell.

    Raises:
        Refused: if it is no notebook.
    """
    return "\n".join("".join(cell["source"]) for cell in _cells(path) if cell["cell_type"] == "code")


def costs(claim: str) -> dict[str, str]:
    """What a run costs, in words of Markdown, by profile: the table under *Run this yourself* in the claim's notebook.

    A profile of which the notebook says nothing is left out.
    """
    path = tree.NOTEBOOKS / f"{claim}.ipynb"
    cells = _cells(path) if path.exists() else []
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return {run.name: run.cost for run in runs_in(text) if run.name in tree.PROFILES}


def runs_in(text: str) -> list[Run]:
    """The rows of a table of runs, ``| name | `lmc run ...` | cost |``, within a text in Markdown."""
    return [
        Run(*row) for row in re.findall(r"^\| *([^|]+?) *\| *`(lmc run [^`]*)` *\| *(.+?) *\|$", text, re.MULTILINE)
    ]


def kind(value: Any) -> str:
    """The type of a parameter in words, such as ``"a list of int"``."""
    if isinstance(value, list) and value:
        return f"a list of {type(value[0]).__name__}"
    return type(value).__name__


def _cells(path: Path) -> list[dict[str, Any]]:
    try:
        cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sound = all(isinstance(each["cell_type"], str) and isinstance(each["source"], str | list) for each in cells)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise Refused(f"{path} is no notebook: mend it, or take it from git again")
    return cells
