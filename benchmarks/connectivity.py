"""A line of 25 points and a triangle of 66, beside plain forward passes and beside a loop that rebuilds the network.

Run ``python benchmarks/connectivity.py --json results/connectivity.json``. Each network is evaluated on one batch of
examples, in one thread, by three programs in turn:

- *ours*: ``connectivity.curves`` or ``connectivity.simplex``;
- *passes*: as many forward passes of one network that holds its weights, with loss and error, as there are points, and
  with as many new estimates of the statistics where there is BatchNorm: what no implementation undercuts;
- *rebuilt*: what one writes first: at each point a new module, its mixed weights loaded, its statistics re-estimated.

Times are CPU seconds of the one thread, the smallest of several rounds in which the three take turns: what else the
machine does hits all alike.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name
from torch.optim.swa_utils import update_bn

from lmc_lib import connectivity, models, norms, rng
from lmc_lib.data import Split
from lmc_lib.models import ModelSpec
from lmc_lib.state import State, cast

# The networks of the pages at the quick and at the laptop scale, with their examples and precision.
_CASES: dict[str, tuple[ModelSpec, tuple[int, ...], int, torch.dtype]] = {
    "MLP, width 8, quick": (ModelSpec("mlp", 8, 3), (1, 8, 8), 400, torch.float64),
    "MLP, width 128, quick": (ModelSpec("mlp", 128, 3), (1, 8, 8), 400, torch.float64),
    "ResNet-8, width 8, quick": (ModelSpec("resnet", 8, 8, "layer"), (1, 8, 8), 150, torch.float64),
    "MLP, width 512, laptop": (ModelSpec("mlp", 512, 3), (1, 28, 28), 2000, torch.float32),
    "ResNet-8, width 16, BatchNorm, laptop": (ModelSpec("resnet", 16, 8, "batch"), (1, 28, 28), 256, torch.float32),
}
_LINE = 25
_RESOLUTION = 10


def main() -> None:
    """Measures every case, prints the ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", default=[""], help="only cases whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for name, case in _CASES.items()
        if any(part in name for part in options.cases)
        for row in _case(name, *case, rounds=options.rounds)
    ]
    setting = {
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"setting": setting | {"rounds": options.rounds}, "cases": rows}, indent=1) + "\n"
    )


def _case(
    name: str, spec: ModelSpec, shape: tuple[int, ...], examples: int, dtype: torch.dtype, *, rounds: int
) -> list[dict[str, Any]]:
    model = models.build(spec, shape, 10).to(dtype)
    generator = rng.stream(0, "examples")
    inputs = torch.randn(examples, *shape, generator=generator).to(dtype)
    split = Split(inputs, torch.randint(10, (examples,), generator=generator))
    states = [cast(models.initialise(model, generator=rng.stream(seed, "weights")), dtype) for seed in range(3)]
    fresh = inputs if norms.has_statistics(model) else None
    line = [[1 - alpha, alpha] for alpha in torch.linspace(0, 1, _LINE, dtype=torch.float64).tolist()]
    triangle = connectivity.barycentric(3, _RESOLUTION).tolist()

    def ours_on_line() -> Tensor:
        return connectivity.curves(model, *states[:2], {"": split}, points=_LINE, reset_inputs=fresh)[""].loss

    def ours_on_triangle() -> Tensor:
        found = connectivity.simplex(model, states, {"": split}, resolution=_RESOLUTION, reset_inputs=fresh)
        return found[""].loss

    rows = []
    for shape_name, ours, weights in (("line", ours_on_line, line), ("triangle", ours_on_triangle, triangle)):
        programs: dict[str, Callable[[], Tensor]] = {
            "ours": ours,
            "passes": lambda weights=weights: _passes(model, states[0], split, fresh, len(weights)),
            "rebuilt": lambda weights=weights: _rebuilt(spec, shape, states, split, fresh, weights),
        }
        seconds, losses = _times(programs, rounds)
        # The two walk the same points; float32 sums may differ in their order.
        torch.testing.assert_close(losses["ours"], losses["rebuilt"], rtol=1e-5, atol=1e-6)
        rows.append(
            {"network": name, "shape": shape_name, "points": len(weights), "seconds": seconds, **_ratios(seconds)}
        )
        print(f"{name}, {shape_name} of {len(weights)}: {_ratios(seconds)}")
    return rows


def _ratios(seconds: dict[str, float]) -> dict[str, float]:
    return {
        "ours / passes": round(seconds["ours"] / seconds["passes"], 3),
        "rebuilt / ours": round(seconds["rebuilt"] / seconds["ours"], 3),
    }


def _times(programs: dict[str, Callable[[], Tensor]], rounds: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    results = {name: program() for name, program in programs.items()}  # a first time, which loads code
    for _ in range(rounds):
        for name, program in programs.items():
            started = time.process_time()
            results[name] = program()
            seconds[name].append(time.process_time() - started)
    return {name: min(each) for name, each in seconds.items()}, results


def _passes(model: nn.Module, state: State, split: Split, fresh: Tensor | None, count: int) -> Tensor:
    """Forward passes of one network, which holds its weights already."""
    model.load_state_dict(state)
    return torch.stack([_loss(model, split, fresh) for _ in range(count)])


def _rebuilt(
    spec: ModelSpec,
    shape: tuple[int, ...],
    states: list[State],
    split: Split,
    fresh: Tensor | None,
    weights: list[list[float]],
) -> Tensor:
    """A new module for each point."""
    losses = []
    for row in weights:
        mixed = {
            name: sum(weight * state[name] for weight, state in zip(row, states, strict=False))
            for name, value in states[0].items()
            if value.is_floating_point()
        }
        model = models.build(spec, shape, 10).to(split.inputs.dtype)
        model.load_state_dict(states[0] | mixed)
        losses.append(_loss(model, split, fresh))
    return torch.stack(losses)


def _loss(model: nn.Module, split: Split, fresh: Tensor | None) -> Tensor:
    if fresh is not None:
        update_bn(fresh.split(256), model)
    model.eval()
    with torch.no_grad():
        logits = model(split.inputs).double()
        (logits.argmax(1) != split.labels).sum().item()
        return F.cross_entropy(logits, split.labels)


if __name__ == "__main__":
    main()
