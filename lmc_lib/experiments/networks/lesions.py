"""Networks of blocks, whole and with blocks left out or out of order, and how long the paths of their gradient are."""

__all__ = ["LesionSpec", "specs"]

import copy
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import connectivity, norms, rng, surgery
from lmc_lib.alignment import QUANTITIES
from lmc_lib.data import Split
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, architecture, drawn_start, train_run
from lmc_lib.experiments.networks.stacks import check_stack, train_stacked
from lmc_lib.state import State, cast
from lmc_lib.store import Result, Store
from lmc_lib.surgery import Chain
from lmc_lib.training import Diverged, Trajectory
from lmc_lib.values import columns, digits, or_none

# Training examples for the statistics of batch normalisation at the start, where no batch has been seen.
_RESET = 500


@dataclass(frozen=True)
class LesionSpec(OfStart):
    """All that defines what is measured of residual networks, or of their plain twins.

    The networks are ``run`` and those with the following seeds; several are trained as a stack. It measures ``places``,
    the exchangeable blocks in groups, ``chance``, the error of guessing, and one row a network in ``networks``, where
    scores are loss and error of both splits by ``"SPLIT QUANTITY"``:

    - ``whole``, the scores of the network;
    - ``one``, those without each block, None where a block without a skip changes the shape;
    - ``many``, those when more and more of the exchangeable blocks are left out, from none to all, in several orders;
    - ``shuffled``, those when blocks have changed places, one row a number of swaps, and ``disorder``, the share of
      the pairs of exchangeable blocks that stand the other way round;
    - ``paths``, the shares of the gradient by length of the paths, by the sizes of single paths
      (:func:`lmc_lib.surgery.path_shares`), and ``sums``, the parts of the gradient by length, as shares of its
      squared norm, both at ``start`` and ``end`` of training.

    None stands where a training diverged.

    Attributes:
        networks: how many there are.
        orders: in how many orders blocks are left out, and in how many ways they are shuffled for each number of swaps;
            with 0 none is.
        paths: how many paths of each length are drawn; with 0 gradients are not measured.
        examples: training examples, and test examples, that are scored.
        path_examples: training examples whose gradients are measured.
        swaps: how often two exchangeable blocks change places.
    """

    kind: ClassVar[str] = "Lesions"
    noun: ClassVar[str] = "sets of lesioned networks"

    networks: int = 1
    orders: int = 8
    paths: int = 16
    examples: int = 500
    path_examples: int = 32
    swaps: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __post_init__(self) -> None:
        if self.networks > 1:
            check_stack(self.run)

    def compute(self, store: Store) -> Result:
        """Trains the networks and takes each apart."""
        seeds, first, loaded = range(self.networks), self.run, dataset(self.run.data)
        runs = [replace(first, init_seed=first.init_seed + i, order_seed=first.order_seed + i) for i in seeds]
        starts, ends = train_stacked(runs) if self.networks > 1 else _trained(first, store)
        splits = {name: getattr(loaded, name)[: self.examples] for name in ("train", "test")}
        seen = loaded.train[: self.path_examples]
        groups = surgery.exchangeable(_chain(first, starts[0]), _inputs(first, seen))
        rows = []
        for run, start, end in zip(runs, starts, ends, strict=True):
            row: dict[str, Any] = self._lesions(run, _chain(run, end), splits, groups) if self.orders else {}
            if self.paths:
                for name, weights in (("start", start), ("end", end)):
                    row[name] = self._gradients(run, _chain(run, weights), seen)
            rows.append(or_none(digits(row, 6)))
        return Result({"places": groups, "chance": 1.0 - 1.0 / loaded.num_classes, "networks": rows})

    @torch.no_grad()
    def _lesions(self, run: RunSpec, chain: Chain, splits: dict[str, Split], groups: list[list[int]]) -> dict[str, Any]:
        generator = rng.numpy_stream(run.init_seed, "lesions")
        places, every = list(itertools.chain.from_iterable(groups)), range(len(chain.blocks))

        def scores(gone: Collection[int] = (), order: Sequence[int] = every) -> dict[str, float]:
            lesioned = surgery.without(chain, gone)
            logits = {name: lesioned(_inputs(run, split), order) for name, split in splits.items()}
            found = {name: connectivity.score(logits[name], split.labels) for name, split in splits.items()}
            sound = all(each.isfinite().all() for each in logits.values())
            return {f"{name} {what}": getattr(found[name], what) if sound else math.nan for name, what in QUANTITIES}

        removable = [isinstance(each, surgery.Residual) or place in places for place, each in enumerate(chain.blocks)]
        none = dict.fromkeys([f"{name} {what}" for name, what in QUANTITIES], math.nan)
        deleted = [generator.permutation(places).tolist() for _ in range(self.orders)]
        orders = [[_shuffled(groups, len(every), count, generator) for _ in deleted] for count in self.swaps]
        return {
            "whole": scores(),
            "one": columns([scores([place]) if removable[place] else none for place in every]),
            "many": columns([columns([scores(gone[:count]) for count in range(len(gone) + 1)]) for gone in deleted]),
            "shuffled": columns([columns([scores(order=each) for each in row]) for row in orders]),
            "disorder": [[_disorder(each, groups) for each in row] for row in orders],
        }

    def _gradients(self, run: RunSpec, chain: Chain, seen: Split) -> dict[str, Tensor]:
        def loss(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits, seen.labels, reduction="sum")

        inputs, generator = _inputs(run, seen), rng.stream(run.init_seed, "lesions", "paths")
        parts = surgery.gradients_by_length(chain, inputs, loss).double()
        whole = parts.sum(0)
        sums = (parts * whole).flatten(1).sum(1) / whole.square().sum()
        return {
            "paths": surgery.path_shares(chain, inputs, loss, paths=self.paths, generator=generator),
            "sums": sums,
        }


