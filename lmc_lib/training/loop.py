"""The training loop."""

__all__ = ["batches", "checkpoints", "stacked_batches", "train", "train_stack"]

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import expected, rng
from lmc_lib.data import Split, augment, batch_order
from lmc_lib.hyperparameters import TrainConfig, learning_rate
from lmc_lib.models import memory_format
from lmc_lib.state import State, cast, clone, fitted, load_, masked
from lmc_lib.training.portable import PortableAdamW, PortableSGD, round_statistics
from lmc_lib.training.trajectory import Checkpoint, Diverged, Trajectory

# Reading the loss stalls a GPU, so it is looked at only so often.
_CHECK_EVERY = 20


def train(
    model: nn.Module,
    state: State,
    split: Split,
    config: TrainConfig,
    *,
    seed: int,
    start_step: int = 0,
    save_at: Collection[int] = (),
    memory: State | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> Trajectory:
    """Trains a network from a state; the same arguments give the same weights.

    The batch of every step follows from ``seed`` and the step alone, so that a training resumed at ``start_step``
    sees the batches that the whole one would have seen. With the ``memory`` of that step it gives the same bits as the
    whole one; without, the optimiser starts afresh.

    Args:
        model: the architecture; unchanged.
        state: the weights to start from; unchanged. The training runs on their device.
        split: the training examples.
        config: the hyperparameters.
        seed: stream of batch order and augmentation.
        start_step: number of updates that ``state`` has behind it.
        save_at: steps after which to keep a checkpoint; the last step is always kept.
        memory: what the optimiser remembers at ``start_step``, from the trajectory that it continues.
        masks: for some parameters a tensor of booleans; where one is False, the weight is zero at the start and after
            every update.

    Raises:
        Diverged: if the loss is not finite.
        ValueError: if a checkpoint lies outside the training, a batch does not fit into the data, a mask does not fit
            a parameter, or the memory is another optimiser's.
    """
    found = checkpoints(
        model, state, split, config, seed=seed, start_step=start_step, save_at=save_at, memory=memory, masks=masks
    )
    return Trajectory.of(found)


def checkpoints(  # noqa: PLR0913 -- what train takes, and the rule
    model: nn.Module,
    state: State,
    split: Split,
    config: TrainConfig,
    *,
    seed: int,
    start_step: int = 0,
    save_at: Collection[int] = (),
    memory: State | None = None,
    masks: Mapping[str, Tensor] | None = None,
    rule: Callable[[Mapping[str, nn.Parameter], float], None] | None = None,
) -> Iterator[Checkpoint]:
    """Trains as :func:`train` does, and yields each checkpoint as it comes instead of keeping it.

    Whoever looks at each in turn needs memory for a single one, however many there are. A ``rule``, if given, takes the
    place of the optimiser of the configuration: it is called after every gradient with the parameters by name and the
    rate, changes them in place, and remembers by itself what it needs, so that checkpoints have no memory.

    Raises:
        Diverged: if the loss is not finite, when the training gets there.
        ValueError: as for :func:`train`, when the first checkpoint is asked for; if a label is not a class, too.
    """
    if not 0 <= start_step <= config.steps:
        raise ValueError(f"cannot start behind step {start_step} of a training of {config.steps} steps")
    if outside := [step for step in save_at if not start_step <= step <= config.steps]:
        raise ValueError(
            f"cannot keep a checkpoint at step {outside[0]}: the training runs from {start_step} to {config.steps}"
        )
    masks = masks or {}
    network, device = _prepare(model, masked(state, masks), config)
    buffers, pruned = list(network.buffers()), _pruned(network, masks)
    optimiser = _Optimiser(dict(network.named_parameters()), config, rule, buffers=buffers, pruned=pruned)
    optimiser.recall(memory or {}, start_step)
    live = network.state_dict()
    inputs, labels = fitted(split.inputs, live), split.labels.long().to(device)
    if start_step in save_at or start_step == config.steps:
        yield Checkpoint(start_step, _snapshot(live), optimiser.memory())
    for step, drawn in batches(len(split), config, seed=seed, start_step=start_step):
        rows = drawn.to(device)
        logits = _logits(network, _seen(inputs[rows], config, seed, step), config)
        if step == start_step:
            expected.labels(labels, examples=len(split), classes=logits.shape[1])
        loss = F.cross_entropy(logits, labels[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(learning_rate(config, step))
        if step % _CHECK_EVERY == 0 or step + 1 == config.steps or step + 1 in save_at:
            _check(step, loss.detach())
        if step + 1 in save_at or step + 1 == config.steps:
            yield Checkpoint(step + 1, _snapshot(live), optimiser.memory())


def train_stack(
    losses: Callable[[State, int], Tensor],
    start: State,
    config: TrainConfig,
    *,
    save_at: Collection[int] = (),
    rule: Callable[[Mapping[str, nn.Parameter], float], None] | None = None,
) -> Iterator[Checkpoint]:
    """Trains a stack of networks at once, which takes hardly longer than one where networks are small.

    The sum of their losses gives each network the gradient of its own. So one that diverges leaves the others alone,
    and none is looked for: its weights are not finite.

    Args:
        losses: from the weights and the number of updates so far to the loss of each network on its next batch.
        start: the weights of all networks, counted by the first axis; unchanged.
        config: the hyperparameters of all of them; the size of a batch and augmentation are the business of ``losses``.
        save_at: steps after which to yield a checkpoint; the last step is always one.
        rule: takes the place of the optimiser of the configuration, as in :func:`checkpoints`.
    """
    weights = {name: nn.Parameter(each) for name, each in cast(clone(start), _dtype(config)).items()}
    optimiser, live = _Optimiser(weights, config, rule), State(weights)
    for step in range(config.steps + 1):
        if step in save_at or step == config.steps:
            yield Checkpoint(step, clone(live), optimiser.memory())
        if step < config.steps:
            losses(live, step).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step(learning_rate(config, step))


def batches(examples: int, config: TrainConfig, *, seed: int, start_step: int = 0) -> Iterator[tuple[int, Tensor]]:
    """The steps of a training that are left, each with the examples of its batch; every epoch has an order of its own.

    Args:
        examples: number of training examples.
        config: the hyperparameters.
        seed: stream of the orders.
        start_step: number of updates that are behind.
    """
    per_epoch = examples // config.batch_size
    for epoch in itertools.count(start_step // max(per_epoch, 1)):
        order = batch_order(examples, config.batch_size, generator=rng.stream(seed, "order", epoch))
        for index, rows in enumerate(order):
            step = epoch * per_epoch + index
            if step >= config.steps:
                return
            if step >= start_step:
                yield step, rows


def stacked_batches(examples: int, config: TrainConfig, *, seeds: Sequence[int]) -> Iterator[Tensor]:
    """The examples of the batches of several trainings at each step, a row a training, as :func:`batches` draws them.

    Args:
        examples: number of training examples.
        config: the hyperparameters of all of them.
        seeds: streams of the orders, one a training.
    """
    for steps in zip(*(batches(examples, config, seed=seed) for seed in seeds), strict=True):
        yield torch.stack([rows for _, rows in steps])


def _dtype(config: TrainConfig) -> torch.dtype:
    return torch.float64 if config.precision == "portable" else torch.float32


def _prepare(model: nn.Module, state: State, config: TrainConfig) -> tuple[nn.Module, torch.device]:
    device = next(iter(state.values())).device
    network = copy.deepcopy(model).to(device, _dtype(config))
    load_(network, cast(state, _dtype(config)))
    if config.precision != "portable":  # in float64 the order of memory makes no difference
        network = network.to(memory_format=memory_format(model))
    return network.train(), device


class _Optimiser:
    """One update at a given rate, by torch's optimisers, portable ones or a rule, which leaves pruned weights zero."""

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        config: TrainConfig,
        rule: Callable[[Mapping[str, nn.Parameter], float], None] | None,
        *,
        buffers: Sequence[Tensor] = (),
        pruned: Sequence[tuple[nn.Parameter, Tensor]] = (),
    ) -> None:
        self.buffers, self.rule, self.pruned, self.parameters = buffers, rule, pruned, named
        parameters = list(named.values())
        decay, bits = config.weight_decay, config.grid_bits
        self.kinds: tuple[str, ...] = ("exp_avg", "exp_avg_sq") if config.optimiser == "adamw" else ("momentum_buffer",)
        self.portable: PortableSGD | PortableAdamW | None = None
        if rule is not None:
            self.kinds = ()
        elif config.precision == "portable" and config.optimiser == "sgd":
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
        if self.rule is not None:
            self.rule(self.parameters, lr)
            for parameter in self.parameters.values():
                parameter.grad = None
        elif self.portable is not None:
            self.portable.step(lr)
            round_statistics(self.buffers)
        else:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        # Every optimiser here updates each weight by its own gradient alone, so to put one back disturbs no other.
        with torch.no_grad():
            for parameter, gone in self.pruned:
                parameter.masked_fill_(gone, 0.0)

    def memory(self) -> State:
        """The running averages of gradients; torch's optimisers have none before the first update."""
        return {
            f"{kind}/{name}": average.clone(memory_format=torch.contiguous_format)
            for kind, name, average in self._averages()
        }

    def recall(self, memory: State, step: int) -> None:
        """Takes over the running averages of a training after ``step`` updates."""
        if not memory:
            return
        if isinstance(self.portable, PortableAdamW):
            self.portable.count = step
        elif self.portable is None:
            for parameter in self.parameters.values():
                averages = {kind: torch.zeros_like(parameter) for kind in self.kinds}
                self.optimiser.state[parameter] = {"step": torch.tensor(float(step)), **averages}
        found = {f"{kind}/{name}": average for kind, name, average in self._averages()}
        if found.keys() != memory.keys():
            raise ValueError(
                f"the optimiser's memory has entries like {min(memory)!r}, where {min(found)!r} and others are needed: "
                "it is another optimiser's or another architecture's"
            )
        for name, average in found.items():
            average.copy_(memory[name])

    def _averages(self) -> Iterator[tuple[str, str, Tensor]]:
        portable: dict[str, list[Tensor]] = {} if self.portable is None else self.portable.averages
        for place, (name, parameter) in enumerate(self.parameters.items()):
            for kind in self.kinds:
                if portable:
                    yield kind, name, portable[kind][place]
                elif (average := self.optimiser.state[parameter].get(kind)) is not None:
                    yield kind, name, average


def _pruned(network: nn.Module, masks: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that have a mask, each with the places of its removed weights."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    if strange := sorted(masks.keys() - parameters.keys()):
        raise ValueError(f"there is a mask for {strange[0]}, which is a buffer and not trained")
    return [(parameters[name], ~mask.to(parameters[name].device)) for name, mask in masks.items()]


def _seen(batch: Tensor, config: TrainConfig, seed: int, step: int) -> Tensor:
    return augment(batch, generator=rng.stream(seed, "augmentation", step)) if config.augment else batch


def _logits(network: nn.Module, inputs: Tensor, config: TrainConfig) -> Tensor:
    narrow = config.precision == "bfloat16"
    with torch.autocast(inputs.device.type, torch.bfloat16) if narrow else contextlib.nullcontext():
        logits: Tensor = network(inputs)
    return logits if config.precision == "portable" else logits.float()


def _check(step: int, loss: Tensor) -> None:
    value = float(loss)
    if not math.isfinite(value):
        raise Diverged(step, value)


def _snapshot(live: State) -> State:
    """A copy of the state that shares the memory of a network, which every update changes in place."""
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in live.items()}
