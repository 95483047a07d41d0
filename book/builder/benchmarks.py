"""Tables and figures of the benchmarks, from the files that the benchmarks wrote."""

__all__ = [
    "architecture_table", "arithmetic_tables", "fault_tables", "files", "growth", "line_table", "similarity_table",
    "speed_tables", "stage_table",
]  # fmt: skip

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt

from builder import scale
from builder.layout import BOOK
from lmc_lib import plotting

# The parts of the benchmark of faults: how each is headed.
_FAULTS = {
    "kills": "Signals at random moments of a sweep",
    "surroundings": "Disks, permissions, limits, names and clocks",
    "damage": "Entries and records that are not what was written",
    "crowds": "Processes that want the same results at once",
}

# Ratios of the benchmark of matching, the networks by how their names begin, and the largest ratio that was hoped for.
_TARGETS = (
    ("sweep, ours / rebasin", ("MLP",), 0.2),
    ("sweep, ours / rebasin", ("ResNet-20 x1",), 0.04),
    ("sweep, ours / rebasin", ("ResNet-20 x4",), 0.125),
    ("sweep, ours / rebasin", ("VGG-16", "ResNet-50"), 1.0),
    ("total, ours / rebasin", ("MLP", "VGG-16", "ResNet-50"), 1.0),
    ("total, ours / rebasin", ("ResNet-20 x1", "ResNet-20 x4"), 1.0),
    ("ours / floor", ("MLP", "ResNet-20 x4", "VGG-16", "ResNet-50"), 1.5),
    ("ours / floor", ("ResNet-20 x1",), 1.5),
)


def files() -> dict[str, bytes]:
    """What pages include: a table of each benchmark, and the growth of time as a figure."""
    tables = {
        "architectures": architecture_table,
        "zoo": architecture_table,
        "speed": speed_tables,
        "lines": line_table,
        "stages": stage_table,
        "similarity": similarity_table,
        "reliability": fault_tables,
        "arithmetic": arithmetic_tables,
        "at-scale": scale.tables,
    }
    found = {name: json.loads((BOOK / f"{name}.json").read_text(encoding="utf-8")) for name in tables}
    written = {f"{name}.md": table(found[name]).encode() for name, table in tables.items()}
    return written | {"growth.png": growth(found["speed"]["growth"])}


