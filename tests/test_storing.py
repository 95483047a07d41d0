"""Looking after a store: what is damaged, what nobody asks for, and results carried as one file."""

import dataclasses
import errno
import io
import json
import os
import shutil
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lmc_lib import store as stores
from lmc_lib.cli import main, notebooks, running, storing, tree
from lmc_lib.cli.output import size
from lmc_lib.store import BadArchive, Result, Store, fingerprint, read_archive, remove, waste, write_archive
from lmc_lib.store.entry import pack, unpack

DAY = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Spec:
    number: int


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with three results, which the command line finds."""
    monkeypatch.setenv("LMC_STORE", str(tmp_path / "store"))
    for name in ("LMC_RECORDS", "LMC_COMPUTE", "LMC_STALE_BEFORE"):
        monkeypatch.delenv(name, raising=False)
    store = Store(tmp_path / "store")
    for number in (1, 2, 3):
        keep(store, Spec(number))
    return store


def keep(store, spec):
    tensors = {"weights": torch.arange(100 * spec.number)} if spec.number != 3 else {}
    return store.get_or_compute(spec, lambda: Result({"number": spec.number}, tensors))


def path_of(store, number):
    key = fingerprint(Spec(number))
    return store.root / "runs" / key[:2] / f"{key}.entry"


def as_folder(store, number):
    """Makes an entry what earlier versions wrote."""
    path = path_of(store, number)
    folder = store.root / "runs" / path.stem
    folder.mkdir()
    head, tensors = path.read_bytes().split(b"\n", 1)
    (folder / "entry.json").write_bytes(head)
    (folder / "tensors.safetensors").write_bytes(tensors)
    path.unlink()
    return folder


KEYS = {number: fingerprint(Spec(number)) for number in range(1, 6)}


def test_keys_are_those_of_all_entries_of_all_versions_and_of_nothing_else(store):
    as_folder(store, 2)
    (store.root / "runs" / "strange").touch()
    path_of(store, 1).with_name(f".{KEYS[1]}.entry-host-1-a").touch()
    path_of(store, 1).with_name("note.entry").touch()
    assert list(store.keys()) == sorted(KEYS[number] for number in (1, 2, 3))
    assert list(Store(store.root / "none").keys()) == []


def close(monkeypatch, folder):
    """Closes a folder: tests may run as root, whom no mode of it stops, so the answer of the system is replaced."""
    listed = os.scandir

    def scan(path):
        if os.fspath(path) == os.fspath(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scan)


class TestCheck:
    def test_a_sound_store_is_exit_code_0(self, store, capsys):
        as_folder(store, 2)
        assert main(["store", "check"]) == 0
        assert capsys.readouterr().out == f"3 entries in {store.root}, all sound\n"
        assert main(["store", "check", "--json"]) == 0
        told = {"store": str(store.root), "entries": 3, "damaged": []}
        assert json.loads(capsys.readouterr().out) == told

    @pytest.mark.parametrize("former", [False, True], ids=["file", "folder"])
    def test_damage_of_tensors_is_found_told_and_set_aside(self, store, capsys, former):
        place = as_folder(store, 2) if former else path_of(store, 2)
        path = place / "tensors.safetensors" if former else place
        path.write_bytes(path.read_bytes()[:-1])
        assert store.has(Spec(2))
        assert main(["store", "check", "--json"]) == 1
        out, err = capsys.readouterr()
        (damaged,) = json.loads(out)["damaged"]
        assert (damaged["fingerprint"], damaged["damage"]) == (KEYS[2], "its tensors were altered or cut")
        (aside,) = damaged["set_aside"]
        assert aside == str(next((store.root / "set-aside").iterdir()))
        assert "1 of 3 entries" in err
        assert "computed anew by the run that needs them" in err
        assert not store.has(Spec(2))
        assert main(["store", "check"]) == 0
        assert keep(store, Spec(2)).values == {"number": 2}

    def test_a_link_to_nothing_is_damaged(self, store, capsys):
        path_of(store, 2).unlink()
        path_of(store, 2).symlink_to("nowhere")
        assert main(["store", "check"]) == 1
        out, err = capsys.readouterr()
        assert out.startswith(f"{KEYS[2]}: it is a link to what is not there; {store.root / 'set-aside'}")
        assert "1 of 3 entries" in err
        assert not path_of(store, 2).is_symlink()

    def test_what_cannot_be_set_aside_is_told(self, store, capsys):
        path_of(store, 2).write_bytes(b"")
        (store.root / "set-aside").write_text("a file in the place of a folder")
        assert main(["store", "check"]) == 1
        assert capsys.readouterr().out.endswith("; it stays where it is\n")
        assert path_of(store, 2).read_bytes() == b""


@pytest.mark.parametrize("command", [["check"], ["prune"], ["prune", "--delete"]], ids=" ".join)
class TestNoStore:
    """What was not looked at is not called sound, and no notebook is asked for nothing."""

    @pytest.fixture(autouse=True)
    def asks_nobody(self, monkeypatch):
        monkeypatch.setattr(storing, "load_all", lambda: pytest.fail("asked notebooks"))
        monkeypatch.setattr(running, "plan_of_guide", lambda _: pytest.fail("asked a guide"))

    @pytest.mark.parametrize(("make", "told"), [(lambda path: None, "is not there"), (Path.touch, "is no folder")])
    def test_is_refused_at_once(self, tmp_path, monkeypatch, capsys, command, make, told):
        make(tmp_path / "wrong")
        monkeypatch.setenv("LMC_STORE", str(tmp_path / "wrong"))
        assert main(["store", *command]) == 1
        assert f"the store {tmp_path / 'wrong'} {told}: set LMC_STORE" in capsys.readouterr().err

    @pytest.mark.parametrize("inner", [False, True])
    def test_nor_one_that_cannot_be_listed(self, store, monkeypatch, capsys, command, inner):
        closed = path_of(store, 2).parent if inner else store.root / "runs"
        close(monkeypatch, closed)
        assert main(["store", *command]) == 1
        told = f"the store {store.root} cannot be listed: Permission denied: {closed}. Its owner can permit it"
        assert told in capsys.readouterr().err


class TestWaste:
    @pytest.fixture(autouse=True)
    def guides(self, tmp_path, monkeypatch):
        """A folder of notebooks with no guides."""
        monkeypatch.setattr(tree, "NOTEBOOKS", tmp_path / "notebooks")
        return tmp_path / "notebooks" / "guides"

    @pytest.fixture
    def later(self, monkeypatch):
        """Two days later, by the clock of what looks for waste."""
        clock = SimpleNamespace(time=lambda: time.time() + 2 * DAY)
        monkeypatch.setattr(stores.upkeep, "time", clock)

    @pytest.mark.usefixtures("later")
    def test_is_what_nobody_wants(self, store):
        folder = as_folder(store, 2)
        left = [store.root / "runs" / f".{KEYS[1]}-4711", path_of(store, 1).with_name(f".{KEYS[1]}.entry-host-1-a")]
        left[0].mkdir()
        (left[0] / "half").write_bytes(b"12345")
        left[1].write_bytes(b"123")
        (store.root / "set-aside").mkdir()
        (store.root / "set-aside" / "some").write_bytes(b"1234567")
        (store.root / "set-aside" / f"{KEYS[1]}.entry-1-a").write_bytes(b"damaged")
        found = waste(store, {KEYS[1]})
        content = {path_of(store, 3), folder, *left, *(store.root / "set-aside").iterdir()}
        assert {each.path for each in found if each.kind != "lock"} == content
        assert {each.path.stem for each in found if each.kind == "lock"} == {KEYS[2], KEYS[3]}
        taken = {each.path: each.bytes for each in found}
        assert taken[folder] == sum(path.stat().st_size for path in folder.iterdir())
        assert taken[path_of(store, 3)] == path_of(store, 3).stat().st_size
        assert [taken[path] for path in left] == [5, 3]
        remove(found)
        assert not any(os.path.lexists(each.path) for each in found)
        assert waste(store, {KEYS[1]}) == []
        assert list(store.keys()) == [KEYS[1]]
        assert store.get(Spec(1)).values == {"number": 1}

    @pytest.mark.usefixtures("later")
    @pytest.mark.parametrize("former", [False, True], ids=["file", "folder"])
    def test_is_no_finished_result_whose_writer_was_stopped_where_a_claim_needs_it(self, store, former):
        """The run that needs it takes it, unless a sound entry stands in its place or it is not whole."""
        place = as_folder(store, 1) if former else path_of(store, 1)
        left = place.with_name(f".{place.name}-host-1-a")
        content = path_of(store, 2).read_bytes()
        (shutil.copytree if former else shutil.copy)(place, left)
        half = path_of(store, 1).with_name(f".{KEYS[1]}.entry-host-2-b")
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(content)  # that of another

        def told():
            return {each.path for each in waste(store, {KEYS[1]}) if each.kind == "left behind"}

        assert told() == {left, half}
        damaged = place / "tensors.safetensors" if former else place
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert told() == {half}
        shutil.rmtree(place) if former else place.unlink()
        assert told() == {half}
        remove(waste(store, {KEYS[1]}))
        found = store.get_or_compute(Spec(1), lambda: pytest.fail("computed, although it was there"))
        assert torch.equal(found.tensors["weights"], torch.arange(100))

    def test_is_nothing_that_was_written_today(self, store):
        path_of(store, 1).with_name(f".{KEYS[1]}.entry-host-1-a").touch()
        os.utime(path_of(store, 2), (0, 0))  # copied with its old time
        assert waste(store, set()) == []

    @pytest.mark.usefixtures("later")
    @pytest.mark.parametrize("former", [False, True], ids=["file", "folder"])
    def test_is_looked_at_again_before_it_goes(self, store, former):
        """As where a run has written it anew meanwhile, or somebody else has removed it."""
        place = as_folder(store, 2) if former else path_of(store, 2)
        found = [each for each in waste(store, {KEYS[3]}) if each.kind == "entry"]
        assert {each.path for each in found} == {path_of(store, 1), place}
        path_of(store, 1).unlink()
        os.utime(place, (time.time() + 2 * DAY,) * 2)
        assert remove(found) == []
        assert store.has(Spec(2))

    @pytest.mark.usefixtures("later")
    def test_of_a_link_the_link_goes_alone(self, store, tmp_path):
        folder = as_folder(store, 2)
        for number, place in ((1, path_of(store, 1)), (2, folder)):
            place.rename(tmp_path / str(number))
            place.symlink_to(tmp_path / str(number))
        found = [each for each in waste(store, set()) if each.path in (path_of(store, 1), folder)]
        assert len(found) == 2
        assert sum(each.bytes for each in found) < 200 < (tmp_path / "1").stat().st_size
        remove(found)
        assert (tmp_path / "1").is_file()
        assert len(list((tmp_path / "2").iterdir())) == 2

    @pytest.mark.usefixtures("later")
    def test_is_told_and_removed_when_that_is_asked_for(self, store, monkeypatch, capsys):
        asked = {("one", "quick"): [1], ("two", "paper"): [3]}
        monkeypatch.setattr(storing, "load_all", lambda: {"one": None, "two": None})
        monkeypatch.setattr(
            running, "plan", lambda claim, profile: [{"fingerprint": KEYS[n]} for n in asked.get((claim, profile), [])]
        )
        taken = path_of(store, 2).stat().st_size
        assert main(["store", "prune"]) == 0
        first, second, last = capsys.readouterr().out.splitlines()
        assert first.split()[:5] == ["entries", "that", "no", "page", "asks"]
        assert second.split()[-3:] == ["1", "0", "bytes"]
        assert last == f"{size(taken)} in {store.root} can go: give --delete to remove it"
        assert store.has(Spec(2))
        assert main(["store", "prune", "--delete", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        kinds = [{"kind": "entry", "count": 1, "bytes": taken}, {"kind": "lock", "count": 1, "bytes": 0}]
        assert told == {"store": str(store.root), "kinds": kinds, "bytes": taken, "deleted": True}
        assert [store.has(Spec(number)) for number in (1, 2, 3)] == [True, False, True]
        assert main(["store", "prune", "--delete"]) == 0
        assert capsys.readouterr().out == f"nothing in {store.root} can go\n"

    @pytest.mark.usefixtures("later")
    def test_a_notebook_that_does_not_say_what_it_asks_for_stops_all(self, store, monkeypatch):
        def plan(claim, profile):
            raise running.Stopped("toy stopped in cell 3")

        monkeypatch.setattr(storing, "load_all", lambda: {"toy": None})
        monkeypatch.setattr(running, "plan", plan)
        assert main(["store", "prune", "--delete"]) == 1
        assert len(list(store.keys())) == 3

    @pytest.mark.usefixtures("later")
    @pytest.mark.parametrize("where", ["set-aside", "within", "locks"])
    def test_that_cannot_be_listed_is_told_and_not_passed_over(self, store, monkeypatch, capsys, where):
        aside = store.root / "set-aside"
        (aside / f"{KEYS[2]}-1-a" / "deep").mkdir(parents=True)
        closed = {"set-aside": aside, "within": aside / f"{KEYS[2]}-1-a" / "deep", "locks": store.root / "locks"}[where]
        close(monkeypatch, closed)
        monkeypatch.setattr(storing, "load_all", lambda: pytest.fail("asked notebooks"))
        for command in (["prune"], ["prune", "--delete"]):
            assert main(["store", *command]) == 1
            told = f"the store {store.root} cannot be listed: Permission denied: {closed}. Its owner can permit it"
            assert told in capsys.readouterr().err
        assert aside.is_dir()
        assert len(store.keys()) == 3

    @pytest.mark.usefixtures("later")
    def test_is_nothing_that_a_guide_asks_for(self, store, guides, monkeypatch, capsys):
        guides.mkdir(parents=True)
        for name in ("one", "two"):
            (guides / f"{name}.ipynb").touch()
        asked = {"one": [1], "two": [3]}
        monkeypatch.setattr(storing, "load_all", dict)
        monkeypatch.setattr(running, "plan_of_guide", lambda path: [{"fingerprint": KEYS[n]} for n in asked[path.stem]])
        assert main(["store", "prune", "--delete"]) == 0
        assert "entries that no page asks for             1" in capsys.readouterr().out
        assert [store.has(Spec(number)) for number in (1, 2, 3)] == [True, False, True]


class TestGuides:
    GUIDES = sorted(tree.NOTEBOOKS.glob("guides/*.ipynb"))

    def test_that_ask_for_nothing_are_not_executed(self, monkeypatch):
        asked = []
        monkeypatch.setattr(running, "_told", lambda variable, path, parameters: asked.append(path.stem) or ["row"])
        plans = {path.stem: running.plan_of_guide(path) for path in self.GUIDES}
        assert asked == ["how-matching-works"]
        assert {name: rows for name, rows in plans.items() if rows} == {"how-matching-works": ["row"]}

    @pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
    def test_that_use_a_store_fill_it_first(self, path):
        """So that their plans say what they use."""
        code = notebooks.code(path)
        assert ("Store" in code) == ("sweeps.fill(" in code)
        assert code.count("sweeps.fill(") <= 1

    @pytest.mark.slow
    def test_say_what_they_need(self, store):
        (guide,) = [path for path in self.GUIDES if path.stem == "how-matching-works"]
        rows = running.plan_of_guide(guide)
        assert [(row["type"], row["stored"], row["asked"]) for row in rows] == [("RunSpec", False, True)] * 5
        assert len(store.keys()) == 3


@pytest.fixture
def planned(monkeypatch):
    """What the claim asks for: results that are stored, and two that are not."""
    calls = []

    def plan(claim, **options):
        calls.append((claim, options))
        return [{"fingerprint": key} for key in KEYS.values()]

    monkeypatch.setattr(running, "plan", plan)
    return calls


class TestCarrying:
    @pytest.fixture
    def other(self, store, planned, tmp_path, monkeypatch, capsys):
        """Another, empty store, and a file of the results in the first."""
        as_folder(store, 2)
        arguments = ["store", "export", "toy", str(tmp_path / "results.tar"), "--profile", "laptop", "-p", "width=3"]
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith(f"3 of 5 results in {tmp_path / 'results.tar'}, ")
        assert planned == [("toy", {"profile": "laptop", "overrides": ["width=3"]})]
        monkeypatch.setenv("LMC_STORE", str(tmp_path / "other"))
        return Store(tmp_path / "other")

    def test_brings_every_result_as_it_was(self, store, other, tmp_path, capsys):
        assert main(["store", "import", str(tmp_path / "results.tar")]) == 0
        assert capsys.readouterr().out == f"3 of 3 results are new in {other.root}; the others were there\n"
        for number in (1, 2, 3):
            old, new = store.get(Spec(number)), other.get(Spec(number))
            assert dataclasses.replace(old, tensors={}) == dataclasses.replace(new, tensors={})
            assert old.tensors.keys() == new.tensors.keys()
            assert all(torch.equal(old.tensors[name], new.tensors[name]) for name in old.tensors)
        assert path_of(other, 1).read_bytes() == path_of(store, 1).read_bytes()

    def test_keeps_what_is_there_and_replaces_what_is_damaged(self, other, tmp_path, capsys):
        other.get_or_compute(Spec(1), lambda: Result({"mine": True}))
        other.get_or_compute(Spec(2), lambda: Result({"mine": True}))
        path_of(other, 2).write_bytes(b"damaged")
        assert main(["store", "import", str(tmp_path / "results.tar"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"store": str(other.root), "entries": 3, "taken": 2}
        assert other.get(Spec(1)).values == {"mine": True}
        assert other.get(Spec(2)).values == {"number": 2}
        assert [path.read_bytes() for path in (other.root / "set-aside").iterdir()] == [b"damaged"]

    def test_the_same_results_are_the_same_file_and_tell_of_no_owner(self, store, planned, tmp_path, capsys):
        files = [tmp_path / name for name in ("a.tar", "b.tar")]
        for file in files:
            assert main(["store", "export", "toy", str(file), "--json"]) == 0
            told = json.loads(capsys.readouterr().out)
            assert told == {"file": str(file), "entries": 3, "missing": 2, "damaged": 0, "bytes": file.stat().st_size}
        assert files[0].read_bytes() == files[1].read_bytes()
        with tarfile.open(files[0]) as archive:
            assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in archive} == {(0, 0, "", "", 0)}

    def test_damaged_results_are_not_carried(self, store, planned, tmp_path, capsys):
        path_of(store, 1).write_bytes(path_of(store, 1).read_bytes()[:-1])
        assert main(["store", "export", "toy", str(tmp_path / "a.tar")]) == 0
        out = capsys.readouterr().out
        assert "2 of 5 results" in out
        assert out.endswith(f"; 2 not in {store.root}; 1 damaged, as lmc store check tells\n")
        assert {entry.fingerprint for entry in read_archive(tmp_path / "a.tar")} == {KEYS[2], KEYS[3]}

    def test_records_that_ship_are_not_taken_for_results(self, store, planned, tmp_path, monkeypatch, capsys):
        """They have no tensors."""
        from lmc_lib import records

        entry = store.get(Spec(1))
        records.write(tmp_path / "records.json.gz", {}, {entry.fingerprint: entry.as_record()})
        shutil.rmtree(store.root)
        monkeypatch.setenv("LMC_RECORDS", str(tmp_path / "records.json.gz"))
        assert main(["store", "export", "toy", str(tmp_path / "a.tar")]) == 1
        assert "holds none of the 5 results of toy at the quick scale: compute them with lmc run toy" in (
            capsys.readouterr().err
        )
        assert not (tmp_path / "a.tar").exists()

    @pytest.mark.parametrize("damaged", [False, True])
    def test_where_nothing_can_be_carried_the_former_file_stays(self, store, planned, tmp_path, capsys, damaged):
        good = tmp_path / "a.tar"
        assert main(["store", "export", "toy", str(good)]) == 0
        content = good.read_bytes()
        for number in (1, 2, 3):
            path_of(store, number).write_bytes(path_of(store, number).read_bytes()[:-1])
            if number == 3 or not damaged:
                path_of(store, number).unlink()
        capsys.readouterr()
        assert main(["store", "export", "toy", str(good)]) == 1
        told = " (2 damaged)" if damaged else ""
        assert f"holds none of the 5 results of toy at the quick scale{told}: compute" in capsys.readouterr().err
        assert good.read_bytes() == content
        assert {each.name for each in tmp_path.iterdir()} == {"store", "a.tar"}

    @pytest.mark.parametrize("name", ["", ".", "..", "folder", "pipe"])
    def test_what_is_no_place_for_a_file_is_told_before_any_notebook_runs(
        self, store, planned, tmp_path, monkeypatch, capsys, name
    ):
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        monkeypatch.chdir(tmp_path)
        assert main(["store", "export", "toy", name]) == 1
        assert "is a folder or a device: name a file, such as toy.tar" in capsys.readouterr().err
        assert planned == []

    @pytest.mark.parametrize("name", [".", "folder", "pipe", "none"])
    def test_what_is_no_file_is_not_taken(self, store, tmp_path, monkeypatch, capsys, name):
        """Reading a pipe would wait for somebody who writes to it."""
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(stores, "read_archive", lambda path: pytest.fail(f"read {path}"))
        assert main(["store", "import", name]) == 1
        assert f"there is no file {name}: name one that lmc store export wrote" in capsys.readouterr().err

    def test_a_missing_folder_is_told_before_any_notebook_runs(self, store, planned, tmp_path, capsys):
        assert main(["store", "export", "toy", str(tmp_path / "none" / "a.tar")]) == 1
        assert "there is no folder" in capsys.readouterr().err
        assert planned == []

    def test_a_missing_file_is_told(self, store, tmp_path, capsys):
        assert main(["store", "import", str(tmp_path / "none.tar")]) == 1
        assert "none.tar" in capsys.readouterr().err


def member(name, content=b"", **more):
    found = tarfile.TarInfo(name)
    found.size = len(content)
    for key, value in more.items():
        setattr(found, key, value)
    return found, content


def archive(path, *members, mode="w:"):
    with tarfile.open(path, mode) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))


def entry_bytes(store, number):
    return b"".join(pack(store.get(Spec(number))))


class TestHostileArchives:
    """Nothing of a file that is not what ``lmc store export`` writes reaches the disk, also not what is sound in it."""

    def refused(self, store, path, capsys):
        target = Store(store.root.with_name("target"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LMC_STORE", str(target.root))
            assert main(["store", "import", str(path)]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"lmc: {path} is no archive of results, or was cut or altered: ")
        assert err.endswith("Nothing was taken from it: copy or export it again\n")
        assert not target.root.exists()
        assert {each.name for each in store.root.parent.iterdir()} == {"store", path.name}

    @pytest.mark.parametrize(
        "bad",
        [
            lambda store: member(f"../{KEYS[2]}.entry", entry_bytes(store, 2)),
            lambda store: member(f"/tmp/{KEYS[2]}.entry", entry_bytes(store, 2)),
            lambda store: member(f"a/{KEYS[2]}.entry", entry_bytes(store, 2)),
            lambda store: member("../../evil", b"evil"),
            lambda store: member(f"{KEYS[2]}.entry", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            lambda store: member(f"{KEYS[2]}.entry", type=tarfile.LNKTYPE, linkname=f"{KEYS[1]}.entry"),
            lambda store: member(f"{KEYS[2]}.entry", type=tarfile.DIRTYPE),
            lambda store: member(f"{KEYS[2]}.entry", type=tarfile.FIFOTYPE),
            lambda store: member(f"{KEYS[2]}.entry", type=tarfile.CHRTYPE),
            lambda store: member(f"{KEYS[2]}.entry", entry_bytes(store, 1)),
            lambda store: member(f"{KEYS[2]}.entry", entry_bytes(store, 2)[:-1]),
            lambda store: member(f"{KEYS[2]}.entry", b"\x80\x04\x95cposix\nsystem\n"),
            lambda store: member(f"{KEYS[2]}.entry", entry_bytes(store, 2).replace(b'"number": 2', b'"number": 3')),
            lambda store: member(f"{KEYS[1]}.entry", entry_bytes(store, 1)),
        ],
        ids=["up", "absolute", "in a folder", "no entry", "link", "hard link", "folder", "pipe", "device", "of another",
             "cut", "pickle", "altered", "twice"],
    )  # fmt: skip
    def test_a_member_that_is_no_entry(self, store, tmp_path, capsys, bad):
        listed = member("contents.json", json.dumps([KEYS[1], KEYS[2]]).encode())
        archive(tmp_path / "bad.tar", member(f"{KEYS[1]}.entry", entry_bytes(store, 1)), bad(store), listed)
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("listed", [None, b"", b"[]", b"{}", b"null", b'["other"]', b"\xff", b"[" * 9999])
    def test_a_wrong_list_of_contents(self, store, tmp_path, capsys, listed):
        members = [member(f"{KEYS[1]}.entry", entry_bytes(store, 1))]
        members += [] if listed is None else [member("contents.json", listed)]
        archive(tmp_path / "bad.tar", *members)
        self.refused(store, tmp_path / "bad.tar", capsys)

    def test_an_entry_that_is_there_and_listed_twice(self, store, tmp_path, capsys):
        entry = member(f"{KEYS[1]}.entry", entry_bytes(store, 1))
        archive(tmp_path / "bad.tar", entry, entry, member("contents.json", json.dumps([KEYS[1]] * 2).encode()))
        self.refused(store, tmp_path / "bad.tar", capsys)

    def test_something_behind_the_list(self, store, tmp_path, capsys):
        members = [member(f"{KEYS[n]}.entry", entry_bytes(store, n)) for n in (1, 2)]
        archive(tmp_path / "bad.tar", members[0], member("contents.json", json.dumps([KEYS[1]]).encode()), members[1])
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("order", [("list", "list", "entry"), ("list", "entry"), ("entry", "list", "list")])
    def test_a_list_that_is_not_the_last_or_not_the_only_one(self, store, tmp_path, capsys, order):
        listed = member("contents.json", json.dumps([KEYS[1]]).encode())
        members = {"list": listed, "entry": member(f"{KEYS[1]}.entry", entry_bytes(store, 1))}
        archive(tmp_path / "bad.tar", *(members[each] for each in order))
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
    def test_headers_that_follow_each_other_without_end(self, store, tmp_path, capsys, kind):
        content = {tarfile.XHDTYPE: b"9 path=a\n", tarfile.GNUTYPE_LONGNAME: b"a\0"}[kind]
        archive(tmp_path / "bad.tar", *[member("more", content, type=kind)] * 3000, member("a"))
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
    def test_a_header_of_a_terabyte(self, store, tmp_path, capsys, kind):
        header, _ = member("more", type=kind, size=10**12)
        (tmp_path / "bad.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
        self.refused(store, tmp_path / "bad.tar", capsys)

    def test_a_sparse_file_of_terabytes(self, store, tmp_path, capsys):
        name = f"{KEYS[1]}.entry"
        told = {"major": "0", "minor": "1", "map": "", "size": str(2**42), "name": name}
        headers = {f"GNU.sparse.{key}": value for key, value in told.items()}
        archive(tmp_path / "bad.tar", member(name, pax_headers=headers))
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
    def test_a_compressed_one(self, store, tmp_path, capsys, mode):
        """Some bytes could stand for terabytes."""
        archive(tmp_path / "bad.tar", member(f"{KEYS[1]}.entry", entry_bytes(store, 1)), mode=mode)
        self.refused(store, tmp_path / "bad.tar", capsys)

    @pytest.mark.parametrize("content", [b"", b"noise", b"\0" * 2048], ids=["empty", "noise", "zeros"])
    def test_what_is_none(self, store, tmp_path, capsys, content):
        (tmp_path / "bad.tar").write_bytes(content)
        self.refused(store, tmp_path / "bad.tar", capsys)

    def test_a_cut_at_any_place_and_a_flipped_bit_of_an_entry(self, store, tmp_path):
        path = tmp_path / "good.tar"
        write_archive(path, [store.get(Spec(number)) for number in (1, 3)])
        content = path.read_bytes()
        assert [entry.fingerprint for entry in read_archive(path)] == [KEYS[1], KEYS[3]]
        with tarfile.open(path) as file:
            *entries, last = file.getmembers()
        for end in [*range(0, last.offset_data + last.size, 97), last.offset, last.offset_data + last.size - 1]:
            path.write_bytes(content[:end])
            with pytest.raises(BadArchive):
                list(read_archive(path))
        for each in entries:
            for place in range(each.offset_data, each.offset_data + each.size, 53):
                path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
                with pytest.raises(BadArchive):
                    list(read_archive(path))


def test_an_archive_of_nothing_replaces_none(store, tmp_path):
    write_archive(tmp_path / "a.tar", [store.get(Spec(1))])
    with pytest.raises(ValueError, match=f"there are no entries to write to {tmp_path / 'a.tar'}"):
        write_archive(tmp_path / "a.tar", [])
    assert [entry.fingerprint for entry in read_archive(tmp_path / "a.tar")] == [KEYS[1]]


def test_what_is_packed_is_unpacked(store):
    for number in (1, 3):
        entry = store.get(Spec(number))
        again = unpack(entry.fingerprint, b"".join(pack(entry)))
        assert dataclasses.replace(entry, tensors={}) == dataclasses.replace(again, tensors={})
        assert entry.tensors.keys() == again.tensors.keys()


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.54e6, "2.5 MB"), (3e11, "300.0 GB")]
)
def test_bytes_are_told_in_the_unit_that_fits(count, words):
    assert size(count) == words
