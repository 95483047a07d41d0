"""Portable arithmetic: the same bits under other instruction sets and another number of threads.

A cap on the instruction set stands in for another processor. It must be set before torch is loaded, so each environment
is a process of its own, which trains all networks.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.slow

ENVIRONMENTS = {
    "as the machine is, 1 thread": {"OMP_NUM_THREADS": "1"},
    "AVX2, 2 threads": {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
    "SSE everywhere, 1 thread": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OMP_NUM_THREADS": "1",
    },
    "AVX2 in torch, SSE in products, 2 threads": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OMP_NUM_THREADS": "2",
    },
}

# The digits themselves. A change here moves every stored result: it needs a new `RunSpec.VERSION`.
PORTABLE = {
    "mlp": "d54c06eb693e4f28",
    "resnet-batch": "ba400d41cea8bc3b",
    "resnet-layer-adamw": "3e33554b2d47c252",
}

SCRIPT = """
import json
import torch
from lmc_lib import data, models, rng, state, training

digits = data.load(data.DataSpec("digits"))

def trained(name, width, **options):
    model = models.build(models.parse(name, width), digits.input_shape, digits.num_classes)
    start = models.initialise(model, generator=rng.stream(0, "test"))
    config = training.TrainConfig(batch_size=32, **options)
    return state.fingerprint(training.train(model, start, digits.train, config, seed=0).final)

print(json.dumps({
    "capability": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(),
    "mlp": trained("mlp-3", 32, steps=300, lr=0.05, precision="portable"),
    "resnet-batch": trained("resnet-8-batch", 4, steps=30, lr=0.05, precision="portable"),
    "resnet-layer-adamw": trained(
        "resnet-8-layer", 4, steps=30, lr=0.01, precision="portable", optimiser="adamw", weight_decay=0.01
    ),
    "mlp-float32": trained("mlp-3", 32, steps=300, lr=0.05),
}))
"""


@pytest.fixture(scope="module")
def found():
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ENVIRONMENTS, pool.map(train_under, ENVIRONMENTS.values()), strict=True))


def train_under(variables):
    # Threads that spin while they wait would fight for the cores with the other process.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"} | variables
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("network", PORTABLE)
def test_portable_training_gives_the_same_bits_everywhere(found, network):
    assert {name: results[network] for name, results in found.items()} == dict.fromkeys(found, PORTABLE[network])


def test_plain_float32_differs_so_the_caps_do_something(found):
    assert len({results["mlp-float32"] for results in found.values()}) > 1


def test_every_environment_was_as_asked(found):
    for name, variables in ENVIRONMENTS.items():
        assert found[name]["threads"] == int(variables["OMP_NUM_THREADS"])
        if "ATEN_CPU_CAPABILITY" in variables:
            assert found[name]["capability"].lower() == variables["ATEN_CPU_CAPABILITY"]
