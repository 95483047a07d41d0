"""The parameters of a claim's notebook: its own defaults, a profile, and what the command line overrides."""

__all__ = ["parameters_of", "resolve"]

import ast
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmc_lib import definitions
from lmc_lib.cli import notebooks, tree
from lmc_lib.cli.notebooks import kind
from lmc_lib.cli.refused import Refused
from lmc_lib.training import TrainConfig

# A parameter that is a dictionary holds fields of TrainConfig, and is checked like parameters of its own. One that is
# empty by default holds such dictionaries by the names of further networks, and they may change the width too.
_TRAINING: dict[str, Any] = {
    field.name: 0 if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(TrainConfig)
} | {"milestones": [0]}  # an empty default would not tell the type of its elements


def parameters_of(claim: str) -> dict[str, Any]:
    """The parameters of a claim's notebook by name, with their values at the quick scale.

    Raises:
        Refused: if there is no such notebook, or if its cell of parameters cannot be read.
    """
    return {each.name: each.default for each in notebooks.parameters(claim)}


def resolve(claim: str, profile: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Merges a profile and overrides into the parameters that papermill passes on.

    Args:
        claim: the claim's name.
        profile: ``"quick"`` (the notebook's defaults), ``"laptop"`` or ``"paper"``.
        overrides: texts ``name=value``; ``name.key=value`` sets one entry of a dictionary.

    Raises:
        Refused: for an unknown profile or parameter, or a value of the wrong type.
    """
    defaults = parameters_of(claim)
    chosen = _profile(claim, profile)
    for name, value in chosen.items():
        _check(name, value, defaults, f"profile {profile}")
    for text in overrides:
        try:
            name, value = _override(text, defaults, chosen)
        except Refused as error:
            raise Refused(f"{error}\nlmc run {claim} --help says what each parameter means") from error
        chosen[name] = value
    return {"scale": profile} | chosen if "scale" in defaults else chosen


def _override(text: str, defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[str, Any]:
    """The parameter that a text ``name=value`` or ``name.key=value`` changes, and its new value."""
    name, separator, raw = text.partition("=")
    if not separator:
        raise Refused(f"-p takes name=value, not {text!r}")
    name, _, key = name.strip().partition(".")
    if name == "scale" and name in defaults:
        raise Refused("-p: scale is the name of the profile, which --profile sets")
    value = _literal(raw)
    if key and name in defaults:
        if not isinstance(defaults[name], dict):
            raise Refused(f"-p: {name} takes {kind(defaults[name])} and has no entry {key!r}")
        value = {**chosen.get(name, defaults[name]), key: value}
    _check(name, value, defaults, "-p")
    return name, value


def _profile(claim: str, profile: str) -> dict[str, Any]:
    if profile not in tree.PROFILES:
        raise Refused(f"no profile {profile!r}; there are {', '.join(tree.PROFILES)}")
    if profile == "quick":
        return {}
    return definitions.profile(claim, profile, tree.NOTEBOOKS)


def _check(name: str, value: Any, defaults: Mapping[str, Any], where: str) -> None:
    if name not in defaults:
        valid = "\n".join(f"  {each}: {kind(default)} = {default!r}" for each, default in defaults.items())
        raise Refused(f"{where}: no parameter {name!r}; the valid ones are\n{valid}")
    default = defaults[name]
    if isinstance(value, dict) and isinstance(default, dict):
        known = _TRAINING | default if default else {network: {"width": 0} for network in value}
        for key, each in value.items():
            _check(key, each, known, f"{where}: {name}")
    elif not _fits(value, default):
        raise Refused(f"{where}: {name} takes {kind(default)}, like {default!r}, not {value!r}")


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, list | tuple):
        return isinstance(value, list) and all(not default or _fits(each, default[0]) for each in value)
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is type(default)


def _literal(raw: str) -> Any:
    try:
        return ast.literal_eval(raw)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return raw
