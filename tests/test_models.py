"""Architectures: shapes, names that count layers, initial weights against their distribution, a norm against a loop."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmc_lib import models, rng, state
from lmc_lib.models import ModelSpec

FAMILIES = {"mlp": 2, "residual_mlp": 3, "plain_mlp": 3, "vgg": 11, "resnet": 8, "plain": 8}
NORMS = {"none": (), "batch": (nn.BatchNorm1d, nn.BatchNorm2d), "layer": (nn.LayerNorm,), "group": (nn.GroupNorm,)}


def weighted(model):
    """Linear layers and convolutions other than those of shortcuts."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and "shortcut" not in name
    ]


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 32, 32)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("family", "depth"), FAMILIES.items())
def test_every_architecture_maps_a_batch_to_logits(family, depth, norm, input_shape):
    model = models.build(ModelSpec(family, 4, depth, norm), input_shape, 7)
    assert model(torch.zeros(3, *input_shape)).shape == (3, 7)


@pytest.mark.parametrize(("family", "depth"), FAMILIES.items())
def test_building_leaves_the_global_stream_alone(family, depth):
    before = torch.get_rng_state()
    models.build(ModelSpec(family, 4, depth), (1, 8, 8), 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_of_an_mlp_counts_hidden_layers(depth):
    layers = [module for _, module in weighted(models.build(ModelSpec("mlp", 6, depth), (2, 3, 3), 5))]
    assert [(each.in_features, each.out_features) for each in layers] == [(18, 6), *[(6, 6)] * (depth - 1), (6, 5)]


def test_hidden_layers_of_an_mlp_have_their_own_widths():
    layers = [module for _, module in weighted(models.mlp(4, 3, widths=(8, 6)))]
    assert [each.out_features for each in layers] == [8, 6, 3]


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_depth_of_a_resnet_counts_weighted_layers_on_the_longest_path(depth):
    model = models.resnet(3, 10, depth=depth, width=4)
    assert len(weighted(model)) == depth
    widths = [module.out_channels for _, module in weighted(model)[:-1]]
    per_stage = (depth - 2) // 3
    assert widths == [4] + [4] * per_stage + [8] * per_stage + [16] * per_stage


@pytest.mark.parametrize(
    ("family", "pixels", "channels", "resolution"),
    # Two of three stages of a residual network halve the resolution, and all five of VGG, as long as there is one.
    [("resnet", 16, 16, 4), ("resnet", 6, 16, 2), ("vgg", 64, 32, 2), ("vgg", 32, 32, 1), ("vgg", 8, 32, 1)],
)
def test_stages_halve_the_resolution(family, pixels, channels, resolution):
    model = models.build(ModelSpec(family, 4, FAMILIES[family]), (3, pixels, pixels), 10)
    pooling = next(i for i, layer in enumerate(model) if isinstance(layer, nn.AdaptiveAvgPool2d))
    assert model[:pooling](torch.zeros(1, 3, pixels, pixels)).shape == (1, channels, resolution, resolution)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_the_convolutions_of_the_paper_and_one_linear_layer(depth):
    # The published network has three linear layers at its end; that for CIFAR has one.
    layers = [module for _, module in weighted(models.vgg(3, 10, depth=depth, width=2))]
    assert len(layers) == depth - 2
    assert [type(each) for each in layers] == [nn.Conv2d] * (depth - 3) + [nn.Linear]
    channels = [each.out_channels for each in layers[:-1]]
    assert channels == sorted(channels)
    assert (channels[0], channels[-1]) == (2, 16)


def test_the_vgg_of_three_stages_has_six_convolutions_and_one_linear_layer():
    layers = [module for _, module in weighted(models.vgg(3, 10, depth=7, width=2))]
    assert [type(each) for each in layers] == [nn.Conv2d] * 6 + [nn.Linear]
    assert [each.out_channels for each in layers[:-1]] == [2, 2, 4, 4, 8, 8]


def test_sizes_agree_with_the_published_networks():
    # VGG-16 for CIFAR: 14,710,464 in 3x3 convolutions, 4,224 biases, 512 * 10 + 10 in the last layer.
    assert sum(p.numel() for p in models.vgg(3, 10, depth=16, norm="none").parameters()) == 14_719_818
    # ResNet-20 without projections has 269,722; two 1x1 convolutions and their norms add 16*32 + 32*64 and 2*(32 + 64).
    assert sum(p.numel() for p in models.resnet(3, 10, depth=20).parameters()) == 269_722 + 2_560 + 192


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", ["vgg", "resnet"])
def test_convolutions_have_a_bias_only_without_a_norm(family, norm):
    model = models.build(ModelSpec(family, 4, FAMILIES[family], norm), (1, 8, 8), 10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if NORMS[norm] and isinstance(module, NORMS[norm])]
    assert len(norms) == (len(convolutions) if norm != "none" else 0)
    assert all((each.bias is not None) == (norm == "none") for each in convolutions)


@pytest.mark.parametrize(("width", "groups"), [(8, 4), (6, 2), (5, 1)])
def test_group_normalisation_has_four_groups_where_the_width_allows(width, groups):
    model = models.mlp(3, 2, widths=(width,), norm="group")
    assert [module.num_groups for module in model.modules() if isinstance(module, nn.GroupNorm)] == [groups]


def test_channel_layer_norm_normalises_each_pixel_by_itself():
    generator = rng.stream(0, "pixels")
    layer = models.ChannelLayerNorm(5).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5, generator=generator))
        layer.bias.copy_(torch.randn(5, generator=generator))
    x = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    out = layer(x)
    for n in range(2):
        for row in range(3):
            for column in range(4):
                expected = F.layer_norm(x[n, :, row, column], (5,), layer.weight, layer.bias)
                # Means of five terms below 10.
                torch.testing.assert_close(out[n, :, row, column], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("norm", NORMS)
def test_residual_block_adds_its_input_where_the_shape_stays(norm):
    # With a last convolution of zeros only the shortcut is left of the first block.
    model = models.resnet(3, 10, depth=8, width=4, norm=norm).double().eval()
    block = next(module for module in model if hasattr(module, "shortcut"))
    x = torch.rand(2, 4, 5, 5, generator=rng.stream(0), dtype=torch.float64)
    with torch.no_grad():
        nn.init.zeros_(block.conv2.weight)
        if block.conv2.bias is not None:
            nn.init.zeros_(block.conv2.bias)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "last"), [(15, 1, 2, False), (16, 1, 2, True), (15, 1, 1, True), (15, 3, 2, True)]
)
def test_channels_come_last_except_before_narrow_strided_1x1_convolutions(channels, kernel, stride, last):
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Conv2d(channels, 8, kernel, stride=stride))
    assert models.memory_format(model) == (torch.channels_last if last else torch.contiguous_format)


