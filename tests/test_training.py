"""Training: equal to torch's own optimisers, reproducible to the bit, and free of side effects."""

import copy
import math
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lmc_lib import data, models, rng, state
from lmc_lib.data import Split
from lmc_lib.training import (
    PRECISIONS,
    Diverged,
    TrainConfig,
    Trajectory,
    batches,
    checkpoints,
    learning_rate,
    stacked_batches,
    train,
    train_stack,
)

EXAMPLES, CLASSES, BATCH = 96, 4, 32

OPTIMISERS = [
    pytest.param({"momentum": 0.0}, id="sgd"),
    pytest.param({}, id="momentum"),
    pytest.param({"weight_decay": 0.01}, id="momentum-decay"),
    pytest.param({"optimiser": "adamw", "lr": 0.01}, id="adamw"),
    pytest.param({"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1}, id="adamw-decay"),
]


@pytest.fixture(scope="module")
def split():
    generator = rng.stream(0, "test", "split")
    inputs = torch.randn(EXAMPLES, 1, 8, 8, generator=generator)
    return Split(inputs, torch.randint(CLASSES, (EXAMPLES,), generator=generator))


@pytest.fixture(scope="module")
def mlp():
    model = models.mlp(64, CLASSES, widths=(16, 16))
    return model, start_of(model)


@pytest.fixture(scope="module")
def mlp_batch():
    model = models.mlp(64, CLASSES, widths=(16, 16), norm="batch")
    return model, start_of(model)


def start_of(model):
    return models.initialise(model, generator=rng.stream(0, "test", "start"))


def config(**options):
    return TrainConfig(**{"steps": 9, "batch_size": BATCH, "lr": 0.05, "schedule": "constant"} | options)


def plain_loop(model, start, split, config, *, seed, dtype):
    """The oracle: the same batches through ``torch.optim``, by the plainest loop there is."""
    network = copy.deepcopy(model).to(dtype)
    network.load_state_dict(state.cast(start, dtype))
    if config.optimiser == "sgd":
        options = {"momentum": config.momentum, "weight_decay": config.weight_decay}
        optimiser = torch.optim.SGD(network.parameters(), lr=config.lr, **options)
    else:
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    per_epoch = len(split) // config.batch_size
    for step in range(config.steps):
        generator = rng.stream(seed, "order", step // per_epoch)
        rows = data.batch_order(len(split), config.batch_size, generator=generator)[step % per_epoch]
        optimiser.zero_grad()
        F.cross_entropy(network(split.inputs[rows].to(dtype)), split.labels[rows]).backward()
        optimiser.step()
    return {name: value.detach() for name, value in network.state_dict().items()}


def largest_difference(a, b):
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


class TestOracle:
    @pytest.mark.parametrize("options", OPTIMISERS)
    def test_float32_equals_torch_optim_to_the_bit(self, mlp, split, options):
        chosen = config(steps=20, **options)
        expected = plain_loop(*mlp, split, chosen, seed=3, dtype=torch.float32)
        assert state.fingerprint(train(*mlp, split, chosen, seed=3).final) == state.fingerprint(expected)

    @pytest.mark.parametrize("options", OPTIMISERS)
    def test_portable_on_a_fine_grid_equals_torch_optim_in_float64(self, mlp, split, options):
        chosen = config(steps=60, precision="portable", grid_bits=45, **options)
        expected = plain_loop(*mlp, split, chosen, seed=3, dtype=torch.float64)
        # A gradient moves by at most 2^-46 = 1.4e-14 a step, through a rate of 0.05, a momentum that sums 10 steps and
        # 60 steps: below 1e-12 if training does not amplify it. AdamW rounds its update to 2^-34 = 6e-11, through a
        # rate of 0.01 and 60 steps: below 4e-11. Both have a factor of 3 to spare; a wrong recursion is off by 1e-3.
        tolerance = 1e-10 if chosen.optimiser == "adamw" else 3e-12
        assert largest_difference(train(*mlp, split, chosen, seed=3).final, expected) < tolerance

    def test_batch_normalisation_statistics_follow_the_plain_loop(self, mlp_batch, split):
        expected = plain_loop(*mlp_batch, split, config(), seed=3, dtype=torch.float32)
        found = train(*mlp_batch, split, config(), seed=3).final
        assert state.fingerprint(found) == state.fingerprint(expected)
        assert int(found["2.num_batches_tracked"]) == 9

    def test_convolutions_agree_with_the_plain_loop_whatever_their_memory_format(self, split):
        model = models.build(models.parse("vgg-11-batch", 4), (1, 8, 8), CLASSES)
        expected = plain_loop(model, start_of(model), split, config(steps=3), seed=3, dtype=torch.float32)
        found = train(model, start_of(model), split, config(steps=3), seed=3).final
        # Another order of summation: some float32 roundings (6e-8 of values near 1), amplified through 11 layers.
        assert largest_difference(found, expected) < 1e-4

    def test_schedule_reaches_the_optimiser(self, mlp, split):
        # Plain SGD with rate 0 from step 5 on does not move any more.
        chosen = config(momentum=0.0, schedule="steps", milestones=(5,) * 400)
        trajectory = train(*mlp, split, chosen, seed=0, save_at=(4, 5))
        assert state.fingerprint(trajectory.at(5)) == state.fingerprint(trajectory.final)
        assert state.distance(trajectory.at(4), trajectory.at(5)) > 0

    def test_portable_gradients_lie_on_the_grid(self, mlp, split):
        # One step at rate 1 from weights on a finer grid: what is subtracted is the rounded gradient itself, exactly.
        chosen = config(steps=1, lr=1.0, precision="portable", grid_bits=10)
        moved = train(*mlp, split, chosen, seed=0).final
        for name, value in mlp[1].items():
            scaled = (value - moved[name]) * 2.0**10
            assert torch.equal(scaled, scaled.round())
        assert largest_difference(moved, mlp[1]) > 0

    @pytest.mark.slow
    def test_narrow_residual_networks_train_in_float32(self):
        # In a process of its own: a strided 1x1 convolution with the channels last and fewer than 8 (AVX2) or 16
        # (AVX-512) input channels writes past its buffer in oneDNN (uxlfoundation/oneDNN#6035): it may crash or hang.
        done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        # Float32 against float64 for four steps: roundings of 6e-8, amplified by a few hundred operations in depth.
        assert [float(word) < 1e-3 for word in done.stdout.split()] == [True, True]


NARROW = """
import torch
torch.set_num_threads(1)
from lmc_lib import data, models, rng, state, training
split = data.load(data.DataSpec("digits", train_examples=128)).train
for name in ("resnet-8-layer", "resnet-8-batch"):
    model = models.build(models.parse(name, 4), (1, 8, 8), 10)
    start = models.initialise(model, generator=rng.stream(0, "test"))
    single, double = (
        training.train(model, start, split, training.TrainConfig(4, 32, lr=0.01, precision=precision), seed=0).final
        for precision in ("float32", "portable")
    )
    print(state.distance(single, double) / state.norm(double))
"""


def masks_of(start, *, share=0.6):
    """Masks of the weights with more than one dimension that leave about this share, at random places."""
    generator = rng.stream(0, "test", "masks")
    return {
        name: torch.rand(value.shape, generator=generator) < share for name, value in start.items() if value.dim() > 1
    }


class TestMasks:
    @pytest.mark.parametrize("precision", PRECISIONS)
    @pytest.mark.parametrize("options", OPTIMISERS)
    def test_removed_weights_are_zero_at_the_start_and_after_every_step(self, mlp, split, options, precision):
        masks = masks_of(mlp[1])
        chosen = config(**options, precision=precision)
        trajectory = train(*mlp, split, chosen, seed=3, save_at=range(10), masks=masks)
        for kept in trajectory.states:
            for name, mask in masks.items():
                assert torch.equal(kept[name] == 0, ~mask)
                assert not bool(
                    torch.signbit(kept[name][~mask]).any()
                )  # zero has no sign, so equal states have equal bits

    @pytest.mark.parametrize("options", OPTIMISERS)
    @pytest.mark.parametrize("precision", ["float32", "portable"])
    def test_the_others_move_as_if_the_removed_ones_were_not_there(self, split, options, precision):
        # The oracle: a narrower network. Masks that remove all weights from and to some units leave its training.
        # The units that stay come first, so that sums have the same order.
        wide, narrow = models.mlp(64, CLASSES, widths=(16,)), models.mlp(64, CLASSES, widths=(8,))
        start = start_of(wide)
        first, bias, second, last = start
        small = {first: start[first][:8], bias: start[bias][:8], second: start[second][:, :8], last: start[last]}
        masks = {name: torch.zeros_like(start[name], dtype=torch.bool) for name in (first, second)}
        masks[first][:8], masks[second][:, :8] = True, True
        chosen = config(**options, precision=precision)
        expected = train(narrow, small, split, chosen, seed=3).final
        found = train(wide, start, split, chosen, seed=3, masks=masks).final
        # Another blocking of the sums: some roundings of float32; of float64, a gradient's grid step may flip.
        tolerance = 1e-4 if precision == "float32" else 1e-5
        parts = {first: found[first][:8], bias: found[bias][:8], second: found[second][:, :8], last: found[last]}
        assert largest_difference(parts, expected) < tolerance

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_no_masks_and_masks_that_leave_everything_change_no_bit(self, mlp_batch, split, precision):
        chosen = config(precision=precision)
        plain = train(*mlp_batch, split, chosen, seed=3).final
        for masks in ({}, masks_of(mlp_batch[1], share=2.0)):
            found = train(*mlp_batch, split, chosen, seed=3, masks=masks).final
            assert state.fingerprint(found) == state.fingerprint(plain)

    def test_convolutions_stay_pruned_whatever_their_memory_format(self, split):
        model = models.build(models.parse("vgg-11-batch", 4), (1, 8, 8), CLASSES)
        masks = masks_of(start_of(model))
        found = train(model, start_of(model), split, config(steps=3), seed=3, masks=masks).final
        assert all(torch.equal(found[name] == 0, ~mask) for name, mask in masks.items())

    def test_a_start_under_masks_and_a_masked_start_are_the_same(self, mlp, split):
        masks = masks_of(mlp[1])
        found, expected = (
            train(mlp[0], start, split, config(), seed=3, masks=masks).final
            for start in (mlp[1], state.masked(mlp[1], masks))
        )
        assert state.fingerprint(found) == state.fingerprint(expected)

    def test_a_mask_that_fits_no_parameter_is_refused(self, mlp_batch, split):
        model, start = mlp_batch
        for masks, words in [
            ({"other": torch.ones(2, dtype=torch.bool)}, "other, which is not in the state"),
            ({"1.weight": torch.ones(2, dtype=torch.bool)}, r"shape \(2,\)"),
            ({"2.running_mean": torch.ones(16, dtype=torch.bool)}, "2.running_mean, which is a buffer"),
        ]:
            with pytest.raises(ValueError, match=words):
                train(model, start, split, config(), seed=3, masks=masks)


class TestRules:
    def test_take_the_place_of_the_optimiser(self, mlp_batch, split):
        """One that is SGD with weight decay gives its weights; it sees each gradient once, and the rates in turn."""
        options = config(
            steps=7, momentum=0.0, weight_decay=0.05, schedule="linear", precision="portable", grid_bits=52
        )
        (model, start), rates = mlp_batch, []

        def rule(parameters, rate):
            rates.append(rate)
            with torch.no_grad():
                for each in parameters.values():
                    each.sub_(rate * (each.grad + 0.05 * each))

        found = [*checkpoints(model, start, split, options, seed=3, save_at=(4,), rule=rule)]
        wanted = train(model, start, split, options, seed=3, save_at=(4,))
        assert [each.step for each in found] == [4, 7]
        assert [each.memory for each in found] == [{}, {}]
        assert rates == [learning_rate(options, step) for step in range(7)]
        for each, weights in zip(found, wanted.states, strict=True):
            # Statistics of portable trainings are rounded to multiples of 2 ** -30, those of a rule are not.
            assert largest_difference(each.state, weights) < 1e-8


class TestSchedules:
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_decay_runs_from_the_peak_through_its_half_to_zero(self, schedule):
        chosen = config(steps=110, warmup=10, schedule=schedule, lr=0.4)
        # Cosines are rounded to 1e-12.
        found = [learning_rate(chosen, step) for step in (10, 60, 110)]
        assert found == pytest.approx([0.4, 0.2, 0.0], abs=1e-12)

    def test_linear_and_cosine_have_their_closed_forms(self):
        for step in range(10, 111):
            elapsed = (step - 10) / 100
            linear = learning_rate(config(steps=110, warmup=10, schedule="linear", lr=0.4), step)
            cosine = learning_rate(config(steps=110, warmup=10, schedule="cosine", lr=0.4), step)
            assert linear == pytest.approx(0.4 * (1 - elapsed), abs=1e-12)
            assert cosine == pytest.approx(0.2 * (1 + math.cos(math.pi * elapsed)), abs=1e-12)

    @pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "steps"])
    def test_warmup_rises_in_equal_parts_to_the_peak(self, schedule):
        chosen = config(steps=100, warmup=4, schedule=schedule, lr=0.4, milestones=(50,))
        assert [learning_rate(chosen, step) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])

    def test_constant_stays(self):
        assert {learning_rate(config(steps=100, lr=0.4), step) for step in range(100)} == {0.4}

    def test_every_milestone_divides_by_ten_from_its_step_on(self):
        chosen = config(steps=100, schedule="steps", milestones=(50, 75), lr=0.4)
        found = [learning_rate(chosen, step) for step in (0, 49, 50, 74, 75, 99)]
        assert found == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


