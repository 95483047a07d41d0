"""Where the files of the book stand, in the repository that holds the library."""

__all__ = ["NOTEBOOKS", "PROFILES", "RECORDS", "ROOT", "record_of", "report_of", "shipped"]

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
RECORDS = ROOT / "records"
PROFILES = ("quick", "laptop", "paper")


def record_of(claim: str, profile: str) -> Path:
    """The file of the measurements that ship for a claim at a scale, whether it exists or not."""
    return RECORDS / f"{claim}-{profile}.json"


def report_of(path: Path) -> dict[str, Any]:
    """The report at the head of a file of records; the measurements below it, which may be megabytes, are not read."""
    with path.open() as file:
        found: dict[str, Any] = json.loads(file.readline().rstrip(",\n") + "}")["report"]
    return found


def shipped() -> tuple[Path, ...]:
    """All files of records."""
    return tuple(sorted(RECORDS.glob("*.json")))
