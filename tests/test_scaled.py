"""What is counted and simulated of sweeps at the scale of papers agrees with closed forms and sums."""

import json
import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaled import costs, empty, plans
from scaled.schedule import Machines, Work, course, critical_path

from builder import scale
from lmc_lib.data import DataSpec
from lmc_lib.definitions import read_all
from lmc_lib.models import ModelSpec
from lmc_lib.store import describe

# Three results that need nothing, one that needs two of them, one that needs that.
WORKS = {
    "a": Work(1.0),
    "b": Work(2.5),
    "c": Work(0.75),
    "d": Work(4.0, ("a", "b")),
    "e": Work(0.5, ("d",)),
}


@st.composite
def graphs(draw):
    """Some results, each of which may need those before it."""
    hours = draw(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=13))
    return {
        str(place): Work(each, tuple(str(need) for need in draw(st.sets(st.integers(0, place - 1))) if place))
        if place
        else Work(each)
        for place, each in enumerate(hours)
    }


def simulated(works, devices, seed=0, **machines):
    return course(works, Machines(devices, **machines), random.Random(seed))


class TestCourse:
    def test_one_device_takes_the_sum(self):
        assert simulated(WORKS, 1, start_up=0.5).hours == pytest.approx(0.5 + 8.75)

    def test_many_devices_take_the_longest_chain(self):
        assert critical_path(WORKS) == pytest.approx(2.5 + 4.0 + 0.5)
        assert simulated(WORKS, 7, start_up=0.5).hours == pytest.approx(0.5 + 7.0)

    def test_what_is_first_is_begun_first(self):
        # On two devices a and b, then c beside b; d begins as b ends.
        assert simulated(WORKS, 2).hours == pytest.approx(2.5 + 4.0 + 0.5)
        late = {key: WORKS[key] for key in "acbde"}
        # Now a and c, then b on the device of c, which ends at 0.75 + 2.5.
        assert simulated(late, 2).hours == pytest.approx(3.25 + 4.0 + 0.5)

    @given(works=graphs(), devices=st.integers(1, 5), start_up=st.floats(0.0, 2.0))
    def test_no_sweep_is_faster_than_its_bounds_or_slower_than_grahams(self, works, devices, start_up):
        total, longest = sum(each.hours for each in works.values()), critical_path(works)
        hours = simulated(works, devices, start_up=start_up).hours - start_up
        assert hours > max(total / devices, longest) - 1e-9
        assert hours < total / devices + (1 - 1 / devices) * longest + 1e-9  # Graham (1969)

    def test_failures_take_what_they_take_on_average(self):
        hours, start_up, mean = 3.0, 0.5, 4.0
        found = [
            simulated({"a": Work(hours)}, 1, seed, start_up=start_up, between_failures=mean) for seed in range(4000)
        ]
        # Of exponential times between failures: tries until one is long enough, each but the last with a start.
        failures = 2.718281828459045 ** (hours / mean) - 1
        expected = start_up + failures * (mean + start_up)
        deviation = statistics.stdev(each.hours for each in found) / len(found) ** 0.5
        assert statistics.mean(each.hours for each in found) == pytest.approx(expected, abs=4 * deviation)
        assert statistics.mean(each.failures for each in found) == pytest.approx(failures, rel=0.1)
        for each in found:
            assert each.hours == pytest.approx(start_up * (1 + each.failures) + each.lost + hours)

    def test_a_device_is_taken_away_and_asked_for_again(self):
        # It begins nothing in the last tenth of 10 h: ten results of an hour, and the last after a second start.
        works = {str(place): Work(1.0) for place in range(11)}
        assert simulated(works, 1, start_up=0.25, walltime=10.0).hours == pytest.approx(11 + 2 * 0.25)
        assert simulated(works, 1, start_up=0.25, walltime=1000.0).hours == pytest.approx(11 + 0.25)

    def test_a_result_that_no_job_can_finish_is_refused(self):
        with pytest.raises(ValueError, match=r"takes 4\.0 h.*a longer walltime"):
            simulated(WORKS, 2, walltime=39.0)


class TestCosts:
    def test_operations_of_a_network_of_matrices(self):
        network = ModelSpec("mlp", width=11, depth=2)
        # Forward, to weights and to inputs, but for the inputs of the first layer.
        products = 3 * (64 * 11 + 11 * 11 + 11 * 10) - 64 * 11
        assert costs.operations(network, DataSpec("digits"), 7) == 2 * 7 * products

    def test_the_run_is_found_wherever_it_stands(self):
        run = {"model": {}, "data": {}, "train": {}}
        assert costs.run_of({"twins": [{"parent": {"run": run}}, 3]}) is run
        assert costs.run_of({"model": {}, "data": {}}) is None

    def test_an_update_costs_what_its_batch_asks_for(self):
        def described(batch):
            return {
                "model": describe(ModelSpec("mlp", width=11, depth=2)),
                "data": describe(DataSpec("digits")),
                "train": {"type": "TrainConfig", "steps": 30, "lr": 0.1, "batch_size": batch},
            }

        small, large = (costs.update(described(batch)) for batch in (7, 21))
        assert large.operations == 3 * small.operations and min(small.seconds, large.seconds) > 0


def row(key, updates=0, needs=(), seconds=None, width=11):
    spec = {
        "model": {"family": "mlp", "width": width, "depth": 2},
        "data": {"name": "digits"},
        "train": {"steps": 30, "lr": 0.1, "batch_size": 7},
    }
    return {"fingerprint": key, "updates": updates, "needs": list(needs), "seconds": seconds, "spec": {"run": spec}}


