"""Charges and the laws of their motion: symmetries by moving weights, laws by torch's optimiser and by integration."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch.nn import functional as F

from lmc_lib import charges, definitions, models, rng, state
from lmc_lib.charges import FAMILIES, LAWS, SGD, Charge, Follower, Motion
from lmc_lib.charges import motion as motion_module

ARCHITECTURES = {
    "perceptron": models.mlp(12, 4, widths=(5, 7), norm="batch"),
    "convolutions": models.vgg(2, 3, depth=11, width=2, norm="batch"),
    "without normalisation": models.mlp(12, 4, widths=(5, 7)),
}
SHAPES = {"perceptron": (12,), "convolutions": (2, 8, 8), "without normalisation": (12,)}


def chain(name, *, epsilon=1e-30):
    return charges.with_epsilon(ARCHITECTURES[name].double(), epsilon)


def drawn(network, seed=0):
    """Weights in general position: no factor is 1 and no bias 0."""
    generator = rng.stream(seed, "charges")
    start = models.initialise(network, generator=generator)
    trained = {name for name, _ in network.named_parameters()}
    return {
        name: each + 0.3 * torch.randn(each.shape, generator=generator, dtype=torch.float64)
        if name in trained
        else each
        for name, each in start.items()
    }


def batch(name, seed=0, size=16):
    generator = rng.stream(seed, "batch")
    inputs = torch.randn(size, *SHAPES[name], generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (size,), generator=generator)


def loss(network, weights, examples):
    inputs, labels = examples
    return F.cross_entropy(state.apply(copy.deepcopy(network).train(), state.clone(weights), inputs), labels)


def gradient(network, weights, examples):
    module = copy.deepcopy(network).train()
    module.load_state_dict(weights)
    inputs, labels = examples
    F.cross_entropy(module(inputs), labels).backward()
    return {name: each.grad for name, each in module.named_parameters()}


def moved(charge, weights, unit, by):
    """Weights with one unit moved by the symmetry of a charge, as far as ``by`` says."""
    changed = state.clone(weights)
    for name, axis, sign in charge.terms:
        own = changed[name] if axis is None else changed[name].select(axis, unit)
        own.add_(by) if charge.degree == 1 else own.mul_(math.exp(sign * by))
    return changed


class TestSymmetries:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    @settings(max_examples=12, deadline=None)
    @given(place=st.integers(0, 1000), unit=st.integers(0, 1000), by=st.floats(0.2, 1.5), seed=st.integers(0, 5))
    def test_leave_the_loss_as_it_is(self, name, place, unit, by, seed):
        network, examples = chain(name), batch(name, seed)
        weights = drawn(network, seed)
        found = charges.of_chain(network)
        charge = found[place % len(found)]
        other = moved(charge, weights, unit % len(charges.value(charge, weights)), by)
        assert state.distance(weights, other) > 1e-3
        # Some hundred operations of float64 on numbers of the order of 1.
        assert float(loss(network, other, examples)) == pytest.approx(
            float(loss(network, weights, examples)), rel=1e-11
        )

    @pytest.mark.parametrize("family", FAMILIES)
    def test_are_gone_in_the_asymmetric_network(self, family):
        network, examples = chain("perceptron"), batch("perceptron")
        weights, broken = drawn(network), charges.asymmetric(network)
        charge = next(each for each in charges.of_chain(network) if each.family == family)
        there, here = (float(loss(broken, each, examples)) for each in (weights, moved(charge, weights, 1, 0.7)))
        assert abs(there - here) > 1e-4

    def test_scale_is_broken_by_epsilon_alone(self):
        network, examples = chain("perceptron", epsilon=0.1), batch("perceptron")
        weights = drawn(network)
        broken = {
            each.family
            for each in charges.of_chain(network)
            if abs(float(loss(network, moved(each, weights, 1, 0.7), examples) - loss(network, weights, examples)))
            > 1e-6
        }
        assert broken == {"scale"}

    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_have_no_gradient_along_their_generator(self, name):
        network = chain(name)
        weights = drawn(network)
        slope = gradient(network, weights, batch(name))
        assert max(overlaps(network, weights, slope)) < 1e-13

    def test_of_the_asymmetric_network_have_one(self):
        network = chain("perceptron")
        weights = drawn(network)
        slope = gradient(charges.asymmetric(network), weights, batch("perceptron"))
        assert min(overlaps(network, weights, slope)) > 1e-3


def overlaps(network, weights, slope):
    """By charge the inner product of generator and gradient by the product of their lengths, over all units."""
    for charge in charges.of_chain(network):
        direction = charges.generator(charge, weights)
        product = charges.inner(charge, direction, slope).abs().sum()
        yield float(product / state.norm(direction) / state.norm({name: slope[name] for name in direction}))


class TestCharges:
    def test_of_a_chain(self):
        network = models.mlp(12, 4, widths=(5, 7), norm="batch")  # 1, 2: linear, norm; 4, 5; 7: logits
        assert charges.of_chain(network) == [
            Charge("scale", (("1.weight", 0, 1),)),
            Charge("rescale", (("2.weight", 0, 1), ("2.bias", 0, 1), ("4.weight", 1, -1))),
            Charge("scale", (("4.weight", 0, 1),)),
            Charge("rescale", (("5.weight", 0, 1), ("5.bias", 0, 1), ("7.weight", 1, -1))),
            Charge("translation", (("7.weight", 1, 1),)),
            Charge("translation", (("7.bias", None, 1),)),
        ]

    def test_without_normalisation_no_scale_is_free(self):
        found = charges.of_chain(models.mlp(12, 4, widths=(5, 7)))
        assert [each.family for each in found] == ["rescale", "rescale", "translation", "translation"]
        assert found[0].terms == (("1.weight", 0, 1), ("1.bias", 0, 1), ("3.weight", 1, -1))

    def test_layer_normalisation_frees_no_single_unit(self):
        found = charges.of_chain(models.vgg(1, 3, depth=11, width=4, norm="layer"))
        assert {each.family for each in found} == {"rescale", "translation"}

    def test_of_each_unit_by_hand(self):
        weights = {
            "in": torch.tensor([[1.0, 2.0], [3.0, 5.0]]),
            "b": torch.tensor([1.0, -2.0]),
            "out": torch.ones(3, 2),
        }
        rescale = Charge("rescale", (("in", 0, 1), ("b", 0, 1), ("out", 1, -1)))
        assert charges.value(rescale, weights).tolist() == [1 + 4 + 1 - 3, 9 + 25 + 4 - 3]
        assert charges.value(Charge("scale", (("in", 0, 1),)), weights).tolist() == [5.0, 34.0]
        assert charges.value(Charge("translation", (("in", 1, 1),)), weights).tolist() == [4.0, 7.0]
        assert charges.value(Charge("translation", (("b", None, 1),)), weights).tolist() == [-1.0]

    def test_inner_products_are_those_of_the_weights_of_each_unit(self):
        generator = rng.stream(0, "gram")
        shapes = {"kernel": (3, 4, 2, 2), "factor": (4,)}
        one, other = (
            {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
            for _ in range(2)
        )
        found = charges.inner(Charge("rescale", (("kernel", 1, 1), ("factor", 0, -1))), one, other)
        assert found.shape == (4,)
        for unit in range(4):
            first, second = (
                torch.cat([each["kernel"][:, unit].ravel(), each["factor"][unit, None]]) for each in (one, other)
            )
            assert float(found[unit]) == pytest.approx(float(first @ second))

    @pytest.mark.parametrize("kind", ["blocks", "no logits", "no chain"])
    def test_are_those_of_a_chain_that_ends_with_logits(self, kind):
        perceptron = models.mlp(12, 4, widths=(5,), norm="batch")
        network = {
            "blocks": models.resnet(1, 3, depth=8, width=4),
            "no logits": perceptron[:-1],
            "no chain": torch.nn.ModuleList(perceptron),
        }[kind]
        with pytest.raises(ValueError, match="charges are those of a chain"):
            charges.of_chain(network)

    def test_leave_the_network_as_it_is(self):
        network = models.mlp(12, 4, widths=(5,), norm="batch")
        charges.with_epsilon(network, 0.5)
        charges.asymmetric(network)
        assert network[2].eps == 1e-5
        assert isinstance(network[3], torch.nn.ReLU)


RATES = st.floats(0.01, 0.2)
RULES = st.builds(SGD, RATES, st.floats(0.0, 0.95), st.floats(0.0, 0.3))


def trained(name, sgd, steps):
    """A training by torch's own optimiser, followed."""
    network = chain(name)
    start = drawn(network)
    module = copy.deepcopy(network).train()
    module.load_state_dict(start)
    optimiser = torch.optim.SGD(module.parameters(), lr=sgd.rate, momentum=sgd.momentum, weight_decay=sgd.decay)
    follower = Follower(charges.of_chain(network), sgd)
    names = dict(module.named_parameters())
    velocity = {each: torch.zeros_like(value) for each, value in names.items()}
    follower.visit(state.clone(module.state_dict()), velocity)
    for step in range(steps):
        inputs, labels = batch(name, step)
        optimiser.zero_grad()
        F.cross_entropy(module(inputs), labels).backward()
        before = state.clone(module.state_dict())
        optimiser.step()
        velocity = {each: (before[each] - value.detach()) / sgd.rate for each, value in names.items()}
        follower.visit(state.clone(module.state_dict()), velocity)
    return follower.motions()


