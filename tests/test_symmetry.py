"""Permutation groups: the function stays, the laws of a group hold, counts by hand and by another tracer agree."""

import copy
from dataclasses import replace

import pytest
import torch
import torch_pruning
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lmc_lib import models, rng, state, symmetry
from lmc_lib.models import ModelSpec
from lmc_lib.symmetry import Group, Member, SymmetryError

# Sums of at most a few thousand float64 terms in another order: 1e-14 of their spread, with some room.
ROUNDING = 1e-12

SPECS = st.one_of(
    st.builds(ModelSpec, st.just("mlp"), st.integers(2, 12), st.integers(1, 4), st.sampled_from(models.NORMS)),
    st.builds(ModelSpec, st.just("vgg"), st.integers(1, 4), st.sampled_from([11, 13]), st.sampled_from(models.NORMS)),
    st.builds(ModelSpec, st.just("resnet"), st.integers(2, 6), st.sampled_from([8, 14]), st.sampled_from(models.NORMS)),
)
SMALL = [ModelSpec("mlp", 6, 2), ModelSpec("vgg", 2, 11), ModelSpec("resnet", 4, 8)]
SMALL = [replace(each, norm=norm) for each in SMALL for norm in models.NORMS]


def images(*shape, name="images"):
    return torch.randn(*shape, generator=rng.stream(0, "symmetry", name), dtype=torch.float64)


def traced(spec, shape=(2, 8, 8)):
    model = models.build(spec, shape, 3)
    return model, symmetry.permutation_spec(model, torch.zeros(1, *shape))


def proved(model, inputs, **options):
    """Traces and proves a network; returns the spec."""
    spec = symmetry.permutation_spec(model, inputs)
    assert symmetry.prove(model, spec, inputs, generator=rng.stream(0, "proof"), **options) <= ROUNDING
    return spec


def forward(model, weights, inputs, *, training=False):
    """The plain way: load the weights into a copy of the module; returns outputs and the state afterwards."""
    network = copy.deepcopy(model).double().train(training)
    network.load_state_dict(weights)
    with torch.no_grad():
        return network(inputs), network.state_dict()


def activations(spec, weights, inputs):
    with torch.no_grad():
        return spec.observe(weights, inputs)


def members(spec):
    return {group: {(each.name, each.dim + each.span - 1) for each in spec.members[group]} for group in spec.groups}


# -- the function stays ------------------------------------------------------------------------------------------------


@given(spec=SPECS)
def test_permutations_leave_the_function_of_every_architecture_unchanged(spec):
    shape = (1, 8, 8)
    found = proved(models.build(spec, shape, 3), images(6, *shape), draws=1)
    assert found.groups
    assert found.pinned == ()


