"""SGD at rest: variances by solvers of Lyapunov's equation, the oscillator by its own, and drawn updates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from lmc_lib.flow import stationary

RATES = st.floats(0.001, 0.1)
MOMENTA = st.floats(0.0, 0.98)
STIFF = st.floats(0.01, 9.0)


def update(stiffness, lr, momentum):
    """The matrix of an update of position and velocity, and the vector by which noise enters."""
    matrix = np.array([[1.0 - lr * stiffness, lr * momentum], [-stiffness, momentum]])
    return matrix, np.array([-lr, -1.0])


def oscillator(stiffness, lr, momentum):
    """The same in continuous time."""
    mass = lr * (1.0 + momentum) / 2.0
    matrix = np.array([[0.0, 1.0], [-stiffness / mass, -(1.0 - momentum) / mass]])
    return matrix, np.array([0.0, np.sqrt(lr) / mass])


class TestSpread:
    @given(STIFF, RATES, MOMENTA)
    def test_the_exact_variances_solve_the_equation_of_the_updates(self, stiffness, lr, momentum):
        matrix, noise = update(stiffness, lr, momentum)
        expected = solve_discrete_lyapunov(matrix, 0.7 * np.outer(noise, noise))
        found = stationary.spread(np.array([stiffness]), np.array([0.7]), lr=lr, momentum=momentum, exact=True)
        assert np.concatenate(found) == pytest.approx(np.diag(expected), rel=1e-6)  # the solver loses some digits

    @given(STIFF, RATES, MOMENTA)
    def test_the_others_solve_that_of_continuous_time(self, stiffness, lr, momentum):
        matrix, noise = oscillator(stiffness, lr, momentum)
        expected = solve_continuous_lyapunov(matrix, -0.7 * np.outer(noise, noise))
        found = stationary.spread(np.array([stiffness]), np.array([0.7]), lr=lr, momentum=momentum)
        assert np.concatenate(found) == pytest.approx(np.diag(expected), rel=1e-6)

    def test_without_weight_decay_the_noise_of_a_regression_spreads_positions_equally(self):
        curvatures = np.array([0.1, 0.7, 5.0])
        position, velocity = stationary.spread(curvatures, 0.3 * curvatures, lr=0.02, momentum=0.9)
        assert position == pytest.approx(np.full(3, 0.03))
        assert velocity / velocity[0] == pytest.approx(curvatures / curvatures[0])

    def test_refuses_a_step_with_which_updates_diverge(self):
        with pytest.raises(ValueError, match=r"a step of 0\.5 diverge along a direction of stiffness 9"):
            stationary.spread(np.array([1.0, 9.0]), np.ones(2), lr=0.5, momentum=0.0, exact=True)


class TestRegression:
    def moments(self, curvatures, residual, *, lr, momentum, decay, batch, updates):
        """Second moments of position and velocity, update by update, with the noise of where they are."""
        size = len(curvatures)
        mean = -decay / (curvatures + decay)
        blocks = [update(each + decay, lr, momentum)[0] for each in curvatures]
        transition = np.zeros((2 * size, 2 * size))
        for row, block in enumerate(blocks):
            transition[np.ix_([row, size + row], [row, size + row])] = block
        enters = np.concatenate([-lr * np.eye(size), -np.eye(size)])
        hessian, found = np.diag(curvatures), np.zeros((2 * size, 2 * size))
        for _ in range(updates):
            away = found[:size, :size] + np.outer(mean, mean)
            noise = ((residual**2 + np.trace(hessian @ away)) * hessian + hessian @ away @ hessian) / batch
            found = transition @ found @ transition.T + enters @ noise @ enters.T
        return found

    @pytest.mark.parametrize(("momentum", "decay", "batch"), [(0.9, 0.05, 4), (0.5, 0.0, 1), (0.0, 0.3, 2)])
    def test_is_where_second_moments_end(self, momentum, decay, batch):
        curvatures, options = np.array([0.3, 1.0, 4.0]), {"momentum": momentum, "decay": decay, "batch": batch}
        expected = self.moments(curvatures, 0.8, lr=0.02, updates=4000, **options)
        found = stationary.regression(curvatures, 0.8, lr=0.02, **options)
        assert found == pytest.approx(np.diag(expected)[:3], rel=1e-8)

    def test_the_formula_of_continuous_time_is_its_limit_for_small_steps(self):
        curvatures, off = np.array([0.3, 1.0, 4.0]), []
        for lr in (0.02, 0.002, 0.0002):
            exact = stationary.regression(curvatures, 0.8, lr=lr, momentum=0.9, decay=0.0, batch=8)
            noise = 0.8**2 * curvatures / 8
            off.append(np.abs(exact / stationary.spread(curvatures, noise, lr=lr, momentum=0.9)[0] - 1.0).max())
        assert off[1] / off[0] == pytest.approx(0.1, rel=0.3)
        assert off[2] / off[1] == pytest.approx(0.1, rel=0.05)  # the error is of first order in the step

    def test_refuses_noise_that_feeds_itself(self):
        with pytest.raises(ValueError, match=r"a step of 0\.5 and batches of 1 the noise feeds itself"):
            stationary.regression(np.ones(8), 1.0, lr=0.5, momentum=0.0, decay=0.0, batch=1)


class TestCorrelation:
    @given(STIFF, RATES, MOMENTA)
    def test_of_updates_is_that_of_powers_of_their_matrix(self, stiffness, lr, momentum):
        matrix, noise = update(stiffness, lr, momentum)
        variances = solve_discrete_lyapunov(matrix, np.outer(noise, noise))
        expected = [(np.linalg.matrix_power(matrix, lag) @ variances)[0, 0] / variances[0, 0] for lag in (0, 1, 5, 30)]
        found = stationary.correlation(np.array([stiffness]), np.array([0, 1, 5, 30]), lr=lr, momentum=momentum)
        assert found[0] == pytest.approx(expected, abs=1e-6)

    # The last one is neither: friction and stiffness are in balance.
    @pytest.mark.parametrize("stiffness", [3.0, 0.05, 0.1**2 / (2 * 0.02 * 1.9)])
    def test_of_continuous_time_solves_the_equation_of_the_oscillator(self, stiffness):
        matrix, _ = oscillator(stiffness, 0.02, 0.9)
        lags = np.array([0.0, 3.0, 10.0, 25.0])
        path = solve_ivp(lambda _, x: matrix @ x, (0.0, 0.5), [1.0, 0.0], t_eval=0.02 * lags, rtol=1e-10, atol=1e-12)
        found = stationary.oscillation(np.array([stiffness]), lags, lr=0.02, momentum=0.9)
        assert found[0] == pytest.approx(path.y[0], abs=1e-8)

    def test_both_agree_for_small_steps(self):
        stiffness, lags = np.array([0.4, 2.0]), np.array([0, 400, 1500])
        both = [
            each(stiffness, lags, lr=1e-4, momentum=0.999) for each in (stationary.correlation, stationary.oscillation)
        ]
        assert both[0] == pytest.approx(both[1], abs=2e-3)


class TestDisplacement:
    @given(st.lists(STIFF, min_size=1, max_size=3), RATES, MOMENTA)
    def test_is_twice_what_correlations_leave_of_the_variances(self, stiffness, lr, momentum):
        stiffness, lags = np.array(stiffness), np.array([1, 2, 7, 40])
        noise, options = np.linspace(0.5, 2.0, len(stiffness)), {"lr": lr, "momentum": momentum}
        position, velocity = stationary.spread(stiffness, noise, exact=True, **options)
        expected = 2.0 * position @ (1.0 - stationary.correlation(stiffness, lags, **options))
        found = stationary.displacement(stiffness, noise, lags, **options)
        assert found == pytest.approx(expected, rel=1e-6)
        assert found[0] == pytest.approx(lr**2 * velocity.sum())

    def test_where_nothing_draws_back_it_grows_with_the_square_and_then_with_the_number_of_updates(self):
        lags = np.array([1, 2, 10_000, 20_000])
        found = stationary.displacement(np.zeros(1), np.ones(1), lags, lr=0.1, momentum=0.99)
        assert stationary.slopes(lags, found)[[0, 2]] == pytest.approx([2.0, 1.0], abs=0.02)
        assert found[-1] == pytest.approx(
            20_000 * 0.1**2 / 0.01**2, rel=0.02
        )  # as if each gradient counted 1 / (1 - 0.99) times

    def test_is_that_of_drawn_updates_with_noise_that_is_correlated_between_directions(self):
        generator, stiffness = np.random.default_rng(3), np.array([0.2, 2.0])
        mixed = np.array([[1.0, 0.0], [0.8, 0.6]])
        theta, velocity, path = np.zeros((4000, 2)), np.zeros((4000, 2)), []
        for _ in range(400):
            velocity = 0.8 * velocity - stiffness * theta - generator.standard_normal((4000, 2)) @ mixed.T
            theta = theta + 0.1 * velocity
            path.append(theta)
        lags = np.array([1, 6, 60])
        found = [np.square(path[-1] - path[-1 - lag]).sum(1).mean() for lag in lags]
        expected = stationary.displacement(stiffness, np.ones(2), lags, lr=0.1, momentum=0.8)
        assert found == pytest.approx(expected, rel=0.08)  # four standard errors of 4,000 draws
