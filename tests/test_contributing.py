"""A claim is added by its two files and their records, as CONTRIBUTING.md says: all that lists claims follows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from builder.telling import badge
from lmc_lib import records

ROOT = Path(__file__).parents[1]

CELLS = [
    ('scale: str = "quick"  # name of the profile\nwidth: int = 2  # units', ["parameters"]),
    (
        "import numpy as np\n\n"
        "from lmc_lib import claims, experiments, sweeps\n"
        "from lmc_lib.data import DataSpec\n"
        "from lmc_lib.models import ModelSpec\n"
        "from lmc_lib.store import Store\n"
        "from lmc_lib.training import TrainConfig\n\n"
        'claim = claims.load("toy")\n'
        'bound = claim.bound("fallen")',
        [],
    ),
    (
        "store = Store.from_environment()\n"
        'toys = experiments.runs.replicas(ModelSpec("mlp", width, 1), DataSpec("digits"), TrainConfig(1), 2)\n'
        "pairs = experiments.pair.PairSpec.of_pairs(toys, points=3, train_examples=20, test_examples=20)\n"
        "wanted = list(pairs.values())\n"
        "sweeps.fill(store, wanted, workers=1)",
        [],
    ),
    (
        # The mean of four numbers is 0.7, or 0.2; Student's t with 3 degrees of freedom reaches 0.065 from there.
        "apart = np.array([-0.05, 0.0, 0.0, 0.05])\n"
        "free, held = (claims.estimate_by_jackknife(x, x - apart / 3) for x in (bound + 0.2, 0.2))",
        [],
    ),
    ('controls = [claims.judge(claim, "on a string", {"fallen": held})]', []),
    (
        'found = [claims.judge(claim, "free", {"fallen": free})]\n'
        'claims.conclude(claim, found, controls, scale=scale, numbers={"width": width})',
        [],
    ),
    ("sweeps.origin(store, wanted)", ["nbval-ignore-output"]),
]

# In one process, since loading the library takes most of the time.
STEPS = """
import contextlib, runpy, sys
from pathlib import Path
from lmc_lib import definitions
from lmc_lib.cli import main, tree
sys.path.insert(0, "book")
from builder import first_page, verdict_tables
from builder.results import Result

assert main(["run", "toy", "--profile", "laptop", "--records", "--allow-dirty"]) == 0
sys.argv[1:] = ["notebooks/toy.ipynb"]
runpy.run_path("notebooks/refresh.py", run_name="__main__")
with Path("list").open("w") as file, contextlib.redirect_stdout(file):
    assert main(["list", "--json"]) == 0
with Path("judged").open("w") as file, contextlib.redirect_stdout(file):
    assert main(["judge", "toy"]) == 0
reports = {scale: tree.report_of(tree.record_of("toy", scale)) for scale in ("laptop", "quick")}
told = [Result(definitions.read_all()["toy"], reports)]
Path("row").write_text(first_page.table(told, {"nobody2024": "Nobody (2024)"}))
Path("verdicts").write_text(verdict_tables.tables(told))
Path("deviations").write_text(definitions.deviations())
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory, write_claim):
    """A copy of the repository with a claim more, between two others: measured, recorded, and the lists refreshed."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("lmc_lib", "notebooks", "book/builder"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copytree(ROOT / "records", copy / "records", copy_function=os.symlink)  # megabytes, which are only read
    for name in ("README.md", "_toc.yml"):
        shutil.copy(ROOT / name, copy)
    write_claim(copy / "notebooks", place=1.5, profiles={"laptop": {"width": 3}, "paper": {"width": 100}})
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
    @pytest.mark.parametrize(("scale", "width"), [("laptop", 3), ("quick", 2)])
    def test_is_run_with_the_parameters_of_the_scale_and_recorded(self, copy, scale, width):
        content = records.read(copy / "records" / f"toy-{scale}.json.gz")
        report = content["report"]
        (setting,), (control,) = report["settings"], report["controls"]
        assert report["verdict"] == setting["verdict"] == "supported"
        assert control["verdict"] == "not supported"
        assert (report["scope"], setting["status"]) == ({"laptop": "proxy", "quick": "toy"}[scale], "exploratory")
        assert setting["conditions"][0]["study"]["kind"] == "jackknife"
        assert report["parameters"] == {"scale": scale, "width": width}
        assert [each["spec"]["target"]["model"]["width"] for each in content["records"].values()] == [width]

    def test_is_listed_in_its_place_with_its_verdicts(self, copy):
        listed = json.loads((copy / "list").read_text())
        place = [each["claim"] for each in listed].index("toy")
        assert [listed[place + step]["claim"] for step in (-1, 1)] == ["difficulty-noise", "difficulty-agreement"]
        assert (listed[place]["title"], listed[place]["chapter"]) == ("A toy", "Example difficulty")
        verdicts = {scale: each["verdict"] for scale, each in listed[place]["scales"].items()}
        assert verdicts == {"quick": "supported", "laptop": "supported", "paper": None}

    def test_is_judged_from_its_records_alone_and_nothing_changes(self, copy):
        assert (copy / "judged").read_text().splitlines() == ["toy (quick): supported", "toy (laptop): supported"]

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
        assert "toy (quick, toy): supported" in stored.cells[-2].outputs[0].data["text/plain"]

    def test_has_its_row_on_the_first_page_and_its_table(self, copy):
        row = (copy / "row").read_text()
        assert '<a href="claims/toy.html">A toy</a></th>' in row
        assert "proxy; exploratory" in row
        assert "free: the share of toys <strong>0.700 [0.635,\u00a00.765]</strong>, above 0.5 needed" in row
        assert "Nobody (2024)<ul><li>toys that fall: <strong>all</strong></li></ul>" in row
        verdicts = (copy / "verdicts").read_text()
        condition = "the share of toys is above 0.5"
        for page in ("[laptop](claims/toy.ipynb), proxy", "[quick](claims/toy-quick.ipynb), toy"):
            for said, interval in (
                (f"free | {badge('supported')} exploratory", "0.700 [0.635,\u00a00.765]"),
                (f"negative control: on a string | {badge('not supported')}", "0.200 [0.135,\u00a00.265]"),
            ):
                assert f"| {page} | {said} | {condition}: {interval} | 4 networks |" in verdicts

    def test_has_its_deviations_in_their_place(self, copy):
        headings = re.findall(r"^## (.+)", (copy / "deviations").read_text(), re.MULTILINE)
        assert headings[headings.index("A toy") - 1] == "Example difficulty"
        assert headings[headings.index("A toy") + 1] == "Difficulty and architecture"