def test_residual_networks_have_no_strided_1x1_convolution():
    model = models.resnet(1, 3, depth=8, width=4)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert {module.stride for module in convolutions if module.kernel_size == (1, 1)} == {(1, 1)}


# -- initial weights ---------------------------------------------------------------------------------------------------


def fresh(family="resnet", norm="batch", width=8, seed=0):
    model = models.build(ModelSpec(family, width, FAMILIES[family], norm), (3, 8, 8), 10)
    return model, models.initialise(model, generator=rng.stream(seed, "weights"))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_have_kaiming_variance_in_every_layer(family, norm):
    _, weights = fresh(family, norm)
    for name, value in weights.items():
        if value.dim() < 2:
            continue
        standardised = value * math.sqrt(value[0].numel() / 2)
        count = value.numel()
        # Mean and variance of n normal draws deviate by 1/sqrt(n) and sqrt(2/n); five deviations are one in a million.
        assert abs(float(standardised.mean())) < 5 / math.sqrt(count), name
        assert abs(float(standardised.var()) - 1) < 5 * math.sqrt(2 / count), name


def test_initial_weights_are_normal():
    _, weights = fresh("vgg", "none")
    draws = torch.cat([(v * math.sqrt(v[0].numel() / 2)).flatten() for v in weights.values() if v.dim() > 1])
    # Kolmogorov-Smirnov at one in a thousand.
    empirical = torch.arange(1, len(draws) + 1) / len(draws)
    theoretical = torch.special.ndtr(draws.sort().values)
    assert float((empirical - theoretical).abs().max()) < 1.95 / math.sqrt(len(draws))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_lie_on_their_grid_and_vectors_are_fresh(family, norm):
    model, weights = fresh(family, norm)
    assert weights.keys() == model.state_dict().keys()
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            assert value.item() == 0
            continue
        assert value.dtype == torch.float64
        if value.dim() > 1:
            assert torch.equal((value * 2**30).round() / 2**30, value), name
        else:
            assert set(value.tolist()) == {0.0 if name.endswith(("bias", "running_mean")) else 1.0}, name


