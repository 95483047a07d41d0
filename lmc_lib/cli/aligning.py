"""The commands on two files of weights: ``lmc align`` brings the second to the first, ``lmc barrier`` walks between."""

__all__ = ["align", "barrier"]

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lmc_lib import connectivity, expected, files, matching, norms, rng, symmetry
from lmc_lib import state as states
from lmc_lib.cli import alignment_report, given, weight_files
from lmc_lib.cli.refused import Refused
from lmc_lib.cli.weight_files import Weights
from lmc_lib.connectivity import Curve
from lmc_lib.data import Split
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation, PermutationSpec

# Examples from which the statistics of BatchNorm are re-estimated at every point of a line.
_RESET = 512

# Outputs in float32 change by 1e-6 under a symmetry, by about 1 under what is none, in units of the largest one.
_LARGEST_CHANGE = 1e-3


class _Pair(NamedTuple):
    """Two files of weights and the network that has them.

    Attributes:
        network: the architecture; it holds the weights of the first file, so that it takes no memory of its own.
        target: the weights of the first file, in the precision in which they are compared.
        source: those of the second.
        stored: those of the second in their own precision.
        second: the second file.
        counted: the entries that are compared, which are all but those that are skipped.
        data: examples; None if there are none.
    """

    network: nn.Module
    target: State
    source: State
    stored: State
    second: Weights
    counted: list[str]
    data: Split | None


def align(options: argparse.Namespace) -> None:
    """Brings the second of two files of weights to the first, by a permutation of its units, and writes it.

    Raises:
        Refused: if something that is given is wrong, before anything is matched; if no unit can be exchanged, or if the
            permutation would change what the network computes.
        OSError: if something cannot be written.
    """
    _check_places(options, options.out)
    if options.by == "activations" and options.data is None:
        raise Refused("--by activations compares what units respond to examples: give these, with --data FILE")
    with _Stages("reading", "tracing", "matching", "checking", "lines", "writing") as stage:
        with stage("reading"):
            pair = _pair(options)
            inputs = _example(options, pair)
            before = given.outputs(given.run(pair.network, pair.source, inputs))
        with stage("tracing"):
            spec = symmetry.permutation_spec(pair.network, inputs)
            if not spec.groups:
                raise Refused(f"no units of {options.model} can be exchanged. {'; '.join(spec.pinned)}")
        with stage("matching"):
            permutation = _matched(pair, spec, options.by)
            stored = symmetry.permute(pair.stored, permutation, spec)
            moved = _placed(stored, pair.source)
        with stage("checking"):
            change = _change(before, given.outputs(given.run(pair.network, moved, inputs)))
        with stage("lines"):
            lines = _lines(pair, {"before": pair.source, "after": moved}, options.points)
        report = {
            **_told_of(options, pair, lines),
            "matched": {"by": options.by, "groups": len(spec.groups), "units": spec.units} | _moved(permutation, spec),
            "pinned": list(spec.pinned),
            "distance": {name: _distance(pair, each) for name, each in (("before", pair.source), ("after", moved))},
            "change": change,
        }
        with stage("writing"):
            weight_files.write(options.out, pair.second, stored, replace=options.force)
    _finish(options, report | {"out": str(options.out), "seconds": stage.seconds})


def barrier(options: argparse.Namespace) -> None:
    """Evaluates the straight line between two files of weights on examples with labels, and tells its barriers.

    Raises:
        Refused: if something that is given is wrong, before anything is evaluated.
        OSError: if something cannot be written.
    """
    _check_places(options)
    with _Stages("reading", "lines") as stage:
        with stage("reading"):
            pair = _pair(options)
        with stage("lines"):
            lines = _lines(pair, {"line": pair.source}, options.points)
    distance = {"line": _distance(pair, pair.source)}
    _finish(options, {**_told_of(options, pair, lines), "distance": distance, "seconds": stage.seconds})


