"""The verdict at the top of a page, in words and numbers, and the box of the notebook with its details folded."""

__all__ = ["box", "folded", "kind_of"]

import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.telling import FEW, FROM, NONE, SCOPES, Caveats, badge, interval, notes, published, table_row
from lmc_lib import claims

# Of networks: cells of more than these have four lines and more.
_COLUMNS = 3


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
        once, differing = _told_once(settings, known)
        folded_away = ["", "::::{dropdown} What these numbers are, and the paper's", *sentences, "", theirs, "::::"]
        shown = [*_table(claim, settings, differing), *folded_away]
        foot = [*once, *foot]
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


def _told_once(
    settings: Sequence[Mapping[str, Any]], known: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """What is said below a table, notes of all verdicts and numbers of units by part, and the notes that are left."""
    common = [note for note in known[0] if all(note in each for each in known)]
    left = [[note for note in own if note not in common] for own in known]
    told = [f"All of them: {', '.join(common)}."] if common else []
    parts: dict[str, list[str]] = {}
    for each, own in zip(settings, known, strict=True):
        if each["part"] not in parts.setdefault(own[0], []):
            parts[own[0]].append(each["part"])
    if 1 < len(parts) < sum(map(len, parts.values())) == len({each["part"] for each in settings}):
        told.append("; ".join(f"{', '.join(names)}: {count}" for count, names in parts.items()) + ".")
        left = [own[1:] for own in left]
    return told, left


def _table(claim: claims.Claim, settings: Sequence[Mapping[str, Any]], known: Sequence[Sequence[str]]) -> list[str]:
    """Parts as rows and networks as columns where both are several, else one row a verdict; each with its notes."""
    networks: dict[str, list[str]] = {}
    for each in settings:
        networks.setdefault(each["part"], []).append(each["setting"])
    said = [f"; *{', '.join(own)}*" if own else "" for own in known]
    tables = []
    if len(networks) > 1 and len({name for names in networks.values() for name in names}) > 1:
        cells = {
            (each["part"], each["setting"]): _cell(claim, each, "<br>") + own
            for each, own in zip(settings, said, strict=True)
        }
        for columns, parts in _grouped(networks):
            head = ["part", *(name or "the page's own" for name in columns)]
            rows = [[claim.part(part).heading, *(cells.get((part, name), "–") for name in columns)] for part in parts]
            tables.append([head, ["---"] * len(head), *rows])
    else:
        rows = [[each["title"] + own, _cell(claim, each, " ")] for each, own in zip(settings, said, strict=True)]
        tables.append([["what", "verdict, deciding number, bound"], ["---", "---"], *rows])
    return ["::::{div} settings", "\n\n".join("\n".join(table_row(*row) for row in table) for table in tables), "::::"]


def _grouped(networks: Mapping[str, Sequence[str]]) -> list[tuple[list[str], list[str]]]:
    """The networks and the parts of each table: a part in none of its networks begins the next, if they are many."""
    groups: list[tuple[list[str], list[str]]] = []
    for part, own in networks.items():
        columns, parts = groups.pop() if groups else ([], [])
        together = list(dict.fromkeys([*columns, *own]))
        if parts and len(together) == len(columns) + len(own) > _COLUMNS:
            groups += [(columns, parts), (list(own), [part])]
        else:
            groups.append((together, [*parts, part]))
    return groups


def _cell(claim: claims.Claim, setting: Mapping[str, Any], between: str) -> str:
    _, condition, found = claims.deciding(claim, setting)
    return f"{badge(setting['verdict'])}{between}{interval(found['estimate'])}, {_needed(condition)}"


def _needed(condition: claims.Condition) -> str:
    return f"{'above' if condition.above else 'below'} {condition.bound:g}"
