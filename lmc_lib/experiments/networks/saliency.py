"""Whether units and layers of a network at its start conserve synaptic saliency."""

__all__ = ["SaliencySpec", "evidence", "scored", "with_biases"]

from dataclasses import dataclass
from typing import ClassVar

import torch

from lmc_lib import charges, pruning, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import Split, batch_order
from lmc_lib.experiments.dynamics.conservation import agreement
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, architecture, drawn_start
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.values import decimals, digits

# The deviation of the biases that are drawn: about that of the weights of a layer with two hundred inputs.
_BIAS = 0.1


@dataclass(frozen=True)
class SaliencySpec(OfStart):
    """All that defines the saliencies of a network at its random start, with biases that are drawn too.

    It measures by objective, ``"flow"`` or ``"loss"``: the ``imbalances`` of hidden layers, and the ``totals`` of
    layers by that of the last one, without biases as ``weights alone``.

    Attributes:
        run: the network, of which the start counts, a chain without normalisation or with that over batches.
        homogeneous: whether the network has rectifiers; otherwise softsign stands in their place.
        examples: the number of training examples whose loss it is.
    """

    kind: ClassVar[str] = "SaliencySpec"
    noun: ClassVar[str] = "saliencies"

    homogeneous: bool = True
    examples: int = 100

    def compute(self, store: Store) -> Result:
        """Derives both objectives."""
        chain, batch = architecture(self.run), scored(self.run, self.examples)
        network = chain if self.homogeneous else charges.inhomogeneous(chain)
        state = with_biases(drawn_start(self.run, chain), self.run.init_seed)
        objectives = {
            "flow": pruning.synaptic_flow(network, batch.inputs.shape[1:]),
            "loss": pruning.mean_loss(network, batch),
        }
        values = {}
        for name, each in objectives.items():
            totals, alone = (pruning.cut_totals(network, each, state, biases=biases) for biases in (True, False))
            values[name] = {
                "imbalances": digits(pruning.imbalances(network, each, state)),
                "totals": decimals(totals / totals[-1]),
                "weights alone": decimals(alone / alone[-1]),
            }
        return Result(values)


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