def specs(run: RunSpec, count: int, *, stacked: bool, **options: Any) -> list[LesionSpec]:
    """The measurement of a run and those with the following seeds.

    Args:
        run: the first run.
        count: how many networks there are.
        stacked: whether they are trained at once, as networks without statistics of batches can be.
        **options: the other fields.
    """
    if stacked:
        return [LesionSpec(run, count, **options)]
    seeds = range(count)
    runs = (replace(run, init_seed=run.init_seed + i, order_seed=run.order_seed + i) for i in seeds)
    return [LesionSpec(each, **options) for each in runs]


def _trained(run: RunSpec, store: Store) -> tuple[list[State], list[State]]:
    """Start and end of a training by itself; of one that diverged the end is not a number."""
    model = architecture(run)
    start = drawn_start(run, model)
    try:
        end = Trajectory.of(train_run(run, store)).final
    except Diverged:
        end = {name: torch.full_like(each.double(), math.nan) for name, each in start.items()}
    inputs = dataset(run.data).train.inputs[:_RESET]
    return [norms.reset(model, cast(start, _dtype(run)), inputs)], [end]


def _dtype(run: RunSpec) -> torch.dtype:
    return torch.float64 if run.train.precision == "portable" else torch.float32


def _inputs(run: RunSpec, split: Split) -> Tensor:
    return split.inputs.to(_dtype(run))


def _chain(run: RunSpec, weights: State) -> Chain:
    """The network of a run with these weights, in evaluation mode."""
    network = copy.deepcopy(architecture(run)).to(_dtype(run)).eval()
    network.load_state_dict(cast(weights, _dtype(run)))
    assert isinstance(network, nn.Sequential)
    return surgery.chain_of(network)


def _shuffled(groups: list[list[int]], blocks: int, swaps: int, generator: np.random.Generator) -> list[int]:
    """An order of the blocks after pairs of exchangeable ones, drawn at random, have changed places."""
    order, pairs = list(range(blocks)), [pair for group in groups for pair in itertools.combinations(group, 2)]
    for number in generator.integers(len(pairs), size=swaps):
        one, other = pairs[number]
        order[one], order[other] = order[other], order[one]
    return order


def _disorder(order: Sequence[int], groups: list[list[int]]) -> float:
    """The share of the pairs of exchangeable blocks that stand the other way round, (1 - tau) / 2 by Kendall's tau."""
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    return sum(order[one] > order[other] for one, other in pairs) / len(pairs)
