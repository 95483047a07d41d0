r"""How far the features of a classifier have collapsed to one point a class, and these points to a regular simplex.

The four measures of neural collapse of Papyan, Han, Donoho 2020, each of which is 0 where it is complete. Features
:math:`h_i` have the labels :math:`y_i`, class means :math:`\mu_c` and the mean of these :math:`\mu`; rows of
:math:`M` are the centred means :math:`\mu_c - \mu`, rows of :math:`W` the weights of the classes in the classifier.
"""

__all__ = [
    "MEASURES", "angles", "class_means", "duality", "lengths", "measures", "mismatch", "reached", "variability",
]  # fmt: skip

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmc_lib import expected
from lmc_lib.difficulty.predictions import logit_margin

MEASURES = ("NC1", "NC2 lengths", "NC2 angles", "NC3", "NC4")


def measures(
    features: Float[Tensor, "n units"],
    labels: Int[Tensor, " n"],
    said: Float[Tensor, "n classes"],
    classifier: Float[Tensor, "classes units"],
    learnt: Float[Tensor, "classes units"],
) -> dict[str, float]:
    """All of ``MEASURES``, with the class means of these examples, but for NC4, which has those that were ``learnt``.

    Raises:
        ValueError: as :func:`class_means`.
    """
    means = class_means(features, labels)
    found = (
        variability(features, labels, means),
        lengths(means),
        angles(means),
        duality(classifier, means),
        mismatch(features, said, learnt),
    )
    return dict(zip(MEASURES, found, strict=True))


def class_means(features: Float[Tensor, "n units"], labels: Int[Tensor, " n"]) -> Float[Tensor, "classes units"]:
    """The mean of the features of each class.

    Raises:
        ValueError: if a label is no class, or a class below the largest label has no example.
    """
    labels = expected.labels(labels, examples=len(features))
    counts = labels.bincount()
    if not counts.all():
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no example")
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, labels, features)
    return sums / counts[:, None]


def variability(
    features: Float[Tensor, "n units"], labels: Int[Tensor, " n"], means: Float[Tensor, "classes units"]
) -> float:
    r"""NC1, :math:`\operatorname{tr}(\Sigma_W \Sigma_B^+) / C`: the variance within classes by that between them.

    With :math:`\Sigma_B = M^\top M / C` it is the mean of :math:`\lVert (h_i - \mu_{y_i}) M^+ \rVert^2`.
    """
    within = (features - means[labels]) @ torch.linalg.pinv(_centred(means))
    return float(within.square().sum(1).mean())


def lengths(means: Float[Tensor, "classes units"]) -> float:
    """The first half of NC2: the deviation of the lengths of centred means (over classes less 1), by their mean."""
    found = _centred(means).norm(dim=1)
    return float(found.std() / found.mean())


def angles(means: Float[Tensor, "classes units"]) -> float:
    r"""The second half of NC2: by how much cosines between centred means miss :math:`-1 / (C - 1)`, in the mean."""
    rows = torch.nn.functional.normalize(_centred(means))
    places = torch.triu_indices(len(rows), len(rows), 1)
    cosines = (rows @ rows.T)[places[0], places[1]]
    return float((cosines + 1.0 / (len(rows) - 1)).abs().mean())


def duality(classifier: Float[Tensor, "classes units"], means: Float[Tensor, "classes units"]) -> float:
    r"""NC3, :math:`\lVert W / \lVert W \rVert - M / \lVert M \rVert \rVert^2`, from 0 to 4, and 2 if unrelated."""
    centred = _centred(means)
    return float((classifier / classifier.norm() - centred / centred.norm()).square().sum())


def mismatch(
    features: Float[Tensor, "n units"], said: Float[Tensor, "n classes"], means: Float[Tensor, "classes units"]
) -> float:
    """NC4: the share of examples to which the network gives another class than that of the nearest class mean."""
    return float((torch.cdist(features, means).argmin(1) != said.argmax(1)).double().mean())


def reached(
    classifier: Float[Tensor, "classes units"], features: Float[Tensor, "n units"], labels: Int[Tensor, " n"]
) -> float:
    r"""The least margin between logits, by the greatest that a classifier and features of their sizes can have.

    It is 1 where collapse is complete, and only there. For classes with as many examples each, without biases,

    .. math:: \min_{i, c \neq y_i} (w_{y_i} - w_c) \cdot h_i \le
        \frac{\sqrt C}{C - 1} \lVert W \rVert \Big(\frac 1 N \sum_i \lVert h_i \rVert^2\Big)^{1/2},

    since the mean of the margins of an example is :math:`C / (C - 1)` times :math:`(w_{y_i} - \bar w) \cdot h_i`.
    """
    classes = len(classifier)
    least = logit_margin(features @ classifier.T, labels).min()
    size = features.square().sum(1).mean().sqrt() * classifier.norm()
    return float(least * (classes - 1) / classes**0.5 / size)


def _centred(means: Tensor) -> Tensor:
    return means - means.mean(0)
