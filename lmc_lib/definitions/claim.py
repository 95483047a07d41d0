"""A claim and its conditions, as pages show them and verdicts use them."""

__all__ = ["EXPLORATORY", "Claim", "Condition"]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape

EXPLORATORY = "exploratory"


@dataclass(frozen=True)
class Condition:
    """One sentence of a criterion: the interval of a quantity lies below, or above, a bound.

    Attributes:
        quantity: the name under which the notebook hands in the estimate.
        label: the quantity in words, with its statistic.
        bound: the value that the whole interval must clear.
        above: whether the interval must lie above the bound, else below.
        reason: why this bound.
        null: the value of the quantity where the claim is false.
        exchange: how numbers of a study become those of one in which the claim is false: ``"swap"``, ``"sign"`` or
            ``"shuffle"`` (see :func:`lmc_lib.claims.simulation.exchanged`), or ``"none"``.
        effect: the value that should be recognised.
        effect_from: where the effect is from: printed by the authors, read off a figure, from a summary, or ours.
    """

    quantity: str
    label: str
    bound: float
    above: bool
    reason: str
    null: float = 0.0
    exchange: str = "none"
    effect: float = 0.0
    effect_from: str = "ours"

    @property
    def text(self) -> str:
        """The condition as a sentence."""
        return f"{self.label} is {'above' if self.above else 'below'} {self.bound:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper with everything that was decided about it before the runs.

    A claim has conditions, or parts that are claims themselves and are judged one by one. Its control is judged by
    ``control_rule`` where that is given, else by the claim or a part of it. ``unit`` is what is replicated; ``scope``
    says by scale how near the paper a study is; ``preregistered`` and ``confirmed`` hold by scale, or by scale and
    setting, the rule that was committed before any number of it was known. ``keywords`` are for the search of the book
    and are shown nowhere. ``beside`` are the published numbers that stand beside ours: the one that is marked, else the
    first, behind those that it refers to by "the same".
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
    unit: str = "network"
    scope: Mapping[str, str] = field(default_factory=dict)
    preregistered: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    confirmed: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    parts: tuple["Claim", ...] = field(default=(), repr=False)
    control_rule: "Claim | None" = field(default=None, repr=False)
    is_part: bool = False
    keywords: tuple[str, ...] = field(default=(), repr=False)
    beside: tuple[Mapping[str, str], ...] = field(default=(), repr=False)

    @property
    def heading(self) -> str:
        """Name and title of a part; empty for a whole claim, whose page bears its title."""
        return f"{self.id}: {self.title}" if self.is_part else ""

    @property
    def quantities(self) -> set[str]:
        """What the conditions are about."""
        return {each.quantity for each in (*self.observable, *self.supported)}

    @property
    def rule(self) -> str:
        """A fingerprint of the conditions and of what the control is judged by.

        Another one means that a bound changed, what is judged, in words too, or how numbers are made in which the claim
        is false.
        """
        deciding = ("quantity", "label", "bound", "above", "null", "exchange")
        rows = [[asdict(each)[name] for name in deciding] for each in (*self.observable, *self.supported)]
        control = self.control_rule.rule if self.control_rule else ""
        return hashlib.sha256(json.dumps([rows, len(self.observable), control]).encode()).hexdigest()[:12]

    def status(self, scale: str, setting: str) -> str:
        """Whether the rule was there before the numbers: ``"preregistered"``, ``"confirmed"`` or ``"exploratory"``.

        Args:
            scale: the scale of the study.
            setting: the setting that is judged; what is said of a scale is said of all of its settings.
        """
        for status, rules in (("confirmed", self.confirmed), ("preregistered", self.preregistered)):
            rule = rules.get(scale)
            if (rule.get(setting) if isinstance(rule, Mapping) else rule) == self.rule:
                return status
        return EXPLORATORY

    def part(self, part_id: str) -> "Claim":
        """One of the parts.

        Raises:
            KeyError: if there is no such part; the message lists those that there are.
        """
        for part in self.parts:
            if part.id == part_id:
                return part
        raise KeyError(f"{self.id} has no part {part_id!r}; there are {', '.join(each.id for each in self.parts)}")

    def bound(self, quantity: str) -> float:
        """The bound of the condition on a quantity, of the claim itself or of one of its parts.

        Raises:
            KeyError: if there is no condition on it, or if parts have different ones; the message says what there is.
        """
        rules = (self, *self.parts)
        conditions = [each for rule in rules for each in (*rule.observable, *rule.supported)]
        bounds = {each.bound for each in conditions if each.quantity == quantity}
        if len(bounds) == 1:
            return bounds.pop()
        if bounds:
            raise KeyError(f"the parts of {self.id} have different bounds for {quantity!r}: ask one of them")
        known = ", ".join(dict.fromkeys(each.quantity for each in conditions))
        raise KeyError(f"{self.id} has no condition on {quantity!r}; there are {known}")

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
