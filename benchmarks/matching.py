"""Weight matching: time, memory and objective beside PyPI's ``rebasin``, and a floor that no implementation undercuts.

Run ``python benchmarks/matching.py --json results/matching.json``; ``--large`` adds ResNet-50, ``--trained`` barriers
between trained networks. Every measurement has a process of its own and reads the same weights from disk. ``rebasin``
shares its module name with another package: it is installed into a folder that only its own processes see.

- A *sweep* visits every group of permutations once. Its time is that of matching and permuting, over the sweeps; the
  total adds what comes before, which is mostly tracing. Numbers are medians of attempts, each with another random
  stream for the order of the groups. ``rebasin`` leaves out the groups of residual streams (see ``groups``), so that
  its sweep does less there.
- The *objective* is one function for both: the inner product in float64 of the target with the weights that came back.
  A permutation is valid only if it leaves the network's function alone: ``function_change`` says so.
- *Memory* is how far the first attempt raises the peak of the process, once a small network has made it load its code.
- The *floor* is the time of the matrix products and assignments alone, one product for each group and axis it permutes.
  It counts all of them in every sweep, so that who leaves out groups that cannot gain may come to less.
"""

import argparse
import copy
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import lap
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from lmc_lib import connectivity, experiments, matching, models, rng, sweeps, symmetry
from lmc_lib.connectivity import Curve
from lmc_lib.data import DataSpec, Split
from lmc_lib.experiments.loaded import dataset
from lmc_lib.models import ModelSpec
from lmc_lib.state import State, apply, cast
from lmc_lib.store import Store
from lmc_lib.symmetry import PermutationSpec
from lmc_lib.training import TrainConfig

_PEER = ("rebasin==0.0.47", "torchview", "graphviz")

_PARTS = ("networks", "growth", "solvers")

_IMAGE = (3, 32, 32)
_GREY = (1, 28, 28)
_NETWORKS: dict[str, tuple[ModelSpec, tuple[int, ...]]] = {
    "MLP 784-512-512-512-10": (ModelSpec("mlp", 512, 3), _GREY),
    "ResNet-20 x1": (ModelSpec("resnet", 16, 20), _IMAGE),
    "ResNet-20 x1, BatchNorm": (ModelSpec("resnet", 16, 20, "batch"), _IMAGE),
    "ResNet-20 x4": (ModelSpec("resnet", 64, 20), _IMAGE),
    "ResNet-20 x4, BatchNorm": (ModelSpec("resnet", 64, 20, "batch"), _IMAGE),
    "VGG-16": (ModelSpec("vgg", 64, 16), _IMAGE),
}
_LARGE = {"ResNet-50 of torchvision": (ModelSpec("torchvision", 64, 50, "batch"), (3, 64, 64))}

# The growth of our cost: by the width of three hidden layers, and by the depth at one width.
_WIDTHS = (64, 128, 256, 512, 1024, 2048)
_DEPTHS = (1, 2, 4, 8, 16)
_DEPTH_WIDTH = 256

# The two sides of an alignment may differ by rounding in float64, no more.
_SAME_FUNCTION = 1e-9

_TRAINED = ModelSpec("mlp", 512, 3)
_TRAINED_SEEDS = 5
_TRAINED_CONFIG = TrainConfig(steps=1000, lr=0.05, warmup=100)
_POINTS = 11
_EXAMPLES = 2_500  # of each split, on the lines
_QUANTITIES = ("train loss", "train error", "test loss", "test error")

Row = dict[str, Any]


