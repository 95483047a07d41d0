"""Pruning before training: scores by paths, differences and loops, what is conserved, and masks for a compression."""

import itertools
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import nn

from lmc_lib import charges, models, pruning, rng
from lmc_lib.data import Split
from lmc_lib.pruning import EmptyLayer, Method
from lmc_lib.state import masked

WIDTHS = (3, 4, 2, 3)  # inputs, hidden units, outputs: no two layers that meet are alike


@torch.random.fork_rng(devices=[])
def chain(widths=WIDTHS, *, bias=True, activation=nn.ReLU):
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), activation()]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def draw(network, *path, biases=0.3):
    generator = rng.stream(0, "saliency", *path)
    return {
        name: (biases if value.dim() == 1 else 1.0) * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in network.state_dict().items()
    }


def batch(count=5, inputs=WIDTHS[0], classes=WIDTHS[-1]):
    generator = rng.stream(0, "batch")
    values = torch.randn(count, 1, 1, inputs, generator=generator, dtype=torch.float64)
    return Split(values, torch.randint(classes, (count,), generator=generator))


def matrices(state):
    return [value for value in state.values() if value.dim() > 1]


def paths(state):
    """All ways through a chain, as the places of their weights, with the products of the absolute weights on them."""
    layers = matrices(state)
    sizes = [layers[0].shape[1], *(layer.shape[0] for layer in layers)]
    for units in itertools.product(*map(range, sizes)):
        places = [(number, units[number + 1], units[number]) for number in range(len(layers))]
        yield places, math.prod(abs(float(layers[number][row, column])) for number, row, column in places)


def slopes(objective, state, step=1e-6):
    """The derivative by central differences, weight by weight."""
    found = {name: torch.zeros_like(value) for name, value in state.items()}
    for name, value in state.items():
        for place in itertools.product(*map(range, value.shape)):
            high, low = ({**state, name: value.clone()} for _ in range(2))
            high[name][place] += step
            low[name][place] -= step
            found[name][place] = (float(objective(high)) - float(objective(low))) / (2 * step)
    return found


class TestScores:
    def test_the_flow_is_the_sum_over_paths(self):
        network = chain(bias=False)
        state = draw(network)
        flow = float(pruning.synaptic_flow(network, (1, 1, 3))(state))
        assert flow == pytest.approx(sum(product for _, product in paths(state)), rel=1e-12)
        first, second, third = (layer.abs() for layer in matrices(state))
        assert flow == pytest.approx(float((third @ second @ first).sum()), rel=1e-12)

    def test_a_weight_has_the_paths_through_it(self):
        network = chain(bias=False)
        state = draw(network)
        found = list(pruning.saliency(pruning.synaptic_flow(network, (1, 1, 3)), state).values())
        expected = [torch.zeros_like(layer) for layer in found]
        for places, product in paths(state):
            for number, row, column in places:
                expected[number][row, column] += product
        for each, wanted in zip(found, expected, strict=True):
            assert torch.allclose(each, wanted, rtol=1e-12)
            assert bool((each > 0).all())

    @pytest.mark.parametrize("what", ["flow", "loss"])
    def test_derivatives_are_those_of_differences(self, what):
        network = chain()
        state = draw(network)
        flow, loss = pruning.synaptic_flow(network, (1, 1, 3)), pruning.mean_loss(network, batch())
        objective = flow if what == "flow" else loss
        wanted = slopes(objective, state)
        for name, each in pruning.gradient(objective, state).items():
            # Central differences err by the square of the step, and by rounding over it.
            assert torch.allclose(each, wanted[name], rtol=1e-6, atol=1e-7), name
        for name, each in pruning.saliency(objective, state).items():
            assert torch.allclose(each, wanted[name] * state[name], rtol=1e-6, atol=1e-7), name

    def test_the_loss_is_divided_by_the_temperature(self):
        network, examples = chain(), batch()
        state = draw(network)
        logits = torch.func.functional_call(network.double(), state, examples.inputs)
        for temperature in (1.0, 3.0):
            wanted = nn.functional.cross_entropy(logits / temperature, examples.labels)
            found = pruning.mean_loss(network, examples, temperature=temperature)(state)
            assert float(found) == pytest.approx(float(wanted), rel=1e-12)

    def test_grasp_follows_the_gradient_of_the_weights_that_are_left(self):
        """The Hessian times the gradient is how the gradient changes along itself; biases and removed weights stay."""
        network, examples = chain(), batch()
        state = draw(network)
        state["3.weight"][0, 1] = 0.0
        loss = pruning.mean_loss(network, examples, temperature=200.0)
        slope = pruning.gradient(loss, state)
        along = {name: each * (state[name] != 0) * (each.dim() > 1) for name, each in slope.items()}
        step = 1e-2 / max(float(each.abs().max()) for each in along.values())
        high, low = (
            pruning.gradient(loss, {name: state[name] + sign * step * along[name] for name in state})
            for sign in (1e-3, -1e-3)
        )
        found = pruning.saliency(pruning.gradient_flow(network, examples), state)
        for name in state:
            wanted = (high[name] - low[name]) / (2e-3 * step) * state[name]
            assert torch.allclose(found[name], wanted, rtol=1e-5, atol=1e-12), name
            assert float(found[name].abs().max()) > 1e-9

    def test_nothing_given_is_changed(self):
        network = chain()
        state = draw(network)
        pruning.saliency(pruning.gradient_flow(network, batch()), state)
        assert all(torch.equal(value, draw(network)[name]) for name, value in state.items())
        assert not any(value.requires_grad for value in state.values())
        assert next(network.parameters()).dtype == torch.float32


