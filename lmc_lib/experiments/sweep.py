"""Filling the store: many runs and measurements, on one process or several, resumable at any kill.

Every finished result is in the store, so a sweep that was stopped goes on where it was. Another backend (a cluster's
job array) only has to call ``obtain`` for each spec on a machine that sees the same store.
"""

__all__ = ["Planned", "fill"]

import json
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any

from lmc_lib.experiments.cost import step_seconds, training_of
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.store import Store, describe, fingerprint


class Planned(RuntimeError):
    """Raised instead of computing when only the plan of a sweep was asked for."""


def fill(store: Store, specs: Sequence[Spec], *, workers: int | None = None) -> None:
    """Computes what is missing in the store, and before it what that needs.

    Each worker uses one thread: two processes with one thread each train more networks an hour than one process with
    two. With ``workers=1`` everything runs in this process. Workers end when this process ends, however it ends.

    Args:
        store: where results go.
        specs: runs and measurements; what is stored or listed twice costs nothing.
        workers: number of processes; ``LMC_WORKERS`` or the number of usable cores if None.

    Raises:
        Planned: if ``LMC_PLAN`` names a file; the list of results, stored and missing, is written to it, with
            ``LMC_PACE=1`` also how long an update takes where nothing like it is stored.
    """
    stages = _stages(store, specs)
    if plan := os.environ.get("LMC_PLAN"):
        _write_plan(Path(plan), store, specs, stages)
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


def _stages(store: Store, specs: Sequence[Spec]) -> list[list[Spec]]:
    """What is missing, each stage with all that the later ones need.

    What is stored needs nothing: measurements can be shipped without the networks behind them.
    """
    missing: dict[str, Spec] = {}
    waiting = list(specs)
    for spec in waiting:
        if (key := fingerprint(spec)) not in missing and not store.has(spec):
            missing[key] = spec
            waiting += spec.needs
    depths = {key: _depth(spec) for key, spec in missing.items()}
    return [[missing[key] for key in missing if depths[key] == depth] for depth in sorted(set(depths.values()))]


def _depth(spec: Spec) -> int:
    return max((1 + _depth(each) for each in spec.needs), default=0)


def _everything(specs: Sequence[Spec]) -> dict[str, Spec]:
    """Specs and all that they need, by fingerprint; what is needed stands first."""
    found: dict[str, Spec] = {}
    for spec in specs:
        found |= _everything(spec.needs)
    return found | {fingerprint(spec): spec for spec in specs}


def _fill_with_processes(store: Store, stages: Sequence[Sequence[Spec]], workers: int, progress: "_Progress") -> None:
    # Forking a process that has run torch's thread pool can hang, so workers are spawned.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        for stage in stages:
            futures: list[Future[None]] = [pool.submit(_obtain, store, spec) for spec in stage]
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


def _obtain(store: Store, spec: Spec) -> None:
    obtain(store, spec)  # the result stays where it is: it need not travel between processes


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


def _write_plan(path: Path, store: Store, specs: Sequence[Spec], stages: Sequence[Sequence[Spec]]) -> None:
    missing = {fingerprint(spec) for stage in stages for spec in stage}
    asked = {fingerprint(spec) for spec in specs}
    entries = {key: (spec, store.get(spec)) for key, spec in _everything(specs).items()}
    timed = {(spec.noun, spec.label) for spec, entry in entries.values() if entry is not None}
    paces: dict[Any, float] = {}
    rows = []
    for key, (spec, entry) in entries.items():
        trained, updates = training_of(spec) or (None, 0)
        pace = None
        if trained is not None and key in missing and (spec.noun, spec.label) not in timed and _wants_pace():
            kind = (trained.model, trained.data.name, trained.train)
            pace = paces[kind] = paces[kind] if kind in paces else step_seconds(trained)
        rows.append(
            {
                "fingerprint": key,
                "type": type(spec).__name__,
                "noun": spec.noun,
                "label": spec.label,
                "stored": entry is not None,
                "needed": key in missing,
                "asked": key in asked,
                "seconds": None if entry is None else entry.provenance.get("seconds"),
                "updates": updates,
                "pace": pace,
                "spec": describe(spec),
            }
        )
    path.write_text(json.dumps(rows))


def _wants_pace() -> bool:
    """Whether a plan measures how long updates take where nothing like it is stored."""
    return os.environ.get("LMC_PACE", "0") != "0"