@pytest.mark.parametrize("spec", SMALL, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_permuted_modules_compute_the_same_in_both_modes(spec, training, random_weights):
    model, groups = traced(spec)
    weights, x = random_weights(model), images(6, 2, 8, 8)
    permutation = symmetry.random(groups, generator=rng.stream(0, "permutation"))
    before, after_step = forward(model, weights, x, training=training)
    after, permuted_after_step = forward(model, symmetry.permute(weights, permutation, groups), x, training=training)
    assert float((after - before).abs().max() / before.std()) <= ROUNDING
    # In training mode the running statistics move; they too must be those of the permuted units.
    for name, value in symmetry.permute(after_step, permutation, groups).items():
        torch.testing.assert_close(permuted_after_step[name], value, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_permuting_moves_everything_but_the_biases_of_the_logits(spec, random_weights):
    model, groups = traced(spec)
    weights = random_weights(model)
    # A shift by one has no fixed point.
    shift = {name: order.roll(1, -1) for name, order in symmetry.identity(groups).items()}
    permuted = symmetry.permute(weights, shift, groups)
    stay = {name for name in weights if torch.equal(permuted[name], weights[name])}
    biases_of_the_logits = [name for name in weights if name.endswith("bias")][-1]
    assert stay == {biases_of_the_logits, *(name for name in weights if name.endswith("num_batches_tracked"))}


@pytest.mark.parametrize("spec", SMALL, ids=str)
def test_activations_at_the_taps_are_permuted_like_the_units(spec, random_weights):
    model, groups = traced(spec)
    weights, x = random_weights(model), images(4, 2, 8, 8)
    permutation = symmetry.random(groups, generator=rng.stream(0, "permutation"))
    before = activations(groups, weights, x)
    after = activations(groups, symmetry.permute(weights, permutation, groups), x)
    for tap in groups.taps:
        expected = before[tap.node]
        for group, places in tap.places.items():
            axis = Member(tap.node, tap.dim + 1, 1, places)
            expected = symmetry.rearrange(expected, axis, permutation[group])
        torch.testing.assert_close(after[tap.node], expected, rtol=ROUNDING, atol=ROUNDING)
    assert {group for tap in groups.taps for group in tap.places} == set(groups.groups)


def test_features_are_the_values_behind_each_activation_function(random_weights):
    model = models.mlp(3, 2, widths=(4, 5))
    weights, x = random_weights(model), images(7, 3)
    groups = symmetry.permutation_spec(model, x)
    first, second = activations(groups, weights, x).values()
    expected = F.relu(F.linear(x, weights["1.weight"], weights["1.bias"]))
    # A dimension of examples, then what the network makes of a batch of one.
    torch.testing.assert_close(first[:, 0], expected, rtol=ROUNDING, atol=ROUNDING)
    expected = F.relu(F.linear(expected, weights["3.weight"], weights["3.bias"]))
    torch.testing.assert_close(second[:, 0], expected, rtol=ROUNDING, atol=ROUNDING)


def test_tracing_leaves_the_module_alone():
    model = models.resnet(1, 3, depth=8, width=2).train()
    before = state.fingerprint(model.state_dict())
    spec = symmetry.permutation_spec(model, torch.ones(2, 1, 8, 8))
    spec.observe(model.state_dict(), torch.ones(2, 1, 8, 8))
    symmetry.prove(model, spec, images(2, 1, 8, 8), generator=rng.stream(0), draws=1)
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    assert state.fingerprint(model.state_dict()) == before


# -- the laws of a group -----------------------------------------------------------------------------------------------

# Groups of channels inside the groups of a normalisation: the order inside a block moves with the block.
GROUPS = traced(ModelSpec("resnet", 6, 8, "group"))[1]
PERMUTATIONS = st.integers(0, 2**40).map(lambda seed: symmetry.random(GROUPS, generator=rng.stream(seed)))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[group], b[group]) for group in a)


@given(a=PERMUTATIONS, b=PERMUTATIONS, c=PERMUTATIONS)
def test_permutations_form_a_group(a, b, c):
    one = symmetry.identity(GROUPS)

    def compose(outer, inner):
        return symmetry.compose(outer, inner, GROUPS)

    assert equal(compose(a, one), a)
    assert equal(compose(one, a), a)
    assert equal(compose(a, symmetry.inverse(a, GROUPS)), one)
    assert equal(compose(symmetry.inverse(a, GROUPS), a), one)
    assert equal(compose(compose(a, b), c), compose(a, compose(b, c)))


@given(seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)))
def test_composition_acts_like_inner_then_outer(seeds, random_weights):
    model, groups = traced(ModelSpec("resnet", 4, 8, "group"))
    weights = random_weights(model)
    inner, outer = (symmetry.random(groups, generator=rng.stream(seed)) for seed in seeds)
    one_by_one = symmetry.permute(symmetry.permute(weights, inner, groups), outer, groups)
    assert equal(symmetry.permute(weights, symmetry.compose(outer, inner, groups), groups), one_by_one)
    assert not equal(symmetry.permute(weights, symmetry.compose(inner, outer, groups), groups), one_by_one)
    back = symmetry.permute(symmetry.permute(weights, inner, groups), symmetry.inverse(inner, groups), groups)
    assert equal(back, weights)


