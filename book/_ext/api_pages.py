"""Sphinx extension for the API pages: each docstring once, in Google's style, and only the library's sources are read.

Left to itself, autodoc2 takes docstrings for Markdown, and prints those that a package offers again on its page too.
It also reads every package that the library imports, and all that torch imports in turn, to infer types that no page
shows: without them Sphinx takes half the time.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from astroid.manager import AstroidManager
from autodoc2.render.myst_ import MystRenderer
from autodoc2.resolve_all import AllResolutionError
from autodoc2.utils import ItemData
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


class Renderer(MystRenderer):
    """Writes the page of a module; ``autodoc2_render_plugin`` names this class.

    A package's page lists what it offers, with a line on each, and leads to the page of the module where it is defined.
    Both names of such an object are names of that place.
    """

    _page = ""  # the module whose page this is; autodoc2 makes a renderer for each

    def render_package(self, item: ItemData) -> Iterator[str]:
        """Yields the page of a package or module, with what is defined in it."""
        page = list(_with_lists(super().render_package(item)))
        yield from page[:-2] if page[-2:] == ["### API", ""] else page

    def render_item(self, full_name: str) -> Iterator[str]:
        """Yields a module's page, or an object on the page where it is defined."""
        self._page = self._page or full_name
        within = full_name.rpartition(".")[0]
        if full_name != self._page and within != self._page and self._is_module(within):
            return
        own = f":canonical: {full_name}"
        for line in super().render_item(full_name):
            yield f":canonical: {self._offered_as(full_name)}" if line == own else line

    def _is_module(self, name: str) -> bool:
        item = self.get_item(name)
        return item is not None and item["type"] in {"module", "package"}

    def _offered_as(self, full_name: str) -> str:
        """The name under which the package of an object's module offers it, else its own."""
        module = full_name
        while not self._is_module(module):
            module = module.rpartition(".")[0]
        package = module.rpartition(".")[0]
        short = full_name[len(module) + 1 :]
        try:
            offered = self._all_resolver.get_resolved_all(package)["resolved"]
        except AllResolutionError:
            return full_name
        outer = short.partition(".")[0]
        return f"{package}.{short}" if offered.get(outer) == f"{module}.{outer}" else full_name


def _with_lists(lines: Iterable[str]) -> Iterator[str]:
    """Lists of links in place of trees: the contents of the book hold each module once already, by ``_toc.yml``."""
    within = False
    for line in lines:
        if line == "```{toctree}":
            within = True
        elif not within:
            yield line
        elif line == "```":
            within = False
        elif line and not line.startswith(":"):
            yield f"- {{py:mod}}`{line}`"


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
