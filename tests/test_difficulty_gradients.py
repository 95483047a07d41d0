"""Gradients by example: equal to a loop of backward passes, and their spread to the table of all checkpoints."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lmc_lib import difficulty, models, rng
from lmc_lib.difficulty import Moments, grand, grand_last_layer, input_gradients, vog, within_classes
from lmc_lib.state import State

ARCHITECTURES = ["mlp-2", "mlp-2-batch", "resnet-8-layer", "resnet-8-batch", "vgg-11", "vgg-11-group"]


def network(name, random_weights, width=4):
    shape = (1, 8, 8) if name.startswith("mlp") else (3, 32, 32)
    model = models.build(models.parse(name, width), shape, 5).eval().double()
    return model, random_weights(model, name), shape


def examples(shape, count=5, classes=5, name="examples"):
    generator = rng.stream(0, name)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64), torch.randint(
        classes, (count,), generator=generator
    )


def one_by_one(model: nn.Module, state: State, inputs, labels):
    """A loop of backward passes."""
    model.load_state_dict(state)
    norms = []
    for example, label in zip(inputs, labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(example[None]), label[None]).backward()
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)))
    return norms


class Doubled(nn.Linear):
    """A linear layer of a kind of its own."""

    def forward(self, x):
        return super().forward(2.0 * x)


class Strange(nn.Module):
    """Linear layers: called twice, on tokens, not at all, by function, with a shared weight, and of another kind."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            self.twice, self.tokens, self.never = nn.Linear(6, 6), nn.Linear(6, 4, bias=False), nn.Linear(6, 6)
            self.by_function, self.first, self.second = nn.Linear(24, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.head = nn.Sequential(Doubled(8, 8), nn.Linear(8, 3))
        self.second.weight = self.first.weight

    def forward(self, x):
        x = self.twice(torch.tanh(self.twice(x)))
        y = self.tokens(x)
        y = F.linear(y.flatten(1), self.by_function.weight[:, : y[0].numel()], self.by_function.bias)
        return self.head(self.second(F.relu(self.first(torch.tanh(y)), inplace=True)))


class TestGrand:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_is_a_loop_of_backward_passes(self, name, random_weights):
        model, state, shape = network(name, random_weights)
        inputs, labels = examples(shape)
        expected = one_by_one(model, state, inputs, labels)
        for size in (None, 1, 2):
            assert grand(model, state, inputs, labels, batch_size=size) == pytest.approx(expected, rel=1e-10)

    def test_layers_used_in_strange_ways(self):
        model = Strange().double()
        inputs, labels = examples((6, 6), classes=3)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        expected = one_by_one(model, state, inputs, labels)
        assert grand(model, state, inputs, labels) == pytest.approx(expected, rel=1e-10)

    def test_attention(self):
        # Its output layer is a linear one whose weight is used without calling it.
        with torch.random.fork_rng():
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            model = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3)).eval().double()
        inputs, labels = examples((3, 8), classes=3)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        expected = one_by_one(model, state, inputs, labels)
        assert grand(model, state, inputs, labels) == pytest.approx(expected, rel=1e-10)

    def test_training_mode_outside_makes_no_difference_and_nothing_changes(self, random_weights):
        model, state, shape = network("resnet-8-batch", random_weights)
        inputs, labels = examples(shape)
        expected = grand(model, state, inputs, labels)
        before = {name: value.clone() for name, value in state.items()}
        assert grand(model.train(), state, inputs, labels).tolist() == expected.tolist()
        assert model.training
        assert all(torch.equal(value, before[name]) for name, value in state.items())
        assert not any(module._forward_hooks for module in model.modules())

    def test_the_score_is_that_of_an_example_whoever_stands_beside_it(self, random_weights):
        model, state, shape = network("resnet-8-batch", random_weights)
        inputs, labels = examples(shape)
        alone = [grand(model, state, inputs[i : i + 1], labels[i : i + 1]).item() for i in range(5)]
        assert grand(model, state, inputs, labels) == pytest.approx(alone, rel=1e-12)

    def test_by_hand(self):
        # One linear layer of zeros: p is uniform, so the gradient is (1/2, -1/2) times (x, 1).
        state = {"0.weight": torch.zeros(2, 2), "0.bias": torch.zeros(2)}
        model = linear(2, 2)
        inputs, labels = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([0, 1])
        expected = [math.sqrt(0.5) * math.sqrt(26.0), math.sqrt(0.5)]
        assert grand(model, state, inputs, labels) == pytest.approx(expected, rel=1e-6)
        assert grand_last_layer(model, state, inputs, labels, layer="0") == pytest.approx(expected, rel=1e-6)

    def test_errors(self, random_weights):
        model, state, shape = network("mlp-2", random_weights)
        inputs, labels = examples(shape)
        with pytest.raises(ValueError, match=r"example 0 has the label 5"):
            grand(model, state, inputs, labels * 0 + 5)
        with pytest.raises(ValueError, match="5 examples and 4 labels"):
            grand(model, state, inputs, labels[:4])
        with pytest.raises(ValueError, match="not finite"):
            grand(model, {name: value * math.nan for name, value in state.items()}, inputs, labels)
        inputs[3] = math.inf
        with pytest.raises(ValueError, match="example 3 is not finite"):
            grand(model, state, inputs, labels)


def linear(units, classes, bias=True):
    with torch.random.fork_rng():
        return nn.Sequential(nn.Linear(units, classes, bias=bias))


