"""What a schedule does of what lengths of weights before batch normalisation do: RMSProp that sees no gradient."""

__all__ = ["ScheduleSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy import ndarray

from lmc_lib import charges, rng
from lmc_lib.charges import SGD, RMSProp
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.dynamics.lengths import Path, check, lengths
from lmc_lib.experiments.networks.runs import OfStart, RunSpec
from lmc_lib.store import Result, Store
from lmc_lib.values import digits, share

# Less than the last digit of any variance, so that lengths do not count.
_EPSILON = 1e-30


@dataclass(frozen=True)
class ScheduleSpec(OfStart):
    """How near a schedule comes to the steps that a training by SGD takes before batch normalisation.

    Of the second half ``distances`` of effective steps to those of RMSProp whose mean begins at zero and is made of the
    squared gradients ``"in order"``; of the same ``"shuffled"`` in time, all units alike; of their ``"mean"`` over the
    training at every update; and to a ``"constant"`` step, for each unit the geometric mean of that half. Of the whole
    ``twin``: a network with weights of length 1 whose RMSProp begins at the lengths of the start and is made of the
    mean, so that it goes from there to its end on a schedule; its distances ``steps`` and ``loss`` to the network, as
    of the twins of :class:`~lmc_lib.experiments.dynamics.adaptation.AdaptationSpec`, and its ``accuracy``.

    Attributes:
        run: the training, without momentum, at a constant rate.
        decay: the weight decay of which RMSProp is made.
    """

    kind: ClassVar[str] = "ScheduleSpec"
    noun: ClassVar[str] = "trainings on a schedule"

    decay: float

    def __post_init__(self) -> None:
        check(self.run.train)

    @property
    def updates(self) -> int:
        """Those of the network and of its twin."""
        return 2 * self.run.updates

    def compute(self, store: Store) -> Result:
        """Trains the network, and then its twin."""
        return measured((self.run,), self._trained, self._values)

    def _trained(self, run: RunSpec) -> tuple[Path, ndarray, Path]:
        here = lengths(run, _EPSILON)
        own, motion = here.own
        squares = charges.squared_gradients(motion)
        start = self._rmsprop(motion.charges[0])
        return own, squares, here.fixed(start.scheduled(torch.from_numpy(squares.mean(0))))

    def _rmsprop(self, lengths: ndarray) -> RMSProp:
        return RMSProp.of(SGD(self.run.train.lr, decay=self.decay), torch.from_numpy(lengths))

    def _values(self, found: tuple[Path, ndarray, Path]) -> dict[str, Any]:
        own, squares, twin = found
        order = rng.numpy_stream(self.run.order_seed, "shuffled").permutation(len(squares))
        told = {
            "in order": squares,
            "shuffled": squares[order],
            "mean": np.broadcast_to(squares.mean(0), squares.shape),
        }
        late = len(squares) // 2
        blank, steps = self._rmsprop(np.zeros(squares.shape[1])), own.steps[late:]
        along = {name: blank.along(torch.tensor(each)).numpy()[late:] for name, each in told.items()}
        along["constant"] = np.broadcast_to(np.exp(np.log(steps).mean(0)), steps.shape)
        distances = digits({name: charges.apart(each, steps) for name, each in along.items()})
        return {"distances": distances, "twin": {**digits(twin.apart(own)), "accuracy": share(twin.accuracy)}}
