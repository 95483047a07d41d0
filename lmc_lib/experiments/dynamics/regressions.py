"""Chains of SGD on a linear regression, long after it has converged: how far they spread, and how they swing."""

__all__ = ["RegressionSpec", "off", "rested", "scaling"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import stairs, stationary
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import or_none, round_to_grid

# Hides the last bits in which normal draws differ between instruction sets.
_BITS = 30

# Updates whose examples are drawn at once.
_BLOCK = 500


@dataclass(frozen=True)
class RegressionSpec(Spec):
    """All that defines chains of SGD with momentum and weight decay on a linear regression.

    Inputs are normal and independent, and every example is new; targets are the sum of the inputs and a normal
    residual of variance 1. A chain starts at the mean of where it will stay, without velocity, and moves a quarter of
    its updates unseen. It measures, one row a chain and one column an input: ``position`` and ``velocity``, the
    variances of the weight and of its change by the step size; and ``correlation``, of weights so many updates apart.

    Attributes:
        curvatures: second derivatives of the loss, the variances of the inputs.
        lr: step size.
        momentum: share of the velocity that is kept.
        decay: weight decay.
        batch: examples of an update.
        measured: updates that are measured.
        chains: number of chains.
        first_seed: seed of the first; chains of one seed and one size of batches see the same examples.
        lags: correlations are measured up to so many updates apart.
        even: whether the gradient is that of all data, with noise of the same total variance that is alike in all
            directions, in place of that of the examples.
    """

    kind: ClassVar[str] = "RegressionSpec"
    noun: ClassVar[str] = "sets of chains"

    curvatures: tuple[float, ...]
    lr: float
    momentum: float
    decay: float
    batch: int
    measured: int
    chains: int
    first_seed: int = 0
    lags: int = 0
    even: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "curvatures", tuple(self.curvatures))  # notebooks write lists
        if min(self.curvatures, default=0.0) <= 0.0:
            raise ValueError(f"a direction in which the loss is flat has no stationary spread: {self.curvatures}")
        if self.measured < 4 * max(self.lags, 1):
            raise ValueError(f"{self.measured} updates are too few for correlations {self.lags} updates apart")

    @property
    def label(self) -> str:
        """The chains in short."""
        noise = "even noise" if self.even else "noise of examples"
        return f"linear regression, {len(self.curvatures)} inputs, {noise}"

    @property
    def factors(self) -> str:
        """How they move."""
        return f"step {self.lr:g}, momentum {self.momentum:g}, batches of {self.batch}"

    @property
    def stiffness(self) -> Float[ndarray, " modes"]:
        """Second derivatives and weight decay together."""
        return np.array(self.curvatures) + self.decay

    def predicted(self) -> tuple[Float[ndarray, " modes"], Float[ndarray, " modes"]]:
        """Variances of position and velocity by the formula of continuous time, whose noise is that at the minimum."""
        noise = np.array(self.curvatures) / self.batch
        return stationary.spread(self.stiffness, noise, lr=self.lr, momentum=self.momentum)

    def exact(self) -> Float[ndarray, " modes"]:
        """Variances of the position by the updates themselves, whose noise is that of where they are."""
        curvatures, options = np.array(self.curvatures), {"lr": self.lr, "momentum": self.momentum}
        if self.even:
            noise = np.full(len(curvatures), curvatures.mean() / self.batch)
            return stationary.spread(self.stiffness, noise, exact=True, **options)[0]
        return stationary.regression(curvatures, 1.0, decay=self.decay, batch=self.batch, **options)

    def swinging(self) -> ndarray:
        """The directions in which correlations become negative, by the formula of continuous time."""
        mass = self.lr * (1.0 + self.momentum)
        return np.flatnonzero(2.0 * self.stiffness / mass > ((1.0 - self.momentum) / mass) ** 2)

    def compute(self, store: Store) -> Result:
        """Moves all chains, and measures each."""
        before = self.measured // 4
        positions, velocities = self._moved(before + self.measured)
        positions, velocities = positions[before:], velocities[before:]
        spread = {"position": np.square(positions).mean(0), "velocity": np.square(velocities).mean(0)}
        pairs = [
            (positions[: self.measured - lag] * positions[lag:]).mean(0) / spread["position"]
            for lag in range(self.lags + 1)
        ]
        return Result(or_none(spread | {"correlation": np.stack(pairs, -1)}))

    def _moved(self, updates: int) -> tuple[ndarray, ndarray]:
        """Positions, about their mean, and velocities after each update; one row an update, then a chain."""
        shape = (updates, self.chains, len(self.curvatures))
        positions, velocities = np.empty(shape), np.empty(shape)
        position, velocity, step = np.zeros(shape[1:]), np.zeros(shape[1:]), 0
        for matrices, pushes in self._blocks(updates):
            for matrix, push in zip(matrices, pushes, strict=True):
                slope = (matrix @ position[..., None])[..., 0] + push
                velocity = self.momentum * velocity - slope
                position = position + self.lr * velocity
                positions[step], velocities[step] = position, velocity
                step += 1
        return positions, velocities

    def _blocks(self, updates: int) -> Iterator[tuple[ndarray, ndarray]]:
        """Gradients of batches as linear functions of the position about its mean, some updates at a time."""
        seeds = range(self.first_seed, self.first_seed + self.chains)
        streams = [rng.stream(seed, "regression", "even" if self.even else "examples") for seed in seeds]
        for start in range(0, updates, _BLOCK):
            drawn = [self._drawn(min(_BLOCK, updates - start), generator) for generator in streams]
            matrices, pushes = (np.stack(each, 1) for each in zip(*drawn, strict=True))
            yield matrices, pushes

    def _drawn(self, updates: int, generator: Generator) -> tuple[ndarray, ndarray]:
        curvatures, size = torch.tensor(self.curvatures).double(), len(self.curvatures)
        if self.even:
            pushes = _normal((updates, size), generator) * (curvatures.mean() / self.batch).sqrt()
            return (torch.diag(curvatures + self.decay).expand(updates, size, size)).numpy(), pushes.numpy()
        inputs = _normal((updates, self.batch, size), generator) * curvatures.sqrt()
        residuals = _normal((updates, self.batch, 1), generator)
        mean = curvatures / (curvatures + self.decay)
        # At the mean the error is that of the residual, and of what weight decay takes away.
        errors = inputs @ (mean - 1.0)[:, None] - residuals
        matrices = inputs.mT @ inputs / self.batch + self.decay * torch.eye(size).double()
        pushes = (inputs * errors).mean(1) + self.decay * mean
        return matrices.numpy(), pushes.numpy()


