"""Verdicts from the records alone, and how often their rules err: no notebook is run and nothing is measured."""

__all__ = ["AUDITS", "Place", "as_text", "audits", "changes", "kept_audits", "key", "place", "table"]

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmc_lib import claims
from lmc_lib.cli import tree
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import Claim, Condition, load

AUDITS = tree.ROOT / "book" / "audit.json"

Place = tuple[str, str, str, str]

_DRAWS = 500


def changes(path: Path) -> tuple[claims.Report, list[str]]:
    """Judges a file of records again.

    Returns:
        The report by the rule as it stands, and in words what it says otherwise than the one in the file.

    Raises:
        Refused: if the file is damaged, or does not hold what the rule asks for.
    """
    stored = tree.report_of(path)
    try:
        again = claims.judge_again(load(stored["claim"]), stored)
    except KeyError as error:  # also of a report that an earlier version wrote, without studies
        raise Refused(f"{path.name} cannot be judged by the rule as it stands: {error.args[0]}") from error
    found = again.as_json()
    told = [] if found["verdict"] == stored["verdict"] else [f"verdict: {stored['verdict']} -> {found['verdict']}"]
    for kind in ("settings", "controls"):
        for before, after in zip(stored[kind], found[kind], strict=True):
            told += [f"{before['title']}: {each}" for each in _differing(before, after)]
    return again, told


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in ("verdict", "rule", "status"):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name)} -> {after.get(name)}"
    estimates = {each["quantity"]: each["estimate"] for each in before["conditions"]}
    for each in after["conditions"]:
        old, new = estimates[each["quantity"]], each["estimate"]
        # Numbers of a study are kept with six digits.
        if any(abs(old[end] - new[end]) > 2e-5 * max(1.0, abs(old[end])) for end in ("value", "low", "high")):
            yield f"{each['quantity']} {_said(old)} -> {_said(new)}"


def _said(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['value']} [{estimate['low']}, {estimate['high']}]"


def audits(
    paths: Iterable[Path], *, draws: int = _DRAWS, known: Sequence[Mapping[str, Any]] = ()
) -> Iterator[dict[str, Any]]:
    """Audits every condition of the settings of files of records, preconditions too (see :func:`lmc_lib.claims.audit`).

    Args:
        paths: the files.
        draws: number of simulated studies of each kind.
        known: rows made before; those whose condition, study and draws are the same are not made again.

    Raises:
        Refused: if a file is damaged, or does not hold the study of a condition.
    """
    made = {row["key"]: dict(row) for row in known}
    for path in paths:
        report = tree.report_of(path)
        claim = load(report["claim"])
        for setting in report["settings"]:
            rule = claim.part(setting["part"]) if setting["part"] else claim
            found = {each["quantity"]: each for each in setting["conditions"] if "study" in each}
            if missing := rule.quantities - found.keys():
                raise Refused(f"{path.name} cannot be audited: it holds no study of {', '.join(sorted(missing))}")
            for condition in (*rule.observable, *rule.supported):
                its_key = key(condition, found[condition.quantity], draws)
                row = made.get(its_key) or _row(condition, found[condition.quantity]["study"], draws) | {"key": its_key}
                precondition = {"precondition": condition in rule.observable}
                yield row | _named(claim, report, setting, condition) | precondition


def _named(claim: Claim, report: Mapping[str, Any], setting: Mapping[str, Any], condition: Condition) -> dict[str, Any]:
    return {
        "claim": claim.id,
        "scale": report["scale"],
        "part": setting["part"],
        "setting": setting["setting"],
        "condition": condition.text,
        "quantity": condition.quantity,
        "unit": claim.unit,
        "effect_from": condition.effect_from,
    }


def _row(condition: Condition, study: Mapping[str, Any], draws: int) -> dict[str, Any]:
    found = claims.audit(condition, claims.Study.from_json(study), draws=draws)
    return asdict(found) | {
        "null": condition.null,
        "effect": condition.effect,
        "false_positive": found.false_positive,
        "underpowered": found.underpowered,
        "draws": draws,
    }


def key(condition: Condition, found: Mapping[str, Any], draws: int) -> str:
    """The hash of what a row follows from: the condition, and what a report says of it.

    The estimate is part of it, since other intervals of the same study have other error rates.
    """
    asked = {name: value for name, value in asdict(condition).items() if name not in ("label", "reason", "effect_from")}
    return hashlib.sha256(
        json.dumps([asked, found["study"], found["estimate"], draws], sort_keys=True).encode()
    ).hexdigest()[:16]


def place(row: Mapping[str, Any]) -> Place:
    """Which verdict a row is about: its claim, scale, part and setting."""
    return row["claim"], row["scale"], row["part"], row["setting"]


def kept_audits(path: Path = AUDITS) -> list[dict[str, Any]]:
    """The rows of a file that ``lmc audit --json`` wrote; none if there is no file.

    Raises:
        Refused: if it is no such file.
    """
    try:
        rows = [dict(row) for row in json.loads(path.read_text(encoding="utf-8"))["criteria"]] if path.exists() else []
        complete = all({"claim", "scale", "part", "setting", "quantity", "key"} <= row.keys() for row in rows)
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise Refused(f"{path} is no file of audits: take it from git again, or name another one")
    return rows


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as the text of such a file: one row a line, in the order of claims and scales."""
    ordered = sorted(rows, key=lambda row: (row["claim"], row["scale"]))  # stable: the order within a report stays
    lines = ",\n".join(json.dumps(row) for row in ordered)
    return f'{{"criteria": [\n{lines}\n]}}\n'


def table(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as lines of text."""
    for row in rows:
        rates = f"false {row['false_positive']:.3f}, power {row['power']:.2f}, coverage {row['coverage']:.3f}"
        enough = "" if not row["underpowered"] else f", underpowered: {_needed(row)}"
        where = ", ".join(each for each in (row["part"], row["setting"]) if each)
        yield f"{row['claim']} ({row['scale']}) {where}: {row['condition']}"
        yield f"    n = {row['n']} {row['unit']}s, {rates}{enough}"


def _needed(row: Mapping[str, Any]) -> str:
    return f"about {row['needed']} would do" if row["needed"] else f"{row['most']} are not enough"
