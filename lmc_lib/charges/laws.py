r"""How charges move under SGD with momentum and weight decay.

Of a charge :math:`q` of degree :math:`d`, all that a law needs to know of the gradients is the *drive*
:math:`r = \langle \xi(v'), v' \rangle`, the charge of each update's velocity. With :math:`d = 1` there is none.
"""

__all__ = ["LAWS", "SGD", "Law", "discrete_law", "gradient_flow", "order", "oscillator", "predicted"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class SGD:
    r"""The rule of an update, :math:`v' = \mu v + g + \lambda \theta` and :math:`\theta' = \theta - \eta v'`.

    Attributes:
        rate: :math:`\eta`.
        momentum: :math:`\mu`.
        decay: :math:`\lambda`.
    """

    rate: float
    momentum: float = 0.0
    decay: float = 0.0


@dataclass(frozen=True)
class Law:
    """A linear recursion of two numbers, of which the first is the charge.

    Attributes:
        start: the two numbers at the start, where the charge is 1.
        step: what an update makes of them.
        drive: what it adds to them for a drive of 1.
    """

    start: Float[ndarray, "2"]
    step: Float[ndarray, "2 2"]
    drive: Float[ndarray, "2"]


def discrete_law(degree: int, sgd: SGD) -> Law:
    r"""The law of the updates themselves, which begin with no velocity.

    With :math:`p = \langle \xi(\theta), v \rangle` and :math:`u = \mu p + \lambda q`,

    .. math::
        q' = q - d \eta u + (d - 1) \eta^2 r, \qquad p' = u - (d - 1) \eta r.

    It follows from the rule of the update by algebra, if the gradient has no part along the generator.
    """
    rate, driven = sgd.rate, degree - 1
    return Law(
        np.array([1.0, 0.0]),
        np.array([[1.0 - degree * rate * sgd.decay, -degree * rate * sgd.momentum], [sgd.decay, sgd.momentum]]),
        np.array([driven * rate**2, -driven * rate]),
    )


def oscillator(degree: int, sgd: SGD) -> Law:
    r"""The law of the differential equation that the updates approximate to second order in the rate.

    It is the damped oscillator of Kunin et al. (2021), with mass :math:`m = \eta (1 + \mu) / 2` and the time
    :math:`t = k \eta` after :math:`k` updates:

    .. math::
        m \ddot q + (1 - \mu) \dot q + d \lambda q = 2 (d - 1) m r .

    The drive is constant during an update, so that the solution over one is a matrix exponential. It starts with the
    impulse of half an update, :math:`m \dot q = -\eta d \lambda q / 2`; from rest, as in the code of the paper, it
    would be of first order alone. That it is of second order near the discrete law is mathematics, true of any drive.
    """
    from scipy.linalg import expm  # noqa: PLC0415 -- slow to load, and used here alone

    mass = sgd.rate * (1.0 + sgd.momentum) / 2.0
    flow = np.zeros((3, 3))
    flow[0, 1] = 1.0
    flow[1] = -degree * sgd.decay / mass, -(1.0 - sgd.momentum) / mass, 2.0 * (degree - 1)
    whole = expm(sgd.rate * flow)
    return Law(np.array([1.0, -degree * sgd.decay / (1.0 + sgd.momentum)]), whole[:2, :2], whole[:2, 2])


def gradient_flow(degree: int, sgd: SGD) -> Law:
    r"""The law in the limit of small steps, :math:`(1 - \mu) \dot q = -d \lambda q`; without decay nothing moves."""
    kept = np.exp(-degree * sgd.decay * sgd.rate / (1.0 - sgd.momentum))
    return Law(np.array([1.0, 0.0]), np.array([[kept, 0.0], [0.0, 0.0]]), np.zeros(2))


LAWS = {"discrete law": discrete_law, "oscillator": oscillator, "gradient flow": gradient_flow}


def predicted(
    law: Law, start: Float[ndarray, " units"], drive: Float[ndarray, "updates units"]
) -> Float[ndarray, "after units"]:
    """The charges that a law predicts, before the first update and after each.

    Args:
        law: the law.
        start: the charges before the first update.
        drive: the charge of each update's velocity.
    """
    now = np.outer(law.start, start)
    found = [now[0]]
    for each in drive:
        now = law.step @ now + np.outer(law.drive, each)
        found.append(now[0])
    return np.stack(found)


def order(rates: Sequence[float], sizes: Float[ndarray, "networks rates"]) -> Float[ndarray, " networks"]:
    """The power of the rate as which something grows: the slope of a line through logarithms.

    Example:
        >>> order([0.1, 0.2], np.array([[3.0, 12.0]])).round(9).tolist()
        [2.0]
    """
    return np.asarray(np.polyfit(np.log(rates), np.log(sizes).T, 1)[0])
