"""Optimisers whose results are the same bits on every IEEE processor.

Training amplifies a difference in the last bit to another network within some thousand updates, and processors differ
in the last bits of matrix products (order of sums, fused multiply-add). Here the forward and backward pass run in
float64, the gradient is rounded to an absolute grid, in which differences of 1e-16 vanish unless a value sits on a
boundary, and the update uses single operations ``mul``, ``add``, ``sub`` only, which IEEE 754 defines to the bit.
``addcmul``, ``lerp`` and ``add(alpha=...)`` are left out on purpose: they may be fused.
"""

__all__ = ["PortableAdamW", "PortableSGD", "round_statistics"]

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lmc_lib.values import round_to_grid

# Updates of AdamW pass through a square root and a division, whose last bit differs between maths libraries.
_ADAM_BITS = 34
_STATISTICS_BITS = 30


def round_statistics(buffers: Iterable[Tensor]) -> None:
    """Rounds the running statistics of normalisation layers in place, since they are part of the state."""
    for buffer in buffers:
        if buffer.is_floating_point():
            round_to_grid(buffer, _STATISTICS_BITS)


class _Joined:
    """Parameters as stretches of one vector, so that an update takes a few operations however many there are.

    Of a small network, operations one by one on each parameter took a third of the time of a training.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.vector = torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])
        for parameter, stretch in zip(self.parameters, self.stretches(self.vector), strict=True):
            parameter.data = stretch

    def stretches(self, vector: Tensor) -> list[Tensor]:
        """What belongs to each parameter, in its shape; it shares the memory of the vector."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self.parameters, strict=True)]

    def take_gradient(self, bits: int) -> Tensor:
        """The gradient, rounded; it is used up."""
        gradients = []
        for parameter in self.parameters:
            assert parameter.grad is not None
            gradients.append(parameter.grad.reshape(-1))
            parameter.grad = None
        return round_to_grid(torch.cat(gradients), bits)


class PortableSGD:
    """SGD with momentum and weight decay; the same recursion as ``torch.optim.SGD``.

    From its construction on, the parameters share the memory of one vector.

    Attributes:
        averages: what it remembers of past gradients, under the names of ``torch.optim``; one tensor a parameter, which
            each update changes in place.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, bits: int) -> None:
        self.joined = _Joined(parameters)
        self.velocity = torch.zeros_like(self.joined.vector)
        self.averages = {"momentum_buffer": self.joined.stretches(self.velocity)}
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.bits = bits

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Updates the parameters in place from their gradients, which are used up."""
        gradient, weights = self.joined.take_gradient(self.bits), self.joined.vector
        if self.weight_decay:
            gradient.add_(weights * self.weight_decay)
        self.velocity.mul_(self.momentum).add_(gradient)
        weights.sub_(self.velocity * lr)


class PortableAdamW:
    """AdamW with decoupled weight decay; the same recursion as ``torch.optim.AdamW``.

    From its construction on, the parameters share the memory of one vector.

    Attributes:
        averages: as those of :class:`PortableSGD`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float, bits: int) -> None:
        self.joined = _Joined(parameters)
        self.first = torch.zeros_like(self.joined.vector)
        self.second = torch.zeros_like(self.joined.vector)
        moments = {"exp_avg": self.first, "exp_avg_sq": self.second}
        self.averages = {name: self.joined.stretches(each) for name, each in moments.items()}
        self.weight_decay = weight_decay
        self.bits = bits
        self.count = 0

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Updates the parameters in place from their gradients, which are used up."""
        self.count += 1
        correction1, correction2 = 1.0 - 0.9**self.count, 1.0 - 0.999**self.count
        gradient = self.joined.take_gradient(self.bits)
        self.first.mul_(0.9).add_(gradient * (1.0 - 0.9))
        self.second.mul_(0.999).add_(gradient * gradient * (1.0 - 0.999))
        scale = self.second.sqrt().div_(math.sqrt(correction2)).add_(1e-8)
        update = round_to_grid((self.first / correction1).div_(scale), _ADAM_BITS)
        self.joined.vector.mul_(1.0 - lr * self.weight_decay).sub_(update * lr)
