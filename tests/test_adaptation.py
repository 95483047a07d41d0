"""Networks whose lengths adapt their steps, their twins, and the evidence that is made of them."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lmc_lib import charges, experiments, rng, training
from lmc_lib.claims import estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments import Found
from lmc_lib.experiments.dynamics.adaptation import TWINS, AdaptationSpec
from lmc_lib.experiments.dynamics.adaptive import law, share, steps
from lmc_lib.experiments.dynamics.lengths import Lengths
from lmc_lib.experiments.dynamics.schedules import ScheduleSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=40)
RATE, DECAY, UPDATES = 0.05, 0.2, 61
PORTABLE = {"schedule": "constant", "precision": "portable", "grid_bits": 52}
TRAIN = TrainConfig(UPDATES, batch_size=32, lr=RATE, momentum=0.0, weight_decay=DECAY, **PORTABLE)
RUN = RunSpec(ModelSpec("mlp", 6, 2, "batch"), DATA, TRAIN, 3, 4, initial_scale=0.3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def changed(**options):
    return dataclasses.replace(RUN, train=dataclasses.replace(TRAIN, **options))


def followed(run=RUN, factor=1.0):
    """By torch: |w|^4 of the two layers, before all updates and at the end, and |g|^2 |w|^2; losses; accuracy."""
    model = charges.with_epsilon(architecture(run), 1e-30).double().train()
    split = dataset(run.data).train
    inputs = split.inputs.double()
    start = drawn_start(run, model)
    start |= {name: factor * start[name] for name in ("1.weight", "4.weight")}
    model.load_state_dict(start)
    layers = (model[1].weight, model[4].weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=run.train.lr, weight_decay=run.train.weight_decay)
    fourth, squares, losses = [], [], []
    for _, rows in training.batches(96, run.train, seed=run.order_seed):
        fourth.append(torch.cat([each.detach().square().sum(1).square() for each in layers]))
        with torch.no_grad():
            losses.append(float(F.cross_entropy(model(inputs), split.labels)))
        optimiser.zero_grad()
        F.cross_entropy(model(inputs[rows]), split.labels[rows]).backward()
        squares.append(torch.cat([each.grad.square().sum(1) * each.detach().square().sum(1) for each in layers]))
        optimiser.step()
    fourth.append(torch.cat([each.detach().square().sum(1).square() for each in layers]))
    with torch.no_grad():
        logits = model(inputs)
    losses.append(float(F.cross_entropy(logits, split.labels)))
    return (
        torch.stack(fourth),
        torch.stack(squares),
        np.array(losses),
        float((logits.argmax(1) == split.labels).double().mean()),
    )


def rms(values):
    return float(np.sqrt(np.square(values).mean()))


def stretches(losses, looks):
    """Means of logarithms over sixths of the looks without the first."""
    return [np.mean(each) for each in np.array_split(np.log(losses)[looks][1:], 6)]


class TestNetwork:
    @pytest.mark.parametrize("own", [DECAY, 0.0])
    def test_is_held_against_the_law_and_rmsprop(self, store, own):
        """Recomputed from a training by torch, with loops in place of matrices; RMSProp has the decay of the claim."""
        run = changed(weight_decay=own)
        values = obtain(store, AdaptationSpec(run, DECAY)).values
        fourth, squares, losses, accuracy = followed(run)
        law, mean, blank = fourth[0], torch.zeros(12, dtype=torch.float64), []
        laws = [law]
        for each in squares:
            blank.append((2 * RATE * DECAY) ** 0.5 / mean.sqrt())
            mean = mean + 4 * RATE * DECAY * (each - mean)
            law = law - 4 * RATE * own * law + 2 * RATE**2 * each
            laws.append(law)
        late = slice(UPDATES // 2, None)
        assert values["error"] == pytest.approx(rms((torch.stack(laws) / fourth - 1)[late].numpy()), rel=1e-5)
        ratio = torch.stack(blank)[late] / (RATE / fourth[:-1].sqrt())[late]
        assert values["rmsprop"] == pytest.approx(rms(ratio.log().numpy()), rel=1e-6)
        tails = squares[late].square().mean(0) / squares[late].mean(0).square()
        assert values["left out"] == pytest.approx(rms((tails - 0.5).numpy()) * RATE * own, rel=1e-6)
        assert values["overlap"] < 1e-12
        assert values["accuracy"] == pytest.approx(accuracy)
        looks, curves = values["looks"], values["curves"]
        assert (looks[0], looks[-1], len(looks)) == (0, UPDATES, 61)
        assert curves["loss"] == pytest.approx(losses[looks], rel=1e-6)
        assert curves["fourth power"] == pytest.approx(fourth[looks, 0].numpy(), rel=1e-6)
        assert curves["law"] == pytest.approx(torch.stack(laws)[looks, 0].numpy(), rel=1e-6)
        geometric = (RATE / fourth.sqrt()).log().mean(1).exp()
        assert curves["steps"] == pytest.approx(geometric[looks[:-1]].numpy(), rel=1e-6)
        assert curves["RMSProp"] == pytest.approx(torch.stack(blank)[looks[1:-1]].log().mean(1).exp().numpy(), rel=1e-6)

    def test_whose_lengths_count_breaks_the_law(self, store):
        values = obtain(store, AdaptationSpec(RUN, DECAY, epsilon=0.1)).values
        assert values["overlap"] > 0.01
        assert values["error"] > 5 * obtain(store, AdaptationSpec(RUN, DECAY)).values["error"]


class TestTwins:
    def test_are_as_far_from_the_network_as_is_told(self, store):
        values = obtain(store, AdaptationSpec(RUN, DECAY, twins=TWINS)).values
        own, looks = followed(), values["looks"]
        nudged, other = followed(factor=1.0001), followed(dataclasses.replace(RUN, order_seed=1004))
        for name, twin in {"nudged": nudged, "other batches": other}.items():
            found = values[name]
            # The step is the rate by the square root of the fourth power; the last of these is after all updates.
            # The smallest distance is of the size of the nudge, and nine digits of logarithms are kept.
            assert found["steps"] == pytest.approx(rms(0.5 * (own[0] / twin[0]).log()[:-1].numpy()), rel=1e-4)
            apart = np.subtract(stretches(twin[2], looks), stretches(own[2], looks))
            assert found["loss"] == pytest.approx(rms(apart), rel=1e-3, abs=1e-9)
            assert found["curves"]["loss"] == pytest.approx(twin[2][looks], rel=1e-6)
            assert found["accuracy"] == pytest.approx(twin[3])
        steps = (RATE / own[0][:-1].sqrt()).log()
        assert values["constant"]["steps"] == pytest.approx(rms((steps - steps.mean(0)).numpy()), rel=1e-6)
        assert values["constant"]["curves"]["steps"] == pytest.approx([float(steps.mean().exp())] * 60, rel=1e-6)

    def test_that_adapt_stay_near(self, store):
        values = obtain(store, AdaptationSpec(RUN, DECAY, twins=TWINS)).values
        adaptive, constant = values["adaptive"], values["constant"]
        assert adaptive["curves"]["steps"][0] == pytest.approx(values["curves"]["steps"][0], rel=1e-9)
        assert adaptive["curves"]["loss"][0] == pytest.approx(values["curves"]["loss"][0], rel=1e-9)
        assert 0 < adaptive["steps"] < 0.3 * constant["steps"]
        assert 0 < adaptive["loss"] < 0.5 * constant["loss"]

    def test_of_a_network_without_decay_have_the_steps_of_the_claim(self, store):
        plain = obtain(store, AdaptationSpec(changed(weight_decay=0.0), DECAY, twins=TWINS[:2])).values
        assert plain["adaptive"]["steps"] > 2 * plain["constant"]["steps"]

    def test_are_counted_and_known(self):
        assert AdaptationSpec(RUN, DECAY).updates == UPDATES
        spec = AdaptationSpec(RUN, DECAY, twins=TWINS[:2])
        assert (spec.updates, spec.needs, spec.label, spec.twins) == (3 * UPDATES, (), RUN.label, TWINS[:2])
        with pytest.raises(ValueError, match="unknown twin 'lazy'"):
            AdaptationSpec(RUN, DECAY, twins=("lazy",))


def on_a_schedule(told):
    """By torch: weights of length 1 in steps of which the mean goes from the start to what it is told; losses too."""
    model, split = charges.with_epsilon(architecture(RUN), 1e-30).double().train(), dataset(RUN.data).train
    model.load_state_dict(drawn_start(RUN, model))
    units, others = [model[1].weight, model[4].weight], [model[7].weight, model[7].bias]
    others += [each for place in (2, 5) for each in (model[place].weight, model[place].bias)]
    told, mean = told.split(6), [2 * DECAY / RATE * each.detach().square().sum(1).square() for each in units]
    for each in units:
        each.data /= each.data.norm(dim=1, keepdim=True)
    steps, losses = [], []
    optimiser = torch.optim.SGD(others, lr=RATE, weight_decay=DECAY)
    for _, rows in training.batches(96, TRAIN, seed=RUN.order_seed):
        with torch.no_grad():
            losses.append(float(F.cross_entropy(model(split.inputs.double()), split.labels)))
        model.zero_grad()
        F.cross_entropy(model(split.inputs.double()[rows]), split.labels[rows]).backward()
        sizes = [(2 * RATE * DECAY / each).sqrt() for each in mean]
        steps.append(torch.cat(sizes))
        for each, size in zip(units, sizes, strict=True):
            moved = each.data - size[:, None] * each.grad
            each.data = moved / moved.norm(dim=1, keepdim=True)
        mean = [each + 4 * RATE * DECAY * (to - each) for each, to in zip(mean, told, strict=True)]
        optimiser.step()
    with torch.no_grad():
        losses.append(float(F.cross_entropy(model(split.inputs.double()), split.labels)))
    return torch.stack(steps), np.array(losses)


class TestSchedule:
    @pytest.mark.parametrize("own", [DECAY, 0.0])
    def test_is_as_far_from_the_steps_of_the_network_as_is_told(self, store, own):
        """Sums of all gradients so far, weighted by how much of each is left, in place of a recursion."""
        run, late = changed(weight_decay=own), slice(UPDATES // 2, None)
        fourth, squares, _, _ = followed(run)
        squares, steps = squares.numpy(), RATE / fourth[:-1].sqrt().numpy()
        order = rng.numpy_stream(RUN.order_seed, "shuffled").permutation(UPDATES)
        assert (np.diff(order) != 1).any()
        told = {"in order": squares, "shuffled": squares[order], "mean": np.tile(squares.mean(0), (UPDATES, 1))}
        found, f = obtain(store, ScheduleSpec(run, DECAY)).values["distances"], 4 * RATE * DECAY
        for name, each in told.items():
            weights = [f * (1 - f) ** (now - 1 - np.arange(now)) for now in range(UPDATES)]
            means = np.array([weight @ each[: len(weight)] for weight in weights])[late]
            wanted = rms(np.log((2 * RATE * DECAY / means) ** 0.5 / steps[late]))
            assert found[name] == pytest.approx(wanted, rel=1e-6), name
        spread = np.log(steps[late]).std(0)
        assert found["constant"] == pytest.approx(rms(spread), rel=1e-6)
        assert found.keys() == {*told, "constant"}
        assert found["in order"] == obtain(store, AdaptationSpec(run, DECAY)).values["rmsprop"]

    def test_is_followed_by_a_twin_that_sees_no_gradient(self, store):
        found, own = obtain(store, ScheduleSpec(RUN, DECAY)).values["twin"], followed()
        steps, losses = on_a_schedule(own[1].mean(0))
        assert found["steps"] == pytest.approx(rms((steps / (RATE / own[0][:-1].sqrt())).log().numpy()), rel=1e-6)
        looks = np.arange(UPDATES + 1)[obtain(store, AdaptationSpec(RUN, DECAY)).values["looks"]]
        apart = np.subtract(stretches(losses, looks), stretches(own[2], looks))
        assert found["loss"] == pytest.approx(rms(apart), rel=1e-5)

    def test_is_counted_and_is_that_of_sgd_without_momentum(self):
        spec = ScheduleSpec(RUN, DECAY)
        assert (spec.updates, spec.needs, spec.label) == (2 * UPDATES, (), RUN.label)
        with pytest.raises(ValueError, match="the law is that of SGD without momentum"):
            ScheduleSpec(changed(momentum=0.9), DECAY)


@pytest.mark.parametrize(
    "options",
    [{"precision": "float32"}, {"optimiser": "adamw"}, {"schedule": "cosine"}, {"warmup": 2}, {"momentum": 0.9}],
    ids=str,
)
def test_the_law_is_that_of_sgd_without_momentum_in_float64_at_a_constant_rate(options):
    with pytest.raises(ValueError, match="the law is that of SGD without momentum"):
        AdaptationSpec(changed(**options), DECAY)


def test_a_training_that_diverges_is_a_result(store):
    assert obtain(store, AdaptationSpec(changed(lr=1e200), DECAY)).values["diverged"] == [0]


def test_the_network_is_trained_here(store):
    obtain(store, AdaptationSpec(RUN, DECAY))
    assert store.find(fingerprint(RUN)) is None


def planted(values):
    return Found(len(values), {(place,): each for place, each in enumerate(values)})


# Numbers that differ by network, by rate and by quantity, so that a wrong index shows.
ERRORS = {0.4: [0.32, 0.05, 0.9], 0.1: [0.08, 0.025, 0.1]}
ALONG = {rate: planted([{"error": each} for each in errors]) for rate, errors in ERRORS.items()}
STEPS = planted(
    [
        {"rmsprop": 0.1, "adaptive": {"steps": 0.1, "loss": 0.3}, "constant": {"steps": 0.4, "loss": 0.5}},
        {"rmsprop": 0.2, "adaptive": {"steps": 0.2, "loss": 0.6}, "constant": {"steps": 0.5, "loss": 0.8}},
        {"rmsprop": 0.7, "adaptive": {"steps": 0.9, "loss": 0.1}, "constant": {"steps": 0.3, "loss": 0.2}},
    ]
)


class TestEvidence:
    def test_of_the_law_is_the_error_at_the_smallest_rate_and_its_order(self):
        found = law(ALONG)
        assert found["error"] == estimate_of_mean(np.array([0.08, 0.025, 0.1]))
        orders = np.log([4.0, 2.0, 9.0]) / np.log(4.0)
        assert found["order"].value == pytest.approx(orders.mean())
        assert found["order"].low == pytest.approx(estimate_of_mean(orders).low)
        assert found["order beyond"] == found["order"]
        assert found.keys() == {"error", "order", "order beyond"}

    def test_of_steps_are_the_distance_to_rmsprop_and_shares_of_each_network(self):
        found = steps(STEPS)
        assert found["rmsprop"] == estimate_of_mean(np.array([0.1, 0.2, 0.7]))
        wanted = {"steps": np.array([0.25, 0.4, 3.0]), "loss": np.array([0.6, 0.75, 0.5])}
        for what, values in wanted.items():
            assert share(STEPS, what) == pytest.approx(values)
            assert found[f"share {what}"].value == pytest.approx(values.mean())
            assert found[f"share {what}"].high == pytest.approx(estimate_of_mean(values).high)
        assert found.keys() == {"rmsprop", "share steps", "share loss"}

    def test_is_offered_by_the_package(self):
        assert experiments.adaptive.law is law
        assert experiments.adaptation.AdaptationSpec is AdaptationSpec


def test_measurements_of_a_run_that_follow_each_other_share_its_training(monkeypatch, store):
    """Of a run that no other test has, so that nothing of it is kept; another epsilon is another network."""
    run, orders = dataclasses.replace(RUN, order_seed=77), []
    free = Lengths.free
    monkeypatch.setattr(Lengths, "free", lambda here, *given: (orders.append(given), free(here, *given))[1])
    for spec in (ScheduleSpec(run, DECAY), AdaptationSpec(run, DECAY), AdaptationSpec(run, DECAY, epsilon=0.1)):
        spec.compute(store)
    assert orders == [(77,), (77,)]
