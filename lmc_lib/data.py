"""Data sets as tensors in memory, batch orders as index tensors.

Nothing here downloads by surprise: a data set is looked for on disk first, and the only network access is the data
set's own checked download.
"""

__all__ = [
    "NAMES", "NO_IMAGES", "SHAPES", "DataSpec", "Dataset", "MissingData", "Split", "augment", "batch_order",
    "class_names", "load", "pixels", "positions", "quarter_turns", "root",
    "view",
]  # fmt: skip

import functools
import gzip
import hashlib
import importlib.util
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Generator, Tensor

from lmc_lib import expected, rng, text
from lmc_lib.values import round_to_grid

NAMES = (
    "digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "svhn", "movie_snippets", "mnist1d", "group_composition"
)  # fmt: skip

# What the examples are where they are no images.
NO_IMAGES = {
    "movie_snippets": "sentences",
    "mnist1d": "signals of one dimension",
    "group_composition": "sequences of symbols",
}

# Tokens of a sentence: two thirds of the snippets have fewer, the others are cut.
_TOKENS = 32

# The task of group composition: so many elements of the group of the numbers below a prime, with addition modulo it.
_ELEMENTS = 4
_PRIME = 7

# By name the shape of an example and the number of classes, for plans that are made without the data.
SHAPES: dict[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 8, 8), 10),
    "fashion_mnist": ((1, 28, 28), 10),
    "mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "svhn": ((3, 32, 32), 10),
    "movie_snippets": ((1, _TOKENS, text.FEATURES), 2),
    "mnist1d": ((1, 1, 40), 10),
    "group_composition": ((1, _ELEMENTS, _PRIME), _PRIME),
}

# By name the numbers of training and test examples, for the same; those of snippets are known once they are read.
_EXAMPLES = {
    "digits": (1297, 500),
    "fashion_mnist": (60000, 10000),
    "mnist": (60000, 10000),
    "cifar10": (50000, 10000),
    "cifar100": (50000, 10000),
    "svhn": (73257, 26032),
    "mnist1d": (4000, 1000),
    "group_composition": (1601, 800),
}

# By name the numbers of training and test examples of each class, where they are known and not the same in all.
_OF_CLASSES = {
    "digits": (
        (127, 136, 136, 139, 128, 134, 129, 123, 114, 131),
        (51, 46, 41, 44, 53, 48, 52, 56, 60, 49),
    ),
}
_BALANCED = ("fashion_mnist", "cifar10", "cifar100")