class TestConservation:
    @given(seed=st.integers(0, 50))
    def test_rectified_units_conserve(self, seed):
        network = chain((3, 9, 8, 3))  # so wide that no layer is dead for all examples
        state = draw(network, seed)
        for objective in (pruning.synaptic_flow(network, (1, 1, 3)), pruning.mean_loss(network, batch())):
            # Sums of a few products in float64.
            assert float(pruning.imbalances(network, objective, state).max()) < 1e-14

    def test_imbalances_are_those_of_a_loop_over_units(self):
        rectified = chain()
        network, state = charges.inhomogeneous(rectified), draw(rectified)
        objective = pruning.mean_loss(network, batch())
        found, scores = pruning.imbalances(network, objective, state), pruning.saliency(objective, state)
        weights, biases = (
            [each for name, each in scores.items() if name.endswith(kind)] for kind in ("weight", "bias")
        )
        for layer in range(2):
            difference = size = 0.0
            for unit in range(WIDTHS[layer + 1]):
                comes = [*weights[layer][unit].tolist(), float(biases[layer][unit])]
                leaves = weights[layer + 1][:, unit].tolist()
                difference += abs(sum(comes) - sum(leaves))
                size += sum(map(abs, comes)) + sum(map(abs, leaves))
            assert float(found[layer]) == pytest.approx(difference / size, rel=1e-10)
            assert float(found[layer]) > 1e-3

    def test_softsign_loses_what_its_slope_says(self):
        """One unit with input z has saliency r z / (1 + z)² coming in, and r z / (1 + z) leaving it."""
        network = charges.inhomogeneous(chain((2, 1, 1), bias=False))
        state = {"1.weight": torch.tensor([[1.0, -3.0]]).double(), "3.weight": torch.tensor([[-2.0]]).double()}
        found = pruning.imbalances(network, pruning.synaptic_flow(network, (1, 1, 2)), state)
        comes, leaves = 2 * 4 / 25, 2 * 4 / 5
        assert found.tolist() == pytest.approx([(leaves - comes) / (leaves + comes)], rel=1e-12)

    def test_layers_conserve_if_biases_are_counted(self):
        """The flow is of degree one in what comes in from a layer on, so that it is the sum, by Euler."""
        network = chain()
        state, objective = draw(network), pruning.synaptic_flow(network, (1, 1, 3))
        flow = float(objective(state))
        scores = pruning.saliency(objective, state)
        assert pruning.cut_totals(network, scores).tolist() == pytest.approx([flow] * 3, rel=1e-12)
        scores = pruning.saliency(objective, state)
        alone = pruning.cut_totals(network, scores, biases=False)
        assert alone.tolist() == pytest.approx([float(scores[f"{place}.weight"].sum()) for place in (1, 3, 5)])
        assert alone.max() / alone.min() > 1.01

    def test_convolutions_conserve_too(self):
        network = models.vgg(1, 4, depth=11, width=2, norm="none")
        state = draw(network)
        examples = Split(torch.randn(2, 1, 8, 8, generator=rng.stream(0, "images")), torch.tensor([0, 3]))
        for objective in (pruning.synaptic_flow(network, (1, 8, 8)), pruning.mean_loss(network, examples)):
            found = pruning.imbalances(network, objective, state)
            assert len(found) == 8
            assert float(found.max()) < 1e-13

    def test_the_control_changes_rectifiers_alone(self):
        network = chain()
        altered = charges.inhomogeneous(network)
        kinds = [type(layer).__name__ for layer in altered]
        assert kinds == ["Flatten", "Linear", "Softsign", "Linear", "Softsign", "Linear"]
        assert all(torch.equal(value, altered.state_dict()[name]) for name, value in network.state_dict().items())
        assert [type(layer).__name__ for layer in network][2] == "ReLU"


