"""On which condition a verdict hangs."""

__all__ = ["deciding"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmc_lib.definitions import Claim, Condition


def deciding(claim: Claim, setting: Mapping[str, Any]) -> tuple[str, Condition, Mapping[str, Any]]:
    """The condition on which the verdict on a setting hangs: the one whose interval clears its bound by least.

    How far an interval lies beyond its bound is counted in lengths of the interval, so that conditions on different
    quantities can be compared; it is negative where the interval does not clear the bound. Preconditions are left out
    if they are met; if one is not, there is nothing to explain, and only those that are not met count.

    Args:
        claim: the claim.
        setting: a setting of its report.

    Returns:
        What the condition is about, in words; the condition; and what the report says of it.
    """
    rule = claim.part(setting["part"]) if setting["part"] else claim
    stated = (*rule.observable, *rule.supported)
    found = setting["conditions"]
    first = len(rule.observable)
    unmet = [number for number in range(first) if found[number]["outcome"] != "met"]
    chosen = min(unmet or range(first, len(stated)), key=lambda number: _margin(stated[number], found[number]))
    return _about(stated[: chosen + 1], found), stated[chosen], found[chosen]


def _margin(condition: Condition, found: Mapping[str, Any]) -> float:
    estimate = found["estimate"]
    low, high = estimate["low"], estimate["high"]
    beyond = low - condition.bound if condition.above else condition.bound - high
    return beyond / (high - low) if high > low else math.copysign(math.inf, beyond)


def _about(stated: Sequence[Condition], found: Sequence[Mapping[str, Any]]) -> str:
    """The label of the last of some conditions; if it speaks of "the same", with the one that it refers to.

    Two conditions on one number, a bound to either side, are about what the first says.
    """
    *before, last = stated
    if not last.label.startswith("the same"):
        return last.label
    number = max(number for number, each in enumerate(before) if not each.label.startswith("the same"))
    referred, (one, other) = before[number].label, (found[each]["estimate"] for each in (number, len(before)))
    alike = all(one[end] == other[end] for end in ("low", "high"))
    return referred if alike else f"{last.label} (as {referred})"
