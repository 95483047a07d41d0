"""Students of one hidden layer from starts whose scale is moved between layers: features at equal training loss."""

__all__ = ["MEASURES", "Curves", "StudentSpec", "gains", "of_start"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import flow, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Record
from lmc_lib.flow import Descent, hidden_layer
from lmc_lib.state import stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import decimals, log_spaced

MEASURES = ("flipped", "distance", "error")

# The last digit that is stored stands, under a logarithm, for what has none.
_DIGIT = 1e-9


@dataclass(frozen=True)
class StudentSpec(Spec):
    """All that defines students of one hidden layer, several starts a seed that differ in the scale of layers alone.

    Inputs, weights of the teacher and those of the student are drawn on the unit sphere, read-outs are signs. It
    measures, one row a seed and one column a shift, after each number of updates in ``steps``: ``loss``, the training
    loss, and ``error``, the loss on new inputs, both as shares of those at the start; ``flipped``, the share of units
    and training inputs whose activation pattern is not that at the start; ``distance``, 1 less the cosine of the neural
    tangent kernels on training inputs at the start and then.

    Attributes:
        inputs: number of inputs.
        units: number of hidden units, even.
        teachers: number of hidden units of the teacher.
        examples: number of training inputs.
        new: number of new inputs.
        scale: by which both layers are multiplied.
        shifts: by which the first layer is multiplied, and the read-out divided, rising.
        rate: step size of gradient descent.
        horizon: number of updates.
        looks: about how many times networks are looked at, evenly on a logarithmic axis, the last update the last.
        seeds: number of seeds, each with its own inputs, teacher and directions.
        first_seed: the first of them.
        leak: slope of the units where their sum is negative; 1 makes students and teacher linear.
        redrawn: whether the directions of students are others, with the same inputs and teacher.
    """

    kind: ClassVar[str] = "StudentSpec"
    noun: ClassVar[str] = "students"

    inputs: int
    units: int
    teachers: int
    examples: int
    new: int
    scale: float
    shifts: tuple[float, ...]
    rate: float
    horizon: int
    looks: int
    seeds: int
    first_seed: int = 0
    leak: float = 0.0
    redrawn: bool = False

    @property
    def label(self) -> str:
        """The network in short."""
        return f"{self.units} {'linear' if self.leak == 1.0 else 'rectified'} units, scale {self.scale:g}"

    def compute(self, store: Store) -> Result:
        """Trains the students of each shift, those of all seeds at once."""
        steps = log_spaced(self.horizon, self.looks)
        each = [self._trained(shift, steps) for shift in self.shifts]
        values = {name: decimals(torch.stack([found[name] for found in each], 1)) for name in ("loss", *MEASURES)}
        return Result({"steps": steps, **values})

    def drawn(self) -> dict[str, Tensor]:
        """Of all seeds: inputs and outputs of the teacher, for training and new, and directions of the student."""
        return stacked([self._drawn(self.first_seed + place) for place in range(self.seeds)])

    def _drawn(self, seed: int) -> dict[str, Tensor]:
        def sphere(name: str, count: int) -> Tensor:
            return hidden_layer.directions(count, self.inputs, generator=rng.stream(seed, "student", name))

        def signs(name: str, count: int) -> Tensor:
            stream = rng.stream(seed, "student", name, "signs")
            return 2.0 * torch.randint(2, (count,), generator=stream).double() - 1.0

        start = "other start" if self.redrawn else "start"
        weights, read_out = hidden_layer.paired(sphere(start, self.units // 2), signs(start, self.units // 2))
        found = {"weights": weights, "read-out": read_out, "train": sphere("train", self.examples)}
        found["new"] = sphere("new", self.new)
        teacher = sphere("teacher", self.teachers), signs("teacher", self.teachers)
        for name in ("train", "new"):
            found[f"{name} outputs"] = hidden_layer.outputs(found[name], self.leak, *teacher)
        return found

    def _trained(self, shift: float, steps: Sequence[int]) -> dict[str, Float[Tensor, "seeds looks"]]:
        drawn = self.drawn()
        point: Sequence[Tensor] = hidden_layer.rescaled(drawn["weights"], drawn["read-out"], self.scale, shift)
        slope = partial(hidden_layer.gradient, drawn["train"], drawn["train outputs"], self.leak)
        before, done, looks = self._features(drawn["train"], point), 0, []
        for step in steps:
            point = flow.descend(slope, tuple(point), Descent(step - done, self.rate))
            now = self._features(drawn["train"], point)
            looks.append(self._missed(drawn, point) | _changed(before, now))
            done = step
        return {name: torch.stack([each[name] for each in looks], 1) for name in looks[0]}

    def _features(self, inputs: Tensor, point: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The activation patterns and the neural tangent kernel, which has the length 1."""
        kernel = hidden_layer.kernel(inputs, self.leak, *point)
        return hidden_layer.patterns(inputs, point[0]), kernel / torch.linalg.matrix_norm(kernel)[:, None, None]

    def _missed(self, drawn: Mapping[str, Tensor], point: Sequence[Tensor]) -> dict[str, Float[Tensor, " seeds"]]:
        found = {}
        for name, of in {"loss": "train", "error": "new"}.items():
            wanted = drawn[f"{of} outputs"]
            missed = hidden_layer.outputs(drawn[of], self.leak, *point) - wanted
            found[name] = missed.square().sum(-1) / wanted.square().sum(-1)
        return found


def _changed(before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> dict[str, Float[Tensor, " seeds"]]:
    flipped = (before[0] != now[0]).double().mean((-2, -1))
    return {"flipped": flipped, "distance": 1.0 - (before[1] * now[1]).sum((-2, -1))}


@dataclass(frozen=True)
class Curves(Record):
    """What ``StudentSpec`` measured, read between the updates at which networks were looked at.

    Between two looks patterns and kernel distances are taken in proportion, the error by its logarithm: where it falls
    in proportion to the training loss, as it does in linear networks, it is then that of every update.
    """

    MEASURES: ClassVar[tuple[str, ...]] = MEASURES

    def at_loss(self, level: float) -> dict[str, Float[ndarray, "seeds shifts"]]:
        """Each measure when the training loss has first come down to a share of that at the start, or NaN."""
        return {name: self._between(-np.log(self._lowest()), -np.log(level), name) for name in self.MEASURES}

    def updates(self, level: float) -> Float[ndarray, "seeds shifts"]:
        """After how many updates the training loss has first come down to a share of that at the start, or NaN."""
        found: ndarray = np.exp(self._between(-np.log(self._lowest()), -np.log(level), "log steps"))
        return found

    def after(self, updates: Float[ndarray, " seeds"]) -> dict[str, Float[ndarray, "seeds shifts"]]:
        """Each measure after a number of updates, one for each seed."""
        log_steps = np.broadcast_to(np.log(self.of("steps")), self.of("loss").shape)
        return {name: self._between(log_steps, np.log(updates)[:, None], name) for name in self.MEASURES}

    def _lowest(self) -> Float[ndarray, "seeds shifts looks"]:
        return np.minimum.accumulate(self.of("loss").clip(min=_DIGIT), axis=-1)

    def _between(self, along: ndarray, place: Any, name: str) -> Float[ndarray, "seeds shifts"]:
        """A measure at a place of a rising axis, between two looks in proportion; NaN behind the last one."""
        values = np.broadcast_to(np.log(self.of("steps")), along.shape) if name == "log steps" else self.of(name)
        values = np.log(values.clip(min=_DIGIT)) if name == "error" else values
        places = np.broadcast_to(place, along.shape[:-1])
        rows = zip(places.flat, along.reshape(-1, along.shape[-1]), values.reshape(-1, along.shape[-1]), strict=True)
        found = np.array([np.interp(*row, right=np.nan) for row in rows]).reshape(places.shape)
        return np.exp(found) if name == "error" else found


def of_start(measures: Mapping[str, Float[ndarray, "seeds shifts"]], place: int) -> dict[str, Float[ndarray, " seeds"]]:
    """Each measure of one of several starts, by its place."""
    return {name: values[:, place] for name, values in measures.items()}


def gains(
    one: Mapping[str, Float[ndarray, " seeds"]], other: Mapping[str, Float[ndarray, " seeds"]]
) -> dict[str, Estimate]:
    """Means over seeds of what one start has over another, within seeds.

    Args:
        one: each measure of the one start.
        other: the same of the other one, with the same inputs and teachers.

    Returns:
        ``"flipped"`` and ``"distance"``, the one less the other; ``"error"``, the decimal logarithm of the error of the
        other over that of the one, so that more is better in all.

    Raises:
        ValueError: if a network was not trained for long enough to have the measure.
    """
    if not all(np.isfinite(values[name]).all() for values in (one, other) for name in MEASURES):
        raise ValueError("a network was not trained for long enough to be compared: give it more updates")
    numbers = {name: one[name] - other[name] for name in ("flipped", "distance")}
    numbers["error"] = np.log10(other["error"] / one["error"])
    return {name: estimate_of_mean(each) for name, each in numbers.items()}
