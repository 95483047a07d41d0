"""All distances between many representations beside ckatorch and a plain loop: time, memory and largest difference.

Run ``python benchmarks/similarity.py --json results/similarity.json``; ``--full`` adds 20 layers of 10 networks on
2,000 inputs. In one thread, three programs in turn:

- *ours*: ``similarity.distances``, the whole matrix;
- *ckatorch*: ``ckatorch.cka_base`` for each pair, the test oracle of the metric;
- *loop*: for each pair both kernels, centred and multiplied, in a few lines.

Representations are drawn: normal numbers times a matrix that all networks have in common, so that angles differ; layers
take turns in their numbers of units. Times are processor seconds of the one thread. Of the two others a sample of
``--pairs`` pairs is timed, and multiplied by the number of pairs, since all would take hours at the full size. The
difference is the largest one between our angles and theirs on these pairs, in radians. The memory is the peak of the
process, the representations among it, before the others have run.
"""

import argparse
import itertools
import json
import math
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ckatorch
import torch
from torch import Tensor

from lmc_lib import rng, similarity

# Inputs, layers and networks: the default takes less than two minutes, the other one some ten.
_SIZES = {"small": (500, 10, 4), "full": (2000, 20, 10)}
# By the name of a flavour whether ckatorch calls it unbiased; it has no third one.
_FLAVOURS = {"gretton": False, "song": True}


def main() -> None:
    """Measures, prints the ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--full", action="store_true", help="the full size, too")
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128, 256, 512], help="of layers that follow on")
    parser.add_argument("--pairs", type=int, default=40, help="pairs on which the others are timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in ("small", "full") if options.full else ("small",):
        drawn = representations(*_SIZES[size], options.units)
        for flavour in _FLAVOURS:
            rows.append(measured(size, drawn, flavour, options.pairs))
            print(json.dumps(rows[-1]), flush=True)
    setting = {
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "peer": "ckatorch==1.0.3",
        "units": options.units,
        "pairs": options.pairs,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"setting": setting, "cases": rows}, indent=1) + "\n")


def representations(inputs: int, layers: int, networks: int, units: list[int]) -> list[Tensor]:
    """Random representations in float32, the layers of one network after those of another."""
    generator = rng.stream(0, "benchmark", inputs)
    found = []
    common = torch.randn(inputs, 8, generator=generator)
    for _, layer in itertools.product(range(networks), range(layers)):
        width = units[layer % len(units)]
        shared = common @ torch.randn(8, width, generator=generator)
        found.append(shared + (1.0 + layer / layers) * torch.randn(inputs, width, generator=generator))
    return found


def measured(size: str, drawn: list[Tensor], flavour: str, count: int) -> dict[str, Any]:
    """One row: the seconds of the three programs for the whole matrix, their ratios, memory and difference."""
    pairs = list(itertools.combinations(range(len(drawn)), 2))
    order = torch.randperm(len(pairs), generator=rng.stream(0, "pairs", len(pairs)))[:count]
    sample = [pairs[each] for each in order.tolist()]
    metric = similarity.metric(f"cka-linear-{flavour}")
    similarity.distances(metric, [each[:20] for each in drawn[:3]])  # a first time, which loads code
    started = time.process_time()
    found = similarity.distances(metric, drawn)
    seconds = {"ours": time.process_time() - started}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    others: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "ckatorch": lambda x, y: ckatorch.cka_base(x, y, kernel="linear", unbiased=_FLAVOURS[flavour]),
        "loop": lambda x, y: plain(x.double(), y.double(), flavour),
    }
    differences = {}
    for name, program in others.items():
        program(*drawn[:2])
        started = time.process_time()
        cosines = [float(program(drawn[i], drawn[j])) for i, j in sample]
        seconds[name] = (time.process_time() - started) / len(sample) * len(pairs)
        differences[name] = max(
            abs(math.acos(each) - float(found[pair])) for each, pair in zip(cosines, sample, strict=True)
        )
    return {
        "size": size,
        "inputs": len(drawn[0]),
        "representations": len(drawn),
        "flavour": flavour,
        "seconds": {name: round(each, 3) for name, each in seconds.items()},
        "ckatorch / ours": round(seconds["ckatorch"] / seconds["ours"], 1),
        "loop / ours": round(seconds["loop"] / seconds["ours"], 1),
        "gib": round(peak, 2),
        "difference": float(f"{max(differences.values()):.1g}"),
    }


def plain(x: Tensor, y: Tensor, flavour: str) -> Tensor:
    """The cosine of two centred kernels, by the textbook: gretton centres, song does so without bias."""
    kernels = []
    for each in (x, y):
        kernel, count = each @ each.T, len(each)
        if flavour == "song":
            kernel.fill_diagonal_(0.0)
            rows = kernel.sum(1) / (count - 2)
            kernel = kernel - rows[:, None] - rows + kernel.sum() / ((count - 1) * (count - 2))
            kernel.fill_diagonal_(0.0)
        else:
            kernel = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
        kernels.append(kernel / kernel.norm())
    return (kernels[0] * kernels[1]).sum()


if __name__ == "__main__":
    main()
