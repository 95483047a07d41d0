"""The parameters of a claim's notebook: its own defaults, a profile, and what the command line overrides."""

__all__ = ["parameters_of", "resolve"]

import ast
import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lmc_lib import definitions
from lmc_lib.cli import notebooks, tree
from lmc_lib.cli.notebooks import kind
from lmc_lib.cli.refused import Refused
from lmc_lib.hyperparameters import TrainConfig

# A dictionary of fields of TrainConfig may have further ones. One that is empty by default holds such dictionaries by
# the names of further networks, and they may change the width too. All others have the keys of their default.
_TRAINING: dict[str, Any] = {
    field.name: 0 if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(TrainConfig)
} | {"milestones": [0]}  # an empty default would not tell the type of its elements

# The longest text of a value in a message.
_SHOWN = 80


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
        Refused: for an unknown profile or parameter, a value of the wrong type, or values that do not fulfil the
            claim's limits.
        DefinitionError: if the file of the claim cannot be used.
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
    _hold(claim, defaults | chosen)
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
    return name, _typed(value, defaults[name])


def _profile(claim: str, profile: str) -> dict[str, Any]:
    if profile not in tree.PROFILES:
        raise Refused(f"no profile {profile!r}; there are {', '.join(tree.PROFILES)}")
    if profile == "quick":
        return {}
    return definitions.profile(claim, profile, tree.NOTEBOOKS)


def _hold(claim: str, values: Mapping[str, Any]) -> None:
    """Refuses values that together do not fulfil the limits of a claim; the first that fails is told."""
    for limit in definitions.limits(claim, values.keys(), tree.NOTEBOOKS):
        if not limit.holds(values):
            given = ", ".join(f"{name} is {_shown(values[name])}" for name in values if name in limit.names)
            raise Refused(
                f"{claim} needs {limit.condition}, and {given}: {limit.reason}\n"
                f"give other values with -p; lmc run {claim} --help says what each parameter means"
            )


def _shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long; of a number that Python would not write, its size."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def _check(name: str, value: Any, defaults: Mapping[str, Any], where: str) -> None:
    if name not in defaults:
        valid = "\n".join(f"  {each}: {kind(default)} = {default!r}" for each, default in defaults.items())
        raise Refused(f"{where}: no parameter {name!r}; the valid ones are\n{valid}")
    default = defaults[name]
    if isinstance(value, dict) and isinstance(default, dict):
        known = _known(value, default, f"{where}: {name}")
        for key, each in value.items():
            _check(key, each, known, f"{where}: {name}")
    elif not _fits(value, default):
        raise Refused(f"{where}: {name} takes {kind(default)}, like {default!r}, not {_shown(value)}")


def _known(value: Mapping[Any, Any], default: Mapping[str, Any], where: str) -> dict[Any, Any]:
    """The keys that a dictionary may have, with a value of the right type for each.

    Raises:
        Refused: if one is no name, or one that must be there is not.
    """
    if unnamed := [key for key in value if not isinstance(key, str)]:
        raise Refused(f"{where}: keys are names in quotes, not {_shown(unnamed[0])}")
    if not default:
        return {network: {"width": 0} for network in value}
    if default.keys() <= _TRAINING.keys() | {"width"}:
        return {**_TRAINING, **default}
    if missing := [key for key in default if key not in value]:
        raise Refused(f"{where} lacks the entry {missing[0]!r}; change one alone with -p NAME.KEY=VALUE")
    return dict(default)


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, list | tuple):
        return isinstance(value, list) and all(not default or _fits(each, default[0]) for each in value)
    if isinstance(default, float):
        return type(value) in (int, float) and _finite(value)
    return type(value) is type(default)


def _typed(value: Any, default: Any) -> Any:
    """A value with whole numbers as floats where floats are taken: 1 and 1.0 are one run, and one result."""
    if isinstance(value, dict):
        known = _TRAINING | default if default else {key: {"width": 0} for key in value}
        return {key: _typed(each, known[key]) for key, each in value.items()}
    if isinstance(value, list) and default:
        return [_typed(each, default[0]) for each in value]
    return float(value) if type(value) is int and isinstance(default, float) else value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of more digits than a float has room for
        return False


def _literal(raw: str) -> Any:
    """What a text means in Python, or the text itself: words need no quotes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, on words that are no Python
        try:
            return ast.literal_eval(raw)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return raw
