"""Barriers: closed forms, the three conventions by hand, curves against a loop that loads every point into a module."""

import copy
import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from lmc_lib import models, norms, rng, state, symmetry
from lmc_lib.connectivity import (
    CONVENTIONS,
    Curve,
    Scores,
    Simplex,
    barrier,
    barycentric,
    curves,
    evaluate,
    pairwise_barriers,
    predict,
    simplex,
)
from lmc_lib.data import Split
from lmc_lib.models import ModelSpec

# Losses are sums of at most a few hundred float64 terms below 10 in another order.
ROUNDING = 1e-12

NETWORKS = [ModelSpec("mlp", 6, 2), ModelSpec("vgg", 2, 11, "layer"), ModelSpec("resnet", 4, 8, "batch")]


def split(count=30, name="test", shape=(2, 8, 8), classes=3):
    generator = rng.stream(0, "connectivity", name)
    inputs = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(classes, (count,), generator=generator))


def copies(spec, random_weights):
    """Three permuted copies of one network, and examples with the labels that it gives them: lines with barriers."""
    model, examples = models.build(spec, (2, 8, 8), 3), split()
    weights = random_weights(model)
    weights[next(reversed([name for name in weights if weights[name].dim() > 1]))] *= 10.0
    groups = symmetry.permutation_spec(model, examples.inputs)
    states = [
        symmetry.permute(weights, symmetry.random(groups, generator=rng.stream(seed)), groups) for seed in range(3)
    ]
    inputs = needed(model)
    network = copy.deepcopy(model).double().eval()
    network.load_state_dict(weights if inputs is None else norms.reset(model, weights, inputs))
    with torch.no_grad():
        return model, states, Split(examples.inputs, network(examples.inputs).argmax(1)), inputs


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def needed(model, count=12):
    """The training inputs for networks with BatchNorm, None for others."""
    has = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return split(count, "train").inputs if has else None


def naive_scores(model, weights, examples):
    """One example at a time through a module that holds the weights."""
    network = copy.deepcopy(model).double().eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        logits = torch.cat([network(each[None]) for each in examples.inputs])
    loss = sum(-F.log_softmax(row, 0)[label] for row, label in zip(logits, examples.labels, strict=True))
    wrong = sum(int(row.argmax() != label) for row, label in zip(logits, examples.labels, strict=True))
    return float(loss) / len(examples), wrong / len(examples)


# -- the barrier of given values ---------------------------------------------------------------------------------------


@given(slope=st.sampled_from([-2.0, 0.0, 1.0, 2.0]), height=st.floats(0.1, 10.0), offset=st.floats(-5.0, 5.0))
def test_quadratic_has_its_closed_form_in_every_convention(slope, height, offset):
    # v(a) = 4 h a (1 - a) + s h a + o is largest at a* = (4 + s) / 8, which lies on a grid of 1/24.
    a = torch.linspace(0.0, 1.0, 25, dtype=torch.float64)
    v = 4 * height * a * (1 - a) + slope * height * a + offset
    assert barrier(v) == pytest.approx(height, rel=ROUNDING)
    assert barrier(v, convention="endpoint_mean") == pytest.approx(height * (1 + slope**2 / 16), rel=ROUNDING)
    assert barrier(v, convention="at_maximum") == pytest.approx(height * (1 - slope**2 / 16), rel=ROUNDING)


@pytest.mark.parametrize(
    ("numbers", "chord", "endpoint_mean", "at_maximum"),
    [
        # A tilted path: the largest gap, 0.85 - 0.25, is not where the value is largest.
        ((0.0, 0.85, 0.9, 0.95, 1.0), 0.6, 0.5, 0.0),
        ((0.0, 0.6, 1.0), 0.1, 0.5, 0.0),
        ((1.0, 3.0, 2.0), 1.5, 1.5, 1.5),
        ((2.0, 2.0, 2.0), 0.0, 0.0, 0.0),
        ((1.0, 0.0, 1.0), 0.0, 0.0, 0.0),
        ((4.0, 1.0, 2.0), 0.0, 1.0, 0.0),
    ],
)
def test_conventions_agree_with_cases_by_hand(numbers, chord, endpoint_mean, at_maximum):
    found = [barrier(values(*numbers), convention=convention) for convention in CONVENTIONS]
    assert found == pytest.approx([chord, endpoint_mean, at_maximum], abs=1e-15)


