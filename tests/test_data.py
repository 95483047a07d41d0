"""Data sets against what lies on disk, subsets and noise against their definitions, augmentation against a loop."""

import gzip
import hashlib
import itertools
import os
import random
import socket
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torchvision import datasets

from lmc_lib import data, rng
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import describe
from lmc_lib.training import TrainConfig

DIGITS = data.load(DataSpec("digits"))


def rows(split):
    return split.inputs.flatten(1).double().numpy()


def same_split(a, b):
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels)


# -- digits ------------------------------------------------------------------------------------------------------------


def test_digits_have_their_shapes():
    assert DIGITS.input_shape == (1, 8, 8)
    assert (len(DIGITS.train), len(DIGITS.test), DIGITS.num_classes) == (1297, 500, 10)
    assert DIGITS.train.inputs.dtype == torch.float32
    assert DIGITS.train.labels.dtype == torch.int64


def test_digits_are_standardised_by_the_training_set_alone():
    values = DIGITS.train.inputs.double()
    # 83,008 values rounded to float32, relative error 6e-8 each.
    assert float(values.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(values.std(correction=0)) == pytest.approx(1.0, abs=1e-6)
    assert abs(float(DIGITS.test.inputs.double().mean())) > 1e-4


def test_digits_are_split_without_loss_or_overlap():
    bunch = load_digits()
    together = np.concatenate([rows(DIGITS.train), rows(DIGITS.test)])
    labels = np.concatenate([DIGITS.train.labels, DIGITS.test.labels])
    # The pixels are integers from 0 to 16; standardisation is affine, so that blank and full give it back.
    pixels = np.round((together - together.min()) / (together.max() - together.min()) * 16)
    ours = sorted(map(tuple, np.column_stack([pixels, labels]).tolist()))
    assert ours == sorted(map(tuple, np.column_stack([bunch.data, bunch.target]).tolist()))


def test_digits_are_split_at_random_so_that_both_parts_hold_every_class():
    # 10 classes, 500 test examples: 50 are expected of each, with a deviation of 6.7.
    counts = torch.bincount(DIGITS.test.labels)
    assert len(counts) == 10
    assert 20 <= int(counts.min()) <= int(counts.max()) <= 80


def test_loading_twice_gives_the_same():
    again = data.load(DataSpec("digits"))
    assert same_split(again.train, DIGITS.train)
    assert same_split(again.test, DIGITS.test)


# -- subsets and label noise -------------------------------------------------------------------------------------------


def test_subset_is_fixed_by_its_seed():
    spec = DataSpec("digits", train_examples=200, test_examples=50, seed=1)
    one, again, other = data.load(spec), data.load(spec), data.load(replace(spec, seed=2))
    assert same_split(one.train, again.train)
    assert same_split(one.test, again.test)
    assert not torch.equal(one.train.inputs, other.train.inputs)
    assert not torch.equal(one.test.inputs, other.test.inputs)


@pytest.mark.parametrize(("part", "examples"), [("train", 1), ("train", 300), ("train", 1297), ("test", 20)])
def test_subset_holds_distinct_examples_of_the_whole_in_its_order(part, examples):
    subset = getattr(data.load(DataSpec("digits", **{f"{part}_examples": examples})), part)
    whole = getattr(DIGITS, part)
    # Equality to the bit also says that the mean and deviation did not move with the subset.
    places = [np.flatnonzero((rows(whole) == row).all(1)) for row in rows(subset)]
    assert len(subset) == examples
    assert all(len(place) == 1 for place in places)
    order = np.concatenate(places)
    assert (np.diff(order) > 0).all()
    assert torch.equal(whole.labels[torch.from_numpy(order)], subset.labels)


def test_subset_of_the_training_set_leaves_the_test_set_alone():
    assert same_split(data.load(DataSpec("digits", train_examples=10)).test, DIGITS.test)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.333, 1.0])
def test_label_noise_changes_its_share_of_labels_and_nothing_else(noise):
    noisy = data.load(DataSpec("digits", label_noise=noise))
    changed = torch.nonzero(noisy.train.labels != DIGITS.train.labels).flatten()
    assert len(changed) == round(noise * 1297)
    assert torch.equal(changed, noisy.noisy)
    assert int(noisy.train.labels.min()) >= 0
    assert int(noisy.train.labels.max()) <= 9
    assert torch.equal(noisy.train.inputs, DIGITS.train.inputs)
    assert same_split(noisy.test, DIGITS.test)


