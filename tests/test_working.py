"""Working at a sweep beside others: no result is computed twice, none is waited for while others are missing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import nbformat
import pytest
from filelock import FileLock
from steps import FIRST, SUM, TOP, Step

from lmc_lib.cli import main, running
from lmc_lib.store import Busy, Result, Store, StoreError, fingerprint
from lmc_lib.sweeps import fill, obtain, working
from lmc_lib.sweeps.plan import stages, write_plan
from lmc_lib.sweeps.working import Share, Worked, work, write_shares

ROOT = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def done(monkeypatch):
    """What is computed here, in its order."""
    found, compute = [], Step.compute
    monkeypatch.setattr(Step, "compute", lambda spec, store: found.append(spec) or compute(spec, store))
    return found


def keys(*specs):
    return {fingerprint(spec) for spec in specs}


def test_all_that_is_missing_is_computed_once_and_what_is_needed_first(store, done):
    obtain(store, FIRST[4])
    share = work(store, stages(store, [*FIRST, TOP]))
    assert set(share.computed) == keys(*FIRST[:4], SUM, TOP)
    assert (share.failed, len(done)) == ({}, 7)
    assert done.index(SUM) > max(done.index(FIRST[0]), done.index(FIRST[3]))
    assert done[-1] == TOP
    assert obtain(store, TOP).values == {"sum": 117}


def held(store, spec):
    """The lock of a result, as another process holds it that computes it."""
    key = fingerprint(spec)
    lock = FileLock(store.root / "locks" / key[:2] / f"{key}.lock")
    lock.acquire()
    return lock


def test_what_another_computes_is_left_to_it_and_asked_for_at_the_end(store, done, monkeypatch):
    lock, looks = held(store, FIRST[0]), []
    with pytest.raises(Busy, match=fingerprint(FIRST[0])):
        store.get_or_compute(FIRST[0], lambda: pytest.fail("computed"), wait=False)

    def pause(seconds):
        looks.append(list(done))
        if len(looks) == 2:  # the other has finished
            store.add(Store(store.root.parent / "other").get_or_compute(FIRST[0], lambda: Result({"sum": 1})))
            lock.release()

    monkeypatch.setattr(working.time, "sleep", pause)
    share = work(store, stages(store, [*FIRST, TOP]))
    assert set(looks[0]) == set(looks[1]) == set(FIRST[1:])
    assert set(share.computed) == keys(*FIRST[1:], SUM, TOP)
    assert FIRST[0] not in done


def test_a_plan_tells_what_others_compute_and_what_failed(store, tmp_path):
    def planned():
        write_plan(tmp_path / "plan", store, [TestFailure.LAST, TOP], [TestFailure.LAST, TestFailure.BAD, TOP, *FIRST])
        return {row["label"]: row for row in json.loads((tmp_path / "plan").read_text())}

    lock = held(store, FIRST[0])
    with pytest.raises(ValueError, match="no -1"):
        obtain(store, TestFailure.BAD)
    obtain(store, FIRST[1])
    rows = planned()
    assert [label for label, row in rows.items() if row["running"]] == ["step 1"]
    log = Path(rows["step -1"]["failed"])
    assert log.read_text().splitlines()[-1] == "ValueError: no -1"
    assert [label for label, row in rows.items() if row["failed"]] == ["step -1"]
    assert time.time() - 60 < rows["step 2"]["finished"] <= time.time()
    lock.release()
    assert not any(row["running"] for row in planned().values())


def test_a_failure_is_forgotten_when_the_result_is_tried_again(store, monkeypatch):
    key = fingerprint(TestFailure.BAD)
    assert store.failure(key) is None
    with pytest.raises(ValueError, match="no -1"):
        obtain(store, TestFailure.BAD)
    assert store.failure(key)
    seen = []
    monkeypatch.setattr(Step, "compute", lambda *_: seen.append(store.failure(key)) or Result({"sum": -1}))
    obtain(store, TestFailure.BAD)
    assert (seen, store.failure(key)) == ([None], None)


def test_what_another_did_not_finish_is_computed(store, done, monkeypatch):
    lock = held(store, FIRST[0])
    monkeypatch.setattr(working.time, "sleep", lambda seconds: lock.release())
    assert set(work(store, stages(store, FIRST)).computed) == keys(*FIRST)
    assert done[-1] == FIRST[0]


def test_without_locks_all_is_computed_too(store, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert set(work(store, stages(store, [TOP])).computed) == keys(TOP, SUM, *(FIRST[n] for n in (0, 1, 3)))


def test_processes_begin_at_different_results(store, monkeypatch):
    """So that they do not meet at one result after the other where locks do nothing."""
    many, begun = [Step(number) for number in range(1, 101)], set()
    monkeypatch.setattr(working, "_attempt", lambda store, spec, needs: begun.add(spec) or pytest.fail("enough"))
    for _ in range(10):
        with pytest.raises(pytest.fail.Exception):
            work(store, [many])
    assert len(begun) > 5


class TestFailure:
    BAD = Step(-1)
    LOST = Step(7, (BAD, FIRST[2]))
    LAST = Step(8, (LOST,))

    def test_stops_nothing_but_what_needs_it(self, store):
        share = work(store, stages(store, [self.LAST, self.BAD, TOP]))
        assert share.failed == {fingerprint(self.BAD): "ValueError: no -1"}
        assert set(share.computed) == keys(TOP, SUM, *FIRST[:4])

    def test_is_told_with_what_was_not_tried(self, store, tmp_path):
        specs = [self.BAD, self.LOST, self.LAST, *FIRST]
        obtain(store, FIRST[0])
        shares = [work(store, stages(store, specs)), Share(tuple(keys(FIRST[1])), {fingerprint(FIRST[2]): "no memory"})]
        obtain(store, FIRST[3])
        write_shares(tmp_path / "told", store, specs, shares)
        told = json.loads((tmp_path / "told").read_text())
        bad = {"fingerprint": fingerprint(self.BAD), "noun": "steps", "label": "step -1", "error": "ValueError: no -1"}
        # Of five that are there, one was before; what failed in one process and not in another is there, too.
        assert told == {"missing": 8, "computed": 4, "others": 1, "failed": [bad], "untried": 2}

    def test_of_the_store_stops_all(self, store, done, monkeypatch):
        def full(*_):
            raise StoreError("the disk is full")

        monkeypatch.setattr(Store, "_keep", full)
        with pytest.raises(StoreError, match="the disk is full"):
            work(store, stages(store, FIRST))
        assert len(done) == 1


class TestFill:
    def test_works_and_stops_the_notebook(self, store, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_WORK", str(tmp_path / "told"))
        expected = {"missing": 5, "computed": 5, "others": 0, "failed": [], "untried": 0}
        for missing in (5, 0):
            with pytest.raises(Worked):
                fill(store, [TOP], workers=1)
            told = json.loads((tmp_path / "told").read_text())
            assert told == expected | {"missing": missing, "computed": missing}

    def test_asks_only_for_what_is_named(self, store, done, monkeypatch):
        monkeypatch.setenv("LMC_ONLY", ",".join(keys(SUM, FIRST[1])))
        fill(store, [*FIRST, SUM, TOP], workers=1)
        assert set(done) == {SUM, FIRST[0], FIRST[1], FIRST[3]}

    @pytest.mark.slow
    def test_processes_of_one_command_tell_how_many_results_are_there(self, store, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_WORK", str(tmp_path / "told"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        monkeypatch.setenv("LMC_PROGRESS", str(tmp_path / "progress"))
        obtain(store, FIRST[4])
        with pytest.raises(Worked):
            fill(store, [*FIRST, TOP], workers=2)
        progress = json.loads((tmp_path / "progress").read_text())
        assert progress == {"done": 6, "total": 6, "seconds": 0.0, "all": True}

    @pytest.mark.slow
    def test_processes_of_one_command_share_the_work(self, store, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_WORK", str(tmp_path / "told"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        with pytest.raises(Worked):
            fill(store, [TOP, TestFailure.LAST], workers=2)
        told = json.loads((tmp_path / "told").read_text())
        assert (told["missing"], told["computed"], told["untried"]) == (9, 6, 2)
        assert [each["label"] for each in told["failed"]] == ["step -1"]


WORKER = """
import json, sys, time
from pathlib import Path
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain, working
from lmc_lib.sweeps.plan import stages

