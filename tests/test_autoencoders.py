"""Linear autoencoders: the loss and its derivatives, what is conserved, the critical points, and what is measured."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc_lib import flow, rng
from lmc_lib.data import DataSpec
from lmc_lib.experiments import autoencoders, critical_points
from lmc_lib.experiments.dynamics.autoencoders import AutoencoderSpec
from lmc_lib.experiments.dynamics.critical_points import CriticalSpec
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, Landscape, autoencoder, critical
from lmc_lib.store import Store

SEEDS = st.integers(0, 2**40)
KINDS = st.sampled_from(flow.REGULARISERS)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng.stream(seed, "autoencoders", *map(int, shape)), dtype=torch.float64)


def covariance(size, seed):
    root = draw(size, size + 3, seed=seed)
    return root @ root.T / size


def landscape(kind, seed, size=5):
    return Landscape(covariance(size, seed), kind, 0.37)


def relative(one, other):
    return float((one - other).norm() / other.norm())


class TestLandscape:
    @given(KINDS, SEEDS)
    def test_is_the_error_of_reconstruction_and_the_regulariser(self, kind, seed):
        """From examples whose covariance it is, entry by entry."""
        examples = draw(40, 5, seed=seed)
        examples = examples - examples.mean(0)
        encoder, decoder = draw(2, 5, seed=seed), draw(5, 2, seed=seed)
        error = (examples - examples @ encoder.T @ decoder.T).square().sum() / 39
        product = decoder @ encoder
        weight = {"none": 0.0, "product": (product**2).sum(), "sum": (encoder**2).sum() + (decoder**2).sum()}[kind]
        found = Landscape(torch.cov(examples.T), kind, 0.37).loss(encoder, decoder)
        assert float(found) == pytest.approx(float(error + 0.37 * weight), rel=1e-12)

    @given(KINDS, SEEDS)
    def test_gradient_and_second_derivatives_are_those_of_automatic_differentiation(self, kind, seed):
        here = landscape(kind, seed)
        encoder, decoder = draw(3, 2, 5, seed=seed), draw(3, 5, 2, seed=seed)
        wanted = torch.func.grad(lambda *point: here.loss(*point).sum(), (0, 1))(encoder, decoder)
        for found, each in zip(here.gradient(encoder, decoder), wanted, strict=True):
            assert relative(found, each) < 1e-12

        def of_entries(flat):
            return here.loss(flat[:10].view(2, 5), flat[10:].view(5, 2))

        point = torch.cat([encoder[0].flatten(), decoder[0].flatten()])
        found = torch.from_numpy(critical.hessian(here, encoder[0], decoder[0]))
        assert relative(found, torch.autograd.functional.hessian(of_entries, point)) < 1e-12

    @given(KINDS, SEEDS)
    def test_a_linear_map_of_the_latent_units_changes_the_loss_with_weight_decay_alone(self, kind, seed):
        here, encoder, decoder = landscape(kind, seed), draw(2, 5, seed=seed), draw(5, 2, seed=seed)
        rotation = torch.linalg.qr(draw(2, 2, seed=seed)).Q
        before = float(here.loss(encoder, decoder))
        assert float(here.loss(rotation @ encoder, decoder @ rotation.T)) == pytest.approx(before, rel=1e-12)
        moved = float(here.loss(2.0 * encoder, decoder / 2.0))
        assert (moved == pytest.approx(before, rel=1e-12)) == (kind != "sum")

    @given(KINDS, SEEDS)
    def test_the_balance_is_conserved_or_decays(self, kind, seed):
        """Along the gradient flow the derivative of the balance is 0, or -4 times the factor times the balance."""
        here, encoder, decoder = landscape(kind, seed), draw(2, 5, seed=seed), draw(5, 2, seed=seed)
        by_encoder, by_decoder = here.gradient(encoder, decoder)
        inner, outer = decoder.T @ by_decoder, by_encoder @ encoder.T
        change = -(inner + inner.T) + outer + outer.T
        balance = decoder.T @ decoder - encoder @ encoder.T
        rate = -4.0 * 0.37 if kind == "sum" else 0.0
        assert torch.allclose(change, rate * balance, rtol=0.0, atol=1e-12 * float(inner.norm() + balance.norm()))

    def test_knows_its_regularisers(self):
        with pytest.raises(ValueError, match="one of none, product, sum, not 'l1'"):
            Landscape(torch.eye(2), "l1", 1.0)


@given(st.integers(0, 30), SEEDS)
def test_gradient_descent_on_a_quadratic_is_a_power(steps, seed):
    curvature, start = covariance(4, seed), draw(4, 2, seed=seed)
    (found,) = flow.descend(lambda each: (curvature @ each,), (start,), Descent(steps, 0.03))
    power = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.03 * curvature, steps)
    assert torch.allclose(found, power @ start, rtol=1e-10, atol=1e-12)


@st.composite
def planted(draw_from):
    """Distinct variances, a factor between some of them, a number of latent units, and one critical point's set."""
    steps = draw_from(st.lists(st.floats(0.3, 2.0), min_size=4, max_size=6))
    variances = torch.tensor(np.cumsum(steps)[::-1].copy())
    width = draw_from(st.integers(1, 3))
    below = draw_from(st.integers(0, 2))
    lowest, next_one = [0.0, *variances.flip(0).tolist()][below : below + 2]
    strength = (lowest + next_one) / 2.0
    kinds = list(critical.kinds(variances, strength, width))
    kept = kinds[draw_from(st.integers(0, len(kinds) - 1))]
    return variances, strength, width, kept, draw_from(SEEDS)


