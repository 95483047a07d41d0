"""Three and more networks at once: one permutation each, measured on the whole simplex that they span."""

__all__ = [
    "PARTS",
    "SIMPLEX_METHODS",
    "SimplexSpec",
    "Simplices",
    "measure_simplices",
    "simplex_specs",
    "simplices_evidence",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import connectivity, matching, rng, symmetry
from lmc_lib.claims import Estimate, estimate
from lmc_lib.connectivity import Simplex
from lmc_lib.experiments.collecting import collect, measured, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, digits, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation

_MATCHERS = ("weights", "activations")

# "apart" is the control: every network is matched to the first, but to copies of it that are numbered differently.
SIMPLEX_METHODS = ("none", "apart", *_MATCHERS, "merge", "cycle")

# "direct" are the lines from the first network, "indirect" those between networks that were both matched to it.
PARTS = ("simplex", "direct", "indirect")


# Error barriers below a tenth of a percent cannot be told from none.
_NO_BARRIER = 1e-3


@dataclass(frozen=True)
class SimplexSpec:
    """All that defines the measurement of several networks at once.

    Attributes:
        networks: the replicas; the first is the one to which the others are matched.
        methods: how they are aligned, of ``SIMPLEX_METHODS``, ``"weights"`` and ``"activations"`` among them.
        resolution: steps on each edge of the simplex.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of random permutations and of the orders in matching.
    """

    noun: ClassVar[str] = "simplices"

    networks: tuple[RunSpec, ...]
    methods: tuple[str, ...] = SIMPLEX_METHODS
    resolution: int = 10
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.networks) < 3:
            raise ValueError(f"a simplex has at least three networks here, got {len(self.networks)}; pairs have lines")
        if unknown := [each for each in self.methods if each not in SIMPLEX_METHODS]:
            raise ValueError(f"unknown method {unknown[0]!r}; there are {', '.join(SIMPLEX_METHODS)}")
        if not set(_MATCHERS) <= set(self.methods):
            raise ValueError(f"the better of {' and '.join(_MATCHERS)} is looked for: both must be among the methods")

    @property
    def label(self) -> str:
        """The architecture."""
        return self.networks[0].label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The networks."""
        return self.networks

    def compute(self, store: Store) -> Result:
        """Aligns the networks in several ways and evaluates the simplices that they span."""
        return measured(
            self.networks,
            lambda run: on_device(obtain_run(store, run).final, run),
            lambda *states: _measure(self, list(states)),
        )


@dataclass(frozen=True)
class Simplices:
    """What was measured on all sets of so many networks of a set of replicas.

    Attributes:
        count: number of replicas.
        size: number of networks in each set.
        resolution: steps on each edge.
        values: for each set what ``SimplexSpec`` measures.
        diverged: indices of replicas whose training left the finite numbers; their sets are missing.
    """

    count: int
    size: int
    resolution: int
    values: dict[tuple[int, ...], dict[str, Any]]
    diverged: tuple[int, ...]

    def simplex(self, members: tuple[int, ...], method: str, split: str) -> Simplex:
        """The scores of one set at all points."""
        scores = self.values[members]["scores"][method][split]
        weights = connectivity.barycentric(self.size, self.resolution)
        return Simplex(weights, *(torch.tensor(scores[name], dtype=torch.float64) for name in ("loss", "error")))

    def of_sets(self, method: str, split: str, quantity: str, *, part: str = "simplex") -> Float[ndarray, " sets"]:
        """One barrier a set.

        Args:
            method: one of ``SIMPLEX_METHODS``, or ``"best"``: weight or activation matching, whichever has the lower
                simplex barrier in train loss. The choice looks at the training set, so barriers of the test set are
                not selected upon.
            split: ``"train"`` or ``"test"``.
            quantity: ``"loss"`` or ``"error"``.
            part: ``"simplex"`` for the barrier on the whole simplex, ``"direct"`` for the highest on the lines from
                the first network, ``"indirect"`` for the highest on the lines between the others.
        """
        if method == "best":
            chosen = self.of_sets("weights", "train", "loss") <= self.of_sets("activations", "train", "loss")
            return np.where(chosen, *(self.of_sets(each, split, quantity, part=part) for each in _MATCHERS))
        found = [self.simplex(members, method, split) for members in self.values]
        return np.array([_barrier(each, quantity, part) for each in found])

    def barriers(
        self, method: str, split: str, quantity: str, *, part: str = "simplex"
    ) -> Float[ndarray, "count count *more"]:
        """The barriers as a symmetric array with one axis a member of a set; NaN where there is no set."""
        return self.array(self.of_sets(method, split, quantity, part=part))

    def array(self, of_sets: Float[ndarray, " sets"]) -> Float[ndarray, "count count *more"]:
        """One value a set as a symmetric array with one axis a member; NaN where there is no set."""
        array = np.full((self.count,) * self.size, np.nan)
        for members, value in zip(self.values, of_sets, strict=True):
            for places in permutations(members):
                array[places] = value
        return array

    def median(self, method: str, split: str, quantity: str, *, part: str = "simplex") -> float:
        """The median barrier over all sets."""
        return float(np.median(self.of_sets(method, split, quantity, part=part)))

    def typical(self, method: str, split: str, quantity: str) -> tuple[int, ...]:
        """The set whose barrier is the median, or next below it."""
        order = self.of_sets(method, split, quantity).argsort(kind="stable")
        return list(self.values)[int(order[(len(order) - 1) // 2])]

    def count_connected(self, bound: float, method: str, split: str, quantity: str) -> str:
        """How many sets have a simplex barrier of at most ``bound``, as ``"9 of 10"``."""
        return f"{int((self.of_sets(method, split, quantity) <= bound).sum())} of {len(self.values)}"

    def cycle_errors(self, method: str) -> Float[ndarray, " sets"]:
        """How far permutations matched pair by pair fail to compose; see :func:`lmc_lib.matching.cycle_error`."""
        return np.array([each["cycle_error"][method] for each in self.values.values()])

    def corners(self, split: str, quantity: str) -> Float[ndarray, " corners"]:
        """The scores of the trained networks themselves, one for each corner of each set."""
        found = [self.simplex(members, "none", split).corners(quantity).numpy() for members in self.values]
        return np.concatenate(found)


def simplex_specs(runs: Sequence[RunSpec], size: int = 3, **options: Any) -> list[SimplexSpec]:
    """Lists all sets of so many replicas, the earliest as the one that stays; ``options`` are those of the spec."""
    return [SimplexSpec(members, **options) for members in combinations(runs, size)]


def measure_simplices(store: Store, runs: Sequence[RunSpec], size: int = 3, **options: Any) -> Simplices:
    """Collects the measurements of all sets of ``runs``; call ``fill`` before to compute them in parallel."""
    places = list(combinations(range(len(runs)), size))
    specs = simplex_specs(runs, size, **options)
    sound, diverged = collect(store, dict(zip(places, specs, strict=True)))
    return Simplices(len(runs), size, specs[0].resolution, sound, diverged)


def simplices_evidence(
    found: Mapping[int, Simplices], bound: float, *, method: str = "best", seed: int
) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from simplex barriers in test error.

    Args:
        found: the measurements of one architecture by width, all of the same seeds.
        bound: the largest barrier of a connected set.
        method: how the networks were aligned; see ``Simplices.of_sets``.
        seed: stream of the bootstrap.

    Returns:
        ``"raw"`` and ``"smallest"``, the median at the largest width without a permutation and aligned; ``"slope"``,
        the median over sets of seeds of the ratio of the aligned barrier at the largest width to that at the smallest,
        where what is below 0.001 counts as 0.001, so that no barrier at either has the ratio 1;
        ``"connected"``, the share of sets within the bound at the largest width.
    """
    narrow, wide = found[min(found)], found[max(found)]
    aligned = wide.barriers(method, "test", "error")
    ratio = np.maximum(aligned, _NO_BARRIER) / np.maximum(narrow.barriers(method, "test", "error"), _NO_BARRIER)
    connected = np.where(np.isnan(aligned), np.nan, aligned <= bound)
    values = {"raw": wide.barriers("none", "test", "error"), "smallest": aligned, "slope": ratio}
    medians = {name: estimate(each, rng=rng.numpy_stream(seed, "bootstrap", name)) for name, each in values.items()}
    generator = rng.numpy_stream(seed, "bootstrap", "connected")
    return medians | {"connected": estimate(connected, rng=generator, statistic="mean")}