class TestReproducibility:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_same_arguments_give_the_same_bits(self, mlp, split, precision):
        chosen = config(steps=2, precision=precision, augment=True)
        once, again = (state.fingerprint(train(*mlp, split, chosen, seed=5).final) for _ in range(2))
        assert once == again

    def test_another_seed_gives_other_weights(self, mlp, split):
        found = {state.fingerprint(train(*mlp, split, config(), seed=seed).final) for seed in range(4)}
        assert len(found) == 4

    @pytest.mark.parametrize("precision", ["float32", "portable"])
    @pytest.mark.parametrize("step", [1, 3, 5], ids=["within an epoch", "between epochs", "in the second epoch"])
    def test_without_momentum_a_restart_at_a_checkpoint_changes_nothing(self, mlp_batch, split, precision, step):
        model, start = mlp_batch
        chosen = config(momentum=0.0, schedule="cosine", warmup=2, precision=precision, augment=True)
        whole = train(model, start, split, chosen, seed=0, save_at=(step,))
        rest = train(model, whole.at(step), split, chosen, seed=0, start_step=step)
        assert state.fingerprint(rest.final) == state.fingerprint(whole.final)

    def test_with_momentum_a_restart_changes_the_weights(self, mlp, split):
        model, start = mlp
        whole = train(model, start, split, config(), seed=0, save_at=(5,))
        rest = train(model, whole.at(5), split, config(), seed=0, start_step=5)
        assert state.fingerprint(rest.final) != state.fingerprint(whole.final)

    def test_augmentation_is_a_stream_of_its_own(self, mlp, split):
        plain, augmented = (train(*mlp, split, config(augment=each), seed=0).final for each in (False, True))
        assert state.distance(plain, augmented) > 0

    def test_checkpoints_do_not_disturb_the_training(self, mlp, split):
        plain = train(*mlp, split, config(), seed=0).final
        watched = train(*mlp, split, config(), seed=0, save_at=range(10)).final
        assert state.fingerprint(plain) == state.fingerprint(watched)


