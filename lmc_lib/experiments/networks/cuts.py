"""Whether the cuts of a network at its start, with shortcuts or without, carry the same synaptic saliency."""

__all__ = ["CutsSpec", "evidence"]

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from lmc_lib import pruning
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.dynamics.conservation import agreement
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks.saliency import OfSaliency, totals_of
from lmc_lib.pruning import Objective
from lmc_lib.state import State
from lmc_lib.values import decimals, digits


@dataclass(frozen=True)
class CutsSpec(OfSaliency):
    """All that defines the saliencies of the cuts of a network of layers and residual blocks in a row.

    It measures by objective, ``"flow"`` or ``"loss"``: the ``deviations`` of the totals of all cuts but the last from
    that of the last one, by it; and of each cut ``first``, the saliency of its first layer alone by its total, biases
    left out of both.
    """

    kind: ClassVar[str] = "CutsSpec"
    noun: ClassVar[str] = "cuts"

    def network(self, network: nn.Module) -> nn.Module:
        """Shortcuts without weights are given a factor, so that what takes them can be counted."""
        return pruning.with_shortcut_factors(network)

    def values(self, network: nn.Module, objective: Objective, state: State) -> dict[str, Any]:
        """What is measured of an objective."""
        scores = pruning.saliency(objective, state)
        totals, alone = totals_of(network, scores)
        first = [scores[cut[0]].sum() / total for cut, total in zip(pruning.cuts(network), alone, strict=True)]
        return {
            "deviations": digits((totals[:-1] / totals[-1] - 1.0).abs()),
            "first": [decimals(share) for share in first],
        }


def evidence(found: Found) -> dict[str, Estimate]:
    """The decimal digits, of 12 at most, to which cuts carry the same saliency of ``"flow"`` and ``"loss"``."""
    return {name: estimate_of_mean(agreement(found.of(name, "deviations").max(1))) for name in ("flow", "loss")}
