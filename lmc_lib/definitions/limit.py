"""What the parameters of a notebook must fulfil: conditions in a small part of Python, each with its reason."""

__all__ = ["Limit", "shared"]

import ast
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simpleeval
import yaml


def _whole(value: Any) -> bool:
    """Whether a value is a whole number, as numbers of units and seeds are."""
    return isinstance(value, int) and not isinstance(value, bool)


# What conditions may call, besides the methods of values.
_CALLED: dict[str, Callable[..., Any]] = {
    "all": all, "int": int, "len": len, "max": max, "min": min, "set": set, "sorted": sorted, "whole": _whole,
}  # fmt: skip

# What is raised where values are not of the kind that a condition asks about.
_UNLIKE = (
    ArithmeticError, LookupError, TypeError, ValueError,
    simpleeval.AttributeDoesNotExist, simpleeval.IterableTooLong, simpleeval.NumberTooHigh,
)  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """A condition on parameters, such as ``seeds >= 3`` or ``independent <= parents``.

    Attributes:
        condition: an expression in Python; its names are those of parameters.
        reason: why it must hold, in words.
    """

    condition: str
    reason: str

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The parameters that the condition is about.

        Raises:
            SyntaxError: if the condition is no expression.
        """
        found = [each for each in ast.walk(ast.parse(self.condition, mode="eval")) if isinstance(each, ast.Name)]
        own = {each.id for each in found if isinstance(each.ctx, ast.Store)}  # what a comprehension counts with
        return frozenset({each.id for each in found} - own - _CALLED.keys())

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of some values; it is not where it asks for what they lack."""
        try:
            return bool(simpleeval.EvalWithCompoundTypes(names=dict(values), functions=_CALLED).eval(self.condition))
        except _UNLIKE:
            return False


@functools.cache
def shared() -> tuple[Limit, ...]:
    """The conditions that hold for all claims whose parameters have all their names."""
    found = yaml.safe_load(Path(__file__).with_name("limits.yml").read_text(encoding="utf-8"))
    return tuple(Limit(*each) for each in found.items())
