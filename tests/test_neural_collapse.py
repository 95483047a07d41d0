"""Neural collapse: its measures, the greatest margin, and networks with normalised features."""

import itertools
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid
from torch import nn

from lmc_lib import rng
from lmc_lib.data import DataSpec
from lmc_lib.experiments.dynamics.neural_collapse import NeuralCollapseSpec, apart, fallen, further
from lmc_lib.experiments.found import Record
from lmc_lib.flow import normalised
from lmc_lib.similarity import collapse
from lmc_lib.store import Store

SEEDS = st.integers(0, 2**32)
LABELS = torch.arange(4).repeat_interleave(5)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=rng.stream(seed, "test"), dtype=torch.float64)


def simplex(classes, units, seed=0):
    """Rows of length 1 that form a regular simplex around 0, turned at random."""
    centred = torch.eye(classes, units, dtype=torch.float64)
    centred[:, :classes] -= 1.0 / classes
    turn = torch.linalg.qr(drawn(seed, units, units)).Q
    return nn.functional.normalize(centred) @ turn


def measured(features, classifier, labels=LABELS):
    means = collapse.class_means(features, labels)
    return collapse.measures(features, labels, features @ classifier.T, classifier, means)


class TestMeasures:
    @given(SEEDS, st.floats(0.1, 9.0))
    @settings(deadline=None, max_examples=20)
    def test_are_zero_at_complete_collapse_and_the_greatest_margin_is_reached(self, seed, size):
        points = simplex(4, 7, seed)
        features = (size * points)[LABELS]
        assert list(measured(features, 3.0 * points).values()) == pytest.approx([0.0] * 5, abs=1e-12)
        assert collapse.reached(3.0 * points, features, LABELS) == pytest.approx(1.0)

    @given(SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_are_those_of_their_definitions_written_otherwise(self, seed):
        features, classifier = drawn(seed, 20, 6), drawn(seed + 1, 4, 6)
        found = measured(features, classifier)
        rows, labels = features.numpy(), LABELS.numpy()
        means = np.stack([rows[labels == label].mean(0) for label in range(4)])
        middle = means.mean(0)
        within = sum(np.outer(row - means[label], row - means[label]) for row, label in zip(rows, labels, strict=True))
        between = sum(np.outer(mean - middle, mean - middle) for mean in means) / 4
        assert found["NC1"] == pytest.approx(np.trace(within / 20 @ np.linalg.pinv(between, rcond=1e-10)) / 4)
        sizes = [math.dist(mean, middle) for mean in means]
        assert found["NC2 lengths"] == pytest.approx(np.std(sizes, ddof=1) / np.mean(sizes))
        cosines = [
            (means[a] - middle) @ (means[b] - middle) / sizes[a] / sizes[b]
            for a in range(4)
            for b in range(4)
            if a != b
        ]
        assert found["NC2 angles"] == pytest.approx(np.mean(np.abs(np.array(cosines) + 1 / 3)))
        product = (classifier.numpy() * (means - middle)).sum() / classifier.norm() / math.hypot(*sizes)
        assert found["NC3"] == pytest.approx(float(2.0 - 2.0 * product))
        nearest = NearestCentroid().fit(rows, labels).predict(rows)
        assert found["NC4"] == np.mean(nearest != (features @ classifier.T).argmax(1).numpy())

    @given(SEEDS, st.floats(0.1, 9.0))
    @settings(deadline=None, max_examples=20)
    def test_do_not_change_when_features_are_turned_moved_and_scaled(self, seed, size):
        features, classifier = drawn(seed, 20, 6), drawn(seed + 1, 4, 6)
        turn = torch.linalg.qr(drawn(seed + 2, 6, 6)).Q
        said = features @ classifier.T
        moved, turned = size * features @ turn + drawn(seed + 3, 6), classifier @ turn
        one = collapse.measures(features, LABELS, said, classifier, collapse.class_means(features, LABELS))
        other = collapse.measures(moved, LABELS, said, turned, collapse.class_means(moved, LABELS))
        assert list(one.values()) == pytest.approx(list(other.values()))

    @given(SEEDS)
    @settings(deadline=None, max_examples=20)
    def test_nc1_does_not_change_under_any_linear_map_that_loses_nothing(self, seed):
        features, bent = drawn(seed, 20, 3), drawn(seed + 1, 3, 3) + 4.0 * torch.eye(3)
        one, other = (
            collapse.variability(each, LABELS, collapse.class_means(each, LABELS))
            for each in (features, features @ bent)
        )
        assert one == pytest.approx(other, rel=1e-6)

    def test_of_known_perturbations(self):
        """Two examples a class on both sides of its mean; then a mean that is longer, and a classifier turned round."""
        points = simplex(3, 5)
        along = points[0] / points[0].norm()
        means = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)[:, None] * points
        labels = torch.arange(3).repeat_interleave(2)
        signs = torch.tensor([0.2, -0.2] * 3, dtype=torch.float64)[:, None]
        # Centred simplex rows of length 1 in 2 dimensions have M^T M = 3 / 2 times the identity there.
        found = collapse.measures(points[labels] + signs * along, labels, points[labels] @ points.T, points, points)
        assert found["NC1"] == pytest.approx(0.04 / 1.5)
        assert [found[name] for name in ("NC2 lengths", "NC2 angles", "NC3", "NC4")] == pytest.approx(
            [0.0] * 4, abs=1e-12
        )
        # The first mean twice as long, by hand.
        longer = means - means.mean(0)
        assert longer.norm(dim=1).tolist() == pytest.approx([5 / 3, math.sqrt(13) / 3, math.sqrt(13) / 3])
        sizes = np.array([5, math.sqrt(13), math.sqrt(13)]) / 3
        assert collapse.lengths(means) == pytest.approx(sizes.std(ddof=1) / sizes.mean())
        assert collapse.duality(-points, points) == pytest.approx(4.0)

    def test_nc4_takes_the_means_that_were_learnt(self):
        features = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)
        said = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        assert collapse.mismatch(features, said, torch.tensor([[0.0], [6.0]], dtype=torch.float64)) == 0.0
        assert collapse.mismatch(features, said, torch.tensor([[0.0], [1.5]], dtype=torch.float64)) == pytest.approx(
            1 / 3
        )

    @given(SEEDS)
    @settings(deadline=None, max_examples=50)
    def test_no_margin_is_above_the_greatest(self, seed):
        features, classifier = drawn(seed, 20, 6), drawn(seed + 1, 4, 6)
        features = features + 3.0 * classifier[LABELS] / classifier.norm()
        assert collapse.reached(classifier, features, LABELS) < 1.0

    def test_a_class_without_examples_is_refused(self):
        with pytest.raises(ValueError, match="class 1 has no example"):
            collapse.class_means(drawn(0, 3, 2), torch.tensor([0, 2, 2]))


