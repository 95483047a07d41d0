"""Perceptrons with and without normalised last features, trained past separation: how far their features collapse."""

__all__ = ["NeuralCollapseSpec", "apart", "fallen", "further"]

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.flow import normalised
from lmc_lib.similarity import collapse
from lmc_lib.state import State, cast, stacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import or_none

# The examples on which each measure is judged: of training examples hardly one is nearer to another class mean.
_JUDGED = {name: "test" if name == "NC4" else "train" for name in collapse.MEASURES}


@dataclass(frozen=True)
class NeuralCollapseSpec(Spec):
    """All that defines perceptrons of one kind that are trained on as many examples of each class.

    It measures, one row a seed and one column for the start and for each loss, at the first update at which the loss is
    so small, or None where it never is: ``log loss``, to base 10, ``updates``, ``rises``, the share of these updates
    that raised the loss, ``reached``, the least margin by the greatest, and ``error/train`` and ``error/test``. Besides
    them ``NORM/train/NC`` and ``NORM/test/NC``, with the measures of :mod:`lmc_lib.similarity.collapse`, of features
    that are normalised as in the network; those of networks without normalisation are also measured once they are
    normalised. NC4 has the class means of training examples.

    Attributes:
        norm: how last features are normalised, one of ``flow.normalised.NORMS``.
        data: the data set.
        each: number of training examples of each class, drawn anew for each seed.
        widths: units of the hidden layers.
        start: factor on the first weights of all layers.
        losses: their logarithms to base 10, falling.
        drop: by how much the natural logarithm of the loss is to fall in an update, to first order.
        seeds: number of seeds.
        first_seed: the first of them.
        rate: the largest rate.
        updates: the most of them.
        precision: ``"float32"`` or ``"float64"``, of the training.
    """

    VERSION: ClassVar[int] = 1  # units that are silent on what is learnt have features of 0

    kind: ClassVar[str] = "NeuralCollapse"
    noun: ClassVar[str] = "perceptrons past separation"

    norm: str
    data: DataSpec
    each: int
    widths: tuple[int, ...]
    start: float
    losses: tuple[float, ...]
    drop: float
    seeds: int
    first_seed: int = 0
    rate: float = 0.1
    updates: int = 6000
    precision: str = "float64"

    @property
    def label(self) -> str:
        """How features are normalised, and the size of the start."""
        return f"{self.norm}, start {self.start:g}"

    def compute(self, store: Store) -> Result:
        """Trains all seeds at once, and looks at each where its loss is small enough."""
        splits = [self._drawn(seed) for seed in self._seeds]
        found: list[list[dict[str, float]]] = [[] for _ in splits]
        inputs, labels = torch.stack([split.inputs.flatten(1) for split in splits]).to(self._dtype), splits[0].labels

        def losses(state: State) -> Tensor:
            said = normalised.logits(state, normalised.features(state, inputs, self.norm))
            return normalised.log_loss(said, labels)

        path = normalised.descend(losses, self._start(), drop=self.drop, rate=self.rate)
        before, rises = torch.full((len(splits),), torch.inf), np.zeros(len(splits))
        for update, (state, now) in zip(range(self.updates + 1), path, strict=False):
            rises += (now > before).numpy()
            before = now
            for place, loss in enumerate((now.double() / np.log(10.0)).tolist()):
                if len(row := found[place]) <= len(self.losses) and (not row or loss <= self.losses[len(row) - 1]):
                    one = {name: each[place].double() for name, each in state.items()}
                    way = {"updates": float(update), "rises": rises[place] / max(update, 1)}
                    row.append({"log loss": loss, **way, **self._look(one, splits[place])})
            if all(len(row) > len(self.losses) for row in found):
                break
        return Result(self._table(found))

    def _look(self, state: State, learnt: Split) -> dict[str, float]:
        test = dataset(self.data).test.to(torch.float64)
        base, weights, values = learnt.inputs.flatten(1), state[str(len(state) - 1)], {}
        for side, split in {"train": learnt, "test": test}.items():
            inputs = split.inputs.flatten(1)
            seen = normalised.features(state, inputs, self.norm, base)
            said = normalised.logits(state, seen)
            values[f"error/{side}"] = float((said.argmax(1) != split.labels).double().mean())
            if side == "train":
                values["reached"] = collapse.reached(weights, seen, split.labels)
            for norm in normalised.NORMS if self.norm == "none" else (self.norm,):
                seen = normalised.features(state, inputs, norm, base)
                means = collapse.class_means(normalised.features(state, base, norm), learnt.labels)
                measured = collapse.measures(seen, split.labels, said, weights, means)
                values |= {f"{norm}/{side}/{name}": one for name, one in measured.items()}
        return values

    def _table(self, found: list[list[dict[str, float]]]) -> dict[str, object]:
        missing = dict.fromkeys(found[0][0], float("nan"))
        rows = [row + [missing] * (1 + len(self.losses) - len(row)) for row in found]
        return {name: or_none(np.array([[one[name] for one in row] for row in rows])) for name in missing}

    def _drawn(self, seed: int) -> Split:
        """As many examples of each class, class by class."""
        split, rows = dataset(self.data).train, []
        for label in range(dataset(self.data).num_classes):
            of_class = (split.labels == label).nonzero()[:, 0]
            order = torch.randperm(len(of_class), generator=rng.stream(seed, "collapse", "examples", label))
            rows.append(of_class[order[: self.each]])
        return split[torch.cat(rows)].to(torch.float64)

    def _start(self) -> State:
        loaded = dataset(self.data)
        sizes = (int(np.prod(loaded.input_shape)), *self.widths, loaded.num_classes)
        drawn = [normalised.initialise(sizes, generator=rng.stream(seed, "collapse", "start")) for seed in self._seeds]
        return cast({name: self.start * each for name, each in stacked(drawn).items()}, self._dtype)

    @property
    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def _dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.precision]


