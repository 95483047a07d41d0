"""What matchings see: the same pair of networks matched in many ways, and how features settle in training."""

__all__ = [
    "SEARCHES", "FeatureSpec", "Matchings", "MatchingsSpec", "limit_evidence", "limit_pairs", "measure_limits",
]  # fmt: skip

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lmc_lib import matching, rng, symmetry
from lmc_lib.claims import Estimate, estimate
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.collecting import as_matrix, collect, line_barriers, measured, on_device
from lmc_lib.experiments.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import DIGITS, Setting, rounded, setting
from lmc_lib.experiments.spec import Spec
from lmc_lib.similarity import angular_cka
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.symmetry import Permutation
from lmc_lib.training import Diverged

# Name of each search and what it is, in the order of the page.
SEARCHES = {
    "weights": "weights, from the identity",
    "weights again": "weights, another order of the layers",
    "weights, random start": "weights, from a random permutation",
    "weights, other random start": "weights, from another random permutation",
    "weights, cosine": "weights, by angle alone",
    "activations": "activations, by correlation",
    "activations, other examples": "activations, other examples",
    "activations, inner product": "activations, by inner product",
    "random": "a random permutation",
}


@dataclass(frozen=True)
class MatchingsSpec:
    """All that defines the matchings of a pair.

    Attributes:
        target: the replica that stays.
        source: the replica whose units are permuted.
        samples: numbers of examples from which activation matching is repeated.
        bins: equal parts into which units are sorted by the size of their weights.
        points: points on each line, the two ends included.
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of the orders of groups and of random starts.
    """

    noun: ClassVar[str] = "matched pairs"

    target: RunSpec
    source: RunSpec
    samples: tuple[int, ...] = (16, 64, 256)
    bins: int = 5
    points: int = 11
    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 512
    reset_examples: int = 1024
    seed: int = 0

    @property
    def label(self) -> str:
        """The architecture."""
        return self.target.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The two networks."""
        return self.target, self.source

    def compute(self, store: Store) -> Result:
        """Matches the two networks in many ways and compares the permutations and the barriers."""
        return measured(
            (self.target, self.source),
            lambda run: on_device(obtain_run(store, run).final, run),
            lambda target, source: _measure(self, target, source),
        )


@dataclass(frozen=True)
class FeatureSpec:
    """All that defines how a network's features settle: the angle of each checkpoint's features to those of the end.

    Attributes:
        run: the network, with checkpoints.
        examples: number of test examples whose features are compared.
    """

    noun: ClassVar[str] = "features"

    run: RunSpec
    examples: int = 256

    @property
    def label(self) -> str:
        """The architecture."""
        return self.run.label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The network."""
        return (self.run,)

    def compute(self, store: Store) -> Result:
        """Compares the activations behind each activation function."""
        try:
            trajectory = obtain_run(store, self.run)
        except Diverged as error:
            return Result({"diverged": [0], "step": error.step, "loss": str(error.loss)})
        here = _setting(self.run, self.examples, self.examples, self.examples, self.examples)
        features = [here.features(each, here.inputs("test")) for each in trajectory.states]
        angles = {
            node: [rounded(angular_cka(each[node], last)) for each in features] for node, last in features[-1].items()
        }
        return Result({"steps": list(trajectory.steps), "angles": angles})


@dataclass(frozen=True)
class Matchings:
    """What was measured on all pairs of a set of replicas.

    Attributes:
        count: number of replicas.
        values: for each pair what ``MatchingsSpec`` measures.
        diverged: indices of replicas whose training left the finite numbers; their pairs are missing.
    """

    count: int
    values: dict[tuple[int, int], dict[str, Any]]
    diverged: tuple[int, ...]

    def barriers(self, search: str, split: str, quantity: str) -> Float[ndarray, " pairs"]:
        """Barriers under the permutation of a search, or ``"none"``."""
        return np.array([each["barriers"][search][f"{split} {quantity}"] for each in self.values.values()])

    def agreement(self) -> Float[ndarray, "pairs searches searches"]:
        """The share of units that two searches send to the same place."""
        return np.array([each["agreement"] for each in self.values.values()])

    def fixed_points(self, search: str) -> Float[ndarray, " pairs"]:
        """The share of units that stay in place."""
        return np.array([each["fixed_points"][search] for each in self.values.values()])

    def chance(self) -> float:
        """The share of units on which two random permutations agree, on average."""
        return float(next(iter(self.values.values()))["chance"])

    def by_size(self, first: str, second: str) -> Float[ndarray, "pairs bins"]:
        """The agreement of two searches on the target's units, from those with the smallest weights to the largest."""
        return np.array([each["by_size"][f"{first} | {second}"] for each in self.values.values()])

    def by_samples(self, what: str) -> dict[int, Float[ndarray, " pairs"]]:
        """By number of examples: ``"agreement"`` with all examples, or ``"barrier"`` in test error."""
        counts = next(iter(self.values.values()))["samples"]
        return {int(n): np.array([each["samples"][n][what] for each in self.values.values()]) for n in counts}

    def pairwise(self, values: Float[ndarray, " pairs"]) -> Float[ndarray, "count count"]:
        """One value a pair as a symmetric matrix, NaN on the diagonal and for missing pairs."""
        return as_matrix(self.count, list(self.values), values)


def limit_pairs(runs: Sequence[RunSpec], **options: Any) -> list[MatchingsSpec]:
    """Lists all unordered pairs of replicas, the earlier one as target; ``options`` are those of the spec."""
    return [MatchingsSpec(target, source, **options) for target, source in combinations(runs, 2)]


