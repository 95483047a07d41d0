"""Matching of many networks: planted universes come back, small cases agree with brute force, cycles close."""

import itertools

import pytest
import torch
from torch import nn

from lmc_lib import matching, models, rng, state, symmetry
from lmc_lib.models import ModelSpec
from lmc_lib.symmetry import SymmetryError

SHAPE = (2, 8, 8)
METHODS = [matching.to_reference, matching.merge_many, matching.cycle_consistent]
IDENTIFIABLE = [ModelSpec("mlp", 16, 2), ModelSpec("vgg", 4, 11, "layer"), ModelSpec("resnet", 4, 8, "batch")]


def by_name(value):
    return value.__name__ if callable(value) else None


def order(name="order"):
    return rng.stream(0, "matching many", name)


def random_like(spec, *path):
    """Weights and biases of one scale, in float64."""
    generator = rng.stream(0, "matching many", *path)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in spec.shapes.items()}


def perceptrons(sizes, count, name=""):
    """The groups of a perceptron and unrelated random weights."""
    model = models.mlp(sizes[0], sizes[-1], widths=sizes[1:-1])
    spec = symmetry.permutation_spec(model, torch.zeros(1, sizes[0]))
    return spec, [random_like(spec, name, index) for index in range(count)]


def grouped():
    """A network with exchangeable blocks of units, in two grouped convolutions, and with a plain group behind."""
    model = nn.Sequential(
        nn.utils.skip_init(nn.Conv2d, 2, 12, 1),
        nn.ReLU(),
        nn.utils.skip_init(nn.Conv2d, 12, 12, 1, groups=3),
        nn.ReLU(),
        nn.Flatten(),
        nn.utils.skip_init(nn.Linear, 12 * 64, 8),
        nn.ReLU(),
        nn.utils.skip_init(nn.Linear, 8, 5),
    )
    spec = symmetry.permutation_spec(model, torch.zeros(1, *SHAPE))
    return spec, random_like(spec, "grouped")


def grouped_and_deep():
    layers = [
        nn.utils.skip_init(nn.Conv2d, 2, 12, 1),
        nn.ReLU(),
        nn.utils.skip_init(nn.Conv2d, 12, 12, 1, groups=3),
        nn.ReLU(),
        nn.Flatten(),
    ]
    for a, b in ((12, 24), (24, 24), (24, 24), (24, 4)):
        layers += [nn.utils.skip_init(nn.Linear, a, b), nn.ReLU()]
    spec = symmetry.permutation_spec(nn.Sequential(*layers[:-1]), torch.zeros(1, 2, 1, 1))
    return spec, random_like(spec, "grouped and deep")


def planted(spec, weights, count, noise=0.0, but=()):
    """A random universe, and networks that it brings to the same weights, up to noise."""
    universe = [symmetry.random(spec, generator=order(f"universe {index}")) for index in range(count)]
    states = []
    for index, permutation in enumerate(universe):
        other = random_like(spec, "noise", index)
        noisy = {n: v + noise * other[n] if v.is_floating_point() and n not in but else v for n, v in weights.items()}
        states.append(symmetry.permute(noisy, symmetry.inverse(permutation, spec), spec))
    return universe, states


def aligned(spec, states, permutations):
    return [symmetry.permute(*each, spec) for each in zip(states, permutations, strict=True)]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[group], b[group]) for group in a)


def identities(spec, states):
    return [symmetry.identity(spec) for _ in states]


def inner_product(a, b):
    return sum(float((a[name] * b[name]).sum()) for name in a)


NOISY = perceptrons((6, 24, 24, 24, 4), 1, "noisy")
HARD = perceptrons((4, 8, 8, 8, 3), 4, "hard")