PATHS = st.lists(st.floats(0.0, 10.0), min_size=3, max_size=12).map(lambda path: values(*path))


@given(path=PATHS, slope=st.floats(-10.0, 10.0), offset=st.floats(-10.0, 10.0))
def test_chord_does_not_see_a_linear_function(path, slope, offset):
    line = offset + slope * torch.linspace(0.0, 1.0, len(path), dtype=torch.float64)
    assert barrier(path + line) == pytest.approx(barrier(path), abs=ROUNDING)


@given(path=PATHS, factor=st.floats(0.0, 10.0))
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_barrier_is_not_negative_and_in_the_units_of_the_values(convention, path, factor):
    height = barrier(path, convention=convention)
    assert height >= -1e-15 * float(path.max())
    if convention != "at_maximum":  # where rounding may make another of two equal values the largest
        assert barrier(path * factor, convention=convention) == pytest.approx(height * factor, abs=ROUNDING)


@given(path=PATHS)
def test_barrier_of_the_chord_is_exactly_zero_at_least(path):
    assert barrier(path) >= 0.0


@given(path=PATHS)
@pytest.mark.parametrize("convention", ["chord", "endpoint_mean"])
def test_barrier_is_the_same_from_both_ends(convention, path):
    assert barrier(path.flip(0), convention=convention) == pytest.approx(
        barrier(path, convention=convention), abs=ROUNDING
    )


def test_points_may_be_spaced_unevenly():
    v, alphas = values(0.0, 1.0, 1.0), values(0.0, 0.1, 1.0)
    assert barrier(v, alphas) == pytest.approx(0.9, abs=1e-15)
    assert barrier(v) == pytest.approx(0.5, abs=1e-15)


def test_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="unknown convention 'lmc'; there are chord, endpoint_mean, at_maximum"):
        barrier(values(0.0, 1.0, 0.0), convention="lmc")


def test_curve_gives_its_points_and_the_barriers_of_both_quantities():
    curve = Curve(values(0.0, 0.25, 1.0), values(0.0, 2.0, 4.0), values(0.5, 0.5, 0.1))
    assert curve.at(1) == Scores(2.0, 0.5)
    assert curve.at(-1) == Scores(4.0, 0.1)
    assert curve.barrier() == pytest.approx(1.0)
    assert curve.barrier("error") == pytest.approx(0.1)
    assert curve.barrier("loss", convention="endpoint_mean") == pytest.approx(2.0)


# -- evaluation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 31, 1024])
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.family)
def test_logits_are_those_of_a_network_that_holds_the_weights(spec, batch_size, random_weights):
    model, examples = models.build(spec, (2, 8, 8), 3), split(31)
    weights, before = random_weights(model), state.fingerprint(model.state_dict())
    network = copy.deepcopy(model).double().eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        expected = network(examples.inputs)
    found = predict(model, weights, examples.inputs, batch_size=batch_size)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert state.fingerprint(model.state_dict()) == before


def test_logits_are_in_batches_and_in_double_precision(random_weights):
    model, inputs = models.build(NETWORKS[0], (2, 8, 8), 3), split(31).inputs
    weights, seen = state.cast(random_weights(model), torch.float32), []
    model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    assert predict(model, weights, inputs, batch_size=12).dtype == torch.float64
    assert seen == [12, 12, 7]


def test_logits_with_statistics_of_batch_normalisation_taken_anew(random_weights):
    model, examples = models.build(NETWORKS[2], (2, 8, 8), 3), split(31)
    weights, inputs = random_weights(model), needed(model)
    expected = predict(model, norms.reset(model, weights, inputs), examples.inputs)
    assert torch.equal(predict(model, weights, examples.inputs, reset_inputs=inputs), expected)
    assert not torch.allclose(predict(model, weights, examples.inputs), expected)


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1024])
@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_evaluation_agrees_with_sklearn_at_any_batch_size(spec, batch_size, random_weights):
    model, examples = models.build(spec, (2, 8, 8), 3), split()
    weights = random_weights(model)
    network = copy.deepcopy(model).double().eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        probabilities = network(examples.inputs).softmax(1).numpy()
    scores = evaluate(model, weights, examples, batch_size=batch_size)
    assert scores.loss == pytest.approx(log_loss(examples.labels, probabilities, labels=range(3)), rel=ROUNDING)
    assert scores.error == pytest.approx(1 - accuracy_score(examples.labels, probabilities.argmax(1)), abs=1e-15)


