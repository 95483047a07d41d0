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
import stat
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
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
# Of a depth that another family of networks has too.
DEEP = dataclasses.replace(RUN, model=ModelSpec("mlp", 16, 8))


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


def path_of(store, spec):
    key = fingerprint(spec)
    return store.root / "runs" / key[:2] / f"{key}.entry"


def folder_of(store, spec):
    """Where an earlier version kept an entry."""
    return store.root / "runs" / fingerprint(spec)


def stored_before(store, spec, folder=None):
    """Stores an entry as earlier versions did, in a folder of two files."""
    entry = stored(store, spec)
    folder = folder or folder_of(store, spec)
    folder.mkdir(parents=True)
    head, tensors = path_of(store, spec).read_bytes().split(b"\n", 1)
    (folder / "entry.json").write_text(json.dumps(json.loads(head), indent=1))
    (folder / "tensors.safetensors").write_bytes(tensors)
    path_of(store, spec).unlink()
    return entry


def hidden(store):
    """What writers that were stopped left behind."""
    return [path for path in store.root.glob("runs/**/.*")]


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

    @pytest.mark.parametrize(
        "outer", [DEEP, PairSpec(DEEP, dataclasses.replace(DEEP, init_seed=4))], ids=["RunSpec", "PairSpec"]
    )
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


