"""The command line: ``lmc run``, ``lmc list``, ``lmc status``.

papermill alone accepts misspelt and wrongly typed parameters; here they are refused before anything runs.
"""

__all__ = ["Refused", "main", "parameters_of", "plan", "resolve", "run"]

import argparse
import ast
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from lmc_lib import claims, store
from lmc_lib.claims.verdict import extract
from lmc_lib.training import TrainConfig

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
RECORDS = ROOT / "records"
PROFILES = ("quick", "laptop", "paper")

# A parameter that is a dictionary holds fields of TrainConfig, and is checked like parameters of its own. One that is
# empty by default holds such dictionaries by the names of further networks, and they may change the width too.
_TRAINING: dict[str, Any] = {
    field.name: 0 if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(TrainConfig)
} | {"milestones": [0]}  # an empty default would not tell the type of its elements

# Without it a kernel says on stderr, each time, that its words to this process are not encrypted, and at times that it
# is interrupted as it ends. Errors of a notebook are exceptions all the same. Warnings of a
# notebook's own code are part of its outputs and stay.
KERNEL = ("--IPKernelApp.log_level=CRITICAL",)


class Refused(ValueError):
    """A command that cannot be carried out, with what to do instead."""


def parameters_of(claim: str) -> dict[str, Any]:
    """Reads the parameters of a claim's notebook: name and default value.

    Raises:
        Refused: if there is no such notebook.
    """
    path = NOTEBOOKS / f"{claim}.ipynb"
    if not path.exists():
        there = ", ".join(sorted(each.stem for each in NOTEBOOKS.glob("*.ipynb"))) or f"none in {NOTEBOOKS}"
        raise Refused(f"no notebook for the claim {claim!r}; there are: {there}")
    inspected = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(each["default"]) for name, each in inspected.items()}


