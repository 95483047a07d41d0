"""Perturbations: their size by law, the two conventions of the paper, and what arithmetic makes of them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc_lib import models, rng, state
from lmc_lib.perturbation import (
    CONVENTIONS,
    Perturbation,
    batch_direction,
    gaussian_direction,
    perturb,
)

MODEL = models.resnet(1, 4, depth=8, width=4, norm="batch")
MATRICES = [name for name, value in MODEL.state_dict().items() if value.dim() > 1]


def start(dtype=torch.float64, seed=0):
    weights = models.initialise(MODEL, generator=rng.stream(seed, "test", "start"))
    return state.cast(weights, dtype)


def moved(perturbation, weights=None, seed=0):
    weights = start() if weights is None else weights
    direction = gaussian_direction(weights, perturbation.layers, generator=rng.stream(seed, "direction"))
    return perturb(weights, direction, perturbation, generator=rng.stream(seed, "weights"))


def expected_norm(names, weights):
    """By its definition, one weight at a time: Kaiming-normal draws have the variance 2 over the fan-in."""
    return math.sqrt(sum(2.0 / weights[name][0].numel() for name in names for _ in range(weights[name].numel())))


@given(st.floats(1e-4, 2.0), st.sampled_from(CONVENTIONS))
def test_size_is_relative_to_the_expected_norm_of_the_initialisation(size, convention):
    result = moved(Perturbation(size, convention=convention))
    # The grid of 2^-50 moves the norm by far less than one part in 10^9.
    assert result.norm == pytest.approx(size * expected_norm(MATRICES, start()), rel=1e-9)
    assert result.norm == pytest.approx(state.distance(result.state, start()), rel=1e-9)
    assert result.intended == pytest.approx(result.norm, rel=1e-9)


def test_size_one_is_as_large_as_initial_weights():
    norms = [state.norm({n: start(seed=seed)[n] for n in MATRICES}) for seed in range(8)]
    # The norm of some thousand normal draws scatters by less than two per cent.
    assert moved(Perturbation(1.0)).norm == pytest.approx(sum(norms) / 8, rel=0.02)


def test_biases_norms_and_buffers_stay():
    before, after = start(), moved(Perturbation(0.5)).state
    assert all(torch.equal(after[name], before[name]) for name in before if name not in MATRICES)
    assert not any(torch.equal(after[name], before[name]) for name in MATRICES)


def test_only_chosen_layers_move_and_count():
    result, before = moved(Perturbation(0.1, layers=r"^0\.|^7\.")), start()
    chosen = [name for name in MATRICES if name.startswith(("0.", "7."))]
    assert chosen
    assert [name for name in before if not torch.equal(result.state[name], before[name])] == chosen
    assert result.norm == pytest.approx(0.1 * expected_norm(chosen, before), rel=1e-9)


@pytest.mark.parametrize("weights", [1, 17, 0.01, 0.5])
def test_as_many_weights_move_as_were_asked_for(weights):
    total = sum(start()[name].numel() for name in MATRICES)
    count = weights if isinstance(weights, int) else round(weights * total)
    result = moved(Perturbation(0.1, weights=weights))
    assert result.moved == result.changed == count
    assert sum(int((result.state[n] != start()[n]).sum()) for n in start()) == count


def test_one_weight_moves_by_its_own_deviation_in_the_formula():
    result, before = moved(Perturbation(0.25, weights=1)), start()
    (name,) = [n for n in MATRICES if not torch.equal(result.state[n], before[n])]
    assert result.norm == pytest.approx(0.25 * math.sqrt(2.0 / before[name][0].numel()), rel=1e-9)


def test_in_the_code_a_mask_takes_its_share_of_the_noise():
    """Half of the weights have about the root of one half of the norm; the formula renormalises to their own share."""
    half, whole = (moved(Perturbation(1.0, weights=w, convention="code")) for w in (0.5, None))
    direction = gaussian_direction(start(), generator=rng.stream(0, "direction"))
    scale = expected_norm(MATRICES, start()) / state.norm(direction)
    for name in MATRICES:
        change = half.state[name] - start()[name]
        kept = change != 0
        assert torch.allclose(change[kept], direction[name][kept] * scale, rtol=1e-9, atol=0)
    assert half.norm == pytest.approx(whole.norm * math.sqrt(0.5), rel=0.05)


def test_the_batch_direction_is_the_gradient_of_the_mean_loss():
    generator = rng.stream(0, "batch")
    inputs = torch.randn(12, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (12,), generator=generator)
    direction = batch_direction(MODEL, start(), inputs, labels)
    assert list(direction) == sorted(MATRICES)
    network = models.resnet(1, 4, depth=8, width=4, norm="batch").double().train()
    step = 1e-6

    def loss(sign):
        network.load_state_dict(start() | {n: start()[n] + sign * step * direction[n] for n in MATRICES})
        return torch.nn.functional.cross_entropy(network(inputs), labels)

    slope = float((loss(1) - loss(-1)).detach()) / (2 * step)
    # A central difference of a smooth function: the error is of second order in the step.
    assert slope == pytest.approx(state.norm(direction) ** 2, rel=1e-4)


def test_single_precision_swallows_small_perturbations():
    sizes = {size: moved(Perturbation(size), start(torch.float32)) for size in (1e-4, 1e-8)}
    assert sizes[1e-4].changed / sizes[1e-4].moved > 0.99
    assert sizes[1e-8].changed / sizes[1e-8].moved < 0.5
    assert sizes[1e-8].norm < sizes[1e-8].intended
    assert moved(Perturbation(1e-8)).changed / sizes[1e-8].moved > 0.99  # double precision does not


def test_a_perturbation_that_changes_nothing_warns():
    with pytest.warns(UserWarning, match=r"norm .* changes no weight in float32"):
        assert moved(Perturbation(1e-12), start(torch.float32)).changed == 0


def test_size_zero_changes_nothing():
    result = moved(Perturbation(0.0))
    assert state.fingerprint(result.state) == state.fingerprint(start())
    assert result.norm == result.changed == 0


@pytest.mark.parametrize("weights", [None, 5])
def test_the_order_of_entries_makes_no_difference(weights):
    """A state that was stored lists its entries in another order than one that was just computed."""
    turned = dict(reversed(start().items()))
    assert list(turned) != list(start())
    first, second = (moved(Perturbation(0.3, weights=weights), each).state for each in (start(), turned))
    assert state.fingerprint(first) == state.fingerprint(second)


def test_the_gradient_is_the_same_for_any_order_of_entries():
    inputs, labels = torch.randn(4, 1, 8, 8, generator=rng.stream(0, "batch"), dtype=torch.float64), torch.arange(4)
    both = [batch_direction(MODEL, each, inputs, labels) for each in (start(), dict(reversed(start().items())))]
    assert list(both[0]) == list(both[1]) == sorted(MATRICES)


def test_arguments_stay():
    before = start()
    moved(Perturbation(0.3, weights=3), before)
    assert state.fingerprint(before) == state.fingerprint(start())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -0.1}, "at least 0"),
        ({"size": math.nan}, "at least 0"),
        ({"size": 0.1, "direction": "down"}, "unknown direction 'down'; there are gaussian, batch"),
        ({"size": 0.1, "convention": "mine"}, "unknown convention"),
        ({"size": 0.1, "weights": 0.0}, "share of weights"),
        ({"size": 0.1, "weights": 1.5}, "share of weights"),
        ({"size": 0.1, "weights": 0}, "at least one weight"),
    ],
)
def test_wrong_perturbations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Perturbation(**options)


def test_what_does_not_fit_the_network_is_refused():
    with pytest.raises(ValueError, match=r"no layer matches 'encoder'; the ones that can be perturbed are 0.weight"):
        moved(Perturbation(0.1, layers="encoder"))
    with pytest.raises(ValueError, match="1000000 weights are to move, but these layers have"):
        moved(Perturbation(0.1, weights=1_000_000))
    nowhere = {name: torch.zeros_like(value) for name, value in start().items() if name in MATRICES}
    with pytest.raises(ValueError, match="zero on all weights that are to move"):
        perturb(start(), nowhere, Perturbation(0.1), generator=rng.stream(0, "weights"))
    with pytest.raises(ValueError, match="there are none"):
        batch_direction(MODEL, start(), torch.empty(0, 1, 8, 8), torch.empty(0, dtype=torch.long))
