"""Perturbations of weights: a direction, a size relative to the initialisation, which weights move, and growth."""

__all__ = [
    "CONVENTIONS", "DIRECTIONS", "Perturbation", "Realised", "batch_direction", "gaussian_direction",
    "growth_exponents", "perturb",
]  # fmt: skip

import copy
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import expected
from lmc_lib.state import State, fitted, load_, real
from lmc_lib.values import round_to_grid

DIRECTIONS = ("gaussian", "batch")
CONVENTIONS = ("formula", "code")

# Of what is drawn, and of what is added to float64 weights: last bits of draws and norms differ between processors.
_DRAWN_BITS = 30
_GRID_BITS = 50

# Growth is that of small differences as long as they are below this share of where they end.
_SATURATED = 0.03


@dataclass(frozen=True)
class Perturbation:
    r"""What is added to the weights of a network.

    With a direction :math:`\hat\epsilon`, a mask :math:`M` of the weights that move and the expected norm of the
    initialisation :math:`s(M)^2 = \sum_l \tfrac{2}{n_l} m_l`, where layer :math:`l` has fan-in :math:`n_l` and
    :math:`m_l` weights that move, the weights get :math:`\sigma\, \epsilon` with

    - ``"formula"``: :math:`\epsilon = s(M)\, \hat\epsilon M / \lVert \hat\epsilon M \rVert`;
    - ``"code"``: :math:`\epsilon = M \cdot s(1)\, \hat\epsilon / \lVert \hat\epsilon \rVert`, the mask after the
      normalisation.

    They agree if all weights of the layers move. Only matrices and filters count and move: biases and the weights of
    normalisation layers stay (Altıntaş et al. 2025; the second form is that of their code).

    Attributes:
        size: :math:`\sigma`; 1 is as large as the initialisation.
        direction: ``"gaussian"``, drawn like the initialisation, or ``"batch"``, the gradient of the mean loss on one
            random batch.
        weights: how many weights move, chosen at random: a share (float), a number (int), or all (None).
        layers: regular expression that the names of the layers contain; all layers if empty.
        convention: ``"formula"`` or ``"code"``.
    """

    size: float
    direction: str = "gaussian"
    weights: float | int | None = None
    layers: str = ""
    convention: str = "formula"

    def __post_init__(self) -> None:
        if not 0.0 <= self.size < math.inf:
            raise ValueError(
                f"the size of a perturbation is relative to the initialisation and at least 0: {self.size}"
            )
        for name, allowed in (("direction", DIRECTIONS), ("convention", CONVENTIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; there are {', '.join(allowed)}")
        if isinstance(self.weights, float) and not 0.0 < self.weights <= 1.0:
            raise ValueError(f"the share of weights that move lies above 0 and at most at 1, got {self.weights}")
        if isinstance(self.weights, int) and self.weights < 1:
            raise ValueError(f"at least one weight moves, got {self.weights}")


@dataclass(frozen=True)
class Realised:
    """A perturbed network and how far it really is from the one before: arithmetic of few digits swallows small steps.

    Attributes:
        state: the perturbed weights.
        intended: the norm of what was to be added.
        norm: the norm of what was added.
        changed: the number of weights that are not what they were.
        moved: the number of weights that were to move.
    """

    state: State
    intended: float
    norm: float
    changed: int
    moved: int


def gaussian_direction(state: State, layers: str = "", *, generator: Generator) -> State:
    r"""Draws a direction like the initialisation: :math:`N(0, 2/n)` for every weight of a layer with fan-in :math:`n`.

    Draws are made in float64 and rounded to multiples of :math:`2^{-30}`, as :func:`lmc_lib.models.initialise` does.

    Args:
        state: weights, of which only the shapes count.
        layers: regular expression of the layers.
        generator: source of the draws.

    Raises:
        ValueError: if no layer has such a name.
    """
    direction = {}
    for name in _perturbable(state, layers):
        draw = torch.randn(state[name].shape, generator=generator, dtype=torch.float64)
        draw = round_to_grid(draw.mul_(_deviation(state[name])), _DRAWN_BITS)
        direction[name] = draw.to(state[name].device)
    return direction


def batch_direction(model: nn.Module, state: State, inputs: Tensor, labels: Tensor, layers: str = "") -> State:
    """The gradient of the mean cross-entropy of a batch, in training mode, in the dtype of the weights.

    Args:
        model: the architecture; unchanged.
        state: the weights; unchanged.
        inputs: the batch.
        labels: its classes.
        layers: regular expression of the layers.

    Raises:
        ValueError: if the batch is empty, a label is not a class, no layer has such a name, or the gradient is zero.
    """
    if len(inputs) == 0:
        raise ValueError("the batch direction is a gradient on examples, and there are none")
    value = next(iter(real(state).values()))
    network = copy.deepcopy(model).to(value.device, value.dtype).train()
    load_(network, state)
    logits = network(fitted(inputs, state))
    truth = expected.labels(labels, examples=len(inputs), classes=logits.shape[1])
    loss = F.cross_entropy(logits, truth.to(value.device))
    names = _perturbable(state, layers)
    gradients = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])
    direction = {name: each.double() for name, each in zip(names, gradients, strict=True)}
    if not any(bool(each.any()) for each in direction.values()):
        raise ValueError("the gradient on this batch is zero, so it gives no direction")
    return direction


