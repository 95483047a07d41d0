"""Where the pages and the files of the book stand, and which pages there are."""

__all__ = [
    "BOOK", "BUILD", "GENERATED", "GUIDES", "KEPT", "PAGES", "ROOT", "SITE", "Page", "guides", "packages", "page_of",
    "pages", "place", "place_only", "repository", "scales_of",
]  # fmt: skip

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import yaml

from lmc_lib import claims
from lmc_lib.cli import tree
from lmc_lib.cli.tree import page_of, scales_of

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
PAGES = BOOK / "claims"
GUIDES = BOOK / "guides"
GENERATED = BOOK / "generated"
BUILD = ROOT / "_build"
SITE = tree.SITE
KEPT = BUILD / "pages"


@dataclass(frozen=True)
class Page:
    """A page that is made from a notebook.

    Attributes:
        name: the file's name in the book, without its ending.
        source: the notebook.
        claim: the claim that it tests; empty for a guide.
        scale: the profile.
    """

    name: str
    source: Path
    claim: str = ""
    scale: str = ""

    @property
    def title(self) -> str:
        """What the build calls the page."""
        return f"{self.claim} at {self.scale} scale" if self.claim else f"guide {self.name}"

    @property
    def folder(self) -> Path:
        """Where its files stand in the book."""
        return PAGES if self.claim else GUIDES


def pages() -> list[Page]:
    """All pages of claims, the quick ones first, since they take longest where they are computed."""
    found = [
        Page(page_of(claim, scale), tree.NOTEBOOKS / f"{claim}.ipynb", claim, scale)
        for claim in claims.load_all()
        for scale in scales_of(claim)
    ]
    return sorted(found, key=lambda page: page.scale != "quick")


def guides() -> list[Page]:
    """All guides."""
    return [Page(path.stem, path) for path in sorted((tree.NOTEBOOKS / "guides").glob("*.ipynb"))]


def repository() -> str:
    """The address of the repository that ``_config.yml`` names; empty if it names none."""
    return (yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")).get("repository") or {}).get("url", "")


def packages() -> list[str]:
    """The installed packages and Python itself, with their versions."""
    return sorted({f"{each.name} {each.version}" for each in distributions()} | {f"Python {sys.version}"})


def place(path: Path, content: bytes) -> None:
    """Writes a file unless it holds this already, since Sphinx reads anew whatever was written."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def place_only(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes a folder hold these files and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in files:
            path.unlink()
    for name, content in files.items():
        place(folder / name, content)
