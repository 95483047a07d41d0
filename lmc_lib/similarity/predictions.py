"""How far two networks predict different things."""

__all__ = ["disagreement"]

from jaxtyping import Float
from torch import Tensor


def disagreement(
    first: Float[Tensor, "examples classes"], second: Float[Tensor, "examples classes"]
) -> tuple[float, float]:
    """How far two networks predict different things: both numbers are 0 for equal predictions.

    Args:
        first: the logits of one network.
        second: those of another for the same examples.

    Returns:
        The share of examples that they give other classes, and the mean Euclidean distance of their probabilities.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[50.0, 0.0], [0.0, 50.0]], dtype=torch.float64)
        >>> [round(each, 6) for each in disagreement(sure, sure[[0, 0]])]
        [0.5, 0.707107]
    """
    classes = (first.argmax(1) != second.argmax(1)).double().mean()
    probabilities = (first.softmax(1) - second.softmax(1)).norm(dim=1).mean()
    return float(classes), float(probabilities)
