"""The straight line from the start of a network to its end: whether the loss falls on it, and how the logits turn."""

__all__ = ["StraightLineSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lmc_lib import connectivity, norms, state
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start, obtain_run
from lmc_lib.norms import without_statistics
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import on_device
from lmc_lib.values import digits, or_none

# Bumps below are what is left of rounding in sums of float32.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class StraightLineSpec(Spec):
    """All that defines a straight line to the end of a training.

    It measures along the line ``curves``, by split and ``"loss"`` or ``"error"``; ``bumps``, the
    :func:`~lmc_lib.connectivity.bump_height` of each, 0 below 1e-5; ``distance``, the length of the line, without
    statistics of BatchNorm, which are re-estimated at every point from the training examples; and, over the first of
    these, the mean Gauss lengths of the logits, by angles (``turning``) and by the integral (``gauss``). All training
    examples count, so that the loss on them is what was trained.

    Attributes:
        run: the network at whose end the line ends.
        before: the network at whose end it begins; if None it begins at the random start of ``run``.
        points: number of points, the two ends included.
        examples: number of examples for Gauss lengths.
        turns: number of points for these.
    """

    kind: ClassVar[str] = "StraightLine"
    noun: ClassVar[str] = "straight lines"

    run: RunSpec
    before: RunSpec | None = None
    points: int = 51
    examples: int = 64
    turns: int = 26

    def compute(self, store: Store) -> Result:
        """Evaluates the line."""
        runs = (self.run,) if self.before is None else (self.run, self.before)
        return measured(runs, lambda run: on_device(obtain_run(store, run).final, run.train), self._along)

    def _along(self, end: State, start: State | None = None) -> dict[str, Any]:
        data, place = dataset(self.run.data), next(each for each in end.values() if each.is_floating_point())
        model = architecture(self.run).to(place.device, place.dtype)
        if start is None:
            start = {name: each.to(end[name]) for name, each in drawn_start(self.run, model).items()}
        inputs = data.train.inputs.to(place)
        lines = connectivity.curves(
            model, start, end, {"train": data.train, "test": data.test}, points=self.points,
            reset_inputs=inputs if norms.has_statistics(model) else None,
        )  # fmt: skip
        curves = {split: {what: getattr(line, what) for what in ("loss", "error")} for split, line in lines.items()}
        turning, gauss = connectivity.gauss_lengths(model, start, end, inputs[: self.examples], points=self.turns)
        return {
            "curves": digits(curves, 6),
            "bumps": {split: {what: _bump(each) for what, each in of.items()} for split, of in curves.items()},
            "distance": digits(state.distance(without_statistics(start), without_statistics(end))),
            **or_none(digits({"turning": float(turning.nanmean()), "gauss": float(gauss.nanmean())}, 6)),
        }


def _bump(values: torch.Tensor) -> float:
    height = connectivity.bump_height(values)
    return float(digits(height, 6)) if height >= _ROUNDING else 0.0
