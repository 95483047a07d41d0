"""Barriers between networks that learnt a task of two rules, and whether they tell which rule each of them follows."""

__all__ = ["ALIGNED", "Strategies", "StrategySpec", "evidence", "specs"]

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lmc_lib import connectivity, rng, symmetry
from lmc_lib.alignment import MATCHERS, Lines, Setting, line_barriers
from lmc_lib.claims import Estimate, estimate_of_mean, symmetric
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.networks.two_rules import Followed, TwoRulesSpec
from lmc_lib.state import State, unstacked
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.symmetry import PermutationSpec
from lmc_lib.values import columns, rounded

ALIGNED = ("none", *MATCHERS)

# Heights below are what is left of rounding.
_ROUNDING = 1e-9

# Sums in another order are equal.
_TIE = 1e-12


@dataclass(frozen=True, kw_only=True)
class StrategySpec(Spec):
    """All that defines the measurement of all pairs of replicas of a seed.

    It measures, one entry a pair, by method: ``barriers``, by split and quantity; and ``gaps``, the
    :func:`~lmc_lib.connectivity.convexity_gap` in training loss. Numbers below 1e-9 are 0.

    Attributes:
        networks: the networks.
        place: the place of the seed among those of the networks.
        points: points on a line, the two ends included.
        examples: examples of each split on which lines are evaluated; activation matching sees those of training.
    """

    kind: ClassVar[str] = "StrategySpec"
    noun: ClassVar[str] = "sets of pairs that learnt two rules"

    networks: TwoRulesSpec
    place: int
    points: int = 9
    examples: int = 256

    @property
    def label(self) -> str:
        """The networks in short."""
        return self.networks.label

    def compute(self, store: Store) -> Result:
        """Aligns the networks of each pair in several ways and evaluates the lines between them."""
        replicas, tensors = self.networks.replicas, obtain(store, self.networks).tensors
        states = unstacked(tensors)[self.place * replicas : (self.place + 1) * replicas]
        here = self._setting()
        pairs = combinations(range(replicas), 2)
        return Result(columns([self._between(here, states, pair) for pair in pairs]))

    def _setting(self) -> Setting:
        model, made = self.networks.model, self.networks
        splits = {"train": made.training_set(self.place), "test": made.drawn(self.place, "new")}
        splits = {name: each[: self.examples] for name, each in splits.items()}
        return Setting(model, _groups(made), splits, splits["train"].inputs, None)

    def _between(self, here: Setting, states: Sequence[State], pair: tuple[int, int]) -> dict[str, Any]:
        """What is measured of a pair."""
        target, source = (states[each] for each in pair)
        lines = Lines(here, target, source, self.points)
        values: dict[str, Any] = {"barriers": {}, "gaps": {}}
        for how in ALIGNED:
            permutation = symmetry.identity(here.permutations)
            if how != "none":
                stream = rng.stream(self.networks.first_seed + self.place, "strategies", how, *pair)
                permutation = here.match(how, target, source, generator=stream)
            curves = lines.under(permutation)
            values["barriers"][how] = {what: _kept(each) for what, each in line_barriers(curves).items()}
            values["gaps"][how] = _kept(connectivity.convexity_gap(curves["train"].loss))
        return values


@functools.lru_cache(maxsize=16)
def _groups(networks: TwoRulesSpec) -> PermutationSpec:
    """The permutation groups of the networks, once a process."""
    return symmetry.permutation_spec(networks.model, networks.drawn(0, "new").inputs[:1])


def specs(networks: TwoRulesSpec, **options: int) -> dict[int, StrategySpec]:
    """The measurement of each seed, by its place; options are the other fields."""
    return {place: StrategySpec(networks=networks, place=place, **options) for place in range(networks.seeds)}