class TestHighest:
    @given(values=st.lists(st.integers(-3, 3), min_size=8, max_size=8), gone=st.integers(0, 5), count=st.integers(0, 8))
    def test_as_a_loop_over_sorted_scores(self, values, gone, count):
        scores = {"b": torch.tensor(values[:5]).double().reshape(1, 5), "a": torch.tensor(values[5:]).double()[:, None]}
        masks = pruning.full_masks(scores)
        masks["b"][0, :gone] = False
        left = [("a", place) for place in range(3)] + [("b", place) for place in range(gone, 5)]
        ranked = sorted(left, key=lambda each: float(scores[each[0]].reshape(-1)[each[1]]))  # stable, as it should be
        if count > len(left):
            with pytest.raises(ValueError, match=f"{count} weights cannot stay where {len(left)} are left"):
                pruning.highest(scores, masks, count)
            return
        kept = set(ranked[len(left) - count :])
        if {name for name, _ in kept} != {"a", "b"}:
            with pytest.raises(EmptyLayer, match="would keep no weight"):
                pruning.highest(scores, masks, count)
            return
        found = pruning.highest(scores, masks, count)
        assert {
            (name, place) for name, mask in found.items() for place in mask.reshape(-1).nonzero()[:, 0].tolist()
        } == kept

    def test_scores_that_are_not_finite_are_refused(self):
        with pytest.raises(ValueError, match="a score is not finite"):
            pruning.highest({"a": torch.tensor([[1.0, math.inf]])}, {"a": torch.ones(1, 2, dtype=torch.bool)}, 1)


