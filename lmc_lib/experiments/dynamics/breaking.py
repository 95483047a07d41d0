"""What of unlearnt biases breaks the symmetry of heads, and which of them help: their mean, their noise, or both."""

__all__ = ["across", "alone", "gains", "rate"]

from collections.abc import Mapping

from jaxtyping import Float
from numpy import ndarray

from lmc_lib import charges
from lmc_lib.charges import heads
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.dynamics.decoders import lowest
from lmc_lib.experiments.dynamics.heads import Rates, along_rates, decades, estimates

# By version of the biases, optimiser and rate the excess loss of each seed.
Losses = Mapping[tuple[str, str, float], Float[ndarray, " seeds"]]


def alone(none: Rates, centred: Rates, fixed: Rates) -> dict[str, Estimate]:
    """The estimates for whether the mean of biases and their noise each break the symmetry, means over seeds.

    Args:
        none: by learning rate, the smallest one last, what was measured without biases.
        centred: with biases that are drawn anew for each batch about 0.
        fixed: with biases that are drawn once and stay.

    Returns:
        By pair of matrices ``"fixed PAIR"`` and ``"centred PAIR"``, the power of the rate as which the drift grows; and
        ``"noise PAIR"``, by how many powers of ten it is larger with biases about 0 than without, at the smallest rate.
    """
    values = {}
    for pair in heads.PAIRS:
        for name, found in {"fixed": fixed, "centred": centred}.items():
            values[f"{name} {pair}"] = charges.order(list(found), along_rates(found, pair, "drift"))
        values[f"noise {pair}"] = decades(along_rates(centred, pair, "drift"), along_rates(none, pair, "drift"))
    return estimates(values)


def across(drawn: Rates, fixed: Rates) -> dict[str, Estimate]:
    """The estimates for whether biases that stay break the symmetry along themselves alone, means over seeds.

    Args:
        drawn: by learning rate, the smallest one last, what was measured with biases that are drawn anew about a mean.
        fixed: with biases that are drawn once and stay.

    Returns:
        By pair of matrices ``"across PAIR"``, the power of the rate as which the drift across biases that stay grows;
        and ``"redrawn PAIR"``, by how many powers of ten it is larger, across their mean, with biases that are drawn
        anew, at the smallest rate.
    """
    values = {}
    for pair in heads.PAIRS:
        values[f"across {pair}"] = charges.order(list(fixed), along_rates(fixed, pair, "across"))
        values[f"redrawn {pair}"] = decades(along_rates(drawn, pair, "across"), along_rates(fixed, pair, "across"))
    return estimates(values)


def rate(excess: Losses, optimiser: str, choosing: int, version: str = "none") -> float:
    """The rate of an optimiser at which the loss is lowest, in the mean over the last seeds alone.

    A rate at which a training diverged is not chosen.

    Args:
        excess: the excess losses; ``"none"`` is the version without biases.
        optimiser: whose.
        choosing: number of seeds to choose on.
        version: of the biases.
    """
    means = {key[2]: each[-choosing:].mean() for key, each in excess.items() if key[:2] == (version, optimiser)}
    return lowest(means)


def gains(excess: Losses, choosing: int, *, own: bool = False) -> dict[str, Estimate]:
    """The estimates for what each version of the biases brings, means over the seeds on which nothing was chosen.

    Args:
        excess: the excess losses.
        choosing: number of seeds to choose on, the last ones.
        own: whether each version has its own best rate, in place of the one that is best without biases.

    Returns:
        By optimiser and version ``"gain OPTIMISER, VERSION"``, the loss without biases less that with them.
    """
    found = {}
    for version, optimiser in dict.fromkeys(key[:2] for key in excess if key[0] != "none"):
        without = excess["none", optimiser, rate(excess, optimiser, choosing)]
        given = excess[version, optimiser, rate(excess, optimiser, choosing, version if own else "none")]
        found[f"gain {optimiser}, {version}"] = estimate_of_mean((without - given)[:-choosing])
    return found