class TestPlans:
    ROWS = (row("a", 30), row("b", 50, width=23), row("m", needs=("a", "b"), seconds=2.0), row("n", seconds=3.5))

    def test_hours_are_operations_at_a_rate_and_a_share_of_them(self):
        first, second = (
            costs.operations(ModelSpec("mlp", width=width, depth=2), DataSpec("digits"), 7) for width in (11, 23)
        )
        found = plans.works(self.ROWS, rate=1e6, measuring=0.25)
        trained = [30 * first / 1e6 / 3600, 50 * second / 1e6 / 3600]
        assert [found[key].hours for key in "ab"] == pytest.approx(trained)
        assert [found[key].hours for key in "mn"] == pytest.approx([0.25 * sum(trained) / 2] * 2)
        assert [found[key].needs for key in "abmn"] == [(), (), ("a", "b"), ()]
        assert plans.works(self.ROWS, rate=1e6, measuring=None)["m"].hours == 0

    def test_the_share_of_measurements_is_known_where_all_are_stored(self):
        trained = sum(updates * update.seconds for updates, update in plans.trainings(self.ROWS).values())
        assert plans.measured_share(self.ROWS) == pytest.approx(5.5 / trained)
        assert plans.measured_share([*self.ROWS, row("o")]) is None
        assert plans.measured_share(self.ROWS[2:]) is None

    def test_a_training_whose_network_is_not_told_is_none_of_them(self):
        assert set(plans.trainings([*self.ROWS, row("x", 5) | {"spec": {"norm": "none"}}])) == {"a", "b"}


def test_the_overhead_is_that_of_all_results(tmp_path):
    found = empty.overhead(tmp_path, 13, 1)
    assert found["results"] == 13 and found["files"] >= 1 and found["bytes"] >= 512
    assert 0 < found["again"] < found["fill"]


def cells(line):
    return [each.strip() for each in line.strip("|").split("|")]


COURSES = {"1": {"hours": 20.5}, "8": {"hours": 3.25}}
COUNTS = {"networks": 1234, "measurements": 56, "operations": 7.2e17, "passes": 30, "core hours": 2468.4}
RESULT = {
    "claims": [
        {"claim": "one", **COUNTS, "device hours": 20.04, "measuring": 0.25, "courses": COURSES},
        {"claim": "two", **COUNTS, "operations": 0, "device hours": 0.0, "measuring": None, "courses": COURSES},
    ],
    "setting": {"rate": 3e13, "runs": 11},
    "machines": {"start_up": 0.25, "walltime": 72.0, "between_failures": 1500.0},
    "together": {**COUNTS, "device hours": 40.0, "longest chain": 2.34, "courses": COURSES},
    "growth": [
        {"change": "", **COUNTS},
        {"change": "seeds=20", "networks": 2468, "measurements": 84, "operations": 1.8e17, "passes": 33},
    ],
    "overheads": [
        {
            "results": 1000,
            "workers": 2,
            "fill": 3.456,
            "again": 0.123,
            "bytes": 4096.0,
            "files": 2.0,
            "memory": 621.4,
        }
    ],
}


class TestTables:
    @staticmethod
    def rows(start):
        return [cells(line) for line in scale.tables(RESULT).splitlines() if line.startswith(start)]

    def test_a_claim_has_what_it_asks_for_and_is_named_apart_where_nothing_tells_what_it_costs(self):
        assert self.rows("| {doc}") == [
            ["{doc}`claims/one`", "1,234", "56", "7.2e+17", "2,468", "20.0", "20%", "3.2 h"]
        ]
        assert self.rows("| all") == [["all, each result once", "1,234", "56", "7.2e+17", "2,468", "40", "", "3.2 h"]]
        assert "So the table lacks {doc}`claims/two` (56)." in scale.tables(RESULT)

    def test_what_is_assumed_of_devices_is_told(self):
        (told,) = [line for line in scale.tables(RESULT).splitlines() if line.startswith("Taken for granted")]
        for each in ("3e+13 operations", "0.25 h after", "72 h after", "1,500 h", "medians of 11", "takes 2.3 h"):
            assert each in told

    def test_growth_is_told_by_ratios_to_what_is_not_changed(self):
        assert self.rows("| `") == [["`seeds=20`", "× 2", "× 1.5", "× 0.25", "× 1.1"]]

    def test_what_is_added_to_a_result(self):
        assert self.rows("| 1,000") == [["1,000", "2", "3.46", "0.12", "4.1", "2.0", "621"]]


SHIPPED = json.loads((Path(__file__).parents[1] / "book" / "at-scale.json").read_text())


class TestThatOfTheBook:
    def test_has_claims_of_the_book_alone_in_their_order(self):
        told = [each["claim"] for each in SHIPPED["claims"]]
        assert told == [name for name in read_all() if name in told]

    def test_no_number_of_devices_is_faster_than_the_longest_chain_or_their_share(self):
        for each in [*SHIPPED["claims"], SHIPPED["together"]]:
            for devices, found in each["courses"].items():
                assert found["hours"] > max(each["longest chain"], each["device hours"] / int(devices)) - 1e-9

    def test_what_claims_share_is_computed_once(self):
        for name in ("networks", "measurements", "operations", "device hours"):
            assert SHIPPED["together"][name] <= sum(each[name] for each in SHIPPED["claims"]) * (1 + 1e-9)
