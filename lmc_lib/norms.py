"""Statistics of batch normalisation: re-estimated after weights were changed from outside (RESET)."""

__all__ = ["has_statistics", "is_statistic", "reset", "reset_", "without_statistics"]

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lmc_lib.state import State, fitted, load_, real


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
