"""Lengths of weights before batch normalisation, held against RMSProp, and twins of which no length moves."""

__all__ = ["TWINS", "AdaptationSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy import ndarray

from lmc_lib import charges
from lmc_lib.charges import SGD, Motion, RMSProp
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.dynamics.lengths import Lengths, Path, check, lengths
from lmc_lib.experiments.networks.runs import OfStart, RunSpec
from lmc_lib.store import Result, Store
from lmc_lib.values import digits, share

TWINS = ("adaptive", "constant", "nudged", "other batches")

# Added to the seed of the order of batches for other ones, and the factor on the weights that are nudged.
_OTHER = 1000
_NUDGE = 1.0001


@dataclass(frozen=True)
class AdaptationSpec(OfStart):
    """All that defines how lengths of weights before batch normalisation adapt the steps of a training by SGD.

    Of the second half it measures ``error``, the root mean square over units and updates of the relative error of the
    law of fourth powers; ``left out``, that over units of :func:`~lmc_lib.charges.left_out`; and ``rmsprop``, how far
    effective steps are from those of RMSProp along the measured gradients, whose mean begins at zero. Of the whole:
    the largest ``overlap`` of gradients and weights; ``accuracy`` on the training set at the end; and in ``curves``, at
    the updates ``looks``, the ``loss`` on it, the ``fourth power`` of the length of the first unit and that by the
    ``law``; before these updates, but for the last, the geometric mean over units of ``steps``; and that of those by
    ``RMSProp``, also but for the first. Under the name of each twin ``curves`` of ``loss`` and ``steps``, ``accuracy``,
    and its distances to the network: ``steps``, of all steps, and ``loss``, of geometric means of losses over sixths.

    Attributes:
        run: the training, without momentum, at a constant rate.
        decay: the weight decay of which RMSProp is made.
        epsilon: what batch normalisation adds to variances; the default is less than the last digit of any.
        twins: which of ``TWINS`` are trained: with weights of length 1 ``"adaptive"``, whose steps are those of RMSProp
            and ``"constant"``, whose steps are for each unit the geometric mean of the network's; like the network
            ``"nudged"``, from weights that are larger by a factor of 1.0001, and on ``"other batches"``.
    """

    kind: ClassVar[str] = "AdaptationSpec"
    noun: ClassVar[str] = "adaptive trainings"

    decay: float
    epsilon: float = 1e-30
    twins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.run.train)
        if strange := sorted({*self.twins} - {*TWINS}):
            raise ValueError(f"unknown twin {strange[0]!r}; there are {', '.join(TWINS)}")

    @property
    def updates(self) -> int:
        """Those of the network, and of its twins."""
        return self.run.updates * (1 + len(self.twins))

    def compute(self, store: Store) -> Result:
        """Trains the network, and its twins if there are any."""
        return measured((self.run,), self._trained, self._values)

    def _trained(self, run: RunSpec) -> tuple[Path, Motion, dict[str, Path]]:
        here = lengths(run, self.epsilon)
        own, motion = here.own
        return own, motion, {name: self._twin_of(name, here, own, motion) for name in self.twins}

    def _twin_of(self, name: str, here: Lengths, own: Path, motion: Motion) -> Path:
        order = self.run.order_seed
        if name == "adaptive":
            return here.fixed(self._rmsprop(motion.charges[0]))
        if name == "constant":
            return here.fixed(RMSProp.constant(torch.from_numpy(np.exp(np.log(own.steps).mean(0)))))
        return (here.free(order, _NUDGE) if name == "nudged" else here.free(order + _OTHER))[0]

    def _rmsprop(self, lengths: ndarray) -> RMSProp:
        return RMSProp.of(SGD(self.run.train.lr, decay=self.decay), torch.from_numpy(lengths))

    def _values(self, found: tuple[Path, Motion, dict[str, Path]]) -> dict[str, Any]:
        own, motion, twins = found
        looks = own.looks
        sgd, late = SGD(self.run.train.lr, decay=self.run.train.weight_decay), self.run.updates // 2
        squares, fourth = charges.squared_gradients(motion), np.square(motion.charges)
        law = charges.predicted(charges.fourth_power(sgd), fourth[0], squares)
        rmsprop = self._rmsprop(np.zeros_like(fourth[0])).along(torch.from_numpy(squares)).numpy()
        sizes = {
            "error": _size(law[late:] / fourth[late:] - 1.0),
            "left out": _size(charges.left_out(squares[late:], sgd)),
            "rmsprop": charges.apart(rmsprop[late:], own.steps[late:]),
            "overlap": motion.overlap.max(),
        }
        powers = {"fourth power": fourth[looks, 0], "law": law[looks, 0]}
        curves = _curves(own) | digits(powers | {"RMSProp": _middle(rmsprop[looks[1:-1]])})
        facts = {"accuracy": share(own.accuracy), "looks": looks, "curves": curves}
        return {**digits(sizes), **facts, **{name: self._apart(each, own) for name, each in twins.items()}}

    def _apart(self, twin: Path, own: Path) -> dict[str, Any]:
        return {**digits(twin.apart(own)), "accuracy": share(twin.accuracy), "curves": _curves(twin)}


def _curves(path: Path) -> dict[str, Any]:
    return {"loss": digits(path.losses), "steps": digits(_middle(path.steps[path.looks[:-1]]))}


def _size(errors: ndarray) -> float:
    return float(np.sqrt(np.square(errors).mean()))


def _middle(steps: ndarray) -> ndarray:
    """Geometric means over units."""
    return np.asarray(np.exp(np.log(steps).mean(1)))
