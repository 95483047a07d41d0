"""Pruning networks with batch normalisation and shortcuts: flows by plain loops, cuts, paths around layers, no data."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lmc_lib import charges, claims, experiments, models, pruning, rng
from lmc_lib.claims import estimate_of_mean
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments import collapse, compressed, cuts, saliency
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import architecture, drawn_start
from lmc_lib.pruning import EmptyLayer, Method
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

SHAPE = (1, 4, 6)
SEEN = Split(torch.randn(5, *SHAPE, generator=rng.stream(0, "images")), torch.tensor([0, 2, 1, 1, 2]))


def network(name, width=2, classes=3):
    return models.build(models.parse(name, width), SHAPE, classes)


def start(model, seed=0, *, shifts=False):
    state = models.initialise(model, generator=rng.stream(seed, "initial weights"))
    stream = rng.stream(seed, "shifts")
    drawn = {name for name in state if shifts and name.endswith("bias")}
    return {
        name: torch.randn(value.shape, generator=stream, dtype=torch.float64) if name in drawn else value
        for name, value in state.items()
    }


def convolved(image, kernel, stride=1):
    """A convolution with zeros around it, of lists of arrays, by a loop over all that it adds."""
    pad = kernel.shape[-1] // 2
    out, into, height, width = kernel.shape[0], kernel.shape[1], image.shape[1], image.shape[2]
    found = np.zeros((out, math.ceil(height / stride), math.ceil(width / stride)))
    for o, i, row, column in itertools.product(range(out), range(into), range(found.shape[1]), range(found.shape[2])):
        for dy, dx in itertools.product(range(-pad, pad + 1), repeat=2):
            y, x = row * stride + dy, column * stride + dx
            if 0 <= y < height and 0 <= x < width:
                found[o, row, column] += kernel[o, i, dy + pad, dx + pad] * image[i, y, x]
    return found


def normalised(image, state, place):
    """Batch normalisation with mean 0 and variance 1, of absolute factors and shifts."""
    factor, shift = (np.abs(state[f"{place}.{each}"].numpy()) for each in ("weight", "bias"))
    return factor[:, None, None] * image / math.sqrt(1.0 + 1e-5) + shift[:, None, None]


def pooled(image):
    """The largest of each two by two pixels; at the edge of those that there are."""
    rows, columns = (range(0, size, 2) for size in image.shape[1:])
    return np.stack([[[part[y : y + 2, x : x + 2].max() for x in columns] for y in rows] for part in image])


def answered(image, state, place):
    weight, bias = (np.abs(state[f"{place}.{each}"].numpy()) for each in ("weight", "bias"))
    return float((weight @ image.mean((1, 2)) + bias).sum())


def flow_of_vgg(state):
    """The synaptic flow of a VGG of depth 7; rectifiers change nothing, since all is positive."""
    image, place = np.ones(SHAPE), 0
    for _ in range(3):
        for _ in range(2):
            image = normalised(convolved(image, np.abs(state[f"{place}.weight"].numpy())), state, place + 1)
            place += 3
        image, place = pooled(image), place + 1
    return answered(image, state, place + 2)


def flow_of_resnet(state):
    kernels = {name: np.abs(value.numpy()) for name, value in state.items() if value.dim() == 4}
    image = normalised(convolved(np.ones(SHAPE), kernels["0.weight"]), state, "1")
    for place, stride in ((3, 1), (4, 2), (5, 2)):
        inner = normalised(convolved(image, kernels[f"{place}.conv1.weight"], stride), state, f"{place}.norm1")
        inner = normalised(convolved(inner, kernels[f"{place}.conv2.weight"]), state, f"{place}.norm2")
        if stride > 1:
            around = convolved(image[:, ::stride, ::stride], kernels[f"{place}.shortcut.0.weight"])
            image = normalised(around, state, f"{place}.shortcut.1")
        image = image + inner
    return answered(image, state, "8")


FLOWS = {"vgg-7-batch": flow_of_vgg, "resnet-8-batch": flow_of_resnet}


@pytest.mark.parametrize("name", FLOWS)
class TestFlow:
    def test_the_flow_is_that_of_plain_loops(self, name):
        model = network(name)
        state = start(model, shifts=True)
        # Sums of thousands of products in float64.
        assert float(pruning.synaptic_flow(model, SHAPE)(state)) == pytest.approx(FLOWS[name](state), rel=1e-11)

    def test_a_weight_scores_what_the_loops_lose_with_a_little_of_it(self, name):
        model = network(name)
        state = start(model, shifts=True)
        scores = pruning.saliency(pruning.synaptic_flow(model, SHAPE), state)
        for layer in pruning.full_masks(state):
            place = tuple(int(torch.randint(size, (1,), generator=rng.stream(1, layer))) for size in state[layer].shape)
            high, low = ({**state, layer: state[layer].clone()} for _ in range(2))
            high[layer][place] *= 1.0 + 1e-5
            low[layer][place] *= 1.0 - 1e-5
            slope = (FLOWS[name](high) - FLOWS[name](low)) / 2e-5
            # Central differences err by the square of the step, and by rounding of the flow over it.
            assert float(scores[layer][place]) == pytest.approx(slope, rel=1e-6, abs=1e-8 * FLOWS[name](state)), layer

    def test_synflow_sees_no_data(self, name):
        model = network(name)
        state = start(model)
        nothing = Split(torch.full((2, *SHAPE), math.nan), torch.tensor([2, 0]))
        for method in (Method("synflow"), Method("synflow", 9)):
            seeing, blind = (
                pruning.compressed(method, model, state, each, 2.5, generator=rng.stream(0, "m"), empty=True)
                for each in (SEEN, nothing)
            )
            assert all(torch.equal(mask, blind[layer]) for layer, mask in seeing.items())
            assert 0.3 < pruning.density(seeing) < 0.5
        with pytest.raises(ValueError, match="not finite"):
            pruning.compressed(Method("snip"), model, state, nothing, 2.5, generator=rng.stream(0, "m"), empty=True)

    def test_fresh_normalisation_in_a_chain_is_a_factor(self, name):
        """Scores of a chain are those of the same weights without normalisation, but for one factor for all."""
        name = name.replace("resnet", "plain")
        model, plain = network(name), network(name.removesuffix("-batch"))
        state = start(model)
        layers = list(pruning.full_masks(state))
        bare = {each: torch.zeros_like(value).double() for each, value in plain.state_dict().items()}
        bare |= dict(zip(pruning.full_masks(bare), [state[layer] for layer in layers], strict=True))
        ours = pruning.saliency(pruning.synaptic_flow(model, SHAPE), state)
        others = pruning.saliency(pruning.synaptic_flow(plain, SHAPE), bare)
        factor = (1.0 + 1e-5) ** (-(len(layers) - 1) / 2)
        for layer, other in zip(layers, pruning.full_masks(bare), strict=True):
            assert torch.allclose(ours[layer], factor * others[other], rtol=1e-10), layer


class TestCuts:
    def test_what_the_cuts_are(self):
        found = pruning.cuts(pruning.with_shortcut_factors(network("resnet-8-batch")))
        assert found == [
            ("0.weight",),
            ("3.conv1.weight", "3.shortcut.weight"),
            ("3.conv2.weight", "3.shortcut.weight"),
            ("4.conv1.weight", "4.shortcut.0.weight"),
            ("4.conv2.weight", "4.shortcut.0.weight"),
            ("5.conv1.weight", "5.shortcut.0.weight"),
            ("5.conv2.weight", "5.shortcut.0.weight"),
            ("8.weight",),
        ]
        assert len(pruning.cuts(network("vgg-7-batch"))) == 7

    @pytest.mark.parametrize("name", ["vgg-7-batch", "resnet-8-batch", "resnet-14"])
    def test_all_cuts_carry_the_flow_or_the_saliency_of_the_loss(self, name):
        plain = network(name)
        model = pruning.with_shortcut_factors(plain)
        state = {each: value.double() for each, value in model.state_dict().items()} | start(plain, shifts=True)
        flow = pruning.synaptic_flow(model, SHAPE)
        whole = float(pruning.synaptic_flow(plain, SHAPE)(start(plain, shifts=True)))
        totals = pruning.cut_totals(model, pruning.saliency(flow, state))
        assert totals.tolist() == pytest.approx([whole] * len(totals), rel=1e-12)
        losses = pruning.cut_totals(model, pruning.saliency(pruning.mean_loss(model, SEEN), state))
        # Saliencies of both signs cancel, so that rounding is that of larger numbers.
        assert losses.tolist() == pytest.approx([float(losses[-1])] * len(losses), rel=1e-9)
        softsign = charges.inhomogeneous(model)
        other = pruning.cut_totals(softsign, pruning.saliency(pruning.synaptic_flow(softsign, SHAPE), state))
        assert float((other / other[-1] - 1.0).abs().max()) > 0.1
        assert sum(isinstance(each, nn.ReLU) for each in softsign.modules()) == 0
        assert sum(isinstance(each, nn.ReLU) for each in model.modules()) > 5

    def test_units_of_a_normalised_chain_conserve_with_the_weights_that_come_in(self):
        model = network("vgg-7-batch")
        state = start(model, shifts=True)
        objective = pruning.mean_loss(model, SEEN)
        assert float(pruning.imbalances(model, objective, state).max()) < 1e-13
        # Where statistics have a mean the shift is no longer all that is added, and the weights lose their share of it.
        moved = state | {"1.running_mean": torch.full_like(state["1.running_mean"], 0.5)}
        assert float(pruning.imbalances(model, objective, moved)[0]) > 1e-3


class TestPaths:
    @pytest.mark.parametrize(
        ("name", "fewest"), [("vgg-7-batch", 7), ("resnet-8-batch", 4), ("resnet-14-batch", 4), ("plain-8", 8)]
    )
    def test_the_shortest_path_takes_shortcuts(self, name, fewest):
        assert pruning.shortest_path(network(name), SHAPE) == fewest

    def test_a_path_goes_around_empty_layers(self):
        model = network("resnet-8-batch")
        masks = pruning.full_masks(start(model))
        inner = {layer: torch.zeros_like(mask) for layer, mask in masks.items() if ".conv" in layer}
        assert pruning.connected(model, masks | inner, SHAPE)
        for layer in masks:
            gone = inner | {layer: torch.zeros_like(masks[layer])}
            assert pruning.connected(model, masks | gone, SHAPE) == (".conv" in layer), layer
        shortcut = "4.shortcut.0.weight"
        assert pruning.connected(model, masks | {shortcut: torch.zeros_like(masks[shortcut])}, SHAPE)

    def test_layers_may_be_empty_only_where_that_is_said(self):
        model = network("resnet-8-batch")
        state = start(model)
        with pytest.raises(EmptyLayer):
            pruning.compressed(Method("synflow"), model, state, SEEN, 20.0, generator=rng.stream(0, "m"))
        masks = pruning.compressed(
            Method("synflow"), model, state, SEEN, 20.0, generator=rng.stream(0, "m"), empty=True
        )
        total = sum(mask.numel() for mask in masks.values())
        assert sum(int(mask.sum()) for mask in masks.values()) == round(total / 20.0)
        assert any(not bool(mask.any()) for mask in masks.values())

    def test_a_weight_is_on_a_path_if_paths_are_lost_with_it(self):
        """The number of paths, by plain loops, with each of the weights that are left taken away."""
        model = network("resnet-8-batch")
        state = start(model)
        masks = pruning.compressed(Method("random"), model, state, SEEN, 12.0, generator=rng.stream(4, "m"), empty=True)
        ones = {name: torch.ones_like(value) * (not name.endswith("bias")) for name, value in state.items()}
        left = ones | {layer: mask.double() for layer, mask in masks.items()}
        lost = []
        for layer, mask in masks.items():
            for place in mask.nonzero().tolist():
                without = left[layer].clone()
                without[tuple(place)] = 0.0
                lost.append(flow_of_resnet(left | {layer: without}) < flow_of_resnet(left) * (1.0 - 1e-9))
        assert 0.05 < np.mean(lost) < 0.95
        assert pruning.on_paths(model, masks, SHAPE) == pytest.approx(np.mean(lost), abs=1e-12)


STORE = Store(Path("not written"))
RUN = experiments.runs.RunSpec(
    models.parse("resnet-8-batch", 2),
    DataSpec("digits", train_examples=100, test_examples=100),
    TrainConfig(6, batch_size=20, lr=0.02, optimiser="adamw", precision="portable"),
    init_seed=3,
    order_seed=5,
)


class TestMeasured:
    def test_critical_compressions_count_layers_and_paths_apart(self):
        methods, tested = (Method("magnitude"), Method("random", by_layer=True), Method("synflow", 8)), (3.0, 9.0, 40.0)
        values = collapse.CollapseSpec(RUN, methods, tested, empty=True).compute(STORE).values
        model = experiments.runs.architecture(RUN)
        state = experiments.runs.drawn_start(RUN, model)
        total, layers = sum(mask.numel() for mask in pruning.full_masks(state).values()), 10
        assert 10 ** values["highest"] == pytest.approx(total / 4, rel=1e-8)
        for method in methods:
            whole, walked = [1.0], [1.0]
            for compression in (*tested, total / layers, total / 4):
                if method.by_layer and compression > total / layers:  # more weights would stay than one in so many
                    continue
                stream = rng.stream(3, "pruning")
                examples = experiments.saliency.scored(RUN, 100)
                masks = pruning.compressed(method, model, state, examples, compression, generator=stream, empty=True)
                whole += [compression] * all(bool(mask.any()) for mask in masks.values())
                walked += [compression] * pruning.connected(model, masks, (1, 8, 8))
            assert 10 ** values["critical"][method.label]["layers"] == pytest.approx(max(whole), rel=1e-8)
            assert 10 ** values["critical"][method.label]["paths"] == pytest.approx(max(walked), rel=1e-8)
        assert 10 ** values["critical"]["random, by layer"]["layers"] == pytest.approx(total / layers, rel=1e-8)

    @pytest.mark.parametrize(("decades", "outcome"), [(2.5, "not supported"), (3.0, "supported")])
    def test_what_one_scoring_reaches_is_not_down_to_one_path(self, decades, outcome):
        """The highest compression of the laptop scale is 3.094 decades, with four weights; five are left at 3."""
        ours, once = Method("synflow", 9), Method("snip")
        critical = {ours.label: decades, once.label: 2.0, "SNIP × 9": 3.0}
        of_each = {label: {"layers": 1.5, "paths": each} for label, each in critical.items()}
        found = Found(4, {(i,): {"critical": of_each, "highest": 3.094} for i in range(4)})
        estimates = collapse.evidence(found, found, [once, Method("snip", 9), ours], ours)
        assert claims.judge(claims.load("synflow").part("shortcuts"), "", estimates).verdict == outcome
        assert claims.judge(claims.load("synflow").part("layers"), "", estimates).verdict == "not supported"

    def test_details_are_of_the_test_set_and_of_the_masks(self):
        spec = compressed.CompressedSpec(RUN, Method("magnitude"), 2.0, empty=True, detailed=True)
        values = spec.compute(STORE).values
        assert "loss" not in replace(spec, detailed=False).compute(STORE).values
        longer = replace(spec, run=replace(RUN, train=replace(RUN.train, steps=40))).compute(STORE).values
        assert longer["loss"] < values["loss"]
        broken = replace(spec, method=Method("synflow"), compression=100.0).compute(STORE).values
        labels = np.bincount(dataset(RUN.data).train.labels.numpy()) / 100
        answers = [-math.log(labels[label]) for label in dataset(RUN.data).test.labels.tolist()]
        assert broken["loss"] == pytest.approx(np.mean(answers), rel=1e-8)
        assert (values["on paths"], broken["on paths"]) == (1.0, 0.0)

    def test_cuts_are_measured_and_softsign_breaks_them(self):
        ours, other = (cuts.CutsSpec(RUN, homogeneous).compute(STORE).values for homogeneous in (True, False))
        for what in ("flow", "loss"):
            assert max(ours[what]["deviations"]) < 1e-11
            assert max(other[what]["deviations"]) > 1e-2
        assert len(ours["flow"]["deviations"]) == 7

    def test_the_first_layer_of_a_cut_is_told_by_itself_with_its_shortcut(self):
        plain = architecture(RUN)
        network = pruning.with_shortcut_factors(plain)
        factors = {name: each.double() for name, each in network.state_dict().items()}
        state = factors | saliency.with_biases(drawn_start(RUN, plain), RUN.init_seed)
        flow = pruning.synaptic_flow(network, dataset(RUN.data).train.inputs.shape[1:])
        scores = {name: float(each.sum()) for name, each in pruning.saliency(flow, state).items()}
        around = {"3": "3.shortcut.weight", "4": "4.shortcut.0.weight", "5": "5.shortcut.0.weight"}
        wanted = [
            scores[own] / (scores[own] + scores[shortcut])
            for block, shortcut in around.items()
            for own in (f"{block}.conv1.weight", f"{block}.conv2.weight")
        ]
        first = cuts.CutsSpec(RUN).compute(STORE).values["flow"]["first"]
        assert first[1:-1] == pytest.approx(wanted, rel=1e-4)  # as many digits as are kept
        assert min(abs(share - 0.5) for share in wanted) > 0.01

    def test_evidence_is_that_of_the_worst_cut(self):
        rows = [[1e-13, 1e-5, 1e-9], [1e-14, 1e-15, 1e-13], [1e-3, 1e-15, 1e-1]]
        values = {(i,): {"flow": {"deviations": row}, "loss": {"deviations": row[:1]}} for i, row in enumerate(rows)}
        found = cuts.evidence(Found(3, values))
        assert found["flow"].triple == pytest.approx(estimate_of_mean(np.array([5.0, 12.0, 1.0])).triple)
        assert found["loss"].triple == pytest.approx(estimate_of_mean(np.array([12.0, 12.0, 3.0])).triple)
