"""Pictures of examples: the bytes of the data set, stored with the measurements that name them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lmc_lib import data, models
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments.difficulty.agreement import AgreementSpec
from lmc_lib.experiments.difficulty.contrasts import ContrastSpec
from lmc_lib.experiments.difficulty.fingerprints import FingerprintSpec
from lmc_lib.experiments.difficulty.pictures import Pictures, PicturesSpec
from lmc_lib.experiments.difficulty.scores import specs as score_specs
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import fill
from lmc_lib.training import TrainConfig

DIGITS = DataSpec("digits", train_examples=60, test_examples=50)


def scored(images=DIGITS, width=8):
    config = TrainConfig(steps=12, batch_size=16, lr=0.1, precision="portable")
    return tuple(score_specs(models.ModelSpec("mlp", width, 1), images, config, replicates=3, checkpoints=3))


# What each kind of measurement says of its examples, as it stands in the store.
NAMING = [
    (
        AgreementSpec(scored()),
        {"samples": {"test": {"easiest": [[41, 2], [7, 3]], "hardest": [[3, 9]]}, "train": {}}},
        [3, 7, 41],
    ),
    (
        ContrastSpec(scored()[0], scored(width=16)[0], 3, gallery=2),
        {"gallery": {"first": [5, 8], "second": [1, 5], "alike": [49, 0]}, "places": [[], []]},
        [0, 1, 5, 8, 49],
    ),
    (
        FingerprintSpec((scored()[0], scored(width=16)[0]), 3, ("a", "b"), shown=2),
        {"examples": [[9, 3], [2, 2], [30, 1]]},  # the third is not shown
        [2, 9],
    ),
]


def planted(folder, naming):
    store = Store(folder)
    for spec, values in naming:
        store.get_or_compute(spec, lambda values=values: Result(values))
    return store


@pytest.mark.parametrize(("spec", "values", "places"), NAMING, ids=lambda each: type(each).__name__)
def test_pictures_are_those_that_a_measurement_names(tmp_path, spec, values, places):
    store = planted(tmp_path, [(spec, values)])
    found = Pictures.read(store, PicturesSpec((spec,)))
    assert sorted(map(int, found.values["images"])) == places
    held_out = data.load(DIGITS).test
    assert found.labels.tolist() == held_out.labels.tolist()
    # Standardised by one mean and one deviation, so equal when both run from 0 to 1.
    for image, place in zip(found.at(places), places, strict=True):
        shown = held_out.inputs[place].numpy()
        np.testing.assert_allclose(
            (image - image.min()) / np.ptp(image), (shown - shown.min()) / np.ptp(shown), atol=1 / 255
        )


def test_pictures_come_in_the_order_in_which_they_are_asked_for(tmp_path):
    spec, values, _ = NAMING[1]
    found = Pictures.read(planted(tmp_path, [(spec, values)]), PicturesSpec((spec,)))
    assert found.at([8, 0, 8]).shape == (3, 1, 8, 8)
    np.testing.assert_array_equal(found.at([8, 0, 8]), np.concatenate([found.at([place]) for place in (8, 0, 8)]))
    assert not np.array_equal(found.at([8]), found.at([0]))


def test_pictures_of_several_measurements_are_kept_once(tmp_path):
    store = planted(tmp_path, [each[:2] for each in NAMING])
    found = Pictures.read(store, PicturesSpec(tuple(spec for spec, *_ in NAMING)))
    assert sorted(map(int, found.values["images"])) == [0, 1, 2, 3, 5, 7, 8, 9, 41, 49]


def test_a_page_from_records_needs_no_data_set(tmp_path, monkeypatch):
    spec, values, places = NAMING[2]
    store = planted(tmp_path, [(spec, values)])
    wanted = PicturesSpec((spec,))
    fill(store, [wanted], workers=1)
    monkeypatch.setattr(data, "_whole", lambda name: pytest.fail(f"{name} was read"))
    reader = replace(store, compute=False)
    fill(reader, [wanted])
    assert Pictures.read(reader, wanted).at(places).shape == (2, 1, 8, 8)


def test_an_example_that_was_not_named_has_no_picture(tmp_path):
    spec, values, _ = NAMING[0]
    found = Pictures.read(planted(tmp_path, [(spec, values)]), PicturesSpec((spec,)))
    with pytest.raises(KeyError, match=r"no picture of the examples \[4, 40\]"):
        found.at([7, 4, 40])


def test_pictures_of_two_data_sets_or_of_none_are_refused():
    other = AgreementSpec(scored(DataSpec("digits", train_examples=60)))
    with pytest.raises(ValueError, match=r"of one data set.*not of \(digits, digits\)"):
        PicturesSpec((NAMING[0][0], other))
    with pytest.raises(ValueError, match=r"which measurements name, not of \(\)"):
        PicturesSpec(())


def test_pixels_are_the_bytes_of_the_whole_data_set():
    bunch = load_digits()
    rows = [3, 0, 17]
    whole = data.pixels(DataSpec("digits"), "test", rows)
    assert whole.dtype == torch.uint8
    # Each of the three stands in scikit-learn's file, in sixteenths, under its label.
    labels = data.load(DataSpec("digits")).test.labels[rows]
    for image, label in zip(whole, labels, strict=True):
        same = np.flatnonzero((np.round(bunch.images / 16 * 255) == image[0].numpy()).all((1, 2)))
        assert set(bunch.target[same]) == {int(label)}


def test_pixels_follow_classes_and_subsets():
    spec = DataSpec("digits", train_examples=20, test_examples=30, classes=(7, 2))
    loaded = data.load(spec)
    for part in ("train", "test"):
        mean, deviation = data._channel_statistics("digits", data._whole("digits")[0].inputs)
        found = (data.pixels(spec, part, [11, 4]).float() / 255.0 - mean) / deviation
        torch.testing.assert_close(found, getattr(loaded, part).inputs[[11, 4]], atol=0.01, rtol=0.0)


def test_pixels_keep_the_channels_of_colour_images(monkeypatch):
    colours = torch.tensor([[0, 1, 254], [255, 128, 7]], dtype=torch.float32).view(2, 3, 1, 1) / 255.0
    split = Split(colours.expand(2, 3, 2, 2), torch.tensor([0, 1]))
    monkeypatch.setattr(data, "_whole", lambda _name: (split, split))
    found = data.pixels(DataSpec("cifar10"), "test", [1])
    assert found[0, :, 0, 1].tolist() == [255, 128, 7]


@pytest.mark.parametrize(
    ("part", "places", "told"),
    [
        ("test", [3, -1], r"test examples 0 to 499, not \[-1\]"),
        ("test", [500], r"not \[500\]"),
        ("train", [1297, 0], r"train examples 0 to 1296, not \[1297\]"),
        ("validation", [0], "train or test, not 'validation'"),
    ],
)
def test_pixels_of_examples_that_there_are_not_are_refused(part, places, told):
    with pytest.raises(ValueError, match=told):
        data.pixels(DataSpec("digits"), part, places)


def test_sentences_have_no_pixels():
    with pytest.raises(ValueError, match="no picture"):
        data.pixels(DataSpec("movie_snippets"), "test", [0])
