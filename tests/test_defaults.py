"""Defaults are left out of fingerprints, so another default would serve old results as new ones: they are watched."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import typing
from pathlib import Path

import pytest

import lmc_lib
from lmc_lib import store
from lmc_lib.sweeps import Spec

TABLE = Path(__file__).with_name("defaults.json")


def subclasses(kind):
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def within(hint):
    """The dataclasses in a type, such as those in unions and tuples."""
    for part in typing.get_args(hint):
        yield from within(part)
    if dataclasses.is_dataclass(hint) and not inspect.isabstract(hint):
        yield hint


def fingerprinted(roots):
    """All dataclasses that can enter a fingerprint: these, and those that their fields can hold, at any depth."""
    found, waiting = {}, list(roots)
    for kind in waiting:
        if kind not in found:
            found[kind] = None
            waiting += [each for hint in typing.get_type_hints(kind).values() for each in within(hint)]
    return list(found)


def name_of(kind):
    return getattr(kind, "kind", kind.__name__)


def defaults_of(kind):
    """What is left out of a fingerprint, as JSON has it; and what moves fingerprints on purpose."""
    version = inspect.getattr_static(kind, "VERSION", None)
    own = {"VERSION": "told by the fields" if isinstance(version, property) else version}
    fields = [field for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING]
    return json.loads(json.dumps(own | {field.name: field.default for field in fields}))


@pytest.fixture(scope="module")
def kinds():
    for module in pkgutil.walk_packages(lmc_lib.__path__, "lmc_lib."):
        importlib.import_module(module.name)
    specs = [
        kind for kind in subclasses(Spec) if kind.__module__.startswith("lmc_lib.") and not inspect.isabstract(kind)
    ]
    return fingerprinted(specs)


def complaint(name, now, before):
    """What is wrong with the defaults of a class, and what to do; None if nothing is."""
    paste = f"{json.dumps(name)}: {json.dumps(now)}"
    if before is None:
        return f"{name} is new: add to {TABLE.name}\n  {paste}"
    changed = [field for field in now.keys() & before.keys() - {"VERSION"} if now[field] != before[field]]
    if changed and now["VERSION"] == before["VERSION"]:
        return (
            f"{name}: another default of {', '.join(sorted(changed))} would serve results stored under the old one. "
            f"Raise VERSION of {name}, which moves all results that depend on it, or leave the default; then put "
            f"into {TABLE.name}\n  {paste}"
        )
    if now != before:
        return (
            f"{name}: note its options, which move no result as long as their defaults stay, in {TABLE.name}\n  {paste}"
        )
    return None


def test_no_default_changes_without_a_version(kinds):
    table = json.loads(TABLE.read_text())
    found = {name_of(kind): defaults_of(kind) for kind in kinds}
    complaints = [complaint(name, now, table.get(name)) for name, now in found.items()]
    complaints += [f"{name} is gone: remove it from {TABLE.name}" for name in table.keys() - found.keys()]
    assert not any(complaints), "\n".join(filter(None, complaints))


def test_every_kind_has_a_name_of_its_own(kinds):
    specs = [kind for kind in kinds if issubclass(kind, Spec)]
    assert all("kind" in vars(kind) for kind in specs)
    names = [name_of(kind) for kind in kinds]
    assert len(set(names)) == len(names) > 20
    assert {"ModelSpec", "DataSpec", "TrainConfig", "Perturbation", "Checkpoint", "TransportSpec"} < set(names)


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: tuple[Inner | None, ...]
    depth: int
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)


def test_dataclasses_are_found_at_any_depth():
    assert fingerprinted([Outer]) == [Outer, Inner]
    assert defaults_of(Outer) == {"VERSION": None, "rate": 0.5, "names": ["a"]}


@pytest.mark.parametrize(("change", "words"), [
    ({}, None),
    ({"rate": 0.25}, "Raise VERSION of Outer"),
    ({"rate": 0.25, "names": []}, "another default of names, rate"),
    ({"rate": 0.25, "VERSION": 2}, "note its options"),
    ({"fresh": 1}, 'note its options.*\n  "Outer": .*"fresh": 1'),
])  # fmt: skip
def test_complaints_say_what_to_do(change, words):
    before = defaults_of(Outer)
    told = complaint("Outer", before | change, before)
    assert told is None if words is None else re.search(words, told)
    assert "Outer is new" in complaint("Outer", before, None)


def test_a_kind_stands_for_the_name_of_a_class():
    renamed = dataclasses.make_dataclass("Renamed", [("width", int, 3)], namespace={"kind": "Inner"}, frozen=True)
    assert store.fingerprint(renamed(4)) == store.fingerprint(Inner(4)) != store.fingerprint(Inner())
