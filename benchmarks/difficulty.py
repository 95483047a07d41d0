"""Gradients of each example beside plain backward passes, and the memory of a training's scores.

Run ``python benchmarks/difficulty.py --json results/difficulty.json``. In one thread, three programs in turn:

- *ours*: ``difficulty.grand``, the norm of each example's gradient over all parameters;
- *batch*: plain backward passes of the same examples in batches of 128, which give one gradient a batch and no norm of
  any example: what no implementation undercuts by much;
- *loop*: a backward pass for each example.

Times are CPU seconds of the one thread, the smallest of several rounds in which the three take turns: what else the
machine does hits all alike.

The memory is the peak that Python and numpy allocate (``tracemalloc``) while ``History`` takes in the logits of 10
and of 100 checkpoints, which are drawn one after the other, beside the size of a table of all their scores.
"""

import argparse
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import difficulty, models, norms, rng
from lmc_lib.models import ModelSpec
from lmc_lib.state import cast

# Networks with the shape of their inputs and the number of examples.
_CASES: dict[str, tuple[ModelSpec, tuple[int, ...], int]] = {
    "MLP, width 128": (ModelSpec("mlp", 128, 3), (1, 8, 8), 2048),
    "MLP, width 512": (ModelSpec("mlp", 512, 3), (1, 28, 28), 512),
    "ResNet-8, width 16, LayerNorm": (ModelSpec("resnet", 16, 8, "layer"), (1, 28, 28), 128),
    "ResNet-20, width 16, BatchNorm": (ModelSpec("resnet", 16, 20, "batch"), (3, 32, 32), 128),
    "VGG-11, width 8": (ModelSpec("vgg", 8, 11), (3, 32, 32), 256),
}
_BATCH = 128
_CLASSES = 10


def main() -> None:
    """Measures times and memory, prints the ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", default=[""], help="only networks whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=60_000, help="examples whose scores are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        _case(name, *case, rounds=options.rounds)
        for name, case in _CASES.items()
        if any(part in name for part in options.cases)
    ]
    memory = {str(count): _memory(options.examples, count) for count in (10, 100)}
    print(f"memory of {options.examples} examples, by number of checkpoints: {memory}")
    setting = {
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "examples": options.examples,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"setting": setting, "gradients": rows, "memory": memory}, indent=1) + "\n")


def _case(name: str, spec: ModelSpec, shape: tuple[int, ...], examples: int, *, rounds: int) -> dict[str, Any]:
    model = models.build(spec, shape, _CLASSES).eval()
    state = cast(models.initialise(model, generator=rng.stream(0, "weights")), torch.float32)
    generator = rng.stream(0, "examples")
    inputs = torch.randn(examples, *shape, generator=generator)
    if norms.has_statistics(model):
        state = norms.reset(model, state, inputs)
    model.load_state_dict(state)
    labels = torch.randint(_CLASSES, (examples,), generator=generator)
    programs: dict[str, Callable[[], Any]] = {
        "ours": lambda: difficulty.grand(model, state, inputs, labels),
        "batch": lambda: _batches(model, inputs, labels),
        "loop": lambda: _loop(model, inputs, labels),
    }
    seconds: dict[str, list[float]] = {each: [] for each in programs}
    results = {each: program() for each, program in programs.items()}  # a first time, which loads code
    # In float32 a unit that is zero up to rounding may be on in one and off in the other; the tests compare in float64.
    np.testing.assert_allclose(results["ours"], results["loop"], rtol=1e-2)
    for _ in range(rounds):
        for each, program in programs.items():
            started = time.process_time()
            program()
            seconds[each].append(time.process_time() - started)
    best = {each: min(times) for each, times in seconds.items()}
    ratios = {
        "ours / batch": round(best["ours"] / best["batch"], 2),
        "loop / ours": round(best["loop"] / best["ours"], 2),
    }
    print(f"{name}: {ratios}")
    return {"network": name, "examples": examples, "seconds": best, **ratios}


def _batches(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    for batch, classes in zip(torch.split(inputs, _BATCH), torch.split(labels, _BATCH), strict=True):
        model.zero_grad()
        F.cross_entropy(model(batch), classes).backward()


def _loop(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[float]:
    found = []
    for example, label in zip(inputs, labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(example[None]), label[None]).backward()
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        found.append(float(torch.stack([each.norm() for each in gradients]).norm()))
    return found


def _memory(examples: int, checkpoints: int) -> dict[str, float]:
    """Megabytes at the peak, and of a table of the same scores."""
    generator = rng.stream(0, "checkpoints")
    labels = torch.randint(_CLASSES, (examples,), generator=generator)
    tracemalloc.start()
    history = difficulty.History(labels)
    for _ in range(checkpoints):
        history.update(torch.randn(examples, _CLASSES, generator=generator))
    history.harder()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    table = len(difficulty.POINTWISE) * examples * checkpoints * 8
    return {"ours": round(peak / 1e6, 2), "table": round(table / 1e6, 2)}


if __name__ == "__main__":
    main()
