"""Tables of what claims cost at the scale of their papers, from the file that the benchmark wrote."""

__all__ = ["tables"]

from collections.abc import Mapping, Sequence
from typing import Any

_UNTOLD = "Measurements that train their own networks do not tell what these cost. So the table lacks"

# What a change of settings is seen in.
_SEEN_IN = ("networks", "measurements", "operations", "passes")


def tables(result: Mapping[str, Any]) -> str:
    """What claims cost at the scale of their papers, how that grows, and what is added to each result, as Markdown."""
    return "\n".join([
        "## Claim by claim",
        "",
        *_claims_at_scale(result),
        *_assumed(result),
        "## What makes it grow",
        "",
        *_growing(result["growth"]),
        "## What a sweep adds",
        "",
        *_added(result["overheads"]),
    ])  # fmt: skip


def _claims_at_scale(result: Mapping[str, Any]) -> list[str]:
    devices = [each for each in result["together"]["courses"] if each != "1"]
    head = [
        "claim",
        "networks",
        "measure\u00adments",
        "oper\u00adations",
        "core-hours here",
        "device-hours",
        "measuring",
    ]
    head += [f"{each} devices" for each in devices]
    lines = [":::{div} wide", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    told = [row for row in result["claims"] if row["operations"]]
    for row in told:
        share = "-" if row["measuring"] is None else f"{row['measuring'] / (1 + row['measuring']):.0%}"
        lines.append(_row(f"{{doc}}`claims/{row['claim']}`", row, f"{row['device hours']:,.1f} | {share}"))
    every = result["together"]
    lines.append(_row("all, each result once", every, f"{every['device hours']:,.0f} |"))
    untold = [
        f"{{doc}}`claims/{row['claim']}` ({row['measurements']:,})" for row in result["claims"] if row not in told
    ]
    return [*lines, ":::", "", *([f"{_UNTOLD} {', '.join(untold)}.", ""] if untold else [])]


def _row(name: str, row: Mapping[str, Any], cost: str) -> str:
    """What a claim asks for, and by number of devices the hours until all is computed; of one that is what it costs."""
    counts = f"{row['networks']:,} | {row['measurements']:,} | {row['operations']:.1e} | {row['core hours']:,.0f}"
    courses = " | ".join(f"{each['hours']:,.1f} h" for devices, each in row["courses"].items() if devices != "1")
    return f"| {name} | {counts} | {cost} | {courses} |"


def _assumed(result: Mapping[str, Any]) -> list[str]:
    """What devices are taken to be like, and the longest chain of all claims."""
    machines, setting = result["machines"], result["setting"]
    told = [
        f"Taken for granted: a device does {setting['rate']:.0e} operations a second,",
        f"computes {machines['start_up']:g} h after it was asked for,",
        f"is taken away {machines['walltime']:g} h after that,",
        f"and fails once in {machines['between_failures']:,.0f} h on average.",
        f"Hours are medians of {setting['runs']} simulations. The longest chain of results that wait for each other,",
        f"over all claims, takes {result['together']['longest chain']:.1f} h.",
    ]
    return [" ".join(told), ""]


def _growing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a change of settings does to what a claim asks for, as ratios to the first row."""
    first, *changed = rows
    lines = [
        "| change | networks | measurements | operations of training | passes on lines |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in changed:
        ratios = " | ".join(f"× {row[name] / first[name]:.3g}" for name in _SEEN_IN)
        lines.append(f"| `{row['change']}` | {ratios} |")
    return [*lines, ""]


def _added(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What empty results cost."""
    head = ["results", "processes", "computed and kept, ms", "found again, ms", "on disk, kB", "files", "memory, MiB"]
    lines = [f"| {' | '.join(head)} |", "|" + "---:|" * len(head)]
    for row in rows:
        size = f"{row['bytes'] / 1e3:.1f} | {row['files']:.1f} | {row['memory']:.0f}"
        lines.append(f"| {row['results']:,} | {row['workers']} | {row['fill']:.2f} | {row['again']:.2f} | {size} |")
    return [*lines, ""]
