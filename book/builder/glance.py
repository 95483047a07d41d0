"""At a glance: what was run, what came out, and what would change it; all from the report and the measurements."""

__all__ = ["doubts", "section", "table"]

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builder.downloads import runs_of
from builder.telling import DATA, SCOPES, interval, plain, published
from lmc_lib import claims
from lmc_lib.models import ModelSpec

_NORMS = {"batch": ", batch normalisation", "layer": ", layer normalisation", "group": ", group normalisation"}


def section(
    claim: claims.Claim,
    report: Mapping[str, Any],
    described: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    time: str,
) -> str:
    """What stands between the verdict and the introduction of a page, as Markdown, with the headings of all three.

    Args:
        claim: the claim.
        report: the report of the page.
        described: the descriptions of what was measured.
        rows: how often its rules err, as ``lmc audit`` found.
        time: what the scale costs, in words.
    """
    parts = ["## At a glance", table(claim, report, described, time), "### What would change our mind"]
    return "\n\n".join([*parts, doubts(claim, report, rows), "## Introduction"])


def table(claim: claims.Claim, report: Mapping[str, Any], described: Sequence[Mapping[str, Any]], time: str) -> str:
    """The table as Markdown.

    Args:
        claim: the claim.
        report: the report of the page.
        described: the descriptions of what was measured.
        time: what the scale costs, in words.
    """
    runs = [run for each in described for run in runs_of(each)]
    updates = sorted(set(_updates(described)))
    found = [(each["title"], claims.deciding(claim, each)[2]["estimate"]) for each in report["settings"]]
    counts = dict.fromkeys(estimate["count"] for _, estimate in found)
    title, first = found[0]
    ours = f"{title}: {interval(first)}" if title else interval(first)
    more = f" ({len(report['settings']) - 1} more above)" if len(report["settings"]) > 1 else ""
    rows = [
        ("Networks", _networks(runs)),
        # What trains no network of `models` names its data itself.
        ("Data", _data(runs or [each for each in described if "data" in each])),
        ("Training", f"{_listed(updates)} updates" if updates else ""),
        ("n", "; ".join(counts)),
        ("On two cores", time),
        ("Outcome", report["verdict"]),
        ("Ours", ours + more),
        ("The paper's", published(claim.beside)),
    ]
    lines = [f"* - {name}\n  - {text}" for name, text in rows if text]
    return "\n".join([":::{list-table}", ":stub-columns: 1", ":class: glance", "", *lines, ":::"])


def doubts(claim: claims.Claim, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What would change the verdict, as a list in Markdown: near bounds, controls, studies too small, and the scope."""
    lines = [_open(claim, report["settings"]), _held(report), _small(rows), _scope(claim, report)]
    return "\n".join(f"- {line}" for line in lines if line)


def _open(claim: claims.Claim, settings: Sequence[Mapping[str, Any]]) -> str:
    """The verdict whose interval is nearest to telling something else, and how far it is from it."""
    unclear = [each for each in settings if any(c["outcome"] == "open" for c in each["conditions"])]
    _, sentence = min(_reach(claim, each) for each in unclear or settings)
    return sentence + (f" It is one of {len(unclear)} verdicts with a condition that is open." if unclear[1:] else "")


def _reach(claim: claims.Claim, setting: Mapping[str, Any]) -> tuple[float, str]:
    """How far an interval is from telling something else, relative to its length, and the same in words."""
    about, condition, found = claims.deciding(claim, setting)
    estimate = found["estimate"]
    lower, upper = (estimate["low"], estimate["high"]) if condition.above else (estimate["high"], estimate["low"])
    end, words = {
        "met": (lower, "clears the bound {} by {:.3f}"),
        "failed": (upper, "misses the bound {} by {:.3f}"),
        "open": (lower, "has the bound {} inside: its end would have to move by {:.3f} to clear it"),
    }[found["outcome"]]
    distance = abs(end - condition.bound)
    told = words.format(f"{condition.bound:g}", distance)
    title = f"*{plain(setting['title'])}*: " if setting["title"] else ""
    quantity = f"the interval of {plain(about)}, {interval(estimate)}"
    sentence = f"Nearest to its bound: {title}{quantity}, {told}."
    return distance / max(estimate["high"] - estimate["low"], 1e-9), sentence


def _held(report: Mapping[str, Any]) -> str:
    """Which verdicts wait for a control that says no."""
    held = [
        f"*{plain(each['title'])}*" if each["title"] else "the claim" for each in report["settings"] if each["held"]
    ]
    if not held:
        return ""
    return (
        f"Of {'; '.join(held)} the conditions are met, but a negative control could not say no; with more "
        f"{report['unit']}s it might."
    )


def _small(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which conditions the study is too small for, and what would do."""
    weak = [row for row in rows if row["underpowered"]]
    if not weak:
        return ""
    row = max(weak, key=lambda each: each["needed"] or math.inf)  # a verdict needs all its conditions
    where = ", ".join(each for each in (row["part"], row["setting"]) if each)
    would = f"{row['needed']} would do" if row["needed"] else f"even {row['most']} would not do"
    return (
        f"Underpowered: {len(weak)} of {len(rows)} conditions. For \u201c{plain(row['condition'])}\u201d"
        f"{f' ({plain(where)})' if where else ''} the study has {row['n']} {row['unit']}s and a power of "
        f"{row['power']:.2f}; {would}."
    )


def _scope(claim: claims.Claim, report: Mapping[str, Any]) -> str:
    if report["scope"] == "exact":
        return ""
    theirs = claim.scope["paper"] == "exact"
    exact = f"parameters for one stand under [run this yourself](#run-{claim.id})" if theirs else "this page has none"
    return (
        f"The scope is {report['scope']}: {SCOPES[report['scope']]}. Only a study with the paper's own could "
        f"contradict the paper; {exact}."
    )


def _updates(described: Any) -> Iterator[int]:
    """Yields the numbers of updates of all trainings that a description names, those before a fine-tuning too."""
    if isinstance(described, Mapping):
        if "steps" in described.get("train", {}):
            yield described["train"]["steps"]
        described = list(described.values())
    if isinstance(described, Sequence) and not isinstance(described, str):
        for each in described:
            yield from _updates(each)


def _networks(runs: Sequence[Mapping[str, Any]]) -> str:
    widths: dict[str, set[int]] = {}
    for run in runs:
        model = ModelSpec(**{name: value for name, value in run["model"].items() if name != "type"})
        name = model.name + ("" if model.family == "transformer" else _NORMS.get(model.norm, ""))
        widths.setdefault(name, set()).add(model.width)
    return "; ".join(
        f"{name}, {'widths' if len(each) > 1 else 'width'} {_listed(sorted(each))}" for name, each in widths.items()
    )


def _data(runs: Sequence[Mapping[str, Any]]) -> str:
    examples: dict[str, set[int | None]] = {}
    for run in runs:
        # A measurement without runs may draw its own examples from a whole data set.
        own = run["data"].get("train_examples") or run.get("examples")
        examples.setdefault(run["data"]["name"], set()).add(own)
    return "; ".join(f"{DATA[name]}, {_examples(each)}" for name, each in examples.items())


def _examples(counts: set[int | None]) -> str:
    if None in counts:
        return "all training examples"
    return f"{_listed(sorted(count for count in counts if count is not None))} training examples"


def _listed(numbers: Sequence[int]) -> str:
    words = [f"{number:,}" for number in numbers]
    return " and ".join(each for each in (", ".join(words[:-1]), words[-1]) if each)