def test_evaluation_of_constant_logits_is_known():
    model = models.mlp(128, 4, widths=())
    weights = {"1.weight": torch.zeros(4, 128).double(), "1.bias": values(0.0, 1.0, 0.0, 0.0)}
    labels = torch.tensor([0, 1, 1, 1, 2])
    scores = evaluate(model, weights, Split(split(5).inputs, labels))
    total = torch.log(torch.tensor(3 + torch.e, dtype=torch.float64))
    assert scores.loss == pytest.approx(float(total) - 3 / 5, rel=ROUNDING)
    assert scores.error == pytest.approx(2 / 5)


@pytest.mark.parametrize("width", [4, 16])
def test_inputs_reach_the_network_in_its_order_of_memory(width, random_weights):
    # The wrong order is dangerous in float32 alone, where oneDNN computes.
    model, seen = models.resnet(2, 3, depth=8, width=width, norm="layer"), []
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    evaluate(model, random_weights(model), split(3))
    assert [each.is_contiguous(memory_format=models.memory_format(model)) for each in seen] == [True]


def test_a_layer_that_is_used_twice_is_evaluated(random_weights):
    flatten, first, relu, shared, _, last = models.mlp(128, 3, widths=(6, 6))
    model, examples = nn.Sequential(flatten, first, relu, shared, relu, shared, relu, last), split()
    weights = random_weights(model)
    weights |= {"5.weight": weights["3.weight"], "5.bias": weights["3.bias"]}
    loss, error = naive_scores(model, weights, examples)
    before = state.fingerprint(weights)
    for _ in range(2):
        scores = evaluate(model, weights, examples)
        assert (scores.loss, scores.error) == pytest.approx((loss, error), rel=ROUNDING)
    assert state.fingerprint(weights) == before


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_its_arguments_alone(training, random_weights):
    model = models.build(NETWORKS[2], (2, 8, 8), 3).train(training)
    weights, examples = random_weights(model), split()
    before = [state.fingerprint(each) for each in (model.state_dict(), weights, {"x": examples.inputs})]
    evaluate(model, weights, examples)
    curves(model, weights, weights, {"test": examples}, points=3, reset_inputs=examples.inputs)
    assert [state.fingerprint(each) for each in (model.state_dict(), weights, {"x": examples.inputs})] == before
    assert model.training == training


def test_forward_pass_runs_in_the_dtype_of_the_weights(random_weights):
    model, examples = models.mlp(128, 3, widths=(6,)), split()
    weights = random_weights(model)
    double, single = (evaluate(model, state.cast(weights, dtype), examples) for dtype in (torch.float64, torch.float32))
    # float32 errs by 1e-7 of logits below 10: close, but not the same.
    assert single.loss == pytest.approx(double.loss, abs=1e-5)
    assert single.loss != double.loss
    assert evaluate(model, weights, examples.to(torch.float32)).loss == pytest.approx(double.loss, abs=1e-5)


# -- curves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_curves_agree_with_loading_each_point_into_a_module(spec, random_weights):
    model = models.build(spec, (2, 8, 8), 3)
    start, end = random_weights(model, "start"), random_weights(model, "end")
    splits = {"train": split(17, "train"), "test": split(11, "test")}
    inputs = needed(model)
    found = curves(model, start, end, splits, points=5, reset_inputs=inputs)
    assert found.keys() == splits.keys()
    for index, alpha in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        network = copy.deepcopy(model).double()
        network.load_state_dict(
            {n: (1 - alpha) * start[n] + alpha * end[n] if start[n].is_floating_point() else start[n] for n in start}
        )
        if inputs is not None:
            update_bn([inputs], network)
        for name, examples in splits.items():
            loss, error = naive_scores(model, network.state_dict(), examples)
            assert float(found[name].alphas[index]) == alpha
            assert float(found[name].loss[index]) == pytest.approx(loss, rel=ROUNDING)
            assert float(found[name].error[index]) == pytest.approx(error, abs=1e-15)


