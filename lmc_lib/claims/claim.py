"""Claims as they stand in ``book/claims.yml``, the one home of statement, source, published numbers and criterion."""

__all__ = ["Claim", "Condition", "load", "load_all"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parents[2] / "book" / "claims.yml"


@dataclass(frozen=True)
class Condition:
    """One sentence of a criterion: the interval of a quantity lies below, or above, a bound.

    Attributes:
        quantity: the name under which the notebook hands in the estimate.
        label: the quantity in words, with its statistic.
        bound: the value that the whole interval must clear.
        above: whether the interval must lie above the bound, else below.
        reason: why this bound.
    """

    quantity: str
    label: str
    bound: float
    above: bool
    reason: str

    @property
    def text(self) -> str:
        """The condition as a sentence."""
        return f"{self.label} is {'above' if self.above else 'below'} {self.bound:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper with everything that was decided about it before the runs.

    A claim has conditions, or parts that are claims themselves and are judged one by one.
    """

    id: str
    title: str
    statement: str
    source: str
    where: str
    published: tuple[Mapping[str, str], ...]
    criterion: str
    observable: tuple[Condition, ...]
    supported: tuple[Condition, ...]
    control: str
    parts: tuple["Claim", ...] = field(default=(), repr=False)

    def part(self, part_id: str) -> "Claim":
        """One of the parts.

        Raises:
            KeyError: if there is no such part; the message lists those that there are.
        """
        for part in self.parts:
            if part.id == part_id:
                return part
        raise KeyError(f"{self.id} has no part {part_id!r}; there are {', '.join(each.id for each in self.parts)}")

    def _repr_html_(self) -> str:
        """The claim as a definition list, for the page."""
        published = "".join(f"<li>{escape(each['what'])}: {escape(each['value'])}</li>" for each in self.published)
        rules = "".join(_rule_html(part, f"{part.id}: ") for part in self.parts) or _rule_html(self, "")
        return (
            f'<dl class="claim"><dt>Claim</dt><dd>{escape(self.statement)}</dd>'
            f"<dt>Where</dt><dd>{escape(self.where)}</dd>"
            f"<dt>Published</dt><dd><ul>{published}</ul></dd>"
            f"<dt>Measured</dt><dd>{escape(self.criterion)}</dd>"
            f"{rules}"
            f"<dt>Negative control</dt><dd>{escape(self.control)}</dd></dl>"
        )


def _rule_html(claim: Claim, name: str) -> str:
    """The conditions of a claim, or of a part under its name."""
    kinds = [
        ("Observable if the 95 % interval of", claim.observable),
        ("supported if the 95 % intervals of", claim.supported),
    ]
    found = ""
    for words, conditions in kinds:
        items = "".join(f"<li>{escape(each.text)} ({escape(each.reason)})</li>" for each in conditions)
        title = f"{name}{claim.title}; {words}" if name else words[0].upper() + words[1:]
        found += f"<dt>{escape(title)}</dt><dd><ul>{items}</ul></dd>" if conditions else ""
    return found


def load(claim_id: str, path: Path = _FILE) -> Claim:
    """Reads one claim.

    Raises:
        KeyError: if there is no such claim; the message lists those that there are.
    """
    claims = load_all(path)
    if claim_id not in claims:
        raise KeyError(f"no claim {claim_id!r} in {path.name}; there are {', '.join(claims)}")
    return claims[claim_id]


def load_all(path: Path = _FILE) -> dict[str, Claim]:
    """Reads all claims, in the order of the file."""
    content: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())
    return {claim_id: _claim(claim_id, fields) for claim_id, fields in content.items()}


def _claim(claim_id: str, fields: dict[str, Any]) -> Claim:
    texts = {name: " ".join(fields[name].split()) for name in ("title", "statement", "where", "criterion", "control")}
    # What a part does not say of itself is that of the whole.
    parts = fields.get("parts", {})
    whole = {name: value for name, value in fields.items() if name != "parts"}
    return Claim(
        id=claim_id,
        source=fields["source"],
        published=tuple(fields["published"]),
        observable=tuple(_condition(each) for each in fields.get("observable", ())),
        supported=tuple(_condition(each) for each in fields.get("supported", ())),
        parts=tuple(_claim(part_id, whole | part) for part_id, part in parts.items()),
        **texts,
    )


def _condition(fields: dict[str, Any]) -> Condition:
    above = "above" in fields
    bound = float(fields["above" if above else "below"])
    return Condition(fields["quantity"], fields["label"], bound, above, fields["reason"])