def test_wrong_labels_are_uniform_over_the_other_classes():
    labels = data.load(DataSpec("digits", label_noise=1.0)).train.labels
    counts = torch.bincount((labels - DIGITS.train.labels) % 10, minlength=10)[1:].double()
    expected = 1297 / 9
    # Chi-square with 8 degrees of freedom exceeds 26.1 once in a thousand; the draw is fixed.
    assert float(((counts - expected) ** 2 / expected).sum()) < 26.1


def test_label_noise_depends_on_the_seed_and_counts_within_a_subset():
    spec = DataSpec("digits", train_examples=100, label_noise=0.25, seed=3)
    assert len(data.load(spec).noisy) == 25
    clean = data.load(replace(spec, label_noise=0.0))
    noisy = data.load(spec)
    assert torch.equal(torch.nonzero(noisy.train.labels != clean.train.labels).flatten(), noisy.noisy)
    full = DataSpec("digits", label_noise=0.25)
    assert not torch.equal(data.load(full).noisy, data.load(replace(full, seed=1)).noisy)


# -- classes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(7, 8, 9), (9, 0), tuple(range(10)), (4, 1, 8, 2)])
def test_chosen_classes_keep_their_images_and_are_numbered_in_their_order(classes):
    chosen = data.load(DataSpec("digits", classes=classes))
    assert chosen.num_classes == len(classes)
    for part in ("train", "test"):
        whole, found = getattr(DIGITS, part), getattr(chosen, part)
        kept = torch.isin(whole.labels, torch.tensor(classes))
        # Equality to the bit also says that the mean and deviation did not move with the choice.
        assert torch.equal(found.inputs, whole.inputs[kept])
        assert torch.tensor(classes)[found.labels].equal(whole.labels[kept])


def test_a_subset_is_drawn_of_the_chosen_classes():
    spec = DataSpec("digits", train_examples=100, test_examples=30, classes=(7, 8, 9))
    found = data.load(spec)
    assert (len(found.train), len(found.test)) == (100, 30)
    assert sorted(found.train.labels.unique().tolist()) == [0, 1, 2]
    whole = {tuple(row) for row in rows(data.load(replace(spec, train_examples=None)).train)}
    assert {tuple(row) for row in rows(found.train)} <= whole


def test_noise_can_make_the_labels_of_chosen_classes_say_nothing():
    spec = DataSpec("digits", classes=range(7))
    clean, noisy = (data.load(each).train.labels for each in (spec, replace(spec, label_noise=1 - 1 / 7)))
    counts = torch.bincount((noisy - clean) % 7, minlength=7).double()
    expected = len(clean) / 7
    # Chi-square with 6 degrees of freedom exceeds 22.5 once in a thousand; the draw is fixed.
    assert float(((counts - expected) ** 2 / expected).sum()) < 22.5


def test_lists_of_classes_are_values_and_all_classes_are_the_default():
    assert DataSpec("digits", classes=[7, 8]) == DataSpec("digits", classes=range(7, 9))
    assert len({DataSpec("digits", classes=[7, 8]), DataSpec("digits", classes=(7, 8)), DataSpec("digits")}) == 2
    # The address of what was stored before there were classes.
    assert describe(DataSpec("digits", train_examples=5)) == {"type": "DataSpec", "name": "digits", "train_examples": 5}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((7, 8, 7), "each class is named once, got 7, 8, 7"),
        ((7,), "takes two or more, got 1"),
        ((), "takes two or more, got 0"),
    ],
)
def test_impossible_choices_of_classes_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        DataSpec("digits", classes=classes)


# -- splits ------------------------------------------------------------------------------------------------------------


def test_split_selects_inputs_and_labels_together():
    index = torch.tensor([5, 2, 5])
    assert same_split(DIGITS.train[index], Split(DIGITS.train.inputs[index], DIGITS.train.labels[index]))
    assert same_split(DIGITS.train[3:6], Split(DIGITS.train.inputs[3:6], DIGITS.train.labels[3:6]))
    assert len(DIGITS.train[3:6]) == 3


