"""Straight lines from the start: bumps by hand, Gauss lengths of known paths, lines as a plain loop makes them."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import experiments, models, norms, rng, state
from lmc_lib.connectivity import bump_height, evaluate, gauss_lengths
from lmc_lib.data import DataSpec
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.monotonicity import Cell, evidence, learnt, read, shares, violations
from lmc_lib.experiments.networks.runs import RunSpec, drawn_start, obtain_run
from lmc_lib.experiments.networks.straight_lines import StraightLineSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

ONE = torch.ones(3, 1, dtype=torch.float64)


class Curve(nn.Module):
    """Its answer to any input is a curve in the plane, at the time that is its only weight."""

    def __init__(self, curve):
        super().__init__()
        self.time = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.curve = curve

    def forward(self, x):
        return x * torch.cat(self.curve(self.time)).unsqueeze(0)


def lengths(curve, end=1.0, points=201):
    start, stop = ({"time": torch.tensor([each], dtype=torch.float64)} for each in (0.0, end))
    return [float(each.mean()) for each in gauss_lengths(Curve(curve), start, stop, ONE, points=points)]


class TestBump:
    @given(st.lists(st.floats(-9, 9), min_size=1, max_size=9))
    def test_is_the_largest_rise_from_one_point_to_a_later_one(self, values):
        rises = [later - values[i] for i in range(len(values)) for later in values[i:]]
        assert bump_height(torch.tensor(values, dtype=torch.float64)) == max(rises)

    @given(st.lists(st.floats(-9, 9), min_size=1, max_size=9))
    def test_there_is_none_where_values_fall(self, values):
        assert bump_height(torch.tensor(sorted(values, reverse=True), dtype=torch.float64)) == 0.0

    def test_a_line_without_points_is_refused(self):
        with pytest.raises(ValueError, match="there is no point on it"):
            bump_height(torch.tensor([]))


class TestGaussLength:
    def test_of_a_straight_path_is_0_at_any_speed(self):
        found = lengths(lambda t: (1.0 + 2.0 * (t + t**3), 3.0 - (t + t**3)))
        assert found == pytest.approx([0.0, 0.0], abs=1e-12)

    @pytest.mark.parametrize("angle", [0.3, math.pi / 2, 5.0])
    def test_of_an_arc_is_its_angle(self, angle):
        found = lengths(lambda t: (7.0 * torch.cos(t), 7.0 * torch.sin(t)), angle)
        assert found == pytest.approx([angle, angle], rel=1e-9)

    def test_does_not_depend_on_the_speed(self):
        found = lengths(lambda t: (torch.cos(t + t**2), torch.sin(t + t**2)))
        assert found == pytest.approx([2.0, 2.0], rel=1e-4)

    def test_a_kink_is_seen_by_angles_alone(self):
        """From along the first axis to along the diagonal: an eighth of a turn, all of it at one point."""
        found = lengths(lambda t: (t, (t - 0.503).relu()))
        assert found == pytest.approx([math.pi / 4, 0.0], abs=1e-12)

    def test_examples_have_their_own(self):
        inputs = torch.tensor([[1.0, 3.0], [-2.0, 1.0], [4.0, -1.0]], dtype=torch.float64).view(3, 1, 1, 2)
        network = models.build(ModelSpec("mlp", 9, 2), (1, 1, 2), 2).double()
        start, end = (models.initialise(network, generator=rng.stream(each, "start")) for each in (0, 1))
        together = gauss_lengths(network, start, end, inputs)
        alone = [gauss_lengths(network, start, end, each[None]) for each in inputs]
        for place, each in enumerate(together):
            assert each.tolist() == pytest.approx([float(one[place]) for one in alone], rel=1e-9)
            assert len(set(each.tolist())) == 3

    def test_with_batch_normalisation_tangents_are_those_of_the_path(self):
        """Held against differences of the logits in training mode, whose statistics move along the line."""
        network = models.build(ModelSpec("mlp", 12, 2, "batch"), (1, 2, 2), 3).double()
        start, end = (models.initialise(network, generator=rng.stream(each, "start")) for each in (0, 1))
        inputs = torch.randn(9, 1, 2, 2, generator=rng.stream(0, "inputs"), dtype=torch.float64)

        def logits(alpha):
            network.load_state_dict(state.interpolate(start, end, alpha))
            with torch.no_grad():
                return network.train()(inputs)

        at = [each / 4 for each in range(5)]
        tangents = [nn.functional.normalize(logits(each + 1e-6) - logits(each - 1e-6), dim=1) for each in at]
        angles = [torch.arccos((a * b).sum(1)) for a, b in pairwise(tangents)]
        found = gauss_lengths(network, start, end, inputs, points=5)[0]
        assert found.numpy() == pytest.approx(sum(angles).numpy(), rel=1e-3)

    def test_logits_that_stand_still_have_no_direction(self):
        assert np.isnan(lengths(lambda t: (t.relu() * 0.0, 0.0 * t))).all()

    def test_one_point_is_refused(self):
        with pytest.raises(ValueError, match="points is at least 2, got 1"):
            lengths(lambda t: (t, t), points=1)


DATA = DataSpec("digits", train_examples=96, test_examples=40)
TRAIN = TrainConfig(steps=7, batch_size=32, lr=0.1, precision="portable")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


class TestLine:
    @pytest.mark.parametrize("norm", ["none", "batch"])
    def test_is_that_of_a_loop_over_interpolated_networks(self, store, norm):
        run = RunSpec(ModelSpec("mlp", 5, 2, norm), DATA, TRAIN, 3, 4)
        loaded = dataset(DATA)
        network = models.build(run.model, loaded.input_shape, loaded.num_classes).double()
        start, end = drawn_start(run, network), obtain_run(store, run).final
        values = obtain(store, StraightLineSpec(run, points=4, examples=9, turns=3)).values
        inputs = loaded.train.inputs.double()
        losses = []
        for place in range(4):
            point = norms.reset(network, state.interpolate(start, end, place / 3), inputs)
            losses.append(evaluate(network, point, loaded.train).loss)
        assert values["curves"]["train"]["loss"] == pytest.approx(losses, rel=1e-5)
        weights = [norms.without_statistics(each) for each in (start, end)]
        assert values["distance"] == pytest.approx(state.distance(*weights), rel=1e-8)
        turning, gauss = gauss_lengths(network, start, end, inputs[:9], points=3)
        assert values["turning"] == pytest.approx(float(turning.mean()), rel=1e-5)
        assert values["gauss"] == pytest.approx(float(gauss.mean()), rel=1e-5)

    def test_may_begin_at_the_end_of_another_network(self, store):
        run = RunSpec(ModelSpec("mlp", 5, 2), DATA, TRAIN, 3, 4)
        other = replace(run, init_seed=5, train=replace(TRAIN, steps=0))
        there = obtain(store, StraightLineSpec(run, other, points=3, examples=4, turns=2)).values
        back = obtain(store, StraightLineSpec(other, run, points=3, examples=4, turns=2)).values
        assert there["distance"] == back["distance"] > 0.0
        assert there["curves"]["test"]["loss"] == pytest.approx(back["curves"]["test"]["loss"][::-1], rel=1e-5)

    def test_that_a_training_diverged_is_a_result(self, store):
        run = RunSpec(ModelSpec("mlp", 5, 2), DATA, replace(TRAIN, lr=1e200), 3, 4)
        assert "diverged" in obtain(store, StraightLineSpec(run)).values


def line(loss, height, distance, gauss):
    return {
        "curves": {"train": {"loss": [3.0, loss]}}, "bumps": {"train": {"loss": height}},
        "distance": distance, "gauss": gauss,
    }  # fmt: skip


def lines(of, seeds=5):
    """Two rates by two optimisers with and without normalisation, of one architecture."""
    cells = [
        Cell("mlp-2", norm, optimiser, rate, rate == 0.1)
        for norm in (False, True)
        for optimiser in ("sgd", "adamw")
        for rate in (0.1, 0.7)
    ]
    return {cell: Found(seeds, {(seed,): of(cell, seed) for seed in range(seeds)}) for cell in cells}


class TestEvidence:
    def test_tells_what_goes_with_bumps(self):
        """AdamW at the large rate has bumps, and there alone; they grow with the distance and shrink with turns."""

        def of(cell, seed):
            wild = cell.optimiser == "adamw" and cell.rate == 0.7
            order = (3 * seed) % 5
            height = 0.01 + 0.01 * order if wild else 0.0
            return line(
                0.5, height, 3.0 * cell.rate + (5.0 + order) * wild, 2.0 - 0.1 * order if wild else 1.0 + cell.rate
            )

        found = {name: each.value for name, each in evidence(lines(of), 0.001, 1.0, 1.5).items()}
        assert found == pytest.approx(
            {
                "slow": 0.0, "far": 0.5, "adaptive": 0.5, "normalised": 0.0, "short": 0.0, "long": 0.5,
                "far alike": 1.0, "long alike": -1.0,
            }
        )  # fmt: skip

    def test_networks_that_have_not_learnt_do_not_count(self):
        def of(cell, seed):
            loss, height = 0.5 if seed or cell.rate == 0.1 else 1.5, 0.2 if seed == 0 else 0.0
            return line(loss, height, cell.rate + seed, 1.0 + len(cell.optimiser))

        found = lines(of)
        assert learnt(found, 1.0).sum() == 36
        assert np.isnan(violations(found, 0.001, 1.0)).sum() == 4
        assert shares(found, 0.001, 1.0, 5.0)["slow"].value == pytest.approx(0.2)

    def test_diverged_trainings_are_holes(self):
        found = lines(lambda cell, seed: line(0.5, 0.2 * (seed == 1), cell.rate + seed, 1.0 + cell.rate))
        first = next(iter(found))
        gone = {key: each for key, each in found[first].values.items() if key != (2,)}
        found[first] = Found(5, gone, (2,))
        assert np.argwhere(np.isnan(read(found, "distance"))).tolist() == [[2, 0]]
        assert shares(found, 0.001, 1.0, 2.0)["slow"].value == pytest.approx(0.2)

    def test_the_threshold_decides(self):
        found = lines(lambda cell, seed: line(0.5, 0.01 * (seed + 1) * (cell.rate == 0.1), cell.rate, cell.rate))
        counted = [
            experiments.monotonicity.shares(found, each, 1.0, 2.0)["slow"].value for each in (0.005, 0.025, 0.06)
        ]
        assert counted == pytest.approx([1.0, 0.6, 0.0])
