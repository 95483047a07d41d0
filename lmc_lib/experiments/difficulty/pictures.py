"""The pictures that a page shows: stored like a measurement, so that a page from records needs no data set."""

__all__ = ["NamesExamples", "Pictures", "PicturesSpec"]

import base64
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import data
from lmc_lib.experiments.difficulty.scores import ScoresSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain


@dataclass(frozen=True)
class NamesExamples(Spec):
    """A measurement of scores that names held-out examples, to be looked at."""

    @property
    def images(self) -> data.DataSpec:
        """The examples that are scored."""
        return next(spec.run.data for spec in self.needs if isinstance(spec, ScoresSpec))

    @abstractmethod
    def named(self, values: Mapping[str, Any]) -> Sequence[int]:
        """The places of the examples in the test set, as measured ``values`` name them."""


@dataclass(frozen=True)
class PicturesSpec(Spec):
    """All that defines the pictures of the held-out examples that measurements name.

    It measures the ``labels`` of all held-out examples, the ``shape`` of a picture and, by place, the ``images``.

    Attributes:
        naming: the measurements, all of one data set.
    """

    kind: ClassVar[str] = "PicturesSpec"
    noun: ClassVar[str] = "sets of pictures"

    naming: tuple[NamesExamples, ...]

    def __post_init__(self) -> None:
        names = ", ".join(each.images.name for each in self.naming)
        if len({each.images for each in self.naming}) != 1:
            raise ValueError(f"pictures are of the examples of one data set, which measurements name, not of ({names})")

    @property
    def label(self) -> str:
        """The data set."""
        return self.naming[0].images.name

    def compute(self, store: Store) -> Result:
        """Reads the pictures, as bytes, and the labels of all held-out examples."""
        images = self.naming[0].images
        named = sorted({place for each in self.naming for place in each.named(obtain(store, each).values)})
        pixels = data.pixels(images, "test", named)
        texts = (base64.b64encode(image.numpy().tobytes()).decode() for image in pixels)
        pictures = dict(zip(map(str, named), texts, strict=True))
        labels = dataset(images).test.labels.tolist()
        return Result({"labels": labels, "shape": list(pixels.shape[1:]), "images": pictures})


class Pictures(Record):
    """Pictures of some held-out examples, and the labels of all."""

    @property
    def labels(self) -> Int[ndarray, " examples"]:
        """The classes of all held-out examples."""
        return np.array(self.values["labels"])

    def at(self, places: Sequence[int]) -> Float[ndarray, "images channels height width"]:
        """The pictures of examples, from 0 (dark) to 1.

        Raises:
            KeyError: if a measurement did not name the example.
        """
        stored: Mapping[str, str] = self.values["images"]
        if missing := [place for place in places if str(place) not in stored]:
            raise KeyError(f"no picture of the examples {missing}: no measurement of this page names them")
        bytes_of = [np.frombuffer(base64.b64decode(stored[str(place)]), np.uint8) for place in places]
        return np.stack(bytes_of).reshape(-1, *self.values["shape"]) / 255.0