root, name, here = Path(sys.argv[1]), *sys.argv[2:]
sys.path.append(here)
from steps import Step

class Slow(Step):
    def compute(self, store):
        with (root / "computed").open("a") as file:
            file.write(f"{self.number}\\n")
        time.sleep(0.2)
        return super().compute(store)

first = [Slow(number) for number in range(12)]
wanted = [*first, Slow(100, tuple(first)), Slow(200, tuple(first[:6]))]
working._PAUSE = 0.05
import torch  # the first result would wait for it, in one process longer than in another
(root / f"ready-{name}").touch()
while not (root / "go").exists():
    time.sleep(0.01)
store = Store(root / "store")
share = working.work(store, stages(store, wanted))
print(json.dumps([len(share.computed), obtain(store, wanted[-2]).values["sum"]]))
"""


@pytest.mark.slow
def test_processes_that_share_a_folder_compute_each_result_once(tmp_path):
    program = [sys.executable, "-c", WORKER, str(tmp_path)]
    started = [
        subprocess.Popen([*program, name, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    try:
        wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 3)
        (tmp_path / "go").touch()
        shares = [json.loads(each.communicate(timeout=60)[0]) for each in started]
    finally:
        for each in started:
            each.kill()
            each.wait()
    computed = (tmp_path / "computed").read_text().split()
    assert sorted(map(int, computed)) == [*range(12), 100, 200]
    assert sum(count for count, _ in shares) == 14
    # None queues behind another: of twelve that take 0.2 s each, each process computes its part.
    assert min(count for count, _ in shares) >= 3
    assert {total for _, total in shares} == {166}


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


PARAMETERS = 'scale: str = "quick"  # name of the profile\nslow: list = [3]  # numbers that take a minute'
CELL = """
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lmc_lib import sweeps
from lmc_lib.store import Result, Store


