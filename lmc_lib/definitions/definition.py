"""The files of the claims together: their order in the book, and what one takes from another."""

__all__ = ["FOLDER", "Definition", "deviations", "limits", "load", "load_all", "profile", "read_all"]

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from lmc_lib.definitions.claim import Claim, Condition
from lmc_lib.definitions.document import CHAPTERS, DefinitionError, Document, read
from lmc_lib.definitions.limit import Limit, shared

FOLDER = Path(__file__).parents[2] / "notebooks"

# A name with a space is no name of a parameter.
_SAME = "same as"


@dataclass(frozen=True)
class Definition:
    """A claim and its place in the book.

    Attributes:
        claim: the claim, as pages show it and verdicts use it.
        chapter: one of ``CHAPTERS``.
        place: the number that orders the claims of a chapter.
        brief: the claim in a line.
        headline: its name among the findings of the first page; empty if it is none of them.
    """

    claim: Claim
    chapter: str
    place: float
    brief: str
    headline: str = ""


def read_all(folder: Path = FOLDER) -> dict[str, Definition]:
    """Reads all claims, in the order of the book.

    Raises:
        DefinitionError: if a file cannot be used, or if two claims have one place.
    """
    return {each.path.stem: _definition(each) for each in _documents(folder)}


def load_all(folder: Path = FOLDER) -> dict[str, Claim]:
    """The claims of :func:`read_all`."""
    return {claim_id: each.claim for claim_id, each in read_all(folder).items()}


def load(claim_id: str, folder: Path = FOLDER) -> Claim:
    """Reads one claim.

    Raises:
        DefinitionError: if there is no such claim, or if its file cannot be used.
    """
    return _definition(_document(claim_id, folder)).claim


def profile(claim_id: str, scale: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The parameters of a claim's notebook at a scale, with what it shares with other claims filled in.

    Args:
        claim_id: the claim's name.
        scale: ``"laptop"`` or ``"paper"``.
        folder: the folder of the files.

    Raises:
        DefinitionError: if a file cannot be used, or if what is shared is not there.
    """
    return _parameters(_document(claim_id, folder), scale, ())


def limits(claim_id: str, parameters: Collection[str], folder: Path = FOLDER) -> list[Limit]:
    """What the parameters of a claim's notebook must fulfil: its own conditions, and those of all that have such names.

    Args:
        claim_id: the claim's name.
        parameters: the names of its parameters.
        folder: the folder of the files.

    Raises:
        DefinitionError: if a file cannot be used, or if a condition is no expression over these names.
    """
    return [each for each in shared() if each.names <= set(parameters)] + _limits(claim_id, set(parameters), folder, ())


def _limits(claim_id: str, parameters: set[str], folder: Path, asked: tuple[str, ...]) -> list[Limit]:
    document = _document(claim_id, folder)
    found: list[Limit] = []
    for condition, reason in document.content.get("limits", {}).items():
        where = document.at("limits", condition)
        if condition == _SAME:
            if reason in (*asked, claim_id):
                raise DefinitionError(f"{where}: goes round in a circle: {', '.join((*asked, claim_id, reason))}")
            found += _limits(reason, parameters, folder, (*asked, claim_id))
            continue
        limit = Limit(condition, reason)
        try:
            unknown = limit.names - parameters
        except SyntaxError as error:
            raise DefinitionError(f"{where}: {condition!r} is no expression in Python: {error.msg}") from error
        if unknown and not asked:
            raise DefinitionError(f"{where}: no parameter {min(unknown)!r}; there are {', '.join(sorted(parameters))}")
        found += [] if unknown else [limit]
    return found


def deviations(folder: Path = FOLDER) -> str:
    """What is done otherwise than in the papers, as Markdown: a section a claim, or for several, in the book's order.

    Each section has a label for every claim that it is of, ``deviations-CLAIM``.

    Raises:
        DefinitionError: if a file cannot be used, or if a claim shares the section of one that has none.
    """
    documents = _documents(folder)
    texts = [each.content["deviations"] for each in documents]
    own = {each.path.stem: text for each, text in zip(documents, texts, strict=True) if isinstance(text, str)}
    labels = {name: [name] for name in own}
    for document, text in zip(documents, texts, strict=True):
        if not isinstance(text, str) and text[_SAME] in own:
            labels[text[_SAME]].append(document.path.stem)
        elif not isinstance(text, str):
            where, there = document.at("deviations"), ", ".join(own)
            raise DefinitionError(f"{where}: {text[_SAME]} has no section of its own; those with one are {there}")
    return "\n".join("".join(f"(deviations-{each})=\n" for each in labels[name]) + text for name, text in own.items())


def _document(claim_id: str, folder: Path) -> Document:
    path = folder / f"{claim_id}.yml"
    if not path.exists():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.yml")))
        raise DefinitionError(f"no claim {claim_id!r}: there is no {folder.name}/{path.name}; there are {there}")
    return read(path)


def _documents(folder: Path) -> list[Document]:
    """All files, in the order of the book."""
    documents = sorted((read(path) for path in sorted(folder.glob("*.yml"))), key=_order)
    for before, after in pairwise(documents):
        if _order(before) == _order(after):
            raise DefinitionError(f"{after.at('place')}: the same chapter and place as {before.path.stem}")
    return documents


def _order(document: Document) -> tuple[int, float]:
    return CHAPTERS.index(document.content["chapter"]), float(document.content["place"])


def _parameters(document: Document, scale: str, asked: tuple[str, ...]) -> dict[str, Any]:
    """A profile; ``asked`` are the claims that it is filled in for."""
    place, value = ("profiles", scale), document.content["profiles"][scale]
    return _filled(document, place, value, (*asked, document.path.stem))


def _filled(
    document: Document, place: tuple[str, ...], value: dict[str, Any], asked: tuple[str, ...]
) -> dict[str, Any]:
    """A mapping's own entries behind those that it shares."""
    shared = _shared(document, place, value[_SAME], asked) if _SAME in value else {}
    own = {
        key: _filled(document, (*place, key), each, asked) if isinstance(each, dict) else each
        for key, each in value.items()
        if key != _SAME
    }
    return shared | own


def _shared(document: Document, place: tuple[str, ...], claim_id: str, asked: tuple[str, ...]) -> dict[str, Any]:
    """What stands in the same place in the file of another claim."""
    where = document.at(*place, _SAME)
    if claim_id in asked:
        raise DefinitionError(f"{where}: goes round in a circle: {', '.join((*asked, claim_id))}")
    try:
        other = _document(claim_id, document.path.parent)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error}") from error
    found = _parameters(other, place[1], asked)
    for key in place[2:]:
        inner = found.get(key)
        if not isinstance(inner, dict):
            raise DefinitionError(f"{where}: {claim_id} has no mapping in this place ({' / '.join(place)})")
        found = inner
    return found


