"""What every test relies on: one thread, a guard around the global random streams, random weights, the built book."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import hypothesis
import matplotlib
import nbformat
import numpy as np
import pytest
import sklearn.datasets  # noqa: F401 -- draws a random number when it is first loaded
import torch
import yaml
from torch import nn
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

matplotlib.use("Agg")

# Under test, beartype checks the annotations of the library. It looks at a random item of each list; with a stream of
# its own it leaves the global one alone.
with mock.patch.object(random, "getrandbits", random.Random(0).getrandbits):
    import beartype  # noqa: F401

from lmc_lib import rng
from lmc_lib.cli import tree
from lmc_lib.state import State

ROOT = Path(__file__).parents[1]

# Few, fixed examples: the laws are strict, so a wrong library fails on almost any of them, and runs are the same.
hypothesis.settings.register_profile("laws", max_examples=15, deadline=None, derandomize=True)
hypothesis.settings.load_profile("laws")

# The networks here are tiny: a second thread costs more than it brings.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest, so that two processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class OneBook(LoadFileScheduling):
    """Gives whole files to processes; those that need the built book go to one process, which builds it once."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "book" if Path(file).name in ("test_book.py", "test_browser.py") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneBook | None:
    """Replaces ``--dist loadfile``."""
    return OneBook(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def global_streams_stay():
    """Fails a test that moves a global random stream: whatever is random here takes a generator."""
    before = _global_streams()
    yield
    moved = [name for name, state in _global_streams().items() if state != before[name]]
    assert not moved, f"the test moved the global random stream of {', '.join(moved)}"


def _global_streams() -> dict[str, object]:
    algorithm, keys, *rest = np.random.get_state()  # noqa: NPY002 -- the stream that nothing may touch
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (algorithm, keys.tobytes(), *rest),
        "Python": random.getstate(),
    }


@pytest.fixture(scope="session")
def random_weights():
    """Draws every entry of a network's state in float64, vectors and BatchNorm statistics too.

    Zeros and ones, as a fresh network has them, would hide an entry that was not moved.
    """

    def draw(model: nn.Module, *path: str | int) -> State:
        generator = rng.stream(0, "random weights", *path)
        state = {}
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                state[name] = torch.full_like(value, 7)
                continue
            entry = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if value.dim() > 1:
                entry /= value[0].numel() ** 0.5
            elif name.endswith("running_var"):
                entry = entry.square() + 0.5
            elif name.endswith("weight"):
                entry = 1.0 + 0.3 * entry
            state[name] = entry
        return state

    return draw


@pytest.fixture(scope="session")
def write_claim():
    """Writes the file of a claim with one condition, an entry at a time changed; what is None is left out."""

    def write(folder, claim_id="toy", **changes):
        entries = {
            "chapter": "Example difficulty",
            "place": 1,
            "title": "A toy",
            "brief": "toys fall",
            "statement": "Every toy falls.",
            "source": "nobody2024",
            "where": "Figure 1",
            "published": [{"what": "toys that fall", "value": "all"}],
            "criterion": "Count the toys that fall.",
            "unit": "network",
            "scope": {"quick": "toy", "laptop": "proxy", "paper": "exact"},
            "supported": [
                {
                    "quantity": "fallen",
                    "label": "the share of toys",
                    "above": 0.5,
                    "reason": "most of them",
                    "null value": 0.25,
                    "exchange": "none",
                    "effect": 0.9,
                    "from": "printed",
                }
            ],
            "control": "Toys on a string.",
            "profiles": {"laptop": {}, "paper": {}},
            "deviations": "## A toy\n\nNone.\n",
        }
        left = {name: value for name, value in (entries | changes).items() if value is not None}
        path = folder / f"{claim_id}.yml"
        path.write_text(yaml.safe_dump(left, sort_keys=False))
        return path

    return write


@pytest.fixture
def claim_that_asks(tmp_path, write_claim, monkeypatch):
    """Makes ``toy`` the one claim, of a notebook with these parameters and one cell; returns its folder."""

    def write(parameters, cell):
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        cells = [first, nbformat.v4.new_code_cell(cell)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "toy.ipynb")
        write_claim(tmp_path)
        monkeypatch.setattr(tree, "NOTEBOOKS", tmp_path)
        monkeypatch.setattr(tree, "RECORDS", tmp_path / "records")
        monkeypatch.setenv("LMC_STORE", str(tmp_path / "store"))
        return tmp_path

    return write


def copy_of_repository(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(
        ".venv", "_build", ".git", "results", "claims.egg-info", ".mypy_cache", ".hypothesis"
    )
    return shutil.copytree(ROOT, folder / "copy", ignore=ignored, ignore_dangling_symlinks=True)


def run_build(copy: Path, store: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a copy of the repository, which is also where its processes find the library."""
    environment = {**os.environ, "LMC_STORE": str(store), "PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """A copy of the repository with the book, built as the README says; what the build printed is in ``build.log``."""
    copy = copy_of_repository(tmp_path_factory.mktemp("book"))
    build = run_build(copy, tmp_path_factory.mktemp("store"), "make", "book", "VENV=", f"PYTHON={sys.executable}")
    assert build.returncode == 0, build.stdout + build.stderr
    (copy / "build.log").write_text(build.stdout)
    return copy
