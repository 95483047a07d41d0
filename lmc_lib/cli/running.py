"""Running a claim's notebook, or only listing or computing what it needs."""

__all__ = ["Stopped", "execute", "plan", "plan_of_guide", "run", "variables", "without_figures", "work"]

import contextlib
import copy
import json
import math
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from lmc_lib import files, sweeps
from lmc_lib.claims.verdict import extract
from lmc_lib.cli import notebooks, tree
from lmc_lib.cli.forked import FIGURES
from lmc_lib.cli.output import duration
from lmc_lib.cli.parameters import parameters_of, resolve
from lmc_lib.cli.refused import Refused
from lmc_lib.processes import usable_cores

if sys.platform != "win32":
    import resource

# Without it a kernel says on stderr, each time, that its words to this process are not encrypted, and at times that it
# is interrupted as it ends. Errors of a notebook are exceptions all the same. Warnings of a
# notebook's own code are part of its outputs and stay.
_KERNEL = ("--IPKernelApp.log_level=CRITICAL",)

# Figures as PDF too, which readers can enlarge and print.
_VECTORS = ("--InlineBackend.figure_formats={'png', 'pdf'}",)


# The time left is that of `sweeps.fill`, which knows what is cheap and what is not.
_BAR = "{desc}: {n_fmt}/{total_fmt} results |{bar}| {elapsed}{postfix}"


# Open files: with 96 a notebook with two workers ran, with 64 it did not; each worker more takes two.
_FILES = 112
_FILES_OF_A_WORKER = 2

# Variables that the library reads while a notebook runs: whether a text will do, and what was expected.
_VARIABLES: dict[str, tuple[Callable[[str], bool], str]] = {
    "LMC_WORKERS": (lambda text: text.isascii() and text.isdigit(), "a number of processes, 0 for all cores"),
    "LMC_COMPUTE": (lambda text: text in ("0", "1"), "0, which forbids computing, or 1"),
    "LMC_SAME_CODE": (lambda text: text in ("0", "1"), "1, which computes anew what other code has made, or 0"),
    "LMC_STALE_BEFORE": (lambda text: _is_time(text), "a time in seconds since 1970"),
}


class Stopped(Refused):
    """A cell of a notebook failed."""


def run(
    claim: str,
    *,
    profile: str = "quick",
    overrides: Sequence[str] = (),
    out: Path,
    workers: int | None = None,
    recompute: bool = False,
    compute: bool = True,
    records: bool = True,
    vectors: bool = False,
) -> dict[str, Any]:
    """Runs a claim's notebook and writes ``out/CLAIM.ipynb`` and ``out/CLAIM.json``.

    Args:
        claim: the claim's name.
        profile: see :func:`resolve`.
        overrides: see :func:`resolve`.
        out: the folder of the results.
        workers: processes that train and measure; all cores if None.
        recompute: whether to compute even what is stored.
        compute: whether missing results may be computed; without it they are an error.
        records: whether the records that ship with the repository count as stored.
        vectors: whether figures are kept as PDF too, not as PNG alone.

    Returns:
        What was written to the JSON file: the report, the parameters and, under ``"provenance"``, what differs from
        run to run.

    Raises:
        Refused: if the parameters or variables of the environment are wrong, or if the notebook shows no report or no
            origin of its measurements.
        Stopped: if a cell fails; the message is that of the cell.
        OSError: if the results cannot be written; before anything is run.
    """
    parameters = resolve(claim, profile, overrides)
    _check_variables()
    if out.resolve() == tree.NOTEBOOKS:
        raise Refused(f"results in {out} would replace the notebooks themselves: name another folder with --out")
    _check_workers(workers)
    _check_open_files(workers)
    started = time.time()
    environment = _store() | (_records(claim, profile) if records else {"LMC_RECORDS": ""}) | _workers(workers)
    environment |= {"LMC_STALE_BEFORE": str(started)} if recompute else {}
    environment |= {} if compute else {"LMC_COMPUTE": "0"}
    out.mkdir(parents=True, exist_ok=True)
    notebook = out / f"{claim}.ipynb"
    # Should this run fail, the report of an earlier one would stay. That neither can be written is noticed here too.
    for each in (notebook, out / f"{claim}.json"):
        each.unlink(missing_ok=True)
        each.touch()
        each.unlink()
    with variables(environment), _progress(claim), _telling(overrides):
        executed = execute(tree.NOTEBOOKS / f"{claim}.ipynb", notebook, parameters, vectors=vectors)
    report = next((found for cell in executed.cells if (found := extract(cell.get("outputs", [])))), None)
    if report is None:
        raise Refused(f"{notebook} ran, but shows no report: a cell must end with claims.conclude(...)")
    maker = next((found for cell in executed.cells if (found := sweeps.maker(cell.get("outputs", [])))), None)
    if maker is None:
        raise Refused(
            f"{notebook} ran, but does not tell its origin: a cell must end with sweeps.origin(store, wanted)"
        )
    origin = maker | {"seconds": round(time.time() - started, 1)}
    result = report | {"parameters": parameters_of(claim) | parameters, "provenance": origin}
    files.write(out / f"{claim}.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def plan(
    claim: str, *, profile: str = "quick", overrides: Sequence[str] = (), pace: bool = False
) -> list[dict[str, Any]]:
    """Lists the runs and measurements that a claim needs, stored or not, without computing any.

    Args:
        claim: the claim's name.
        profile: as for :func:`resolve`.
        overrides: as for :func:`resolve`.
        pace: whether to measure how long an update takes, for trainings of which nothing like them is stored.
    """
    parameters = resolve(claim, profile, overrides)
    _check_variables()
    _check_open_files(1)
    asked = _store() | _records(claim, profile) | {"LMC_PACE": str(int(pace))}
    with variables(asked), _telling(overrides):
        rows: list[dict[str, Any]] = _told("LMC_PLAN", tree.NOTEBOOKS / f"{claim}.ipynb", parameters)
    return rows