class TestLastLayer:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_is_the_last_layers_part_of_the_gradient(self, name, random_weights):
        model, state, shape = network(name, random_weights)
        inputs, labels = examples(shape)
        layer = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
        model.load_state_dict(state)
        last = dict(model.named_modules())[layer]
        expected = []
        for example, label in zip(inputs, labels, strict=True):
            loss = F.cross_entropy(model(example[None]), label[None])
            parts = torch.autograd.grad(loss, tuple(last.parameters()))
            expected.append(math.sqrt(sum(float(each.square().sum()) for each in parts)))
        found = grand_last_layer(model, state, inputs, labels, layer=layer, batch_size=2)
        assert found == pytest.approx(expected, rel=1e-10)
        assert (found < grand(model, state, inputs, labels)).all()

    def test_a_layer_without_a_bias(self):
        state, (inputs, labels) = {"0.weight": torch.zeros(2, 2)}, (torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
        found = grand_last_layer(linear(2, 2, bias=False), state, inputs, labels, layer="0")
        assert found.item() == pytest.approx(math.sqrt(0.5) * 5.0, rel=1e-6)

    def test_only_the_last_linear_layer_will_do(self, random_weights):
        model, state, shape = network("mlp-2", random_weights)
        inputs, labels = examples(shape)
        layers = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
        with pytest.raises(ValueError, match=f"'{layers[0]}' are not the logits"):
            grand_last_layer(model, state, inputs, labels, layer=layers[0])
        with pytest.raises(ValueError, match=f"'fc' is no linear layer.*{layers[-1]}"):
            grand_last_layer(model, state, inputs, labels, layer="fc")


class TestInputGradients:
    @pytest.mark.parametrize("of", ["probability", "logit", "loss"])
    @pytest.mark.parametrize("name", ["mlp-2", "resnet-8-batch"])
    def test_are_those_of_a_loop_averaged_over_channels(self, name, of, random_weights):
        model, state, shape = network(name, random_weights)
        inputs, labels = examples(shape)
        model.load_state_dict(state)
        expected = []
        for example, label in zip(inputs, labels, strict=True):
            batch = example[None].requires_grad_()
            logits = model(batch)
            value = {
                "probability": lambda logits=logits, label=label: logits.softmax(1)[0, label],
                "logit": lambda logits=logits, label=label: logits[0, label],
                "loss": lambda logits=logits, label=label: F.cross_entropy(logits, label[None]),
            }[of]()
            expected.append(torch.autograd.grad(value, batch)[0][0].mean(0).flatten().tolist())
        found = input_gradients(model, state, inputs, labels, of=of, batch_size=2)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
        assert not inputs.requires_grad

    def test_inputs_without_pixels_are_taken_as_they_are(self):
        weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        state = {"0.weight": weight, "0.bias": torch.zeros(2)}
        found = input_gradients(linear(2, 2), state, torch.zeros(2, 2), torch.tensor([0, 1]), of="logit")
        assert found.tolist() == weight.tolist()

    def test_errors(self, random_weights):
        model, state, shape = network("mlp-2", random_weights)
        inputs, labels = examples(shape)
        with pytest.raises(ValueError, match=r"unknown quantity 'margin'.*probability, logit, loss"):
            input_gradients(model, state, inputs, labels, of="margin")
        with pytest.raises(ValueError, match="label 9"):
            input_gradients(model, state, inputs, labels * 0 + 9)
        with pytest.raises(ValueError, match="5 examples and 4 classes"):
            input_gradients(model, state, inputs, labels[:4])


class TestVog:
    @given(seed=st.integers(0, 2**40), checkpoints=st.integers(2, 8))
    def test_spreads_are_those_of_the_whole_table(self, seed, checkpoints):
        table = rng.numpy_stream(seed).normal(size=(checkpoints, 6, 10))
        moments = Moments(6, 10)
        for each in table:
            moments.update(each)
        squares = np.square(table - table.mean(0)).sum(0)
        expected = {
            "variance": table.var(0, ddof=1).mean(1),
            "deviation": np.sqrt(squares / checkpoints).mean(1),
            "root_of_count": (math.sqrt(1 / checkpoints) * squares).mean(1),
        }
        assert difficulty.VOG.keys() == expected.keys()
        for spread, values in expected.items():
            np.testing.assert_allclose(vog(moments, spread), values, rtol=1e-12)

    def test_of_two_checkpoints_of_a_network(self, random_weights):
        model, _, shape = network("resnet-8-layer", random_weights)
        states = [random_weights(model, name) for name in "ab"]
        inputs, labels = examples(shape)
        moments = Moments(5, 32 * 32)
        for state in states:
            moments.update(input_gradients(model, state, inputs, labels))
        first, second = (input_gradients(model, state, inputs, labels) for state in states)
        assert vog(moments) == pytest.approx((np.square(first - second) / 2).mean(1), rel=1e-10)

    def test_errors(self):
        moments = Moments(2, 3)
        moments.update(np.ones((2, 3)))
        with pytest.raises(ValueError, match="a variance needs at least 2"):
            vog(moments)
        with pytest.raises(ValueError, match=r"unknown spread 'sd'.*variance, deviation"):
            vog(moments, "sd")


class TestWithinClasses:
    def test_classes_have_mean_0_and_deviation_1(self):
        values = rng.numpy_stream(0, "values").normal(size=60)
        labels = torch.arange(60) % 3
        values += 10.0 * labels.numpy()
        found = within_classes(values, labels)
        for each in range(3):
            own = found[labels.numpy() == each]
            assert (own.mean(), own.std()) == pytest.approx((0.0, 1.0), abs=1e-12)

    def test_a_class_without_a_spread_has_no_scale(self):
        found = within_classes(np.array([1.0, 1.0, 2.0, 1.0, 3.0]), torch.tensor([0, 0, 1, 2, 2]))
        np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, -1.0, 1.0])
