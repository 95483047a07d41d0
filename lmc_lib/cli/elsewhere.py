"""Where a sweep is computed: the options ``--on`` and, for Slurm, what its jobs ask for."""

__all__ = ["add_options", "asked"]

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmc_lib.cli.refused import Refused

# The values of `sweeps.cluster.slurm` that have an option each.
_SLURM: dict[str, tuple[type, str]] = {
    "partition": (str, "where jobs go (default: the cluster's own)"),
    "gpus_per_node": (int, "GPUs that each job asks for (default: none)"),
    "walltime": (str, "time of a job, HH:MM:SS (default: 01:00:00)"),
    "max_nodes": (int, "the most jobs at a time, each a node (default: 1)"),
}

# What Ctrl-C is answered with.
_GO_ON = "What is finished is stored: the same command goes on from there"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--on`` and the options of Slurm."""
    parser.add_argument(
        "--on", metavar="FILE", help="compute elsewhere: slurm, or a Python file that defines config, a parsl.Config"
    )
    for name, (kind, says) in _SLURM.items():
        parser.add_argument(_option(name), type=kind, help=f"with --on slurm: {says}")


@contextlib.contextmanager
def asked(options: argparse.Namespace) -> Iterator[None]:
    """Lets notebooks compute where the options ask for it, which is noticed before one runs if it cannot be.

    Raises:
        Refused: if options do not go together, or no executor can be made of them.
        KeyboardInterrupt: if whoever asked stops it, with how to go on and what becomes of the jobs.
    """
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads papermill

    values = {name: value for name in _SLURM if (value := getattr(options, name)) is not None}
    if values and options.on != "slurm":
        raise Refused(f"{_option(next(iter(values)))} goes with --on slurm: add it, or leave this out")
    if options.on is None:
        yield
        return
    if options.workers is not None:
        raise Refused("--workers counts processes of this machine: leave it out, since --on says who computes")
    programs = str(Path(sys.executable).parent)  # where Parsl's own are
    name = f"lmc-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory() as folder:
        is_slurm = options.on == "slurm"
        path = (
            _slurm(Path(folder), values | {"job_name": name}) if is_slurm else Path(options.on).expanduser().absolute()
        )
        with running.variables(
            {"LMC_ON": str(path), "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}
        ):
            _check(path)
            with _cancelled(name) if is_slurm else contextlib.nullcontext():
                yield


@contextlib.contextmanager
def _cancelled(name: str) -> Iterator[None]:
    """Cancels what is left of the jobs of a sweep in the end: a kernel that was stopped hard has not done so."""
    try:
        yield
    except KeyboardInterrupt as stop:
        told = (
            f"Its jobs are cancelled; squeue --name={name} shows those that end, and scancel --name={name} stops them."
        )
        raise KeyboardInterrupt(f"{told} {_GO_ON}") from stop
    finally:
        subprocess.run(["scancel", f"--name={name}"], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _slurm(folder: Path, values: Mapping[str, Any]) -> Path:
    """Writes the configuration that stands for the options."""
    path = folder / "slurm.py"
    given = ", ".join(f"{name}={value!r}" for name, value in values.items())
    path.write_text(f"from lmc_lib.sweeps import cluster\n\nconfig = cluster.slurm({given})\n", encoding="utf-8")
    return path


def _check(path: Path) -> None:
    from lmc_lib.sweeps import cluster  # noqa: PLC0415 -- few need it

    try:
        cluster.configuration(path)
    except cluster.ClusterError as error:
        raise Refused(f"--on: {error}") from error
