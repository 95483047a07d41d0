"""A training that diverged is a result too: how it is stored, and how it is read.

A training stores ``{"diverged": {"step": ..., "loss": ...}}``. A measurement stores step and loss beside the key, which
then says which of its networks diverged, by their order, or only that one did.
"""

__all__ = ["diverged_measurement", "diverged_training", "divergence", "measured", "sound"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lmc_lib.store import Result
from lmc_lib.training import Diverged

_Network = TypeVar("_Network")
_Got = TypeVar("_Got")


def diverged_training(error: Diverged, **facts: str) -> Result:
    """The result of a training that diverged."""
    return Result({"diverged": {"step": error.step, "loss": str(error.loss), **facts}})


def diverged_measurement(error: Diverged, of: list[int] | bool) -> Result:
    """The result of a measurement of a network that diverged."""
    return Result({"diverged": of, "step": error.step, "loss": str(error.loss)})


def divergence(values: Mapping[str, Any]) -> Diverged | None:
    """The divergence that stored values tell of; None for those of a sound result."""
    stored = values.get("diverged")
    facts = stored if isinstance(stored, dict) else values
    if not stored or "step" not in facts:  # a summary of many networks lists under this key which of them are missing
        return None
    try:
        return Diverged(facts["step"], float(facts["loss"]))
    except ValueError:  # the training went well, but what was measured of it is not finite
        return Diverged(facts["step"], float("nan"))


def sound(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a sound result.

    Raises:
        Diverged: if it tells of a training that diverged.
    """
    if (error := divergence(values)) is not None:
        raise error
    return dict(values)


def measured(
    networks: Sequence[_Network], get: Callable[[_Network], _Got], measure: Callable[..., dict[str, Any]]
) -> Result:
    """Measures what is got of several networks, in their order; where a training diverged, the result says whose.

    A training that ``measure`` makes itself is one of the last network.
    """
    got: list[_Got] = []
    try:
        for network in networks:
            got.append(get(network))  # noqa: PERF401 -- how many were got says whose training diverged
        return Result(measure(*got))
    except Diverged as error:
        return diverged_measurement(error, [min(len(got), len(networks) - 1)])