def resolve(claim: str, profile: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Merges a profile and overrides into the parameters that papermill passes on.

    Args:
        claim: the claim's name.
        profile: ``"quick"`` (the notebook's defaults), ``"laptop"`` or ``"paper"``.
        overrides: texts ``name=value``; ``name.key=value`` sets one entry of a dictionary.

    Raises:
        Refused: for an unknown profile or parameter, or a value of the wrong type.
    """
    defaults = parameters_of(claim)
    chosen = _profile(claim, profile)
    for name, value in chosen.items():
        _check(name, value, defaults, f"profile {profile}")
    for text in overrides:
        name, separator, raw = text.partition("=")
        if not separator:
            raise Refused(f"-p takes name=value, not {text!r}")
        name, _, key = name.strip().partition(".")
        value = _literal(raw)
        if key and name in defaults:
            if not isinstance(defaults[name], dict):
                raise Refused(f"-p: {name} takes {_type(defaults[name])} and has no entry {key!r}")
            value = {**chosen.get(name, defaults[name]), key: value}
        _check(name, value, defaults, "-p")
        chosen[name] = value
    return {"scale": profile} | chosen if "scale" in defaults else chosen


def run(
    claim: str,
    *,
    profile: str = "quick",
    overrides: Sequence[str] = (),
    out: Path,
    workers: int | None = None,
    recompute: bool = False,
    compute: bool = True,
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

    Returns:
        What was written to the JSON file: the report, the parameters and, under ``"provenance"``, what differs from
        run to run.

    Raises:
        Refused: if the parameters are wrong or the notebook fails; the message is that of the failing cell.
    """
    parameters = resolve(claim, profile, overrides)
    started = time.time()
    environment = {"LMC_RECORDS": _shipped()}
    environment |= {"LMC_WORKERS": str(workers)} if workers else {}
    environment |= {"LMC_STALE_BEFORE": str(started)} if recompute else {}
    environment |= {} if compute else {"LMC_COMPUTE": "0"}
    out.mkdir(parents=True, exist_ok=True)
    notebook = out / f"{claim}.ipynb"
    with _environment(environment), _progress(claim):
        executed = _execute(claim, notebook, parameters)
    report = next((found for cell in executed.cells if (found := extract(cell.get("outputs", [])))), None)
    if report is None:
        raise Refused(f"{notebook} ran, but shows no report: its last result must be claims.conclude(...)")
    origin = store.provenance() | {"seconds": round(time.time() - started, 1)}
    result = report | {"parameters": parameters_of(claim) | parameters, "provenance": origin}
    (out / f"{claim}.json").write_text(json.dumps(result, indent=1) + "\n")
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        with _environment({"LMC_PLAN": str(path), "LMC_PACE": str(int(pace)), "LMC_RECORDS": _shipped()}):
            try:
                _execute(claim, Path(folder) / "plan.ipynb", parameters)
            except Refused:
                if not path.exists():
                    raise
        rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except (Refused, store.StoreError) as error:
        sys.stderr.write(f"lmc: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lmc", description="Runs the claims of the LMC companion.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("claim", help="name of the claim, as in `lmc list`")
    common.add_argument("--profile", default="quick", help="quick (default), laptop or paper")
    common.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    running = commands.add_parser("run", parents=[common], help="run a claim's notebook")
    running.add_argument("--out", type=Path, default=Path("results"), help="folder of the results (default: results)")
    running.add_argument("--workers", type=int, help="processes (default: all cores)")
    running.add_argument("--recompute", action="store_true", help="compute also what is stored")
    running.add_argument("--records", action="store_true", help="keep the measurements in records/ for the book")
    running.set_defaults(action=_run_command)
    commands.add_parser("list", help="list the claims").set_defaults(action=_list_command)
    commands.add_parser("status", parents=[common], help="what is stored and what is missing").set_defaults(
        action=_status_command
    )
    sharing = commands.add_parser("shared", help="which networks and measurements several claims need")
    sharing.add_argument("--profile", default="quick", help="quick (default), laptop or paper")
    sharing.set_defaults(action=_shared_command)
    return parser


def _run_command(options: argparse.Namespace) -> None:
    result = run(
        options.claim,
        profile=options.profile,
        overrides=options.overrides,
        out=options.out,
        workers=options.workers,
        recompute=options.recompute,
    )
    if options.records:
        _keep_records(options.claim, options.profile, options.overrides, result)
    lines = [f"{result['claim']} ({result['scale']}): {result['verdict']}"]
    lines += [f"  {each['setting']}: {each['verdict']}" for each in result["settings"]]
    lines.append(f"  negative control, {result['control']['setting']}: {result['control']['verdict']}")
    lines.append(f"written to {options.out / options.claim}.ipynb and .json in {result['provenance']['seconds']:.0f} s")
    sys.stdout.write("\n".join(lines) + "\n")


def _list_command(options: argparse.Namespace) -> None:
    del options
    for claim in claims.load_all().values():
        sys.stdout.write(f"{claim.id:<28} {claim.title}\n")
        for profile in PROFILES:
            if (path := RECORDS / f"{claim.id}-{profile}.json").exists():
                sys.stdout.write(f"{'':<28} {profile}: {json.loads(path.read_text())['report']['verdict']}\n")


def _status_command(options: argparse.Namespace) -> None:
    rows = plan(options.claim, profile=options.profile, overrides=options.overrides, pace=True)
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["noun"], row["label"]), []).append(row)
    remaining, estimated, unknown = 0.0, 0.0, 0
    for (noun, label), mine in kinds.items():
        stored, needed = sum(row["stored"] for row in mine), sum(row["needed"] for row in mine)
        known = [row["seconds"] for row in mine if row["seconds"] is not None]
        paced = [row["updates"] * row["pace"] for row in mine if row["pace"] is not None]
        if known:
            each = f"{sum(known) / len(known):.1f} s each"
            remaining += needed * sum(known) / len(known)
        elif paced:
            each = f"about {_duration(sum(paced) / len(paced))} each, by the time of a few updates"
            estimated += sum(paced)
        else:
            each = "time unknown"
            unknown += needed
        sys.stdout.write(f"{label:<36} {len(mine):>4} {noun:<12} {stored:>4} stored {needed:>4} to compute, {each}\n")
    parts = [f"{remaining / 60:.1f} core-minutes"]
    parts += [f"about {estimated / 3600:.1f} hours of training on one device like this"] if estimated else []
    parts += [f"{unknown} of unknown cost"] if unknown else []
    sys.stdout.write(f"to compute: {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}\n")


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _shared_command(options: argparse.Namespace) -> None:
    users: dict[str, list[str]] = {}
    found: dict[str, dict[str, Any]] = {}
    for claim in claims.load_all():
        for row in plan(claim, profile=options.profile):
            users.setdefault(row["fingerprint"], []).append(claim)
            found[row["fingerprint"]] = row
    groups = Counter((row["label"], row["noun"], tuple(users[key])) for key, row in found.items())
    for (label, noun, names), count in groups.items():
        if len(names) > 1:
            sys.stdout.write(f"{label:<36} {count:>4} {noun:<18} {', '.join(names)}\n")
    shared = sum(len(names) > 1 for names in users.values())
    sys.stdout.write(f"{shared} of {len(found)} results serve several claims; the store computes them once\n")


def _keep_records(claim: str, profile: str, overrides: Sequence[str], result: Mapping[str, Any]) -> None:
    """Writes the measurements behind a run to ``records/``, one a line, so that the page needs no training."""
    with _environment({"LMC_RECORDS": _shipped()}):
        cache = store.Store.from_environment()
    kept = {}
    for row in plan(claim, profile=profile, overrides=overrides):
        if row["asked"] and (entry := cache.find(row["fingerprint"])) is not None:
            kept[row["fingerprint"]] = entry.as_record()
    report = {name: value for name, value in result.items() if name != "provenance"}
    lines = [f'"{key}": {json.dumps(record, separators=(",", ":"))}' for key, record in sorted(kept.items())]
    text = f'{{"report": {json.dumps(report)},\n"records": {{\n' + ",\n".join(lines) + "\n}}\n"
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{claim}-{profile}.json").write_text(text)


def _shipped() -> str:
    """The files of shipped records, as ``LMC_RECORDS`` lists them."""
    return os.pathsep.join(str(path) for path in sorted(RECORDS.glob("*.json")))


def _profile(claim: str, profile: str) -> dict[str, Any]:
    if profile not in PROFILES:
        raise Refused(f"no profile {profile!r}; there are {', '.join(PROFILES)}")
    if profile == "quick":
        return {}
    block = yaml.safe_load((NOTEBOOKS / "profiles" / f"{profile}.yml").read_text()).get(claim)
    if block is None:
        raise Refused(f"profile {profile} has no block for {claim}")
    return dict(block)


def _check(name: str, value: Any, defaults: Mapping[str, Any], where: str) -> None:
    if name not in defaults:
        valid = "\n".join(f"  {each}: {_type(default)} = {default!r}" for each, default in defaults.items())
        raise Refused(f"{where}: no parameter {name!r}; the valid ones are\n{valid}")
    default = defaults[name]
    if isinstance(value, dict) and isinstance(default, dict):
        known = _TRAINING | default if default else {network: {"width": 0} for network in value}
        for key, each in value.items():
            _check(key, each, known, f"{where}: {name}")
    elif not _fits(value, default):
        raise Refused(f"{where}: {name} takes {_type(default)}, like {default!r}, not {value!r}")


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, list | tuple):
        return isinstance(value, list) and all(not default or _fits(each, default[0]) for each in value)
    if isinstance(default, float):
        return type(value) in (int, float)
    return type(value) is type(default)


def _type(default: Any) -> str:
    if isinstance(default, list) and default:
        return f"a list of {type(default[0]).__name__}"
    return type(default).__name__


def _literal(raw: str) -> Any:
    try:
        return ast.literal_eval(raw)
    except (ValueError, SyntaxError):
        return raw


def _execute(claim: str, notebook: Path, parameters: Mapping[str, Any]) -> nbformat.NotebookNode:
    try:
        executed: nbformat.NotebookNode = papermill.execute_notebook(
            str(NOTEBOOKS / f"{claim}.ipynb"),
            str(notebook),
            parameters=dict(parameters),
            cwd=str(NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=list(KERNEL),
        )
    except PapermillExecutionError as error:
        raise Refused(f"{claim} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}") from error
    return executed


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables for the notebook's process; an empty value unsets."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        for name, value in variables.items():
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
        with _environment({"LMC_PROGRESS": str(path)}):
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
    with tqdm(desc=claim, unit="result", disable=None, file=sys.stderr) as bar:
        while not stop.wait(0.3):
            if words := path.read_text().split():
                bar.total = int(words[1])
                bar.update(int(words[0]) - bar.n)
