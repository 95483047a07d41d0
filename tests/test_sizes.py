"""Barriers by width, depth, task and movement: stacks against single trainings, kernels and gaps against loops."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from lmc_lib import connectivity, models, rng, similarity, state
from lmc_lib.alignment import QUANTITIES
from lmc_lib.data import DataSpec
from lmc_lib.experiments.connectivity import size_laws, sizes, starts
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.movement import MovementSpec, relative
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start, obtain_run
from lmc_lib.experiments.networks.stacks import train_stacked
from lmc_lib.flow import hidden_layer
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=40)
TRAIN = TrainConfig(steps=7, batch_size=32, lr=0.1, weight_decay=0.01, precision="portable")
RUN = RunSpec(ModelSpec("mlp", 5, 2), DATA, TRAIN, 3, 3, initial_scale=0.7)
SPEC = sizes.SizeSpec(RUN, 2, points=5, examples=40, matching_examples=30, kernel_examples=4, straight_through=2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def following(run, count):
    return [dataclasses.replace(run, init_seed=run.init_seed + i, order_seed=run.order_seed + i) for i in range(count)]


class TestStack:
    @pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
    def test_each_network_is_as_if_it_were_trained_alone(self, store, optimiser):
        """Over three epochs, so that orders of batches differ from one to the next."""
        run = dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, optimiser=optimiser, lr=0.02))
        runs = following(run, 3)
        begun, ends = train_stacked(runs)
        for one, start, end in zip(runs, begun, ends, strict=True):
            alone = obtain_run(store, one).final
            assert start.keys() == end.keys() == alone.keys()
            assert state.distance(start, drawn_start(one, architecture(one))) == 0.0
            assert state.distance(end, alone) < 1e-5 < state.distance(start, end)
        assert state.distance(ends[0], ends[1]) > 0.1

    def test_one_that_diverges_leaves_the_others_alone(self, monkeypatch):
        runs = following(RUN, 2)
        _, (_, sound) = train_stacked(runs)
        drawn = drawn_start

        def wild(run, model):
            found = drawn(run, model)
            return found if run != runs[0] else {name: 1e200 * each for name, each in found.items()}

        monkeypatch.setattr("lmc_lib.experiments.networks.stacks.drawn_start", wild)
        _, (lost, kept) = train_stacked(runs)
        assert not state.is_finite(lost)
        assert state.distance(kept, sound) == 0.0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"train": TrainConfig(steps=7, batch_size=32, precision="bfloat16")}, "bfloat16"),
            ({"pretrained": "minilm"}, "pre-trained"),
            ({"model": ModelSpec("mlp", 5, 2, "batch")}, "statistics"),
        ],
    )
    def test_what_a_stack_cannot_train_is_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            train_stacked(following(dataclasses.replace(RUN, **change), 2))

    def test_runs_differ_in_their_seeds_alone(self):
        with pytest.raises(ValueError, match="seeds alone"):
            train_stacked([RUN, dataclasses.replace(RUN, init_seed=4, initial_scale=1.0)])

    def test_augmentation_is_refused_when_the_spec_is_made(self):
        train = dataclasses.replace(TRAIN, augment=True)
        run = dataclasses.replace(RUN, data=DataSpec("cifar10"), train=train)
        with pytest.raises(ValueError, match="augmentation"):
            sizes.SizeSpec(run, 2)


class TestTangents:
    def test_the_kernel_is_the_sum_over_logits_of_products_of_gradients(self):
        model = models.mlp(6, 3, widths=(5, 4))
        weights = models.initialise(model, generator=rng.stream(0, "tangents"))
        inputs = torch.randn(4, 6, generator=rng.stream(1, "tangents"), dtype=torch.float64)
        model = model.double()
        model.load_state_dict(weights)
        rows = []
        for example in inputs:
            found = []
            for place in range(3):
                model.zero_grad()
                model(example[None])[0, place].backward()
                found.append(torch.cat([each.grad.flatten().clone() for each in model.parameters()]))
            rows.append(torch.stack(found))
        expected = torch.einsum("icw,jcw->ij", torch.stack(rows), torch.stack(rows))
        assert torch.allclose(similarity.tangent_kernel(model, weights, inputs), expected, rtol=1e-12)

    def test_arguments_stay(self):
        model = models.mlp(6, 3, widths=(5,)).train()
        weights = models.initialise(model, generator=rng.stream(0, "tangents"))
        similarity.tangent_kernel(model, weights, torch.ones(2, 6, dtype=torch.float64))
        assert model.training
        assert not any(each.requires_grad for each in weights.values())


class TestSizes:
    def test_barriers_are_those_of_networks_trained_alone(self, store):
        found = sizes.Sizes.read(store, SPEC)
        ends = [obtain_run(store, run).final for run in following(RUN, 4)]
        loaded, model = dataset(DATA), architecture(RUN).double()
        for place in range(2):
            for split, what in QUANTITIES:
                examples = getattr(loaded, split)[:40]
                line = connectivity.curves(model, *ends[2 * place : 2 * place + 2], {"": examples}, points=5)[""]
                known = found.barriers("none", f"{split} {what}")[place]
                assert known == pytest.approx(line.barrier(what), rel=1e-4, abs=1e-6)
                assert found.of("networks", f"{split} {what}")[2 * place] == pytest.approx(
                    getattr(line.at(0), what), rel=1e-4
                )
        assert found.barriers("none").min() > 0.0

    def test_movement_is_that_of_networks_trained_alone(self, store):
        moved = relative(store, [MovementSpec(run) for run in following(RUN, 4)])
        assert sizes.Sizes.read(store, SPEC).of("networks", "movement") == pytest.approx(moved, rel=1e-5)

    def test_without_an_update_the_starts_are_the_ends(self, store):
        spec = dataclasses.replace(SPEC, run=dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, steps=0)))
        found = sizes.Sizes.read(store, spec)
        assert found.networks("movement").tolist() == [0.0, 0.0]
        assert found.networks("kernel") == pytest.approx([0.0, 0.0], abs=1e-12)
        assert found.of("pairs", "agreement").tolist() == [1.0, 1.0]
        assert found.barriers("starts").tolist() == found.barriers("weights").tolist()

    def test_the_starts_are_matched_as_they_were(self, store, monkeypatch):
        """Of a pair whose second start is the first with its units renumbered, the renumbering is found again."""
        from lmc_lib import symmetry

        drawn, model = drawn_start, architecture(RUN)
        spec = symmetry.permutation_spec(model, torch.zeros(1, 1, 8, 8))
        planted = symmetry.random(spec, generator=rng.stream(0, "planted"))

        def twin(run, model):
            first = drawn(dataclasses.replace(run, init_seed=3 + 2 * ((run.init_seed - 3) // 2)), model)
            return first if (run.init_seed - 3) % 2 == 0 else symmetry.permute(first, planted, spec)

        monkeypatch.setattr("lmc_lib.experiments.networks.stacks.drawn_start", twin)
        still = dataclasses.replace(TRAIN, lr=1e-9)
        found = sizes.Sizes(dataclasses.replace(SPEC, run=dataclasses.replace(RUN, train=still)).compute(store).values)
        assert found.barriers("starts").max() < 1e-6 < 1e-2 < found.barriers("none").max()
        assert found.of("pairs", "agreement").tolist() == [1.0, 1.0]

    def test_a_training_that_diverged_is_a_hole(self, store):
        wild = dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, lr=1e200))
        found = sizes.Sizes.read(store, dataclasses.replace(SPEC, run=wild))
        for name in ("none", "straight-through", "better"):
            assert np.isnan(found.barriers(name, "test error")).all()
        assert np.isnan(found.networks("movement")).all()

    def test_no_kernel_and_no_straight_through_unless_asked(self, store):
        found = sizes.Sizes.read(store, dataclasses.replace(SPEC, kernel_examples=0, straight_through=0))
        assert np.isnan(found.networks("kernel")).all()
        assert not any("straight" in name for name in found.values["pairs"])


class TestReading:
    def test_better_is_chosen_by_train_loss_for_each_pair(self):
        found = sizes.Sizes(
            {
                "pairs": {
                    "weights, train loss": [0.1, 0.4], "activations, train loss": [0.2, 0.3],
                    "weights, test error": [0.5, 0.6], "activations, test error": [0.7, 0.8],
                }
            }
        )  # fmt: skip
        assert found.barriers("better").tolist() == [0.1, 0.3]
        assert found.barriers("better", "test error").tolist() == [0.5, 0.8]

    def test_networks_are_means_over_a_pair(self):
        assert sizes.Sizes({"networks": {"movement": [1.0, 2.0, 5.0, 9.0]}}).networks("movement").tolist() == [1.5, 7.0]


class TestOrders:
    def test_is_spearmans_correlation_of_each_pair(self):
        from scipy.stats import spearmanr

        values = np.array([[3.0, 1.0, 2.0, 2.0], [1.0, 5.0, 2.0, 9.0]])
        by = np.array([[1.0, 2.0, 3.0, 4.0], [8.0, 2.0, 2.0, 1.0]])
        expected = [spearmanr(one, other).statistic for one, other in zip(values, by, strict=True)]
        assert size_laws.orders(values, by) == pytest.approx(expected)

    def test_a_pair_that_lacks_a_setting_has_none(self):
        assert np.isnan(size_laws.orders(np.array([[1.0, np.nan, 2.0]]), np.arange(3.0))).all()


class TestEvidence:
    def test_tells_what_was_planted(self):
        def setting(left=0.25, share=0.5, moved=1.0, error=0.1):
            """Of three pairs; activation matching leaves the less, but where the share of weight matching is small."""
            raw = np.array([1.0, 2.0, 4.0])
            of = {"none": raw, "weights": share * raw, "activations": np.full(3, left), "starts": 0.9 * raw}
            networks = {"movement": np.full(6, moved), "test error": np.full(6, error)}
            return sizes.Sizes(
                {"pairs": {f"{name}, train loss": each for name, each in of.items()}, "networks": networks}
            )

        scales = {0.3: setting(0.25, 0.2, 3.0), 1.0: setting(0.25, 0.5, 2.0), 2.0: setting(0.25, 0.9, 2.5)}
        estimates = size_laws.evidence(
            {8: setting(0.4), 16: setting(0.3), 32: setting(0.2)},
            {1: setting(0.1), 2: setting(0.2), 5: setting(0.3)},
            [setting(0.1, error=0.2), setting(0.3, error=0.5)],
            scales,
            [setting(0.25, 0.7, 1.0), setting(0.25, 0.8, 0.5)],
        )
        found = {name: each.value for name, each in estimates.items()}
        assert found == pytest.approx(
            {
                "width": -1.0, "depth": 1.0, "harder": 0.3, "difficulty": 0.2, "moved": -0.5, "alone": 0.7,
                "moved otherwise": -1.0, "starts": 0.9,
            }
        )  # fmt: skip


class TestStarts:
    def test_the_gap_is_that_of_a_loop_over_inputs(self):
        x = torch.randn(5, 3, generator=rng.stream(0, "gap"), dtype=torch.float64)
        (u, v), (w, a) = (
            (
                torch.randn(4, 3, generator=each, dtype=torch.float64),
                torch.randn(4, generator=each, dtype=torch.float64),
            )
            for each in (rng.stream(1, "gap"), rng.stream(2, "gap"))
        )

        def network(example, weights, read_out):
            return sum(float(b) * max(0.0, float(row @ example)) for row, b in zip(weights, read_out, strict=True))

        expected = max(
            abs(network(each, (u + w) / 2, (v + a) / 2) - (network(each, u, v) + network(each, w, a)) / 2) for each in x
        )
        assert starts.gap(x, (u, v), (w, a)) == pytest.approx(expected, rel=1e-12)

    def test_with_equal_first_layers_there_is_none(self):
        x, u = (torch.randn(5, 3, generator=rng.stream(0, name), dtype=torch.float64) for name in ("x", "u"))
        assert starts.gap(x, (u, torch.ones(5).double()), (u, torch.arange(5).double())) < 1e-14

    def test_matching_narrows_it_and_the_more_the_wider(self, store):
        values = obtain(store, starts.StartSpec(2, (8, 128), 12)).values
        matched, unmatched = np.array(values["matched"]), np.array(values["unmatched"])
        assert matched.shape == unmatched.shape == (12, 2)
        assert (np.median(matched, 0) < np.median(unmatched, 0)).all()
        assert np.median(starts.slopes(matched, (8, 128))) < -0.25 < np.median(starts.slopes(unmatched, (8, 128)))

    def test_units_are_matched_by_their_weights(self, store, monkeypatch):
        """Of networks that are the same but for the order of units, nothing is left."""
        drawn = starts.StartSpec._network
        turn = iter(range(100))

        def twin(self, width, stream):
            weights, read_out = drawn(self, width, rng.stream(7, "twin", width))
            order = torch.randperm(width, generator=rng.stream(next(turn), "order"))
            return weights[order], read_out[order]

        monkeypatch.setattr(starts.StartSpec, "_network", twin)
        values = starts.StartSpec(3, (9,), 3).compute(store).values
        assert max(values["matched"])[0] < 1e-14 < 1e-3 < min(values["unmatched"])[0]

    def test_the_mean_is_that_of_the_two_networks_as_they_were_drawn(self, store):
        """Of four units, by all their orders."""
        spec = starts.StartSpec(3, (4,), 1, first_seed=5)
        drawn = rng.stream(5, "starts", 3, 4)
        (u, v), (w, a) = (spec._network(4, drawn) for _ in range(2))
        x = hidden_layer.directions(256, 3, generator=rng.stream(0, "starts", "examples")) * 3**0.5
        mean = ((x @ u.T).relu() @ v + (x @ w.T).relu() @ a) / 2
        order = min(map(list, itertools.permutations(range(4))), key=lambda each: float((u - w[each]).square().sum()))
        middle = (x @ (u + w[order]).T / 2).relu() @ (v + a[order]) / 2
        (found,) = spec.compute(store).values["matched"]
        assert found == pytest.approx([float((middle - mean).abs().max())], rel=1e-5)

    def test_evidence_is_of_the_slopes_by_number_of_inputs(self):
        found = {
            2: Record({"matched": [[1.0, 0.5], [1.0, 0.25], [1.0, 0.125]], "unmatched": [[2.0, 2.0]] * 3}),
            8: Record({"matched": [[1.0, 2.0]] * 3, "unmatched": [[2.0, 1.0]] * 3}),
        }
        for units, slopes in (("matched", (-1.0, 0.5)), ("unmatched", (0.0, -0.5))):
            estimates = starts.evidence(found, units, (16, 64))
            assert {name: each.value for name, each in estimates.items()} == pytest.approx(
                dict(zip(("slope 2", "slope 8"), slopes, strict=True)), abs=1e-12
            )
