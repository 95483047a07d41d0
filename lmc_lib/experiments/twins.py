"""Twins: a network and its child, which parted at one step of training; how far apart they end."""

__all__ = ["Cell", "TwinSpec", "Twins", "measure_twins", "twin_grid"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import connectivity, matching, rng, state, symmetry
from lmc_lib.claims import Estimate, estimate_of_twins, median
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.collecting import QUANTITIES, line_barriers, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, digits, rounded, setting
from lmc_lib.experiments.spawn import ChildSpec, obtain_child
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.norms import is_statistic
from lmc_lib.perturbation import Perturbation
from lmc_lib.similarity import angular_cka
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation
from lmc_lib.training import Diverged, Trajectory


@dataclass(frozen=True)
class TwinSpec:
    """All that defines the measurement of a child against its parent.

    Attributes:
        child: the child, which names its parent.
        points: points on each line, the two ends included; an odd number, so that the middle is one of them.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        feature_examples: test examples whose representations are compared.
        matched: whether the child's units are matched to the parent's too; otherwise the two are compared as they are.
        seed: stream of the order of groups in matching, of random starts and of the planted permutation.
    """

    noun: ClassVar[str] = "twins"

    child: ChildSpec
    points: int = 11
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 512
    reset_examples: int = 512
    feature_examples: int = 256
    matched: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points < 3 or self.points % 2 == 0:
            raise ValueError(f"a line needs its middle: points is odd and at least 3, got {self.points}")

    @property
    def label(self) -> str:
        """The architecture and the step of parting."""
        return self.child.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The child, which needs its parent."""
        return self.child.parent, self.child

    def compute(self, store: Store) -> Result:
        """Compares the two networks in weights, on the line between them, in features and in what they predict."""
        try:
            parent = obtain_run(store, self.child.parent)
            child, perturbation = obtain_child(store, self.child)
        except Diverged as error:
            return Result({"diverged": True, "step": error.step, "loss": str(error.loss)})
        values = {"perturbation": perturbation, **_measure(self, parent, child)}
        if not _finite(values):  # weights so large that their scores, or those between them, are no numbers
            return Result({"diverged": True, "step": self.child.parent.train.steps, "loss": "not finite on the line"})
        return Result(values)


@dataclass(frozen=True)
class Cell:
    """When and how twins part, as one cell of a grid.

    Attributes:
        step: the number of updates that they have in common.
        perturbation: what parts them.
        fresh_order: whether the child sees other batches from there on too.
    """

    step: int
    perturbation: Perturbation = field(default_factory=lambda: Perturbation(0.0))
    fresh_order: bool = False


def twin_grid(
    parents: Sequence[RunSpec],
    cells: Sequence[Cell],
    *,
    children: int = 1,
    save_at: tuple[int, ...] = (),
    **options: Any,
) -> dict[Cell, list[list[TwinSpec]]]:
    """Lists the twins of a grid: for every cell and parent so many children.

    Args:
        parents: the trainings.
        cells: when and how children part from them; listed twice counts once.
        children: children of each parent in each cell.
        save_at: steps at which twins are compared on the way; those before a child's step are left out.
        **options: those of ``TwinSpec``.

    Raises:
        ValueError: if a parent cannot have a child at a step.
    """
    return {
        cell: [
            [
                TwinSpec(
                    ChildSpec(
                        parent,
                        cell.step,
                        cell.perturbation,
                        seed=number,
                        order_seed=_fresh_order(parent, number) if cell.fresh_order else None,
                        save_at=tuple(step for step in save_at if step >= cell.step),
                    ),
                    **options,
                )
                for number in range(children)
            ]
            for parent in parents
        ]
        for cell in cells
    }


@dataclass(frozen=True)
class Twins:
    """What was measured on a grid of twins.

    Arrays have one row a parent and one column a child; NaN where a training left the finite numbers.

    Attributes:
        values: for every cell, parent and child what ``TwinSpec`` measures.
    """

    values: Mapping[Cell, Sequence[Sequence[Mapping[str, Any]]]]

    @property
    def layers(self) -> int:
        """The number of layers whose representations are compared."""
        every = [each for rows in self.values.values() for row in rows for each in row]
        return max(len(each["angles"]) for each in every if "diverged" not in each)

    def barriers(
        self, cell: Cell, split: str = "train", quantity: str = "loss", *, alignment: str = "none"
    ) -> Float[ndarray, "parents children"]:
        """Barriers above the chord.

        ``alignment`` is ``"none"``; ``"weights"`` or ``"activations"`` for the child's units matched to the parent's;
        ``"planted"`` for the child renumbered at random, ``"undone"`` for that matched by weights; or ``"code"`` for no
        permutation and the convention of the code of Altıntaş et al.: above the chord where the curve is highest.
        """
        return self._of(cell, "barriers", alignment, f"{split} {quantity}")

    def estimates(
        self, cells: Mapping[str, Cell], *, alignment: str = "none", seed: int = 0
    ) -> dict[str, dict[str, Estimate]]:
        """The median barriers of some cells with their intervals, by split and quantity and by the name of the cell."""
        return {
            f"{split} {quantity}": {
                name: estimate_of_twins(
                    median,
                    self.barriers(cell, split, quantity, alignment=alignment),
                    rng=rng.numpy_stream(seed, "bootstrap", split, quantity, name),
                )
                for name, cell in cells.items()
            }
            for split, quantity in QUANTITIES
        }

    def medians(self, cells: Mapping[str, Cell], *, alignment: str = "none") -> dict[str, float]:
        """The median barriers of some cells by what they are and the name of the cell."""
        return {
            f"barrier in {split} {quantity}, {name}": float(
                median(self.barriers(cell, split, quantity, alignment=alignment))
            )
            for name, cell in cells.items()
            for split, quantity in QUANTITIES
        }

    def distance(self, cell: Cell) -> Float[ndarray, "parents children"]:
        """Euclidean distance of the two networks at the end."""
        return self._of(cell, "distance", "whole", -1)

    def along(self, cell: Cell) -> tuple[ndarray, ndarray]:
        """The steps at which twins were compared, and their distances there: by parent, child and step."""
        steps = next(each for row in self.values[cell] for each in row if "diverged" not in each)["distance"]["steps"]
        distances = [self._of(cell, "distance", "whole", place) for place in range(len(steps))]
        return np.array(steps), np.stack(distances, axis=-1)

    def realised(self, cell: Cell, what: str = "norm") -> Float[ndarray, "parents children"]:
        """What the perturbation came to: ``"norm"``, ``"intended"``, ``"changed"`` or ``"moved"``."""
        return self._of(cell, "perturbation", what)

    def fixed_points(self, cell: Cell, search: str) -> Float[ndarray, "parents children"]:
        """The share of units that a search leaves in place; ``"chance"`` is that of a random permutation."""
        return self._of(cell, "fixed_points", search)

    def angle(self, cell: Cell, layer: int = -1) -> Float[ndarray, "parents children"]:
        """Angle between the representations of one layer, counted from the input, in radians; NaN for a dead layer."""
        return self._of(cell, "angles", layer)

    def score(self, cell: Cell, who: str, split: str, quantity: str) -> Float[ndarray, "parents children"]:
        """Loss or error of a network, or of what is made of both.

        ``who`` is ``"parent"``, ``"child"``, ``"ensemble"`` (the mean of logits), ``"merged"`` (the mean of weights) or
        ``"merged, weights"`` (the same after weight matching).
        """
        return self._of(cell, "scores", who, f"{split} {quantity}")

    def gain(self, cell: Cell, split: str = "test", quantity: str = "loss") -> Float[ndarray, "parents children"]:
        """By how much the mean of logits is better than the mean of the two networks' scores."""
        parent, child, both = (self.score(cell, who, split, quantity) for who in ("parent", "child", "ensemble"))
        return np.asarray((parent + child) / 2 - both)

    def disagreement(self, cell: Cell, what: str = "classes") -> Float[ndarray, "parents children"]:
        """The share of test examples with other ``"classes"``, or the distance of ``"probabilities"`` in the mean."""
        return self._of(cell, "disagreement", what)

    def diverged(self, cell: Cell) -> int:
        """The number of twins with a training that left the finite numbers."""
        return sum("diverged" in each for row in self.values[cell] for each in row)

    def _of(self, cell: Cell, *path: str | int) -> Float[ndarray, "parents children"]:
        return np.array([[_at(each, path) for each in row] for row in self.values[cell]], dtype=float)


def measure_twins(store: Store, grid: Mapping[Cell, Sequence[Sequence[TwinSpec]]]) -> Twins:
    """Collects the measurements of a grid; call ``fill`` before to compute them in parallel."""
    return Twins({cell: [[obtain(store, spec).values for spec in row] for row in rows] for cell, rows in grid.items()})


def _at(values: Mapping[str, Any], path: tuple[str | int, ...]) -> float:
    if "diverged" in values:
        return float("nan")
    found: Any = values
    for each in path:
        found = found[each]
    return float("nan") if found is None else float(found)


def _finite(values: Any) -> bool:
    if isinstance(values, Mapping):
        return all(_finite(each) for each in values.values())
    if isinstance(values, list):
        return all(_finite(each) for each in values)
    return not isinstance(values, float) or math.isfinite(values)


def _fresh_order(parent: RunSpec, number: int) -> int:
    """A stream that is no training's own."""
    return rng.entropy(parent.order_seed, "fresh order", number)


def _measure(spec: TwinSpec, parent: Trajectory, child: Trajectory) -> dict[str, Any]:
    run = spec.child.parent
    here = setting(
        run,
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    target, source = on_device(parent.final, run), on_device(child.final, run)
    found = _permutations(spec, here, target, source) if spec.matched else {}
    lines: dict[str, dict[str, Curve]] = {}
    for alignment, moved in _aligned(spec, here, target, source, found).items():
        lines[alignment] = here.line(target, moved, spec.points, ends_of=lines.get("none"))
    logits = {split: [_logits(here, each, split) for each in (target, source)] for split in here.splits}
    return {
        "distance": _distances(parent, child),
        "barriers": {alignment: line_barriers(line) for alignment, line in lines.items()}
        | {"code": line_barriers(lines["none"], convention="at_maximum")},
        "fixed_points": {name: round(symmetry.fixed_points(each), DIGITS) for name, each in found.items()}
        | {"chance": round(here.chance, DIGITS)},
        "angles": _angles(here, target, source, spec.feature_examples),
        "scores": _scores(here, lines, logits),
        "disagreement": _disagreement(*logits["test"]),
    }


def _permutations(spec: TwinSpec, here: Setting, target: State, source: State) -> dict[str, Permutation]:
    by_weights = _stream(spec, "random start")
    return {
        "weights": here.match("weights", target, source, generator=_stream(spec, "weights")),
        "weights, random start": matching.weight_matching(
            here.permutations, target, source, generator=by_weights, start="random", order="random"
        ),
        "activations": here.match("activations", target, source, generator=_stream(spec, "activations")),
    }


def _aligned(
    spec: TwinSpec, here: Setting, target: State, source: State, found: Mapping[str, Permutation]
) -> dict[str, State]:
    """The child as it is and, if permutations were found, matched, renumbered at random, and matched after that."""
    if not found:
        return {"none": source}
    planted = symmetry.random(here.permutations, generator=_stream(spec, "planted"))
    renumbered = symmetry.permute(source, planted, here.permutations)
    back = here.match("weights", target, renumbered, generator=_stream(spec, "undone"))
    matched = {name: symmetry.permute(source, found[name], here.permutations) for name in ("weights", "activations")}
    undone = symmetry.permute(renumbered, back, here.permutations)
    return {"none": source, **matched, "planted": renumbered, "undone": undone}


def _stream(spec: TwinSpec, name: str) -> torch.Generator:
    child = spec.child
    return rng.stream(spec.seed, "twins", child.parent.init_seed, child.step, child.seed, name)


def _distances(parent: Trajectory, child: Trajectory) -> dict[str, Any]:
    """At the steps at which both have a checkpoint, and at the end by layer."""
    steps = [step for step in child.steps if step in parent.steps]
    return {
        "steps": steps,
        "whole": [rounded(state.distance(_weights(parent.at(step)), _weights(child.at(step)))) for step in steps],
        "layers": {
            name: rounded(state.distance({name: value}, {name: child.final[name]}))
            for name, value in _weights(parent.final).items()
        },
    }


def _weights(network: State) -> State:
    """Without running statistics, which are averages over activations and no place in the space of weights."""
    return {name: value for name, value in network.items() if not is_statistic(name)}


def _angles(here: Setting, target: State, source: State, examples: int) -> list[float | None]:
    """By layer; None where a layer is dead, which has no direction."""
    inputs = here.inputs("test")[:examples]
    features = [here.features(each, inputs) for each in (target, source)]
    return [_angle(features[0][node], features[1][node]) for node in features[0]]


def _angle(first: Tensor, second: Tensor) -> float | None:
    if any(bool((each == each[0]).all()) for each in (first, second)):
        return None
    return rounded(angular_cka(first, second, flavour="lange"))


def _logits(here: Setting, weights: State, split: str) -> Tensor:
    return connectivity.predict(here.model, weights, here.splits[split].inputs, reset_inputs=here.reset_inputs)


def _scores(
    here: Setting, lines: Mapping[str, Mapping[str, Curve]], logits: Mapping[str, Sequence[Tensor]]
) -> dict[str, dict[str, float]]:
    middle = len(lines["none"]["train"].alphas) // 2
    points = {"parent": ("none", 0), "child": ("none", -1), "merged": ("none", middle)}
    points |= {"merged, weights": ("weights", middle)} if "weights" in lines else {}
    scores = {
        who: {f"{s} {q}": rounded(getattr(lines[alignment][s].at(place), q)) for s, q in QUANTITIES}
        for who, (alignment, place) in points.items()
    }
    scores["ensemble"] = {}
    for split, both in logits.items():
        mean, labels = torch.stack(list(both)).mean(0), here.splits[split].labels
        scores["ensemble"][f"{split} loss"] = rounded(float(F.cross_entropy(mean, labels)))
        scores["ensemble"][f"{split} error"] = rounded(float((mean.argmax(1) != labels).double().mean()))
    return scores


def _disagreement(parent: Tensor, child: Tensor) -> dict[str, float]:
    probabilities = [each.softmax(1) for each in (parent, child)]
    classes, distances = digits(
        torch.stack(
            [
                (parent.argmax(1) != child.argmax(1)).double().mean(),
                (probabilities[0] - probabilities[1]).norm(dim=1).mean(),
            ]
        )
    )
    return {"classes": classes, "probabilities": distances}