# What publishers call the classes, in their order (Xiao et al. 2017, Krizhevsky 2009); others have numbers.
_CLASSES = {
    "fashion_mnist": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip

# Debian's package `dataset-fashion-mnist` puts the original files here.
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# Checksums of the unpacked files: torchvision's are of the packed ones, and Debian packs them anew.
_FASHION_MNIST_SHA256 = {
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}

_DIGITS_TEST_EXAMPLES = 500
_SNIPPETS_TEST_EXAMPLES = 2000
_GROUP_TEST_EXAMPLES = 800  # a third

# Generated signals are rounded to multiples of 2 ** -16: their last bits come from logarithms, filters and sums, in
# which processors differ, and the noise in them is a thousand times as large as the step of this grid.
_SIGNAL_BITS = 16

# A snippet is negative or positive if its mean rating, from -4 to 4, is at least so far from 0; others are left out.
_OPINION = 0.5


class MissingData(FileNotFoundError):
    """A data set is not on disk and could not be downloaded."""


@dataclass(frozen=True)
class DataSpec:
    """What defines a data set and what was done to it.

    An unknown name or class, a subset that is empty or too large, and noise outside [0, 1] are a ``ValueError``.

    Attributes:
        name: one of ``NAMES``.
        train_examples: size of the random, fixed training subset; all examples if None.
        test_examples: size of the random, fixed test subset; all examples if None.
        label_noise: share of training labels that are replaced by a different class, drawn uniformly. With ``k``
            classes, a share of ``1 - 1 / k`` makes labels that say nothing.
        seed: stream of the subset and of the noise.
        classes: the classes that are kept, numbered anew from 0 in this order; all as they are if None. Subsets are
            taken of what is kept.
    """

    name: str
    train_examples: int | None = None
    test_examples: int | None = None
    label_noise: float = 0.0
    seed: int = 0
    classes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown data set {self.name!r}; there are {', '.join(NAMES)}")
        if not 0.0 <= self.label_noise <= 1.0:
            raise ValueError(f"label_noise is a share between 0 and 1, not {self.label_noise}")
        if self.classes is not None:
            self._check_classes(self.classes)
        for part, available in zip(("train", "test"), self._available, strict=True):
            _check_number(self, part, available)

    def examples(self, part: str) -> int | None:
        """The number of examples of a part, ``"train"`` or ``"test"``; None where it is known only once it is read."""
        train, test = self._available
        return {"train": self.train_examples or train, "test": self.test_examples or test}[part]

    @property
    def _available(self) -> tuple[int | None, int | None]:
        """The numbers of examples of which subsets are taken; None where they are not known yet."""
        if self.classes is None or self.name not in _EXAMPLES:
            return _EXAMPLES.get(self.name, (None, None))
        if self.name in _OF_CLASSES:
            train, test = (sum(part[each] for each in self.classes) for part in _OF_CLASSES[self.name])
            return train, test
        train, test = (each * len(self.classes) // SHAPES[self.name][1] for each in _EXAMPLES[self.name])
        return (train, test) if self.name in _BALANCED else (None, None)

    def _check_classes(self, classes: Sequence[int]) -> None:
        object.__setattr__(self, "classes", tuple(classes))  # notebooks write lists
        if len(set(classes)) != len(classes):
            raise ValueError(f"each class is named once, got {', '.join(map(str, classes))}")
        if len(classes) < 2:
            raise ValueError(f"telling classes apart takes two or more, got {len(classes)}")
        there = SHAPES[self.name][1]
        if unknown := [each for each in classes if not 0 <= each < there]:
            raise ValueError(f"{self.name} has the classes 0 to {there - 1}, not {', '.join(map(str, unknown))}")


@dataclass(frozen=True)
class Split:
    """Examples with labels.

    Inputs of the data sets here have the shape ``(examples, channels, height, width)`` and are standardised by the mean
    and deviation of the training set, but for texts (rows are tokens as vectors). Those of other networks may have any.
    """

    inputs: Shaped[Tensor, "examples ..."]
    labels: Tensor

    def __post_init__(self) -> None:
        """Raises a ValueError if there is not one label for each example, a whole number from 0."""
        expected.labels(self.labels, examples=len(self.inputs))

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> "Split":
        """Selects examples by a slice or an index tensor."""
        return Split(self.inputs[index], self.labels[index])

    def to(self, dtype: torch.dtype) -> "Split":
        """Converts the inputs to ``dtype``."""
        return replace(self, inputs=self.inputs.to(dtype))


@dataclass(frozen=True)
class Dataset:
    """A data set in memory; ``noisy`` marks the training examples whose label was replaced."""

    name: str
    train: Split
    test: Split
    num_classes: int
    noisy: Int[Tensor, " noisy"]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape ``(channels, height, width)`` of one example."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def mislabelled(self) -> Bool[Tensor, " examples"]:
        """For each training example whether its label was replaced."""
        return torch.isin(torch.arange(len(self.train)), self.noisy)


def root() -> Path:
    """The folder of the data sets: ``LMC_DATA``, by default ``~/.cache/lmc/data``."""
    return Path(os.environ.get("LMC_DATA", "~/.cache/lmc/data")).expanduser()


def load(spec: DataSpec) -> Dataset:
    """Loads a data set into memory, inputs standardised by channel, in float32.

    Mean and deviation are those of the whole training set, so that neither a subset nor a choice of classes moves them.
    ``movie_snippets`` are sentences, negative (0) or positive (1), as the sequences of vectors that the embedding layer
    of MiniLM makes of them; what is shorter than the longest ends in rows of zeros.

    Two data sets are generated. ``mnist1d`` has 4,000 and 1,000 signals of 40 numbers in ten classes, by the generator
    of Greydanus and Kobak (2024) at its defaults, rounded to a grid so that they are the same on every processor.
    ``group_composition`` asks for the sum modulo 7 of four numbers: a row a number, one-hot, all 2,401 sequences, of
    which 800 are the test set.

    Args:
        spec: name, classes, subset and label noise.

    Raises:
        ValueError: for a subset larger than what these classes, or the snippets, have.
        MissingData: if the files are not found; the message says where they were looked for and how to get them.

    Example:
        >>> digits = load(DataSpec("digits", train_examples=1000))
        >>> digits.input_shape, len(digits.train), len(digits.test), digits.num_classes
        ((1, 8, 8), 1000, 500, 10)
    """
    train, test = _whole(spec.name)
    num_classes = int(train.labels.max()) + 1
    mean, deviation = _channel_statistics(spec.name, train.inputs)
    if spec.classes is not None:
        train, test = (_of_classes(each, spec.classes, num_classes) for each in (train, test))
        num_classes = len(spec.classes)
    train = _subset(train, spec.train_examples, spec, "train")
    test = _subset(test, spec.test_examples, spec, "test")
    train, noisy = _with_label_noise(train, num_classes, spec)
    return Dataset(
        spec.name,
        replace(train, inputs=(train.inputs - mean) / deviation),
        replace(test, inputs=(test.inputs - mean) / deviation),
        num_classes,
        noisy,
    )


def class_names(spec: DataSpec) -> list[str]:
    """The names of the classes of a task by label, or their numbers where they have no names."""
    names = _CLASSES.get(spec.name) or [str(each) for each in range(SHAPES[spec.name][1])]
    return [names[each] for each in spec.classes or range(len(names))]


def batch_order(num_examples: int, batch_size: int, *, generator: Generator) -> Int[Tensor, "batches batch"]:
    """Draws the order of one epoch: each example at most once, an incomplete last batch left out.

    Raises:
        ValueError: if a batch is larger than the data set.
    """
    batches = num_examples // batch_size
    if batches == 0:
        raise ValueError(f"a batch of {batch_size} does not fit into {num_examples} examples")
    return torch.randperm(num_examples, generator=generator)[: batches * batch_size].view(batches, batch_size)


def augment(
    inputs: Float[Tensor, "batch channels height width"], *, generator: Generator, padding: int = 4, flips: bool = True
) -> Float[Tensor, "batch channels height width"]:
    """Flips each image left to right with probability 1/2, and crops it at random out of a zero-padded frame.

    Without ``flips`` it is cropped alone.
    """
    batch, _, height, width = inputs.shape
    flip = torch.randint(2, (batch,), generator=generator).bool() & flips
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator)
    padded = torch.nn.functional.pad(inputs, (padding,) * 4)
    columns = torch.arange(width).expand(batch, width)
    columns = torch.where(flip[:, None], columns.flip(1), columns) + left[:, None]
    rows = torch.arange(height) + top[:, None]
    return padded[torch.arange(batch)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def quarter_turns(split: Split) -> Split:
    """Every image four times, turned by nothing, a quarter, a half and three quarters: its label says by how much.

    To tell the turn of an image is a task that needs no labels (Gidaris, Singh and Komodakis 2018). The turns of an
    image stand behind each other.

    Raises:
        ValueError: if the images are not square.

    Example:
        >>> turned = quarter_turns(Split(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([7])))
        >>> turned.inputs[1, 0].tolist(), turned.labels.tolist()
        ([[2.0, 4.0], [1.0, 3.0]], [0, 1, 2, 3])
    """
    height, width = split.inputs.shape[2:]
    if height != width:
        raise ValueError(f"images that are turned by a quarter are square, and these are {height} × {width}")
    turned = torch.stack([split.inputs.rot90(turns, (2, 3)) for turns in range(4)], 1)
    return Split(turned.flatten(0, 1), torch.arange(4).repeat(len(split)))


def view(
    inputs: Float[Tensor, "batch channels height width"], *, generator: Generator, kept: float = 0.9
) -> Float[Tensor, "batch channels height width"]:
    """Another view of each image: shifted by at most an eighth of its height, with some pixels at the mean, 0.

    Args:
        inputs: standardised images.
        generator: source of the draws.
        kept: the share of pixels that stay.
    """
    shifted = augment(inputs, generator=generator, padding=max(1, inputs.shape[2] // 8), flips=False)
    stays = torch.rand((len(inputs), 1, *inputs.shape[2:]), generator=generator) < kept
    return shifted * stays


def _whole(name: str) -> tuple[Split, Split]:
    """All training and test examples of a data set."""
    ours: dict[str, Callable[[], tuple[Split, Split]]] = {
        "digits": _digits,
        "movie_snippets": _snippets,
        "mnist1d": _mnist1d,
        "group_composition": _group_composition,
    }
    return ours[name]() if name in ours else _torchvision(name)


def _digits() -> tuple[Split, Split]:
    # What sklearn.datasets.load_digits reads, without the second of processor time that its import takes.
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None
    rows = torch.from_numpy(np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", delimiter=","))
    inputs = rows[:, :-1].float().div_(16.0).view(-1, 1, 8, 8)
    labels = rows[:, -1].long()
    # The file is ordered by writer; one fixed shuffle makes train and test alike.
    order = torch.randperm(len(labels), generator=rng.stream(0, "digits", "split"))
    everything = Split(inputs, labels)
    return everything[order[_DIGITS_TEST_EXAMPLES:]], everything[order[:_DIGITS_TEST_EXAMPLES]]


def _snippets() -> tuple[Split, Split]:
    try:
        encoder, snippets = text.encoder(), text.read_snippets(root())
    except text.EncoderMissing as error:
        raise MissingData(str(error)) from error
    except OSError as error:
        raise MissingData(_how_to_get_snippets(error)) from error
    ratings = torch.tensor(snippets.ratings, dtype=torch.float64)
    kept = ratings.abs() >= _OPINION
    sentences = [sentence for sentence, keep in zip(snippets.sentences, kept.tolist(), strict=True) if keep]
    everything = Split(encoder.embed(sentences, _TOKENS).unsqueeze(1), (ratings[kept] > 0).long())
    order = torch.randperm(len(everything), generator=rng.stream(0, "movie_snippets", "split"))
    return everything[order[_SNIPPETS_TEST_EXAMPLES:]], everything[order[:_SNIPPETS_TEST_EXAMPLES]]


@functools.cache  # two seconds
def _mnist1d() -> tuple[Split, Split]:
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 -- the generator seeds both
    try:
        from mnist1d.data import get_dataset_args, make_dataset  # noqa: PLC0415 -- loads a client of the web, unused

        made = make_dataset(get_dataset_args())
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
    return _signals(made["x"], made["y"]), _signals(made["x_test"], made["y_test"])


def _signals(values: np.ndarray, labels: np.ndarray) -> Split:
    rounded = round_to_grid(torch.tensor(values), _SIGNAL_BITS)
    return Split(rounded.float()[:, None, None, :], torch.from_numpy(labels).long())


def _group_composition() -> tuple[Split, Split]:
    sequences = torch.cartesian_prod(*[torch.arange(_PRIME)] * _ELEMENTS)
    inputs = torch.nn.functional.one_hot(sequences, _PRIME).float().unsqueeze(1)
    everything = Split(inputs, sequences.sum(1) % _PRIME)
    order = torch.randperm(len(everything), generator=rng.stream(0, "group_composition", "split"))
    return everything[order[_GROUP_TEST_EXAMPLES:]], everything[order[:_GROUP_TEST_EXAMPLES]]


def _how_to_get_snippets(error: Exception) -> str:
    return (
        f"movie_snippets cannot be read: {error}\n"
        f"They are looked for as {root() / text.ARCHIVE} (set LMC_DATA to look elsewhere). Three ways to get them: run "
        f"again with a network connection (the file is downloaded from PyPI and its checksum verified); "
        f"`pip download --no-deps --no-binary :all: vaderSentiment=={text.VERSION}` where there is one, and copy the "
        f"file into that folder; or show the records that ship with the repository, which need neither."
    )


def _torchvision(name: str) -> tuple[Split, Split]:
    from torchvision import datasets  # noqa: PLC0415 -- slow to import, and not needed for digits

    train: dict[str, Any] = {"split": "train"} if name == "svhn" else {"train": True}
    test: dict[str, Any] = {"split": "test"} if name == "svhn" else {"train": False}
    constructor: Callable[..., Any] = {
        "fashion_mnist": datasets.FashionMNIST,
        "mnist": datasets.MNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "svhn": datasets.SVHN,
    }[name]
    try:
        return _as_split(constructor(root(), **train)), _as_split(constructor(root(), **test))
    except RuntimeError:  # torchvision's word for "not found or corrupted"
        if name == "fashion_mnist" and _DEBIAN_FASHION_MNIST.is_dir():
            return _read_idx("train"), _read_idx("t10k")
    try:
        return (
            _as_split(constructor(root(), download=True, **train)),
            _as_split(constructor(root(), download=True, **test)),
        )
    except (OSError, RuntimeError) as error:
        raise MissingData(_how_to_get(name, error)) from error


def _as_split(dataset: Any) -> Split:
    # torchvision verifies what it downloads, and the files of CIFAR and SVHN whenever it reads them; those of MNIST's
    # kind it reads as they are, and lists the sums of the packed ones.
    for file, md5 in getattr(dataset, "resources", ()):
        packed = Path(dataset.raw_folder) / file
        stamps = tuple(each.stat().st_mtime_ns if each.exists() else 0 for each in (packed, packed.with_suffix("")))
        _check_published(packed, md5, stamps)
    if Path(old := getattr(dataset, "processed_folder", "")).parts and Path(old).exists():
        raise OSError(f"{old} is of an old torchvision, and nothing tells what is in it: remove it and run again")
    images = torch.as_tensor(np.asarray(dataset.data))
    labels = torch.as_tensor(np.asarray(dataset.targets if hasattr(dataset, "targets") else dataset.labels))
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    return Split(images.float().div_(255.0).contiguous(), labels.long())


@functools.cache
def _check_published(packed: Path, md5: str, stamps: tuple[int, int]) -> None:
    """Refuses a packed file with another sum, and what is not in it; once for each version, told by the stamps."""
    del stamps
    unpacked = packed.with_suffix("")
    advice = f"remove {packed.parent} and run again with a network connection, or copy it from where it was downloaded"
    if not packed.exists():
        raise OSError(f"{packed} is missing, by which {unpacked.name} is told from other files (MD5 {md5}): {advice}")
    content = packed.read_bytes()
    if (found := hashlib.md5(content).hexdigest()) != md5:
        raise OSError(f"{packed} is not the published file: its MD5 is {found}, not {md5}: {advice}")
    if gzip.decompress(content) != unpacked.read_bytes():
        raise OSError(f"{unpacked} is not what {packed.name} holds: {advice}")


def _read_idx(part: str) -> Split:
    # The IDX format: a header of 16 bytes before images and of 8 before labels, then one byte a value.
    pixels = torch.tensor(np.frombuffer(_decompress(f"{part}-images-idx3-ubyte"), np.uint8, offset=16))
    labels = torch.tensor(np.frombuffer(_decompress(f"{part}-labels-idx1-ubyte"), np.uint8, offset=8))
    return Split(pixels.view(-1, 1, 28, 28).float().div_(255.0), labels.long())


def _decompress(file: str) -> bytes:
    content = gzip.decompress((_DEBIAN_FASHION_MNIST / f"{file}.gz").read_bytes())
    if hashlib.sha256(content).hexdigest() != _FASHION_MNIST_SHA256[file]:
        raise OSError(f"{_DEBIAN_FASHION_MNIST / file}.gz is not the file of Fashion-MNIST: its checksum differs")
    return content


def _how_to_get(name: str, error: Exception) -> str:
    places = f"{root()} (set LMC_DATA to look elsewhere)"
    third = "copy torchvision's files from another machine into that folder"
    if name == "fashion_mnist":
        places += f" and {_DEBIAN_FASHION_MNIST}"
        third = "on Debian or Ubuntu, run `apt-get install dataset-fashion-mnist`"
    return (
        f"{name} was not found in {places}, and its download failed: {error}\n"
        f"Three ways to get it: run again with a network connection (torchvision downloads it and verifies its "
        f"checksum); {third}; or stay with `digits`, which ships with scikit-learn and needs no download."
    )


def _channel_statistics(name: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    if name == "movie_snippets":  # vectors as the encoder wants them
        return torch.zeros(1), torch.ones(1)
    # Digits and MNIST have pixels that are constant, channels never are, so standardise by channel.
    dims = (0, 2, 3)
    return (
        inputs.double().mean(dims, keepdim=True).float(),
        inputs.double().std(dims, keepdim=True, correction=0).float(),
    )


def _of_classes(split: Split, classes: Sequence[int], num_classes: int) -> Split:
    """The examples of some classes in their order, with the places of the classes in the list as labels."""
    places = torch.full((num_classes,), -1)
    places[list(classes)] = torch.arange(len(classes))
    labels = places[split.labels]
    kept = labels >= 0
    return Split(split.inputs[kept], labels[kept])


def _check_number(spec: DataSpec, part: str, available: int | None) -> None:
    """Refuses a subset that is empty, or larger than what is available, if that is known."""
    examples = spec.train_examples if part == "train" else spec.test_examples
    if examples is not None and not 0 < examples <= (examples if available is None else available):
        whose = spec.name if spec.classes is None else f"{spec.name} in these classes"
        number = "some" if available is None else available
        raise ValueError(f"{part}_examples is {examples}, but {whose} has {number} {part} examples")


def _subset(split: Split, examples: int | None, spec: DataSpec, part: str) -> Split:
    if examples is None:
        return split
    _check_number(spec, part, len(split))
    return split[_rows(spec, part, examples, len(split))]


def positions(spec: DataSpec) -> dict[str, Tensor]:
    """Where the ``train`` and ``test`` examples of a spec stand in the whole data set, counted from 0.

    Raises:
        ValueError: as for :func:`load`.
        MissingData: as for :func:`load`.
    """
    load(spec)  # raises
    whole = load(DataSpec(spec.name))
    found = {}
    for part, examples in (("train", spec.train_examples), ("test", spec.test_examples)):
        labels = getattr(whole, part).labels
        kept = torch.arange(len(labels))
        if spec.classes is not None:
            kept = kept[torch.isin(labels, torch.tensor(spec.classes))]
        found[part] = kept if examples is None else kept[_rows(spec, part, examples, len(kept))]
    return found


def pixels(spec: DataSpec, part: str, places: Sequence[int]) -> UInt8[Tensor, "examples channels height width"]:
    """The images of some examples as bytes, from 0 (dark) to 255, as they are before they are standardised.

    Args:
        spec: the data set, with its classes and subset.
        part: ``"train"`` or ``"test"``.
        places: which of the examples, counted from 0.

    Raises:
        ValueError: if the data set has no images or not these examples; and as for :func:`load`.
        MissingData: as for :func:`load`.
    """
    if spec.name in NO_IMAGES:
        raise ValueError(f"{spec.name} are {NO_IMAGES[spec.name]}: there is no picture of them")
    found = positions(spec)
    if part not in found:
        raise ValueError(f"part is train or test, not {part!r}")
    if wrong := [place for place in places if not 0 <= place < len(found[part])]:
        raise ValueError(f"{spec.name} has the {part} examples 0 to {len(found[part]) - 1}, not {wrong}")
    train, test = _whole(spec.name)
    chosen = found[part][list(places)]
    return ({"train": train, "test": test}[part].inputs[chosen] * 255.0).round().to(torch.uint8)


def _rows(spec: DataSpec, part: str, examples: int, available: int) -> Tensor:
    order = torch.randperm(available, generator=rng.stream(spec.seed, spec.name, part, "subset"))
    return order[:examples].sort().values


def _with_label_noise(split: Split, num_classes: int, spec: DataSpec) -> tuple[Split, Tensor]:
    generator = rng.stream(spec.seed, spec.name, "label noise")
    noisy = torch.randperm(len(split), generator=generator)[: round(spec.label_noise * len(split))].sort().values
    shift = torch.randint(1, num_classes, (len(noisy),), generator=generator)
    labels = split.labels.clone()
    labels[noisy] = (labels[noisy] + shift) % num_classes
    return replace(split, labels=labels), noisy