class TestTrajectory:
    def test_checkpoints_are_kept_in_the_order_of_the_steps(self, mlp, split):
        trajectory = train(*mlp, split, config(), seed=0, save_at=(7, 0, 3))
        assert trajectory.steps == (0, 3, 7, 9)
        assert len({state.fingerprint(each) for each in trajectory.states}) == 4
        assert trajectory.at(9) is trajectory.final

    def test_the_checkpoint_at_the_start_is_the_start(self, mlp, split):
        found = train(*mlp, split, config(precision="portable"), seed=0, save_at=(0,)).at(0)
        assert state.fingerprint(found) == state.fingerprint(mlp[1])

    def test_a_checkpoint_equals_a_training_that_ends_there(self, mlp, split):
        # Holds for a constant rate, which does not look at the number of steps.
        found = train(*mlp, split, config(), seed=0, save_at=(4,)).at(4)
        assert state.fingerprint(found) == state.fingerprint(train(*mlp, split, config(steps=4), seed=0).final)

    def test_no_steps_return_the_start(self, mlp, split):
        trajectory = train(*mlp, split, config(steps=0, precision="portable"), seed=0)
        assert trajectory.steps == (0,)
        assert state.fingerprint(trajectory.final) == state.fingerprint(mlp[1])

    def test_a_missing_checkpoint_is_named_with_those_that_there_are(self, mlp, split):
        with pytest.raises(KeyError, match="no checkpoint at step 4; there are 2, 9"):
            train(*mlp, split, config(), seed=0, save_at=(2,)).at(4)

    @pytest.mark.parametrize(("start", "outside"), [(0, -1), (0, 10), (5, 4)])
    def test_a_checkpoint_outside_the_training_is_refused(self, mlp, split, start, outside):
        with pytest.raises(ValueError, match=f"checkpoint at step {outside}: the training runs from {start} to 9"):
            train(*mlp, split, config(), seed=0, start_step=start, save_at=(outside,))

    def test_a_start_behind_the_end_is_refused(self, mlp, split):
        with pytest.raises(ValueError, match="10"):
            train(*mlp, split, config(), seed=0, start_step=10)

    def test_batches_of_several_trainings_are_those_of_each(self):
        """Over the end of an epoch, whose last examples make no batch."""
        chosen = config(steps=5, batch_size=4)
        stacked = list(stacked_batches(11, chosen, seeds=[7, 2, 5]))
        assert [each.shape for each in stacked] == [(3, 4)] * 5
        for row, seed in enumerate([7, 2, 5]):
            own = [rows for _, rows in batches(11, chosen, seed=seed)]
            assert all(torch.equal(each[row], rows) for each, rows in zip(stacked, own, strict=True))

    def test_a_batch_larger_than_the_data_is_refused(self, mlp, split):
        with pytest.raises(ValueError, match="a batch of 97 does not fit into 96 examples"):
            train(*mlp, split, config(batch_size=97), seed=0)

    def test_comes_back_from_its_tensors(self, mlp, split):
        model, start = mlp
        whole = train(model, start, split, config(steps=13), seed=3, save_at=[1, 11])
        tensors = whole.tensors(remember=[1])
        again = Trajectory.of_tensors(list(whole.steps), dict(reversed(tensors.items())))
        assert again.steps == whole.steps == (1, 11, 13)
        for step in whole.steps:  # the names of step 11 hold those of step 1
            assert state.fingerprint(again.at(step)) == state.fingerprint(whole.at(step))
        assert state.fingerprint(again.memory(1)) == state.fingerprint(whole.memory(1))
        assert again.memory(11) == {}


