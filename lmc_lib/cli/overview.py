"""What there is: the list of claims, a claim with its parameters, and its page in the book."""

__all__ = ["about", "listed", "page", "table"]

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lmc_lib import definitions
from lmc_lib.cli import notebooks, tree
from lmc_lib.cli.output import plain
from lmc_lib.cli.refused import Refused

_WIDTH = 100


def listed() -> list[dict[str, Any]]:
    """All claims in the order of the book, each with its verdict, scope and cost by scale.

    A verdict is that of the shipped records, None where there are none; a cost is what the notebook says of it, for two
    cores and in words, None where it says nothing.

    Raises:
        Refused: if a file of records or a notebook is damaged.
        DefinitionError: if the file of a claim cannot be used.
    """
    found = []
    for claim_id, each in definitions.read_all(tree.NOTEBOOKS).items():
        costs = {scale: plain(cost) for scale, cost in notebooks.costs(claim_id).items()}
        scales = {}
        for scale in tree.PROFILES:
            path = tree.record_of(claim_id, scale)
            verdict = tree.report_of(path)["verdict"] if path.exists() else None
            scales[scale] = {"verdict": verdict, "scope": each.claim.scope[scale], "cost": costs.get(scale)}
        found.append(
            {"claim": claim_id, "chapter": each.chapter, "title": each.claim.title, "brief": each.brief}
            | {"scales": scales}
        )
    return found


def table(claims: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The claims of :func:`listed` as lines of text, under the names of their chapters."""
    yield "by scale: the verdict of the records in records/, and what a run costs on two cores"
    chapter = ""
    for each in claims:
        if each["chapter"] != chapter:
            chapter = each["chapter"]
            yield from ("", chapter)
        yield from ("", f"{each['claim']:<28} {each['title']}")
        for scale, said in each["scales"].items():
            yield f"    {scale:<7} {said['verdict'] or 'no records':<29} {said['cost'] or ''}".rstrip()


def about(claim: str, command: str) -> str:
    """What ``lmc run CLAIM --help`` says: the claim, and its parameters with their values by profile.

    Args:
        claim: the claim's name.
        command: the command that the help is about, such as ``"lmc run"``.

    Raises:
        Refused: if there is no notebook of the claim, or if its parameters cannot be read.
        DefinitionError: if the file of the claim cannot be used.
    """
    parameters = notebooks.parameters(claim)
    found = definitions.load(claim, tree.NOTEBOOKS)
    limits = definitions.limits(claim, [each.name for each in parameters], tree.NOTEBOOKS)
    profiles: dict[str, dict[str, Any]] = {"quick": {}} | {
        scale: definitions.profile(claim, scale, tree.NOTEBOOKS) for scale in tree.PROFILES if scale != "quick"
    }
    costs = notebooks.costs(claim)
    lines = [found.title, "", *textwrap.wrap(found.statement, _WIDTH), ""]
    lines += [
        f"  {command} {claim} --profile {scale:<7} {plain(costs.get(scale, ''))}".rstrip() for scale in tree.PROFILES
    ]
    lines += ["", "parameters, each changed by -p NAME=VALUE; an entry of a dictionary by -p NAME.KEY=VALUE:"]
    for each in parameters:
        if each.name == "scale":  # the profile says it
            continue
        lines += ["", f"  {each.name}: {notebooks.kind(each.default)}"]
        lines += textwrap.wrap(each.meaning, _WIDTH - 6, initial_indent="      ", subsequent_indent="      ")
        values = {scale: repr(profile.get(each.name, each.default)) for scale, profile in profiles.items()}
        lines += _by_value(values)
        lines += [f"      needs {limit.condition}" for limit in limits if each.name in limit.names]
    lines += ["", f"The options are those of `{command} --help`."]
    return "\n".join(lines) + "\n"


def _by_value(values: Mapping[str, str]) -> Iterator[str]:
    """One line for each value, with the profiles that have it."""
    for value in dict.fromkeys(values.values()):
        scales = ", ".join(scale for scale, each in values.items() if each == value)
        first = f"      {scales + ':':<21} "
        yield from textwrap.wrap(value, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def page(claim: str | None, scale: str | None) -> Path:
    """The built page of a claim, or the first page of the book.

    Args:
        claim: the claim's name; the first page if None.
        scale: the scale of the page; the largest with records if None.

    Raises:
        Refused: if there is no such page, or if it is not built.
    """
    if claim is None:
        found = tree.SITE / "book" / "index.html"
    else:
        name = definitions.load(claim, tree.NOTEBOOKS).id
        scales = tree.scales_of(name)
        if scale is not None and scale not in scales:
            raise Refused(
                f"{name} has no page at the {scale} scale, since records/ holds no measurements of it: "
                f"measure with lmc run {name} --profile {scale} --records"
            )
        found = tree.SITE / "book" / "claims" / f"{tree.page_of(name, scale or scales[0])}.html"
    if not found.exists():
        raise Refused(f"{found} is not built: build the book with make book, then call this again")
    return found
