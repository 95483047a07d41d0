"""The skeleton of a claim: a notebook and a file, in this folder, in which the name is still to be put.

It runs at the quick scale as it is, and has what ``tests/test_notebooks.py`` asks of every page. What is to be written
begins with the words of ``LEFT``.
"""

__all__ = ["LEFT", "told", "write"]

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from lmc_lib import definitions
from lmc_lib.cli import tree
from lmc_lib.cli.refused import Refused

LEFT = "FILL IN"

_TEMPLATES = {"yml": "claim.yml", "ipynb": "claim.ipynb"}


def write(claim: str, chapter: str) -> list[Path]:
    """Writes the files of a new claim, as the last of its chapter.

    Args:
        claim: its name.
        chapter: one of ``lmc_lib.definitions.CHAPTERS``.

    Returns:
        The files.

    Raises:
        Refused: if the name is none, or if one of the files is there already.
        DefinitionError: if the file of another claim cannot be used.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", claim):
        raise Refused(
            f"{claim!r} is no name of a claim: take lower-case words with hyphens between them, residual-width"
        )
    if claim.endswith(tuple(f"-{profile}" for profile in tree.PROFILES)):
        raise Refused(
            f"{claim!r} would be a page of another claim at one of its scales: take a name that ends otherwise"
        )
    files = {tree.NOTEBOOKS / f"{claim}.{ending}": name for ending, name in _TEMPLATES.items()}
    if there := [path for path in files if path.exists()]:
        raise Refused(f"{there[0]} is there already: take another name; lmc list shows those that are taken")
    places = [each.place for each in definitions.read_all(tree.NOTEBOOKS).values() if each.chapter == chapter]
    words = {
        "claim": claim,
        "title": claim.replace("-", " ").capitalize(),
        "chapter": chapter,
        "place": f"{max(places, default=0.0) + 1:g}",
    }
    for path, name in files.items():
        path.write_text(Template((Path(__file__).parent / name).read_text(encoding="utf-8")).substitute(words))
    return list(files)


def told(claim: str, written: Sequence[Path]) -> Iterator[str]:
    """What was written, and what comes next."""
    yield from (f"written: {path}" for path in written)
    yield f"next: replace each {LEFT!r}; lmc_lib/definitions/schema.yml explains the keys, CONTRIBUTING.md the steps"
    yield f"      lmc run {claim}"
    yield f"      python notebooks/refresh.py notebooks/{claim}.ipynb"
    yield f"      lmc audit {claim} --json book/audit.json"
