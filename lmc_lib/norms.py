"""Statistics of activations after weights were changed from outside: re-estimated (RESET), or restored (REPAIR)."""

__all__ = ["has_statistics", "is_statistic", "repair", "reset", "reset_", "without_statistics"]

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lmc_lib.state import State, fitted, interpolate, load_, real

# Layers whose outputs are preactivations of units, with the dimension of the units.
_AFFINE = {nn.Linear: -1, nn.Conv1d: 1, nn.Conv2d: 1, nn.Conv3d: 1}

# A unit whose preactivations spread by less than this many roundings of the largest of them is taken for constant.
_ROUNDINGS = 100.0


def is_statistic(name: str) -> bool:
    """Says whether an entry of a state, by its name, is a running statistic of batch normalisation and no weight."""
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def without_statistics(state: State) -> State:
    """The weights alone: running statistics are averages over activations and no place in the space of weights."""
    return {name: value for name, value in state.items() if not is_statistic(name)}


def has_statistics(model: nn.Module) -> bool:
    """Says whether a network keeps running statistics, and so needs ``reset`` after its weights were moved."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats for module in model.modules()
    )


def reset(model: nn.Module, state: State, inputs: Tensor, *, batch_size: int = 256) -> State:
    """Re-estimates the running mean and variance of every BatchNorm layer (RESET, Jordan et al. 2023).

    An interpolated network keeps interpolated statistics, which are not those of its own activations; without this
    step networks with BatchNorm look disconnected at every width. The statistics are the plain averages over the
    batches (``torch.optim.swa_utils.update_bn``), not a moving average.

    Args:
        model: the architecture; unchanged.
        state: the weights; unchanged.
        inputs: examples of the training set.
        batch_size: largest number of examples a batch; an incomplete last batch is left out, since it would count as
            a full one.

    Returns:
        The same weights with new buffers; a copy of ``state`` if the network keeps no statistics.

    Raises:
        ValueError: if there are fewer than two examples, which have no variance, or the state is another network's.
    """
    if not has_statistics(model):
        return dict(state)
    value = next(iter(real(state).values()))
    network = copy.deepcopy(model).to(value.device, value.dtype)
    load_(network, state)
    reset_(network, fitted(inputs, state), batch_size=batch_size)
    return {name: value.detach() for name, value in network.state_dict().items()}


def reset_(network: nn.Module, inputs: Tensor, *, batch_size: int = 256) -> None:
    """Like :func:`reset`, in place: for a network that holds its weights and belongs to the caller.

    Args:
        network: its statistics are overwritten.
        inputs: examples of the training set, on the device and in the dtype of the weights.
        batch_size: largest number of examples a batch.

    Raises:
        ValueError: if there are fewer than two examples, which have no variance.
    """
    if len(inputs) < 2:
        raise ValueError(f"normalisation statistics need at least two examples, got {len(inputs)}")
    batch_size = min(batch_size, len(inputs))
    update_bn([batch for batch in torch.split(inputs, batch_size) if len(batch) == batch_size], network)


def repair(
    model: nn.Module,
    start: State,
    end: State,
    alpha: float,
    inputs: Tensor,
    *,
    layers: Collection[str] | None = None,
) -> State:
    r"""The network at a point of a line, the statistics of its units restored (REPAIR, Jordan et al. 2023).

    Preactivations of an interpolated network vary less than those of its ends, more so from layer to layer, until
    the network answers every input alike: a collapse that no permutation removes. With :math:`\mu, \sigma` the mean and
    the standard deviation of a unit's preactivations over examples and places, at the start, the end and the point
    between, each preactivation :math:`z` becomes

    .. math:: (z - \mu_\alpha) \frac{(1 - \alpha)\, \sigma_0 + \alpha\, \sigma_1}{\sigma_\alpha}
        + (1 - \alpha)\, \mu_0 + \alpha\, \mu_1,

    which is written into the weights of the unit. Layers are repaired in the order in which they are called, so that
    the statistics of each are those behind repaired ones. At the ends nothing changes. A unit that is constant keeps
    its weights and gets the mean alone. It is for networks without BatchNorm, for which :func:`reset` does the same.

    Args:
        model: the architecture; unchanged.
        start: weights at 0; unchanged.
        end: weights at 1, aligned to the start; unchanged.
        alpha: the place on the line.
        inputs: examples of the training set, one batch that fits into memory.
        layers: names of the linear and convolutional layers to repair; all but the last that is called if None.

    Returns:
        The weights at the place, repaired.

    Raises:
        ValueError: if the network keeps BatchNorm statistics, which :func:`reset` restores; if a layer is unknown, has
            no bias, is not called exactly once or shares its weight; or there are fewer than two examples.
    """
    if has_statistics(model):
        raise ValueError("the network keeps BatchNorm statistics: `reset` re-estimates them, and nothing is to repair")
    if len(inputs) < 2:
        raise ValueError(f"statistics of units need at least two examples, got {len(inputs)}")
    inputs = fitted(inputs, start)
    ends = [_statistics(model, each, inputs) for each in (start, end)]
    calls = {name: len(each) for name, each in ends[0].items()}
    chosen = list(calls)[:-1] if layers is None else list(layers)
    _check_layers(model, chosen, calls)
    targets = {
        name: [
            (1.0 - alpha) * first + alpha * second
            for first, second in zip(*(each[name][0] for each in ends), strict=True)
        ]
        for name in chosen
    }
    state = interpolate(start, end, alpha)
    factors: dict[str, tuple[Tensor, Tensor]] = {}

    def restored(name: str, units: int, output: Tensor) -> Tensor | None:
        if name not in targets:
            return None
        mean, deviation, largest = _moments(output, units)
        wanted_mean, wanted, _ = targets[name]
        varies = deviation > _ROUNDINGS * torch.finfo(output.dtype).eps * largest
        factor = torch.where(varies, wanted / deviation, 1.0)
        factors[name] = factor, wanted_mean - factor * mean
        shape = [1] * output.dim()
        shape[units] = -1
        gain, shift = (each.to(output.dtype).view(shape) for each in factors[name])
        return gain * output + shift

    with _network(model, state, restored) as network:
        network(inputs)
    for name, (factor, shift) in factors.items():
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        rows = factor.view(-1, *[1] * (weight.dim() - 1))
        state |= {
            f"{name}.weight": (weight.double() * rows).to(weight.dtype),
            f"{name}.bias": (bias.double() * factor + shift).to(bias.dtype),
        }
    return state


def _statistics(model: nn.Module, state: State, inputs: Tensor) -> dict[str, list[tuple[Tensor, Tensor, Tensor]]]:
    """Mean, deviation and largest size of the preactivations of every layer's units, by call, in the order of these."""
    found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def note(name: str, units: int, output: Tensor) -> None:
        found.setdefault(name, []).append(_moments(output, units))

    with _network(model, state, note) as network:
        network(inputs)
    return found


