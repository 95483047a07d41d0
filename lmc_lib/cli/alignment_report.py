"""The report on two files of weights: in lines, and as one page that asks for nothing besides: no script, no font."""

__all__ = ["page", "told"]

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from lmc_lib.cli.output import duration, size

# Sides of a figure and of the field in it, in its own units, which are pixels on a phone.
_WIDTH = 360.0
_HEIGHT = 220.0
_LEFT = 48.0
_RIGHT = 352.0
_TOP = 10.0
_BOTTOM = 184.0


def told(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the report says, each with its name."""
    yield "network", f"{report['network']}, {report['weights']:,} weights compared"
    if "matched" in report:
        matched = report["matched"]
        yield (
            "matched",
            f"{matched['groups']} groups of {matched['units']:,} units, by {matched['by']}; "
            f"{matched['moved']:,} units move",
        )
        yield from (("pinned", reason) for reason in report["pinned"])
    if report["skipped"]:
        yield "skipped", f"{', '.join(report['skipped'])}"
    yield "distance", f"{_in_words(report['distance'], '.4g')}, relative to the first network's norm"
    if "change" in report:
        change = "are all 0" if report["change"] is None else f"change by {report['change']:.0e} of the largest"
        yield "outputs", f"of the second network {change}"
    for of in ("loss", "error") if report["barriers"] else ():
        heights = {name: heights[of] for name, heights in report["barriers"].items()}
        yield "barrier", f"{_in_words(heights, '.4g')}, in {of}"
    if report["examples"]:
        points = len(next(iter(report["lines"].values()))["alphas"])
        reset = f"; BatchNorm statistics of {report['reset_examples']} of them" if report["reset_examples"] else ""
        yield "line", f"{points} points, {report['examples']:,} examples{reset}"
    spent = ", ".join(f"{name} {duration(seconds)}" for name, seconds in report["seconds"].items() if seconds > 0.05)
    yield "time", f"{duration(sum(report['seconds'].values()))}: {spent}"
    if "out" in report:
        yield "written", f"{report['out']}, {size(Path(report['out']).stat().st_size)}"


def page(report: Mapping[str, Any]) -> str:
    """The report as HTML: what it says, and the curves of loss and error, of which there are at most two of each."""
    template = Template(files(__package__).joinpath("alignment.html").read_text("utf-8"))
    return template.substitute(
        title=escape(f"{report['a']} and {report['b']}"),
        rows="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in told(report)),
        figures="\n".join(_figure(report["lines"], of) for of in ("loss", "error") if report["lines"]),
    )


def _figure(lines: Mapping[str, Mapping[str, Sequence[float]]], of: str) -> str:
    """A figure of one quantity along all lines, from 0 to its largest value."""
    top = max(max(line[of]) for line in lines.values()) or 1.0
    classes = dict(zip(lines, ("first", "second") if len(lines) > 1 else ("second",), strict=True))
    curves = "".join(
        f'<polyline class="curve {classes[name]}" points="{_places(line["alphas"], line[of], top)}"/>'
        for name, line in lines.items()
    )
    legend = " ".join(
        f'<svg viewBox="0 0 32 12" aria-hidden="true"><path class="curve {classes[name]}" d="M0 6H32"/></svg> '
        f"{escape(name)}"
        for name in lines
    )
    heights = "; ".join(f"{name}: {line[of][0]:.3g} to {max(line[of]):.3g}" for name, line in lines.items())
    return (
        f'<section><h2>{of}</h2><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="{escape(f"{of} on the line, from the first end to the largest value; {heights}")}">'
        f"{''.join(_rule(share, share * top) for share in (0.0, 0.5, 1.0))}{curves}"
        f'<text x="{_LEFT:g}" y="{_BOTTOM + 18:g}">first network</text>'
        f'<text x="{_RIGHT:g}" y="{_BOTTOM + 18:g}" text-anchor="end">second network</text></svg>'
        f'<p class="legend">{legend if len(lines) > 1 else ""}</p></section>'
    )


def _places(alphas: Sequence[float], values: Sequence[float], top: float) -> str:
    return " ".join(
        f"{_LEFT + alpha * (_RIGHT - _LEFT):.1f},{_BOTTOM - value / top * (_BOTTOM - _TOP):.1f}"
        for alpha, value in zip(alphas, values, strict=True)
    )


def _rule(share: float, value: float) -> str:
    y = _BOTTOM - share * (_BOTTOM - _TOP)
    return (
        f'<path class="rule" d="M{_LEFT:g} {y:g}H{_RIGHT:g}"/>'
        f'<text x="{_LEFT - 6:g}" y="{y + 4:g}" text-anchor="end">{value:.3g}</text>'
    )


def _in_words(values: Mapping[str, float], digits: str) -> str:
    named = len(values) > 1
    return ", ".join(f"{value:{digits}} {name}" if named else f"{value:{digits}}" for name, value in values.items())
