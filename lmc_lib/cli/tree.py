"""Where the files of the book stand, in the repository that holds the library."""

__all__ = [
    "NOTEBOOKS", "PROFILES", "RECORDS", "ROOT", "SITE", "page_of", "record_of", "report_of", "scales_of", "shipped",
]  # fmt: skip

from pathlib import Path
from typing import Any

from lmc_lib import records
from lmc_lib.cli.refused import Refused

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
RECORDS = ROOT / "records"
SITE = ROOT / "_build" / "html"
PROFILES = ("quick", "laptop", "paper")

# The scales that have pages, first that of the page with the claim's own name.
_SCALES = ("laptop", "quick")

_WAYS_OUT = "so take it from git again, or measure with lmc run CLAIM --profile PROFILE --recompute --records"


def record_of(claim: str, profile: str) -> Path:
    """The file of the measurements that ship for a claim at a scale, whether it exists or not."""
    return RECORDS / f"{claim}-{profile}{records.SUFFIX}"


def report_of(path: Path) -> dict[str, Any]:
    """The report at the head of a file of records; the measurements below it, which may be megabytes, are not read.

    Raises:
        Refused: if the file is damaged, or that of another claim or scale.
    """
    try:
        found = records.head(path)
        whose = f"{found['claim']}-{found['scale']}"
        judged = [(each["title"], each["verdict"]) for kind in ("settings", "controls") for each in found[kind]]
        complete = bool(judged) and isinstance(found["verdict"], str)
    except (records.Damaged, KeyError, TypeError):
        complete = False
    if not complete:
        raise Refused(f"{path} is no file of records, {_WAYS_OUT}")
    if whose != records.stem(path):
        raise Refused(f"{path} holds the report of {whose}, {_WAYS_OUT}")
    return found


def shipped() -> tuple[Path, ...]:
    """All files of records."""
    return tuple(sorted(RECORDS.glob(f"*{records.SUFFIX}")))


def scales_of(claim: str) -> list[str]:
    """The scales at which a claim has pages, first that of its own name; the laptop page needs shipped records."""
    return [scale for scale in _SCALES if scale == "quick" or record_of(claim, scale).exists()]


def page_of(claim: str, scale: str) -> str:
    """The name of a page: the first of a claim has the claim's name."""
    return claim if scale == scales_of(claim)[0] else f"{claim}-{scale}"