# -- planted universes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@pytest.mark.parametrize("architecture", IDENTIFIABLE, ids=str)
def test_copies_of_one_network_become_equal(architecture, method, random_weights):
    model = models.build(architecture, SHAPE, 5)
    spec = symmetry.permutation_spec(model, torch.zeros(1, *SHAPE))
    _, states = planted(spec, models.initialise(model, generator=rng.stream(0, "weights")), 3)
    first, *others = aligned(spec, states, method(spec, states, generator=order()))
    assert [state.distance(first, other) for other in others] == [0.0, 0.0]


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_copies_of_a_network_with_nested_groups_become_equal(method):
    spec, weights = grouped()
    assert {bool(group.blocks) for group in spec.groups.values()} == {True, False}
    _, states = planted(spec, weights, 3)
    first, *others = aligned(spec, states, method(spec, states, generator=order()))
    assert [state.distance(first, other) for other in others] == [0.0, 0.0]


@pytest.mark.parametrize("architecture", IDENTIFIABLE, ids=str)
def test_frank_wolfe_finds_the_universe_without_a_polish(architecture):
    # Along residual streams, flattened maps and normalisations soft permutations move what permutations move.
    model = models.build(architecture, SHAPE, 5)
    spec = symmetry.permutation_spec(model, torch.zeros(1, *SHAPE))
    universe, states = planted(spec, models.initialise(model, generator=rng.stream(0, "weights")), 3)
    found = matching.cycle_consistent(spec, states, generator=order(), max_rounds=0)
    expected = matching.pairwise(spec, universe)
    assert all(equal(each, expected[pair]) for pair, each in matching.pairwise(spec, found).items())


def test_frank_wolfe_finds_a_universe_in_noise_where_rounds_stop_short():
    spec, (weights,) = NOISY
    universe, states = planted(spec, weights, 5, noise=0.8)
    expected = matching.pairwise(spec, universe)
    by_rounds, by_frank_wolfe = (
        matching.pairwise(spec, method(spec, states, generator=order(), **options))
        for method, options in ((matching.merge_many, {}), (matching.cycle_consistent, {"max_rounds": 0}))
    )
    assert not any(equal(by_rounds[pair], expected[pair]) for pair in expected if 0 in pair)
    assert all(equal(by_frank_wolfe[pair], expected[pair]) for pair in expected)


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_planted_universe_that_only_biases_show_is_found(method):
    spec, (weights,) = perceptrons((3, 6, 2), 1)
    weights["1.weight"] = weights["1.weight"][:1].expand(6, 3).clone()
    weights["3.weight"] = weights["3.weight"][:, :1].expand(2, 6).clone()
    universe, states = planted(spec, weights, 3)
    found, expected = (matching.pairwise(spec, each) for each in (method(spec, states, generator=order()), universe))
    assert all(equal(found[pair], expected[pair]) for pair in expected)


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_biases_that_do_not_count_do_not_matter(method):
    spec, states = HARD
    large = [{name: value if value.dim() > 1 else 10.0 * value for name, value in each.items()} for each in states]
    found, expected, counted = (
        method(spec, each, generator=order(), vectors=vectors)
        for each, vectors in ((large, False), (states, False), (large, True))
    )
    assert all(equal(*each) for each in zip(found, expected, strict=True))
    assert not all(equal(*each) for each in zip(found, counted, strict=True))


def test_frank_wolfe_sees_nested_groups_as_rounds_have_aligned_them():
    spec, weights = grouped_and_deep()
    universe, states = planted(spec, weights, 5, noise=0.8, but=("0.weight", "0.bias", "2.weight", "2.bias"))
    expected = matching.pairwise(spec, universe)
    by_rounds, jointly = (
        matching.pairwise(spec, method(spec, states, generator=order()))
        for method in (matching.merge_many, matching.cycle_consistent)
    )
    assert not all(equal(by_rounds[pair], expected[pair]) for pair in expected)
    assert all(equal(jointly[pair], expected[pair]) for pair in expected)


# -- the objective -----------------------------------------------------------------------------------------------------


