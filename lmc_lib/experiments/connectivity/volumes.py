"""Curves, planes and volumes of low loss between networks that are trained at once."""

__all__ = ["CURVES", "LOW", "MODES", "VolumeSpec", "Volumes", "evidence", "twin_of_last"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import connecting, connectivity, rng
from lmc_lib.alignment import Setting
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.divergence import diverged_measurement
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart
from lmc_lib.experiments.networks.stacks import check_stack, train_stacked
from lmc_lib.experiments.setting import setting
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State, flattened, shaped
from lmc_lib.store import Result, Store
from lmc_lib.training import Diverged
from lmc_lib.values import columns, digits, loss_and_error

CURVES = ("none", "bezier", "chain", "own")
_BENT = {"bezier": connectivity.bezier_weights, "chain": connectivity.chain_weights}
# The networks that are joined, and as many that are not.
MODES = 3
_FIGURES = 5

# Points count as low if their excess is at most this: a tenth of what the triangle of the modes has.
LOW = 0.1


@dataclass(frozen=True, kw_only=True)
class VolumeSpec(OfStart):
    """All that defines what joins the networks of some sets.

    The networks are ``run`` and those with the following seeds, six a set: three *modes* and three *others*, which are
    trained likewise. It measures, one entry a set:

    - ``curves``, from the first mode to the second, by split, loss and error: the straight line (``"none"``), a Bézier
      curve and a chain with a trained bend, and the chain whose bend is the first of the others (``"own"``);
    - ``modes``, mean loss and error of the modes, and of points drawn uniformly from the triangle that they span
      (``raw``) and from the simplices of each mode with the others (``own``), by split: mean and highest;
    - ``vertices``, by strength of the volume term, one entry a connecting vertex: its ``height`` above the others of a
      simplex, mean over the modes; the same of points drawn from the simplices of each mode with all vertices so far;
      and ``twins``, mean test loss of the same points with each :func:`twin_of_last` in place of the last vertex;
    - ``ensembles``, loss and error of means of probabilities on the test set, with the first strength.

    ``planes`` are those through the modes of the first set, as they are and with the others matched to the first.

    Attributes:
        sets: number of sets.
        vertices: number of connecting vertices.
        bend: hyperparameters of a bend or a vertex.
        strengths: factors on the logarithm of the volume; each makes vertices of its own.
        drawn: points drawn from each simplex.
        twins: random directions.
        ensemble: vertices with which ensembles are made.
        points: points on a curve, the two ends included.
        examples: number of training and of test examples for loss and error.
        grid: points of a row of a plane, and rows; with 0 there is none.
    """

    kind: ClassVar[str] = "Volumes"
    noun: ClassVar[str] = "sets of networks and what joins them"

    sets: int
    vertices: int
    bend: TrainConfig
    strengths: tuple[float, ...]
    drawn: int = 4
    twins: int = 4
    ensemble: int = 3
    points: int = 11
    examples: int = 500
    grid: int = 0

    def __post_init__(self) -> None:
        check_stack(self.run)
        if self.bend.precision != self.run.train.precision:
            raise ValueError(f"a bend is trained in {self.run.train.precision}, as the networks are: precision")
        if not 1 <= self.ensemble <= self.vertices:
            raise ValueError(f"ensemble takes 1 to the number of vertices, {self.vertices}, not {self.ensemble}")
        if not self.strengths:
            raise ValueError("there is no strength of the volume term: give one or more, or 0 for none")

    @property
    def updates(self) -> int:
        """Those of the networks and of all that joins them."""
        joined = self.sets * (2 + MODES * self.vertices * len(self.strengths))
        return 2 * MODES * self.sets * self.run.train.steps + joined * self.bend.steps

    def compute(self, store: Store) -> Result:
        """Trains the networks, the bends and the vertices, and measures what they span."""
        try:
            return self._measured()
        except Diverged as error:
            return diverged_measurement(error, True)

    def _measured(self) -> Result:
        seeds = [self.run.init_seed + i for i in range(2 * MODES * self.sets)]
        _, ends = train_stacked([replace(self.run, init_seed=each, order_seed=each) for each in seeds])
        here, like = setting(self.run, self.examples, self.examples, self.examples, 1), ends[0]
        networks = flattened(ends).view(self.sets, 2 * MODES, -1)
        modes, others = networks[:, :MODES], networks[:, MODES:]
        bends = {how: self._bend(here, like, modes, how) for how in _BENT} | {"own": others[:, 0]}
        found = {strength: self._vertices(here, like, modes, strength) for strength in self.strengths}
        if not all(bool(each.isfinite().all()) for each in (networks, *bends.values(), *found.values())):
            raise Diverged(self.run.train.steps, float("nan"))
        sets = []
        for i, seed in enumerate(seeds[:: 2 * MODES]):
            look = _Look(self, here, like, seed)
            own = {strength: each[i] for strength, each in found.items()}
            sets.append({
                "curves": look.curves(modes[i], {how: bend[i] for how, bend in bends.items()}),
                "modes": look.modes(modes[i], others[i]),
                "vertices": {f"{strength:g}": look.vertices(modes[i], each) for strength, each in own.items()},
                "ensembles": look.ensembles(modes[i], others[i], own[self.strengths[0]][: self.ensemble]),
            })  # fmt: skip
        planes = _planes(here, ends[:MODES], self.grid, seeds[0]) if self.grid else {}
        return Result({"sets": columns(sets), "planes": planes})

    def _seeds(self, *names: str | int) -> list[int]:
        """One seed for what is trained for each set."""
        firsts = range(self.run.init_seed, self.run.init_seed + 2 * MODES * self.sets, 2 * MODES)
        return [rng.entropy(first, "volumes", *names) for first in firsts]

    def _bend(self, here: Setting, like: State, modes: Tensor, how: str) -> Float[Tensor, "sets numbers"]:
        ends = modes[:, :2]

        def draw(generator: Generator) -> Tensor:
            position = torch.rand(1, dtype=torch.float64, generator=generator)
            return _BENT[how](position)[:, [0, 2, 1]]

        train = dataset(self.run.data).train
        return connecting.train_vertices(
            here.model, ends.mean(1), ends[:, None], like, train, self.bend, draw=draw, seeds=self._seeds(how)
        )

    def _vertices(
        self, here: Setting, like: State, modes: Tensor, strength: float
    ) -> Float[Tensor, "sets vertices numbers"]:
        """The connecting vertices, trained one after another; each begins at the mean of all that is there."""
        train, found = dataset(self.run.data).train, modes[:, :0]
        for number in range(1, self.vertices + 1):
            fixed = torch.cat([modes[:, :, None], found[:, None].expand(-1, MODES, -1, -1)], 2)

            def draw(generator: Generator, corners: int = number + 1) -> Tensor:
                return connectivity.uniform_weights(MODES, corners, generator=generator)

            vertex = connecting.train_vertices(
                here.model, torch.cat([modes, found], 1).mean(1), fixed, like, train, self.bend, draw=draw,
                seeds=self._seeds("vertex", number), volume=strength,
            )  # fmt: skip
            found = torch.cat([found, vertex[:, None]], 1)
        return found


@dataclass(frozen=True)
class _Look:
    """What is looked at in one set."""

    spec: VolumeSpec
    here: Setting
    like: State
    seed: int

    def curves(self, modes: Tensor, bends: Mapping[str, Tensor]) -> dict[str, Any]:
        positions = torch.linspace(0.0, 1.0, self.spec.points, dtype=torch.float64)
        first, second = (shaped(each, self.like) for each in modes[:2])
        found = {"none": self.here.line(first, second, self.spec.points)}
        for how, bend in bends.items():
            weights = _BENT.get(how, connectivity.chain_weights)(positions)
            vertices = [first, shaped(bend, self.like), second]
            found[how] = connectivity.path(self.here.model, vertices, weights, self.here.splits)
        return {how: digits(loss_and_error(found[how]), _FIGURES) for how in CURVES}

    def modes(self, modes: Tensor, others: Tensor) -> dict[str, Any]:
        count = MODES * self.spec.drawn
        raw = connectivity.uniform_weights(count, MODES, generator=rng.stream(self.seed, "raw")).to(modes) @ modes
        points = {"modes": modes, "raw": raw, "own": self._drawn(_simplices(modes, others), "own")}
        return {name: self._scores(each) for name, each in points.items()}

    def vertices(self, modes: Tensor, found: Tensor) -> dict[str, Any]:
        return columns([self._vertex(modes, found[:number]) for number in range(1, len(found) + 1)])

    def _vertex(self, modes: Tensor, found: Tensor) -> dict[str, Any]:
        simplices, twins = _simplices(modes, found), []
        for twin in range(self.spec.twins):
            generator = rng.stream(self.seed, "twin", twin, len(found))
            turned = torch.cat([found[:-1], twin_of_last(modes, found, generator=generator)[None]])
            twins.append(self._scores(self._drawn(_simplices(modes, turned), "vertices"), ["test"])["test loss"])
        height = np.mean([connectivity.height(each.double()) for each in simplices])
        return {
            "height": digits(float(height), _FIGURES),
            **self._scores(self._drawn(simplices, "vertices")),
            "twins": twins,
        }

    def ensembles(self, modes: Tensor, others: Tensor, found: Tensor) -> dict[str, Any]:
        drawn = self._drawn(_simplices(modes, found), "vertices")
        members = {
            "samples": drawn,
            "as many samples": drawn[:: self.spec.drawn],
            "centre": found.mean(0, keepdim=True),
            "modes": modes,
            "six": torch.cat([modes, others]),
            "own": self._drawn(_simplices(modes, others), "own"),
        }
        test = self.here.splits["test"]
        scores = {"one": self._mean_scores(modes)}
        for name, points in members.items():
            logits = connectivity.predict_points(self.here.model, points, self.like, test.inputs)
            scores[name] = connectivity.score(logits.softmax(2).mean(0).log(), test.labels)
        return {name: {"loss": digits(each.loss), "error": digits(each.error)} for name, each in scores.items()}

    def _mean_scores(self, points: Tensor) -> connectivity.Scores:
        found = self._scores(points, ["test"])
        return connectivity.Scores(found["test loss"], found["test error"])

    def _drawn(self, simplices: Float[Tensor, "pieces corners numbers"], name: str) -> Float[Tensor, "points numbers"]:
        """Points drawn uniformly from each simplex, as many from each, those of one after those of another."""
        corners = simplices.shape[1]
        generator = rng.stream(self.seed, "drawn", name, corners)
        weights = connectivity.uniform_weights(len(simplices) * self.spec.drawn, corners, generator=generator)
        return (weights.to(simplices).view(len(simplices), -1, corners) @ simplices).flatten(0, 1)

    def _scores(self, points: Tensor, splits: Sequence[str] = ("train", "test")) -> dict[str, float]:
        """By split and quantity the mean over points, and the highest."""
        values = {}
        for split in splits:
            each = self.here.splits[split]
            logits = connectivity.predict_points(self.here.model, points, self.like, each.inputs)
            scores = [connectivity.score(of_point, each.labels) for of_point in logits]
            for quantity in ("loss", "error"):
                numbers = [getattr(score, quantity) for score in scores]
                values[f"{split} {quantity}"] = digits(float(np.mean(numbers)), _FIGURES)
                values[f"highest {split} {quantity}"] = digits(max(numbers), _FIGURES)
        return values


def twin_of_last(
    modes: Float[Tensor, "modes numbers"], found: Float[Tensor, "vertices numbers"], *, generator: Generator
) -> Float[Tensor, " numbers"]:
    """A point in a random direction that is as far from every mode and every vertex before as the last vertex is."""
    corners = torch.cat([modes, found])
    return connectivity.turned_away(corners.double(), generator=generator).to(found)


def _simplices(modes: Tensor, vertices: Tensor) -> Float[Tensor, "modes corners numbers"]:
    """One simplex a mode, of it and all vertices."""
    return torch.cat([modes[:, None], vertices.expand(len(modes), -1, -1)], 1)


def _planes(here: Setting, states: Sequence[State], points: int, seed: int) -> dict[str, Any]:
    """The planes through three networks, as they are and matched to the first, on the test set."""
    first, *rest = states
    matched = [
        here.permuted(each, here.match("weights", first, each, generator=rng.stream(seed, "plane", place)))
        for place, each in enumerate(rest)
    ]
    found = {}
    for name, three in (("raw", states), ("aligned", [first, *matched])):
        seen = connectivity.plane(here.model, three, {"test": here.splits["test"]}, points=points)["test"]
        found[name] = {of: digits(getattr(seen, of), _FIGURES) for of in ("places", "x", "y", "loss", "error")}
    return found


@dataclass(frozen=True)
class Volumes:
    """What ``VolumeSpec`` measured of several lots of sets.

    Attributes:
        lots: the measurements, whose sets are counted on from one to the next.
        strengths: the strengths of the volume term.
        ensemble: vertices with which ensembles are made.
    """

    lots: tuple[Record, ...]
    strengths: tuple[float, ...]
    ensemble: int

    @classmethod
    def read(cls, store: Store, specs: Sequence[VolumeSpec]) -> "Volumes":
        """Obtains them; call ``fill`` before to compute them in parallel.

        Raises:
            Diverged: if a training behind them diverged.
        """
        return cls(tuple(Record.read(store, each) for each in specs), specs[0].strengths, specs[0].ensemble)

    def of(self, *path: str) -> Float[ndarray, "sets ..."]:
        """What stands at a path, one row a set."""
        return np.concatenate([lot.of("sets", *path) for lot in self.lots])

    def vertices(self, strength: float, *path: str) -> Float[ndarray, "sets vertices ..."]:
        """The same of the connecting vertices that were trained with a strength."""
        return self.of("vertices", f"{strength:g}", *path)

    def plane(self, name: str) -> dict[str, ndarray]:
        """The plane ``"raw"`` or ``"aligned"`` through the modes of the first set, as ``connectivity.Plane`` has it."""
        return {of: self.lots[0].of("planes", name, of) for of in ("places", "x", "y", "loss", "error")}

    def barriers(self, how: str, of: str = "test error") -> Float[ndarray, " sets"]:
        """The barrier on one of ``CURVES`` between two modes, above the chord."""
        curves = torch.tensor(self.of("curves", how, *of.split()))
        return np.array([connectivity.barrier(each) for each in curves])

    def share(self, how: str, of: str = "test error") -> Float[ndarray, " sets"]:
        """The share of the barrier on the straight line that is left on another curve."""
        left: ndarray = self.barriers(how, of) / self.barriers("none", of)
        return left

    def excess(self, values: Float[ndarray, "sets ..."], of: str = "test loss") -> Float[ndarray, "sets ..."]:
        """How far values lie above the mean of the modes, by as much as the triangle of the modes does.

        It is 0 where a value is that of the modes, and 1 where it is that of the points of their triangle: of ``"test
        loss"`` both are means over points, of ``"highest test loss"`` the highest.
        """
        own = {name: self.of("modes", name, of) for name in ("modes", "raw")}
        lower, raw = (each.reshape(-1, *[1] * (values.ndim - 1)) for each in own.values())
        share: ndarray = (values - lower) / (raw - lower)
        return share

    def dimensions(self, strength: float, *, low: float = LOW, twin: bool = False) -> Float[ndarray, " sets"]:
        """How many connecting vertices are found before the first that is not.

        The first is found if the mean test loss of the points drawn has an excess of at most ``low``. A later one must
        also be where this is no matter of course: turned to a random direction, as far from all modes and vertices as
        it is, every twin has an excess above ``low``. Were it exchangeable with its twins, it would be found no more
        often than once in their number and one.

        Args:
            strength: that with which the vertices were trained.
            low: the excess below which points count as low.
            twin: takes the first of the twins for the vertex, from the second vertex on, as a control.
        """
        own, twins = (self.excess(self.vertices(strength, each)) for each in ("test loss", "twins"))
        if twin:
            own, twins = np.concatenate([own[:, :1], twins[:, 1:, 0]], 1), twins[:, :, 1:]
        first = np.arange(own.shape[1]) == 0
        found = np.logical_and.accumulate((own <= low) & (first | (twins > low).all(2)), axis=1)
        count: ndarray = found.sum(1).astype(float)
        return count

    def best_strength(self) -> float:
        """The strength with which most vertices are found, the first of those that tie."""
        return max(self.strengths, key=lambda strength: float(self.dimensions(strength).mean()))

    def gains(self, of: str, over: str, quantity: str = "loss") -> Float[ndarray, " sets"]:
        """By how much an ensemble has a lower loss or error on the test set than another."""
        gained: ndarray = self.of("ensembles", over, quantity) - self.of("ensembles", of, quantity)
        return gained


def evidence(found: Volumes, *, control: bool = False) -> dict[str, Estimate]:
    """The estimates that the criteria ask for, means over sets.

    Args:
        found: what was measured.
        control: whether networks that were trained for themselves stand in place of bends and vertices, and twins in
            place of vertices for the dimension.

    Returns:
        ``"line"``, the barrier in test error of the straight line; ``"bezier loss"``, ``"chain loss"`` and the same in
        ``error``, the shares of it that curves leave; ``"mean"`` and ``"highest"``, the excess of points of the
        complex; ``"dimension"``; and ``"one"``, ``"centre"`` and ``"modes"``, gains in test loss over these.
    """
    strength, last = found.strengths[0], found.ensemble - 1
    curves = {how: "own" if control else how for how in _BENT}
    numbers = {"line": found.barriers("none")}
    for name, how in curves.items():
        numbers |= {f"{name} {what}": found.share(how, f"test {what}") for what in ("loss", "error")}
    for name, of in (("mean", "test loss"), ("highest", "highest test loss")):
        values = found.of("modes", "own", of) if control else found.vertices(strength, of)[:, last]
        numbers[name] = found.excess(values, of)
    numbers["dimension"] = found.dimensions(found.best_strength(), twin=control)
    ensemble = "own" if control else "samples"
    numbers |= {over: found.gains(ensemble, over) for over in ("one", "centre", "modes")}
    return {name: estimate_of_mean(each) for name, each in numbers.items()}
