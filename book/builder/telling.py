"""How pages tell a verdict: the number on which it hangs, what a reader must know of it, and the words for both."""

__all__ = [
    "DATA", "FROM", "SCOPES", "Place", "badge", "count_of", "deciding", "interval", "notes", "place_of", "published",
    "underpowered",
]  # fmt: skip

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lmc_lib.definitions import Claim, Condition

Place = tuple[str, str, str, str]

SCOPES = {
    "exact": "the paper's network, data and training",
    "proxy": "a smaller network, data set and training than the paper's",
    "toy": "synthetic data or digits of 8 × 8 pixels",
}

DATA = {
    "digits": "digits of 8 × 8 pixels",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "movie_snippets": "sentences of film reviews",
    "mnist1d": "MNIST-1D (generated signals)",
    "group_composition": "sums of four numbers modulo 7",
}

# Where the effect that should be recognised is from.
FROM = {"printed": "printed", "figure": "read off a figure", "summary": "by a summary", "ours": "ours"}

_COLOURS = {
    "supported": "success",
    "not supported": "danger",
    "not seen at this scale": "info",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
    "mixed": "info",
}


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
    return _about(stated[: chosen + 1]), stated[chosen], found[chosen]


def _margin(condition: Condition, found: Mapping[str, Any]) -> float:
    estimate = found["estimate"]
    low, high = estimate["low"], estimate["high"]
    beyond = low - condition.bound if condition.above else condition.bound - high
    return beyond / (high - low) if high > low else math.copysign(math.inf, beyond)


def _about(stated: Sequence[Condition]) -> str:
    """The label of the last of some conditions, behind those that it refers to by "the same"."""
    *before, last = stated
    refers = before and last.label.startswith("the same")
    return f"{_about(before)}; {last.label}" if refers else last.label


def interval(estimate: Mapping[str, Any]) -> str:
    """A number and its interval, which does not break within its brackets."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f},\u00a0{estimate['high']:.3f}]"


def count_of(setting: Mapping[str, Any]) -> str:
    """The number of independent units behind a verdict, and of their pairs if they have any."""
    return str(setting["conditions"][0]["estimate"]["count"])


def place_of(row: Mapping[str, Any]) -> Place:
    """What a verdict is about: claim, scale, part and setting."""
    return row["claim"], row["scale"], row["part"], row["setting"]


def underpowered(rows: Iterable[Mapping[str, Any]]) -> set[Place]:
    """The verdicts of which a condition is underpowered, as ``lmc audit`` found."""
    return {place_of(row) for row in rows if row["underpowered"]}


def notes(report: Mapping[str, Any], setting: Mapping[str, Any], weak: Container[Place]) -> list[str]:
    """What a reader must know of the verdict on a setting: its status, and what it lacks."""
    told = [setting["status"]]
    if place_of({**report, **setting}) in weak:
        told.append("underpowered")
    if setting["held"]:
        told.append("a control could not say no")
    return told


def published(entries: Iterable[Mapping[str, str]]) -> str:
    """Published numbers, each behind what it is."""
    return "; ".join(f"{each['what']}: {each['value']}" for each in entries)


def badge(verdict: str) -> str:
    """A verdict as a badge, for Markdown and HTML alike; the words carry the meaning."""
    colour = _COLOURS[verdict]
    return f'<span class="sd-sphinx-override sd-badge sd-bg-{colour} sd-bg-text-{colour}">{escape(verdict)}</span>'
