"""Starts of one neuron and of one hidden layer: gradient flow, what it conserves, kernels, and curves at equal loss."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch.nn import functional

from lmc_lib import flow, rng
from lmc_lib.experiments import neurons, students
from lmc_lib.experiments.dynamics.neurons import DescentSpec, NeuronSpec
from lmc_lib.experiments.dynamics.students import Curves, StudentSpec
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, hidden_layer, neuron, two_layers
from lmc_lib.store import Store

SEEDS = st.integers(0, 2**40)
CHARGES = st.one_of(st.just(0.0), st.floats(-6.0, 6.0))
RATES = st.tuples(st.floats(0.2, 3.0), st.floats(0.2, 3.0))
LEAKS = st.sampled_from([0.0, 0.3, 1.0])


def draw(*shape, seed=0, name=""):
    return torch.randn(*shape, generator=rng.stream(seed, "unbalanced", name, *shape), dtype=torch.float64)


def begin(charge, rates, seed, inputs=4):
    """A start with a charge, and a target of another length."""
    product, target = 0.4 * draw(inputs, seed=seed, name="start"), draw(inputs, seed=seed, name="target")
    return *neuron.start(product, torch.tensor(charge, dtype=torch.float64), rates), target


def integrated(read_out, weights, target, rates, times):
    """Gradient flow by scipy, from its equations."""

    def speed(_, flat):
        error = target.numpy() - flat[0] * flat[1:]
        return np.concatenate([[rates[0] * flat[1:] @ error], rates[1] * flat[0] * error])

    flat = np.concatenate([[float(read_out)], weights.numpy()])
    return solve_ivp(speed, (0.0, times[-1]), flat, "DOP853", times, rtol=1e-11, atol=1e-11).y.T


class TestNeuron:
    @given(RATES, SEEDS)
    def test_gradient_is_that_of_automatic_differentiation_times_the_rates(self, rates, seed):
        read_out, weights = draw(3, 2, seed=seed), draw(3, 2, 4, seed=seed)
        target = draw(3, 1, 4, seed=seed)

        def total(one, other):
            return 0.5 * (one[..., None] * other - target).square().sum()

        assert float(neuron.loss(target, read_out, weights).sum()) == pytest.approx(float(total(read_out, weights)))
        wanted = torch.func.grad(total, (0, 1))(read_out, weights)
        found = neuron.gradient(target, rates, read_out, weights)
        for one, other, rate in zip(found, wanted, rates, strict=True):
            assert torch.allclose(one, rate * other, rtol=1e-10, atol=1e-12)

    @given(st.floats(-1e4, 1e4), RATES, SEEDS)
    def test_starts_have_the_product_and_the_charge_that_are_asked_for(self, charge, rates, seed):
        """To the last digits of what is subtracted; the read-out is positive, however small it has to be."""
        product = 0.1 * draw(5, seed=seed)
        read_out, weights = neuron.start(product, torch.tensor(charge, dtype=torch.float64), rates)
        assert float(read_out) > 0.0
        assert torch.allclose(read_out * weights, product, rtol=1e-12)
        assert float(neuron.charge(read_out, weights, rates)) == pytest.approx(charge, rel=1e-9, abs=1e-9)

    def test_charge_has_the_rate_of_the_other_layer(self):
        found = neuron.charge(torch.tensor(3.0), torch.tensor([1.0, 2.0]), (0.5, 7.0))
        assert float(found) == 7.0 * 9.0 - 0.5 * 5.0

    @given(CHARGES, RATES, SEEDS)
    @settings(deadline=None, max_examples=40)
    def test_solution_is_gradient_flow_and_keeps_the_charge(self, charge, rates, seed):
        read_out, weights, target = begin(charge, rates, seed)
        times = [0.0, 0.3, 1.0, 4.0]
        found = neuron.exact(read_out, weights, target, rates, torch.tensor(times, dtype=torch.float64))
        stacked = torch.cat([found[0][:, None], found[1]], 1).numpy()
        assert np.allclose(stacked, integrated(read_out, weights, target, rates, times), atol=1e-7)
        assert torch.allclose(neuron.charge(*found, rates), torch.tensor(charge, dtype=torch.float64), atol=1e-9)

    @given(CHARGES, SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_solution_is_that_of_two_layers_with_one_hidden_unit(self, charge, seed):
        read_out, weights, target = begin(charge, (1.0, 1.0), seed)
        times = [0.5, 2.0]
        stacks = two_layers.exact(torch.cat([weights, read_out[None]])[:, None], target[None], charge, times)
        found = neuron.exact(read_out, weights, target, (1.0, 1.0), torch.tensor(times, dtype=torch.float64))
        stacked = torch.cat([found[1], found[0][:, None]], 1)[..., None]
        assert torch.allclose(stacked @ stacked.mT, stacks @ stacks.mT, atol=1e-9)

    @given(CHARGES, RATES, SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_rates_are_another_unit_of_time_target_and_layers(self, charge, rates, seed):
        read_out, weights, target = begin(charge, rates, seed)
        times, unit = torch.tensor([0.2, 1.5], dtype=torch.float64), (rates[0] * rates[1]) ** 0.5
        found = neuron.exact(read_out, weights, target, rates, times)
        one, other = rates[0] ** 0.5, rates[1] ** 0.5
        alike = neuron.exact(read_out / one, weights / other, target / unit, (1.0, 1.0), unit**2 * times)
        assert torch.allclose(found[0], one * alike[0], rtol=1e-9)
        assert torch.allclose(found[1], other * alike[1], rtol=1e-8, atol=1e-10)

    @given(st.floats(-6.0, 6.0).filter(lambda charge: abs(charge) > 1e-3), SEEDS)
    @settings(deadline=None, max_examples=25)
    def test_slope_by_read_out_follows_the_formula_of_the_paper(self, charge, seed):
        """The share of the weights along the target by the read-out, z, obeys z' = s^2 - charge z - z^2."""
        read_out, weights, target = begin(charge, (1.0, 1.0), seed)
        times = torch.tensor([0.1, 0.7, 2.0], dtype=torch.float64)
        found = neuron.exact(read_out, weights, target, (1.0, 1.0), times)
        root = (4.0 * float(target @ target) + charge**2) ** 0.5
        angle = 0.5 * times.numpy() * root + np.arctanh((charge + 2.0 * float(weights @ target / read_out)) / root + 0j)
        wanted = 0.5 * (root * np.tanh(angle).real - charge)
        # Where the read-out passes through zero the ratio has a pole.
        assert np.allclose((found[1] @ target).numpy(), wanted * found[0].numpy(), rtol=1e-6, atol=1e-6 * root)

    def test_solution_is_another_one_with_the_rates_exchanged(self):
        read_out, weights, target = begin(1.5, (0.5, 2.0), 3)
        times = torch.tensor([1.0], dtype=torch.float64)
        found = [neuron.exact(read_out, weights, target, each, times)[0] for each in ((0.5, 2.0), (2.0, 0.5))]
        assert abs(float(found[0] - found[1])) > 0.05

    def test_one_input_balanced_follows_the_logistic_curve(self):
        """The product u obeys u' = 2 u (s - u)."""
        root = torch.tensor(0.1, dtype=torch.float64)
        times = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
        target = torch.tensor([2.0], dtype=torch.float64)
        read_out, weights = neuron.exact(root, root[None], target, (1.0, 1.0), times)
        wanted = [2.0 / (1.0 + (2.0 / 0.01 - 1.0) * math.exp(-4.0 * time)) for time in times.tolist()]
        assert (read_out * weights[:, 0]).tolist() == pytest.approx(wanted)

    @pytest.mark.parametrize("charge", [-9.0, 0.0, 9.0])
    def test_target_is_learnt_after_long_times(self, charge):
        read_out, weights, target = begin(charge, (1.0, 1.0), 5)
        late = torch.tensor([2000.0], dtype=torch.float64)
        found = neuron.exact(read_out, weights, target, (1.0, 1.0), late)
        assert float(neuron.loss(target, *found)) < 1e-20

    def test_gradient_descent_comes_nearer_in_proportion_to_its_step(self):
        rates = 0.5, 2.0
        read_out, weights, target = begin(-1.2, rates, 8)
        wanted = neuron.exact(read_out, weights, target, rates, torch.tensor([3.0], dtype=torch.float64))
        missed, drift = [], []
        for steps in (1000, 2000, 4000):
            slope = partial(neuron.gradient, target, rates)
            point = flow.descend(slope, (read_out, weights), Descent(steps, 3.0 / steps))
            missed.append(float((point[1] - wanted[1][0]).norm()))
            drift.append(abs(float(neuron.charge(*point, rates)) + 1.2))
        for each in (missed, drift):
            assert [each[0] / each[1], each[1] / each[2]] == pytest.approx([2.0, 2.0], rel=0.03)

    @given(RATES, SEEDS)
    def test_kernel_is_that_of_the_derivatives_each_times_its_rate(self, rates, seed):
        pairs = [(draw(1, seed=seed + each)[0], draw(4, seed=seed + each)) for each in (0, 1)]

        def kernel(read_out, weights):
            rows = torch.autograd.functional.jacobian(lambda one, other: one * other, (read_out, weights))
            flat = torch.cat([rates[0] ** 0.5 * rows[0][:, None], rates[1] ** 0.5 * rows[1]], 1)
            return flat @ flat.T

        one, other = (kernel(*pair) for pair in pairs)
        wanted = 1.0 - float((one * other).sum() / (one.norm() * other.norm()))
        assert float(neuron.kernel_distance(*pairs, rates)) == pytest.approx(wanted, abs=1e-12)


