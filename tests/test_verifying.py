"""Records held against what is computed anew, never what is stored: by their digits, or by bounds of chance."""

import json
import random
from collections import defaultdict
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import records
from lmc_lib.cli import main, running, tree, verdicts, verifying
from lmc_lib.cli.verifying import Difference, against_chance, by_chance, differences, is_portable, sample, verified
from lmc_lib.store import Entry, Store
from lmc_lib.store.address import hashed
from lmc_lib.training import TrainConfig

FILES = tree.shipped()


class TestDigits:
    RECORD: ClassVar = {"a": [1, {"b": 0.5, "ties": 0.25, "c": None}], "d": "x"}

    def changed(self, number=1, **inner):
        other = {"a": [number, {"b": 0.5, "ties": 0.25, "c": None} | inner], "d": "x"}
        return [each.path for each in differences(other, self.RECORD)]

    def test_are_compared_at_every_depth(self):
        assert self.changed() == self.changed(b=0.500009) == self.changed(ties=0.2504) == []
        assert self.changed(b=0.50002) == self.changed(b=0.49998) == [("a", 1, "b")]
        assert self.changed(ties=0.2506) == [("a", 1, "ties")]
        assert self.changed(number=2) == [("a", 0)]
        assert self.changed(c=0) == [("a", 1, "c")]
        assert self.changed(b=None) == self.changed(b="0.5") == [("a", 1, "b")]

    def test_of_other_keys_or_lengths_differ_as_a_whole(self):
        assert list(differences({"a": [1], "d": "x"}, self.RECORD)) == [Difference(("a",), self.RECORD["a"], [1])]
        for other in ({"a": self.RECORD["a"]}, {"a": self.RECORD["a"], "e": "x"}, [1, 2]):
            assert [each.path for each in differences(other, self.RECORD)] == [()]

    def test_are_told_with_their_place_and_both_values(self):
        (told,) = differences({"a": [1, 0.25]}, {"a": [1, 0.5]})
        assert str(told) == "a.1: 0.5 -> 0.25"
        assert str(Difference((), list(range(100)), 1)).startswith("all: [0, 1, 2, ")
        assert len(str(Difference((), list(range(100)), 1))) < 80


class TestChance:
    ALIKE: ClassVar = [
        {"x": [1.0, 10.0, 3.0], "n": 5}, {"x": [2.0, 10.5, 3.0], "n": 6}, {"x": [1.5, 12.0, 3.0], "n": 7},
    ]  # fmt: skip

    def test_allows_half_of_the_range_on_both_sides(self):
        assert by_chance([2.0, 1.0, 4.0]) == (-0.5, 5.5)

    def test_is_left_where_more_than_half_of_the_numbers_are_beyond(self):
        assert against_chance({"x": [0.5, 13.0, 3.0], "n": 9}, self.ALIKE) == []
        assert against_chance({"x": [0.4, 13.0, 3.0], "n": 9}, self.ALIKE) == []
        assert against_chance({"x": [0.4, 13.1, 3.0], "n": 9}, self.ALIKE) == [
            Difference(("x", 0), [0.5, 2.5], 0.4),
            Difference(("x", 1), [9.0, 13.0], 13.1),
        ]

    def test_is_left_where_numbers_are_missing(self):
        assert [each.new for each in against_chance({"diverged": True}, self.ALIKE)] == [None] * 3

    def test_has_no_bounds_for_what_is_like_too_few(self):
        assert against_chance({"x": [99.0, 99.0, 99.0]}, self.ALIKE[:2]) == []

    def test_seldom_leaves_it_in_the_records_and_tells_other_settings_apart(self):
        """Each record of the laptop scale against some that differ in their seeds alone, and against others."""
        draw, held, failed, others, told = random.Random(0), 0, 0, 0, 0
        for path in FILES:
            if not records.stem(path).endswith("-laptop"):
                continue
            groups = defaultdict(list)
            for each in records.read(path)["records"].values():
                groups[json.dumps(verifying._but_seeds(each["spec"]))].append(each["values"])
            large = [group for group in groups.values() if len(group) > 5]
            for before, group in zip([*large[1:], *large[:1]], large, strict=True):
                one, *alike = draw.sample(group, 6)
                held, failed = held + 1, failed + bool(against_chance(one, alike))
                if before is not group:
                    others, told = others + 1, told + bool(against_chance(before[0], alike))
        assert held > 200
        assert failed / held < 0.03
        assert told / others > 0.3


