"""Whether units and layers of a network at its start conserve synaptic saliency."""

__all__ = ["OfSaliency", "SaliencySpec", "evidence", "scored", "totals_of", "with_biases"]

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lmc_lib import charges, pruning, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import Split, batch_order
from lmc_lib.experiments.dynamics.conservation import agreement
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, architecture, drawn_start
from lmc_lib.pruning import Objective
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.values import decimals, digits

# The deviation of the biases that are drawn: about that of the weights of a layer with two hundred inputs.
_BIAS = 0.1


@dataclass(frozen=True)
class OfSaliency(OfStart):
    """What a measurement of saliencies at a random start is of, with biases that are drawn too.

    Attributes:
        run: the network, of which the start counts.
        homogeneous: whether the network has rectifiers; otherwise softsign stands in their place.
        examples: the number of training examples whose loss it is.
    """

    homogeneous: bool = True
    examples: int = 100

    def compute(self, store: Store) -> Result:
        """Derives both objectives, ``"flow"`` and ``"loss"``."""
        plain, batch = architecture(self.run), scored(self.run, self.examples)
        network = self.network(plain if self.homogeneous else charges.inhomogeneous(plain))
        factors = {name: value.double() for name, value in network.state_dict().items()}
        state = factors | with_biases(drawn_start(self.run, plain), self.run.init_seed)
        objectives = {
            "flow": pruning.synaptic_flow(network, batch.inputs.shape[1:]),
            "loss": pruning.mean_loss(network, batch),
        }
        return Result({name: self.values(network, each, state) for name, each in objectives.items()})

    def network(self, network: nn.Module) -> nn.Module:
        """The network whose saliencies count."""
        return network

    @abstractmethod
    def values(self, network: nn.Module, objective: Objective, state: State) -> dict[str, Any]:
        """What is measured of an objective."""


@dataclass(frozen=True)
class SaliencySpec(OfSaliency):
    """All that defines the saliencies of a chain of layers, without normalisation or with that over batches.

    It measures by objective, ``"flow"`` or ``"loss"``: the ``imbalances`` of hidden layers, and the ``totals`` of
    layers by that of the last one, without biases as ``weights alone``.
    """

    kind: ClassVar[str] = "SaliencySpec"
    noun: ClassVar[str] = "saliencies"

    def values(self, network: nn.Module, objective: Objective, state: State) -> dict[str, Any]:
        """What is measured of an objective."""
        totals, alone = totals_of(network, pruning.saliency(objective, state))
        return {
            "imbalances": digits(pruning.imbalances(network, objective, state)),
            "totals": decimals(totals / totals[-1]),
            "weights alone": decimals(alone / alone[-1]),
        }


def totals_of(network: nn.Module, scores: State) -> tuple[Tensor, Tensor]:
    """The saliencies of the cuts of a network, with biases and without."""
    with_them, without = (pruning.cut_totals(network, scores, biases=biases) for biases in (True, False))
    return with_them, without


def scored(run: RunSpec, examples: int) -> Split:
    """The training examples by which methods score: so many at random, of a stream of the run."""
    split = dataset(run.data).train
    return split[batch_order(len(split), examples, generator=rng.stream(run.order_seed, "scored"))[0]]


def evidence(found: Found) -> dict[str, Estimate]:
    """The decimal digits, of 12 at most, to which hidden units conserve the saliency of ``"flow"`` and ``"loss"``."""
    return {name: estimate_of_mean(agreement(found.of(name, "imbalances").max(1))) for name in ("flow", "loss")}


def with_biases(start: State, seed: int) -> State:
    """The same weights with random biases, those of normalisation too, so that they count."""
    stream = rng.stream(seed, "biases")
    vectors = [name for name in sorted(start) if name.endswith("bias")]
    return start | {
        name: _BIAS * torch.randn(start[name].shape, generator=stream, dtype=torch.float64) for name in vectors
    }
