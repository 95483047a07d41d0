"""A claim is added by two files and a record, as CONTRIBUTING.md says: all that lists claims follows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]

CELLS = [
    ('scale: str = "quick"  # name of the profile\ntoys: int = 4  # how many', ["parameters"]),
    ('from lmc_lib import claims\n\nclaim = claims.load("toy")\nbound = claim.bound("fallen")', []),
    ("free, held = (claims.Estimate(x, x - 0.1, x + 0.1, pairs=toys, replicas=toys) for x in (bound + 0.2, 0.2))", []),
    ('control = claims.judge(claim, "on a string", {"fallen": held})', []),
    (
        'found = [claims.judge(claim, "free", {"fallen": free})]\n'
        'claims.conclude(claim, found, control, scale=scale, numbers={"toys": toys})',
        [],
    ),
]


# In one process, since loading the library takes most of the time.
STEPS = """
import contextlib, json, runpy, sys
from pathlib import Path
from lmc_lib import cli, definitions
sys.path.insert(0, "book")
from builder import first_page

assert cli.main(["run", "toy"]) == 0
report = json.loads(Path("results/toy.json").read_text())
Path("records/toy-laptop.json").write_text('{"report": ' + json.dumps(report) + ',\\n"records": {}}\\n')
sys.argv[1:] = ["notebooks/toy.ipynb"]
runpy.run_path("notebooks/refresh.py", run_name="__main__")
with Path("list").open("w") as file, contextlib.redirect_stdout(file):
    assert cli.main(["list"]) == 0
Path("dashboard").write_text(first_page.dashboard({"toy": {"laptop": report, "quick": report}}))
Path("deviations").write_text(definitions.deviations())
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory, write_claim):
    """A copy of the repository with a claim more, between two others: run, recorded, and the lists refreshed."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("lmc_lib", "notebooks", "records", "book"):
        shutil.copytree(ROOT / name, copy / name, copy_function=os.symlink)
    for name in ("README.md", "_toc.yml"):
        shutil.copy(ROOT / name, copy)
    write_claim(copy / "notebooks", place=1.5, profiles={"laptop": {"toys": 8}, "paper": {"toys": 100}})
    cells = [nbformat.v4.new_code_cell(text, metadata={"tags": tags}) for text, tags in CELLS]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), copy / "notebooks" / "toy.ipynb"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMC_")}
    environment |= {"PYTHONPATH": str(copy), "LMC_STORE": str(copy / "store")}
    command = [sys.executable, "-c", STEPS]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return copy


@pytest.mark.slow
class TestAddedClaim:
    def test_is_run(self, copy):
        report = json.loads((copy / "results" / "toy.json").read_text())
        assert (report["verdict"], report["control"]["verdict"]) == ("supported", "not supported")
        assert report["parameters"] == {"scale": "quick", "toys": 4}

    def test_is_listed_in_its_place_with_its_verdict(self, copy):
        lines = [line.split() for line in (copy / "list").read_text().splitlines()]
        row = lines.index(["toy", "A", "toy"])
        assert lines[row - 2][0] == "difficulty-noise"  # between the two stands the verdict of that one
        assert lines[row + 1] == ["laptop:", "supported"]
        assert lines[row + 2][0] == "difficulty-agreement"

    def test_has_its_row_and_its_pages(self, copy):
        before, after = ((root / "README.md").read_text().splitlines() for root in (ROOT, copy))
        row = after.index("| `toy` | toys fall |")
        assert after[:row] + after[row + 1 :] == before
        assert after[row - 1].startswith("| `difficulty-noise` |")
        before, after = ((root / "_toc.yml").read_text().splitlines() for root in (ROOT, copy))
        row = after.index("      - file: book/claims/toy")
        assert after[row + 1 : row + 3] == ["        sections:", "          - file: book/claims/toy-quick"]
        assert after[:row] + after[row + 3 :] == before
        assert after[row - 1] == "          - file: book/claims/difficulty-noise-quick"

    def test_has_its_stored_outputs(self, copy):
        stored = nbformat.read(copy / "notebooks" / "toy.ipynb", as_version=4)
        assert "toy (quick): supported" in stored.cells[-1].outputs[0].data["text/plain"]

    def test_has_its_card_and_its_table(self, copy):
        dashboard = (copy / "dashboard").read_text()
        assert "{grid-item-card} A toy" in dashboard
        assert "Every toy falls." in dashboard
        assert (
            "| [quick](claims/toy-quick.ipynb) | free | {bdg-success}`supported` | 0.700 [0.600, 0.800] |" in dashboard
        )

    def test_has_its_deviations_in_their_place(self, copy):
        headings = re.findall(r"^## (.+)", (copy / "deviations").read_text(), re.MULTILINE)
        assert headings[headings.index("A toy") - 1] == "Example difficulty"
        assert headings[headings.index("A toy") + 1] == "Difficulty and architecture"
