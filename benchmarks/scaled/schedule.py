"""How long a sweep takes on many devices that have to be waited for, are taken away, and fail: by simulation."""

__all__ = ["Course", "Machines", "Work", "course", "critical_path"]

import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

# In the last tenth of its time a job begins nothing new, as with `lmc run --on slurm`.
_BEGINS = 0.9


@dataclass(frozen=True)
class Work:
    """A result: the hours that it takes, and the results that it needs."""

    hours: float
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machines:
    """The devices, all alike; times in hours.

    Attributes:
        devices: how many there are.
        start_up: from asking for a device, at first or after it was taken away or has failed, until it computes.
        walltime: after which it is taken away.
        between_failures: mean time between failures of a device that computes; what it computes then is lost.
    """

    devices: int
    start_up: float = 0.0
    walltime: float = math.inf
    between_failures: float = math.inf


@dataclass(frozen=True)
class Course:
    """How a sweep went: hours until all is computed, device-hours of computing that were lost, and how often."""

    hours: float
    lost: float
    failures: int


def critical_path(works: Mapping[str, Work]) -> float:
    """The hours that a sweep takes on any number of devices at least: those of the longest chain of needs."""
    ends: dict[str, float] = {}
    for key in TopologicalSorter({key: each.needs for key, each in works.items()}).static_order():
        ends[key] = works[key].hours + max((ends[need] for need in works[key].needs), default=0.0)
    return max(ends.values(), default=0.0)


def course(works: Mapping[str, Work], machines: Machines, generator: random.Random) -> Course:
    """Simulates a sweep: each device that is free begins the first result whose needs are there.

    Args:
        works: results by name, in the order in which they are begun.
        machines: what computes.
        generator: of failures.

    Raises:
        ValueError: if a result takes longer than the walltime leaves.
    """
    _check(works, machines)
    return _Sweep(works, machines, generator).run()


def _check(works: Mapping[str, Work], machines: Machines) -> None:
    long = max((each.hours for each in works.values()), default=0.0)
    if long + _BEGINS * machines.walltime > machines.walltime:
        raise ValueError(
            f"a result takes {long:.1f} h, and begun in the last moment of {machines.walltime:g} h it has "
            f"{(1 - _BEGINS) * machines.walltime:.1f} h: a longer walltime is needed"
        )


class _Sweep:
    def __init__(self, works: Mapping[str, Work], machines: Machines, generator: random.Random) -> None:
        self.works, self.machines, self.generator = works, machines, generator
        self.order = TopologicalSorter({key: each.needs for key, each in works.items()})
        self.order.prepare()
        self.places = {key: place for place, key in enumerate(works)}
        self.ready: deque[str] = deque(self._next())
        # By device when its job began; what happens: moment, device, the result that it ends, whether it failed.
        self.began = [0.0] * machines.devices
        self.events: list[tuple[float, int, str | None, bool]] = []
        self.idle: set[int] = set()
        self.lost, self.failures, self.left = 0.0, 0, len(works)

    def run(self) -> Course:
        for device in range(self.machines.devices):
            self._start(device, 0.0)
        moment = 0.0
        while self.left:
            moment, device, key, failed = heapq.heappop(self.events)
            if failed:
                assert key is not None
                self.failures += 1
                self.ready.appendleft(key)
                self._start(device, moment)
            else:
                self._finish(key)
                self.idle.add(device)
            self._assign(moment)
        return Course(moment, self.lost, self.failures)

    def _finish(self, key: str | None) -> None:
        if key is not None:
            self.left -= 1
            self.order.done(key)
            self.ready.extend(self._next())

    def _next(self) -> Sequence[str]:
        """What can be begun now and could not before, in the order of the sweep."""
        return sorted(self.order.get_ready(), key=self.places.__getitem__)

    def _assign(self, moment: float) -> None:
        for device in sorted(self.idle):
            if not self.ready:
                return
            self.idle.remove(device)
            if moment - self.began[device] > _BEGINS * self.machines.walltime:
                self._start(device, moment)
            else:
                self._begin(device, self.ready.popleft(), moment)

    def _start(self, device: int, moment: float) -> None:
        self.began[device] = moment + self.machines.start_up
        heapq.heappush(self.events, (self.began[device], device, None, False))

    def _begin(self, device: int, key: str, moment: float) -> None:
        hours = self.works[key].hours
        mean = self.machines.between_failures
        until = math.inf if mean == math.inf else self.generator.expovariate(1.0 / mean)
        if until < hours:
            self.lost += until
        heapq.heappush(self.events, (moment + min(until, hours), device, key, until < hours))