class TestSideEffects:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_model_and_state_are_unchanged(self, mlp_batch, split, precision):
        model, start = mlp_batch
        model.eval()
        before = [state.fingerprint(model.state_dict()), state.fingerprint(start)]
        train(model, start, split, config(steps=2, precision=precision), seed=0)
        assert [state.fingerprint(model.state_dict()), state.fingerprint(start)] == before
        assert not model.training
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_states_share_no_memory_and_carry_no_gradient(self, mlp, split):
        trajectory = train(*mlp, split, config(steps=2), seed=0, save_at=(0, 1, 2))
        tensors = [value for each in (*trajectory.states, mlp[1]) for value in each.values()]
        assert len({value.data_ptr() for value in tensors}) == len(tensors)
        assert not any(value.requires_grad for value in tensors)

    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_global_random_streams_are_untouched(self, mlp, split, precision):
        def streams():
            legacy = np.random.get_state()  # noqa: NPY002 -- to see that nobody uses it
            return torch.get_rng_state().tolist(), legacy[1].tolist(), legacy[2], random.getstate()

        before = streams()
        train(*mlp, split, config(steps=2, augment=True, precision=precision), seed=0)
        assert streams() == before


class TestPrecisions:
    @pytest.mark.parametrize(
        ("precision", "dtype"),
        [("float32", torch.float32), ("bfloat16", torch.float32), ("portable", torch.float64)],
    )
    @pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
    def test_convolutional_network_learns_in_every_precision(self, split, precision, dtype, norm):
        model = models.build(models.parse(f"vgg-11-{norm}", 4), (1, 8, 8), CLASSES)
        start = start_of(model)
        # Two steps: without AMX or AVX-512, bfloat16 products are emulated and slow.
        final = train(model, start, split, config(steps=2, precision=precision), seed=0).final
        assert {value.dtype for value in final.values() if value.is_floating_point()} == {dtype}
        assert {name: value.shape for name, value in final.items()} == {n: v.shape for n, v in start.items()}
        assert all(value.is_contiguous() for value in final.values())
        assert state.is_finite(final)
        assert state.distance(final, start) > 0

    def test_bfloat16_rounds_products_and_nothing_else(self, mlp, split):
        single, half = (train(*mlp, split, config(steps=2, precision=p), seed=0).final for p in ("float32", "bfloat16"))
        moved = state.distance(single, state.cast(mlp[1], torch.float32))
        # bfloat16 has 8 bits: gradients are off by some 2^-8, so the way moved is off by a few percent, not by all.
        assert 0 < state.distance(single, half) < 0.1 * moved

    @pytest.mark.parametrize("bits", [8, 24])
    def test_portable_keeps_normalisation_statistics_on_the_grid(self, mlp_batch, split, bits):
        final = train(*mlp_batch, split, config(precision="portable", grid_bits=bits), seed=0).final
        statistics = {name: value for name, value in final.items() if "running" in name}
        assert len(statistics) == 4
        for value in statistics.values():
            scaled = value * 2.0**30
            assert torch.equal(scaled, scaled.round())


