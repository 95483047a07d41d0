"""Replicas an hour: this project's sweep on two processes against a plain PyTorch loop in one process.

The same ResNet-8 of width 16 (28x28 images, batch 128, SGD with momentum), the same number of steps, on the same cores,
one after the other in one run. The plain loop is what one writes first: float32, one process, torch's own threads.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib import experiments, models, rng, sweeps
from lmc_lib.data import DataSpec
from lmc_lib.experiments.loaded import dataset
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

_MODEL = ModelSpec("resnet", 16, 8, "batch")


def main() -> None:
    """Measures both and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--precision", default="float32", help="bfloat16 where the processor computes it natively")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    data = DataSpec("fashion_mnist", train_examples=128 * 40)
    dataset(data)
    plain = options.replicas / _plain(data, options.steps, options.replicas)
    config = TrainConfig(options.steps, 128, 0.1, precision=options.precision, schedule="constant")
    ours = options.replicas / _ours(data, config, options.replicas, options.workers)
    result = {
        "replicas_per_hour": {"plain loop": 3600 * plain, "sweep": 3600 * ours},
        "ratio": ours / plain,
        "steps": options.steps,
        "precision": options.precision,
        "workers": options.workers,
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _plain(data: DataSpec, steps: int, replicas: int) -> float:
    """Seconds of the plain loop."""
    train = dataset(data).train
    started = time.perf_counter()
    for seed in range(replicas):
        model = models.build(_MODEL, dataset(data).input_shape, 10)
        start = models.initialise(model, generator=rng.stream(seed))
        model.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in start.items()})
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(steps):
            rows = slice(128 * (step % 40), 128 * (step % 40) + 128)
            optimiser.zero_grad()
            F.cross_entropy(model(train.inputs[rows]), train.labels[rows]).backward()
            optimiser.step()
    return time.perf_counter() - started


def _ours(data: DataSpec, config: TrainConfig, replicas: int, workers: int) -> float:
    """Seconds of the sweep, the start of its processes and the store included."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        sweeps.fill(Store(Path(folder)), experiments.runs.replicas(_MODEL, data, config, replicas), workers=workers)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
