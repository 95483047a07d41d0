"""How far the representations of two networks are apart, layer by layer."""

__all__ = ["AnglesSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

from lmc_lib.alignment import Setting
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.values import or_none
from lmc_lib.state import State


@dataclass(frozen=True)
class AnglesSpec(PairMeasurement):
    """All that defines how far apart two networks see the same examples.

    It measures ``angles``, in radians, between the test examples behind each activation function, from the input on;
    None for a dead layer.

    Attributes:
        feature_examples: number of test examples.
    """

    kind: ClassVar[str] = "AnglesSpec"
    noun: ClassVar[str] = "angles of pairs"

    feature_examples: int = 256

    def measure(self, here: Setting, target: State, source: State) -> dict[str, Any]:
        """Compares the two networks as they are: angles do not ask how units are numbered."""
        return {"angles": or_none(here.angles(target, source, self.feature_examples))}