# The trainings with momentum and weight decay at the laptop scale, in the time of the page.
PAGE = definitions.profile("conservation-laws", "laptop")
OF_THE_PAGE = [SGD(rate, PAGE["momentum"], PAGE["weight_decay"]) for rate in PAGE["rates"]]
# Here the mass is so small that the expansion in the rate has nearly reached its first term.
LITTLE_INERTIA = [SGD(rate, 0.6, 0.3) for rate in PAGE["rates"]]


def smooth(rate, updates):
    """The drive of each update, a function of time."""
    return 1.0 + np.sin(rate * (np.arange(updates) + 0.5))[:, None]


def compared(degree, rules, drive):
    """By law the order of the distance of charges that obey the discrete law, and its share at the smallest rate.

    All rules are followed for the same time, that of the page.
    """
    distances = []
    for sgd in rules:
        updates = round(PAGE["time"] / sgd.rate)
        driven = drive(sgd.rate, updates)
        laws = {name: law(degree, sgd) for name, law in LAWS.items()}
        laws["from rest"] = dataclasses.replace(laws["oscillator"], start=np.array([1.0, 0.0]))
        curves = {name: charges.predicted(law, np.ones(driven.shape[1]), driven) for name, law in laws.items()}
        distances.append(Motion(curves.pop("discrete law"), np.zeros(updates), curves, driven).distances)
    rates = [sgd.rate for sgd in rules]
    sizes = {name: np.array([[each[name] for each in distances]]) for name in distances[0]}
    orders = {name: float(charges.order(rates, each)[0]) for name, each in sizes.items()}
    return orders, {name: each[0, -1] / sizes["gradient flow"][0, -1] for name, each in sizes.items()}