def fallen(found: Record, norm: str, first: int, last: int) -> dict[str, Estimate]:
    """Means over seeds of what training changes between two columns.

    Args:
        found: what is judged.
        norm: how features are normalised before they are measured.
        first: the column of the larger loss.
        last: the column of the smaller loss.

    Returns:
        for each measure of collapse by how many decades it changes, but for NC4, a share of test examples, and for
        ``"margin"``, the share of the greatest margin that is reached.
    """
    return _means(_less(_levels(found, norm, last), _levels(found, norm, first)))


def apart(ours: Record, others: Record, norm: str, place: int) -> dict[str, Estimate]:
    """As :func:`fallen`, by how much networks differ from others of the same seeds at the same loss, ``place``."""
    return _means(_less(_levels(ours, norm, place), _levels(others, norm, place)))


def further(ours: Record, others: Record, norm: str, first: int, last: int) -> dict[str, Estimate]:
    """As :func:`fallen`, of networks less that of others of the same seeds, whose features are normalised alike."""
    changed = [_less(_levels(each, norm, last), _levels(each, norm, first)) for each in (ours, others)]
    return _means(_less(*changed))


def _levels(found: Record, norm: str, place: int) -> dict[str, Float[ndarray, " seeds"]]:
    rows = {name: found.of(f"{norm}/{side}/{name}")[:, place] for name, side in _JUDGED.items()}
    decades = {name: each if name == "NC4" else np.log10(each) for name, each in rows.items()}
    return decades | {"margin": found.of("reached")[:, place]}


def _less(one: dict[str, ndarray], other: dict[str, ndarray]) -> dict[str, ndarray]:
    return {name: each - other[name] for name, each in one.items()}


def _means(rows: dict[str, ndarray]) -> dict[str, Estimate]:
    # Reports keep six digits, of which the last hang on the processor.
    return {name: estimate_of_mean(each.round(3)) for name, each in rows.items()}
