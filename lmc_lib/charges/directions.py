r"""Weights before a normalisation as directions, of which SGD with weight decay is an adaptive optimiser.

Only the direction of such weights :math:`w` counts. The gradient by it is :math:`\hat g = |w| g`, and an update by SGD
turns the direction, to leading order in the weight decay :math:`\lambda`, as a step of size :math:`\eta / |w|^2` along
:math:`\hat g` does, the *effective step*; exactly it is larger by :math:`1 / (1 - \eta \lambda)`. Lengths grow
by gradients and fall by weight decay, so that the effective step is that of RMSProp (Tanaka and Kunin 2021).
"""

__all__ = ["apart", "effective_steps", "fourth_power", "left_out", "squared_gradients"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.charges.laws import SGD, Law
from lmc_lib.charges.motion import Motion


def fourth_power(sgd: SGD) -> Law:
    r"""The law of the fourth power of lengths under SGD with weight decay and without momentum.

    .. math::
        |w|'^4 = (1 - 4 \eta \lambda) |w|^4 + 2 \eta^2 |\hat g|^2 .

    The square of the discrete law is :math:`(1 - \eta \lambda)^4 |w|^4 + 2 (1 - \eta \lambda)^2 \eta^2 |\hat g|^2 +
    \eta^4 |\hat g|^4 / |w|^4`; left out is what is of higher order in :math:`\eta \lambda` and in the angle by which an
    update turns a direction. The drive is :math:`|\hat g|^2`.

    Raises:
        ValueError: if there is momentum.
    """
    if sgd.momentum:
        raise ValueError(f"fourth powers of lengths follow a running mean without momentum, not with {sgd.momentum}")
    kept = 1.0 - 4.0 * sgd.rate * sgd.decay
    return Law(np.array([1.0, 0.0]), np.array([[kept, 0.0], [0.0, 0.0]]), np.array([2.0 * sgd.rate**2, 0.0]))


def left_out(squares: Float[ndarray, "updates units"], sgd: SGD) -> Float[ndarray, " units"]:
    r"""What the law of fourth powers leaves out, as a relative error, once the squared gradients are stationary.

    It is :math:`(1/2 - \kappa) \eta \lambda` to first order, where :math:`\kappa = \langle |\hat g|^4 \rangle / \langle
    |\hat g|^2 \rangle^2` is at least 1. As shares of what is stationary, :math:`\eta |\hat g|^2 / 2 \lambda`, the terms
    left out are :math:`\eta \lambda` times 3/2 in the forgetting, -2 in the drive, and :math:`\kappa` in its square.
    """
    tails = np.square(squares).mean(0) / np.square(squares.mean(0))
    return np.asarray((0.5 - tails) * sgd.rate * sgd.decay)


def squared_gradients(motion: Motion) -> Float[ndarray, "updates units"]:
    r"""The squares :math:`|\hat g|^2 = |g|^2 |w|^2` of gradients by directions, from the motion of scale charges."""
    return np.asarray(motion.squares * motion.charges[:-1])


def effective_steps(motion: Motion, sgd: SGD) -> Float[ndarray, "updates units"]:
    r"""The effective step :math:`\eta / |w|^2` of each unit at each update, from the motion of scale charges."""
    return np.asarray(sgd.rate / motion.charges[:-1])


def apart(ours: Float[ndarray, "..."], others: Float[ndarray, "..."]) -> float:
    """How far positive numbers are from others: the root mean square of the logarithm of their ratio."""
    return float(np.sqrt(np.square(np.log(ours / others)).mean()))