def critical_point(variances, strength, width, kept, seed):
    """By the theorem, in a basis that is drawn."""
    places = torch.nonzero(kept).flatten()
    basis = torch.linalg.qr(draw(len(variances), len(variances), seed=seed)).Q
    rotation = torch.linalg.qr(draw(width, width, seed=seed)).Q[: len(places)]
    gains = (1.0 - strength / variances[places]).sqrt()
    decoder = basis[:, places] @ torch.diag(gains) @ rotation
    return Landscape(basis @ torch.diag(variances) @ basis.T, "sum", strength), decoder


class TestCriticalPoints:
    @given(planted())
    @settings(deadline=None)
    def test_those_of_the_theorem_are_critical_with_the_loss_and_the_index_that_are_said(self, case):
        variances, strength, width, kept, _ = case
        here, decoder = critical_point(*case)
        slope = max(float(each.norm()) for each in here.gradient(decoder.T, decoder))
        assert slope < 1e-11 * float(variances[0])
        assert float(here.loss(decoder.T, decoder)) == pytest.approx(
            critical.height(variances, strength, kept), rel=1e-11
        )
        curvatures = np.linalg.eigvalsh(critical.hessian(here, decoder.T, decoder))
        level = 1e-8 * float(variances[0])
        assert (curvatures < -level).sum() == critical.index(variances, strength, kept, width)
        # Flat are the rotations of the latent units alone: the critical points of a set are a Stiefel manifold.
        count = int(kept.sum())
        assert (np.abs(curvatures) <= level).sum() == count * (width - count) + count * (count - 1) // 2

    @given(planted())
    @settings(deadline=None)
    def test_the_lowest_alone_is_a_minimum(self, case):
        variances, strength, width, _, _ = case
        kinds = list(critical.kinds(variances, strength, width))
        heights = [critical.height(variances, strength, kept) for kept in kinds]
        indices = [critical.index(variances, strength, kept, width) for kept in kinds]
        assert [place for place, each in enumerate(indices) if each == 0] == [int(np.argmin(heights))]

    def test_kinds_are_the_sets_of_at_most_so_many_directions_above_the_factor(self):
        variances = torch.tensor([5.0, 3.0, 2.0, 1.0])
        found = {tuple(torch.nonzero(kept).flatten().tolist()) for kept in critical.kinds(variances, 1.5, 2)}
        assert found == {(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)}

    @given(planted(), st.integers(0, 2**20))
    @settings(deadline=None, max_examples=25)
    def test_a_search_goes_to_the_saddle_beside_which_it_starts(self, case, other):
        variances, strength, width, kept, _ = case
        here, decoder = critical_point(*case)
        aside = 1e-3 * draw(2, width, len(variances), seed=other)
        encoder, found = critical.land(here, decoder.T + aside[0], decoder + aside[1].T)
        assert float(here.loss(encoder, found)) == pytest.approx(critical.height(variances, strength, kept), rel=1e-9)
        assert relative(encoder, found.T) < 1e-6 if kept.any() else float(found.norm()) < 1e-6

    def test_a_search_finds_asymmetric_points_without_weight_decay(self):
        here = landscape("none", 3)
        encoder, decoder = critical.land(here, *autoencoder.start(5, 2, 2.0, generator=rng.stream(5, "start")))
        assert max(float(each.norm()) for each in here.gradient(encoder, decoder)) < 1e-9
        assert relative(encoder, decoder.T) > 0.1