def _barrier(simplex: Simplex, quantity: str, part: str) -> float:
    if part == "simplex":
        return simplex.barrier(quantity)
    edges = combinations(range(simplex.weights.shape[1]), 2)
    return max(simplex.edge(*edge).barrier(quantity) for edge in edges if (edge[0] == 0) == (part == "direct"))


def _measure(spec: SimplexSpec, states: list[State]) -> dict[str, Any]:
    here = setting(
        spec.networks[0],
        train_examples=spec.train_examples,
        test_examples=spec.test_examples,
        matching_examples=spec.matching_examples,
        reset_examples=spec.reset_examples,
    )
    pairwise = {method: _pairwise(spec, here, method, states) for method in _MATCHERS}
    values: dict[str, Any] = {
        "scores": {},
        "cycle_error": {
            method: round(matching.cycle_error(here.permutations, found), DIGITS) for method, found in pairwise.items()
        },
    }
    known: dict[str, Simplex] | None = None
    for method in spec.methods:
        found = _permutations(spec, here, method, states, pairwise)
        moved = [symmetry.permute(state, each, here.permutations) for state, each in zip(states, found, strict=True)]
        known = here.simplex(moved, spec.resolution, corners_of=known)
        values["scores"][method] = {
            split: {"loss": digits(each.loss), "error": digits(each.error)} for split, each in known.items()
        }
    return values


def _pairwise(spec: SimplexSpec, here: Setting, method: str, states: list[State]) -> dict[tuple[int, int], Permutation]:
    """For each pair of networks the permutation that brings the later to the earlier; that of ``PairSpec``."""
    seeds = [run.init_seed for run in spec.networks]
    return {
        (i, j): here.match(method, states[i], states[j], generator=rng.stream(spec.seed, method, seeds[i], seeds[j]))
        for i, j in combinations(range(len(states)), 2)
    }


def _permutations(
    spec: SimplexSpec,
    here: Setting,
    method: str,
    states: list[State],
    pairwise: Mapping[str, Mapping[tuple[int, int], Permutation]],
) -> list[Permutation]:
    """One permutation a network."""
    groups, others = here.permutations, range(1, len(states))
    generator = rng.stream(spec.seed, "simplex", method, *(run.init_seed for run in spec.networks))
    if method == "none":
        return [symmetry.identity(groups) for _ in states]
    if method == "merge":
        return matching.merge_many(groups, states, generator=generator, order="random")
    if method == "cycle":
        return matching.cycle_consistent(groups, states, generator=generator, order="random")
    matched = [
        symmetry.identity(groups),
        *(pairwise["activations" if method == "apart" else method][0, j] for j in others),
    ]
    if method == "apart":
        matched[2:] = [
            symmetry.compose(symmetry.random(groups, generator=generator), each, groups) for each in matched[2:]
        ]
    return matched
