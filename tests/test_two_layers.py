"""Two linear layers: what gradient flow conserves, the exact solution, kernels, and what balances decide."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc_lib import flow, rng
from lmc_lib.experiments import regimes
from lmc_lib.experiments.dynamics.regimes import RegimeSpec, SolutionSpec
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, two_layers
from lmc_lib.store import Store

SEEDS = st.integers(0, 2**40)
BALANCES = st.one_of(st.just(0.0), st.floats(-3.0, 3.0))
SIZES = st.sampled_from([(3, 3, 3), (5, 3, 4), (4, 2, 2), (2, 2, 5), (3, 1, 2)])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng.stream(seed, "two layers", *map(int, shape)), dtype=torch.float64)


def begin(sizes, balance, seed, scale=0.5):
    first, second = two_layers.balanced_start(sizes, balance, scale, generator=rng.stream(seed, "start"))
    return first, second, draw(sizes[2], sizes[0], seed=seed) / 2.0


def balance_of(first, second):
    return second.mT @ second - first @ first.mT


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


class TestLayers:
    @given(SIZES, SEEDS)
    def test_gradient_is_that_of_automatic_differentiation(self, sizes, seed):
        inputs, hidden, outputs = sizes
        first, second, target = (
            draw(4, hidden, inputs, seed=seed),
            draw(4, outputs, hidden, seed=seed),
            draw(outputs, inputs),
        )

        def total(one, other):
            return two_layers.loss(two_layers.stack(one, other), target).sum()

        assert float(total(first, second)) == pytest.approx(float(0.5 * (second @ first - target).square().sum()))
        wanted = torch.func.grad(total, (0, 1))(first, second)
        for found, each in zip(two_layers.gradient(target, first, second), wanted, strict=True):
            assert relative(found, each) < 1e-12

    @given(SIZES, BALANCES, SEEDS)
    def test_starts_have_the_balance_that_is_asked_for(self, sizes, balance, seed):
        first, second, _ = begin(sizes, balance, seed)
        wanted = balance * torch.eye(sizes[1], dtype=torch.float64)
        assert torch.allclose(balance_of(first, second), wanted, atol=1e-9)
        assert (first.shape, second.shape) == ((sizes[1], sizes[0]), (sizes[2], sizes[1]))

    def test_the_smaller_layer_has_the_size_that_is_asked_for(self):
        for balance, place in ((2.0, 0), (-2.0, 1)):
            layers = two_layers.balanced_start((80, 70, 90), balance, 0.5, generator=rng.stream(1, "start"))
            assert float(layers[place].std()) * 70**0.5 == pytest.approx(0.5, rel=0.02)

    def test_more_hidden_units_than_inputs_or_outputs_are_refused(self):
        with pytest.raises(ValueError, match="3 hidden units are more than the 2 inputs or outputs"):
            two_layers.balanced_start((2, 3, 4), 1.0, 0.5, generator=rng.stream(0, "start"))

    @given(SIZES, BALANCES, SEEDS)
    def test_mixed_starts_have_the_same_norms_and_the_balance_in_the_mean(self, sizes, balance, seed):
        first, second, _ = begin(sizes, balance, seed)
        mixed = two_layers.mixed_start(first, second, generator=rng.stream(seed, "mixed"))
        assert [float(each.norm()) for each in mixed] == pytest.approx([float(first.norm()), float(second.norm())])
        assert float(balance_of(*mixed).trace()) == pytest.approx(balance * sizes[1], abs=1e-9)
        if sizes[1] > 1:
            off = balance_of(*mixed) - balance * torch.eye(sizes[1], dtype=torch.float64)
            assert float(off.norm()) > 1e-3


class TestExact:
    @given(SIZES, BALANCES, SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_is_gradient_flow(self, sizes, balance, seed):
        """Of unequal sizes too, at a balance of 0, and long after learning."""
        first, second, target = begin(sizes, balance, seed)
        times = [0.5, 2.0, 7.0, 25.0]
        found = two_layers.exact(two_layers.stack(first, second), target, balance, times)
        wanted = two_layers.integrated(first, second, target, times)
        for one, other in zip(found, wanted, strict=True):
            assert relative(one @ one.T, other @ other.T) < 1e-7

    @given(SIZES, SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_is_not_that_of_layers_that_are_balanced_in_the_mean_alone(self, sizes, seed):
        if sizes[1] == 1:
            return
        first, second, target = begin(sizes, 1.5, seed)
        mixed = two_layers.mixed_start(first, second, generator=rng.stream(seed, "mixed"))
        found = two_layers.exact(two_layers.stack(*mixed), target, 1.5, [2.0])[0]
        wanted = two_layers.integrated(*mixed, target, [2.0])[0]
        assert relative(found @ found.T, wanted @ wanted.T) > 1e-4

    @given(SIZES, BALANCES, SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_keeps_the_balance_and_does_not_depend_on_the_stops(self, sizes, balance, seed):
        first, second, target = begin(sizes, balance, seed)
        start = two_layers.stack(first, second)
        found = two_layers.exact(start, target, balance, [0.4, 1.1, 3.0])[-1]
        at_once = two_layers.exact(start, target, balance, [3.0])[0]
        assert relative(found @ found.T, at_once @ at_once.T) < 1e-9
        kept = balance_of(found[: sizes[0]].T, found[sizes[0] :])
        # The factor is known but for a rotation of the hidden units, which leaves a multiple of the identity as it is.
        assert torch.allclose(kept, balance * torch.eye(sizes[1], dtype=torch.float64), atol=1e-8)

    def test_one_unit_follows_the_logistic_curve(self):
        """Balanced at 0 the product u obeys u' = 2 u (s - u)."""
        start = torch.full((2, 1), 0.1, dtype=torch.float64)
        times = [0.5, 1.0, 3.0]
        found = two_layers.exact(start, torch.tensor([[2.0]], dtype=torch.float64), 0.0, times)
        products = [float(each[0, 0] * each[1, 0]) for each in found]
        assert products == pytest.approx([2.0 / (1.0 + (2.0 / 0.01 - 1.0) * math.exp(-4.0 * time)) for time in times])

    def test_gradient_descent_comes_nearer_in_proportion_to_its_step(self):
        first, second, target = begin((4, 3, 5), 0.7, 8)
        wanted = two_layers.exact(two_layers.stack(first, second), target, 0.7, [3.0])[0]
        errors = []
        for steps in (1000, 2000, 4000):
            layers = flow.descend(
                lambda *point: two_layers.gradient(target, *point), (first, second), Descent(steps, 3.0 / steps)
            )
            stacked = two_layers.stack(*layers)
            errors.append(relative(stacked @ stacked.T, wanted @ wanted.T))
        assert errors[0] < 1e-2
        assert [errors[0] / errors[1], errors[1] / errors[2]] == pytest.approx([2.0, 2.0], rel=0.02)