class TestMinimum:
    @given(SEEDS)
    @settings(deadline=None, max_examples=8)
    def test_descent_finds_directions_and_singular_values_of_the_theorem(self, seed):
        """Also that a direction below the factor is not kept."""
        basis = torch.linalg.qr(draw(5, 5, seed=seed)).Q
        variances = torch.tensor([4.0, 2.5, 1.2, 0.4, 0.2], dtype=torch.float64)
        here = Landscape(basis @ torch.diag(variances) @ basis.T, "sum", 0.6)
        start = autoencoder.start(5, 4, 1.0, generator=rng.stream(seed, "start"))
        encoder, decoder = flow.descend(here.gradient, start, Descent(3000, 0.03))
        wanted = autoencoder.squared_singular_values(variances[:4], 0.6)
        assert wanted.tolist() == pytest.approx([0.85, 0.76, 0.5, 0.0])
        assert torch.linalg.svdvals(decoder).square().tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
        assert torch.allclose(encoder, decoder.T, atol=1e-6)
        found = autoencoder.cosines(decoder, basis[:, :3])[:3]
        assert torch.allclose(found, torch.eye(3, dtype=torch.float64), atol=1e-5)

    @given(SEEDS)
    def test_principal_directions_are_those_of_a_singular_value_decomposition(self, seed):
        examples = draw(30, 4, seed=seed)
        centred = examples - examples.mean(0)
        variances, directions = autoencoder.principal(torch.cov(examples.T))
        _, values, rows = torch.linalg.svd(centred, full_matrices=False)
        assert variances.tolist() == pytest.approx((values.square() / 29).tolist())
        assert torch.allclose((directions.T @ rows.T).abs(), torch.eye(4, dtype=torch.float64), atol=1e-6)

    @given(SEEDS)
    def test_cosines_do_not_see_a_rotation_of_the_latent_units_and_are_positive_where_largest(self, seed):
        decoder, directions = draw(2, 6, 3, seed=seed), torch.linalg.qr(draw(6, 4, seed=seed)).Q
        found = autoencoder.cosines(decoder, directions)
        turned = autoencoder.cosines(decoder @ torch.linalg.qr(draw(3, 3, seed=seed)).Q, directions)
        assert torch.allclose(found, turned, atol=1e-7)
        assert (found.amax(-1) == found.abs().amax(-1)).all()
        left = torch.linalg.svd(decoder[1], full_matrices=False).U
        assert torch.allclose(found[1].abs(), (left.T @ directions).abs())

    @given(SEEDS, st.integers(1, 4))
    @settings(deadline=None)
    def test_the_posterior_mean_is_that_of_the_model_and_of_the_best_autoencoder(self, seed, width):
        """By Bayes' rule for x = W z + noise, with the W of maximum likelihood, and by the theorem."""
        examples = draw(60, 6, seed=seed) @ draw(6, 6, seed=seed + 1)
        variances, directions = autoencoder.principal(torch.cov(examples.T))
        noise = float(variances[width:].mean())
        loads = directions[:, :width] * (variances[:width] - noise).sqrt()
        inverse = torch.linalg.inv(loads.T @ loads + noise * torch.eye(width, dtype=torch.float64))
        found = autoencoder.posterior_mean(examples, width)
        assert torch.allclose(found, loads @ inverse @ loads.T, atol=1e-9)
        decoder = directions[:, :width] * autoencoder.squared_singular_values(variances[:width], noise).sqrt()
        assert torch.allclose(found, decoder @ decoder.T, atol=1e-9)