def off(spec: RegressionSpec, found: Record) -> Float[ndarray, "2 chains modes"]:
    """Logarithms of measured variances of position and of velocity by those of the formula of continuous time."""
    measured = np.stack([found.of("position"), found.of("velocity")])
    return np.asarray(np.log(measured / np.stack(spec.predicted())[:, None]))


def rested(spec: RegressionSpec, found: Record) -> dict[str, Estimate]:
    """How chains spread and swing, beside the formulas of continuous time, as means over chains.

    Returns:
        ``"position"`` and ``"velocity"``: the slope of :func:`off` over the logarithm of the second derivative;
        ``"off"``: its mean distance from 0, over both and over directions; ``"swing"``: the slope of the logarithm of
        the lag at which the correlation becomes negative over that of the predicted one, over directions in which it
        should.
    """
    ratios = off(spec, found)
    position, velocity = (np.polyfit(np.log(spec.curvatures), each.T, 1)[0] for each in ratios)
    numbers = {"position": position, "velocity": velocity, "off": np.abs(ratios).mean((0, 2))}
    places, swinging = np.arange(spec.lags + 1, dtype=float), spec.swinging()
    law = stationary.oscillation(spec.stiffness[swinging], places, lr=spec.lr, momentum=spec.momentum)
    predicted = np.log([stairs.crossing(places, each) for each in law])
    crossed = np.array(
        [[stairs.crossing(places, each) for each in row] for row in found.of("correlation")[:, swinging]]
    )
    numbers["swing"] = np.polyfit(predicted, np.log(crossed).T, 1)[0]
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def scaling(found: Sequence[tuple[RegressionSpec, Record]]) -> dict[str, Estimate]:
    """How the excess loss of chains at rest depends on hyperparameters, as means over chains.

    The excess of the loss over that at the mean position is half of the sum of variances by second derivatives.

    Args:
        found: chains of the same seeds with several step sizes, sizes of batches and momenta.

    Returns:
        By ``"step"``, ``"batch"`` and ``"friction"``, one less the momentum, the exponents with which the excess
        grows, of a linear regression of logarithms; and ``"cost"``, the distance from 0 of the logarithm of the excess
        by that of the formula of continuous time, as a mean over settings.
    """
    logs = np.stack([_excess(spec, each.of("position")) for spec, each in found])
    causes = np.log([[spec.lr, spec.batch, 1.0 - spec.momentum] for spec, _ in found])
    fitted, *_ = np.linalg.lstsq(np.column_stack([causes, np.ones(len(causes))]), logs, rcond=None)
    formula = np.array([_excess(spec, spec.predicted()[0]) for spec, _ in found])
    numbers = dict(zip(("step", "batch", "friction"), fitted[:3], strict=True))
    numbers["cost"] = np.abs(logs - formula[:, None]).mean(0)
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def _excess(spec: RegressionSpec, variances: Float[ndarray, "*chains modes"]) -> Float[ndarray, "*chains"]:
    """The logarithm of the excess of the loss."""
    return np.asarray(np.log(0.5 * variances @ np.array(spec.curvatures)))


def _normal(shape: Sequence[int], generator: Generator) -> Tensor:
    return round_to_grid(torch.randn(*shape, generator=generator, dtype=torch.float64), _BITS)