class TestKernel:
    @given(SIZES, SEEDS)
    def test_is_that_of_the_derivatives_of_the_outputs(self, sizes, seed):
        inputs, hidden, outputs = sizes

        def kernel(first, second):
            rows = torch.autograd.functional.jacobian(lambda one, other: (other @ one).flatten(), (first, second))
            flat = torch.cat([each.reshape(outputs * inputs, -1) for each in rows], 1)
            return flat @ flat.T

        pairs = [(draw(hidden, inputs, seed=seed + each), draw(outputs, hidden, seed=seed + each)) for each in (0, 1)]
        one, other = (kernel(*pair) for pair in pairs)
        wanted = 1.0 - float((one * other).sum() / (one.norm() * other.norm()))
        found = two_layers.kernel_distance(*(two_layers.stack(*pair) for pair in pairs), inputs)
        assert float(found) == pytest.approx(wanted, abs=1e-12)
        scaled = two_layers.kernel_distance(two_layers.stack(*pairs[0]), 3.0 * two_layers.stack(*pairs[0]), inputs)
        assert float(scaled) == pytest.approx(0.0, abs=1e-12)


BASE = {"balances": (-2.0, 0.0, 2.0), "scale": 0.3, "seeds": 3, "first_seed": 9000}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


class TestMeasurement:
    def solution(self, store, **options):
        spec = SolutionSpec((4, 3, 3), horizon=4.0, points=2, rates=(4e-3, 2e-3), **BASE, **options)
        return regimes.exactness(Record.read(store, spec), spec.rates)

    def test_balanced_layers_follow_the_solution_and_mixed_ones_do_not(self, store):
        ours, mixed = (
            {name: each.value for name, each in self.solution(store, mixed=mixed).items()} for mixed in (False, True)
        )
        assert ours["integrated"] < 1e-8
        assert ours["descended"] < 5e-3
        assert ours["order"] < 0.01
        assert mixed["integrated"] > 0.05
        assert mixed["order"] > 0.9

    def test_balances_decide_what_is_rich_and_what_can_be_unlearnt(self, store):
        square, tall, wide = (
            Record.read(store, RegimeSpec(sizes, horizon=24.0, points=4, **BASE))
            for sizes in ((3, 3, 3), (5, 2, 2), (2, 2, 5))
        )
        told = {name: each.value for name, each in regimes.richness(square).items()}
        assert told["rich"] > 0.05
        assert told["lazy"] < 0.05
        assert regimes.richness(tall)["lower side"].value > 0.1
        assert regimes.richness(wide)["upper side"].value > 0.1
        assert regimes.relearning(square, "reversed")["stuck"].value > 0.2
        assert regimes.relearning(square, "other")["stuck"].value < 0.1
        assert (square.of("first")[:, [0, -1], -1] < 0.01).all()

    def test_numbers_are_those_at_zero_and_at_the_ends(self):
        halves = [[0.1, 9.0, 0.5, 9.0, 0.2], [0.3, 9.0, 0.4, 9.0, 0.1], [0.0, 9.0, 0.9, 9.0, 0.1]]
        record = Record({
            "distance": [[0.1, 9.0, 0.5, 9.0, 0.5], [0.3, 9.0, 0.5, 9.0, 0.2], [0.2, 9.0, 0.8, 9.0, 0.2]],
            "other": np.stack([np.ones((3, 5)), halves, *np.ones((2, 3, 5))], -1).tolist(),
            "descended": [[[0.1, 0.8], [0.3, 0.2], [0.1, 0.4]], [[0.1, 0.05], [0.01, 0.15], [0.1, 0.05]]],
            "integrated": [[0.1, 0.2], [0.3, 0.2], [0.5, 0.7]],
        })  # fmt: skip
        found = regimes.richness(record) | regimes.relearning(record, "other") | regimes.exactness(record, (0.04, 0.01))
        # Errors fall by factors of 8, 2 and 4 while the step falls by 4: slopes of 1.5, 0.5 and 1.
        assert {name: each.value for name, each in found.items()} == pytest.approx({
            "lazy": 1.0 / 3, "rich": 0.8 / 3, "lower side": -0.1, "upper side": 0.1, "stuck": 1.2 / 3, "relearnt": 0.2,
            "descended": 1.5 / 3, "order": 1.0 / 3, "integrated": 1.2 / 3,
        }, abs=1e-7)  # fmt: skip

    def test_a_target_has_the_singular_values_that_are_said(self):
        spec = RegimeSpec((5, 2, 3), horizon=1.0, points=1, **BASE)
        targets = [spec.target(seed, name) for seed, name in ((1, "first"), (2, "first"), (1, "other"))]
        for each in targets:
            assert torch.linalg.svdvals(each).tolist() == pytest.approx([1.0, 0.75, 0.5])
        assert all(relative(each, targets[0]) > 0.1 for each in targets[1:])
