"""Groups and their representations, networks that learn to compose, and what is read of their learning."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc_lib import flow, rng
from lmc_lib.experiments import compositions
from lmc_lib.experiments.dynamics.compositions import StairsSpec, TurnSpec
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, composition, groups
from lmc_lib.store import Store

NAMES = ("C_2", "C_5", "C_6", "C_9", "D_3", "D_5", "D_7")
SEEDS = st.integers(0, 2**40)
EACH = pytest.mark.parametrize("name", NAMES)


def noise(order, seed=0):
    drawn = torch.randn(order, generator=rng.stream(seed, "noise"), dtype=torch.float64)
    return drawn - drawn.mean()


def close(found, wanted, tolerance=1e-12):
    return torch.allclose(found, wanted, atol=tolerance, rtol=0.0)


class TestGroup:
    @EACH
    def test_products_are_those_of_a_group(self, name):
        group = groups.named(name)
        table, elements = group.table, torch.arange(group.order)
        assert torch.equal(table[table], table[:, table])  # (g h) k and g (h k)
        assert torch.equal(table[0], elements)
        assert torch.equal(table[:, 0], elements)
        assert not table[elements, group.inverses].any()
        assert torch.equal(table, table.T) == name.startswith("C")

    @EACH
    def test_representations_are_homomorphisms_by_orthogonal_matrices(self, name):
        group = groups.named(name)
        for each in group.irreps:
            products = torch.einsum("gij,hjk->ghik", each.matrices, each.matrices)
            assert close(each.matrices[group.table], products)
            assert close(each.matrices @ each.matrices.mT, torch.eye(each.size, dtype=torch.float64))

    @EACH
    def test_representations_are_irreducible_different_and_complete(self, name):
        """By characters: a squared length of 1 for the real kind and 2 for the complex one, and right angles."""
        group = groups.named(name)
        traces = torch.stack([each.matrices.diagonal(dim1=1, dim2=2).sum(1) for each in group.irreps])
        kinds = torch.tensor([float(each.kind) for each in group.irreps], dtype=torch.float64)
        assert close(traces @ traces.T / group.order, kinds.diag())
        assert sum(each.size**2 / each.kind for each in group.irreps) == group.order
        assert bool((group.irreps[0].matrices == 1.0).all())

    @EACH
    def test_projections_split_functions_into_parts_that_shifts_keep(self, name):
        group = groups.named(name)
        parts, shift = group.projections(), torch.eye(group.order, dtype=torch.float64)[group.table[group.order - 1]]
        assert close(parts.sum(0), torch.eye(group.order, dtype=torch.float64))
        assert close(
            torch.einsum("aij,bjk->abik", parts, parts), torch.diag_embed(parts.movedim(0, -1)).movedim((2, 3), (0, 1))
        )
        assert close(shift @ parts, parts @ shift)

    @EACH
    def test_powers_are_the_squared_lengths_of_these_parts(self, name):
        group = groups.named(name)
        template = noise(group.order)
        assert close(group.powers(template), (group.projections() @ template).square().sum(1))

    def test_powers_of_a_cyclic_group_are_those_of_the_discrete_fourier_transform(self):
        template = noise(9)
        spectrum = torch.fft.rfft(template).abs().square() / 9
        assert close(groups.cyclic(9).powers(template), spectrum * torch.tensor([1.0, 2.0, 2.0, 2.0, 2.0]))
        even = torch.fft.rfft(template[:8]).abs().square() / 8 * torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0])
        group = groups.cyclic(8)
        assert [each.name for each in group.irreps] == ["0", "4", "1", "2", "3"]
        assert close(group.powers(template[:8]), even[[0, 4, 1, 2, 3]])

    @EACH
    def test_a_code_is_the_template_that_its_element_has_shifted(self, name):
        group = groups.named(name)
        template = noise(group.order)
        codes = group.shifted(template)
        for g in range(group.order):
            assert all(float(codes[g, group.table[g, h]]) == float(template[h]) for h in range(group.order))
            moved = zip(group.irreps, group.coefficients(codes[g]), group.coefficients(template), strict=True)
            assert all(close(found, irrep.matrices[g] @ before) for irrep, found, before in moved)

    @EACH
    def test_gains_are_the_steepest_that_one_neuron_finds(self, name):
        """The largest of a form in three vectors, by alternating maximisation from many starts."""
        group = groups.named(name)
        template = noise(group.order, seed=1)
        codes = group.shifted(template)
        for part, wanted in zip(group.projections()[1:], group.gains(template)[1:], strict=True):
            inside = codes @ part
            form = torch.einsum("gi,hj,ghk->ijk", inside, inside, inside[group.table]) / group.order**2
            u, v, w = torch.randn(3, 200, group.order, generator=rng.stream(0, "vectors"), dtype=torch.float64)
            for _ in range(300):
                u = torch.nn.functional.normalize(torch.einsum("ijk,nj,nk->ni", form, v, w), dim=1)
                v = torch.nn.functional.normalize(torch.einsum("ijk,ni,nk->nj", form, u, w), dim=1)
                w = torch.nn.functional.normalize(torch.einsum("ijk,ni,nj->nk", form, u, v), dim=1)
            found = float(torch.einsum("ijk,ni,nj,nk->n", form, u, v, w).max())
            assert found == pytest.approx(float(wanted), rel=1e-6)

    @EACH
    def test_templates_have_the_powers_that_are_asked_for_and_known_gains(self, name):
        group = groups.named(name)
        powers = [0.0, *(1.5 + place**2 for place in range(len(group.irreps) - 1))]
        template = group.template(powers, generator=rng.stream(3, "template"))
        assert close(group.powers(template), torch.tensor(powers, dtype=torch.float64))
        wanted = [each.unit_gain * power**1.5 for each, power in zip(group.irreps, powers, strict=True)]
        assert group.gains(template).tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-12)

    def test_singular_values_have_the_ratio_that_is_asked_for(self):
        group = groups.named("D_5")
        template = group.template([0.0, 1.0, 2.0, 3.0], ratio=0.4, generator=rng.stream(3, "template"))
        assert close(group.powers(template), torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))
        for each in group.coefficients(template)[2:]:
            small, large = sorted(torch.linalg.svdvals(each).tolist())
            assert small / large == pytest.approx(0.4)

    def test_a_permuted_table_has_each_element_once_in_each_row_and_column(self):
        table = groups.named("D_5").table
        found = groups.relabelled(table, generator=rng.stream(0, "table"))
        for each in (found, found.T):
            assert torch.equal(each.sort(1).values, torch.arange(10).expand(10, 10))
        assert not torch.equal(found, table)
        assert not torch.equal(found[found], found[:, found])

    @pytest.mark.parametrize("name", ["E_8", "C_", "D3", "D_4"])
    def test_other_groups_are_refused(self, name):
        with pytest.raises(ValueError, match="group"):
            groups.named(name)


def case(name, seed, width=4):
    """Two networks of a group, with codes, targets and layers of their own."""
    group = groups.named(name)
    codes = torch.stack([group.shifted(noise(group.order, seed + each)) for each in (0, 1)])
    starts = [composition.start(group.order, width, 2.0, generator=rng.stream(seed + each, "start")) for each in (0, 1)]
    return group, codes, codes[:, group.table.flatten()], [torch.stack(each) for each in zip(*starts, strict=True)]


def loss_of(codes, targets, first, second, read):
    """The loss of one network, pair by pair."""
    total, order = 0.0, len(codes)
    for g in range(order):
        for h in range(order):
            output = (first @ codes[g] + second @ codes[h]) ** 2 @ read
            total = total + (output - targets[order * g + h]).square().mean()
    return total / order**2


class TestNetwork:
    @given(st.sampled_from(["C_5", "D_3"]), SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_the_gradient_is_that_of_the_loss(self, name, seed):
        _, codes, targets, layers = case(name, seed)
        found = composition.gradient(codes, targets, *layers)
        for place in (0, 1):
            alone = [each[place].clone().requires_grad_() for each in layers]
            wanted = torch.autograd.grad(loss_of(codes[place], targets[place], *alone), alone)
            assert all(close(one[place], other, 1e-9) for one, other in zip(found, wanted, strict=True))

    @given(st.sampled_from(["C_5", "D_3"]), SEEDS)
    @settings(deadline=None, max_examples=10)
    def test_errors_are_those_of_the_parts_of_the_loss(self, name, seed):
        group, codes, targets, layers = case(name, seed)
        found = composition.errors(group.projections(), codes, targets, tuple(layers))
        wanted = [loss_of(codes[place], targets[place], *(each[place] for each in layers)) for place in (0, 1)]
        assert found.sum(1).tolist() == pytest.approx([float(each) for each in wanted])
        silent = (layers[0], layers[1], torch.zeros_like(layers[2]))
        untrained = composition.errors(group.projections(), codes, targets, silent)
        assert close(untrained, torch.stack([group.powers(code[0]) for code in codes]) / group.order)

    def test_a_start_has_the_size_that_is_asked_for(self):
        layers = composition.start(50, 400, 0.3, generator=rng.stream(0, "start"))
        assert [tuple(each.shape) for each in layers] == [(400, 50)] * 3
        assert [float(each.std()) * 50**0.5 for each in layers] == pytest.approx([0.3] * 3, rel=0.02)
        assert not torch.equal(layers[0], layers[1])

    def test_each_neuron_is_normalised_by_its_own_weights(self):
        _, codes, targets, layers = case("C_5", 1)
        slopes = composition.gradient(codes, targets, *layers)
        found = composition.normalised(slopes, tuple(layers))
        weights = torch.cat(layers, -1)[1, 2]
        for one, other in zip(found, slopes, strict=True):
            assert close(one[1, 2] * weights.norm(), other[1, 2], 1e-10)

    def test_a_neuron_turns_at_the_same_pace_whatever_its_size(self):
        """Far below its target the network feels the target alone, and a neuron's speed grows as its length squared."""
        _, codes, targets, layers = case("C_5", 1, width=1)
        paces = []
        for size in (1e-5, 1e-7):
            small = tuple(size * each for each in layers)
            slopes = composition.normalised(composition.gradient(codes, targets, *small), small)
            paces.append(torch.cat(slopes, -1) / size)
        assert close(paces[0], paces[1], 1e-6)

    def test_half_times_lie_between_two_records(self):
        shares = torch.tensor([[1.0, 1.0, 0.9], [0.7, 0.9, 0.4], [0.3, 0.8, 0.6], [0.1, 0.6, 0.1]])
        assert composition.half_times(shares, 10).tolist() == pytest.approx([15.0, 30.0, 8.0])


