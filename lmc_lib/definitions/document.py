"""One YAML file, checked against the schema of claims; errors name the file, the line and what was expected."""

__all__ = ["CHAPTERS", "DefinitionError", "Document", "read"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

# The parser in C, where it is there, takes a tenth of the time.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SCHEMA: dict[str, Any] = yaml.load(Path(__file__).with_name("schema.yml").read_text(encoding="utf-8"), _Loader)
CHAPTERS: tuple[str, ...] = tuple(_SCHEMA["properties"]["chapter"]["enum"])
_TYPES = {"string": "text", "number": "a number", "array": "a list", "object": "a mapping"}


class DefinitionError(ValueError):
    """A file of a claim that cannot be used: each line names the file, the line in it and what is wrong."""


@dataclass(frozen=True)
class Document:
    """What a file holds, and where.

    Attributes:
        path: the file.
        content: its entries.
        root: its YAML node, which knows the lines.
    """

    path: Path
    content: Mapping[str, Any]
    root: yaml.Node

    def at(self, *keys: str | int) -> str:
        """Where an entry stands, as ``folder/file:line``."""
        return f"{_named(self.path)}:{self.line(*keys)}"

    def line(self, *keys: str | int) -> int:
        """The line of an entry, counted from 1; that of its mapping if there is no such entry."""
        line, node = self.root.start_mark.line, self.root
        for key in keys:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                line = node.start_mark.line
                continue
            # What a merge brings stands before the mapping's own entries.
            found = [pair for pair in node.value if pair[0].value == str(key)]
            if not found:
                break
            name, node = found[-1]
            line = name.start_mark.line
        return line + 1


def read(path: Path) -> Document:
    """Reads the file of a claim.

    Raises:
        DefinitionError: if it is no YAML, has a key twice, lacks a key, or holds a key or a value that the schema does
            not know.
    """
    document = _parsed(path)
    errors = Draft202012Validator(_SCHEMA).iter_errors(document.content)
    # A set, since each missing key is an error of its own that knows of all.
    problems = {(document.line(*keys), text) for error in errors for keys, text in _problems(error)}
    problems |= {(document.line(*keys), f"{value} is no finite number") for keys, value in _infinite(document.content)}
    if problems:
        raise DefinitionError("\n".join(f"{_named(path)}:{line}: {text}" for line, text in sorted(problems)))
    return document


def _parsed(path: Path) -> Document:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if twice := [
            f"{_named(path)}:{key.start_mark.line + 1}: key {key.value!r} stands twice" for key in _twice(root)
        ]:
            raise DefinitionError("\n".join(twice))
        content = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DefinitionError(f"{_named(path)}:{line}: this is no YAML: {error.problem}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DefinitionError(f"{_named(path)}:1: this is no text in UTF-8: {error}") from error
    if root is None or not isinstance(content, dict):
        raise DefinitionError(f"{_named(path)}:1: expected a mapping with the keys {', '.join(_SCHEMA['required'])}")
    return Document(path, content, root)


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _twice(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Keys that stand in their mapping already."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        yield from (key for place, (key, _) in enumerate(node.value) if key.value in keys[:place])
        for _, value in node.value:
            yield from _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _twice(each)


def _infinite(value: Any, *keys: str | int) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Numbers that YAML knows and JSON does not, with the keys that lead to them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield keys, value
    elif isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _infinite(each, *keys, key)


def _problems(error: ValidationError) -> Iterator[tuple[Sequence[str | int], str]]:
    """What an error of the schema comes down to: the keys that lead to it, and words."""
    keys, value, expected = list(error.absolute_path), error.instance, error.validator_value
    name = "the file" if not keys else "this item" if isinstance(keys[-1], int) else repr(keys[-1])
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in (each for each in value if each not in known):
            yield [*keys, key], f"unknown key {key!r}{_nearest(key, known)}; known are {', '.join(known)}"
    elif error.validator == "required":
        for key in (each for each in expected if each not in value):
            yield keys, f"{name} lacks the key {key!r}"
    else:
        yield keys, f"{name} {_said(error)}"


def _said(error: ValidationError) -> str:
    """What is wrong with a value, and what was expected."""
    value, expected = error.instance, error.validator_value
    match error.validator:
        case "oneOf":
            return f"needs either {' or '.join(repr(each['required'][0]) for each in expected)}, and not both"
        case "enum":
            return f"is {value!r}{_nearest(value, expected)}; it may be {', '.join(expected)}"
        case "type":
            return f"takes {_TYPES[expected]}, not {value!r:.60}"
        case "anyOf":
            return f"takes {error.schema['description']}"
        case _:
            return f"is refused: {error.message}"


def _nearest(word: object, known: Sequence[str]) -> str:
    found = get_close_matches(str(word), known, n=1)
    return f", perhaps {found[0]!r} is meant" if found else ""
