"""Sweeps on executors: the standard library's and Parsl's, with workers that are lost and results that fail."""

import importlib.util
import json
import math
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
from steps import FIRST, SUM, TOP, Mortal, Step

from lmc_lib.cli import main, running
from lmc_lib.store import Store, StoreError, fingerprint
from lmc_lib.sweeps import cluster, fill, filling, obtain
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

    def test_a_worker_that_is_lost_leaves_a_word_where_a_failure_leaves_its_traceback(self, store, monkeypatch):
        obtain_ = filling._obtain

        def lose(store, spec):
            if spec == FIRST[3]:
                raise ConnectionError("lost")
            return obtain_(store, spec)

        monkeypatch.setattr(filling, "_obtain", lose)
        with ThreadPoolExecutor(2) as executor, pytest.raises(RuntimeError):
            fill(store, [self.LOST, TOP], executor=executor)
        assert store.failure(fingerprint(FIRST[3])).read_text() == "ConnectionError: lost"
        assert (
            store.failure(fingerprint(self.BAD))
            .read_text()
            .endswith('raise ValueError(f"no {self.number}")\nValueError: no -1\n')
        )
        assert [each for each in (self.LOST, SUM, TOP, *FIRST[:3]) if store.failure(fingerprint(each))] == []

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


@needs_parsl
class TestConfiguration:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (None, "there is no such file: name a Python file that defines config"),
            ("other = 1", "defines no config: it must be a parsl.Config"),
            ("config = {}", "defines config as a dict: it must be a parsl.Config"),
            ("config = 1 / 0", "fails: ZeroDivisionError: division by zero: run it with python"),
            ("config =", "fails: SyntaxError: "),
            ("from lmc_lib.sweeps import cluster\nconfig = cluster.slurm(walltime='1:99:00')", "walltime is '1:99:00'"),
        ],
        ids=str,
    )
    def test_a_bad_file_is_told_in_one_line_before_a_notebook_runs(self, tmp_path, monkeypatch, capsys, text, told):
        monkeypatch.setattr(running, "execute", lambda *_, **__: pytest.fail("ran a notebook"))
        path = tmp_path / "on.py"
        if text is not None:
            path.write_text(text)
        for command in ("run", "work"):
            assert main([command, "weak-connectivity", "--on", str(path)]) == 1
            err = capsys.readouterr().err
            assert err.startswith("lmc: --on: ")
            assert told in err
            assert err.count("\n") == 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--walltime", "01:00"], "walltime is '01:00': it takes hours, minutes and seconds"),
            (["--walltime", "00:00:00"], "walltime is '00:00:00'"),
            (["--max-nodes", "0"], "max_nodes is 0"),
            (["--gpus-per-node", "-2"], "gpus_per_node -2"),
            (["--partition", "gpu"], "no sbatch here"),
            (["--workers", "2"], "--workers counts processes of this machine"),
        ],
        ids=str,
    )
    def test_what_slurm_cannot_give_is_refused(self, tmp_path, monkeypatch, capsys, options, told):
        monkeypatch.setattr(cluster.shutil, "which", lambda _: None)
        assert main(["run", "weak-connectivity", "--on", "slurm", *options]) == 1
        assert told in capsys.readouterr().err

    @pytest.fixture
    def any_stream(self):
        """Parsl draws from Python's global stream."""
        state = random.getstate()
        yield
        random.setstate(state)

    @pytest.mark.usefixtures("any_stream")
    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of Parsl, which looks for addresses
    def test_asks_slurm_for_what_the_options_say(self, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError("a server of strangers is asked")

        monkeypatch.setattr("parsl.addresses.requests.get", refuse)
        monkeypatch.setattr("parsl.executors.high_throughput.executor.get_all_addresses", refuse)
        monkeypatch.setattr(cluster.shutil, "which", lambda _: "sbatch")
        config = cluster.slurm(partition="gpu", gpus_per_node=4, walltime="01:30:00", max_nodes=8)
        (workers,) = config.executors
        asked = workers.provider
        assert (asked.partition, asked.gpus_per_node, asked.walltime, asked.max_blocks) == ("gpu", 4, "01:30:00", 8)
        assert (workers.max_workers_per_node, workers.available_accelerators) == (4, ["0", "1", "2", "3"])
        assert workers.drain_period == 4860  # nothing is begun in the last nine minutes
        assert "127.0.0.1" in workers.all_addresses
        assert "--job-name=lmc" in asked.scheduler_options
        assert f"export PATH={os.environ['PATH']}" in asked.worker_init

    def test_only_lost_workers_are_worth_another_try(self):
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        lost = [WorkerLost(1, "host"), ManagerLost(b"manager", "host")]
        assert [cluster.retry_lost(error, None) for error in [*lost, ValueError("no")]] == [1.0, 1.0, math.inf]


@needs_parsl
def test_a_program_of_parsl_that_is_not_found_is_told_before_a_sweep_waits_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster.shutil, "which", lambda name: None if name == "interchange.py" else name)
    (tmp_path / "on.py").write_text(PROCESSES)
    assert main(["work", "weak-connectivity", "--on", str(tmp_path / "on.py")]) == 1
    assert capsys.readouterr().err == "lmc: --on: interchange.py, which Parsl starts, is not on PATH: add its folder\n"