STAIRS = {"width": 60, "start": 0.01, "train": Descent(500, 0.02), "every": 5, "seeds": 3, "first_seed": 9000}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def stairs(store, **options):
    return Record.read(store, StairsSpec(**(STAIRS | options)))


class TestStairs:
    def test_the_loss_stands_at_the_predicted_heights_and_with_equal_gains_it_does_not(self, store):
        for name in ("C_5", "D_3"):
            assert compositions.heights(stairs(store, group=name, gains=(20.0, 6.0)), 5).max() < 0.02
        assert compositions.heights(stairs(store, group="C_5", gains=(20.0, 20.0)), 5).min() > 0.1
        assert compositions.heights(stairs(store, group="C_5", gains=(20.0, 6.0), relabelled=True), 5).min() > 0.1

    def test_levels_are_those_of_the_gains_and_the_loss_begins_at_their_sum(self, store):
        found = stairs(store, group="C_7", gains=(16.0, 2.0), train=Descent(5, 0.02))
        # The gain of the plane of a frequency is a quarter of its power to three halves.
        wanted = [(4.0 * gain) ** (2.0 / 3.0) / 7 for gain in (16.0, 2.0)]
        assert found.of("levels").ravel().tolist() == pytest.approx(wanted * 3, rel=1e-5)
        assert found.of("loss")[:, 0].tolist() == pytest.approx([sum(wanted)] * 3, rel=1e-3)
        assert found.of("loss").shape == (3, 2)
        assert found.of("shares")[:, 0].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)

    def test_representations_are_drawn_by_seed(self, store):
        levels = stairs(store, group="D_3", gains=(16.0, 2.0), train=Descent(5, 0.02), seeds=12).of("levels")
        sign, plane = 16.0 ** (2 / 3) / 6, (16.0 * 128**0.5) ** (2 / 3) / 6
        assert {round(each, 4) for each in levels[:, 0]} == {round(sign, 4), round(plane, 4)}

    def test_singular_values_that_differ_make_more_steps(self, store):
        """A part of a plane is learnt after the rest of it, when something else is learnt too."""
        even, uneven = (stairs(store, group="D_3", gains=(20.0, 7.0), ratio=ratio, seeds=6) for ratio in (1.0, 0.5))
        assert compositions.heights(uneven, 5).mean() > 10 * compositions.heights(even, 5).mean()

    def test_networks_of_one_seed_do_not_depend_on_the_others(self, store):
        three, last = stairs(store, group="C_5", gains=(20.0, 6.0)), stairs(
            store, group="C_5", gains=(20.0, 6.0), seeds=1, first_seed=9002
        )  # fmt: skip
        assert last.of("half times")[0].tolist() == pytest.approx(three.of("half times")[2].tolist(), rel=1e-5)

    def test_the_plain_gradient_is_slower(self, store):
        plain, scaled = (
            stairs(store, group="C_5", gains=(20.0, 6.0), normalised=each, train=Descent(50, 0.02))
            for each in (False, True)
        )
        assert plain.of("loss")[:, -1].min() > 0.99 * plain.of("loss")[:, 0].max()
        assert scaled.of("loss")[:, -1].max() < 0.99 * plain.of("loss")[:, 0].max()