def test_identity_moves_nothing_and_shares_nothing(random_weights):
    model, groups = traced(ModelSpec("vgg", 2, 11, "batch"))
    weights = random_weights(model)
    result = symmetry.permute(weights, symmetry.identity(groups), groups)
    assert equal(result, weights)
    before = state.fingerprint(weights)
    for value in result.values():
        value += 1
    assert state.fingerprint(weights) == before


def test_permute_takes_the_named_source_unit_to_each_place():
    model = models.mlp(2, 2, widths=(3,))
    groups = symmetry.permutation_spec(model, torch.zeros(1, 2))
    weights = {
        "1.weight": torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]),
        "1.bias": torch.tensor([0.1, 0.2, 0.3]),
        "3.weight": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "3.bias": torch.tensor([7.0, 8.0]),
    }
    permuted = symmetry.permute(weights, {"1": torch.tensor([2, 0, 1])}, groups)
    assert permuted["1.weight"].tolist() == [[3.0, 30.0], [1.0, 10.0], [2.0, 20.0]]
    assert torch.equal(permuted["1.bias"], torch.tensor([0.3, 0.1, 0.2]))
    assert permuted["3.weight"].tolist() == [[3.0, 1.0, 2.0], [6.0, 4.0, 5.0]]
    assert permuted["3.bias"].tolist() == [7.0, 8.0]


def test_masks_travel_with_the_weights(random_weights):
    model, groups = traced(ModelSpec("resnet", 4, 8, "batch"))
    weights = random_weights(model)
    mask = {name: (value > 0).to(value.dtype) for name, value in weights.items() if value.dim() > 1}
    permutation = symmetry.random(groups, generator=rng.stream(0, "permutation"))
    moved_mask = symmetry.permute(mask, permutation, groups, partial=True)
    moved = symmetry.permute(weights, permutation, groups)
    pruned = weights | {name: mask[name] * weights[name] for name in mask}
    expected = symmetry.permute(pruned, permutation, groups)
    assert all(torch.equal(moved_mask[name] * moved[name], expected[name]) for name in mask)
    assert {name: int(value.sum()) for name, value in moved_mask.items()} == {
        name: int(value.sum()) for name, value in mask.items()
    }
    with pytest.raises(SymmetryError, match="only the spec has"):
        symmetry.permute(mask, permutation, groups)
    with pytest.raises(SymmetryError, match=r"only the state has other.weight"):
        symmetry.permute({"other.weight": torch.zeros(1)}, permutation, groups, partial=True)


def test_random_permutations_are_uniform():
    groups = symmetry.permutation_spec(models.mlp(2, 2, widths=(3,)), torch.zeros(1, 2))
    generator = rng.stream(0, "uniform")
    drawn = [tuple(symmetry.random(groups, generator=generator)["1"].tolist()) for _ in range(1200)]
    counts = torch.tensor([drawn.count(each) for each in sorted(set(drawn))])
    # 6 permutations, 200 expected of each; chi-square with 5 degrees exceeds 20.5 once in a thousand; draws are fixed.
    assert len(counts) == 6
    assert float(((counts - 200.0) ** 2 / 200).sum()) < 20.5


def test_fixed_points_are_counted_over_all_groups():
    permutation = {"a": torch.tensor([0, 1, 3, 2]), "b": torch.tensor([0])}
    assert symmetry.fixed_points(permutation) == pytest.approx(3 / 5)
    assert symmetry.fixed_points(symmetry.identity(GROUPS)) == 1.0


def test_agreement_by_size_is_counted_from_the_smallest_unit_on():
    sizes = {"1": torch.tensor([4.0, 1.0, 2.0, 3.0])}
    first, second = {"1": torch.tensor([0, 1, 2, 3])}, {"1": torch.tensor([0, 1, 4, 3])}
    # From small to large: unit 1 agrees, 2 does not, 3 agrees, 0 agrees.
    assert symmetry.agreement_by_size(first, second, sizes, 2) == [0.5, 1.0]
    assert symmetry.agreement_by_size(first, second, sizes, 4) == [1.0, 0.0, 1.0, 1.0]