class TestDivergence:
    @pytest.mark.parametrize(("precision", "lr"), [("float32", 1e30), ("bfloat16", 1e30), ("portable", 1e200)])
    def test_infinite_loss_is_raised_with_its_step(self, mlp, split, precision, lr):
        with pytest.raises(Diverged, match=r"diverged: the loss is (nan|inf) at step 2") as caught:
            train(*mlp, split, config(steps=3, lr=lr, precision=precision), seed=0)
        assert caught.value.step == 2
        assert not math.isfinite(caught.value.loss)

    def test_divergence_is_seen_long_before_the_end(self, mlp, split):
        with pytest.raises(Diverged) as caught:
            train(*mlp, split, config(lr=1e30, steps=10_000), seed=0)
        assert caught.value.step <= 20

    def test_no_checkpoint_is_kept_of_a_diverged_training(self, mlp, split):
        with pytest.raises(Diverged) as caught:
            train(*mlp, split, config(lr=1e30), seed=0, save_at=(5,))
        assert caught.value.step == 4

    def test_divergence_travels_between_processes(self):
        found = pickle.loads(pickle.dumps(Diverged(3, math.inf)))
        assert (found.step, found.loss) == (3, math.inf)


class TestConfig:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"optimiser": "adam"}, "unknown optimiser 'adam'; there are sgd, adamw"),
            ({"schedule": "step"}, "unknown schedule 'step'; there are constant, linear, cosine, steps"),
            ({"precision": "float16"}, "unknown precision 'float16'; there are float32, bfloat16, portable"),
            ({"steps": -1}, "do not make a training"),
            ({"batch_size": 0}, "do not make a training"),
            ({"lr": -0.1}, "do not make a training"),
            ({"warmup": -1}, "do not make a training"),
            ({"warmup": 11}, "do not make a training"),
        ],
    )
    def test_wrong_values_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            TrainConfig(**{"steps": 10} | options)

    @pytest.mark.parametrize("options", [{"warmup": 10}, {"steps": 0}, {"lr": 0.0}, {"batch_size": 1}])
    def test_the_limits_themselves_are_accepted(self, options):
        assert TrainConfig(**{"steps": 10} | options)


