"""Filling the store: many runs and measurements, in processes or on any executor, resumable at any kill.

Every finished result is in the store, so a sweep that was stopped goes on where it was. Processes on other machines,
such as a cluster's job array, work at the same sweep if they see the same store (:mod:`lmc_lib.sweeps.working`).
"""

__all__ = ["fill", "time_left"]

import contextlib
import json
import multiprocessing
import os
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from graphlib import TopologicalSorter
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lmc_lib.processes import end_with_parent, usable_cores
from lmc_lib.store import Store, StoreError, fingerprint
from lmc_lib.sweeps import cluster
from lmc_lib.sweeps.plan import Planned, needs_among, renewed, stages, write_plan
from lmc_lib.sweeps.spec import Spec, obtain
from lmc_lib.sweeps.working import Share, Worked, work, write_shares

# Seconds between two looks into the store at what processes that work beside each other have finished.
_LOOK = 2.0

# How often a sweep goes on after one of its processes was ended from outside.
_RETRIES = 2


def fill(store: Store, specs: Sequence[Spec], *, workers: int | None = None, executor: Executor | None = None) -> None:
    """Computes what is missing in the store, and before it what that needs.

    Each worker uses one thread: two processes with one thread each train more networks an hour than one process with
    two. With ``workers=1`` everything runs in this process. Workers end when this process ends, however it ends. Where
    one is ended from outside, often for lack of memory, half as many go on, and then one.
    With ``LMC_SAME_CODE=1`` what other code has made counts as missing.

    Args:
        store: where results go.
        specs: runs and measurements; what is stored or listed twice costs nothing.
        workers: number of processes; ``LMC_WORKERS`` or the number of usable cores if None.
        executor: what computes in place of these processes; whoever made it ends it. Its workers see the folder of the
            store. If None, and ``LMC_ON`` names a file, that of the file (:func:`lmc_lib.sweeps.cluster.executor`).

    Raises:
        Planned: if ``LMC_PLAN`` names a file; the list of results, stored and missing, is written to it, with
            ``LMC_PACE=1`` also how long an update takes where nothing like it is stored.
        Worked: if ``LMC_WORK`` names a file; what is missing is computed beside other processes that do the same, and
            what became of it is written to the file. ``LMC_ONLY`` may list the fingerprints of what is asked for.
        RuntimeError: if results failed on an executor, by name, after all that do not need them were computed. The
            processes of the default stop at the first error, which is raised as it is, or at the third loss of one.
        ClusterError: if ``LMC_ON`` names a file that makes no executor.
    """
    if only := os.environ.get("LMC_ONLY"):
        specs = [spec for spec in specs if fingerprint(spec) in only.split(",")]
    if os.environ.get("LMC_SAME_CODE") == "1":
        store = renewed(store, specs)
    missing = stages(store, specs)
    in_order = [spec for stage in missing for spec in stage]
    if plan := os.environ.get("LMC_PLAN"):
        write_plan(Path(plan), store, specs, in_order)
        raise Planned(f"the plan is in {plan}")
    told = os.environ.get("LMC_WORK")
    shares = _computed(store, missing, workers, executor) if in_order and (told or store.compute) else []
    if told:
        write_shares(Path(told), store, in_order, shares)
        raise Worked(f"what became of {len(in_order)} results is in {told}")
    _refuse_failed(in_order, shares)


def time_left(
    waiting: Mapping[str, int], taken: Mapping[str, Sequence[float]], workers: int | float
) -> tuple[float, bool]:
    """How long what is missing will take, by the mean time of those of its kind that are done.

    Args:
        waiting: how many results of each kind are missing.
        taken: the seconds that each of those took that are done, by kind.
        workers: number of processes; on average, if it changes.

    Returns:
        Seconds, and whether that is all: False where of some missing kind none is done, so that it takes longer.
    """
    kinds = [kind for kind, count in waiting.items() if count]
    seconds = sum(waiting[kind] * sum(taken[kind]) / len(taken[kind]) for kind in kinds if taken.get(kind))
    return seconds / workers, all(taken.get(kind) for kind in kinds)


