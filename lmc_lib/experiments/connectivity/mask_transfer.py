"""Masks that are transferred: networks trained under the mask that another network's pruning found."""

__all__ = ["MASKS", "TransferSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from lmc_lib import pruning, symmetry
from lmc_lib.alignment import Setting
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.networks.pruned import PrunedSpec, obtain_level, trainer
from lmc_lib.experiments.networks.runs import RunSpec, obtain_run
from lmc_lib.pruning import Level, Masks
from lmc_lib.state import State
from lmc_lib.store import Store
from lmc_lib.sweeps import Spec
from lmc_lib.training import on_device
from lmc_lib.values import loss_and_error, share

# A network's own mask; another's, brought into its units; another's as it is; one at random, as sparse in each layer.
MASKS = ("own", "permuted", "unpermuted", "random")


class _Network(NamedTuple):
    """A dense network at the end of its training and at the rewind step, and what it is pruned to."""

    dense: State
    rewound: State
    pruned: Level


@dataclass(frozen=True)
class TransferSpec(PairMeasurement):
    """All that defines the training of one network, the source, under the mask of another, the target.

    It measures ``density``, the share of weights that the masks leave; ``scores`` by mask, split and quantity: loss and
    error of the networks trained under each of ``MASKS``; and ``overlap``, the share of a mask's weights that the
    network's own mask leaves too.

    Attributes:
        rewind: the step to whose weights networks go back.
        share: the share of the remaining weights that a level removes.
        level: the level of the mask.
        matching: how the dense networks' permutation is found, ``"weights"`` or ``"activations"``.
    """

    kind: ClassVar[str] = "TransportSpec"
    noun: ClassVar[str] = "transported masks"

    rewind: int
    share: float
    level: int
    matching: str = "activations"

    @property
    def label(self) -> str:
        """The architecture and the level."""
        return self._pruned(self.target).label

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The dense networks, and both at the level of the mask."""
        return self.target, self.source, self._pruned(self.target), self._pruned(self.source)

    def get(self, store: Store, run: RunSpec) -> _Network:
        """The network dense, rewound and pruned."""
        pruned, trajectory = obtain_level(store, self._pruned(run)), obtain_run(store, run)
        return _Network(on_device(trajectory.final, run.train), trajectory.at(self.rewind), pruned)

    def measure(self, here: Setting, target: _Network, source: _Network) -> dict[str, Any]:
        """Trains the source under each mask and evaluates it."""
        masks = self._masks(here, target, source)
        train = trainer(self.source, self.rewind)
        # The training under its own mask is in the store.
        states = {
            name: source.pruned.state if name == "own" else train(source.rewound, mask) for name, mask in masks.items()
        }
        return {
            "density": share(pruning.density(masks["permuted"])),
            "scores": {
                name: loss_and_error(here.scores(on_device(state, self.source.train))) for name, state in states.items()
            },
            "overlap": {name: share(pruning.overlap(mask, masks["own"])) for name, mask in masks.items()},
        }

    def _pruned(self, run: RunSpec) -> PrunedSpec:
        return PrunedSpec(run, self.rewind, self.share, self.level)

    def _masks(self, here: Setting, target: _Network, source: _Network) -> dict[str, Masks]:
        generator = self.stream("pruned", self.matching, 0)
        permutation = here.match(self.matching, target.dense, source.dense, generator=generator)
        # The permutation brings the source's units to the target's places; the mask goes the other way.
        back = symmetry.inverse(permutation, here.permutations)
        given = target.pruned.masks
        return {
            "own": source.pruned.masks,
            "permuted": symmetry.permute(given, back, here.permutations, partial=True),
            "unpermuted": given,
            "random": pruning.shuffled(given, generator=self.stream("pruned", "random mask", self.level)),
        }