class Failed(RuntimeError):
    """A process of the benchmark, or an installation, did not succeed."""


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        side: ``"ours"``, ``"rebasin"`` or ``"floor"``.
        model: the architecture of both networks.
        input_shape: of one example.
        folder: where ``target`` and ``source`` lie, and where the permuted source goes.
        threads: of torch.
        repeats: number of attempts, each with another order of the groups.
        budget: seconds after which no further attempt is begun.
        limit: seconds after which ``rebasin`` begins no further sweep.
    """

    side: str
    model: ModelSpec
    input_shape: tuple[int, ...]
    folder: str
    threads: int = 1
    repeats: int = 1
    budget: float = 0.0
    limit: float = math.inf


@dataclass(frozen=True)
class Case:
    """Two networks of one architecture."""

    model: nn.Module
    inputs: Tensor
    target: State
    source: State


@dataclass(frozen=True)
class Attempt:
    """One alignment: the permuted source, seconds before and during the matching, and how much was visited."""

    permuted: State
    setup: float
    matching: float
    sweeps: int
    groups: int
    units: int
    complete: bool = True


def main() -> None:
    """Measures what was asked for, prints the tables and writes them."""
    options = _options()
    if options.job:
        _write(options.json, _work(json.loads(options.job.read_text())))
        return
    peer = _peer_folder(options.peers)
    result: Row = {"setting": _setting(options)}
    if "networks" in options.parts:
        result["networks"] = _compare(options, peer)
    if "growth" in options.parts:
        result["growth"] = _growth(options)
    if "solvers" in options.parts:
        result["solvers"] = _compare_solvers()
    if options.trained:
        result["trained"] = _trained(options, peer)
    _write(options.json, result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--parts", nargs="*", choices=_PARTS, default=_PARTS, help="which tables to make")
    parser.add_argument("--networks", nargs="*", default=[""], help="only networks whose name contains one of these")
    parser.add_argument("--large", action="store_true", help="ResNet-50 too: minutes an attempt")
    parser.add_argument("--trained", action="store_true", help="barriers between networks trained on Fashion-MNIST too")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5, help="attempts, while the budget allows")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which no further attempt is begun")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which rebasin is stopped")
    parser.add_argument("--peers", type=Path, default=Path("~/.cache/lmc/peers").expanduser())
    parser.add_argument("--job", type=Path, help="for the program itself: the file that says what this process does")
    return parser.parse_args()


def _setting(options: argparse.Namespace) -> Row:
    return {
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "packages": {name: version(name) for name in ("torch", "numpy", "scipy", "lapx")},
        "peer": _PEER[0],
        "repeats": options.repeats,
        "budget": options.budget,
        "limit": options.limit,
    }


def _write(path: Path, result: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


# --- the peer's folder


def _peer_folder(peers: Path) -> Path | None:
    """The folder that holds the peer, installed now if it is missing; None, with a message, if that fails."""
    folder = peers / _PEER[0].replace("==", "-")
    if not folder.is_dir():
        try:
            _install(folder)
        except Failed as error:
            print(f"{error}\nGoing on without it.\n", file=sys.stderr)
            return None
    return folder


def _install(folder: Path) -> None:
    """Installs the peer, without most of what it depends on, into a folder that appears only once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        new = Path(parent) / "new"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(new)]
        done = subprocess.run([*command, *_PEER], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(
                f"{_PEER[0]} could not be installed: {_last_line(done.stderr)}\nWith a connection, run: "
                f"{sys.executable} -m pip install --no-deps --target {folder} {' '.join(_PEER)}"
            )
        new.rename(folder)


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


# --- processes


def _in_process(job: Job, path: Path | None = None) -> Row:
    """Does a job in a fresh process, with ``path`` before the other places of modules.

    Raises:
        Failed: if the process fails or hangs.
    """
    places = os.pathsep.join(filter(None, [str(path or ""), os.environ.get("PYTHONPATH")]))
    # A sweep can outlast the limit, after which a process is expected to come to its end by itself.
    patience = 4 * job.limit + 600 if math.isfinite(job.limit) else None
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(asdict(job)))
        try:
            done = subprocess.run(
                [sys.executable, __file__, "--job", str(asked), "--json", str(answer)],
                env={**os.environ, "OMP_NUM_THREADS": str(job.threads), "PYTHONPATH": places},
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"no answer in {patience:.0f} s") from error
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise Failed(_last_line(done.stderr))
        result: Row = json.loads(answer.read_text())
        return result


def _work(described: Row) -> Row:
    """Does a job in this process."""
    job = Job(**{**described, "model": ModelSpec(**described["model"]), "input_shape": tuple(described["input_shape"])})
    torch.set_num_threads(job.threads)
    if job.side == "floor":
        return _floor(_build(job.model, job.input_shape), _inputs(job.input_shape))
    return _attempts(job, _rebasin if job.side == "rebasin" else _ours)