def test_portable_is_what_was_trained_so_alone():
    config = {"type": "TrainConfig", "steps": 3, "precision": "portable"}
    assert is_portable({"type": "PairSpec", "runs": [{"train": config}, {"train": config | {"lr": 0.1}}]})
    assert not is_portable({"type": "PairSpec", "runs": [{"train": config}, {"train": {"type": "TrainConfig"}}]})
    assert not is_portable({"type": "Flow", "precision": "portable"})
    assert TrainConfig(3).precision == "float32"  # what a description leaves out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of records, of five and of twenty."""
    folder = tmp_path_factory.mktemp("files")
    for name, count in (("a", 5), ("b", 20)):
        content = {f"{name}{number}": {"values": {}} for number in range(count)}
        records.write(folder / f"{name}{records.SUFFIX}", {}, content)
    return sorted(folder.glob("*"))


class TestSample:
    @given(seed=st.integers(0, 10**6), count=st.integers(1, 30))
    def test_has_no_record_twice_and_is_the_same_for_one_seed(self, files, seed, count):
        found = sample(files, count, seed)
        keys = [key for keys in found.values() for key in keys]
        assert len(set(keys)) == len(keys) == min(count, 25)
        assert all(key[0] == path.name[0] for path, keys in found.items() for key in keys)
        assert sample(files, count, seed) == found

    def test_is_another_for_another_seed_and_reaches_all(self, files):
        drawn = [frozenset(key for keys in sample(files, 5, seed).values() for key in keys) for seed in range(60)]
        assert len(set(drawn)) > 50
        assert len(frozenset.union(*drawn)) == 25


PARAMETERS = 'scale: str = "quick"  # name of the profile'
CELL = """
from dataclasses import dataclass
from typing import ClassVar

from lmc_lib import sweeps
from lmc_lib.store import Result, Store


@dataclass(frozen=True)
class Half(sweeps.Spec):
    kind: ClassVar[str] = "Half"
    noun: ClassVar[str] = "halves"
    number: int
    label: ClassVar[str] = "half"

    def compute(self, store):
        return Result({"half": {"of": 1 / self.number}})


sweeps.fill(Store.from_environment(), [Half(number) for number in range(5)], workers=1)
"""


def described(number):
    return {"type": "Half", "number": number}


@pytest.fixture
def toy(claim_that_asks, monkeypatch):
    """A claim of five measurements, of which one cannot be computed; the records of three and of one that it left."""
    monkeypatch.setattr(verdicts, "load", lambda claim: SimpleNamespace(id=claim))
    monkeypatch.setattr(verdicts, "load_all", lambda: ["toy"])
    return claim_that_asks(PARAMETERS, CELL)


def recorded(toy, wrong=(), numbers=(1, 2, 4)):
    """Writes records, and the same results into the store: of some of them, half of what they are."""
    origin = {"created": "", "commit": "", "machine": "", "device": "", "seconds": 0.0}
    found = {}
    for number in numbers:
        values = {"half": {"of": 1 / (number or 1) / (2 if number in wrong else 1)}}
        entry = Entry(hashed(described(number)), described(number), values, {}, origin)
        Store(toy / "store").add(entry)
        found[entry.fingerprint] = entry.as_record()
    judged = {"title": "a toy", "verdict": "supported"}
    report = {"claim": "toy", "scale": "quick", "verdict": "supported", "settings": [judged], "controls": []}
    records.write(tree.record_of("toy", "quick"), report, found)


