"""Sphinx extension by which notebooks alone are offered for download, not the sources of other pages.

A text or a page of the reference says no more as a source than as a page; the notebook of a page at the quick scale is
that of the claim's own page.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the extension, before the theme makes its buttons."""
    app.connect("html-page-context", _keep_back, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _keep_back(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    del app, templatename, doctree
    if context.get("page_source_suffix") != ".ipynb" or pagename.endswith("-quick"):
        context["page_source_suffix"] = context["sourcename"] = ""
