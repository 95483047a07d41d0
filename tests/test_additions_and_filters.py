"""Starts of networks that learn modular addition and of small convolutional ones: functions, measures, and evidence."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lmc_lib import rng
from lmc_lib.data import DataSpec
from lmc_lib.experiments import additions
from lmc_lib.experiments import filters as measured_filters
from lmc_lib.experiments.dynamics.additions import Accuracies, AdditionSpec, Arrivals
from lmc_lib.experiments.dynamics.filters import FilterCurves, FilterSpec
from lmc_lib.flow import filters, modular_addition
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

SEEDS = st.integers(0, 2**40)
PLAIN = {"schedule": "constant", "precision": "portable", "grid_bits": 40}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng.stream(seed, "additions", *shape), dtype=torch.float64)


class TestModularAddition:
    @given(SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_outputs_loss_and_accuracy_are_those_of_each_pair_of_numbers(self, seed):
        summands, read_out = draw(2, 2, 5, 6, seed=seed), draw(2, 6, 5, seed=seed)
        entries = draw(2, 5, 5, seed=seed) > 0.0
        entries[:, 1, 3] = True
        computed = modular_addition.outputs(summands, read_out)
        for network in (0, 1):
            missed, right = [], []
            for one in range(5):
                for other in range(5):
                    said = (summands[network, 0, one] + summands[network, 1, other]).clamp(min=0.0) @ read_out[network]
                    assert torch.allclose(computed[network, one, other], said)
                    if entries[network, one, other]:
                        missed.append(sum((float(said[k]) - ((one + other) % 5 == k)) ** 2 for k in range(5)))
                        right.append(int(said.argmax()) == (one + other) % 5)
            assert float(modular_addition.loss(computed, entries)[network]) == pytest.approx(np.mean(missed))
            assert float(modular_addition.accuracy(computed, entries)[network]) == pytest.approx(np.mean(right))

    @given(st.floats(0.1, 9.0), SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_starts_have_units_of_length_one_and_compute_zero_at_every_shift(self, shift, seed):
        found = modular_addition.start(7, 10, generator=rng.stream(seed))
        lengths = found["summands"].square().sum((0, 1)), found["read_out"].square().sum(1)
        for each in lengths:
            assert torch.allclose(each, torch.ones(10).double(), atol=1e-7)  # rounded to a grid of 2 ** -30
        assert not torch.allclose(found["read_out"][0], found["read_out"][1])
        zero = modular_addition.outputs(shift * found["summands"], found["read_out"] / shift)
        assert float(zero.abs().max()) < 1e-12

    @given(st.floats(0.1, 9.0), SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_shifts_keep_what_a_network_of_other_units_computes(self, shift, seed):
        """Units that no longer stand in pairs, so that there is something to compute."""
        summands, read_out = draw(2, 7, 5, seed=seed), draw(5, 7, seed=seed)
        said = modular_addition.outputs(summands, read_out)
        assert torch.allclose(modular_addition.outputs(shift * summands, read_out / shift), said)
        assert float(said.abs().max()) > 0.1


ADDITION = {
    "modulus": 5, "units": 8, "share": 0.6, "scale": 0.7, "shifts": (0.4, 1.0, 2.0), "looks": 4, "seeds": 3,
    "first_seed": 9000, "train": TrainConfig(9, lr=0.2, momentum=0.5, weight_decay=0.01, **PLAIN),
}  # fmt: skip


class TestNetworksThatAdd:
    def test_what_is_measured_is_that_of_a_plain_training(self, store):
        """Of one seed and shift, by torch's own optimiser, so that an axis in the wrong place is found."""
        spec = AdditionSpec(**ADDITION | {"train": TrainConfig(60, lr=0.5, momentum=0.5, weight_decay=0.01, **PLAIN)})
        found, seed, place = Accuracies.read(store, spec), 1, 2
        entries = spec.entries()[seed]
        layers = [each[seed].clone().requires_grad_() for each in spec.start(2.0).values()]
        optimiser = torch.optim.SGD(layers, lr=0.5, momentum=0.5, weight_decay=0.01)
        for step in range(1, 61):
            optimiser.zero_grad()
            modular_addition.loss(modular_addition.outputs(*layers), entries).backward()
            optimiser.step()
            if step in found.of("steps"):
                look = found.of("steps").tolist().index(step)
                computed = modular_addition.outputs(*layers)
                for split, each in (("train", entries), ("test", ~entries)):
                    wanted = float(modular_addition.accuracy(computed, each))
                    assert found.of(split)[seed, place, look] == pytest.approx(wanted)
        assert found.of("train")[seed, place, -1] > found.of("test")[seed, place, -1]

    def test_starts_of_a_seed_share_all_but_the_scale_of_layers(self):
        spec, again = AdditionSpec(**ADDITION), AdditionSpec(redrawn=True, **ADDITION)
        one, other = spec.start(0.4), spec.start(2.0)
        assert torch.allclose(5.0 * one["summands"], other["summands"])
        assert torch.allclose(one["read_out"], 5.0 * other["read_out"])
        assert torch.allclose(one["summands"].square().sum((1, 2)), torch.full((3, 8), (0.7 * 0.4) ** 2).double())
        assert torch.allclose(other["read_out"].square().sum(2), torch.full((3, 8), (0.7 / 2.0) ** 2).double())
        assert spec.entries().sum((1, 2)).tolist() == [15, 15, 15]
        assert not torch.equal(spec.entries()[0], spec.entries()[1])
        assert torch.equal(spec.entries(), again.entries())
        assert not torch.allclose(again.start(0.4)["summands"], one["summands"])

    def test_times_are_read_between_looks_and_end_at_the_horizon(self):
        steps, rows = [1, 10, 100, 1000], [[0.0, 0.5, 0.4, 0.9], [0.0, 0.1, 0.2, 0.3]]
        found = Accuracies({"steps": steps, "test": [rows, [[0.8, 0.9, 0.9, 0.9], [0.0, 0.0, 0.6, 1.0]]]})
        # What has fallen again counts as its best; of the look at which the level is reached nothing is taken away.
        wanted = [[10.0 ** (2 + 0.1 / 0.4), 1000.0], [1.0, 100.0]]
        assert found.updates("test", 0.6) == pytest.approx(np.array(wanted))
        assert found.reached("test", 0.6).tolist() == [[True, False], [True, True]]

    def test_gains_are_within_seeds_and_tell_times_from_delays(self):
        there = np.array([True, True, True])
        one = Arrivals(np.array([10.0, 10.0, 20.0]), np.array([100.0, 50.0, 200.0]), there)
        other = Arrivals(np.array([10.0, 100.0, 2.0]), np.array([1000.0, 500.0, 200.0]), there)
        found = additions.sooner(one, other)
        # Sooner by 1, 1 and 0 powers of ten; trained sooner by 0, 1 and -1.
        assert {name: each.value for name, each in found.items()} == pytest.approx({"sooner": 2 / 3, "delay": 2 / 3})
        found = additions.sooner(one, other._replace(trained=np.array([10.0, 100.0, 20.0])))
        assert {name: each.value for name, each in found.items()} == pytest.approx({"sooner": 2 / 3, "delay": 1 / 3})

    @pytest.mark.parametrize("horizon", [400, 2000, 20000])  # of all of these exp(log(.)) is a little less
    @pytest.mark.parametrize(("late", "wanted"), [
        ((True, True), (0.0, 0.0)),  # its delay would look shorter, as it was trained later
        ((True, False), (-1.0, -0.5)),
        ((False, True), (1.0, 1.5)),
        ((False, False), (0.0, 0.5)),
    ])  # fmt: skip
    def test_a_start_that_never_arrives_gains_nothing(self, horizon, late, wanted):
        """From accuracies: the one is trained at 10 updates and the other at 10 ** 0.5, in each of three seeds."""
        steps, one, other = [1, 10**0.5, 10, horizon / 10, horizon], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]
        never, comes = [0.0, 0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.9, 0.9]
        values = {"train": [[one, other]] * 3, "test": [[never if each else comes for each in late]] * 3}
        found = Accuracies({"steps": steps, **{name: np.array(each) * 0.99 if name == "train" else each
                                               for name, each in values.items()}})  # fmt: skip
        gains = additions.sooner(*(found.arrivals(place) for place in (0, 1)))
        assert found.arrivals(0).reached.tolist() == [not late[0]] * 3
        assert [gains["sooner"].value, gains["delay"].value] == pytest.approx(wanted)


