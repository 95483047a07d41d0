"""Twins: a network and its child, which differ from one step of training on; how far apart they end."""

__all__ = ["Cell", "TwinSpec", "Twins", "grid", "measure"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Generator, Tensor

from lmc_lib import connectivity, rng, state, symmetry
from lmc_lib.alignment import QUANTITIES, Setting, line_barriers, scores_at
from lmc_lib.claims import Estimate, estimate_of_twins, median
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.divergence import diverged_measurement, divergence
from lmc_lib.experiments.found import at
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.children import ChildSpec, obtain_child
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.norms import without_statistics
from lmc_lib.perturbation import Perturbation
from lmc_lib.similarity import disagreement
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.symmetry import Permutation
from lmc_lib.training import Diverged, Trajectory, on_device
from lmc_lib.values import are_finite, digits, or_none, rounded, share


@dataclass(frozen=True)
class TwinSpec(Measurement):
    """All that defines the measurement of a child against its parent.

    It measures, under the keys of the stored values:

    - ``perturbation``: what it came to, as ``norm``, ``intended``, ``changed`` and ``moved``;
    - ``distance``: Euclidean, ``whole`` at the ``steps`` at which both have a checkpoint, and ``layers`` at the end;
    - ``barriers`` by alignment, split and quantity: ``"none"``; ``"weights"`` or ``"activations"`` for the child's
      units matched to the parent's; ``"planted"`` for the child renumbered at random, ``"undone"`` for that matched by
      weights; ``"code"`` for no permutation and the convention of the code of Altıntaş et al.: above the chord where
      the curve is highest;
    - ``fixed_points``: the share of units that a search leaves in place, ``"chance"`` for a random permutation;
    - ``angles`` between the representations of each layer, from the input on, in radians; None for a dead layer;
    - ``scores``, loss and error, of ``"parent"``, ``"child"``, ``"ensemble"`` (the mean of logits), ``"merged"`` (the
      mean of weights) and ``"merged, weights"`` (the same after weight matching);
    - ``disagreement``: the share of test examples with other ``classes``, and the mean distance of ``probabilities``.

    Attributes:
        child: the child, which names its parent.
        points: points on each line, the two ends included; an odd number, so that the middle is one of them.
        feature_examples: test examples whose representations are compared.
        matched: whether the child's units are matched to the parent's too; otherwise the two are compared as they are.
    """

    kind: ClassVar[str] = "TwinSpec"
    noun: ClassVar[str] = "twins"

    child: ChildSpec
    points: int = 11
    matching_examples: int = field(default=512, kw_only=True)
    reset_examples: int = field(default=512, kw_only=True)
    feature_examples: int = 256
    matched: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points < 3 or self.points % 2 == 0:
            raise ValueError(f"a line needs its middle: points is odd and at least 3, got {self.points}")

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The parent and the child."""
        return self.child.parent, self.child

    @property
    def factors(self) -> str:
        """When and how the child was perturbed."""
        made = self.child.perturbation
        return f"step {self.child.step}, {made.direction}, size {made.size:g}, weights {made.weights or 'all'}"

    def compute(self, store: Store) -> Result:
        """Compares the two networks in weights, on the line between them, in features and in what they predict."""
        try:
            parent = obtain_run(store, self.child.parent)
            child, perturbation = obtain_child(store, self.child)
        except Diverged as error:
            return diverged_measurement(error, of=True)
        values = {"perturbation": perturbation, **self.measure(self.setting(), parent, child)}
        if not are_finite(values):  # weights so large that their scores, or those between them, are no numbers
            facts = {"step": self.child.parent.train.steps, "loss": "not finite on the line"}
            return Result({"diverged": True, **facts})
        return Result(values)

    def measure(self, here: Setting, parent: Trajectory, child: Trajectory) -> dict[str, Any]:
        """Compares two trajectories."""
        target, source = (on_device(each.final, self.child.parent.train) for each in (parent, child))
        found = self._permutations(here, target, source) if self.matched else {}
        lines: dict[str, dict[str, Curve]] = {}
        for alignment, moved in self._aligned(here, target, source, found).items():
            lines[alignment] = here.line(target, moved, self.points, ends_of=lines.get("none"))
        logits = {split: [here.logits(each, split) for each in (target, source)] for split in here.splits}
        apart = zip(("classes", "probabilities"), disagreement(*logits["test"]), strict=True)
        return {
            "distance": _distances(parent, child),
            "barriers": {alignment: digits(line_barriers(line)) for alignment, line in lines.items()}
            | {"code": digits(line_barriers(lines["none"], convention="at_maximum"))},
            "fixed_points": {name: share(symmetry.fixed_points(each)) for name, each in found.items()}
            | {"chance": share(symmetry.chance_agreement(here.permutations))},
            "angles": or_none(here.angles(target, source, self.feature_examples)),
            "scores": digits(_scores(here, lines, logits)),
            "disagreement": digits(dict(apart)),
        }

    def _permutations(self, here: Setting, target: State, source: State) -> dict[str, Permutation]:
        def matched(method: str, stream: str, **options: Any) -> Permutation:
            return here.match(method, target, source, generator=self._stream(stream), **options)

        return {
            "weights": matched("weights", "weights"),
            "weights, random start": matched("weights", "random start", start="random"),
            "activations": matched("activations", "activations"),
        }

    def _aligned(self, here: Setting, target: State, source: State, found: dict[str, Permutation]) -> dict[str, State]:
        """The child as it is and, if permutations were found, matched, renumbered at random, and matched after that."""
        if not found:
            return {"none": source}
        planted = symmetry.random(here.permutations, generator=self._stream("planted"))
        renumbered = here.permuted(source, planted)
        back = here.match("weights", target, renumbered, generator=self._stream("undone"))
        matched = {name: here.permuted(source, found[name]) for name in ("weights", "activations")}
        return {"none": source, **matched, "planted": renumbered, "undone": here.permuted(renumbered, back)}

    def _stream(self, name: str) -> Generator:
        return rng.stream(self.seed, "twins", self.child.parent.init_seed, self.child.step, self.child.seed, name)


@dataclass(frozen=True)
class Cell:
    """When and how children are perturbed, as one cell of a grid.

    Attributes:
        step: the number of updates that they have in common.
        perturbation: the perturbation.
        fresh_order: whether the child sees other batches from there on too.
    """

    step: int
    perturbation: Perturbation = field(default_factory=lambda: Perturbation(0.0))
    fresh_order: bool = False


def grid(
    parents: Sequence[RunSpec], cells: Sequence[Cell], *, children: int = 1, save_at: Sequence[int] = (), **options: Any
) -> dict[Cell, list[list[TwinSpec]]]:
    """Lists the twins of a grid: for every cell and parent so many children; a cell that is listed twice counts once.

    Twins are compared on the way at the steps ``save_at`` that are not before the child's own. ``options`` are those of
    ``TwinSpec``.

    Raises:
        ValueError: if a parent cannot have a child at a step.
    """

    def twin(cell: Cell, parent: RunSpec, number: int) -> TwinSpec:
        # Other batches come from a stream that is no training's own.
        order = rng.entropy(parent.order_seed, "fresh order", number) if cell.fresh_order else None
        kept = tuple(step for step in save_at if step >= cell.step)
        child = ChildSpec(parent, cell.step, cell.perturbation, seed=number, order_seed=order, save_at=kept)
        return TwinSpec(child, **options)

    return {cell: [[twin(cell, parent, number) for number in range(children)] for parent in parents] for cell in cells}


@dataclass(frozen=True)
class Twins:
    """What was measured on a grid of twins.

    Arrays have one row a parent and one column a child, NaN where a training diverged; those of several cells have the
    children of one beside those of the next.

    Attributes:
        values: for every cell, parent and child what ``TwinSpec`` measures.
    """

    values: Mapping[Cell, Sequence[Sequence[Mapping[str, Any]]]]

    def of(self, cells: Cell | Sequence[Cell], *path: str | int) -> Float[ndarray, "parents children ..."]:
        """What stands at a path in the stored values; NaN for None."""
        every = [cells] if isinstance(cells, Cell) else cells
        return np.concatenate([self._of(cell, path) for cell in every], axis=1)

    def _of(self, cell: Cell, path: Sequence[str | int]) -> ndarray:
        sound = next((values for each in (cell, *self.values) for values in self._sound(each)), None)
        missing = np.full(() if sound is None else np.shape(at(sound, *path)), np.nan)
        rows = [[at(each, *path) if divergence(each) is None else missing for each in row] for row in self.values[cell]]
        return np.array(rows, dtype=float)

    def barriers(
        self, cells: Cell | Sequence[Cell], split: str = "train", quantity: str = "loss", *, alignment: str = "none"
    ) -> Float[ndarray, "parents children"]:
        """Barriers above the chord, in train loss unless asked otherwise."""
        return self.of(cells, "barriers", alignment, f"{split} {quantity}")

    def distance(self, cells: Cell | Sequence[Cell]) -> Float[ndarray, "parents children"]:
        """Euclidean distance of the two networks at the end."""
        return self.of(cells, "distance", "whole", -1)

    def angle(self, cells: Cell | Sequence[Cell], layer: int = -1) -> Float[ndarray, "parents children"]:
        """Angle between the representations of one layer, counted from the input, in radians; NaN for a dead layer."""
        return self.of(cells, "angles", layer)

    def disagreement(self, cells: Cell | Sequence[Cell]) -> Float[ndarray, "parents children"]:
        """The share of test examples that the two networks give other classes."""
        return self.of(cells, "disagreement", "classes")

    def improvement(self, cells: Cell | Sequence[Cell]) -> Float[ndarray, "parents children"]:
        """By how much the mean of logits is better, in test loss, than the two networks are in the mean."""
        whose = ("parent", "child", "ensemble")
        parent, child, ensemble = (self.of(cells, "scores", who, "test loss") for who in whose)
        return np.asarray((parent + child) / 2 - ensemble)

    def along(self, cell: Cell) -> tuple[ndarray, ndarray]:
        """The steps at which twins were compared, and their distances there: by parent, child and step."""
        return np.array(self._sound(cell)[0]["distance"]["steps"]), self.of(cell, "distance", "whole")

    def diverged(self, cell: Cell) -> int:
        """The number of twins with a training that diverged."""
        return sum(map(len, self.values[cell])) - len(self._sound(cell))

    def estimates(self, cells: Mapping[str, Cell], *, alignment: str = "none") -> dict[str, dict[str, Estimate]]:
        """The median barriers of some cells with their intervals, by split and quantity and by the name of the cell."""
        return {
            f"{s} {q}": {
                name: estimate_of_twins(median, self.barriers(cell, s, q, alignment=alignment))
                for name, cell in cells.items()
            }
            for s, q in QUANTITIES
        }

    def medians(self, cells: Mapping[str, Cell], *, alignment: str = "none") -> dict[str, float]:
        """The median barriers of some cells by what they are and the name of the cell."""
        return {
            f"barrier in {s} {q}, {name}": float(median(self.barriers(cell, s, q, alignment=alignment)))
            for name, cell in cells.items()
            for s, q in QUANTITIES
        }

    def _sound(self, cell: Cell) -> list[Mapping[str, Any]]:
        return [values for row in self.values[cell] for values in row if divergence(values) is None]


def measure(store: Store, grid: Mapping[Cell, Sequence[Sequence[TwinSpec]]]) -> Twins:
    """Collects the measurements of a grid; call ``fill`` before to compute them in parallel."""
    return Twins({cell: [[obtain(store, spec).values for spec in row] for row in rows] for cell, rows in grid.items()})


def _distances(parent: Trajectory, child: Trajectory) -> dict[str, Any]:
    """At the steps at which both have a checkpoint, and at the end by layer."""
    steps = [step for step in child.steps if step in parent.steps]
    pairs = [[without_statistics(each.at(step)) for each in (parent, child)] for step in steps]
    target, source = pairs[-1]
    layers = {name: state.distance({name: value}, {name: source[name]}) for name, value in target.items()}
    return {
        "steps": steps,
        "whole": [rounded(state.distance(*pair)) for pair in pairs],
        "layers": {name: rounded(distance) for name, distance in layers.items()},
    }


def _scores(
    here: Setting, lines: Mapping[str, Mapping[str, Curve]], logits: Mapping[str, Sequence[Tensor]]
) -> dict[str, dict[str, float]]:
    middle = len(lines["none"]["train"].alphas) // 2
    points = {"parent": ("none", 0), "child": ("none", -1), "merged": ("none", middle)}
    points |= {"merged, weights": ("weights", middle)} if "weights" in lines else {}
    scores = {who: scores_at(lines[alignment], place) for who, (alignment, place) in points.items()}
    scores["ensemble"] = {}
    for split, both in logits.items():
        found = connectivity.score(torch.stack(list(both)).mean(0), here.splits[split].labels)
        scores["ensemble"] |= {f"{split} loss": found.loss, f"{split} error": found.error}
    return scores
