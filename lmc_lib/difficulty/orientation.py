"""Which way a score points: what each score of the package means for difficulty, said once."""

__all__ = ["SCORES", "harder"]

from jaxtyping import Float
from numpy import ndarray

# 1 where a higher value means a harder example, -1 where it means an easier one. Means over a training or over
# replicates and final values point the way of what they are taken of.
SCORES = {
    # of one network at one step
    "accuracy": -1,
    "confidence": -1,
    "el2n": 1,
    "entropy": 1,
    "log_odds": -1,
    "logit_margin": -1,
    "loss": 1,
    "margin": -1,
    "max_confidence": -1,
    # of a training
    "aum": -1,
    "correctness": -1,
    "first_forgotten": -1,
    "first_learned": 1,
    "forgetting": 1,
    "iteration_learned": 1,
    "iteration_unlearned": -1,
    "unforgettable": -1,
    "variability": 1,
    # of gradients
    "grand": 1,
    "grand_last_layer": 1,
    "vog": 1,
    # of representations
    "prediction_depth": 1,
    "prototype_distance": 1,
    "self_prototype_distance": 1,
    # of several networks
    "agreement": -1,
    "all_correct": -1,
    "c_score": -1,
    "memorisation": 1,
    "unanimity": -1,
}


def harder(name: str, values: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Turns a score so that higher means harder: scores are turned before they are averaged, ranked or compared.

    Args:
        name: one of ``SCORES``; what stands before its last word is left out, as in ``"mean margin"``.
        values: the score as it is defined.

    Raises:
        ValueError: if no score has this name.

    Example:
        >>> import numpy as np
        >>> harder("final confidence", np.array([0.9, 0.2]))
        array([-0.9, -0.2])
    """
    orientation = SCORES.get(name.split(" ")[-1])
    if orientation is None:
        raise ValueError(f"unknown score {name!r}; there are {', '.join(sorted(SCORES))}")
    return orientation * values