@pytest.mark.parametrize("precision", ["float32", "portable"])
@pytest.mark.parametrize("options", OPTIMISERS)
def test_a_training_taken_up_with_its_memory_gives_the_same_bits(mlp_batch, split, options, precision):
    model, start = mlp_batch
    here = config(**options, precision=precision)
    whole = train(model, start, split, here, seed=3, save_at=[0, 5])
    for step in (0, 5):
        taken_up = train(model, whole.at(step), split, here, seed=3, start_step=step, memory=whole.memory(step))
        assert state.fingerprint(taken_up.final) == state.fingerprint(whole.final)
    if options.get("momentum") != 0.0:
        afresh = train(model, whole.at(5), split, here, seed=3, start_step=5)
        assert state.fingerprint(afresh.final) != state.fingerprint(whole.final)


@pytest.mark.parametrize("precision", ["float32", "portable"])
def test_the_memory_of_another_optimiser_is_refused(mlp, split, precision):
    model, start = mlp
    sgd, adamw = (config(optimiser=each, precision=precision) for each in ("sgd", "adamw"))
    memory = train(model, start, split, sgd, seed=3, save_at=[2]).memory(2)
    with pytest.raises(ValueError, match=r"momentum_buffer.*exp_avg.*another optimiser"):
        train(model, start, split, adamw, seed=3, start_step=2, memory=memory)


@pytest.mark.parametrize("precision", ["float32", "portable"])
def test_states_and_memories_of_a_stack_have_the_names_of_its_weights(precision):
    start = {"0.weight": torch.tensor([[2.0], [3.0]]), "a/b": torch.tensor([[1.0], [5.0]])}
    seen = []

    def losses(weights, step):
        seen.append(set(weights))
        return (weights["0.weight"] * weights["a/b"]).square().sum(-1)

    *_, last = train_stack(losses, start, TrainConfig(2, lr=0.01, precision=precision))
    assert last.state.keys() == start.keys()
    assert last.memory.keys() == {f"momentum_buffer/{name}" for name in start}
    assert seen == [set(start)] * 2
    assert not any(value.requires_grad for value in last.state.values())
