"""Sweeps on clusters: executors of Parsl, which the extra ``cluster`` installs, from a file that says where to compute.

Parsl knows Slurm, PBS, LSF, HTCondor, Kubernetes and more. Its workers stay for many results, so that torch is loaded
once. What is done it need not remember: the store does, so nothing here is memoised.
"""

__all__ = ["JOB_NAME", "ClusterError", "configuration", "executor", "retry_lost", "slurm"]

import contextlib
import importlib.util
import math
import os
import re
import runpy
import shlex
import shutil
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

# What the jobs of a sweep are called, by which they are found and stopped, unless it is given a name of its own.
JOB_NAME = "lmc"

# Before a command, on Linux: what it starts is ended with the process that started it, however that ends.
_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")

# The share of a job's time after which its workers begin nothing new, so that what they compute is finished.
_BEGINNING = 0.9

# Workers are listened to at every address of this machine: which of them a node can reach, nobody knows.
_EVERY = "0.0.0.0"

# How often a result is computed again whose worker was lost.
_RETRIES = 2


class ClusterError(ValueError):
    """No executor can be made of what was asked for."""


@contextlib.contextmanager
def executor(path: Path, folder: Path) -> Iterator[Executor]:
    """The executor that a Parsl configuration describes; it ends, and its jobs with it, when the context does.

    Args:
        path: a Python file that defines ``config``, a ``parsl.Config``.
        folder: where Parsl writes its logs and the scripts of its jobs, unless the configuration names another place.

    Raises:
        ClusterError: if Parsl or a program of it is not there, or the file is missing, fails, or defines no ``config``.
    """
    config = configuration(path)
    from parsl.concurrent import ParslPoolExecutor  # noqa: PLC0415 -- an extra

    if config.run_dir == "runinfo":  # the default, in the folder of the notebooks
        config.run_dir = str(folder)
    made = ParslPoolExecutor(config)
    try:
        yield made
    finally:
        made.shutdown(wait=False)  # what was begun and is not finished is of no use to whoever leaves


def configuration(path: Path) -> Any:
    """Reads a Parsl configuration, and sees to it that its processes end with this one.

    Args:
        path: a Python file that defines ``config``, a ``parsl.Config``.

    Raises:
        ClusterError: if Parsl or a program of it is not there, or the file is missing, fails, or defines no ``config``.
    """
    if importlib.util.find_spec("parsl") is None:
        raise ClusterError('computing elsewhere needs Parsl: pip install -e ".[cluster]"')
    from parsl import Config, HighThroughputExecutor  # noqa: PLC0415 -- an extra

    if not path.is_file():
        raise ClusterError(f"{path}: there is no such file: name a Python file that defines config, a parsl.Config")
    try:
        config = runpy.run_path(str(path)).get("config")
    except ClusterError:  # of `slurm`, which says what to do
        raise
    except Exception as error:
        raise ClusterError(f"{path} fails: {type(error).__name__}: {error}: run it with python to see where") from error
    if not isinstance(config, Config):
        what = "no config" if config is None else f"config as a {type(config).__name__}"
        raise ClusterError(f"{path} defines {what}: it must be a parsl.Config")
    for each in config.executors:
        if isinstance(each, HighThroughputExecutor):
            each.interchange_launch_cmd = _with_parent(each.interchange_launch_cmd)
    return config


def _with_parent(command: Sequence[str]) -> list[str]:
    """A command whose process ends with this one, where the system can do that."""
    if shutil.which(command[0]) is None:
        raise ClusterError(f"{command[0]}, which Parsl starts, is not on PATH: add its folder")
    return [*_WITH_PARENT, *command] if shutil.which(_WITH_PARENT[0]) else list(command)


def slurm(
    *,
    partition: str | None = None,
    gpus_per_node: int | None = None,
    walltime: str = "01:00:00",
    max_nodes: int = 1,
    job_name: str = JOB_NAME,
) -> Any:
    """A configuration for Slurm: each job is a whole node, with a worker a GPU, or a core where there are none.

    Jobs are asked for while results are missing, and given back when they idle for two minutes. In the last tenth of
    its time a job begins nothing new. A result whose worker was lost is computed again, twice at most; one whose
    computation fails is not.

    Args:
        partition: where jobs go; the cluster's default if None.
        gpus_per_node: how many each job asks for.
        walltime: of a job, as ``HH:MM:SS``; it must be longer than any result takes.
        max_nodes: the most jobs at a time.
        job_name: what jobs are called.

    Raises:
        ClusterError: if a value is not what Slurm takes.
    """
    matched = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", walltime)
    if matched is None or not any(map(int, matched.groups())):
        raise ClusterError(f"walltime is {walltime!r}: it takes hours, minutes and seconds, such as 01:30:00")
    if max_nodes < 1 or (gpus_per_node is not None and gpus_per_node < 1):
        raise ClusterError(f"max_nodes is {max_nodes} and gpus_per_node {gpus_per_node}: both are at least 1")
    if shutil.which("sbatch") is None:
        raise ClusterError("there is no sbatch here: run this on a machine from which the cluster's jobs are submitted")
    from parsl import Config, HighThroughputExecutor  # noqa: PLC0415 -- an extra
    from parsl.providers import SlurmProvider  # noqa: PLC0415 -- an extra

    hours, minutes, seconds = map(int, matched.groups())
    provider = SlurmProvider(
        partition=partition,
        gpus_per_node=gpus_per_node,
        walltime=walltime,
        max_blocks=max_nodes,
        scheduler_options=f"#SBATCH --job-name={job_name}",
        worker_init=_worker_init(),
        cmd_timeout=60,
    )
    workers = HighThroughputExecutor(
        label="slurm",
        provider=provider,
        address=_EVERY,
        max_workers_per_node=gpus_per_node,
        available_accelerators=gpus_per_node or (),
        drain_period=int(_BEGINNING * (3600 * hours + 60 * minutes + seconds)),
    )
    workers.all_addresses = _addresses()
    return Config([workers], retries=_RETRIES, retry_handler=retry_lost)


def _addresses() -> set[str]:
    """Where workers may find this machine; Parsl's own list would ask a server of strangers for one more."""
    from parsl import addresses  # noqa: PLC0415 -- an extra

    found = set()
    for _, name in socket.if_nameindex():
        with contextlib.suppress(OSError):  # of an interface without an address
            found.add(addresses.address_by_interface(name))
    with contextlib.suppress(OSError):
        found.add(addresses.address_by_hostname())
    return found


def _worker_init() -> str:
    """What a job runs first: not every cluster hands over the environment of who submits."""
    kept = [name for name in ("PATH", "PYTHONPATH", "LMC_DATA") if name in os.environ]
    return "\n".join(f"export {name}={shlex.quote(os.environ[name])}" for name in kept)


def retry_lost(error: Exception, task: Any) -> float:
    """A ``retry_handler`` of Parsl, by which a result is computed again only if its worker was lost.

    Args:
        error: why it is not there; an error of the computation would come again.
        task: what Parsl knows of it.

    Returns:
        How many of the ``retries`` that costs.
    """
    del task
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost  # noqa: PLC0415 -- an extra

    return 1.0 if isinstance(error, ManagerLost | WorkerLost) else math.inf
