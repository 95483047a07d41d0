"""Networks under full-batch gradient descent: how sharp the loss is on their way, and how it grows at their ends."""

__all__ = ["ACTIVATIONS", "JUDGED", "PREDICTED", "EdgeSpec", "grown", "growth", "ratios", "settled"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import models, rng, state, training
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import DataSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.flow import curvature
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import or_none, round_to_grid

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}

# Rises of a quadratic loss, at whose distances the rises of the loss are measured.
PREDICTED = np.array([10.0 ** (each / 4) for each in range(-12, 13)])

# Between these of them growth is judged.
JUDGED = 0.1, 10.0

# That of torch's own layers, whose loss is less sharp at the start than that of Kaiming's.
_SCALE = 0.41

# Hides the last bits in which normal draws differ between instruction sets.
_BITS = 30


@dataclass(frozen=True)
class EdgeSpec(Spec):
    """All that defines networks of one architecture that are trained with one step size, and differ in their starts.

    They are perceptrons, trained to give 1 for the class of an example and 0 for the others, with half of the mean
    squared distance from that as loss. It measures, one row a checkpoint and one column a network, ``sharpness``, the
    largest eigenvalue of the second derivatives, and ``loss``; and at the end, one row a network, the rises of
    :func:`~lmc_lib.flow.curvature.rises` at ``PREDICTED``: ``top``, along the eigenvector, and ``random``, one row a
    direction. Numbers of a network whose training diverged are None.

    Attributes:
        data: the data set; all of its training examples make each update.
        activation: one of ``ACTIVATIONS``.
        widths: units of the hidden layers.
        train: the training; its batch is the whole set, whatever it says.
        seeds: number of networks.
        first_seed: seed of the first start; the start of a seed is the same for all step sizes.
        checkpoints: how many there are, evenly spaced, besides the start.
        directions: random directions, each as long within each tensor as the eigenvector.
    """

    kind: ClassVar[str] = "EdgeSpec"
    noun: ClassVar[str] = "sets of networks at one step size"

    data: DataSpec
    activation: str
    widths: tuple[int, ...]
    train: TrainConfig
    seeds: int
    first_seed: int = 0
    checkpoints: int = 10
    directions: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # notebooks write lists
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; there are {', '.join(ACTIVATIONS)}")
        if self.checkpoints < 2 or self.train.steps % self.checkpoints:
            raise ValueError(
                f"{self.train.steps} updates do not fall into {self.checkpoints} equal parts: choose two or more"
            )

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"{self.activation} perceptron, {len(self.widths)} hidden layers of {self.widths[0]}"

    @property
    def factors(self) -> str:
        """On what they were trained, and how."""
        return f"{self.data.name}, step {self.train.lr:g}"

    def compute(self, store: Store) -> Result:
        """Trains all networks at once, and measures each."""
        network, loss = self._network(), self._loss()
        start = [models.initialise(network, generator=each, scale=_SCALE) for each in self._streams("start")]
        apart, losses = self.train.steps // self.checkpoints, torch.vmap(loss)
        sharpness, heights = [], []
        for checkpoint in training.train_stack(
            lambda weights, _: losses(weights),
            state.stacked(start),
            self.train,
            save_at=range(0, self.train.steps, apart),
        ):
            weights = state.unstacked(state.cast(checkpoint.state, torch.float64))
            found = [_sharpest(loss, each) for each in weights]
            sharpness.append([value for value, _ in found])
            heights.append([float(loss(each)) for each in weights])
        streams = self._streams("directions")
        rises = [
            self._rises(loss, each, top, generator)
            for each, (_, top), generator in zip(weights, found, streams, strict=True)
        ]
        risen = np.stack(rises)
        values = {"sharpness": np.array(sharpness), "loss": np.array(heights)}
        return Result(or_none(values | {"top": risen[:, 0], "random": risen[:, 1:]}))

    @torch.random.fork_rng(devices=[])  # the weights that it draws are not used
    def _network(self) -> nn.Module:
        loaded = dataset(self.data)
        sizes = [loaded.train.inputs[0].numel(), *self.widths]
        hidden = [
            layer
            for before, after in pairwise(sizes)
            for layer in (nn.Linear(before, after), ACTIVATIONS[self.activation]())
        ]
        return nn.Sequential(*hidden, nn.Linear(sizes[-1], loaded.num_classes)).double()

    def _loss(self) -> Callable[[State], Tensor]:
        loaded, network = dataset(self.data), self._network()
        inputs = loaded.train.inputs.flatten(1).double()
        targets = F.one_hot(loaded.train.labels, loaded.num_classes).double()

        def loss(weights: State) -> Tensor:
            dtype = next(iter(weights.values())).dtype
            answers: Tensor = state.apply(network, weights, inputs.to(dtype))
            return 0.5 * (answers - targets.to(dtype)).square().sum(1).mean()

        return loss

    def _streams(self, what: str) -> Iterator[Generator]:
        return (rng.stream(seed, "edge", what) for seed in range(self.first_seed, self.first_seed + self.seeds))

    def _rises(self, loss: Callable[[State], Tensor], weights: State, top: State, generator: Generator) -> ndarray:
        if not state.is_finite(top):
            return np.full((1 + self.directions, len(PREDICTED)), np.nan)
        drawn = [_as_long(top, generator) for _ in range(self.directions)]
        ways = state.flattened([top, *drawn])
        (point,) = state.flattened([weights])
        risen = curvature.rises(lambda at: loss(state.shaped(at, weights)), point, ways, torch.from_numpy(PREDICTED))
        return risen.detach().numpy()


