"""What is measured of pruning before training: conservation, critical compressions, accuracies, and their evidence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lmc_lib import charges, connectivity, experiments, models, pruning, rng, training
from lmc_lib.claims import estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments import collapse, compressed, saliency
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.pruning import EmptyLayer, Method
from lmc_lib.state import masked
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=200, test_examples=100)
CONFIG = TrainConfig(12, batch_size=20, lr=0.01, optimiser="adamw", precision="portable")
RUN = experiments.runs.RunSpec(models.ModelSpec("mlp", 12, 3), DATA, CONFIG, init_seed=3, order_seed=5)
METHODS = (
    Method("random"), Method("magnitude", by_layer=True), Method("snip"), Method("synflow"), Method("snip", 6),
    Method("synflow", 6),
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def start(run=RUN):
    network = experiments.runs.architecture(run)
    return network, experiments.runs.drawn_start(run, network)


def masks_of(method, compression, run=RUN, network=None):
    own, state = start(run)
    stream = rng.stream(run.init_seed, "pruning")
    examples = saliency.scored(run, 100)
    return pruning.compressed(method, network or own, state, examples, compression, generator=stream)


class TestSaliencySpec:
    def test_rectifiers_conserve_and_softsign_does_not(self, store):
        ours, other = (saliency.SaliencySpec(RUN, homogeneous).compute(store).values for homogeneous in (True, False))
        for what in ("flow", "loss"):
            assert max(ours[what]["imbalances"]) < 1e-12
            assert ours[what]["totals"] == pytest.approx([1.0] * 4, abs=1e-9)
            assert min(other[what]["imbalances"]) > 1e-3
            assert abs(other[what]["totals"][0] - 1.0) > 0.1
            assert other[what]["totals"][-1] == ours[what]["weights alone"][-1] == 1.0

    def test_biases_are_drawn_and_count(self, store):
        values = saliency.SaliencySpec(RUN).compute(store).values
        for what in ("flow", "loss"):
            assert max(abs(each - 1.0) for each in values[what]["weights alone"]) > 1e-3

    def test_the_loss_is_that_of_the_examples(self, store):
        fewer = saliency.SaliencySpec(RUN, examples=20).compute(store).values
        more = saliency.SaliencySpec(RUN).compute(store).values
        assert fewer["loss"] != more["loss"]
        assert fewer["flow"] == more["flow"]

    def test_examples_are_of_a_stream_of_the_run(self):
        examples = saliency.scored(RUN, 30)
        assert torch.equal(examples.inputs, saliency.scored(replace(RUN, init_seed=9), 30).inputs)
        assert not torch.equal(examples.inputs, saliency.scored(replace(RUN, order_seed=9), 30).inputs)
        assert len(examples) == 30

    def test_evidence_is_that_of_the_worst_layer(self):
        rows = [[1e-13, 1e-5, 1e-9], [1e-14, 1e-15, 1e-13], [1e-3, 1e-15, 1e-1]]
        values = {(i,): {"flow": {"imbalances": row}, "loss": {"imbalances": row[:1]}} for i, row in enumerate(rows)}
        found = saliency.evidence(Found(3, values))
        assert found["flow"].value == pytest.approx((5 + 12 + 1) / 3)
        assert found["loss"].value == pytest.approx((12 + 12 + 3) / 3)
        assert found["flow"].replicas == 3


class TestCollapseSpec:
    TESTED = (2.0, 5.0, 12.0, 30.0, 80.0)

    @pytest.mark.parametrize("homogeneous", [True, False])
    def test_critical_is_the_highest_that_leaves_it_whole(self, homogeneous, store):
        values = collapse.CollapseSpec(RUN, METHODS, self.TESTED, homogeneous).compute(store).values
        weights = 64 * 12 + 12 * 12 + 12 * 12 + 12 * 10
        assert 10 ** values["highest"] == pytest.approx(weights / 4, rel=1e-8)
        chain, _ = start()
        network = chain if homogeneous else charges.inhomogeneous(chain)
        for method in METHODS:
            whole, walked = [1.0], [1.0]
            for compression in (*self.TESTED, weights / 4):
                try:
                    masks = masks_of(method, compression, network=network)
                except EmptyLayer:
                    continue
                whole.append(compression)
                reached = set(range(64))
                for name in ("1.weight", "3.weight", "5.weight", "7.weight"):
                    reached = {row for row, column in masks[name].nonzero().tolist() if column in reached}
                walked += [compression] if reached else []
            found = values["critical"][method.label]
            assert 10 ** found["layers"] == pytest.approx(max(whole), rel=1e-7), method.label
            assert 10 ** found["paths"] == pytest.approx(max(walked), rel=1e-7), method.label
        assert values["critical"]["SynFlow"]["paths"] < values["critical"]["SynFlow × 6"]["paths"]

    def test_compressions_above_the_highest_are_not_tested(self, store):
        low = collapse.CollapseSpec(RUN, METHODS[-1:], (2.0, 5.0)).compute(store).values
        assert low == collapse.CollapseSpec(RUN, METHODS[-1:], (2.0, 5.0, 5000.0)).compute(store).values

    def test_evidence_compares_what_it_says(self):
        once = [Method("random"), Method("magnitude", by_layer=True), Method("synflow")]
        methods = [*once, Method("snip", 7), Method("synflow", 7)]
        # By method, then iterated SynFlow with softsign, and the highest.
        paths = np.array(
            [
                [1.0, 1.5, 0.25, 3.0, 3.5, 2.0, 4.0],
                [2.0, 1.25, 0.5, 3.25, 3.0, 3.5, 4.0],
                [1.0, 1.0, 1.75, 1.0, 4.0, 4.0, 4.0],
            ]
        )
        layers = paths + np.array([1.5, 2.0, 0.0, 0.25, 0.5, 0.0, 0.0])

        def row(i):
            kinds = zip(methods, paths[i], layers[i], strict=False)
            return {"critical": {m.label: {"paths": p, "layers": a} for m, p, a in kinds}, "highest": paths[i, 6]}

        found = Found(3, {(i,): row(i) for i in range(3)})
        softsign = Found(3, {(i,): {"critical": {"SynFlow × 7": {"paths": paths[i, 5]}}} for i in range(3)})
        ours = collapse.evidence(found, softsign, methods, methods[4])
        wanted = {
            "reached": [3.5 / 4, 3 / 4, 1],
            "ahead": [3.5 - 1.5, 3 - 2, 4 - 1.75],
            "ahead layers": [4 - 2.5, 3.5 - 3.5, 4.5 - 2.5],
            "iterated": [0.5, -0.25, 3.0],
            "softsign": [1.5, -0.5, 0.0],
        }
        assert ours.keys() == wanted.keys()
        for name, numbers in wanted.items():
            mean = estimate_of_mean(np.array(numbers))
            assert ours[name].triple == pytest.approx(mean.triple, rel=1e-9), name
        once = collapse.evidence(found, softsign, methods, methods[2])
        assert once["reached"].value == pytest.approx(np.mean([0.25, 0.5, 1.75]) / 4)
        assert once["ahead"].value == pytest.approx(np.mean([0.25 - 1.5, 0.5 - 2.0, 1.75 - 1.0]))
        assert once["iterated"].value == pytest.approx(np.mean([0.25 - 3.0, 0.5 - 3.25, 1.75 - 1.0]))


class TestCompressedSpec:
    @pytest.mark.parametrize("shuffled", [False, True])
    def test_a_network_is_trained_under_its_masks(self, shuffled, store):
        method = Method("synflow", 6)
        values = compressed.CompressedSpec(RUN, method, 3.0, shuffled).compute(store).values
        (network, state), masks = start(), masks_of(method, 3.0)
        if shuffled:
            masks = pruning.shuffled(masks, generator=rng.stream(RUN.init_seed, "shuffled masks"))
        data = dataset(DATA)
        final = training.train(
            network, masked(state, masks), data.train, CONFIG, seed=RUN.order_seed, masks=masks
        ).final
        assert values["accuracy"] == pytest.approx(1.0 - connectivity.evaluate(network, final, data.test).error)
        kept = [float(masks[f"{place}.weight"].double().mean()) for place in (1, 3, 5, 7)]
        assert values["left"] == pytest.approx(kept, abs=1e-9)

    def test_a_compression_of_one_is_the_whole_network(self, store):
        values = compressed.CompressedSpec(RUN, Method("magnitude"), 1.0).compute(store).values
        whole = experiments.runs.RunSpec.compute(RUN, store).tensors
        data, final = dataset(DATA), {name.partition("/")[2]: value for name, value in whole.items()}
        network, _ = start()
        assert values["accuracy"] == pytest.approx(1.0 - connectivity.evaluate(network, final, data.test).error)
        assert values["left"] == [1.0] * 4

    def test_without_a_path_the_answer_is_the_most_frequent_class(self, monkeypatch, store):
        monkeypatch.setattr(compressed, "trainer", None)  # nothing is trained
        data = dataset(DATA)
        counts = np.bincount(data.train.labels.numpy())
        constant = float((data.test.labels == int(counts.argmax())).double().mean())
        broken = compressed.CompressedSpec(RUN, Method("random", by_layer=True), 290.0).compute(store).values
        assert broken["accuracy"] == pytest.approx(constant)
        assert broken["left"] == pytest.approx([3 / 768, 1 / 144, 1 / 144, 1 / 120], abs=1e-9)
        empty = compressed.CompressedSpec(RUN, Method("synflow"), 290.0).compute(store).values
        assert empty == {"accuracy": broken["accuracy"], "left": []}

    def test_labels_and_costs(self):
        spec = compressed.CompressedSpec(RUN, Method("synflow", 6), 3.0, shuffled=True)
        assert spec.label == "MLP, 3 hidden layers, width 12, SynFlow × 6, shuffled"
        assert (spec.updates, spec.needs) == (12, ())

    def test_evidence_is_within_seeds(self):
        accuracies = {
            "random": [0.5, 0.1, 0.2],
            "SNIP": [0.3, 0.4, 0.1],
            "SynFlow × 6": [0.6, 0.45, 0.7],
            "SynFlow × 6, shuffled": [0.65, 0.2, 0.3],
        }
        found = {
            label: Found(3, {(i,): {"accuracy": each} for i, each in enumerate(row)})
            for label, row in accuracies.items()
        }
        estimates = compressed.evidence(found, 6)
        assert estimates["gain"].triple == pytest.approx(estimate_of_mean(np.array([0.1, 0.05, 0.5])).triple)
        assert estimates["places"].triple == pytest.approx(estimate_of_mean(np.array([-0.05, 0.25, 0.4])).triple)
        assert estimates.keys() == {"gain", "places"}