@pytest.mark.parametrize("spec", NETWORKS[:2], ids=str)
def test_ends_of_a_curve_are_the_evaluated_networks(spec, random_weights):
    model, examples = models.build(spec, (2, 8, 8), 3), split()
    start, end = random_weights(model, "start"), random_weights(model, "end")
    curve = curves(model, start, end, {"test": examples}, points=4)["test"]
    assert curve.at(0) == evaluate(model, start, examples)
    assert curve.at(-1) == evaluate(model, end, examples)
    assert curve.alphas.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-15)
    assert curve.loss.dtype == torch.float64


@pytest.mark.parametrize("spec", NETWORKS[::2], ids=str)
def test_reversed_line_has_the_reversed_curve(spec, random_weights):
    model, (start, end, _), examples, inputs = copies(spec, random_weights)
    there, back = (
        curves(model, *pair, {"test": examples}, points=5, reset_inputs=inputs)["test"]
        for pair in ((start, end), (end, start))
    )
    torch.testing.assert_close(there.loss, back.loss.flip(0), rtol=1e-10, atol=ROUNDING)
    assert torch.equal(there.error, back.error.flip(0))
    assert there.barrier() == pytest.approx(back.barrier(), rel=1e-10)
    assert there.barrier() > 0.1


@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_line_between_identical_networks_has_no_barrier(spec, random_weights):
    model = models.build(spec, (2, 8, 8), 3)
    weights = random_weights(model)
    curve = curves(model, weights, weights, {"test": split()}, points=5, reset_inputs=needed(model))["test"]
    assert 0.0 <= curve.barrier() <= ROUNDING
    assert curve.barrier("error") == 0.0


@pytest.mark.parametrize("spec", NETWORKS[::2], ids=str)
def test_line_to_a_permuted_copy_has_a_barrier_though_the_ends_compute_the_same(spec, random_weights):
    model, (start, end, _), examples, inputs = copies(spec, random_weights)
    curve = curves(model, start, end, {"test": examples}, points=5, reset_inputs=inputs)["test"]
    assert curve.at(0).loss == pytest.approx(curve.at(-1).loss, rel=1e-10)
    assert curve.at(0).error == curve.at(-1).error == 0.0
    assert curve.barrier() > 0.1
    assert curve.barrier("error") > 0.1


def test_cross_entropy_of_a_linear_model_is_convex_so_its_barrier_is_zero():
    model, examples = models.mlp(128, 3, widths=()), split(60)
    generator = rng.stream(0, "linear")
    for _ in range(5):
        start, end = (
            {n: torch.randn(v.shape, generator=generator).double() for n, v in model.state_dict().items()} for _ in "ab"
        )
        curve = curves(model, start, end, {"test": examples})["test"]
        assert curve.barrier() == 0.0
        # Strictly convex here, so that the middle lies well below the chord: a curve of constants would not.
        assert float(curve.loss[12]) < float(curve.loss[0] + curve.loss[-1]) / 2 - 0.1
        assert (curve.loss.diff(n=2) > 0).all()


def test_known_ends_are_reused_and_the_inside_is_computed(random_weights):
    model, splits = models.mlp(128, 3, widths=(6,)), {"train": split(9, "train"), "test": split()}
    start, end = random_weights(model, "start"), random_weights(model, "end")
    plain = curves(model, start, end, splits, points=4)
    known = {
        name: Curve(values(0.0, 0.5, 1.0), values(10.0 + i, 11.0, 12.0 + i), values(0.1 + i, 0.2, 0.3 + i))
        for i, name in enumerate(splits)
    }
    reused = curves(model, start, end, splits, points=4, ends_of=known)
    for name in splits:
        assert reused[name].at(0) == known[name].at(0)
        assert reused[name].at(-1) == known[name].at(-1)
        assert torch.equal(reused[name].loss[1:-1], plain[name].loss[1:-1])
        assert torch.equal(reused[name].error[1:-1], plain[name].error[1:-1])


