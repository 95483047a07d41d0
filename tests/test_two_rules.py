"""Two rules that agree: the tasks by their laws, stacks against a plain loop, and strategies from planted barriers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lmc_lib import models, rng, state, training
from lmc_lib.connectivity import barrier, convexity_gap, curves
from lmc_lib.data import Split, batch_order
from lmc_lib.experiments.connectivity.strategies import Strategies, StrategySpec, evidence, specs
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.networks.two_rules import Followed, TwoRulesSpec, spread
from lmc_lib.flow import two_rules
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

numbers = st.lists(st.floats(-9, 9), min_size=2, max_size=8).map(lambda x: torch.tensor(x, dtype=torch.float64))


class TestTasks:
    @given(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.integers(0, 9))
    def test_parities_are_products_that_agree_or_never_do(self, order, more, agree, seed):
        inputs, classes = two_rules.parities(40, 2 * order + more, order, agree=agree, generator=rng.stream(seed))
        first, second = inputs[:, :order].prod(1), inputs[:, order : 2 * order].prod(1)
        assert inputs.abs().eq(1.0).all()
        assert torch.equal(classes, (first < 0).long())
        assert torch.equal(second, first if agree else -first)

    @given(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.integers(0, 9))
    def test_sums_agree_or_never_do(self, order, more, agree, seed):
        inputs, classes = two_rules.sums(40, 2 * order + more, order, agree=agree, generator=rng.stream(seed))
        ones = inputs.view(40, -1, 3)
        assert inputs.square().mean().item() == pytest.approx(1.0)
        assert torch.equal((ones > 0).sum(-1), torch.ones(40, 2 * order + more, dtype=torch.long))
        found = ones.argmax(-1)
        assert torch.equal(classes, found[:, :order].sum(1) % 3)
        assert torch.equal(classes == found[:, order : 2 * order].sum(1) % 3, torch.full((40,), agree))

    @pytest.mark.parametrize("task", two_rules.TASKS)
    @pytest.mark.parametrize("agree", [True, False])
    def test_each_symbol_alone_says_nothing_of_the_class(self, task, agree):
        """A class has the same mean input as any other, within five standard errors."""
        inputs, classes = two_rules.TASKS[task](6000, 7, 3, agree=agree, generator=rng.stream(3))
        for each in range(1 + int(classes.max())):
            own = inputs[classes == each]
            assert ((own.mean(0) - inputs.mean(0)).abs() < 5 * inputs.std(0) / len(own) ** 0.5).all()

    @pytest.mark.parametrize("order", [0, 4])
    def test_rules_that_do_not_fit_are_refused(self, order):
        with pytest.raises(ValueError, match=f"two rules of {order} symbols each do not fit into 7"):
            two_rules.sums(3, 7, order, agree=True, generator=rng.stream(0))


class TestConvexityGap:
    @given(numbers)
    def test_is_the_highest_barrier_of_all_parts(self, values):
        parts = [values[i:j] for i in range(len(values)) for j in range(i + 2, len(values) + 1)]
        assert convexity_gap(values) == pytest.approx(max(map(barrier, parts)), abs=1e-12)

    @given(numbers, st.floats(0.5, 4), st.floats(-3, 3), st.floats(-3, 3))
    def test_a_slope_makes_no_difference_and_a_factor_is_one(self, values, factor, slope, offset):
        line = torch.linspace(0, 1, len(values), dtype=torch.float64)
        moved = factor * values + slope * line + offset
        assert convexity_gap(moved) == pytest.approx(factor * convexity_gap(values), abs=1e-9)

    @given(st.lists(st.floats(-9, 9), min_size=2, max_size=8, unique=True), st.floats(0.1, 3), st.floats(-2, 2))
    def test_a_convex_curve_has_none_at_any_points(self, places, curvature, middle):
        alphas = torch.tensor(sorted(places), dtype=torch.float64)
        assert convexity_gap(curvature * (alphas - middle) ** 2, alphas) == pytest.approx(0.0, abs=1e-9)

    def test_a_point_is_no_line(self):
        with pytest.raises(ValueError, match="a line has two ends: there are 1 points"):
            convexity_gap(torch.tensor([1.0]))


TRAIN = TrainConfig(steps=7, batch_size=8, lr=0.1, precision="portable")
SMALL = {"task": "sums", "length": 5, "order": 2, "width": 6, "examples": 24, "train": TRAIN}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


class TestTraining:
    def test_is_that_of_each_network_alone(self, store):
        """The last replica of the second seed, by torch's optimiser; 7 updates are two epochs and a part."""
        spec = TwoRulesSpec(**SMALL, replicas=3, seeds=2, first_seed=4, looks=1)
        found = obtain(store, spec)
        network = models.mlp(15, 3, widths=(6, 6)).double()
        network.load_state_dict(models.initialise(network, generator=rng.stream(5, "two rules", "start", 6, 2)))
        sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        data = spec.training_set(1)
        orders = (rng.stream(5, "two rules", "order", 2, epoch) for epoch in range(3))
        batches = [rows for each in orders for rows in batch_order(24, 8, generator=each)][:7]
        for step, rows in enumerate(batches):
            sgd.param_groups[0]["lr"] = training.learning_rate(TRAIN, step)
            sgd.zero_grad()
            nn.functional.cross_entropy(network(data.inputs[rows]), data.labels[rows]).backward()
            sgd.step()
        for name, each in network.state_dict().items():
            assert found.tensors[name][5].numpy() == pytest.approx(each.numpy(), abs=1e-4)
        for agree, name in ((True, "accuracies"), (False, "shares")):
            new = spec.drawn(1, "new", agree=agree)
            right = (network(new.inputs).argmax(1) == new.labels).double().mean()
            assert found.values[name][1][2][-1] == pytest.approx(float(right), abs=0.01)

    @pytest.mark.parametrize("common", [True, False])
    def test_replicas_begin_together_or_apart(self, common):
        spec = TwoRulesSpec(**SMALL, replicas=3, seeds=2, common=common)
        weights = spec.start()["1.weight"]
        assert [weights[each].equal(weights[0]) for each in (1, 2, 3)] == [common, common, False]

    def test_whoever_is_told_the_rule_sees_them_disagree_in_half(self):
        spec = TwoRulesSpec(**SMALL, replicas=2, seeds=1, told=True)
        data = spec.training_set(0)
        found = data.inputs.view(24, 5, 3).argmax(-1)
        assert torch.equal(data.labels, found[:, :2].sum(1) % 3)
        assert int((data.labels == found[:, 2:4].sum(1) % 3).sum()) == 12

    def test_more_replicas_change_none(self, store):
        few, many = (
            obtain(store, TwoRulesSpec(**SMALL, replicas=each, seeds=1)).tensors["5.weight"] for each in (1, 3)
        )
        assert torch.equal(few[0], many[0])

    def test_unknown_tasks_and_batches_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="unknown task 'cues'; there are parities, sums"):
            TwoRulesSpec(**SMALL | {"task": "cues"}, replicas=2, seeds=1)
        with pytest.raises(ValueError, match="a batch of 8 does not fit into 7 training examples"):
            TwoRulesSpec(**SMALL | {"examples": 7}, replicas=2, seeds=1)

    def test_the_spread_is_within_seeds(self):
        assert spread(np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])).tolist() == [1.0, 0.0]


