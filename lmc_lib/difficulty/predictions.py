r"""Scores of examples from the logits of one network at one step.

With logits :math:`z`, label :math:`y` and :math:`p = \operatorname{softmax}(z)`. All scores come from float64
logarithms: a network that has learned its examples gives most of them a probability of exactly 1 in float32, and so one
rank. What is near 0 is computed as such and never as 1 minus something near 1.
"""

__all__ = [
    "POINTWISE", "accuracy", "check", "confidence", "el2n", "entropy", "log_odds", "logit_margin", "loss", "margin",
    "max_confidence", "pointwise", "predict",
]  # fmt: skip

import copy
from collections.abc import Callable, Collection

import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import expected, rng
from lmc_lib.state import State, apply, clone, fitted


def predict(
    network: nn.Module,
    state: State,
    inputs: Shaped[Tensor, "examples ..."],
    *,
    mode: str,
    batch_size: int = 256,
    seed: int = 0,
) -> Float[Tensor, "examples classes"]:
    """The logits of a network, in float64 on the CPU.

    Scores in the two modes are different scores: forgetting was defined on what the network answers while it trains
    (Toneva et al. 2019), and most other scores on what it answers in evaluation. In training mode the examples of a
    batch see each other through BatchNorm, and dropout draws.

    Args:
        network: the architecture; unchanged.
        state: the weights, running statistics included; unchanged in both modes.
        inputs: one example a row, augmented if the score is to be that of augmented examples.
        mode: ``"train"`` or ``"eval"``.
        batch_size: examples a batch; in evaluation it bounds the memory and makes no difference to the result.
        seed: stream of whatever draws in training mode; the global stream is left alone.

    Raises:
        ValueError: if the mode is unknown.
    """
    if mode not in ("train", "eval"):
        raise ValueError(f"the mode is 'train' or 'eval', not {mode!r}")
    network = copy.deepcopy(network).train(mode == "train")
    state = clone(state)  # training mode moves the running statistics
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng.stream(seed, "predict").get_state())
        parts = [
            apply(network, state, fitted(batch, state)).double().cpu() for batch in torch.split(inputs, batch_size)
        ]
    return torch.cat(parts)


def accuracy(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r""":math:`\mathbf 1[\arg\max_k z_k = y]`; of equal logits the first class wins."""
    return _array(logits.argmax(1) == check(logits, labels))


def confidence(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    """:math:`p_y`, the probability of the label (Swayamdipta et al. 2020 average it over a training)."""
    return _array(torch.sigmoid(_log_odds(logits, labels)))


def log_odds(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r""":math:`\log p_y / (1 - p_y)`: the order of the confidence, without its ceiling at 1."""
    return _array(_log_odds(logits, labels))


def loss(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r"""The cross-entropy :math:`-\log p_y`, in nats."""
    return _array(-F.logsigmoid(_log_odds(logits, labels)))


def max_confidence(
    logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]
) -> Float[ndarray, " examples"]:
    r""":math:`\max_k p_k`, the probability of the most likely class, whatever the label."""
    check(logits, labels)
    return _array(logits.double().softmax(1).amax(1))


def entropy(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r"""The entropy :math:`-\sum_k p_k \log p_k` of the prediction, in nats, whatever the label."""
    check(logits, labels)
    log_p = logits.double().log_softmax(1)
    return _array(-(log_p.exp() * log_p).sum(1))


def margin(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r""":math:`p_y - \max_{k \ne y} p_k`, of probabilities (Kwok et al. 2024), from -1 to 1."""
    own, others = _split(logits, labels)
    log_sum = torch.logsumexp(logits.double(), 1)
    return _array((own - log_sum).exp() - (others.amax(1) - log_sum).exp())


def logit_margin(
    logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]
) -> Float[ndarray, " examples"]:
    r""":math:`z_y - \max_{k \ne y} z_k`, of logits; its mean over a training is the AUM (Pleiss et al. 2020)."""
    own, others = _split(logits, labels)
    return _array(own - others.amax(1))


def el2n(logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"]) -> Float[ndarray, " examples"]:
    r""":math:`\lVert p - e_y \rVert_2` with the one-hot label :math:`e_y` (Paul et al. 2021), from 0 to the root of 2.

    Over several networks it is the mean of these norms, not the norm of a mean.
    """
    own, others = _split(logits, labels)
    missing = torch.sigmoid(-_odds(own, others))  # 1 - p_y, taken out of the root, where its square could vanish
    return _array(missing * (1.0 + others.softmax(1).square().sum(1)).sqrt())


# The scores by name, each a function of logits and labels.
POINTWISE: dict[str, Callable[[Tensor, Tensor], ndarray]] = {
    "accuracy": accuracy,
    "confidence": confidence,
    "el2n": el2n,
    "entropy": entropy,
    "log_odds": log_odds,
    "logit_margin": logit_margin,
    "loss": loss,
    "margin": margin,
    "max_confidence": max_confidence,
}


def pointwise(
    logits: Float[Tensor, "examples classes"], labels: Int[Tensor, " rows"], names: Collection[str] = tuple(POINTWISE)
) -> dict[str, Float[ndarray, " examples"]]:
    """Several scores at once, by name.

    Args:
        logits: of one network at one step.
        labels: class of each example.
        names: which scores; all by default.

    Raises:
        ValueError: if a score is unknown, a label is not a class, the numbers of examples differ, there are fewer than
            two classes, or a logit is not finite.

    Example:
        >>> scores = pointwise(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0]), ["confidence", "margin"])
        >>> {name: float(values[0].round(4)) for name, values in scores.items()}
        {'confidence': 0.787, 'margin': 0.6805}
    """
    if unknown := [name for name in names if name not in POINTWISE]:
        raise ValueError(f"unknown score {unknown[0]!r}; those of one network's logits are {', '.join(POINTWISE)}")
    return {name: POINTWISE[name](logits, labels) for name in names}


def _log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    return _odds(*_split(logits, labels))


def _odds(own: Tensor, others: Tensor) -> Tensor:
    # Exact to the last digits also where p_y is within rounding of 1, unlike the logarithm of p_y.
    return own - torch.logsumexp(others, 1)


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's logit, and all logits with minus infinity in its place."""
    places = check(logits, labels)[:, None]
    logits = logits.double()
    return logits.gather(1, places)[:, 0], logits.scatter(1, places, -torch.inf)


def check(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels in int64, beside the logits; raises if they do not fit each other or cannot be scored.

    Raises:
        ValueError: if a label is not a class, the numbers of examples differ, there are fewer than two classes, or a
            logit is not finite.
    """
    examples, classes = logits.shape
    if classes < 2:
        raise ValueError("with a single class every prediction is right, so no example is harder than another")
    labels = expected.labels(labels, examples=examples, classes=classes)
    if not bool(logits.isfinite().all()):
        first = int((~logits.isfinite().all(1)).nonzero()[0])
        raise ValueError(
            f"a logit of example {first} is not finite: a network whose training diverged has no scores, leave it out"
        )
    return labels.to(logits.device)


def _array(values: Tensor) -> ndarray:
    array: ndarray = values.detach().double().cpu().numpy()
    return array
