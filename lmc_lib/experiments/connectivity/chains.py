"""Permutations matched pair by pair, composed along chains of networks and around cycles."""

__all__ = ["ChainSpec", "specs"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lmc_lib import rng, symmetry
from lmc_lib.experiments.connectivity.lines import line_barriers
from lmc_lib.experiments.measurement import Measurement
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.experiments.setting import MATCHERS, Setting
from lmc_lib.experiments.values import columns, share
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation


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
        if len(self.networks) < 3:
            raise ValueError(f"permutations are composed along at least three networks, got {len(self.networks)}")

    def measure(self, here: Setting, *states: State) -> dict[str, Any]:
        """Matches neighbours, and measures what their permutations do when they are composed."""
        first, *others = states
        values: dict[str, Any] = {"barriers": {}, "fixed_points": {}}
        for method in MATCHERS:
            along = [self._matched(here, method, states, 0, 1)]
            for step in range(2, len(states)):
                neighbours = self._matched(here, method, states, step - 1, step)
                along.append(symmetry.compose(along[-1], neighbours, here.permutations))
            around = [symmetry.identity(here.permutations)]
            for step, there in enumerate(along, 1):
                back = self._matched(here, method, states, step, 0)
                around.append(symmetry.compose(there, back, here.permutations))
            ways = {"chain": zip(along, others, strict=True), "cycle": [(cycle, first) for cycle in around]}
            values["barriers"][method] = {shape: self._barriers(here, first, way) for shape, way in ways.items()}
            values["fixed_points"][method] = [share(symmetry.fixed_points(cycle)) for cycle in around]
        return values

    def _matched(self, here: Setting, method: str, states: Sequence[State], target: int, source: int) -> Permutation:
        seeds = self.networks[target].init_seed, self.networks[source].init_seed
        return here.match(method, states[target], states[source], generator=rng.stream(self.seed, method, *seeds))

    def _barriers(
        self, here: Setting, first: State, ways: Iterable[tuple[Permutation, State]]
    ) -> dict[str, list[float]]:
        """The barriers between the first network and what permutations make of others."""
        lines = [here.line(first, here.permuted(state, permutation), self.points) for permutation, state in ways]
        return columns([line_barriers(line) for line in lines])


def specs(runs: Sequence[RunSpec], length: int = 4, **options: Any) -> dict[tuple[int, ...], ChainSpec]:
    """One chain from each replica on, in the order of the list and around its end, by the indices of its replicas.

    So every replica stands once at every place.

    Args:
        runs: the replicas.
        length: the number of networks in a chain.
        **options: of the spec.

    Raises:
        ValueError: if there are fewer replicas than places.
    """
    if len(runs) < length:
        raise ValueError(f"a chain of {length} networks needs as many replicas, got {len(runs)}")
    members = [tuple((first + step) % len(runs) for step in range(length)) for first in range(len(runs))]
    return {chain: ChainSpec(tuple(runs[member] for member in chain), **options) for chain in members}
