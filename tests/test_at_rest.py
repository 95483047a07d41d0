"""Chains and networks at rest: plain loops beside them, exact variances, sums by hand, and planted numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lmc_lib import models, rng, state
from lmc_lib.data import DataSpec
from lmc_lib.experiments.dynamics import displacements, regressions
from lmc_lib.experiments.dynamics.displacements import DisplacementSpec
from lmc_lib.experiments.dynamics.regressions import RegressionSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.flow import stationary
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain

CHAINS = RegressionSpec((0.3, 1.0, 4.0), 0.02, 0.8, 0.05, 4, 400, 3, first_seed=5, lags=6)


class TestRegressionSpec:
    def test_moves_each_chain_as_a_plain_loop_does(self, tmp_path):
        values = obtain(Store(tmp_path), CHAINS).values
        generator, variances = rng.stream(6, "regression", "examples"), np.array(CHAINS.curvatures)
        # 500 updates in all are drawn at once, rounded to a grid that is far below the tolerance.
        inputs = torch.randn(500, 4, 3, generator=generator, dtype=torch.float64).numpy() * np.sqrt(variances)
        residuals = torch.randn(500, 4, 1, generator=generator, dtype=torch.float64).numpy()[..., 0]
        mean = variances / (variances + 0.05)
        weights, velocity, path = mean.copy(), np.zeros(3), []
        for x, residual in zip(inputs, residuals, strict=True):
            error = x @ weights - (x.sum(1) + residual)
            velocity = 0.8 * velocity - x.T @ error / 4 - 0.05 * weights
            weights = weights + 0.02 * velocity
            path.append([weights - mean, velocity])
        position, speed = np.array(path)[100:].swapaxes(0, 1)
        assert values["position"][1] == pytest.approx(np.square(position).mean(0), rel=1e-5)
        assert values["velocity"][1] == pytest.approx(np.square(speed).mean(0), rel=1e-5)
        apart = (position[:-6] * position[6:]).mean(0) / np.square(position).mean(0)
        assert [each[6] for each in values["correlation"][1]] == pytest.approx(apart, rel=1e-5)
        assert [each[0] for each in values["correlation"][1]] == [1.0] * 3

    @pytest.mark.parametrize("even", [False, True])
    def test_chains_spread_as_their_updates_say_and_further_than_continuous_time_says(self, even, tmp_path):
        spec = replace(CHAINS, lr=0.05, batch=2, measured=2000, chains=60, lags=0, even=even)
        found = Record.read(Store(tmp_path), spec).of("position")
        errors = found.std(0) / np.sqrt(60)
        assert (np.abs(found.mean(0) - spec.exact()) < 4.0 * errors).all()
        if not even:
            assert (found.mean(0) - spec.predicted()[0] > 4.0 * errors).all()

    def test_a_seed_is_the_same_chain_wherever_it_stands(self, tmp_path):
        both = [obtain(Store(tmp_path), replace(CHAINS, first_seed=each)).values["position"] for each in (5, 6)]
        assert both[0][1] == both[1][0]

    def test_swings_where_friction_is_small(self):
        assert replace(CHAINS, momentum=0.0, lags=0).swinging().tolist() == []
        # Critical where the stiffness is (1 - 0.8)^2 / (2 * 0.02 * 1.8) = 0.56.
        assert CHAINS.swinging().tolist() == [1, 2]

    def test_refuses_flat_directions_and_ways_shorter_than_the_lags(self):
        with pytest.raises(ValueError, match="in which the loss is flat has no stationary spread"):
            replace(CHAINS, curvatures=(1.0, 0.0))
        with pytest.raises(ValueError, match="400 updates are too few for correlations 200 updates apart"):
            replace(CHAINS, lags=200)


class TestRested:
    def planted(self, spec, power):
        """Chains whose variances are those predicted, times a power of the second derivative."""
        by, chains = np.array(spec.curvatures) ** power, np.ones((3, 1))
        position, velocity = spec.predicted()
        law = stationary.oscillation(spec.stiffness, np.arange(spec.lags + 1), lr=spec.lr, momentum=spec.momentum)
        return Record({"position": chains * position * by, "velocity": chains * velocity, "correlation": [law] * 3})

    def test_chains_as_predicted_have_no_slopes_and_swing_in_time(self):
        spec = replace(CHAINS, lags=60)
        found = {name: each.value for name, each in regressions.rested(spec, self.planted(spec, 0.0)).items()}
        assert found == pytest.approx({"position": 0.0, "velocity": 0.0, "off": 0.0, "swing": 1.0}, abs=1e-12)

    def test_chains_that_sample_the_training_loss_have_a_slope_of_minus_one(self):
        spec = replace(CHAINS, lags=60)
        found = regressions.rested(spec, self.planted(spec, -1.0))
        assert found["position"].value == pytest.approx(-1.0)
        assert found["velocity"].value == pytest.approx(0.0, abs=1e-12)
        assert found["off"].value == pytest.approx(np.abs(np.log(spec.curvatures)).mean() / 2)  # of positions alone

    def test_even_noise_is_such_a_setting(self):
        spec = replace(CHAINS, even=True)
        plain = replace(spec, lr=1e-4)  # where nothing is left of discrete time
        slope, _ = np.polyfit(np.log(spec.curvatures), np.log(plain.exact() / plain.predicted()[0]), 1)
        assert slope == pytest.approx(-1.0, abs=1e-3)


class TestScaling:
    def test_exponents_are_those_of_powers_of_the_hyperparameters(self):
        settings = [CHAINS, replace(CHAINS, lr=0.01), replace(CHAINS, batch=16), replace(CHAINS, momentum=0.9)]
        heights = [each.lr**1.5 * each.batch**-0.5 / (1.0 - each.momentum) ** 2 for each in settings]
        found = [
            (each, Record({"position": np.full((3, 3), high)})) for each, high in zip(settings, heights, strict=True)
        ]
        exponents = {name: each.value for name, each in regressions.scaling(found).items()}
        cost = exponents.pop("cost")
        assert exponents == pytest.approx({"step": 1.5, "batch": -0.5, "friction": -2.0})
        formula = [0.5 * each.predicted()[0] @ np.array(each.curvatures) for each in settings]
        # All three variances are those heights, and the second derivatives sum to 5.3.
        assert cost == pytest.approx(np.abs(np.log(2.65 * np.array(heights) / formula)).mean())


DATA = DataSpec("digits", train_examples=20)
TRAIN = TrainConfig(
    40, batch_size=3, lr=0.1, momentum=0.5, weight_decay=0.02, schedule="constant", precision="portable", grid_bits=40
)


@pytest.fixture(scope="module")
def spec():
    return DisplacementSpec(DATA, 3, TRAIN, 32, 3, first_seed=4, longest=4, snapshots=2)


@pytest.fixture(scope="module")
def values(spec, tmp_path_factory):
    return obtain(Store(tmp_path_factory.mktemp("rest")), spec).values


@pytest.fixture(scope="module")
def way(spec):
    """The weights of the second network after each update, by a plain loop, and the network."""
    network, split = spec._network(), dataset(DATA).train
    network.load_state_dict(models.initialise(network, generator=rng.stream(5, "rest", "start"), scale=0.41))
    batches = torch.randint(20, (40, 3), generator=rng.stream(5, "rest", "batches"))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5, weight_decay=0.02)
    targets, path = F.one_hot(split.labels, 10).double(), []
    for batch in batches:
        optimiser.zero_grad()
        answers = network(split.inputs[batch].flatten(1).double())
        (F.mse_loss(answers, targets[batch], reduction="sum") / 6).backward()
        optimiser.step()
        path.append(state.flattened([network.state_dict()])[0].clone())
    return torch.stack(path)


class TestDisplacementSpec:
    def test_follows_each_network_as_a_plain_loop_does(self, values, way):
        last = way[-32:].numpy()
        # Starts are all but those of the last stretch, which has no updates behind it as far apart as the longest lag.
        expected = [np.square(last[lag : lag + 28] - last[:28]).sum(1).mean() for lag in (1, 2, 4)]
        assert values["distance"][1] == pytest.approx(expected, rel=1e-6)
        halves = last.reshape(2, 16, -1).mean(1)
        away = np.square(last - last.mean(0)).sum(1).mean()
        assert values["drift"][1] == pytest.approx(np.square(halves[1] - halves[0]).sum() / away, rel=1e-6)

    def test_predicts_by_means_over_snapshots_of_derivatives_and_of_the_noise_of_batches(self, spec, values, way):
        network, split = spec._network(), dataset(DATA).train
        like, x = dict(network.state_dict()), split.inputs.flatten(1).double()
        targets = F.one_hot(split.labels, 10).double()

        def loss(at, rows):
            answers = state.apply(network, state.shaped(at, like), x[rows])
            return 0.5 * (answers - targets[rows]).square().sum(1).mean()

        found = []
        for point in (way[-17], way[-1]):
            hessian = torch.autograd.functional.hessian(lambda at: loss(at, slice(None)), point)
            slopes = [
                torch.autograd.functional.jacobian(lambda at, row=row: loss(at, [row]), point) for row in range(20)
            ]
            found.append((hessian.numpy(), np.cov(torch.stack(slopes).numpy().T, bias=True)))
        hessian, noise = np.mean([each[0] for each in found], 0), np.mean([each[1] for each in found], 0)
        curvatures, basis = np.linalg.eigh(hessian)
        stiffness = np.maximum(curvatures + 0.02, 0.0)
        spread = np.diag(basis.T @ noise @ basis) / 3
        expected = stationary.displacement(stiffness, spread, np.array([1, 2, 4]), lr=0.1, momentum=0.5)
        assert values["along"][1] == pytest.approx(expected, rel=1e-6)
        assert values["noise"][1] == pytest.approx(np.trace(noise), rel=1e-6)
        flat = stationary.displacement(0 * stiffness + 0.02, spread, np.array([1, 2, 4]), lr=0.1, momentum=0.5)
        assert values["flat"][1] == pytest.approx(flat, rel=1e-6)
        alike = np.full(len(spread), spread.mean())
        even = stationary.displacement(stiffness, alike, np.array([1, 2, 4]), lr=0.1, momentum=0.5)
        assert values["even"][1] == pytest.approx(even, rel=1e-6)
        losses = [float(loss(each, slice(None))) for each in (way[-17], way[-1], way[-32:].mean(0))]
        assert values["loss"][1] == pytest.approx(np.mean(losses[:2]), rel=1e-6)
        assert values["loss of the mean"][1] == pytest.approx(losses[2], rel=1e-6)

    def test_a_network_that_diverges_has_no_numbers(self, spec, tmp_path):
        values = obtain(Store(tmp_path), replace(spec, train=replace(TRAIN, lr=1e30, precision="float32"))).values
        assert values["along"] == [[None] * 3] * 3
        assert values["loss"] == values["distance"][0] == [None] * 3

    def test_refuses_lags_and_stretches_that_do_not_fit(self, spec):
        with pytest.raises(ValueError, match="a power of two, 2 or more, not 6"):
            replace(spec, longest=6)
        with pytest.raises(ValueError, match="the measured updates are a multiple of 16, not 24"):
            replace(spec, measured=24)
        with pytest.raises(ValueError, match="of 40 updates no 48 can be measured"):
            replace(spec, measured=48)


class TestFollowed:
    def test_distances_from_a_prediction_are_those_of_its_power_and_of_its_height(self, spec):
        steps = displacements.lags(spec.longest)
        found = Record(
            {"distance": [3.0 * steps**1.5] * 4, "along": [3.0 * steps**1.5] * 4, "flat": [1.5 * steps**2.0] * 4}
        )
        good, bad = (displacements.followed(spec, found, each) for each in ("along", "flat"))
        assert [each.value for each in good.values()] == pytest.approx([0.0, 0.0], abs=1e-12)
        assert bad["slopes"].value == pytest.approx(0.5)
        assert bad["amplitude"].value == pytest.approx(np.abs(np.log(2.0) - 0.5 * np.log(steps)).mean())