def _computed(
    store: Store, stages: Sequence[Sequence[Spec]], workers: int | None, executor: Executor | None
) -> list[Share]:
    """What becomes of what is missing; of processes that share with no other the first error is raised."""
    specs = [spec for stage in stages for spec in stage]
    with _elsewhere(executor, store) as other:
        if other is not None:
            return [_share_on(other, store, specs)]
    workers = workers or int(os.environ.get("LMC_WORKERS", 0)) or usable_cores()
    workers = max(1, min(workers, max(map(len, stages))))
    if "LMC_WORK" in os.environ:
        return _shares(store, stages, workers)
    progress = _Progress(specs, workers)
    if workers == 1:
        for spec in specs:
            progress.advance(spec, _obtain(store, spec))
    else:
        _in_processes(store, specs, workers, progress)
    return []


def _in_processes(store: Store, specs: Sequence[Spec], workers: int, progress: "_Progress") -> None:
    """Computes in several processes, and in fewer after one was lost; at last in one, so that it is known at what.

    Raises:
        RuntimeError: if that one is lost, too.
    """
    left, at = {fingerprint(spec): spec for spec in specs}, specs[0]
    for retries in reversed(range(_RETRIES + 1)):
        try:
            with _processes(workers, specs) as submit:
                for at, future in _finished(submit, store, list(left.values())):
                    progress.advance(at, future.result())
                    del left[fingerprint(at)]
            return
        except BrokenProcessPool as error:
            if not retries:
                raise RuntimeError(
                    f"{_RETRIES + 1} times a worker was ended from outside, often for lack of memory, the last time "
                    f"alone at {at.label}, {at.noun}, {fingerprint(at)}. Finished results are stored: run again where "
                    "there is more memory"
                ) from error
            workers = max(1, workers // 2) if retries > 1 else 1
            progress.lose(workers)


@contextlib.contextmanager
def _elsewhere(executor: Executor | None, store: Store) -> Iterator[Executor | None]:
    """What computes in place of processes of this machine, if anything does."""
    on = os.environ.get("LMC_ON")
    if executor is None and on:
        with cluster.executor(Path(on), store.root / "parsl") as made:
            yield made
    else:
        yield executor


def _finished(
    submit: Callable[..., Future[Any]], store: Store, specs: Sequence[Spec]
) -> Iterator[tuple[Spec, Future[float]]]:
    """Results as they are finished; each is begun when all that it needs is there, and never if some of that failed."""
    waiting = {fingerprint(spec): spec for spec in specs}
    order = TopologicalSorter(needs_among(waiting))
    order.prepare()
    running: dict[Future[float], str] = {}
    finished: SimpleQueue[Future[float]] = SimpleQueue()
    broken: BrokenExecutor | None = None
    while True:
        for key in order.get_ready():
            try:
                future = submit(_obtain, store, waiting[key])
            except BrokenExecutor as error:
                broken = error  # what was begun before may tell at what it broke
                break
            running[future] = key
            future.add_done_callback(finished.put)
        if not running and broken:
            raise broken
        if not running:
            return
        future = finished.get()
        key = running.pop(future)
        if future.exception() is None:
            order.done(key)
        yield waiting[key], future


def _share_on(executor: Executor, store: Store, specs: Sequence[Spec]) -> Share:
    """Lets an executor compute; what fails there stops only what needs it."""
    progress = _Progress(specs, None)
    computed, failed = [], {}
    for spec, future in _finished(executor.submit, store, specs):
        error = future.exception()
        if isinstance(error, StoreError | BrokenExecutor):  # no other result could be kept, or computed, either
            raise error
        if error is None:
            computed.append(fingerprint(spec))
            progress.advance(spec, future.result())
        else:
            key = fingerprint(spec)
            failed[key] = f"{type(error).__name__}: {error}"
            if store.failure(key) is None:  # whoever computed it was lost, and wrote nothing
                store.note_failure(key, failed[key])
    return Share(tuple(computed), failed)


def _refuse_failed(specs: Sequence[Spec], shares: Sequence[Share]) -> None:
    failed = {key: error for share in shares for key, error in share.failed.items()}
    if failed:
        named = [
            f"{each.label}, {each.noun}, {key}: {failed[key]}" for each in specs if (key := fingerprint(each)) in failed
        ]
        raise RuntimeError(
            f"{len(failed)} of {len(specs)} results failed, and what needs them was not tried; all others are stored:\n"
            + "\n".join(named)
        )


def _shares(store: Store, stages: Sequence[Sequence[Spec]], workers: int) -> list[Share]:
    """Works with several processes, which know of each other as little as of those of other machines."""
    if workers == 1:
        return [work(store, stages)]
    left = [spec for stage in stages for spec in stage]
    progress = _Progress(left, workers)
    try:
        with _processes(workers, left) as submit:
            futures = [submit(work, store, stages) for _ in range(workers)]
            working = True
            while working:
                working = bool(wait(futures, _LOOK).not_done)
                left = [spec for spec in left if not progress.found(store, spec)]
            return [each.result() for each in futures]
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker was ended from outside, often for lack of memory. Finished results are stored: run again, with "
            f"fewer than {workers} workers if memory is short"
        ) from error


