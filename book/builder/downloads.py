"""The files that a page offers, packed: the measured numbers as CSV, and its report."""

__all__ = ["SCORES", "as_csv", "curves_table", "packed", "runs_of", "score_rows", "tables", "unpacked", "values_table"]

import csv
import io
import lzma
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmc_lib.store import Entry

_CURVES = (
    "the curves behind the figures: loss and error at each point `alpha` of each line, by method and split, `target` "
    "and `source` being the seeds of the two networks, and `initial_scale` the factor on their initial weights"
)
_VALUES = (
    "every number that was measured, but for lists of more than a hundred and arrays of more than two thousand, which "
    "`records/` has, `quantity` being its place in the measurement, `seeds` those of its networks, and `factors` how "
    "twins were perturbed, or what was done to the training data"
)
SCORES = (
    "the table of scores, one row an example. `sample`: in-sample (trained on) "
    "or out-of-sample (the test set); `position`: where it stands in the file of the data set, from 0; `label`: its "
    "class. Every other column is a score, named `architecture: score`: the mean over its networks with four "
    "significant digits, higher meaning harder, so that confidence, accuracy and margins are negative; losses are in "
    "nats, counts in checkpoints, depths in layers. Versions and settings stand in the report. The scores are under "
    "the licence of this book; the file holds no images (Fashion-MNIST is under the MIT licence)"
)

# What was seen of the last letter tells more of the next one than where in a word of four bytes it stands.
_FOR_TEXT = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}

# Matrices of distances between hundreds of layers and courses of many trainings would be a row a number, megabytes for
# what one line of Python reads: what is a longer list, or an array of lists with more numbers, is left to the records.
_LONG, _MANY = 100, 2000


def as_csv(rows: Sequence[Sequence[Any]]) -> bytes:
    """A table as CSV; fractions have seven digits, as many as float32 holds."""
    text = io.StringIO()
    written = ([f"{each:.7g}" if isinstance(each, float) else each for each in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(written)
    return text.getvalue().encode()


def packed(content: bytes) -> bytes:
    """A text as xz packs it, a third smaller than gzip does; the same content gives the same bytes."""
    return lzma.compress(content, filters=[_FOR_TEXT])


def unpacked(content: bytes) -> bytes:
    """What :func:`packed` packed."""
    return lzma.decompress(content)


def tables(entries: Sequence[Entry], factors: Mapping[str, str]) -> tuple[str, list[list[Any]], list[list[Any]]]:
    """What a page offers of its measurements.

    Args:
        entries: the measurements.
        factors: by fingerprint what was done to networks or their data.

    Returns:
        What the table of numbers holds, in words; that table: curves, where some measurement has them, else every
        number; and the table of scores, empty if none was measured.
    """
    scores = [row for entry in entries if "table" in entry.values for row in score_rows(entry.values["table"])]
    others = [entry for entry in entries if "table" not in entry.values]
    curved = any("alphas" in entry.values for entry in others)  # of lines; others have curves in time
    rows = curves_table(others) if curved else values_table(others, factors)
    return f"{_CURVES if curved else _VALUES}; {len(rows) - 1:,} rows", rows, scores


def score_rows(columns: Mapping[str, Sequence[Any]]) -> list[list[Any]]:
    """A table of scores, one row an example, under a row of names."""
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def curves_table(entries: Sequence[Entry]) -> list[list[Any]]:
    """The curves of measured pairs, one row a point, under a row of names; a pair that diverged has no curves."""
    head = ["measurement", "network", "width", "initial_scale", "target", "source", "method", "split", "alpha"]
    head += ["loss", "error"]
    return [head, *(row for entry in entries for row in _rows_of_pair(entry))]


def _rows_of_pair(entry: Entry) -> Iterator[list[Any]]:
    *network, seeds = _network(entry)
    pair = [*network, next(runs_of(entry.spec)).get("initial_scale", 1), *seeds.split()]
    for method, splits in entry.values.get("curves", {}).items():
        for split, curve in splits.items():
            for point in zip(entry.values["alphas"], curve["loss"], curve["error"], strict=True):
                yield [*pair, method, split, *point]


def values_table(entries: Sequence[Entry], factors: Mapping[str, str]) -> list[list[Any]]:
    """All numbers of measurements, one a row, under a row of names; very long lists are in the records alone."""
    head = ["measurement", "network", "width", "seeds", "factors", "quantity", "value"]
    rows = (
        [*_network(entry), factors[entry.fingerprint], *each] for entry in entries for each in _numbers(entry.values)
    )
    return [head, *rows]


def _network(entry: Entry) -> list[Any]:
    """Fingerprint, architecture, width and seeds of what was measured; empty where no network was."""
    runs = list(runs_of(entry.spec))
    if not runs:
        return [entry.fingerprint, "", "", ""]
    model = runs[0]["model"]
    # A description leaves out what is at its default.
    network = "-".join([model["family"], str(model["depth"]), *([model["norm"]] if "norm" in model else [])])
    return [entry.fingerprint, network, model["width"], " ".join(str(run.get("init_seed", 0)) for run in runs)]


def runs_of(described: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the descriptions of the networks within that of a measurement."""
    if isinstance(described, list):
        for each in described:
            yield from runs_of(each)
    elif isinstance(described, dict) and "model" in described:
        yield described
    elif isinstance(described, dict):
        for each in described.values():
            yield from runs_of(each)


def _numbers(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if isinstance(values, list) and (len(values) > _LONG or _count(values) > _MANY):
        return
    if isinstance(values, dict | list):
        for name, each in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _numbers(each, (*path, str(name)))
    elif isinstance(values, int | float):
        yield " / ".join(path), values


def _count(values: Any) -> int:
    """How many values stand in lists of lists."""
    return sum(map(_count, values)) if isinstance(values, list) else 1
