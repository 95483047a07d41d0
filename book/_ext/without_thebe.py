"""Sphinx extension that leaves out sphinx-thebe, which Jupyter Book always loads: no page of this book runs code.

It writes its constants twice on every page, which a browser reports as an error, and names another server.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def _leave_out(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    named = ((each, f"{each.filename} {each.attributes.get('body', '')}") for each in context["script_files"])
    context["script_files"] = [each for each, text in named if "thebe" not in text]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the extension."""
    app.connect("html-page-context", _leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