def plan_of_guide(guide: Path) -> list[dict[str, Any]]:
    """Lists the runs that a guide needs, as :func:`plan` does of a claim; a guide that asks for none is not executed.

    Args:
        guide: its notebook.
    """
    _check_variables()
    _check_open_files(1)
    if "sweeps.fill(" not in notebooks.code(guide):
        return []
    with variables(_store() | {"LMC_PACE": "0", "LMC_RECORDS": ""}):
        rows: list[dict[str, Any]] = _told("LMC_PLAN", guide, {})
    return rows


def work(
    claim: str,
    *,
    profile: str = "quick",
    overrides: Sequence[str] = (),
    workers: int | None = None,
    only: Sequence[str] = (),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Computes what a claim needs and is missing, beside any number of processes that do the same in the same store.

    Args:
        claim: the claim's name.
        profile: as for :func:`resolve`.
        overrides: as for :func:`resolve`.
        workers: processes that train and measure; all cores if None.
        only: the fingerprints of what is asked for; all if empty.
        folder: a store of its own, for which no records count; the store of whoever calls, and records, if None.

    Returns:
        How many results were ``missing``, how many of them were ``computed`` here and by ``others``, a list of those
        that ``failed``, and how many were ``untried`` since they need one of these.

    Raises:
        Refused: if the parameters or variables of the environment are wrong.
        Stopped: if the notebook fails before it asks for results, or the store while they are computed.
    """
    parameters = resolve(claim, profile, overrides)
    _check_variables()
    _check_workers(workers)
    _check_open_files(workers)
    if os.environ.get("LMC_COMPUTE") == "0":
        raise Refused("the variable LMC_COMPUTE is 0, which forbids computing: unset it")
    asked = {"LMC_STORE": str(folder), "LMC_RECORDS": ""} if folder else _store() | _records(claim, profile)
    with variables(asked | _workers(workers) | {"LMC_ONLY": ",".join(only)}), _progress(claim), _telling(overrides):
        told: dict[str, Any] = _told("LMC_WORK", tree.NOTEBOOKS / f"{claim}.ipynb", parameters)
    return told


def _told(variable: str, source: Path, parameters: Mapping[str, Any]) -> Any:
    """What ``sweeps.fill`` writes to the file that a variable names, before it stops the notebook."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "told.json"
        with variables({variable: str(path)}):
            try:
                execute(source, Path(folder) / "stopped.ipynb", parameters)
            except Refused:
                if not path.exists():
                    raise
        if not path.exists():
            raise Refused(f"{source} ran, but asks for no results: a cell must call sweeps.fill(store, wanted)")
        return json.loads(path.read_text(encoding="utf-8"))


def _check_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise Refused(f"--workers takes at least one process, got {workers}")


def _workers(workers: int | None) -> dict[str, str]:
    return {"LMC_WORKERS": str(workers)} if workers else {}


def _check_variables() -> None:
    """Refuses what the library could not read, or would take for something else, once the notebook runs."""
    for name, (fits, expected) in _VARIABLES.items():
        text = os.environ.get(name, "")
        if text and not fits(text):
            raise Refused(f"the variable {name} is {text!r}, and takes {expected}: set it so, or unset it")


def _check_open_files(workers: int | None) -> None:
    """Refuses a limit of open files that a notebook would reach somewhere within, in words that do not tell of it."""
    if sys.platform == "win32":
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES + _FILES_OF_A_WORKER * (workers or int(os.environ.get("LMC_WORKERS") or 0) or usable_cores())
    if resource.RLIM_INFINITY != allowed < needed:
        raise Refused(f"a process may open {allowed} files here, and this one needs {needed}: ulimit -n {needed}")


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@contextlib.contextmanager
def _telling(overrides: Sequence[str]) -> Iterator[None]:
    """Adds to the message of a cell that fails which parameters were given."""
    try:
        yield
    except Stopped as error:
        if not overrides:
            raise
        raise Stopped(f"{error}\ngiven were {' '.join(f'-p {shlex.quote(each)}' for each in overrides)}") from error


def _store() -> dict[str, str]:
    """The store of whoever calls, if it is named: notebooks run in a folder of their own."""
    named = os.environ.get("LMC_STORE")
    if not named or "://" in named:  # the address of a bucket is the same everywhere
        return {}
    return {"LMC_STORE": str(Path(named).expanduser().absolute())}


def execute(
    source: Path, target: Path, parameters: Mapping[str, Any] | None = None, *, vectors: bool = False
) -> nbformat.NotebookNode:
    """Executes a notebook in the folder of the claims' notebooks and writes it, where a cell fails as far as it came.

    Args:
        source: the notebook.
        target: where it is written.
        parameters: its parameters, where they are not the defaults.
        vectors: whether figures are kept as PDF too, not as PNG alone.

    Raises:
        Stopped: if a cell fails; the message is that of the cell. Also if the kernel ends.
        Refused: if the kernel cannot be started.
    """
    try:
        executed: nbformat.NotebookNode = papermill.execute_notebook(
            *(
                str(each).replace("{", "{{").replace("}", "}}") for each in (source, target)
            ),  # papermill fills braces in
            parameters=dict(parameters or {}),
            cwd=str(tree.NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=False,  # it is saved at its end, or where a cell fails
            extra_arguments=[*_KERNEL, *FIGURES, *(_VECTORS if vectors else ())],
        )
    except PapermillExecutionError as error:
        raise Stopped(f"{source.stem} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}") from error
    except RuntimeError as error:  # what Jupyter says of a process that ended
        raise Stopped(
            f"{source.stem} stopped: {error}. Its process ended from outside, often for lack of memory or of open files"
        ) from error
    except NoSuchKernel as error:
        raise Refused(f"{source.stem} cannot run: {error}. Install ipykernel into this environment") from error
    return executed


def without_figures(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook as readers download it: pictures are made anew when it is run, and are most of its size."""
    stripped = copy.deepcopy(notebook)
    for cell in stripped.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data = {kind: value for kind, value in output.data.items() if not kind.startswith("image/")}
    return stripped


def _records(claim: str, profile: str) -> dict[str, str]:
    """The files of shipped records, as a variable lists them; the claim's own first, often the only one read."""
    own = tree.record_of(claim, profile)
    return {"LMC_RECORDS": os.pathsep.join(map(str, sorted(tree.shipped(), key=lambda path: path != own)))}


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process and of those it starts, for a while; an empty value unsets."""
    before = {name: os.environ.get(name) for name in values}
    try:
        for name, value in values.items():
            os.environ.pop(name, None) if value == "" else os.environ.__setitem__(name, value)
        yield
    finally:
        for name, old in before.items():
            os.environ.pop(name, None) if old is None else os.environ.__setitem__(name, old)


@contextlib.contextmanager
def _progress(claim: str) -> Iterator[None]:
    """Shows a bar on stderr while the notebook's process fills the store."""
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress"
        watcher = threading.Thread(target=_watch, args=(path, stop, claim), daemon=True)
        with variables({"LMC_PROGRESS": str(path)}):
            watcher.start()
            try:
                yield
            finally:
                stop.set()
                watcher.join()


def _watch(path: Path, stop: threading.Event, claim: str) -> None:
    while not path.exists():  # nothing to compute, no bar
        if stop.wait(0.3):
            return
    with tqdm(desc=claim, disable=None, file=sys.stderr, bar_format=_BAR) as bar:
        while not stop.wait(0.3):
            if text := path.read_text(encoding="utf-8"):  # empty in the moment in which it is written
                told = json.loads(text)
                bar.total, bar.n = told["total"], told["done"]
                bar.set_postfix_str(_left(told))  # shows the bar anew


def _left(told: Mapping[str, Any]) -> str:
    """The time left in words, by what ``sweeps.fill`` tells of its progress, and the processes that were lost."""
    if told["seconds"]:
        left = [f"{'about' if told['all'] else 'more than'} {duration(told['seconds'])} left"]
    else:
        left = [] if told["all"] else ["time left not known yet"]
    if lost := told.get("lost"):
        left.append(f"{lost} worker{'s' * (lost > 1)} lost")
    return ", ".join(left)
