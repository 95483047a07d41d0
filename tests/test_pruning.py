"""Masks and levels: equal to torch's own pruning, exact in density, nested, and moved by permutations like weights."""

import functools
import itertools
import math
import pickle

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.nn.utils import prune

from lmc_lib import models, pruning, rng, symmetry
from lmc_lib import state as state_module
from lmc_lib.pruning import EmptyLayer, Level, dense, density, full_masks, iterative_pruning, magnitude_masks
from lmc_lib.symmetry import SymmetryError

SHARES = st.floats(0.05, 0.6)
ARCHITECTURES = ["mlp-2", "mlp-2-batch", "resnet-8-batch", "vgg-11-layer"]


def network(name="mlp-2", width=8):
    shape = (1, 8, 8) if name.startswith("mlp") else (1, 32, 32)
    return models.build(models.parse(name, width), shape, 4), torch.zeros(1, *shape)


@functools.lru_cache
def groups(name="mlp-2", width=8):
    """The permutation groups of a network, traced once."""
    model, inputs = network(name, width)
    return symmetry.permutation_spec(model.double(), inputs.double())


def draw(*path, name="mlp-2", width=8):
    """Weights of a network, each of its own size, so that no two are equal."""
    model, _ = network(name, width)
    generator = rng.stream(0, "pruning", *path)
    return {
        key: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if value.is_floating_point()
        else value.clone()
        for key, value in model.state_dict().items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def scaled(state, factor=0.5):
    return {name: value * factor for name, value in state.items()}


class TestMasks:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_only_weights_with_more_than_one_dimension_are_pruned(self, name):
        weights = draw(name=name, width=4)
        layers = {key for key, value in weights.items() if value.dim() > 1}
        assert full_masks(weights).keys() == layers
        assert magnitude_masks(weights, full_masks(weights), 0.3).keys() == layers
        assert not [key for key in layers if key.endswith(("bias", "running_mean", "running_var"))]

    def test_a_table_of_integers_is_not_pruned(self):
        # Networks with windows keep one among their buffers.
        assert full_masks({"weight": torch.ones(2, 2), "index": torch.ones(2, 2, dtype=torch.int64)}).keys() == {
            "weight"
        }

    @pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_levels_equal_those_of_torch(self, name, share):
        model, _ = network(name, 4)
        masks = full_masks(draw(name=name, width=4))
        modules = {f"{path}.weight": each for path, each in model.named_modules() if hasattr(each, "weight")}
        pruned = [(modules[key], "weight") for key in masks]
        for level in range(3):
            weights = draw(level, name=name, width=4)
            masks = magnitude_masks(weights, masks, share)
            scores = {(modules[key], "weight"): weights[key] for key in masks}
            prune.global_unstructured(pruned, prune.L1Unstructured, importance_scores=scores, amount=share)
            assert all(torch.equal(mask, modules[key].weight_mask.bool()) for key, mask in masks.items())

    @given(share=SHARES, seed=st.integers(0, 100))
    def test_so_many_weights_go_and_no_more(self, share, seed):
        weights = draw(seed)
        masks, total = full_masks(weights), sum(mask.numel() for mask in full_masks(weights).values())
        left = total
        for level in range(3):
            left -= round(share * left)
            masks = magnitude_masks(draw(seed, level), masks, share)
            assert density(masks) == left / total

    @given(share=SHARES, seed=st.integers(0, 100))
    def test_removed_weights_stay_removed_and_smaller_ones_go(self, share, seed):
        first = magnitude_masks(draw(seed), full_masks(draw(seed)), share)
        weights = draw(seed, "later")
        second = magnitude_masks(weights, first, share)
        assert all(not bool((second[name] & ~first[name]).any()) for name in first)
        kept = torch.cat([weights[name][second[name]].abs() for name in first])
        gone = torch.cat([weights[name][first[name] & ~second[name]].abs() for name in first])
        assert gone.max() < kept.min()

    @pytest.mark.parametrize("name", ARCHITECTURES)
    @given(share=SHARES, seed=st.integers(0, 100))
    def test_permuting_and_pruning_commute(self, name, share, seed):
        spec = groups(name, 4)
        permutation = symmetry.random(spec, generator=rng.stream(seed, "permutation"))
        weights = draw(seed, name=name, width=4)
        moved = symmetry.permute(weights, permutation, spec)
        expected = magnitude_masks(moved, full_masks(moved), share)
        masks = magnitude_masks(weights, full_masks(weights), share)
        found = symmetry.permute(masks, permutation, spec, partial=True)
        assert same(found, expected)
        # A mask moves like the weights under it.
        pruned = symmetry.permute(state_module.masked(weights, masks), permutation, spec)
        assert same(pruned, state_module.masked(moved, found))
        # And it comes back: transported there and home again.
        assert same(symmetry.permute(found, symmetry.inverse(permutation, spec), spec, partial=True), masks)

    def test_of_equal_weights_the_first_ones_go(self):
        weights = {"a": torch.tensor([[1.0, -1.0], [1.0, 1.0]]), "b": torch.tensor([[-1.0, 1.0, 1.0, 1.0]])}
        masks = magnitude_masks(weights, full_masks(weights), 0.375)
        assert [masks[name].flatten().int().tolist() for name in weights] == [[0, 0, 0, 1], [1, 1, 1, 1]]

    def test_the_order_of_the_layers_in_a_dictionary_makes_no_difference(self):
        # What is read from the store has another order than what was computed.
        weights = {"a": torch.ones(2, 2), "b": torch.ones(3, 2), "c": torch.ones(2, 2)}
        back = dict(reversed(weights.items()))
        masks = magnitude_masks(weights, full_masks(weights), 0.2)
        assert same(masks, magnitude_masks(back, full_masks(back), 0.2))
        first, second = (
            pruning.shuffled(each, generator=rng.stream(0, "mask")) for each in (masks, dict(reversed(masks.items())))
        )
        assert same(first, second)

    def test_a_weight_that_became_zero_is_not_one_that_was_removed(self):
        weights = {"a": torch.tensor([[0.0, 3.0, 2.0, 1.0]])}
        masks = {"a": torch.tensor([[True, True, False, True]])}
        assert magnitude_masks(weights, masks, 0.34)["a"].tolist() == [[False, True, False, True]]

    def test_nothing_given_is_changed(self):
        weights, masks = draw(), full_masks(draw())
        magnitude_masks(weights, masks, 0.5)
        assert same(weights, draw())
        assert same(masks, full_masks(draw()))

    @given(share=SHARES, seed=st.integers(0, 100))
    def test_shuffled_masks_are_as_sparse_in_each_layer_and_elsewhere(self, share, seed):
        masks = magnitude_masks(draw(seed), full_masks(draw(seed)), share)
        drawn = pruning.shuffled(masks, generator=rng.stream(seed, "mask"))
        assert {name: int(mask.sum()) for name, mask in masks.items()} == {
            name: int(mask.sum()) for name, mask in drawn.items()
        }
        assert {name: mask.shape for name, mask in masks.items()} == {name: mask.shape for name, mask in drawn.items()}
        assert not same(masks, drawn)

    def test_shuffled_masks_overlap_as_chance_has_it(self):
        masks = magnitude_masks(draw(width=64), full_masks(draw(width=64)), 0.5)
        layers = [int(mask.sum()) ** 2 / mask.numel() for mask in masks.values()]
        expected = sum(layers) / sum(int(mask.sum()) for mask in masks.values())
        drawn = pruning.shuffled(masks, generator=rng.stream(0, "mask"))
        # About 4,000 weights are left, so chance moves the share by about 0.01.
        assert pruning.overlap(masks, drawn) == pytest.approx(expected, abs=0.04)

    def test_overlap_counts_what_both_leave(self):
        a, b = {"w": torch.tensor([[True, True, False, False]])}, {"w": torch.tensor([[True, False, True, True]])}
        assert (pruning.overlap(a, b), pruning.overlap(b, a)) == (0.5, 1 / 3)
        assert pruning.overlap(a, a) == 1.0


class TestErrors:
    @pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, math.nan])
    def test_a_share_outside_0_and_1_is_refused(self, share):
        with pytest.raises(ValueError, match=f"between 0 and 1, not {share}"):
            magnitude_masks(draw(), full_masks(draw()), share)

    def test_an_emptied_layer_is_named_with_its_level_and_what_to_do(self):
        weights = {"first": torch.full((2, 2), 0.1), "second": torch.ones(4, 4)}
        levels = iterative_pruning(dense(weights), weights, lambda state, masks: state, share=0.15)
        assert density(next(levels).masks) == 0.85  # three of the first layer's four are gone
        with pytest.raises(EmptyLayer, match=r"at level 2 first would keep no weight.*fewer levels.*wider") as raised:
            next(levels)
        assert (raised.value.layer, raised.value.level) == ("first", 2)

    def test_an_emptied_layer_travels_between_processes(self):
        error = pickle.loads(pickle.dumps(EmptyLayer("first", 0.01, 7)))
        assert (error.layer, error.density, error.level) == ("first", 0.01, 7)
        assert "at level 7 first" in str(error)

    def test_weights_that_are_not_finite_are_refused(self):
        weights = {"weight": torch.tensor([[1.0, math.nan]])}
        with pytest.raises(ValueError, match="not finite"):
            magnitude_masks(weights, full_masks(weights), 0.5)

    def test_masks_of_another_architecture_are_refused(self):
        masks = full_masks(draw())
        with pytest.raises(ValueError, match=r"holds torch\.bool of shape \(8, 64\).*shape \(16, 64\)"):
            magnitude_masks(draw(width=16), masks, 0.5)
        with pytest.raises(ValueError, match=r"a mask for other, which is not in the state"):
            magnitude_masks(draw(), masks | {"other": torch.ones(2, 2, dtype=torch.bool)}, 0.5)

    def test_masks_that_do_not_fit_a_permutation_are_refused(self):
        spec = groups()
        permutation = symmetry.identity(spec)
        for masks in (full_masks(draw(width=16)), full_masks(draw()) | {"other": torch.ones(2, 2, dtype=torch.bool)}):
            with pytest.raises(SymmetryError):
                symmetry.permute(masks, permutation, spec, partial=True)