def test_without_parsl_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _: None)
    assert main(["run", "weak-connectivity", "--on", str(tmp_path / "on.py")]) == 1
    assert capsys.readouterr().err == 'lmc: --on: computing elsewhere needs Parsl: pip install -e ".[cluster]"\n'


def test_options_of_slurm_go_with_it_alone(capsys):
    assert main(["work", "weak-connectivity", "--max-nodes", "2"]) == 1
    assert "--max-nodes goes with --on slurm: add it, or leave this out" in capsys.readouterr().err


def test_parsl_is_loaded_only_where_it_is_asked_for():
    program = "import sys, lmc_lib.sweeps.cluster, lmc_lib.cli.elsewhere; sys.exit('parsl' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


THREADS = """
from parsl import Config, ThreadPoolExecutor

config = Config([ThreadPoolExecutor(max_threads=2)])
"""
PROCESSES = """
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider

from lmc_lib.sweeps import cluster

workers = HighThroughputExecutor(
    label="here", address="127.0.0.1", max_workers_per_node=2, heartbeat_period=1, heartbeat_threshold=5,
    provider=LocalProvider(max_blocks=1),
)
config = Config([workers], retries=2, retry_handler=cluster.retry_lost)
"""


FILL = """
import sys
from pathlib import Path

from steps import FIRST, SUM, TOP, Mortal, Step

from lmc_lib.store import Store
from lmc_lib.sweeps import fill, obtain

folder = Path(sys.argv[1])
store = Store(folder / "store")
"""


@needs_parsl
class TestParsl:
    @pytest.fixture
    def filled(self, tmp_path):
        """Runs a program whose sweeps are computed where a configuration says; Parsl leaves files open."""

        def filled(configuration, program):
            (tmp_path / "on.py").write_text(configuration)
            environment = os.environ | {
                "LMC_ON": str(tmp_path / "on.py"),
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]),
            }
            command = [sys.executable, "-c", FILL + program, str(tmp_path)]
            return subprocess.run(
                command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False, timeout=120
            )

        return filled

    @pytest.mark.slow
    def test_threads_fill_the_store(self, filled, tmp_path):
        told = filled(THREADS, "fill(store, [TOP, *FIRST]); print(obtain(store, TOP).values)")
        assert told.stdout == "{'sum': 117}\n", told.stderr
        # Parsl's own files go beside the results, not where the notebooks are.
        assert {path.name for path in tmp_path.iterdir()} == {"on.py", "store"}
        assert (tmp_path / "store" / "parsl").is_dir()

    @pytest.mark.slow
    def test_a_worker_that_is_lost_loses_nothing(self, filled, tmp_path):
        """Each of three results ends its own process when it is first computed."""
        told = filled(
            PROCESSES,
            "last = Step(50, tuple(Mortal(n, (), str(folder)) for n in range(3)));"
            "fill(store, [last]); print(obtain(store, last).values)",
        )
        assert told.stdout == "{'sum': 53}\n", told.stderr
        assert sorted(path.name for path in tmp_path.glob("died-*")) == ["died-0", "died-1", "died-2"]

    @pytest.mark.slow
    def test_a_result_that_ends_every_worker_is_named(self, filled, store):
        told = filled(PROCESSES, "fill(store, [Mortal(7, (), 'nowhere'), TOP])")
        assert "RuntimeError: 1 of 6 results failed" in told.stderr
        named = fingerprint(Mortal(7, (), "nowhere"))
        assert f"step 7, steps, {named}: WorkerLost: Task failure due to loss of worker" in told.stderr
        assert store.has(TOP)
