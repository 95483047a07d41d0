"""Lesioned networks: scores against networks cut by hand, statistics of planted numbers, paths at start and end."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lmc_lib import claims, norms, rng, state, surgery
from lmc_lib.data import DataSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks import lesions
from lmc_lib.experiments.networks.lesion_laws import Lesions, growth, lengths, rises
from lmc_lib.experiments.networks.lesions import specs
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start, obtain_run
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=40)
TRAIN = TrainConfig(steps=9, batch_size=32, lr=0.05, precision="portable")
STACK = RunSpec(ModelSpec("residual_mlp", 6, 4, "layer"), DATA, TRAIN, 3, 3)
ALONE = RunSpec(
    ModelSpec("resnet", 4, 14, "batch"), DATA, dataclasses.replace(TRAIN, steps=4, precision="float32"), 5, 5
)
OPTIONS = {"orders": 2, "paths": 3, "examples": 40, "path_examples": 8, "swaps": (1, 3)}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def holding(run, weights, dtype):
    network = architecture(run).to(dtype).eval()
    network.load_state_dict(state.cast(weights, dtype))
    return network


class TestSpec:
    @pytest.mark.parametrize("family", ["residual_mlp", "plain_mlp"])
    def test_scores_are_those_of_networks_cut_by_hand(self, store, family):
        """The same blocks in a sequence that lacks one, or all."""
        run = dataclasses.replace(STACK, model=dataclasses.replace(STACK.model, family=family))
        (spec,) = specs(run, 2, stacked=True, **{**OPTIONS, "paths": 0})
        found, test = Lesions.read(store, [spec]), dataset(DATA).test[:40]
        for place in range(2):
            own = dataclasses.replace(run, init_seed=3 + place, order_seed=3 + place)
            layers = list(holding(own, obtain_run(store, own).final, torch.float64))
            for gone, row in [
                ([], found.of("whole", "test loss")[place]),
                ([1], found.of("one", "test loss")[place, 1]),
                (range(4), found.of("many", "test loss")[place, 1, 4]),
            ]:
                cut = nn.Sequential(*(layer for at, layer in enumerate(layers) if at - 2 not in gone))
                expected = nn.functional.cross_entropy(cut(test.inputs.double()), test.labels)
                assert row == pytest.approx(expected.item(), rel=1e-4)
        assert found.of("many", "train error").shape == (2, 2, 5)
        assert found.of("many", "train error")[:, 0, 0] == pytest.approx(found.of("whole", "train error"))
        assert found.shared("chance") == pytest.approx(0.9)
        assert found.places == [0, 1, 2, 3]

    def test_shuffles_have_the_disorder_of_kendall(self):
        generator = np.random.default_rng(0)
        for swaps in (1, 2, 9):
            order = lesions._shuffled([list(range(7))], 7, swaps, generator)
            assert sorted(order) == list(range(7))
            tau = stats.kendalltau(order, range(7)).statistic
            assert lesions._disorder(order, [list(range(7))]) == pytest.approx((1 - tau) / 2)
        assert lesions._disorder([0, 2, 1, 3, 5, 4], [[1, 2], [4, 5], [0, 3]]) == pytest.approx(2 / 3)

    def test_blocks_change_places_within_their_group(self):
        groups = [[0, 2, 3], [5, 6]]
        drawn = [lesions._shuffled(groups, 8, 5 + seed % 2, np.random.default_rng(seed)) for seed in range(80)]
        for order in drawn:
            assert [order[place] for place in (1, 4, 7)] == [1, 4, 7]
            assert {order[place] for place in groups[0]} == set(groups[0])
        assert len(set(map(tuple, drawn))) == 12  # all of 3! times 2!

    def test_one_swap_is_one_swap(self, store):
        (spec,) = specs(STACK, 2, stacked=True, **OPTIONS)
        disorder = Lesions.read(store, [spec]).of("disorder")
        assert disorder.shape == (2, 2, 2)
        assert set((disorder[:, 0] * 6).round(4).ravel()) <= {1.0, 3.0, 5.0}

    def test_networks_that_keep_statistics_are_trained_alone(self, store):
        wanted = specs(ALONE, 2, stacked=False, **OPTIONS)
        assert [each.run.init_seed for each in wanted] == [each.run.order_seed for each in wanted] == [5, 6]
        found = Lesions.read(store, wanted)
        final = obtain_run(store, ALONE).final
        network, test = holding(ALONE, final, torch.float32), dataset(DATA).test[:40]
        error = (network(test.inputs).argmax(1) != test.labels).double().mean()
        assert found.of("whole", "test error")[0] == pytest.approx(float(error))
        assert found.places == [0, 1, 3, 5]
        assert np.isfinite(found.of("one", "test error")).all()
        assert found.of("many", "test error").shape == (2, 2, 5)
        # At the start, with statistics of its own activations.
        model = architecture(ALONE)
        start = state.cast(drawn_start(ALONE, model), torch.float32)
        start = norms.reset(model, start, dataset(DATA).train.inputs)
        seen = dataset(DATA).train[:8]
        shares = surgery.path_shares(
            surgery.chain_of(holding(ALONE, start, torch.float32)),
            seen.inputs,
            lambda z: nn.functional.cross_entropy(z, seen.labels, reduction="sum"),
            paths=3,
            generator=rng.stream(5, "lesions", "paths"),
        )
        assert found.of("start", "paths")[0] == pytest.approx(shares.numpy(), rel=1e-4)

    def test_a_plain_block_that_changes_the_shape_cannot_be_left_out(self, store):
        run = dataclasses.replace(ALONE, model=dataclasses.replace(ALONE.model, family="plain"))
        one = Lesions.read(store, specs(run, 1, stacked=False, **{**OPTIONS, "paths": 0})).of("one", "test loss")
        assert np.isnan(one[0]).tolist() == [False, False, True, False, True, False]

    def test_shares_and_parts_are_of_the_whole(self, store):
        found = Lesions.read(store, specs(STACK, 2, stacked=True, **{**OPTIONS, "orders": 0}))
        for when, by in itertools.product(("start", "end"), ("paths", "sums")):
            assert found.of(when, by).shape == (2, 5)
            assert found.of(when, by).sum(1) == pytest.approx(1.0, abs=1e-4)
        assert np.abs(found.of("start", "paths") - found.of("end", "paths")).max() > 1e-3

    def test_without_an_update_the_end_is_the_start(self, store):
        run = dataclasses.replace(STACK, train=dataclasses.replace(TRAIN, steps=0))
        found = Lesions.read(store, specs(run, 2, stacked=True, **{**OPTIONS, "orders": 0}))
        assert (found.of("start", "paths") == found.of("end", "paths")).all()

    @pytest.mark.parametrize("stacked", [True, False])
    def test_one_that_diverges_has_no_numbers(self, store, stacked, monkeypatch):
        run, together, alone = (STACK if stacked else ALONE), lesions.train_stacked, lesions.train_run

        def one_is_lost(runs):
            starts, (first, second) = together(runs)
            return starts, [{name: torch.full_like(each, torch.nan) for name, each in first.items()}, second]

        def lost(own, where):
            if own.init_seed == 5:
                raise Diverged(3, float("inf"))
            return alone(own, where)

        monkeypatch.setattr(lesions, "train_stacked", one_is_lost)
        monkeypatch.setattr(lesions, "train_run", lost)
        found = Lesions.read(store, specs(run, 2, stacked=stacked, **OPTIONS))
        assert np.isnan(found.of("whole", "test error")).tolist() == [True, False]
        assert np.isnan(found.of("many", "test loss")).all((1, 2)).tolist() == [True, False]
        assert np.isnan(found.length()).tolist() == [True, False]
        assert np.isfinite(found.length("start")).all()

    def test_statistics_of_batches_are_refused_in_a_stack(self, store):
        (spec,) = specs(ALONE, 2, stacked=True)
        with pytest.raises(ValueError, match="statistics"):
            obtain(store, spec)


def planted(one, many, shuffled, disorder, *, whole=0.1, lengths=(0.25, 0.5, 0.25)):
    """A network of so many blocks with such test errors."""
    return {
        "places": [list(range(len(one)))], "chance": 0.9, "whole": {"test error": whole},
        "one": {"test error": one}, "many": {"test error": many}, "shuffled": {"test error": shuffled},
        "disorder": disorder, "start": {"paths": [0.0, 0.0, 1.0]}, "end": {"paths": list(lengths)},
    }  # fmt: skip


class TestLaws:
    SMOOTH = planted([0.1, 0.2], [[0.1, 0.4, 0.5], [0.1, 0.2, 0.5]], [[0.2, 0.3], [0.5, 0.4]], [[0.1, 0.2], [0.5, 0.4]])
    STEP = planted([0.8, 0.9], [[0.1, 0.9, 0.8], [0.1, 0.8, 0.8]], [[0.9, 0.8], [0.8, 0.9]], [[0.1, 0.2], [0.5, 0.4]])

    @staticmethod
    def of(*rows):
        return Lesions(len(rows), {(place,): row for place, row in enumerate(rows)})

    def test_rises_are_shares_of_the_room(self):
        found = self.of(self.SMOOTH, planted([0.5, 0.7], [[0]], [[0]], [[0]], whole=0.5))
        assert found.rise("one", "test error") == pytest.approx(np.array([[0.0, 0.125], [0.0, 0.5]]))
        assert found.damage() == pytest.approx([0.0625, 0.25])

    def test_steps_are_taken_by_order(self):
        assert self.of(self.SMOOTH).steps() == pytest.approx(np.array([[0.75, 0.75]]))
        assert self.of(self.STEP).steps() == pytest.approx(np.array([[8 / 7, 1.0]]))

    def test_shuffles_are_graded_or_not(self):
        assert self.of(self.SMOOTH).graded() == pytest.approx([1.0])
        assert self.of(self.STEP).graded() == pytest.approx(
            [stats.spearmanr([0.9, 0.8, 0.8, 0.9], [1, 2, 5, 4]).statistic]
        )
        assert self.of(self.SMOOTH).first_swap() == pytest.approx([0.15 / 0.35])

    def test_lengths_are_means(self):
        found = self.of(self.SMOOTH)
        assert found.length() == pytest.approx([1.0])
        assert found.share() == pytest.approx([0.5])
        assert found.share("start") == pytest.approx([1.0])

    @pytest.mark.parametrize("power", [0.5, 1.0])
    def test_growth_is_a_power(self, power):
        by_blocks = {}
        for count in (4, 8, 20):
            shares = np.zeros(count + 1)
            mean = 1.3 * count**power / 2
            low = int(mean)
            shares[low : low + 2] = 1 - (mean - low), mean - low
            by_blocks[count] = self.of(*[{"end": {"paths": shares}}] * 3)
        assert growth(by_blocks) == pytest.approx([power] * 3)

    def test_evidence_tells_residual_networks_from_step_functions(self):
        claim = claims.load("residual-ensembles")
        smooth = [
            planted(
                [0.1, 0.12 + 0.01 * k],
                [[0.1, 0.3, 0.5 - 0.01 * k], [0.1, 0.25, 0.5]],
                [[0.2, 0.21], [0.3 + 0.01 * k, 0.4]],
                [[0.1, 0.2], [0.4, 0.5]],
            )
            for k in range(4)
        ]
        found, step = (
            rises(self.of(*smooth), self.of(*[self.STEP] * 4)),
            rises(self.of(*[self.STEP] * 4), self.of(*smooth)),
        )
        for part in ("one", "many", "shuffled"):
            assert claims.judge(claim.part(part), "", found).verdict == "supported"
            assert claims.judge(claim.part(part), "", step).verdict == "not supported"
        assert found["spared"].value == pytest.approx(self.of(self.STEP).damage()[0] - found["damage"].value)

    def test_lengths_are_judged_at_one_number_of_blocks(self):
        few, many = ([{"start": {"paths": a}, "end": {"paths": b}}] * 3 for a, b in [
            ([0, 0, 1.0], [0, 1.0, 0]), ([0, 0, 0, 0, 1.0], [0, 1.0, 0, 0, 0]),
        ])  # fmt: skip
        found = lengths({2: self.of(*few), 4: self.of(*many)}, 4)
        assert found["length"].value == pytest.approx(0.25)
        assert found["growth"].value == pytest.approx(0.0)
        assert found["shortened"].value == pytest.approx(-0.75)
        assert lengths({2: self.of(*few), 4: self.of(*many)}, 2, "start")["length"].value == pytest.approx(1.0)
        assert lengths({2: self.of(*few), 4: self.of(*many)}, 2, "start")["growth"].value == pytest.approx(1.0)
