"""The page of guesses: what was supposed of the papers, and the verdicts that answer it."""

__all__ = ["Answer", "Guess", "GuessError", "files", "read", "sections"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from builder.layout import BOOK
from builder.making import Outcome
from builder.results import Result, by_claim
from builder.telling import NONE, Caveats, badge, caveats, count_of, interval, notes, plain, table_row
from lmc_lib.cli import judging
from lmc_lib.definitions import Claim

_FILE = BOOK / "guesses.yml"
_HEAD = ("| page and part | verdict | evidence | n |", "|---|---|---|---|")


class GuessError(ValueError):
    """A guess that is not told as the page needs it; the message says where, and what is expected."""


@dataclass(frozen=True)
class Answer:
    """Where a guess is tested.

    Attributes:
        claim: the claim.
        parts: those of its parts that answer; empty where the claim has none, or all do.
    """

    claim: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guess:
    """What somebody supposed, and what is seen here.

    Attributes:
        title: the guess in a few words.
        supposed: what was supposed.
        seen: what is seen here, without numbers, which the reports have.
        answers: where it is tested; empty where it is not.
    """

    title: str
    supposed: str
    seen: str
    answers: tuple[Answer, ...] = ()


def read(claims: Mapping[str, Claim], file: Path = _FILE) -> list[Guess]:
    """The guesses of a file.

    Args:
        claims: those of this book, by name; a book of a few claims lacks some that answer.
        file: the file.

    Raises:
        GuessError: if an entry has other keys than a guess, or is answered by a part that its claim does not have.
    """
    found = []
    for place, entry in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")), start=1):
        try:
            answers = tuple(Answer(each["claim"], tuple(each.get("parts", ()))) for each in entry.pop("answers", ()))
            found.append(Guess(**{name: " ".join(text.split()) for name, text in entry.items()}, answers=answers))
        except (TypeError, KeyError, AttributeError) as error:
            wanted = "title, supposed, seen, and answers, each with a claim and perhaps parts"
            raise GuessError(f"{file.name}, guess {place}: expected {wanted} ({error})") from error
        for answer in answers:
            _check(answer, claims, f"{file.name}, guess {place}")
    return found


def _check(answer: Answer, claims: Mapping[str, Claim], where: str) -> None:
    if answer.claim not in claims:
        return
    parts = [each.id for each in claims[answer.claim].parts]
    for each in answer.parts:
        if each not in parts:
            raise GuessError(f"{where}: {answer.claim} has no part {each!r}; it has {', '.join(parts) or 'none'}")


def files(guesses: Sequence[Guess], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the page of guesses includes."""
    results = by_claim(outcomes)
    reports = [report for each in results for report in each.reports.values() if report]
    return {"guesses.md": sections(guesses, results, caveats(judging.kept_audits(), reports)).encode()}


def sections(guesses: Sequence[Guess], results: Sequence[Result], known: Caveats = NONE) -> str:
    """Each guess with what is seen here and the verdicts behind it, as Markdown.

    Args:
        guesses: the guesses.
        results: the claims that answer them.
        known: what a reader must know of their verdicts.
    """
    by_name = {each.claim.id: each for each in results}
    lines: list[str] = []
    for guess in guesses:
        rows = [row for answer in guess.answers for row in _rows(by_name.get(answer.claim), answer, known)]
        lines += [f"## {guess.title}", "", f"**Supposed.** {guess.supposed}", "", f"**Seen here.** {guess.seen}", ""]
        lines += [":::{div} verdicts", *_HEAD, *rows, ":::", ""] if rows else []
    return "\n".join(lines)


def _rows(result: Result | None, answer: Answer, known: Caveats) -> Iterator[str]:
    """One row a setting that is judged on the claim's own page; one for a claim that this book does not have."""
    if result is None:
        yield table_row(f"`{answer.claim}`", "not in this book", "", "")
        return
    link = f"[{plain(result.claim.title)}](claims/{result.claim.id}.ipynb)"
    if result.report is None:
        yield table_row(link, "failed", "", "")
        return
    for each in result.report["settings"]:
        if not answer.parts or each["part"] in answer.parts:
            evidence = "; ".join(
                f"{plain(one['condition'])}: {interval(one['estimate'])}" for one in each["conditions"]
            )
            said = f"{badge(each['verdict'])} {', '.join(notes(result.report, each, known))}"
            yield table_row(f"{link}: {plain(each['title'])}", said, evidence, count_of(each))
