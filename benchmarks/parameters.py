"""Hostile values for every parameter of every claim, along the way of ``lmc run`` up to the first training.

    python benchmarks/parameters.py --draws 5000 --json results/parameters.json

Each set of values is either refused, in words that name a parameter, or gets to the first training, which is made
impossible here. Anything else is a fault: it is printed, and the exit code is 1.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from papermill.translators import PythonTranslator

from lmc_lib import definitions, sweeps
from lmc_lib.cli import Refused, notebooks, tree
from lmc_lib.cli.parameters import resolve

REFUSED, ACCEPTED = "refused", "accepted"

_NUMBERS = (
    "-1",
    "0",
    "1",
    "2",
    "3",
    "0.5",
    "-0.1",
    "1001",
    "10000000000001",
    "-" + "9" * 30,
    "1e999",
    "1e-300",
    "1e300",
)
_WORDS = (
    "", "junk", "imagenet", "svhn", "movie_snippets", "group_composition", "mlp-0", "mlp-1", "mlp-²", "mlp--2", "vgg-3",
    "vgg-11", "resnet-9-batch", "resnet-8-batch", "transformer-2-layer", "mlp-2-batch-x", "<script>", "a|b", "float16",
    "'\\ud800'", "None", "nan", "-inf",
)  # fmt: skip
_SHAPES = (
    "[]",
    "{}",
    "[[]]",
    "{[]: 1}",
    "{1: 2}",
    "True",
    "None",
    "(1, 2)",
    "[1, 'a']",
    "[None]",
    "[-1]",
    "[0]",
    "[7]",
)


class Reached(BaseException):
    """The first training was reached."""


@dataclass(frozen=True)
class Outcome:
    """What became of a set of values.

    Attributes:
        kind: ``"refused"``, ``"accepted"``, or the name of an exception that is none of the documented ones.
        message: what was said.
    """

    kind: str
    message: str = ""


def texts(claim: str, draw: random.Random) -> list[str]:
    """A set of hostile values as texts behind ``-p``: one parameter or two, whole or an entry of a dictionary."""
    known = [each for each in notebooks.parameters(claim) if each.name != "scale"]
    return [_text(each.name, each.default, draw) for each in draw.sample(known, draw.choice((1, 1, 1, 2)))]


def _text(name: str, default: Any, draw: random.Random) -> str:
    """Changes the whole, or an entry of a dictionary."""
    if isinstance(default, dict) and default and draw.random() < 0.7:
        key = draw.choice(list(default))
        return _text(f"{name}.{key}", default[key], draw)
    return f"{name}={_value(default, draw)}"


def _value(default: Any, draw: random.Random) -> str:
    """A value that is often of the right type, and seldom makes sense."""
    if draw.random() < 0.15:
        return draw.choice((*_NUMBERS, *_WORDS, *_SHAPES))
    if isinstance(default, bool):
        return draw.choice(("True", "False", "1", "yes"))
    if isinstance(default, int | float):
        return draw.choice(_NUMBERS)
    if isinstance(default, str):
        return draw.choice(_WORDS)
    if isinstance(default, dict):
        left = {key: each for key, each in default.items() if draw.random() < 0.8}
        return repr(left | draw.choice(({}, {"junk": 1}, {"lr": "fast"}, {2: 3})))
    return _list(default, draw)


def _list(default: Sequence[Any], draw: random.Random) -> str:
    items = [repr(each) for each in default]
    change = draw.choice(("fewer", "reversed", "twice", "one", "one", "longer", "none"))
    if change == "fewer":
        items = items[: draw.randrange(len(items) + 1)]
    elif change == "reversed":
        items.reverse()
    elif change == "twice":
        items *= 2
    elif change == "one" and items:
        items[draw.randrange(len(items))] = _value(default[0], draw) or "''"
    elif change == "longer":
        items.append(draw.choice((*_NUMBERS[:8], "'junk'", "None")))
    return f"[{', '.join(items if change != 'none' else ())}]"


def outcome(claim: str, profile: str, overrides: Sequence[str]) -> Outcome:
    """What ``lmc run`` makes of some values, up to the first training."""
    try:
        values = resolve(claim, profile, overrides)
    except Refused as error:
        return Outcome(REFUSED, str(error))
    try:
        _up_to_training(claim, values)
    except Reached:
        return Outcome(ACCEPTED)
    except ValueError as error:  # of which `lmc run` tells which parameters were given
        return Outcome(REFUSED, f"{error} ({' '.join(overrides)})")
    except Exception as error:
        return Outcome(type(error).__name__, str(error))
    return Outcome("no training")


def _up_to_training(claim: str, values: Mapping[str, Any]) -> None:
    """Runs the cells of a notebook, with the parameters as papermill writes them, until it fills the store."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 -- the backend is chosen by whoever calls

    names: dict[str, Any] = {}
    with mock.patch.object(sweeps, "fill", _reached), mock.patch.object(plt.rcParams, "update"):
        for cell in nbformat.read(tree.NOTEBOOKS / f"{claim}.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                exec(cell.source, names)  # as the kernel does
                if "parameters" in cell.metadata.get("tags", []):
                    exec(PythonTranslator.codify(values), names)


def _reached(*_: Any, **__: Any) -> None:
    raise Reached


def named(message: str, overrides: Sequence[str]) -> bool:
    """Whether a refusal names one of the parameters that were given, an entry of it, or its value."""
    given = [part for text in overrides for part in (*text.partition("=")[0].split("."), text.partition("=")[2])]
    return any(part and part in message for part in given)


def drawn(draws: int, seed: int) -> Iterator[tuple[str, str, list[str], Outcome]]:
    """Draws sets of values and yields each with what became of it; the claims take turns."""
    draw, claims = random.Random(seed), list(definitions.load_all())
    for number in range(draws):
        claim, profile = claims[number % len(claims)], draw.choice(tree.PROFILES)
        overrides = texts(claim, draw)
        yield claim, profile, overrides, outcome(claim, profile, overrides)


def sound(overrides: Sequence[str], found: Outcome) -> bool:
    """Whether a set was refused by name, or accepted."""
    return found.kind == ACCEPTED or (found.kind == REFUSED and named(found.message, overrides))


def main() -> int:
    """Draws sets, prints faults and counts, and writes the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5000, help="number of sets (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file of the counts")
    options = parser.parse_args()
    counts, wrong = Counter(), 0
    for claim, profile, overrides, found in drawn(options.draws, options.seed):
        counts[found.kind] += 1
        if not sound(overrides, found):
            wrong += 1
            print(f"{claim} --profile {profile} {overrides}: {found.kind}: {found.message[:300]}", flush=True)
    print(f"{options.draws} sets: {dict(counts)}, {wrong} faults")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"draws": options.draws, "counts": counts, "faults": wrong}) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
