"""What people install: the wheel has all files of the library, and the library alone needs no packages of the book."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lmc_lib.cli import commands, main

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "lmc_lib"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Modules of the command line that load what the extra `book` brings: they run notebooks.
WITH_NOTEBOOKS = {"cli/forked.py", "cli/loaded.py", "cli/running.py"}


def files():
    """The files of the library, by their paths in a wheel."""
    found = [each for each in LIBRARY.rglob("*") if each.is_file() and "__pycache__" not in each.parts]
    return {each.relative_to(ROOT).as_posix() for each in found}


def names_of(requirements):
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def test_the_library_says_that_it_is_typed_and_has_its_data():
    assert {"lmc_lib/py.typed", "lmc_lib/cli/alignment.html", "lmc_lib/plotting/space.html"} <= files()
    assert {f"lmc_lib/definitions/{name}.yml" for name in ("schema", "limits")} <= files()


def test_a_wheel_has_all_files_of_the_library_and_nothing_else(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        [told] = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
        assert "lmc = lmc_lib.cli:main" in wheel.read(told).decode()
    assert held == files()


def test_the_library_imports_at_the_top_only_what_an_installation_without_extras_has():
    wanted = names_of(PROJECT["dependencies"])
    distributions = metadata.packages_distributions()
    extras = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {each.partition(".")[0] for each in modules} - sys.stdlib_module_names - {"lmc_lib"}:
                owners = {canonicalize_name(each) for each in distributions[top]}
                if not owners & wanted:
                    extras.setdefault(path.relative_to(LIBRARY).as_posix(), set()).add(top)
    assert extras.keys() <= WITH_NOTEBOOKS, extras


def test_a_command_that_needs_more_says_what_to_install(monkeypatch, capsys):
    def fails(_):
        raise ModuleNotFoundError("No module named 'papermill'", name="papermill")

    monkeypatch.setattr(commands, "_list", fails)
    assert main(["list"]) == 1
    told = capsys.readouterr().err
    assert "needs papermill" in told
    [wanted] = re.findall(r"pip install '(.*?)\[book\]'", told)
    assert wanted == PROJECT["name"]


def test_the_readme_has_an_example_that_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    complete = [block for block in blocks if "import torch" in block]
    assert complete
    for block in complete:
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout.split()[-1]) < 1e-10
