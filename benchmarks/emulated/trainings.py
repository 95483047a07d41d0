"""Trainings of one emulated processor: a process of its own, since caps must stand before torch is loaded.

Called by ``benchmarks/arithmetic.py`` with JSON as its only argument; it prints JSON.
"""

__all__ = ["CASES", "GRIDS", "MODES", "SAMPLES", "Case"]

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc_lib import data, models, rng, state, training
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.values import log_spaced

# How many checkpoints of a training are compared, and at how many of them gradients are.
_LOOKS, SAMPLES = 30, 6

# Grids, finer than the default one, on which rounding hides less.
GRIDS = (37, 40, 43)

MODES = ("float32", "bfloat16", "float64", "portable", *(f"grid {bits}" for bits in GRIDS))


@dataclass(frozen=True)
class Case:
    """A network and how it is trained, on digits."""

    network: str
    width: int
    optimiser: str
    lr: float
    steps: int

    @property
    def name(self) -> str:
        """What stands in a row."""
        spec = models.parse(self.network, self.width)
        norm = "" if spec.norm == "none" else f"{spec.norm} norm, "
        return f"{spec.label}, {norm}{'SGD' if self.optimiser == 'sgd' else 'AdamW'}"


CASES = (
    Case("mlp-3", 32, "sgd", 0.05, 400),
    Case("mlp-3", 32, "adamw", 0.003, 400),
    Case("resnet-8-batch", 4, "sgd", 0.05, 40),
    Case("resnet-8-layer", 4, "adamw", 0.01, 40),
    Case("transformer-2-layer", 32, "adamw", 0.003, 40),
)

_DIGITS = data.load(data.DataSpec("digits"))


def main() -> None:
    """Trains what was asked for and prints fingerprints of weights by case, mode, seed and step, with seconds."""
    asked = json.loads(sys.argv[1])
    found: dict[str, Any] = {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "weights": {},
        "seconds": {},
    }
    gradients = {}
    for case in CASES:
        for mode in asked["modes"]:
            list(_trained(replace(case, steps=2), mode, 0))  # what is made once for all costs no training its time
        for seed in asked["seeds"]:
            for mode in asked["modes"]:
                started = time.process_time()
                kept = dict(_trained(case, mode, seed))
                taken = time.process_time() - started
                looks = found["weights"].setdefault(case.name, {}).setdefault(mode, [])
                looks.append({step: state.fingerprint(each) for step, each in kept.items()})
                found["seconds"].setdefault(case.name, {}).setdefault(mode, []).append(taken)
                if mode == "portable" and asked["gradients"]:
                    gradients[f"{case.name}/{seed}"] = _gradients(case, seed, kept)
    if gradients:
        torch.save(gradients, Path(asked["gradients"]))
    print(json.dumps(found))


def _trained(case: Case, mode: str, seed: int) -> Iterator[tuple[int, state.State]]:
    model, start, config = _made(case, mode, seed)
    rule = _plain(case) if mode == "float64" else None
    save_at = [0, *log_spaced(case.steps, _LOOKS)]
    for each in training.checkpoints(model, start, _DIGITS.train, config, seed=seed, save_at=save_at, rule=rule):
        # Running statistics of normalisation are rounded to a grid of their own, and no update depends on them.
        yield each.step, {name: value for name, value in each.state.items() if "running_" not in name}


def _made(case: Case, mode: str, seed: int) -> tuple[nn.Module, state.State, TrainConfig]:
    model = models.build(models.parse(case.network, case.width), _DIGITS.input_shape, _DIGITS.num_classes)
    start = models.initialise(model, generator=rng.stream(seed, "emulated"))
    precision = mode if mode in ("float32", "bfloat16") else "portable"
    grid = {"grid_bits": int(mode.split()[1])} if mode.startswith("grid") else {}
    options: dict[str, Any] = {"lr": case.lr, "optimiser": case.optimiser, "precision": precision, **grid}
    return model, start, TrainConfig(steps=case.steps, batch_size=32, **options)


def _plain(case: Case) -> Callable[[Mapping[str, nn.Parameter], float], None]:
    """Updates by torch's own optimiser, in the float64 of the network that it is given."""
    made: list[torch.optim.Optimizer] = []

    def update(parameters: Mapping[str, nn.Parameter], lr: float) -> None:
        if not made:
            kinds = {"sgd": lambda each: torch.optim.SGD(each, lr=lr, momentum=0.9), "adamw": torch.optim.AdamW}
            made.append(kinds[case.optimiser](list(parameters.values())))
        for group in made[0].param_groups:
            group["lr"] = lr
        made[0].step()

    return update


def _gradients(case: Case, seed: int, kept: Mapping[int, state.State]) -> Tensor:
    """Gradients in float64 at some of the checkpoints, which are the same to the bit on all processors: a row each."""
    model, start, config = _made(case, "portable", seed)
    steps = sorted(kept)[:-1]
    chosen = {steps[at] for at in torch.linspace(0, len(steps) - 1, SAMPLES).round().long().tolist()}
    rows = []
    for step, drawn in training.loop.batches(len(_DIGITS.train), config, seed=seed):
        if step in chosen:
            network = model.double().train()
            weights = {name: value.requires_grad_() for name, value in kept[step].items() if value.is_floating_point()}
            logits = torch.func.functional_call(network, start | weights, (_DIGITS.train.inputs[drawn].double(),))
            loss = nn.functional.cross_entropy(logits, _DIGITS.train.labels[drawn])
            found = torch.autograd.grad(loss, list(weights.values()))
            rows.append(torch.cat([each.reshape(-1) for each in found]))
    return torch.stack(rows)


if __name__ == "__main__":
    main()
