"""Whether the cuts of a network at its start, with shortcuts or without, carry the same synaptic saliency."""

__all__ = ["CutsSpec", "evidence"]

from dataclasses import dataclass
from typing import ClassVar

from lmc_lib import charges, pruning
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.dynamics.conservation import agreement
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks.runs import OfStart, architecture, drawn_start
from lmc_lib.experiments.networks.saliency import scored, with_biases
from lmc_lib.store import Result, Store
from lmc_lib.values import decimals, digits


@dataclass(frozen=True)
class CutsSpec(OfStart):
    """All that defines the saliencies of the cuts of a network at its random start, with biases that are drawn too.

    It measures by objective, ``"flow"`` or ``"loss"``: the ``deviations`` of the totals of all cuts but the last from
    that of the last one, by it; and of each cut ``first``, the saliency of its first layer alone by its total, biases
    left out of both.

    Attributes:
        run: the network, of which the start counts, of layers and residual blocks in a row.
        homogeneous: whether the network has rectifiers; otherwise softsign stands in their place.
        examples: the number of training examples whose loss it is.
    """

    kind: ClassVar[str] = "CutsSpec"
    noun: ClassVar[str] = "cuts"

    homogeneous: bool = True
    examples: int = 100

    def compute(self, store: Store) -> Result:
        """Derives both objectives."""
        plain, batch = architecture(self.run), scored(self.run, self.examples)
        network = pruning.with_shortcut_factors(plain if self.homogeneous else charges.inhomogeneous(plain))
        factors = {name: value.double() for name, value in network.state_dict().items()}
        state = factors | with_biases(drawn_start(self.run, plain), self.run.init_seed)
        objectives = {
            "flow": pruning.synaptic_flow(network, batch.inputs.shape[1:]),
            "loss": pruning.mean_loss(network, batch),
        }
        values = {}
        for name, each in objectives.items():
            totals, alone = (pruning.cut_totals(network, each, state, biases=biases) for biases in (True, False))
            scores = pruning.saliency(each, state)
            first = [scores[cut[0]].sum() / total for cut, total in zip(pruning.cuts(network), alone, strict=True)]
            values[name] = {
                "deviations": digits((totals[:-1] / totals[-1] - 1.0).abs()),
                "first": [decimals(share) for share in first],
            }
        return Result(values)


def evidence(found: Found) -> dict[str, Estimate]:
    """The decimal digits, of 12 at most, to which cuts carry the same saliency of ``"flow"`` and ``"loss"``."""
    return {name: estimate_of_mean(agreement(found.of(name, "deviations").max(1))) for name in ("flow", "loss")}
