"""The first page: a card and a table of verdicts for each claim."""

__all__ = ["badge", "dashboard", "files", "multiplicity"]

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from scipy.stats import false_discovery_control

from builder.layout import page_of, scales_of
from builder.making import Outcome
from lmc_lib import claims
from lmc_lib.cli import judging

_BADGES = {
    "supported": "success",
    "not supported": "danger",
    "not seen at this scale": "info",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
    "mixed": "info",
}


_SCOPES = {
    "exact": "the paper's network, data and training",
    "proxy": "a smaller network, data set and training than the paper's",
    "toy": "synthetic data or digits of 8 × 8 pixels",
}


def files(outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the first page includes: its text, and a picture for each card."""
    pictures = {name: content for each in outcomes for name, content in each.files.items() if name.endswith(".png")}
    results: dict[str, dict[str, Any]] = {}
    for each in outcomes:
        if each.page.claim:
            results.setdefault(each.page.claim, {})[each.page.scale] = each.report
    failures = [each for each in outcomes if each.failure]
    text = "\n".join([_warning(failures), dashboard(results, pictures, judging.kept_audits())])
    return {"dashboard.md": text.encode(), **pictures}


def _warning(failures: Iterable[Outcome]) -> str:
    """What the reader must know of pages that could not be made; nothing if all were."""
    links = [f"- [{each.page.title}]({each.page.folder.name}/{each.page.name}.ipynb)" for each in failures]
    if not links:
        return ""
    head = f":::{{error}}\nWhen this book was built, {len(links)} of its pages could not be made. Each says why:\n"
    return "\n".join([head, *links, ":::", ""])


def dashboard(
    results: Mapping[str, Mapping[str, Mapping[str, Any] | None]],
    pictures: Iterable[str] = (),
    rows: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The cards of the claims, what all verdicts come to, and a table of verdicts for each, as Markdown.

    Args:
        results: by claim and scale the reports; None where the page failed.
        pictures: names of the figures that are there, those of a card being named after the claim.
        rows: how often the rules err, as ``lmc audit`` found.
    """
    ordered = {claim: {scale: results[claim].get(scale) for scale in scales_of(claim)} for claim in results}
    there = set(pictures)
    weak = {_place(row) for row in rows if row["underpowered"]}
    cards = [
        _card(claims.load(name), next(iter(each.values())), weak, f"{name}.png" in there)
        for name, each in ordered.items()
    ]
    tables = [_table(claims.load(name), each, weak) for name, each in ordered.items()]
    columns = "1 1 1 2" if len(cards) > 1 else "1"
    counted = multiplicity([each for scales in ordered.values() for each in scales.values() if each], rows)
    return "\n".join([f"::::{{grid}} {columns}", *cards, "::::", "", "## Verdicts", "", *counted, "", *tables])


def multiplicity(reports: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """How many verdicts there are at each scale, and how many of them chance alone may have brought, as a list.

    A verdict has the highest p-value of its conditions, since it needs all. Benjamini and Hochberg's procedure is
    applied to the verdicts of one scale, at 2.5 %, since p-values are of one side and intervals of two.
    """
    rates: dict[tuple[str, str, str, str], float] = {}
    for row in rows:
        rates[_place(row)] = max(rates.get(_place(row), 0.0), row["false_positive"])
    lines = []
    for scale in dict.fromkeys(each["scale"] for each in reports):
        settings = [
            setting | {"claim": each["claim"], "scale": scale}
            for each in reports
            if each["scale"] == scale
            for setting in each["settings"]
        ]
        conditions = sum(len(each["conditions"]) for each in settings)
        chance = sum(rates.get(_place(each), 0.025) for each in settings)
        held = false_discovery_control([max(c["p"] for c in each["conditions"]) for each in settings]) <= 0.025
        supported = [
            (each, stays) for each, stays in zip(settings, held, strict=True) if each["verdict"] == "supported"
        ]
        lost = [f"{each['claim']} ({each['title']})" for each, stays in supported if not stays]
        after = f"{len(lost)} of them would not stay: {'; '.join(lost)}" if lost else "all of them would stay"
        lines.append(
            f"- The {scale} scale has {len(settings)} verdicts from {conditions} conditions; "
            f"{len(supported)} of the verdicts say *supported*. If every claim were false, though only just, and "
            f"scatter normal, at most {chance:.1f} would still say so. Corrected for their number (Benjamini and "
            f"Hochberg, 2.5 %) {after}. A verdict from five units never stays: its p-value is not below 0.03."
        )
    return lines


def _place(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["claim"], row["scale"], row["part"], row["setting"]


def _table(
    claim: claims.Claim, scales: Mapping[str, Mapping[str, Any] | None], weak: Container[tuple[str, str, str, str]]
) -> str:
    """One row a setting and scale; conditions stand in the rows, since parts have conditions of their own."""
    rows = ["| scale | setting | verdict | evidence | n |", "|---|---|---|---|---|"]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{page_of(claim.id, scale)}.ipynb)"
        if result is None:
            rows.append(f"| {page} | failed | | | |")
            continue
        judged = [(each, each["title"], _said(claim, result, each, weak)) for each in result["settings"]]
        controls = [(each, f"negative control: {each['title']}", badge(each["verdict"])) for each in result["controls"]]
        for each, title, said in [*judged, *controls]:
            evidence = "; ".join(_evidence(condition) for condition in each["conditions"])
            rows.append(f"| {page}, {result['scope']} | {title} | {said} | {evidence} | {_count(each)} |")
    return "\n".join([f"### {claim.title}", "", ":::{div} verdicts", *rows, ":::", "", _published(claim), ""])


def _said(
    claim: claims.Claim, result: Mapping[str, Any], each: Mapping[str, Any], weak: Container[tuple[str, str, str, str]]
) -> str:
    """A verdict with what a reader must know of it."""
    notes = [each["status"]]
    if (claim.id, result["scale"], each["part"], each["setting"]) in weak:
        notes.append("underpowered")
    if each["held"]:
        notes.append("a control could not say no")
    return f"{badge(each['verdict'])} {', '.join(notes)}"


def _count(each: Mapping[str, Any]) -> str:
    return str(each["conditions"][0]["estimate"]["count"])


def _evidence(condition: Mapping[str, Any]) -> str:
    return f"{condition['condition']}: {_interval(condition['estimate'])}"


def _interval(estimate: Mapping[str, Any]) -> str:
    """A number and its interval, which does not break within its brackets."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f},\u00a0{estimate['high']:.3f}]"


def _published(claim: claims.Claim) -> str:
    values = "; ".join(f"{each['what']}: {each['value']}" for each in claim.published[:2])
    return f"Published: {values}."


def _card(
    claim: claims.Claim,
    result: Mapping[str, Any] | None,
    weak: Container[tuple[str, str, str, str]] = (),
    pictured: bool = True,
) -> str:
    failed = ["This page could not be made when the book was built; it says why."]
    lines = "\n".join(failed if result is None else _verdicts(claim, result, weak))
    scope = "" if result is None else f"\n\nScope: {result['scope']}, {_SCOPES[result['scope']]}."
    picture = f":img-bottom: generated/{claim.id}.png\n:img-alt: First figure of the page\n" if pictured else ""
    return (
        f":::{{grid-item-card}} {claim.title}\n:link: claims/{claim.id}\n:link-type: doc\n{picture}\n"
        f"{claim.statement}\n\n{lines}{scope}\n:::"
    )


def _verdicts(claim: claims.Claim, result: Mapping[str, Any], weak: Container[tuple[str, str, str, str]]) -> list[str]:
    """One line a setting; verdicts on a part in further networks stand in the line of the part."""
    lines: dict[str, str] = {}
    for each in result["settings"]:
        said = _said(claim, result, each, weak)
        if each["part"] in lines:
            lines[each["part"]] += f"; in {each['setting']}: {said}, n = {_count(each)}"
        else:
            lines[each["part"] or each["setting"]] = f"- {each['title']}: {said}, n = {_count(each)}"
    return list(lines.values())


def badge(verdict: str) -> str:
    """A verdict as a badge; the words carry the meaning."""
    return f"{{bdg-{_BADGES[verdict]}}}`{verdict}`"
