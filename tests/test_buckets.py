"""A store in a bucket: one server of S3 for these tests, and machines that are folders of their own."""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
import torch
from steps import FIRST, SUM, TOP, Step

from lmc_lib import files
from lmc_lib.cli import main
from lmc_lib.store import Bucket, Busy, NotStored, Result, Store, StoreError, bucket, fingerprint, remove, waste
from lmc_lib.sweeps import fill
from lmc_lib.sweeps.working import work

pytest.importorskip("s3fs", reason="s3fs, of the extra cluster, is absent")
errors = pytest.importorskip("botocore.exceptions")


@dataclasses.dataclass(frozen=True)
class Spec:
    number: int


@pytest.fixture(scope="module")
def server():
    """A server of buckets on the loopback, in a process of its own."""
    moto = pytest.importorskip("moto.server")
    del moto
    program = (
        "import sys, time\n"
        "from moto.server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)\n"
        "server.start()\n"
        "print(server.get_host_and_port()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as started:
        yield f"http://127.0.0.1:{started.stdout.readline().strip()}"
        started.kill()


@pytest.fixture
def address(server, tmp_path, monkeypatch):
    """A folder of a bucket that nobody else uses, and what s3fs reads to find it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("LMC_RECORDS", "LMC_COMPUTE", "LMC_STALE_BEFORE"):
        monkeypatch.delenv(name, raising=False)
    objects = fsspec.filesystem("s3", use_listings_cache=False)
    if not objects.exists("results"):
        objects.mkdir("results")
    return f"s3://results/{tmp_path.name}"


@pytest.fixture
def machine(tmp_path, address):
    """Makes the store of a machine that has nothing yet."""

    def made(name, **more):
        return Store(tmp_path / name, bucket=Bucket(address), **more)

    return made


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.WARNING, "lmc_lib.store")
    return caplog


def result_of(spec):
    return Result({"number": spec.number}, {"weights": torch.arange(1000, dtype=torch.float64) * spec.number})


def stored(store, spec):
    return store.get_or_compute(spec, lambda: result_of(spec))


def served(store, spec):
    return store.get_or_compute(spec, lambda: pytest.fail("computed, although it is stored"))


def objects(address):
    return fsspec.core.url_to_fs(address, use_listings_cache=False)


def path_of(address, spec):
    key = fingerprint(spec)
    return f"{address.removeprefix('s3://')}/runs/{key[:2]}/{key}.entry"


def rewritten(address, spec, change):
    """Writes what ``change`` makes of the content of an object."""
    there, path = objects(address)[0], path_of(address, spec)
    content = change(there.cat_file(path))
    there.pipe_file(path, content)
    return content


def cut(content):
    return content[:-7]


class TestEntry:
    def test_computed_on_one_machine_is_served_on_others_with_its_tensors(self, machine):
        first = stored(machine("one"), Spec(3))
        other = machine("two")
        assert other.has(Spec(3))
        assert not (other.root / "runs").exists()  # who only asks takes no copy
        found = served(other, Spec(3))
        assert (found.values, found.provenance) == (first.values, first.provenance)
        assert torch.equal(found.tensors["weights"], first.tensors["weights"])
        assert other.keys() == [fingerprint(Spec(3))]

    def test_object_is_the_file_to_the_byte(self, machine, address):
        store = machine("one")
        stored(store, Spec(5))
        key = fingerprint(Spec(5))
        path = store.root / "runs" / key[:2] / f"{key}.entry"
        assert objects(address)[0].cat_file(path_of(address, Spec(5))) == path.read_bytes()

    def test_copy_is_read_without_the_bucket(self, machine, monkeypatch):
        stored(machine("one"), Spec(3))
        served(other := machine("two"), Spec(3))
        monkeypatch.setattr(Bucket, "fetch", lambda *_, **__: pytest.fail("asked the bucket"))
        assert other.get(Spec(3)).values == {"number": 3}

    def test_missing_one_is_missing(self, machine):
        store = machine("one")
        assert store.get(Spec(1)) is None and not store.has(Spec(1)) and store.keys() == []
        with pytest.raises(NotStored, match=r"no entry [0-9a-f]{20} in s3://results/"):
            machine("two", compute=False).get_or_compute(Spec(1), lambda: pytest.fail("computed"))

    def test_of_two_writers_the_first_is_kept_and_both_return_it(self, machine):
        slow, fast = machine("slow"), machine("fast")

        def overtaken():
            entry = stored(machine("third"), Spec(7))  # its lease was lost
            assert entry.values == {"number": 7}
            return Result({"number": 70})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "lease", lambda *_, **__: contextlib.nullcontext())
            assert slow.get_or_compute(Spec(7), overtaken).values == {"number": 7}
        assert served(fast, Spec(7)).values == served(slow, Spec(7)).values == {"number": 7}

    def test_long_description_is_read_whole_where_no_tensors_are_wanted(self, machine):
        values = {"many": list(range(30_000))}
        machine("one").get_or_compute(Spec(2), lambda: Result(values, {"weights": torch.ones(9)}))
        found = machine("two").find(fingerprint(Spec(2)), tensors=False)
        assert (found.values, found.tensors) == (values, {})

    @pytest.mark.parametrize(
        "change",
        [cut, lambda _: b"", lambda _: b"{}\n", lambda content: content.replace(b'"number": 3', b'"number": 4')],
    )
    def test_damaged_one_is_computed_anew_and_set_aside(self, machine, address, log, change):
        stored(machine("one"), Spec(3))
        bad = rewritten(address, Spec(3), change)
        other = machine("two")
        assert other.get(Spec(3)) is None
        assert "it counts as missing" in log.text
        stored(other, Spec(3))
        assert served(machine("three"), Spec(3)).values == {"number": 3}
        there, root = objects(address)
        (aside,) = there.find(f"{root}/set-aside")
        assert there.cat_file(aside) == bad

    def test_damaged_copy_is_mended_by_the_bucket(self, machine):
        stored(machine("one"), Spec(3))
        served(other := machine("two"), Spec(3))
        (path,) = other.root.rglob("*.entry")
        sound = path.read_bytes()
        path.write_bytes(cut(sound))
        assert torch.equal(served(other, Spec(3)).tensors["weights"], torch.arange(1000, dtype=torch.float64) * 3)
        assert path.read_bytes() == sound

    def test_stale_one_is_replaced_everywhere(self, machine):
        stored(machine("one"), Spec(3))
        began = time.time()
        renewed = machine("two", stale_before=began).get_or_compute(Spec(3), lambda: Result({"number": 33}))
        assert renewed.values == {"number": 33}
        assert served(machine("three"), Spec(3)).values == {"number": 33}
        assert served(machine("one", stale_before=began), Spec(3)).values == {"number": 33}

    def test_what_cannot_be_put_there_is_kept_and_put_there_next_time(self, machine, log):
        store = machine("one")

        def gone(*_, **__):
            raise StoreError("the server is gone")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Bucket, "put", gone)
            with pytest.raises(StoreError, match="the server is gone"):
                stored(store, Spec(3))
        assert not store.has(Spec(3))  # for others it is not there
        assert served(store, Spec(3)).values == {"number": 3}
        assert "what a writer had finished" in log.text
        assert served(machine("two"), Spec(3)).values == {"number": 3}
        assert [path.name for path in store.root.glob("runs/*/*")] == [f"{fingerprint(Spec(3))}.entry"]


class TestLease:
    def test_makes_others_wait_or_go_on(self, machine, address):
        store, other = machine("one"), machine("two")
        key = fingerprint(Spec(3))

        def meanwhile():
            assert store.is_computed(key) and other.is_computed(key)
            with pytest.raises(Busy, match=key):
                other.get_or_compute(Spec(3), lambda: pytest.fail("computed twice"), wait=False)
            return result_of(Spec(3))

        store.get_or_compute(Spec(3), meanwhile)
        assert not store.is_computed(key)
        there, root = objects(address)
        assert there.find(f"{root}/leases") == []
        assert served(other, Spec(3)).values == {"number": 3}

    def test_of_a_machine_that_died_runs_out(self, machine, monkeypatch):
        held, key = machine("dead").bucket, fingerprint(Spec(3))
        lease = held.lease(key, wait=False)
        lease.__enter__()
        with pytest.raises(Busy):
            machine("one").get_or_compute(Spec(3), lambda: pytest.fail("computed"), wait=False)
        now = time.time()
        monkeypatch.setattr(bucket.time, "time", lambda: now + 301)
        assert not machine("one").is_computed(key)
        assert stored(machine("one"), Spec(3)).values == {"number": 3}
        lease.__exit__(None, None, None)  # it was not dead; what it finds is not its own
        assert machine("one").has(Spec(3))

    def test_of_a_clock_that_is_far_ahead_holds_up_nobody(self, machine, address):
        key = fingerprint(Spec(3))
        there, root = objects(address)
        ahead = {"token": "of a machine that lives tomorrow", "until": time.time() + 86_400}
        there.pipe_file(f"{root}/leases/{key[:2]}/{key}.json", json.dumps(ahead).encode())
        assert not machine("one").is_computed(key)
        assert stored(machine("one"), Spec(3)).values == {"number": 3}

    def test_is_ours_if_the_answer_to_our_own_call_was_lost(self, machine, monkeypatch):
        """Whoever sends it anew hears that there is one."""
        put = Bucket._put
        monkeypatch.setattr(Bucket, "_put", lambda *each, **more: put(*each, **more) and put(*each, **more))
        with machine("one").bucket.lease(fingerprint(Spec(3)), wait=False):
            assert machine("two").is_computed(fingerprint(Spec(3)))

    def test_is_renewed_while_it_is_needed(self, machine, monkeypatch):
        monkeypatch.setattr(bucket, "_LEASE", 0.6)
        monkeypatch.setattr(bucket, "_RENEWED", 0.1)
        store, key = machine("one"), fingerprint(Spec(3))

        def long():
            time.sleep(1.2)
            assert machine("two").is_computed(key)
            return result_of(Spec(3))

        store.get_or_compute(Spec(3), long)
        time.sleep(0.2)
        assert not machine("two").is_computed(key)

    def test_is_waited_for(self, machine):
        store, other = machine("one"), machine("two")
        lease = store.bucket.lease(fingerprint(Spec(3)), wait=False)
        lease.__enter__()
        looks = []

        def look(seconds):
            looks.append(seconds)
            if len(looks) == 3:
                store.add(stored(Store(other.root / "apart"), Spec(3)))
                lease.__exit__(None, None, None)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucket.time, "sleep", look)
            assert served(other, Spec(3)).values == {"number": 3}
        assert len(looks) == 3


class TestRefusal:
    @pytest.mark.parametrize(
        ("address", "told"),
        [
            ("nope://results/here", "cannot be read: Protocol not known: nope"),
            ("gs://results/here", "needs a package: .*gcsfs"),
            ("s3://nowhere/at/all", "cannot be read: The specified bucket does not exist"),
        ],
    )
    @pytest.mark.usefixtures("address")
    def test_comes_before_anything_is_computed(self, tmp_path, address, told):
        store = Store(tmp_path / "one", bucket=Bucket(address))
        with pytest.raises(StoreError, match=told):
            store.get_or_compute(Spec(1), lambda: pytest.fail("computed"))

    def test_of_a_server_that_is_gone_names_the_store(self, machine, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        store = Store(machine("one").root, bucket=Bucket("s3://results/gone"))
        fsspec.filesystem("s3").clear_instance_cache()
        with pytest.raises(StoreError, match=r"s3://results/gone cannot be read: .*127\.0\.0\.1:9"):
            store.has(Spec(1))
        fsspec.filesystem("s3").clear_instance_cache()


class TestAnswers:
    """What other servers say to a conditional write than that of the tests: s3fs knows not all of it."""

    @pytest.fixture
    def answering(self, monkeypatch):
        def answering(status, code):
            def refuse(*_, mode, **__):
                assert mode == "create"
                answer = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
                raise OSError(errno.EINVAL, code) from errors.ClientError(answer, "PutObject")

            files = SimpleNamespace(pipe_file=refuse)
            monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *_, **__: (files, "results"))

        return answering

    @pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")])
    def test_that_there_is_one_or_that_somebody_writes_it_is_no_error(self, machine, answering, status, code):
        key = fingerprint(Spec(3))
        answering(status, code)
        assert machine("one").bucket.put(key, b"a", b"b") is False

    @pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (403, "AccessDenied")])
    def test_that_it_cannot_be_done_is_one(self, machine, answering, status, code):
        answering(status, code)
        with pytest.raises(StoreError, match=f"cannot be written: .*{code}"):
            machine("one").bucket.put(fingerprint(Spec(3)), b"a")


class TestEnvironment:
    def test_names_a_bucket_and_the_copies_of_each_lie_apart(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("LMC_STORE", "s3://results/here/")
        store = Store.from_environment()
        assert (store.bucket, store.name) == (Bucket("s3://results/here"), "s3://results/here")
        monkeypatch.setenv("LMC_STORE", "s3://results/there")
        assert store.root.parent == Store.from_environment().root.parent == tmp_path / ".cache" / "lmc" / "buckets"
        assert store.root != Store.from_environment().root
        monkeypatch.setenv("LMC_STORE", str(tmp_path / "plain"))
        assert Store.from_environment() == Store(tmp_path / "plain")
        assert Store.from_environment().name == str(tmp_path / "plain")


class TestSweep:
    def test_of_two_processes_is_shared_by_two_machines(self, machine):
        fill(machine("one"), FIRST[:2], workers=2)
        computed = work(machine("two"), [[*FIRST], [SUM], [TOP]]).computed
        assert len(computed) == 5 and not {fingerprint(each) for each in FIRST[:2]} & set(computed)
        assert machine("three").get(TOP).values == Store(machine("two").root).get(TOP).values == {"sum": 117}

    def test_killed_in_the_middle_goes_on_elsewhere(self, address, machine, tmp_path):
        """The lease of the dead is taken over when it has run out, and nothing half-written is there."""
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from lmc_lib.store import Store, Bucket\n"
            "from steps import FIRST\n"
            "from lmc_lib.sweeps import obtain\n"
            "store = Store(Path(sys.argv[1]), bucket=Bucket(sys.argv[2]))\n"
            "obtain(store, FIRST[0])\n"
            "def compute():\n"
            "    print('begun', flush=True)\n"
            "    time.sleep(60)\n"
            "store.get_or_compute(FIRST[1], compute)\n"
        )
        path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
        command = [sys.executable, "-c", program, str(tmp_path / "dead"), address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}) as dead:
            assert dead.stdout.readline() == b"begun\n"
            assert machine("one").is_computed(fingerprint(FIRST[1]))
            dead.send_signal(signal.SIGKILL)
        with pytest.MonkeyPatch.context() as patch:
            now = time.time
            patch.setattr(bucket.time, "time", lambda: now() + 301)
            fill(machine("one"), FIRST[:2], workers=1)
        assert [machine("two").get(each).values["sum"] for each in FIRST[:2]] == [1, 2]


class TestUpkeep:
    @pytest.fixture
    def shared(self, machine, address, monkeypatch):
        monkeypatch.setenv("LMC_STORE", address)
        store = machine("one")
        for number in (1, 2, 3):
            stored(store, Spec(number))
        return store

    def test_check_reads_what_the_bucket_has_and_sets_damage_aside(self, shared, address, capsys):
        assert main(["store", "check"]) == 0
        assert capsys.readouterr().out == f"3 entries in {address}, all sound\n"
        bad = rewritten(address, Spec(2), cut)
        assert main(["store", "check", "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        (found,) = told["damaged"]
        assert (told["store"], told["entries"], found["fingerprint"]) == (address, 3, fingerprint(Spec(2)))
        (place,) = found["set_aside"]
        assert objects(address)[0].cat_file(place) == bad
        assert shared.bucket.fetch(fingerprint(Spec(2))) is None

    def test_a_sound_copy_takes_the_place_of_what_is_set_aside(self, shared, address):
        sound = objects(address)[0].cat_file(path_of(address, Spec(2)))
        rewritten(address, Spec(2), cut)
        assert len(shared.set_aside(fingerprint(Spec(2)))) == 1
        assert objects(address)[0].cat_file(path_of(address, Spec(2))) == sound

    def test_what_somebody_computes_is_set_aside_by_nobody_else(self, shared, address):
        key, bad = fingerprint(Spec(2)), rewritten(address, Spec(2), cut)
        with shared.bucket.lease(key, wait=False):
            assert shared.set_aside(key) == []
            assert objects(address)[0].cat_file(path_of(address, Spec(2))) == bad

    def test_objects_of_others_in_the_same_bucket_stay(self, shared, address, monkeypatch):
        there, root = objects(address)
        key = fingerprint(Spec(9))
        others = ["runs/first/model.pt", f"runs/ab/{key}.entry.bak", f"set-aside/{key}", "leases/of/flats.json", "a"]
        for name in others:
            there.pipe_file(f"{root}/{name}", b"theirs")
        monkeypatch.setattr(files, "ABANDONED", -60.0)
        remove([each for each in waste(shared, set()) if each.bucket])
        assert sorted(there.find(root)) == sorted(f"{root}/{name}" for name in others)

    def test_what_nobody_asks_for_goes_after_a_day(self, shared, address, monkeypatch):
        wanted = {fingerprint(Spec(1))}
        there, root = objects(address)
        for name in (f"set-aside/{fingerprint(Spec(1))}.entry-1-a", f"leases/aa/{fingerprint(Spec(9))}.json"):
            there.pipe_file(f"{root}/{name}", b"old")
        assert [each for each in waste(shared, wanted) if each.bucket] == []
        monkeypatch.setattr(files, "ABANDONED", -60.0)
        found = [each for each in waste(shared, wanted) if each.bucket]
        assert sorted((each.kind, each.bytes) for each in found)[-2:] == [("lock", 3), ("set aside", 3)]
        assert {each.path.stem for each in found if each.kind == "entry"} == {fingerprint(Spec(n)) for n in (2, 3)}
        monkeypatch.setattr(files, "ABANDONED", 60.0)
        assert remove(found) == []  # written anew meanwhile
        monkeypatch.setattr(files, "ABANDONED", -60.0)
        assert remove(found) == found
        assert shared.bucket.keys() == [fingerprint(Spec(1))]
        assert [each for each in waste(shared, wanted) if each.bucket] == []


def test_a_step_that_fails_is_told_by_name(machine):
    with pytest.raises(ValueError, match="no -4"):
        fill(machine("one"), [Step(-4)], workers=1)
