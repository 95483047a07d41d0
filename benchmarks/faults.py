"""What becomes of results when processes are killed, disks fill up and bytes change: rounds of each kind, counted.

``python benchmarks/faults.py --json book/reliability.json`` takes about ten minutes of one core. It needs Linux;
as root it also mounts a small disk and tries the permissions of somebody else. ``--parts`` makes the rows of some
parts anew and keeps the others. After each round it asks which results are served, which processes are left, and, all
being computed that was missing, whether each byte is that of an undisturbed run.
"""

import argparse
import json
import logging
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from faulty import crowds, damage, kills, surroundings
from faulty.counted import Counted

_PARTS = ("kills", "surroundings", "damage", "crowds")

# How often each signal comes to each process of a sweep, by the way in which the sweep is run.
_SIGNALS = {"forked": 20, "alone": 1, "program": 56}


def main() -> None:
    """Runs all rounds and writes a row for each kind of fault, as soon as there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--parts", nargs="*", choices=_PARTS, default=_PARTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if sys.platform != "linux":
        print("no faults without Linux")
        return
    # Of what is damaged on purpose, each round would warn.
    logging.getLogger("lmc_lib").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(options.json.read_text())["parts"] if options.json.exists() else {}
    parts = {name: before.get(name, {"seconds": 0.0, "rows": []}) for name in _PARTS}
    for name in options.parts:
        parts[name] = {"seconds": 0.0, "rows": []}
        started = _processor()
        for row in _rows(name, options.seed):
            parts[name]["rows"].append(asdict(row))
            parts[name]["seconds"] = round(_processor() - started, 1)
            result = {"seed": options.seed, "root": os.geteuid() == 0, "python": platform.python_version()}
            options.json.write_text(json.dumps(result | {"parts": parts}, indent=1) + "\n")
            print(row, flush=True)


def _rows(part: str, seed: int) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory() as folder:
        if part == "kills":
            yield from _signals(kills.Kills(Path(folder), seed), _SIGNALS)
        elif part == "surroundings":
            yield from surroundings.rows(Path(folder), seed)
        elif part == "damage":
            yield from damage.rows(Path(folder), seed)
        else:
            yield from crowds.rows(Path(folder), seed)


def _signals(killing: kills.Kills, rounds: Mapping[str, int]) -> Iterator[Counted]:
    for way, targets in kills.WAYS.items():
        for target in targets:
            for signum in kills.SIGNALS:
                yield killing.rounds(way, target, signum, rounds[way])


def _processor() -> float:
    """Seconds of the processor of this process and of those that it has seen end."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
