"""Experiments: replicas and pairs through the store, serial or parallel, resumed after a kill."""

import dataclasses
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc_lib import experiments, models, records, rng, state, sweeps, training
from lmc_lib.data import DataSpec
from lmc_lib.experiments import pair
from lmc_lib.experiments.connectivity.pair import PairSpec
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import NotStored, Store, describe, fingerprint, provenance
from lmc_lib.sweeps import Planned, filling
from lmc_lib.training import Diverged, TrainConfig

MODEL = ModelSpec("mlp", 4, 1)
DATA = DataSpec("digits", train_examples=64, test_examples=40)
TRAIN = TrainConfig(steps=3, batch_size=32, precision="portable")
# In float64 two steps at this rate overflow.
DIVERGING = dataclasses.replace(TRAIN, lr=1e200)
OPTIONS = {"points": 3, "train_examples": 40, "test_examples": 30, "matching_examples": 32}


@pytest.fixture(scope="module")
def digits():
    """The examples."""
    return dataset(DATA)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("LMC_PLAN", "LMC_PROGRESS", "LMC_WORKERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_training(monkeypatch):
    """After this, a training fails the test."""

    def forbid():
        monkeypatch.setattr(training, "train", lambda *args, **options: pytest.fail("trained, although it is stored"))

    return forbid


def tiny(count=3, **options):
    return experiments.runs.replicas(MODEL, DATA, TRAIN, count, **options)


def contents(store, specs):
    """What a store holds of some specs, tensors by their fingerprint, without the provenance."""
    entries = [store.get(spec) for spec in specs]
    return [(entry.fingerprint, entry.spec, entry.values, state.fingerprint(entry.tensors)) for entry in entries]


def in_a_worker(function, *arguments):
    """What a function returns in a process such as those that fill a store."""
    with filling._processes(1, tiny()) as submit:
        return submit(function, *arguments).result()


def listed(runs, **options):
    return list(PairSpec.of_pairs(runs, **options).values())


class TestSpecs:
    def test_replicas_differ_in_start_and_order_and_in_nothing_else(self):
        runs = tiny(4, save_at=(1,))
        assert len({run.init_seed for run in runs}) == len({run.order_seed for run in runs}) == 4
        assert {dataclasses.replace(run, init_seed=0, order_seed=0) for run in runs} == {
            RunSpec(MODEL, DATA, TRAIN, save_at=(1,))
        }

    def test_more_replicas_keep_the_first_ones(self):
        assert tiny(5)[:3] == tiny(3)

    @pytest.mark.parametrize("count", [-1, 0, 1])
    def test_a_pair_needs_two_replicas(self, count):
        with pytest.raises(ValueError, match=f"a pair needs two replicas, got {count}"):
            tiny(count)

    @pytest.mark.parametrize("count", [2, 3, 6])
    def test_every_unordered_pair_stands_once_with_the_earlier_one_as_target(self, count):
        runs = tiny(count)
        specs = PairSpec.of_pairs(runs, points=5)
        found = [(runs.index(spec.target), runs.index(spec.source)) for spec in specs.values()]
        assert found == list(specs) == [(i, j) for i in range(count) for j in range(i + 1, count)]

    def test_options_reach_the_pairs(self):
        (spec,) = listed(tiny(2), points=5, seed=7)
        assert (spec.points, spec.seed, spec.restarts) == (5, 7, PairSpec(spec.target, spec.source).restarts)


class TestRuns:
    def test_a_run_is_its_initialisation_and_its_training(self, store, digits):
        run = RunSpec(MODEL, DATA, dataclasses.replace(TRAIN, steps=12), init_seed=5, order_seed=6, save_at=(1, 10))
        model = models.build(MODEL, digits.input_shape, digits.num_classes)
        start = models.initialise(model, generator=rng.stream(5, "initial weights"))
        expected = training.train(model, start, digits.train, run.train, seed=6, save_at=(1, 10))
        for found in (experiments.runs.obtain_run(store, run), experiments.runs.obtain_run(store, run)):
            assert found.steps == (1, 10, 12)
            assert list(map(state.fingerprint, found.states)) == list(map(state.fingerprint, expected.states))

    def test_a_run_is_trained_once(self, store, no_training):
        first = experiments.runs.obtain_run(store, tiny()[0])
        no_training()
        again = experiments.runs.obtain_run(store, tiny()[0])
        assert state.fingerprint(first.final) == state.fingerprint(again.final)

    def test_threads_are_restored(self, store):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            sweeps.obtain(store, tiny()[0])
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestPairs:
    def test_a_network_and_itself_have_no_barrier_and_need_no_permutation(self, store):
        run = tiny()[0]
        found = sweeps.obtain(store, PairSpec(run, run, **OPTIONS)).values
        for method in ("none", "weights", "activations"):
            # The middle of a line is (a + a) / 2, which is a to the bit; scores keep nine digits.
            assert len(set(found["curves"][method]["test"]["loss"])) == 1
            assert (found["fixed_points"][method], found["distance"][method]) == (1.0, 0.0)
        assert found["fixed_points"]["random"] < 1.0

    def test_permutations_leave_the_ends_and_shorten_the_way(self, store):
        found = sweeps.obtain(store, PairSpec(*tiny(2), **OPTIONS)).values
        for split, quantity in itertools.product(("train", "test"), ("loss", "error")):
            curves = [found["curves"][method][split][quantity] for method in experiments.pair.METHODS]
            assert len({(curve[0], curve[-1]) for curve in curves}) == 1
            assert {len(curve) for curve in curves} == {3}
        assert found["alphas"] == [0.0, 0.5, 1.0]
        assert found["distance"]["weights"] < found["distance"]["none"]

    def test_batch_normalisation_is_measured_with_fresh_statistics(self, store):
        run = dataclasses.replace(tiny()[0], model=ModelSpec("mlp", 4, 1, "batch"))
        found = sweeps.obtain(store, PairSpec(run, run, reset_examples=64, **OPTIONS)).values
        assert len(set(found["curves"]["none"]["train"]["loss"])) == 1


class TestFill:
    def test_fills_runs_and_pairs_and_nothing_else(self, store):
        specs = [*tiny(), *listed(tiny(), **OPTIONS)]
        sweeps.fill(store, specs * 2, workers=1)
        assert all(store.has(spec) for spec in specs)
        assert {path.stem for path in (store.root / "runs").glob("*/*")} == set(map(fingerprint, specs))

    def test_pairs_bring_their_runs(self, store):
        sweeps.fill(store, listed(tiny(2), **OPTIONS), workers=1)
        assert all(store.has(run) for run in tiny(2))

    def test_a_stored_pair_needs_no_runs(self, store, tmp_path, no_training):
        pairs = listed(tiny(2), **OPTIONS)
        sweeps.fill(store, pairs, workers=1)
        entry = store.get(pairs[0])
        path = tmp_path / "records.json.gz"
        records.write(path, {}, {entry.fingerprint: entry.as_record()})
        shipping = Store(tmp_path / "empty", shipped=(path,))
        no_training()
        sweeps.fill(shipping, pairs, workers=1)
        assert experiments.measure(shipping, PairSpec.of_pairs(tiny(2), **OPTIONS)).count == 2
        assert not shipping.root.exists()

    @pytest.mark.slow
    def test_processes_compute_the_same_as_one_process(self, tmp_path):
        specs = [*tiny(), *listed(tiny(), **OPTIONS)]
        stores = [Store(tmp_path / name) for name in ("serial", "processes")]
        for store, workers in zip(stores, (1, 2), strict=True):
            sweeps.fill(store, specs, workers=workers)
        serial, parallel = (contents(store, specs) for store in stores)
        assert serial == parallel

    @pytest.mark.slow
    def test_workers_have_the_environment_of_the_moment(self, monkeypatch):
        """Their server keeps the one in which it started."""
        found = []
        for value in ("first", "second"):
            monkeypatch.setenv("LMC_TEST", value)
            found.append(in_a_worker(os.getenv, "LMC_TEST"))
        monkeypatch.delenv("LMC_TEST")
        assert [*found, in_a_worker(os.getenv, "LMC_TEST")] == ["first", "second", None]

    def test_progress_is_told_to_the_file(self, store, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_PROGRESS", str(tmp_path / "progress"))
        sweeps.fill(store, listed(tiny(), **OPTIONS), workers=1)
        told = json.loads((tmp_path / "progress").read_text())
        assert told == {"done": 6, "total": 6, "seconds": 0.0, "all": True}

    def test_workers_come_from_the_environment(self, store, monkeypatch):
        monkeypatch.setenv("LMC_WORKERS", "1")
        monkeypatch.setattr(filling, "ProcessPoolExecutor", lambda *a, **o: pytest.fail("started processes"))
        sweeps.fill(store, tiny())
        assert all(store.has(run) for run in tiny())

    def test_a_store_that_does_not_compute_is_left_alone(self, store):
        silent = dataclasses.replace(store, compute=False)
        sweeps.fill(silent, tiny(), workers=1)
        assert not store.root.exists()
        with pytest.raises(NotStored):
            experiments.measure(silent, PairSpec.of_pairs(tiny(), **OPTIONS))


class TestPlan:
    @pytest.fixture
    def plan(self, tmp_path, monkeypatch):
        """Asks for the plan of some specs instead of their results, and reads it."""

        def plan(store, specs):
            path = tmp_path / "plan.json"
            monkeypatch.setenv("LMC_PLAN", str(path))
            with pytest.raises(Planned, match=r"plan\.json"):
                sweeps.fill(store, specs)
            monkeypatch.delenv("LMC_PLAN")
            return json.loads(path.read_text())

        return plan

    def test_lists_every_result_and_computes_none(self, store, plan):
        rows = plan(store, listed(tiny(), **OPTIONS))
        expected = [*tiny(), *listed(tiny(), **OPTIONS)]
        assert sorted(row["fingerprint"] for row in rows) == sorted(map(fingerprint, expected))
        assert sorted(row["type"] for row in rows) == ["PairSpec"] * 3 + ["RunSpec"] * 3
        assert {(row["stored"], row["needed"], row["seconds"], row["label"]) for row in rows} == {
            (False, True, None, "MLP, 1 hidden layer, width 4")
        }
        assert not store.root.exists()

    def test_tells_what_is_stored_and_what_it_cost(self, store, plan):
        sweeps.fill(store, tiny(2), workers=1)
        rows = {row["fingerprint"]: row for row in plan(store, listed(tiny(), **OPTIONS))}
        for run, stored in zip(tiny(), (True, True, False), strict=True):
            row = rows[fingerprint(run)]
            assert (row["stored"], row["needed"], row["seconds"] is None) == (stored, not stored, not stored)

    def test_runs_of_stored_pairs_are_not_needed(self, store, plan):
        pairs = listed(tiny(2), **OPTIONS)
        sweeps.fill(store, pairs, workers=1)
        for run in tiny(2):
            (path,) = store.root.glob(f"runs/*/{fingerprint(run)}.entry")
            path.unlink()
        assert [row["needed"] for row in plan(store, pairs)] == [False] * 3


class TestMeasure:
    def test_a_full_store_is_enough(self, store):
        sweeps.fill(store, listed(tiny(), **OPTIONS), workers=1)
        silent = dataclasses.replace(store, compute=False)
        found = experiments.measure(silent, PairSpec.of_pairs(tiny(), **OPTIONS))
        assert (found.count, found.diverged, list(found.values)) == (3, (), [(0, 1), (0, 2), (1, 2)])
        for (i, j), values in found.values.items():
            assert values == sweeps.obtain(silent, PairSpec(tiny()[i], tiny()[j], **OPTIONS)).values

    def test_origin_counts_what_is_stored(self, store):
        sweeps.fill(store, listed(tiny(2), **OPTIONS), workers=1)
        facts = dict(sweeps.origin(store, listed(tiny(3), **OPTIONS)).rows)
        assert facts["measurements"] == "1"
        assert "torch" in facts["versions"]
        assert dict(sweeps.origin(store, []).rows)["made"] == "never"

    def test_origin_carries_the_fingerprints_of_what_is_stored(self, store):
        stored, *_ = every = listed(tiny(3), **OPTIONS)
        sweeps.fill(store, [stored], workers=1)
        bundle = sweeps.origin(store, every)._repr_mimebundle_()
        outputs = [{"output_type": "stream", "text": ""}, {"data": {"text/plain": "1"}}, {"data": bundle}]
        assert sweeps.listed(json.loads(json.dumps(outputs))) == {fingerprint(stored): ""}
        assert sweeps.listed(outputs[:2]) == {}
        assert sweeps.maker(outputs[:2]) is None
        made, here = sweeps.maker(json.loads(json.dumps(outputs))), provenance()
        assert made.pop("created") <= here.pop("created")
        assert made == here
        assert "<th>measurements</th><td>1</td>" in bundle["text/html"]


class TestDivergence:
    def bad(self, seed):
        return RunSpec(MODEL, DATA, DIVERGING, seed, seed)

    def test_is_a_result_that_is_stored_once_and_raised_each_time(self, store, no_training):
        sweeps.fill(store, [self.bad(0)], workers=1)
        no_training()
        for _ in range(2):
            with pytest.raises(Diverged, match="step 2") as caught:
                experiments.runs.obtain_run(store, self.bad(0))
            assert not math.isfinite(caught.value.loss)

    @pytest.mark.parametrize("bad", [(0,), (1,), (3,), (0, 1), (1, 2), (0, 3), (2, 3)], ids=str)
    def test_diverged_replicas_are_listed_and_their_pairs_left_out(self, store, bad):
        runs = [self.bad(seed) if seed in bad else run for seed, run in enumerate(tiny(4))]
        sweeps.fill(store, listed(runs, **OPTIONS), workers=1)
        found = experiments.measure(store, PairSpec.of_pairs(runs, **OPTIONS))
        sound = [index for index in range(4) if index not in bad]
        assert (found.count, found.diverged) == (4, bad)
        assert list(found.values) == list(itertools.combinations(sound, 2))
        missing = np.isnan(found.symmetric(pair.barriers(found, "none", "test", "loss")))
        assert missing.all(axis=1).tolist() == [index in bad for index in range(4)]

    def test_without_a_sound_pair_there_is_nothing_to_measure(self, store):
        with pytest.raises(Diverged, match="step 2"):
            experiments.measure(store, PairSpec.of_pairs([tiny()[0], self.bad(1), self.bad(2)], **OPTIONS))


def line(barrier, low=0.0, high=0.0):
    """Three points with a barrier of this height above their chord."""
    return [low, (low + high) / 2 + barrier, high]


def pair_of(train_loss, test_error):
    """Curves of one pair by method: barriers in train loss and test error as given, and elsewhere impossible ones."""
    return {
        method: {
            "train": {"loss": line(train_loss[method], 0.5, 1.0), "error": line(7.0)},
            "test": {"loss": line(8.0), "error": line(test_error[method], 0.25, 0.5)},
        }
        for method in train_loss
    }


class TestFound:
    """Against values made by hand; all of them are sums of powers of two, or nearly so."""

    @pytest.fixture
    def found(self):
        values = {
            # Weight matching is better in train loss and worse in test error: it is the one that counts.
            (0, 1): pair_of(
                {"none": 2.0, "weights": 0.1, "activations": 0.2}, {"none": 0.5, "weights": 0.25, "activations": 0.0}
            ),
            # Here activation matching is better in train loss.
            (0, 2): pair_of(
                {"none": 1.0, "weights": 0.4, "activations": 0.3}, {"none": 0.75, "weights": 0.5, "activations": 0.125}
            ),
            (1, 3): pair_of(
                {"none": 3.0, "weights": 0.0, "activations": 0.5}, {"none": 1.0, "weights": 0.0, "activations": 0.5}
            ),
        }
        # Replica 3 and others lack pairs, as after a divergence.
        return Found(4, {members: {"curves": curves, "alphas": [0.0, 0.5, 1.0]} for members, curves in values.items()})

    def test_barriers_are_a_symmetric_matrix_with_gaps(self, found):
        nan = math.nan
        expected = [[nan, 0.5, 0.75, nan], [0.5, nan, nan, 1.0], [0.75, nan, nan, nan], [nan, 1.0, nan, nan]]
        barriers = pair.barriers(found, "none", "test", "error")
        assert barriers.tolist() == [0.5, 0.75, 1.0]
        np.testing.assert_array_equal(found.symmetric(barriers), expected)

    def test_best_is_chosen_by_train_loss(self, found):
        nan = math.nan
        expected = [[nan, 0.25, 0.125, nan], [0.25, nan, nan, 0.0], [0.125, nan, nan, nan], [nan, 0.0, nan, nan]]
        np.testing.assert_array_equal(found.symmetric(pair.best(found, "test", "error")), expected)

    @pytest.mark.parametrize(("bound", "count"), [(0.0, 1), (0.124, 1), (0.125, 2), (0.25, 3), (-0.1, 0)])
    def test_connected_counts_pairs_at_or_below_the_bound(self, found, bound, count):
        assert found.at_most(pair.best(found, "test", "error"), bound) == f"{count} of 3"

    def test_what_stands_at_a_path_is_one_row_a_pair(self, found):
        curves = found.of("curves", "none", "test", "error")
        assert curves.tolist() == [[0.25, 0.375 + height, 0.5] for height in (0.5, 0.75, 1.0)]
        assert found.of("curves", "none", "test", "error", -1).tolist() == [0.5] * 3
        assert found.shared("alphas") == [0.0, 0.5, 1.0]
        with pytest.raises(KeyError, match="best"):
            found.of("curves", "best")

    def test_evidence_holds_the_statistics_of_the_criterion(self, found):
        evidence = pair.evidence(found)
        assert {name: each.value for name, each in evidence.items()} == {
            "raw": statistics.median([0.5, 0.75, 1.0]),
            "aligned": statistics.median([0.25, 0.125, 0.0]),
        }
        assert {(each.pairs, each.replicas) for each in evidence.values()} == {(3, 4)}


SWEEP = """
import sys
from pathlib import Path
from lmc_lib.data import DataSpec
from lmc_lib.experiments.networks.runs import replicas
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import fill
from lmc_lib.training import TrainConfig

def runs(steps, count):
    config = TrainConfig(steps, batch_size=16, precision="portable")
    return replicas(ModelSpec("mlp", 8, 1), DataSpec("digits", 256, 40), config, count)

short, long = runs(500, 4), runs(200_000, 2)
if __name__ == "__main__":
    fill(Store(Path(sys.argv[1])), [*short[:2], *long, *short[2:]], workers=2)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A sweep on two workers, killed when both were in a long run: its store, its workers, and how long they lived."""
    folder = tmp_path_factory.mktemp("killed")
    script = folder / "sweep.py"
    script.write_text(SWEEP)
    sweep = subprocess.Popen([sys.executable, str(script), str(folder / "store")])
    try:
        wait_until(lambda: len(list((folder / "store").glob("runs/*/*.entry"))) >= 2, 180)
        workers = workers_of(sweep.pid)
    finally:
        sweep.send_signal(signal.SIGKILL)
        moment = time.monotonic()
        sweep.wait()
    while any(map(is_alive, workers)) and time.monotonic() - moment < 10:
        time.sleep(0.02)
    lived = time.monotonic() - moment
    for pid in filter(is_alive, workers):
        os.kill(int(pid), signal.SIGKILL)
    return Store(folder / "store"), workers, lived


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
class TestKilledSweep:
    @pytest.fixture
    def runs(self):
        """The short runs of the sweep: two that were finished, and two that it did not come to."""
        names = {"__name__": "sweep"}
        exec(SWEEP, names)
        return names["short"]

    def test_workers_end_with_their_parent(self, killed):
        _, workers, seconds = killed
        assert len(workers) == 2
        assert seconds < 3

    def test_goes_on_where_it_was(self, killed, runs, tmp_path):
        store, _, _ = killed
        before = finished(store)
        assert before.keys() == set(map(fingerprint, runs[:2]))
        sweeps.fill(store, runs, workers=1)
        after = finished(store)
        assert after.keys() == set(map(fingerprint, runs))
        assert {key: after[key] for key in before} == before
        undisturbed = Store(tmp_path / "undisturbed")
        sweeps.fill(undisturbed, runs, workers=1)
        assert contents(store, runs) == contents(undisturbed, runs)


def finished(store):
    """When each run of a store was finished."""
    keys = [path.stem for path in store.root.glob("runs/*/*.entry")]
    return {key: store.find(key).provenance["finished"] for key in keys}


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def fields_of(pid):
    """State, parent and so on of a process, as /proc tells them; the name in brackets may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def workers_of(parent):
    """The processes that a pool has started, which are children of multiprocessing's fork server."""
    (server,) = (pid for pid in children_of(parent) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return children_of(server)


def children_of(parent):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if fields_of(folder.name)[1] == str(parent):
                found.append(folder.name)
        except OSError:
            continue  # it has ended meanwhile
    return found


def is_alive(pid):
    try:
        return fields_of(pid)[0] != "Z"
    except OSError:
        return False


def test_portable_results_stand_apart_from_those_of_the_former_grid():
    portable = describe(TrainConfig(10, precision="portable"))
    assert portable["version"] == 2
    assert "version" not in describe(TrainConfig(10))  # the shipped float32 records keep their addresses
