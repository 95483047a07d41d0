"""The store: addresses that stay, results computed once, and nothing damaged or half-written ever served."""

import contextlib
import dataclasses
import errno
import hashlib
import importlib.util
import itertools
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lmc_lib import records
from lmc_lib import store as store_module
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity.pair import PairSpec
from lmc_lib.experiments.networks.runs import CheckpointSpec, RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import DIRTY, Entry, NotStored, Result, Store, StoreError, describe, fingerprint, provenance
from lmc_lib.training import TrainConfig

RUN = RunSpec(ModelSpec("mlp", 16, 2), DataSpec("digits"), TrainConfig(steps=300, lr=0.05), init_seed=3, save_at=(10,))
PAIR = PairSpec(RUN, dataclasses.replace(RUN, init_seed=4))


@dataclasses.dataclass(frozen=True)
class Spec:
    number: int
    name: str = "plain"
    options: tuple[int, ...] = ()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.WARNING, "lmc_lib.store")
    return caplog


def result_of(spec):
    """What the computations of these tests return: values and tensors that follow from the spec."""
    weights = torch.arange(1000, dtype=torch.float64) * spec.number
    return Result({"number": spec.number, "half": spec.number / 2}, {"weights": weights})


def stored(store, spec):
    return store.get_or_compute(spec, lambda: result_of(spec))


def served(store, spec):
    """The entry that the store has, which must not be computed."""
    return store.get_or_compute(spec, lambda: pytest.fail("computed, although it is stored"))


def folder_of(store, spec):
    return store.root / "runs" / fingerprint(spec)


def files_of(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file() and "locks" not in path.parts)


def bytes_of(store):
    return {path: path.read_bytes() for path in files_of(store)}


class TestFingerprint:
    def test_is_the_sha256_of_the_description_without_defaults(self):
        text = '{"name":"x","number":7,"type":"Spec"}'
        assert fingerprint(Spec(7, "x")) == hashlib.sha256(text.encode()).hexdigest()[:20] == "5644b0e025ef88da57fd"

    def test_of_a_run_never_moves(self):
        # Every stored result has its address from here: if this literal must change, all runs are trained anew.
        assert fingerprint(RUN) == "b5ece8a53d7904d9eff9"
        assert fingerprint(PAIR) == "6fffe9911dc92bf61dbc"

    def test_portable_pairs_stand_apart_from_those_of_former_ties(self):
        portable = dataclasses.replace(RUN, train=dataclasses.replace(RUN.train, precision="portable"))
        assert (RunSpec.VERSION, PAIR.VERSION, PairSpec(portable, portable).VERSION) == (1, 1, 2)

    def test_a_new_field_at_its_default_moves_no_old_result(self):
        fields = [("number", int), ("name", str, "plain"), ("fresh", float, 0.5)]
        grown = dataclasses.make_dataclass("Spec", fields, frozen=True)
        assert fingerprint(grown(7, "x")) == fingerprint(Spec(7, "x"))
        assert fingerprint(grown(7, "x", 0.6)) != fingerprint(Spec(7, "x"))

    @pytest.mark.parametrize("outer", [RUN, PAIR], ids=["RunSpec", "PairSpec"])
    def test_every_field_counts(self, outer):
        found = {fingerprint(changed(outer, path)): path for path in paths_of(outer)}
        assert list(found.values()) == list(paths_of(outer))
        assert len(found) > 20
        assert fingerprint(outer) not in found

    def test_a_version_moves_results_on_purpose(self):
        versioned = dataclasses.make_dataclass("Spec", [("number", int)], namespace={"VERSION": 2}, frozen=True)
        assert fingerprint(versioned(7)) != fingerprint(Spec(7))
        assert describe(versioned(7)) == {"type": "Spec", "version": 2, "number": 7}

    def test_the_kind_of_spec_counts(self):
        other = dataclasses.make_dataclass("Other", [("number", int)], frozen=True)
        assert fingerprint(other(7)) != fingerprint(Spec(7))

    def test_equal_specs_have_one_address(self):
        # A user may write a rate of 1 for 1.0: the command line takes a whole number for a real one.
        rated = dataclasses.make_dataclass("Rated", [("lr", float)], frozen=True)
        assert rated(1) == rated(1.0)
        assert fingerprint(rated(1)) == fingerprint(rated(1.0))

    @pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, torch.zeros(1), Path("x"), int])
    def test_what_has_no_stable_description_is_refused(self, value):
        with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
            fingerprint(Spec(1, options=value))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_json_lacks_are_refused(self, value):
        with pytest.raises(ValueError, match="JSON"):
            fingerprint(Spec(value))