SIZES = (6, 5, 7, 4)


class TestNetworks:
    @pytest.mark.parametrize(("norm", "module"), [("layer", nn.LayerNorm), ("batch", nn.BatchNorm1d), ("none", None)])
    @torch.random.fork_rng(devices=[])
    def test_are_perceptrons_of_torch(self, norm, module):
        state, inputs = normalised.initialise(SIZES, generator=rng.stream(3, "test")), drawn(1, 9, 6)
        layers = [each for sizes in itertools.pairwise(SIZES) for each in (nn.Linear(*sizes, bias=False), nn.ReLU())]
        last = [] if module is None else [module(7, eps=1e-300)]
        network = nn.Sequential(*layers[:-2], *last, layers[-2]).double()
        with torch.no_grad():
            for layer, weight in zip(
                [one for one in network if isinstance(one, nn.Linear)], state.values(), strict=True
            ):
                layer.weight.copy_(weight)
        found = normalised.logits(state, normalised.features(state, inputs, norm))
        assert torch.allclose(found, network(inputs), atol=1e-12)

    @given(SEEDS, st.floats(0.2, 5.0))
    @settings(deadline=None, max_examples=20)
    def test_have_the_rates_that_are_said(self, seed, factor):
        state, inputs = normalised.initialise(SIZES, generator=rng.stream(seed, "test")), drawn(seed, 9, 6)
        hidden = state | {name: factor * state[name] for name in ("0", "1")}
        for norm, power in (("none", 2), ("layer", 0), ("batch", 0)):
            before, after = (normalised.features(each, inputs, norm) for each in (state, hidden))
            assert torch.allclose(after, factor**power * before, atol=1e-9)

    def test_batch_normalisation_takes_the_statistics_of_others_and_layer_normalisation_does_not(self):
        state, inputs, others = (
            normalised.initialise(SIZES, generator=rng.stream(3, "test")),
            drawn(1, 9, 6),
            drawn(2, 8, 6),
        )
        plain, like = normalised.features(state, inputs, "none"), normalised.features(state, others, "none")
        wanted = (plain - like.mean(0)) / like.std(0, correction=0)
        heard = like.std(0) > 0
        assert heard.any()
        found = normalised.features(state, inputs, "batch", others)
        assert torch.allclose(found[:, heard], wanted[:, heard])
        assert (found[:, ~heard] == 0).all()
        assert torch.equal(
            normalised.features(state, inputs, "layer", others), normalised.features(state, inputs, "layer")
        )
        with pytest.raises(ValueError, match="'group'"):
            normalised.features(state, inputs, "group")

    def test_a_unit_that_is_silent_on_the_others_has_features_of_zero(self):
        # The second unit is silent on what gives the statistics, and speaks on the first of the others.
        state = {"0": torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double(), "1": torch.ones(3, 2).double()}
        like = torch.tensor([[1.0, -1.0], [3.0, -2.0], [5.0, 0.0]]).double()
        found = normalised.features(state, torch.tensor([[7.0, 4.0], [3.0, -1.0]]).double(), "batch", like)
        # The first has a mean of 3 and a variance of 8 / 3.
        assert found.flatten().tolist() == pytest.approx([4.0 / (8.0 / 3.0) ** 0.5, 0.0, 0.0, 0.0])

    @given(SEEDS, st.floats(0.1, 10.0))
    @settings(deadline=None, max_examples=20)
    def test_the_logarithm_of_the_loss_is_that_of_torch(self, seed, size):
        said = size * drawn(seed, 2, 20, 4)
        wanted = [float(nn.functional.cross_entropy(each, LABELS)) for each in said]
        # Where torch's loss is small, its own differences of logits leave an error of their last digit.
        found = normalised.log_loss(said, LABELS).exp()
        assert found.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-13)

    def test_the_logarithm_of_the_loss_and_its_gradient_are_exact_far_below_rounding(self):
        said = torch.tensor([[900.0, 0.0, 0.0], [0.0, 800.0, -1000.0]], dtype=torch.float64, requires_grad=True)
        found = normalised.log_loss(said, torch.tensor([0, 1]))
        assert found.item() == pytest.approx(-800.0 - math.log(2.0))
        found.backward()
        assert said.grad[1].tolist() == pytest.approx([1.0, -1.0, 0.0])


