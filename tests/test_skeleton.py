"""``lmc new``: the skeleton of a claim runs as it is, and has what is asked of every page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lmc_lib import definitions, records
from lmc_lib.cli import main, skeleton, tree
from lmc_lib.cli.parameters import resolve

ROOT = Path(__file__).parents[1]
CLAIM = "residual-width"

# As CONTRIBUTING.md says, in one process, since loading the library takes most of the time.
STEPS = f"""
import runpy, sys
from lmc_lib.cli import main

assert main(["new", "{CLAIM}", "--chapter", "The butterfly effect"]) == 0
sys.argv[1:] = ["notebooks/{CLAIM}.ipynb"]
runpy.run_path("notebooks/refresh.py", run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, write_claim):
    """A folder of notebooks with the files of a claim that is the third of its chapter."""
    monkeypatch.setattr(tree, "NOTEBOOKS", tmp_path)
    write_claim(tmp_path, place=3)
    return tmp_path


class TestNew:
    @pytest.mark.parametrize(
        ("options", "chapter", "place"),
        [([], "Linear mode connectivity", 1.0), (["--chapter", "Example difficulty"], "Example difficulty", 4.0)],
    )
    def test_is_the_last_of_its_chapter(self, folder, options, chapter, place):
        assert main(["new", CLAIM, *options]) == 0
        found = definitions.read_all(folder)[CLAIM]
        assert (found.chapter, found.place, found.claim.title) == (chapter, place, "Residual width")

    @pytest.mark.parametrize("profile", tree.PROFILES)
    def test_has_parameters_that_every_profile_can_set(self, folder, profile):
        main(["new", CLAIM])
        assert resolve(CLAIM, profile)["scale"] == profile

    def test_bears_its_name_wherever_a_page_does(self, folder):
        main(["new", CLAIM])
        text = (folder / f"{CLAIM}.ipynb").read_text()
        assert "$" not in text
        for words in ("# Residual width", f'claims.load(\\"{CLAIM}\\")', f"(run-{CLAIM})=", f'"{CLAIM}-pairs"'):
            assert words in text

    def test_says_what_it_wrote_and_what_comes_next(self, folder, capsys):
        main(["new", CLAIM])
        said = capsys.readouterr().out.splitlines()
        assert said[:2] == [f"written: {folder / CLAIM}.{ending}" for ending in ("yml", "ipynb")]
        assert f"replace each {skeleton.LEFT!r}" in said[2]
        assert [line.strip() for line in said[3:]] == [
            f"lmc run {CLAIM}",
            f"python notebooks/refresh.py notebooks/{CLAIM}.ipynb",
            f"lmc audit {CLAIM} --json book/audit.json",
        ]

    @pytest.mark.parametrize(
        "name", ["Residual", "residual_width", "-x", "x-", "a--b", "1st", "a b", "", "../x", "ümlaut"]
    )
    def test_a_name_of_another_kind_is_refused(self, folder, name, capsys):
        before = set(folder.iterdir())
        assert main(["new", "--", name]) == 1
        assert "take lower-case words with hyphens between them" in capsys.readouterr().err
        assert set(folder.iterdir()) == before

    @pytest.mark.parametrize("name", ["weak-connectivity-quick", "width-laptop", "width-paper"])
    def test_a_name_of_a_page_at_a_scale_is_refused(self, folder, name, capsys):
        assert main(["new", name]) == 1
        assert "would be a page of another claim at one of its scales" in capsys.readouterr().err

    def test_a_name_that_yaml_takes_for_another_thing_stays_a_name(self, folder):
        assert main(["new", "true"]) == 0
        assert 'title: "True"' in (folder / "true.yml").read_text()

    @pytest.mark.parametrize("ending", ["yml", "ipynb"])
    def test_files_that_are_there_stay(self, folder, ending, capsys):
        path = folder / f"{CLAIM}.{ending}"
        path.write_text("mine")
        assert main(["new", CLAIM]) == 1
        assert f"{CLAIM}.{ending} is there already: take another name" in capsys.readouterr().err
        assert path.read_text() == "mine"
        assert len(list(folder.glob(f"{CLAIM}.*"))) == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository in which a skeleton was written and refreshed."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("lmc_lib", "notebooks", "tests", "book"):
        ignored = shutil.ignore_patterns("claims", "guides", "generated", "__pycache__") if name == "book" else None
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copytree(ROOT / "records", copy / "records", copy_function=os.symlink)  # megabytes, which are only read
    for name in ("README.md", "_toc.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    return copy


def in_copy(copy, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMC_")}
    environment |= {"PYTHONPATH": str(copy), "LMC_STORE": str(copy / "store")}
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
class TestSkeleton:
    def test_runs_and_has_what_is_asked_of_every_page(self, copy):
        in_copy(copy, "-c", STEPS)
        said = in_copy(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_notebooks.py", "-k", CLAIM)
        assert int(said.split(" passed")[0].split()[-1]) > 15, "the tests of a page did run"
        report = records.head(copy / "records" / f"{CLAIM}-quick.json.gz")
        assert report["verdict"] == "supported"
        assert [each["verdict"] for each in report["controls"]] == ["not supported"]
        notebook = nbformat.read(copy / "notebooks" / f"{CLAIM}.ipynb", as_version=4)
        assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_nothing_is_left_to_fill_in():
    files = [*tree.NOTEBOOKS.glob("*.yml"), *tree.NOTEBOOKS.glob("*.ipynb")]
    assert [path.name for path in files if skeleton.LEFT in path.read_text()] == []
