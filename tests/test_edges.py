"""The edge of stability: known losses, growth in closed form, trainings beside a plain loop, and planted faults."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lmc_lib import models, rng, state
from lmc_lib.data import DataSpec
from lmc_lib.experiments.dynamics import edges, magnitudes
from lmc_lib.experiments.dynamics.edges import EdgeSpec
from lmc_lib.experiments.dynamics.magnitudes import MagnitudeSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.flow import curvature
from lmc_lib.flow.magnitudes import planted
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain

DATA = DataSpec("digits", train_examples=20)
TRAIN = TrainConfig(6, lr=0.2, momentum=0.0, schedule="constant", precision="portable", grid_bits=40)


def quadratic(eigenvalues, seed):
    """A quadratic loss with a slope, the eigenvectors of its second derivatives, and a point."""
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=rng.stream(seed, "basis"), dtype=torch.float64))
    slope, point = torch.randn(2, size, generator=rng.stream(seed, "slope"), dtype=torch.float64)
    matrix = basis @ torch.tensor(eigenvalues, dtype=torch.float64).diag() @ basis.T
    return (lambda x: 0.5 * x @ matrix @ x + slope @ x + 3.0), basis, point


class TestCurvature:
    @given(st.integers(0, 99))
    def test_the_sharpest_direction_is_the_eigenvector_of_the_largest_eigenvalue_not_of_the_longest(self, seed):
        loss, basis, point = quadratic([-9.0, 0.0, 0.5, 1.0, 2.0, 7.0], seed)
        value, direction = curvature.sharpest(loss, point)
        assert value == pytest.approx(7.0, rel=1e-9)
        assert abs(float(direction @ basis[:, 5])) == pytest.approx(1.0, abs=1e-9)

    def test_it_is_that_of_the_whole_matrix_where_the_loss_is_not_quadratic(self):
        problem = planted(9, 3, 2, 5.0, mixed=True, generator=rng.stream(4))
        point = problem.weights + 0.3
        value, direction = curvature.sharpest(problem.loss, point)
        values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(problem.loss, point))
        assert value == pytest.approx(float(values[-1]), rel=1e-9)
        assert abs(float(direction @ vectors[:, -1])) == pytest.approx(1.0, abs=1e-9)

    @given(st.integers(0, 99))
    def test_a_quadratic_loss_rises_as_predicted_in_spite_of_its_slope(self, seed):
        loss, basis, point = quadratic([0.5, 1.0, 2.0, 7.0], seed)
        predicted = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
        assert torch.allclose(curvature.rises(loss, point, basis.T, predicted), predicted.expand(4, 3), rtol=1e-8)

    def test_there_is_no_distance_where_the_loss_curves_downwards(self):
        loss, basis, point = quadratic([-1.0, 2.0, 3.0], 1)
        risen = curvature.rises(loss, point, basis.T, torch.ones(2, dtype=torch.float64))
        assert risen[0].isnan().all() and risen[1:].isfinite().all()

    @given(st.floats(0.3, 6.0), st.floats(0.1, 9.0))
    def test_exponents_are_those_of_powers_of_the_distance(self, power, factor):
        predicted = np.array([0.1, 0.5, 2.0, 30.0])
        risen = factor * np.sqrt(predicted) ** power
        assert curvature.exponents(predicted, risen) == pytest.approx(np.full(3, power))

    def test_what_does_not_rise_has_no_exponent(self):
        found = curvature.exponents(np.array([1.0, 4.0, 16.0]), np.array([[1.0, -1.0, 2.0], [1.0, 2.0, 4.0]]))
        assert np.isnan(found[0]).all()
        assert found[1] == pytest.approx([1.0, 1.0])


class TestPlanted:
    @given(st.integers(0, 50), st.booleans())
    def test_the_loss_is_zero_and_flat_there(self, seed, mixed):
        problem = planted(8, 3, 2, 10.0, mixed=mixed, generator=rng.stream(seed))
        assert float(problem.loss(problem.weights)) == 0.0
        assert torch.func.grad(problem.loss)(problem.weights).abs().max() == 0.0
        assert float(problem.loss(problem.weights + 1.0)) > 0.0

    def test_magnitudes_are_all_that_differs(self):
        one, two = (planted(7, 3, 2, 10.0, mixed=mixed, generator=rng.stream(3)) for mixed in (False, True))
        assert torch.equal(one.weights, two.weights)
        assert torch.equal(one.inputs[::2], two.inputs[::2])
        assert torch.allclose(one.inputs[1::2], 10.0 * two.inputs[1::2])

    def test_answers_are_sums_of_hyperbolic_tangents(self):
        problem = planted(5, 3, 4, 2.0, mixed=True, generator=rng.stream(3))
        units = problem.weights.view(4, 3)
        by_hand = [sum(float(torch.tanh(unit @ each)) for unit in units) / 2.0 for each in problem.inputs]
        assert problem.targets.tolist() == pytest.approx(by_hand)

    @pytest.mark.parametrize("mixed", [False, True])
    def test_of_one_unit_the_sharpness_and_the_rises_have_a_closed_form(self, mixed):
        problem = planted(6, 2, 1, 4.0, mixed=mixed, generator=rng.stream(5))
        x, at = problem.inputs.numpy(), problem.weights.numpy()
        told = np.tanh(x @ at)
        values, vectors = np.linalg.eigh((x.T * (1.0 - told**2) ** 2) @ x / 6)
        sharpness, way = curvature.sharpest(problem.loss, problem.weights)
        assert sharpness == pytest.approx(values[-1])
        predicted = np.array([0.02, 1.0, 1e12])
        risen = curvature.rises(problem.loss, problem.weights, way[None], torch.from_numpy(predicted))[0]
        ways = vectors[:, -1] * np.sqrt(2.0 * predicted / values[-1])[:, None]
        losses = [0.5 * np.mean((np.tanh((at + sign * ways) @ x.T) - told) ** 2, 1) for sign in (1.0, -1.0)]
        assert risen.numpy() == pytest.approx(np.mean(losses, 0))
        assert float(risen[-1]) == pytest.approx(0.5 * np.mean(1.0 + told**2))  # the unit is saturated on either side

    @pytest.mark.parametrize(("examples", "ratio"), [(1, 2.0), (8, 0.5)])
    def test_refuses_what_has_no_two_magnitudes(self, examples, ratio):
        with pytest.raises(ValueError, match="ratio of 1 or more and two examples"):
            planted(examples, 3, 2, ratio, mixed=True, generator=rng.stream(0))

    def test_two_magnitudes_have_a_second_scale_and_it_goes_with_the_ratio(self, tmp_path):
        store = Store(tmp_path)
        wide, narrow = (Record.read(store, MagnitudeSpec(16, 3, 3, ratio, 4)) for ratio in (30.0, 1.0))
        assert magnitudes.evidence(wide)["further"].value > 0.1
        assert magnitudes.evidence(narrow)["further"].value == 0.0
        assert magnitudes.exponents(wide, "two").shape == (4, len(magnitudes.PREDICTED) - 1)


@pytest.fixture(scope="module")
def spec():
    return EdgeSpec(DATA, "tanh", (5, 4), TRAIN, 3, first_seed=7, checkpoints=3, directions=2)


@pytest.fixture(scope="module")
def values(spec, tmp_path_factory):
    return obtain(Store(tmp_path_factory.mktemp("edges")), spec).values


class TestEdgeSpec:
    def test_trains_each_network_as_a_plain_loop_does(self, spec, values):
        network, split = spec._network(), dataset(DATA).train
        start = models.initialise(network, generator=rng.stream(8, "edge", "start"), scale=0.41)
        network.load_state_dict(start)
        targets, found = F.one_hot(split.labels, 10).double(), []
        for step in range(7):
            loss = 0.5 * F.mse_loss(network(split.inputs.flatten(1).double()), targets, reduction="sum") / 20
            if step % 2 == 0:
                found.append(float(loss.detach()))
            network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for each in network.parameters():
                    each -= 0.2 * each.grad
        assert [row[1] for row in values["loss"]] == pytest.approx(found, rel=1e-7)

    def test_sharpness_is_the_largest_eigenvalue_of_the_whole_matrix(self, spec, values):
        start = models.initialise(spec._network(), generator=rng.stream(9, "edge", "start"), scale=0.41)
        (point,) = state.flattened([start])
        loss = spec._loss()
        matrix = torch.autograd.functional.hessian(lambda at: loss(state.shaped(at, start)), point)
        assert values["sharpness"][0][2] == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-7)

    def test_rises_begin_as_predicted_along_all_directions(self, values):
        assert np.shape(values["random"]) == (3, 2, len(edges.PREDICTED))
        first = edges.PREDICTED[0]
        assert [each[0] for each in values["top"]] == pytest.approx([first] * 3, rel=0.02)
        assert np.array(values["random"])[..., 0] == pytest.approx(np.full((3, 2), first), rel=0.02)

    def test_random_directions_are_as_long_as_the_other_in_each_tensor(self):
        direction = {"a": torch.tensor([3.0, 4.0]).double(), "b": torch.tensor([[0.5]]).double()}
        drawn = edges._as_long(direction, rng.stream(1))
        assert [float(each.norm()) for each in drawn.values()] == pytest.approx([5.0, 0.5])
        assert abs(float(drawn["a"] @ direction["a"])) < 24.0

    def test_a_training_that_diverges_has_no_numbers_and_leaves_the_others_alone(self, tmp_path):
        spec = EdgeSpec(
            DATA, "relu", (4,), TrainConfig(200, lr=1e3, momentum=0.0, schedule="constant"), 3, checkpoints=2
        )
        values = obtain(Store(tmp_path), spec).values
        assert all(each is not None for each in values["sharpness"][0])
        assert values["sharpness"][-1] == [None] * 3
        assert np.array(values["top"]).shape == (3, len(edges.PREDICTED))

    def test_refuses_unknown_activations_and_parts_that_are_not_equal(self):
        with pytest.raises(ValueError, match="unknown activation 'sine'; there are tanh, relu"):
            EdgeSpec(DATA, "sine", (4,), TRAIN, 3)
        with pytest.raises(ValueError, match="6 updates do not fall into 4 equal parts"):
            EdgeSpec(DATA, "tanh", (4,), TRAIN, 3, checkpoints=4)


class TestEvidence:
    def found(self, power, exponents=(1.5, 2.0, 2.5)):
        """Networks of three step sizes: sharpness is a power of the step, rises are powers of the distance."""
        rises = [(edges.PREDICTED ** (each / 2)).tolist() for each in exponents]
        return {
            rate: Record(
                {
                    "sharpness": [[9.0] * 4, [2.0 / 0.2 * (rate / 0.2) ** power] * 4],
                    "top": [rises[0]] * 4,
                    "random": [rises[1:]] * 4,
                }
            )
            for rate in (0.1, 0.2, 0.4)
        }

    @pytest.mark.parametrize(("power", "off"), [(-1.0, 0.0), (0.0, 2 / 3 * np.log(2)), (0.5, np.log(2))])
    def test_off_and_slope_are_those_of_a_power_of_the_step(self, power, off):
        settled = edges.settled(self.found(power), slice(1, None))
        assert settled["off"].value == pytest.approx(off, abs=1e-12)
        assert settled["slope"].value == pytest.approx(power, abs=1e-12)

    def test_given_to_other_steps_networks_are_off(self):
        settled = edges.settled(self.found(-1.0), slice(1, None), moved=1)
        assert settled["off"].value == pytest.approx(4 / 3 * np.log(2))
        assert settled["slope"].value == pytest.approx(0.5)

    def test_growth_is_that_of_the_eigenvector_and_of_directions_that_are_left(self):
        grown, drawn = edges.grown(self.found(-1.0)), edges.grown(self.found(-1.0), drawn=True)
        assert [grown[each].value for each in ("exponent", "difference")] == pytest.approx([1.5, 1.5 - 2.25])
        assert [drawn[each].value for each in ("exponent", "difference")] == pytest.approx([2.0, -0.5])
        assert edges.growth(self.found(-1.0)[0.1], "top") == pytest.approx(np.full(len(edges.PREDICTED) - 1, 1.5))

    def test_ratios_are_one_at_the_edge(self):
        assert edges.ratios(self.found(-1.0))[:, 1] == pytest.approx(np.ones((3, 4)))
        assert edges.ratios(self.found(-1.0))[:, 0, 0] == pytest.approx([0.45, 0.9, 1.8])