def architecture_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The groups of every classifier and their proofs, as Markdown; of one without a proof, why there is none."""
    head = ["model", "parameters", "groups", "units", "pinned", "change", "control", "seconds"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in sorted(rows, key=lambda each: str(each["model"])):
        size = f"{row['parameters'] / 1e6:.1f} M"
        if "change" not in row:
            lines.append(f"| `{row['model']}` | {size} | {row['outcome']}: {row['reason']} | | | | | |")
            continue
        numbers = f"{row['change']:.0e} | {row['control']:.1g} | {row['seconds']:.1f}"
        counts = f"{row['groups']} | {row['units']:,} | {_pinned(row['pinned'])}"
        lines.append(f"| `{row['model']}` | {size} | {counts} | {numbers} |")
    return "\n".join([":::{div} wide", *lines, ":::", ""])


def _pinned(pinned: int | Sequence[str]) -> str:
    """How many operations are pinned, and which, where it is known."""
    if isinstance(pinned, int):
        return str(pinned)
    names = dict.fromkeys(reason.partition(": ")[2].split(" ")[0] for reason in pinned)
    return " ".join([str(len(pinned)), *(f"`{name}`" for name in names)])


def line_table(result: Mapping[str, Any]) -> str:
    """What a line and a triangle of networks cost beside plain forward passes and a loop, as Markdown."""
    lines = ["| network | points | ours / passes | rebuilt / ours |", "|---|---:|---:|---:|"]
    for row in result["cases"]:
        points = f"{row['shape']} of {row['points']}"
        lines.append(f"| {row['network']} | {points} | {row['ours / passes']:.2f} | {row['rebuilt / ours']:.2f} |")
    return "\n".join([*lines, ""])


def arithmetic_tables(result: Mapping[str, Any]) -> str:
    """Whether trainings part on emulated processors: the statements, and what they were made of, as Markdown."""
    lines = ["| statement | needed | found | |", "|---|---|---:|---|"]
    for row in result["statements"]:
        found = " to ".join(f"{each:.3g}" for each in row["found"]) if isinstance(row["found"], list) else row["found"]
        said = found if isinstance(found, str) else f"{found:.3g}"
        lines.append(f"| {row['of']} | {row['needed']} | {said} | {'holds' if row['holds'] else 'does not hold'} |")
    kinds = list(result["cases"][0]["modes"])
    lines += ["", "## Each arithmetic", "", f"| training | updates | {' | '.join(kinds)} | flips | time / float64 |"]
    lines.append("|---|" + "---:|" * (len(kinds) + 3))
    for row in result["cases"]:
        told = " | ".join(_parted(row["modes"][kind]) for kind in kinds)
        median, low, high = row["portable / float64"]
        cost = f"{median:.2f} [{low:.2f}, {high:.2f}]"
        lines.append(f"| {row['case']} | {row['steps']} | {told} | {row['flips']:.1e} | {cost} |")
    lines += ["", "## Finer grids", "", "| training | grid | expected to part | parted |", "|---|---:|---:|---:|"]
    for row in result["grids"]["rows"]:
        lines.append(f"| {row['case']} | $2^{{-{row['bits']}}}$ | {row['expected']:.2f} | {row['parted']:.2f} |")
    lines += ["", "## Float32 with MKL's own mode", "", "| emulated | against | trainings | parted | time / float32 |"]
    lines.append("|---|---|---:|---:|---:|")
    for row in result["conditional"]:
        low, high = row["time"]
        counts = f"{row['trainings']} | {row['parted']}"
        lines.append(f"| {row['processor']} | {row['against']} | {counts} | {low:.2f} to {high:.2f} |")
    return "\n".join([":::{div} wide", *lines, ":::", ""])


def _parted(mode: Mapping[str, Any]) -> str:
    told = f"{mode['parted']} of {mode['seeds']}"
    return told if mode["step"] is None else f"{told}, at update {mode['step']:g}"


def fault_tables(result: Mapping[str, Any]) -> str:
    """What faults came to, a table for each of their parts, as Markdown."""
    lines = []
    for part, title in _FAULTS.items():
        lines += [f"## {title}", "", "| what was done | rounds | lost | wrong | left | other | untold |"]
        lines.append("|---|" + "---:|" * 6)
        for row in result["parts"][part]["rows"]:
            counts = " | ".join(str(row[each]) for each in ("lost", "wrong", "orphans", "unequal", "untold"))
            lines.append(f"| {row['fault']} | {row['rounds']:,} | {counts} |")
        lines.append("")
    return "\n".join(lines)


def similarity_table(result: Mapping[str, Any]) -> str:
    """What all distances between representations cost beside ckatorch and a loop, as Markdown."""
    lines = [
        "| inputs | representations | flavour | ours, s | ckatorch / ours | loop / ours | memory, GiB | difference |",
        "|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["cases"]:
        ratios = f"{row['ckatorch / ours']:.0f} | {row['loop / ours']:.0f}"
        size = f"{row['inputs']:,} | {row['representations']} | *{row['flavour']}*"
        found = f"{row['gib']:.1f} | {row['difference']:.0e}"
        lines.append(f"| {size} | {row['seconds']['ours']:.1f} | {ratios} | {found} |")
    return "\n".join([*lines, ""])


def stage_table(result: Mapping[str, Any]) -> str:
    """What the stages of a build cost, as Markdown."""
    lines = ["| what | wall time, s | processor time, s | memory, GiB |", "|---|---:|---:|---:|"]
    for row in result["stages"]:
        numbers = " | ".join(f"{row[each]:.1f}" for each in ("wall", "processor", "gib"))
        lines += [f"| {row['stage']} | {numbers} |"]
    return "\n".join([*lines, ""])


def speed_tables(result: Mapping[str, Any]) -> str:
    """Weight matching beside a peer and a floor, and the barriers that both reach, as Markdown."""
    head = [
        "network", "threads", "sweep", "plain", "peer's sweep", "sweeps, peer's", "total", "peer's total", "objective",
        "memory", "peer's memory",
    ]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(_speed(row))} |" for row in result["networks"]]
    trained = result["trained"]
    sides = {"none": "no permutation", "ours": "`weight_matching`, greedy start", "rebasin": "`rebasin`"}
    quantities = list(trained["medians"]["none"])
    barriers = [
        f"| median barrier over {len(trained['pairs'])} pairs | {' | '.join(quantities)} |",
        "|---|" + "---:|" * 4,
    ]
    for side, label in sides.items():
        medians = trained["medians"][side]
        barriers.append(f"| {label} | {' | '.join(f'{medians[each]:.3f}' for each in quantities)} |")
    counts = trained["ours <= rebasin"]
    barriers.append(f"| pairs in which ours is no higher | {' | '.join(str(counts[each]) for each in quantities)} |")
    tables = [lines, barriers, _targets(result["networks"])]
    return "\n".join(line for table in tables for line in [":::{div} wide", *table, ":::", ""])


def _targets(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was hoped for and what was reached, as rows of a table: the range over precisions, norms and threads."""
    lines = ["| what | hoped for | reached |", "|---|---:|---:|"]
    for what, networks, hoped in _TARGETS:
        mine = [row for row in rows if row["network"].startswith(networks)]
        found = [row["ratios"][what] for row in mine if what in row["ratios"]]
        names = " and ".join(name.removesuffix(",") for name in networks)
        lines.append(
            f"| {what.replace('floor', 'plain')}: {names} | {hoped:g} | {min(found):.2f} to {max(found):.2f} |"
        )
    return lines