OTHER_WORDS = {
    "family": "resnet", "norm": "batch", "name": "mnist1d",
    "optimiser": "adamw", "schedule": "linear", "precision": "portable",
}  # fmt: skip
OTHER_THAN_NONE = {
    "train_examples": 700,
    "test_examples": 70,
    "classes": (0, 1),
    "pretrained": CheckpointSpec(DEEP, 300),
}


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
    if isinstance(value, float):
        return value / 2 + 0.01
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
        names = {"created", "commit", "versions", "machine", "device", "threads", "seconds", "finished", "code"}
        assert origin.keys() == names
        assert {"python", "torch", "numpy"} <= origin["versions"].keys()
        assert os.uname().nodename not in json.dumps(provenance())
        assert datetime.fromisoformat(origin["created"]).utcoffset() == timedelta(0)

    def test_provenance_tells_how_long_the_computation_took(self, store, monkeypatch):
        clock = SimpleNamespace(perf_counter=iter([100.0, 102.34567]).__next__, time=lambda: 1000.5)
        monkeypatch.setattr(store_module.store, "time", clock)
        origin = stored(store, Spec(1)).provenance
        assert (origin["seconds"], origin["finished"]) == (2.346, 1000.5)

    def test_a_failed_computation_leaves_nothing_but_why_until_it_is_tried_again(self, store):
        with pytest.raises(ZeroDivisionError):
            store.get_or_compute(Spec(1), lambda: 1 / 0)
        log = store.failure(fingerprint(Spec(1)))
        assert files_of(store) == [log]
        spec, *_, last = log.read_text().splitlines()
        assert (json.loads(spec), last) == (describe(Spec(1)), "ZeroDivisionError: division by zero")
        assert stored(store, Spec(1)).values["number"] == 1
        assert not log.exists()

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

    def test_has_looks_at_no_tensors(self, store):
        """Of a folder of networks it would read gigabytes; who reads the entry finds the damage."""
        for spec, store_it in ((Spec(1), stored), (Spec(2), stored_before)):
            store_it(store, spec)
        DAMAGES["tensors cut"](path_of(store, Spec(1)))
        FORMER_DAMAGES["tensors deleted"](folder_of(store, Spec(2)))
        for spec in (Spec(1), Spec(2)):
            assert store.has(spec)
            assert store.find(fingerprint(spec), tensors=False).values == result_of(spec).values
            assert store.get(spec) is None
            assert stored(store, spec).tensors.keys() == {"weights"}
            assert store.get(spec) is not None

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

    def test_variables(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        for name in ("a.json", "b.json"):
            Path(name).touch()
        monkeypatch.setenv("LMC_STORE", "~/elsewhere")
        monkeypatch.setenv("LMC_RECORDS", os.pathsep.join(["a.json", "b.json"]))
        monkeypatch.setenv("LMC_COMPUTE", "0")
        monkeypatch.setenv("LMC_STALE_BEFORE", "12.5")
        expected = Store(Path.home() / "elsewhere", (Path("a.json"), Path("b.json")), compute=False, stale_before=12.5)
        assert Store.from_environment() == expected

    def test_files_of_records_that_are_not_there_are_refused_by_name(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        Path("there").touch()
        Path("folder").mkdir()
        monkeypatch.setenv("LMC_RECORDS", os.pathsep.join(["", "there", "gone", "folder"]))
        with pytest.raises(StoreError, match="LMC_RECORDS lists gone, folder, and there is no such file"):
            Store.from_environment()


def edit(change):
    """A damage to the file of an entry: a function of its first line and of its tensors."""

    def damage(path):
        path.write_bytes(change(*path.read_bytes().split(b"\n", 1)))

    return damage


def swap(old, new):
    """A damage to what an entry says."""

    def change(head, tensors):
        assert old in head
        return head.replace(old, new) + b"\n" + tensors

    return edit(change)


def forged(**changes):
    """A damage with a valid checksum: other content, or none where it is None."""

    def change(head, tensors):
        content = json.loads(head) | {"tensors": hashlib.sha256(tensors).hexdigest()} | changes
        del content["checksum"]
        content = {name: value for name, value in content.items() if value is not None}
        checksum = hashlib.sha256(store_module.address.canonical(content).encode()).hexdigest()
        return json.dumps(content | {"checksum": checksum}).encode() + b"\n" + tensors

    return edit(change)


def without(name):
    """A damage with a valid checksum: a provenance that lacks what pages show."""
    return lambda path: forged(provenance={key: value for key, value in told(path).items() if key != name})(path)


def told(path):
    return json.loads(path.read_bytes().split(b"\n", 1)[0])["provenance"]


def replaced_by(make):
    """A damage: something else stands in the place of a file."""

    def damage(path):
        path.unlink()
        make(path)

    return damage


def nonsense(path):
    """Tensors that are none, with a checksum."""
    path.write_bytes(path.read_bytes().split(b"\n", 1)[0] + b"\nno tensors at all")
    forged()(path)


DAMAGES = {
    "tensors cut": edit(lambda head, tensors: head + b"\n" + tensors[:-1]),
    "one bit of the tensors flipped": edit(
        lambda head, tensors: head + b"\n" + tensors[:-100] + bytes([tensors[-100] ^ 1]) + tensors[-99:]
    ),
    "tensors emptied": edit(lambda head, tensors: head + b"\n"),
    "cut after the first line": edit(lambda head, tensors: head),
    "emptied": edit(lambda head, tensors: b""),
    "first line cut": edit(lambda head, tensors: head[:-2]),
    "first line lost": edit(lambda head, tensors: tensors),
    "noise": edit(lambda head, tensors: b"\xff\x00\xfe"),
    "another JSON value": edit(lambda head, tensors: b"[1, 2]"),
    "nested too deeply": edit(lambda head, tensors: b"[" * 100_000),
    "no checksum": edit(lambda head, tensors: b'{"values": {}}'),
    "value edited": swap(b'"half": 0.5', b'"half": 0.25'),
    "value edited to NaN": swap(b'"half": 0.5', b'"half": NaN'),
    "spec edited": swap(b'"number": 1', b'"number": 2'),
    "a folder in its place": replaced_by(Path.mkdir),
    "a pipe in its place": replaced_by(os.mkfifo),
    "forged without spec": forged(spec=None),
    "forged without values": forged(values=None),
    "forged without provenance": forged(provenance=None),
    "forged values": forged(values=[1]),
    "forged provenance": forged(provenance="mine"),
    "forged checksum of tensors": forged(tensors=None),
    "forged tensors": nonsense,
} | {f"forged without {name}": without(name) for name in ("created", "commit", "machine", "device", "seconds")}


def rewrite(folder, old, new):
    path = folder / "entry.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def at(name, change):
    """A damage to a file of the folder of an entry of an earlier version."""
    return lambda folder: change(folder / name)


# Of a folder, as earlier versions wrote it.
FORMER_DAMAGES = {
    "tensors cut": at("tensors.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "tensors emptied": at("tensors.safetensors", lambda path: path.write_bytes(b"")),
    "tensors deleted": at("tensors.safetensors", Path.unlink),
    "tensors are a folder": at("tensors.safetensors", replaced_by(Path.mkdir)),
    "tensors are a pipe": at("tensors.safetensors", replaced_by(os.mkfifo)),
    "entry deleted": at("entry.json", Path.unlink),
    "entry emptied": at("entry.json", lambda path: path.write_text("")),
    "entry cut": at("entry.json", lambda path: path.write_text(path.read_text()[:-2])),
    "entry is a folder": at("entry.json", replaced_by(Path.mkdir)),
    "value edited": lambda folder: rewrite(folder, '"half": 0.5', '"half": 0.25'),
    "spec edited": lambda folder: rewrite(folder, '"number": 1', '"number": 2'),
}


def bytes_within(path):
    """The content of a file, or of the files of a folder by name; nothing of what is neither."""
    if path.is_dir():
        return {each.name: each.read_bytes() for each in path.iterdir() if each.is_file()}
    return path.read_bytes() if path.is_file() else None


class TestDamage:
    def repaired(self, store, path, caplog):
        """Checks that the damaged entry of ``Spec(1)`` is reported, set aside as it is, and computed anew."""
        kept = bytes_within(path)
        entry = stored(store, Spec(1))
        assert entry.values == result_of(Spec(1)).values
        assert f"run {fingerprint(Spec(1))} is damaged" in caplog.text
        (aside,) = (store.root / "set-aside").iterdir()
        assert str(aside) in caplog.text
        assert bytes_within(aside) == kept
        assert torch.equal(served(store, Spec(1)).tensors["weights"], result_of(Spec(1)).tensors["weights"])
        assert served(store, Spec(2)).values["number"] == 2

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_is_reported_set_aside_and_repaired(self, store, damage, caplog):
        stored(store, Spec(1))
        stored(store, Spec(2))
        damage(path_of(store, Spec(1)))
        self.repaired(store, path_of(store, Spec(1)), caplog)

    @pytest.mark.parametrize("damage", FORMER_DAMAGES.values(), ids=FORMER_DAMAGES)
    def test_of_an_earlier_version_too(self, store, damage, caplog):
        stored_before(store, Spec(1))
        stored(store, Spec(2))
        damage(folder_of(store, Spec(1)))
        self.repaired(store, folder_of(store, Spec(1)), caplog)

    def test_swapped_entries_are_both_found_out(self, store, caplog):
        for number in (1, 2):
            stored(store, Spec(number))
        first, second = (path_of(store, Spec(number)) for number in (1, 2))
        first.rename(first.with_name("swap"))
        second.rename(first)
        first.with_name("swap").rename(second)
        assert store.get(Spec(1)) is None
        assert [stored(store, Spec(number)).values["number"] for number in (1, 2)] == [1, 2]
        assert caplog.text.count("it is the entry of another run") == 3  # asked for once, set aside twice

    def test_who_only_reads_reports_it_and_leaves_it_where_it_is(self, store, caplog):
        stored(store, Spec(1))
        DAMAGES["tensors cut"](path_of(store, Spec(1)))
        before = bytes_of(store)
        assert store.get(Spec(1)) is None
        assert f"run {fingerprint(Spec(1))} is damaged (its tensors were altered or cut)" in caplog.text
        assert bytes_of(store) == before

    def test_a_damaged_entry_is_not_served_by_a_store_that_does_not_compute(self, store):
        stored(store, Spec(1))
        DAMAGES["one bit of the tensors flipped"](path_of(store, Spec(1)))
        with pytest.raises(NotStored, match=r"is damaged \(its tensors were altered or cut\)"):
            dataclasses.replace(store, compute=False).get_or_compute(Spec(1), lambda: pytest.fail("computed"))

    def test_what_was_taken_for_damaged_and_is_sound_goes_back(self, store, monkeypatch):
        """As where another process repaired it between a look and the next step."""
        stored(store, Spec(1))
        store._set_aside(fingerprint(Spec(1)), store_module.entry.Damaged("as it was before"))
        assert served(store, Spec(1)).values["number"] == 1
        assert list((store.root / "set-aside").iterdir()) == []

    def test_an_entry_of_somebody_else_that_cannot_be_read_stays(self, store, monkeypatch):
        # The tests may run as root, who may read everything, so the answer of the system is replaced.
        stored(store, Spec(1))
        before = bytes_of(store)

        def refuse(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with monkeypatch.context() as patch:
            patch.setattr(store_module.entry, "_open", refuse)
            assert not store.has(Spec(1))
            with pytest.raises(StoreError, match=r"cannot be read: Permission denied\. Its owner can permit it"):
                store.get_or_compute(Spec(1), lambda: pytest.fail("computed"))
            assert store.set_aside(fingerprint(Spec(1))) == []
        assert bytes_of(store) == before

    @pytest.mark.parametrize("stands", ["file", "folder", "both"])
    def test_what_cannot_be_read_gives_way_to_nothing(self, store, tmp_path, monkeypatch, stands):
        """Neither to what is carried from elsewhere, nor to what was computed while it came."""
        entry = stored(Store(tmp_path / "other"), Spec(1))
        (stored if stands == "file" else stored_before)(store, Spec(1))
        if stands == "both":
            path_of(store, Spec(1)).write_bytes(b"damaged")
        before = bytes_of(store)
        owned = path_of(store, Spec(1)) if stands == "file" else folder_of(store, Spec(1)) / "entry.json"
        openly = store_module.entry._open

        def refuse(path):
            if path.name in (owned.name, "entry.json") or path.name.startswith(f"{owned.name}-"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return openly(path)

        with monkeypatch.context() as patch:
            patch.setattr(store_module.entry, "_open", refuse)
            message = r"cannot be read: Permission denied\. Its owner can permit it, or set LMC_STORE to another folder"
            with pytest.raises(StoreError, match=message):
                store.add(entry)
            if stands != "folder":  # where nothing stands in the place of a file, it is put there, and is served
                with pytest.raises(StoreError, match=message):
                    store._keep(entry)
            # As where it came between a look and the next step.
            with pytest.raises(StoreError, match=message):
                store._set_aside(entry.fingerprint, store_module.entry.Damaged("as it was before"))
        after = bytes_of(store)
        assert {path: after.get(path) for path in before if path.name == owned.name} == {
            path: content for path, content in before.items() if path.name == owned.name
        }
        assert stands == "both" or after == before

    @pytest.mark.parametrize("readable", [True, False])
    def test_a_stale_folder_beside_it_does_not_let_it_be_overwritten(self, store, monkeypatch, readable):
        """A file that cannot be read stays; one that can, and is damaged, is set aside."""
        stored_before(store, Spec(1))
        path = path_of(store, Spec(1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of somebody else")
        again = dataclasses.replace(store, stale_before=time.time())
        openly = store_module.entry._open

        def refuse(place):
            if place.suffix == ".entry" and not readable:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return openly(place)

        monkeypatch.setattr(store_module.entry, "_open", refuse)
        assert served(store, Spec(1)).values == result_of(Spec(1)).values
        assert not again.has(Spec(1))
        if readable:
            assert stored(again, Spec(1)).values == result_of(Spec(1)).values
            (aside,) = (store.root / "set-aside").iterdir()
            assert aside.read_bytes() == b"of somebody else"
        else:
            with pytest.raises(StoreError, match=r"cannot be read: Permission denied\. Its owner can permit it"):
                again.get_or_compute(Spec(1), lambda: pytest.fail("computed"))
            with pytest.raises(StoreError, match="Permission denied"):  # as where it came while the entry was computed
                again._keep(dataclasses.replace(store.get(Spec(1))))
            assert path.read_bytes() == b"of somebody else"
            assert folder_of(store, Spec(1)).is_dir()

    PASSING = ("EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT")

    @pytest.mark.parametrize("name", [*PASSING, "memory", "tensors", "tensors of torch"])
    @pytest.mark.parametrize("former", [False, True], ids=["file", "folder"])
    def test_a_fault_of_the_reader_is_no_damage(self, store, tmp_path, monkeypatch, name, former):
        """A sound entry is not set aside, computed anew or replaced since too many files are open."""
        entry = (stored_before if former else stored)(store, Spec(1))
        before = bytes_of(store)
        number = getattr(errno, name, None)
        fault = OSError(number, os.strerror(number)) if number else MemoryError()
        fault = RuntimeError("DefaultCPUAllocator: can't allocate memory") if "torch" in name else fault
        place = (safetensors.torch, "load") if "tensors" in name else (store_module.entry, "_open")

        def fail(_argument):
            raise fault

        why = os.strerror(number) if number else "it does not fit into memory"
        with monkeypatch.context() as patch:
            patch.setattr(*place, fail)
            with pytest.raises(StoreError, match=f"cannot be read: {why}. .*un again.*, or set LMC_STORE to another"):
                store.get_or_compute(Spec(1), lambda: pytest.fail("computed"))
            with pytest.raises(StoreError, match=why):
                store.add(entry)
            assert store.set_aside(entry.fingerprint) == []
            assert why in store.damage(entry.fingerprint)
        assert bytes_of(store) == before
        assert served(store, Spec(1)).values == entry.values

    @pytest.mark.parametrize("name", ["EIO", "ELOOP", "EISDIR", "ENXIO", "ENAMETOOLONG"])
    def test_what_the_disk_lost_is_damaged(self, store, monkeypatch, name, caplog):
        stored(store, Spec(1))
        stored(store, Spec(2))
        path = path_of(store, Spec(1))
        openly, inode = store_module.entry._open, path.stat().st_ino

        def fail(path):
            if path.exists() and path.stat().st_ino == inode:
                raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
            return openly(path)

        monkeypatch.setattr(store_module.entry, "_open", fail)
        self.repaired(store, path, caplog)

    def test_what_stopped_writers_left_in_a_folder_that_cannot_be_listed_counts_for_nothing(self, store, monkeypatch):
        def fail(_path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            yield

        monkeypatch.setattr(store_module.store.files, "aside", fail)
        assert stored(store, Spec(1)).values == served(store, Spec(1)).values

    def test_what_is_no_file_is_not_read(self, store, caplog):
        """A device could be read without end."""
        stored(store, Spec(1))
        DAMAGES["a pipe in its place"](path_of(store, Spec(1)))
        assert store.get(Spec(1)) is None
        assert "(it is no file)" in caplog.text

    @pytest.mark.parametrize("former", [False, True], ids=["file", "folder"])
    def test_a_link_is_read_and_nothing_is_written_through_it(self, store, tmp_path, former):
        place = folder_of(store, Spec(1)) if former else path_of(store, Spec(1))
        (stored_before if former else stored)(store, Spec(1))
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
        before = bytes_within(tmp_path / "elsewhere")
        assert served(store, Spec(1)).values["number"] == 1
        again = dataclasses.replace(store, stale_before=time.time())
        again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(store, Spec(1)).values == {"new": True}
        assert bytes_within(tmp_path / "elsewhere") == before
        assert not any(path.is_symlink() for path in (store.root / "runs").rglob("*"))

    @pytest.mark.parametrize("target", ["nowhere", "."], ids=["nothing", "a folder"])
    def test_a_link_to_what_is_no_entry_is_replaced(self, store, target):
        stored(store, Spec(1))
        path_of(store, Spec(1)).unlink()
        path_of(store, Spec(1)).symlink_to(target)
        assert not store.has(Spec(1))
        assert stored(store, Spec(1)).values == served(store, Spec(1)).values == result_of(Spec(1)).values

    def test_a_sound_store_is_silent(self, store, caplog):
        stored(store, Spec(1))
        served(store, Spec(1))
        assert caplog.text == ""
        assert not (store.root / "set-aside").exists()


DAY = 24 * 3600


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2, follow_symlinks=False)


class TestLeftBehind:
    """What writers leave who were stopped between their first and their last step."""

    @pytest.fixture(params=["of a file", "of a folder"])
    def half(self, request, store):
        key = fingerprint(Spec(1))
        if request.param == "of a file":
            path = path_of(store, Spec(1)).with_name(f".{key}.entry-host-4711-c0ffee")
            path.parent.mkdir(parents=True)
            path.write_bytes(b"half")
        else:
            path = folder_of(store, Spec(1)).with_name(f".{key}-4711")
            path.mkdir(parents=True)
            (path / "tensors.safetensors").write_bytes(b"half")
        return path

    def test_what_is_not_whole_is_removed_after_a_day_and_reported(self, store, half, caplog):
        age(half, 1.1 * DAY)
        assert not store.has(Spec(1))
        stored(store, Spec(1))
        assert hidden(store) == []
        assert f"removing {half.name}, which a writer that was stopped left behind" in caplog.text

    @pytest.mark.parametrize("seconds", [0.0, 0.9 * DAY, -5 * DAY])
    def test_what_a_writer_may_still_be_writing_stays(self, store, half, caplog, seconds):
        age(half, seconds)
        stored(store, Spec(1))
        assert hidden(store) == [half]
        assert caplog.text == ""

    def test_what_cannot_be_removed_stops_no_run(self, store, half, monkeypatch):
        age(half, 1.1 * DAY)

        def refuse(*_args, **_options):
            raise PermissionError

        monkeypatch.setattr(store_module.store, "_remove", lambda path: None)
        assert stored(store, Spec(1)).values["number"] == 1

    @pytest.mark.parametrize("name", [".{}-4711-older", ".{}-4711"])
    def test_a_whole_entry_that_was_renamed_out_of_its_place_comes_back(self, store, name, caplog):
        """An earlier version replaced a folder by two renames; a kill between them hid both."""
        key = fingerprint(Spec(1))
        stored_before(store, Spec(1), store.root / "runs" / name.format(key))
        assert not store.has(Spec(1))
        silent = dataclasses.replace(store, compute=False)
        assert served(silent, Spec(1)).values == result_of(Spec(1)).values
        assert torch.equal(served(store, Spec(1)).tensors["weights"], result_of(Spec(1)).tensors["weights"])
        assert f"run {key} is there: what a writer had finished" in caplog.text
        assert store.has(Spec(1))

    def test_a_file_that_was_finished_and_not_put_in_place_is_used(self, store):
        stored(store, Spec(1))
        path = path_of(store, Spec(1))
        path.rename(path.with_name(f".{path.name}-host-4711-c0ffee"))
        assert not store.has(Spec(1))
        assert served(store, Spec(1)).values == result_of(Spec(1)).values
        assert store.has(Spec(1))

    def test_a_recomputation_uses_none_that_is_older(self, store):
        stored(store, Spec(1))
        path = path_of(store, Spec(1))
        path.rename(path.with_name(f".{path.name}-host-4711-c0ffee"))
        again = dataclasses.replace(store, stale_before=time.time())
        assert again.get_or_compute(Spec(1), lambda: Result({"new": True})).values == {"new": True}


class TestEarlierVersions:
    """Entries in folders, as earlier versions wrote them, are served where they are."""

    def test_are_served_and_stay(self, store):
        old = stored_before(store, Spec(1))
        before = bytes_of(store)
        assert store.has(Spec(1))
        again = served(store, Spec(1))
        assert dataclasses.replace(again, tensors={}) == dataclasses.replace(old, tensors={})
        assert torch.equal(again.tensors["weights"], old.tensors["weights"])
        assert bytes_of(store) == before

    def test_without_tensors(self, store):
        store.get_or_compute(Spec(1), lambda: Result({"a": 1}))
        stored_before(store, Spec(1))
        (folder_of(store, Spec(1)) / "tensors.safetensors").unlink()
        assert (served(store, Spec(1)).values, served(store, Spec(1)).tensors) == ({"a": 1}, {})

    def test_give_way_to_what_replaces_them(self, store):
        stored_before(store, Spec(1))
        again = dataclasses.replace(store, stale_before=time.time())
        again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(store, Spec(1)).values == {"new": True}
        assert not folder_of(store, Spec(1)).exists()


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

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"spec": {"type": "Spec", "number": 2}}, "it is the entry of another run"),
            ({"spec": None}, "it lacks a spec"),
            ({"values": [1]}, "it lacks a spec, values"),
            ({"provenance": {"commit": "abc"}}, "its provenance is incomplete: created, machine"),
        ],
    )
    def test_records_that_are_not_what_they_stand_under_are_told(self, shipping, store, change, told):
        path = shipping.shipped[0].with_name("altered.json.gz")
        entry = store.get(Spec(1))
        records.write(path, {}, {entry.fingerprint: entry.as_record() | change})
        altered = dataclasses.replace(shipping, shipped=(path,))
        message = f"altered.json.gz, record {entry.fingerprint}: {told}.*take the file from git again"
        with pytest.raises(StoreError, match=message):
            altered.get(Spec(1))

    @pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch], ids=["nothing", "folder", "empty"])
    def test_a_file_of_records_that_cannot_be_read_is_told(self, shipping, tmp_path, make):
        make(tmp_path / "other.json.gz")
        with pytest.raises(StoreError, match=r"other\.json\.gz.*take it from git again"):
            dataclasses.replace(shipping, shipped=(tmp_path / "other.json.gz",)).get(Spec(1))

    def test_records_serve_where_the_folder_is_damaged_and_cannot_be_written(self, shipping, monkeypatch, caplog):
        dataclasses.replace(shipping, shipped=()).get_or_compute(Spec(1), lambda: Result({"mine": True}))
        DAMAGES["noise"](path_of(shipping, Spec(1)))
        before = bytes_of(shipping)
        for compute in (True, False):
            entry = served(dataclasses.replace(shipping, compute=compute), Spec(1))
            assert entry.values == result_of(Spec(1)).values
        assert bytes_of(shipping) == before
        assert caplog.text.count("the record that ships is taken") == 2

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
        without("finished")(path_of(store, Spec(1)))
        assert served(store, Spec(1)).values["number"] == 1
        assert not dataclasses.replace(store, stale_before=0.001).has(Spec(1))

    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that the test sets."""
        clock = SimpleNamespace(now=1000.0, perf_counter=time.perf_counter, time_ns=time.time_ns)
        clock.time = lambda: clock.now
        monkeypatch.setattr(store_module.store, "time", clock)
        return clock

    def test_computes_once_though_the_clock_is_set_back(self, store, clock):
        stored(store, Spec(1))
        again = dataclasses.replace(store, stale_before=1001.0)
        clock.now = 500.0
        again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(again, Spec(1)).values == {"new": True}
        clock.now = 1002.0
        later = dataclasses.replace(store, stale_before=1002.0)
        assert not later.has(Spec(1))

    def test_computes_also_what_is_dated_in_the_future(self, store, clock):
        clock.now = 5000.0
        stored(store, Spec(1))
        clock.now = 1000.0
        assert store.has(Spec(1))
        again = dataclasses.replace(store, stale_before=1000.0)
        again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(again, Spec(1)).values == {"new": True}

    def test_takes_what_others_finished_meanwhile(self, store, clock):
        again = dataclasses.replace(store, stale_before=1000.0)
        clock.now = 1001.0
        stored(store, Spec(1))
        assert served(again, Spec(1)).values["number"] == 1

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
        """Replaces the entry of ``Spec(1)``; calls ``hook(number)`` before each step that changes names in ``runs``."""
        stored(store, Spec(1))

        def replace(hook, expected=()):
            numbers = itertools.count()

            def hooked(function):
                def call(path, *args, **options):
                    if store.root / "runs" in Path(path).parents:
                        hook(next(numbers))
                    return function(path, *args, **options)

                return call

            with monkeypatch.context() as patch:
                for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "unlink"), (os, "link")):
                    patch.setattr(owner, name, hooked(getattr(owner, name)))
                again = dataclasses.replace(store, stale_before=time.time())
                with pytest.raises(expected) if expected else contextlib.nullcontext():
                    again.get_or_compute(Spec(1), lambda: Result({"new": True}))
            return next(numbers)

        return replace

    # What is written aside is linked, which fails, and removed; then written aside again, put in place and removed.
    STEPS = range(4)

    def test_at_every_step_there_is_the_old_entry_or_the_new_one(self, store, replace):
        seen = []

        def look(number):
            seen.append(store.get(Spec(1)).values)

        count = replace(look)
        old, new = result_of(Spec(1)).values, {"new": True}
        assert seen[:3] == [old] * 3
        assert seen[3:4] == [new]
        assert all(each == new for each in seen[3:])
        assert len(self.STEPS) <= count <= len(self.STEPS) + 1  # the last look at a folder of an earlier version
        assert hidden(store) == []
        assert not (store.root / "set-aside").exists()

    @pytest.mark.parametrize("step", [0, 2])
    def test_an_old_entry_survives_a_replacement_that_fails(self, store, replace, step, stopping):
        def fail(number):
            if number == step:
                raise stopping

        replace(fail, expected=(StoreError, KeyboardInterrupt))
        assert served(store, Spec(1)).values == result_of(Spec(1)).values
        assert hidden(store) == []

    @pytest.mark.parametrize("step", STEPS[:3])
    def test_what_a_killed_replacement_leaves_is_ignored_and_later_removed(self, store, replace, step, caplog):
        """A kill is an exception after which nothing else happens: from the step on, no name changes."""

        def kill(number):
            if number >= step:
                raise Killed

        replace(kill, expected=Killed)
        (left,) = hidden(store)
        assert store.get(Spec(1)).values == result_of(Spec(1)).values
        age(left, 2 * DAY)
        again = dataclasses.replace(store, stale_before=time.time())
        assert again.get_or_compute(Spec(1), lambda: Result({"newest": True})).values == {"newest": True}
        assert hidden(store) == []
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

    def test_missing_permission_is_told_before_anything_is_computed(self, store, monkeypatch):
        # The tests may run as root, whom no mode of a folder stops, so the answer of the system is replaced.
        stored(store, Spec(1))
        monkeypatch.setattr(os, "access", lambda path, mode: "runs" not in path.parts)
        self.refuse(store, Spec(2))
        assert served(store, Spec(1)).values["number"] == 1

    def test_a_file_in_place_of_the_folder_is_told_before_anything_is_computed(self, store):
        store.root.write_text("a file")
        self.refuse(store, Spec(1))
        assert store.root.read_text() == "a file"

    def test_who_may_write_to_a_shared_store_may_write_to_all_its_folders(self, store):
        store.root.mkdir()
        store.root.chmod(0o2775)
        before = os.umask(0o022)
        try:
            stored(store, Spec(1))
            DAMAGES["noise"](path_of(store, Spec(1)))
            stored(store, Spec(1))
        finally:
            os.umask(before)
        folders = [path for path in store.root.rglob("*") if path.is_dir()]
        assert {path.relative_to(store.root).parts[0] for path in folders} == {"runs", "locks", "set-aside"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o2775}

    def test_a_lock_that_cannot_be_taken_stops_no_run(self, store, caplog):
        # As in a shared store, where the lock belongs to somebody else; a folder in its place stops root, too.
        key = fingerprint(Spec(1))
        (store.root / "locks" / key[:2] / f"{key}.lock").mkdir(parents=True)
        assert stored(store, Spec(1)).values == served(store, Spec(1)).values == result_of(Spec(1)).values
        assert f"run {key} is computed without a lock" in caplog.text

    @pytest.mark.parametrize("error", [NotImplementedError("no locks here"), OSError(errno.ENOLCK, "no locks here")])
    def test_a_file_system_without_locks_stops_no_run(self, store, monkeypatch, caplog, error):
        def refuse(*_args, **_options):
            raise error

        monkeypatch.setattr(store_module.store.FileLock, "acquire", refuse)
        assert stored(store, Spec(1)).values == served(store, Spec(1)).values == result_of(Spec(1)).values
        assert "no locks here" in caplog.text

    @pytest.mark.parametrize("recompute", [False, True])
    def test_a_file_system_without_links_stops_no_run(self, store, monkeypatch, recompute):
        def refuse(*_args, **_options):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
        stored(store, Spec(1))
        if recompute:
            again = dataclasses.replace(store, stale_before=time.time())
            again.get_or_compute(Spec(1), lambda: Result({"new": True}))
        assert served(store, Spec(1)).values == ({"new": True} if recompute else result_of(Spec(1)).values)
        assert hidden(store) == []

    def test_a_full_disk_loses_nothing(self, store, monkeypatch):
        stored(store, Spec(1))
        before = bytes_of(store)

        def flush(_descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", flush)
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
        assert hidden(store) == []
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

def flush(descriptor):
    if stage == "half":
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    if stage in ("half", "whole"):
        hang()

os.fsync = flush
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
    @pytest.mark.parametrize("stage", ["compute", "half", "whole"])
    def test_a_killed_writer_leaves_nothing_that_is_served_half(self, start, tmp_path, stage):
        (tmp_path / "go").touch()
        writer = start(stage)
        self.wait_for(tmp_path, "hanging")
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        store = Store(tmp_path / "store")
        assert len(hidden(store)) == (stage != "compute")
        assert store.get(Spec(1)) is None
        # What was whole need not be computed again.
        assert (served if stage == "whole" else stored)(store, Spec(1)).values["number"] == 1
        assert len(hidden(store)) == (stage != "compute")
        assert isinstance(served(store, Spec(1)), Entry)


RACE = """
import contextlib, os, random, sys, time
from dataclasses import dataclass, replace
from pathlib import Path
import torch
from lmc_lib.store import Result, Store, fingerprint, store as module

@dataclass(frozen=True)
class Spec:
    number: int

store, rounds, task = Store(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
module.Store._lock = lambda self, key, wait: contextlib.nullcontext()
os.fsync = lambda descriptor: None  # the test is about the order of steps, not about the disk
module.provenance = lambda: {"created": "now", "commit": "abc", "machine": "any", "device": "cpu"}
torch.set_num_threads(1)

def compute():
    mine = random.getrandbits(50)
    return Result({"who": mine}, {"who": torch.full((2_000,), mine)})

def check(entry):
    assert entry.tensors["who"].unique().tolist() == [entry.values["who"]], "served of two writers"

def write(worker):
    for number in range(rounds):
        check(store.get_or_compute(Spec(number), compute))
        assert store.has(Spec(number)), f"entry {number} is lost"

def replace_them(worker):
    for number in range(rounds):
        again = replace(store, stale_before=time.time())
        check(again.get_or_compute(Spec(number % 3), compute))

def read(worker):
    seen = set()
    end = time.monotonic() + 30
    while len(seen) < rounds and not (store.root / "done").exists() and time.monotonic() < end:
        for number in sorted(seen)[-3:] + [len(seen)] if task == "write" else range(3):
            entry = store.get(Spec(number))
            assert entry is not None or number not in seen, f"entry {number} is lost"
            if entry is not None:
                check(entry)
                seen.add(number)
        time.sleep(0.001)

def damage(worker):
    for number in range(rounds):
        if worker == 0:
            place = store._path(fingerprint(Spec(number % 3)))
            place.parent.mkdir(parents=True, exist_ok=True)
            wrong = place.with_name("wrong")
            wrong.write_bytes(b"damaged")
            wrong.replace(place)
        check(store.get_or_compute(Spec(number % 3), compute))

tasks = {"write": [write] * 3 + [read] * 2, "replace": [replace_them] * 2 + [read] * 2, "damage": [damage] * 3}[task]
if task == "replace":
    for number in range(3):  # as an earlier version kept them
        entry = store.get_or_compute(Spec(number), compute)
        path = store._path(entry.fingerprint)
        folder = store.root / "runs" / entry.fingerprint
        folder.mkdir()
        for name, content in zip(("entry.json", "tensors.safetensors"), path.read_bytes().split(b"\\n", 1)):
            (folder / name).write_bytes(content)
        path.unlink()

children = []
for worker, work in enumerate(tasks):
    if not (child := os.fork()):
        random.seed(worker)
        try:
            work(worker)
        except BaseException as error:
            print(f"{work.__name__} {worker}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    children.append((child, work))
codes = [os.waitpid(child, 0)[1] for child, work in children if work is not read]
(store.root / "done").touch()
codes += [os.waitpid(child, 0)[1] for child, work in children if work is read]
sys.exit(any(codes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its processes")
class TestWithoutLocks:
    """As on a file system whose locks do nothing: what several processes write, replace and read stays whole."""

    @pytest.mark.parametrize(("task", "rounds"), [("write", 300), ("replace", 300), ("damage", 300)])
    def test_no_entry_is_lost_or_served_half_and_everybody_gets_it(self, tmp_path, task, rounds):
        store = Store(tmp_path / "store")
        command = [sys.executable, "-c", RACE, str(store.root), str(rounds), task]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
        entries = {path.stem: store.find(path.stem) for path in store.root.glob("runs/*/*.entry")}
        assert len(entries) == (rounds if task == "write" else 3)
        assert None not in entries.values()
        assert hidden(store) == []
        for path in (store.root / "set-aside").glob("*"):  # where entries were damaged on purpose
            assert path.read_bytes() == b"damaged"
        assert (store.root / "set-aside").exists() == (task == "damage")


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
