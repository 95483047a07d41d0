"""Whether charges of networks move as the laws say: orders in the learning rate, and digits of the exact law."""

__all__ = ["agreement", "along_rates", "evidence"]

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import charges
from lmc_lib.charges import FAMILIES, LAWS
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Found

# More digits are not counted: behind them is the rounding of float64, which differs from processor to processor.
_MOST = 12


def along_rates(found: Mapping[float, Found], *path: str) -> Float[ndarray, "networks rates"]:
    """What was measured at each rate, one row a network."""
    return np.stack([each.of(*path) for each in found.values()], axis=1)


def agreement(distances: Float[ndarray, " networks"]) -> Float[ndarray, " networks"]:
    """The decimal digits, of 12 at most, to which charges follow a law, from their distances to it."""
    return np.asarray(-np.log10(distances.clip(10.0**-_MOST)))


def evidence(plain: Mapping[float, Found], damped: Mapping[float, Found]) -> dict[str, Estimate]:
    """The estimates for whether charges move as the laws say, means over networks.

    Args:
        plain: the charges along trainings without momentum and weight decay, by their rate, the smallest one last.
        damped: those along trainings with both, likewise.

    Returns:
        By family ``"digits FAMILY"``: the decimal digits, of 12 at most, to which the discrete law holds with both at
        each rate; ``"order FAMILY"``: the power of the rate as which the distance to the oscillator grows;
        ``"share FAMILY"``: that distance by the one to gradient flow, at the smallest rate. Where the digits are many,
        order and share are those of one law to another, whatever the networks; of translation, the same for all. For
        scale and rescale also ``"drift FAMILY"``: the power of the rate as which the drift grows without both; and the
        same number again as ``"drift FAMILY beyond"``, for the bound to its other side.
    """
    values = {}
    for family in FAMILIES:
        to = {law: along_rates(damped, family, "distances", law) for law in LAWS}
        values[f"digits {family}"] = agreement(to["discrete law"].max(1))
        values[f"order {family}"] = charges.order(list(damped), to["oscillator"])
        values[f"share {family}"] = (to["oscillator"] / to["gradient flow"])[:, -1]
        if family != "translation":
            drift = charges.order(list(plain), along_rates(plain, family, "drift"))
            values |= {f"drift {family}": drift, f"drift {family} beyond": drift}
    return {name: estimate_of_mean(each) for name, each in values.items()}
