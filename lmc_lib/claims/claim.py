"""Claims as they stand in ``book/claims.yml``, the one home of statement, source, published numbers and criterion."""

__all__ = ["Claim", "Condition", "load", "load_all"]

from collections.abc import Mapping
from dataclasses import dataclass
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
    """A claim of a paper with everything that was decided about it before the runs."""

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

    def _repr_html_(self) -> str:
        """The claim as a definition list, for the page."""
        published = "".join(f"<li>{escape(each['what'])}: {escape(each['value'])}</li>" for each in self.published)
        rule = "".join(
            f"<li>{escape(condition.text)} ({escape(condition.reason)})</li>" for condition in self.supported
        )
        needed = "".join(
            f"<li>{escape(condition.text)} ({escape(condition.reason)})</li>" for condition in self.observable
        )
        return (
            f'<dl class="claim"><dt>Claim</dt><dd>{escape(self.statement)}</dd>'
            f"<dt>Where</dt><dd>{escape(self.where)}</dd>"
            f"<dt>Published</dt><dd><ul>{published}</ul></dd>"
            f"<dt>Measured</dt><dd>{escape(self.criterion)}</dd>"
            f"<dt>Observable if the 95 % interval of</dt><dd><ul>{needed}</ul></dd>"
            f"<dt>Supported if the 95 % intervals of</dt><dd><ul>{rule}</ul></dd>"
            f"<dt>Negative control</dt><dd>{escape(self.control)}</dd></dl>"
        )


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
    return Claim(
        id=claim_id,
        source=fields["source"],
        published=tuple(fields["published"]),
        observable=tuple(_condition(each) for each in fields["observable"]),
        supported=tuple(_condition(each) for each in fields["supported"]),
        **texts,
    )


def _condition(fields: dict[str, Any]) -> Condition:
    above = "above" in fields
    bound = float(fields["above" if above else "below"])
    return Condition(fields["quantity"], fields["label"], bound, above, fields["reason"])
