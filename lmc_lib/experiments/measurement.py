"""What measurements of trained networks have in common."""

__all__ = ["Measurement", "PairMeasurement"]

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from torch import Generator

from lmc_lib import rng
from lmc_lib.alignment import Setting
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.experiments.setting import setting
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.symmetry import Permutation
from lmc_lib.training import on_device

_Pair = TypeVar("_Pair", bound="PairMeasurement")


@dataclass(frozen=True, kw_only=True)
class Measurement(Spec):
    """All that defines a measurement of networks: a subclass adds the networks, its options, and ``measure``.

    A subclass with another default repeats the field, as ``field(default=512, kw_only=True)``.

    Attributes:
        train_examples: number of training examples for loss and error; all if None.
        test_examples: number of test examples; all if None.
        matching_examples: training examples that activation matching sees.
        reset_examples: training examples for BatchNorm statistics.
        seed: stream of all that is drawn: random permutations and starts, and the order of groups in matching.
    """

    train_examples: int | None = None
    test_examples: int | None = None
    matching_examples: int = 1024
    reset_examples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train_examples", "test_examples", "matching_examples", "reset_examples"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} takes 1 or more, not {number}")
        for part, number in (("train", self.train_examples), ("test", self.test_examples)):
            known = [each for run in self.runs if (each := run.data.examples(part)) is not None]
            if number is not None and known and number > min(known):
                raise ValueError(f"{part}_examples is {number}, but the networks have {min(known)} {part} examples")

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The networks, in the order in which ``measure`` takes what is got of them."""
        return tuple(spec for spec in self.needs if isinstance(spec, RunSpec))

    def setting(self) -> Setting:
        """The architecture and the data, with the numbers of examples of this measurement."""
        examples = (self.train_examples, self.test_examples, self.matching_examples, self.reset_examples)
        return setting(self.runs[0], *examples)

    def match(self, here: Setting, method: str, states: Sequence[State], target: int, source: int) -> Permutation:
        """The permutation that brings one of the networks to another, each told by its number; that of ``PairSpec``."""
        seeds = self.runs[target].init_seed, self.runs[source].init_seed
        return here.match(method, states[target], states[source], generator=rng.stream(self.seed, method, *seeds))

    def get(self, store: Store, run: RunSpec) -> Any:
        """What is measured of a network: its weights at the end, unless a subclass says otherwise."""
        return on_device(obtain_run(store, run).final, run.train)

    @abstractmethod
    def measure(self, here: Setting, *got: Any) -> dict[str, Any]:
        """Measures what was got of each network; returns values for the store."""

    def compute(self, store: Store) -> Result:
        """Gets what is measured of each network, and measures it."""
        return measured(self.runs, lambda run: self.get(store, run), lambda *got: self.measure(self.setting(), *got))


@dataclass(frozen=True)
class PairMeasurement(Measurement):
    """All that defines a measurement of a pair of networks.

    Attributes:
        target: the replica that stays.
        source: the replica whose units are permuted.
    """

    target: RunSpec
    source: RunSpec

    @classmethod
    def of_pairs(cls: type[_Pair], runs: Sequence[RunSpec], **options: Any) -> dict[tuple[int, ...], _Pair]:
        """All unordered pairs of replicas by their indices, the earlier one as target; options are the other fields."""
        return {(i, j): cls(runs[i], runs[j], **options) for i, j in combinations(range(len(runs)), 2)}

    def stream(self, *names: str | int) -> Generator:
        """A stream of the pair."""
        return rng.stream(self.seed, *names, self.target.init_seed, self.source.init_seed)
