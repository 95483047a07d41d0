"""Lines between two networks: their barriers as they are stored."""

__all__ = ["QUANTITIES", "Lines", "line_barriers", "scores_at"]

from collections.abc import Mapping

from lmc_lib.connectivity import Curve
from lmc_lib.experiments.setting import Setting
from lmc_lib.experiments.values import rounded
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation

QUANTITIES = [(split, quantity) for split in ("train", "test") for quantity in ("loss", "error")]


class Lines:
    """The lines between two networks under permutations of the second; their ends, equal for all, are evaluated once.

    Attributes:
        last: the line of each split that was evaluated last; empty before.
    """

    def __init__(self, here: Setting, target: State, source: State, points: int) -> None:
        self.here, self.target, self.source, self.points = here, target, source, points
        self.last: dict[str, Curve] = {}

    def under(self, permutation: Permutation) -> dict[str, Curve]:
        """The line on every split."""
        moved = self.here.permuted(self.source, permutation)
        self.last = self.here.line(self.target, moved, self.points, ends_of=self.last or None)
        return self.last

    def barriers(self, permutation: Permutation) -> dict[str, float]:
        """The barriers, by split and quantity."""
        return line_barriers(self.under(permutation))


def line_barriers(lines: Mapping[str, Curve], *, convention: str = "chord") -> dict[str, float]:
    """The barriers on the lines of several splits, by split and quantity.

    They are differences of scores: what is below 1e-12 is the last bits of these, in which processors differ, and is 0.
    """
    heights = {f"{s} {q}": lines[s].barrier(q, convention=convention) for s, q in QUANTITIES}
    return {name: rounded(height) if abs(height) >= 1e-12 else 0.0 for name, height in heights.items()}


def scores_at(lines: Mapping[str, Curve], place: int) -> dict[str, float]:
    """Loss and error at one point of the lines, by split and quantity."""
    return {f"{split} {quantity}": rounded(getattr(lines[split].at(place), quantity)) for split, quantity in QUANTITIES}
