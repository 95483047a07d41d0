"""Weights before a normalisation as directions: the law of their lengths, RMSProp of units, and twins of length 1."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lmc_lib import charges, models, rng, state
from lmc_lib.charges import SGD, Follower, OnSphere, RMSProp

NETWORKS = {
    "perceptron": (models.mlp(12, 4, widths=(5, 7), norm="batch"), (12,)),
    "convolutions": (models.vgg(2, 4, depth=11, width=2, norm="batch"), (2, 8, 8)),
}
RULE = SGD(0.05, decay=0.3)


def ready(name, seed=0):
    """A network without epsilon, a start in general position, its scale charges and a batch."""
    chain, shape = NETWORKS[name]
    network = charges.with_epsilon(chain.double(), 1e-30)
    generator = rng.stream(seed, "directions")
    start = models.initialise(network, generator=generator)
    trained = {each for each, _ in network.named_parameters()}
    start = {
        each: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if each in trained
        else value
        for each, value in start.items()
    }
    inputs = torch.randn(16, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (16,), generator=generator)
    return (
        network.train(),
        start,
        [each for each in charges.of_chain(chain) if each.family == "scale"],
        (inputs, labels),
    )


def module(network, weights):
    """The network with these weights, and their gradients on a batch."""
    made = copy.deepcopy(network)
    made.load_state_dict(weights)
    return made


def lengths(weights, scale):
    return torch.cat([charges.value(each, weights) for each in scale])


def rows(weights, scale):
    return [weights[each.terms[0][0]].flatten(1) for each in scale]


class TestLaw:
    @settings(max_examples=40)
    @given(seed=st.integers(0, 10**6), rate=st.floats(0.01, 0.5), decay=st.floats(0.0, 0.5))
    def test_misses_what_its_docstring_leaves_out_and_no_more(self, seed, rate, decay):
        """One update of a vector by a gradient at right angles to it."""
        draw = np.random.default_rng(seed)
        weights, gradient = draw.normal(size=5), draw.normal(size=5)
        gradient -= weights * (gradient @ weights) / (weights @ weights)
        before, shrink = (weights @ weights) ** 2, rate * decay
        square = (gradient @ gradient) * (weights @ weights)
        moved = (1 - shrink) * weights - rate * gradient
        (_, (law,)) = charges.predicted(
            charges.fourth_power(SGD(rate, decay=decay)), np.array([before]), np.array([[square]])
        )
        missed = (
            (6 * shrink**2 - 4 * shrink**3 + shrink**4) * before
            - 2 * rate**2 * square * (2 * shrink - shrink**2)
            + rate**4 * square**2 / before
        )
        # Differences of numbers of the size of the result.
        assert (moved @ moved) ** 2 - law == pytest.approx(missed, abs=1e-12 * (moved @ moved) ** 2)

    def test_is_one_without_momentum(self):
        with pytest.raises(ValueError, match="without momentum, not with"):
            charges.fourth_power(SGD(0.1, 0.9, 0.1))

    @pytest.mark.parametrize(("tails", "shape"), [(1.0, None), (1.5, 2.0), (3.0, 0.5)])
    def test_what_is_left_out_is_what_the_exact_square_has_more(self, tails, shape):
        """In balance, for gradients whose squares are gamma variables of a shape, for which kappa is 1 + 1 / shape."""
        sgd, draw = SGD(0.02, decay=0.1), np.random.default_rng(1)
        squares = np.ones((20000, 30)) if shape is None else draw.gamma(shape, 1 / shape, size=(20000, 30))
        exact = [np.full(30, sgd.rate / (2 * sgd.decay))]
        shrink = sgd.rate * sgd.decay
        for each in squares:
            now = exact[-1]
            exact.append(
                (1 - shrink) ** 4 * now + 2 * (1 - shrink) ** 2 * sgd.rate**2 * each + sgd.rate**4 * each**2 / now
            )
        law = charges.predicted(charges.fourth_power(sgd), exact[0], squares)
        late = slice(4000, None)
        found = np.mean(law[late] / np.array(exact)[late] - 1.0)
        # The next order is smaller by rate times decay, 0.002, with a factor for the tails; drawn ones are within 1 %.
        assert found == pytest.approx(np.mean(charges.left_out(squares[4000:], sgd)), rel=0.03)
        assert np.mean(charges.left_out(squares[4000:], sgd)) == pytest.approx((0.5 - tails) * shrink, rel=0.03)


class TestDirections:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_gradients_and_steps_are_those_of_the_directions(self, name):
        """By autograd at weights of length 1, and by the angle that an update turns them."""
        network, start, scale, (inputs, labels) = ready(name)
        made, follower = module(network, start), Follower(scale, RULE)
        optimiser = torch.optim.SGD(made.parameters(), lr=RULE.rate, weight_decay=RULE.decay)
        F.cross_entropy(made(inputs), labels).backward()
        velocity = {each: value.grad + RULE.decay * value.detach() for each, value in made.named_parameters()}
        follower.visit(start, velocity)
        optimiser.step()
        after = {each: value.detach().clone() for each, value in made.named_parameters()}
        follower.visit(after, velocity)
        motion = follower.motions()["scale"]

        unit = module(network, charges.on_sphere(scale, start))
        F.cross_entropy(unit(inputs), labels).backward()
        grads = {each: value.grad for each, value in unit.named_parameters()}
        wanted = torch.cat([each.square().sum(1) for each in rows(grads, scale)])
        assert charges.squared_gradients(motion)[0] == pytest.approx(wanted.numpy(), rel=1e-9)
        # The tangent of the angle is the step of the direction; decay alone makes its base shorter.
        turned = [
            torch.linalg.vector_norm(new - old * ((new * old).sum(1) / old.square().sum(1))[:, None], dim=1)
            / ((new * old).sum(1) / old.norm(dim=1))
            for new, old in zip(rows(after, scale), rows(start, scale), strict=True)
        ]
        steps = charges.effective_steps(motion, RULE)[0] / (1 - RULE.rate * RULE.decay)
        assert torch.cat(turned).numpy() == pytest.approx(steps * np.sqrt(wanted.numpy()), rel=1e-8)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_of_length_one_compute_the_same(self, name):
        network, start, scale, (inputs, _) = ready(name)
        there = charges.on_sphere(scale, start)
        assert lengths(there, scale).numpy() == pytest.approx(np.ones(len(lengths(start, scale))))
        assert {each for each in start if not torch.equal(there[each], start[each])} == {
            each.terms[0][0] for each in scale
        }
        # Running statistics are of no matter to a network in training, and change with it.
        ours, theirs = (state.apply(network, state.clone(each), inputs) for each in (start, there))
        assert ours.detach().numpy() == pytest.approx(theirs.detach().numpy(), abs=1e-10)

    def test_are_apart_by_the_root_mean_square_of_logarithms(self):
        assert charges.apart(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0])) == pytest.approx(
            np.sqrt((np.log(2) ** 2 + np.log(3) ** 2) / 3)
        )


class TestRMSProp:
    def test_is_that_of_torch_one_update_later(self):
        """Torch divides by a mean that the newest gradient is in already."""
        draw = np.random.default_rng(3)
        gradients, shrink = draw.gamma(2.0, size=(40, 3)), RULE.rate * RULE.decay
        point = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        optimiser = torch.optim.RMSprop([point], lr=(2 * shrink) ** 0.5, alpha=1 - 4 * shrink, eps=0.0)
        found = []
        for each in torch.from_numpy(gradients):
            before, point.grad = point.detach().clone(), each.clone()
            optimiser.step()
            found.append((before - point.detach()) / each)
        ours = RMSProp.of(RULE, torch.zeros(3, dtype=torch.float64)).along(torch.from_numpy(gradients**2))
        assert ours.shape == (40, 3)
        assert torch.isinf(ours[0]).all()
        assert ours[1:].numpy() == pytest.approx(torch.stack(found)[:-1].numpy(), rel=1e-9)

    def test_from_the_start_steps_as_the_law_says(self):
        draw = np.random.default_rng(4)
        start, squares = draw.gamma(2.0, size=3), draw.gamma(0.5, size=(25, 3))
        law = charges.predicted(charges.fourth_power(RULE), start**2, squares)
        ours = RMSProp.of(RULE, torch.from_numpy(start)).along(torch.from_numpy(squares))
        assert ours.numpy() == pytest.approx(RULE.rate / np.sqrt(law[:-1]), rel=1e-12)

    def test_that_is_constant_learns_nothing(self):
        steps = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
        found = RMSProp.constant(steps).along(torch.arange(21, dtype=torch.float64).view(7, 3))
        assert torch.equal(found, steps.expand(7, 3))

    def test_on_a_schedule_sees_no_gradient_and_nears_the_step_that_it_is_told(self):
        told, f = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64), 4 * RULE.rate * RULE.decay
        first = RMSProp.of(RULE, torch.tensor([1.0, 0.2, 4.0], dtype=torch.float64))
        draws = [torch.from_numpy(np.random.default_rng(seed).gamma(0.5, size=(30, 3))) for seed in (5, 6)]
        one, other = (first.scheduled(told).along(each) for each in draws)
        assert torch.equal(one, other)
        kept = (1 - f) ** np.arange(30)[:, None]
        means = kept * first.mean.numpy() + (1 - kept) * told.numpy()
        assert one.numpy() == pytest.approx((2 * RULE.rate * RULE.decay / means) ** 0.5, rel=1e-12)


class TestOnSphere:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_turns_directions_as_free_lengths_do(self, name):
        """Exactly, where its steps are those of the network with decay's share of an update in them."""
        network, start, scale, (inputs, labels) = ready(name)
        free, fixed = module(network, start), module(network, charges.on_sphere(scale, start))
        optimiser = torch.optim.SGD(free.parameters(), lr=RULE.rate, weight_decay=RULE.decay)
        for made in (free, fixed):
            F.cross_entropy(made(inputs), labels).backward()
        optimiser.step()
        steps = RULE.rate / lengths(start, scale) / (1 - RULE.rate * RULE.decay)
        rule = OnSphere(scale, RMSProp.constant(steps), RULE.decay)
        rule(dict(fixed.named_parameters()), RULE.rate)
        wanted = charges.on_sphere(scale, dict(free.named_parameters()))
        for each, value in fixed.named_parameters():
            assert value.detach().numpy() == pytest.approx(wanted[each].detach().numpy(), abs=1e-12), each
        assert len(rule.steps) == 1
        assert torch.equal(rule.steps[0], steps)

    def test_learns_the_steps_of_the_next_update_from_its_own_gradients(self):
        network, start, scale, (inputs, labels) = ready("perceptron")
        fixed = module(network, charges.on_sphere(scale, start))
        first = RMSProp.of(RULE, lengths(start, scale))
        rule, squares = OnSphere(scale, first, 0.0), []
        for _ in range(3):
            fixed.zero_grad()
            F.cross_entropy(fixed(inputs), labels).backward()
            squares.append(torch.cat([fixed[each].weight.grad.square().sum(1) for each in (1, 4)]))
            rule(dict(fixed.named_parameters()), RULE.rate)
        assert torch.stack(rule.steps).numpy() == pytest.approx(first.along(torch.stack(squares)).numpy(), rel=1e-12)
        assert lengths(dict(fixed.named_parameters()), scale).detach().numpy() == pytest.approx(np.ones(12))