class TestDescent:
    def test_lowers_the_logarithm_by_the_drop_network_by_network(self):
        state = {
            name: drawn(place, 2, *shape) for place, (name, shape) in enumerate({"0": (5, 6), "1": (4, 5)}.items())
        }
        state["1"][1] *= 0.2
        inputs = drawn(7, 20, 6)

        def losses(weights):
            return normalised.log_loss(normalised.logits(weights, normalised.features(weights, inputs, "none")), LABELS)

        path = normalised.descend(losses, state, drop=1e-4, rate=100.0)
        found = torch.stack([next(path)[1] for _ in range(40)])
        assert torch.allclose(found.diff(dim=0), torch.full((39, 2), -1e-4, dtype=torch.float64), rtol=0.05)
        alone = normalised.descend(losses, {name: each[1:] for name, each in state.items()}, drop=1e-4, rate=100.0)
        assert torch.allclose(torch.stack([next(alone)[1] for _ in range(40)])[:, 0], found[:, 1], atol=1e-9)

    def test_takes_no_step_above_the_rate(self):
        start = {"0": drawn(3, 1, 2, 2)}
        path = normalised.descend(lambda state: (state["0"] ** 2).sum((1, 2)), start, drop=1e9, rate=0.25)
        next(path)
        # A rate of a quarter halves what descends a square.
        assert torch.allclose(next(path)[0]["0"], 0.5 * start["0"], atol=2.0**-20)


