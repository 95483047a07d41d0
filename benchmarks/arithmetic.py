"""Whether the same training gives the same bits on emulated processors, in which arithmetic, and at what cost.

``python benchmarks/arithmetic.py --json book/arithmetic.json`` takes about half an hour of one core. Caps on the
instruction sets of torch, oneDNN and MKL and the number of threads stand in for other processors; each has a process of
its own. What is to be shown, and the numbers that it needs, stand in ``RULES``; they were written before any number.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from emulated import partings, trainings

_TORCH = {"ATEN_CPU_CAPABILITY": "default"}
_PRODUCTS = {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
_THREADS = {"OMP_NUM_THREADS": "2"}

# The first one is what the others are compared with; that of its name once more must not part from it.
_PROCESSORS: dict[str, dict[str, str]] = {
    "as it is": {},
    "once more": {},
    "two threads": _THREADS,
    "SSE in torch": _TORCH,
    "SSE in products": _PRODUCTS,
    "SSE": _TORCH | _PRODUCTS,
    "SSE in products, two threads": _PRODUCTS | _THREADS,
}

# Plain float32 where MKL is asked for results that do not depend on the processor; of the last ones the caps are one.
_CONDITIONAL: dict[str, dict[str, str]] = {
    name: variables | {"MKL_CBWR": "COMPATIBLE"}
    for name, variables in (_PROCESSORS | {"SSE, two threads": _TORCH | _PRODUCTS | _THREADS}).items()
}

_ARITHMETIC = ("float32", "bfloat16", "float64", "portable")

# What each statement needs: the share of seeds of a case that part, of all trainings, a factor, a ratio of times.
RULES = {"plain": 0.5, "portable": 0.1, "factor": 3.0, "cost": 1.3}


def main() -> None:
    """Trains on each processor, compares, prints what each statement came to and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    # The pilot, after which sizes were chosen, had seed 0.
    parser.add_argument("--first-seed", type=int, default=100)
    options = parser.parse_args()
    seeds = list(range(options.first_seed, options.first_seed + options.seeds))
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: _trained(variables, trainings.MODES, seeds, Path(folder) / f"{at}.pt")
            for at, (name, variables) in enumerate(_PROCESSORS.items())
        }
        gradients = [torch.load(Path(folder) / f"{at}.pt", weights_only=True) for at in range(len(_PROCESSORS))]
    flips = _flips(gradients, seeds)
    conditional = {name: _trained(variables, ["float32"], seeds) for name, variables in _CONDITIONAL.items()}
    result = {
        "setting": _setting(found, seeds),
        "cases": list(_cases(found, flips)),
        "grids": _grids(found, flips),
        "conditional": _conditional(found["as it is"], conditional),
    }
    result["statements"] = statements(result)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["statements"], indent=1))


