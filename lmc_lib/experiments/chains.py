"""Permutations matched pair by pair, composed along chains of networks and around cycles."""

__all__ = ["ChainSpec", "Chains", "chain_specs", "measure_chains"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng, symmetry
from lmc_lib.experiments.collecting import collect, measured, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation

_MATCHERS = ("weights", "activations")
_QUANTITIES = [(split, quantity) for split in ("train", "test") for quantity in ("loss", "error")]


@dataclass(frozen=True)
class ChainSpec:
    r"""All that defines the measurement of a chain of networks, :math:`A` to :math:`D` or longer.

    With :math:`\pi_{AB}` matched to bring :math:`B` to :math:`A`, a chain of two permutations brings :math:`C` to
    :math:`A` by way of :math:`B`; a cycle of three brings :math:`A` to itself by way of :math:`C` and :math:`B`.

    Attributes:
        networks: the replicas in their order; the first is the one that stays.
        points: points on each line, the two ends included.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of the order of groups in matching.
    """

    noun: ClassVar[str] = "chains"

    networks: tuple[RunSpec, ...]
    points: int = 11
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.networks) < 3:
            raise ValueError(f"permutations are composed along at least three networks, got {len(self.networks)}")

    @property
    def label(self) -> str:
        """The architecture."""
        return self.networks[0].label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The networks."""
        return self.networks

    def compute(self, store: Store) -> Result:
        """Matches neighbours, and measures what their permutations do when they are composed."""
        return measured(
            self.networks,
            lambda run: on_device(obtain_run(store, run).final, run),
            lambda *states: _measure(self, list(states)),
        )


@dataclass(frozen=True)
class Chains:
    """What was measured on chains of replicas.

    Attributes:
        values: for each chain, by the indices of its replicas, what ``ChainSpec`` measures.
        diverged: indices of replicas whose training left the finite numbers; their chains are missing.
    """

    values: dict[tuple[int, ...], dict[str, Any]]
    diverged: tuple[int, ...]

    def barriers(self, method: str, shape: str, split: str, quantity: str) -> Float[ndarray, "chains lengths"]:
        """Barriers to the first network by the number of permutations, from one on.

        ``shape`` is ``"chain"``, or ``"cycle"`` for those that come back; a cycle of one permutation is the network
        itself, without a barrier.
        """
        return np.array([each["barriers"][method][shape][f"{split} {quantity}"] for each in self.values.values()])

    def fixed_points(self, method: str) -> Float[ndarray, "chains lengths"]:
        """The share of units that a cycle leaves in place, by its number of permutations, from one on."""
        return np.array([each["fixed_points"][method] for each in self.values.values()])


def chain_specs(runs: Sequence[RunSpec], length: int = 4, **options: Any) -> list[ChainSpec]:
    """Lists one chain from each replica on, in the order of the list and around its end.

    So every replica stands once at every place. ``options`` are those of the spec.

    Raises:
        ValueError: if there are fewer replicas than places.
    """
    return [ChainSpec(tuple(runs[place] for place in places), **options) for places in _places(len(runs), length)]


def measure_chains(store: Store, runs: Sequence[RunSpec], length: int = 4, **options: Any) -> Chains:
    """Collects the measurements of the chains of ``runs``; call ``fill`` before to compute them in parallel."""
    specs = zip(_places(len(runs), length), chain_specs(runs, length, **options), strict=True)
    return Chains(*collect(store, dict(specs)))


def _places(count: int, length: int) -> list[tuple[int, ...]]:
    if count < length:
        raise ValueError(f"a chain of {length} networks needs as many replicas, got {count}")
    return [tuple((first + step) % count for step in range(length)) for first in range(count)]


def _measure(spec: ChainSpec, states: list[State]) -> dict[str, Any]:
    here = setting(
        spec.networks[0],
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    values: dict[str, Any] = {"barriers": {}, "fixed_points": {}}
    for method in _MATCHERS:
        along = _composed(spec, here, method, states)
        back = {step: _matched(spec, here, method, states, step, 0) for step in range(1, len(states))}
        around = [symmetry.identity(here.permutations)]
        around += [symmetry.compose(along[step - 1], back[step], here.permutations) for step in back]
        ways = {"chain": list(zip(along, states[1:], strict=True)), "cycle": [(each, states[0]) for each in around]}
        values["barriers"][method] = {
            shape: _barriers(here, spec.points, states[0], way) for shape, way in ways.items()
        }
        values["fixed_points"][method] = [round(symmetry.fixed_points(each), DIGITS) for each in around]
    return values


def _composed(spec: ChainSpec, here: Setting, method: str, states: list[State]) -> list[Permutation]:
    """For each network behind the first the composition that brings it there, neighbour by neighbour."""
    along = [_matched(spec, here, method, states, 0, 1)]
    for step in range(2, len(states)):
        neighbours = _matched(spec, here, method, states, step - 1, step)
        along.append(symmetry.compose(along[-1], neighbours, here.permutations))
    return along


def _matched(spec: ChainSpec, here: Setting, method: str, states: list[State], target: int, source: int) -> Permutation:
    seeds = spec.networks[target].init_seed, spec.networks[source].init_seed
    return here.match(method, states[target], states[source], generator=rng.stream(spec.seed, method, *seeds))


def _barriers(
    here: Setting, points: int, first: State, ways: Sequence[tuple[Permutation, State]]
) -> dict[str, list[float]]:
    """The barriers between the first network and what permutations make of others."""
    lines = [here.line(first, symmetry.permute(state, each, here.permutations), points) for each, state in ways]
    return {
        f"{split} {quantity}": [float(f"{line[split].barrier(quantity):.{DIGITS}g}") for line in lines]
        for split, quantity in _QUANTITIES
    }
