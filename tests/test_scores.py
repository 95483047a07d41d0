"""Scores of networks through the store: what a plain loop over a stored trajectory gives."""

import numpy as np
import pytest
import torch

from lmc_lib import difficulty, models, training
from lmc_lib.data import DataSpec, load
from lmc_lib.experiments.difficulty.scores import SAMPLES, ScoresSpec
from lmc_lib.experiments.difficulty.scores import read as read_scores
from lmc_lib.experiments.difficulty.scores import specs as score_specs
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import Diverged, TrainConfig

STEPS = (4, 8, 12)
CONFIG = TrainConfig(steps=12, batch_size=16, lr=0.1, precision="portable")
DIGITS = DataSpec("digits", train_examples=60, test_examples=40)


def run(seed=0, config=CONFIG, data=DIGITS, width=32, depth=1, save_at=()):
    return RunSpec(models.ModelSpec("mlp", width, depth), data, config, seed, seed, save_at)


def scored(seed=0, **options):
    return ScoresSpec(run(seed, **options), STEPS, early=4, neighbours=5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store):
    return read_scores(store, [scored(0), scored(1)])


@pytest.fixture(scope="module")
def trajectory(store):
    return obtain_run(store, run(1, save_at=STEPS))


@pytest.mark.parametrize("sample", SAMPLES)
class TestAgainstAStoredTrajectory:
    def logits(self, trajectory, sample):
        split = getattr(load(DIGITS), sample)
        model = models.build(run().model, (1, 8, 8), 10).double()
        with torch.no_grad():
            return model, split, [torch.func.functional_call(model, state, split.inputs.double()) for state in
                                  map(trajectory.at, STEPS)]  # fmt: skip

    def test_scores_of_logits_are_those_of_the_checkpoints(self, found, trajectory, sample):
        _, split, logits = self.logits(trajectory, sample)
        loss = np.stack([-z.log_softmax(1)[range(len(z)), split.labels].numpy() for z in logits])
        np.testing.assert_allclose(found.stack(sample, "mean loss")[1], loss.mean(0), rtol=1e-9)
        np.testing.assert_allclose(found.stack(sample, "final loss")[1], loss[-1], rtol=1e-9)
        np.testing.assert_allclose(found.stack(sample, "variability")[1], np.exp(-loss).std(0), rtol=1e-9)
        right = np.stack([(z.argmax(1) == split.labels).numpy() for z in logits])
        # To the bit: a share of checkpoints that came out otherwise in another order would break ties at random.
        np.testing.assert_array_equal(found.stack(sample, "mean accuracy")[1], -(right.sum(0) / len(STEPS)))
        np.testing.assert_array_equal(found.predictions[sample][1], logits[-1].argmax(1))

    def test_early_scores_are_those_of_one_checkpoint(self, found, trajectory, sample):
        model, split, logits = self.logits(trajectory, sample)
        one_hot = torch.nn.functional.one_hot(split.labels, 10)
        el2n = (logits[0].softmax(1) - one_hot).norm(dim=1).numpy()
        np.testing.assert_allclose(found.stack(sample, "early el2n")[1], el2n, rtol=1e-9)
        grand = difficulty.grand(model, trajectory.at(4), split.inputs.double(), split.labels)
        np.testing.assert_allclose(found.stack(sample, "early grand")[1], grand, rtol=1e-9)

    def test_the_variance_of_gradients_is_that_over_the_checkpoints(self, found, trajectory, sample):
        model, split, _ = self.logits(trajectory, sample)
        gradients = []
        for state in map(trajectory.at, STEPS):
            inputs = split.inputs.double().requires_grad_()
            p = torch.func.functional_call(model, state, inputs).softmax(1)[range(len(split)), split.labels]
            gradients.append(torch.autograd.grad(p.sum(), inputs)[0].flatten(1).numpy())
        expected = np.var(gradients, axis=0, ddof=1).mean(1)
        np.testing.assert_allclose(found.stack(sample, "vog")[1], expected, rtol=1e-8)

    def test_the_depth_counts_layers_from_the_input_to_the_logits(self, found, sample):
        depth = found.stack(sample, "prediction_depth")
        assert set(np.unique(depth)) <= {0.0, 1.0, 2.0, 3.0}  # input, one hidden layer, logits

    def test_a_training_example_has_no_vote_on_itself(self, found, trajectory, sample):
        here = setting(run(), train_examples=None, test_examples=None, matching_examples=1, reset_examples=1)
        layers = []
        for split in (here.splits["train"], here.splits[sample]):
            inputs = split.inputs.double()
            hidden = [each.numpy() for each in here.features(trajectory.final, inputs).values()]
            logits = torch.func.functional_call(here.model, trajectory.final, inputs).detach().numpy()
            layers.append([inputs.flatten(1).numpy(), *hidden, logits])
        labels, own = here.splits["train"].labels.numpy(), here.splits[sample].labels.numpy()
        depth = np.full(len(own), len(layers[0]), dtype=float)
        for number in reversed(range(len(layers[0]))):
            far = np.linalg.norm(layers[1][number][:, None] - layers[0][number][None], axis=2)
            if sample == "train":
                np.fill_diagonal(far, np.inf)
            nearest = labels[far.argsort(1)[:, :5]]
            votes = np.array([np.bincount(each, minlength=10).argmax() for each in nearest])
            depth = np.where((votes == own) & (depth == number + 1), number, depth)
        np.testing.assert_array_equal(found.stack(sample, "prediction_depth")[1], depth)