class TestIterativePruning:
    def test_every_level_goes_back_and_is_pruned_by_what_was_trained(self):
        calls = []

        def train(state, masks):
            calls.append((state, masks))
            return state_module.masked(draw("trained", len(calls)), masks)

        start, rewound = draw("dense"), draw("rewound")
        levels = list(itertools.islice(iterative_pruning(dense(start), rewound, train, share=0.25), 4))
        assert [level.number for level in levels] == [1, 2, 3, 4]
        before = dense(start)
        for level, (state, masks) in zip(levels, calls, strict=True):
            assert same(masks, magnitude_masks(before.state, before.masks, 0.25))
            assert same(state, state_module.masked(rewound, masks))
            assert same(level.masks, masks)
            before = level
        assert same(levels[-1].state, state_module.masked(draw("trained", 4), levels[-1].masks))

    def test_a_sequence_goes_on_where_it_was(self):
        def train(state, masks):
            return scaled(state, 1.5)

        start, rewound = draw("dense"), draw("rewound")
        whole = list(itertools.islice(iterative_pruning(dense(start), rewound, train, share=0.2), 4))
        rest = list(itertools.islice(iterative_pruning(whole[1], rewound, train, share=0.2), 2))
        assert [level.number for level in rest] == [3, 4]
        assert all(same(a.masks, b.masks) and same(a.state, b.state) for a, b in zip(whole[2:], rest, strict=True))

    def test_the_dense_level_has_all_its_weights(self):
        level = dense(draw())
        assert isinstance(level, Level)
        assert (level.number, density(level.masks)) == (0, 1.0)

    def test_sequences_of_permuted_networks_are_permuted_sequences(self):
        # The heart of simultaneous connectivity, in the case in which it holds exactly.
        spec = groups()
        permutation = symmetry.random(spec, generator=rng.stream(0, "permutation"))

        def train(state, masks):
            return state_module.masked({name: value.sin() for name, value in state.items()}, masks)

        def levels_of(*states):
            return list(itertools.islice(iterative_pruning(dense(states[0]), states[1], train, share=0.3), 4))

        states = draw("dense"), draw("rewound")
        moved = [symmetry.permute(each, permutation, spec) for each in states]
        for plain, permuted in zip(levels_of(*states), levels_of(*moved), strict=True):
            assert same(symmetry.permute(plain.masks, permutation, spec, partial=True), permuted.masks)
            assert same(symmetry.permute(plain.state, permutation, spec), permuted.state)