def test_initial_statistics_are_fresh_even_if_those_of_the_module_are_not():
    model, _ = fresh()
    model(torch.ones(4, 3, 8, 8))
    weights = models.initialise(model, generator=rng.stream(0, "weights"))
    means = [value for name, value in weights.items() if name.endswith("running_mean")]
    variances = [value for name, value in weights.items() if name.endswith("running_var")]
    assert means
    assert all(set(value.tolist()) == {0.0} for value in means)
    assert all(set(value.tolist()) == {1.0} for value in variances)


def test_initialising_draws_from_its_generator_and_leaves_the_module_alone():
    model, weights = fresh()
    before = state.clone(model.state_dict())
    again = models.initialise(model, generator=rng.stream(0, "weights"))
    other = models.initialise(model, generator=rng.stream(1, "weights"))
    assert state.fingerprint(again) == state.fingerprint(weights)
    assert all(not torch.equal(other[name], value) for name, value in weights.items() if value.dim() > 1)
    assert state.fingerprint(model.state_dict()) == state.fingerprint(before)


def test_layers_of_one_shape_are_drawn_apart():
    drawn = models.initialise(models.mlp(8, 8, widths=(8, 8)), generator=rng.stream(0))
    weights = [value for value in drawn.values() if value.dim() > 1]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


# -- plain networks and stages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_a_plain_network_is_a_residual_one_without_its_shortcuts(norm):
    plain, residual = (models.build(ModelSpec(family, 4, 14, norm), (2, 9, 9), 7) for family in ("plain", "resnet"))
    for block in [module for module in residual if hasattr(module, "shortcut")]:
        block.shortcut = _Nothing()
    # The same weights in the same order, and with them the same function.
    plain.load_state_dict(dict(zip(plain.state_dict(), residual.state_dict().values(), strict=True)))
    images = torch.randn(3, 2, 9, 9, generator=rng.stream(0, "images"))
    assert torch.equal(plain.eval()(images), residual.eval()(images))


class _Nothing(nn.Module):
    def forward(self, x):
        return 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_a_plain_perceptron_is_the_chain_of_the_branches_of_a_residual_one(norm, random_weights):
    plain, residual = (models.build(ModelSpec(f, 4, 3, norm), (2, 3, 3), 5) for f in ("plain_mlp", "residual_mlp"))
    weights = random_weights(residual)
    plain.double().load_state_dict(dict(zip(plain.state_dict(), weights.values(), strict=True)))
    residual.double().load_state_dict(weights)
    images = torch.randn(3, 2, 3, 3, generator=rng.stream(0, "images"), dtype=torch.float64)
    x, added = (residual.eval()[:2](images) for _ in range(2))
    for block in (module for module in residual if isinstance(module, models.ResidualBlock)):
        x, added = block.branch(x), added + block.branch(added)
    assert torch.equal(plain.eval()(images), residual[5:](x))
    assert torch.equal(residual(images), residual[5:](added))


def test_a_residual_perceptron_has_two_layers_a_block_and_two_more():
    layers = [module for _, module in weighted(models.build(ModelSpec("residual_mlp", 6, 4, "layer"), (2, 3, 3), 5))]
    assert [(each.in_features, each.out_features) for each in layers] == [(18, 6), *[(6, 6)] * 8, (6, 5)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp-3", {0: 0, 1: 0, 2: 0}),
        ("vgg-13", {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3, 8: 4, 9: 4}),
        ("plain-8", {0: 0, 2: 0, 4: 1, 6: 2}),
        ("resnet-20", {0: 0, 2: 0, 4: 0, 6: 0, 8: 1, 10: 1, 12: 1, 14: 2, 16: 2, 18: 2}),
    ],
)
def test_stages_are_told_of_the_layers_that_follow_each_other(name, expected):
    assert models.stages(models.parse(name, 4)) == expected


@pytest.mark.parametrize("name", ["vgg-11", "vgg-16-batch", "plain-14", "resnet-14-layer"])
def test_a_stage_ends_where_the_resolution_falls(name):
    model = models.build(models.parse(name, 2), (1, 64, 64), 3)
    sizes: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    model(torch.zeros(2, 1, 64, 64))
    layers = models.stages(models.parse(name, 2))
    assert max(layers) == len(sizes) - 1
    halved = {size: stage for stage, size in enumerate(sorted(set(sizes), reverse=True))}
    assert {layer: halved[sizes[layer]] for layer in layers} == layers