def ratios(found: Mapping[float, Record]) -> Float[ndarray, "rates checkpoints networks"]:
    """Sharpness in units of two by the step size, by step size; 1 is the edge of stability.

    Args:
        found: by step size what was measured of the networks that were trained with it.
    """
    return np.stack([0.5 * rate * each.of("sharpness") for rate, each in found.items()])


def settled(found: Mapping[float, Record], checkpoints: slice, *, moved: int = 0) -> dict[str, Estimate]:
    """How near the sharpness is to the edge of stability at some checkpoints, as means over seeds.

    Seeds of which a network diverged, at any step size, are left out.

    Args:
        found: by step size what was measured of the networks that were trained with it.
        checkpoints: at which of them.
        moved: by how many places networks are given to other step sizes.

    Returns:
        ``"off"``, the mean distance of the logarithm of the ratio of :func:`ratios` from 0, over step sizes and
        checkpoints; and ``"slope"``, that of the mean logarithm of the sharpness over the logarithm of the step size.
    """
    steps = np.log(list(found))
    logs = np.roll(np.log(np.stack([each.of("sharpness")[checkpoints] for each in found.values()])), moved, 0)
    off = np.abs(logs + steps[:, None, None] - np.log(2.0)).mean((0, 1))
    centred = steps - steps.mean()
    slope = centred @ logs.mean(1) / (centred @ centred)
    return {"off": estimate_of_mean(off), "slope": estimate_of_mean(slope)}


def grown(found: Mapping[float, Record], *, drawn: bool = False) -> dict[str, Estimate]:
    """How the loss grows along the eigenvector and along random directions, as means over seeds and step sizes.

    Seeds of which a network diverged, or a direction does not curve upwards, at any step size, are left out.

    Args:
        found: by step size what was measured of the networks that were trained with it.
        drawn: whether the first random direction takes the place of the eigenvector, and leaves the others.

    Returns:
        ``"exponent"``, that of growth along the eigenvector from a predicted rise of 0.1 to one of 10; and
        ``"difference"``, the same less that along random directions, as a mean over these.
    """
    judged = [int(np.abs(np.log(PREDICTED / each)).argmin()) for each in JUDGED]
    top, random = (
        np.mean(
            [curvature.exponents(PREDICTED[judged], each.of(way)[..., judged])[..., 0] for each in found.values()], 0
        )
        for way in ("top", "random")
    )
    if drawn:
        top, random = random[:, 0], random[:, 1:]
    return {"exponent": estimate_of_mean(top), "difference": estimate_of_mean(top - random.mean(1))}


def growth(found: Record, along: str) -> Float[ndarray, " exponents"]:
    """The local exponents of growth between neighbours of ``PREDICTED``, as the median over networks and directions.

    Args:
        found: a set of networks.
        along: ``"top"``, the eigenvector, or ``"random"``.
    """
    exponents = curvature.exponents(PREDICTED, found.of(along)).reshape(-1, len(PREDICTED) - 1)
    median: ndarray = np.nanmedian(exponents, 0)
    return median


def _sharpest(loss: Callable[[State], Tensor], weights: State) -> tuple[float, State]:
    if not state.is_finite(weights):
        return float("nan"), weights
    (point,) = state.flattened([weights])
    value, direction = curvature.sharpest(lambda at: loss(state.shaped(at, weights)), point)
    return value, state.shaped(direction, weights)


def _as_long(direction: State, generator: Generator) -> State:
    """A random direction that is as long as another one within each of the tensors."""
    drawn = {name: torch.randn(each.shape, generator=generator).double() for name, each in direction.items()}
    return {name: round_to_grid(each, _BITS) * (direction[name].norm() / each.norm()) for name, each in drawn.items()}