def _speed(row: Mapping[str, Any]) -> list[str]:
    ours, peer, floor, ratios = row["ours"], row["rebasin"], row["floor"], row["ratios"]
    cells = [row["network"], str(row["threads"]), _time(ours["sweep_seconds"]), _time(floor["sweep_seconds"])]
    if "failed" in peer:
        return [*cells, "failed", f"{ours['sweeps']:g}", _time(ours["seconds"]), "failed", "", _memory(ours), ""]
    # A peer that was stopped has used at least this much time, and its objective is unfinished.
    more, objective = ("", f"{ratios['objective, ours / rebasin']:.2f}") if peer["complete"] else ("> ", "")
    return [
        *cells,
        _time(peer["sweep_seconds"]),
        f"{ours['sweeps']:g} / {more}{peer['sweeps']:g}",
        _time(ours["seconds"]),
        more + _time(peer["seconds"]),
        objective,
        _memory(ours),
        _memory(peer),
    ]


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _memory(side: Mapping[str, Any]) -> str:
    return f"{side['peak_mb'] / side['network_mb']:.1f}"


def growth(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Time against width and depth, as PNG."""
    image = io.BytesIO()
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
        for ax, name, fixed in zip(axes, ["width", "depth"], ["3 hidden layers", "256 units a layer"], strict=True):
            chosen = [row for row in rows if (row["depth"] == 3 if name == "width" else row["width"] == 256)]
            chosen.sort(key=lambda row: int(row[name]))
            plotting.growth(
                ax,
                [row[name] for row in chosen],
                {what: [row[what] for row in chosen] for what in ("setup_seconds", "sweep_seconds", "seconds")},
                xlabel=f"{name} ({'units a layer' if name == 'width' else 'hidden layers'})",
            )
            ax.set_title(fixed, fontsize=10.5)
            ax.label_outer()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        figure.savefig(image, dpi="figure", metadata={"Software": None})
        plt.close(figure)
    return image.getvalue()
