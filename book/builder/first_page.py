"""The first page: what was found, how a verdict is read, and one table of all claims that can be filtered.

It has no pictures: figures of the pages are not legible at the size of a card, and a row says more in less room.
"""

__all__ = ["example", "files", "findings", "table"]

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote_plus

from pybtex.database import Entry, parse_file

from builder.layout import BOOK
from builder.making import Outcome
from builder.results import Result, by_claim
from builder.telling import FEW, NONE, SCOPES, Caveats, badge, caveats, interval, notes, plain, statuses, tally
from lmc_lib import claims
from lmc_lib.cli import judging
from lmc_lib.definitions import CHAPTERS

# More verdicts than this on a claim are counted by its parts: so many numbers are read on its page and not here.
_MANY = 12

_COLUMNS = ("Claim", "Verdict, scope, status", "Our number [95 % interval], n", "The paper")


def files(outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the first page includes."""
    results = by_claim(outcomes)
    known = caveats(judging.kept_audits(), [report for each in results for report in each.reports.values() if report])
    cited = parse_file(BOOK / "references.bib").entries
    # A paper that is not listed is an error of the page, which has failed and says so.
    papers = {key: _short(cited[key]) if key in cited else key for key in (each.claim.source for each in results)}
    found = "\n".join([_warning([each for each in outcomes if each.failure]), findings(results, known)])
    texts = {"findings.md": found, "example.md": example(results), "claims.md": table(results, papers, known)}
    return {name: text.encode() for name, text in texts.items()}


def _short(paper: Entry) -> str:
    """A paper as it is cited in a text."""
    names = [" ".join(each.last_names) for each in paper.persons["author"]]
    authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{authors} ({paper.fields['year']})"


def _warning(failures: Iterable[Outcome]) -> str:
    """What the reader must know of pages that could not be made; nothing if all were."""
    links = [f"- [{plain(each.page.title)}]({each.page.folder.name}/{each.page.name}.ipynb)" for each in failures]
    if not links:
        return ""
    head = f":::{{error}}\nWhen this book was built, {len(links)} of its pages could not be made. Each says why:\n"
    return "\n".join([head, *links, ":::", ""])


def findings(results: Sequence[Result], known: Caveats = NONE) -> str:
    """What was found so far, as a list: the claims that have a headline, with their numbers.

    Args:
        results: the claims.
        known: what a reader must know of their verdicts.
    """
    first = [each for each in results if each.definition.headline]
    made = [each for each in first if each.report]
    data = " and ".join(dict.fromkeys(each.data for each in made if each.data))
    scopes = dict.fromkeys(each.report["scope"] for each in made if each.report)
    where = " and ".join(f"*{scope}* ({SCOPES[scope]})" for scope in scopes)
    lead = f"Measured on {data}; the scope is {where}. In brackets: 95 % intervals. n counts independent units."
    lines = [*([lead, ""] if data else []), *(_finding(each, known) for each in first)]
    return "\n".join([":::{div} findings", *lines, ":::", ""])


def _chapters(results: Sequence[Result]) -> list[str]:
    return [chapter for chapter in CHAPTERS if any(each.definition.chapter == chapter for each in results)]


def _finding(result: Result, known: Caveats) -> str:
    """A claim with its verdict, and the numbers of its settings: of one in the same line, of several in a list."""
    report = result.report
    head = f"- **[{result.definition.headline}](claims/{result.claim.id}.ipynb)**, {result.definition.brief}:"
    if report is None:
        return f"{head} the page could not be made."
    told = [_told(result, each, known, badged=len(report["settings"]) > 1) for each in report["settings"]]
    below = [f"  - {each}" for each in told]
    said = badge(report["verdict"])
    return f"{head} {said} in {told[0]}" if len(told) == 1 else "\n".join([f"{head} {said}", *below])


def _told(result: Result, setting: Mapping[str, Any], known: Caveats, *, badged: bool) -> str:
    """What was judged, its verdict, the number on which it hangs, and what a reader must know of it."""
    about, condition, found = claims.deciding(result.claim, setting)
    said = f"{badge(setting['verdict'])} " if badged else ""
    return (
        f"{escape(_title(result, setting))}: {said}{escape(about)} "
        f"<strong>{interval(found['estimate'])}</strong>, {_needed(condition)} needed; "
        f"{', '.join(_facts(result, setting, known))}"
    )


def _needed(condition: claims.Condition) -> str:
    return f"{'above' if condition.above else 'below'} {condition.bound:g}"


def _facts(result: Result, setting: Mapping[str, Any], known: Caveats) -> list[str]:
    """From how many units a verdict is, and what a reader must know of it."""
    count = claims.deciding(result.claim, setting)[2]["estimate"]["count"]
    return [f"n\u00a0=\u00a0{count}", *(notes(result.report, setting, known) if result.report else [])]


def _in_short(result: Result, setting: Mapping[str, Any], before: Mapping[str, Any], facts: Sequence[str]) -> str:
    """A verdict and the number on which it hangs; what is measured, and the bound that it needs, stand on the page.

    Of a further setting of the part that was judged before it, the name of the setting says which verdict it is.
    """
    _, _, found = claims.deciding(result.claim, setting)
    told = f"<strong>{interval(found['estimate'])}</strong>"
    own = f"; {', '.join(facts)}" if facts else ""
    further = setting["part"] == before.get("part") and setting["setting"]
    return f"{escape(further or _title(result, setting))}: {setting['verdict']} {told}{own}"


def _title(result: Result, setting: Mapping[str, Any]) -> str:
    """The title of the part and the name of the setting, those that there are."""
    part = result.claim.part(setting["part"]).title if setting["part"] else ""
    return ", ".join(each for each in (part, setting["setting"]) if each)


def _counted(results: Sequence[Result], chapter: str) -> str:
    """What the claims of a chapter come to, with a link to their rows."""
    own = [each for each in results if each.definition.chapter == chapter]
    counts = Counter(each.report["verdict"] if each.report else "failed" for each in own)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in [*claims.VERDICTS, "failed"] if counts[verdict])
    return f'<a href="?part={quote_plus(chapter)}#claims">{escape(chapter)}</a> ({len(own)}): {said}'


def example(results: Sequence[Result]) -> str:
    """How one verdict came about, step by step, as a list: the first setting of the first claim that has a headline.

    Empty if the page of that claim could not be made.
    """
    made = [each for each in results if each.definition.headline and each.report]
    if not made or not made[0].report:
        return ""
    result, report = made[0], made[0].report
    claim, setting = result.claim, report["settings"][0]
    rule = claim.part(setting["part"]) if setting["part"] else claim
    stated = zip((*rule.observable, *rule.supported), setting["conditions"], strict=True)
    steps = [
        f"- *{'Does the claim hold?' if condition in rule.supported else 'Is there anything to explain?'}* Asked is "
        f"that {plain(condition.text)} ({plain(condition.reason)}). Found is {interval(found['estimate'])}, from "
        f"n = {found['estimate']['count']}: the condition is {found['outcome']}."
        for condition, found in stated
    ]
    steps += [
        f"- *Could the study have said no?* The same rule on a negative control, {plain(control['title'])}, says "
        f"{badge(control['verdict'])}."
        for control in report["controls"][:1]
    ]
    others = len(report["settings"]) - 1
    whole = f" Its page judges {others} more, and says {badge(report['verdict'])} as a whole." if others else ""
    head = (
        f"*{plain(claim.statement)}* [The page](claims/{claim.id}.ipynb) judges this claim in "
        f"{plain(_title(result, setting))}. {plain(claim.criterion)}"
    )
    end = f"So this verdict is {badge(setting['verdict'])}; its status is *{setting['status']}*.{whole}"
    return "\n".join([head, "", *steps, "", end, ""])


def table(results: Sequence[Result], papers: Mapping[str, str], known: Caveats = NONE) -> str:
    """What the chapters come to, a form that filters the claims, and a row for each, as HTML within Markdown.

    Of a claim it shows the page with its own name, and of each verdict the number on which it hangs
    (:func:`lmc_lib.claims.deciding`).

    Args:
        results: the claims.
        papers: by their key the papers, as they are cited in a text.
        known: what a reader must know of their verdicts.
    """
    heads = "".join(f'<th scope="col">{each}</th>' for each in _COLUMNS)
    groups = [
        f'<tbody>\n<tr class="chapter"><th scope="rowgroup" colspan="{len(_COLUMNS)}">{escape(chapter)}</th></tr>\n'
        + "".join(_row(each, papers, known) for each in results if each.definition.chapter == chapter)
        + "</tbody>\n"
        for chapter in _chapters(results)
    ]
    counted = "".join(f"- {_counted(results, each)}\n" for each in _chapters(results))
    return (
        f"{counted}\n```{{raw}} html\n{_form(results, papers)}"
        f'<table class="claims">\n<caption>The claims, and what came out.</caption>\n<thead><tr>{heads}</tr></thead>\n'
        f"{''.join(groups)}</table>\n```\n"
    )


def _form(results: Sequence[Result], papers: Mapping[str, str]) -> str:
    """The filter, which a script shows: without one it would do nothing."""
    said = {verdict for each in results for verdict in _verdicts(each)}
    choices = {
        "part": ("Part of the book", {chapter: chapter for chapter in _chapters(results)}),
        "paper": ("Paper", {each.claim.source: papers[each.claim.source] for each in results}),
        "verdict": ("Verdict on the claim or a part of it", {each: each for each in claims.VERDICTS if each in said}),
        "scope": ("Scope", {each.report["scope"]: each.report["scope"] for each in results if each.report}),
    }
    fields = "".join(
        f'<label>{title} <select name="{name}"><option value="">all</option>'
        + "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
        + "</select></label>\n"
        for name, (title, options) in choices.items()
    )
    return (
        f'<form class="claims-filter" aria-label="Filter the claims" hidden="">\n{fields}'
        '<button type="reset">Show all</button>\n<output></output>\n</form>\n'
    )


def _verdicts(result: Result) -> list[str]:
    """The verdict on a claim and those on its parts and settings, each once."""
    report = result.report
    told = [report["verdict"], *(each["verdict"] for each in report["settings"])] if report else []
    return list(dict.fromkeys(told))


def _row(result: Result, papers: Mapping[str, str], known: Caveats) -> str:
    claim, report = result.claim, result.report
    published = "".join(
        f"<li>{escape(each['what'])}: <strong>{escape(each['value'])}</strong></li>" for each in claim.beside
    )
    title = f'<a href="claims/{claim.id}.html">{escape(claim.title)}</a>'
    cells = [
        f"{badge(report['verdict'])}<p>{_scope(result, report)}</p>" if report else "failed",
        f'{_numbers(result, known)}<p><a href="claims/{claim.id}.html#the-claim">How it is measured</a></p>',
        f"{escape(papers[claim.source])}<ul>{published}</ul>",
    ]
    shown = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(_COLUMNS[1:], cells, strict=True))
    data = {
        "part": result.definition.chapter,
        "paper": claim.source,
        "verdict": "|".join(_verdicts(result)),
        "scope": report["scope"] if report else "",
    }
    attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    # Spaces that do not break are two bytes each, and in every line of every claim.
    return f'<tr{attributes}><th scope="row">{title}</th>{shown}</tr>'.replace("n\u00a0=\u00a0", "n = ")


def _numbers(result: Result, known: Caveats) -> str:
    """The number of each verdict; many are folded under their count, and the page says what the numbers are."""
    if result.report is None:
        return "This page could not be made when the book was built; it says why."
    settings = result.report["settings"]
    if len(settings) <= FEW:
        items = "".join(f"<li>{_told(result, each, known, badged=len(settings) > 1)}</li>" for each in settings)
        return f"<ul>{items}</ul>"
    facts = [_facts(result, each, known) for each in settings]
    common = [fact for fact in facts[0] if all(fact in each for each in facts)]
    own = [[fact for fact in each if fact not in common] for each in facts]
    if len(settings) > _MANY and result.claim.parts:
        lines = _by_part(result, settings, own)
    else:
        lines = [
            _in_short(result, each, before, told)
            for each, before, told in zip(settings, [{}, *settings[:-1]], own, strict=True)
        ]
    items = "".join(f"<li>{line}</li>" for line in lines)
    items += f"<li>All of them: {', '.join(common)}.</li>" * bool(common)
    said = ", ".join(f"{count} {badge(verdict)}" for verdict, count in tally(settings).items())
    return f"<details><summary>{len(settings)} verdicts: {said}</summary><ul>{items}</ul></details>"


def _by_part(result: Result, settings: Sequence[Mapping[str, Any]], facts: Sequence[Sequence[str]]) -> list[str]:
    """A line a part: of one that is judged in several settings how many verdicts and facts there are, and no number."""
    found: dict[str, list[int]] = {}
    for place, setting in enumerate(settings):
        found.setdefault(setting["part"], []).append(place)
    lines = []
    for part, places in found.items():
        if len(places) == 1:
            lines.append(_in_short(result, settings[places[0]], {}, facts[places[0]]))
            continue
        said = ", ".join(f"{count} {verdict}" for verdict, count in tally(settings[each] for each in places).items())
        counts = Counter(fact for each in places for fact in facts[each])
        told = ", ".join(fact if count == len(places) else f"{count} {fact}" for fact, count in counts.items())
        lines.append(f"{escape(result.claim.part(part).title)}: {'; '.join(each for each in (said, told) if each)}")
    return lines


def _scope(result: Result, report: Mapping[str, Any]) -> str:
    return escape("; ".join(each for each in (report["scope"], result.data, statuses(report)) if each))