@pytest.mark.slow
class TestCommand:
    def test_finds_what_is_as_recorded(self, toy, capsys):
        recorded(toy)
        assert main(["verify", "toy"]) == 0
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(
            f"toy (quick), Half {hashed(described(number))}: the same" for number in (1, 2, 4)
        )

    def test_names_what_differs_though_the_store_says_the_same(self, toy, capsys):
        recorded(toy, wrong=[2])
        assert main(["verify", "toy"]) == 1
        out, err = capsys.readouterr()
        told = f"toy (quick), Half {hashed(described(2))}: 1 values differ, by digits; its spec is "
        assert told + json.dumps(described(2)) + "\n  half.of: 0.25 -> 0.5\n" in out
        assert out.count(": the same") == 2
        assert err.startswith("lmc: 1 of 3 records, drawn with seed 0, are not what is computed")

    def test_names_what_cannot_be_computed_or_is_not_asked_for(self, toy, capsys):
        recorded(toy, numbers=[9])
        assert main(["verify", "toy", "--json"]) == 1
        (told,) = json.loads(capsys.readouterr().out)
        assert (told["claim"], told["spec"], told["differences"]) == ("toy", described(9), [])
        assert told["problem"] == "the notebook does not ask for it"
        recorded(toy, numbers=[0, 1])
        assert main(["verify", "--all"]) == 1
        assert "not computed: ZeroDivisionError: division by zero" in capsys.readouterr().out


class TestRefusals:
    @pytest.fixture(autouse=True)
    def no_notebook(self, monkeypatch):
        monkeypatch.setattr(running, "execute", lambda *_, **__: pytest.fail("ran a notebook"))

    def test_of_a_sample_of_nothing(self, toy, capsys):
        assert main(["verify", "toy", "--sample", "0"]) == 1
        assert "--sample takes at least one record, got 0" in capsys.readouterr().err

    def test_of_a_scale_without_records(self, toy, capsys):
        recorded(toy)
        assert main(["verify", "toy", "--profile", "laptop"]) == 1
        told = "there are no records of toy at the laptop scale: measure with lmc run toy --profile laptop --records"
        assert told in capsys.readouterr().err

    def test_of_a_damaged_file(self, toy, capsys):
        recorded(toy)
        tree.record_of("toy", "quick").write_bytes(b"")
        assert main(["verify", "toy"]) == 1
        assert "toy-quick.json.gz is no file of records" in capsys.readouterr().err


def test_float32_is_held_against_what_differs_in_its_seeds_alone(toy, monkeypatch):
    """By the record's own scale and arithmetic, whatever the notebook is."""

    def spec(seed, **config):
        return {"type": "Twin", "seed": seed, "run": {"train": {"type": "TrainConfig"} | config, "init_seed": seed}}

    found = {"a": spec(1), "b": spec(2), "c": spec(3), "d": spec(4, lr=0.5), "e": spec(5, precision="portable")}
    values = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    judged = {"title": "a toy", "verdict": "supported"}
    report = {"claim": "toy", "scale": "laptop", "verdict": "supported", "settings": [judged], "controls": []}
    path = tree.record_of("toy", "laptop")
    records.write(path, report, {key: {"spec": found[key], "values": {"x": values[key]}} for key in found})
    monkeypatch.setattr(running, "work", lambda *_, **__: {"failed": []})
    for moved, beyond in ((0.5, "e"), (2.5, "bce")):
        monkeypatch.setattr(
            Store, "find", lambda store, key, tensors, moved=moved: SimpleNamespace(values={"x": values[key] + moved})
        )
        told = {each.key: each for each in verified(path, list(found))}
        assert {key: each.by for key, each in told.items()} == {
            "a": "chance", "b": "chance", "c": "chance", "d": "nothing", "e": "digits",
        }  # fmt: skip
        assert "".join(key for key, each in told.items() if each.differences) == beyond
