"""Small convolutional networks from starts whose scale is moved between two layers: filters at equal training loss."""

__all__ = ["FilterCurves", "FilterSpec", "smoother"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import data, rng, training
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import Dataset, DataSpec
from lmc_lib.experiments.dynamics.students import Curves
from lmc_lib.flow import filters
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State, stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals, log_spaced


@dataclass(frozen=True)
class FilterSpec(Spec):
    """All that defines small convolutional networks, several starts a seed that compute the same.

    It measures, one row a seed and one column a shift, after each number of updates in ``steps``: ``loss``, the mean
    squared error from one-hot labels less their mean, as a share of that at the start; ``turned``, 1 less the cosine
    of filters with those at the start, and ``neighbours``, how alike their neighbouring pixels are, both means over
    filters of the first layer; ``missed``, the share of new images whose class is not told.

    Attributes:
        data: the images, each seed draws its own training set from them; new ones are the test set.
        examples: number of training images.
        size: pixels of a side of a filter of the first layer.
        channels: those of the first and of the second layer.
        scale: by which all layers are multiplied.
        shifts: by which one layer is multiplied, and another one divided.
        train: the hyperparameters; a batch is the training set.
        looks: about how many times networks are looked at, evenly on a logarithmic axis, the last update the last.
        seeds: number of seeds, each with its own images and filters.
        first_seed: the first of them.
        pool: side of the squares of pixels whose means are the pixels.
        stride: pixels from one place of a filter of the first layer to the next.
        leak: slope of the units where their sum is negative; 1 makes the networks linear.
        moved: the layers that are multiplied and divided, by their places.
        shuffled: whether the pixels of all images of a seed are put into one random order.
        redrawn: whether the layers are others, with the same images.
    """

    kind: ClassVar[str] = "FilterSpec"
    noun: ClassVar[str] = "filters of small networks"

    data: DataSpec
    examples: int
    size: int
    channels: tuple[int, int]
    scale: float
    shifts: tuple[float, ...]
    train: TrainConfig
    looks: int
    seeds: int
    first_seed: int = 0
    pool: int = 1
    stride: int = 1
    leak: float = 0.0
    moved: tuple[int, int] = (0, 2)
    shuffled: bool = False
    redrawn: bool = False

    @property
    def label(self) -> str:
        """The network in short."""
        return f"{'linear' if self.leak == 1.0 else 'ReLU'} filters of {self.size} × {self.size}, {self.data.name}"

    def drawn(self) -> dict[str, Tensor]:
        """Of all seeds: training images and their labels, one-hot less their mean, and new images and their labels."""
        loaded = data.load(self.data)
        found = stacked([self._drawn(loaded, self.first_seed + place) for place in range(self.seeds)])
        return found | {"wanted": F.one_hot(found["labels"], loaded.num_classes).double() - 1.0 / loaded.num_classes}

    def start(self, shift: float, side: int, classes: int) -> State:
        """The weights of each seed before the first update, for images of so many pixels a side."""
        sizes = side, self.size, self.channels, classes
        name = "other start" if self.redrawn else "start"
        streams = [rng.stream(self.first_seed + each, "filters", name) for each in range(self.seeds)]
        layers = stacked([filters.start(*sizes, stride=self.stride, generator=each) for each in streams])
        scales = dict.fromkeys(layers, self.scale)
        first, second = (filters.LAYERS[place] for place in self.moved)
        scales |= {first: self.scale * shift, second: self.scale / shift}
        return {layer: size * layers[layer] for layer, size in scales.items()}

    def compute(self, store: Store) -> Result:
        """Trains the networks of each shift, those of all seeds at once."""
        steps = log_spaced(self.train.steps, self.looks)
        drawn = self.drawn()
        each = [self._trained(shift, drawn, steps) for shift in self.shifts]
        values = {name: decimals(torch.stack([found[name] for found in each], 1)) for name in each[0]}
        return Result({"steps": steps, **values})

    def _drawn(self, loaded: Dataset, seed: int) -> dict[str, Tensor]:
        chosen = torch.randperm(len(loaded.train), generator=rng.stream(seed, "filters", "images"))[: self.examples]
        train, new = (
            F.avg_pool2d(each.inputs.double(), self.pool)[:, 0] for each in (loaded.train[chosen], loaded.test)
        )
        order = torch.arange(train[0].numel())
        if self.shuffled:
            order = torch.randperm(len(order), generator=rng.stream(seed, "filters", "pixels"))
        images, others = (each.flatten(1)[:, order].view_as(each) for each in (train, new))
        return {
            "images": images, "labels": loaded.train.labels[chosen],
            "new": others, "new labels": loaded.test.labels,
        }  # fmt: skip

    def _trained(
        self, shift: float, drawn: Mapping[str, Tensor], steps: Sequence[int]
    ) -> dict[str, Float[Tensor, "seeds looks"]]:
        wanted = drawn["wanted"]
        start = self.start(shift, drawn["images"].shape[-1], wanted.shape[-1])
        seen, new = (filters.patches(drawn[name][..., None], self.size, self.stride) for name in ("images", "new"))

        def losses(state: State, _: int) -> Float[Tensor, " seeds"]:
            return (filters.outputs(seen, state, self.leak) - wanted).square().sum(-1).mean(-1)

        looks = []
        for checkpoint in training.train_stack(losses, start, self.train, save_at=steps):
            now = checkpoint.state["filters"]
            missed = filters.outputs(new, checkpoint.state, self.leak).argmax(-1) != drawn["new labels"]
            looks.append({
                "loss": losses(checkpoint.state, 0) / wanted.square().sum(-1).mean(-1),
                "turned": filters.turned(start["filters"], now),
                "neighbours": filters.neighbours(now),
                "missed": missed.double().mean(-1),
            })  # fmt: skip
        return {name: torch.stack([each[name] for each in looks], -1) for name in looks[0]}


@dataclass(frozen=True)
class FilterCurves(Curves):
    """What ``FilterSpec`` measured, read between the updates at which networks were looked at."""

    MEASURES: ClassVar[tuple[str, ...]] = ("turned", "neighbours", "missed")


def smoother(one: Float[ndarray, " seeds"], other: Float[ndarray, " seeds"]) -> dict[str, Estimate]:
    """The mean over seeds of by how much filters are smoother from one start than from another, within seeds.

    Seeds of which a network never came down to the loss of the comparison have no number; they are left out, and how
    many there are stands in the estimate.

    Args:
        one: how alike neighbouring pixels of the filters are, from the one start, or NaN.
        other: the same from the other one.

    Returns:
        ``"smoother"``, the one less the other.

    Raises:
        ValueError: if fewer than three seeds have a number.
    """
    return {"smoother": estimate_of_mean(one - other)}