def _moments(output: Tensor, units: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = output.detach().double().movedim(units, 0).flatten(1)
    return rows.mean(1), rows.std(1, correction=0), rows.abs().amax(1)


@contextmanager
def _network(model: nn.Module, state: State, seen: Callable[[str, int, Tensor], Tensor | None]) -> Iterator[nn.Module]:
    """A copy with these weights, in evaluation, that shows the outputs of its layers and takes what comes back."""
    network = copy.deepcopy(model).eval()
    like = next(iter(real(state).values()))
    network.to(like.device, like.dtype)
    load_(network, state)
    for name, module in network.named_modules():
        if type(module) in _AFFINE:
            units = _AFFINE[type(module)]
            module.register_forward_hook(lambda _, __, output, name=name, units=units: seen(name, units, output))
    with torch.no_grad():
        yield network


def _check_layers(model: nn.Module, chosen: Collection[str], calls: Mapping[str, int]) -> None:
    shared = [id(value) for value in model.state_dict(keep_vars=True).values()]
    for name in chosen:
        if name not in calls:
            raise ValueError(
                f"{name!r} is no linear or convolutional layer that is called; these are {', '.join(calls)}"
            )
        if calls[name] > 1:
            raise ValueError(f"{name} is called {calls[name]} times with one set of weights: leave it out of `layers`")
        layer = model.get_submodule(name)
        if layer.bias is None:
            raise ValueError(f"{name} has no bias, so that the mean of its units cannot be restored")
        if any(shared.count(id(each)) > 1 for each in (layer.weight, layer.bias)):
            raise ValueError(f"{name} shares its weights with another layer, which repairing would change too")
