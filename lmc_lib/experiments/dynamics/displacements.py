"""Networks under SGD long after they have converged: how far they go, and how far curvature and noise let them."""

__all__ = ["DisplacementSpec", "followed", "lags"]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

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
from lmc_lib.flow import stationary
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import or_none

# That of torch's own layers.
_SCALE = 0.41

_PREDICTIONS = "along", "mean", "flat", "even"
_NUMBERS = "loss", "noise", "loss of the mean", "noise of the mean"


@dataclass(frozen=True)
class DisplacementSpec(Spec):
    """All that defines networks whose way is measured when they have converged, and what is measured of it.

    They have one hidden layer of tanh units, and learn to give 1 for the class of an example and 0 for the others, with
    half of the mean squared distance from that as loss. Batches are drawn with replacement, so that the noise of one
    says nothing of the next. It measures, one row a network and one column one of :func:`lags`, ``distance``, the mean
    squared distance of weights so many updates apart, and what :func:`~lmc_lib.flow.stationary.displacement` predicts
    of second derivatives and noise: ``along``, from their means over ``snapshots`` of the way; ``mean``, from those at
    the mean of all weights; ``flat``, from the noise of ``along`` and no second derivatives; ``even``, from both of
    ``along``, but noise that is alike in all directions. And one number a network:
    ``loss`` and ``noise``, the total variance of the gradient of an example, over snapshots, ``loss of the mean`` and
    ``noise of the mean``, and ``drift``, the squared distance of the means of both halves of the way by its variance.

    Attributes:
        data: the data set.
        units: hidden units.
        train: the training; only its last updates are measured.
        measured: how many these are.
        seeds: number of networks.
        first_seed: seed of the first start and the first batches.
        longest: the longest lag, a power of two.
        snapshots: how many.
    """

    kind: ClassVar[str] = "DisplacementSpec"
    noun: ClassVar[str] = "sets of networks at rest"

    data: DataSpec
    units: int
    train: TrainConfig
    measured: int
    seeds: int
    first_seed: int = 0
    longest: int = 256
    snapshots: int = 4

    def __post_init__(self) -> None:
        if self.longest < 2 or self.longest & (self.longest - 1):
            raise ValueError(f"the longest lag is a power of two, 2 or more, not {self.longest}")
        stretches = 2 * self.snapshots * self.longest
        if self.measured % stretches:
            raise ValueError(f"the measured updates are a multiple of {stretches}, not {self.measured}")
        if self.measured > self.train.steps:
            raise ValueError(f"of {self.train.steps} updates no {self.measured} can be measured")

    @property
    def label(self) -> str:
        """The networks in short."""
        return f"tanh perceptron, {self.units} hidden units"

    @property
    def factors(self) -> str:
        """On what they were trained, and how."""
        return f"{self.data.name}, step {self.train.lr:g}, batches of {self.train.batch_size}"

    def compute(self, store: Store) -> Result:
        """Trains all networks at once, follows them, and measures curvature and noise of each."""
        network = self._network()
        way = _walked(self._stretches(network), self.measured // self.longest, self.snapshots)
        places = zip(way.snapshots.swapaxes(0, 1), way.halves.mean(0), strict=True)
        found = [self._of_network(network, *each) for each in places]
        values = {name: np.array([each[name] for each in found]) for name in found[0]}
        values["drift"] = np.square(way.halves[1] - way.halves[0]).sum(1) / way.variance
        return Result(or_none(values | {"distance": way.distance.T}))

    @torch.random.fork_rng(devices=[])  # the weights that it draws are not used
    def _network(self) -> nn.Module:
        loaded = dataset(self.data)
        hidden = nn.Linear(loaded.train.inputs[0].numel(), self.units)
        return nn.Sequential(hidden, nn.Tanh(), nn.Linear(self.units, loaded.num_classes)).double()

    def _examples(self) -> tuple[Tensor, Tensor]:
        loaded = dataset(self.data)
        return loaded.train.inputs.flatten(1).double(), F.one_hot(loaded.train.labels, loaded.num_classes).double()

    def _streams(self, what: str) -> Iterator[Generator]:
        return (rng.stream(seed, "rest", what) for seed in range(self.first_seed, self.first_seed + self.seeds))

    def _stretches(self, network: nn.Module) -> Iterator[Float[ndarray, "longest networks n"]]:
        """The weights after each of the measured updates, as many at a time as the longest lag has."""
        inputs, targets = self._examples()
        start = [models.initialise(network, generator=each, scale=_SCALE) for each in self._streams("start")]
        size = self.train.steps, self.train.batch_size
        # One row an update, then a network: drawn with replacement.
        batches = torch.stack(
            [torch.randint(len(inputs), size, generator=each) for each in self._streams("batches")], 1
        )
        losses = torch.vmap(lambda weights, x, y: _loss(network, weights, x, y))

        def of_batches(weights: State, step: int) -> Tensor:
            chosen = batches[step]
            return losses(weights, inputs[chosen], targets[chosen])

        first, stretch = self.train.steps - self.measured + 1, []
        for checkpoint in training.train_stack(
            of_batches, state.stacked(start), self.train, save_at=range(first, self.train.steps)
        ):
            stretch.append(torch.cat([each.flatten(1) for each in checkpoint.state.values()], 1).double().numpy())
            if len(stretch) == self.longest:
                yield np.stack(stretch)
                stretch = []

    def _of_network(self, network: nn.Module, snapshots: ndarray, mean: ndarray) -> dict[str, Any]:
        like, examples = dict(network.state_dict()), self._examples()
        points = torch.from_numpy(np.stack([*snapshots, mean]))
        if not points.isfinite().all():
            nothing = np.full(len(lags(self.longest)), np.nan)
            return dict.fromkeys(_PREDICTIONS, nothing) | dict.fromkeys(_NUMBERS, np.nan)
        found = [_at(network, like, examples, each) for each in points]
        hessian, noise, loss = (torch.stack(each[:-1]).mean(0) for each in zip(*found, strict=True))
        at_mean = found[-1]
        predicted = (
            self._predicted(hessian, noise),
            self._predicted(at_mean[0], at_mean[1]),
            self._predicted(torch.zeros_like(hessian), noise),
            self._predicted(hessian, torch.eye(len(noise)).to(noise) * noise.diagonal().mean()),
        )
        numbers = loss, noise.trace(), at_mean[2], at_mean[1].trace()
        return dict(zip(_PREDICTIONS, predicted, strict=True)) | dict(zip(_NUMBERS, map(float, numbers), strict=True))

    def _predicted(self, hessian: Tensor, noise: Tensor) -> Float[ndarray, " lags"]:
        values, vectors = torch.linalg.eigh(hessian)
        # Along a direction that curves downwards no stay is predicted; it counts as flat.
        stiffness = (values + self.train.weight_decay).clamp(min=0.0)
        of_batches = torch.einsum("ij,ik,kj->j", vectors, noise, vectors) / self.train.batch_size
        options = {"lr": self.train.lr, "momentum": self.train.momentum}
        return stationary.displacement(stiffness.numpy(), of_batches.numpy(), lags(self.longest), **options)


def lags(longest: int) -> ndarray:
    """The lags at which distances are measured: powers of two.

    Example:
        >>> lags(8).tolist()
        [1, 2, 4, 8]
    """
    return 2 ** np.arange(int(longest).bit_length())


def followed(spec: DisplacementSpec, found: Record, by: str) -> dict[str, Estimate]:
    """How well the way follows a prediction, as means over networks.

    Networks whose training diverged are left out.

    Args:
        spec: the networks.
        found: what was measured of them.
        by: the prediction: ``"along"``, ``"mean"``, ``"flat"`` or ``"even"``.

    Returns:
        ``"slopes"``, the mean distance of local exponents of the squared distance from the predicted ones; and
        ``"amplitude"``, the distance from 0 of the logarithm of the squared distance by the predicted one, as a mean
        over lags.
    """
    steps = lags(spec.longest)
    measured, predicted = (stationary.slopes(steps, found.of(each)) for each in ("distance", by))
    ratio = np.log(found.of("distance") / found.of(by))
    numbers = {"slopes": np.abs(measured - predicted).mean(1), "amplitude": np.abs(ratio).mean(1)}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


@dataclass(frozen=True)
class _Way:
    """What is left of the ways of several networks: distances by lag, means of both halves, variances and snapshots."""

    distance: Float[ndarray, "lags networks"]
    halves: Float[ndarray, "2 networks n"]
    variance: Float[ndarray, " networks"]
    snapshots: Float[ndarray, "snapshots networks n"]


def _walked(stretches: Iterable[Float[ndarray, "longest networks n"]], count: int, snapshots: int) -> _Way:
    """Sums over stretches of a way, of which no more than two are kept at a time."""
    kept, sums, before = [], None, None
    for place, stretch in enumerate(stretches):
        steps = lags(len(stretch))
        if before is None or sums is None:
            origin, shape = stretch[0], stretch.shape[1:]
            sums = np.zeros((len(steps), shape[0])), np.zeros((2, *shape)), np.zeros(shape[0])
        else:
            joined = np.concatenate([before, stretch])
            sums[0][:] += [np.square(joined[lag : lag + len(stretch)] - before).sum((0, 2)) for lag in steps]
        sums[1][2 * place // count] += (stretch - origin).sum(0)
        sums[2][:] += np.square(stretch - origin).sum((0, 2))
        before = stretch
        if (place + 1) % (count // snapshots) == 0:
            kept.append(stretch[-1])
    assert sums is not None and before is not None
    updates = count * len(before)
    halves = sums[1] / (updates // 2)
    variance = sums[2] / updates - np.square(halves.mean(0)).sum(1)
    return _Way(sums[0] / (updates - len(before)), origin + halves, variance, np.stack(kept))


def _at(network: nn.Module, like: State, examples: tuple[Tensor, Tensor], point: Tensor) -> tuple[Tensor, ...]:
    """The second derivatives of the loss, the covariance of the gradient of an example, and the loss."""

    def loss(at: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return _loss(network, state.shaped(at, like), inputs, targets)

    inputs, targets = examples
    hessian = torch.func.jacrev(torch.func.grad(loss))(point, inputs, targets)
    slopes = torch.vmap(torch.func.grad(loss), (None, 0, 0))(point, inputs[:, None], targets[:, None])
    away = slopes - slopes.mean(0)
    return hessian, away.T @ away / len(away), loss(point, inputs, targets)


def _loss(network: nn.Module, weights: State, inputs: Tensor, targets: Tensor) -> Tensor:
    dtype = next(iter(weights.values())).dtype
    answers: Tensor = state.apply(network, weights, inputs.to(dtype))
    return 0.5 * (answers - targets.to(dtype)).square().sum(-1).mean()
