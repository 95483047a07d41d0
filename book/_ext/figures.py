"""Sphinx extension for figures: each page counts its own from 1, and on a phone a figure scrolls in a box of its own.

Left to itself, Sphinx counts the figures of the whole site, so that the first of a page may be the fiftieth.
"""

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# A figure is shown at this share of its size or larger: it has 110 pixels an inch (``plotting.STYLE``), so that a point
# of its text, of which an inch has 72, is at least a pixel high.
SMALLEST = 72 / 110


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the extension: before and after Sphinx counts, and when a page is written."""
    app.connect("env-get-updated", _restore, priority=400)
    app.connect("env-get-updated", _renumber, priority=600)
    app.connect("doctree-resolved", _box)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def by_page(numbers: dict[str, dict[str, dict[str, tuple[int, ...]]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Numbers of figures, tables and listings by page, kind and place in the page, counted anew on each page."""
    return {
        page: {kind: {place: (count,) for count, place in enumerate(places, start=1)} for kind, places in kinds.items()}
        for page, kinds in numbers.items()
    }


def boxed(figure: nodes.figure, width: int) -> None:
    """Puts the picture of a figure into a box that scrolls, can be reached by keyboard, and is named by its caption.

    The caption may end with a link to a file, which belongs to no name.
    """
    said = (each for each in figure.next_node(nodes.caption) if not isinstance(each, download_reference))
    name = escape("".join(each.astext() for each in said).strip())
    least = f"--least-width: {round(SMALLEST * width)}px"
    opening = f'<div class="figure-box" tabindex="0" role="region" aria-label="{name}" style="{least}">'
    place = next(n for n, child in enumerate(figure.children) if not isinstance(child, nodes.caption))
    figure.insert(place + 1, nodes.raw("", "</div>", format="html"))
    figure.insert(place, nodes.raw("", opening, format="html"))


def width_of(picture: bytes) -> int:
    """The width of a PNG in pixels, which stands in its header."""
    return int.from_bytes(picture[16:20])


def _restore(app: Sphinx, env: BuildEnvironment) -> list[str]:
    # Sphinx compares what it counts with what it counted last time, to write again the pages that differ.
    del app
    env.toc_fignumbers = getattr(env, "figures_of_site", env.toc_fignumbers)
    return []


def _renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    del app
    env.figures_of_site = env.toc_fignumbers  # type: ignore[attr-defined]
    env.toc_fignumbers = by_page(env.toc_fignumbers)
    return []


def _box(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    del docname
    for figure in doctree.findall(nodes.figure):
        image = figure.next_node(nodes.image)
        path = Path(app.srcdir, image["uri"]) if image is not None else Path()
        if path.suffix == ".png" and figure.next_node(nodes.caption) is not None:
            boxed(figure, width_of(path.read_bytes()))
