"""Three and more networks: simplices and chains against compositions by hand, and their statistics."""

import dataclasses
import itertools

import numpy as np
import pytest

from lmc_lib import connectivity, experiments, matching, rng, symmetry
from lmc_lib.claims import balanced_sets
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity.chains import ChainSpec
from lmc_lib.experiments.connectivity.simplices import METHODS as EVERY
from lmc_lib.experiments.connectivity.simplices import SimplexSpec, barriers, simplex, typical
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.setting import setting
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=64, test_examples=40)
TRAIN = TrainConfig(steps=6, batch_size=32, precision="portable")
RUNS = experiments.runs.replicas(ModelSpec("mlp", 5, 2), DATA, TRAIN, 4)
# The slowest way has a test of its own, on all networks at once.
METHODS = tuple(method for method in EVERY if method != "cycle")
SAMPLE = {"train_examples": 40, "test_examples": 30, "matching_examples": 32}
DIVERGING = dataclasses.replace(TRAIN, lr=1e200)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def specs(runs, *options, methods=EVERY, **others):
    return experiments.simplices.specs(runs, *options, methods=methods, **others)


def measured(store, runs, size=3, **options):
    return experiments.measure(store, specs(runs, size, **options))


def chained_through(store, runs, length=4, **options):
    return experiments.measure(store, experiments.chains.specs(runs, length, **options))


@pytest.fixture(scope="module")
def found(store):
    return measured(store, RUNS, methods=METHODS, resolution=3, **SAMPLE)


@pytest.fixture(scope="module")
def chained(store):
    return chained_through(store, RUNS, points=3, **SAMPLE)


@pytest.fixture(scope="module")
def here():
    return setting(RUNS[0], reset_examples=1024, **SAMPLE)


@pytest.fixture(scope="module")
def states(store):
    return [experiments.runs.obtain_run(store, run).final for run in RUNS]


def matched(here, states, method, target, source):
    """The permutation that ``PairSpec`` finds for two of the networks."""
    return here.match(method, states[target], states[source], generator=rng.stream(0, method, target, source))


