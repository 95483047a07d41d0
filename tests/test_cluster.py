"""Sweeps on executors: the standard library's and Parsl's, with workers that are lost and results that fail."""

import importlib.util
import json
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
from steps import FIRST, SUM, TOP, Step

from lmc_lib.store import Store, StoreError, fingerprint
from lmc_lib.sweeps import fill, filling, obtain
from lmc_lib.sweeps.working import Worked

TESTS = Path(__file__).parent

needs_parsl = pytest.mark.skipif(
    importlib.util.find_spec("parsl") is None, reason="Parsl, the extra cluster, is absent"
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class Recorder(Executor):
    """Computes when it is told to, in any order."""

    def __init__(self):
        self.given = {}

    def submit(self, function, store, spec):
        future = Future()
        self.given[spec] = lambda: future.set_result(function(store, spec))
        self.order = [*self.given]
        return future


class TestExecutor:
    BAD = Step(-1)
    LOST = Step(7, (BAD, FIRST[2]))

    def test_of_the_standard_library_fills_the_store_and_stays_open(self, store, monkeypatch):
        monkeypatch.setattr(filling, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("started processes"))
        with ThreadPoolExecutor(3) as executor:
            fill(store, [TOP, *FIRST], executor=executor)
            assert executor.submit(abs, -3).result() == 3
        assert obtain(store, TOP).values == {"sum": 117}
        assert all(map(store.has, FIRST))

    def test_gets_a_result_as_soon_as_what_it_needs_is_there(self, store):
        """SUM needs the first and the fourth step, not those that are computed last."""
        recorder = Recorder()
        filling_ = threading.Thread(target=fill, args=(store, [*FIRST, TOP]), kwargs={"executor": recorder})
        filling_.start()
        steps = []

        def take(spec):
            while spec not in recorder.given:
                filling_.join(0.01)
                assert filling_.is_alive()
            recorder.given.pop(spec)()
            steps.append(spec)

        for spec in (FIRST[3], FIRST[0], SUM):
            take(spec)
        assert not {*FIRST} & {*steps} - {FIRST[3], FIRST[0]}
        assert TOP not in recorder.given
        for spec in (FIRST[1], TOP, FIRST[4], FIRST[2]):
            take(spec)
        filling_.join(10)
        assert not filling_.is_alive()
        assert obtain(store, TOP).values == {"sum": 117}

    def test_gets_nothing_where_nothing_is_missing_or_may_be_computed(self, store):
        forbidden = Recorder()
        obtain(store, TOP)
        fill(store, [TOP], executor=forbidden)
        fill(Store(store.root, compute=False), FIRST, executor=forbidden)
        assert forbidden.given == {}

    def test_goes_on_after_a_failure_which_is_named_at_the_end(self, store):
        with ThreadPoolExecutor(2) as executor, pytest.raises(RuntimeError) as caught:
            fill(store, [self.LOST, self.BAD, TOP], executor=executor)
        assert str(caught.value).splitlines() == [
            "1 of 8 results failed, and what needs them was not tried; all others are stored:",
            f"step -1, steps, {fingerprint(self.BAD)}: ValueError: no -1",
        ]
        assert store.has(TOP)
        assert not store.has(self.LOST)

    def test_tells_lmc_work_what_became_of_all(self, store, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_WORK", str(tmp_path / "told"))
        with ThreadPoolExecutor(2) as executor, pytest.raises(Worked):
            fill(store, [self.LOST, TOP], executor=executor)
        told = json.loads((tmp_path / "told").read_text())
        assert [each["label"] for each in told.pop("failed")] == ["step -1"]
        assert told == {"missing": 8, "computed": 6, "others": 0, "untried": 1}

    @pytest.mark.parametrize("error", [StoreError("the disk is full"), BrokenProcessPool("ended")], ids=str)
    def test_stops_where_no_other_result_could_be_had(self, store, monkeypatch, error):
        def fail(*_):
            raise error

        monkeypatch.setattr(filling, "_obtain", fail)
        with ThreadPoolExecutor(1) as executor, pytest.raises(type(error), match=str(error)):
            fill(store, FIRST, executor=executor)

    def test_tells_the_time_left_by_how_many_are_busy(self, store, tmp_path, monkeypatch):
        """Nobody knows how many workers an executor has: one result of 100 s in 50 s is that of two."""
        clock = SimpleNamespace(monotonic=iter([0.0, 0.0, 50.0, 80.0, 90.0]).__next__)
        monkeypatch.setattr(filling, "time", clock)
        monkeypatch.setattr(filling, "_obtain", lambda *_: 100.0)
        monkeypatch.setenv("LMC_PROGRESS", str(tmp_path / "progress"))
        told = []
        monkeypatch.setattr(Path, "write_text", lambda _, text, encoding: told.append(json.loads(text)))
        with ThreadPoolExecutor(1) as executor:
            fill(store, [Step(number, (FIRST[0],)) for number in range(2)] + FIRST[:1], executor=executor)
        assert [each["done"] for each in told] == [0, 1, 2, 3]
        assert [each["seconds"] for each in told] == [0.0, 50.0, 40.0, 0.0]
