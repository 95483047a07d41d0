"""The verdict at the top of a page, in words and numbers, and the box of the notebook with its details folded."""

__all__ = ["box", "folded", "kind_of"]

import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.telling import FEW, FROM, NONE, SCOPES, Caveats, badge, interval, notes, published, table_row
from lmc_lib import claims


def box(claim: claims.Claim, report: Mapping[str, Any], caveats: Caveats = NONE) -> str:
    """The verdict of a page as Markdown: each judged setting with the number that decided, and where more stands.

    Args:
        claim: the claim.
        report: the report of the page.
        caveats: what a reader must know of its verdicts.
    """
    settings = report["settings"]
    known = [
        [f"n = {claims.deciding(claim, each)[2]['estimate']['count']}", *notes(report, each, caveats)]
        for each in settings
    ]
    sentences = [_sentence(claim, each, own) for each, own in zip(settings, known, strict=True)]
    shown, theirs = sentences, f"The paper: {published(claim.beside)}."
    foot = [
        f"Scope: {report['scope']}, {SCOPES[report['scope']]}.",
        f"[All conditions and controls](#verdict-{claim.id}), [how to read a verdict](#how-to-read-a-verdict).",
    ]
    if len(settings) > FEW:
        common = [note for note in known[0] if all(note in each for each in known)]
        differing = [[note for note in own if note not in common] for own in known]
        folded_away = ["", "::::{dropdown} What these numbers are, and the paper's", *sentences, "", theirs, "::::"]
        shown = [*_table(claim, settings, differing), *folded_away]
        foot = [*([f"All of them: {', '.join(common)}."] if common else []), *foot]
    else:
        foot = [theirs, *foot]
    return "\n".join(
        [
            f":::::{{div}} verdict verdict-{kind_of(report['verdict'])}",
            f"::::{{div}} verdict-title\nVerdict at {report['scale']} scale: {badge(report['verdict'])}\n::::\n",
            *shown,
            "",
            *["::::{div} verdict-foot", *foot, "::::", ":::::"],
        ]
    )


def kind_of(verdict: str) -> str:
    """The name of the style of a verdict's box."""
    return verdict.split(" at ")[0].replace(" ", "-")


def folded(box: str) -> str:
    """The box that a report shows in a notebook, the conditions of each setting and control folded below its verdict.

    Args:
        box: its HTML (``claims.Report``): for each of them a paragraph and a list.
    """
    return re.sub(r"<p>(.*?)</p>(<ul>.*?</ul>)", r"<details><summary>\1</summary>\2</details>", box)


def _sentence(claim: claims.Claim, setting: Mapping[str, Any], known: Sequence[str]) -> str:
    about, condition, found = claims.deciding(claim, setting)
    title = f"**{setting['title']}**: " if setting["title"] else ""
    theirs = (
        f" (the paper: {condition.effect:g}, {FROM[condition.effect_from]})" if condition.effect_from != "ours" else ""
    )
    return (
        f"- {title}{badge(setting['verdict'])} {about}: "
        f"**{interval(found['estimate'])}**{theirs}, {_needed(condition)} is needed; {', '.join(known)}."
    )


def _table(claim: claims.Claim, settings: Sequence[Mapping[str, Any]], known: Sequence[Sequence[str]]) -> list[str]:
    """Parts as rows and networks as columns where both are several, else one row a verdict; each with its notes."""
    parts = list(dict.fromkeys(each["part"] for each in settings))
    networks = list(dict.fromkeys(each["setting"] for each in settings))
    said = [f"; *{', '.join(own)}*" if own else "" for own in known]
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
    lines = [table_row(*row) for row in [head, ["---"] * len(head), *rows]]
    return ["::::{div} settings", *lines, "::::"]


def _cell(claim: claims.Claim, setting: Mapping[str, Any], between: str) -> str:
    _, condition, found = claims.deciding(claim, setting)
    return f"{badge(setting['verdict'])}{between}{interval(found['estimate'])}, {_needed(condition)}"


def _needed(condition: claims.Condition) -> str:
    return f"{'above' if condition.above else 'below'} {condition.bound:g}"