def test_split_converts_inputs_but_not_labels():
    converted = DIGITS.test.to(torch.float64)
    assert converted.inputs.dtype == torch.float64
    assert converted.labels.dtype == torch.int64
    assert torch.equal(converted.inputs.float(), DIGITS.test.inputs)


# -- batches -----------------------------------------------------------------------------------------------------------


@given(num_examples=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 99))
def test_epoch_shows_each_example_at_most_once_in_full_batches(num_examples, batch_size, seed):
    if batch_size > num_examples:
        return
    order = data.batch_order(num_examples, batch_size, generator=rng.stream(seed))
    assert order.shape == (num_examples // batch_size, batch_size)
    drawn = order.flatten().tolist()
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(num_examples))


def test_epochs_of_one_stream_differ_and_a_stream_repeats():
    generator = rng.stream(0, "order")
    first, second = (data.batch_order(50, 10, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, data.batch_order(50, 10, generator=rng.stream(0, "order")))


def test_left_out_examples_are_others_each_epoch():
    generator = rng.stream(0, "order")
    left_out = [
        set(range(11)) - set(data.batch_order(11, 5, generator=generator).flatten().tolist()) for _ in range(99)
    ]
    # Each of 11 examples is missed by 99 fair draws with probability (10/11)^99 = 8e-5.
    assert set.union(*left_out) == set(range(11))


def test_batch_must_fit_into_the_data():
    with pytest.raises(ValueError, match="a batch of 11 does not fit into 10 examples"):
        data.batch_order(10, 11, generator=rng.stream(0))


# -- augmentation ------------------------------------------------------------------------------------------------------


def every_augmentation(image, padding):
    """All flips and crops of one image, pixel by pixel."""
    channels, height, width = image.shape
    for flip in (False, True):
        for top in range(-padding, padding + 1):
            for left in range(-padding, padding + 1):
                result = torch.zeros_like(image)
                for c in range(channels):
                    for row in range(height):
                        for column in range(width):
                            y, x = row + top, (width - 1 - column if flip else column) + left
                            if 0 <= y < height and 0 <= x < width:
                                result[c, row, column] = image[c, y, x]
                yield result


def test_augmentation_gives_flips_and_crops_each_equally_often():
    image = torch.arange(1.0, 1 + 2 * 3 * 5).double().view(2, 3, 5)
    candidates = torch.stack(list(every_augmentation(image, 1)))
    batch = data.augment(image.expand(1800, 2, 3, 5), generator=rng.stream(0, "augment"), padding=1)
    hits = (batch[:, None] == candidates).flatten(2).all(2)
    assert bool((hits.sum(1) == 1).all())
    # 18 outcomes, 100 expected of each; chi-square with 17 degrees exceeds 40.8 once in a thousand; the draw is fixed.
    assert float(((hits.sum(0) - 100.0) ** 2 / 100).sum()) < 40.8


def test_augmentation_treats_each_image_by_itself():
    images = torch.randn(12, 1, 4, 6, generator=rng.stream(0, "images"), dtype=torch.float64)
    batch = data.augment(images, generator=rng.stream(0, "augment"), padding=2)
    for image, result in zip(images, batch, strict=True):
        assert any(torch.equal(result, each) for each in every_augmentation(image, 2))


def test_augmentation_pads_by_four_and_keeps_input_and_type():
    images = torch.randn(400, 1, 8, 8, generator=rng.stream(0, "images"))
    before = images.clone()
    batch = data.augment(images, generator=rng.stream(0, "augment"))
    assert torch.equal(images, before)
    assert (batch.shape, batch.dtype) == (images.shape, images.dtype)
    # A crop that is k rows off shows k rows of the frame.
    blank_rows = (batch == 0).all(3).sum(2).flatten()
    assert sorted(set(blank_rows.tolist())) == [0, 1, 2, 3, 4]


def test_augmentation_without_padding_only_flips():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    batch = data.augment(image.expand(50, 1, 2, 3), generator=rng.stream(0), padding=0)
    kept = (batch == image).flatten(1).all(1)
    flipped = (batch == image.flip(3)).flatten(1).all(1)
    assert bool((kept ^ flipped).all())
    assert 0 < int(kept.sum()) < 50


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(name="imagenet"), "unknown data set 'imagenet'.*digits.*svhn"),
        (dict(name="digits", train_examples=1298), "train_examples is 1298, but digits has 1297 train examples"),
        (dict(name="digits", test_examples=501), "test_examples is 501, but digits has 500 test examples"),
        (dict(name="digits", train_examples=0), "train_examples is 0"),
        (dict(name="digits", test_examples=-1), "test_examples is -1"),
        (dict(name="digits", label_noise=1.01), "between 0 and 1, not 1.01"),
        (dict(name="digits", label_noise=-0.1), "between 0 and 1, not -0.1"),
        (dict(name="digits", classes=(8, 10, -1)), "digits has the classes 0 to 9, not 10, -1"),
        (dict(name="digits", train_examples=500, classes=(8, 9)), "digits in these classes has 245 train examples"),
    ],
)
def test_impossible_specs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.load(DataSpec(**options))