class TestPairs:
    def test_are_lines_of_the_networks(self, store):
        spec = TwoRulesSpec(**SMALL, replicas=3, seeds=2)
        found = obtain(store, StrategySpec(networks=spec, place=1, points=5, examples=20)).values
        tensors, data = obtain(store, spec).tensors, spec.training_set(1)[:20]
        ends = [{name: each[place] for name, each in tensors.items()} for place in (3, 5)]
        line = curves(spec.model, *ends, {"train": Split(data.inputs, data.labels)}, points=5)["train"]
        assert found["barriers"]["none"]["train loss"][1] == pytest.approx(line.barrier(), abs=1e-5)
        assert found["gaps"]["none"][1] == pytest.approx(convexity_gap(line.loss), abs=1e-5)
        assert all(len(found["gaps"][how]) == 3 for how in ("none", "weights", "activations"))

    def test_a_permuted_twin_is_aligned(self, store):
        """Two replicas of one start that do not move are one network: no barrier, and none after alignment."""
        still = SMALL | {"train": TrainConfig(steps=0, batch_size=8, precision="portable")}
        spec = TwoRulesSpec(**still, replicas=2, seeds=1, common=True)
        found = obtain(store, StrategySpec(networks=spec, place=0, points=3)).values
        assert found["barriers"]["weights"]["test loss"] == found["barriers"]["none"]["test loss"] == [0.0]