@contextlib.contextmanager
def _processes(workers: int, specs: Sequence[Spec]) -> Iterator[Callable[..., Future[Any]]]:
    """Processes to which calls are submitted; at the end those that run are finished, and all processes with them."""
    context = _context(specs)
    held, holding = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(dict(os.environ), held))
    futures: list[Future[Any]] = []

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        futures.append(pool.submit(function, *arguments))
        return futures[-1]

    try:
        yield submit
    finally:
        wait([each for each in futures if not each.cancel()])
        # A worker that is killed as it waits for a call keeps the lock of all calls, so that the word to end, which is
        # such a call, would not reach the others, and the pool would wait for them without end.
        holding.close()
        pool.shutdown(cancel_futures=True)


def _context(specs: Sequence[Spec]) -> BaseContext:
    """How workers start: on Linux forked from a server that has loaded, once for all, what the specs need.

    Forking this process could hang, since it may have run torch's thread pool; the server has run none.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({type(spec).__module__ for spec in specs}))
    return context


def _begin(environment: dict[str, str], held: "Connection[Any, Any]") -> None:
    """Begins a worker; its server may have started when the environment was another one."""
    end_with_parent(held)
    os.environ.clear()
    os.environ.update(environment)


def _obtain(store: Store, spec: Spec) -> float:
    """Obtains a result, which stays where it is: it need not travel between processes. Returns the seconds it took.

    Raises:
        RuntimeError: in place of an error that cannot travel: it would look like the loss of the process.
    """
    started = time.perf_counter()
    try:
        obtain(store, spec)
    except Exception as error:
        if not _travels(error):
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
    return time.perf_counter() - started


def _travels(error: Exception) -> bool:
    """Whether an error is the same in another process."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


class _Progress:
    """Tells the command line, through the file that ``LMC_PROGRESS`` names, how many results are done.

    The file is JSON: ``done`` of ``total`` results, the ``seconds`` left, and whether that is ``all`` of it; and how
    many processes were ``lost``, if any were.
    """

    def __init__(self, specs: Sequence[Spec], workers: int | None) -> None:
        self.done, self.total, self.lost, self.workers = 0, len(specs), 0, workers
        self.waiting = Counter(_kind(spec) for spec in specs)
        self.taken: dict[str, list[float]] = {}
        self.path = os.environ.get("LMC_PROGRESS")
        self.begun = time.monotonic()
        self._tell()

    def advance(self, spec: Spec, seconds: float) -> None:
        self.done += 1
        self.waiting[_kind(spec)] -= 1
        self.taken.setdefault(_kind(spec), []).append(seconds)
        self._tell()

    def lose(self, workers: int) -> None:
        """Tells that a process was lost, after which so many go on."""
        self.lost, self.workers = self.lost + 1, workers
        self._tell()

    def found(self, store: Store, spec: Spec) -> bool:
        """Advances if a result is in the store, whoever has computed it."""
        entry = store.find(fingerprint(spec), tensors=False)
        if entry:
            self.advance(spec, entry.provenance["seconds"])
        return entry is not None

    def _tell(self) -> None:
        if self.path:
            seconds, known = time_left(self.waiting, self.taken, self.workers or self._busy())
            told = {"done": self.done, "total": self.total, "seconds": round(seconds, 1), "all": known}
            told |= {"lost": self.lost} if self.lost else {}
            Path(self.path).write_text(json.dumps(told), encoding="utf-8")

    def _busy(self) -> float:
        """How many workers were busy so far, on average, where nobody knows how many there are: at least one."""
        return max(1.0, sum(map(sum, self.taken.values())) / max(time.monotonic() - self.begun, 1.0))


def _kind(spec: Spec) -> str:
    """What has about one cost."""
    return f"{spec.noun}: {spec.label}"
