"""The paths of several networks through one space: the distances between all of their points."""

__all__ = ["JointPaths", "JointPathsSpec"]

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import connectivity
from lmc_lib.alignment import Setting
from lmc_lib.experiments.divergence import sound
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.models import stages
from lmc_lib.similarity import Kernels, apart, compact, distances, metric, read
from lmc_lib.store import Store
from lmc_lib.sweeps import obtain
from lmc_lib.training import on_device
from lmc_lib.values import share

# Steps of a path are tenths of a radian, and there are very many distances.
_DECIMALS = 3


@dataclass(frozen=True)
class JointPathsSpec(Measurement):
    """All that defines how far the points of several paths are from each other, on the same test examples.

    The points of a path are the hidden layers of ``models.stages``, which follow each other in a residual network too,
    and the logits. It measures ``distances`` between the inputs, the points of each network in turn, and the labels as
    one-hot rows, as a condensed matrix (``scipy.spatial.distance.squareform``); and each network's test ``accuracy``.

    Attributes:
        networks: the networks, of one data set.
        metric: the name of a metric by kernel alignment, under which points lie on a sphere.
        reading: how feature maps become representations, ``"flattened"`` or ``"pooled"``.
        step: the checkpoint that is looked at; the last if None.
    """

    kind: ClassVar[str] = "JointPathsSpec"
    noun: ClassVar[str] = "sets of paths"

    networks: tuple[RunSpec, ...]
    metric: str = "cka-linear-lange"
    reading: str = "flattened"
    step: int | None = None
    train_examples: int | None = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(metric(self.metric).space, Kernels):
            raise ValueError(f"paths are apart by angles of kernel alignment, and {self.metric!r} is none")
        if self.reading not in ("flattened", "pooled"):
            raise ValueError(f"layers are compared image by image, flattened or pooled, not {self.reading!r}")
        if len({(run.data.name, run.data.test_examples) for run in self.networks}) != 1:
            raise ValueError("representations are of the same examples, and these networks have different data sets")

    @property
    def paths(self) -> list[range]:
        """The rows of each network's points in the matrix of distances."""
        ends = accumulate((len(stages(run.model)) + 1 for run in self.networks), initial=1)
        return [range(*each) for each in pairwise(ends)]

    def get(self, store: Store, run: RunSpec) -> tuple[list[Tensor], float]:
        """The points of a network's path, and its accuracy."""
        here = setting(run, self.train_examples, self.test_examples, 1, 1)
        trajectory, inputs = obtain_run(store, run), here.inputs("test")
        state = on_device(trajectory.final if self.step is None else trajectory.at(self.step), run.train)
        layers = list(here.maps(state, inputs).values())
        points = [_representation(layers[place], self.reading) for place in stages(run.model)]
        points.append(connectivity.predict(here.model, state, inputs).double())
        return points, 1.0 - connectivity.evaluate(here.model, state, here.splits["test"]).error

    def measure(self, here: Setting, *got: tuple[list[Tensor], float]) -> dict[str, Any]:
        """Measures all distances."""
        from scipy.spatial.distance import squareform  # noqa: PLC0415 -- slow to load, and used here alone

        points = [point for path, _ in got for point in path]
        ends = _representation(here.inputs("test"), "flattened"), here.targets("test")
        found = distances(metric(self.metric), [ends[0], *points, ends[1]]).numpy()
        condensed = squareform(found, checks=False).round(_DECIMALS).tolist()
        return {"distances": condensed, "accuracy": [share(accuracy) for _, accuracy in got]}


@dataclass(frozen=True)
class JointPaths:
    """Paths in one space.

    Attributes:
        distances: between all points; the inputs stand first and the labels last.
        paths: the rows of each network's points.
        accuracy: of each network.
    """

    distances: Float[ndarray, "points points"]
    paths: Sequence[Sequence[int]]
    accuracy: Float[ndarray, " networks"]

    @classmethod
    def read(cls, store: Store, spec: JointPathsSpec) -> "JointPaths":
        """Obtains the distances; call ``fill`` before to train networks in parallel.

        Raises:
            Diverged: if a training diverged.
        """
        from scipy.spatial.distance import squareform  # noqa: PLC0415 -- as above

        values = sound(obtain(store, spec).values)
        return cls(squareform(np.array(values["distances"])), spec.paths, np.array(values["accuracy"]))

    def along(self, networks: Sequence[int]) -> Float[ndarray, "networks points points"]:
        """The distances within each of some networks of equal depth: inputs, hidden layers, logits, labels."""
        rows = [[0, *self.paths[each], -1] for each in networks]
        return np.stack([self.distances[np.ix_(each, each)] for each in rows])

    def apart(self, first: Sequence[int], second: Sequence[int]) -> Float[ndarray, "first second"]:
        """How far the paths of some networks are from those of others (:func:`lmc_lib.similarity.apart`)."""
        return np.array([[apart(self.distances, self.paths[i], self.paths[j]) for j in second] for i in first])

    def every_second(self, which: int) -> "JointPaths":
        """The same paths through the first hidden layer, every second one of the others (0 or 1), and the logits."""
        paths = [[each[0], *each[1 + which : -1 : 2], each[-1]] for each in self.paths]
        return replace(self, paths=paths)


def _representation(layer: Tensor, reading: str) -> Tensor:
    return compact(read(layer, reading) if layer.dim() == 4 else layer.double().flatten(1))
