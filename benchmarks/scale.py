"""What the claims cost at the scale of their papers, on one device and on many, and what a sweep adds to each result.

``python benchmarks/scale.py --json book/at-scale.json`` takes about half an hour of two cores. Plans are those of
``lmc status``; an update of each network runs here, on one core; the rest is counted and simulated.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from scaled import empty, plans, schedule

from lmc_lib.cli import running
from lmc_lib.definitions import read_all

_DEVICES = (1, 8, 64, 512)

# Operations a second that a device is taken to do in such trainings: none was at hand to measure it.
_RATE = 1e13

# Hours: from asking for a device until it computes, until it is taken away, and between failures of one.
_MACHINES = {"start_up": 0.5, "walltime": 168.0, "between_failures": 1000.0}
_SIMULATED = 20

# Of empty results: how many, and processes.
_OVERHEADS = ((1_000, 1), (1_000, 2), (10_000, 1), (10_000, 2), (100_000, 1))

# A claim, its network, and what is changed of its settings.
_GROWING, _NETWORK = "simultaneous-training", "VGG-16"
_CHANGES = ("", "width=32", "width=128", "seeds=20", "points=49")


def main() -> None:
    """Plans all claims, counts, simulates, fills stores, and writes what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMC_STORE"] = str(Path(folder) / "none")
        papers = {claim: running.plan(claim, profile="paper") for claim in read_all()}
        shares = {claim: plans.measured_share(running.plan(claim, profile="laptop")) for claim in papers}
        growth = [{"change": each, **_counted(_growing(each))} for each in _CHANGES]
        overheads = [_alone(Path(folder), *each) for each in _OVERHEADS]
    works = {claim: plans.works(rows, _RATE, shares[claim]) for claim, rows in papers.items()}
    # What several claims need is computed once.
    together = {key: each for claimed in works.values() for key, each in claimed.items()}
    rows_together = list({row["fingerprint"]: row for rows in papers.values() for row in rows}.values())
    result = {
        "setting": {"processor": platform.machine(), "torch": torch.__version__, "rate": _RATE, "runs": _SIMULATED},
        "machines": _MACHINES,
        "claims": [
            {"claim": claim, **_counted(rows), "measuring": shares[claim], **_simulated(works[claim])}
            for claim, rows in papers.items()
        ],
        "together": {**_counted(rows_together), **_simulated(together)},
        "growth": growth,
        "overheads": overheads,
    }
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _alone(folder: Path, results: int, workers: int) -> Mapping[str, float]:
    """What empty results cost a process that has done nothing else, since the most memory of a process never falls."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(empty.overhead, folder, results, workers).result()


def _growing(change: str) -> list[dict[str, Any]]:
    """What the plan asks for of the network whose settings are changed."""
    rows = running.plan(_GROWING, profile="paper", overrides=[change] if change else [])
    return [row for row in rows if row["label"].startswith(_NETWORK)]


def _counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How much a plan asks for.

    Operations and hours of a core are those of trainings whose network it tells, passes those of the test examples at
    the points of all lines.
    """
    found = plans.trainings(rows).values()
    networks = sum(row["updates"] > 0 for row in rows)
    return {
        "networks": networks,
        "untold": networks - len(found),
        "measurements": len(rows) - networks,
        "updates": sum(row["updates"] for row in rows),
        "passes": sum(row["spec"].get("points", 0) * row["spec"].get("test_examples", 0) for row in rows),
        "operations": sum(updates * update.operations for updates, update in found),
        "core hours": sum(updates * update.seconds for updates, update in found) / 3600.0,
    }


def _simulated(works: Mapping[str, schedule.Work]) -> dict[str, Any]:
    """Hours of devices, and by their number the hours until all is computed, in the middle of some simulations."""
    found = {}
    for devices in _DEVICES:
        machines = schedule.Machines(devices, **_MACHINES)
        courses = [schedule.course(works, machines, random.Random(seed)) for seed in range(_SIMULATED)]
        found[str(devices)] = {
            "hours": statistics.median(each.hours for each in courses),
            "lost": statistics.mean(each.lost for each in courses),
            "failures": statistics.mean(each.failures for each in courses),
        }
    return {
        "device hours": sum(each.hours for each in works.values()),
        "longest chain": schedule.critical_path(works),
        "courses": found,
    }


if __name__ == "__main__":
    main()
