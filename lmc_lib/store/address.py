"""The address of a result: a hash of all that defines it."""

__all__ = ["canonical", "describe", "fingerprint", "hashed", "is_key"]

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any


def describe(spec: Any) -> dict[str, Any]:
    """Describes a frozen dataclass as JSON-ready data, fields at their default left out.

    Leaving out defaults means that a new option, at its default, moves no old result. A class attribute ``VERSION``
    stands in the description, so that a change of the computation itself can move results on purpose; a class attribute
    ``kind``, where there is one, stands in it instead of the name of the class, which can change without moving any.

    Args:
        spec: a dataclass of numbers, strings, tuples and further dataclasses.

    Raises:
        TypeError: if a field holds anything else.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Spec:
        ...     width: int
        ...     norm: str = "none"
        >>> describe(Spec(8)), describe(Spec(8, "batch"))
        ({'type': 'Spec', 'width': 8}, {'type': 'Spec', 'width': 8, 'norm': 'batch'})
    """
    described: dict[str, Any] = {"type": getattr(type(spec), "kind", type(spec).__name__)}
    if (version := getattr(spec, "VERSION", None)) is not None:
        described["version"] = version
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if value != field.default:
            described[field.name] = _plain(value)
    return described


def fingerprint(spec: Any) -> str:
    """Returns 20 hexadecimal digits that stand for a spec, the same in every process and on every machine."""
    return hashed(describe(spec))


def hashed(description: Mapping[str, Any]) -> str:
    """The fingerprint of the spec that has this description."""
    return hashlib.sha256(canonical(description).encode()).hexdigest()[:20]


def is_key(name: str) -> bool:
    """Says whether a name is a fingerprint."""
    return re.fullmatch(r"[0-9a-f]{20}", name) is not None


def canonical(value: Any) -> str:
    """JSON text with sorted keys and no spaces; NaN and infinity are refused, since JSON has none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are equal, so they have one address
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a spec holds numbers, strings, tuples and dataclasses, not {type(value).__name__}: {value!r}")