def measure_limits(store: Store, runs: Sequence[RunSpec], **options: Any) -> Matchings:
    """Collects the measurements of all pairs of ``runs``; call ``fill`` before to compute them in parallel."""
    specs = zip(combinations(range(len(runs)), 2), limit_pairs(runs, **options), strict=True)
    return Matchings(len(runs), *collect(store, dict(specs)))


def limit_evidence(found: Matchings, first: str, second: str, *, seed: int) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Args:
        found: the measurements of one setting.
        first: the search that is expected to leave the higher barrier.
        second: the search that it is compared with.
        seed: stream of the bootstrap.

    Returns:
        ``"raw"``: the median barrier without a permutation; ``"excess"``: the median, over pairs, of the first search's
        barrier minus the second's.
    """
    barriers = {name: found.barriers(name, "test", "error") for name in ("none", first, second)}
    values = {"raw": barriers["none"], "excess": barriers[first] - barriers[second]}
    return {
        name: estimate(found.pairwise(each), rng=rng.numpy_stream(seed, "bootstrap", name))
        for name, each in values.items()
    }


def _setting(run: RunSpec, train: int | None, test: int | None, matched: int, reset: int) -> Setting:
    return setting(run, train_examples=train, test_examples=test, matching_examples=matched, reset_examples=reset)


def _measure(spec: MatchingsSpec, target: State, source: State) -> dict[str, Any]:
    # Twice the examples, so that activations can be matched on two sets that share none.
    here = _setting(
        spec.target, spec.train_examples, spec.test_examples, 2 * spec.matching_examples, spec.reset_examples
    )
    found = _searches(spec, here, target, source)
    plain = here.line(target, source, spec.points)
    barriers = {"none": line_barriers(plain)} | {
        name: line_barriers(_line(spec, here, target, source, each, plain)) for name, each in found.items()
    }
    sizes = _sizes(here, target)
    pairs = [("weights", "activations"), ("weights", "weights, cosine"), ("activations", "activations, other examples")]
    samples = {}
    for count in spec.samples:
        few = _by_activations(here, target, source, here.matching_inputs[:count], spec, f"samples {count}")
        samples[str(count)] = {
            "agreement": _share(symmetry.agreement(few, found["activations"])),
            "barrier": line_barriers(_line(spec, here, target, source, few, plain))["test error"],
        }
    return {
        "barriers": barriers,
        "agreement": [[_share(symmetry.agreement(a, b)) for b in found.values()] for a in found.values()],
        "fixed_points": {name: _share(symmetry.fixed_points(each)) for name, each in found.items()},
        "chance": _share(here.chance),
        "by_size": {f"{a} | {b}": _by_size(found[a], found[b], sizes, spec.bins) for a, b in pairs},
        "samples": samples,
    }


def _searches(spec: MatchingsSpec, here: Setting, target: State, source: State) -> dict[str, Permutation]:
    def by_weights(name: str, start: str = "identity", kernel: str = "linear") -> Permutation:
        return matching.weight_matching(
            here.permutations, target, source, generator=_stream(spec, name), start=start, order="random", kernel=kernel
        )

    inputs = here.matching_inputs
    first, second = inputs[: spec.matching_examples], inputs[spec.matching_examples :]
    return {
        "weights": by_weights("weights"),
        "weights again": by_weights("weights again"),
        "weights, random start": by_weights("random start", "random"),
        "weights, other random start": by_weights("other random start", "random"),
        "weights, cosine": by_weights("cosine", kernel="cosine"),
        "activations": _by_activations(here, target, source, first, spec, "activations"),
        "activations, other examples": _by_activations(here, target, source, second, spec, "other examples"),
        "activations, inner product": _by_activations(here, target, source, first, spec, "inner", "inner_product"),
        "random": symmetry.random(here.permutations, generator=_stream(spec, "random")),
    }


def _by_activations(
    here: Setting,
    target: State,
    source: State,
    inputs: Tensor,
    spec: MatchingsSpec,
    name: str,
    kernel: str = "correlation",
) -> Permutation:
    return matching.activation_matching(
        here.permutations, target, source, inputs, generator=_stream(spec, name), kernel=kernel
    )


def _stream(spec: MatchingsSpec, name: str) -> torch.Generator:
    return rng.stream(spec.seed, "limits", name, spec.target.init_seed, spec.source.init_seed)


def _line(
    spec: MatchingsSpec, here: Setting, target: State, source: State, permutation: Permutation, plain: dict[str, Curve]
) -> dict[str, Curve]:
    moved = symmetry.permute(source, permutation, here.permutations)
    return here.line(target, moved, spec.points, ends_of=plain)


def _sizes(here: Setting, state: State) -> dict[str, Tensor]:
    """The norm of all weights that belong to each unit."""
    return {
        group: torch.stack(
            [m.rows(state[m.name]).double().square().sum(-1) for m in members if state[m.name].dim() > 1]
        ).sum(0).sqrt()
        for group, members in here.permutations.members.items()
    }  # fmt: skip


def _by_size(first: Permutation, second: Permutation, sizes: dict[str, Tensor], bins: int) -> list[float]:
    """Agreement in equal parts of each group's units, from the smallest on."""
    shares = []
    for name, size in sizes.items():
        order = size.reshape(-1).argsort(stable=True)
        same = (first[name] == second[name]).reshape(-1)[order].double()
        shares.append(torch.stack([part.sum() for part in same.tensor_split(bins)]))
    counts = [torch.tensor([len(part) for part in s.reshape(-1).tensor_split(bins)]) for s in sizes.values()]
    found: list[float] = (torch.stack(shares).sum(0) / torch.stack(counts).sum(0).clamp(min=1)).tolist()
    return [_share(each) for each in found]


def _share(value: float) -> float:
    return round(value, DIGITS)
