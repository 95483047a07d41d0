"""Records held against what is computed anew: by digits where arithmetic is portable, else by bounds of chance."""

__all__ = ["Difference", "Verified", "against_chance", "by_chance", "differences", "is_portable", "sample", "verified"]

import json
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmc_lib import records
from lmc_lib.cli import running, tree
from lmc_lib.cli.refused import Refused
from lmc_lib.store import Store

# By how much a number that is stored may move from processor to processor: see `differences`.
_ROOM = 1e-5
_ROOM_OF_TIES = 5e-4

# Below it the range of what was recorded says little.
_FEWEST = 3


@dataclass(frozen=True)
class Difference:
    """A value that is not what was recorded.

    Attributes:
        path: the keys that lead to it.
        old: what was recorded; where chance decides, the least and the most that it allows.
        new: what was computed.
    """

    path: tuple[str | int, ...]
    old: Any
    new: Any

    def __str__(self) -> str:
        """Its place, and what became of what."""
        return f"{'.'.join(map(str, self.path)) or 'all'}: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True)
class Verified:
    """A record and what became of it when it was computed anew.

    Attributes:
        claim: the claim.
        scale: the scale.
        key: the fingerprint.
        spec: the description of what defines it.
        by: ``"digits"`` or ``"chance"``; ``"nothing"`` where neither tells.
        differences: the values that differ by more than that allows.
        problem: why nothing was computed, empty if it was.
    """

    claim: str
    scale: str
    key: str
    spec: Mapping[str, Any]
    by: str
    differences: tuple[Difference, ...] = ()
    problem: str = ""


def sample(paths: Sequence[Path], count: int, seed: int) -> dict[Path, list[str]]:
    """Draws measurements from files of records without replacement, the same ones for one seed.

    Args:
        paths: the files.
        count: how many; all if there are fewer.
        seed: the stream.

    Returns:
        The fingerprints by file.

    Raises:
        Refused: if a file is no file of records.
    """
    try:
        every = [(path, key) for path in paths for key in sorted(records.read(path)["records"])]
    except records.Damaged as error:
        raise Refused(f"{error}: take it from git again") from error
    found: dict[Path, list[str]] = {}
    for path, key in random.Random(seed).sample(every, min(count, len(every))):
        found.setdefault(path, []).append(key)
    return found


def verified(path: Path, keys: Sequence[str], *, workers: int = 1) -> Iterator[Verified]:
    """Computes measurements of a file of records anew, with all that they need, and compares.

    Args:
        path: the file.
        keys: the fingerprints of the measurements.
        workers: processes that train and measure.

    Raises:
        Refused: as for :func:`running.work`.
    """
    report = tree.report_of(path)
    recorded = records.read(path)["records"]
    claim, scale = report["claim"], report["scale"]
    with tempfile.TemporaryDirectory() as folder:
        told = running.work(claim, profile=scale, workers=workers, only=keys, folder=Path(folder))
        errors = ", ".join(each["error"] for each in told["failed"])
        for key in keys:
            spec = recorded[key]["spec"]
            entry = Store(Path(folder)).find(key, tensors=False)
            if entry is None:
                problem = errors or "the notebook does not ask for it"
                yield Verified(claim, scale, key, spec, "nothing", problem=problem)
            elif scale == "quick" or is_portable(spec):
                found = tuple(differences(entry.values, recorded[key]["values"]))
                yield Verified(claim, scale, key, spec, "digits", found)
            else:
                alike = [each["values"] for each in recorded.values() if _but_seeds(each["spec"]) == _but_seeds(spec)]
                by = "chance" if len(alike) >= _FEWEST else "nothing"
                yield Verified(claim, scale, key, spec, by, tuple(against_chance(entry.values, alike)))


def is_portable(spec: Mapping[str, Any]) -> bool:
    """Says whether all networks of a measurement are trained in portable arithmetic; not if there are none."""
    trainings = list(_of_type(spec, "TrainConfig"))
    return bool(trainings) and all(each.get("precision") == "portable" for each in trainings)


def differences(computed: Any, recorded: Any, path: tuple[str | int, ...] = ()) -> Iterator[Difference]:
    """Where two values differ by more than the last bits of a measurement do from processor to processor.

    In portable arithmetic networks are the same to the bit everywhere. What is measured of them is a sum, and by its
    last bits another of two scores can be the larger, which moves a rank correlation: under SSE alone by up to
    0.000004. Whether two scores are tied is decided by their last bit, so that a share of ties may move by a few of
    the examples.

    Args:
        computed: what was computed: numbers, texts, lists and dictionaries.
        recorded: what was recorded.
        path: where they stand.
    """
    if isinstance(recorded, dict | list):
        keys = _keys(recorded)
        if type(computed) is not type(recorded) or _keys(computed) != keys:
            yield Difference(path, recorded, computed)
            return
        for key in keys:
            yield from differences(computed[key], recorded[key], (*path, key))
    elif not _are_close(computed, recorded, _ROOM_OF_TIES if path[-1:] == ("ties",) else _ROOM):
        yield Difference(path, recorded, computed)


def against_chance(computed: Any, alike: Sequence[Any]) -> list[Difference]:
    """The numbers beyond what chance allows, if these are more than half of all; else none.

    In float32 the last bits differ from processor to processor, and training makes other networks of them, as another
    seed does. So a new measurement is to be like those that differ from it in their seeds alone. Its numbers vary
    together, as the points of a curve do: therefore half of them. Of 2,546 records of the laptop scale, each held
    against up to ten that are like it, 21 would fail. So this finds another algorithm, and no small error.

    Args:
        computed: the values of a measurement.
        alike: those that were recorded of measurements that differ in their seeds alone, three or more; if fewer, none
            is beyond them.
    """
    if len(alike) < _FEWEST:
        return []
    known = [dict(_numbers(each)) for each in alike]
    shared = [path for path in known[0] if all(path in each for each in known)]
    found, beyond = dict(_numbers(computed)), []
    for path in shared:
        low, high = by_chance([each[path] for each in known])
        if path not in found or not low <= found[path] <= high:
            beyond.append(Difference(path, [low, high], found.get(path)))
    return beyond if 2 * len(beyond) > len(shared) else []


def by_chance(values: Sequence[float]) -> tuple[float, float]:
    """The range of some numbers, widened by half of it on both sides: where another one like them is expected."""
    room = 0.5 * (max(values) - min(values))
    return min(values) - room, max(values) + room


def _keys(value: Any) -> Any:
    return value.keys() if isinstance(value, dict) else range(len(value))


def _are_close(computed: Any, recorded: Any, room: float) -> bool:
    if isinstance(recorded, float) and isinstance(computed, float | int):
        return math.isclose(computed, recorded, rel_tol=0.0, abs_tol=room)
    return bool(computed == recorded)


def _numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, dict | list):
        for key in _keys(value):
            yield from _numbers(value[key], (*path, key))
    elif isinstance(value, float):
        yield path, value


def _of_type(value: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        if value.get("type") == kind:
            yield value
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _of_type(each, kind)


def _but_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _but_seeds(each) for name, each in value.items() if "seed" not in name}
    return [_but_seeds(each) for each in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
