"""How commands write what they found: times in words, and JSON for other programs."""

__all__ = ["duration", "plain", "size", "write_json"]

import json
import sys
from typing import Any


def duration(seconds: float) -> str:
    """A time in the unit that fits: ``"2.5 h"``, ``"12.0 min"``, ``"8.3 s"``."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """A number of bytes in the unit that fits: ``"2.5 GB"``, ``"12.0 MB"``, ``"8.3 kB"``, ``"17 bytes"``."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} bytes"


def plain(text: str) -> str:
    """Words of Markdown as a terminal shows them: without the marks of code."""
    return text.replace("`", "")


def write_json(value: Any) -> None:
    """Writes a value to the standard output as indented JSON; letters stay as they are."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
