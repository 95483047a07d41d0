"""Groups of networks that nobody had in mind: one small member of each family of timm that no test names.

Every network is tried once, with random weights: its groups are derived and proved in float64 as in
``architectures.py``, at the smallest images that it takes. A row says *proved*, with what is pinned; *refused*, with
what was said; *wrong*, if the proof refutes the groups; or *crashed*. Rows that the file has already are kept;
``--only`` makes rows anew.

timm is no dependency: ``pip install --no-deps --target FOLDER timm huggingface_hub``, and run
``PYTHONPATH=FOLDER python benchmarks/zoo.py --json book/zoo.json``.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from architectures import measured
from torch import nn

from lmc_lib import rng, symmetry

# By timm's module the member that is tried: a small one, and where a module has several families one of each. Left out
# are the families of torchvision, which have a table and tests, and modules whose smallest member has over 100 million
# parameters.
FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet26t",
    "byobnet": "repvgg_a0",
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit3_small_patch16_224",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnetv2_100",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "mambaout_femto",
    "maxxvit": "coatnet_pico_rw_224",
    "metaformer": "poolformer_s12",
    "metaformer, attention": "caformer_s18",
    "mlp_mixer": "mixer_s32_224",
    "mlp_mixer, gated": "gmlp_ti16_224",
    "mlp_mixer, affine": "resmlp_12_224",
    "mobilenetv3, hybrid": "mobilenetv4_hybrid_medium",
    "mobilevit": "mobilevit_xxs",
    "mobilevit, version 2": "mobilevitv2_050",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "eca_nfnet_l0",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "resnetv2": "resnetv2_50x1_bit",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s1",
    "swiftformer": "swiftformer_xs",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_ns_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "twins, pooled": "twins_pcpvt_small",
    "visformer": "visformer_tiny",
    "vision_transformer_relpos": "vit_relpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41",
    "xcit": "xcit_nano_12_p16_224",
}

# Sides of images, the smallest first; where a network takes none of them it gets those of its own size.
_PIXELS = (64, 96, 128, 160)


def main() -> None:
    """Makes one row a network, prints it, and adds it to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    symmetry.permutation_spec(nn.Linear(3, 3), torch.zeros(1, 3))  # loads the tracer, which is not what is timed
    rows = {row["model"]: row for row in json.loads(options.json.read_text())} if options.json.exists() else {}
    for name in options.only or [each for each in FAMILIES.values() if each not in rows]:
        rows[name] = attempt(name)
        print(json.dumps(rows[name]), flush=True)
        options.json.write_text("[\n" + ",\n".join(json.dumps(rows[each]) for each in sorted(rows)) + "\n]\n")


def build(name: str) -> tuple[nn.Module, int]:
    """A network, and the smallest side of images of which it makes logits."""
    own = timm.get_pretrained_cfg(name, allow_unregistered=True)
    sides = [*_PIXELS, (own.input_size if own else (3, 224, 224))[-1]]
    for pixels in sides:
        for options in ({"img_size": pixels}, {}):
            try:
                model = timm.create_model(name, **options).eval()
                with torch.no_grad():
                    model(torch.zeros(1, 3, pixels, pixels))
            except Exception:  # this network does not take this size
                continue
            return model, pixels
    raise ValueError(f"{name} takes images of none of the sides {sides}")


def attempt(name: str) -> dict[str, Any]:
    """What became of one network."""
    model, pixels = build(name)
    generator = rng.stream(0, "zoo", name)
    images = torch.randn(2, 3, pixels, pixels, generator=generator)
    row = {"model": name, "pixels": pixels, "parameters": sum(each.numel() for each in model.parameters())}
    try:
        return row | {"outcome": "proved"} | measured(model, images, generator)
    except symmetry.SymmetryError as error:
        return row | {"outcome": "wrong" if "the function changes" in str(error) else "refused", "reason": str(error)}
    except Exception as error:  # the row says so
        return row | {"outcome": "crashed", "reason": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