def test_norms_of_units_are_of_what_comes_in_and_goes_out_without_biases():
    model, spec = traced(ModelSpec("mlp", 5, 1), (1, 1, 2))
    weights = model.state_dict()
    expected = (weights["1.weight"].square().sum(1) + weights["3.weight"].square().sum(0)).sqrt().double()
    torch.testing.assert_close(symmetry.unit_norms(weights, spec)["1"], expected, rtol=1e-6, atol=0.0)


def test_permutations_of_different_groups_do_not_compose():
    one = symmetry.identity(GROUPS)
    for pair in ((one, {"b": torch.arange(2)}), ({"b": torch.arange(2)}, one)):
        with pytest.raises(SymmetryError, match="group 0 stands only in one of spec and permutation"):
            symmetry.compose(*pair, GROUPS)


# -- counts by hand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "groups", "units"),
    [
        # Each hidden layer.
        (ModelSpec("mlp", 7, 4), 4, 28),
        # Each convolution: 2 * (2 * 1 + 2 * 2 + 3 * 4 + 6 * 8) units.
        (ModelSpec("vgg", 2, 16, "batch"), 13, 2 * (2 + 4 + 12 + 48)),
        # Three streams and the inside of nine blocks; each stage has one and three of its width.
        (ModelSpec("resnet", 4, 20, "batch"), 12, 4 * (4 + 8 + 16)),
        (ModelSpec("resnet", 4, 8, "none"), 6, 2 * (4 + 8 + 16)),
    ],
    ids=str,
)
def test_groups_are_those_counted_by_hand(spec, groups, units):
    _, found = traced(spec)
    assert (len(found.groups), found.units, found.pinned) == (groups, units, ())


def test_residual_stream_is_one_group_through_stem_blocks_and_shortcut():
    _, spec = traced(ModelSpec("resnet", 4, 14, "batch"))
    vectors = ("weight", "bias", "running_mean", "running_var")
    stem = {("0.weight", 0), *((f"1.{each}", 0) for each in vectors)}
    blocks = {(f"{block}.conv2.weight", 0) for block in (3, 4)} | {(f"{block}.conv1.weight", 1) for block in (3, 4, 5)}
    vectors_of_blocks = {(f"{block}.norm2.{each}", 0) for block in (3, 4) for each in vectors}
    assert members(spec)["0"] == stem | blocks | vectors_of_blocks | {("5.shortcut.0.weight", 1)}


def test_group_norm_allows_whole_blocks_and_an_order_inside_each():
    _, spec = traced(ModelSpec("mlp", 8, 1, "group"))
    # Four groups of two units: blocks may be exchanged, and the units of each block.
    assert spec.groups == {"1": Group(4), "1/1": Group(2, "1", (4,))}
    blocks = torch.arange(8).reshape(4, 2)
    for name, dim in (("1.weight", 0), ("4.weight", 1)):
        outer, inner = (
            next(each for each in spec.members[group] if (each.name, each.dim) == (name, dim)) for group in spec.groups
        )
        assert torch.equal(outer.places, blocks)
        assert torch.equal(inner.places, blocks[..., None])


def test_flattened_feature_map_moves_in_blocks_of_pixels():
    with torch.device("meta"):
        model = torchvision.models.vgg11_bn()
        model.classifier = nn.Sequential(nn.Linear(512 * 49, 16), nn.ReLU(), nn.Linear(16, 5))
    spec = symmetry.permutation_spec(model, torch.zeros(1, 3, 64, 64, device="meta"))
    member = next(each for each in spec.members["features.25"] if each.name == "classifier.0.weight")
    assert (member.dim, member.span) == (1, 1)
    assert torch.equal(member.places, torch.arange(512 * 49).reshape(512, 49))


