"""The page of verdicts: how many there are and what chance may have brought, and for each claim all its evidence."""

__all__ = ["files", "multiplicity", "tables"]

from collections.abc import Mapping, Sequence
from typing import Any

from builder.layout import page_of
from builder.making import Outcome
from builder.results import Result, by_claim
from builder.telling import (
    NONE,
    Caveats,
    badge,
    caveats,
    count_of,
    interval,
    not_kept,
    notes,
    plain,
    published,
    table_row,
)
from lmc_lib.cli import judging

_HEAD = ("| scale | setting | verdict | evidence | n |", "|---|---|---|---|---|")


def files(outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the page of verdicts includes."""
    results, rows = by_claim(outcomes), judging.kept_audits()
    reports = [report for each in results for report in each.reports.values() if report]
    return {
        "multiplicity.md": "\n".join(multiplicity(reports, rows)).encode(),
        "verdicts.md": tables(results, caveats(rows, reports)).encode(),
    }


def multiplicity(reports: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """How many verdicts there are at each scale, and how many of them chance alone may have brought, as a list."""
    gone = not_kept(reports)
    rates: dict[judging.Place, float] = {}
    for row in (each for each in rows if not each["precondition"]):
        rates[judging.place(row)] = max(rates.get(judging.place(row), 0.0), row["false_positive"])
    lines = []
    for scale in dict.fromkeys(each["scale"] for each in reports):
        settings = [
            setting | {"claim": each["claim"], "scale": scale}
            for each in reports
            if each["scale"] == scale
            for setting in each["settings"]
        ]
        conditions = sum(len(each["conditions"]) for each in settings)
        chance = sum(rates.get(judging.place(each), 0.025) for each in settings)
        supported = [each for each in settings if each["verdict"] == "supported"]
        lost = [f"{each['claim']} ({plain(each['title'])})" for each in supported if judging.place(each) in gone]
        after = f"{len(lost)} of them would not stay: {'; '.join(lost)}" if lost else "all of them would stay"
        lines.append(
            f"- The {scale} scale has {len(settings)} verdicts from {conditions} conditions; "
            f"{len(supported)} of the verdicts say *supported*. If every claim were false, though only just, and "
            f"scatter normal, at most {chance:.1f} would still say so. Corrected for their number (Benjamini and "
            f"Hochberg, 2.5 %) {after}. Where all units are equal, or intervals come from drawing units anew, five "
            "units are too few to stay: the p-value is not below 0.03."
        )
    return lines


def tables(results: Sequence[Result], known: Caveats = NONE) -> str:
    """The evidence of each claim in a table, folded under its title, as Markdown.

    Args:
        results: the claims.
        known: what a reader must know of their verdicts.
    """
    folded = (
        [
            f"::::{{dropdown}} {plain(each.claim.title)}",
            f":name: evidence-{each.claim.id}",
            "",
            _table(each, known),
            "::::",
        ]
        for each in results
    )
    return "\n".join("\n".join(lines) for lines in folded)


def _table(result: Result, known: Caveats) -> str:
    """One row a setting and scale; conditions stand in the rows, since parts have conditions of their own."""
    rows = list(_HEAD)
    for scale, report in result.reports.items():
        page = f"[{scale}](claims/{page_of(result.claim.id, scale)}.ipynb)"
        if report is None:
            rows.append(table_row(page, "failed", "", "", ""))
            continue
        judged = [
            (each, each["title"], f"{badge(each['verdict'])} {', '.join(notes(report, each, known))}")
            for each in report["settings"]
        ]
        controls = [(each, f"negative control: {each['title']}", badge(each["verdict"])) for each in report["controls"]]
        for each, title, said in [*judged, *controls]:
            evidence = "; ".join(
                f"{plain(found['condition'])}: {interval(found['estimate'])}" for found in each["conditions"]
            )
            rows.append(table_row(f"{page}, {report['scope']}", plain(title), said, evidence, count_of(each)))
    return "\n".join([":::{div} verdicts", *rows, ":::", "", f"Published: {published(result.claim.published)}.", ""])