DATA = DataSpec("digits")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


class TestMeasurement:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, store):
        descent = Descent(4000, 0.2)
        specs = {
            (kind, strength): AutoencoderSpec(DATA, 3, kind, descent, 4, 9000, strength)
            for kind, strength in [("none", 1.0), ("product", 1.0), ("sum", 1.0), ("sum", 0.5)]
        }
        return {key: Record.read(store, spec) for key, spec in specs.items()}

    def values(self, found, *key):
        return {name: each.value for name, each in autoencoders.evidence(found[key]).items()}

    def test_weight_decay_finds_what_is_claimed_and_its_half_does_not(self, found):
        ours, half = self.values(found, "sum", 1.0), self.values(found, "sum", 0.5)
        assert ours == pytest.approx(
            {"directions": 1.0, "subspace": 1.0, "singular values": 0.0, "asymmetry": 0.0, "posterior": 0.0}, abs=1e-6
        )
        assert half["directions"] == pytest.approx(1.0, abs=1e-6)
        assert half["asymmetry"] == pytest.approx(0.0, abs=1e-6)
        predicted = 1.0 - found["sum", 1.0].of("noise") / found["sum", 1.0].of("variances")[:-1]
        assert half["singular values"] == pytest.approx(((1.0 + predicted) / 2.0 / predicted - 1.0).max(), rel=1e-6)
        assert half["posterior"] > 0.01

    @pytest.mark.parametrize("kind", ["none", "product"])
    def test_without_it_the_subspace_is_found_alone(self, found, kind):
        ours = self.values(found, kind, 1.0)
        assert ours["subspace"] == pytest.approx(1.0, abs=1e-6)
        assert ours["directions"] < 0.9
        assert ours["asymmetry"] > 0.1

    def test_the_start_of_a_seed_is_the_same_for_all_regularisers_and_sizes(self):
        starts = [
            AutoencoderSpec(DATA, 3, kind, Descent(1, 0.1), 2, first, 1.0, scale)._starts(7)
            for kind, first, scale in [("none", 5, 1.0), ("sum", 6, 0.5)]
        ]
        for one, other in zip(*starts, strict=True):
            assert torch.equal(0.5 * one[1], other[0])
            assert not torch.equal(0.5 * one[1], other[1])
        wide = AutoencoderSpec(DATA, 50, "sum", Descent(1, 0.1), 20, 0)._starts(70)
        assert [float(each.std() * 70**0.5) for each in wide] == pytest.approx([1.0, 1.0], abs=0.02)

    def test_evidence_is_of_what_is_stored(self):
        turned = [[0.6, 0.8], [-0.28, 0.96]]  # of two rows with an inner product of 0.6
        record = Record({
            "variances": [4.0, 2.0, 0.7], "noise": 1.0, "cosines": [turned, np.eye(2).tolist(), turned],
            "squares": [[0.75, 0.5], [0.75, 0.6], [0.9, 0.5]], "asymmetry": [0.1, 0.2, 0.6],
            "posterior": [0.0, 0.3, 0.3],
        })  # fmt: skip
        found = {name: each.value for name, each in autoencoders.evidence(record).items()}
        assert found == pytest.approx({
            "directions": 2.2 / 3, "subspace": (2.0 * 0.4**0.5 + 1.0) / 3,
            "singular values": 0.4 / 3, "asymmetry": 0.3, "posterior": 0.2,
        }, abs=1e-7)  # fmt: skip

    def test_squares_stand_behind_variances_in_units_of_the_factor(self):
        """Two starts of three latent units; the noise is 0.5, and the factor a quarter of it."""
        record = Record({
            "variances": [4.0, 2.0, 1.0, 0.7], "noise": 0.5, "squares": [[0.9, 0.8, 0.5], [0.95, 0.7, 0.6]],
        })  # fmt: skip
        ratios, squared = autoencoders.squares(record, 0.25)
        assert ratios.tolist() == pytest.approx([32.0, 16.0, 8.0, 32.0, 16.0, 8.0])
        assert squared.tolist() == [0.9, 0.8, 0.5, 0.95, 0.7, 0.6]

    def test_principal_directions_are_rows_by_which_the_digits_vary_most(self):
        rows = autoencoders.principal_directions(DATA, 2)
        inputs = autoencoders._inputs(DATA).numpy()
        assert rows.shape == (2, 64)
        assert (inputs @ rows.T).var(0, ddof=1) == pytest.approx(autoencoders.principal_variances(DATA, 2).numpy())


