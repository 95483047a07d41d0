"""Files of records: what was measured for a page, without the networks, and the page's report.

A file is text compressed by gzip, whose checksum tells a damaged one: the report stands in the first line, and below it
one measurement a line, under its fingerprint. All of it together is one JSON value, so ``zcat FILE | jq`` reads it.
"""

__all__ = ["SUFFIX", "Damaged", "head", "read", "stem", "write"]

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmc_lib import files

SUFFIX = ".json.gz"

# What reading a file that is cut, altered or no file of records raises.
_BROKEN = (ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error, gzip.BadGzipFile)


class Damaged(ValueError):
    """A file is no file of records, or no longer."""


def write(path: Path, report: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a file of records, whole or not at all; one that says the same already stays as it is, to the byte.

    Args:
        path: the file; its name should end in ``SUFFIX``.
        report: what the page says.
        records: by fingerprint the ``spec``, ``values`` and ``provenance`` of each measurement.
    """
    lines = [f'"{key}": {json.dumps(record, separators=(",", ":"))}' for key, record in records.items()]
    text = f'{{"report": {json.dumps(report)},\n"records": {{\n' + ",\n".join(lines) + "\n}}\n"
    # Versions of zlib compress to other bytes.
    if path.exists() and _text(path) == text:
        return
    path.parent.mkdir(exist_ok=True)
    files.write(path, gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> dict[str, Any]:
    """The ``report`` and the ``records`` of a file.

    Raises:
        Damaged: if it is damaged, or no file of records.
    """
    try:
        found = json.loads(gzip.decompress(path.read_bytes()))
        return {"report": found["report"], "records": dict(found["records"])}
    except _BROKEN as error:
        raise Damaged(f"{path} is no file of records ({error})") from error


def stem(path: Path) -> str:
    """The name of a file without its suffix, such as ``"weak-connectivity-laptop"``."""
    return path.name.removesuffix(SUFFIX)


def head(path: Path) -> dict[str, Any]:
    """The report of a file; the measurements below it, which may be megabytes, are not read.

    Raises:
        Damaged: if it is no file of records. That something is wrong further down does not show.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return dict(json.loads(file.readline().rstrip(",\n") + "}")["report"])
    except _BROKEN as error:
        raise Damaged(f"{path} is no file of records ({error})") from error


def _text(path: Path) -> str | None:
    try:
        return gzip.decompress(path.read_bytes()).decode()
    except _BROKEN:
        return None
