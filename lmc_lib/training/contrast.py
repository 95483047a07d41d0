"""Learning without labels, by telling two views of one example from those of others."""

__all__ = ["contrastive_loss"]

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name


def contrastive_loss(
    first: Float[Tensor, "examples features"], second: Float[Tensor, "examples features"], *, temperature: float = 0.5
) -> Tensor:
    r"""The normalised cross-entropy of two views of each example (Chen et al. 2020), in nats.

    With the :math:`2n` outputs :math:`z_i`, divided by their lengths, it is the mean of
    :math:`-\log \frac{\exp(z_i^\top z_{j} / \tau)}{\sum_{k \ne i} \exp(z_i^\top z_k / \tau)}`, where
    :math:`j` is the other view of :math:`i`.

    Args:
        first: what a network gives for one view of each example.
        second: for another one.
        temperature: :math:`\tau`.

    Example:
        >>> import math
        >>> far = 9.0 * torch.eye(2, dtype=torch.float64)
        >>> round(float(contrastive_loss(far, far, temperature=1.0)), 6), round(math.log(1 + 2 / math.e), 6)
        (0.551445, 0.551445)
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    own = torch.eye(len(views), dtype=torch.bool, device=views.device)
    alike = (views @ views.T / temperature).masked_fill(own, -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(alike, partner)
