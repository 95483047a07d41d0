"""Whether lengths of weights before batch normalisation make SGD an adaptive optimiser: a law, steps and twins."""

__all__ = ["law", "share", "steps"]

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import charges
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.dynamics.conservation import along_rates
from lmc_lib.experiments.found import Found


def law(along: Mapping[float, Found]) -> dict[str, Estimate]:
    """The estimates for whether the law of fourth powers holds, means over networks.

    Args:
        along: what :class:`~lmc_lib.experiments.dynamics.adaptation.AdaptationSpec` measured, by the rate, the smallest
            one last.

    Returns:
        ``"error"`` at the smallest rate; ``"order"``, the power of the rate as which it grows; and the same number
        again as ``"order beyond"``, for the bound to its other side.
    """
    errors = along_rates(along, "error")
    order = charges.order(list(along), errors)
    values = {"error": errors[:, -1], "order": order, "order beyond": order}
    return {name: estimate_of_mean(each) for name, each in values.items()}


def steps(found: Found) -> dict[str, Estimate]:
    """The estimates for whether effective steps are those of RMSProp, means over networks.

    Args:
        found: what was measured of networks with an adaptive and a constant twin.

    Returns:
        ``"rmsprop"``, the distance to RMSProp along the measured gradients; ``"share steps"`` and ``"share loss"``,
        see :func:`share`.
    """
    values = {"rmsprop": found.of("rmsprop")} | {f"share {what}": share(found, what) for what in ("steps", "loss")}
    return {name: estimate_of_mean(each) for name, each in values.items()}


def share(found: Found, what: str) -> Float[ndarray, " networks"]:
    """The distance of the adaptive twin of each network to it, by that of the constant twin.

    Args:
        found: what was measured of networks with both.
        what: ``"steps"`` or ``"loss"``.
    """
    return np.asarray(found.of("adaptive", what) / found.of("constant", what))