@dataclass(frozen=True)
class Strategies:
    """Which rule the replicas of several seeds follow, and what was measured of their pairs.

    Attributes:
        shares: how far each replica follows the first rule, from 0 to 1, where it and the second disagree.
        pairs: what ``StrategySpec`` measured of each seed.
        alike: two networks follow one strategy if their shares differ by less.
        apart: they follow two if their shares differ by more.
    """

    shares: Float[ndarray, "seeds replicas"]
    pairs: tuple[Record, ...]
    alike: float = 0.4
    apart: float = 0.6

    @classmethod
    def read(cls, store: Store, of_seeds: Mapping[int, StrategySpec]) -> "Strategies":
        """Obtains them; call ``fill`` before to compute them in parallel."""
        shares = Followed.read(store, of_seeds[0].networks).at_end("shares")
        return cls(shares, tuple(Record.read(store, each) for each in of_seeds.values()))

    def matrices(self, *path: str) -> Float[ndarray, "seeds replicas replicas"]:
        """Numbers of pairs as symmetric matrices whose diagonal is NaN.

        Args:
            *path: ``"barriers"``, a method, split and quantity, as ``"train loss"``; or ``"gaps"`` and a method.
        """
        replicas = self.shares.shape[1]
        sets = list(combinations(range(replicas), 2))
        return np.array([symmetric(replicas, sets, each.of(*path)) for each in self.pairs])

    def means(self, *path: str) -> tuple[Float[ndarray, " seeds"], Float[ndarray, " seeds"]]:
        """The mean over pairs of one strategy, and over those of two; NaN in a seed that has none."""
        return _means(self.matrices(*path), self.shares, self.alike, self.apart)

    def differences(self, *path: str) -> Float[ndarray, " seeds"]:
        """The mean over pairs of two strategies less that over pairs of one; NaN in a seed that has only one kind."""
        within, between = self.means(*path)
        found: ndarray = between - within
        return found

    def p(self, *path: str, draws: int = 999, seed: int = 0) -> float:
        """How often the mean difference is as large when shares are given to other replicas of their seed.

        It is a one-sided p-value, in which the numbers as they are count as one of the draws. Pairs share replicas, so
        that it is replicas that are permuted, never pairs. A draw leaves out seeds with pairs of one kind only.
        """
        generator, matrices = rng.numpy_stream(seed, "strategies", "permuted"), self.matrices(*path)
        drawn = np.array([generator.permuted(self.shares, axis=1) for _ in range(draws)])
        within, between = _means(matrices[None], drawn, self.alike, self.apart)
        larger = np.nanmean(between - within, axis=1) >= np.nanmean(self.differences(*path)) - _TIE
        return float(1 + larger.sum()) / (1 + draws)

    def clusters(self, *path: str) -> Float[ndarray, " seeds"]:
        """How well two clusters of the replicas, told by what is between them alone, are those of the rules.

        It is the adjusted Rand index: 1 if they are the same, 0 as by chance. Clusters are spectral, of the similarity
        that falls exponentially with the number of a pair in units of the mean; of the rules a replica follows the
        one by which it tells more. A seed of which all replicas follow one has NaN.
        """
        return np.array([_agreement(*each) for each in zip(self.matrices(*path), self.shares > 0.5, strict=True)])


def evidence(found: Strategies, method: str) -> dict[str, Estimate]:
    """The estimates that the criteria ask for, means over seeds of barriers in training loss under a method.

    Returns:
        ``"apart"``, barriers between strategies less barriers within; ``"between"``, barriers between strategies;
        ``"clusters"``, those of :meth:`Strategies.clusters`.

    Raises:
        ValueError: if fewer than three seeds have pairs of one strategy and of two.
    """
    path = "barriers", method, "train loss"
    numbers = {
        "apart": found.differences(*path),
        "between": found.means(*path)[1],
        "clusters": found.clusters(*path),
    }
    return {name: estimate_of_mean(each) for name, each in numbers.items()}


def _kept(height: float) -> float:
    """A difference of losses with the digits that are stored; what may be rounding is 0."""
    return rounded(height, 6) if height >= _ROUNDING else 0.0


def _means(
    matrices: Float[ndarray, "... replicas replicas"],
    shares: Float[ndarray, "... replicas"],
    alike: float,
    apart: float,
) -> tuple[ndarray, ndarray]:
    differences = np.abs(shares[..., :, None] - shares[..., None, :])
    known = np.isfinite(matrices)
    return _mean(matrices, known & (differences < alike)), _mean(matrices, known & (differences > apart))


def _mean(matrices: ndarray, chosen: Bool[ndarray, "... replicas replicas"]) -> ndarray:
    count = chosen.sum((-2, -1))
    total: ndarray = np.where(chosen, matrices, 0.0).sum((-2, -1))
    means: ndarray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means


def _agreement(matrix: Float[ndarray, "replicas replicas"], first: Bool[ndarray, " replicas"]) -> float:
    from sklearn.cluster import spectral_clustering  # noqa: PLC0415 -- slow to load, and of no use to workers
    from sklearn.metrics import adjusted_rand_score  # noqa: PLC0415

    if first.all() or not first.any():
        return float("nan")
    distances = np.nan_to_num(matrix)
    similarity = np.exp(-distances / max(float(np.nanmean(matrix)), _ROUNDING))
    found = spectral_clustering(similarity, n_clusters=2, assign_labels="cluster_qr", random_state=0)
    return float(adjusted_rand_score(first, found))
