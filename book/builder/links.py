"""Links that a page gets from the build: words of the glossary where they first stand, and its own deviations."""

__all__ = ["to_deviations", "to_glossary", "words_of"]

import copy
import re
from collections.abc import Sequence

import nbformat

# Words that pages use in other senses too.
_ORDINARY = {
    "alpha", "angle", "by heart", "chain", "connected", "cut", "density", "drive", "error", "excess", "gain", "group",
    "level", "map", "mask", "place", "proxy", "reference", "scope", "source", "spawn", "stage", "state", "stress",
    "target", "token", "toy", "verdict",
}  # fmt: skip

# What stays as it is: code, lines of directives, headings, tables and labels, roles, formulas, links, HTML.
_KEPT = re.compile(
    r"(```.*?```|^:::.*?$|^#.*?$|^\|.*?$|^\(\S+\)=$|\{[^}\n]+\}`[^`]*`|`[^`]*`|\$[^$]+\$|\[[^\]]*\]\([^)]*\)|<[^>\n]*>)",
    re.MULTILINE | re.DOTALL,
)


def words_of(glossary: str) -> list[str]:
    """The words that a glossary explains and that always mean it: each on a line of its own within its directive."""
    (entries,) = re.findall(r"```\{glossary\}\n(.*?)```", glossary, re.DOTALL)
    return [word for word in re.findall(r"^(\S.*)$", entries, re.MULTILINE) if word not in _ORDINARY]


def to_glossary(notebook: nbformat.NotebookNode, words: Sequence[str]) -> nbformat.NotebookNode:
    """Links each word to the glossary where it first stands in the text of a page, also in the plural.

    Args:
        notebook: a notebook.
        words: the words.
    """
    page = copy.deepcopy(notebook)
    known = {word.lower(): word for word in words}
    longest_first = sorted(known, key=len, reverse=True)
    either = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest_first)
    one = re.compile(rf"\b({either})s?\b", re.IGNORECASE)

    def linked(found: re.Match[str]) -> str:
        word = known.pop(" ".join(found[1].lower().split()), "")
        return f"{{term}}`{' '.join(found[0].split())} <{word}>`" if word else found[0]

    for cell in page.cells:
        if cell.cell_type == "markdown":
            parts = _KEPT.split(cell.source)
            cell.source = "".join(one.sub(linked, part) if n % 2 == 0 else part for n, part in enumerate(parts))
    return page


def to_deviations(notebook: nbformat.NotebookNode, claim: str) -> nbformat.NotebookNode:
    """Lets links to the page of deviations lead to the section of a claim."""
    page = copy.deepcopy(notebook)
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../deviations.md)", f"](#deviations-{claim})")
    return page