class TestSearch:
    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, store):
        return {kind: Record.read(store, CriticalSpec(DATA, 4, 2, kind, 6, 3, 9000)) for kind in ("none", "sum")}

    def test_what_is_found_is_as_predicted_with_weight_decay(self, found):
        told = {name: each.value for name, each in critical_points.evidence(found["sum"]).items()}
        assert told["points"] > 4
        assert (told["asymmetric"], told["misplaced"]) == (0.0, 0.0)
        kinds = {each["kept"] for points in found["sum"].values["points"] for each in points}
        assert len(kinds) >= 4
        assert all(each[-1] == "0" for each in kinds)

    def test_another_point_is_not_and_without_weight_decay_none_is_symmetric(self, found):
        assert critical_points.evidence(found["sum"], exchanged=True)["misplaced"].value > 1
        told = critical_points.evidence(found["none"])
        assert told["asymmetric"].value == pytest.approx(told["points"].value, abs=1.0)

    def test_places_are_indices_and_heights_by_the_total_variance(self, found):
        """Where none is kept the loss is all of the variance, and each unit can grow into each above the factor."""
        (x, y), (own_x, own_y) = critical_points.places(found["sum"], 2).values()
        assert len(x) == 7
        assert (x[y.argmax()], y.max()) == (6, pytest.approx(1.0))
        predicted = set(zip(x, y.round(6), strict=True))
        assert set(zip(own_x, own_y.round(6), strict=True)) <= predicted
        assert len(own_x) == sum(map(len, found["sum"].values["points"]))

    def test_numbers_are_counts_of_a_seed(self):
        def point(index, height, symmetric=True):
            return {
                "index": {"found": index, "predicted": 3},
                "height": {"found": height, "predicted": 7.0},
                "symmetric": symmetric,
            }

        points = [[point(3, 7.0), point(3, 7.0, symmetric=False)], [point(2, 7.0), point(3, 7.1), point(3, 7.0)], []]
        found = critical_points.evidence(Record({"points": points}))
        assert {name: each.value for name, each in found.items()} == pytest.approx(
            {"points": 5 / 3, "asymmetric": 1 / 3, "misplaced": 2 / 3}
        )
        assert math.isclose(found["points"].low, 5 / 3 - 4.30265 * np.std([2, 3, 0], ddof=1) / 3**0.5, rel_tol=1e-5)
