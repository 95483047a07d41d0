"""Permutations matched pair by pair, composed along chains of networks and around cycles."""

__all__ = ["ChainSpec", "specs"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from lmc_lib import symmetry
from lmc_lib.alignment import MATCHERS, Setting, line_barriers
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.state import State
from lmc_lib.values import columns, digits, share


@dataclass(frozen=True)
class ChainSpec(Measurement):
    r"""All that defines the measurement of a chain of networks, :math:`A` to :math:`D` or longer.

    With :math:`\pi_{AB}` matched to bring :math:`B` to :math:`A`, a chain of two permutations brings :math:`C` to
    :math:`A` by way of :math:`B`; a cycle of three brings :math:`A` to itself by way of :math:`C` and :math:`B`.

    It measures by matching, and by the number of permutations from one on, ``barriers`` to the first network, of the
    ``"chain"`` and of the ``"cycle"``, and ``fixed_points``, the share of units that the cycle leaves in place. A cycle
    of one permutation is the network itself, without a barrier.

    Attributes:
        networks: the replicas in their order; the first is the one that stays.
        points: points on each line, the two ends included.
    """

    kind: ClassVar[str] = "ChainSpec"
    noun: ClassVar[str] = "chains"

    networks: tuple[RunSpec, ...]
    points: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.networks) < 3:
            raise ValueError(f"permutations are composed along at least three networks, got {len(self.networks)}")

    def measure(self, here: Setting, *states: State) -> dict[str, Any]:
        """Matches neighbours, and measures what their permutations do when they are composed."""
        first, *others = states
        values: dict[str, Any] = {"barriers": {}, "fixed_points": {}}
        for method in MATCHERS:
            neighbours = [self.match(here, method, states, step - 1, step) for step in range(1, len(states))]
            along = list(accumulate(neighbours, lambda far, near: symmetry.compose(far, near, here.permutations)))
            back = [self.match(here, method, states, step, 0) for step in range(1, len(states))]
            around = [symmetry.identity(here.permutations)]
            around += [symmetry.compose(*both, here.permutations) for both in zip(along, back, strict=True)]
            ways = {"chain": zip(others, along, strict=True), "cycle": [(first, cycle) for cycle in around]}
            values["barriers"][method] = {
                shape: digits(
                    columns([line_barriers(here.line(first, here.permuted(*each), self.points)) for each in way])
                )
                for shape, way in ways.items()
            }
            values["fixed_points"][method] = [share(symmetry.fixed_points(cycle)) for cycle in around]
        return values


def specs(runs: Sequence[RunSpec], length: int = 4, **options: Any) -> dict[tuple[int, ...], ChainSpec]:
    """One chain from each replica on, in the order of the list and around its end, by the indices of its replicas.

    So every replica stands once at every place. ``options`` are those of the spec.

    Raises:
        ValueError: if there are fewer replicas than places.
    """
    if len(runs) < length:
        raise ValueError(f"a chain of {length} networks needs as many replicas, got {len(runs)}")
    members = [tuple((first + step) % len(runs) for step in range(length)) for first in range(len(runs))]
    return {chain: ChainSpec(tuple(runs[member] for member in chain), **options) for chain in members}