class TestSpecs:
    def test_every_triple_stands_once_with_the_earliest_first(self):
        members = [tuple(map(RUNS.index, each.networks)) for each in specs(RUNS).values()]
        assert members == [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
        assert list(specs(RUNS, 4)) == [(0, 1, 2, 3)]

    def test_rounds_are_balanced_sets(self):
        runs = experiments.runs.replicas(ModelSpec("mlp", 4, 1), DATA, TRAIN, 8)
        assert list(specs(runs, 3, 2)) == balanced_sets(8, 3, 2)

    @pytest.mark.parametrize(("count", "size", "rounds"), [(10, 3, 3), (9, 3, 4), (7, 4, 2), (8, 3, 7)])
    def test_in_rounds_every_number_stands_equally_often(self, count, size, rounds):
        sets = balanced_sets(count, size, rounds)
        assert len(set(sets)) == len(sets) == rounds * count  # no set of these is the same after fewer shifts
        assert sets == sorted(sets)
        assert {sum(member in each for each in sets) for member in range(count)} == {rounds * size}
        shifted = {tuple(sorted((member + 1) % count for member in each)) for each in sets}
        assert shifted == set(sets)

    def test_more_rounds_than_there_are_give_all_sets(self):
        sets = list(itertools.combinations(range(4), 3))
        assert balanced_sets(4, 3, 3) == sets == balanced_sets(4, 3)

    def test_no_round_is_refused(self):
        with pytest.raises(ValueError, match="at least one round of sets is measured, got 0"):
            specs(RUNS, rounds=0)

    def test_chains_start_at_every_network_and_go_around(self):
        members = [tuple(map(RUNS.index, each.networks)) for each in experiments.chains.specs(RUNS, 3).values()]
        assert members == [(0, 1, 2), (1, 2, 3), (2, 3, 0), (3, 0, 1)]

    @pytest.mark.parametrize("spec", [specs(RUNS)[0, 1, 2], experiments.chains.specs(RUNS)[0, 1, 2, 3]])
    def test_specs_need_their_networks_and_are_addressed_by_them(self, spec):
        assert spec.needs == spec.networks
        assert spec.label == RUNS[0].label
        turned = dataclasses.replace(spec, networks=spec.networks[::-1])
        assert fingerprint(turned) != fingerprint(spec)

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_fewer_than_three_networks_are_refused(self, count):
        with pytest.raises(ValueError, match=f"at least three networks here, got {count}"):
            SimplexSpec(tuple(RUNS[:count]), EVERY)
        with pytest.raises(ValueError, match=f"at least three networks, got {count}"):
            ChainSpec(tuple(RUNS[:count]))

    def test_methods_are_known_and_hold_both_matchings(self):
        with pytest.raises(ValueError, match="unknown method 'star'; there are none, weights"):
            SimplexSpec(tuple(RUNS), ("weights", "activations", "star"))
        with pytest.raises(ValueError, match="weights and activations"):
            SimplexSpec(tuple(RUNS), ("none", "weights"))

    def test_a_chain_is_no_longer_than_the_networks(self):
        with pytest.raises(ValueError, match="a chain of 4 networks needs as many replicas, got 3"):
            experiments.chains.specs(RUNS[:3])


class TestSimplices:
    def test_every_triple_is_measured_in_every_way(self, found):
        assert (found.count, found.diverged) == (4, ())
        assert list(found.values) == list(itertools.combinations(range(4), 3))
        for record in found.values.values():
            assert tuple(record["scores"]) == METHODS

    @pytest.mark.parametrize("method", ["weights", "activations"])
    def test_networks_are_matched_to_the_first_and_never_to_each_other(self, found, here, states, method):
        moved = [states[1]]
        for source in (2, 3):
            permutation = matched(here, states, method, 1, source)
            moved.append(symmetry.permute(states[source], permutation, here.permutations))
        expected = connectivity.simplex(here.model, moved, here.splits, resolution=3)
        for split, surface in expected.items():
            stored = simplex(found, (1, 2, 3), method, split)
            np.testing.assert_allclose(stored.loss, surface.loss, rtol=1e-8)
            np.testing.assert_allclose(stored.error, surface.error, rtol=1e-8)

    def test_every_method_leaves_the_corners(self, found):
        for members, split, quantity in itertools.product(found.values, ("train", "test"), ("loss", "error")):
            corners = [simplex(found, members, each, split).corners(quantity).tolist() for each in METHODS]
            assert all(each == corners[0] for each in corners)
        assert experiments.simplices.corners(found, "test", "error").shape == (12,)

    def test_lines_are_those_of_the_pairs(self, store, found):
        options = {**SAMPLE, "points": 4, "reset_examples": 1024}
        pairs = experiments.measure(store, experiments.pair.PairSpec.of_pairs(RUNS, **options))
        for method in ("none", "weights", "activations"):
            edge = simplex(found, (0, 2, 3), method, "test").edge(0, 1)
            np.testing.assert_allclose(edge.loss, pairs.values[0, 2]["curves"][method]["test"]["loss"], rtol=1e-8)

    def test_parts_of_the_boundary_are_no_higher_than_the_whole(self, found):
        for method, quantity in itertools.product((*METHODS, "best"), ("loss", "error")):
            whole, direct, indirect = (
                barriers(found, method, "test", quantity, part=part) for part in ("simplex", "direct", "indirect")
            )
            assert (np.maximum(direct, indirect) <= whole + 1e-12).all()
            edges = [simplex(found, each, "none", "test").edge(1, 2).barrier(quantity) for each in found.values]
            if method == "none":
                assert indirect.tolist() == edges

    def test_cycle_errors_are_those_of_pairwise_matching(self, found, here, states):
        pairwise = {(i, j): matched(here, states, "weights", i, j) for i, j in itertools.combinations((0, 1, 3), 2)}
        expected = matching.cycle_error(here.permutations, pairwise)
        assert found.of("cycle_error", "weights")[1] == pytest.approx(expected, abs=1e-8)

    def test_all_networks_at_once_are_one_set(self, store):
        found = measured(store, RUNS, 4, resolution=2, **SAMPLE)
        assert list(found.values) == [(0, 1, 2, 3)]
        assert found.symmetric(barriers(found, "cycle", "test", "loss")).shape == (4, 4, 4, 4)

    def test_diverged_networks_are_listed_and_their_triples_left_out(self, store):
        bad = experiments.runs.RunSpec(RUNS[0].model, DATA, DIVERGING, 1, 1)
        found = measured(store, [RUNS[0], bad, *RUNS[2:]], methods=METHODS, resolution=3, **SAMPLE)
        assert (list(found.values), found.diverged) == ([(0, 2, 3)], (1,))
        assert np.isnan(found.symmetric(barriers(found, "none", "test", "loss"))).sum() == 4**3 - 6
        with pytest.raises(Diverged):
            measured(store, [bad, *RUNS[:2]], resolution=3, **SAMPLE)


class TestChains:
    @pytest.mark.parametrize("method", ["weights", "activations"])
    def test_permutations_are_composed_neighbour_by_neighbour(self, chained, here, states, method):
        groups = here.permutations
        first, second, third = (matched(here, states, method, i, i + 1) for i in range(3))
        ways = [first, symmetry.compose(first, second, groups)]
        ways.append(symmetry.compose(ways[1], third, groups))
        for number, (way, state) in enumerate(zip(ways, states[1:], strict=True)):
            line = here.line(states[0], symmetry.permute(state, way, groups), 3)["test"]
            stored = chained.of("barriers", method, "chain", "test loss")[0, number]
            assert stored == pytest.approx(line.barrier("loss"), abs=1e-8)

    @pytest.mark.parametrize("method", ["weights", "activations"])
    def test_cycles_come_back_to_the_first_network(self, chained, here, states, method):
        groups, there, turned = here.permutations, symmetry.identity(here.permutations), []
        for length in range(2, 5):
            there = symmetry.compose(there, matched(here, states, method, length - 2, length - 1), groups)
            back = matched(here, states, method, length - 1, 0)
            around = symmetry.compose(there, back, groups)
            stored = chained.of("barriers", method, "cycle", "train loss")[0, length - 1]
            assert stored == pytest.approx(self.height(here, states[0], around), abs=1e-8)
            kept = chained.of("fixed_points", method)[0, length - 1]
            assert kept == pytest.approx(symmetry.fixed_points(around), abs=1e-8)
            turned.append(abs(stored - self.height(here, states[0], symmetry.compose(back, there, groups))))
        # Some of these cycles differ from what is composed the other way round.
        assert max(turned) > 1e-3

    def height(self, here, state, permutation):
        return here.line(state, here.permuted(state, permutation), 3)["train"].barrier()

    def test_a_cycle_of_one_permutation_is_the_network_itself(self, chained):
        for method in ("weights", "activations"):
            assert chained.of("barriers", method, "chain", "test error").shape == (4, 3)
            assert chained.of("barriers", method, "cycle", "test error").shape == (4, 4)
            assert chained.of("barriers", method, "cycle", "train loss")[:, 0].tolist() == [0.0] * 4
            assert chained.of("fixed_points", method)[:, 0].tolist() == [1.0] * 4

    def test_diverged_networks_are_listed_and_their_chains_left_out(self, store):
        bad = experiments.runs.RunSpec(RUNS[0].model, DATA, DIVERGING, 1, 1)
        found = chained_through(store, [RUNS[0], bad, *RUNS[2:]], 3, points=3, **SAMPLE)
        assert (list(found.values), found.diverged) == ([(2, 3, 0)], (1,))
        with pytest.raises(Diverged):
            chained_through(store, [bad, *RUNS[:2]], 3, points=3, **SAMPLE)


def scores(height):
    """A triangle of resolution 2, flat but for the middles of its edges; they stand at places 1, 2 and 4."""
    direct, other, indirect = height
    return [0.25, 0.25 + direct, 0.25 + other, 0.25, 0.25 + indirect, 0.25]


def record_of(train_loss, test_error):
    """Scores of one triple by method: heights in train loss and test error as given, and elsewhere impossible ones."""
    return {
        "scores": {
            method: {
                "train": {"loss": scores((train_loss[method],) * 3), "error": scores((7.0,) * 3)},
                "test": {"loss": scores((8.0,) * 3), "error": scores(test_error[method])},
            }
            for method in train_loss
        },
        "cycle_error": {"weights": train_loss["weights"], "activations": 0.0},
    }


class TestStatistics:
    """Against values made by hand; all of them are sums of powers of two, or nearly so."""

    HEIGHTS = (0.5, 0.25, 0.125, 1.0)

    def simplices(self, factor=1.0):
        values = {
            # Weight matching is better in train loss for the second triple only.
            members: record_of(
                {"none": 2.0, "weights": 0.0 if number == 1 else 1.0, "activations": 0.5},
                {
                    "none": (height, 0.0, 0.0),
                    "weights": (0.0, factor * height / 4, factor * height / 2),
                    "activations": (0.0, factor * height / 8, factor * height / 4),
                },
            )
            for number, (members, height) in enumerate(
                zip(itertools.combinations(range(4), 3), self.HEIGHTS, strict=True)
            )
        }
        return Found(4, values)

    def test_best_is_chosen_by_train_loss(self):
        found = self.simplices()
        assert barriers(found, "best", "test", "error").tolist() == [0.125, 0.125, 0.03125, 0.25]
        assert barriers(found, "best", "test", "error", part="direct").tolist() == [0.0625, 0.0625, 0.015625, 0.125]
        assert barriers(found, "weights", "test", "error", part="indirect").tolist() == [0.25, 0.125, 0.0625, 0.5]

    def test_arrays_are_symmetric_with_gaps(self):
        found = self.simplices()
        array = found.symmetric(barriers(found, "none", "test", "error"))
        for members, height in zip(itertools.combinations(range(4), 3), self.HEIGHTS, strict=True):
            assert {array[places] for places in itertools.permutations(members)} == {height}
        assert np.isnan(array).sum() == 4**3 - 4 * 6

    def test_typical_is_the_median_or_next_below(self):
        found = self.simplices()
        assert np.median(barriers(found, "none", "test", "error")) == 0.375
        assert typical(found, "none", "test", "error") == (0, 1, 3)
        assert typical(found, "activations", "test", "error") == (0, 1, 3)

    @pytest.mark.parametrize(("bound", "count"), [(0.0, 0), (0.03125, 1), (0.125, 3), (0.25, 4)])
    def test_connected_counts_triples_at_or_below_the_bound(self, bound, count):
        found = self.simplices()
        assert found.at_most(barriers(found, "best", "test", "error"), bound) == f"{count} of 4"

    def test_evidence_tells_the_fall_from_the_height(self):
        evidence = experiments.simplices.evidence({64: self.simplices(0.25), 8: self.simplices()})
        assert {name: each.value for name, each in evidence.items()} == {
            "raw": 0.375, "smallest": 0.03125, "slope": 0.25
        }  # fmt: skip
        assert evidence["slope"].triple == (0.25, 0.25, 0.25)
        assert {each.count() for each in evidence.values()} == {"4 networks (4 triples)"}
        control = experiments.simplices.evidence({64: self.simplices(0.25), 8: self.simplices()}, method="none")
        assert (control["smallest"].value, control["slope"].value) == (0.375, 1.0)

    def test_without_a_barrier_nothing_falls_and_any_barrier_has_risen(self):
        none, some = self.simplices(0.0), self.simplices()
        slopes = [
            experiments.simplices.evidence({8: narrow, 64: wide})["slope"].value
            for narrow, wide in ((none, none), (none, some), (some, none))
        ]
        assert slopes == pytest.approx([1.0, 125.0, 0.008])