def test_joint_objective_is_the_sum_over_pairs_and_the_smallest_spread():
    spec, states = HARD
    permutations = [symmetry.random(spec, generator=order(f"random {index}")) for index in range(4)]
    found = matching.joint_objective(spec, states, permutations)
    moved = aligned(spec, states, permutations)
    pairs = list(itertools.combinations(moved, 2))
    # Sums of 1,200 terms of size one in another order.
    assert found == pytest.approx(sum(inner_product(*pair) for pair in pairs), abs=1e-10)
    spread = sum(state.distance(*pair) ** 2 for pair in pairs)
    assert 3 * sum(state.norm(each) ** 2 for each in moved) - 2 * found == pytest.approx(spread, rel=1e-12)
    matrices = [{name: value for name, value in each.items() if value.dim() > 1} for each in moved]
    expected = sum(inner_product(*pair) for pair in itertools.combinations(matrices, 2))
    assert matching.joint_objective(spec, states, permutations, vectors=False) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("start", ["identity", "random"])
def test_no_round_lowers_the_objective(start):
    spec, states = HARD
    first = identities(spec, states)
    if start == "random":
        first = [symmetry.random(spec, generator=order(f"start {index}")) for index in range(4)]
    reached = [
        matching.joint_objective(
            spec, states, matching.merge_many(spec, states, generator=order(), start=first, max_rounds=rounds)
        )
        for rounds in (0, 1, 2, 5)
    ]
    assert reached[0] == matching.joint_objective(spec, states, first)
    assert reached == sorted(reached)
    assert reached[0] < reached[1] < reached[-1]


def test_rounds_end_where_no_network_alone_can_be_improved():
    spec, states = HARD
    found = matching.merge_many(spec, states, generator=order())
    moved = aligned(spec, states, found)
    for index, source in enumerate(states):
        others = state.combine(moved[:index] + moved[index + 1 :], [1.0] * 3)
        again = matching.weight_matching(spec, others, source, generator=order("again"), start=found[index])
        assert equal(again, found[index])


def test_joint_search_is_never_below_rounds_alone_and_here_mostly_above():
    spec, states = HARD
    reached = {
        method: [
            matching.joint_objective(spec, states, method(spec, states, generator=order(str(seed))))
            for seed in range(4)
        ]
        for method in METHODS
    }
    by_rounds, jointly = reached[matching.merge_many], reached[matching.cycle_consistent]
    assert all(a >= b for a, b in zip(jointly, by_rounds, strict=True))
    assert sum(a > b for a, b in zip(jointly, by_rounds, strict=True)) >= 3
    assert max(reached[matching.to_reference]) < min(by_rounds)


@pytest.mark.parametrize("seed", range(2))
def test_frank_wolfe_does_not_see_how_units_are_numbered(seed):
    spec, states = HARD
    renumbered = [
        symmetry.permute(each, symmetry.random(spec, generator=order(f"{seed} {index}")), spec)
        for index, each in enumerate(states)
    ]
    first, second = (
        matching.joint_objective(
            spec, each, matching.cycle_consistent(spec, each, generator=order(str(seed)), max_rounds=0)
        )
        for each in (states, renumbered)
    )
    assert first == pytest.approx(second, rel=1e-12)
    assert first > matching.joint_objective(spec, states, identities(spec, states))


@pytest.mark.parametrize("seed", range(4))
def test_three_networks_of_three_units_reach_the_best_of_all_permutations(seed):
    spec, states = perceptrons((3, 3, 2), 3, f"tiny {seed}")
    # One network may stay: what all have in common is free.
    choices = [{"1": torch.tensor(each)} for each in itertools.permutations(range(3))]
    universes = [[symmetry.identity(spec), *each] for each in itertools.product(choices, repeat=2)]
    best = max(matching.joint_objective(spec, states, each) for each in universes)

    def reached(method, attempt):
        return matching.joint_objective(spec, states, method(spec, states, generator=order(str(attempt))))

    assert all(reached(method, 0) <= best + 1e-12 for method in METHODS)
    # Each of three draws is a local optimum; the best of them is the best of all.
    assert max(reached(matching.cycle_consistent, attempt) for attempt in range(3)) == pytest.approx(best, abs=1e-12)


