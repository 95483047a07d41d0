"""One constructor of each family of torchvision's classifiers: every group proved, none missed, nothing pinned."""

import json
from pathlib import Path

import pytest
import torch
import torchvision

from lmc_lib import rng, symmetry

# Sums of at most a few thousand float64 terms in another order: 1e-14 of their spread, with some room.
ROUNDING = 1e-12

# Groups and units of a trial with another program that had one order for all heads and groups of a convolution; where
# a network has these, orders of their own are more units.
FAMILIES = {
    "alexnet": (7, 9344),
    "vgg11_bn": (10, 64 + 128 + 2 * 256 + 4 * 512 + 2 * 4096),
    "resnet18": (12, 2880),
    "resnext50_32x4d": (53, 19520),
    "densenet121": (120, 10240),
    "googlenet": (57, 7280),
    "inception_v3": (94, 17216),
    "squeezenet1_0": (25, 2976),
    "mobilenet_v2": (25, 9128),
    "mobilenet_v3_large": (30, 8696),
    "mnasnet0_5": None,
    "shufflenet_v2_x1_0": (86, 5626),
    "efficientnet_b0": (40, 11404),
    "efficientnet_v2_s": None,
    "regnet_y_400mf": (69, 10819),
    "convnext_tiny": (22, 27936),
    "vit_b_16": (49, 56208),
    "swin_t": (52, 20010),
    # By hand: 4 streams, and in each of 12 blocks heads, channels of q and k, of v, and two hidden layers. The trial
    # has 76, one more a block.
    "swin_v2_t": (64, 34218),
    "maxvit_t": (117, 36104),
}
TABLE = Path(__file__).parents[1] / "book" / "architectures.json"


def built(name):
    """A constructor with weights from the global stream, which the tests must leave where it was."""
    pixels = {"inception_v3": 96, "maxvit_t": 224}.get(name, 64)
    options = {"image_size": pixels} if name.startswith("vit") else {}
    options |= {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):
        return torchvision.models.get_model(name, **options), pixels


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_of_a_family_are_complete_and_proved(name):
    model, pixels = built(name)
    images = torch.randn(2, 3, pixels, pixels, generator=rng.stream(0, "torchvision", name))
    spec = symmetry.permutation_spec(model, images, strict=True)
    assert symmetry.prove(model, spec, images, generator=rng.stream(0, "proof", name), draws=1) <= ROUNDING
    if FAMILIES[name] is not None:
        groups, units = FAMILIES[name]
        assert len(spec.groups) >= groups
        assert spec.units >= units


def test_rows_of_the_books_table_are_proved_constructors():
    rows = {row["model"]: row for row in json.loads(TABLE.read_text())}
    assert set(rows) <= set(torchvision.models.list_models(module=torchvision.models))
    # The largest EfficientNet comes to 1.2e-12; a wrong spec to about 1.
    assert all(row["change"] <= 2 * ROUNDING for row in rows.values())
    assert all(row["control"] > 1e-6 for row in rows.values())
    assert all(row["pinned"] == 0 for row in rows.values())
    for name, expected in FAMILIES.items():
        if expected is not None and name in rows:
            assert (rows[name]["groups"], rows[name]["units"]) >= expected
