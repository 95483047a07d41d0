"""Sequences of pruned networks, pairs of them and masks that travel, through the store."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from lmc_lib import (
    claims,
    connectivity,
    experiments,
    matching,
    models,
    norms,
    pruning,
    rng,
    state,
    sweeps,
    symmetry,
    training,
)
from lmc_lib.alignment import MATCHERS as MATCHINGS
from lmc_lib.claims import symmetric
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity import mask_transfer
from lmc_lib.experiments.connectivity.mask_transfer import MASKS, TransferSpec
from lmc_lib.experiments.connectivity.pruned_pairs import FOUND, PrunedPairSpec, ends, estimates, under
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset, groups
from lmc_lib.experiments.networks.pruned import PrunedSpec, obtain_level, obtain_sequence, sequence
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=64, test_examples=40)
TRAIN = TrainConfig(steps=6, batch_size=32, lr=0.1, precision="portable")
DIVERGING = dataclasses.replace(TRAIN, lr=1e200)
SEQUENCE = {"rewind": 2, "share": 0.4, "levels": 3}
SCORED = {"train_examples": 40, "test_examples": 30, "matching_examples": 32, "reset_examples": 32}


@pytest.fixture(scope="module")
def digits():
    """The examples."""
    return dataset(DATA)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store that the tests fill together: no test writes to it what another would not."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("LMC_PLAN", "LMC_PROGRESS", "LMC_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def runs(count=3, *, norm="none", train=TRAIN):
    return experiments.runs.replicas(ModelSpec("mlp", 8, 2, norm), DATA, train, count, save_at=(2,))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def pruned_by_hand(run, digits, levels, *, share=0.4, rewind=2):
    """The oracle: train, prune, rewind, train, written out."""
    model = models.build(run.model, digits.input_shape, digits.num_classes)
    start = models.initialise(model, generator=rng.stream(run.init_seed, "initial weights"))
    whole = training.train(model, start, digits.train, run.train, seed=run.order_seed, save_at=(rewind,))
    states, masks = [whole.final], pruning.full_masks(whole.final)
    for _ in range(levels):
        masks = pruning.magnitude_masks(states[-1], masks, share)
        options = {"seed": run.order_seed, "start_step": rewind, "masks": masks}
        states.append(training.train(model, whole.at(rewind), digits.train, run.train, **options).final)
    return states, masks


class TestSequences:
    @pytest.mark.parametrize("norm", ["none", "batch"])
    def test_levels_are_those_of_a_loop_written_out(self, shared, digits, norm):
        run = runs(norm=norm)[1]
        states, masks = pruned_by_hand(run, digits, 3)
        for _ in range(2):  # computed, then read
            found = obtain_sequence(shared, run, **SEQUENCE)
            assert [level.number for level in found] == [0, 1, 2, 3]
            assert list(map(state.fingerprint, states)) == [state.fingerprint(level.state) for level in found]
            assert same(found[-1].masks, masks)

    def test_removed_weights_are_zero_and_the_others_trained(self, shared):
        for level in obtain_sequence(shared, runs()[0], **SEQUENCE):
            for name, mask in level.masks.items():
                assert not bool(level.state[name][~mask].any())
                assert bool((level.state[name][mask] != 0).all())

    def test_each_level_brings_what_it_needs(self, store):
        last = sequence(runs()[0], **SEQUENCE)[-1]
        sweeps.fill(store, [last], workers=1)
        assert all(store.has(each) for each in (runs()[0], *sequence(runs()[0], **SEQUENCE)))

    def test_a_longer_sequence_trains_only_what_is_new(self, shared, monkeypatch):
        obtain_sequence(shared, runs()[0], **SEQUENCE)
        calls = []
        train = training.train
        monkeypatch.setattr(training, "train", lambda *args, **options: calls.append(1) or train(*args, **options))
        obtain_sequence(shared, runs()[0], **SEQUENCE | {"levels": 4})
        assert len(calls) == 1

    def test_every_field_counts(self):
        spec = PrunedSpec(runs()[0], 2, 0.4, 3)
        others = [
            PrunedSpec(runs()[1], 2, 0.4, 3),
            PrunedSpec(dataclasses.replace(runs()[0], save_at=(1, 2)), 1, 0.4, 3),
            PrunedSpec(runs()[0], 2, 0.3, 3),
            PrunedSpec(runs()[0], 2, 0.4, 2),
        ]
        assert len(set(map(fingerprint, [spec, *others]))) == 5

    def test_addresses_stay(self):
        # As in test_store: what is stored has its address from here.
        a, b = (
            RunSpec(ModelSpec("mlp", 16, 2), DataSpec("digits"), TrainConfig(steps=300, lr=0.05), seed, save_at=(10,))
            for seed in (3, 4)
        )
        assert fingerprint(PrunedSpec(a, 10, 0.2, 3)) == "f7249245ee645193385f"
        assert fingerprint(PrunedPairSpec(a, b, 10, 0.2, 3)) == "3909c5c5468734a634ad"
        assert fingerprint(TransferSpec(a, b, 10, 0.2, 3)) == "e84962bba5f37ad6932b"

    def test_a_rewind_step_without_a_checkpoint_is_refused(self):
        with pytest.raises(ValueError, match=r"go back to step 3.*it keeps \(2,\)"):
            PrunedSpec(runs()[0], 3, 0.4, 1)
        with pytest.raises(ValueError, match="before its end at step 6"):
            PrunedSpec(dataclasses.replace(runs()[0], save_at=(6,)), 6, 0.4, 1)

    @pytest.mark.parametrize(("share", "level"), [(0.0, 1), (1.0, 1), (0.4, 0)])
    def test_a_level_out_of_range_is_refused(self, share, level):
        with pytest.raises(ValueError, match=rf"got share {share}, level {level}"):
            PrunedSpec(runs()[0], 2, share, level)

    def test_a_training_that_diverged_is_kept_and_raised(self, store):
        run = runs(train=DIVERGING)[0]
        for _ in range(2):
            with pytest.raises(Diverged):
                obtain_level(store, PrunedSpec(run, 2, 0.4, 2))
        assert "diverged" in store.get(PrunedSpec(run, 2, 0.4, 2)).values

    def test_a_layer_without_weights_stops_the_sequence_with_advice(self, store):
        run = dataclasses.replace(runs()[0], model=ModelSpec("mlp", 1, 2))
        with pytest.raises(pruning.EmptyLayer, match=r"at level \d would keep no weight|at level \d .* fewer levels"):
            obtain_sequence(store, run, rewind=2, share=0.9, levels=6)


class TestPairs:
    OPTIONS = SEQUENCE | SCORED | {"points": 3}

    @pytest.fixture
    def found(self, shared):
        return experiments.measure(shared, PrunedPairSpec.of_pairs(runs(), **self.OPTIONS))

    @pytest.mark.parametrize("norm", ["none", "batch"])
    def test_barriers_are_those_of_lines_written_out(self, shared, digits, norm):
        a, b = runs(2, norm=norm)
        target, source = ([level.state for level in obtain_sequence(shared, run, **SEQUENCE)] for run in (a, b))
        (values,) = experiments.measure(shared, PrunedPairSpec.of_pairs([a, b], **self.OPTIONS)).values.values()
        model = models.build(a.model, digits.input_shape, digits.num_classes).double()
        inputs = digits.train.inputs.double()
        spec = symmetry.permutation_spec(model, inputs[:1])
        reset = inputs[:32] if norms.has_statistics(model) else None

        def by_hand(level, found):
            permutation = matching.activation_matching(
                spec, target[found], source[found], inputs[:32], generator=rng.stream(0, "any")
            )
            moved = symmetry.permute(source[level], permutation, spec)
            splits = {"test": digits.test[:30]}
            return connectivity.curves(model, target[level], moved, splits, points=3, reset_inputs=reset)["test"]

        for level in range(4):
            for name, home in zip(FOUND, (0, level, 3), strict=True):
                line = by_hand(level, home)
                barriers = values["barriers"][f"activations, {name}"]
                # Matched units are found by sums of float64 products; values keep nine digits.
                assert barriers["test loss"][level] == pytest.approx(line.barrier("loss"), rel=1e-7, abs=1e-8)
                assert barriers["test error"][level] == pytest.approx(line.barrier("error"), rel=1e-7)
            ends = values["ends"]["test loss"][level]
            assert ends == pytest.approx([float(line.loss[0]), float(line.loss[-1])], rel=1e-7)

    def test_densities_fall_by_the_share(self, found):
        assert found.shared("densities") == pytest.approx([1, 0.6, 0.36, 0.216], abs=0.002)

    def test_permutations_coincide_where_their_levels_do(self, found):
        for line, split, quantity in itertools.product(MATCHINGS, ("train", "test"), ("loss", "error")):
            dense, each, last = (found.of("barriers", f"{line}, {name}", f"{split} {quantity}") for name in FOUND)
            np.testing.assert_array_equal(dense[:, 0], each[:, 0])
            np.testing.assert_array_equal(last[:, -1], each[:, -1])

    def test_the_better_matching_is_chosen_by_train_loss_where_it_was_found(self, found):
        for name, home in {"dense": [0] * 4, "rematched": [0, 1, 2, 3], "sparsest": [3] * 4}.items():
            for pair, level in itertools.product(range(3), range(4)):
                at_home = [found.of("barriers", f"{m}, {name}", "train loss")[pair, home[level]] for m in MATCHINGS]
                chosen = MATCHINGS[0] if at_home[0] <= at_home[1] else MATCHINGS[1]
                expected = found.of("barriers", f"{chosen}, {name}", "test error")[pair, level]
                assert under(found, name, "test", "error")[pair, level] == expected

    def test_a_sequence_and_itself_have_no_barrier_at_any_level(self, shared):
        run = runs()[0]
        values = sweeps.obtain(shared, PrunedPairSpec(run, run, **self.OPTIONS)).values
        for line in ("none", *(f"{m}, {name}" for m in MATCHINGS for name in FOUND)):
            # Dead and fully pruned units have no partner that is better than another.
            assert max(values["barriers"][line]["train loss"]) < 1e-9
        assert values["barriers"]["renumbered"]["train loss"][0] < 1e-9
        assert min(values["barriers"]["renumbered"]["train loss"][1:]) > 1e-3

    def test_a_permuted_sequence_is_brought_back_by_the_dense_permutation(self, digits):
        # The claim, in the case in which it holds exactly; the control, in which it fails by construction.
        # Normalised units are never silent on all examples, so each is told apart from all others.
        a = runs(norm="batch")[0]
        states, _ = pruned_by_hand(a, digits, 3)
        model = models.build(a.model, digits.input_shape, digits.num_classes).double()
        spec = symmetry.permutation_spec(model, digits.train.inputs[:1].double())
        hidden = symmetry.random(spec, generator=rng.stream(0, "hidden"))
        moved = [symmetry.permute(each, hidden, spec) for each in states]
        measured = PrunedPairSpec(a, a, **self.OPTIONS)
        levels = (
            [pruning.Level(number, pruning.full_masks(each), each) for number, each in enumerate(of)]
            for of in (states, moved)
        )
        values = measured.measure(measured.setting(), *levels)
        assert max(values["barriers"]["activations, dense"]["train loss"]) < 1e-9
        assert max(values["barriers"]["activations, rematched"]["train loss"]) < 1e-9
        # Barely trained networks need not have a barrier at every level.
        assert max(values["barriers"]["none"]["train loss"]) > 1e-2
        assert max(values["barriers"]["renumbered"]["train loss"]) > 1e-2

    def test_agreement_is_of_permutations_with_the_dense_one(self, found):
        for each in MATCHINGS:
            agreement = found.of("agreement", each)
            assert agreement.shape == (3, 4)
            assert (agreement[:, 0] == 1).all()
            assert ((agreement >= 0) & (agreement <= 1)).all()

    def test_ends_are_two_rows_a_pair(self, found):
        assert ends(found, "test", "error").shape == (6, 4)
        first, second = (np.array(each["ends"]["test error"]) for each in list(found.values.values())[:2])
        # The pairs (0, 1) and (0, 2) share the target.
        np.testing.assert_array_equal(first[:, 0], second[:, 0])

    def test_estimates_are_of_each_level(self, found):
        barriers = under(found, "dense", "test", "error")
        of_levels = estimates(found, barriers)
        assert [each.value for each in of_levels] == pytest.approx(np.median(barriers, axis=0))

    def test_pairs_that_diverged_are_left_out(self, store):
        mixed = [*runs(), dataclasses.replace(runs(train=DIVERGING)[0], init_seed=9)]
        found = experiments.measure(store, PrunedPairSpec.of_pairs(mixed, **self.OPTIONS))
        assert (found.count, found.diverged, len(found.values)) == (4, (3,), 3)
        with pytest.raises(Diverged):
            experiments.measure(store, PrunedPairSpec.of_pairs(runs(train=DIVERGING), **self.OPTIONS))

    def test_a_sequence_has_levels(self):
        with pytest.raises(ValueError, match="at least one level of pruning, got 0"):
            PrunedPairSpec.of_pairs(runs(), **SEQUENCE | {"levels": 0})


def made(dense, renumbered, none=0.5):
    """Measurements whose barriers are given for each pair and level."""
    values = {}
    for row, pair in enumerate(itertools.combinations(range(4), 2)):
        lines = {f"{m}, {name}": dense[row] for m in MATCHINGS for name in FOUND}
        lines |= {"none": np.broadcast_to(none, 3), "renumbered": renumbered[row]}
        quantities = ("train loss", "test error")
        values[pair] = {"barriers": {line: {key: list(each) for key in quantities} for line, each in lines.items()}}
    return Found(4, values)


class TestEvidence:
    CLAIM = claims.load("simultaneous-pruning")

    def judged(self, found, **options):
        evidence = experiments.pruned_pairs.evidence(found, **options)
        return claims.judge(self.CLAIM, "made", evidence).verdict

    def test_a_permutation_that_serves_all_levels_is_supported_and_the_control_is_not(self):
        found = made(np.full((6, 3), 0.03), np.array([[0.03, 0.5, 0.5]] * 6))
        assert self.judged(found) == "supported"
        assert self.judged(found, renumbered=True) == "not supported"

    def test_one_bad_level_is_enough_to_fail(self):
        found = made(np.array([[0.03, 0.03, 0.3]] * 6), np.full((6, 3), 0.5))
        assert self.judged(found) == "not supported"

    def test_without_a_barrier_at_one_level_nothing_is_observable(self):
        assert self.judged(made(np.full((6, 3), 0.03), np.full((6, 3), 0.5), none=0.1)).startswith("not observable")

    def test_evidence_is_of_the_worst_and_the_lowest_level(self):
        barriers = np.linspace(0.01, 0.18, 18).reshape(6, 3)
        renumbered = barriers[:, ::-1] ** 2 + 0.1
        found = made(barriers, renumbered, none=(0.5, 0.3, 0.7))
        evidence, control = (experiments.pruned_pairs.evidence(found, renumbered=each) for each in (False, True))
        assert evidence.keys() == control.keys() == {"raw", "aligned"}
        assert evidence["aligned"].value == pytest.approx(np.median(barriers.max(1)))
        assert control["aligned"].value == pytest.approx(np.median(renumbered.max(1)))
        assert evidence["raw"].value == control["raw"].value == 0.3

    def test_a_matrix_is_symmetric_and_empty_elsewhere(self):
        matrix = symmetric(3, [(0, 1), (1, 2)], np.array([1.0, 2.0]))
        expected = [[np.nan, 1, np.nan], [1, np.nan, 2], [np.nan, 2, np.nan]]
        np.testing.assert_array_equal(matrix, expected)


class TestTransfer:
    OPTIONS = {"rewind": 2, "share": 0.4, "level": 2} | SCORED

    @pytest.mark.parametrize("norm", ["none", "batch"])
    def test_networks_are_trained_under_the_masks_written_out(self, shared, digits, norm):
        a, b = runs(2, norm=norm)
        (values,) = experiments.measure(shared, TransferSpec.of_pairs([a, b], **self.OPTIONS)).values.values()
        model = models.build(a.model, digits.input_shape, digits.num_classes).double()
        inputs = digits.train.inputs.double()
        spec = symmetry.permutation_spec(model, inputs[:1])
        (first, _), (second, own) = (pruned_by_hand(run, digits, 2) for run in (a, b))
        given = pruned_by_hand(a, digits, 2)[1]
        found = matching.activation_matching(spec, first[0], second[0], inputs[:32], generator=rng.stream(0, "any"))
        back = symmetry.inverse(found, spec)
        masks = {"own": own, "permuted": symmetry.permute(given, back, spec, partial=True), "unpermuted": given}
        rewound = experiments.runs.obtain_run(shared, b).at(2)
        for name, each in masks.items():
            trained = training.train(
                model, rewound, digits.train, b.train, seed=b.order_seed, start_step=2, masks=each
            ).final
            if norms.has_statistics(model):
                trained = norms.reset(model, trained, inputs[:32])
            expected = connectivity.evaluate(model, trained, digits.test[:30])
            assert values["scores"][name]["test"]["loss"] == pytest.approx(expected.loss, rel=1e-7)
            assert values["scores"][name]["test"]["error"] == pytest.approx(expected.error, rel=1e-7)
            assert values["overlap"][name] == pytest.approx(pruning.overlap(each, own), rel=1e-7)

    def test_a_mask_that_travels_home_is_the_own_one(self, shared):
        run = runs()[0]
        values = sweeps.obtain(shared, TransferSpec(run, run, **self.OPTIONS)).values
        assert values["scores"]["unpermuted"] == values["scores"]["own"]
        assert values["overlap"]["unpermuted"] == 1.0
        assert values["overlap"]["random"] < 0.9

    def test_between_permuted_copies_the_permuted_mask_is_the_own_one(self, shared, monkeypatch):
        # The direction of the transport, in the case in which the answer is known.
        a, b = runs(2, norm="batch")
        spec = groups(a.model, a.data, torch.float64)
        hidden = symmetry.random(spec, generator=rng.stream(0, "hidden"))
        dense, level = experiments.runs.obtain_run(shared, a), obtain_level(shared, PrunedSpec(a, 2, 0.4, 2))
        moved = training.Trajectory(dense.steps, tuple(symmetry.permute(each, hidden, spec) for each in dense.states))
        masks = symmetry.permute(level.masks, hidden, spec, partial=True)
        copy = pruning.Level(2, masks, symmetry.permute(level.state, hidden, spec))
        monkeypatch.setattr(mask_transfer, "obtain_run", lambda _, run: dense if run == a else moved)
        monkeypatch.setattr(mask_transfer, "obtain_level", lambda _, found: level if found.run == a else copy)
        overlap = TransferSpec(a, b, **self.OPTIONS).compute(shared).values["overlap"]
        assert overlap["permuted"] == 1.0
        assert max(overlap["unpermuted"], overlap["random"]) < 0.9

    def test_all_masks_are_scored_for_every_pair(self, shared):
        found = experiments.measure(shared, TransferSpec.of_pairs(runs(), **self.OPTIONS))
        assert found.shared("density") == pytest.approx(0.36, abs=0.002)
        for mask in MASKS:
            assert found.of("scores", mask, "test", "error").shape == found.of("overlap", mask).shape == (3,)
        assert (found.of("overlap", "own") == 1).all()

    def test_a_training_that_diverged_is_left_out(self, store):
        mixed = [dataclasses.replace(runs(train=DIVERGING)[0], init_seed=9), *runs(2)]
        for order, diverged in ((mixed, (0,)), (mixed[::-1], (2,))):
            found = experiments.measure(store, TransferSpec.of_pairs(order, **self.OPTIONS))
            assert (found.diverged, len(found.values)) == (diverged, 1)
        with pytest.raises(Diverged):
            experiments.measure(store, TransferSpec.of_pairs(runs(2, train=DIVERGING), **self.OPTIONS))

    def test_needs_come_before(self, store):
        spec = TransferSpec(*runs(2), **self.OPTIONS)
        sweeps.fill(store, [spec], workers=1)
        assert len(spec.needs) == 4
        assert all(store.has(need) for need in spec.needs)
