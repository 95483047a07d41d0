"""What the plan of a claim comes to: its trainings, what they cost, and what is to be done where."""

__all__ = ["measured_share", "trainings", "works"]

from collections.abc import Mapping, Sequence
from typing import Any

from scaled import costs
from scaled.schedule import Work

_Rows = Sequence[Mapping[str, Any]]


def trainings(rows: _Rows) -> dict[str, tuple[int, costs.Update]]:
    """The trainings of a plan whose network it tells: by fingerprint, the number of updates and what one costs."""
    told = {row["fingerprint"]: (row["updates"], costs.run_of(row["spec"])) for row in rows if row["updates"]}
    return {key: (updates, costs.update(run)) for key, (updates, run) in told.items() if run is not None}


def measured_share(rows: _Rows) -> float | None:
    """How long all measurements of a plan take beside all its trainings, on a core; None where that is not known.

    Measurements take as long as their records say, trainings their updates at the time of one here.
    """
    trained = sum(updates * update.seconds for updates, update in trainings(rows).values())
    measured = [row["seconds"] for row in rows if not row["updates"]]
    return sum(measured) / trained if trained and None not in measured else None


def works(rows: _Rows, rate: float, measuring: float | None) -> dict[str, Work]:
    """What is to be done, in hours of a device, by fingerprint.

    Args:
        rows: of a plan.
        rate: operations a second that the device does.
        measuring: how long measurements take beside trainings, all alike; where it is not known they take nothing, as
            do trainings whose network the plan does not tell.
    """
    hours = {key: updates * update.operations / rate / 3600.0 for key, (updates, update) in trainings(rows).items()}
    measurements = [row["fingerprint"] for row in rows if not row["updates"]]
    each = (measuring or 0.0) * sum(hours.values()) / max(len(measurements), 1)
    hours |= dict.fromkeys(measurements, each)
    return {row["fingerprint"]: Work(hours.get(row["fingerprint"], 0.0), tuple(row["needs"])) for row in rows}