def _build(spec: ModelSpec, input_shape: Sequence[int]) -> nn.Module:
    if spec.family == "torchvision":
        with torch.random.fork_rng(devices=[]):
            model: nn.Module = torchvision.models.get_model(f"resnet{spec.depth}", weights=None)
            return model
    return models.build(spec, input_shape, 10)


def _inputs(input_shape: Sequence[int]) -> Tensor:
    return torch.randn(2, *input_shape, generator=rng.stream(0, "example inputs"))


def _initial(model: nn.Module, seed: int) -> State:
    """Kaiming-normal weights in float32, the precision in which networks are kept."""
    return cast(models.initialise(model, generator=rng.stream(seed, "initial weights")), torch.float32)


def _write_pair(folder: str, target: State, source: State) -> None:
    save_file(target, Path(folder) / "target")
    save_file(source, Path(folder) / "source")


# --- one side of a row


def _attempts(job: Job, align: Callable[[Case, int, float], Attempt]) -> Row:
    """Aligns the pair of a job several times: medians, the peak of memory, and each attempt."""
    folder = Path(job.folder)
    case = Case(
        _build(job.model, job.input_shape),
        _inputs(job.input_shape),
        load_file(folder / "target"),
        load_file(folder / "source"),
    )
    align(_small(), 0, math.inf)  # what is loaded or set up once a process counts for neither time nor memory
    before = _reset_peak()
    started = time.perf_counter()
    first = align(case, 0, job.limit)
    peak = _peak() - before
    rows = [_describe(case, first)]
    while len(rows) < job.repeats and time.perf_counter() - started < job.budget:
        rows.append(_describe(case, align(case, len(rows), job.limit)))
    save_file({name: value.contiguous() for name, value in first.permuted.items()}, folder / job.side)
    size = sum(value.numel() * value.element_size() for value in case.source.values()) / 2**20
    medians = {name: median(row[name] for row in rows) for name in rows[0] if name != "complete"}
    valid = max(row["function_change"] for row in rows) < _SAME_FUNCTION
    return {
        "groups": first.groups,
        "units": first.units,
        **medians,
        "complete": all(row["complete"] for row in rows),
        "valid": valid,
        "peak_mb": peak,
        "network_mb": size,
        "attempts": rows,
    }


def _small() -> Case:
    model = models.mlp(4, 3, widths=(8, 8))
    return Case(model, _inputs((1, 2, 2)), _initial(model, 0), _initial(model, 1))


def _ours(case: Case, seed: int, _limit: float) -> Attempt:
    """Weight matching of this library, which needs no limit."""
    started = time.perf_counter()
    spec = symmetry.permutation_spec(case.model, case.inputs)
    ready = time.perf_counter()
    found = matching.weight_matching(
        spec, case.target, case.source, generator=rng.stream(seed, "order"), start="greedy"
    )
    permuted = symmetry.permute(case.source, found, spec)
    done = time.perf_counter()
    # The sweeps are counted in a second, equal run: whoever observes pays for an objective a sweep.
    sweeps: list[int] = []
    matching.weight_matching(
        spec,
        case.target,
        case.source,
        generator=rng.stream(seed, "order"),
        start="greedy",
        observe=lambda sweep, _: sweeps.append(sweep),
    )
    # The greedy start visits every group once too.
    return Attempt(permuted, ready - started, done - ready, 1 + sweeps[-1], len(found), spec.units)


def _rebasin(case: Case, seed: int, limit: float) -> Attempt:
    """The peer, which permutes one of two modules in place; after the limit it begins no further sweep."""
    peer = importlib.import_module("rebasin")
    target, source = copy.deepcopy(case.model), copy.deepcopy(case.model)
    # Without copies, whose memory would count; what it permutes becomes a new tensor.
    target.load_state_dict(case.target, assign=True)
    source.load_state_dict(case.source, assign=True)
    torch.default_generator.manual_seed(rng.entropy(seed, "order"))  # it draws its orders from the global stream
    sweeps = 0
    complete = True
    with torch.no_grad():  # in its favour: nobody asks for gradients
        started = time.perf_counter()
        descent = peer.PermutationCoordinateDescent(target, source, case.inputs)
        ready = time.perf_counter()
        step = descent._calculate_permutations_step

        def counted(loop: Any) -> bool:
            nonlocal sweeps, complete
            sweeps += 1
            progress = bool(step(loop))
            complete = not progress or time.perf_counter() - started < limit
            return progress and complete

        descent._calculate_permutations_step = counted
        descent.rebasin()
        done = time.perf_counter()
    permutations = [permutation for permutation, _ in descent.pinit.model_graph.permutation_to_info]
    units = sum(map(len, permutations))
    permuted = {name: value.detach() for name, value in source.state_dict().items()}
    return Attempt(permuted, ready - started, done - ready, sweeps, len(permutations), units, complete)