class TestLaws:
    @settings(max_examples=8, deadline=None)
    @given(sgd=RULES)
    def test_the_discrete_law_is_that_of_torchs_optimiser(self, sgd):
        motions = trained("perceptron", sgd, 12)
        assert motions.keys() == set(FAMILIES)
        for family, motion in motions.items():
            assert motion.charges.shape[0] == 13
            # Velocities are differences of weights by a rate of 0.01 or more, which costs two of sixteen digits.
            assert motion.distances["discrete law"] < 1e-11, family
            assert float(motion.overlap.max()) < 1e-10, family

    @pytest.mark.parametrize("room", [1, 3000])
    def test_does_not_depend_on_how_many_updates_are_looked_at_together(self, room, monkeypatch):
        """One by one, and three or so at a time, with a rest at the end."""
        together = trained("perceptron", SGD(0.05, 0.9, 0.1), 11)
        monkeypatch.setattr(motion_module, "_TOGETHER", room)
        for family, found in trained("perceptron", SGD(0.05, 0.9, 0.1), 11).items():
            assert found.charges.shape == together[family].charges.shape
            for name in ("charges", "overlap", "squares"):
                assert getattr(found, name) == pytest.approx(getattr(together[family], name), rel=1e-12, abs=1e-15)

    def test_convolutions_obey_it_too(self):
        motions = trained("convolutions", SGD(0.05, 0.9, 0.1), 8)
        assert max(each.distances["discrete law"] for each in motions.values()) < 1e-11
        assert min(each.drift for each in motions.values()) > 1e-3

    @settings(max_examples=30, deadline=None)
    @given(degree=st.sampled_from([1, 2]), sgd=RULES, seed=st.integers(0, 1000))
    def test_the_discrete_law_needs_nothing_but_gradients_across_the_generator(self, degree, sgd, seed):
        """No network at all: gradients are drawn, and their part along the generator is taken out."""
        generator = np.random.default_rng(seed)
        signs = np.array([1.0, 1.0, 1.0, -1.0, -1.0]) if degree == 2 else np.ones(5)
        weights, velocity, drive = generator.normal(size=5), np.zeros(5), []

        def charge(vector):
            return float(signs @ vector if degree == 1 else signs @ vector**2)

        found = [charge(weights)]
        for _ in range(20):
            along = signs if degree == 1 else signs * weights
            slope = generator.normal(size=5)
            slope -= along * (along @ slope) / (along @ along)
            velocity = sgd.momentum * velocity + slope + sgd.decay * weights
            weights = weights - sgd.rate * velocity
            drive.append([charge(velocity)])
            found.append(charge(weights))
        law = charges.discrete_law(degree, sgd)
        predicted = charges.predicted(law, np.array(found[:1]), np.array(drive))[:, 0]
        assert predicted == pytest.approx(np.array(found), rel=1e-10, abs=1e-10)

    @settings(max_examples=15, deadline=None)
    @given(degree=st.sampled_from([1, 2]), sgd=RULES, start=st.floats(0.5, 3.0))
    def test_the_oscillator_solves_its_equation(self, degree, sgd, start):
        drive = np.array([[1.5], [0.0], [0.7], [2.0]])
        mass = sgd.rate * (1.0 + sgd.momentum) / 2.0

        def force(r):
            return lambda _, y: [
                y[1],
                (2.0 * (degree - 1) * mass * r - (1.0 - sgd.momentum) * y[1] - degree * sgd.decay * y[0]) / mass,
            ]

        now, expected = np.array([start, -degree * sgd.decay * start / (1.0 + sgd.momentum)]), [start]
        for (r,) in drive:
            now = solve_ivp(force(r), (0.0, sgd.rate), now, rtol=1e-10, atol=1e-12).y[:, -1]
            expected.append(now[0])
        predicted = charges.predicted(charges.oscillator(degree, sgd), np.array([start]), drive)[:, 0]
        assert predicted == pytest.approx(expected, rel=1e-7)

    def test_the_oscillator_swings_as_the_closed_form_says(self):
        sgd, updates = SGD(0.05, 0.97, 0.2), 300
        mass, damping = 0.05 * 1.97 / 2.0, 0.03 / 0.05 / 1.97
        swing = math.sqrt(0.2 / mass - damping**2)
        time = 0.05 * np.arange(updates + 1)
        closed = np.exp(-damping * time) * (
            np.cos(swing * time) + (damping - 0.2 / 1.97) / swing * np.sin(swing * time)
        )
        predicted = charges.predicted(charges.oscillator(1, sgd), np.ones(1), np.zeros((updates, 1)))[:, 0]
        assert predicted == pytest.approx(closed, abs=1e-10)
        assert closed.min() < -0.3

    @pytest.mark.parametrize("degree", [1, 2])
    def test_updates_approach_the_oscillator_in_second_order_and_gradient_flow_in_first(self, degree):
        """At a fixed time and for a smooth drive; half the rate leaves a quarter and a half of the distances."""
        orders, _ = compared(degree, LITTLE_INERTIA, smooth)
        # Between two halvings the next order of the expansion is a fiftieth of the first.
        assert orders == {
            "oscillator": pytest.approx(2.0, abs=0.1),
            "from rest": pytest.approx(1.0, abs=0.1),
            "gradient flow": pytest.approx(1.0, abs=0.1),
        }

    @pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
    @pytest.mark.parametrize("signed", [False, True])
    def test_so_they_do_for_pure_noise(self, size, signed):
        """The second order is mathematics: it holds where no network is, at the rates of the laptop scale too."""

        def noise(rate, updates):
            drawn = np.random.default_rng(updates).normal(size=(updates, 100))
            return size * (drawn if signed else drawn**2)

        for rules in (LITTLE_INERTIA, OF_THE_PAGE):
            orders, shares = compared(2, rules, noise)
            # Over 20 draws orders of 100 units scatter by 0.03, and with the rates' next order lie between 1.9 and 2.2.
            assert orders["oscillator"] == pytest.approx(2.0, abs=0.25)
            # A sum of signed noise grows as the square root of the number of updates, so its order is up to 3/2.
            assert 0.9 < orders["gradient flow"] < (1.75 if signed else 1.2)
            assert 1e-6 < shares["oscillator"] < 1e-2

    def test_from_rest_sums_have_order_one(self):
        """With the settings of the laptop scale, as the page says; no data are needed, since sums have no drive."""
        orders, shares = compared(1, OF_THE_PAGE, smooth)
        assert orders["oscillator"] == pytest.approx(2.12, abs=0.005)
        assert shares["oscillator"] == pytest.approx(3.7e-5, abs=5e-7)
        assert orders["from rest"] == pytest.approx(1.04, abs=0.005)
        assert shares["from rest"] == pytest.approx(0.0996, abs=5e-5)

    def test_no_charge_of_the_page_swings(self):
        """Neither side of the condition for swinging is near the other, and without a drive no charge passes zero."""
        for sgd, degree in itertools.product(OF_THE_PAGE, (1, 2)):
            mass = sgd.rate * (1.0 + sgd.momentum) / 2.0
            assert 4 * degree * mass * sgd.decay < 0.35 * (1.0 - sgd.momentum) ** 2
            curve = charges.predicted(charges.oscillator(degree, sgd), np.ones(1), np.zeros((5000, 1)))
            assert curve.min() > 0.0
            assert np.diff(curve[:, 0]).max() < 0.0

    def test_without_decay_and_drive_nothing_moves(self):
        for law in LAWS.values():
            curve = charges.predicted(law(1, SGD(0.1, 0.9)), np.array([2.0, -1.0]), np.ones((5, 2)))
            assert curve == pytest.approx(np.tile([2.0, -1.0], (6, 1)), abs=1e-14)

    def test_of_plain_steps_is_that_of_pythagoras(self):
        """Without momentum and decay squares of the steps add up."""
        law, drive = charges.discrete_law(2, SGD(0.1)), np.array([[2.0], [3.0]])
        assert charges.predicted(law, np.array([5.0]), drive)[:, 0] == pytest.approx([5.0, 5.02, 5.05])


class TestOrder:
    @given(power=st.floats(-1.0, 3.0), factor=st.floats(0.1, 10.0))
    def test_is_the_power(self, power, factor):
        rates = [0.1, 0.04, 0.01]
        sizes = factor * np.array([[rate**power for rate in rates], [1.0, 1.0, 1.0]])
        assert charges.order(rates, sizes) == pytest.approx([power, 0.0], abs=1e-9)