def test_statistics_of_float64_weights_are_re_estimated_from_float32_inputs(random_weights):
    # Data sets are loaded in float32, weights drawn in float64; without BatchNorm this mixture is evaluated.
    model = models.build(NETWORKS[2], (2, 8, 8), 3)
    weights, examples = random_weights(model), split().to(torch.float32)
    curve = curves(model, weights, weights, {"test": examples}, points=3, reset_inputs=examples.inputs)["test"]
    assert curve.barrier() <= ROUNDING


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_line_needs_three_points(points, random_weights):
    model = models.mlp(128, 3, widths=(6,))
    weights = random_weights(model)
    with pytest.raises(ValueError, match=f"points is at least 3, got {points}"):
        curves(model, weights, weights, {"test": split()}, points=points)


def test_batch_normalisation_needs_inputs_for_its_statistics(random_weights):
    model = models.build(NETWORKS[2], (2, 8, 8), 3)
    weights = random_weights(model)
    with pytest.raises(ValueError, match="keeps BatchNorm statistics: pass reset_inputs"):
        curves(model, weights, weights, {"test": split()}, points=3)
    with pytest.raises(ValueError, match="keeps BatchNorm statistics: pass reset_inputs"):
        pairwise_barriers(model, [weights, weights], split(), points=3)


def test_states_of_another_architecture_are_refused(random_weights):
    one, other = models.mlp(128, 3, widths=(6,)), models.mlp(128, 3, widths=(7,))
    with pytest.raises(ValueError, match=r"1\.weight has shape \(6, 128\) in one state and \(7, 128\) in the other"):
        curves(one, random_weights(one), random_weights(other), {"test": split()})


# -- all pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["loss", "error"])
@pytest.mark.parametrize("spec", NETWORKS[::2], ids=str)
def test_pairwise_barriers_are_those_of_the_curves(spec, quantity, random_weights):
    model, states, examples, inputs = copies(spec, random_weights)
    matrix = pairwise_barriers(model, states, examples, quantity=quantity, points=5, reset_inputs=inputs)
    assert torch.equal(matrix, matrix.T)
    assert torch.equal(matrix.diagonal(), torch.zeros(3, dtype=torch.float64))
    for i in range(3):
        for j in range(i):
            line = curves(model, states[i], states[j], {"test": examples}, points=5, reset_inputs=inputs)["test"]
            assert float(matrix[i, j]) == pytest.approx(line.barrier(quantity), rel=ROUNDING)
            assert float(matrix[i, j]) > 0.0


def test_a_single_network_has_no_pairs(random_weights):
    model = models.mlp(128, 3, widths=(6,))
    assert pairwise_barriers(model, [random_weights(model)], split()).tolist() == [[0.0]]


# -- simplices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("corners", "resolution"), [(2, 2), (2, 7), (3, 1), (3, 10), (4, 3), (5, 5)])
def test_barycentric_coordinates_are_all_and_each_once(corners, resolution):
    weights = barycentric(corners, resolution)
    assert weights.shape == (math.comb(resolution + corners - 1, corners - 1), corners)
    numerators = (weights * resolution).round().int()
    torch.testing.assert_close(weights, numerators.double() / resolution, rtol=0, atol=0)
    assert (numerators >= 0).all()
    assert (numerators.sum(1) == resolution).all()
    assert numerators.tolist() == sorted(map(list, {tuple(row) for row in numerators.tolist()}), reverse=True)


def bowl(corners, resolution, height, tilt):
    """A simplex with the values ``h (1 - |w|^2) + tilt . w``, for the loss, and a tenth of them for the error."""
    weights = barycentric(corners, resolution)
    loss = height * (1 - weights.square().sum(1)) + weights @ values(*tilt)
    return Simplex(weights, loss, loss / 10)


