"""The verdict at the top of a page, in words and numbers, and the box of the notebook with its details folded."""

__all__ = ["box", "folded", "kind_of"]

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from builder.telling import FEW, FROM, NONE, SCOPES, Caveats, badge, interval, notes, plain, published, table_row
from lmc_lib import claims

# Of networks: cells of more than these have four lines and more.
_COLUMNS = 3
# Of parts: more of them would be higher than a screen, if each of one network had a row of that table too.
_ROWS = 5


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
    title = f"**{plain(setting['title'])}**: " if setting["title"] else ""
    theirs = (
        f" (the paper: {condition.effect:g}, {FROM[condition.effect_from]})" if condition.effect_from != "ours" else ""
    )
    return (
        f"- {title}{badge(setting['verdict'])} {plain(about)}: "
        f"**{interval(found['estimate'])}**{theirs}, {_needed(condition)} is needed; {', '.join(known)}."
    )


def _told_once(
    settings: Sequence[Mapping[str, Any]], known: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """What is said below a table, and the notes that are left.

    Said once are notes of all verdicts, and numbers of units and statuses by part or by network, where each has one.
    """
    common = [note for note in known[0] if all(note in each for each in known)]
    left = [[note for note in own if note not in common] for own in known]
    told = [f"All of them: {', '.join(common)}."] if common else []
    for place, whose in product((0, 1), ("part", "setting")):  # each begins with the number of units and the status
        names: dict[str, list[str]] = {}
        for each, own in zip(settings, known, strict=True):
            if each[whose] not in names.setdefault(own[place], []):
                names[own[place]].append(each[whose])
        noted = {note for own in left for note in own}
        if 1 < len(names) < sum(map(len, names.values())) == len({each[whose] for each in settings}) and noted & {
            *names
        }:
            told.append("; ".join(f"{plain(', '.join(own))}: {note}" for note, own in names.items()) + ".")
            left = [[note for note in own if note not in names] for own in left]
    return told, left


def _table(claim: claims.Claim, settings: Sequence[Mapping[str, Any]], known: Sequence[Sequence[str]]) -> list[str]:
    """Parts as rows and networks as columns where both are several, else one row a verdict; each with its notes.

    Where parts are many, those of a single network have a row each above the table of the others.
    """
    networks: dict[str, list[str]] = {}
    for each in settings:
        networks.setdefault(each["part"], []).append(each["setting"])
    said = [f"; *{', '.join(own)}*" if own else "" for own in known]
    several = len(networks) > 1 and len({name for names in networks.values() for name in names}) > 1
    matrix = {part: own for part, own in networks.items() if several and (len(own) > 1 or len(networks) <= _ROWS)}
    rows = [
        [plain(each["title"]), f"{_cell(claim, each, ' ')}, {_asked(claim, each)}{own}"]
        for each, own in zip(settings, said, strict=True)
        if each["part"] not in matrix
    ]
    tables = [[["what", "verdict, deciding number, bound"], ["---", "---"], *rows]] if rows else []
    for columns, parts in _grouped(matrix):
        head = ["part, bound", *(plain(name) or "the page's own" for name in columns)]
        rows = [_row(claim, part, columns, settings, said) for part in parts]
        tables.append([head, ["---"] * len(head), *rows])
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


def _row(
    claim: claims.Claim,
    part: str,
    columns: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    said: Sequence[str],
) -> list[str]:
    """A part in several networks; a bound that is the same in all of them stands beside its name."""
    own = {each["setting"]: (each, notes) for each, notes in zip(settings, said, strict=True) if each["part"] == part}
    asked = {_asked(claim, each) for each, _ in own.values()}
    title, beside = plain(claim.part(part).heading), len(asked) == 1
    cells = {
        name: _cell(claim, each, "<br>") + ("" if beside else f", {_asked(claim, each)}") + notes
        for name, (each, notes) in own.items()
    }
    return [f"{title}, {asked.pop()}" if beside else title, *(cells.get(each, "–") for each in columns)]


def _cell(claim: claims.Claim, setting: Mapping[str, Any], between: str) -> str:
    return f"{badge(setting['verdict'])}{between}{interval(claims.deciding(claim, setting)[2]['estimate'])}"


def _asked(claim: claims.Claim, setting: Mapping[str, Any]) -> str:
    return _needed(claims.deciding(claim, setting)[1])


def _needed(condition: claims.Condition) -> str:
    return f"{'above' if condition.above else 'below'} {condition.bound:g}"
