"""What scores have in common, in a few numbers: for a rule that asks whether they measure one thing."""

__all__ = ["in_common"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.difficulty.correlation import correlations, principal_components


def in_common(scores: Float[ndarray, "scores examples"]) -> dict[str, float]:
    """How far scores go together.

    Args:
        scores: one row a score, turned so that higher means harder; the sign of components is that of the first.

    Returns:
        ``"correlation"``: the median size of the rank correlation between different scores; ``"dominance"``: the
        variance of the first principal component over that of the second; ``"loading"``: the smallest loading of the
        first component.

    Raises:
        ValueError: if fewer than two scores vary, or a value is missing.
    """
    between = np.abs(correlations(scores).values[np.triu_indices(len(scores), 1)])
    found = principal_components(scores)
    return {
        "correlation": float(np.median(between)),
        "dominance": float(found.shares[0] / found.shares[1]),
        "loading": float(found.loadings[0].min()),
    }
