"""Networks as paths through representation space, from inputs to logits, and how near they come to the labels."""

__all__ = ["PathSpec", "between", "evidence", "to_target"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, rng
from lmc_lib.alignment import Setting
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.similarity import distances, gain, metric, nearer, straightness, turning_angles
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import Trajectory
from lmc_lib.values import or_none, share


@dataclass(frozen=True)
class PathSpec(Spec):
    """All that defines the path of a network through representation space, at checkpoints of its training.

    The points of a path are representations of the same test examples: the inputs, what is behind each activation
    function, and the logits. The target is that of the labels as one-hot rows.

    It measures, under the keys of the stored values, one entry a checkpoint of ``steps``:

    - ``distances``: the matrix between all points, the target as the last one;
    - ``shuffled``: of each point, to the target whose rows were given to other examples at random;
    - ``turns``: how far the path turns at each point but its ends, in radians; None where there is no angle;
    - ``places``: where on the geodesic from the inputs to the target each point is nearest to it, as a share; and
      ``aside``: how far from there it is;
    - ``accuracy`` on the ``"train"`` examples, with the labels that they were trained on, and on the ``"test"`` ones.

    Attributes:
        run: the network, with checkpoints.
        metric: the name of a metric that has geodesics.
        examples: number of test examples; all if None.
        steps: the checkpoints that are looked at; all that the training keeps if empty.
    """

    kind: ClassVar[str] = "PathSpec"
    noun: ClassVar[str] = "paths"

    run: RunSpec
    metric: str = "cka-linear-lange"
    examples: int | None = None
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        metric(self.metric).geometry()  # raises

    def compute(self, store: Store) -> Result:
        """Measures the path at each checkpoint."""
        return measured((self.run,), lambda run: obtain_run(store, run), self._at_checkpoints)

    def _at_checkpoints(self, trajectory: Trajectory) -> dict[str, Any]:
        here = setting(self.run, None, self.examples, 1, 1)
        steps = self.steps or trajectory.steps
        rows = [self._path(here, trajectory.at(step)) for step in steps]
        return {"steps": list(steps)} | {name: [row[name] for row in rows] for name in rows[0]}

    def _path(self, here: Setting, state: State) -> dict[str, Any]:
        path, target = here.path(state, "test"), here.targets("test")
        shuffled = target[torch.randperm(len(target), generator=rng.stream(self.run.init_seed, "shuffled labels"))]
        chosen = metric(self.metric)
        space, points = chosen.geometry(), [chosen.point(each) for each in (*path, target, shuffled)]
        *points, goal, other = points
        feet = [space.project(point, points[0], goal) for point in points]
        wrong = {name: connectivity.evaluate(here.model, state, split).error for name, split in here.splits.items()}
        return {
            "distances": or_none(distances(chosen, [*path, target]).numpy()),
            "shuffled": or_none(np.array([float(space.distance(point, other)) for point in points])),
            "turns": or_none(turning_angles(space, points).numpy()),
            "places": or_none(np.array([foot.share for foot in feet])),
            "aside": or_none(np.array([foot.distance for foot in feet])),
            "accuracy": {name: share(1.0 - error) for name, error in wrong.items()},
        }


def to_target(found: Found, *, shuffled: bool = False) -> Float[ndarray, "networks steps points"]:
    """The distance of each point of the paths to the target, or to the target with shuffled rows, in radians."""
    return found.of("shuffled") if shuffled else found.of("distances")[..., :-1, -1]


def between(found: Found) -> Float[ndarray, "networks steps points points"]:
    """The distances between the points of the paths, without the target."""
    return found.of("distances")[..., :-1, :-1]


def evidence(trained: Found, random: Found, *, shuffled: bool = False) -> dict[str, Estimate]:
    """The estimates for whether layers come nearer to the labels, means over networks.

    Args:
        trained: the paths of networks, the first checkpoint before training and the last at its end.
        random: those of networks that were trained on random labels.
        shuffled: whether distances are those to a target whose rows were shuffled, of a control.

    Returns:
        ``"gain"`` at the end of training, ``"untrained"``: that before it, ``"random labels"``: that of the networks
        trained on random labels at the end; ``"nearer"`` and ``"straightness"`` at the end of training.
    """
    ours, others = (to_target(each, shuffled=shuffled) for each in (trained, random))
    values = {
        "gain": gain(ours)[:, -1],
        "untrained": gain(ours)[:, 0],
        "random labels": gain(others)[:, -1],
        "nearer": nearer(ours)[:, -1],
        "straightness": straightness(between(trained))[:, -1],
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}
