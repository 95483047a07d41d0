"""The training loop."""

__all__ = ["Diverged", "Trajectory", "train"]

import contextlib
import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import rng
from lmc_lib.data import Split, augment, batch_order
from lmc_lib.models import memory_format
from lmc_lib.state import State, cast, clone, masked
from lmc_lib.training.config import TrainConfig, learning_rate
from lmc_lib.training.portable import PortableAdamW, PortableSGD, round_statistics

# Reading the loss stalls a GPU, so it is looked at only so often.
_CHECK_EVERY = 20


class Diverged(ArithmeticError):
    """A training left the finite numbers."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"training diverged: the loss is {loss} at step {step}; a lower learning rate may help")
        self.step = step
        self.loss = loss

    def __reduce__(self) -> tuple[type["Diverged"], tuple[int, float]]:
        return type(self), (self.step, self.loss)


@dataclass(frozen=True)
class Trajectory:
    """Weights along a training: ``states[i]`` holds after ``steps[i]`` updates."""

    steps: tuple[int, ...]
    states: tuple[State, ...]

    @property
    def final(self) -> State:
        """The weights after the last update."""
        return self.states[-1]

    def at(self, step: int) -> State:
        """The weights after ``step`` updates.

        Raises:
            KeyError: if no checkpoint was kept there.
        """
        if step not in self.steps:
            raise KeyError(f"no checkpoint at step {step}; there are {', '.join(map(str, self.steps))}")
        return self.states[self.steps.index(step)]


def train(
    model: nn.Module,
    state: State,
    split: Split,
    config: TrainConfig,
    *,
    seed: int,
    start_step: int = 0,
    save_at: Collection[int] = (),
    masks: Mapping[str, Tensor] | None = None,
) -> Trajectory:
    """Trains a network from a state; the same arguments give the same weights.

    The batch of every step follows from ``seed`` and the step alone, so that a training resumed at ``start_step``
    sees the batches that the whole one would have seen. The optimiser starts without momentum.

    Args:
        model: the architecture; unchanged.
        state: the weights to start from; unchanged. The training runs on their device.
        split: the training examples.
        config: the hyperparameters.
        seed: stream of batch order and augmentation.
        start_step: number of updates that ``state`` has behind it.
        save_at: steps after which to keep a checkpoint; the last step is always kept.
        masks: for some parameters a tensor of booleans; where one is False, the weight is zero at the start and after
            every update.

    Raises:
        Diverged: if the loss is not finite.
        ValueError: if a checkpoint lies outside the training, a batch does not fit into the data, or a mask does not
            fit a parameter.
    """
    if not 0 <= start_step <= config.steps:
        raise ValueError(f"cannot start behind step {start_step} of a training of {config.steps} steps")
    if outside := [step for step in save_at if not start_step <= step <= config.steps]:
        raise ValueError(
            f"cannot keep a checkpoint at step {outside[0]}: the training runs from {start_step} to {config.steps}"
        )
    masks = masks or {}
    network, device = _prepare(model, masked(state, masks), config)
    optimiser = _Optimiser(network, config, masks)
    inputs, labels = split.inputs.to(device, _dtype(config)), split.labels.to(device)
    per_epoch = len(split) // config.batch_size
    kept = {start_step: _snapshot(network)} if start_step in save_at or start_step == config.steps else {}
    order = batch_order(
        len(split), config.batch_size, generator=rng.stream(seed, "order", start_step // max(per_epoch, 1))
    )
    for step in range(start_step, config.steps):
        epoch, index = divmod(step, per_epoch)
        if index == 0:
            order = batch_order(len(split), config.batch_size, generator=rng.stream(seed, "order", epoch))
        rows = order[index].to(device)
        batch = inputs[rows]
        if config.augment:
            batch = augment(batch, generator=rng.stream(seed, "augmentation", step))
        loss = _loss(network, batch, labels[rows], config)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(learning_rate(config, step))
        if step % _CHECK_EVERY == 0 or step + 1 == config.steps or step + 1 in save_at:
            _check(step, loss.detach())
        if step + 1 in save_at or step + 1 == config.steps:
            kept[step + 1] = _snapshot(network)
    return Trajectory(tuple(kept), tuple(kept.values()))


def _dtype(config: TrainConfig) -> torch.dtype:
    return torch.float64 if config.precision == "portable" else torch.float32


def _prepare(model: nn.Module, state: State, config: TrainConfig) -> tuple[nn.Module, torch.device]:
    device = next(iter(state.values())).device
    network = copy.deepcopy(model).to(device, _dtype(config))
    network.load_state_dict(cast(state, _dtype(config)))
    if config.precision != "portable":  # in float64 the order of memory makes no difference
        network = network.to(memory_format=memory_format(model))
    return network.train(), device


class _Optimiser:
    """One update at a given rate, by torch's optimisers or by the portable ones, that leaves pruned weights at zero."""

    def __init__(self, network: nn.Module, config: TrainConfig, masks: Mapping[str, Tensor]) -> None:
        self.network = network
        self.pruned = _pruned(network, masks)
        parameters = list(network.parameters())
        decay, bits = config.weight_decay, config.grid_bits
        self.portable: PortableSGD | PortableAdamW | None = None
        if config.precision == "portable" and config.optimiser == "sgd":
            self.portable = PortableSGD(parameters, momentum=config.momentum, weight_decay=decay, bits=bits)
        elif config.precision == "portable":
            self.portable = PortableAdamW(parameters, weight_decay=decay, bits=bits)
        elif config.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                parameters, lr=config.lr, momentum=config.momentum, weight_decay=decay
            )
        else:
            self.optimiser = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=decay)

    def step(self, lr: float) -> None:
        if self.portable is not None:
            self.portable.step(lr)
            round_statistics(self.network)
        else:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        # Every optimiser here updates each weight by its own gradient alone, so to put one back disturbs no other.
        with torch.no_grad():
            for parameter, gone in self.pruned:
                parameter.masked_fill_(gone, 0.0)


def _pruned(network: nn.Module, masks: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that have a mask, each with the places of its removed weights."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    if strange := sorted(masks.keys() - parameters.keys()):
        raise ValueError(f"there is a mask for {strange[0]}, which is a buffer and not trained")
    return [(parameters[name], ~mask.to(parameters[name].device)) for name, mask in masks.items()]


def _loss(network: nn.Module, inputs: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    autocast = torch.autocast(inputs.device.type, torch.bfloat16)
    with autocast if config.precision == "bfloat16" else contextlib.nullcontext():
        logits = network(inputs)
    return F.cross_entropy(logits if config.precision == "portable" else logits.float(), labels)


def _check(step: int, loss: Tensor) -> None:
    value = float(loss)
    if not math.isfinite(value):
        raise Diverged(step, value)


def _snapshot(network: nn.Module) -> State:
    return {name: value.contiguous() for name, value in clone(network.state_dict()).items()}
