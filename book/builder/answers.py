"""The page of answers: what the book found, part by part, beside the verdicts for which that was written."""

__all__ = ["Answer", "AnswerError", "files", "read", "sections"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from builder.layout import BOOK
from builder.making import Outcome
from builder.results import Result, by_claim
from builder.telling import badge, plain, statuses, table_row, tally
from lmc_lib import claims

_FILE = BOOK / "answers.yml"
_HEAD = ("| claim | verdict | on its parts and networks | scope and status |", "|---|---|---|---|")


class AnswerError(ValueError):
    """An answer that is not told as the page needs it; the message says where, and what is expected."""


@dataclass(frozen=True)
class Answer:
    """What a part of the book asked and found.

    Attributes:
        chapter: the part.
        question: what it asks.
        found: what was found, without numbers, which the reports have.
        papers: where that agrees with the papers and where it does not.
        sure: how sure it is.
        verdicts: the verdicts for which all this was written, by claim.
    """

    chapter: str
    question: str
    found: str
    papers: str
    sure: str
    verdicts: Mapping[str, str]


def read(file: Path = _FILE) -> list[Answer]:
    """The answers of a file.

    Raises:
        AnswerError: if an entry has other keys than an answer, or one of its verdicts is none.
    """
    found = []
    for place, entry in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")), start=1):
        try:
            verdicts = entry.pop("verdicts")
            texts = {name: " ".join(text.split()) for name, text in entry.items()}
            unknown = set(verdicts.values()) - set(claims.VERDICTS)
            found.append(Answer(**texts, verdicts=verdicts))
        except (TypeError, KeyError, AttributeError) as error:
            wanted = "chapter, question, found, papers, sure, and verdicts, which has a verdict for each claim"
            raise AnswerError(f"{file.name}, answer {place}: expected {wanted} ({error})") from error
        if unknown:
            raise AnswerError(
                f"{file.name}, answer {place}: no verdicts are {', '.join(map(repr, sorted(map(str, unknown))))}; "
                f"there are {', '.join(claims.VERDICTS)}"
            )
    return found


def files(answers: Sequence[Answer], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
    """What the page of answers includes."""
    return {"answers.md": sections(answers, by_claim(outcomes)).encode()}


def sections(answers: Sequence[Answer], results: Sequence[Result]) -> str:
    """Each part with its question, what was found, and the verdicts on its claims, as Markdown.

    Args:
        answers: the answers.
        results: the claims; those of parts that nobody wrote of are left out.
    """
    lines: list[str] = []
    for answer in answers:
        own = [each for each in results if each.definition.chapter == answer.chapter]
        lines += [f"## {answer.chapter}", "", f"*{answer.question}*", "", answer.found, ""]
        lines += [f"**Beside the papers.** {answer.papers}", "", f"**How sure.** {answer.sure}", ""]
        lines += [*_changed(answer, own), ":::{div} verdicts", *_HEAD, *map(_row, own), ":::", ""]
    return "\n".join(lines)


def _changed(answer: Answer, own: Sequence[Result]) -> Iterator[str]:
    """Which verdicts are others than those for which the answer was written, if any are."""
    if told := [each.claim.title for each in own if answer.verdicts.get(each.claim.id) != _verdict(each)]:
        yield f":::{{note}}\nSince this was written verdicts have changed or come: {plain('; '.join(told))}.\n:::"
        yield ""


def _verdict(result: Result) -> str | None:
    return result.report["verdict"] if result.report else None


def _row(result: Result) -> str:
    """A claim with its verdict, how many there are on parts and networks, and what kind of study it is."""
    link = f"[{plain(result.claim.title)}](claims/{result.claim.id}.ipynb)"
    if result.report is None:
        return table_row(link, "failed", "", "")
    parts = ", ".join(f"{count} {verdict}" for verdict, count in tally(result.report["settings"]).items())
    kind = f"{result.report['scope']}; {statuses(result.report)}"
    return table_row(link, badge(result.report["verdict"]), parts, kind)
