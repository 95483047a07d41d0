"""Time of the book by stage: what a reader of the code waits for, in seconds on the wall and of the processors.

Each stage runs in a copy of the repository with a store and a HOME that are empty at first, one after the other, so
run it on an idle machine. ``--long`` adds what takes ten minutes and more: the quick scale computed, and the tests.

    python benchmarks/book.py --json book/stages.json
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
MAKE = ["make", "VENV=", f"PYTHON={PYTHON}"]
_SET_SUBREAPER = 36


def main() -> None:
    """Prints one line a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--long", action="store_true", help="measure `make book FRESH=1` and `make test` too")
    options = parser.parse_args()
    adopt()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for row in stages(Path(folder), long=options.long):
            rows.append(row)
            print(f"{row['stage']:<52} {row['wall']:7.1f} s {row['processor']:7.1f} processor s {row['gib']:5.2f} GiB")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"cores": os.cpu_count(), "stages": rows}, indent=1) + "\n")


def stages(folder: Path, *, long: bool) -> Iterator[dict[str, Any]]:
    """Runs the stages in their order."""
    copy = folder / "copy"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "book" / "stages.json").write_text('{"stages": []}')  # the book shows what is measured here

    def stage(name: str, *command: str) -> dict[str, Any]:
        return measured(name, list(command), copy, folder)

    yield stage("import torch", PYTHON, "-c", "import torch")
    yield stage(
        "import all that a notebook imports", PYTHON, "-c", "import lmc_lib.experiments, lmc_lib.plotting, pandas"
    )
    lmc = "import sys; from lmc_lib.cli import main; sys.exit(main(sys.argv[1:]))"
    yield stage("lmc list", PYTHON, "-c", lmc, "list")
    page = ("run", "weak-connectivity", "--profile", "laptop", "--out", str(folder / "out"))
    yield stage("one page from records", PYTHON, "-c", lmc, *page)
    yield stage("make book, nothing kept", *MAKE, "book")
    yield stage("make book, nothing changed", *MAKE, "book")
    notebook = copy / "notebooks" / "weak-connectivity.ipynb"
    notebook.write_text(notebook.read_text().replace("## Setting", "## The setting", 1))
    yield stage("make book, one notebook edited", *MAKE, "book")
    if long:
        yield stage("make book FRESH=1, the quick scale computed", *MAKE, "book", "FRESH=1")
        shutil.copy(ROOT / "book" / "stages.json", copy / "book")  # a test asks for its rows
        yield stage("make test", *MAKE, "test")


def measured(name: str, command: list[str], copy: Path, folder: Path) -> dict[str, Any]:
    """Runs a command; wall time, processor time of all its processes, and the memory of the largest of them."""
    home = {"HOME": str(folder / "home"), "LMC_STORE": str(folder / "store"), "LMC_DATA": str(folder / "data")}
    environment = {**os.environ, **home, "PYTHONPATH": str(copy)}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall, process.returncode = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: {' '.join(command)} ended with {process.returncode}")
    every = [used, *orphans()]
    return {
        "stage": name,
        "wall": round(wall, 1),
        "processor": round(sum(each.ru_utime + each.ru_stime for each in every), 1),
        "gib": round(max(each.ru_maxrss for each in every) / 2**20, 2),
    }


def adopt() -> None:
    """Makes processes whose parents have ended children of this one: the servers of kernels outlive who asked first."""
    if ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1) != 0:
        raise SystemExit("this benchmark counts processes as Linux does")


def orphans() -> Iterator[resource.struct_rusage]:
    """Waits for the processes that a command has left behind, which are about to end, and tells what they used."""
    with contextlib.suppress(ChildProcessError):  # there is none
        while True:
            yield os.wait4(-1, 0)[2]


if __name__ == "__main__":
    main()
