"""The repository as a whole: dependencies in step, modules that stand alone, layers, and nothing left lying about."""

import ast
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "lmc_lib").rglob("*.py"))

# Where conda-forge has another name than PyPI.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}


def tracked():
    """The files of the repository."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


class TestDependencies:
    @pytest.fixture(scope="class")
    @classmethod
    def wanted(cls):
        """What pyproject.toml asks for, under the names of conda-forge: name and bounds."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        assert extras.keys() == {
            "book",
            "text",
            "cluster",
            "dev",
        }  # `text` is for one page, and no part of the environment
        listed = map(Requirement, project["dependencies"] + extras["book"] + extras["cluster"] + extras["dev"])
        found = {canonicalize_name(CONDA_NAMES.get(each.name, each.name)): each.specifier for each in listed}
        return found | {"python": SpecifierSet(project["requires-python"])}

    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls):
        """What environment.yml asks for, from conda-forge and, below it, from pip."""
        content = yaml.safe_load((ROOT / "environment.yml").read_text())
        assert content["channels"] == ["conda-forge"]
        lines = [line for line in content["dependencies"] if isinstance(line, str)]
        from_pip = [line for each in content["dependencies"] if isinstance(each, dict) for line in each["pip"]]
        found = dict(map(conda_requirement, lines))
        assert found.pop("pip", None) == SpecifierSet()
        listed = [Requirement(line) for line in from_pip if not line.startswith("-")]
        assert not found.keys() & {canonicalize_name(each.name) for each in listed}
        return found | {canonicalize_name(each.name): each.specifier for each in listed}

    def test_environment_has_the_same_packages_as_pyproject(self, wanted, environment):
        assert environment.keys() == wanted.keys()

    def test_environment_has_the_same_bounds_as_pyproject(self, wanted, environment):
        shared = wanted.keys() & environment.keys()
        differing = {name: (str(environment[name]), str(wanted[name])) for name in shared}
        assert {name: pair for name, pair in differing.items() if environment[name] != wanted[name]} == {}

    def test_every_package_stands_once(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        listed = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
        names = [canonicalize_name(Requirement(each).name) for each in listed]
        assert len(set(names)) == len(names)


def conda_requirement(line):
    """Name and bounds of a line of conda, where one equals sign fixes a version."""
    name, bounds = re.fullmatch(r"([A-Za-z0-9._-]+) *(.*)", line).groups()
    return canonicalize_name(name), SpecifierSet(re.sub(r"(?<![=<>!~])=(?!=)", "==", bounds))


IMPORT_ALONE = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [each for each in sys.modules if each.split(".")[0] == "lmc_lib"]:
        del sys.modules[loaded]
    module = importlib.import_module(name)
    missing = [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)]
    if missing:
        sys.exit(f"{name} has no {missing}, though __all__ says so")
"""


def public(module):
    """The names that a module calls public, its submodules among them if it is a package."""
    folder = module.with_suffix("")
    if folder.is_dir():
        return {path.stem for path in folder.glob("[!_]*")} | public(folder / "__init__.py")
    listed = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.Assign)]
    return set(ast.literal_eval(listed[0].value)) if listed else set()


class TestModules:
    @pytest.mark.slow
    def test_each_imports_alone_and_has_what_it_promises(self):
        paths = [path.relative_to(ROOT).with_suffix("") for path in MODULES]
        names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
        command = [sys.executable, "-W", "error", "-c", IMPORT_ALONE, *names]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "lmc_lib")))
    def test_each_says_what_it_is_and_what_is_public(self, path):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree)
        assigned = [node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)]
        if path != ROOT / "lmc_lib" / "__init__.py":
            assert assigned[0] == "__all__"

    @pytest.mark.parametrize(
        "path", [path for path in MODULES if path.name == "__init__.py"], ids=lambda path: path.parent.name
    )
    def test_offer_only_what_the_module_that_has_it_calls_public(self, path):
        imported = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        imported = [node for node in imported if node.module.startswith("lmc_lib")]
        hidden = []  # the reference leaves these out, and links to them lead nowhere
        for node in imported:
            module = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            hidden += [(module.name, each.name) for each in node.names if each.name not in public(module)]
        assert hidden == []

    @pytest.mark.slow
    def test_import_only_from_lower_rows(self):
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 broken" in done.stdout

    def test_what_a_page_imports_waits_for_no_library_that_a_few_functions_need(self):
        slow = "scipy.linalg scipy.optimize scipy.spatial scipy.stats seaborn sklearn torchvision"
        offered = "claims, connectivity, data, difficulty, experiments, models, plotting, similarity, sweeps, training"
        program = f"import sys; from lmc_lib import {offered}; print(*set('{slow}'.split()) & sys.modules.keys())"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "\n"


class TestFiles:
    # Put together, so that this file does not hold what it looks for.
    @pytest.mark.parametrize(
        "pattern",
        [rf"\b(TO{''}DO|FIX{''}ME)\b", rf"(?<![\w.~-])/(work|root){'/'}"],
        ids=["unfinished", "absolute path"],
    )
    def test_hold_nothing_unfinished_and_no_place_of_one_machine(self, pattern):
        found = []
        for path in tracked():
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture
            found += [f"{path.relative_to(ROOT)}: {line}" for line in text.splitlines() if re.search(pattern, line)]
        assert found == []

    def test_are_small(self):
        # Weights, data sets and pictures of figures do not belong into the repository; a table of scores does.
        limits = {ROOT / "records" / "difficulty-agreement-laptop.json.gz": 2 * 2**20}
        sizes = {path: path.stat().st_size for path in tracked()}
        assert {path: size for path, size in sizes.items() if size > limits.get(path, 2**20)} == {}
