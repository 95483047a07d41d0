"""Networks cut and stitched: laws of the cut, least squares by its gradient, planted maps, stacks and evidence."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import connectivity, data, models, rng, similarity, state, surgery, training
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments.connectivity import compatibility
from lmc_lib.experiments.connectivity.stitches import Stitches, StitchSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks import stacks
from lmc_lib.experiments.networks.runs import RunSpec, architecture, obtain_run
from lmc_lib.experiments.networks.stacks import StackSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=120, test_examples=50)
TRAIN = TrainConfig(steps=9, batch_size=32, lr=0.1, precision="portable")
RUN = RunSpec(ModelSpec("mlp", 7, 2), DATA, TRAIN, 3, 3)
SPEC = StitchSpec(
    tops=StackSpec(RUN, 4), bottoms=StackSpec(RUN, 4), data=DATA, pairs=2, training=dataclasses.replace(TRAIN, lr=0.02)
)


def normal(name, *shape):
    return torch.randn(shape, generator=rng.stream(0, "stitching", name), dtype=torch.float64)


def perceptron(seed, widths=(6, 5)):
    """With biases, so that no example has three equal logits where no unit is active."""
    model = models.mlp(8, 3, widths=widths).double()
    weights = models.initialise(model, generator=rng.stream(seed, "perceptron"))
    biases = {name: 0.1 * normal(f"{seed} {name}", *each.shape) for name, each in weights.items() if each.dim() == 1}
    return model, weights | biases


@torch.random.fork_rng(devices=[])
def layered(make):
    """A network of torch's own layers, whose weights are no one's business."""
    return make()


class TestCut:
    @pytest.mark.parametrize(
        ("network", "layers"),
        [
            (models.mlp(64, 10, widths=(6, 5), norm="layer"), ["0", "3", "5", "7"]),
            (models.vgg(1, 10, depth=7, width=4), ["2", "6", "20"]),
            (models.resnet(1, 10, depth=8, width=4, norm="layer"), ["2", "3", "5"]),
        ],
    )
    def test_the_parts_in_turn_are_the_network(self, network, layers):
        network = network.double()
        weights = models.initialise(network, generator=rng.stream(1, "cut"))
        images = normal("images", 3, 1, 8, 8)
        for layer in layers:
            bottom, top = surgery.cut(network, layer)
            between = state.apply(bottom, weights, images)
            assert torch.equal(state.apply(top, weights, between), state.apply(network, weights, images))
            names = [set(each.state_dict()) for each in (bottom, top)]
            assert not names[0] & names[1]
            assert names[0] | names[1] == set(network.state_dict())

    def test_a_layer_inside_what_is_no_sequence_is_found(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
                self.last = nn.Linear(3, 2)

            def forward(self, x):
                return 2.0 * self.last(self.inner(x).flip(1))

        network, inputs = layered(Odd).double(), normal("odd", 5, 4)
        bottom, top = surgery.cut(network, "inner.0")
        assert torch.equal(bottom(inputs), network.inner[0](inputs))
        assert torch.equal(top(bottom(inputs)), network(inputs))

    def test_what_goes_past_the_cut_is_refused(self):
        with pytest.raises(ValueError, match=r"cannot be cut behind '3\.conv1'.*goes past"):
            surgery.cut(models.resnet(1, 10, depth=8, width=4), "3.conv1")

    def test_other_layers_are_refused_by_name(self):
        with pytest.raises(ValueError, match="no layer '9' to cut behind; it has 0, 1, 2"):
            surgery.cut(perceptron(0)[0], "9")
        shared = nn.ReLU()
        with pytest.raises(ValueError, match="'1' runs 2 times"):
            surgery.cut(layered(lambda: nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared)), "1")

    def test_what_cannot_be_traced_is_refused(self):
        class Branching(nn.Module):
            def __init__(self):
                super().__init__()
                self.only = nn.Linear(2, 2)

            def forward(self, x):
                return self.only(x) if x.sum() > 0 else x

        with pytest.raises(ValueError, match="Branching cannot be traced"):
            surgery.cut(layered(Branching), "only")


class TestLeastSquares:
    @given(st.integers(0, 10_000), st.floats(0.0, 2.0))
    def test_it_is_where_the_gradient_vanishes(self, seed, ridge):
        source, target = (
            torch.randn(30, units, generator=rng.stream(seed, name), dtype=torch.float64)
            for name, units in (("source", 4), ("target", 3))
        )
        source = 3.0 * source + 1.0
        found = {
            name: each.requires_grad_() for name, each in surgery.least_squares(source, target, ridge=ridge).items()
        }
        size = source.var(0, correction=0).mean()
        loss = (surgery.through(found, source) - target).square().sum(1).mean() + ridge * size * found[
            "weight"
        ].square().sum()
        gradients = torch.autograd.grad(loss, list(found.values()))
        assert max(float(each.abs().max()) for each in gradients) < 1e-9

    def test_a_planted_map_is_found_in_vectors_tokens_and_maps(self):
        weight, bias = normal("weight", 3, 4), normal("bias", 3)
        for source in (normal("vectors", 20, 4), normal("tokens", 6, 5, 4)):
            found = surgery.least_squares(source, source @ weight.T + bias)
            torch.testing.assert_close(found, {"weight": weight, "bias": bias})
        maps = normal("maps", 6, 4, 2, 3)
        target = torch.einsum("oc,nchw->nohw", weight, maps) + bias[:, None, None]
        found = surgery.least_squares(maps, target)
        torch.testing.assert_close(found, {"weight": weight[:, :, None, None], "bias": bias})
        torch.testing.assert_close(surgery.through(found, maps), target)

    def test_units_that_are_never_active_get_no_weight(self):
        source, target = normal("some", 20, 4), normal("targets", 20, 3)
        source[:, 2] = 0.0
        found = surgery.least_squares(source, target)
        others = surgery.least_squares(source[:, [0, 1, 3]], target)
        torch.testing.assert_close(found["weight"][:, [0, 1, 3]], others["weight"])
        assert float(found["weight"][:, 2].abs().max()) == 0.0
        nothing = surgery.least_squares(torch.zeros_like(source), target)
        torch.testing.assert_close(nothing["bias"], target.mean(0))

    def test_other_shapes_are_refused(self):
        for one, other in ((normal("a", 5, 4), normal("b", 6, 4)), (normal("a", 5, 4, 2, 2), normal("b", 5, 4, 2, 3))):
            with pytest.raises(ValueError, match="layers of the same examples and places"):
                surgery.least_squares(one, other)
        with pytest.raises(ValueError, match="the ridge is 0 or more, got -1"):
            surgery.least_squares(normal("a", 5, 4), normal("b", 5, 3), ridge=-1.0)
        broken = normal("a", 5, 4)
        broken[2, 1] = math.nan
        for which, both in (("lower", (broken, normal("b", 5, 3))), ("upper", (normal("b", 5, 3), broken))):
            with pytest.raises(ValueError, match=f"layer of the {which} network gives NaN"):
                surgery.least_squares(*both)
        with pytest.raises(ValueError, match="takes 4 units, and the layer gives 3"):
            surgery.through({"weight": normal("w", 2, 4), "bias": normal("c", 2)}, normal("d", 5, 3))


class TestJoined:
    def parts(self, seed, layer="2"):
        model, weights = perceptron(seed)
        model.load_state_dict(weights)
        return model, *surgery.cut(model, layer)

    def test_a_network_joined_to_itself_by_the_identity_is_itself(self):
        model, bottom, top = self.parts(0)
        inputs = normal("inputs", 9, 1, 1, 8)
        whole = surgery.join(bottom, top, {"weight": torch.eye(6, dtype=torch.float64), "bias": normal("none", 6) * 0})
        assert torch.equal(whole(inputs), model(inputs))

    @given(st.integers(0, 10_000))
    def test_an_invertible_change_of_the_lower_layers_costs_nothing(self, seed):
        """Whatever an affine map does to what they give, another one undoes: a rotation, say."""
        model, bottom, top = self.parts(0)
        generator = rng.stream(seed, "change")
        change = torch.eye(6, dtype=torch.float64) + 0.3 * torch.randn(6, 6, generator=generator, dtype=torch.float64)
        moved = {"weight": change, "bias": torch.randn(6, generator=generator, dtype=torch.float64)}
        inputs = normal("examples", 40, 1, 1, 8)
        split = Split(inputs, torch.arange(40) % 3)
        changed = layered(lambda: nn.Sequential(bottom, nn.Linear(6, 6).double()))
        changed[1].load_state_dict(moved)
        stitch = surgery.least_squares(changed(inputs).detach(), bottom(inputs).detach())
        lost = surgery.penalty(surgery.join(changed, top, stitch), model, split)
        assert lost.loss == pytest.approx(0.0, abs=1e-7)
        assert lost.error == 0.0

    def test_the_penalty_is_that_of_another_network(self):
        model, _, top = self.parts(0)
        _, bottom, _ = self.parts(1)
        inputs = normal("some inputs", 30, 1, 1, 8)
        labels = model(inputs).argmax(1)
        stitch = {"weight": normal("any", 6, 6), "bias": normal("shift", 6)}
        joined = surgery.join(bottom, top, stitch)
        lost = surgery.penalty(joined, model, Split(inputs, labels))
        logits, own = (each.detach() for each in (top(surgery.through(stitch, bottom(inputs))), model(inputs)))
        expected = nn.functional.cross_entropy(logits, labels) - nn.functional.cross_entropy(own, labels)
        wrong = (logits.argmax(1) != labels).double().mean() - (own.argmax(1) != labels).double().mean()
        assert (lost.loss, lost.error) == (pytest.approx(float(expected)), pytest.approx(float(wrong)))
        assert lost.error > 0.1

    def test_maps_are_joined_by_a_convolution(self):
        network = models.vgg(1, 10, depth=7, width=4).double()
        bottom, top = surgery.cut(network, "2")
        images = normal("pictures", 3, 1, 8, 8)
        one = torch.eye(4, dtype=torch.float64)[:, :, None, None]
        joined = surgery.join(bottom, top, {"weight": one, "bias": torch.zeros(4, dtype=torch.float64)})
        torch.testing.assert_close(joined(images), network(images))


class TestTraining:
    CONFIG = TrainConfig(steps=30, batch_size=20, lr=0.05, precision="portable")

    def stack(self):
        both = [perceptron(seed) for seed in (0, 1)]
        bottom, top = surgery.cut(both[0][0], "2")
        inputs = normal("training", 60, 1, 1, 8)
        features = torch.stack([state.apply(bottom, weights, inputs) for _, weights in both]).detach()
        tops = state.stacked([weights for _, weights in reversed(both)])
        begun = [surgery.least_squares(*each) for each in ((features[0], features[1]), (features[1], features[0]))]
        return state.stacked(begun), features, top, tops, (inputs[:, 0, 0, 0] > 0).long()

    def test_each_is_as_if_it_were_trained_alone_and_the_loss_falls(self):
        stitches, features, top, tops, labels = self.stack()
        found = surgery.train_stitches(stitches, features, top, tops, labels, self.CONFIG, seeds=[4, 5])
        for place, seed in enumerate((4, 5)):
            own = slice(place, place + 1)
            alone = surgery.train_stitches(
                {name: each[own] for name, each in stitches.items()}, features[own], top,
                {name: each[own] for name, each in tops.items()}, labels, self.CONFIG, seeds=[seed],
            )  # fmt: skip
            for name, each in alone.items():
                torch.testing.assert_close(each[0], found[name][place], atol=1e-5, rtol=0.0)
        losses = []
        for of in (stitches, found):
            weights = state.unstacked(tops)[1]
            logits = state.apply(top, weights, surgery.through(state.unstacked(of)[1], features[1]))
            losses.append(float(nn.functional.cross_entropy(logits, labels)))
        assert losses[1] < losses[0] - 0.05

    def test_the_size_of_features_makes_no_difference(self):
        stitches, features, top, tops, labels = self.stack()
        large = stitches | {"weight": stitches["weight"] / 50.0}
        found = surgery.train_stitches(stitches, features, top, tops, labels, self.CONFIG, seeds=[4, 5])
        other = surgery.train_stitches(large, 50.0 * features, top, tops, labels, self.CONFIG, seeds=[4, 5])
        torch.testing.assert_close(50.0 * other["weight"], found["weight"], atol=1e-4, rtol=0.0)

    def test_numbers_that_differ_are_refused(self):
        stitches, features, top, tops, labels = self.stack()
        with pytest.raises(ValueError, match=r"got \[1, 2\] of them"):
            surgery.train_stitches(stitches, features, top, tops, labels, self.CONFIG, seeds=[4])


class TestTasks:
    def test_turns_are_those_of_the_images(self):
        images = normal("square", 2, 1, 3, 3)
        turned = data.quarter_turns(Split(images, torch.tensor([5, 6])))
        assert turned.labels.tolist() == [0, 1, 2, 3] * 2
        for place, label in enumerate(turned.labels.tolist()):
            back = turned.inputs[place].rot90(-label, (1, 2))
            assert torch.equal(back, images[place // 4])
        with pytest.raises(ValueError, match="square, and these are 2 × 3"):
            data.quarter_turns(Split(normal("flat", 2, 1, 2, 3), torch.tensor([0, 1])))

    def test_a_view_is_shifted_by_at_most_an_eighth_and_lacks_some_pixels(self):
        images = torch.ones(400, 1, 16, 16)
        seen = data.view(images, generator=rng.stream(0, "view"), kept=0.7)
        assert set(seen.unique().tolist()) == {0.0, 1.0}
        inner = seen[:, 0, 2:-2, 2:-2]
        assert float(inner.mean()) == pytest.approx(0.7, abs=0.01)
        assert float(data.view(images, generator=rng.stream(0, "view"), kept=1.0)[:, 0, 2:-2, 2:-2].min()) == 1.0

    def test_views_are_never_mirrored(self):
        image = torch.zeros(200, 1, 8, 8)
        image[:, 0, 3, 1:4] = torch.tensor([1.0, 2.0, 3.0])
        seen = data.view(image, generator=rng.stream(0, "mirrored"), kept=1.0)
        rows = [[value for value in row.tolist() if value] for row in seen.flatten(1)]
        assert [1.0, 2.0, 3.0] in rows
        assert all(row == sorted(row) for row in rows)

    def test_the_contrastive_loss_is_that_of_loops(self):
        first, second = normal("first", 4, 3), normal("second", 4, 3)
        views = [each / each.norm() for each in (*first, *second)]
        expected = []
        for i, one in enumerate(views):
            likes = {j: math.exp(float(one @ each) / 0.3) for j, each in enumerate(views) if j != i}
            expected.append(-math.log(likes[(i + 4) % 8] / sum(likes.values())))
        found = training.contrastive_loss(first, second, temperature=0.3)
        assert float(found) == pytest.approx(np.mean(expected))


class TestStacks:
    def test_a_stack_has_the_networks_of_its_runs(self, tmp_path):
        store = Store(tmp_path)
        found = obtain(store, StackSpec(RUN, 2))
        for place, each in enumerate(state.unstacked(found.tensors)):
            run = dataclasses.replace(RUN, init_seed=3 + place, order_seed=3 + place)
            assert state.distance(each, obtain_run(store, run).final) < 1e-5
            scores = connectivity.evaluate(architecture(run).double(), each, dataset(DATA).test)
            assert found.values["errors"][place] == pytest.approx(scores.error)

    @pytest.mark.parametrize(("task", "outputs"), [("turns", 4), ("views", 16)])
    def test_tasks_without_labels_are_learnt_and_see_none(self, task, outputs, tmp_path, monkeypatch):
        longer = dataclasses.replace(RUN, model=ModelSpec("mlp", 24, 2), train=dataclasses.replace(TRAIN, steps=60))
        untrained = dataclasses.replace(longer, train=dataclasses.replace(TRAIN, steps=0))
        after, before = (StackSpec(each, 2, task).compute(Store(tmp_path)) for each in (longer, untrained))
        assert after.tensors["5.weight"].shape == (2, outputs, 24)
        if task == "turns":  # of views so few updates teach too little for fifty images
            assert max(after.values["errors"]) < min(before.values["errors"]) - 0.2
        noisy = dataclasses.replace(longer, data=dataclasses.replace(DATA, label_noise=0.9))
        again = StackSpec(noisy, 2, task).compute(Store(tmp_path))
        assert torch.equal(again.tensors["1.weight"], after.tensors["1.weight"])

    def test_impossible_ones_are_refused(self):
        signals = dataclasses.replace(RUN, data=DataSpec("mnist1d"))
        for options, message in (
            ({"networks": 0}, "a stack has networks, got 0"),
            ({"task": "sleep"}, "unknown task 'sleep' of a stack; there are classes, turns, views"),
            ({"run": signals, "task": "turns"}, "one of images, and mnist1d are signals"),
        ):
            with pytest.raises(ValueError, match=message):
                StackSpec(**({"run": RUN, "networks": 2} | options))


class TestStitches:
    def test_they_are_those_of_the_functions(self, tmp_path):
        """By hand for one pair behind the second layer: the first network below, the fourth above."""
        store = Store(tmp_path)
        found = Stitches.read(store, SPEC)
        states = state.unstacked(obtain(store, SPEC.tops).tensors)
        network, loaded = architecture(RUN).double(), dataset(DATA)
        layers = [name for name, each in network.named_modules() if isinstance(each, nn.ReLU)]
        bottom, top = surgery.cut(network, layers[1])
        train, test = loaded.train.to(torch.float64), loaded.test.to(torch.float64)
        lower, upper = states[1], states[3]
        stitch = surgery.least_squares(*(state.apply(bottom, each, train.inputs) for each in (lower, upper)))
        below = state.apply(bottom, lower, test.inputs)
        scores = connectivity.score(state.apply(top, upper, surgery.through(stitch, below)), test.labels)
        own = connectivity.evaluate(network, upper, test)
        assert found.scores("test loss")[1, 1] == pytest.approx(scores.loss, rel=1e-5)
        assert found.scores("test error")[1, 1] == pytest.approx(scores.error)
        assert found.penalty("test loss")[1, 1] == pytest.approx(scores.loss - own.loss, rel=1e-4)
        angle = similarity.angular_cka(below, state.apply(bottom, upper, test.inputs))
        assert found.of("angles")[1, 1] == pytest.approx(angle, rel=1e-5)
        assert found.scores("train loss", trained=True).mean() < found.scores("train loss").mean()

    def test_its_own_lower_layers_cost_a_network_nothing(self, tmp_path):
        found = Stitches.read(Store(tmp_path), dataclasses.replace(SPEC, last=True, training=None))
        assert np.abs(found.penalty("test loss")).max() < 1e-5
        assert found.of("angles").max() < 1e-6

    def test_without_lower_layers_it_is_a_regression_on_pixels(self, tmp_path):
        store = Store(tmp_path)
        few = dataclasses.replace(SPEC, bottoms=None, training=None)
        found = Stitches.read(store, few)
        network, loaded = architecture(RUN).double(), dataset(DATA)
        upper = state.unstacked(obtain(store, SPEC.tops).tensors)[2]
        bottom, top = surgery.cut(network, "2")
        train, test = loaded.train.to(torch.float64).inputs, loaded.test.to(torch.float64).inputs
        rows = torch.cat([train.flatten(1), torch.ones(len(train), 1)], 1)
        solved = torch.linalg.pinv(rows, rtol=1e-10) @ state.apply(bottom, upper, train)
        given = torch.cat([test.flatten(1), torch.ones(len(test), 1)], 1) @ solved
        expected = connectivity.score(state.apply(top, upper, given), loaded.test.labels)
        assert found.scores("test loss")[0, 0] == pytest.approx(expected.loss, rel=1e-3)

    def test_layers_of_deeper_networks_are_those_at_the_same_share_of_the_depth(self, tmp_path):
        """A network whose second and fourth layers are those of another one is cut behind these."""
        store = Store(tmp_path)
        deeper = dataclasses.replace(RUN, model=ModelSpec("mlp", 7, 4))
        spec = dataclasses.replace(SPEC, bottoms=StackSpec(deeper, 2), training=None)
        found = Stitches.read(store, spec)
        network = architecture(deeper).double()
        bottom, _ = surgery.cut(network, "4")
        own, _ = surgery.cut(architecture(RUN).double(), "2")
        test = dataset(DATA).test.to(torch.float64).inputs
        below = state.apply(bottom, state.unstacked(obtain(store, spec.bottoms).tensors)[0], test)
        upper = state.apply(own, state.unstacked(obtain(store, SPEC.tops).tensors)[2], test)
        assert found.of("angles")[0, 0] == pytest.approx(similarity.angular_cka(below, upper), rel=1e-5)

    def test_a_layer_that_is_never_active_has_no_angle(self, tmp_path):
        store = Store(tmp_path)
        narrow = dataclasses.replace(RUN, model=ModelSpec("mlp", 1, 2), train=dataclasses.replace(TRAIN, lr=3.0))
        spec = dataclasses.replace(SPEC, bottoms=StackSpec(narrow, 2), training=None)
        found = Stitches.read(store, spec)
        assert np.isnan(found.of("angles")).any()
        assert np.isfinite(found.scores()).all()

    def test_one_that_diverged_has_no_numbers_and_the_others_have_theirs(self, tmp_path, monkeypatch):
        store = Store(tmp_path)
        sound = Stitches.read(store, SPEC)
        drawn = stacks.drawn_start

        def wild(run, model):
            found = drawn(run, model)
            return {name: each * math.inf for name, each in found.items()} if run.init_seed == 4 else found

        monkeypatch.setattr(stacks, "drawn_start", wild)
        found = Stitches(SPEC.compute(Store(tmp_path / "other")).values)
        for each in (False, True):
            scores = found.scores("test error", trained=each)
            assert np.isnan(scores[:, 1]).all()
            np.testing.assert_array_equal(scores[:, 0], sound.scores("test error", trained=each)[:, 0])
        assert np.isnan(found.of("angles")[:, 1]).all()
        assert np.isfinite(found.of("own", "test error")).all()
        assert obtain(Store(tmp_path / "other"), SPEC.bottoms).values["errors"][1] is None

    def test_too_few_networks_are_refused(self):
        for options, which in (({"tops": StackSpec(RUN, 1)}, "upper"), ({"bottoms": StackSpec(RUN, 1)}, "lower")):
            with pytest.raises(ValueError, match=f"2 pairs need as many {which} networks, got 1"):
                dataclasses.replace(SPEC, **options)


def like(stitched, own, trained=None, angles=None):
    """Measurements with these test errors, a row a layer and a column a pair."""
    values = {"stitched": {"test error": stitched}, "own": {"test error": own}, "angles": angles}
    return Stitches(values | {"trained": {"test error": trained}})


class TestEvidence:
    def test_penalties_are_compared_pair_by_pair(self):
        own = [0.1, 0.2, 0.1]
        found = like([[0.12, 0.21, 0.13], [0.1, 0.21, 0.13]], own)
        worse = like([[0.22, 0.31, 0.23], [0.2, 0.31, 0.23]], own)
        other = like([[0.15, 0.2, 0.1], [0.15, 0.2, 0.1]], own)
        estimates = compatibility.of_penalty(found, worse, other, found)
        assert estimates["penalty"].value == pytest.approx((0.01 + 0.01 + 0.03) / 3)
        assert estimates["untrained"].triple == pytest.approx((0.1, 0.1, 0.1))
        assert estimates["random labels"].value == pytest.approx((0.04 - 0.01 - 0.03) / 3)
        assert estimates["pixels"].triple == (0.0, 0.0, 0.0)

    def test_strength_is_the_share_of_errors_that_is_gone(self):
        own = [0.4, 0.2, 0.5]
        stronger = like(None, own, [[0.1, 0.1, 0.1], [0.3, 0.1, 0.3]], [[0.5, 0.5, 0.5], [0.7, 0.7, 0.7]])
        itself = like(None, own, [[0.25, 0.1, 0.4], [0.25, 0.1, 0.4]])
        another = like(None, own, [[0.2, 0.2, 0.4], [0.6, 0.2, 0.4]], [[0.2, 0.2, 0.2], [0.2, 0.2, 0.2]])
        found = compatibility.of_strength(stronger, itself, another)
        assert found["improves"].value == pytest.approx((0.5 + 0.5 + 0.6) / 3)
        assert found["own"].value == pytest.approx((0.2 + 0.0 + 0.5) / 3)
        assert found["another"].value == pytest.approx((0.5 + 0.5 + 0.5) / 3)
        assert found["farther"].value == pytest.approx(0.4)

    def drawn(self, second, pairs=60, noise=0.6):
        """Two numbers of nine kinds in two layers, one order noisier than the other; layers differ by far more."""
        generator = np.random.default_rng(0)
        levels = np.array([0.0, 100.0])[:, None, None]
        first = levels + np.arange(9.0) + 1.5 * generator.standard_normal((2, pairs, 9))
        return first, levels + np.array(second, dtype=float) + noise * generator.standard_normal((2, pairs, 9))

    def test_one_order_agrees_however_noisy_and_another_one_by_its_rank_correlation(self):
        assert compatibility.agreement(*self.drawn(np.arange(9))) == pytest.approx(1.0, abs=0.02)
        assert compatibility.agreement(*self.drawn(-np.arange(9))) == pytest.approx(-1.0, abs=0.02)
        other = [2, 1, 0, 5, 4, 3, 8, 7, 6]
        expected = np.corrcoef(np.arange(9), other)[0, 1]
        assert compatibility.agreement(*self.drawn(other)) == pytest.approx(expected, abs=0.04)

    def test_what_is_random_in_a_pair_has_no_part_in_it(self):
        """Orders are opposite, and within each pair the same noise is added to both numbers."""
        shared = 4.0 * np.random.default_rng(1).standard_normal((3, 20, 9))
        order = np.arange(9.0)
        assert compatibility.agreement(order + shared, order[::-1] + shared) == pytest.approx(-1.0, abs=0.05)

    def test_order_leaves_out_pairs_without_a_number(self):
        first, second = self.drawn(np.arange(9), pairs=6)
        angles = second.copy()
        angles[1, 2, 4] = np.nan
        kinds = [like(first[..., kind].tolist(), [0.0] * 6, angles=angles[..., kind].tolist()) for kind in range(9)]
        found = compatibility.of_order(kinds)["agreement"]
        kept = [0, 1, 3, 4, 5]
        assert found.value == pytest.approx(compatibility.agreement(first[:, kept], second[:, kept]))
        assert found.replicas == 5