def prune(method, network, state, compression, examples=None, seed=0):
    given_examples = batch() if examples is None else examples
    generator = rng.stream(seed, "masks")
    return pruning.compressed(method, network, state, given_examples, compression, generator=generator)


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestCompressed:
    @pytest.mark.parametrize("iterations", [1, 7])
    @pytest.mark.parametrize("score", pruning.SCORES)
    def test_one_of_so_many_weights_stays(self, score, iterations):
        network = chain((6, 8, 5, 4))
        state = draw(network)
        masks = prune(Method(score, iterations), network, state, 1.7, batch(inputs=6, classes=4))
        assert count(masks) == round((48 + 40 + 20) / 1.7)
        assert masks.keys() == {"1.weight", "3.weight", "5.weight"}

    def test_scores_are_what_they_are_called(self):
        network, examples = chain(), batch()
        state = draw(network)
        loss, change = pruning.mean_loss(network, examples), pruning.gradient_flow(network, examples)
        flow = pruning.synaptic_flow(network, (1, 1, 3))
        wanted = {
            "magnitude": {name: value.abs() for name, value in state.items()},
            "snip": {name: value.abs() for name, value in pruning.saliency(loss, state).items()},
            "grasp": pruning.saliency(change, state),
            "absolute grasp": {name: value.abs() for name, value in pruning.saliency(change, state).items()},
            "synflow": pruning.saliency(flow, state),
        }
        found = {score: prune(Method(score), network, state, 1.3) for score in wanted}
        for score, scores in wanted.items():
            assert same(found[score], pruning.highest(scores, pruning.full_masks(state), 20)), score
        assert (
            len({tuple(torch.cat([mask.reshape(-1) for mask in each.values()]).tolist()) for each in found.values()})
            == 5
        )

    def test_random_weights_follow_the_generator_and_nothing_else(self):
        network = chain()
        masks = prune(Method("random"), network, draw(network), 1.5)
        assert same(masks, prune(Method("random"), network, draw(network, "other"), 1.5))
        assert not same(masks, prune(Method("random"), network, draw(network), 1.5, seed=1))

    def test_synflow_sees_no_data(self):
        network = chain((6, 8, 5, 4))
        state = draw(network)
        nothing = Split(torch.full((2, 1, 1, 6), math.nan), torch.tensor([3, 0]))
        for method in (Method("synflow"), Method("synflow", 9)):
            masks = prune(method, network, state, 1.7, batch(inputs=6, classes=4))
            assert same(masks, prune(method, network, state, 1.7, nothing))
        with pytest.raises(ValueError, match="not finite"):
            prune(Method("snip"), network, state, 1.7, nothing)

    def test_iterations_score_what_is_left_anew(self):
        network = chain((6, 8, 5, 4))
        state = draw(network)
        flow = pruning.synaptic_flow(network, (1, 1, 6))
        masks = pruning.full_masks(state)
        for left in (84, 65, 51):  # 108 weights by 2.117 to the power of a third, two thirds and one
            masks = pruning.highest(pruning.saliency(flow, masked(state, masks)), masks, left)
        found = prune(Method("synflow", 3), network, state, 108 / 51, batch(inputs=6, classes=4))
        assert same(found, masks)
        assert not same(found, prune(Method("synflow"), network, state, 108 / 51, batch(inputs=6, classes=4)))

    def test_one_score_empties_a_wide_layer_and_iterations_leave_the_best_path(self):
        """Ten inputs share what the single weight behind them has alone."""
        network = chain((10, 2, 1), bias=False)
        wide = torch.ones(2, 10, dtype=torch.float64)
        wide[1, 4] = 1.1
        state = {"1.weight": wide, "3.weight": torch.tensor([[1.0, 0.9]]).double()}
        examples = batch(inputs=10, classes=1)
        with pytest.raises(EmptyLayer, match=r"1\.weight would keep no weight"):
            prune(Method("synflow"), network, state, 11.0, examples)
        masks = prune(Method("synflow", 20), network, state, 11.0, examples)
        assert pruning.connected(network, masks, (1, 1, 10))
        assert {name: int(mask.sum()) for name, mask in masks.items()} == {"1.weight": 1, "3.weight": 1}

    def test_last_bits_do_not_order_equal_scores(self):
        """Of a single path all weights score alike, but for rounding; so the first layer goes first."""
        network = chain((1, 1, 1, 1), bias=False)
        for number in range(30):  # in about half of them the last bits differ
            state = draw(network, number)
            with pytest.raises(EmptyLayer) as raised:
                prune(Method("synflow"), network, state, 1.5, batch(inputs=1, classes=1))
            assert raised.value.layer == "1.weight"

    @pytest.mark.parametrize("score", ["random", "magnitude"])
    def test_by_layer_each_keeps_its_share_and_one_at_least(self, score):
        network = chain((6, 8, 5, 4))
        state = draw(network)
        for compression, wanted in ((4.0, [12, 10, 5]), (30.0, [2, 1, 1]), (200.0, [1, 1, 1])):
            masks = prune(Method(score, by_layer=True), network, state, compression, batch(inputs=6, classes=4))
            assert [int(mask.sum()) for mask in masks.values()] == wanted
            if score == "magnitude":
                for name, mask in masks.items():
                    assert state[name][mask].abs().min() >= state[name][~mask].abs().max()

    @given(seed=st.integers(0, 200), compression=st.floats(1.0, 12.0))
    def test_a_path_is_left_if_one_can_walk_it(self, seed, compression):
        network = chain((6, 8, 5, 4))
        masks = prune(Method("random", by_layer=True), network, draw(network), compression, batch(inputs=6), seed)
        reached = set(range(6))
        for mask in masks.values():
            reached = {row for row, column in mask.nonzero().tolist() if column in reached}
        assert pruning.connected(network, masks, (1, 1, 6)) == bool(reached)

    def test_what_makes_no_method_is_refused(self):
        with pytest.raises(ValueError, match="unknown score 'flow'; there are random, magnitude, snip"):
            Method("flow")
        with pytest.raises(ValueError, match="scored once at least, not 0 times"):
            Method("snip", 0)
        for compression in (0.9, math.nan):
            with pytest.raises(ValueError, match=f"a compression is 1 or more, not {compression}"):
                prune(Method("random"), chain(), draw(chain()), compression)

    def test_methods_have_names(self):
        labels = [
            Method(*each).label for each in (("snip",), ("synflow", 100), ("random", 1, True), ("absolute grasp",))
        ]
        assert labels == ["SNIP", "SynFlow × 100", "random, by layer", "|GraSP|"]