@given(
    height=st.floats(-3.0, 3.0),
    tilt=st.lists(st.floats(0.0, 5.0), min_size=4, max_size=4),
    corners=st.sampled_from([2, 3, 4]),
)
def test_quadratic_on_a_simplex_has_its_closed_form(height, tilt, corners):
    # It is 0 at the corners but for the plane, and highest in the middle, which 12 steps reach for 2, 3 and 4 corners.
    found = bowl(corners, 12, height, tilt[:corners])
    assert found.corners().tolist() == pytest.approx(tilt[:corners], abs=ROUNDING)
    assert found.barrier() == pytest.approx(max(height, 0.0) * (1 - 1 / corners), abs=ROUNDING)
    assert found.barrier("error") == pytest.approx(found.barrier() / 10, abs=ROUNDING)
    assert found.heights().tolist() == pytest.approx(
        (height * (1 - found.weights.square().sum(1))).tolist(), abs=ROUNDING
    )
    # On an edge the others' weights are 0: h (1 - a^2 - (1 - a)^2) is highest in the middle, at h / 2.
    assert found.edge(0, corners - 1).barrier() == pytest.approx(max(height, 0.0) / 2, abs=ROUNDING)


def test_edges_of_a_simplex_run_from_start_to_end():
    found = bowl(3, 4, 2.0, [1.0, 5.0, 3.0])
    there, back = found.edge(1, 2), found.edge(2, 1)
    assert there.alphas.tolist() == back.alphas.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert there.loss.tolist() == back.loss.flip(0).tolist()
    assert (there.at(0).loss, there.at(-1).loss) == (5.0, 3.0)


@pytest.mark.parametrize("quantity", ["loss", "error"])
@pytest.mark.parametrize("spec", NETWORKS[::2], ids=str)
def test_edges_of_a_simplex_equal_the_curves(spec, quantity, random_weights):
    model, states, examples, inputs = copies(spec, random_weights)
    splits = {"test": examples, "half": examples[:15]}
    found = simplex(model, states, splits, resolution=3, reset_inputs=inputs)
    assert found.keys() == splits.keys()
    for start, end in ((0, 1), (0, 2), (1, 2)):
        lines = curves(model, states[start], states[end], splits, points=4, reset_inputs=inputs)
        for name, line in lines.items():
            edge = found[name].edge(start, end)
            torch.testing.assert_close(edge.alphas, line.alphas, rtol=0, atol=1e-15)
            torch.testing.assert_close(edge.loss, line.loss, rtol=1e-12, atol=0)
            assert torch.equal(edge.error, line.error)
            assert edge.barrier(quantity) <= found[name].barrier(quantity) + ROUNDING
    assert found["test"].barrier(quantity) > 0.05


def test_a_simplex_of_two_networks_is_a_line(random_weights):
    model, examples = models.build(NETWORKS[0], (2, 8, 8), 3), {"test": split()}
    start, end = random_weights(model, "start"), random_weights(model, "end")
    line = curves(model, start, end, examples, points=5)["test"]
    found = simplex(model, [start, end], examples, resolution=4)["test"]
    assert found.weights.T.tolist() == [line.alphas.flip(0).tolist(), line.alphas.tolist()]
    assert torch.equal(found.loss, line.loss)
    assert found.barrier() == pytest.approx(line.barrier(), abs=ROUNDING)


@pytest.mark.parametrize("spec", NETWORKS[::2], ids=str)
def test_a_simplex_does_not_depend_on_the_names_of_its_corners(spec, random_weights):
    model, states, examples, inputs = copies(spec, random_weights)
    first = simplex(model, states, {"test": examples}, resolution=3, reset_inputs=inputs)["test"]
    for order in permutations(range(3)):
        renamed = [states[each] for each in order]
        found = simplex(model, renamed, {"test": examples}, resolution=3, reset_inputs=inputs)["test"]
        assert found.barrier() == pytest.approx(first.barrier(), rel=1e-10)
        assert found.barrier("error") == first.barrier("error")
        for weights, loss in zip(found.weights.tolist(), found.loss, strict=True):
            original = [weights[order.index(corner)] for corner in range(3)]
            (place,) = (first.weights == values(*original)).all(1).nonzero()
            assert float(loss) == pytest.approx(float(first.loss[place]), rel=1e-10)


