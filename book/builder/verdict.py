"""The verdict at the top of a page, in words and numbers, and the box of the notebook with its details folded."""

__all__ = ["SCOPES", "box", "deciding", "folded", "interval", "kind_of", "label_of"]

import html
from collections.abc import Mapping, Sequence
from typing import Any

from lmc_lib import claims

SCOPES = {
    "exact": "the paper's network, data and training",
    "proxy": "a smaller network, data set and training than the paper's",
    "toy": "synthetic data or digits of 8 × 8 pixels",
}

_BADGES = {
    "supported": "success",
    "not supported": "danger",
    "not seen at this scale": "info",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
    "mixed": "info",
}

# Where the effect that should be recognised is from, unless it is ours.
_FROM = {"printed": "printed", "figure": "read off a figure", "summary": "by a summary"}

# So many verdicts stand as sentences; more of them as a table, with the sentences folded below it.
_FEW = 3


def box(claim: claims.Claim, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The verdict of a page as Markdown: each judged setting with the number that decided, and where more stands.

    Args:
        claim: the claim.
        report: the report of the page.
        rows: how often its rules err, as ``lmc audit`` found.
    """
    settings = report["settings"]
    weak = {(row["part"], row["setting"]) for row in rows if row["underpowered"]}
    notes = [_notes(each, weak) for each in settings]
    sentences = [_sentence(claim, each, own) for each, own in zip(settings, notes, strict=True)]
    shown, first = sentences, claim.published[0]
    theirs = f"The paper: {first['what'].strip()}: {first['value'].strip()}."
    foot = [
        f"Scope: {report['scope']}, {SCOPES[report['scope']]}.",
        f"[All conditions and controls](#verdict-{claim.id}), [how to read a verdict](#how-to-read-a-verdict).",
    ]
    if len(settings) > _FEW:
        common = [note for note in notes[0] if all(note in each for each in notes)]
        differing = [[note for note in own if note not in common] for own in notes]
        folded_away = ["", "::::{dropdown} What these numbers are, and the paper's", *sentences, "", theirs, "::::"]
        shown = [*_table(claim, settings, differing), *folded_away]
        foot = [*([f"All of them: {', '.join(common)}."] if common else []), *foot]
    else:
        foot = [theirs, *foot]
    return "\n".join(
        [
            f":::::{{div}} verdict verdict-{kind_of(report['verdict'])}",
            f"::::{{div}} verdict-title\nVerdict at {report['scale']} scale: {_badge(report['verdict'])}\n::::\n",
            *shown,
            "",
            *["::::{div} verdict-foot", *foot, "::::", ":::::"],
        ]
    )


def deciding(claim: claims.Claim, setting: Mapping[str, Any]) -> tuple[Mapping[str, Any], claims.Condition]:
    """The condition on which a verdict hangs, as the report tells it and as the claim states it.

    Of those that the verdict is about it is the one that its interval clears least surely, by the p-value: of the
    evidence, or where there is nothing to explain, of what should have been there to explain.
    """
    part = claim.part(setting["part"]) if setting["part"] else claim
    unseen = setting["verdict"].startswith("not observable")
    stated = {each.text: each for each in (part.observable if unseen else part.supported)}
    asked = [each for each in setting["conditions"] if each["condition"] in stated]
    weakest = max(asked, key=lambda each: each.get("p", 1.0))
    return weakest, stated[weakest["condition"]]


def label_of(claim: claims.Claim, setting: Mapping[str, Any], condition: claims.Condition) -> str:
    """The quantity of a condition in words; a second condition on it may say no more than "the same ratio"."""
    part = claim.part(setting["part"]) if setting["part"] else claim
    return next(each.label for each in (*part.observable, *part.supported) if each.quantity == condition.quantity)


def interval(estimate: Mapping[str, Any]) -> str:
    """A number with its 95 % interval, which does not break within its brackets."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f},\u00a0{estimate['high']:.3f}]"


def kind_of(verdict: str) -> str:
    """The name of the style of a verdict's box."""
    return verdict.split(" at ")[0].replace(" ", "-")


def folded(report: Mapping[str, Any]) -> str:
    """The box of the notebook as HTML, with the conditions of each setting and control folded below its verdict."""
    judged = [(each, "", f", {each['status']}") for each in report["settings"]]
    controls = [(each, "Negative control: ", "") for each in report["controls"]]
    title = f"Verdict at {report['scale']} scale ({report['scope']}): {report['verdict']}"
    rows = "".join(_details(*each) for each in [*judged, *controls])
    return (
        f'<div class="verdict verdict-{kind_of(report["verdict"])}">'
        f'<p class="verdict-title">{html.escape(title)}</p>{rows}</div>'
    )


def _details(judged: Mapping[str, Any], role: str, status: str) -> str:
    facts = [f"{each['condition']}: {interval(each['estimate'])} ({each['outcome']})" for each in judged["conditions"]]
    facts += ["a negative control did not come out as not supported"] if judged["held"] else []
    items = "".join(f"<li>{html.escape(each)}</li>" for each in facts)
    count = judged["conditions"][0]["estimate"]["count"]
    title = html.escape(f"{role}{judged['title']}: {judged['verdict']}")
    return (
        f"<details><summary><strong>{title}</strong>, {html.escape(count)}{status}</summary><ul>{items}</ul></details>"
    )


def _notes(setting: Mapping[str, Any], weak: set[tuple[str, str]]) -> list[str]:
    """What a reader must know of a verdict beside its number."""
    notes = [f"n = {setting['conditions'][0]['estimate']['count']}", setting["status"]]
    notes += ["underpowered"] if (setting["part"], setting["setting"]) in weak else []
    return notes + (["a control could not say no"] if setting["held"] else [])


def _sentence(claim: claims.Claim, setting: Mapping[str, Any], notes: Sequence[str]) -> str:
    found, condition = deciding(claim, setting)
    title = f"**{setting['title']}**: " if setting["title"] else ""
    theirs = (
        f" (the paper: {condition.effect:g}, {_FROM[condition.effect_from]})" if condition.effect_from in _FROM else ""
    )
    return (
        f"- {title}{_badge(setting['verdict'])} {label_of(claim, setting, condition)}: "
        f"**{interval(found['estimate'])}**{theirs}, {_needed(condition)} is needed; {', '.join(notes)}."
    )


def _table(claim: claims.Claim, settings: Sequence[Mapping[str, Any]], notes: Sequence[Sequence[str]]) -> list[str]:
    """Parts as rows and networks as columns where both are several, else one row a verdict; each with its notes."""
    parts = list(dict.fromkeys(each["part"] for each in settings))
    networks = list(dict.fromkeys(each["setting"] for each in settings))
    said = [f"; *{', '.join(own)}*" if own else "" for own in notes]
    if len(parts) > 1 and len(networks) > 1:
        cells = {
            (each["part"], each["setting"]): _cell(claim, each, "<br>") + own
            for each, own in zip(settings, said, strict=True)
        }
        head = ["part", *(name or "the page's own" for name in networks)]
        rows = [[claim.part(part).heading, *(cells.get((part, name), "–") for name in networks)] for part in parts]
    else:
        head = ["what", "verdict, deciding number, bound"]
        rows = [[each["title"] + own, _cell(claim, each, " ")] for each, own in zip(settings, said, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
    return ["::::{div} settings", *lines, "::::"]


def _cell(claim: claims.Claim, setting: Mapping[str, Any], between: str) -> str:
    found, condition = deciding(claim, setting)
    return f"{_badge(setting['verdict'])}{between}{interval(found['estimate'])}, {_needed(condition)}"


def _needed(condition: claims.Condition) -> str:
    return f"{'above' if condition.above else 'below'} {condition.bound:g}"


def _badge(verdict: str) -> str:
    return f"{{bdg-{_BADGES[verdict]}}}`{verdict}`"
