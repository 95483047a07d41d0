"""Optimisers whose results are the same bits on every IEEE processor.

Training amplifies a difference in the last bit to another network within some thousand updates, and processors differ
in the last bits of matrix products (order of sums, fused multiply-add). Here the forward and backward pass run in
float64, the gradient is rounded to an absolute grid, in which differences of 1e-16 vanish unless a value sits on a
boundary, and the update uses single operations ``mul``, ``add``, ``sub`` only, which IEEE 754 defines to the bit.
``addcmul``, ``lerp`` and ``add(alpha=...)`` are left out on purpose: they may be fused.
"""

__all__ = ["PortableAdamW", "PortableSGD", "round_statistics", "round_to_grid"]

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Updates of AdamW pass through a square root and a division, whose last bit differs between maths libraries.
_ADAM_BITS = 34
_STATISTICS_BITS = 30


def round_to_grid(value: Tensor, bits: int) -> Tensor:
    """Rounds in place to multiples of ``2 ** -bits``; both scalings are exact."""
    return value.mul_(2.0**bits).round_().mul_(2.0**-bits)


def round_statistics(model: nn.Module) -> None:
    """Rounds the running statistics of normalisation layers in place, since they are part of the state."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            round_to_grid(buffer, _STATISTICS_BITS)


class PortableSGD:
    """SGD with momentum and weight decay; the same recursion as ``torch.optim.SGD``."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, bits: int) -> None:
        self.parameters = list(parameters)
        self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.bits = bits

    @property
    def averages(self) -> dict[str, list[Tensor]]:
        """What it remembers of past gradients, under the names of ``torch.optim``; one tensor a parameter."""
        return {"momentum_buffer": self.velocity}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Updates the parameters in place from their gradients, which are used up."""
        for parameter, velocity in zip(self.parameters, self.velocity, strict=True):
            gradient = _take_gradient(parameter, self.bits)
            if self.weight_decay:
                gradient.add_(parameter * self.weight_decay)
            velocity.mul_(self.momentum).add_(gradient)
            parameter.sub_(velocity * lr)


class PortableAdamW:
    """AdamW with decoupled weight decay; the same recursion as ``torch.optim.AdamW``."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float, bits: int) -> None:
        self.parameters = list(parameters)
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.weight_decay = weight_decay
        self.bits = bits
        self.count = 0

    @property
    def averages(self) -> dict[str, list[Tensor]]:
        """What it remembers of past gradients, under the names of ``torch.optim``; one tensor a parameter."""
        return {"exp_avg": self.first, "exp_avg_sq": self.second}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Updates the parameters in place from their gradients, which are used up."""
        self.count += 1
        correction1, correction2 = 1.0 - 0.9**self.count, 1.0 - 0.999**self.count
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            gradient = _take_gradient(parameter, self.bits)
            first.mul_(0.9).add_(gradient * (1.0 - 0.9))
            second.mul_(0.999).add_(gradient * gradient * (1.0 - 0.999))
            scale = second.sqrt().div_(math.sqrt(correction2)).add_(1e-8)
            update = round_to_grid((first / correction1).div_(scale), _ADAM_BITS)
            parameter.mul_(1.0 - lr * self.weight_decay).sub_(update * lr)


def _take_gradient(parameter: nn.Parameter, bits: int) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    parameter.grad = None
    return round_to_grid(gradient, bits)