# -- to a reference ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [0, 2])
def test_each_network_is_matched_to_the_reference_by_weights(reference):
    spec, states = HARD
    found = matching.to_reference(spec, states, generator=order(), reference=reference, restarts=2)
    generator = order()
    for index, source in enumerate(states):
        expected = symmetry.identity(spec)
        if index != reference:
            expected = matching.weight_matching(spec, states[reference], source, generator=generator, restarts=2)
        assert equal(found[index], expected)


# -- cycles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_permutations_to_a_universe_compose(method):
    spec, states = HARD
    between = matching.pairwise(spec, method(spec, states, generator=order()))
    assert between.keys() == set(itertools.permutations(range(4), 2))
    assert matching.cycle_error(spec, between) == 0.0


def test_a_pair_by_way_of_the_universe_brings_the_second_to_the_first():
    spec, (weights,) = perceptrons((4, 8, 8, 3), 1)
    universe, states = planted(spec, weights, 3)
    for (i, j), permutation in matching.pairwise(spec, universe).items():
        assert state.distance(symmetry.permute(states[j], permutation, spec), states[i]) == 0.0


def test_permutations_of_unrelated_pairs_do_not_compose():
    spec, states = HARD
    between = {
        (i, j): matching.weight_matching(spec, states[i], states[j], generator=order())
        for i, j in itertools.permutations(range(4), 2)
    }
    assert matching.cycle_error(spec, between) > 0.3
    # Each pair alone is closer than by way of a universe.
    by_universe = matching.pairwise(spec, matching.merge_many(spec, states, generator=order()))
    reached = [
        sum(matching.objective(spec, states[i], states[j], each[i, j]) for i, j in between)
        for each in (between, by_universe)
    ]
    assert reached[0] > reached[1]


def test_cycle_error_is_the_share_of_units_that_come_out_elsewhere():
    spec, _ = perceptrons((3, 5, 4, 2), 1)
    between = {
        pair: symmetry.random(spec, generator=order(f"pair {pair}")) for pair in itertools.permutations(range(4), 2)
    }
    shares = []
    for i, j, k in itertools.permutations(range(4), 3):
        # Place u of network i gets a unit of j, which came from a unit of k.
        moved = [
            int(between[j, k][group][between[i, j][group][unit]] != between[i, k][group][unit])
            for group, size in spec.sizes.items()
            for unit in range(size)
        ]
        shares.append(sum(moved) / 9)
    assert matching.cycle_error(spec, between) == pytest.approx(sum(shares) / 24, abs=1e-12)


def test_a_pair_given_once_counts_in_both_directions():
    spec, _ = perceptrons((3, 5, 4, 2), 1)
    half = {
        pair: symmetry.random(spec, generator=order(f"pair {pair}")) for pair in itertools.combinations((1, 5, 7), 2)
    }
    whole = half | {(j, i): symmetry.inverse(each, spec) for (i, j), each in half.items()}
    assert matching.cycle_error(spec, half) == matching.cycle_error(spec, whole) > 0.0


def test_cycle_error_by_hand():
    # Two of four units are exchanged on the way round, in whatever order the three networks are visited.
    spec, _ = perceptrons((3, 4, 2), 1)
    still, exchanged = symmetry.identity(spec), {"1": torch.tensor([0, 2, 1, 3])}
    assert matching.cycle_error(spec, {(0, 1): still, (1, 2): still, (0, 2): exchanged}) == 0.5
    assert matching.cycle_error(spec, {(0, 1): still, (1, 2): exchanged, (0, 2): exchanged}) == 0.0


# -- behaviour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_arguments_stay_and_the_same_generator_gives_the_same(method):
    spec, states = HARD
    before = [state.fingerprint(each) for each in states]
    first, again, other = (method(spec, states, generator=order(name), order="random") for name in ("a", "a", "b"))
    assert all(equal(*each) for each in zip(first, again, strict=True))
    assert not all(equal(*each) for each in zip(first, other, strict=True))
    assert [state.fingerprint(each) for each in states] == before


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_single_precision_is_summed_in_double(method):
    spec, states = HARD
    singles = [state.cast(each, torch.float32) for each in states]
    doubles = [state.cast(each, torch.float64) for each in singles]
    found, expected = (method(spec, each, generator=order()) for each in (singles, doubles))
    assert all(equal(*each) for each in zip(found, expected, strict=True))


