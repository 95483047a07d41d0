"""What the parameters of a notebook must fulfil: conditions in Python, each with its reason."""

__all__ = ["Limit", "shared"]

import ast
import builtins
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# What conditions may call, besides the methods of values.
_CALLED = ("all", "int", "isinstance", "len", "max", "min", "set", "sorted")
_BUILTINS = {name: getattr(builtins, name) for name in _CALLED}


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
        return frozenset({each.id for each in found} - own - _BUILTINS.keys())

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition is true of some values; it is not where it asks for what they lack."""
        # In one dictionary, since a comprehension sees globals alone.
        known = {**values, **_BUILTINS, "__builtins__": {}}
        try:
            return bool(eval(self.condition, known))  # a text of the repository, as notebooks are
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return False


@functools.cache
def shared() -> tuple[Limit, ...]:
    """The conditions that hold for all claims whose parameters have all their names."""
    found = yaml.safe_load(Path(__file__).with_name("limits.yml").read_text(encoding="utf-8"))
    return tuple(Limit(*each) for each in found.items())