def perturb(state: State, direction: State, perturbation: Perturbation, *, generator: Generator) -> Realised:
    """Moves weights in a direction; see :class:`Perturbation` for how far.

    Args:
        state: the weights; unchanged.
        direction: what ``gaussian_direction`` or ``batch_direction`` returned for the same layers.
        perturbation: size, number of weights and convention.
        generator: chooses the weights that move, if not all do.

    Returns:
        The perturbed weights in their dtype, and how far they really moved. Warns if none did although some should.

    Raises:
        ValueError: if more weights are to move than the layers have, or the direction is zero on all of them.
    """
    mask = _mask(direction, perturbation.weights, generator)
    masked = {name: value * mask[name] for name, value in direction.items()}
    expected, length = _expected_norm(direction, mask), _norm(masked)
    if perturbation.convention == "code":
        expected, length = _expected_norm(direction, None), _norm(direction)
    if length == 0.0:
        raise ValueError(
            "the direction is zero on all weights that are to move, so it says not where to; move more of them"
        )
    scale = perturbation.size * expected / length
    noise = {name: round_to_grid(value * scale, _GRID_BITS) for name, value in masked.items()}
    moved = {name: (state[name].double() + value).to(state[name].dtype) for name, value in noise.items()}
    added = {name: value.double() - state[name].double() for name, value in moved.items()}
    changed = sum(int(value.count_nonzero()) for value in added.values())
    if changed == 0 and perturbation.size > 0:
        kind = str(next(iter(moved.values())).dtype).removeprefix("torch.")
        warnings.warn(f"a perturbation of norm {_norm(noise):.3g} changes no weight in {kind}", stacklevel=2)
    return Realised(state | moved, _norm(noise), _norm(added), changed, sum(int(each.sum()) for each in mask.values()))


def _perturbable(state: State, layers: str) -> list[str]:
    """The matrices and filters, by name: a stored state lists its entries in another order than a fresh one."""
    names = sorted(name for name, value in real(state).items() if value.dim() > 1)
    chosen = [name for name in names if re.search(layers, name)]
    if not chosen:
        raise ValueError(f"no layer matches {layers!r}; the ones that can be perturbed are {', '.join(names)}")
    return chosen


def _mask(direction: State, weights: float | int | None, generator: Generator) -> State:
    """Ones where a weight moves."""
    total = sum(value.numel() for value in direction.values())
    count = total if weights is None else weights if isinstance(weights, int) else max(1, round(weights * total))
    if count > total:
        raise ValueError(f"{count} weights are to move, but these layers have {total}")
    flat = torch.zeros(total, dtype=torch.float64)
    flat[torch.randperm(total, generator=generator)[:count] if count < total else slice(None)] = 1.0
    parts = torch.split(flat, [value.numel() for value in direction.values()])
    return {
        name: part.view_as(value).to(value.device) for (name, value), part in zip(direction.items(), parts, strict=True)
    }


def _expected_norm(direction: State, mask: State | None) -> float:
    """The root of the expected squared norm of the initial weights, of those in the mask alone if there is one."""
    counts = {name: value.numel() if mask is None else float(mask[name].sum()) for name, value in direction.items()}
    return math.sqrt(sum(_deviation(value) ** 2 * counts[name] for name, value in direction.items()))


def _deviation(weight: Tensor) -> float:
    return math.sqrt(2.0 / weight[0].numel())


def _norm(values: State) -> float:
    return math.sqrt(sum(float(value.square().sum()) for value in values.values()))


def growth_exponents(
    steps: Int[ndarray, " steps"], distances: Float[ndarray, "parents children steps"]
) -> Float[ndarray, "parents children 2"]:
    r"""How fast twins move apart while they are near: the exponent of the earlier and of the later half of that time.

    A finite-time exponent is the slope of :math:`\log \lVert\theta_s - \theta'_s\rVert` over :math:`s`, in units of 1
    per update, by least squares. Twins are near from where they begin to differ until their distance is 3 % of that at
    the end. Halves are halves of the way in the logarithm of the distance, so that both have room.

    Args:
        steps: steps at which distances are known, the first that of the perturbation.
        distances: distances of twins there; the last is that at the end.

    Returns:
        The two exponents; NaN for twins that are near at fewer than four of the steps.
    """
    return np.array([[_two_exponents(steps, each) for each in row] for row in distances])


def _two_exponents(steps: ndarray, distances: ndarray) -> list[float]:
    far = distances >= _SATURATED * distances[-1]
    near = slice(0, int(far.argmax()))
    if not distances[0] > 0.0 or near.stop < 4:
        return [np.nan, np.nan]
    logs, times = np.log(distances[near]), steps[near]
    halfway = int((logs >= (logs[0] + logs[-1]) / 2).argmax())
    split = min(max(halfway, 2), len(logs) - 2)
    # The two halves meet in a step, so that none between them is lost.
    parts = slice(0, split + 1), slice(split, None)
    return [float(np.polyfit(times[part], logs[part], 1)[0]) for part in parts]
