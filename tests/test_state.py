"""Arithmetic on states: exact ends, norms against the concatenated vector, arguments left alone."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import models, rng, state


def draw(*path, dtype=torch.float64):
    generator = rng.stream(0, "test state", *path)
    return {
        "weight": torch.randn(3, 4, generator=generator, dtype=dtype),
        "bias": torch.randn(3, generator=generator, dtype=dtype),
        "num_batches_tracked": torch.randint(100, (), generator=generator),
    }


def flat(values):
    return torch.cat([value.double().reshape(-1) for value in values.values() if value.is_floating_point()])


def same_bits(a, b):
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpolation_is_exact_at_both_ends(dtype):
    start, end = draw("start", dtype=dtype), draw("end", dtype=dtype)
    for alpha, expected in ((0.0, start), (1.0, end)):
        point = state.interpolate(start, end, alpha)
        assert torch.equal(flat(point), flat(expected))
        assert point["weight"].dtype == dtype


@given(alpha=st.floats(0.0, 1.0))
def test_interpolation_is_the_convex_combination(alpha):
    start, end = draw("start"), draw("end")
    point = flat(state.interpolate(start, end, alpha))
    # One rounding of each product and of the sum.
    torch.testing.assert_close(point, flat(start) * (1 - alpha) + flat(end) * alpha, rtol=1e-15, atol=1e-15)


def test_combination_of_three_states_is_the_weighted_sum():
    states, weights = [draw(i) for i in range(3)], [0.5, -2.0, 1.25]
    expected = (torch.stack([flat(each) for each in states]) * torch.tensor(weights).double()[:, None]).sum(0)
    # Sums of three terms below 10 in another order.
    torch.testing.assert_close(flat(state.combine(states, weights)), expected, rtol=0, atol=1e-14)


def test_integer_buffers_are_taken_from_the_first_state():
    states = [draw(0), draw(1)]
    combined = state.combine(states, [0.25, 0.75])
    assert states[0]["num_batches_tracked"] != states[1]["num_batches_tracked"]
    assert combined["num_batches_tracked"] == states[0]["num_batches_tracked"]
    assert combined["num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.25, 0.25]])
def test_combination_needs_one_weight_a_state(weights):
    with pytest.raises(ValueError, match=f"one weight a state.*2 and {len(weights)}"):
        state.combine([draw(0), draw(1)], weights)


def test_combination_needs_a_state():
    with pytest.raises(ValueError, match="at least one state, got 0 and 0"):
        state.combine([], [])


OTHER_ARCHITECTURES = [
    ({"bias": None}, "2 names in common, only the first has bias$"),
    ({"extra": torch.zeros(1)}, "3 names in common, only the state has extra$"),
    ({"weight": torch.zeros(4, 3)}, r"weight has shape \(3, 4\) in one state and \(4, 3\) in the other"),
    # Broadcasting would hide this one.
    ({"bias": torch.zeros(1)}, r"bias has shape \(3,\) in one state and \(1,\) in the other"),
]


@pytest.mark.parametrize(("change", "message"), OTHER_ARCHITECTURES)
@pytest.mark.parametrize("operation", [state.distance, lambda a, b: state.interpolate(a, b, 0.5)])
def test_states_of_different_architectures_do_not_mix(operation, change, message):
    other = {name: value for name, value in {**draw(1), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        operation(draw(0), other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_and_distance_are_those_of_the_concatenated_vector(dtype):
    a, b = draw("a", dtype=dtype), draw("b", dtype=dtype)
    # Fifteen squares summed in float64 in another order.
    assert state.norm(a) == pytest.approx(float(torch.linalg.vector_norm(flat(a))), rel=1e-14)
    assert state.distance(a, b) == pytest.approx(float(torch.linalg.vector_norm(flat(a) - flat(b))), rel=1e-14)


def test_distance_is_a_metric_on_three_points():
    a, b, c = (draw(name) for name in "abc")
    assert state.distance(a, a) == 0.0
    assert state.distance(a, b) == state.distance(b, a) > 0.0
    assert state.distance(a, c) <= state.distance(a, b) + state.distance(b, c)


def test_distance_of_close_float32_states_does_not_vanish_in_rounding():
    # The squares, 1e-46, underflow in float32.
    a, b = {"w": torch.zeros(2)}, {"w": torch.tensor([3e-23, 4e-23])}
    assert state.distance(a, b) == pytest.approx(5e-23, rel=1e-6)


@pytest.mark.parametrize(("value", "finite"), [(0.0, True), (math.nan, False), (math.inf, False), (-math.inf, False)])
def test_a_state_is_finite_without_nan_and_infinity(value, finite):
    changed = draw("a")
    changed["bias"][1] = value
    assert state.is_finite(changed) is finite


def test_clone_shares_no_memory_and_no_gradient():
    original = {"w": torch.ones(2, requires_grad=True)}
    copy = state.clone(original)
    copy["w"][0] = 5.0
    assert original["w"].tolist() == [1.0, 1.0]
    assert not copy["w"].requires_grad


def test_cast_converts_floating_tensors_only():
    converted = state.cast(draw("a"), torch.float32)
    assert [value.dtype for value in converted.values()] == [torch.float32, torch.float32, torch.int64]
    assert torch.equal(flat(converted), flat(draw("a")).float().double())


def test_masked_weights_are_zero_and_the_others_as_they_were():
    weights = {"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([3.0])}
    found = state.masked(weights, {"a": torch.tensor([[True, False]])})
    assert found["a"].tolist() == [[1.0, 0.0]]
    assert not bool(torch.signbit(found["a"]).any())
    assert found["b"] is weights["b"]
    assert weights["a"].tolist() == [[1.0, -2.0]]
    # What is removed does not count, whatever it was.
    assert state.is_finite(state.masked({"a": torch.tensor([float("nan")])}, {"a": torch.tensor([False])}))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"c": torch.ones(1, dtype=torch.bool)}, "a mask for c, which is not in the state"),
        ({"a": torch.ones(2, dtype=torch.bool)}, r"bool of shape \(2,\); it should hold booleans of shape \(1, 2\)"),
        ({"a": torch.ones(1, 2)}, r"the mask of a holds torch\.float32"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        state.masked({"a": torch.ones(1, 2), "b": torch.ones(1)}, masks)


@pytest.mark.parametrize("name", ["weight", "bias", "num_batches_tracked"])
def test_fingerprint_changes_with_one_bit(name):
    original, changed = draw("a"), draw("a")
    changed[name].view(torch.int64).reshape(-1)[-1] ^= 1
    assert state.fingerprint(draw("a")) == state.fingerprint(original)
    assert state.fingerprint(changed) != state.fingerprint(original)


@pytest.mark.parametrize(
    "other",
    [
        {"v": torch.zeros(2, 3)},
        {"w": torch.zeros(3, 2)},
        {"w": torch.zeros(6)},
        {"w": torch.zeros(2, 3, dtype=torch.int32)},
        {"w": torch.zeros(2, 3), "v": torch.zeros(0)},
        {"w": -torch.zeros(2, 3)},
    ],
)
def test_fingerprint_tells_name_shape_type_and_sign_apart(other):
    assert state.fingerprint(other) != state.fingerprint({"w": torch.zeros(2, 3)})


def test_fingerprint_ignores_order_memory_layout_and_gradient():
    original = draw("a")
    other = {name: original[name] for name in reversed(original)}
    other["weight"] = original["weight"].T.contiguous().T.requires_grad_()
    assert state.fingerprint(other) == state.fingerprint(original)


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: state.interpolate(a, b, 0.3),
        lambda a, b: state.combine([a, b], [2.0, 3.0]),
        lambda a, _: state.clone(a),
    ],
)
def test_arguments_stay_unchanged_and_unshared(operation):
    a, b = draw("a", dtype=torch.float32), draw("b", dtype=torch.float32)
    result = operation(a, b)
    result["weight"] += 1.0
    result["num_batches_tracked"] += 1
    assert same_bits(a, draw("a", dtype=torch.float32))
    assert same_bits(b, draw("b", dtype=torch.float32))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_applying_weights_is_loading_them_into_the_module(norm, random_weights):
    model = models.mlp(4, 3, widths=(6, 5), norm=norm).eval()
    weights, x = random_weights(model), torch.randn(7, 4, generator=rng.stream(0), dtype=torch.float64)
    network = copy.deepcopy(model).double()
    network.load_state_dict(weights)
    before = state.fingerprint(model.state_dict()), state.fingerprint(weights)
    for _ in range(2):
        assert torch.equal(state.apply(model, weights, x), network(x))
    assert (state.fingerprint(model.state_dict()), state.fingerprint(weights)) == before


def test_applying_leaves_out_what_the_network_does_not_have(random_weights):
    model = models.mlp(4, 3, widths=(6,))
    weights, x = random_weights(model), torch.ones(1, 4, dtype=torch.float64)
    assert torch.equal(state.apply(model, {**weights, "extra": x}, x), state.apply(model, weights, x))


def test_applying_keeps_a_buffer_that_the_state_does_not_have(random_weights):
    model = models.mlp(4, 3, widths=(6,)).double()
    model.register_buffer("grid", torch.ones(2), persistent=False)
    weights, x = random_weights(model), torch.ones(1, 4, dtype=torch.float64)
    assert "grid" not in weights
    assert state.apply(model, weights, x).shape == (1, 3)


def test_applying_knows_a_layer_that_stands_at_two_places(random_weights):
    flatten, first, relu, shared, _, last = models.mlp(4, 3, widths=(6, 6))
    model = nn.Sequential(flatten, first, relu, shared, relu, shared, relu, last)
    weights, x = random_weights(model), torch.randn(7, 4, generator=rng.stream(0), dtype=torch.float64)
    weights |= {"5.weight": weights["3.weight"].clone(), "5.bias": weights["3.bias"].clone()}
    network = copy.deepcopy(model).double()
    network.load_state_dict(weights)
    before = state.fingerprint(model.state_dict()), state.fingerprint(weights)
    for _ in range(2):
        assert torch.equal(state.apply(model, weights, x), network(x))
    assert (state.fingerprint(model.state_dict()), state.fingerprint(weights)) == before


def test_gradients_flow_through_applied_weights(random_weights):
    model = models.mlp(4, 3, widths=(6,))
    weights = {name: value.requires_grad_() for name, value in random_weights(model).items()}
    state.apply(model, weights, torch.ones(1, 4, dtype=torch.float64)).sum().backward()
    assert torch.equal(weights["3.bias"].grad, torch.ones(3, dtype=torch.float64))
    assert all(parameter.grad is None for parameter in model.parameters())


DRAWN = {"1.weight": torch.ones(2, 3), "3.weight": torch.ones(4, 2), "3.bias": torch.ones(4)}
BEFORE = {"1.weight": torch.zeros(2, 3), "3.weight": torch.zeros(7, 2), "3.bias": torch.zeros(7)}
OWN = {"3.weight", "3.bias"}


class TestTakenOver:
    def test_all_but_its_own_entries_are_those_of_the_other(self):
        found = state.taken_over(DRAWN, BEFORE, OWN)
        assert {name: float(value.sum()) for name, value in found.items()} == {
            "1.weight": 0,
            "3.weight": 8,
            "3.bias": 4,
        }
        assert float(DRAWN["1.weight"].sum()) == 6

    def test_entries_must_fit(self):
        with pytest.raises(ValueError, match=r"3.bias is \[7\] in the pre-trained network, but \[4\] in this one"):
            state.taken_over(DRAWN, BEFORE, {"3.weight"})
        with pytest.raises(ValueError, match=r"2.weight is \[1\] in the pre-trained network, but missing in this one"):
            state.taken_over(DRAWN, BEFORE | {"2.weight": torch.ones(1)}, OWN)
        with pytest.raises(ValueError, match=r"the pre-trained network has no 1\.weight, which this network has"):
            state.taken_over(DRAWN, {}, OWN)


def test_what_stands_under_a_prefix_loses_it_and_nothing_else_is_there():
    tensors = {name: torch.ones(1) for name in ("4/a", "14/a", "4/4/b", "a")}
    assert list(state.under("4/", tensors)) == ["a", "4/b"]


def test_a_stack_comes_apart_into_what_it_was_made_of():
    states = [{"a.b": torch.tensor([[1.0 + k, 2.0 * k]]), "c": torch.tensor(3.0 - k)} for k in range(3)]
    stack = state.stacked(states)
    assert stack["a.b"].shape == (3, 1, 2)
    apart = state.unstacked(stack)
    assert [list(each) for each in apart] == [["a.b", "c"]] * 3
    assert all(torch.equal(one[name], other[name]) for one, other in zip(apart, states, strict=True) for name in one)


def test_a_flattened_state_is_shaped_back():
    first = {
        "a": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "count": torch.tensor(7),
        "b": torch.tensor([8.0]),
    }
    second = {name: value * 2 for name, value in first.items()}
    points = state.flattened([first, second])
    assert points.tolist() == [[1, 2, 3, 4, 5, 6, 8], [2, 4, 6, 8, 10, 12, 16]]
    back = state.shaped(points[1], first)
    assert back["a"].tolist() == second["a"].tolist()
    assert back["b"].tolist() == [16.0]
    assert back["count"] == 7


def test_points_of_another_architecture_are_refused():
    network = {"a": torch.zeros(2)}
    with pytest.raises(ValueError, match="has 2 entries, but the point has shape"):
        state.shaped(torch.zeros(3), network)
    with pytest.raises(ValueError, match="different architectures"):
        state.flattened([network, {"b": torch.zeros(2)}])


def complex_draw(*path):
    generator = rng.stream(0, "test complex state", *path)
    real = draw(*path, dtype=torch.float32)
    return {"turn": torch.randn(3, 2, generator=generator, dtype=torch.complex64)} | real


def in_parts(values):
    return {name: torch.view_as_real(value) if value.is_complex() else value for name, value in values.items()}


class TestComplexWeights:
    """Every law of real weights, of the two parts of complex ones; they stand first here."""

    def test_norms_and_distances_are_those_of_the_parts(self):
        a, b = complex_draw("a"), complex_draw("b")
        # Rounding of moduli in float64.
        assert state.norm(a) == pytest.approx(state.norm(in_parts(a)), rel=1e-14)
        assert state.distance(a, b) == pytest.approx(state.distance(in_parts(a), in_parts(b)), rel=1e-14)
        assert state.distance(a, b | {"turn": a["turn"]}) < state.distance(a, b)

    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    def test_points_between_are_those_of_the_parts(self, alpha):
        a, b = complex_draw("a"), complex_draw("b")
        point = state.interpolate(a, b, alpha)
        assert same_bits(in_parts(point), state.interpolate(in_parts(a), in_parts(b), alpha))

    def test_they_are_cast_to_pairs(self):
        wide = state.cast(complex_draw(), torch.float64)
        assert (wide["turn"].dtype, wide["weight"].dtype) == (torch.complex128, torch.float64)
        assert same_bits(state.cast(wide, torch.float32), complex_draw())

    @pytest.mark.parametrize("use", [state.real, lambda a: state.flattened([a]), lambda a: state.shaped(a["bias"], a)])
    def test_what_knows_none_refuses_them(self, use):
        with pytest.raises(ValueError, match="turn holds complex numbers"):
            use(complex_draw())

    def test_a_state_of_nothing_else_has_a_norm(self):
        assert state.norm({"turn": torch.tensor([3.0 + 4.0j])}) == 5.0
        assert state.norm({"count": torch.tensor(3)}) == 0.0


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("count", [2, 3, 100, 1000])
    def test_the_mean_of_equal_states_is_that_state(self, dtype, count):
        one = {"weight": torch.tensor([1.0, -3.140625, 0.1], dtype=dtype)}
        assert same_bits(state.combine([one] * count, [1.0 / count] * count), one)

    @given(
        values=st.lists(st.floats(-8.0, 8.0), min_size=2, max_size=40),
        dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    )
    def test_a_sum_is_rounded_once(self, values, dtype):
        states = [{"weight": torch.tensor([value], dtype=dtype)} for value in values]
        weights = [(-0.5) ** place + 1.0 / len(values) for place in range(len(values))]
        exact = math.fsum(w * float(each["weight"]) for w, each in zip(weights, states, strict=True))
        found = float(state.combine(states, weights)["weight"])
        # Half a step of the dtype, and what sums of 40 in float64 lose, which may turn a tie.
        assert abs(found - exact) <= torch.finfo(dtype).eps / 2 * abs(exact) + torch.finfo(dtype).tiny + 1e-13

    def test_states_of_two_precisions_meet_in_the_finer_one(self):
        a, b = draw("a", dtype=torch.bfloat16), draw("b", dtype=torch.float32)
        assert state.interpolate(a, b, 1.0)["weight"].dtype == torch.float32
        assert torch.equal(state.interpolate(a, b, 1.0)["weight"], b["weight"])


class TestFitted:
    def test_floating_inputs_take_the_precision_of_the_first_weight(self):
        assert state.fitted(torch.zeros(2), draw(dtype=torch.bfloat16)).dtype == torch.bfloat16
        assert state.fitted(torch.zeros(2, dtype=torch.float64), complex_draw()).dtype == torch.float32

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64])
    def test_all_others_stay(self, dtype):
        inputs = torch.ones(2, dtype=dtype)
        assert same_bits({"": state.fitted(inputs, draw())}, {"": inputs})

    def test_where_there_is_no_weight_nothing_is_asked_for(self):
        inputs = torch.ones(2, dtype=torch.float64)
        assert state.fitted(inputs, {"count": torch.tensor(1)}) is inputs
