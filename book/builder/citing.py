"""How to cite a page: text and BibTeX of this book and of the paper whose claim it tests."""

__all__ = ["book", "paper", "section"]

from collections.abc import Mapping
from typing import Any

import yaml
from pybtex.database import BibliographyData, parse_file
from pybtex.plugin import find_plugin

from builder.layout import BOOK, ROOT
from lmc_lib import claims


def section(claim: claims.Claim) -> str:
    """The section of a page, as Markdown, folded.

    Raises:
        KeyError: if the paper is not among the references.
    """
    parts = {
        "This page": book(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), claim.title),
        "The paper": paper(parse_file(BOOK / "references.bib"), claim.source),
    }
    shown = [f"{name}: {text}\n\n```bibtex\n{entry.strip()}\n```\n" for name, (text, entry) in parts.items()]
    head = "## How to cite this claim\n\n:::::{dropdown} Text and BibTeX of this page and of the paper"
    return "\n".join([head, *shown, ":::::"])


def book(citation: Mapping[str, Any], title: str) -> tuple[str, str]:
    """The citation of a page of this book as text and as BibTeX.

    Args:
        citation: what stands in ``CITATION.cff``.
        title: the title of the page.
    """
    # Braces keep the name of a group from being taken apart.
    people = [
        (each["name"], f"{{{each['name']}}}")
        if "name" in each
        else (f"{each['given-names']} {each['family-names']}",) * 2
        for each in citation["authors"]
    ]
    names, authors = zip(*people, strict=True)
    released, version = str(citation["date-released"]), citation["version"]
    address = citation.get("url") or citation.get("repository-code") or ""
    text = f"{', '.join(names)} ({released[:4]}). \u201c{title}\u201d, in {citation['title']}, version {version}."
    fields = {
        "author": " and ".join(authors),
        "title": title,
        "booktitle": citation["title"],
        "year": released[:4],
        "note": f"Version {version}, {citation['license']} licence",
        **({"url": address} if address else {}),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return f"{text} {address}".strip(), "\n".join(["@incollection{lmccompanion,", *lines, "}"])


def paper(references: BibliographyData, key: str) -> tuple[str, str]:
    """The citation of a paper as text and as BibTeX.

    Raises:
        KeyError: if it is not among the references; the message says what to do.
    """
    if key not in references.entries:
        raise KeyError(f"{key} is not in book/references.bib: add the paper, or correct the source of the claim")
    entry = references.entries[key]
    (formatted,) = find_plugin("pybtex.style.formatting", "plain")().format_entries([entry])
    return formatted.text.render_as("text"), BibliographyData({key: entry}).to_string("bibtex")