def test_start_is_left_alone():
    spec, states = HARD
    start = [symmetry.random(spec, generator=order(f"start {index}")) for index in range(4)]
    kept = [{group: each.clone() for group, each in permutation.items()} for permutation in start]
    matching.merge_many(spec, states, generator=order(), start=start)
    assert all(equal(*each) for each in zip(start, kept, strict=True))


def test_where_all_groups_are_nested_rounds_alone_decide():
    model = models.build(ModelSpec("mlp", 16, 2, "group"), SHAPE, 5)
    spec = symmetry.permutation_spec(model, torch.zeros(1, *SHAPE))
    states = [random_like(spec, "nested", index) for index in range(3)]
    found, expected = (
        method(spec, states, generator=order()) for method in (matching.cycle_consistent, matching.merge_many)
    )
    assert all(equal(*each) for each in zip(found, expected, strict=True))


def test_networks_without_weight_stay_as_they_are():
    spec, states = perceptrons((3, 4, 2), 3)
    zeros = [{name: torch.zeros_like(value) for name, value in each.items()} for each in states]
    for method in METHODS:
        assert all(equal(each, symmetry.identity(spec)) for each in method(spec, zeros, generator=order()))


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@pytest.mark.parametrize("count", [0, 1])
def test_one_network_is_not_enough(method, count):
    spec, states = HARD
    with pytest.raises(ValueError, match=f"at least two networks are needed, got {count}"):
        method(spec, states[:count], generator=order())
    with pytest.raises(ValueError, match=f"at least two networks are needed, got {count}"):
        matching.joint_objective(spec, states[:count], identities(spec, states[:count]))


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@pytest.mark.parametrize("where", [0, 2])
def test_networks_of_another_architecture_are_refused(method, where):
    spec, states = perceptrons((3, 4, 2), 3)
    _, (other,) = perceptrons((3, 5, 2), 1)
    with pytest.raises(SymmetryError, match=r"1\.weight has shape \(5, 3\)"):
        method(spec, [*states[:where], other, *states[where + 1 :]], generator=order())


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@pytest.mark.parametrize("where", [0, 2])
def test_weights_that_are_not_finite_are_named(method, where):
    spec, states = perceptrons((3, 4, 2), 3)
    states[where]["3.weight"][1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"3\.weight holds values that are not finite"):
        method(spec, states, generator=order())


@pytest.mark.parametrize("reference", [-1, 4])
def test_reference_is_one_of_the_networks(reference):
    spec, states = HARD
    with pytest.raises(ValueError, match=f"one of the networks 0 to 3, got {reference}"):
        matching.to_reference(spec, states, generator=order(), reference=reference)


def test_start_fits_networks_and_groups():
    spec, states = HARD
    with pytest.raises(ValueError, match="one permutation is needed for each network, got 3 for 4"):
        matching.merge_many(spec, states, generator=order(), start=identities(spec, states[:3]))
    wrong = [*identities(spec, states[:3]), symmetry.identity(spec) | {"3": torch.zeros(8, dtype=torch.long)}]
    with pytest.raises(SymmetryError, match="group 3 needs each of 0 to 7 once"):
        matching.merge_many(spec, states, generator=order(), start=wrong)


def test_cycles_need_three_networks_and_all_pairs():
    spec, _ = HARD
    one = symmetry.identity(spec)
    with pytest.raises(ValueError, match="at least three networks, got 2"):
        matching.cycle_error(spec, {(0, 1): one, (1, 0): one})
    with pytest.raises(ValueError, match="no permutation between the networks 1 and 2"):
        matching.cycle_error(spec, {(0, 1): one, (2, 0): one})
