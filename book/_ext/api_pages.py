"""Sphinx extension for the API pages: docstrings in Google's style, and nothing read but the library's own sources.

Left to itself, autodoc2 takes docstrings for Markdown. It also reads every package that the library imports, and all
that torch imports in turn, to infer types that no page shows: without them Sphinx takes half the time.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from astroid.manager import AstroidManager
from docutils import nodes
from docutils.parsers import rst
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

LIBRARY = Path(__file__).parents[2] / "lmc_lib"

_STYLE = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)


class Parser(rst.Parser):
    """Parses a docstring; ``autodoc2_docstring_parser_regexes`` names this module."""

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parses a docstring in Google's style into ``document``."""
        super().parse(str(GoogleDocstring(inputstring, _STYLE)), document)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tells the analyser which modules it does not read."""
    app.connect("doctree-read", adopt)
    own = {LIBRARY.name, *sys.stdlib_module_names}
    names = {name for path in LIBRARY.rglob("*.py") for name in imported(path.read_text(encoding="utf-8"))}
    AstroidManager().module_denylist |= {name for name in names if name.partition(".")[0] not in own}
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def adopt(app: Sphinx, doctree: nodes.document) -> None:
    """Makes every node belong to its page.

    autodoc2 parses docstrings into documents of their own, which its nodes would keep, and with them the state of the
    whole build: a page took over a megabyte on disk, and Sphinx half as much time again.
    """
    del app
    for node in doctree.findall():
        node.document = doctree


def imported(source: str) -> Iterator[str]:
    """Yields the full names of the modules that a source text imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