@pytest.mark.parametrize("options", [{"train_examples": 1298}, {"train_examples": 0}, {"label_noise": 2.0}])
def test_they_are_refused_before_anything_is_read(options, monkeypatch):
    monkeypatch.setattr(data, "_whole", None)
    with pytest.raises(ValueError, match=r"digits has 1297|between 0 and 1"):
        DataSpec("digits", **options)


@pytest.mark.parametrize("name", ["digits", "mnist1d", "group_composition"])
def test_numbers_of_examples_are_known_before_they_are_read(name):
    spec, found = DataSpec(name), data.load(DataSpec(name))
    assert [spec.examples("train"), spec.examples("test")] == [len(found.train), len(found.test)]
    assert DataSpec(name, train_examples=7).examples("train") == 7
    some = DataSpec(name, classes=(1, 3)).examples("train")
    assert some in (None, len(data.load(DataSpec(name, classes=(1, 3))).train))


@pytest.fixture
def empty_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LMC_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "cifar10", "cifar100", "svhn"])
def test_missing_data_are_reported_with_the_places_and_three_ways_out(name, empty_folder, monkeypatch):
    debian = empty_folder / "not installed"
    monkeypatch.setattr(data, "_DEBIAN_FASHION_MNIST", debian)
    with pytest.raises(data.MissingData) as caught:
        data.load(DataSpec(name))
    message = str(caught.value)
    assert message.startswith(f"{name} was not found in {empty_folder} (set LMC_DATA to look elsewhere)")
    third = "apt-get install dataset-fashion-mnist" if name == "fashion_mnist" else "copy torchvision's files"
    for part in ("its download failed", "Three ways", "with a network connection", third, "or stay with `digits`"):
        assert part in message
    assert (str(debian) in message) == (name == "fashion_mnist")
    assert isinstance(caught.value, FileNotFoundError)


def test_folder_of_the_data_is_the_environments_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LMC_DATA", str(tmp_path))
    assert data.root() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LMC_DATA")
    assert data.root() == tmp_path / ".cache" / "lmc" / "data"


# -- torchvision's layouts ---------------------------------------------------------------------------------------------

LAYOUTS = {
    # name: class, shape of the data, name of the labels, arguments that select train and test
    "cifar10": ("CIFAR10", (30, 32, 32, 3), "targets", {"train": True}, {"train": False}),
    "cifar100": ("CIFAR100", (30, 32, 32, 3), "targets", {"train": True}, {"train": False}),
    "svhn": ("SVHN", (30, 3, 32, 32), "labels", {"split": "train"}, {"split": "test"}),
    "mnist": ("MNIST", (30, 28, 28), "targets", {"train": True}, {"train": False}),
    "fashion_mnist": ("FashionMNIST", (30, 28, 28), "targets", {"train": True}, {"train": False}),
}