@dataclass(frozen=True)
class Step(sweeps.Spec):
    kind: ClassVar[str] = "Step"
    noun: ClassVar[str] = "steps"
    number: int

    @property
    def label(self):
        return f"step {self.number}"

    def compute(self, store):
        if self.number in slow:
            Path("slow").write_text(str(os.getpid()))
            time.sleep(60)
        if self.number == 4:
            raise ValueError("four is no number")
        return Result({"number": self.number})


sweeps.fill(Store.from_environment(), [Step(number) for number in range(6)])
"""
PROGRAM = """
import sys
from pathlib import Path
from lmc_lib.cli import main, tree
tree.NOTEBOOKS = Path(sys.argv[1])
tree.RECORDS = Path(sys.argv[1]) / "records"
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def toy(claim_that_asks):
    """The folder of a claim of six results: one fails, others take a minute."""
    return claim_that_asks(PARAMETERS, CELL)


class TestCommand:
    TOLD: ClassVar = {"missing": 9, "computed": 4, "others": 5, "failed": [], "untried": 0}

    @pytest.fixture
    def asked(self, monkeypatch):
        asked, told = [], dict(self.TOLD)
        monkeypatch.setattr(running, "work", lambda claim, **options: asked.append((claim, options)) or told)
        return asked, told

    def test_says_who_computed_what(self, asked, capsys):
        assert main(["work", "toy", "--profile", "laptop", "-p", "width=3", "--workers", "2"]) == 0
        assert asked[0] == [("toy", {"profile": "laptop", "overrides": ["width=3"], "workers": 2})]
        assert capsys.readouterr().out == "9 results were missing: 4 computed here, 5 by others\n"
        assert main(["work", "toy", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"claim": "toy", "profile": "quick"} | self.TOLD
        asked[1].update(missing=0, computed=0, others=0)
        assert main(["work", "toy"]) == 0
        assert capsys.readouterr().out == "nothing is missing\n"

    def test_names_what_failed_and_how_to_see_it(self, asked, capsys):
        bad = {"fingerprint": "a" * 20, "noun": "networks", "label": "MLP", "error": "ValueError: no"}
        asked[1].update(others=2, failed=[bad], untried=2)
        assert main(["work", "toy", "--profile", "laptop", "-p", "a=[1, 2]"]) == 1
        out, err = capsys.readouterr()
        assert out.splitlines()[1:] == [
            f"failed: MLP, networks, {'a' * 20}: ValueError: no",
            "not tried, since they need what failed: 2",
        ]
        command = "lmc run toy --profile laptop -p 'a=[1, 2]' --workers 1"
        assert err.startswith(f"lmc: 3 results are still missing, since 1 failed: see above. {command} stops at the ")

    def test_is_not_done_while_something_is_missing(self, asked, capsys):
        """As where others have computed, since it was tried here, what failed here."""
        asked[1].update(others=3, untried=2)
        assert main(["work", "toy"]) == 1
        assert capsys.readouterr().err == "lmc: 2 results are still missing: the same command computes them\n"

    @pytest.mark.parametrize(
        ("workers", "variable", "told"), [("0", "1", "--workers takes at least one"), ("1", "0", "LMC_COMPUTE is 0")]
    )
    def test_what_cannot_be_is_refused_before_any_notebook_runs(
        self, toy, monkeypatch, capsys, workers, variable, told
    ):
        monkeypatch.setenv("LMC_COMPUTE", variable)
        monkeypatch.setattr(running, "execute", lambda *_, **__: pytest.fail("ran a notebook"))
        assert main(["work", "toy", "--workers", workers]) == 1
        assert told in capsys.readouterr().err

    @pytest.mark.slow
    def test_a_notebook_that_asks_for_nothing_is_told(self, toy, capsys):
        book = nbformat.read(toy / "toy.ipynb", as_version=4)
        book.cells.pop()
        nbformat.write(book, toy / "toy.ipynb")
        assert main(["work", "toy"]) == 1
        assert "asks for no results: a cell must call sweeps.fill" in capsys.readouterr().err

    @pytest.mark.slow
    def test_a_scheduler_that_stops_it_loses_nothing_that_is_finished(self, toy, capsys):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM, str(toy), "work", "toy", "--workers", "1"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        store, computing = Store(toy / "store"), toy / "slow"
        try:
            wait_for(lambda: computing.exists() and computing.read_text())
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 130
        assert "lmc: stopped. What is finished is stored" in err
        assert "Traceback" not in err
        assert not store.has(Step(3))
        finished = {path: path.stat().st_mtime_ns for path in store.root.glob("runs/*/*.entry")}
        with pytest.raises(ProcessLookupError):  # what computed ends with the command
            wait_for(lambda: os.kill(int(computing.read_text()), 0), seconds=10)
        assert main(["work", "toy", "--workers", "1", "-p", "slow=[]", "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["missing"] == 6 - len(finished)
        assert told["computed"] == 5 - len(finished)
        assert [each["error"] for each in told["failed"]] == ["ValueError: four is no number"]
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        assert store.has(Step(3))
