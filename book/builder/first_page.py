"""The first page: a card and a table of verdicts for each claim."""

__all__ = ["badge", "dashboard", "files"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder.layout import page_of, scales_of
from builder.making import Outcome
from lmc_lib import claims

_BADGES = {
    "supported": "success",
    "not supported": "danger",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
    "mixed": "info",
}


def files(outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the first page includes: its text, and a picture for each card."""
    pictures = {name: content for each in outcomes for name, content in each.files.items() if name.endswith(".png")}
    results: dict[str, dict[str, Any]] = {}
    for each in outcomes:
        if each.page.claim:
            results.setdefault(each.page.claim, {})[each.page.scale] = each.report
    text = "\n".join([_warning([each for each in outcomes if each.failure]), dashboard(results, pictures)])
    return {"dashboard.md": text.encode(), **pictures}


def _warning(failures: Iterable[Outcome]) -> str:
    """What the reader must know of pages that could not be made; nothing if all were."""
    links = [f"- [{each.page.title}]({each.page.folder.name}/{each.page.name}.ipynb)" for each in failures]
    if not links:
        return ""
    head = f":::{{error}}\nWhen this book was built, {len(links)} of its pages could not be made. Each says why:\n"
    return "\n".join([head, *links, ":::", ""])


def dashboard(results: Mapping[str, Mapping[str, Mapping[str, Any] | None]], pictures: Iterable[str] = ()) -> str:
    """The cards of the claims and a table of verdicts for each, as Markdown.

    Args:
        results: by claim and scale the reports; None where the page failed.
        pictures: names of the figures that are there, those of a card being named after the claim.
    """
    ordered = {claim: {scale: results[claim].get(scale) for scale in scales_of(claim)} for claim in results}
    there = set(pictures)
    cards = [
        _card(claims.load(name), next(iter(each.values())), f"{name}.png" in there) for name, each in ordered.items()
    ]
    tables = [_table(claims.load(name), each) for name, each in ordered.items()]
    columns = "1 1 1 2" if len(cards) > 1 else "1"
    return "\n".join([f"::::{{grid}} {columns}", *cards, "::::", "", "## Verdicts", "", *tables])


def _table(claim: claims.Claim, scales: Mapping[str, Mapping[str, Any] | None]) -> str:
    if claim.parts:
        return _table_of_parts(claim, scales)
    conditions = [*claim.supported, *claim.observable]
    head = ["scale", "setting", "verdict", *(condition.label.removeprefix("the ") for condition in conditions), "n"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{page_of(claim.id, scale)}.ipynb)"
        if result is None:
            rows.append(f"| {page} | failed |" + " |" * (len(head) - 2))
            continue
        control = result["control"] | {"setting": f"negative control: {result['control']['setting']}"}
        rows += [_row(page, setting, conditions) for setting in [*result["settings"], control]]
    return "\n".join([f"### {claim.title}", "", ":::{div} verdicts", *rows, ":::", "", _published(claim), ""])


def _table_of_parts(claim: claims.Claim, scales: Mapping[str, Mapping[str, Any] | None]) -> str:
    """One row a part and scale; parts have conditions of their own, so these stand in the rows."""
    rows = ["| scale | claim | verdict | evidence | n |", "|---|---|---|---|---|"]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{page_of(claim.id, scale)}.ipynb)"
        if result is None:
            rows.append(f"| {page} | failed | | | |")
            continue
        control = result["control"] | {"setting": f"negative control: {result['control']['setting']}"}
        for each in [*result["settings"], control]:
            evidence = "; ".join(_evidence(condition) for condition in each["conditions"])
            count = each["conditions"][0]["estimate"]["pairs"]
            rows.append(f"| {page} | {each['setting']} | {badge(each['verdict'])} | {evidence} | {count} |")
    return "\n".join([f"### {claim.title}", "", ":::{div} verdicts", *rows, ":::", "", _published(claim), ""])


def _evidence(condition: Mapping[str, Any]) -> str:
    return f"{condition['condition']}: {_interval(condition['estimate'])}"


def _interval(estimate: Mapping[str, Any]) -> str:
    """A number and its interval, which does not break within its brackets."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f},\u00a0{estimate['high']:.3f}]"


def _published(claim: claims.Claim) -> str:
    values = "; ".join(f"{each['what']}: {each['value']}" for each in claim.published[:2])
    return f"Published: {values}."


def _row(page: str, setting: Mapping[str, Any], conditions: Sequence[claims.Condition]) -> str:
    estimates = {each["quantity"]: each["estimate"] for each in setting["conditions"]}
    found = [estimates[condition.quantity] for condition in conditions]
    numbers = " | ".join(map(_interval, found))
    return f"| {page} | {setting['setting']} | {badge(setting['verdict'])} | {numbers} | {found[0]['pairs']} |"


def _card(claim: claims.Claim, result: Mapping[str, Any] | None, pictured: bool = True) -> str:
    failed = ["This page could not be made when the book was built; it says why."]
    lines = "\n".join(failed if result is None else _verdicts(claim, result["settings"]))
    picture = f":img-bottom: generated/{claim.id}.png\n:img-alt: First figure of the page\n" if pictured else ""
    return (
        f":::{{grid-item-card}} {claim.title}\n:link: claims/{claim.id}\n:link-type: doc\n{picture}\n"
        f"{claim.statement}\n\n{lines}\n:::"
    )


def _verdicts(claim: claims.Claim, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a setting; verdicts on a part in further networks ("ID, NETWORK") stand in the line of the part."""
    starts = {f"{part.id}: {part.title}": f"{part.id}, " for part in claim.parts}
    lines: dict[str, str] = {}
    for setting, verdict in ((each["setting"], badge(each["verdict"])) for each in settings):
        # The name of a part may begin with that of another, so the longest that fits counts.
        parts = [part for part in lines if part in starts and setting.startswith(starts[part])]
        if parts and setting not in starts:
            part = max(parts, key=lambda each: len(starts[each]))
            lines[part] += f"; in {setting.removeprefix(starts[part])}: {verdict}"
        else:
            lines[setting] = f"- {setting}: {verdict}"
    return list(lines.values())


def badge(verdict: str) -> str:
    """A verdict as a badge; the words carry the meaning."""
    return f"{{bdg-{_BADGES[verdict]}}}`{verdict}`"
