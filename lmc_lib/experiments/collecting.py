"""From stored measurements of sets of replicas to arrays; what the kinds of measurement have in common."""

__all__ = [
    "QUANTITIES", "Question", "as_matrix", "collect", "columns", "line_barriers", "measured", "on_device",
    "over_networks", "over_twins", "sound",
]  # fmt: skip

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import rng
from lmc_lib.claims import Estimate, estimate_by_jackknife, estimate_of_twins
from lmc_lib.connectivity import Curve
from lmc_lib.experiments.runs import RunSpec, device
from lmc_lib.experiments.setting import rounded
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.state import State
from lmc_lib.store import Entry, Result, Store
from lmc_lib.training import Diverged

QUANTITIES = [(split, quantity) for split in ("train", "test") for quantity in ("loss", "error")]

# A statistic and what it takes, one row a parent each.
Question = tuple[Callable[..., Any], Sequence[ndarray]]

_Places = TypeVar("_Places", bound=tuple[int, ...])
_Found = TypeVar("_Found")


def collect(store: Store, specs: Mapping[_Places, Spec]) -> tuple[dict[_Places, dict[str, Any]], tuple[int, ...]]:
    """Obtains measurements of sets of replicas.

    Args:
        store: where they are, or go.
        specs: what is measured, by the indices of its replicas.

    Returns:
        The sound measurements by indices, and the indices of replicas whose training left the finite numbers.

    Raises:
        Diverged: if no measurement is sound.
    """
    records = {places: obtain(store, spec).values for places, spec in specs.items()}
    sound = {places: record for places, record in records.items() if "diverged" not in record}
    if not sound:
        record = next(iter(records.values()))
        raise Diverged(record["step"], float(record["loss"]))
    diverged = {places[side] for places, record in records.items() for side in record.get("diverged", ())}
    return sound, tuple(sorted(diverged))


def measured(
    runs: Sequence[RunSpec], get: Callable[[RunSpec], _Found], measure: Callable[..., dict[str, Any]]
) -> Result:
    """Measures what is found of several networks; where a training left the finite numbers, the result says whose.

    Args:
        runs: the networks.
        get: what is measured of each.
        measure: takes what was found of each network, in their order.
    """
    found = []
    for place, run in enumerate(runs):
        try:
            found.append(get(run))
        except Diverged as error:
            return Result({"diverged": [place], "step": error.step, "loss": str(error.loss)})
    return Result(measure(*found))


def on_device(state: State, run: RunSpec) -> State:
    """The weights of a run where it is trained and measured."""
    where = device(run.train)
    return {name: value.to(where) for name, value in state.items()}


def as_matrix(
    count: int, pairs: Sequence[tuple[int, int]], values: Float[ndarray, " pairs"]
) -> Float[ndarray, "count count"]:
    """One value a pair as a symmetric matrix, NaN on the diagonal and for missing pairs."""
    matrix = np.full((count, count), np.nan)
    for (i, j), value in zip(pairs, values, strict=True):
        matrix[i, j] = matrix[j, i] = value
    return matrix


def line_barriers(lines: Mapping[str, Curve], *, convention: str = "chord") -> dict[str, float]:
    """The barriers on the lines of several splits, by split and quantity."""
    return {
        f"{split} {quantity}": rounded(lines[split].barrier(quantity, convention=convention))
        for split, quantity in QUANTITIES
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list of equal dictionaries as a dictionary of lists."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def over_networks(values: Float[ndarray, " networks"]) -> Estimate:
    """The mean over networks, with the interval of Student's t: the jackknife of a mean is just that.

    Networks without a value, since their training diverged, are left out; how many there are stands in the estimate.
    """
    known = values[np.isfinite(values)]
    if len(known) < 3:
        raise ValueError(f"an interval over networks needs at least three with a value, got {len(known)}")
    return estimate_by_jackknife(float(known.mean()), (known.sum() - known) / (len(known) - 1))


def sound(entry: Entry) -> dict[str, Any]:
    """The values of a measurement.

    Raises:
        Diverged: if a training behind it left the finite numbers.
    """
    if "diverged" in entry.values:
        raise Diverged(entry.values["step"], float(entry.values["loss"]))
    return dict(entry.values)


def over_twins(questions: Mapping[str, Question], *, seed: int) -> dict[str, Estimate]:
    """Statistics of twins, with intervals that resample parents.

    Args:
        questions: by name a statistic and what it takes.
        seed: stream of the bootstrap; each name has its own.
    """
    return {
        name: estimate_of_twins(statistic, *arrays, rng=rng.numpy_stream(seed, "bootstrap", name))
        for name, (statistic, arrays) in questions.items()
    }
