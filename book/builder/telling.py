"""How pages tell a verdict: the number on which it hangs, what a reader must know of it, and the words for both."""

__all__ = [
    "DATA", "FEW", "FROM", "NONE", "SCOPES", "Caveats", "badge", "caveats", "count_of", "interval", "not_kept", "notes",
    "plain", "published", "statuses", "table_row", "tally",
]  # fmt: skip

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

from scipy.stats import false_discovery_control

from lmc_lib import claims
from lmc_lib.cli.judging import Place, place

# By verdict what its own report does not tell.
Caveats = Mapping[Place, Sequence[str]]
NONE: Caveats = MappingProxyType({})

# So many verdicts of a page stand open; more of them are folded.
FEW = 3

SCOPES = {
    "exact": "the paper's network, data and training",
    "proxy": "a smaller network, data set and training than the paper's",
    "toy": "synthetic data, digits of 8 × 8 pixels or a few hundred images",
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
    "mixed": "secondary",
}


def interval(estimate: Mapping[str, Any]) -> str:
    """A number and its interval, which does not break within its brackets; what rounds to zero has no sign."""
    return f"{estimate['value']:z.3f} [{estimate['low']:z.3f},\u00a0{estimate['high']:z.3f}]"


def count_of(setting: Mapping[str, Any]) -> str:
    """The number of independent units behind a verdict, and of their pairs if they have any."""
    return str(setting["conditions"][0]["estimate"]["count"])


def caveats(rows: Iterable[Mapping[str, Any]], reports: Iterable[Mapping[str, Any]] = ()) -> dict[Place, list[str]]:
    """What a reader must know of verdicts that is not in their reports.

    Args:
        rows: how often the rules err, as ``lmc audit`` found.
        reports: those of all pages, where it is to be told which verdicts their number would undo.
    """
    found = {place(row): ["underpowered"] for row in rows if row["underpowered"]}
    for each in not_kept(reports):
        found.setdefault(each, []).append("does not stay if corrected")
    return found


def not_kept(reports: Iterable[Mapping[str, Any]]) -> set[Place]:
    """The verdicts "supported" that would not stay, were they corrected for the number of verdicts of their scale.

    A verdict has the highest p-value of its conditions, since it needs all. Benjamini and Hochberg's procedure is
    applied to all verdicts of one scale, at 2.5 %, since p-values are of one side and intervals of two.

    Args:
        reports: those of all pages.
    """
    judged: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        judged.setdefault(report["scale"], []).extend({**report, **each} for each in report["settings"])
    return {
        place(each)
        for settings in judged.values()
        for each, p in zip(settings, false_discovery_control([_p(each) for each in settings]), strict=True)
        if each["verdict"] == "supported" and p > 0.025
    }


def _p(setting: Mapping[str, Any]) -> float:
    return max(each["p"] for each in setting["conditions"])


def tally(settings: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many of each verdict there are, best first."""
    counts = Counter(each["verdict"] for each in settings)
    return {verdict: counts[verdict] for verdict in claims.VERDICTS if counts[verdict]}


def statuses(report: Mapping[str, Any]) -> str:
    """The statuses of the verdicts of a page, each once."""
    return ", ".join(dict.fromkeys(each["status"] for each in report["settings"]))


def notes(report: Mapping[str, Any], setting: Mapping[str, Any], known: Caveats) -> list[str]:
    """What a reader must know of the verdict on a setting: its status, and what it lacks."""
    told = [setting["status"], *known.get(place({**report, **setting}), ())]
    if setting["held"]:
        told.append("a control could not say no")
    return told


def published(entries: Iterable[Mapping[str, str]]) -> str:
    """Published numbers, each behind what it is."""
    return "; ".join(f"{plain(each['what'])}: {plain(each['value'])}" for each in entries)


def plain(text: str) -> str:
    """A text of a claim, a notebook or a report as Markdown that shows it as it is: no mark in it is Markdown or HTML.

    A bar is left to :func:`table_row`, since it means nothing elsewhere.
    """
    return re.sub(r"([\\`*_\[\]{}<>$&~])", r"\\\1", text)


def table_row(*cells: object) -> str:
    """A row of a table in Markdown; a bar within a cell would end it."""
    return f"| {' | '.join(str(each).replace('|', chr(92) + '|') for each in cells)} |"


def badge(verdict: str) -> str:
    """A verdict as a badge, for Markdown and HTML alike; the words carry the meaning."""
    colour = _COLOURS[verdict]
    return f'<span class="sd-badge sd-bg-{colour} sd-bg-text-{colour}">{escape(verdict)}</span>'