# -- another tracer ----------------------------------------------------------------------------------------------------


def groups_by_torch_pruning(model, inputs):
    """The coupled axes of weights that Torch-Pruning's dependency graph finds."""
    kinds = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
    names = {module: name for name, module in model.named_modules()}
    graph = torch_pruning.DependencyGraph().build_dependency(model, inputs)
    return {
        frozenset(
            (f"{names[dependency.target.module]}.weight", int("in_channels" in dependency.handler.__name__))
            if not isinstance(dependency.target.module, nn.BatchNorm1d | nn.BatchNorm2d)
            else (f"{names[dependency.target.module]}.weight", 0)
            for dependency, _ in group
            if isinstance(dependency.target.module, kinds)
        )
        for group in graph.get_all_groups()
    }


@pytest.mark.parametrize(
    "spec",
    [replace(each, norm=norm) for each in SMALL[::4] for norm in ("none", "batch")]
    + [ModelSpec("resnet", 4, 20, "batch")],
    ids=str,
)
def test_groups_agree_with_torch_pruning(spec):
    model, groups = traced(spec)
    ours = {frozenset(axis for axis in each if axis[0].endswith("weight")) for each in members(groups).values()}
    last = [name for name, value in model.named_parameters() if value.dim() > 1][-1]
    # The logits are a group there; here they keep their places, since a class has a name.
    assert groups_by_torch_pruning(model, torch.zeros(1, 2, 8, 8)) == ours | {frozenset({(last, 0)})}


# -- networks of other kinds -------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """Two layers share a matrix, and so its input and output units move together."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(*n) for n in ((4, 6), (6, 6), (6, 6), (6, 3)))
        self.third.weight = self.second.weight

    def forward(self, x):
        return self.last(F.relu(self.third(F.relu(self.second(F.relu(self.first(x)))))))


