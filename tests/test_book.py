"""The built book: its pages exist, its numbers are those of the records, and it asks no other server."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmc_lib import claims

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "records").glob("*-laptop.json"))


def load_build():
    spec = importlib.util.spec_from_file_location("book_build", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A copy of the repository, built from its records and a store of its own."""
    copy = tmp_path_factory.mktemp("book") / "copy"
    ignored = shutil.ignore_patterns(
        ".venv", "_build", ".git", "results", "claims.egg-info", ".mypy_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, ignore=ignored, ignore_dangling_symlinks=True)
    store = str(tmp_path_factory.mktemp("store"))
    build = subprocess.run(
        [sys.executable, "book/build.py"],
        cwd=copy,
        env={**os.environ, "LMC_STORE": store, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    return copy


@pytest.mark.slow
def test_every_claim_has_a_page_for_each_scale(book):
    site = book / "_build" / "html"
    for claim in claims.load_all():
        for page in (f"{claim}.html", f"{claim}-quick.html"):
            text = (site / "book" / "claims" / page).read_text()
            assert "verdict-title" in text
    for page in ("index", "methods", "glossary", "deviations", "reproduce", "reference"):
        assert (site / "book" / f"{page}.html").exists()
    assert (site / "index.html").exists()


@pytest.mark.slow
def test_the_dashboard_equals_the_results_behind_it(book):
    dashboard = (book / "book" / "generated" / "dashboard.md").read_text()
    html = (book / "_build" / "html" / "book" / "index.html").read_text()
    for path in RECORDS:
        record = json.loads(path.read_text())["report"]
        made = json.loads((book / "book" / "claims" / f"{record['claim']}-laptop.json").read_text())
        assert {name: made[name] for name in ("verdict", "settings", "control", "numbers")} == {
            name: record[name] for name in ("verdict", "settings", "control", "numbers")
        }
        for setting in record["settings"]:
            aligned = next(each for each in setting["conditions"] if each["quantity"] == "aligned")["estimate"]
            number = f"{aligned['value']:.3f} [{aligned['low']:.3f}, {aligned['high']:.3f}]"
            row = next(line for line in dashboard.splitlines() if "| [laptop](" in line and setting["setting"] in line)
            assert number in row
            assert setting["verdict"] in row
            assert number in html


@pytest.mark.slow
def test_pages_ask_no_other_server(book):
    asked = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](?:https?:)?//[^"']+["']""")
    for page in (book / "_build" / "html").rglob("*.html"):
        found = [tag for tag in asked.findall(page.read_text()) if "canonical" not in tag]
        assert not found, f"{page.name}: {found[:2]}"


@pytest.mark.slow
def test_figures_of_the_claim_pages_have_alternative_text(book):
    for page in (book / "_build" / "html" / "book" / "claims").glob("*.html"):
        images = re.findall(r"<img[^>]+_images/[^>]+>", page.read_text())
        assert images
        assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)


def test_the_quick_page_has_labels_of_its_own(tmp_path):
    build = load_build()
    source = ROOT / "notebooks" / "weak-connectivity.ipynb"
    page = tmp_path / "page.ipynb"
    build.write_quick_page(source, page)
    before, after = source.read_text(), page.read_text()
    names = re.findall(r'"name": "(weak-[a-z-]+)"', before)
    assert names
    assert re.findall(r'"name": "(weak-[a-z-]+)"', after) == [f"{name}-quick" for name in names]
    assert "(run-weak-connectivity-quick)=" in after
    assert "(quick scale)" in after


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_every_verdict_has_a_badge(verdict):
    assert load_build().badge(verdict).endswith(f"`{verdict}`")
