"""Energy conserving descent: laws of the particle, of the ray of light, and another implementation of the rule."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from lmc_lib import rng, training
from lmc_lib.charges import ECD, Conserving, heads
from lmc_lib.experiments.dynamics.decoders import LossSpec
from lmc_lib.language import Biases, Decoder
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

PLAIN = TrainConfig(1, lr=0.01, schedule="constant", precision="portable", grid_bits=50)
# With two weights the exponent of the index of refraction is -concentration.
LINE = ECD(concentration=1.0, floor=0.5)


def glide(losses, start, ecd, *, rate, steps, velocity=None, bits=None):
    """The path of a stack of networks, whose weights are one array; and the velocities, of any length."""
    weights = {"w": torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))}
    rule = Conserving(ecd, lambda state, step: losses(state["w"]), bits)
    if velocity is not None:
        rule.velocity = torch.tensor(velocity, dtype=torch.float64)
    path, speeds = [weights["w"].detach().clone()], []
    for step in range(steps):
        weights["w"].grad = None
        rule.losses(weights, step).sum().backward()
        rule(weights, rate)
        path.append(weights["w"].detach().clone())
        speeds.append(rule.velocity)
    return torch.stack(path, 1), torch.stack(speeds, 1)


def unit(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)


def bowl(w):
    """A bowl of other curvatures along each axis, the lowest value 0.3."""
    return 0.3 + (torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) * w.square()).sum(-1)


def potential(losses, path, ecd):
    dimension = path.shape[-1]
    return 0.5 * ecd.concentration * dimension / (dimension - 1) * (losses(path) - ecd.floor).log()


class TestLaws:
    @given(seed=st.integers(0, 100))
    @settings(max_examples=5, deadline=None)
    def test_energy_is_conserved_to_the_order_of_the_step(self, seed):
        """Of the particle, whose momentum each update changes by less its length times the slope of U.

        The rule knows its direction alone: where the rule is right, both stay together, and the energy is what it was.
        """
        start = (0.5 + torch.rand(1, 3, generator=rng.stream(seed, "start"), dtype=torch.float64)).tolist()
        ecd, apart, errors = ECD(4.0, 0.0), [], []
        for rate in (0.02, 0.01):
            path, speeds = glide(bowl, start, ecd, rate=rate, steps=round(2.0 / rate), velocity=[[0.6, -0.7, 0.4]])
            at = path[0, :-1].clone().requires_grad_()
            slopes = torch.autograd.grad(potential(bowl, at, ecd).sum(), at)[0]
            momentum = [unit(torch.tensor([0.6, -0.7, 0.4], dtype=torch.float64))]
            for slope in slopes:
                momentum.append(momentum[-1] - rate / 2.0 * momentum[-1].norm() * slope)
            momentum = torch.stack(momentum[1:])
            apart.append(float((unit(momentum) - unit(speeds[0])).norm(dim=-1).max()))
            level = potential(bowl, path[0], ecd)
            errors.append(float((momentum.norm(dim=-1) * (level[1:] - level[0]).exp() - 1.0).abs().max()))
        assert max(*apart, *errors) < 0.15
        # Half the step, half the error.
        assert apart[1] < 0.7 * apart[0]
        assert errors[1] < 0.7 * errors[0]

    def test_angular_momentum_is_conserved_to_the_order_of_the_step(self):
        """The loss does not change if weights are turned, and the start does not move along the gradient."""

        def losses(w):
            return 1.0 + w.square().sum(-1)

        ecd, errors = ECD(3.0, 0.2), []
        for rate in (0.02, 0.01, 0.005):
            path, speeds = glide(losses, [[1.0, 0.5]], ecd, rate=rate, steps=round(2.0 / rate), velocity=[[0.3, 1.0]])
            at, along = path[0, :-1], unit(speeds[0])
            found = (at[:, 0] * along[:, 1] - at[:, 1] * along[:, 0]) * (-potential(losses, at, ecd)).exp()
            errors.append(float((found / found[0] - 1.0).abs().max()))
        assert errors[0] < 0.1
        # Half the step, half the error: a ratio near 2.
        assert 1.7 < errors[0] / errors[1] < 2.4
        assert 1.7 < errors[1] / errors[2] < 2.4

    def test_rays_where_the_index_is_one_by_the_height_are_half_circles(self):
        """The half-plane of Poincaré: in two dimensions with concentration 1 and a loss that is linear."""
        path, _ = glide(lambda w: 0.5 + w[..., 1], [[0.0, 2.0]], LINE, rate=4e-3, steps=1000, velocity=[[1.0, 0.0]])
        assert torch.allclose(path[0].norm(dim=-1), torch.tensor(2.0, dtype=torch.float64), atol=2e-2)
        assert float(path[0, -1, 1]) < 0.1 * 2.0 < 1.5 < float(path[0, -1, 0])

    def test_rays_around_a_parabola_are_circles_through_its_lowest_point(self):
        """With the index :math:`|w|^{-2}`, which is concentration 1 in two dimensions, by inversion of a line."""
        path, _ = glide(
            lambda w: 0.5 + w.square().sum(-1), [[2.0, 0.0]], LINE, rate=2e-3, steps=1500, velocity=[[0.0, 1.0]]
        )
        centre = torch.tensor([1.0, 0.0], dtype=torch.float64)
        assert torch.allclose((path[0] - centre).norm(dim=-1), torch.tensor(1.0, dtype=torch.float64), atol=2e-2)
        assert float(path[0, -1].norm()) < 0.3

    def test_a_start_at_rest_moves_down_the_gradient(self):
        path, _ = glide(bowl, [[1.0, -2.0, 0.5]], ECD(100.0), rate=0.5, steps=1)
        slope = torch.tensor([1.0, -4.0, 2.0], dtype=torch.float64)
        assert torch.allclose(path[0, 1] - path[0, 0], -0.05 * unit(slope), atol=1e-14)

    def test_approaches_the_equation_of_motion(self):
        """Against an integrator of high order, in four dimensions with a loss that is not symmetric."""
        curvature = np.array([0.5, 1.0, 3.0, 0.2])

        def losses(w):
            return 1.0 + (torch.tensor(curvature) * w.square()).sum(-1) + w.prod(-1)

        def motion(_, where):
            at, along = where[:4], where[4:]
            slope = 2.0 * curvature * at + at.prod() / at
            force = 0.5 * 6.0 * 4.0 / 3.0 * slope / (1.0 + (curvature * at**2).sum() + at.prod() - 0.4)
            return np.concatenate([along, -(force - along * (along @ force))])

        start, velocity = [1.0, 0.7, -0.6, 1.2], [0.5, 0.5, 0.5, -0.5]
        wanted = solve_ivp(motion, (0.0, 1.5), start + velocity, rtol=1e-10, atol=1e-12).y[:4, -1]
        errors = []
        for steps in (200, 400):
            rate = 1.5 / steps * 6.0**0.5
            path, _ = glide(losses, [start], ECD(6.0, 0.4), rate=rate, steps=steps, velocity=[velocity])
            errors.append(np.abs(path[0, -1].numpy() - wanted).max())
        assert errors[0] < 0.03
        assert 1.7 < errors[0] / errors[1] < 2.3


def by_hand(losses, start, ecd, rate, steps):
    """The same rule in numpy for one network of any shapes, as one vector."""
    shapes = [each.shape for each in start.values()]
    sizes = np.cumsum([each.numel() for each in start.values()])[:-1]
    vector, velocity = np.concatenate([each.numpy().ravel() for each in start.values()]), None
    for _ in range(steps):
        parts = [torch.tensor(p.reshape(s)) for p, s in zip(np.split(vector, sizes), shapes, strict=True)]
        leaves = {name: part.requires_grad_() for name, part in zip(start, parts, strict=True)}
        loss = losses(leaves)
        slope = np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(loss, list(leaves.values()))])
        velocity = -slope if velocity is None else velocity
        velocity = velocity / np.sqrt(velocity @ velocity)
        step, count = rate / np.sqrt(ecd.concentration), vector.size
        force = 0.5 * ecd.concentration * count / (count - 1) * slope / (loss.item() - ecd.floor)
        velocity = velocity - step * (force - velocity * (velocity @ force))
        vector = vector + step * velocity
    return vector


class TestRule:
    @pytest.mark.parametrize("ecd", [ECD(100.0, 0.0), ECD(9.0, 0.7)])
    def test_is_that_of_one_vector_in_each_network_of_a_stack(self, ecd):
        def losses(state, step=0):
            first, second = state["a"], state["b"]
            return 1.5 + (first.square().sum((-2, -1)) * 0.3 + (first.sum(-1) * second).sum(-1).sin())

        start = {
            "a": torch.randn(3, 2, 4, generator=rng.stream(0, "a"), dtype=torch.float64),
            "b": torch.randn(3, 2, generator=rng.stream(0, "b"), dtype=torch.float64),
        }
        rule = Conserving(ecd, losses)
        config = dataclasses.replace(PLAIN, steps=7, lr=0.3)
        *_, last = training.train_stack(rule.losses, start, config, rule=rule)
        for place in range(3):
            wanted = by_hand(losses, {name: each[place] for name, each in start.items()}, ecd, 0.3, 7)
            found = np.concatenate([last.state[name][place].numpy().ravel() for name in start])
            assert found == pytest.approx(wanted, rel=1e-10)
        assert last.memory == {}

    def test_each_update_has_the_rate_of_its_step(self):
        """The gradient always lies along the way: so it is straight, as long as the rates together."""
        config = TrainConfig(6, lr=0.2, warmup=2, schedule="linear", precision="portable")
        rule = Conserving(ECD(4.0, 0.0), lambda state, step: 1.0 + 0.0 * state["w"][:, 1] + state["w"][:, 0].exp())
        start = {"w": torch.tensor([[1.0, 3.0]], dtype=torch.float64)}
        *_, last = training.train_stack(rule.losses, start, config, rule=rule)
        assert last.state["w"][0].tolist() == pytest.approx([1.0 - 0.5 * (0.1 + 0.2 + 0.2 + 0.15 + 0.1 + 0.05), 3.0])

    def test_rounded_updates_differ_by_rounding_alone(self):
        free, rounded = (
            glide(bowl, [[1.0, -2.0, 0.5]], ECD(), rate=0.2, steps=20, velocity=[[0.3, 0.2, -0.1]], bits=bits)
            for bits in (None, 20)
        )
        assert torch.allclose(free[0], rounded[0], atol=1e-4)
        assert not torch.equal(free[0], rounded[0])
        grid = rounded[1] * 2.0**24
        assert torch.equal(grid, grid.round())


class TestDecoders:
    @pytest.mark.parametrize("precision", ["float32", "portable"])
    def test_learn(self, tmp_path, precision):
        decoder, train = Decoder(4, 8, 6, layers=1), TrainConfig(100, 8, 1.0, warmup=5, precision=precision)
        before, after = (
            LossSpec(decoder, dataclasses.replace(train, steps=steps), Biases(0.5, 0.1), 3, ecd=ECD())
            for steps in (5, 100)
        )
        losses = [np.array(obtain(Store(tmp_path), each).values["excess"]) for each in (before, after)]
        assert (losses[1] < 0.8 * losses[0]).all()
        assert after.factors == "ECD, concentration 100, rate 1, biases 0.5 ± 0.1"

    def test_are_trained_like_each_network_alone(self):
        decoder, train = Decoder(4, 8, 6, layers=1), TrainConfig(6, 4, 1.0, warmup=2, precision="portable")
        whole = LossSpec(decoder, train, Biases(0.4, 0.3), 3, 7, ecd=ECD())
        *_, together = whole.path(whole.start())
        for place in range(3):
            alone = dataclasses.replace(whole, seeds=1, first_seed=7 + place)
            *_, last = alone.path(alone.start())
            for weight, each in last.state.items():
                assert torch.allclose(together.state[weight][place], each[0], atol=1e-6)

    @pytest.mark.parametrize("pair", heads.PAIRS)
    def test_keep_the_angular_momentum_of_a_head_that_may_be_turned(self, pair):
        r"""It is 0 at a start down the gradient, and stays so to the grids of gradients and speeds; not with biases.

        Of a turn :math:`\Omega` it is the sum over the pair of :math:`\langle dW, \Omega W \rangle`, so that the
        antisymmetric part of :math:`\sum dW W^\top` says all of them.
        """
        decoder, train = Decoder(4, 8, 8, layers=1), TrainConfig(30, 8, 2.0, warmup=5, precision="portable")
        largest = {}
        for biases in (None, Biases(0.5, 0.1), Biases(0.0, 0.51)):
            spec = LossSpec(decoder, train, biases, 3, 7, ecd=ECD())
            states = [each.state for each in spec.path(spec.start(), save_at=range(31))]
            momenta = [
                sum((after[name] - before[name]) @ before[name].mT for name in heads.PAIRS[pair])
                for before, after in itertools.pairwise(states)
            ]
            turning = torch.stack(momenta)
            largest[biases] = float((turning - turning.mT).abs().max())
        none, *broken = largest.values()
        assert none < 1e-5
        assert min(broken) > 1e-3
