"""Networks that compose sequences: products, architectures, planted weights, bounds, and the width that is needed."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc_lib import rng
from lmc_lib.experiments.dynamics import widths
from lmc_lib.experiments.dynamics.widths import WidthSpec
from lmc_lib.experiments.found import Record
from lmc_lib.flow import groups, planted, sequences
from lmc_lib.flow.sequences import Recurrent, Tree, TwoLayers
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

NAMES = ("C_2", "C_3", "C_6", "D_3")
LENGTHS = (2, 3, 4)
EACH = pytest.mark.parametrize(("name", "length"), list(itertools.product(NAMES, LENGTHS)))
KINDS = pytest.mark.parametrize("kind", [TwoLayers, Recurrent, Tree])


def template_of(name, seed=0):
    """A template of powers that differ, so that no coefficient is singular."""
    group = groups.named(name)
    powers = [0.0, *(1.5 + place for place in range(len(group.irreps) - 1))]
    return group, group.template(powers, generator=rng.stream(seed, "template"))


def weights_of(composer, seed=0):
    return composer.start(generator=rng.stream(seed, "start"))


def by_hand(composer, weights, codes, sequence):
    """What a network makes of one sequence, neuron by neuron."""
    xs = [codes[g] for g in sequence]
    if isinstance(composer, TwoLayers):
        h = sum(weights[f"first {place}"] @ x for place, x in enumerate(xs)) ** len(xs)
    elif isinstance(composer, Recurrent):
        h = (weights["first"] @ xs[0] + weights["next"] @ xs[1]) ** 2
        for x in xs[2:]:
            h = (weights["mixed"] @ h + weights["next"] @ x) ** 2
    else:

        def node(low, high):
            if high - low == 1:
                return xs[low]
            middle = low + math.ceil((high - low) / 2)
            left, right = weights[f"left {low} {high}"], weights[f"right {low} {high}"]
            return (left @ node(low, middle) + right @ node(middle, high)) ** 2

        h = node(0, len(xs))
    return h @ weights["read"]


class TestArchitectures:
    def test_products_are_those_of_the_table_and_the_last_element_changes_fastest(self):
        table = groups.named("D_3").table
        found = sequences.products(table, 3).tolist()
        for place, (a, b, c) in enumerate(itertools.product(range(6), repeat=3)):
            assert found[place] == int(table[table[a, b], c])

    @KINDS
    @pytest.mark.parametrize("length", [2, 3, 4, 5])
    def test_outputs_are_those_of_each_sequence_alone(self, kind, length):
        composer, codes = kind(3, 4, length), torch.randn(3, 3, generator=rng.stream(1, "codes"), dtype=torch.float64)
        weights = weights_of(composer)
        found = composer.outputs(weights, codes)
        for place, sequence in enumerate(itertools.product(range(3), repeat=length)):
            wanted = by_hand(composer, weights, codes, sequence)
            assert torch.allclose(found[place], wanted, atol=1e-10, rtol=1e-10)

    @KINDS
    def test_networks_in_a_stack_are_evaluated_as_alone(self, kind):
        composer, codes = kind(3, 5, 4), torch.randn(2, 3, 3, generator=rng.stream(1, "codes"), dtype=torch.float64)
        each = [weights_of(composer, seed) for seed in (0, 1)]
        stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        found = composer.outputs(stacked, codes)
        for place in (0, 1):
            assert torch.allclose(found[place], composer.outputs(each[place], codes[place]), atol=1e-12)

    def test_for_two_elements_all_are_the_same_network(self):
        codes = torch.randn(3, 3, generator=rng.stream(1, "codes"), dtype=torch.float64)
        weights = weights_of(TwoLayers(3, 4, 2))
        wanted = TwoLayers(3, 4, 2).outputs(weights, codes)
        names = {"first 0": "first", "first 1": "next", "read": "read"}
        assert torch.equal(
            Recurrent(3, 4, 2).outputs({names[key]: each for key, each in weights.items()}, codes), wanted
        )
        names = {"first 0": "left 0 2", "first 1": "right 0 2", "read": "read"}
        assert torch.equal(Tree(3, 4, 2).outputs({names[key]: each for key, each in weights.items()}, codes), wanted)

    def test_the_widest_layer_of_a_tree_has_all_its_nodes(self):
        assert [Tree(3, 7, length).neurons for length in (2, 3, 4, 5, 6, 7, 8, 10)] == [7, 7, 14, 14, 14, 21, 28, 28]
        assert [kind(3, 7, 8).neurons for kind in (TwoLayers, Recurrent)] == [7, 7]

    @KINDS
    @pytest.mark.parametrize("length", [2, 3, 4])
    def test_starts_make_outputs_of_a_size_near_one(self, kind, length):
        """At large widths; the numbers that a neuron squares have variances near 1 for codes of length 1."""
        composer, codes = kind(6, 400, length), torch.eye(6, dtype=torch.float64)
        found = [composer.outputs(weights_of(composer, seed), codes).square().mean() for seed in range(8)]
        # Of 8 networks with 400 neurons; their mean scatters by less than a tenth.
        assert 0.7 < float(torch.stack(found).mean()) < 1.3


class TestPlanted:
    @EACH
    def test_planted_networks_compose_exactly(self, name, length):
        group, template = template_of(name)
        codes = group.shifted(template)
        target = codes[sequences.products(group.table, length)]
        pair, whole = planted.two_layers(group, template, 2), planted.two_layers(group, template, length)
        width = len(pair["read"])
        made = {
            "two layers": TwoLayers(group.order, len(whole["read"]), length).outputs(whole, codes),
            "recurrent": Recurrent(group.order, width, length).outputs(planted.recurrent(pair), codes),
            "tree": Tree(group.order, width, length).outputs(planted.tree(pair, length), codes),
        }
        for each in made.values():
            assert torch.allclose(each, target, atol=1e-11, rtol=0.0)

    @EACH
    def test_their_widths_are_those_of_the_formula(self, name, length):
        group, template = template_of(name)
        assert len(planted.two_layers(group, template, length)["read"]) == planted.width(group, length)

    def test_widths_of_planted_networks(self):
        """By hand: a sign has one product, rotations of a plane k + 1, the plane of a triangle 2 to the k + 1."""
        assert [planted.width(groups.named("C_3"), length) for length in (2, 3, 4)] == [2 * 3, 4 * 4, 8 * 5]
        assert [planted.width(groups.named("D_3"), length) for length in (2, 3)] == [2 * (1 + 8), 4 * (1 + 16)]

    def test_a_recurrent_network_of_one_width_composes_sequences_of_any_length(self):
        group, template = template_of("D_3")
        codes, pair = group.shifted(template), planted.two_layers(group, template, 2)
        for length in (2, 5, 6):
            made = Recurrent(6, len(pair["read"]), length).outputs(planted.recurrent(pair), codes)
            assert torch.allclose(made, codes[sequences.products(group.table, length)], atol=1e-10, rtol=0.0)

    def test_planted_weights_are_those_of_the_template(self):
        """With the code of another template they do not compose."""
        group, template = template_of("D_3")
        other = group.shifted(template_of("D_3", seed=1)[1])
        weights = planted.two_layers(group, template, 3)
        made = TwoLayers(6, len(weights["read"]), 3).outputs(weights, other)
        assert (made - other[sequences.products(group.table, 3)]).abs().max() > 0.1


class TestBounds:
    def test_the_bound_of_a_triangle_grows_exponentially_and_that_of_rotations_does_not(self):
        """A sign adds 1, rotations of a plane 2, and a plane of matrices 2 to the number of bonds that are cut."""
        for length in (2, 3, 4, 5):
            group, template = template_of("D_3")
            bound = planted.least_width(group.shifted(template), group.table, length)
            assert bound == 1 + 2 ** (2 * ((length + 1) // 2))
            group, template = template_of("C_6")
            assert planted.least_width(group.shifted(template), group.table, length) == 5

    @EACH
    def test_planted_networks_are_no_narrower_than_the_bound(self, name, length):
        group, template = template_of(name)
        width = len(planted.two_layers(group, template, length)["read"])
        assert planted.least_width(group.shifted(template), group.table, length) <= width

    @given(st.integers(0, 2**30))
    @settings(deadline=None, max_examples=10)
    def test_a_neuron_adds_at_most_one_to_the_rank_of_what_depends_on_all_elements(self, seed):
        """The power of a sum, less what depends on fewer elements, is a product of functions of one element each."""
        length, order = 3, 4
        values = torch.randn(length, order, generator=rng.stream(seed, "values"), dtype=torch.float64)
        sums = values[0].view(4, 1, 1) + values[1].view(1, 4, 1) + values[2]
        whole = sums**length
        for axis in range(length):
            whole = whole - whole.mean(axis, keepdim=True)
        centred = values - values.mean(1, keepdim=True)
        wanted = math.factorial(length) * torch.einsum("a,b,c->abc", *centred)
        assert torch.allclose(whole, wanted, atol=1e-9)

    @pytest.mark.parametrize(("name", "length"), [("C_2", 2), ("C_2", 4), ("C_2", 6), ("C_3", 3), ("C_3", 5)])
    def test_cyclic_groups_do_not_need_exponential_widths(self, name, length):
        """One place is read apart, all others alike: forms of degree k in 2 (n - 1) numbers span what is asked for."""
        group, template = template_of(name)
        codes, free = group.shifted(template), 2 * (group.order - 1)
        width = length + 1 if name == "C_2" else math.comb(length + free - 1, free - 1)
        drawn = torch.randn(2, width, group.order, generator=rng.stream(2, "read"), dtype=torch.float64)
        weights = {f"first {place}": drawn[min(place, 1)] for place in range(length)}
        hidden = TwoLayers(group.order, width, length).hidden(weights, codes).T
        target = codes[sequences.products(group.table, length)]
        read = torch.linalg.lstsq(hidden / hidden.norm(dim=0), target, driver="gelsd").solution
        assert (hidden / hidden.norm(dim=0) @ read - target).abs().max() < 1e-6
        if (name, length) in {("C_2", 6), ("C_3", 5)}:
            assert width < len(planted.two_layers(group, template, length)["read"])


SPEC = {
    "group": "C_3", "length": 3, "architecture": "two layers", "widths": (2, 4, 6, 8, 12), "level": 0.01, "seeds": 3,
    "first_seed": 9000, "train": TrainConfig(steps=300, lr=0.03, optimiser="adamw", precision="portable"),
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def measured(store, **options):
    return Record.read(store, WidthSpec(**(SPEC | options)))


class TestWidths:
    def test_training_goes_up_the_grid_until_all_seeds_have_learnt(self, store):
        found = measured(store)
        losses, tried = found.of("losses"), found.of("neurons").tolist()
        assert tried == [2.0, 4.0, 6.0, 8.0, 12.0][: len(tried)]
        assert losses.shape == (len(tried), 3)
        learnt = (losses < 0.01).any(0)
        assert learnt.all() or tried[-1] == 12.0
        assert not (losses[:-1] < 0.01).any(0).all()

    def test_losses_are_by_the_mean_square_of_the_codes(self, tmp_path, monkeypatch):
        """A network whose weights are zero makes nothing, and misses all of it."""
        spec = WidthSpec(**(SPEC | {"train": replace(SPEC["train"], steps=0), "widths": (4,)}))
        assert [float(each.norm()) for each in spec._codes(groups.named("C_3"), 9001)] == pytest.approx([1.0] * 3)

        def silent(composer, *, generator):
            return {name: torch.zeros(composer.width, size).double() for name, (size, _) in composer.variances.items()}

        monkeypatch.setattr(TwoLayers, "start", silent)
        assert Record.read(Store(tmp_path), spec).of("losses").tolist() == [[1.0] * 3]

    @pytest.mark.parametrize(
        ("name", "length", "width"), [("C_3", 3, 1), ("C_5", 2, 3), ("D_3", 2, 4), ("D_3", 3, 16), ("C_3", 4, 1)]
    )
    def test_no_training_goes_below_what_the_rank_leaves(self, store, name, length, width):
        """The loss of n neurons is at least the part of the squared singular values behind the n-th, of any cut."""
        found = measured(store, group=name, length=length, widths=(width,)).of("losses")[0]
        group = groups.named(name)
        for seed, loss in enumerate(found, start=SPEC["first_seed"]):
            codes = WidthSpec(**(SPEC | {"group": name}))._codes(group, seed).numpy()
            cut = np.zeros([group.order] * (length + 1))
            for sequence in itertools.product(range(group.order), repeat=length):
                made = sequence[0]
                for each in sequence[1:]:
                    made = int(group.table[made, each])
                cut[sequence] = codes[made]
            places = [*range(0, length + 1, 2), *range(1, length + 1, 2)]
            values = np.linalg.svd(
                cut.transpose(places).reshape(group.order ** (1 + length // 2), -1), compute_uv=False
            )
            left = (values[width:] ** 2).sum() / (values**2).sum()
            assert 0.01 < left <= loss * (1.0 + 1e-5)

    def test_a_seed_does_not_depend_on_the_others(self, store):
        many, one = measured(store, widths=(5,)), measured(store, widths=(5,), seeds=1, first_seed=9002)
        assert one.of("losses")[0, 0] == pytest.approx(many.of("losses")[0, 2], rel=1e-4)

    def test_wide_networks_of_all_architectures_learn(self, store):
        for architecture in sequences.ARCHITECTURES:
            found = measured(store, architecture=architecture, widths=(24,), group="C_3")
            assert found.of("losses").max() < 0.01
            assert found.of("losses").min() > 0.0

    def test_needed_is_the_first_width_of_each_seed_and_twice_the_widest_if_none(self):
        record = Record({
            "losses": [[0.5, 0.004, 0.3], [0.009, 0.2, 0.2], [0.1, 0.001, 0.02]],
            "neurons": [4, 6, 10],
        })  # fmt: skip
        assert widths.needed(record, 0.01).tolist() == [6.0, 4.0, 20.0]
        assert widths.needed(record, 0.05).tolist() == [6.0, 4.0, 10.0]

    def test_no_seed_counts_with_more_than_is_enough(self):
        record = Record({"losses": [[0.5, 0.004, 0.3], [0.009, 0.2, 0.2]], "neurons": [4, 6]})
        assert widths.needed(record, 0.01, 5.0).tolist() == [5.0, 4.0, 5.0]
        assert widths.needed(record, 0.01, 9.0).tolist() == [6.0, 4.0, 9.0]

    def test_a_training_that_diverges_has_not_learnt(self, store):
        wild = {"train": TrainConfig(steps=60, lr=1e6, optimiser="sgd", precision="portable"), "widths": (6,)}
        assert measured(store, **wild).of("losses").min() > 1.0
        assert widths.needed(measured(store, **wild), 0.01).tolist() == [12.0] * 3

    def test_slopes_are_doublings_for_each_element_more(self):
        grown = {2: np.array([4.0, 8.0]), 3: np.array([8.0, 8.0]), 5: np.array([32.0, 8.0])}
        assert sequences.doublings(grown).tolist() == pytest.approx([1.0, 0.0])
        assert sequences.doublings({2: np.array([10.0]), 4: np.array([5.0])}).tolist() == pytest.approx([-0.5])