def _describe(case: Case, attempt: Attempt) -> Row:
    return {
        "seconds": attempt.setup + attempt.matching,
        "setup_seconds": attempt.setup,
        "sweep_seconds": attempt.matching / attempt.sweeps,
        "sweeps": attempt.sweeps,
        "objective": _inner(case.target, attempt.permuted),
        "function_change": _function_change(case, attempt.permuted),
        "complete": attempt.complete,
    }


def _inner(target: State, permuted: State) -> float:
    """The inner product of all weights in float64; running statistics are no weights."""
    return sum(
        float(torch.vdot(value.double().reshape(-1), permuted[name].double().reshape(-1)))
        for name, value in target.items()
        if _is_weight(name, value)
    )


def _is_weight(name: str, value: Tensor) -> bool:
    return value.is_floating_point() and not name.endswith(("running_mean", "running_var"))


def _function_change(case: Case, permuted: State) -> float:
    """The largest change of an output in float64, as a share of the largest output."""
    network = copy.deepcopy(case.model).double().eval()
    with torch.no_grad():
        before, after = (
            apply(network, cast(each, torch.float64), case.inputs.double()) for each in (case.source, permuted)
        )
    return float((before - after).abs().max() / before.abs().max())


def _reset_peak() -> float:
    """Lowers the peak of memory to what is in use, where the system can, and returns it in MB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """The process's peak of resident memory in MB."""
    with suppress(OSError):
        # Not from getrusage where there is a choice: on Linux that begins with the peak of the parent process.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


# --- the floor


def _floor(model: nn.Module, inputs: Tensor) -> Row:
    """Seconds a sweep of the matrix products and assignments alone."""
    spec = symmetry.permutation_spec(model, inputs)
    sizes = Counter(_sizes(spec).values())
    products = Counter(_products(spec, model.state_dict()))
    seconds = {
        dtype: sum(count * _seconds_of_product(*shape, dtype) for shape, count in products.items())
        for dtype in (torch.float64, torch.float32)
    }
    fastest = {
        size: min((took, name) for name, took in _seconds_of_solvers(_random_gram(size)).items()) for size in sizes
    }
    assignments = sum(count * fastest[size][0] for size, count in sizes.items())
    return {
        "sweep_seconds": seconds[torch.float64] + assignments,
        "float32_sweep_seconds": seconds[torch.float32] + assignments,
        "assignment_seconds": assignments,
        "solvers": {str(size): name for size, (_, name) in sorted(fastest.items())},
    }


def _sizes(spec: PermutationSpec) -> dict[str, int]:
    return {group: len(indices) for group, indices in symmetry.random(spec, generator=rng.stream(0)).items()}


