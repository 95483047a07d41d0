"""The contents at the side of every page: each claim with its verdict, since a title alone reads like a finding."""

__all__ = ["mark", "with_verdicts"]

import re
from collections.abc import Mapping
from pathlib import Path

from builder.layout import place

_NAVIGATION = re.compile(r'<nav class="bd-links.*?</nav>', re.DOTALL)
_LINK = re.compile(
    r'(<a(?: class="[^"]*")? href="(?:(?:[^"]*/)?([^"/]+)\.html|#)">)([^<]*?)(?: <small>[^<]*</small>)?(\s*</a>)'
)


def mark(folder: Path, verdicts: Mapping[str, str]) -> None:
    """Writes the verdicts into the contents of all pages of a site, in place of those that an earlier build wrote.

    Args:
        folder: the site.
        verdicts: the verdict of each claim's own page, by the name of the page.
    """
    for path in folder.rglob("*.html"):
        place(path, with_verdicts(path.read_text(encoding="utf-8"), path.stem, verdicts).encode())


def with_verdicts(html: str, name: str, verdicts: Mapping[str, str]) -> str:
    """A page whose contents tell verdicts.

    Args:
        html: the page.
        name: its own name, which its link to itself does not have.
        verdicts: as for :func:`mark`.
    """

    def told(link: re.Match[str]) -> str:
        opening, other, title, closing = link.groups()
        verdict = verdicts.get(other or name)
        return f"{opening}{title.rstrip()} <small>{verdict}</small>{closing}" if verdict else link[0]

    return _NAVIGATION.sub(lambda found: _LINK.sub(told, found[0]), html)
