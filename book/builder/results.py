"""What pages came to: the reports of all claims."""

__all__ = ["Result", "by_claim"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from builder.layout import scales_of
from builder.making import Outcome
from builder.telling import DATA
from lmc_lib.definitions import Claim, Definition, read_all

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """A claim and what its pages came to.

    Attributes:
        definition: the claim and its place in the book.
        reports: by scale the report, None where the page failed; first that of the page with the claim's own name.
    """

    definition: Definition
    reports: Mapping[str, Report | None]

    @property
    def claim(self) -> Claim:
        """The claim."""
        return self.definition.claim

    @property
    def report(self) -> Report | None:
        """The report of the page with the claim's own name."""
        return next(iter(self.reports.values()))

    @property
    def data(self) -> str:
        """The data of that page, in words; empty if it failed, or names none."""
        named = self.report["parameters"].get("data", []) if self.report else []
        if isinstance(named, Mapping):  # a data set with its subsets
            named = named["name"]
        return " and ".join(DATA[name] for name in dict.fromkeys([named] if isinstance(named, str) else named))


def by_claim(outcomes: Iterable[Outcome]) -> list[Result]:
    """The results of all claims that have pages, in the order of the book."""
    found: dict[str, dict[str, Report | None]] = {}
    for each in outcomes:
        if each.page.claim:
            found.setdefault(each.page.claim, {})[each.page.scale] = each.report
    return [
        Result(definition, {scale: found[name].get(scale) for scale in scales_of(name)})
        for name, definition in read_all().items()
        if name in found
    ]