class TestEvidence:
    def record(self):
        return Record({
            # The second network learns its second representation first, the third learns the last one never.
            "half times": [[4.0, 14.0, 24.0], [16.0, 6.0, 26.0], [4.0, 16.0, 40.0]],
            "levels": [[5.0, 2.0, 1.0], [5.0, 2.0, 1.0], [5.0, 2.0, 1.0]],
            "loss": [
                [8.0, 5.0, 3.2, 3.1, 2.0, 1.2, 1.15, 1.1, 0.6, 0.1, 0.01],
                [8.0, 7.0, 6.1, 6.05, 4.0, 2.0, 1.1, 1.06, 0.9, 0.5, 0.01],
                [8.0, 5.0, 3.0, 2.9, 2.0, 1.5, 1.3, 1.25, 1.2, 1.1, 1.02],
            ],
        })  # fmt: skip

    def test_plateaus_lie_where_the_loss_falls_most_slowly_between_half_times(self):
        measured, predicted = compositions.plateaus(self.record(), 4)
        assert predicted.tolist() == [[3.0, 1.0], [6.0, 1.0], [3.0, 1.0]]
        assert measured.tolist() == [[3.2, 1.2], [6.1, 1.1], [3.0, 1.3]]

    def test_heights_are_the_largest_relative_errors(self):
        assert compositions.heights(self.record(), 4).tolist() == pytest.approx([0.2, 0.1, 0.3])

    def test_a_plateau_that_has_no_record_is_read_at_the_half_time(self):
        record = Record({"half times": [[9.0, 10.0]], "levels": [[2.0, 1.0]], "loss": [[3.0, 2.0, 0.5, 0.1]]})
        assert compositions.plateaus(record, 5)[0].tolist() == [[0.5]]

    def test_a_jump_of_the_loss_is_no_plateau(self):
        record = Record({"half times": [[4.0, 16.0]], "levels": [[2.0, 1.0]], "loss": [[3.0, 1.4, 1.1, 1.7, 0.4]]})
        assert compositions.plateaus(record, 4)[0].tolist() == [[1.4]]

    def test_order_is_one_if_larger_gains_are_learnt_first(self):
        times = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 3.0, 2.0, 4.0]]
        found = compositions.order(Record({"half times": times}))
        assert found.value == pytest.approx((1.0 - 1.0 + 2.0 / 3.0) / 3.0)

    def test_turns_are_found_between_two_ratios(self):
        ratios = (1.0, 2.0, 8.0)
        times = [
            [[1.0, 4.0], [1.0, 2.0], [2.0, 1.0]],  # half way between 2 and 8
            [[1.0, 2.0], [4.0, 1.0], [4.0, 1.0]],  # a third of the way from 1 to 2
            [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
            [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]],
        ]
        found = compositions.turns(Record({"half times": times}), ratios)
        assert found.tolist() == pytest.approx([4.0, 2.0 ** (1.0 / 3.0), 8.0, 1.0])


