"""Trainings of one network whose weights before batch normalisation have free lengths, or the length 1."""

__all__ = ["Lengths", "Path", "check", "lengths"]

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import charges, connectivity, training
from lmc_lib.charges import SGD, Charge, Motion, OnSphere, RMSProp
from lmc_lib.connectivity import Scores
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State, under
from lmc_lib.training import Checkpoint

# Into so many parts a training is cut by the looks at it, and into so many stretches for means of losses.
_PARTS = 60
_STRETCHES = 6


def check(train: TrainConfig) -> None:
    """Refuses trainings of which the law of fourth powers does not tell.

    Raises:
        ValueError: if it is not SGD without momentum, in float64, at a constant rate.
    """
    found = (train.precision, train.optimiser, train.schedule, train.warmup, train.momentum)
    if found != ("portable", "sgd", "constant", 0, 0.0):
        raise ValueError(f"the law is that of SGD without momentum in float64 at a constant rate, not of {train}")


@dataclass(frozen=True)
class Path:
    """A training, by its effective steps and its scores.

    Attributes:
        steps: the effective step of each unit, one row an update.
        looks: after which updates it is scored.
        scores: loss and error on the training set at these, with its own means and variances in batch normalisation.
    """

    steps: Float[ndarray, "updates units"]
    looks: list[int]
    scores: tuple[Scores, ...]

    @property
    def losses(self) -> Float[ndarray, " looks"]:
        """The losses."""
        return np.array([each.loss for each in self.scores])

    @property
    def accuracy(self) -> float:
        """The share of right answers at the end."""
        return 1.0 - self.scores[-1].error

    def apart(self, other: "Path") -> dict[str, float]:
        """How far it is from another: ``"steps"``, of all steps, and ``"loss"``, of geometric means over sixths."""
        losses = charges.apart(_stretches(self.losses), _stretches(other.losses))
        return {"steps": charges.apart(self.steps, other.steps), "loss": losses}


class Lengths:
    """A network with scale charges, from its start on.

    Args:
        run: its training, without momentum.
        epsilon: what batch normalisation adds to variances.

    Attributes:
        looks: after which updates a training is scored, from the start to the end.
    """

    def __init__(self, run: RunSpec, epsilon: float) -> None:
        chain = architecture(run)
        self.run, self.split = run, dataset(run.data).train
        self.looks: list[int] = np.unique(np.linspace(0, run.updates, _PARTS + 1).round().astype(int)).tolist()
        self.network, self.start = charges.with_epsilon(chain, epsilon), drawn_start(run, chain)
        self.scored = copy.deepcopy(self.network).double().train()  # by means and variances of what it is scored on
        self.live = self.scored.state_dict()
        self.inputs = self.split.inputs.double()
        self.scale: list[Charge] = [each for each in charges.of_chain(chain) if each.family == "scale"]
        self.sgd = SGD(run.train.lr, decay=run.train.weight_decay)

    @cached_property
    def own(self) -> tuple[Path, Motion]:
        """The network itself, trained once by SGD on its batches, with its motion."""
        return self.free(self.run.order_seed)

    def free(self, order: int, factor: float = 1.0) -> tuple[Path, Motion]:
        """Trains it by SGD on batches of an order, from weights that are larger by a factor; with their motion."""
        start = self.start | {name: factor * self.start[name] for each in self.scale for name, _, _ in each.terms}
        follower, every = charges.Follower(self.scale, self.sgd), range(self.run.updates + 1)
        found = training.checkpoints(self.network, start, self.split, self.run.train, seed=order, save_at=every)
        scores = self._scores(_visited(follower, found))
        motion = follower.motions()["scale"]
        return Path(charges.effective_steps(motion, self.sgd), self.looks, scores), motion

    def fixed(self, rmsprop: RMSProp) -> Path:
        """Trains it with weights of length 1, on its batches, by the steps that are given."""
        rule, start = OnSphere(self.scale, rmsprop, self.sgd.decay), charges.on_sphere(self.scale, self.start)
        order, train = self.run.order_seed, self.run.train
        found = training.checkpoints(self.network, start, self.split, train, seed=order, save_at=self.looks, rule=rule)
        scores = self._scores(found)
        return Path(torch.stack(rule.steps).numpy(), self.looks, scores)

    def _scores(self, found: Iterable[Checkpoint]) -> tuple[Scores, ...]:
        return tuple(self._score(now.state) for now in found if now.step in self.looks)

    def _score(self, state: State) -> Scores:
        with torch.no_grad():
            for name, own in self.live.items():  # to load it takes longer than the rest
                own.copy_(state[name])
            logits = self.scored(self.inputs)
        return connectivity.score(logits, self.split.labels)


@lru_cache(maxsize=1)
def lengths(run: RunSpec, epsilon: float) -> Lengths:
    """The network of a run; the last one is kept, so that specs that follow each other share its training."""
    return Lengths(run, epsilon)


def _visited(follower: charges.Follower, found: Iterable[Checkpoint]) -> Iterable[Checkpoint]:
    """Shows each checkpoint to a follower on its way."""
    for now in found:
        follower.visit(now.state, under("momentum_buffer/", now.memory))
        yield now


def _stretches(losses: ndarray) -> ndarray:
    """Geometric means over stretches of a training, without its start; single losses have the noise of batches."""
    return np.array([np.exp(np.log(each).mean()) for each in np.array_split(losses[1:], _STRETCHES)])
