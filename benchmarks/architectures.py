"""Groups of every torchvision classifier: derived from the trace, proved in float64, timed.

The proof draws weights, statistics and permutations. The negative control forgets one axis of one group, which the
proof must see. Rows that the file has already are kept, so that a run which was stopped goes on; ``--only`` makes rows
anew.
"""

import argparse
import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from lmc_lib import rng, symmetry
from lmc_lib.symmetry import proof

# Images smaller than the usual 224 pixels, where the network takes them.
_PIXELS = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}
_SMALL = 64

# Networks of more parameters get one draw of weights and permutations, since one takes up to minutes; others get three.
_LARGE = 20_000_000


def main() -> None:
    """Makes one row a constructor, prints it, and adds it to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of constructors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    symmetry.permutation_spec(nn.Linear(3, 3), torch.zeros(1, 3))  # loads the tracer, which is not what is timed
    rows = {row["model"]: row for row in json.loads(options.json.read_text())} if options.json.exists() else {}
    for name in options.only or [each for each in constructors() if each not in rows]:
        rows[name] = measure(name)
        print(json.dumps(rows[name]), flush=True)
        options.json.write_text("[\n" + ",\n".join(json.dumps(rows[each]) for each in sorted(rows)) + "\n]\n")


def constructors() -> list[str]:
    """The names of torchvision's classifiers."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def build(name: str) -> tuple[nn.Module, int]:
    """A classifier, and the side of the images that it gets."""
    pixels = _PIXELS.get(name, _SMALL)
    options: dict[str, Any] = {"image_size": pixels} if name.startswith("vit") else {}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    return torchvision.models.get_model(name, **options), pixels


def measure(name: str) -> dict[str, Any]:
    """Derives and proves the groups of one constructor's classifier."""
    model, pixels = build(name)
    generator = rng.stream(0, "architectures", name)
    row = measured(model, torch.randn(2, 3, pixels, pixels, generator=generator), generator)
    return {"model": name, **row, "pinned": len(row["pinned"])}


def measured(model: nn.Module, images: torch.Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Derives and proves the groups of one classifier; ``pinned`` says what is not followed, and why."""
    started = time.process_time()
    spec = symmetry.permutation_spec(model, images)
    seconds = time.process_time() - started
    parameters = sum(each.numel() for each in model.parameters())
    change = symmetry.prove(model, spec, images, generator=generator, draws=1 if parameters > _LARGE else 3)
    return {
        "parameters": parameters,
        "groups": len(spec.groups),
        "units": spec.units,
        "pinned": list(spec.pinned),
        "change": change,
        "control": control(model, spec, images, generator),
        "seconds": round(seconds, 2),
    }


def control(
    model: nn.Module, spec: symmetry.PermutationSpec, images: torch.Tensor, generator: torch.Generator
) -> float:
    """How far the outputs change when a group is moved everywhere but on one of its axes.

    Weights are drawn at the sizes that a proof tries, until the outputs depend on the inputs.
    """
    group = max(spec.groups, key=lambda name: spec.groups[name].size)
    wrong = replace(spec, members={**spec.members, group: spec.members[group][1:]})
    for gain in proof.GAINS:
        state = proof.random_weights(model, generator, gain)
        only = symmetry.identity(spec) | {group: symmetry.random(spec, generator=generator)[group]}
        with contextlib.suppress(symmetry.SymmetryError):
            return symmetry.function_change(model, state, only, wrong, images)
    raise symmetry.SymmetryError("with weights of no size the outputs depend on the inputs")


if __name__ == "__main__":
    main()