def fake_torchvision(monkeypatch, name, *, on_disk=True):
    """Replaces a data set of torchvision by random pixels in its layout; returns the contents and the calls."""
    kind, shape, labels_name, *parts = LAYOUTS[name]
    generator = rng.numpy_stream(0, name)
    contents = [(generator.integers(0, 256, shape, dtype=np.uint8), np.arange(30) % 7) for _ in parts]
    calls = []

    class Fake:
        def __init__(self, root, *, download=False, **part):
            calls.append((root, part, download))
            if not (on_disk or download):
                raise RuntimeError("Dataset not found. You can use download=True to download it")
            pixels, labels = contents[parts.index(part)]
            self.data = torch.from_numpy(pixels) if "MNIST" in kind else pixels
            setattr(self, labels_name, labels.tolist() if labels_name == "targets" else labels)

    monkeypatch.setattr(datasets, kind, Fake)
    return contents, parts, calls


@pytest.mark.parametrize("name", LAYOUTS)
def test_torchvision_layouts_are_read_as_standardised_channels_first(name, empty_folder, monkeypatch):
    contents, parts, calls = fake_torchvision(monkeypatch, name)
    dataset = data.load(DataSpec(name))
    images = [pixels[:, None] if pixels.ndim == 3 else pixels for pixels, _ in contents]
    images = [each.transpose(0, 3, 1, 2) if each.shape[-1] == 3 else each for each in images]
    axes = (0, 2, 3)
    mean, deviation = images[0].mean(axes, keepdims=True), images[0].std(axes, keepdims=True)
    for split, expected, (_, labels) in zip((dataset.train, dataset.test), images, contents, strict=True):
        # Inputs are float32 values below 3.
        np.testing.assert_allclose(split.inputs.numpy(), (expected - mean) / deviation, rtol=0, atol=1e-5)
        assert split.labels.tolist() == labels.tolist()
        assert split.inputs.is_contiguous()
    assert dataset.num_classes == 7
    assert calls == [(empty_folder, part, False) for part in parts]


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_data_are_downloaded_only_if_they_are_not_on_disk(name, empty_folder, monkeypatch):
    _, parts, calls = fake_torchvision(monkeypatch, name, on_disk=False)
    assert len(data.load(DataSpec(name)).train) == 30
    assert calls == [(empty_folder, parts[0], False), *((empty_folder, part, True) for part in parts)]


# -- files that are not the published ones -----------------------------------------------------------------------------