def _definition(document: Document) -> Definition:
    content = document.content
    return Definition(
        claim=_claim(document),
        chapter=content["chapter"],
        place=float(content["place"]),
        brief=content["brief"],
        headline=content.get("headline", ""),
    )


def _beside(published: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, str], ...]:
    last = next((number for number, each in enumerate(published) if "beside" in each), 0)
    first = last
    while first and published[first]["what"].startswith("the same"):
        first -= 1
    return _published(published[first : last + 1])


def _published(entries: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, str], ...]:
    return tuple({"what": each["what"].strip(), "value": each["value"].strip()} for each in entries)


def _claim(document: Document) -> Claim:
    whole = {name: value for name, value in document.content.items() if name not in ("parts", "control_rule")}
    # What a part does not say of itself is that of the whole.
    found = document.content.get("parts", {}).items()
    parts = tuple(replace(_rule(part_id, whole | part), is_part=True) for part_id, part in found)
    claim = _rule(document.path.stem, whole, parts=parts)
    keywords = tuple(document.content.get("keywords", ()))
    beside = _beside(document.content["published"])
    return replace(claim, control_rule=_control_rule(document, claim), keywords=keywords, beside=beside)


def _rule(claim_id: str, fields: Mapping[str, Any], parts: tuple[Claim, ...] = ()) -> Claim:
    texts = {name: " ".join(fields[name].split()) for name in ("title", "statement", "where", "criterion", "control")}
    return Claim(
        id=claim_id,
        source=fields["source"],
        published=_published(fields["published"]),
        observable=tuple(_condition(each) for each in fields.get("observable", ())),
        supported=tuple(_condition(each) for each in fields.get("supported", ())),
        parts=parts,
        unit=fields["unit"],
        scope=fields["scope"],
        preregistered=fields.get("preregistered", {}),
        confirmed=fields.get("confirmed", {}),
        title=texts["title"],
        statement=texts["statement"],
        where=texts["where"],
        criterion=texts["criterion"],
        control=texts["control"],
    )


def _condition(fields: Mapping[str, Any]) -> Condition:
    above = "above" in fields
    bound = float(fields["above" if above else "below"])
    return Condition(
        fields["quantity"],
        fields["label"],
        bound,
        above,
        fields["reason"],
        float(fields["null value"]),
        fields["exchange"],
        float(fields["effect"]),
        fields["from"],
    )


def _control_rule(document: Document, claim: Claim) -> Claim | None:
    """The claim, or its part, that the control is judged by, with the named ones of its conditions alone."""
    if "control_rule" not in document.content:
        return None
    wanted = document.content["control_rule"]
    where = document.at("control_rule")
    judged = {each.id: each for each in claim.parts or (claim,)}
    name = wanted.get("part", claim.id)
    if name not in judged:
        raise DefinitionError(f"{where}: no part {name!r}; there are {', '.join(judged)}")
    rule = judged[name]
    known = [each.quantity for each in (*rule.observable, *rule.supported)]
    if missing := [each for each in wanted["quantities"] if each not in known]:
        raise DefinitionError(f"{where}: {name} has no quantity {missing[0]!r}; there are {', '.join(known)}")
    observable, supported = (
        tuple(each for each in conditions if each.quantity in wanted["quantities"])
        for conditions in (rule.observable, rule.supported)
    )
    if not supported:
        raise DefinitionError(f"{where}: names no condition of the verdict on {name}, but preconditions alone")
    return replace(rule, observable=observable, supported=supported)
