"""Sweeps of specs that know no network: what they need, in which order it is computed, and what is planned."""

import json
import os
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from steps import FIRST, SUM, Mortal, Step, Unsayable

from lmc_lib.store import Result, Store, fingerprint
from lmc_lib.sweeps import Planned, Spec, fill, filling, obtain, origin
from lmc_lib.sweeps.filling import time_left
from lmc_lib.sweeps.plan import stages, write_plan


@dataclass(frozen=True)
class Leaf(Spec):
    kind: ClassVar[str] = "Leaf"
    noun: ClassVar[str] = "leaves"

    number: int

    @property
    def label(self):
        return f"leaf {self.number}"

    @property
    def updates(self):
        return 10 * self.number

    def pace(self):
        return self.number / 4

    def compute(self, store):
        return Result({"sum": self.number})


@dataclass(frozen=True)
class Holder:
    leaf: Leaf


@dataclass(frozen=True)
class Tree(Spec):
    kind: ClassVar[str] = "Tree"
    noun: ClassVar[str] = "trees"

    name: str
    leaves: tuple[tuple[Spec, ...], ...]
    holder: Holder | None = None
    top: Spec | None = None

    def compute(self, store):
        return Result({"sum": sum(obtain(store, need).values["sum"] for need in self.needs)})


TREE = Tree("oak", ((Leaf(3), Leaf(1)), (Leaf(4),)), Holder(Leaf(2)))
FOREST = Tree("forest", ((TREE,),), top=Leaf(9))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_needs_are_the_specs_in_tuples_and_in_other_dataclasses():
    assert TREE.needs == (Leaf(3), Leaf(1), Leaf(4), Leaf(2))
    assert FOREST.needs == (TREE, Leaf(9))
    assert Leaf(5).needs == ()


def test_label_and_pace_are_those_of_the_first_spec():
    assert (TREE.label, FOREST.label) == ("leaf 3", "leaf 3")
    assert (TREE.pace(), TREE.updates) == (0.75, 0)


def test_a_spec_without_others_needs_a_label_of_its_own():
    with pytest.raises(TypeError, match="Tree holds no spec whose label"):
        _ = Tree("bare", ()).label


def test_what_is_needed_comes_first(store, monkeypatch):
    done = []
    for kind in (Leaf, Tree):
        compute = kind.compute
        monkeypatch.setattr(
            kind, "compute", lambda spec, store, compute=compute: done.append(spec) or compute(spec, store)
        )
    fill(store, [FOREST, Leaf(1)], workers=1)
    assert set(done[:5]) == {Leaf(number) for number in (1, 2, 3, 4, 9)}
    assert done[5:] == [TREE, FOREST]
    assert obtain(store, FOREST).values == {"sum": 19}


@dataclass(frozen=True)
class Rung(Spec):
    """Needs two rungs, which need two each: there are two to the power of its height ways down."""

    kind: ClassVar[str] = "Rung"
    noun: ClassVar[str] = "rungs"

    height: int
    side: str = "left"
    bytes: int = 8

    @property
    def label(self):
        return f"rung {self.height}"

    @property
    def needs(self):
        return tuple(Rung(self.height - 1, side) for side in ("left", "right") if self.height)

    def compute(self, store):
        return Result({"sum": self.height}, {"wide": torch.zeros(self.bytes, dtype=torch.uint8)})


def test_what_is_needed_in_many_ways_is_looked_at_once(store, monkeypatch, tmp_path):
    looks = []
    has = Store.has
    monkeypatch.setattr(Store, "has", lambda store, spec: looks.append(spec) or has(store, spec))
    found = stages(store, [Rung(50)])
    assert [{spec.height for spec in stage} for stage in found] == [{height} for height in range(51)]
    assert [len(stage) for stage in found] == [2] * 50 + [1]
    assert len(looks) == 101
    write_plan(tmp_path / "plan.json", store, [Rung(50)], [])
    assert [row["label"] for row in json.loads((tmp_path / "plan.json").read_text())][::2] == [
        f"rung {height}" for height in range(51)
    ]


def test_what_is_stored_needs_nothing_and_is_no_stage(store):
    obtain(store, Rung(1))
    assert stages(store, [Rung(2)]) == [[Rung(0), Rung(0, "right")], [Rung(1, "right")], [Rung(2)]]
    obtain(store, Rung(1, "right"))
    assert stages(store, [Rung(2)]) == [[Rung(2)]]


def test_planning_reads_no_tensors(store, monkeypatch, tmp_path):
    """A store can hold gigabytes; what of it is damaged is found by who reads it, and computed then."""
    obtain(store, Rung(0))
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.load", lambda _: pytest.fail("read tensors"))
        assert stages(store, [Rung(0)]) == []
        write_plan(tmp_path / "plan.json", store, [Rung(0)], [])
        assert len(origin(store, [Rung(0)]).measurements) == 1
    (path,) = tmp_path.glob("runs/*/*.entry")
    path.write_bytes(path.read_bytes()[:-1])
    fill(store, [Rung(0)])
    assert obtain(store, Rung(0)).tensors["wide"].tolist() == [0] * 8