@pytest.fixture
def noise(empty_folder, monkeypatch):
    """Random images and labels in the files of MNIST, packed and unpacked, with torchvision told of their sums."""
    folder = empty_folder / "MNIST" / "raw"
    folder.mkdir(parents=True)
    generator, sums = rng.numpy_stream(0, "noise"), []
    for part, count in (("train", 20), ("t10k", 10)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for file, content in (
            (f"{part}-images-idx3-ubyte", struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()),
            (f"{part}-labels-idx1-ubyte", struct.pack(">II", 2049, count) + bytes(range(10)) * (count // 10)),
        ):
            (folder / file).write_bytes(content)
            (folder / f"{file}.gz").write_bytes(gzip.compress(content, mtime=0))
            sums.append((f"{file}.gz", hashlib.md5(gzip.compress(content, mtime=0)).hexdigest()))
    published = datasets.MNIST.resources
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    return folder, published


@pytest.mark.usefixtures("no_network")
class TestPublishedFiles:
    def test_those_with_the_sums_that_torchvision_lists_are_read(self, noise):
        assert len(data.load(DataSpec("mnist")).train) == 20

    def test_noise_in_the_place_of_mnist_is_refused(self, noise, monkeypatch):
        _, published = noise
        monkeypatch.setattr(datasets.MNIST, "resources", published)
        with pytest.raises(
            OSError, match=r"MNIST/raw/\S+\.gz is not the published file: its MD5 is \w+, not \w+: remove"
        ):
            data.load(DataSpec("mnist"))
        assert len(published) == 4

    @pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    def test_what_was_changed_after_it_was_unpacked_is_refused_also_when_it_was_read_before(self, noise, file):
        folder, _ = noise
        data.load(DataSpec("mnist"))
        content = bytearray((folder / file).read_bytes())
        content[-1] ^= 1
        (folder / file).write_bytes(bytes(content))
        os.utime(folder / file, ns=(1, 1))  # another stamp, however coarse the clock
        with pytest.raises(OSError, match=rf"{file} is not what {file}.gz holds"):
            data.load(DataSpec("mnist"))

    def test_without_the_packed_file_nothing_tells_what_it_is(self, noise):
        folder, _ = noise
        (folder / "train-images-idx3-ubyte.gz").unlink()
        with pytest.raises(OSError, match=r"train-images-idx3-ubyte.gz is missing, by which .* \(MD5 \w+\): remove"):
            data.load(DataSpec("mnist"))

    def test_what_an_old_torchvision_left_is_refused(self, noise):
        folder, _ = noise
        (folder.parent / "processed").mkdir()
        with pytest.raises(OSError, match="processed is of an old torchvision"):
            data.load(DataSpec("mnist"))


# -- Debian's Fashion-MNIST --------------------------------------------------------------------------------------------


@pytest.fixture
def debian(empty_folder, monkeypatch):
    """A folder like that of Debian's package, with 20 and 10 images; torchvision's folder is empty."""
    folder = empty_folder / "debian"
    folder.mkdir()
    generator = rng.numpy_stream(0, "idx")
    contents, checksums = {}, {}
    for part, count in (("train", 20), ("t10k", 10)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents[part] = pixels, labels
        for file, content in (
            (f"{part}-images-idx3-ubyte", struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()),
            (f"{part}-labels-idx1-ubyte", struct.pack(">II", 2049, count) + labels.tobytes()),
        ):
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            checksums[file] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(data, "_DEBIAN_FASHION_MNIST", folder)
    monkeypatch.setattr(data, "_FASHION_MNIST_SHA256", checksums)
    return folder, contents


@pytest.mark.usefixtures("no_network")
def test_debians_files_are_read_when_torchvisions_are_missing(debian):
    _, contents = debian
    dataset = data.load(DataSpec("fashion_mnist"))
    mean, deviation = contents["train"][0].mean(), contents["train"][0].std()
    for split, part in ((dataset.train, "train"), (dataset.test, "t10k")):
        pixels, labels = contents[part]
        # Inputs are float32 values below 3.
        np.testing.assert_allclose(split.inputs[:, 0].numpy(), (pixels - mean) / deviation, rtol=0, atol=1e-5)
        assert split.labels.tolist() == labels.tolist()
    assert dataset.num_classes == 10


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_file_with_another_checksum_is_refused(debian, file):
    folder, _ = debian
    path = folder / f"{file}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(OSError, match=f"{file}.gz is not the file of Fashion-MNIST: its checksum differs"):
        data.load(DataSpec("fashion_mnist"))


@pytest.mark.skipif(
    not data._DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not here"
)
@pytest.mark.parametrize("file", data._FASHION_MNIST_SHA256)
def test_debians_package_has_the_known_checksums(file):
    assert len(data._decompress(file)) in (7_840_016, 10_008, 47_040_016, 60_008)


@pytest.mark.parametrize("spec", [
    DataSpec("digits", train_examples=20, test_examples=10, seed=3),
    DataSpec("digits", train_examples=20, classes=(7, 2)),
    DataSpec("digits"),
], ids=["subset", "classes", "all"])  # fmt: skip
def test_positions_lead_back_to_the_examples(spec):
    whole, loaded = data.load(DataSpec("digits")), data.load(spec)
    for part, rows in data.positions(spec).items():
        assert torch.equal(getattr(whole, part).inputs[rows], getattr(loaded, part).inputs)


# -- data sets that are generated --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signals():
    return data.load(DataSpec("mnist1d"))


@pytest.fixture
def published():
    """The signals as their package makes them; it seeds the global streams, which are put back."""
    from mnist1d.data import get_dataset_args, make_dataset

    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 -- what the package moves
    made = make_dataset(get_dataset_args())
    np.random.set_state(numpys)  # noqa: NPY002
    random.setstate(pythons)
    return made


@pytest.mark.usefixtures("no_network")
def test_signals_are_those_of_the_published_generator_rounded_to_a_grid(published):
    for split, part in zip(data._whole("mnist1d"), ("", "_test"), strict=True):
        ours = split.inputs.double().squeeze((1, 2)).numpy()
        # Half a step of the grid; float32 holds its multiples below 128 exactly.
        assert np.abs(ours - published[f"x{part}"]).max() <= 2.0**-17
        assert np.array_equal(ours * 2**16, np.round(ours * 2**16))
        assert split.labels.tolist() == published[f"y{part}"].tolist()


def test_signals_have_their_known_shapes_and_first_values(signals):
    assert signals.input_shape == (1, 1, 40)
    assert (len(signals.train), len(signals.test), signals.num_classes) == (4000, 1000, 10)
    together = torch.cat([signals.train.labels, signals.test.labels])
    assert torch.bincount(together).tolist() == [500] * 10
    first = data._whole("mnist1d")[0]
    assert first.labels[:6].tolist() == [2, 6, 4, 5, 6, 6]
    assert first.inputs[0, 0, 0, :3].tolist() == pytest.approx([-0.3320, -0.4719, -0.7787], abs=1e-4)


def test_the_generator_of_signals_leaves_the_global_streams_as_they_were(monkeypatch):
    """Whether it comes to its end or not; the fixture of all tests looks at the streams once more."""
    import mnist1d.data

    def streams():
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return random.getstate(), kind, keys.tolist(), rest

    before = streams()
    data._mnist1d.__wrapped__()  # not what is kept of an earlier call
    assert streams() == before

    def broken(args):
        np.random.standard_normal(args.seed)  # noqa: NPY002
        random.random()
        raise MemoryError

    monkeypatch.setattr(mnist1d.data, "make_dataset", broken)
    with pytest.raises(MemoryError):
        data._mnist1d.__wrapped__()
    assert streams() == before


def test_every_sequence_of_four_numbers_occurs_once_with_its_sum_modulo_seven():
    group = data.load(DataSpec("group_composition"))
    assert group.input_shape == (1, 4, 7)
    assert (len(group.train), len(group.test), group.num_classes) == (1601, 800, 7)
    sequences = []
    for split in (group.train, group.test):
        assert bool(((split.inputs > 0).sum(-1) == 1).all())
        numbers = split.inputs.squeeze(1).argmax(-1)
        assert (numbers.sum(1) % 7).equal(split.labels)
        # 114 of each class are expected in the test set, with a deviation of 8.
        assert int(torch.bincount(split.labels).min()) > len(split) / 7 - 40
        sequences += map(tuple, numbers.tolist())
    assert sorted(sequences) == list(itertools.product(range(7), repeat=4))


@pytest.mark.parametrize("name", ["mnist1d", "group_composition"])
def test_what_is_generated_is_standardised_and_takes_noise_and_subsets_like_all_others(name):
    values = data.load(DataSpec(name)).train.inputs.double()
    # Values of float32, relative error 6e-8 each.
    assert float(values.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(values.std(correction=0)) == pytest.approx(1.0, abs=1e-6)
    spec = DataSpec(name, train_examples=300, test_examples=70, label_noise=0.5)
    noisy, clean = data.load(spec), data.load(replace(spec, label_noise=0.0))
    assert int((noisy.train.labels != clean.train.labels).sum()) == 150
    assert same_split(noisy.test, clean.test)


@pytest.mark.parametrize("name", data.NO_IMAGES)
def test_what_is_no_image_has_no_picture_and_is_not_augmented(name):
    what = data.NO_IMAGES[name]
    with pytest.raises(ValueError, match=f"{name} are {what}: there is no picture of them"):
        data.pixels(DataSpec(name), "test", [0])
    config = TrainConfig(steps=1, augment=True)
    with pytest.raises(ValueError, match=f"flips and crops images, and {name} are {what}: augment=False"):
        RunSpec(ModelSpec("mlp", 4, 1), DataSpec(name), config)


class TestClassNames:
    def test_are_those_of_the_publishers(self):
        """torchvision keeps a list of its own."""
        names = [each.lower() for each in datasets.FashionMNIST.classes]
        assert [each.lower() for each in data.class_names(DataSpec("fashion_mnist"))] == names

    def test_follow_the_order_of_a_task(self):
        assert data.class_names(DataSpec("cifar10", classes=(7, 0, 3))) == ["horse", "airplane", "cat"]

    @pytest.mark.parametrize("name", data.NAMES)
    def test_there_is_one_for_each_class(self, name):
        names = data.class_names(DataSpec(name))
        assert len(set(names)) == len(names) == data.SHAPES[name][1]

    def test_are_numbers_where_classes_have_no_names(self):
        assert data.class_names(DataSpec("digits", classes=(4, 2))) == ["4", "2"]