SMALL = {
    "data": DataSpec("digits", test_examples=100), "each": 4, "widths": (24, 24), "start": 1.0,
    "losses": (-0.5, -1.0, -9.0), "drop": 0.05, "seeds": 3, "first_seed": 5, "updates": 200,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return {norm: NeuralCollapseSpec(norm, **SMALL).compute(store).values for norm in normalised.NORMS}


class TestSpec:
    def test_looks_where_the_loss_is_small_enough_and_nowhere_else(self, found):
        for values in found.values():
            losses, updates = np.array(values["log loss"], dtype=float), np.array(values["updates"], dtype=float)
            assert (updates[:, 0] == 0.0).all()
            assert (losses[:, 1:3] <= [-0.5, -1.0]).all()
            assert (losses[:, 1:3] > np.array([-0.5, -1.0]) - 0.1).all()
            assert np.isnan(losses[:, 3]).all()
            assert (np.diff(updates[:, :3]) > 0).all()

    def test_counts_the_updates_that_raise_the_loss(self, tmp_path, monkeypatch):
        """Losses of two networks as planted: after four updates the first has risen twice, the second once."""
        planted = torch.tensor([[0.0, 0.0], [0.5, -0.5], [0.2, -1.0], [0.4, -0.8], [-3.0, -3.0], [-9.0, -9.0]])

        def descend(losses, start, *, drop, rate):
            return ((start, row) for row in planted.double() * math.log(10.0))

        monkeypatch.setattr(normalised, "descend", descend)
        spec = NeuralCollapseSpec("none", **SMALL | {"seeds": 2, "losses": (-0.5, -1.0, -2.0)})
        values = spec.compute(Store(tmp_path)).values
        assert values["updates"] == [[0.0, 4.0, 5.0, None], [0.0, 1.0, 2.0, 4.0]]
        assert values["rises"] == [[0.0, 2 / 4, 2 / 5, None], [0.0, 0.0, 0.0, 1 / 4]]

    def test_the_loss_never_rises_with_the_drop_of_the_quick_scale_and_does_with_a_large_one(self, found, tmp_path):
        for norm in ("none", "layer"):
            assert not np.array(found[norm]["rises"], dtype=float)[:, :3].any()
        large = NeuralCollapseSpec("layer", **SMALL | {"drop": 4.0}).compute(Store(tmp_path)).values["rises"]
        assert np.nanmax(np.array(large, dtype=float)) > 0.05

    def test_measures_networks_without_normalisation_in_all_ways(self, found):
        assert {name.split("/")[0] for name in found["layer"] if "NC" in name} == {"layer"}
        assert {name.split("/")[0] for name in found["none"] if "NC" in name} == set(normalised.NORMS)
        assert found["none"]["none/train/NC1"] != found["none"]["layer/train/NC1"]
        assert found["none"]["none/train/NC1"] != found["none"]["none/test/NC1"]

    def test_a_seed_is_the_same_network_alone(self, found, tmp_path):
        alone = NeuralCollapseSpec("layer", **SMALL | {"seeds": 1, "first_seed": 6}).compute(Store(tmp_path)).values
        # Sums of stacks run in another order, which a hundred updates enlarge.
        for name, rows in alone.items():
            assert rows[0][:3] == pytest.approx(found["layer"][name][1][:3], rel=1e-3)


def record(scale, reached, norm="layer"):
    """Three seeds and columns: each measure changes between them by a factor of its own, NC4 by a share of its own."""
    columns = np.arange(3.0)
    factors = {"NC1": 2.0, "NC2 lengths": 3.0, "NC2 angles": 5.0, "NC3": 7.0}
    rows = np.array([[scale * (seed + 1.0)] for seed in range(3)])
    values = {f"{norm}/train/{name}": (rows * each ** -(columns**2 * scale)).tolist() for name, each in factors.items()}
    return Record(values | {f"{norm}/test/NC4": (rows / 8.0 - columns * scale / 64.0).tolist(), "reached": reached})


class TestEvidence:
    OURS = record(2.0, [[-1.0, 0.0, 0.5], [-1.0, 0.1, 0.7], [-1.0, 0.4, 0.9]])
    OTHERS = record(0.5, [[0.0, 0.1, 0.2], [0.0, 0.0, 0.3], [0.0, 0.2, 0.2]])
    FACTORS: ClassVar = {"NC1": 2.0, "NC2 lengths": 3.0, "NC2 angles": 5.0, "NC3": 7.0}

    def test_of_collapse_is_in_decades_between_two_columns(self):
        told = fallen(self.OURS, "layer", 1, 2)
        # Columns 1 and 2 have the exponents 2 and 8.
        assert {name: told[name].value for name in self.FACTORS} == pytest.approx(
            {name: -6.0 * math.log10(each) for name, each in self.FACTORS.items()}, abs=1e-3
        )
        assert told["NC4"].value == pytest.approx(-2.0 / 64.0, abs=1e-3)
        assert told["margin"].value == pytest.approx((0.5 + 0.6 + 0.5) / 3, abs=1e-3)
        assert told["NC1"].pairs == 3

    def test_of_normalisation_is_seed_by_seed_at_one_column(self):
        told = apart(self.OURS, self.OTHERS, "layer", 1)
        # Seed by seed the numbers of ours are four times those of the others, and then the exponents are 2 and 0.5.
        assert {name: told[name].value for name in self.FACTORS} == pytest.approx(
            {name: math.log10(4.0) - 1.5 * math.log10(each) for name, each in self.FACTORS.items()}, abs=1e-3
        )
        assert told["NC4"].value == pytest.approx(1.5 * 2.0 / 8.0 - 1.5 / 64.0, abs=1e-3)
        assert told["margin"].value == pytest.approx((-0.1 + 0.1 + 0.2) / 3, abs=1e-3)
        # Differences of decades are the same in all seeds; unpaired they would scatter.
        assert told["NC1"].low == pytest.approx(told["NC1"].high)
        turned = apart(self.OTHERS, self.OURS, "layer", 1)
        assert all(turned[name].value == pytest.approx(-told[name].value) for name in told)

    def test_of_the_change_since_is_that_of_ours_less_that_of_others(self):
        told = further(self.OURS, self.OTHERS, "layer", 1, 2)
        assert {name: told[name].value for name in self.FACTORS} == pytest.approx(
            {name: (-6.0 + 1.5) * math.log10(each) for name, each in self.FACTORS.items()}, abs=1e-3
        )
        assert told["NC4"].value == pytest.approx(-1.5 / 64.0, abs=1e-3)
        assert told["margin"].value == pytest.approx((0.4 + 0.3 + 0.5) / 3, abs=1e-3)
        ours, others = (fallen(each, "layer", 1, 2) for each in (self.OURS, self.OTHERS))
        for name, one in told.items():
            assert one.value == pytest.approx(ours[name].value - others[name].value, abs=1e-3)

    def test_leaves_out_seeds_that_did_not_get_there(self):
        one = Record({name: [rows[0], *rows] for name, rows in self.OURS.values.items()})
        gone = Record({name: [[None] * 3, *rows] for name, rows in self.OTHERS.values.items()})
        told = apart(one, gone, "layer", -1)
        assert told["margin"].pairs == 3
        assert told["margin"].value == pytest.approx((0.3 + 0.4 + 0.7) / 3, abs=1e-3)