def moran(image):
    """By its definition, over ordered pairs of pixels with a common edge."""
    size, pairs, total = len(image), 0, 0.0
    centred = image - image.mean()
    for place in np.ndindex(size, size):
        for other in np.ndindex(size, size):
            if sum(abs(one - two) for one, two in zip(place, other, strict=True)) == 1:
                pairs, total = pairs + 1, total + centred[place] * centred[other]
    return total / pairs / (centred**2).mean()


class TestFilters:
    def test_neighbours_are_those_of_the_definition(self):
        drawn = draw(2, 25, 3)
        wanted = [np.mean([moran(row[:, each].reshape(5, 5)) for each in range(3)]) for row in drawn.numpy()]
        assert filters.neighbours(drawn).tolist() == pytest.approx(wanted)

    @pytest.mark.parametrize(("size", "most"), [(4, 0.745), (5, 0.854)])
    def test_the_smoothest_filters_are_those_of_the_docstring(self, size, most):
        """The first eigenvector of the table of neighbours, less its mean on both sides."""
        rows = np.array([list(each) for each in np.ndindex(size, size)])
        table = (np.abs(rows[:, None] - rows).sum(-1) == 1).astype(float)
        centre = np.eye(size**2) - 1.0 / size**2
        values, vectors = np.linalg.eigh(centre @ table @ centre)
        found = float(filters.neighbours(torch.from_numpy(vectors[:, -1:].copy())))
        assert found == pytest.approx(most, abs=5e-4)
        assert found == pytest.approx(values[-1] * size / (4 * (size - 1)))

    def test_a_ramp_of_five_pixels_has_three_quarters(self):
        ramp = torch.arange(5.0).double().expand(5, 5).reshape(25, 1)
        assert float(filters.neighbours(ramp)) == pytest.approx(0.75)

    @pytest.mark.parametrize("leak", [0.0, 1.0])
    @pytest.mark.parametrize("moved", [("filters", "read_out"), ("second", "read_out")])
    def test_shifts_keep_what_a_network_of_other_channels_computes(self, leak, moved):
        weights = filters.start(8, 4, (3, 6), 5, generator=rng.stream(3))
        weights["second"] = weights["second"] + 0.1 * draw(27, 6)  # no longer in pairs
        shifted = weights | {moved[0]: 0.3 * weights[moved[0]], moved[1]: weights[moved[1]] / 0.3}
        seen = filters.patches(draw(3, 8, 8, 1), 4)
        said = filters.outputs(seen, weights, leak)
        assert torch.allclose(filters.outputs(seen, shifted, leak), said)
        assert float(said.abs().max()) > 1e-3

    @pytest.mark.parametrize("leak", [0.0, 1.0])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_outputs_are_those_of_torch(self, leak, stride):
        images = draw(2, 3, 8, 8)
        each = [filters.start(8, 3, (2, 4), 5, stride=stride, generator=rng.stream(seed)) for seed in (0, 1)]
        weights = {name: torch.stack([one[name] for one in each]) for name in filters.LAYERS}
        weights["second"] = weights["second"] + 0.1 * draw(2, 18, 4)  # no longer in pairs
        found = filters.outputs(filters.patches(images[..., None], 3, stride), weights, leak)
        for network in (0, 1):
            layers = {name: each[network] for name, each in weights.items()}
            hidden = functional.conv2d(images[network][:, None], layers["filters"].T.reshape(2, 1, 3, 3), stride=stride)
            hidden = functional.conv2d(functional.leaky_relu(hidden, leak), layers["second"].T.reshape(4, 2, 3, 3))
            flat = functional.leaky_relu(hidden, leak).permute(0, 2, 3, 1).flatten(1)
            assert torch.allclose(found[network], flat @ layers["read_out"])
            assert float(found[network].abs().max()) > 1e-3

    @given(st.floats(0.1, 9.0), st.sampled_from([0.0, 1.0]), SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_starts_have_layers_of_length_one_and_compute_zero_at_every_shift(self, shift, leak, seed):
        weights = filters.start(8, 4, (3, 6), 5, generator=rng.stream(seed))
        assert [float(each.norm()) for each in weights.values()] == pytest.approx([1.0, 1.0, 1.0], abs=1e-7)
        moved = weights | {"filters": shift * weights["filters"], "read_out": weights["read_out"] / shift}
        assert float(filters.outputs(filters.patches(draw(3, 8, 8, 1), 4), moved, leak).abs().max()) < 1e-12

    def test_turning_is_by_angle_and_filter(self):
        before = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double()
        now = torch.tensor([[3.0, 5.0], [3.0, 0.0]]).double()
        assert float(filters.turned(before, now)) == pytest.approx((1.0 - 0.5**0.5 + 1.0) / 2.0)
        assert float(filters.turned(before, 7.0 * before)) == pytest.approx(0.0)

    def test_neighbours_of_a_ramp_a_board_and_a_known_filter(self):
        columns = torch.arange(4.0).double().expand(4, 4)
        board = (-1.0) ** (columns + columns.T)
        # Less their mean, columns are -1.5 to 1.5: 12 pairs down of a square, and 12 across.
        pairs = (12 * 1.25 + 4 * (0.75 - 0.25 + 0.75)) / 24 / 1.25
        found = filters.neighbours(torch.stack([9.0 + columns.flatten(), board.flatten()], -1)[None])
        assert found.tolist() == pytest.approx([(pairs - 1.0) / 2.0])

    def test_neighbours_in_random_order_are_below_zero_by_one_over_their_number(self):
        drawn = draw(16, 4000)
        assert float(filters.neighbours(drawn)) == pytest.approx(-1.0 / 15.0, abs=0.01)  # three deviations are 0.009


FILTERS = {
    "data": DataSpec("digits", test_examples=20), "examples": 12, "size": 4, "channels": (3, 4), "scale": 1.5,
    "shifts": (0.4, 1.0), "looks": 3, "seeds": 2, "first_seed": 9000, "train": TrainConfig(5, lr=0.02, **PLAIN),
}  # fmt: skip


class TestSmallConvolutionalNetworks:
    @pytest.mark.parametrize("options", [{}, {"leak": 1.0}, {"moved": (1, 2)}, {"shuffled": True}])
    def test_what_is_measured_is_that_of_a_plain_training(self, store, options):
        """Of one seed and shift, by torch's own optimiser, so that an axis in the wrong place is found."""
        spec = FilterSpec(**FILTERS | options)
        found, drawn, seed, place = FilterCurves.read(store, spec), spec.drawn(), 1, 0
        start = {name: each[seed] for name, each in spec.start(0.4, 8, 10).items()}
        layers = {name: each.clone().requires_grad_() for name, each in start.items()}
        optimiser = torch.optim.SGD(layers.values(), lr=0.02, momentum=0.9)

        def outputs(images):
            return filters.outputs(filters.patches(images[..., None], 4), layers, options.get("leak", 0.0))

        wanted = functional.one_hot(drawn["labels"][seed], 10).double() - 0.1
        for _ in range(5):
            optimiser.zero_grad()
            (outputs(drawn["images"][seed]) - wanted).square().sum(-1).mean().backward()
            optimiser.step()
        told = {name: found.of(name)[seed, place, -1] for name in ("loss", *FilterCurves.MEASURES)}
        layers = {name: each.detach() for name, each in layers.items()}
        missed = (outputs(drawn["new"][seed]).argmax(-1) != drawn["new labels"][seed]).double().mean()
        assert told == pytest.approx({
            "loss": float((outputs(drawn["images"][seed]) - wanted).square().sum(-1).mean()) / 0.9,
            "turned": float(filters.turned(start["filters"], layers["filters"])),
            "neighbours": float(filters.neighbours(layers["filters"])), "missed": float(missed),
        }, abs=1e-8)  # fmt: skip
        assert told["turned"] > 1e-6

    def test_scale_is_moved_between_the_layers_that_are_named(self):
        spec, other = FilterSpec(**FILTERS), FilterSpec(moved=(1, 2), **FILTERS)
        lengths = [[float(each.norm()) / 2**0.5 for each in one.start(0.4, 8, 10).values()] for one in (spec, other)]
        assert lengths[0] == pytest.approx([0.6, 1.5, 3.75], abs=1e-6)
        assert lengths[1] == pytest.approx([1.5, 0.6, 3.75], abs=1e-6)

    def test_shuffled_images_have_the_same_pixels_in_one_order(self):
        plain, shuffled = FilterSpec(**FILTERS).drawn(), FilterSpec(shuffled=True, **FILTERS).drawn()
        orders = []
        for each in (plain, shuffled):
            pixels = torch.cat([each["images"], each["new"]], 1).flatten(2).mT.tolist()
            orders.append(pixels)
        for before, now in zip(*orders, strict=True):
            assert before != now
            assert sorted(before) == sorted(now)

    def test_evidence_is_a_difference_within_seeds_and_leaves_out_who_falls_short(self):
        one, other = np.array([0.3, 0.5, 0.4, 0.9]), np.array([0.1, 0.4, 0.3, 0.1])
        assert measured_filters.smoother(one, other)["smoother"].value == pytest.approx(1.2 / 4)
        found = measured_filters.smoother(one, np.array([0.1, 0.4, np.nan, 0.1]))
        assert found["smoother"].value == pytest.approx(1.1 / 3)
        found = measured_filters.smoother(np.array([np.nan, 0.5, 0.4, 0.9]), other)
        assert found["smoother"].value == pytest.approx(1.0 / 3)