class Convolutions(nn.Sequential):
    """A grouped and a depthwise convolution, and a feature map that is flattened before its linear layer."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 8, 3), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8), nn.PReLU(8),
            nn.Conv2d(8, 12, 1, groups=2), nn.BatchNorm2d(12), nn.ELU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, 3),
        )  # fmt: skip


class Layout(nn.Module):
    """Reshapes, transposes, means and a parameter used directly."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.last = nn.Conv2d(2, 6, 2, stride=2), nn.Linear(16, 16), nn.Linear(6, 3)
        self.norm = nn.LayerNorm(6)
        self.scale, self.shift = nn.Parameter(torch.zeros(6, 1)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        tokens = self.embed(x).flatten(2)
        tokens = tokens * self.scale + F.gelu(self.mix(tokens))
        tokens = self.norm(tokens.transpose(1, 2)) + self.shift
        return self.last(torch.sigmoid(tokens.permute(0, 2, 1).mean(-1)))


class LayerNormOverImages(nn.Sequential):
    """Layer normalisation over channels and pixels has scales with three dimensions."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 5, 3, padding=1), nn.LayerNorm((5, 8, 8)), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(20, 3),
        )  # fmt: skip


def built(build, *arguments):
    """Torch's layers draw their weights from the global stream, which the tests must leave where it was."""
    with torch.random.fork_rng(devices=[]):
        return build(*arguments)


class Auxiliary(nn.Module):
    """A second output in training mode: in evaluation mode its layer has no part in the function."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.head = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x):
        hidden = F.relu(self.first(x))
        return (self.last(hidden), self.head(hidden)) if self.training else self.last(hidden)


class Repeated(nn.Sequential):
    """One layer stands at two places, and so under two names in the state."""

    def __init__(self):
        repeated = nn.Linear(6, 6)
        super().__init__(nn.Linear(4, 6), nn.ReLU(), repeated, nn.ReLU(), repeated, nn.ReLU(), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("build", "shape", "sizes"),
    [
        (Tied, (4,), [6]),
        (Repeated, (4,), [6]),
        (Auxiliary, (4,), [6]),
        # Eight channels in the two blocks of the grouped convolution, twelve after it, in the same two blocks.
        (Convolutions, (2, 8, 8), [2, 4, 6, 5]),
        # The pixels keep their places, so that the units of `mix` do too.
        (Layout, (2, 8, 8), [6]),
        (LayerNormOverImages, (2, 8, 8), [5]),
    ],
)
def test_networks_of_other_kinds_are_traced_and_proved(build, shape, sizes):
    spec = proved(built(build), images(8, *shape))
    assert sorted(spec.sizes.values()) == sorted(sizes)
    assert spec.pinned == ()


def test_tied_weights_are_permuted_alike(random_weights):
    model, x = built(Tied), images(8, 4)
    weights = random_weights(model)
    weights["third.weight"] = weights["second.weight"]
    spec = symmetry.permutation_spec(model, x)
    permuted = symmetry.permute(weights, symmetry.random(spec, generator=rng.stream(0)), spec)
    assert torch.equal(permuted["third.weight"], permuted["second.weight"])
    assert not torch.equal(permuted["second.weight"], weights["second.weight"])
    before, after = (forward(model, each, x)[0] for each in (weights, permuted))
    assert float((after - before).abs().max() / before.std()) <= ROUNDING


class Unknown(nn.Module):
    """An operation behind the first of two hidden layers."""

    def __init__(self, operation):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 5), nn.Linear(5, 3)
        self.operation = operation

    def forward(self, x):
        return self.last(F.relu(self.second(self.operation(F.relu(self.first(x))))))


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(8, 8, 8)

    def forward(self, x):
        return self.layer(x, x)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (lambda h: torch.cumsum(h, 1), "cumsum runs along units"),
        (lambda h: torch.sort(h, 1).values, "sort is not understood"),
        (lambda h: torch.einsum("ni,nj->nij", h, h).diagonal(dim1=1, dim2=2), "diagonal is not understood"),
        (Bilinear, "bilinear is not understood"),
    ],
    ids=["cumsum", "sort", "diagonal", "bilinear"],
)
def test_an_unknown_operation_pins_its_units_and_is_reported(operation, reason):
    model = built(lambda: Unknown(operation() if operation is Bilinear else operation))
    spec = proved(model, images(8, 4))
    assert dict(spec.sizes) == {"second": 5}
    assert any(reason in each for each in spec.pinned)
    assert f"pinned: {spec.pinned[0]}" in spec.describe()


@pytest.mark.parametrize(
    ("operation", "sizes"),
    [
        (lambda h: h.flip(1), [8]),
        # Units that go different ways are not exchanged with each other.
        (lambda h: torch.cat([h[:, 1:], h[:, :1]], 1), [7]),
        (lambda h: torch.cat(h.chunk(2, 1)[::-1], 1), [4, 4]),
        (lambda h: torch.cat([h, torch.tanh(h)], 1)[:, ::2], [4, 4]),
        (lambda h: (lambda a, b: torch.cat([a, b], 1).repeat_interleave(1, 1))(*h.split([3, 5], 1)), [3, 5]),
        (lambda h: torch.cat([F.silu(h[:, :4]) * h[:, 4:], h[:, 4:]], 1), [4]),
        (lambda h: h - h.mean(axis=1, keepdim=True), [8]),
        # Units that go nowhere, and places of a constant, are exchanged too.
        (lambda h: F.pad(h[:, :5], (1, 2)), [2, 3, 5]),
    ],
    ids=["flip", "cat", "chunk", "every other", "repeat", "gate", "axis", "pad"],
)
def test_moves_of_units_are_followed(operation, sizes):
    spec = proved(built(Unknown, operation), images(8, 4))
    assert sorted(size for name, size in spec.sizes.items() if name != "second") == sizes


class NonPersistent(nn.Module):
    """A buffer that the state dictionary does not hold, and so no permutation can move."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 5), nn.Linear(5, 3)
        self.register_buffer("gain", torch.arange(8.0), persistent=False)

    def forward(self, x):
        return self.last(F.relu(self.second(self.gain * F.relu(self.first(x)))))


class Parametrised(Unknown):
    """The weight of the first layer is computed from two others."""

    def __init__(self):
        super().__init__(nn.Identity())
        nn.utils.parametrizations.weight_norm(self.first)


class Folded(Unknown):
    """Each unit is an example of its own while a convolution sees it."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 1, 1))

    def forward(self, x):
        folded = F.relu(self.first(x)).view(-1, 1, 1, 1)
        return self.last(F.relu(self.second(self.operation(folded).view(-1, 8))))


class Square(Unknown):
    """The units are a matrix that is made symmetric, so that rows and columns move alike; then both are split."""

    def __init__(self):
        super().__init__(lambda h: h.view(-1, 2, 2, 2, 2).transpose(1, 2).reshape(-1, 16))
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 5)

    def forward(self, x):
        square = self.first(x).view(-1, 4, 4)
        return self.last(F.relu(self.second(self.operation(F.relu(square + square.transpose(1, 2))))))


def plus_shuffled(h):
    """A residual sum with the units in another order: two blocks of four against four of two."""
    return h + h.view(-1, 2, 4).transpose(1, 2).reshape(-1, 8)


def in_keywords(h):
    """Dimensions given by keyword."""
    return h.unsqueeze(1).permute(dims=(0, 2, 1)).transpose(dim0=1, dim1=2).squeeze(1)


NOT_FOLLOWED = {
    "a buffer outside the state": NonPersistent,
    "a parametrised weight": Parametrised,
    "a convolution over folded units": Folded,
    "a split square": Square,
    "a convolution along units": lambda: Unknown(
        nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten())
    ),
    "a sum of units in two orders": lambda: Unknown(plus_shuffled),
    "a normalised shape from the input": lambda: Unknown(lambda h: F.layer_norm(h, h.shape[1:])),
    "pooling over units": lambda: Unknown(nn.AvgPool1d(3, 1, 1)),
    "keyword arguments": lambda: Unknown(in_keywords),
}


@pytest.mark.parametrize("build", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_what_is_hard_to_follow_is_refused_or_pinned_but_never_wrong(build):
    model, x = built(build), images(8, 4)
    try:
        spec = symmetry.permutation_spec(model, x)
    except SymmetryError:
        return
    assert symmetry.prove(model, spec, x, generator=rng.stream(0)) <= ROUNDING
    assert spec.sizes["second"] == 5


def test_control_flow_on_data_is_refused():
    class Branch(Unknown):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(SymmetryError, match="Branch cannot be traced: "):
        symmetry.permutation_spec(built(Branch, F.relu), torch.zeros(1, 4))


# -- negative control --------------------------------------------------------------------------------------------------


def forget(spec, name, dim):
    """The spec with one axis of one entry taken for unpermuted."""
    members = {
        group: tuple(each for each in axes if (each.name, each.dim) != (name, dim))
        for group, axes in spec.members.items()
    }
    return replace(spec, members=members)


@pytest.mark.parametrize(
    ("name", "dim", "group"),
    [
        ("3.conv1.weight", 0, "3.conv1"),
        ("3.conv1.weight", 1, "0"),
        ("1.bias", 0, "0"),
        ("1.running_mean", 0, "0"),
        ("1.running_var", 0, "0"),
        ("4.shortcut.0.weight", 0, "4.conv2"),
        ("8.weight", 1, "5.conv2"),
    ],
)
def test_a_spec_that_forgets_one_axis_is_refuted_and_its_group_named(name, dim, group):
    model, spec = traced(ModelSpec("resnet", 4, 8, "batch"))
    inputs = images(4, 2, 8, 8)
    with pytest.raises(SymmetryError, match="the function changes by") as caught:
        symmetry.prove(model, forget(spec, name, dim), inputs, generator=rng.stream(0))
    assert f"the groups {group} are no symmetries" in str(caught.value)
    assert symmetry.prove(model, spec, inputs, generator=rng.stream(0), draws=1) <= ROUNDING


def test_function_change_of_a_wrong_permutation_is_of_the_order_of_one(random_weights):
    model, spec = traced(ModelSpec("mlp", 8, 2))
    weights, x = random_weights(model), images(50, 2, 8, 8)
    permutation = symmetry.random(spec, generator=rng.stream(0))
    assert symmetry.function_change(model, weights, permutation, spec, x) <= ROUNDING
    assert symmetry.function_change(model, weights, permutation, forget(spec, "3.weight", 1), x) > 0.1


def test_function_change_is_in_units_of_the_outputs_spread(random_weights):
    model, spec = traced(ModelSpec("mlp", 8, 1))
    weights, x = random_weights(model), images(50, 2, 8, 8)
    wrong = forget(spec, "3.weight", 1)
    permutation = symmetry.random(spec, generator=rng.stream(0))
    before, _ = forward(model, weights, x)
    after, _ = forward(model, symmetry.permute(weights, permutation, wrong), x)
    expected = float((after - before).abs().max() / before.std())
    assert symmetry.function_change(model, weights, permutation, wrong, x) == pytest.approx(expected, rel=1e-10)


# -- errors and the table ----------------------------------------------------------------------------------------------


def changed(entries, **changes):
    return {name: value for name, value in {**entries, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("entries", "permutation", "message"),
    [
        ({"1.bias": None}, {}, "4 in the spec have 3 names in common, only the spec has 1.bias$"),
        (
            {"extra": torch.zeros(1)},
            {},
            "5 entries in the state and 4 in the spec have 4 names in common, only the state has extra$",
        ),
        ({"3.weight": torch.zeros(3, 7)}, {}, r"3.weight has shape \(3, 7\), but the spec expects \(3, 4\)"),
        ({"1.bias": torch.zeros(4, 1)}, {}, r"1.bias has shape \(4, 1\), but the spec expects \(4,\)"),
        ({}, {"1": None}, "group 1 stands only in one of spec and permutation"),
        ({}, {"2": torch.arange(2)}, "group 2 stands only in one of spec and permutation"),
        ({}, {"1": torch.tensor([0, 1, 2])}, r"group 1 needs each of 0 to 3 once, got \[0, 1, 2\]"),
        ({}, {"1": torch.tensor([0, 1, 2, 2])}, r"got \[0, 1, 2, 2\]"),
        ({}, {"1": torch.tensor([1, 2, 3, 4])}, r"got \[1, 2, 3, 4\]"),
    ],
)
@pytest.mark.parametrize("operation", ["check", "permute"])
def test_what_does_not_fit_together_is_named(operation, entries, permutation, message):
    model, spec = traced(ModelSpec("mlp", 4, 1), (1, 1, 2))
    weights = changed(model.state_dict(), **entries)
    chosen = changed(symmetry.identity(spec), **permutation)
    with pytest.raises(SymmetryError, match=message):
        if operation == "check":
            symmetry.check(spec, weights, chosen)
        else:
            symmetry.permute(weights, chosen, spec)


def test_check_passes_what_fits():
    model, spec = traced(ModelSpec("resnet", 4, 8, "batch"))
    symmetry.check(spec, model.state_dict())
    symmetry.check(spec, model.state_dict(), symmetry.random(spec, generator=rng.stream(0)))


def test_description_lists_groups_units_and_entries():
    _, spec = traced(ModelSpec("mlp", 5, 2), (1, 1, 2))
    lines = replace(spec, pinned=("cat: cat is not understood",)).describe().splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["1", "5", "units", "1.weight[0],", "1.bias[0],", "3.weight[1]"],
        ["3", "5", "units", "3.weight[0],", "3.bias[0],", "5.weight[1]"],
    ]
    assert lines[2:] == ["2 groups, 10 units", "pinned: cat: cat is not understood"]
