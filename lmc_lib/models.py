"""Architectures, small enough for a CPU: perceptrons, VGG, residual networks and their plain twins, transformers.

A module is architecture only: it is built without moving the global random stream, and ``initialise`` draws its
weights as a ``State`` from a generator. ``norm="group"`` has four groups where the width allows it.
"""

__all__ = [
    "NORMS", "ModelSpec", "ResidualBlock", "build", "classifier", "initialise", "memory_format", "mlp", "parse",
    "residual_mlp", "resnet", "stages", "transformer", "vgg",
]  # fmt: skip

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lmc_lib.state import State, real

NORMS = ("none", "batch", "layer", "group")

_FAMILIES = ("mlp", "residual_mlp", "plain_mlp", "vgg", "resnet", "plain", "transformer")

# The stages of VGG as in Simonyan and Zisserman, in multiples of the base width; "M" halves the resolution. That of
# depth 7 is ours: the first two stages of VGG-13 and one more like them, for images too small for five.
_VGG_STAGES: dict[int, tuple[int | str, ...]] = {
    7: (1, 1, "M", 2, 2, "M", 4, 4, "M"),
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"),
    13: (1, 1, "M", 2, 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"),
    16: (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"),
    19: (1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M"),
}


@dataclass(frozen=True)
class ModelSpec:
    """What defines an architecture, up to the shape of its data.

    Attributes:
        family: ``"mlp"``, ``"vgg"``, ``"resnet"``, ``"plain"``, which is a residual network without its shortcuts,
            ``"residual_mlp"``, ``"plain_mlp"``, which has its blocks and no skips, or ``"transformer"``.
        width: units of a hidden layer (mlp), or between blocks (residual_mlp, plain_mlp), channels of the first stage
            (vgg, resnet, plain), features of a token (transformer).
        depth: hidden layers (mlp), blocks (residual_mlp, plain_mlp), layers (transformer), or the depth in the
            network's name (vgg 7 to 19; resnet and plain 8, 14, 20, ...).
        norm: ``"none"``, ``"batch"``, ``"layer"`` or ``"group"``; ``"layer"`` for a transformer.
    """

    family: str
    width: int
    depth: int
    norm: str = "none"

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"a network has width and depth 1 or more, not width {self.width} and depth {self.depth}")

    @property
    def name(self) -> str:
        """The network's usual name, without its width."""
        layers, blocks = ("layer", "block") if self.depth == 1 else ("layers", "blocks")
        return {
            "mlp": f"MLP, {self.depth} hidden {layers}",
            "residual_mlp": f"residual MLP, {self.depth} {blocks}",
            "plain_mlp": f"plain MLP, {self.depth} {blocks}",
            "vgg": f"VGG-{self.depth}",
            "resnet": f"ResNet-{self.depth}",
            "plain": f"plain-{self.depth}",
            "transformer": f"transformer, {self.depth} {layers}",
        }[self.family]

    @property
    def label(self) -> str:
        """Its name with its width, as on the axis of a figure."""
        return f"{self.name}, width {self.width}"


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, for inputs of shape ``(N, C, H, W)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises over axis 1; the statistics of a pixel do not see its neighbours."""
        normalised: Tensor = super().forward(input.permute(0, 2, 3, 1))
        return normalised.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """A block that adds what its branch makes of its input to what its skip lets through."""

    def branch(self, x: Tensor) -> Tensor:
        """What the block adds."""
        raise NotImplementedError

    def skip(self, x: Tensor) -> Tensor:
        """What goes past the branch: the input itself, unless its shape changes."""
        return x

    def after(self, x: Tensor) -> Tensor:
        """What becomes of the sum: nothing, unless a block says otherwise."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The sum of branch and skip, and what becomes of it."""
        return self.after(self.branch(x) + self.skip(x))


class _LinearBlock(ResidualBlock):
    """A residual block of a perceptron: normalisation, two linear layers, a rectifier between them."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.layers = _plain_linear_block(width, norm)

    def branch(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class _Block(ResidualBlock):
    """The basic residual block: two 3x3 convolutions and, where the shape changes, a 1x1 convolution as shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv(channels_in, channels_out, norm, stride=stride)
        self.norm1 = _norm2d(norm, channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(channels_out, channels_out, norm)
        self.norm2 = _norm2d(norm, channels_out)
        changes = stride != 1 or channels_in != channels_out
        self.shortcut = (
            nn.Sequential(_conv(channels_in, channels_out, norm, kernel=1), _norm2d(norm, channels_out))
            if changes
            else nn.Identity()
        )
        # A pool of one pixel picks every second one: like a strided 1x1 convolution, in which oneDNN overruns its
        # buffer for few channels (see `memory_format`).
        self.subsample = nn.MaxPool2d(1, stride) if stride != 1 else nn.Identity()
        self.relu2 = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        """Maps ``(N, channels_in, H, W)`` to ``(N, channels_out, H / stride, W / stride)``."""
        out: Tensor = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return out

    def skip(self, x: Tensor) -> Tensor:
        """The input, or its projection to the shape of the branch."""
        out: Tensor = self.shortcut(self.subsample(x))
        return out

    def after(self, x: Tensor) -> Tensor:
        """Rectifies the sum."""
        out: Tensor = self.relu2(x)
        return out


class _Encoding(nn.Module):
    """A layer of BERT: attention and two linear layers, each added to its input and normalised after that."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.linear1 = nn.Linear(width, 4 * width)
        self.activation = nn.GELU()
        self.linear2 = nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Maps ``(N, tokens, width)`` to the same shape; tokens that are padding are not looked at."""
        x = self.norm1(x + self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0])
        out: Tensor = self.norm2(x + self.linear2(self.activation(self.linear1(x))))
        return out


class _Transformer(nn.Module):
    """A classifier of the mean token after several layers."""

    def __init__(self, tokens: int, features: int, num_classes: int, *, depth: int, width: int) -> None:
        super().__init__()
        self.embedding: nn.Module | None = None
        if features != width:
            self.embedding = nn.Linear(features, width)
            self.positions = nn.Parameter(torch.zeros(tokens, width))
        self.layers = nn.ModuleList(_Encoding(width, max(1, width // 32)) for _ in range(depth))
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, 1, tokens, features)`` to logits; a token of zeros is padding."""
        x = x.squeeze(1)
        padding = (x == 0).all(-1)
        if self.embedding is not None:
            x = self.embedding(x) + self.positions
        for layer in self.layers:
            x = layer(x, padding)
        kept = (~padding).to(x.dtype).unsqueeze(-1)
        out: Tensor = self.classifier((x * kept).sum(1) / kept.sum(1))
        return out


def parse(name: str, width: int) -> ModelSpec:
    """Reads ``FAMILY-DEPTH`` or ``FAMILY-DEPTH-NORM``, as parameters of a notebook write an architecture.

    Raises:
        ValueError: if the name is not of this form.

    Example:
        >>> parse("resnet-8-layer", 16)
        ModelSpec(family='resnet', width=16, depth=8, norm='layer')
    """
    family, *rest = name.split("-")
    if family not in _FAMILIES or len(rest) not in (1, 2) or not re.fullmatch("[0-9]{1,4}", rest[0]):
        raise ValueError(f"an architecture is FAMILY-DEPTH or FAMILY-DEPTH-NORM, like 'resnet-8-layer', not {name!r}")
    norm = rest[1] if len(rest) == 2 else "none"
    _check_norm(norm)
    return ModelSpec(family, width, int(rest[0]), norm)


@torch.random.fork_rng(devices=[])
def mlp(in_features: int, num_classes: int, *, widths: Sequence[int] = (128, 128), norm: str = "none") -> nn.Module:
    """Creates a multilayer perceptron with rectified hidden layers.

    Args:
        in_features: number of input values; inputs of shape ``(N, ...)`` are flattened.
        num_classes: number of logits.
        widths: units of each hidden layer.
        norm: normalisation between a hidden layer and its rectifier, one of ``NORMS``.

    Raises:
        ValueError: if ``norm`` is unknown.
    """
    _check_norm(norm)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip((in_features, *widths), widths, strict=False):
        layers += [nn.Linear(fan_in, fan_out), _norm1d(norm, fan_out), nn.ReLU()]
    return _without_identities([*layers, nn.Linear((in_features, *widths)[-1], num_classes)])


@torch.random.fork_rng(devices=[])
def residual_mlp(
    in_features: int, num_classes: int, *, blocks: int = 12, width: int = 64, norm: str = "layer", skips: bool = True
) -> nn.Module:
    """Creates a perceptron of residual blocks, or the plain one that has the same blocks without their skips.

    A block is a normalisation, a linear layer, a rectifier and a linear layer. Before the blocks stands a linear layer,
    behind them a normalisation and the linear layer that makes logits.

    Args:
        in_features: number of input values; inputs of shape ``(N, ...)`` are flattened.
        num_classes: number of logits.
        blocks: number of blocks.
        width: units between blocks, and inside them.
        norm: normalisation at the begin of a block and behind the last, one of ``NORMS``.
        skips: whether a block adds to its input what it makes of it.

    Raises:
        ValueError: if ``norm`` is unknown.
    """
    _check_norm(norm)
    block = _LinearBlock if skips else _plain_linear_block
    stem: list[nn.Module] = [nn.Flatten(), nn.Linear(in_features, width)]
    behind = [_norm1d(norm, width), nn.Linear(width, num_classes)]
    return _without_identities([*stem, *(block(width, norm) for _ in range(blocks)), *behind])


@torch.random.fork_rng(devices=[])
def vgg(in_channels: int, num_classes: int, *, depth: int = 16, width: int = 64, norm: str = "layer") -> nn.Module:
    """Creates the CIFAR variant of VGG: average pooling to 1x1, then one linear layer.

    Pooling rounds the resolution up, so images smaller than 32x32 reach the last stage at 1x1.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: 11, 13, 16 or 19, or 7, which has three stages in place of five.
        width: channels of the first stage (64 in the published networks).
        norm: normalisation after each convolution, one of ``NORMS``.

    Raises:
        ValueError: if ``depth`` or ``norm`` is unknown.
    """
    _check_norm(norm)
    if depth not in _VGG_STAGES:
        raise ValueError(f"vgg has depth {sorted(_VGG_STAGES)}, not {depth}")
    layers: list[nn.Module] = []
    channels = in_channels
    for stage in _VGG_STAGES[depth]:
        if isinstance(stage, str):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        else:
            layers += [_conv(channels, stage * width, norm), _norm2d(norm, stage * width), nn.ReLU()]
            channels = stage * width
    return _without_identities([*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)])


@torch.random.fork_rng(devices=[])
def resnet(
    in_channels: int, num_classes: int, *, depth: int = 20, width: int = 16, norm: str = "batch", skips: bool = True
) -> nn.Module:
    """Creates a residual network of the CIFAR family with 1x1 convolutions where the shape changes, or a plain one.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        depth: ``6 n + 2`` for ``n`` blocks in each of three stages: 8, 14, 20, ...
        width: channels of the first stage; the stages have ``width``, ``2 width`` and ``4 width``.
        norm: normalisation after each convolution, one of ``NORMS``.
        skips: whether blocks have shortcuts; without them it is the plain network of He and others (2016), with the
            same 3x3 convolutions, normalisations and activations, and without the 1x1 convolutions.

    Raises:
        ValueError: if ``depth`` is not of the family or ``norm`` is unknown.
    """
    _check_norm(norm)
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"a residual network of this family has depth 8, 14, 20, ..., not {depth}")
    blocks: list[nn.Module] = []
    channels = width
    for stage in range(3):
        for index in range((depth - 2) // 6):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append((_Block if skips else _plain_block)(channels, width << stage, stride, norm))
            channels = width << stage
    stem: list[nn.Module] = [_conv(in_channels, width, norm), _norm2d(norm, width), nn.ReLU()]
    return _without_identities(
        [*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    )


@torch.random.fork_rng(devices=[])
def transformer(tokens: int, features: int, num_classes: int, *, depth: int = 6, width: int = 384) -> nn.Module:
    """Creates a transformer encoder of the BERT family, without dropout, and a linear layer on its mean token.

    It has a head for every 32 features, and four times as many units as features between its two linear layers, like
    MiniLM. Where the tokens of the input have as many features as its own, they are taken as embedded, positions
    included; otherwise it begins with a linear layer and positions of its own.

    Args:
        tokens: length of a sequence; a token of zeros is padding.
        features: numbers that describe a token of the input.
        num_classes: number of logits.
        depth: number of layers.
        width: features of a token inside.

    Raises:
        ValueError: if the width is above 32 and no multiple of it.
    """
    if width > 32 and width % 32:
        raise ValueError(f"a transformer has a head for every 32 features; {width} is no multiple of 32")
    return _Transformer(tokens, features, num_classes, depth=depth, width=width)


def build(spec: ModelSpec, input_shape: Sequence[int], num_classes: int) -> nn.Module:
    """Builds the architecture of ``spec`` for inputs of ``input_shape`` (channels, height, width).

    Raises:
        ValueError: if the family is unknown or its options do not fit.
    """
    if spec.family == "mlp":
        return mlp(math.prod(input_shape), num_classes, widths=(spec.width,) * spec.depth, norm=spec.norm)
    if spec.family in ("residual_mlp", "plain_mlp"):
        skips, features = spec.family == "residual_mlp", math.prod(input_shape)
        return residual_mlp(features, num_classes, blocks=spec.depth, width=spec.width, norm=spec.norm, skips=skips)
    if spec.family == "vgg":
        return vgg(input_shape[0], num_classes, depth=spec.depth, width=spec.width, norm=spec.norm)
    if spec.family in ("resnet", "plain"):
        skips = spec.family == "resnet"
        return resnet(input_shape[0], num_classes, depth=spec.depth, width=spec.width, norm=spec.norm, skips=skips)
    if spec.family == "transformer":
        if spec.norm != "layer":
            raise ValueError(
                f"a transformer has layer normalisation: transformer-{spec.depth}-layer, not {spec.norm!r}"
            )
        channels, tokens, features = input_shape
        if channels != 1:
            raise ValueError(f"a transformer reads the rows of one channel as tokens, and these images have {channels}")
        return transformer(tokens, features, num_classes, depth=spec.depth, width=spec.width)
    raise ValueError(f"unknown family of models {spec.family!r}; there are {', '.join(_FAMILIES)}")


def stages(spec: ModelSpec) -> dict[int, int]:
    """The hidden layers of an architecture that follow each other, with the stage of each.

    Between two of them stands one layer or one block. What is behind the first activation function of a block is none
    of them: in a residual network it lies beside the way from block to block. A stage ends where the resolution falls.

    Returns:
        For the number of each such activation function, from 0 at the inputs, the number of its stage.

    Raises:
        ValueError: for a transformer, which has neither.

    Example:
        >>> stages(ModelSpec("resnet", 16, 14))
        {0: 0, 2: 0, 4: 0, 6: 1, 8: 1, 10: 2, 12: 2}
    """
    if spec.family == "mlp":
        return dict.fromkeys(range(spec.depth), 0)
    if spec.family == "vgg":
        plan = _VGG_STAGES[spec.depth]
        ends = [place for place, stage in enumerate(plan) if stage == "M"]
        places = [place for place, stage in enumerate(plan) if stage != "M"]
        return {layer: sum(end < place for end in ends) for layer, place in enumerate(places)}
    if spec.family in ("resnet", "plain"):
        blocks = (spec.depth - 2) // 6
        return {0: 0} | {2 * (block + 1): block // blocks for block in range(3 * blocks)}
    raise ValueError(f"a {spec.family} has no stages")


def initialise(model: nn.Module, *, generator: Generator, scale: float = 1.0) -> State:
    r"""Draws weights in float64: Kaiming-normal matrices, zero biases, unit scales, fresh normalisation statistics.

    A weight with fan-in :math:`n` is drawn from :math:`N(0, 2 s^2 / n)`, with scale :math:`s`. Draws are rounded to
    multiples of :math:`2^{-30}`, which hides the last bits in which normal draws differ between instruction sets.

    Args:
        model: the architecture, unchanged.
        generator: source of the draws.
        scale: 1 for Kaiming's variance; :math:`6^{-1/2}`, 0.41, gives that of torch's own linear and convolutional
            layers, from which networks move farther, relative to their start.
    """
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name, value in real(state).items():
        draw = value.double()
        if draw.dim() > 1:
            deviation = scale * math.sqrt(2.0 / draw[0].numel())
            draw = torch.randn(draw.shape, generator=generator, dtype=torch.float64).mul_(deviation)
            draw = draw.mul_(2.0**30).round_().mul_(2.0**-30)
        elif name.endswith("bias") or name.endswith("running_mean"):
            draw = torch.zeros_like(draw)
        else:
            draw = torch.ones_like(draw)
        state[name] = draw
    return state


def classifier(model: nn.Module) -> frozenset[str]:
    """The names of the weights of the last linear layer, which makes logits of features.

    Raises:
        ValueError: if the network has no linear layer.

    Example:
        >>> sorted(classifier(mlp(64, 10, widths=(8,))))
        ['3.bias', '3.weight']
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"a classifier is the last linear layer, and {type(model).__name__} has none")
    name, layer = layers[-1]
    return frozenset(f"{name}.{each}" for each, _ in layer.named_parameters())


def memory_format(model: nn.Module) -> torch.memory_format:
    """The order of memory in which a network's convolutions are fast on a CPU: channels last, unless that is unsafe.

    oneDNN writes past its buffer in a strided 1x1 convolution with the channels last and few input channels (fewer than
    8 with AVX2 and 16 with AVX-512; uxlfoundation/oneDNN issue 6035).
    """
    unsafe = any(
        module.kernel_size == (1, 1) and module.stride != (1, 1) and module.in_channels < 16
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    )
    return torch.contiguous_format if unsafe else torch.channels_last


def _check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise ValueError(f"unknown normalisation {norm!r}; there are {', '.join(NORMS)}")


def _conv(channels_in: int, channels_out: int, norm: str, *, stride: int = 1, kernel: int = 3) -> nn.Module:
    # A normalisation with a shift of its own makes the bias redundant.
    return nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=norm == "none")


def _norm1d(norm: str, features: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm1d(features)
    if norm == "layer":
        return nn.LayerNorm(features)
    return _group_norm(features) if norm == "group" else nn.Identity()


def _norm2d(norm: str, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return ChannelLayerNorm(channels)
    return _group_norm(channels) if norm == "group" else nn.Identity()


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, 4), channels)


def _plain_block(channels_in: int, channels_out: int, stride: int, norm: str) -> nn.Module:
    """A residual block without its shortcut."""
    first = [_conv(channels_in, channels_out, norm, stride=stride), _norm2d(norm, channels_out), nn.ReLU()]
    return _without_identities(
        [*first, _conv(channels_out, channels_out, norm), _norm2d(norm, channels_out), nn.ReLU()]
    )


def _plain_linear_block(width: int, norm: str) -> nn.Module:
    """The branch of a residual block of a perceptron."""
    return _without_identities([_norm1d(norm, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)])


def _without_identities(layers: Sequence[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
