"""From what was measured to the estimates that a criterion asks for."""

__all__ = ["Question", "over_networks", "over_sets", "over_twins"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims import Estimate, estimate, estimate_of_twins, jackknife_of_mean
from lmc_lib.experiments.found import Found

# A statistic and what it takes, one row a parent each.
Question = tuple[Callable[..., Any], Sequence[ndarray]]


def over_sets(found: Found, values: Mapping[str, Float[ndarray, " sets"]]) -> dict[str, Estimate]:
    """The median over sets of replicas of each quantity, with an interval that resamples replicas.

    Args:
        found: the measurements of one setting.
        values: by quantity one value a set.
    """
    return {name: estimate(found.symmetric(of_sets)) for name, of_sets in values.items()}


def over_networks(values: Float[ndarray, " networks"]) -> Estimate:
    """The mean over networks, with the interval of Student's t: the jackknife of a mean is just that.

    Networks without a value, since their training diverged, are left out; how many there are stands in the estimate.
    """
    known = values[np.isfinite(values)]
    if len(known) < 3:
        raise ValueError(f"an interval over networks needs at least three with a value, got {len(known)}")
    return jackknife_of_mean(known).estimate()


def over_twins(questions: Mapping[str, Question]) -> dict[str, Estimate]:
    """Statistics of twins, with intervals that resample parents.

    Args:
        questions: by name a statistic and what it takes.
    """
    return {name: estimate_of_twins(statistic, *arrays) for name, (statistic, arrays) in questions.items()}