@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_points_of_a_simplex_agree_with_a_module_for_each(spec, random_weights):
    model, states, examples, inputs = copies(spec, random_weights)
    found = simplex(model, states, {"test": examples}, resolution=2, reset_inputs=inputs)["test"]
    for weights, loss, error in zip(found.weights.tolist(), found.loss, found.error, strict=True):
        network = copy.deepcopy(model).double()
        network.load_state_dict(state.combine(states, weights))
        if inputs is not None:
            update_bn([inputs], network)
        assert (float(loss), float(error)) == pytest.approx(
            naive_scores(model, network.state_dict(), examples), rel=ROUNDING
        )


def test_known_corners_are_reused_and_the_inside_is_computed(random_weights):
    model, splits = models.mlp(128, 3, widths=(6,)), {"train": split(9, "train"), "test": split()}
    states = [random_weights(model, seed) for seed in range(3)]
    plain = simplex(model, states, splits, resolution=2)
    known = {name: bowl(3, 4, 1.0, [7.0 + i, 8.0, 9.0]) for i, name in enumerate(splits)}
    reused = simplex(model, states, splits, resolution=2, corners_of=known)
    for name in splits:
        inside = plain[name].weights.max(1).values < 1
        assert torch.equal(reused[name].corners(), known[name].corners())
        assert torch.equal(reused[name].corners("error"), known[name].corners("error"))
        assert torch.equal(reused[name].loss[inside], plain[name].loss[inside])


def test_a_simplex_leaves_its_arguments_alone(random_weights):
    model = models.build(NETWORKS[2], (2, 8, 8), 3)
    states, examples = [random_weights(model, seed) for seed in range(3)], split()
    before = [state.fingerprint(each) for each in (model.state_dict(), *states, {"x": examples.inputs})]
    simplex(model, states, {"test": examples}, resolution=2, reset_inputs=examples.inputs)
    assert [state.fingerprint(each) for each in (model.state_dict(), *states, {"x": examples.inputs})] == before


@pytest.mark.parametrize("count", [0, 1])
def test_a_simplex_needs_two_networks(count, random_weights):
    model = models.mlp(128, 3, widths=(6,))
    with pytest.raises(ValueError, match=f"at least two networks, got {count}"):
        simplex(model, [random_weights(model)] * count, {"test": split()})


@pytest.mark.parametrize("resolution", [-1, 0, 1])
def test_a_simplex_needs_points_between_its_corners(resolution, random_weights):
    model = models.mlp(128, 3, widths=(6,))
    with pytest.raises(ValueError, match=f"resolution is at least 2, got {resolution}"):
        simplex(model, [random_weights(model)] * 3, {"test": split()}, resolution=resolution)


def test_a_simplex_refuses_what_a_line_refuses(random_weights):
    model, other = (
        models.build(NETWORKS[2], (2, 8, 8), 3),
        models.build(ModelSpec("resnet", 5, 8, "batch"), (2, 8, 8), 3),
    )
    states = [random_weights(model), random_weights(model), random_weights(other)]
    with pytest.raises(ValueError, match="pass reset_inputs"):
        simplex(model, states[:2], {"test": split()})
    with pytest.raises(ValueError, match=r"in one state and .* in the other"):
        simplex(model, states, {"test": split()}, reset_inputs=split().inputs)


@pytest.mark.parametrize(("corners", "resolution"), [(2, 1), (2, 5), (3, 1), (3, 4), (4, 3)])
def test_a_simplex_is_made_again_of_its_scores(corners, resolution):
    points = barycentric(corners, resolution)
    loss = torch.arange(len(points), dtype=torch.float64)
    found = Simplex.of_scores(corners, loss, 1 - loss)
    assert torch.equal(found.weights, points)
    assert (found.loss[-1], found.error[-1]) == (len(points) - 1, 2 - len(points))


@pytest.mark.parametrize(("points", "larger"), [(0, 3), (5, 6), (9, 10)])
def test_scores_that_fill_no_simplex_are_refused(points, larger):
    with pytest.raises(ValueError, match=f"no simplex of 3 corners has {points} points: {larger} would be the next"):
        Simplex.of_scores(3, torch.zeros(points), torch.zeros(points))