def test_the_layers_of_a_residual_network_that_follow_each_other_are_its_blocks():
    model = models.build(models.parse("resnet-14-batch", 3), (1, 8, 8), 5).eval()
    rectified, blocks = [], []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, __, out: rectified.append(out))
        if type(module).__name__ == "_Block":
            module.register_forward_hook(lambda _, __, out: blocks.append(out))
    model(torch.randn(2, 1, 8, 8, generator=rng.stream(0, "images")))
    chosen = [rectified[layer] for layer in models.stages(models.parse("resnet-14-batch", 3))]
    assert all(torch.equal(*pair) for pair in zip(chosen, [rectified[0], *blocks], strict=True))


def test_a_transformer_has_no_stages():
    with pytest.raises(ValueError, match="a transformer has no stages"):
        models.stages(ModelSpec("transformer", 32, 2, "layer"))


# -- names and errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp-3", ModelSpec("mlp", 16, 3, "none")),
        ("vgg-16-batch", ModelSpec("vgg", 16, 16, "batch")),
        ("resnet-20-group", ModelSpec("resnet", 16, 20, "group")),
        ("plain-14-layer", ModelSpec("plain", 16, 14, "layer")),
        ("residual_mlp-8-layer", ModelSpec("residual_mlp", 16, 8, "layer")),
    ],
)
def test_names_are_parsed(name, expected):
    assert models.parse(name, 16) == expected


@pytest.mark.parametrize("name", ["", "mlp", "cnn-3", "mlp-three", "mlp--3", "mlp-3-batch-x", "resnet-8.5", "mlp-"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="FAMILY-DEPTH or FAMILY-DEPTH-NORM, like 'resnet-8-layer'"):
        models.parse(name, 16)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.parse("mlp-2-instance", 8), "unknown normalisation 'instance'; there are none, batch"),
        (lambda: models.mlp(2, 2, norm="x"), "unknown normalisation 'x'"),
        (lambda: models.vgg(3, 10, norm="x"), "unknown normalisation 'x'"),
        (lambda: models.resnet(3, 10, norm="x"), "unknown normalisation 'x'"),
        (lambda: models.residual_mlp(3, 10, norm="x"), "unknown normalisation 'x'"),
        (lambda: models.vgg(3, 10, depth=12), r"depth \[7, 11, 13, 16, 19\], not 12"),
        (lambda: models.resnet(3, 10, depth=18), "depth 8, 14, 20, ..., not 18"),
        (lambda: models.resnet(3, 10, depth=2), "not 2"),
        (lambda: models.build(ModelSpec("cnn", 4, 4), (1, 8, 8), 10), "unknown family of models 'cnn'"),
    ],
)
def test_impossible_architectures_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        (ModelSpec("mlp", 64, 3), "MLP, 3 hidden layers, width 64"),
        (ModelSpec("vgg", 16, 11, "layer"), "VGG-11, width 16"),
        (ModelSpec("resnet", 8, 20, "batch"), "ResNet-20, width 8"),
        (ModelSpec("plain", 8, 14, "batch"), "plain-14, width 8"),
        (ModelSpec("mlp", 7, 1), "MLP, 1 hidden layer, width 7"),
        (ModelSpec("residual_mlp", 24, 8, "layer"), "residual MLP, 8 blocks, width 24"),
        (ModelSpec("plain_mlp", 9, 1), "plain MLP, 1 block, width 9"),
        (ModelSpec("transformer", 32, 2, "layer"), "transformer, 2 layers, width 32"),
    ],
)
def test_labels_name_network_and_width(spec, label):
    assert spec.label == label
    assert spec.name == label.removesuffix(f", width {spec.width}")


@pytest.mark.parametrize(("family", "depth"), FAMILIES.items())
def test_the_classifier_is_what_the_number_of_classes_changes_and_nothing_else(family, depth):
    few, many = (models.build(ModelSpec(family, 4, depth, "batch"), (1, 8, 8), classes) for classes in (3, 7))
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (few, many)]
    assert models.classifier(few) == {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert shapes[0].keys() == shapes[1].keys()


def test_a_network_without_a_linear_layer_has_no_classifier():
    with pytest.raises(ValueError, match="last linear layer, and ReLU has none"):
        models.classifier(nn.ReLU())
