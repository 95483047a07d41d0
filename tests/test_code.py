"""The code behind a result: whatever changes its numbers changes the hash, and nothing else does."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from steps import FIRST, SUM, TOP, Step

from lmc_lib import store as stores
from lmc_lib.cli import main, running
from lmc_lib.store import Result, Store, code_of
from lmc_lib.sweeps import fill, obtain
from lmc_lib.sweeps.plan import renewed

ROOT = Path(__file__).parents[1]
PAIR = "lmc_lib.experiments.connectivity.pair"


@pytest.fixture
def edited(tmp_path):
    """The hash of a module in a copy of the library in which a file was edited; without a file, as it is."""
    count = 0

    def edited(path=None, change=None, module=PAIR):
        nonlocal count
        count += 1
        root = tmp_path / str(count)  # what is read is kept by its place
        shutil.copytree(ROOT / "lmc_lib", root / "lmc_lib", ignore=shutil.ignore_patterns("__pycache__"))
        if path:
            file = root / "lmc_lib" / path
            text = file.read_text()
            file.write_text(change(text))
            assert file.read_text() != text
        return code_of(module, root)

    return edited


def instead(old, new):
    return lambda text: re.sub(old, new, text, count=1)


# Of a pair: its own module, one that it imports, and one in the depth: pair -> alignment -> matching -> ascent -> rng.
DEEP = "matching/ascent.py"


class TestHash:
    def test_does_not_depend_on_the_place(self, edited):
        assert edited() == code_of(PAIR)
        assert re.fullmatch("[0-9a-f]{20}", edited())

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text + "\n# A comment.\n",
            instead('"""', '"""Another docstring. '),
            instead(r'(\n    """)', r"\1Another docstring. "),
            lambda text: text.replace("\n\n\n", "\n\n\n\n\n"),
            lambda text: text.replace(", ", ",    "),
        ],
        ids=["comment", "docstring of the module", "docstring of a function", "lines", "spaces"],
    )
    @pytest.mark.parametrize("path", ["experiments/connectivity/pair.py", DEEP])
    def test_does_not_change_with_what_makes_no_number(self, edited, path, change):
        assert edited(path, change) == code_of(PAIR)

    @pytest.mark.parametrize(
        "path", ["experiments/connectivity/pair.py", "experiments/measurement.py", "alignment.py", DEEP, "rng.py"]
    )
    def test_changes_with_a_function_at_any_depth(self, edited, path):
        assert edited(path, instead(r"\n( +)return ", r"\n\1return None or ")) != code_of(PAIR)

    @pytest.mark.parametrize(
        "path",
        [
            "flow/stairs.py", "experiments/connectivity/chains.py", "experiments/__init__.py", "charges/laws.py",
            "claims/design.py", "store/store.py", "sweeps/filling.py", "cli/running.py",
        ],
    )  # fmt: skip
    def test_does_not_change_with_what_is_not_used(self, edited, path):
        assert edited(path, lambda text: text + "\nANOTHER = 1\n") == code_of(PAIR)

    def test_of_another_module_is_another(self):
        names = [PAIR, "lmc_lib.experiments.networks.runs", "lmc_lib.experiments.dynamics.regimes", __name__]
        assert len({code_of(name) for name in names}) == len(names)

    def test_of_what_has_no_file_is_unknown(self):
        assert code_of("no_such_module") is code_of("builtins") is None

    def test_of_modules_elsewhere_counts_what_they_import(self, edited, tmp_path, monkeypatch):
        (tmp_path / "mine.py").write_text("from lmc_lib.matching import weight_matching\n")
        monkeypatch.syspath_prepend(tmp_path)
        __import__("mine")
        change = instead(r"\n( +)return ", r"\n\1return None or ")
        assert edited(DEEP, change, "mine") != edited(None, None, "mine") == code_of("mine")
        assert edited("symmetry/spec.py", change, "mine") != edited("alignment.py", change, "mine") == code_of("mine")
        monkeypatch.delitem(sys.modules, "mine")

    def test_names_that_packages_pass_on_are_found_where_they_are_defined(self, tmp_path):
        def library(**files):
            root = tmp_path / str(len(list(tmp_path.iterdir())))
            for name, text in {"__init__": "", "a.__init__": "", "b": "from lmc_lib.a import f\n", **files}.items():
                path = root / "lmc_lib" / f"{name.replace('.', '/')}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return code_of("lmc_lib.b", root)

        package = {"a.__init__": "from lmc_lib.a.c import g as f\nfrom lmc_lib.a.d import h\n"}
        first = library(**package, **{"a.c": "def g(): return 1", "a.d": "def h(): return 1"})
        assert library(**package, **{"a.c": "def g(): return 1", "a.d": "def h(): return 2"}) == first
        assert library(**package, **{"a.c": "def g(): return 2", "a.d": "def h(): return 1"}) != first
        whole = {"b": "from lmc_lib import a\n", **package}
        first = library(**whole, **{"a.c": "def g(): return 1", "a.d": "def h(): return 1"})
        assert library(**whole, **{"a.c": "def g(): return 1", "a.d": "def h(): return 2"}) != first
        within = {"b": "def f():\n    from lmc_lib.a.c import g\n    return g()\n"}
        assert library(**within, **{"a.c": "def g(): return 1"}) != library(**within, **{"a.c": "def g(): return 2"})

    def test_two_that_import_each_other_end(self, tmp_path):
        (tmp_path / "lmc_lib").mkdir()
        for name, other in ("ab", "ba"):
            (tmp_path / "lmc_lib" / f"{name}.py").write_text(f"import lmc_lib.{other}\n")
        assert code_of("lmc_lib.a", tmp_path)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def changed(monkeypatch):
    """Lets all specs be of another code from now on, in the store and in plans."""

    def changed(code):
        monkeypatch.setattr(stores.store, "code_of", lambda module: code)
        monkeypatch.setattr("lmc_lib.sweeps.plan.code_of", lambda module: code)

    return changed


