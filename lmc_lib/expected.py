"""What labels and states of any origin must be, and in words what they are instead."""

__all__ = ["labels", "names"]

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor


def labels(given: Tensor, *, examples: int, classes: int | None = None) -> Tensor:
    """The labels of examples in int64, after a check that each is the number of a class.

    Args:
        given: the labels, whole numbers of any precision.
        examples: how many examples there are.
        classes: how many classes there are; None if only the largest label tells.

    Raises:
        ValueError: if they are no vector of whole numbers, one an example, or one is not a class.
    """
    shape, kind = tuple(given.shape), str(given.dtype).removeprefix("torch.")
    what = f"got {kind} of shape {shape}"
    if given.dim() != 1:
        one_hot = given.dim() == 2 and given.shape[1] > 1
        hint = "labels.argmax(1) makes them of one-hot rows" if one_hot else "labels.flatten() makes them of a column"
        raise ValueError(f"every example needs one label, a whole number in a vector, {what}: {hint}")
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        broken = int((~given.isfinite()).sum())
        hint = f"{broken} are NaN or infinite" if broken else "labels.long() makes them of others without fractions"
        raise ValueError(f"labels are whole numbers, {what}: {hint}")
    if len(given) != examples:
        raise ValueError(f"every example needs one label, got {examples} examples and {len(given)} labels")
    outside = given < 0 if classes is None else (given < 0) | (given >= classes)
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        allowed = "numbers from 0" if classes is None else f"classes from 0 to {classes - 1}"
        raise ValueError(f"labels are {allowed}, and example {first} has the label {int(given[first])}")
    return given.long()


def names(state: Mapping[str, Any], wanted: Mapping[str, Any], owner: str) -> str:
    """How the names in a state differ from those that are wanted, in words, with a likely cause.

    Args:
        state: the state.
        wanted: what has the names that it should have.
        owner: what these are the names of.

    Example:
        >>> print(names({"net.bias": 0, "step": 0}, {"bias": 0}, "the spec"))
        2 entries in the state and 1 in the spec have 0 names in common, only the state has net.bias and step, \
only the spec has bias: names in the state begin with 'net.', which state.under('net.', ...) takes off
    """
    same = len(state.keys() & wanted.keys())
    found = f"{len(state)} entries in the state and {len(wanted)} in {owner} have {same} names in common"
    for where, here, there in (("the state", state, wanted), (owner, wanted, state)):
        if alone := [name for name in here if name not in there]:
            found += f", only {where} has {_listed(alone)}"
    return found + _cause(state, wanted, owner)


def _listed(names: list[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _cause(state: Mapping[str, Any], wanted: Mapping[str, Any], owner: str) -> str:
    if inside := [name for name, value in state.items() if isinstance(value, Mapping)]:
        return f": it is a dictionary around a state, which is under {inside[0]!r}"
    if before := _prefix(state, wanted):
        return f": names in the state begin with {before!r}, which state.under({before!r}, ...) takes off"
    if before := _prefix(wanted, state):
        return f": names in {owner} begin with {before!r}, which those in the state lack"
    return ""


def _prefix(longer: Collection[str], shorter: Collection[str]) -> str:
    """What has to stand before all names of one side to make names of the other of them; empty if nothing does."""
    one = max(shorter, key=len, default="")
    candidates = sorted(name.removesuffix(one) for name in longer if name.endswith(f".{one}"))
    return next((each for each in candidates if all(f"{each}{name}" in longer for name in shorter)), "")
