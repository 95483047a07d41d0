"""Tables of what claims cost at the scale of their papers, from the file that the benchmark wrote."""

__all__ = ["tables"]

from collections.abc import Mapping, Sequence
from typing import Any

# What a change of settings is seen in.
_SEEN_IN = ("networks", "measurements", "operations", "passes")


def tables(result: Mapping[str, Any]) -> str:
    """What claims cost at the scale of their papers, how that grows, and what is added to each result, as Markdown."""
    return "\n".join([
        "## Claim by claim",
        "",
        *_claims_at_scale(result),
        "## What makes it grow",
        "",
        *_growing(result["growth"]),
        "## What a sweep adds",
        "",
        *_added(result["overheads"]),
    ])  # fmt: skip


def _claims_at_scale(result: Mapping[str, Any]) -> list[str]:
    devices = list(result["together"]["courses"])
    head = ["claim", "networks", "measurements", "operations", "core-hours here", "device-hours", "of it measuring"]
    head += [f"{each} device{'s' * (each != '1')}" for each in devices]
    lines = [":::{div} wide", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in result["claims"]:
        counts = f"{{doc}}`claims/{row['claim']}` | {row['networks']:,} | {row['measurements']:,}"
        if not row["operations"]:
            lines.append(f"| {counts} | {' | '.join(['-'] * (len(head) - 3))} |")
            continue
        cost = f"{row['operations']:.1e} | {row['core hours']:,.0f} | {row['device hours']:,.1f}"
        share = "-" if row["measuring"] is None else f"{row['measuring'] / (1 + row['measuring']):.0%}"
        lines.append(f"| {counts} | {cost} | {share} | {_courses(row['courses'])} |")
    every = result["together"]
    counts = f"all, each result once | {every['networks']:,} | {every['measurements']:,}"
    cost = f"{every['operations']:.1e} | {every['core hours']:,.0f} | {every['device hours']:,.0f}"
    lines.append(f"| {counts} | {cost} | | {_courses(every['courses'])} |")
    return [*lines, ":::", ""]


def _courses(found: Mapping[str, Mapping[str, float]]) -> str:
    """By number of devices the hours until all is computed."""
    return " | ".join(f"{each['hours']:,.1f} h" for each in found.values())


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
