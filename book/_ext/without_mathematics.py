"""Sphinx extension that leaves MathJax, a quarter of what a page loads, out of pages without formulas.

Jupyter Book asks for all scripts on all pages.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def _leave_out(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree is None or not any(doctree.findall(lambda node: isinstance(node, nodes.math | nodes.math_block))):
        context["script_files"] = [each for each in context["script_files"] if "mathjax" not in str(each.filename)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the extension, behind Sphinx's own that adds the script."""
    app.connect("html-page-context", _leave_out, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
