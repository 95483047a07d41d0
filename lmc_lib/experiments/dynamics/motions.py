"""Charges of a network along its training, held against the laws of their motion."""

__all__ = ["ChargesSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray

from lmc_lib import charges, connectivity, training
from lmc_lib.charges import SGD, Motion
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, architecture, drawn_start
from lmc_lib.state import under
from lmc_lib.store import Result, Store
from lmc_lib.values import digits, share


@dataclass(frozen=True)
class ChargesSpec(OfStart):
    """All that defines the charges of a network along its training by SGD in float64.

    It measures, by family of charges: ``drift`` and ``distances`` of :class:`~lmc_lib.charges.Motion`; the largest
    ``overlap``; and ``curves`` of the unit with the largest charge at the start, ``"measured"`` and by law, at
    some updates, ``steps``. ``accuracy`` is that on the training set at the end.

    Attributes:
        run: the training, at a constant rate.
        epsilon: what batch normalisation adds to variances; the default is less than the last digit of any.
        symmetric: whether the network has the symmetries; otherwise it is altered so that it has none.
    """

    kind: ClassVar[str] = "ChargesSpec"
    noun: ClassVar[str] = "charges"

    epsilon: float = 1e-30
    symmetric: bool = True

    def __post_init__(self) -> None:
        train = self.run.train
        if (train.precision, train.optimiser, train.schedule, train.warmup) != ("portable", "sgd", "constant", 0):
            raise ValueError(f"the laws are those of SGD in float64 at a constant rate, not of {train}")

    @property
    def updates(self) -> int:
        """Those of the network."""
        return self.run.updates

    def compute(self, store: Store) -> Result:
        """Trains the network and holds its charges against the laws."""
        return measured((self.run,), self._trained, self._values)

    def _trained(self, run: RunSpec) -> tuple[dict[str, Motion], float]:
        chain, split, train = architecture(run), dataset(run.data).train, run.train
        start, every = drawn_start(run, chain), range(train.steps + 1)
        network = charges.with_epsilon(chain, self.epsilon) if self.symmetric else charges.asymmetric(chain)
        follower = charges.Follower(charges.of_chain(chain), SGD(train.lr, train.momentum, train.weight_decay))
        for now in training.checkpoints(network, start, split, train, seed=run.order_seed, save_at=every):
            follower.visit(now.state, under("momentum_buffer/", now.memory))
        return follower.motions(), 1.0 - connectivity.evaluate(network, now.state, split).error

    def _values(self, found: tuple[dict[str, Motion], float]) -> dict[str, Any]:
        steps = np.unique(np.linspace(0, self.updates, 61).round().astype(int))
        families = {family: _family(motion, steps) for family, motion in found[0].items()}
        return families | {"steps": steps.tolist(), "accuracy": share(found[1])}


def _family(motion: Motion, steps: ndarray) -> dict[str, Any]:
    unit = np.abs(motion.charges[0]).argmax()
    curves = {"measured": motion.charges, **motion.predictions}
    sizes = {"drift": motion.drift, "overlap": motion.overlap.max(), "distances": motion.distances}
    return {**digits(sizes), "curves": digits({name: each[steps, unit] for name, each in curves.items()})}