OTHER_WORDS = {"optimiser": "adamw", "schedule": "linear", "precision": "portable"}
OTHER_THAN_NONE = {"classes": (0, 1), "pretrained": CheckpointSpec(RUN, 300)}


def paths_of(spec):
    """The dotted names of all fields of a spec and of the specs within."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((field.name, *rest) for rest in paths_of(value))
        else:
            yield (field.name,)


def changed(spec, path):
    """The spec with one field, somewhere within, set to another valid value."""
    name, *rest = path
    value = getattr(spec, name)
    return dataclasses.replace(spec, **{name: changed(value, rest) if rest else other(name, value)})


def other(name, value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return OTHER_WORDS.get(name, "other")
    if isinstance(value, tuple):
        return (*value, 5)
    if value is None:
        return OTHER_THAN_NONE.get(name, 7)
    return value + 1


class TestGetOrCompute:
    def test_computes_once(self, store):
        calls = []
        for _ in range(3):
            store.get_or_compute(Spec(1), lambda: calls.append(1) or result_of(Spec(1)))
        assert calls == [1]

    def test_specs_do_not_mix(self, store):
        for number in range(5):
            stored(store, Spec(number))
        assert [served(store, Spec(number)).values["half"] for number in range(5)] == [0, 0.5, 1, 1.5, 2]

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.tensor([0.1, -0.0, 5e-324, float("nan"), float("inf")], dtype=torch.float64),
            torch.tensor([0.1, 1e-45, float("-inf")]),
            torch.tensor([2**62 + 1, -1]),
            torch.tensor([0.1, 3e38, float("nan")]).bfloat16(),
            torch.tensor([True, False]),
            torch.tensor(7),
            torch.empty(0, 3),
            torch.arange(24.0).reshape(2, 3, 4),
        ],
        ids=lambda value: f"{value.dtype}{list(value.shape)}",
    )
    def test_tensors_come_back_to_the_bit(self, store, tensor):
        store.get_or_compute(Spec(1), lambda: Result(tensors={"a/b": tensor}))
        found = served(store, Spec(1)).tensors["a/b"]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))

    @pytest.mark.parametrize(
        "values",
        [{}, {"a": [0.1, 1e-300, -0.0, 10**20]}, {"b": None, "c": True, "": {"deep": [[], {}]}}, {"ü": "\u2028\n"}],
    )
    def test_values_come_back_as_they_were(self, store, values):
        fresh = store.get_or_compute(Spec(1), lambda: Result(values))
        assert served(store, Spec(1)).values == fresh.values == values

    def test_a_fresh_entry_says_the_same_as_a_stored_one(self, store):
        fresh, again = stored(store, Spec(1)), served(store, Spec(1))
        assert dataclasses.replace(fresh, tensors={}) == dataclasses.replace(again, tensors={})
        assert torch.equal(fresh.tensors["weights"], again.tensors["weights"])

    def test_provenance_is_complete_and_names_no_host(self, store):
        origin = stored(store, Spec(1)).provenance
        names = {"created", "commit", "versions", "machine", "device", "threads", "seconds", "finished"}
        assert origin.keys() == names
        assert {"python", "torch", "numpy"} <= origin["versions"].keys()
        assert os.uname().nodename not in json.dumps(provenance())
        assert datetime.fromisoformat(origin["created"]).utcoffset() == timedelta(0)

    def test_provenance_tells_how_long_the_computation_took(self, store, monkeypatch):
        clock = SimpleNamespace(perf_counter=iter([100.0, 102.34567]).__next__, time=lambda: 1000.5)
        monkeypatch.setattr(store_module.store, "time", clock)
        origin = stored(store, Spec(1)).provenance
        assert (origin["seconds"], origin["finished"]) == (2.346, 1000.5)

    def test_a_failed_computation_leaves_nothing(self, store):
        with pytest.raises(ZeroDivisionError):
            store.get_or_compute(Spec(1), lambda: 1 / 0)
        assert files_of(store) == []
        assert stored(store, Spec(1)).values["number"] == 1

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_numbers_that_json_lacks_are_refused(self, store, number):
        with pytest.raises(ValueError, match="JSON"):
            store.get_or_compute(Spec(1), lambda: Result({"deep": [number]}))
        assert files_of(store) == []

    def test_a_store_that_does_not_compute_says_so_and_writes_nothing(self, store):
        silent = dataclasses.replace(store, compute=False)
        with pytest.raises(NotStored, match=f"no entry {fingerprint(Spec(1))}.*switched off.*number"):
            silent.get_or_compute(Spec(1), lambda: pytest.fail("computed"))
        assert not store.root.exists()
        stored(store, Spec(1))
        assert served(silent, Spec(1)).values["number"] == 1

    def test_has_says_whether_there_is_an_entry(self, store):
        assert not store.has(Spec(1))
        stored(store, Spec(1))
        assert store.has(Spec(1))
        assert not store.has(Spec(2))
        finished = store.get(Spec(1)).provenance["finished"]
        assert dataclasses.replace(store, stale_before=finished).has(Spec(1))
        assert not dataclasses.replace(store, stale_before=finished + 0.001).has(Spec(1))

    def test_a_store_is_a_value(self, store):
        assert pickle.loads(pickle.dumps(store)) == store == Store(store.root)


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def empty(self, monkeypatch):
        for name in ("LMC_STORE", "LMC_RECORDS", "LMC_COMPUTE", "LMC_STALE_BEFORE"):
            monkeypatch.delenv(name, raising=False)

    def test_defaults(self):
        assert Store.from_environment() == Store(Path.home() / ".cache/lmc/store")

    def test_variables(self, monkeypatch):
        monkeypatch.setenv("LMC_STORE", "~/elsewhere")
        monkeypatch.setenv("LMC_RECORDS", os.pathsep.join(["a.json", "b.json"]))
        monkeypatch.setenv("LMC_COMPUTE", "0")
        monkeypatch.setenv("LMC_STALE_BEFORE", "12.5")
        expected = Store(Path.home() / "elsewhere", (Path("a.json"), Path("b.json")), compute=False, stale_before=12.5)
        assert Store.from_environment() == expected


def cut_tensors(folder):
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(folder):
    path = folder / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def rewrite(folder, old, new):
    path = folder / "entry.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "tensors cut": cut_tensors,
    "one bit of the tensors flipped": flip_a_bit,
    "tensors emptied": lambda folder: (folder / "tensors.safetensors").write_bytes(b""),
    "tensors deleted": lambda folder: (folder / "tensors.safetensors").unlink(),
    "entry deleted": lambda folder: (folder / "entry.json").unlink(),
    "entry emptied": lambda folder: (folder / "entry.json").write_text(""),
    "entry cut": lambda folder: (folder / "entry.json").write_text((folder / "entry.json").read_text()[:-2]),
    "entry is noise": lambda folder: (folder / "entry.json").write_bytes(b"\xff\x00\xfe"),
    "entry is another JSON value": lambda folder: (folder / "entry.json").write_text("[1, 2]"),
    "entry without checksum": lambda folder: (folder / "entry.json").write_text('{"values": {}}'),
    "value edited": lambda folder: rewrite(folder, '"half": 0.5', '"half": 0.25'),
    "value edited to NaN": lambda folder: rewrite(folder, '"half": 0.5', '"half": NaN'),
    "spec edited": lambda folder: rewrite(folder, '"number": 1', '"number": 2'),
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_is_reported_set_aside_and_repaired(self, store, damage, caplog):
        stored(store, Spec(1))
        stored(store, Spec(2))
        damage(folder_of(store, Spec(1)))
        kept = {path.name: path.read_bytes() for path in folder_of(store, Spec(1)).iterdir()}
        entry = stored(store, Spec(1))
        assert entry.values == result_of(Spec(1)).values
        assert f"run {fingerprint(Spec(1))} is damaged" in caplog.text
        (aside,) = (store.root / "set-aside").iterdir()
        assert str(aside) in caplog.text
        assert {path.name: path.read_bytes() for path in aside.iterdir()} == kept
        assert torch.equal(served(store, Spec(1)).tensors["weights"], result_of(Spec(1)).tensors["weights"])
        assert served(store, Spec(2)).values["number"] == 2

    def test_swapped_entries_are_both_found_out(self, store, caplog):
        for number in (1, 2):
            stored(store, Spec(number))
        first, second = (folder_of(store, Spec(number)) for number in (1, 2))
        first.rename(first.with_name("swap"))
        second.rename(first)
        first.with_name("swap").rename(second)
        assert store.get(Spec(1)) is None
        assert [stored(store, Spec(number)).values["number"] for number in (1, 2)] == [1, 2]
        assert caplog.text.count("it is the entry of another run") == 2

    def test_a_damaged_entry_is_not_served_by_a_store_that_does_not_compute(self, store):
        stored(store, Spec(1))
        flip_a_bit(folder_of(store, Spec(1)))
        with pytest.raises(NotStored):
            dataclasses.replace(store, compute=False).get_or_compute(Spec(1), lambda: pytest.fail("computed"))

    def test_a_half_written_run_is_removed_and_reported(self, store, caplog):
        half = folder_of(store, Spec(1)).with_name(f".{fingerprint(Spec(1))}-4711")
        half.mkdir(parents=True)
        (half / "tensors.safetensors").write_bytes(b"half")
        assert not store.has(Spec(1))
        stored(store, Spec(1))
        assert not half.exists()
        assert f"removing {half.name}, which a writer that was stopped left behind" in caplog.text

    def test_what_cannot_be_removed_stops_no_run(self, store):
        store.root.joinpath("runs").mkdir(parents=True)
        stray = folder_of(store, Spec(1)).with_name(f".{fingerprint(Spec(1))}-4711")
        stray.write_text("a file, where a writer leaves a folder")
        assert stored(store, Spec(1)).values["number"] == 1

    def test_a_sound_store_is_silent(self, store, caplog):
        stored(store, Spec(1))
        served(store, Spec(1))
        assert caplog.text == ""
        assert not (store.root / "set-aside").exists()


class TestShipped:
    @pytest.fixture
    def shipping(self, store, tmp_path):
        """A store on an empty folder that consults records shipped from a full one."""
        entry = stored(store, Spec(1))
        path = tmp_path / "records.json.gz"
        records.write(path, {}, {entry.fingerprint: entry.as_record()})
        return Store(tmp_path / "empty", shipped=(path,))

    def test_records_are_served_without_tensors_and_without_a_folder(self, shipping, store):
        expected = dataclasses.replace(served(store, Spec(1)), tensors={})
        assert served(shipping, Spec(1)) == shipping.get(Spec(1)) == expected
        assert shipping.has(Spec(1))
        assert not shipping.root.exists()

    def test_records_serve_only_their_own_run(self, shipping):
        assert shipping.get(Spec(2)) is None

    def test_the_folder_comes_before_the_records(self, shipping):
        own = dataclasses.replace(shipping, shipped=())
        own.get_or_compute(Spec(1), lambda: Result({"mine": True}))
        assert served(shipping, Spec(1)).values == {"mine": True}

    def test_recomputation_overrides_records(self, shipping):
        again = dataclasses.replace(shipping, stale_before=time.time())
        assert again.get_or_compute(Spec(1), lambda: Result({"new": True})).values == {"new": True}


class TestRecomputation:
    def test_older_entries_are_computed_once_more_and_replaced(self, store):
        old = stored(store, Spec(1))
        again = dataclasses.replace(store, stale_before=time.time())
        assert again.get(Spec(1)) is None
        new = again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(again, Spec(1)).values == served(store, Spec(1)).values == {"new": True}
        assert new.provenance["finished"] > old.provenance["finished"]
        assert not (folder_of(store, Spec(1)) / "tensors.safetensors").exists()

    def test_an_entry_that_does_not_say_when_it_was_made_is_older_than_any_other(self, store):
        stored(store, Spec(1))
        path = folder_of(store, Spec(1)) / "entry.json"
        content = json.loads(path.read_text())
        del content["checksum"], content["provenance"]["finished"]
        checksum = hashlib.sha256(store_module.address.canonical(content).encode()).hexdigest()
        path.write_text(json.dumps(content | {"checksum": checksum}))
        assert served(store, Spec(1)).values["number"] == 1
        assert not dataclasses.replace(store, stale_before=0.001).has(Spec(1))

    def test_an_old_entry_survives_a_failed_recomputation(self, store):
        stored(store, Spec(1))
        with pytest.raises(ZeroDivisionError):
            dataclasses.replace(store, stale_before=time.time()).get_or_compute(Spec(1), lambda: 1 / 0)
        assert served(store, Spec(1)).values["number"] == 1

    @pytest.fixture(params=[OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
    def stopping(self, request):
        return request.param

    @pytest.fixture
    def replace(self, store, monkeypatch):
        """Replaces the entry of ``Spec(1)``; calls ``hook(number)`` before each rename and removal in ``runs``."""
        stored(store, Spec(1))

        def replace(hook, expected=()):
            numbers = itertools.count()

            def hooked(function):
                def call(path, *args, **options):
                    if path.parent == store.root / "runs" and path.exists():
                        hook(next(numbers))
                    return function(path, *args, **options)

                return call

            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", hooked(Path.rename))
                patch.setattr(shutil, "rmtree", hooked(shutil.rmtree))
                again = dataclasses.replace(store, stale_before=time.time())
                with pytest.raises(expected) if expected else contextlib.nullcontext():
                    again.get_or_compute(Spec(1), lambda: Result({"new": True}))

        return replace

    def test_at_every_step_there_is_the_old_entry_or_the_new_one_or_none(self, store, replace):
        seen = []

        def look(number):
            seen.append(None if (entry := store.get(Spec(1))) is None else entry.values)

        replace(look)
        old, new = result_of(Spec(1)).values, {"new": True}
        # Before the old one is renamed, before the new one is, and then whatever is removed.
        assert seen[:2] == [old, None]
        assert seen[2:]
        assert all(each == new for each in seen[2:])
        assert list(store.root.glob("runs/.*")) == []
        assert not (store.root / "set-aside").exists()

    @pytest.mark.parametrize("step", [0, 1])
    def test_an_old_entry_survives_a_replacement_that_fails(self, store, replace, step, stopping):
        def fail(number):
            if number == step:
                raise stopping

        replace(fail, expected=(StoreError, KeyboardInterrupt))
        assert served(store, Spec(1)).values == result_of(Spec(1)).values
        assert list(store.root.glob("runs/.*")) == []

    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_what_a_killed_replacement_leaves_is_ignored_and_later_removed(self, store, replace, step, caplog):
        """A kill is an exception after which nothing else happens: from the step on, no rename and no removal."""

        def kill(number):
            if number >= step:
                raise Killed

        replace(kill, expected=Killed)
        assert list(store.root.glob("runs/.*"))
        values = [old := result_of(Spec(1)).values, None, {"new": True}][step]
        assert (values is not None) == store.has(Spec(1))
        assert stored(store, Spec(1)).values == (values or old)
        again = dataclasses.replace(store, stale_before=time.time())
        assert again.get_or_compute(Spec(1), lambda: Result({"newest": True})).values == {"newest": True}
        assert list(store.root.glob("runs/.*")) == []
        assert "which a writer that was stopped left behind" in caplog.text
        assert not (store.root / "set-aside").exists()


class Killed(BaseException):
    """Stands for a kill."""


class TestUnwritable:
    ADVICE = "Runs that are already there stay valid; .*set LMC_STORE to another folder"
    FULL = f"cannot be written: No space left on device. {ADVICE}"

    def refuse(self, store, spec):
        with pytest.raises(StoreError, match=f"cannot be written: .*{self.ADVICE}"):
            store.get_or_compute(spec, lambda: pytest.fail("computed, although it cannot be kept"))

    @pytest.mark.parametrize("folder", ["locks", "runs"])
    def test_missing_permission_is_told_before_anything_is_computed(self, store, monkeypatch, folder):
        # The tests may run as root, whom no mode of a folder stops, so the answer of the system is replaced.
        stored(store, Spec(1))
        monkeypatch.setattr(os, "access", lambda path, mode: path != store.root / folder)
        self.refuse(store, Spec(2))
        assert served(store, Spec(1)).values["number"] == 1

    def test_a_file_in_place_of_the_folder_is_told_before_anything_is_computed(self, store):
        store.root.write_text("a file")
        self.refuse(store, Spec(1))
        assert store.root.read_text() == "a file"

    def test_a_lock_that_cannot_be_taken_is_told_before_anything_is_computed(self, store):
        # As in a shared store, where the lock belongs to somebody else; a folder in its place stops root, too.
        (store.root / "locks" / f"{fingerprint(Spec(1))}.lock").mkdir(parents=True)
        self.refuse(store, Spec(1))
        assert not store.has(Spec(1))
        assert not bytes_of(store)

    def test_a_full_disk_loses_nothing(self, store, monkeypatch):
        stored(store, Spec(1))
        before = bytes_of(store)

        def write(path, content):
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(store_module.store, "_write_durably", write)
            with pytest.raises(StoreError, match=self.FULL):
                stored(store, Spec(2))
        assert bytes_of(store) == before
        assert stored(store, Spec(2)).values["number"] == 2

    @pytest.fixture
    def small_disk(self, tmp_path):
        folder = tmp_path / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root on Linux")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_disk_that_is_really_full_loses_nothing(self, small_disk):
        store = Store(small_disk)
        stored(store, Spec(1))
        before = bytes_of(store)
        with pytest.raises(StoreError, match=self.FULL):
            store.get_or_compute(Spec(2), lambda: Result(tensors={"large": torch.zeros(2**17)}))
        assert bytes_of(store) == before
        assert list(store.root.glob("runs/.*")) == []
        assert stored(store, Spec(3)).values["number"] == 3

    def test_a_disk_that_is_really_read_only_serves_what_it_holds(self, small_disk):
        store = Store(small_disk)
        stored(store, Spec(1))
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        assert served(store, Spec(1)).values["number"] == 1
        self.refuse(store, Spec(2))


WRITER = """
import os, sys, time
from pathlib import Path
from dataclasses import dataclass
import torch
from lmc_lib import store as store_module
from lmc_lib.store import Result, Store