def test_a_plan_tells_what_a_training_takes(store, monkeypatch, tmp_path):
    obtain(store, Leaf(3))
    monkeypatch.setenv("LMC_PLAN", str(tmp_path / "plan.json"))
    monkeypatch.setenv("LMC_PACE", "1")
    with pytest.raises(Planned):
        fill(store, [TREE])
    rows = json.loads((tmp_path / "plan.json").read_text())
    assert {(row["running"], row["failed"]) for row in rows} == {(False, None)}
    told = [(row["type"], row["label"], row["stored"], row["updates"], row["pace"]) for row in rows]
    assert told == [
        ("Leaf", "leaf 3", True, 30, None),
        ("Leaf", "leaf 1", False, 10, 0.25),
        ("Leaf", "leaf 4", False, 40, 1.0),
        ("Leaf", "leaf 2", False, 20, 0.5),
        ("Tree", "leaf 3", False, 0, None),
    ]
    assert [row["asked"] for row in rows] == [False] * 4 + [True]


def test_the_time_left_is_that_of_what_is_missing_by_kind():
    waiting = {"networks": 3, "pairs": 10, "done": 0}
    assert time_left(waiting, {"networks": [50.0, 70.0], "pairs": [2.0], "done": [900.0]}, 2) == (100.0, True)
    # Nothing is known of pairs: it takes longer than the networks do.
    assert time_left(waiting, {"networks": [50.0, 70.0]}, 1) == (180.0, False)
    assert time_left(waiting, {}, 1) == (0.0, False)
    assert time_left({"networks": 0}, {}, 1) == (0.0, True)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 100.0), (2, 50.0)])
def test_progress_tells_the_time_left(store, monkeypatch, tmp_path, workers, seconds):
    monkeypatch.setattr(filling, "_obtain", lambda store, spec: 100.0 if isinstance(spec, Tree) else spec.number / 4)
    monkeypatch.setattr(filling, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(1))
    monkeypatch.setenv("LMC_PROGRESS", str(tmp_path / "progress"))
    told = []
    monkeypatch.setattr(Path, "write_text", lambda _, text, encoding: told.append(json.loads(text)))
    fill(store, [FOREST, TREE], workers=workers)
    assert [each["done"] for each in told] == list(range(8))
    assert {each["total"] for each in told} == {7}
    # Of the trees nothing is known before the first of them is there; then the other takes as long.
    assert [(each["seconds"], each["all"]) for each in told[5:]] == [(0.0, False), (seconds, True), (0.0, True)]


KILLED = """
import multiprocessing, os, signal, sys, time
from pathlib import Path

sys.path.append(sys.argv[3])
from steps import FIRST
from lmc_lib.store import Store
from lmc_lib.sweeps import filling

class Progress(filling._Progress):
    def advance(self, spec, seconds):
        super().advance(spec, seconds)
        if self.done == self.total:
            time.sleep(0.3)  # until both workers wait for calls
            workers = sorted(each.pid for each in multiprocessing.active_children())
            os.kill(workers[int(sys.argv[2])], signal.SIGKILL)

filling._Progress = Progress
if __name__ == "__main__":
    filling.fill(Store(Path(sys.argv[1])), FIRST, workers=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked from a server")
@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_is_killed_as_it_waits_stops_no_sweep_that_is_done(store, tmp_path, which):
    """One of the two holds the lock of the calls as it waits, so that the other would never be told to end."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(store.root), str(which), str(Path(__file__).parent)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=60, check=True)
    assert all(map(store.has, FIRST))


def test_a_pool_that_breaks_when_all_that_was_begun_is_done_is_told(store):
    """What it was to begin next would be missing, and nothing would say so."""
    begun = []

    def submit(function, *arguments):
        if len(begun) == 2:
            raise BrokenExecutor("ended as it waited")
        begun.append(Future())
        begun[-1].set_result(function(*arguments))
        return begun[-1]

    done = filling._finished(submit, store, FIRST)
    assert [next(done)[0], next(done)[0]] == FIRST[:2]
    with pytest.raises(BrokenExecutor, match="as it waited"):
        next(done)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked from a server")
class TestLostWorkers:
    """Processes of the default that are ended from outside as they compute."""

    @pytest.fixture
    def pools(self, monkeypatch):
        """How many workers each pool has that was begun."""
        begun = []
        begin = filling._processes
        monkeypatch.setattr(
            filling, "_processes", lambda workers, specs: begun.append(workers) or begin(workers, specs)
        )
        return begun

    def test_fewer_go_on_and_all_is_computed(self, store, tmp_path, monkeypatch, pools):
        monkeypatch.setenv("LMC_PROGRESS", str(tmp_path / "progress"))
        mortal = Mortal(7, (FIRST[1],), str(tmp_path))
        top = Step(40, (mortal, SUM))
        fill(store, [*FIRST, top], workers=5)
        assert pools == [5, 2]
        assert obtain(store, top).values == {"sum": 40 + (7 + 2) + (10 + 1 + 4)}
        told = json.loads((tmp_path / "progress").read_text())
        assert (told["done"], told["total"], told["lost"], told["seconds"]) == (8, 8, 1, 0.0)

    def test_an_error_that_cannot_travel_is_no_loss(self, store, pools):
        """Its arguments are not those that made it, so that no other process can make it again."""
        with pytest.raises(RuntimeError, match=r"^Awkward: step 3 is not to be computed$"):
            fill(store, [*FIRST[:2], Unsayable(3)], workers=2)
        assert pools == [2]

    def test_the_last_one_is_alone_and_what_it_was_at_is_named(self, store, pools):
        mortal = Mortal(7, (), "nowhere")
        named = f"^3 times a worker was ended from outside.* alone at step 7, steps, {fingerprint(mortal)}"
        with pytest.raises(RuntimeError, match=named):
            fill(store, [*FIRST, mortal, SUM], workers=8)
        assert pools == [6, 3, 1]
        assert all(map(store.has, FIRST))