class TestHiddenLayer:
    @staticmethod
    def network(seed, inputs=3, units=6, examples=7):
        return (
            draw(2, examples, inputs, seed=seed),
            draw(2, examples, seed=seed),
            draw(2, units, inputs, seed=seed),
            draw(2, units, seed=seed),
        )

    @given(LEAKS, SEEDS)
    @settings(deadline=None)
    def test_outputs_and_gradient_are_those_of_automatic_differentiation(self, leak, seed):
        inputs, wanted, weights, read_out = self.network(seed)

        def outputs(one, other):
            return torch.einsum("bnu,bu->bn", functional.leaky_relu(inputs @ one.mT, leak), other)

        assert torch.allclose(hidden_layer.outputs(inputs, leak, weights, read_out), outputs(weights, read_out))

        def total(one, other):
            return (outputs(one, other) - wanted).square().mean(-1).sum()

        found = hidden_layer.gradient(inputs, wanted, leak, weights, read_out)
        for one, other in zip(found, torch.func.grad(total, (0, 1))(weights, read_out), strict=True):
            assert torch.allclose(one, other, atol=1e-12)

    @given(LEAKS, SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_kernel_is_that_of_the_derivatives_of_the_outputs(self, leak, seed):
        inputs, _, weights, read_out = (each[0] for each in self.network(seed))
        rows = torch.autograd.functional.jacobian(
            lambda one, other: hidden_layer.outputs(inputs, leak, one, other), (weights, read_out)
        )
        flat = torch.cat([each.reshape(len(inputs), -1) for each in rows], 1)
        assert torch.allclose(hidden_layer.kernel(inputs, leak, weights, read_out), flat @ flat.T, atol=1e-12)

    @given(st.floats(0.1, 3.0), st.floats(0.1, 9.0), LEAKS, SEEDS)
    @settings(deadline=None)
    def test_paired_starts_compute_zero_and_others_the_square_of_the_scale(self, scale, shift, leak, seed):
        weights, signs = hidden_layer.directions(3, 4, generator=rng.stream(seed)), draw(3, seed=seed).sign()
        inputs = draw(5, 4, seed=seed)
        moved = hidden_layer.rescaled(*hidden_layer.paired(weights, signs), scale, shift)
        assert torch.allclose(hidden_layer.outputs(inputs, leak, *moved), torch.zeros(5).double(), atol=1e-10)
        one = hidden_layer.outputs(inputs, leak, *hidden_layer.rescaled(weights, signs, scale, shift))
        assert torch.allclose(one, scale**2 * hidden_layer.outputs(inputs, leak, weights, signs), atol=1e-9)
        charges = moved[1].square() - moved[0].square().sum(-1)
        wanted = scale**2 * (shift**-2 - shift**2)
        assert charges.tolist() == pytest.approx([wanted] * 6)

    def test_patterns_are_the_signs_of_the_sums(self):
        inputs = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
        weights = torch.tensor([[2.0, 3.0], [-1.0, -4.0], [0.5, 0.0]])
        wanted = [[True, False, True], [False, True, False]]
        assert hidden_layer.patterns(inputs, weights).tolist() == wanted

    @pytest.mark.parametrize("leak", [0.0, 1.0])
    def test_every_unit_keeps_its_charge_up_to_the_step(self, leak):
        inputs, wanted, weights, read_out = (each[0] for each in self.network(3))
        slope = partial(hidden_layer.gradient, inputs, wanted, leak)
        before, drifts = read_out.square() - weights.square().sum(-1), []
        for steps in (400, 800):
            point = flow.descend(slope, (weights, read_out), Descent(steps, 1.0 / steps))
            drifts.append(float((point[1].square() - point[0].square().sum(-1) - before).abs().max()))
        assert float((point[0] - weights).norm()) > 0.1
        assert drifts[0] / drifts[1] == pytest.approx(2.0, rel=0.1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


NEURONS = {"inputs": 3, "charges": (-4.0, -1.0, 0.0, 1.0, 4.0), "size": 0.1, "seeds": 4, "first_seed": 9000}


class TestOneNeuron:
    def test_descent_follows_the_solution_with_the_right_rates_alone(self, store):
        options = {"horizon": 3.0, "points": 2, "rates": (0.5, 3.0), "steps": (2e-3, 1e-3)} | NEURONS
        right, wrong = (
            {
                name: each.value
                for name, each in neurons.descents(
                    Record.read(store, DescentSpec(exchanged=exchanged, **options)), (2e-3, 1e-3)
                ).items()
            }
            for exchanged in (False, True)
        )
        assert right["drift"] < 0.02
        assert right["missed"] < 0.02
        assert max(right["drift order"], right["missed order"]) < 0.02
        assert wrong["drift"] > 0.5
        assert wrong["missed"] > 0.1
        assert min(wrong["drift order"], wrong["missed order"]) > 0.9

    def test_charge_decides_the_regime_and_a_start_along_the_target_has_nothing_to_turn(self, store):
        options = {"horizon": 200.0, "points": 5} | NEURONS
        drawn, along = (
            {
                name: each.value
                for name, each in neurons.regimes_of(Record.read(store, NeuronSpec(along=along, **options))).items()
            }
            for along in (False, True)
        )
        assert drawn["lazy"] < 0.005
        assert drawn["rich"] > 0.03
        assert drawn["turned"] > 0.1
        assert drawn["delayed"] > 0.3
        assert max(along["lazy"], along["rich"], along["turned"]) < 0.02
        assert along["delayed"] < 0.0

    def test_what_is_measured_is_that_of_numerical_integration(self, store):
        """Of one seed and charge, so that an axis in the wrong place is found."""
        spec = NeuronSpec(horizon=30.0, points=4, **NEURONS)
        found, (read_outs, weights) = Record.read(store, spec), spec.starts()
        seed, charge = 2, 1
        start, target = (read_outs[seed, charge], weights[seed, charge]), spec.targets()[seed, 0]
        assert float(neuron.charge(*start, spec.rates)) == pytest.approx(-1.0)
        grid = np.unique([*spec.times, *np.arange(1, 3001) * 0.01])
        solved = integrated(*start, target, spec.rates, grid)
        losses = np.square(solved[:, :1] * solved[:, 1:] - target.numpy()).sum(1)
        losses /= float((start[0] * start[1] - target).square().sum())
        below = grid[losses <= 0.1][0]
        assert found.of("duration")[seed, charge] == pytest.approx(below, abs=0.0101)
        at = [int(np.flatnonzero(grid == time)[0]) for time in spec.times]
        assert found.of("left")[seed, charge] == pytest.approx(losses[at], abs=1e-7)
        kernels = [each[0] ** 2 * np.eye(3) + np.outer(each[1:], each[1:]) for each in solved[at]]
        first = float(start[0]) ** 2 * np.eye(3) + np.outer(start[1], start[1])
        wanted = [1.0 - (each * first).sum() / np.linalg.norm(each) / np.linalg.norm(first) for each in kernels]
        assert found.of("distance")[seed, charge] == pytest.approx(wanted, abs=1e-7)

    @pytest.mark.parametrize("seed", [1, 3])
    def test_drift_and_error_are_the_largest_over_times(self, store, seed):
        """By hand, with rates whose product is not 1; the largest drift is the first one, or the last one."""
        rates, step, charge = (0.5, 3.0), 0.01, 1
        spec = DescentSpec(horizon=3.0, points=3, rates=rates, steps=(step,), **NEURONS)
        read_outs, weights = spec.starts()
        start, target = (read_outs[seed, charge], weights[seed, charge]), spec.targets()[seed, 0]
        solved = integrated(*start, target, rates, [1.0, 2.0, 3.0])
        read_out, vector, drifts, missed = float(start[0]), start[1].numpy(), [], []
        for now in range(1, 301):
            error = target.numpy() - read_out * vector
            read_out, vector = read_out + step * 0.5 * vector @ error, vector + step * 3.0 * read_out * error
            if now % 100 == 0:
                drifts.append(abs(3.0 * read_out**2 - 0.5 * vector @ vector + 1.0) / math.sqrt(1.5))
                apart = np.array([read_out, *vector]) - solved[now // 100 - 1]
                missed.append(np.linalg.norm(apart) / np.linalg.norm(solved[now // 100 - 1]))
        assert (int(np.argmax(drifts)), int(np.argmax(missed))) == {1: (0, 0), 3: (2, 1)}[seed]
        found = Record.read(store, spec)
        assert found.of("drift")[0, seed, charge] == pytest.approx(max(drifts), abs=1e-8)
        assert found.of("missed")[0, seed, charge] == pytest.approx(max(missed), abs=1e-8)

    def test_loss_that_stays_has_the_horizon_as_its_duration(self, store):
        found = Record.read(store, NeuronSpec(horizon=0.5, points=2, **NEURONS)).of("duration")
        assert (found[:, 0] == 0.5).all()
        assert (found[:, -1] < 0.5).any()

    def test_numbers_are_those_at_the_ends_and_at_zero(self):
        record = Record({
            "distance": [[[9.0, each] for each in row] for row in ([0.8, 9.0, 0.3, 9.0, 0.1], [0.6, 9.0, 0.2, 9.0, 0.1],
                                                                   [0.9, 9.0, 0.2, 9.0, 0.0])],
            "duration": [[100.0, 9.0, 1.0, 9.0, 5.0], [10.0, 9.0, 1.0, 9.0, 5.0], [1.0, 9.0, 1.0, 9.0, 5.0]],
            "drift": [[[0.1, 0.8], [0.3, 0.2], [0.1, 0.4]], [[0.1, 0.05], [0.01, 0.15], [0.1, 0.05]]],
            "missed": [[[0.4, 0.1], [0.4, 0.1], [0.1, 0.4]], [[0.1, 0.1], [0.1, 0.05], [0.1, 0.1]]],
        })  # fmt: skip
        found = neurons.regimes_of(record) | neurons.descents(record, (0.04, 0.01))
        # Drifts fall by factors of 8, 2 and 4 while the step falls by 4: slopes of 1.5, 0.5 and 1.
        assert {name: each.value for name, each in found.items()} == pytest.approx({
            "lazy": 0.2 / 3, "rich": 0.5 / 3, "turned": 1.6 / 3, "delayed": 1.0, "drift": 0.5,
            "drift order": 1.0 / 3, "missed": 0.4, "missed order": 0.0,
        }, abs=1e-7)  # fmt: skip


STUDENT = {
    "inputs": 4, "units": 6, "teachers": 2, "examples": 9, "new": 11, "scale": 0.5, "shifts": (0.4, 1.0, 2.0),
    "rate": 0.2, "horizon": 30, "looks": 6, "seeds": 3, "first_seed": 9000,
}  # fmt: skip


class TestStudents:
    @pytest.mark.parametrize("leak", [0.0, 1.0])
    def test_what_is_measured_is_that_of_a_plain_training(self, store, leak):
        """Of one seed and shift, with automatic differentiation, so that an axis in the wrong place is found."""
        spec = StudentSpec(leak=leak, **STUDENT)
        found, drawn = Record.read(store, spec), {name: each[1] for name, each in spec.drawn().items()}
        shift, place = 0.4, 0
        layers = [(0.5 * shift * drawn["weights"]), (0.5 / shift * drawn["read-out"])]

        def outputs(inputs, one, other):
            return functional.leaky_relu(inputs @ one.T, leak) @ other

        def kernel(layers):
            rows = torch.autograd.functional.jacobian(partial(outputs, drawn["train"]), tuple(layers))
            flat = torch.cat([each.reshape(9, -1) for each in rows], 1)
            return flat @ flat.T

        start, steps = [each.clone() for each in layers], found.of("steps").astype(int)
        for step in range(1, steps[-1] + 1):
            leaves = [each.detach().requires_grad_() for each in layers]
            (outputs(drawn["train"], *leaves) - drawn["train outputs"]).square().mean().backward()
            layers = [each.detach() - 0.2 * each.grad for each in leaves]
            if step in steps:
                look = int(np.flatnonzero(steps == step)[0])
                missed = {
                    name: (outputs(drawn[of], *layers) - drawn[f"{of} outputs"]).norm() / drawn[f"{of} outputs"].norm()
                    for name, of in (("loss", "train"), ("error", "new"))
                }
                turned = ((drawn["train"] @ layers[0].T > 0) != (drawn["train"] @ start[0].T > 0)).double().mean()
                one, other = kernel(start), kernel(layers)
                wanted = {name: float(each) ** 2 for name, each in missed.items()} | {"flipped": float(turned)}
                wanted["distance"] = 1.0 - float((one * other).sum() / (one.norm() * other.norm()))
                told = {name: found.of(name)[1, place, look] for name in wanted}
                assert told == pytest.approx(wanted, abs=1e-8)
        assert found.of("flipped")[1, place, -1] > 0.0

    def test_starts_of_a_seed_share_all_but_the_scale_of_layers(self):
        spec, other = StudentSpec(**STUDENT), StudentSpec(**STUDENT | {"shifts": (7.0,), "scale": 3.0})
        for name, each in spec.drawn().items():
            assert torch.equal(each, other.drawn()[name]), name
        again = StudentSpec(redrawn=True, **STUDENT).drawn()
        same = {name for name, each in spec.drawn().items() if torch.equal(each, again[name])}
        assert {"train", "new", "train outputs", "new outputs"} <= same
        assert "weights" not in same

    def test_seeds_have_draws_of_their_own_and_units_of_length_one(self):
        drawn = StudentSpec(**STUDENT).drawn()
        for name in ("train", "new", "weights"):
            assert torch.allclose(drawn[name].norm(dim=-1), torch.ones(1).double())
            assert not torch.allclose(drawn[name][0], drawn[name][1])
        assert set(drawn["read-out"].flatten().tolist()) == {-1.0, 1.0}
        assert torch.equal(drawn["read-out"][:, :3], -drawn["read-out"][:, 3:])

    def test_teachers_are_of_the_kind_of_students(self):
        """A linear teacher is odd: its outputs at the opposite inputs are the opposite ones."""
        for leak, odd in ((0.0, False), (1.0, True)):
            drawn = StudentSpec(leak=leak, **STUDENT).drawn()
            planes = torch.linalg.lstsq(drawn["new"], drawn["new outputs"][..., None]).solution
            left = (drawn["new"] @ planes)[..., 0] - drawn["new outputs"]
            assert (float(left.abs().max()) < 1e-10) is odd


class TestCurves:
    """Two seeds, two shifts, looks after 1, 10 and 100 updates; what stands there tells seed, shift and look."""

    @pytest.fixture
    def curves(self):
        places = np.array(
            [[[100 * seed + 10 * shift + look for look in range(3)] for shift in (0, 1)] for seed in (0, 1)]
        )
        values = {
            name: (base + places).tolist()
            for name, base in (("flipped", 1000.0), ("distance", 2000.0), ("error", 3000.0))
        }
        loss = [[[0.9, 0.1, 0.001], [0.9, 0.8, 0.1]], [[0.09, 0.01, 0.001], [0.9, 0.9, 0.9]]]
        return Curves({"steps": [1, 10, 100], "loss": loss, **values})

    def test_are_read_where_the_loss_has_come_down(self, curves):
        """In proportion on a logarithmic axis, and from the first time on; NaN where it never has."""
        found = curves.at_loss(0.01)
        assert found["distance"][0, 0] == pytest.approx(2001.5)
        assert found["error"][1, 0] == pytest.approx(3101.0)
        assert np.isnan(found["flipped"][:, 1]).all()
        assert curves.updates(0.01)[:, 0] == pytest.approx([10**1.5, 10.0])
        assert curves.at_loss(0.1)["flipped"][0, 1] == pytest.approx(1012.0)

    def test_a_loss_that_rises_again_counts_as_its_lowest(self):
        steps = list(range(1, 17))
        looks = {name: [[[float(step) for step in steps]]] for name in students.MEASURES}
        loss = [0.9, 0.8, 0.7, 0.6, 0.1, *[0.3] * 10, 0.01]
        curves = Curves({"steps": steps, "loss": [[loss]], **looks})
        assert 4.0 < float(curves.at_loss(0.2)["error"][0, 0]) < 5.0
        assert 15.0 < float(curves.at_loss(0.05)["error"][0, 0]) < 16.0

    def test_error_in_proportion_to_the_loss_is_read_without_a_bend(self):
        """As it is in linear networks: starts whose looks lie elsewhere have the same error at the same loss."""
        loss = np.array([[[0.9, 0.02, 0.001], [0.5, 0.2, 0.004]]])
        rest = {name: np.zeros_like(loss).tolist() for name in ("flipped", "distance")}
        curves = Curves({"steps": [1, 10, 100], "loss": loss.tolist(), "error": (0.5 * loss).tolist(), **rest})
        found = curves.at_loss(0.01)
        assert found["error"] == pytest.approx(np.full((1, 2), 0.005))
        assert curves.after(np.array([10**0.5]))["error"] == pytest.approx(0.5 * np.sqrt([[0.018, 0.1]]))

    def test_error_without_a_digit_has_the_last_one(self):
        curves = Curves({"steps": [1, 10], **{name: [[[0.5, 0.0]]] for name in ("loss", *students.MEASURES)}})
        assert curves.at_loss(1e-9)["error"] == pytest.approx(1e-9)

    def test_are_read_after_a_number_of_updates_of_each_seed(self, curves):
        found = curves.after(np.array([10**0.5, 100.0]))
        assert found["flipped"] == pytest.approx(np.array([[1000.5, 1010.5], [1102.0, 1112.0]]))

    def test_starts_are_told_by_their_place(self, curves):
        assert students.of_start(curves.after(np.array([1.0, 1.0])), 1)["distance"].tolist() == [2010.0, 2110.0]

    def test_gains_are_within_seeds_and_more_is_better(self):
        one = {"flipped": [0.5, 0.6, 0.7], "distance": [0.2, 0.2, 0.5], "error": [0.01, 0.1, 0.1]}
        other = {"flipped": [0.1, 0.4, 0.4], "distance": [0.3, 0.3, 0.3], "error": [0.1, 0.1, 0.01]}
        one, other = ({name: np.array(each) for name, each in values.items()} for values in (one, other))
        found = students.gains(one, other)
        wanted = {"flipped": 0.3, "distance": 0.0, "error": 0.0}
        assert {name: each.value for name, each in found.items()} == pytest.approx(wanted, abs=1e-9)
        better = students.gains(one, other | {"error": np.array([0.1, 10.0, 0.1])})
        assert better["error"].value == pytest.approx(1.0)

    def test_networks_that_are_not_there_yet_are_no_evidence(self, curves):
        found = curves.at_loss(0.01)
        with pytest.raises(ValueError, match="give it more updates"):
            students.gains(students.of_start(found, 0), students.of_start(found, 1))
