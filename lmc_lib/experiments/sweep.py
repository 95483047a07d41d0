"""Filling the store: many runs and measurements, on one process or several, resumable at any kill.

Every finished result is in the store, so a sweep that was stopped goes on where it was. Another backend (a cluster's
job array) only has to call ``obtain`` for each spec on a machine that sees the same store.
"""

__all__ = ["Planned", "fill", "obtain"]

import json
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path

import torch

from lmc_lib.experiments.measurement import PairSpec, obtain_pair
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.store import Store, describe, fingerprint
from lmc_lib.training import Diverged


class Planned(RuntimeError):
    """Raised instead of computing when only the plan of a sweep was asked for."""


def fill(store: Store, specs: Sequence[RunSpec | PairSpec], *, workers: int | None = None) -> None:
    """Computes what is missing in the store: first the runs, also those that pairs need, then the pairs.

    Each worker uses one thread: two processes with one thread each train more networks an hour than one process with
    two. With ``workers=1`` everything runs in this process. Workers end when this process ends, however it ends.

    Args:
        store: where results go.
        specs: runs and pairs; what is stored or listed twice costs nothing.
        workers: number of processes; ``LMC_WORKERS`` or the number of usable cores if None.

    Raises:
        Planned: if ``LMC_PLAN`` names a file; the list of results, stored and missing, is written to it.
    """
    runs = [run for spec in specs for run in ((spec.target, spec.source) if isinstance(spec, PairSpec) else (spec,))]
    stages = [_missing(store, runs), _missing(store, [spec for spec in specs if isinstance(spec, PairSpec)])]
    # A pair that is stored needs no runs: records can be shipped without the networks behind them.
    needed = {fingerprint(run) for pair in stages[1] for run in (pair.target, pair.source)}  # type: ignore[union-attr]
    wanted = {fingerprint(spec) for spec in specs}
    stages[0] = [run for run in stages[0] if fingerprint(run) in needed | wanted]
    if plan := os.environ.get("LMC_PLAN"):
        _write_plan(Path(plan), store, runs, specs, stages)
        raise Planned(f"the plan is in {plan}")
    if not any(stages) or not store.compute:
        return
    progress = _Progress(sum(map(len, stages)))
    workers = workers or int(os.environ.get("LMC_WORKERS", 0)) or _usable_cores()
    if workers == 1:
        for spec in [spec for stage in stages for spec in stage]:
            obtain(store, spec)
            progress.advance()
    else:
        _fill_with_processes(store, stages, min(workers, max(map(len, stages))), progress)


def obtain(store: Store, spec: RunSpec | PairSpec) -> None:
    """Makes sure that a result is in the store, with one thread; a divergence is a result too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if isinstance(spec, RunSpec):
            obtain_run(store, spec)
        else:
            obtain_pair(store, spec)
    except Diverged:
        pass
    finally:
        torch.set_num_threads(threads)


def _missing(store: Store, specs: Sequence[RunSpec] | Sequence[PairSpec]) -> list[RunSpec | PairSpec]:
    unique = {fingerprint(spec): spec for spec in specs}
    return [spec for spec in unique.values() if not store.has(spec)]


def _fill_with_processes(
    store: Store, stages: Sequence[Sequence[RunSpec | PairSpec]], workers: int, progress: "_Progress"
) -> None:
    # Forking a process that has run torch's thread pool can hang, so workers are spawned.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        for stage in stages:
            futures: list[Future[None]] = [pool.submit(obtain, store, spec) for spec in stage]
            for future in as_completed(futures):
                future.result()
                progress.advance()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker was ended from outside, often for lack of memory. Finished results are stored: run again, with "
            f"fewer than {workers} workers if memory is short"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ends this worker at once when its parent dies, so that no orphan goes on computing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    threading.Thread(target=lambda: (connection.wait([sentinel]), os._exit(1)), daemon=True).start()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """Tells the command line, through the file that ``LMC_PROGRESS`` names, how many results are done."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total
        self.path = os.environ.get("LMC_PROGRESS")
        self._tell()

    def advance(self) -> None:
        self.done += 1
        self._tell()

    def _tell(self) -> None:
        if self.path:
            Path(self.path).write_text(f"{self.done} {self.total}")


def _write_plan(
    path: Path,
    store: Store,
    runs: Sequence[RunSpec],
    specs: Sequence[RunSpec | PairSpec],
    stages: Sequence[Sequence[RunSpec | PairSpec]],
) -> None:
    missing = {fingerprint(spec) for stage in stages for spec in stage}
    everything = {fingerprint(spec): spec for spec in (*runs, *specs)}
    rows = []
    for key, spec in everything.items():
        entry = store.get(spec)
        rows.append(
            {
                "fingerprint": key,
                "type": type(spec).__name__,
                "model": (spec.target if isinstance(spec, PairSpec) else spec).model.label,
                "stored": entry is not None,
                "needed": key in missing,
                "seconds": None if entry is None else entry.provenance.get("seconds"),
                "spec": describe(spec),
            }
        )
    path.write_text(json.dumps(rows))
