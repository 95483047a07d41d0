r"""SGD with momentum when it has converged: how far it spreads along each direction, and how it moves there.

An update is :math:`v \leftarrow \beta v - g - \lambda \theta`, :math:`\theta \leftarrow \theta + \eta v`, with the
gradient :math:`g` of a batch. Along an eigenvector of the second derivatives with the eigenvalue :math:`h` it has the
*stiffness* :math:`k = h + \lambda`, and the gradient of a batch has the variance :math:`s`, the *noise*. In the time
:math:`t = \eta \cdot` updates, Kunin et al. (2021, arXiv:2107.09133) make of it an oscillator with friction,

.. math:: \tfrac{\eta (1 + \beta)}{2} \ddot\theta + (1 - \beta) \dot\theta + k \theta = \sqrt{\eta s}\, \dot W .

Its stationary variances are :math:`\eta s / (2 k (1 - \beta))` of the position and :math:`s / (1 - \beta^2)` of the
velocity. Where the noise does not depend on the position, both are too small by the factor
:math:`1 - \eta k / (2 (1 + \beta))`, and by no more: that is the whole error of the passage to continuous time.
"""

__all__ = ["correlation", "displacement", "oscillation", "regression", "slopes", "spread"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def spread(
    stiffness: Float[ndarray, " modes"],
    noise: Float[ndarray, " modes"],
    *,
    lr: float,
    momentum: float,
    exact: bool = False,
) -> tuple[Float[ndarray, " modes"], Float[ndarray, " modes"]]:
    r"""The stationary variances of the position and of the velocity, :math:`\Delta\theta / \eta`, along each direction.

    Args:
        stiffness: second derivatives and weight decay together, positive.
        noise: variance of the gradient of a batch.
        lr: the step size.
        momentum: the share of the velocity that is kept.
        exact: whether they are those of the updates; if not, those of continuous time.

    Raises:
        ValueError: if the exact ones do not exist, since updates diverge.
    """
    position, velocity = lr * noise / (2.0 * stiffness * (1.0 - momentum)), noise / (1.0 - momentum**2)
    if not exact:
        return position, velocity
    factor = _factor(stiffness, lr, momentum)
    return position / factor, velocity / factor


def regression(
    curvatures: Float[ndarray, " modes"],
    residual: float,
    *,
    lr: float,
    momentum: float,
    decay: float,
    batch: int,
) -> Float[ndarray, " modes"]:
    r"""The exact stationary variances of SGD on a linear regression whose noise depends on where it is.

    Inputs are normal with the covariance :math:`\mathrm{diag}(h)` and always new; targets are the sum of the inputs and
    a normal residual. At the distance :math:`u` from the true weights the gradient of a batch of :math:`B` varies by
    :math:`[(\sigma^2 + u^\top H u) H + H u u^\top H] / B`, so that the variances solve linear equations.

    Args:
        curvatures: :math:`h`.
        residual: :math:`\sigma`, the standard deviation of the residual.
        lr: the step size.
        momentum: the share of the velocity that is kept.
        decay: weight decay, which draws the mean away from the true weights, all of which are 1.
        batch: examples of a batch.

    Raises:
        ValueError: if there is no stationary state: the step is too large, or the noise feeds itself.
    """
    stiffness, size = curvatures + decay, len(curvatures)
    gain = spread(stiffness, np.ones(size) / batch, lr=lr, momentum=momentum, exact=True)[0]
    squared_mean = (decay / stiffness) ** 2
    fed = np.outer(curvatures, curvatures) + np.diag(curvatures**2)
    own = residual**2 * curvatures + fed @ squared_mean
    system = np.eye(size) - gain[:, None] * fed
    if np.abs(np.linalg.eigvals(np.eye(size) - system)).max() >= 1.0:
        raise ValueError(f"with a step of {lr:g} and batches of {batch} the noise feeds itself: no variance stays")
    return np.asarray(np.linalg.solve(system, gain * own))


def oscillation(
    stiffness: Float[ndarray, " modes"], lags: ndarray, *, lr: float, momentum: float
) -> Float[ndarray, "modes lags"]:
    r"""The correlation of positions some updates apart in continuous time.

    It is :math:`e^{-\gamma t} (\cos f t + \frac{\gamma}{f} \sin f t)` with :math:`\gamma = \frac{1 - \beta}{\eta (1 +
    \beta)}` and :math:`f^2 = \frac{2 k}{\eta (1 + \beta)} - \gamma^2`; where that is negative nothing oscillates.

    Args:
        stiffness: second derivatives and weight decay together.
        lags: in updates.
        lr: the step size.
        momentum: the share of the velocity that is kept.
    """
    times, mass = lr * np.asarray(lags, dtype=float), lr * (1.0 + momentum)
    friction = (1.0 - momentum) / mass
    frequency = np.sqrt(2.0 * stiffness[:, None] / mass - friction**2 + 0j)
    turn = frequency * times
    # numpy's sinc of x is sin(pi x) / (pi x), and 1 at 0.
    waves = np.cos(turn) + friction * times * np.sinc(turn / np.pi)
    return np.asarray((np.exp(-friction * times) * waves).real)


def correlation(
    stiffness: Float[ndarray, " modes"], lags: ndarray, *, lr: float, momentum: float
) -> Float[ndarray, "modes lags"]:
    """The same of the updates themselves, if the noise does not depend on the position.

    Args:
        stiffness: second derivatives and weight decay together.
        lags: whole numbers of updates.
        lr: the step size.
        momentum: the share of the velocity that is kept.
    """
    return np.asarray(1.0 - lr * stiffness[:, None] * _gaps(stiffness, lags, lr, momentum))


def displacement(
    stiffness: Float[ndarray, " modes"],
    noise: Float[ndarray, " modes"],
    lags: ndarray,
    *,
    lr: float,
    momentum: float,
) -> Float[ndarray, " lags"]:
    """The expected squared distance of weights some updates apart, summed over directions, once velocities are steady.

    The noise may be correlated between directions: their squares add up all the same.

    Args:
        stiffness: second derivatives and weight decay together; 0 where nothing draws back.
        noise: variance of the gradient of a batch.
        lags: whole numbers of updates.
        lr: the step size.
        momentum: the share of the velocity that is kept.

    Raises:
        ValueError: if updates diverge.
    """
    factor = _factor(stiffness, lr, momentum)
    return np.asarray(lr**2 / (1.0 - momentum) * (noise / factor) @ _gaps(stiffness, lags, lr, momentum))


def slopes(lags: ndarray, distance: Float[ndarray, "*more lags"]) -> Float[ndarray, "*more n"]:
    """The local exponents with which squared distances grow, between neighbouring lags.

    Example:
        >>> slopes(np.array([1, 2, 8]), np.array([3.0, 12.0, 48.0])).round(6).tolist()
        [2.0, 1.0]
    """
    return np.asarray(np.diff(np.log(distance), axis=-1) / np.diff(np.log(lags)))


def _factor(stiffness: ndarray, lr: float, momentum: float) -> ndarray:
    """By how much the variances of continuous time are too small."""
    factor = 1.0 - lr * stiffness / (2.0 * (1.0 + momentum))
    if (factor <= 0.0).any():
        raise ValueError(f"updates with a step of {lr:g} diverge along a direction of stiffness {stiffness.max():g}")
    return np.asarray(factor)


def _gaps(stiffness: ndarray, lags: ndarray, lr: float, momentum: float) -> ndarray:
    """What correlations lack of 1, by the step size and the stiffness: so it is a number where nothing draws back."""
    wanted = np.asarray(lags, dtype=int)
    before, now = np.zeros(len(stiffness)), np.full(len(stiffness), 1.0 / (1.0 + momentum))
    gaps = [before, now]
    for _ in range(int(wanted.max()) - 1):
        before, now = now, (1.0 + momentum - lr * stiffness) * now - momentum * before + 1.0
        gaps.append(now)
    return np.stack(gaps, 1)[:, wanted]
