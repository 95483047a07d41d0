"""How often the rules of verdicts err, as ``lmc audit`` found: on each page its own rows, on the methods page all."""

__all__ = ["rows_of", "section", "summary", "table"]

from collections.abc import Mapping, Sequence
from typing import Any

from builder.telling import FROM, plain, table_row
from lmc_lib.cli import judging

_HEAD = (
    "| condition | n | false positives | the same, exchanged | effect | power | coverage | n that would do |",
    "|---|---|---|---|---|---|---|---|",  # the style sheet sets numbers to the right, ten thousand cells with one rule
)
_SECTION = """## How often the rule errs

Each condition was tried on {draws} simulated studies of each kind, with as many {unit}s as here (n) and with their
scatter. *False positives*: how often the condition is met where the truth lies exactly at the
bound. *The same, exchanged*: how often it is met by the page's own numbers after what it found is taken out and what it
compares is exchanged at random. *Power*: how often it is met, and its exchanged control says no, where the truth is the
effect, which was printed by the authors, read off their figures, or is ours. *Coverage*: how often the interval, which
promises 95 %, holds the truth. A condition with a power below 0.8 is *underpowered*: what it does not show may be
there. The last column says how many {unit}s would do. The [methods][rule] say how studies are simulated.

[rule]: ../methods.md#the-rule-of-a-verdict-and-how-often-it-errs
"""


def rows_of(claim: str, scale: str) -> list[dict[str, Any]]:
    """The rows of a page."""
    return [row for row in judging.kept_audits() if (row["claim"], row["scale"]) == (claim, scale)]


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The section of a page, as Markdown."""
    text = _SECTION.format(draws=rows[0]["draws"], unit=rows[0]["unit"])
    return "\n".join([text, ":::{div} wide errs", *_HEAD, *(_row(row) for row in rows), ":::", "", _together(rows)])


def _together(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often a verdict says "supported" at the least, which needs all of its conditions at once.

    Conditions of one study go together, so that what each of them misses is at most added up.
    """
    missed: dict[tuple[str, str], float] = {}
    for row in rows:
        place = row["part"], row["setting"]
        missed[place] = missed.get(place, 0.0) + 1.0 - row["power"]
    least = sorted(max(0.0, 1.0 - share) for share in missed.values())
    lowest, highest = f"{least[0]:.2f}", f"{least[-1]:.2f}"
    shares = f"{lowest} of all studies" + (f" of one verdict, in {highest} of another" if lowest != highest else "")
    return (
        "A verdict needs all its conditions at once: where every effect is there, *supported* comes out in at least "
        f"{shares}."
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows, as Markdown, under a heading for each claim and scale."""
    parts = []
    for name in dict.fromkeys((row["claim"], row["scale"]) for row in rows):
        own = [row for row in rows if (row["claim"], row["scale"]) == name]
        title = f"{name[0]} at the {name[1]} scale ({own[0]['unit']}s)"
        parts += [f":::{{dropdown}} {title}", *_HEAD, *(_row(row) for row in own), ":::", ""]
    return "\n".join([summary(rows), "", "::::{div} errs", *parts, "::::"])


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """What all rows come to, in a sentence."""
    rates = [row["false_positive"] for row in rows]
    rare = sum(rate <= 0.05 for rate in rates)
    enough = sum(not row["underpowered"] for row in rows)
    held = sum(row["coverage"] >= 0.92 for row in rows)
    return (
        f"Of {len(rows)} conditions on all pages {rare} are met in at most 5 % of the studies in which "
        f"they should not be (the highest rate is {100 * max(rates, default=0.0):.1f} %), {enough} have a "
        f"power of at least 80 %, and {held} have an interval that holds the truth in at least 92 %."
    )


def _row(row: Mapping[str, Any]) -> str:
    where = ", ".join(each for each in (row["part"], row["setting"]) if each)
    others = "–" if row["exchanged"] is None else f"{row['exchanged']:.3f}"
    needed = row["needed"] if row["needed"] else f"over {row['most']}"
    power = f"{row['power']:.2f}" + (" (underpowered)" if row["underpowered"] else "")
    effect = f"{row['effect']:g}, {FROM[row['effect_from']]}"
    condition = f"{where}: {row['condition']}" if where else row["condition"]
    numbers = (row["n"], f"{row['at_bound']:.3f}", others, effect, power, f"{row['coverage']:.3f}", needed)
    return table_row(plain(condition), *numbers)