@dataclass(frozen=True)
class Spec:
    number: int

root, stage = Path(sys.argv[1]), sys.argv[2]

def tell(word):
    with (root / "told").open("a") as file:
        file.write(word + "\\n")

def compute():
    tell("computing")
    if stage == "compute":
        hang()
    time.sleep(0.5)
    return Result({"number": 1, "half": 0.5}, {"weights": torch.arange(1000, dtype=torch.float64)})

def hang():
    tell("hanging")
    time.sleep(600)

write = store_module.store._write_durably

def write_or_hang(path, content):
    if path.name.startswith(stage):
        path.write_bytes(content[: len(content) // 2])
        hang()
    write(path, content)

store_module.store._write_durably = write_or_hang
tell("ready")
while not (root / "go").exists():
    time.sleep(0.01)
print(Store(root / "store").get_or_compute(Spec(1), compute).values)
"""


class TestProcesses:
    @pytest.fixture
    def start(self, tmp_path):
        """Starts writers of one run, each a process; all that are left over are killed at the end."""
        started = []

        def start(stage):
            command = [sys.executable, "-c", WRITER, str(tmp_path), stage]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.communicate()

    def wait_for(self, tmp_path, word, count=1, seconds=120):
        told = tmp_path / "told"
        end = time.monotonic() + seconds
        while not told.exists() or told.read_text().split().count(word) < count:
            assert time.monotonic() < end, f"no {word!r} within {seconds} s"
            time.sleep(0.02)

    @pytest.mark.slow
    def test_of_two_that_want_one_run_one_computes_and_both_get_it(self, start, tmp_path):
        writers = [start("never"), start("never")]
        self.wait_for(tmp_path, "ready", count=2)
        (tmp_path / "go").touch()
        assert [writer.communicate(timeout=60)[0] for writer in writers] == ["{'number': 1, 'half': 0.5}\n"] * 2
        assert (tmp_path / "told").read_text().split().count("computing") == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("stage", ["compute", "tensors", "entry"])
    def test_a_killed_writer_leaves_nothing_that_is_served(self, start, tmp_path, stage):
        (tmp_path / "go").touch()
        writer = start(stage)
        self.wait_for(tmp_path, "hanging")
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        store = Store(tmp_path / "store")
        assert len(list(store.root.glob("runs/.*"))) == (stage != "compute")
        assert store.get(Spec(1)) is None
        assert stored(store, Spec(1)).values["number"] == 1
        assert list(store.root.glob("runs/.*")) == []
        assert isinstance(served(store, Spec(1)), Entry)


class TestCommit:
    """The commit that a result names, in a repository made for the purpose."""

    @pytest.fixture
    def git(self, tmp_path):
        if shutil.which("git") is None:
            pytest.skip("git is not installed")

        def git(*arguments):
            identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
            done = subprocess.run(
                ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
            )
            return done.stdout.strip()

        for name in ("lmc_lib/store", "notebooks", "records"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "lmc_lib" / "__init__.py").touch()
        shutil.copy(store_module.origin.__file__, tmp_path / "lmc_lib" / "store" / "origin.py")
        for name in ("notebooks/a.ipynb", "records/a.json"):
            (tmp_path / name).write_text("1")
        (tmp_path / ".gitignore").write_text("__pycache__/\n")  # the copy is imported below
        git("init", "--quiet")
        git("add", ".")
        git("commit", "--quiet", "--message", "first")
        return git

    def named(self, folder):
        """What the copy in this folder says."""
        place = importlib.util.spec_from_file_location("origin", folder / "lmc_lib" / "store" / "origin.py")
        module = importlib.util.module_from_spec(place)
        place.loader.exec_module(module)
        return module.provenance()["commit"]

    def test_is_that_of_the_last_commit(self, git, tmp_path):
        assert self.named(tmp_path) == git("rev-parse", "--short=12", "HEAD")

    @pytest.mark.parametrize("changed", ["notebooks/a.ipynb", "lmc_lib/__init__.py", "lmc_lib/new.py"])
    def test_is_marked_where_code_differs(self, git, tmp_path, changed):
        (tmp_path / changed).write_text("2")
        assert self.named(tmp_path) == git("rev-parse", "--short=12", "HEAD") + DIRTY

    def test_is_not_marked_where_records_were_written(self, git, tmp_path):
        (tmp_path / "records" / "a.json").write_text("2")
        (tmp_path / "records" / "b.json").write_text("2")
        assert not self.named(tmp_path).endswith(DIRTY)

    def test_is_unknown_in_the_repository_of_somebody_else(self, git, tmp_path):
        """As where the library is installed into an environment that stands in another project."""
        git("rm", "-r", "--quiet", "--cached", "lmc_lib")
        git("commit", "--quiet", "--message", "not ours")
        assert self.named(tmp_path) == "unknown"

    @pytest.mark.usefixtures("git")
    def test_is_unknown_without_git(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert self.named(tmp_path) == "unknown"

    def test_is_unknown_without_a_repository(self, git, tmp_path):
        shutil.rmtree(tmp_path / ".git")
        assert self.named(tmp_path) == "unknown"