def _trained(
    variables: Mapping[str, str], modes: Sequence[str], seeds: Sequence[int], gradients: Path | None = None
) -> Any:
    """What a process with these variables found."""
    asked = json.dumps({"modes": list(modes), "seeds": seeds, "gradients": gradients and str(gradients)})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"} | variables
    program = Path(__file__).parent / "emulated" / "trainings.py"
    done = subprocess.run(
        [sys.executable, str(program), asked], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def _flips(
    gradients: Sequence[Mapping[str, torch.Tensor]], seeds: Sequence[int]
) -> dict[str, dict[int, list[list[float]]]]:
    """By case and grid the expected flips: for each seed, of each processor against the first."""
    first, *others = gradients
    return {
        case.name: {
            bits: [
                [partings.expected_flips(first[key], each[key], case.steps, bits) for each in others]
                for key in (f"{case.name}/{seed}" for seed in seeds)
            ]
            for bits in (20, *trainings.GRIDS)
        }
        for case in trainings.CASES
    }


def _parted(found: Mapping[str, Any], case: str, mode: str) -> dict[str, list[int | None]]:
    """By processor, for each seed when its training parted from that of the first processor."""
    first, *others = found
    return {
        name: [
            partings.parting(one, two)
            for one, two in zip(found[first]["weights"][case][mode], found[name]["weights"][case][mode], strict=True)
        ]
        for name in others
    }


def _cases(found: Mapping[str, Any], flips: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each case what became of it in each arithmetic, how many flips portable arithmetic expects, and its cost."""
    for case in trainings.CASES:
        seconds = found["as it is"]["seconds"][case.name]
        yield {
            "case": case.name,
            "steps": case.steps,
            "modes": {mode: _mode(_parted(found, case.name, mode)) for mode in _ARITHMETIC},
            # Of the processor that differs most.
            "flips": statistics.mean(max(each) for each in flips[case.name][20]),
            "portable / float64": _ratio(seconds["portable"], seconds["float64"]),
            "portable / float32": _ratio(seconds["portable"], seconds["float32"]),
        }


def _mode(steps: Mapping[str, Sequence[int | None]]) -> dict[str, Any]:
    """How many seeds part on some processor, and at which step the first of these does, in the middle of the seeds."""
    others = [each for name, each in steps.items() if name != "once more"]
    earliest = [
        min(known) for seed in zip(*others, strict=True) if (known := [each for each in seed if each is not None])
    ]
    return {
        "seeds": len(others[0]),
        "parted": len(earliest),
        "step": statistics.median(earliest) if earliest else None,
        "once more": sum(each is not None for each in steps["once more"]),
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The median over seeds of a ratio of times, with its interval."""
    return list(partings.median([one / two for one, two in zip(ours, theirs, strict=True)]))


def _grids(found: Mapping[str, Any], flips: Mapping[str, Any]) -> dict[str, Any]:
    """On finer grids, how many trainings were expected to part and did, and by which factor flips come more often."""
    rows: list[dict[str, Any]] = []
    rates: dict[int, list[float]] = {}
    parted: dict[int, list[bool]] = {}
    for case in trainings.CASES:
        for bits in trainings.GRIDS:
            steps = _parted(found, case.name, f"grid {bits}")
            seen = [[each is not None for each in seed] for seed in zip(*steps.values(), strict=True)]
            for seed, (expected, did) in enumerate(zip(flips[case.name][bits], seen, strict=True)):
                # The first is the same processor once more, which expects and shows nothing.
                rates.setdefault(seed, []).extend(expected[1:])
                parted.setdefault(seed, []).extend(did[1:])
            share = statistics.mean(-math.expm1(-each) for seed in flips[case.name][bits] for each in seed[1:])
            rows.append(
                {
                    "case": case.name,
                    "bits": bits,
                    "expected": share,
                    "parted": statistics.mean(each for seed in seen for each in seed[1:]),
                }
            )
    return {"rows": rows, "factor": partings.scale(list(rates.values()), list(parted.values()))}


def _conditional(plain: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """With conditional reproducibility of MKL, how many trainings part from those of the first, and the cost."""
    rows = []
    for name in found:
        first = "SSE" if name == "SSE, two threads" else "as it is"
        parted = [_parted({first: found[first], name: found[name]}, each.name, "float32") for each in trainings.CASES]
        seconds = [
            (found[name]["seconds"][each.name]["float32"], plain["seconds"][each.name]["float32"])
            for each in trainings.CASES
        ]
        ratios = [_ratio(*each)[0] for each in seconds]
        if name != first:
            rows.append(
                {
                    "processor": name,
                    "against": first,
                    "trainings": sum(len(each[name]) for each in parted),
                    "parted": sum(step is not None for each in parted for step in each[name]),
                    "time": [min(ratios), max(ratios)],
                }
            )
    return rows


def _setting(found: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "seeds": seeds,
        "processors": {name: {each: run[each] for each in ("capability", "threads")} for name, run in found.items()},
        "machine": platform.machine(),
        "torch": torch.__version__,
        "rules": RULES,
    }


def statements(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is to be shown: what it needs, what was found, and whether that is enough."""
    cases = result["cases"]
    plain = {
        mode: min(partings.bounds(each["modes"][mode]["parted"], each["modes"][mode]["seeds"])[0] for each in cases)
        for mode in ("float32", "bfloat16", "float64")
    }
    counts = [each["modes"]["portable"] for each in cases]
    share_ = partings.bounds(sum(each["parted"] for each in counts), sum(each["seeds"] for each in counts))[1]
    _, low, high = result["grids"]["factor"]
    cost = max(each["portable / float64"][2] for each in cases)
    again = sum(each["modes"][mode]["once more"] for each in cases for mode in _ARITHMETIC)
    half, few, factor, times = (RULES[each] for each in ("plain", "portable", "factor", "cost"))
    return [
        *(
            _stated(
                f"{mode}: trainings part; share of seeds of each training, lower end of its interval, the least",
                f"above {half}",
                share,
                share > half,
            )
            for mode, share in plain.items()
        ),
        _stated(
            "portable: no training parts; share of all, upper end of its interval", f"below {few}", share_, share_ < few
        ),
        _stated(
            "flips are as frequent as expected: the factor, its interval",
            f"{1 / factor:.2f} to {factor:g}",
            [low, high],
            1 / factor < low <= high < factor,
        ),
        _stated(
            "portable costs little: time by that of float64, upper end of its interval, the largest",
            f"below {times}",
            cost,
            cost < times,
        ),
        _stated("control: trainings that part on the same processor, run once more", "0", again, again == 0),
    ]


def _stated(of: str, needed: str, found: Any, holds: bool) -> dict[str, Any]:
    return {"of": of, "needed": needed, "found": found, "holds": holds}


if __name__ == "__main__":
    main()