class TestRenewal:
    def test_of_results_is_noted_with_them(self, store):
        assert obtain(store, Step(1)).provenance["code"] == code_of("steps")

    def test_counts_what_other_code_made_and_what_needs_that(self, store, changed):
        changed(None)
        obtain(store, FIRST[0])
        changed("a")
        obtain(store, FIRST[3])
        obtain(store, FIRST[1])
        changed("b")
        obtain(store, SUM)  # of the code as it is, from a network of another
        obtain(store, FIRST[4])
        again = renewed(store, [TOP, *FIRST])
        assert [again.has(each) for each in (*FIRST, SUM, TOP)] == [True, False, False, False, True, False, False]
        assert renewed(store, [FIRST[0], FIRST[2], FIRST[4]]) == store

    def test_computes_those_once_and_no_others(self, store, changed, monkeypatch):
        done, compute = [], Step.compute
        monkeypatch.setattr(Step, "compute", lambda spec, store: done.append(spec) or compute(spec, store))
        changed("a")
        fill(store, [SUM], workers=1)
        changed("b")
        fill(store, FIRST[1:3], workers=1)
        fill(store, [SUM, *FIRST], workers=1)  # without being asked, what is stored is served
        assert len(done) == 6
        monkeypatch.setenv("LMC_SAME_CODE", "1")
        for _ in range(2):
            fill(store, [SUM, *FIRST], workers=1)
            assert set(done[6:]) == {SUM, FIRST[0], FIRST[3]}
            assert len(done) == 9
        assert {obtain(store, each).provenance["code"] for each in (SUM, *FIRST)} == {"b"}

    def test_leaves_records_that_do_not_tell_their_code(self, store, changed, tmp_path):
        entry = store.get_or_compute(SUM, lambda: Result({"sum": 1}))
        unknown = {name: value for name, value in entry.provenance.items() if name != "code"}
        other = Store(tmp_path / "other")
        other.add(replace(entry, provenance=unknown))
        changed("b")
        assert renewed(other, [SUM]).has(SUM)
        assert not renewed(store, [SUM]).has(SUM)

    def test_leaves_what_is_not_named_as_it_is(self, store):
        for each in FIRST[:2]:
            obtain(store, each)
        some = replace(store, stale_before=time.time(), stale=frozenset([stores.fingerprint(FIRST[0])]))
        assert [some.has(each) for each in FIRST[:2]] == [False, True]


def test_a_run_asks_for_it_by_its_option(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(running, "run", lambda claim, **_: asked.append(running.os.environ.get("LMC_SAME_CODE")) or {})
    for arguments in ([], ["--same-code"]):
        with pytest.raises(KeyError):  # the report is none
            main(["run", "weak-connectivity", "--out", str(tmp_path), *arguments])
    assert asked == [None, "1"]


def test_the_hash_is_the_same_in_every_process():
    command = [sys.executable, "-c", f"from lmc_lib.store import code_of; print(code_of({PAIR!r}))"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_of(PAIR)