def test_means_are_over_networks(found):
    first, second = found.stack("test", "mean loss")
    np.testing.assert_array_equal(found.means("test", ["mean loss"]), [(first + second) / 2.0])
    assert found.means("train").shape == (len(found.names), 60)


def test_a_shallow_spec_has_the_same_scores_of_logits(store, found):
    spec = ScoresSpec(run(), STEPS, early=4, deep=False)
    plain = read_scores(store, [spec])
    assert set(found.names) - set(plain.names) == {"early grand", "vog", "prediction_depth", "prototype_distance"}
    for name in plain.names:
        np.testing.assert_array_equal(plain.stack("train", name)[0], found.stack("train", name)[0])


def test_checkpoints_come_as_they_are_made_and_are_those_of_the_trajectory(trajectory):
    model = models.build(run().model, (1, 8, 8), 10)
    start = models.initialise(model, generator=torch.Generator().manual_seed(0))
    options = {"seed": 0, "save_at": STEPS}
    whole = training.train(model, start, load(DIGITS).train, CONFIG, **options)
    came = training.checkpoints(model, start, load(DIGITS).train, CONFIG, **options)
    first = next(came)
    assert first.step == 4
    for step, state, memory in [first, *came]:
        assert all(torch.equal(state[name], whole.at(step)[name]) for name in state)
        assert all(torch.equal(memory[name], whole.memory(step)[name]) for name in memory)


def test_replicates_differ_in_weights_and_order_and_are_scored_evenly():
    specs = score_specs(run().model, DIGITS, CONFIG, replicates=3, checkpoints=4, deep=False)
    assert [(each.run.init_seed, each.run.order_seed) for each in specs] == [(0, 0), (1, 1), (2, 2)]
    assert {(each.checkpoints, each.early, each.deep) for each in specs} == {((3, 6, 9, 12), 3, False)}


class TestErrors:
    @pytest.mark.parametrize("checkpoints", [1, 13])
    def test_checkpoints_fit_the_training(self, checkpoints):
        with pytest.raises(ValueError, match=f"2 to 12 checkpoints of this training, not {checkpoints}"):
            score_specs(run().model, DIGITS, CONFIG, replicates=3, checkpoints=checkpoints)

    def test_the_early_step_is_a_checkpoint(self):
        with pytest.raises(ValueError, match=r"early step 5 is none of the checkpoints \(4, 8, 12\)"):
            ScoresSpec(run(), STEPS, early=5)

    def test_a_network_that_diverged_is_left_out_and_named(self, store, found):
        wild = scored(config=TrainConfig(steps=12, batch_size=16, lr=1e30, schedule="constant"))
        assert "diverged" in obtain(store, wild).values
        both = read_scores(store, [wild, scored(1)])
        assert both.diverged == (0,)
        np.testing.assert_array_equal(both.stack("test", "vog"), found.stack("test", "vog")[1:])
        with pytest.raises(Diverged):
            read_scores(store, [wild])

    def test_examples_must_be_the_same(self, store):
        other = scored(data=DataSpec("digits", train_examples=50, test_examples=40))
        with pytest.raises(ValueError, match="the same scores of the same examples"):
            read_scores(store, [scored(), other])

    def test_an_unknown_score_says_which_there_are(self, found):
        with pytest.raises(KeyError, match=r"no score 'mean luck' of the sample 'train'.*mean accuracy"):
            found.stack("train", "mean luck")