class TestTurn:
    def spec(self, name, pair, **options):
        base = {"width": 40, "start": 1e-5, "train": Descent(500, 0.02), "every": 5, "seeds": 3, "first_seed": 9000}
        return TurnSpec(
            **(base | {"group": name, "pair": pair, "power": 4.0, "ratios": (1.0, 2.0, 4.0, 8.0)} | options)
        )

    def test_the_order_turns_where_the_gains_are_the_same(self, store):
        for name, pair, wanted in (("D_3", ("sign", "plane 1"), 128 ** (1 / 3)), ("C_6", ("3", "1"), 16 ** (1 / 3))):
            spec = self.spec(name, pair)
            found = Record.read(store, spec)
            assert float(found.of("predicted")) == pytest.approx(wanted)
            assert np.abs(compositions.turns(found, spec.ratios) / wanted - 1.0).max() < 0.2

    def test_two_planes_of_a_cyclic_group_turn_at_equal_powers(self, store):
        spec = self.spec("C_5", ("2", "1"), power=8.0, ratios=(0.5, 0.9, 1.2, 2.0))
        found = Record.read(store, spec)
        assert float(found.of("predicted")) == 1.0
        assert compositions.turns(found, spec.ratios).tolist() == pytest.approx([1.0] * 3, abs=0.1)

    def test_a_network_is_that_of_its_seed_and_ratio_alone(self, store):
        many, one = self.spec("D_3", ("sign", "plane 1")), self.spec("D_3", ("sign", "plane 1"), ratios=(4.0,), seeds=1)
        wanted = Record.read(store, many).of("half times")[0, 2]
        assert Record.read(store, one).of("half times")[0, 0].tolist() == pytest.approx(wanted.tolist(), rel=1e-5)

    def test_descent_is_that_of_the_normalised_gradient(self):
        spec = self.spec("C_5", ("1", "2"), start=0.3, train=Descent(10, 0.02))
        group = groups.named("C_5")
        codes = torch.stack([group.shifted(noise(5, each)) for each in range(3)])
        targets = codes[:, group.table.flatten()]
        found = spec.follow(codes, targets)
        starts = [
            composition.start(5, 40, 0.3, generator=rng.stream(seed, "composition", "C_5", "start"))
            for seed in range(9000, 9003)
        ]
        layers = tuple(torch.stack(each) for each in zip(*starts, strict=True))
        slopes = partial(composition.gradient, codes, targets)
        ended = flow.descend(lambda *point: composition.normalised(slopes(*point), point), layers, Descent(10, 0.02))
        assert close(found[-1], composition.errors(group.projections(), codes, targets, ended))
        assert len(found) == 3
        # Else a descent at another rate, or none, would end in the same place.
        assert (found[-1] - found[0]).abs().max() > 1e-3
        assert math.isfinite(float(found.sum()))
