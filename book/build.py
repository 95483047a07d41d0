"""Builds the book: runs every claim, writes the generated pages, copies MathJax, calls Jupyter Book.

``make book`` calls it. Pages: each claim from the laptop records that ship with the repository, without training, and
each claim at the quick scale, run here and now.
"""

import argparse
import base64
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from lmc_lib import claims, cli

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = BOOK / "claims"
GENERATED = BOOK / "generated"
SITE = ROOT / "_build" / "html"
_BADGES = {
    "supported": "success",
    "not supported": "danger",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
}


def main() -> int:
    """Builds everything; returns the exit code of Jupyter Book."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages-only", action="store_true", help="run claims and write pages, but do not build")
    options = parser.parse_args()
    for folder in (PAGES, GENERATED, BOOK / "api"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    results = {claim: run_pages(claim) for claim in claims.load_all()}
    (GENERATED / "dashboard.md").write_text(dashboard(results))
    (GENERATED / "criterion.md").write_text(criterion_table(json.loads((BOOK / "criterion.json").read_text())))
    copy_mathjax()
    return 0 if options.pages_only else build()


def run_pages(claim: str) -> dict[str, dict[str, Any]]:
    """Writes the two pages of a claim; returns their results by scale."""
    laptop = cli.run(claim, profile="laptop", out=GENERATED / "laptop", compute=False)
    report(laptop)
    quick = cli.run(claim, profile="quick", out=GENERATED / "quick")
    report(quick)
    shutil.copy(GENERATED / "laptop" / f"{claim}.ipynb", PAGES / f"{claim}.ipynb")
    write_quick_page(GENERATED / "quick" / f"{claim}.ipynb", PAGES / f"{claim}-quick.ipynb")
    write_thumbnail(PAGES / f"{claim}.ipynb", GENERATED / f"{claim}.png")
    for scale in ("laptop", "quick"):
        shutil.copy(GENERATED / scale / f"{claim}.json", PAGES / f"{claim}-{scale}.json")
    return {"laptop": laptop, "quick": quick}


def report(result: Mapping[str, Any]) -> None:
    """Prints one line a page."""
    seconds = result["provenance"]["seconds"]
    print(f"{result['claim']} at {result['scale']} scale: {result['verdict']} ({seconds:.0f} s)", flush=True)


def write_quick_page(executed: Path, page: Path) -> None:
    """Copies a notebook under labels of its own: the same notebook at another scale is another page."""
    notebook = nbformat.read(executed, as_version=4)
    names = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in notebook.cells]
    labels = [name for name in names if name] + [f"run-{executed.stem}"]
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("name"):
            figure["name"] += "-quick"
        if cell.cell_type == "markdown":
            cell.source = re.sub(rf"([(#])({'|'.join(labels)})\b", r"\1\2-quick", cell.source)
    first = notebook.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title} (quick scale)\n{rest}"
    nbformat.write(notebook, page)


def write_thumbnail(page: Path, image: Path) -> None:
    """Saves the first figure of a page."""
    for cell in nbformat.read(page, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                image.write_bytes(base64.b64decode(output["data"]["image/png"]))
                return


def dashboard(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The cards of the claims and a table of verdicts for each, as Markdown."""
    cards = [_card(claims.load(claim_id), scales["laptop"]) for claim_id, scales in results.items()]
    tables = [_table(claims.load(claim_id), scales) for claim_id, scales in results.items()]
    return "\n".join(["::::{grid} 1 1 1 2", *cards, "::::", "", "## Verdicts", "", *tables])


def _table(claim: claims.Claim, scales: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["scale", "setting", "verdict", "error barrier after alignment", "before", "pairs"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{claim.id}{'' if scale == 'laptop' else '-quick'}.ipynb)"
        control = result["control"] | {"setting": f"negative control: {result['control']['setting']}"}
        rows += [_row(page, setting) for setting in [*result["settings"], control]]
    published = "; ".join(f"{each['what']}: {each['value']}" for each in claim.published[:2])
    return "\n".join([f"### {claim.title}", "", *rows, "", f"Published: {published}.", ""])


def _row(page: str, setting: Mapping[str, Any]) -> str:
    estimates = {each["quantity"]: each["estimate"] for each in setting["conditions"]}
    numbers = " | ".join(
        f"{estimates[name]['value']:.3f} [{estimates[name]['low']:.3f}, {estimates[name]['high']:.3f}]"
        for name in ("aligned", "raw")
    )
    verdict = badge(setting["verdict"])
    return f"| {page} | {setting['setting']} | {verdict} | {numbers} | {estimates['raw']['pairs']} |"


def _card(claim: claims.Claim, result: Mapping[str, Any]) -> str:
    lines = "\n".join(f"- {each['setting']}: {badge(each['verdict'])}" for each in result["settings"])
    return (
        f":::{{grid-item-card}} {claim.title}\n:link: claims/{claim.id}.ipynb\n"
        f":img-bottom: generated/{claim.id}.png\n:img-alt: First figure of the page\n\n"
        f"{claim.statement}\n\n{lines}\n:::"
    )


def badge(verdict: str) -> str:
    """A verdict as a badge; the words carry the meaning."""
    return f"{{bdg-{_BADGES[verdict]}}}`{verdict}`"


def criterion_table(rates: Sequence[Mapping[str, Any]]) -> str:
    """The error rates of the criterion, as Markdown."""
    rows = ["| simulated barriers after alignment | spread | studies | called supported |", "|---|---|---|---|"]
    rows += [f"| {row['what']} | {row['spread']:g} | {row['draws']:,} | {100 * row['rate']:.1f} % |" for row in rates]
    return "\n".join([*rows, ""])


def copy_mathjax() -> None:
    """Copies MathJax from the installed package into the site's own files, so that pages need no other server."""
    spec = importlib.util.find_spec("mathjax")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("MathJax is missing: pip install django-static-mathjax (it is part of the extra `book`)")
    source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax" / "es5"
    target = BOOK / "_static" / "mathjax"
    shutil.rmtree(target, ignore_errors=True)
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(source / fonts, target / fonts)
    shutil.copy(source / "tex-chtml.js", target)


def build() -> int:
    """Calls Jupyter Book with warnings as errors, and checks that the pages exist."""
    shutil.rmtree(ROOT / "_build", ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(ROOT),
        "-W",
        "-n",
        "--keep-going",
        "-q",
    ]
    code = subprocess.run(command, check=False).returncode
    expected = [SITE / "book" / "claims" / f"{page.stem}.html" for page in PAGES.glob("*.ipynb")]
    if missing := [str(page) for page in [SITE / "index.html", *expected] if not page.exists()]:
        print(f"these pages are missing: {', '.join(missing)}", file=sys.stderr)
        return code or 1
    for leftover in SITE.rglob("*.map"):
        leftover.unlink()
    print(f"The book is in {SITE.relative_to(ROOT)}: open {(SITE / 'book' / 'index.html').as_uri()}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
