"""The pictures that a page shows: stored like a measurement, so that a page from records needs no data set."""

__all__ = ["NamesExamples", "Pictures", "PicturesSpec", "measure_pictures"]

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from lmc_lib import data
from lmc_lib.experiments.runs import dataset
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.store import Result, Store


class NamesExamples(Spec, Protocol):
    """A measurement that names held-out examples, to be looked at."""

    @property
    def images(self) -> data.DataSpec:
        """Where the examples stand."""
        ...

    def named(self, values: Mapping[str, Any]) -> Sequence[int]:
        """The places of the examples in the test set, as measured ``values`` name them."""
        ...


@dataclass(frozen=True)
class PicturesSpec:
    """All that defines the pictures of the held-out examples that measurements name.

    Attributes:
        naming: the measurements, all of one data set.
    """

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

    @property
    def needs(self) -> tuple[Spec, ...]:
        """What names the examples."""
        return self.naming

    def compute(self, store: Store) -> Result:
        """Reads the pictures, as bytes, and the labels of all held-out examples."""
        images = self.naming[0].images
        named = sorted({place for each in self.naming for place in each.named(obtain(store, each).values)})
        pixels = data.pixels(images, "test", named)
        return Result(
            {
                "labels": dataset(images).test.labels.tolist(),
                "shape": list(pixels.shape[1:]),
                "images": {
                    str(place): base64.b64encode(each.numpy().tobytes()).decode()
                    for place, each in zip(named, pixels, strict=True)
                },
            }
        )


@dataclass(frozen=True)
class Pictures:
    """Pictures of some held-out examples, and the labels of all.

    Attributes:
        labels: the classes of the held-out examples.
        by_place: pictures by the place of the example.
    """

    labels: Int[ndarray, " examples"]
    by_place: Mapping[int, Float[ndarray, "channels height width"]]

    def at(self, places: Sequence[int]) -> Float[ndarray, "images channels height width"]:
        """The pictures of examples, from 0 (dark) to 1.

        Raises:
            KeyError: if a measurement did not name the example.
        """
        if missing := [place for place in places if place not in self.by_place]:
            raise KeyError(f"no picture of the examples {missing}: no measurement of this page names them")
        return np.stack([self.by_place[place] for place in places])


def measure_pictures(store: Store, spec: PicturesSpec) -> Pictures:
    """Reads what is stored; call ``fill`` before to compute in parallel."""
    values = obtain(store, spec).values
    read = {
        int(place): np.frombuffer(base64.b64decode(text), np.uint8).reshape(values["shape"]) / 255.0
        for place, text in values["images"].items()
    }
    return Pictures(np.array(values["labels"]), read)