def planted(shares, barriers):
    """Strategies from matrices of barriers, one a seed."""
    pairs = np.triu_indices(len(shares[0]), 1)
    records = [Record({"barriers": {"weights": {"train loss": each[pairs]}}}) for each in barriers]
    return Strategies(np.array(shares), tuple(records))


def blocks(shares, between, within=0.1):
    apart = np.abs(np.subtract.outer(shares, shares)) > 0.5
    return np.where(apart, between, within)


SHARES = [[0.0, 1.0, 0.1, 0.9, 0.0, 0.3], [1.0, 0.9, 1.0, 0.0, 0.2, 0.1], [0.0, 0.0, 1.0, 0.1, 0.9, 1.0]]
PATH = "barriers", "weights", "train loss"


class TestStrategies:
    def test_means_are_over_pairs_of_one_and_of_two_strategies(self):
        """By hand: shares 0, 0.2 and 0.5 are alike or neither; 0 and 1 are apart, 0.2 and 1, 0.5 and 1 neither."""
        matrix = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 9], [3, 5, 9, 0]], dtype=float)
        within, between = planted([[0.0, 0.2, 0.5, 1.0]], [matrix]).means(*PATH)
        assert (within.tolist(), between.tolist()) == ([2.5], [4.0])  # 1 and 4; 3 and 5

    def test_a_seed_of_one_strategy_says_nothing(self):
        found = planted([[0.0, 0.1, 0.2], SHARES[0][:3]], [np.ones((3, 3)), np.ones((3, 3))])
        assert np.isnan(found.differences(*PATH)).tolist() == [True, False]
        assert np.isnan(found.clusters(*PATH)).tolist() == [True, False]

    def test_planted_strategies_are_found(self):
        height = [0.4, 0.5, 0.6]
        barriers = [blocks(np.round(each), b) for each, b in zip(SHARES, height, strict=True)]
        found = evidence(planted(SHARES, barriers), "weights")
        assert found["apart"].value == pytest.approx(0.4)
        assert found["between"].value == pytest.approx(0.5)
        assert (found["clusters"].value, found["clusters"].low) == (1.0, 1.0)

    def test_their_p_is_the_least_there_is_and_that_of_none_is_1(self):
        barriers = [blocks(np.round(each), 0.5) for each in SHARES]
        assert planted(SHARES, barriers).p(*PATH, draws=199) == 1 / 200
        assert planted(SHARES, [np.full((6, 6), 0.3)] * 3).p(*PATH, draws=199) == 1.0

    @settings(max_examples=20)
    @given(st.permutations(range(6)), st.integers(0, 99))
    def test_the_order_of_replicas_makes_no_difference(self, order, seed):
        drawn = rng.numpy_stream(seed).random((6, 6))
        matrix, shares = drawn + drawn.T, np.array(SHARES[0])
        one = planted([shares], [matrix])
        other = planted([shares[order]], [matrix[np.ix_(order, order)]])
        assert other.differences(*PATH) == pytest.approx(one.differences(*PATH))
        assert other.clusters(*PATH) == pytest.approx(one.clusters(*PATH))

    def test_p_is_uniform_where_barriers_know_no_strategy(self):
        """Barriers are distances between places of replicas, so that pairs are not independent; p is 5 % in 5 %."""
        generator, found = rng.numpy_stream(0), []
        for _ in range(100):
            matrices = [np.abs(np.subtract.outer(each, each)) for each in generator.random((3, 6))]
            found.append(planted(SHARES, matrices).p(*PATH, draws=59))
        assert sum(p <= 0.05 for p in found) <= 12  # of 100: 5 in the mean, with a deviation of 2.2
        assert 0.4 < np.mean(found) < 0.62

    def test_too_few_seeds_with_both_are_told(self):
        with pytest.raises(ValueError, match="at least three units with a number, got 1"):
            evidence(planted(SHARES[:1], [blocks(SHARES[0], 0.5)]), "weights")

    def test_are_read_with_their_shares(self, store):
        spec = TwoRulesSpec(**SMALL, replicas=3, seeds=2, looks=2)
        found = Strategies.read(store, specs(spec, points=3, examples=8))
        assert found.shares.tolist() == Followed.read(store, spec).at_end("shares").tolist()
        assert found.matrices("gaps", "none").shape == (2, 3, 3)
        assert state.is_finite(obtain(store, spec).tensors)