class _Stages:
    """The seconds that each stage of a command takes, and on a terminal a bar that names the present one.

    Attributes:
        seconds: those of the stages that are over, by name.
    """

    def __init__(self, *names: str) -> None:
        self.seconds: dict[str, float] = {}
        self._bar = tqdm(total=len(names), disable=None, file=sys.stderr, leave=False, bar_format="{desc:<10}{bar:20}")

    def __enter__(self) -> "_Stages":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._bar.close()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("nothing was written") from error

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._bar.set_description_str(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self._bar.update()


def _check_places(options: argparse.Namespace, *others: Path) -> None:
    """Refuses what could not be written, and points that make no line, before any file is read."""
    if options.points < 3:
        raise Refused(f"--points {options.points}: a barrier needs at least 3, the two ends and one between")
    for path in (*others, *(each for each in (options.json, options.html) if each is not None)):
        if not path.parent.is_dir():
            raise Refused(f"there is no folder {path.parent} for {path.name}: make it, or name another one")
        if path.exists() and not path.is_file():
            raise Refused(f"{path} is a folder or a device: name a file")
        if path.exists() and not options.force:
            raise Refused(f"{path} is there already: name another file, or give --force to replace it")


def _pair(options: argparse.Namespace) -> _Pair:
    place = given.device(options.device)
    network = given.network(options.model, options.model_args)
    first, second = (weight_files.read(path, network) for path in (options.a, options.b))
    a, b = (weight_files.fitted(each, network, options.skip) for each in (first, second))
    # What is skipped is the second network's, or drawn, in both.
    rest = {
        name: second.entries[name] if second.has(name, value) else value
        for name, value in network.state_dict().items()
        if name not in b
    }
    like = {name: torch.empty(0, dtype=weight_files.working_dtype(a, b), device=place) for name in rest | b}
    pair = _Pair(network, _placed(rest | a, like), _placed(rest | b, like), rest | b, second, list(b), None)
    # Before a number of the files is looked at, which are mapped into memory: the network's own weights are gone then.
    _hold(network.to(place, weight_files.working_dtype(a, b)), pair.target)
    for path, state in ((options.a, a), (options.b, b)):
        if wrong := list(weight_files.non_finite(state)):
            raise Refused(f"{wrong[0]} in {path} holds values that are not finite: such weights cannot be matched")
    if options.data is not None:
        pair = pair._replace(data=given.examples(options.data))
        _check_labels(pair, options.data)
    return pair


def _placed(state: State, like: State) -> State:
    """Floating entries in the precision of a state, all on its device; what is so already is not copied."""
    return {
        name: value.to(like[name].device, like[name].dtype if value.is_floating_point() else value.dtype)
        for name, value in state.items()
    }


def _hold(network: nn.Module, state: State) -> None:
    """Makes a network share the memory of a state; entries that are tied stay so, which assigning would undo."""
    for name, entry in network.state_dict(keep_vars=True).items():
        entry.data = state[name]


def _check_labels(pair: _Pair, path: Path) -> None:
    assert pair.data is not None
    found = given.run(pair.network, pair.target, pair.data.inputs[:2])
    if not isinstance(found, Tensor) or found.dim() != 2:
        what = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise Refused(f"losses need scores of classes, one row an example; of {path} the network makes {what}")
    try:
        expected.labels(pair.data.labels, examples=len(pair.data), classes=found.shape[1])
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error


def _example(options: argparse.Namespace, pair: _Pair) -> Any:
    if options.example is not None:
        return given.inputs_like(options.example)
    if pair.data is None:
        raise Refused("to see how units are joined the network is run once: give --example 1,3,224,224, or --data FILE")
    return pair.data.inputs[:2]


def _matched(pair: _Pair, spec: PermutationSpec, by: str) -> Permutation:
    generator = rng.stream(0, "order")
    try:
        if by == "activations":
            assert pair.data is not None
            inputs = pair.data.inputs.to(next(iter(pair.network.parameters())))
            return matching.activation_matching(spec, pair.target, pair.source, inputs, generator=generator)
        # Where assignments are solved; what is skipped counts nothing.
        target, source = (
            {
                name: value.cpu() if name in pair.counted else torch.zeros_like(value).cpu()
                for name, value in each.items()
            }
            for each in (pair.target, pair.source)
        )
        return matching.weight_matching(spec, target, source, generator=generator, start="greedy", keep_gains=False)
    except ValueError as error:
        raise Refused(f"{error}") from error


def _change(before: list[Tensor], after: list[Tensor]) -> float | None:
    """The largest change of an output, in units of the largest output; None if all are 0, which tell nothing.

    Raises:
        Refused: if it is more than rounding explains.
    """
    largest = [float(each.abs().max()) for each in before]
    changes = [float((b - a).abs().max()) / top for a, b, top in zip(before, after, largest, strict=True) if top]
    worst = max(changes, default=None)
    if worst is not None and not worst <= _LARGEST_CHANGE:
        raise Refused(
            f"outputs change by {worst:.1e} of the largest one: the permutation that was found is no symmetry, and "
            "nothing is written. lmc_lib.symmetry.proven_spec tells which group is guilty"
        )
    return worst


def _moved(permutation: Permutation, spec: PermutationSpec) -> dict[str, int]:
    still = symmetry.identity(spec)
    return {"moved": sum(int((order != still[name]).sum()) for name, order in permutation.items())}


def _compared(pair: _Pair) -> list[str]:
    """The entries in which two networks are apart: all weights that count, and no running statistics."""
    return [name for name in pair.counted if pair.target[name].is_floating_point() and not norms.is_statistic(name)]


def _distance(pair: _Pair, source: State) -> float:
    """The distance of the weights that are compared, in units of the first network's norm."""

    def over(measure: Callable[[str], float]) -> float:  # one entry at a time, since sums are in float64
        return math.hypot(*(measure(name) for name in _compared(pair)))

    apart = over(lambda name: states.distance({name: pair.target[name]}, {name: source[name]}))
    length = over(lambda name: states.norm({name: pair.target[name]}))
    return apart / length if length else math.inf


def _lines(pair: _Pair, ends: Mapping[str, State], points: int) -> dict[str, Curve]:
    """The lines from the first network to some ends, on the examples; none without examples."""
    if pair.data is None:
        return {}
    reset = pair.data.inputs[:_RESET] if norms.has_statistics(pair.network) else None
    found = {}
    for name, end in ends.items():
        start = {entry: (pair.target if entry in pair.counted else end)[entry] for entry in end}
        lines = connectivity.curves(pair.network, start, end, {"": pair.data}, points=points, reset_inputs=reset)
        found[name] = lines[""]
    return found


def _told_of(options: argparse.Namespace, pair: _Pair, lines: Mapping[str, Curve]) -> dict[str, Any]:
    """What both commands report: what was compared, and the lines."""
    batch_norm = pair.data is not None and norms.has_statistics(pair.network)
    return {
        "a": str(options.a),
        "b": str(options.b),
        "network": options.model,
        "weights": sum(pair.target[name].numel() for name in _compared(pair)),
        "skipped": sorted(pair.target.keys() - set(pair.counted)),
        "examples": 0 if pair.data is None else len(pair.data),
        "reset_examples": min(_RESET, len(pair.data)) if pair.data is not None and batch_norm else 0,
        "barriers": {name: {of: line.barrier(of) for of in ("loss", "error")} for name, line in lines.items()},
        "lines": {
            name: {of: getattr(line, of).tolist() for of in ("alphas", "loss", "error")} for name, line in lines.items()
        },
    }


def _finish(options: argparse.Namespace, report: Mapping[str, Any]) -> None:
    """Writes the report where it is asked for, and tells it."""
    if options.json is not None:
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        files.write(options.json, text.encode())
    if options.html is not None:
        files.write(options.html, alignment_report.page(report).encode())
    sys.stdout.writelines(f"{name:<10} {said}\n" for name, said in alignment_report.told(report))
