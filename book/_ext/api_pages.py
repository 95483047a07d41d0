"""Sphinx extension for the API pages: each docstring once, in Google's style, and only the library's sources are read.

Left to itself, autodoc2 takes docstrings for Markdown, and prints those that a package offers again on its page too.
It also reads every package that the library imports, and all that torch imports in turn, to infer types that no page
shows: without them Sphinx takes half the time.
"""

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from astroid.manager import AstroidManager
from autodoc2.render.myst_ import MystRenderer
from autodoc2.resolve_all import AllResolutionError
from autodoc2.utils import ItemData
from docutils import nodes
from docutils.parsers import rst
from sphinx.application import Sphinx
from sphinx.config import Config as SphinxConfig
from sphinx.ext.napoleon import Config, GoogleDocstring

LIBRARY = Path(__file__).parents[2] / "lmc_lib"

_STYLE = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)


class Parser(rst.Parser):
    """Parses a docstring; ``autodoc2_docstring_parser_regexes`` names this module."""

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parses a docstring in Google's style into ``document``."""
        super().parse(str(GoogleDocstring(inputstring, _STYLE)), document)


class Renderer(MystRenderer):
    """Writes the page of a package; ``autodoc2_render_plugin`` names this class.

    The page lists what the package offers, with a line on each, and then has a section for each of its modules, where
    their objects are described. Both names of an object that is offered are names of that place. Modules that stand in
    no package have pages of their own.
    """

    _page = ""  # whose page this is; autodoc2 makes a renderer for each

    def render_package(self, item: ItemData) -> Iterator[str]:
        """Yields the page of a package or module, with what is defined in it."""
        # Of the database, since a package need not offer the modules in which its objects are defined.
        modules = self._db.get_children_names(item["full_name"], {"module"}, sort_name=True)
        within = [name for name in modules if in_package(name)]
        page = list(
            _with_lists(
                super().render_package(item),
                without={
                    each["full_name"] for each in self.get_children(item, {"module"}) if in_package(each["full_name"])
                },
            )
        )
        yield from page[:-2] if page[-2:] == ["### API", ""] else page
        for name in within:
            yield from self._section(name)

    def render_item(self, full_name: str) -> Iterator[str]:
        """Yields a page, or an object on the page of the module where it is defined."""
        self._page = self._page or full_name
        within = full_name.rpartition(".")[0]
        if full_name != self._page and within != self._page and self._is_module(within):
            return
        yield from self._described(full_name)

    def _section(self, module: str) -> Iterator[str]:
        yield from [f"## {{py:mod}}`{module}`", "", f"```{{py:module}} {module}", "```", ""]
        yield from [f"```{{autodoc2-docstring}} {module}", f":parser: {self.get_doc_parser(module)}", "```", ""]
        for each in self.get_children(self.get_item(module)):
            if each["full_name"].rpartition(".")[0] == module:
                yield from self._described(each["full_name"])

    def _described(self, full_name: str) -> Iterator[str]:
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


def in_package(module: str) -> bool:
    """Whether a module stands in a package of the library, on whose page it is described."""
    return module.count(".") > 1


def _with_lists(lines: Iterable[str], *, without: Collection[str]) -> Iterator[str]:
    """Lists of links in place of trees: the contents of the book hold each page once already, by ``_toc.yml``."""
    within = False
    for line in lines:
        if line == "```{toctree}":
            within = True
        elif not within:
            if line != "## Submodules" or not without:
                yield line
        elif line == "```":
            within = False
        elif line and not line.startswith(":") and line not in without:
            yield f"- {{py:mod}}`{line}`"


def setup(app: Sphinx) -> dict[str, bool]:
    """Tells the analyser which modules it does not read, and Sphinx which have no page of their own."""
    app.connect("config-inited", leave_out)
    app.connect("doctree-read", adopt)
    own = {LIBRARY.name, *sys.stdlib_module_names}
    names = {name for path in LIBRARY.rglob("*.py") for name in imported(path.read_text(encoding="utf-8"))}
    AstroidManager().module_denylist |= {name for name in names if name.partition(".")[0] not in own}
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def leave_out(app: Sphinx, config: SphinxConfig) -> None:
    """Leaves out the pages of modules that stand in a package; autodoc2 writes one for each."""
    del app
    paths = [path.relative_to(LIBRARY.parent).with_suffix("") for path in LIBRARY.rglob("*.py")]
    names = [".".join(path.parts) for path in paths if path.name != "__init__"]
    without = [*filter(in_package, names), f"{LIBRARY.name}.cli.skeleton"]  # a template, which offers nothing
    config.exclude_patterns += [f"book/api/{LIBRARY.name}/{name}.md" for name in without]


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
