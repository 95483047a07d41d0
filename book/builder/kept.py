"""Pages that were made before: kept under a hash of all that makes them.

The hash is of the notebook, its parameters, its claim, the library, this builder, the records, the error rates of
rules, the glossary, the references, how to cite the book, its settings, and the installed packages. The store of
measurements is not part of it: what it holds is defined by the same things.
"""

__all__ = ["clean", "keep", "key", "taken"]

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from builder.layout import BOOK, KEPT, Page, packages
from lmc_lib import definitions
from lmc_lib.cli import tree
from lmc_lib.cli.parameters import resolve

# The checksums of the files beside it.
_SUMS = "sums.json"


def key(page: Page) -> str:
    """The hash of what makes a page.

    Raises:
        Refused: if the page's parameters are wrong.
    """
    # As they are read, since the file of a claim may take parts from that of another.
    claim = [asdict(definitions.load(page.claim)), resolve(page.claim, page.scale)] if page.claim else []
    parts = [page.name, page.source.read_bytes().hex(), json.dumps(claim, sort_keys=True), _surroundings()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def taken(page: Page, its_key: str) -> dict[str, bytes] | None:
    """The files of a page that was kept under this key; None if there are none, or if they are not as they were."""
    folder = _folder(page, its_key)
    try:
        sums = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        files = {name: (folder / name).read_bytes() for name in sums}
    except (OSError, ValueError):
        return None
    sound = sums and all(_sum(files[name]) == total for name, total in sums.items())
    return files if sound else None


def keep(page: Page, its_key: str, files: Mapping[str, bytes]) -> None:
    """Keeps the files of a page, whole or not at all."""
    folder = _folder(page, its_key)
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in files.items():
        (temporary / name).write_bytes(content)
    (temporary / _SUMS).write_text(
        json.dumps({name: _sum(content) for name, content in files.items()}), encoding="utf-8"
    )
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def clean(current: Iterable[tuple[Page, str]]) -> None:
    """Removes what is kept of earlier versions of pages."""
    wanted = {_folder(page, its_key) for page, its_key in current}
    for folder in KEPT.iterdir() if KEPT.is_dir() else ():
        if folder not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _folder(page: Page, its_key: str) -> Path:
    return KEPT / f"{page.name}-{its_key}"


@functools.cache
def _surroundings() -> str:
    """A hash of all that pages have in common, and of the installed packages."""
    total = hashlib.sha256()
    library = sorted(path for kind in ("*.py", "*.yml") for path in (tree.ROOT / "lmc_lib").rglob(kind))
    builder = sorted((BOOK / "builder").glob("*.py"))
    named = (
        BOOK / "audit.json",
        BOOK / "glossary.md",
        BOOK / "references.bib",
        tree.ROOT / "CITATION.cff",
        tree.ROOT / "_config.yml",
    )
    for path in [*library, *builder, *(path for path in named if path.exists()), *tree.shipped()]:
        total.update(f"{path.relative_to(tree.ROOT)}\n".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for name in packages():
        total.update(name.encode())
    return total.hexdigest()
