"""The static site: MathJax, Sphinx, and what is done to the site when it stands."""

__all__ = ["build", "copy_mathjax"]

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from builder import slim
from builder.layout import BOOK, BUILD, ROOT, SITE, packages, place

_MARK = BUILD / "made-from"
# What MathJax loads, as in _config.yml. Its usual bundle has a menu of preferences besides, a third of its size.
_MATHJAX = ("core", "input/tex", "output/chtml", "a11y/assistive-mml")


def copy_mathjax() -> None:
    """Copies MathJax from the installed package into the site's own files, so that pages need no other server.

    Raises:
        SystemExit: if the package is missing.
    """
    spec = importlib.util.find_spec("mathjax")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("MathJax is missing: pip install django-static-mathjax (it is part of the extra `book`)")
    source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax" / "es5"
    fonts = source / "output" / "chtml" / "fonts"
    parts = [source / f"{name}.js" for name in ("startup", *_MATHJAX)]
    served = BOOK / "_static" / "mathjax"
    wanted = {
        served / path.relative_to(source): path for path in [*parts, fonts / "tex.js", *(fonts / "woff-v2").iterdir()]
    }
    for place_of, path in wanted.items():
        place(place_of, path.read_bytes())
    for other in {path for path in served.rglob("*.*") if path.is_file()} - wanted.keys():  # of an earlier version
        other.unlink()


def build(*, strict: bool) -> int:
    """Calls Jupyter Book, which reads what has changed since the last build; returns its exit code.

    Args:
        strict: whether warnings are errors; a page that failed may lack what others refer to.
    """
    made_from = _made_from()
    if not _MARK.exists() or _MARK.read_text(encoding="utf-8") != made_from:
        # Sphinx itself sees changed pages, but neither those that are gone nor other versions of what it is made of.
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    _MARK.unlink(missing_ok=True)
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", str(ROOT), *(["-W"] if strict else []), "-n", "--keep-going", "-q"]
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        _MARK.write_text(made_from, encoding="utf-8")  # else the next build begins anew, since warnings are told once
    slim.site(SITE)
    return code


def _made_from() -> str:
    """The list of pages, and hashes of what Sphinx does not look at.

    The reference has a page for each module; its pages themselves are written in the course of a build.
    """
    written = [path for kind in ("*.md", "*.ipynb") for path in BOOK.rglob(kind) if BOOK / "api" not in path.parents]
    pages = sorted(str(path.relative_to(ROOT)) for path in [*written, *(ROOT / "lmc_lib").rglob("*.py")])
    files = [ROOT / "_config.yml", ROOT / "_toc.yml", *sorted((BOOK / "_ext").glob("*.py"))]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return "\n".join([*pages, *hashes, *packages()])