def _products(spec: PermutationSpec, state: State) -> list[tuple[int, int]]:
    """Units and inner dimension of each matrix product of a sweep: one for each group and axis that it permutes.

    Which axes these are is seen from what ``permute`` does to the numbered places of every weight.
    """
    sizes = _sizes(spec)
    rest = {group: torch.arange(size) for group, size in sizes.items()}
    places = {name: torch.arange(value.numel()).int().view(value.shape) for name, value in state.items()}
    return [
        (size, value.numel() // size)
        for group, size in sizes.items()
        for moved in [symmetry.permute(places, {**rest, group: rest[group].roll(1)}, spec)]
        for name, value in state.items()
        if _is_weight(name, value)
        for dim in range(value.dim())
        if _moved_along(dim, places[name], moved[name])
    ]


def _moved_along(dim: int, places: Tensor, moved: Tensor) -> bool:
    """Whether units changed places along one dimension, by the first line of places in this direction."""
    line = moved[tuple(slice(None) if each == dim else 0 for each in range(moved.dim()))]
    along = line // places.stride(dim) % places.shape[dim]
    return not torch.equal(along, torch.arange(len(along), dtype=along.dtype))


def _seconds_of_product(units: int, inner: int, dtype: torch.dtype) -> float:
    a, b = (torch.randn(units, inner, generator=rng.stream(side), dtype=dtype) for side in (0, 1))
    out = torch.empty(units, units, dtype=dtype)
    return _best(lambda: torch.mm(a, b.T, out=out))


def _best(function: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of several times, after one call that does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


# --- solvers of the assignment


def _with_scipy(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    columns: NDArray[np.int64] = linear_sum_assignment(gain, maximize=True)[1]
    return columns


def _with_lapjvr(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    columns: NDArray[np.int64] = lap.lapjvr(-gain, return_cost=False)[1]
    return columns


def _with_lapjvh(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    columns: NDArray[np.int64] = lap.lapjvh(-gain, return_cost=False)[1]
    return columns


# Each takes gains and returns the column of each row.
_SOLVERS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.int64]]] = {
    "scipy": _with_scipy,
    "lapjvr": _with_lapjvr,
    "lapjvh": _with_lapjvh,
}


def _random_gram(size: int) -> NDArray[np.float64]:
    a, b = (torch.randn(size, size, generator=rng.stream(side, "gram"), dtype=torch.float64) for side in (0, 1))
    return (a @ b.T).numpy()


def _seconds_of_solvers(gain: NDArray[np.float64]) -> dict[str, float]:
    return {name: _best(partial(solver, gain)) for name, solver in _SOLVERS.items()}


def _compare_solvers() -> list[Row]:
    """The solvers on random gains and on gains as they come up in a matching."""
    torch.set_num_threads(1)
    print(f"\n{'assignment, ms':<25}" + "".join(f"{name:>10}" for name in _SOLVERS))
    return [_solver_row(size, kind, gain) for size in _WIDTHS for kind, gain in _grams(size).items()]


def _grams(size: int) -> dict[str, NDArray[np.float64]]:
    """Gains by kind: random, of two networks, of a network and a permuted copy with noise, and with dead units."""
    model = models.mlp(784, 10, widths=(size, size))
    target, source = (_initial(model, seed) for seed in (0, 1))
    spec = symmetry.permutation_spec(model, _inputs(_GREY))
    noisy = {name: value + 0.5 * source[name] for name, value in target.items()}
    hidden = symmetry.permute(noisy, symmetry.random(spec, generator=rng.stream(0, "hidden")), spec)
    grams = {"random": _random_gram(size), **_grams_of_pair(model, target, source)}
    dead = grams["start"].copy()
    dead[::2] = 0.0
    dead[:, ::2] = 0.0
    return {**grams, "noisy copy": _gram(model, target, hidden), "start, half dead": dead}


def _grams_of_pair(model: nn.Module, target: State, source: State) -> dict[str, NDArray[np.float64]]:
    """Gains at the start and the end of our matching, where the best assignment is the diagonal."""
    spec = symmetry.permutation_spec(model, _inputs(_GREY))
    found = matching.weight_matching(spec, target, source, generator=rng.stream(0, "order"))
    moved = symmetry.permute(source, found, spec)
    return {"start": _gram(model, target, source), "end": _gram(model, target, moved)}


def _gram(model: nn.Module, target: State, source: State) -> NDArray[np.float64]:
    """The gains of the first hidden layer of a multilayer perceptron, from its weight matrices."""
    first, second = [name for name, value in model.named_parameters() if value.dim() == 2][:2]
    a, b = (cast(state, torch.float64) for state in (target, source))
    return (a[first] @ b[first].T + a[second].T @ b[second]).numpy()


def _solver_row(size: int, kind: str, gain: NDArray[np.float64]) -> Row:
    """Milliseconds of each solver, and how far each falls short of the best assignment among them."""
    rows = np.arange(size)
    found = {name: solver(gain) for name, solver in _SOLVERS.items()}
    if any((np.sort(columns) != rows).any() for columns in found.values()):
        raise AssertionError(f"a solver gave no permutation for {kind} gains of {size} units")
    totals = {name: float(gain[rows, columns].sum()) for name, columns in found.items()}
    best = max(totals.values())
    row: Row = {
        "units": size,
        "gains": kind,
        "milliseconds": {name: 1000 * took for name, took in _seconds_of_solvers(gain).items()},
        "shortfall": {name: (best - total) / abs(best) for name, total in totals.items()},
    }
    worst = max(row["shortfall"].values())
    print(f"{size:>6} {kind:<18}" + "".join(f"{ms:>10.2f}" for ms in row["milliseconds"].values()), end="")
    print("" if worst < 1e-12 else f"   shortfall {worst:.1e}")
    return row


# --- the tables


def _compare(options: argparse.Namespace, peer: Path | None) -> list[Row]:
    """Ours beside the peer and the floor, for each network and number of threads."""
    networks = {**_NETWORKS, **(_LARGE if options.large else {})}
    rows = []
    for name, (model, shape) in networks.items():
        if not any(part.lower() in name.lower() for part in options.networks):
            continue
        with tempfile.TemporaryDirectory() as folder:
            built = _build(model, shape)
            _write_pair(folder, _initial(built, 0), _initial(built, 1))
            for threads in options.threads:
                job = Job("ours", model, shape, folder, threads, options.repeats, options.budget, options.limit)
                rows.append({"network": name, "threads": threads, **_row(job, peer)})
                _print_row(rows[-1])
    return rows


def _row(job: Job, peer: Path | None) -> Row:
    row: Row = {
        "ours": _in_process(job),
        "rebasin": _peer_or_reason(job, peer),
        "floor": _in_process(replace(job, side="floor")),
    }
    ours, theirs, floor = row["ours"], row["rebasin"], row["floor"]
    floor["seconds"] = floor["sweep_seconds"] * ours["sweeps"]
    row["ratios"] = {"ours / floor": ours["sweep_seconds"] / floor["sweep_seconds"]}
    if "failed" not in theirs:
        row["ratios"]["sweep, ours / rebasin"] = ours["sweep_seconds"] / theirs["sweep_seconds"]
    if theirs.get("complete"):
        row["ratios"] |= {
            "total, ours / rebasin": ours["seconds"] / theirs["seconds"],
            "objective, ours / rebasin": ours["objective"] / theirs["objective"],
        }
    return row


def _peer_or_reason(job: Job, peer: Path | None) -> Row:
    """The peer's side of a row, or why there is none."""
    if peer is None:
        return {"failed": f"{_PEER[0]} is not installed"}
    try:
        return _in_process(replace(job, side="rebasin"), peer)
    except Failed as error:
        return {"failed": str(error)}


def _print_row(row: Row) -> None:
    print(f"\n{row['network']}, {row['threads']} thread{'s' * (row['threads'] > 1)}")
    for side in ("ours", "rebasin"):
        print(f"  {side:<8}{_side_text(row[side])}")
    floor = row["floor"]
    print(f"  {'floor':<8}{1000 * floor['sweep_seconds']:>31.2f} ms a sweep{floor['seconds']:>9.3f} s")
    print("  " + " · ".join(f"{name} {value:.3g}" for name, value in row["ratios"].items()), flush=True)


def _side_text(side: Row) -> str:
    if "failed" in side:
        return f"failed: {side['failed']}"
    notes = [*([] if side["complete"] else ["stopped at the limit"]), *([] if side["valid"] else ["FUNCTION CHANGED"])]
    return (
        f"{side['groups']:>4} groups {side['sweeps']:>5g} sweeps {1000 * side['sweep_seconds']:>8.2f} ms a sweep"
        f"{side['seconds']:>9.3f} s   objective {side['objective']:.6g}   {side['peak_mb']:.0f} MB"
        f"   {len(side['attempts'])} attempts" + "".join(f"   ({note})" for note in notes)
    )


def _growth(options: argparse.Namespace) -> list[Row]:
    """Our time and memory against the width and the depth of a multilayer perceptron."""
    print(f"\n{'growth of ours':<30}{'total, s':>10}{'sweeps':>8}{'ms a sweep':>12}{'peak, MB':>10}{'network, MB':>13}")
    shapes = [(3, width) for width in _WIDTHS] + [(depth, _DEPTH_WIDTH) for depth in _DEPTHS]
    rows = []
    for depth, width in shapes:
        model = ModelSpec("mlp", width, depth)
        with tempfile.TemporaryDirectory() as folder:
            built = _build(model, _GREY)
            _write_pair(folder, _initial(built, 0), _initial(built, 1))
            side = _in_process(Job("ours", model, _GREY, folder, 1, options.repeats, options.budget / 4), None)
        rows.append({"depth": depth, "width": width, **side})
        print(
            f"{depth:>3} layers, {width:>5} units{side['seconds']:>17.3f}{side['sweeps']:>8g}"
            f"{1000 * side['sweep_seconds']:>12.2f}{side['peak_mb']:>10.1f}{side['network_mb']:>13.1f}",
            flush=True,
        )
    return rows


# --- trained networks


def _trained(options: argparse.Namespace, peer: Path | None) -> Row:
    """Barriers between trained networks: as they are, after our matching and after the peer's; medians over pairs."""
    runs = experiments.runs.replicas(_TRAINED, DataSpec("fashion_mnist"), _TRAINED_CONFIG, _TRAINED_SEEDS)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        sweeps.fill(store, runs)
        states = [experiments.runs.obtain_run(store, run).states[-1] for run in runs]
    torch.set_num_threads(max(options.threads))
    loaded = dataset(runs[0].data)
    splits = {"train": loaded.train[:_EXAMPLES], "test": loaded.test[:_EXAMPLES]}
    pairs = [_trained_pair(target, source, splits, peer) for target, source in combinations(states, 2)]
    result: Row = {"medians": _medians(pairs), "ours <= rebasin": _no_worse(pairs), "pairs": pairs}
    _print_trained(result["medians"], result["ours <= rebasin"])
    grams = _grams_of_pair(_build(_TRAINED, _GREY), *states[:2])
    result["solvers"] = [_solver_row(_TRAINED.width, f"trained, {kind}", gain) for kind, gain in grams.items()]
    return result


def _print_trained(medians: Mapping[str, Mapping[str, float]], no_worse: Mapping[str, int]) -> None:
    print(f"\n{'median barrier':<16}" + "".join(f"{name:>14}" for name in _QUANTITIES))
    for side, barriers in medians.items():
        print(f"{side:<16}" + "".join(f"{barriers[name]:>14.4f}" for name in _QUANTITIES))
    print(f"{'ours <= rebasin':<16}" + "".join(f"{no_worse[name]:>14}" for name in _QUANTITIES), flush=True)


def _trained_pair(target: State, source: State, splits: Mapping[str, Split], peer: Path | None) -> Row:
    """The barriers of one pair by side, and what the matchings say of themselves."""
    model = _build(_TRAINED, _GREY)
    plain = connectivity.curves(model, target, source, splits, points=_POINTS)
    pair: Row = {"barriers": {"none": _barriers(plain)}, "matching": {}}
    sides: list[tuple[str, Path | None]] = [("ours", None), ("rebasin", peer)]
    with tempfile.TemporaryDirectory() as folder:
        _write_pair(folder, target, source)
        for side, path in sides if peer else sides[:1]:
            pair["matching"][side] = _in_process(Job(side, _TRAINED, _GREY, folder), path)
            moved = load_file(Path(folder) / side)
            curves = connectivity.curves(model, target, moved, splits, points=_POINTS, ends_of=plain)
            pair["barriers"][side] = _barriers(curves)
    return pair


def _barriers(curves: Mapping[str, Curve]) -> dict[str, float]:
    return {f"{split} {quantity}": curves[split].barrier(quantity) for split, quantity in map(str.split, _QUANTITIES)}


def _medians(pairs: Sequence[Row]) -> dict[str, dict[str, float]]:
    return {
        side: {name: median(pair["barriers"][side][name] for pair in pairs) for name in _QUANTITIES}
        for side in pairs[0]["barriers"]
    }


def _no_worse(pairs: Sequence[Row]) -> dict[str, int]:
    """The number of pairs in which our barrier is at most the peer's."""
    both = [pair["barriers"] for pair in pairs if "rebasin" in pair["barriers"]]
    return {name: sum(each["ours"][name] <= each["rebasin"][name] for each in both) for name in _QUANTITIES}


if __name__ == "__main__":
    main()
