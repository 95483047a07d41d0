"""Feature maps of a convolutional network as representations: flattened, pooled, or each pixel an example."""

__all__ = ["MapSpec", "evidence"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from lmc_lib import similarity
from lmc_lib.alignment import Setting
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks.geometry import OfStates
from lmc_lib.similarity import READINGS, read
from lmc_lib.state import State
from lmc_lib.values import rounded

# Flattened maps have more units than there are images, where the other flavours are biased.
_ANGLE = similarity.cka("song")


@dataclass(frozen=True)
class MapSpec(OfStates):
    """All that defines how far feature maps are from the one-hot labels of test images.

    It measures by state, and by one of ``similarity.READINGS``, the angle without bias between each activation that is
    a feature map and the labels, in radians. Where every pixel is an example, it has the label of its image.
    """

    kind: ClassVar[str] = "MapSpec"
    noun: ClassVar[str] = "paths of feature maps"

    def measure(self, here: Setting, *got: Mapping[str, State]) -> dict[str, Any]:
        """Measures every feature map."""
        labels = here.targets("test")
        values: dict[str, Any] = {}
        for name, state in got[0].items():
            maps = [each for each in here.maps(state, here.inputs("test")).values() if each.dim() == 4]
            values[name] = {reading: [_to_labels(read(each, reading), labels) for each in maps] for reading in READINGS}
        return values


def evidence(found: Found, state: str = "trained") -> dict[str, Estimate]:
    """How much more pooled maps gain on the labels than flattened ones, from first to last, in the mean of networks.

    It is also by how much the distances by the two readings draw together; which of them is nearer it does not say.
    ``state`` is one of ``STATES``.
    """
    ends = [found.of(state, name)[:, [0, -1]].T for name in ("pooled", "flattened")]
    pooled, flattened = (first - last for first, last in ends)
    return {"maps": estimate_of_mean(pooled - flattened)}


def _to_labels(layer: Tensor, labels: Tensor) -> float:
    return rounded(_ANGLE.distance(layer, labels.repeat_interleave(len(layer) // len(labels), 0)))
