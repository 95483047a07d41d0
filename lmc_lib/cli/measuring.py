"""The commands that run notebooks or plan them: ``lmc run``, ``lmc status``, ``lmc shared``.

What runs a notebook loads papermill, so each command imports it when it is called. The notebook's process loads torch;
the command has no use for it, and does not wait for it a second time.
"""

__all__ = ["run", "shared", "status"]

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmc_lib.cli import elsewhere, notebooks, tree
from lmc_lib.cli.output import duration, plain, write_json
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import load_all


def run(options: argparse.Namespace) -> None:
    """Runs a claim's notebook; says its verdict, what was written, and what can be done next."""
    from lmc_lib.cli import records, running  # noqa: PLC0415 -- loads papermill

    if options.records and options.overrides:
        raise Refused("--records keeps a profile as it is defined: leave out -p, or change notebooks/CLAIM.yml")
    if options.records and not options.allow_dirty:
        records.refuse_unclean()
    try:
        with (
            elsewhere.asked(options),
            running.variables({"LMC_SAME_CODE": "1"} if options.same_code else {}),
        ):
            result = running.run(
                options.claim,
                profile=options.profile,
                overrides=options.overrides,
                out=options.out,
                workers=options.workers,
                recompute=options.recompute,
            )
    except running.Stopped as error:
        raise Refused(
            f"{error}\n{options.out / options.claim}.ipynb shows how far it came. Other values: "
            f"lmc run {options.claim} --help. What is finished is stored: the same command goes on from there"
        ) from error
    written = [options.out / f"{options.claim}.{ending}" for ending in ("ipynb", "json")]
    if options.records:
        written.append(records.keep(options.out / f"{options.claim}.ipynb", result, allow_dirty=options.allow_dirty))
    sys.stdout.write("\n".join(_told(result, written, options)) + "\n")


def _told(result: Mapping[str, Any], written: Sequence[Path], options: argparse.Namespace) -> Iterator[str]:
    yield f"{result['claim']} ({result['scale']}, {result['scope']}): {result['verdict']}"
    for each in result["settings"]:
        yield f"  {each['title']}: {each['verdict']}, {each['status']}"
    for each in result["controls"]:
        yield f"  negative control, {each['title']}: {each['verdict']}"
    yield f"written in {duration(result['provenance']['seconds'])}: {', '.join(map(str, written))}"
    for number, (command, reason) in enumerate(_next(options)):
        yield f"{'' if number else 'next:':<5} {command:<54} {reason}".rstrip()


def _next(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What can be done after a run: commands, and what each is for."""
    if options.records:
        yield (
            f"python notebooks/refresh.py notebooks/{options.claim}.ipynb",
            "the quick outputs and the lists of claims",
        )
        yield f"lmc audit {options.claim} --json book/audit.json", "how often the rule errs on these records"
        return
    if larger := tree.PROFILES[tree.PROFILES.index(options.profile) + 1 :]:
        cost = plain(notebooks.costs(options.claim).get(larger[0], ""))
        yield f"lmc run {options.claim} --profile {larger[0]}", cost
    yield f"lmc run {options.claim} --help", "the parameters that -p changes"
    yield f"lmc open {options.claim}", "its page in the book"


# Seconds of the past by which `lmc status` says how many results an hour are finished.
_LATELY = 3600.0


def status(options: argparse.Namespace) -> None:
    """Says what a claim needs: what is stored, what is missing, and what that will cost; with ``--watch`` repeatedly.

    Raises:
        Refused: if the seconds between two looks are not positive, or JSON is asked for at each of them.
    """
    if options.watch is None:
        _status(options)
        return
    if options.json or not options.watch > 0:
        raise Refused("--watch takes seconds above 0, and does not go with --json")
    while True:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')}\n")
        missing = _status(options)
        sys.stdout.flush()
        if not missing:
            return
        time.sleep(options.watch)


def _status(options: argparse.Namespace) -> int:
    """Says what is stored and what is missing; returns how many results are missing."""
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads papermill

    # Who looks again and again learns what an update takes from what is finished, and disturbs nobody.
    pace = options.watch is None
    rows = running.plan(options.claim, profile=options.profile, overrides=options.overrides, pace=pace)
    kinds = _by_kind(rows)
    left = {
        "seconds": sum(each["to_compute"] * each["seconds_each"] for each in kinds if each["seconds_each"]),
        "estimated_seconds": sum(each["estimated_seconds"] or 0.0 for each in kinds),
        "of_unknown_cost": sum(each["to_compute"] for each in kinds if each["cost"] == "unknown"),
    }
    now = _now(rows, left, time.time())
    missing: int = sum(each["to_compute"] for each in kinds)
    if options.json:
        write_json({"claim": options.claim, "profile": options.profile, "kinds": kinds, "left": left, "now": now})
        return missing
    for each in kinds:
        sys.stdout.write(
            f"{each['label']:<36} {each['results']:>4} {each['noun']:<12} {each['stored']:>4} stored "
            f"{each['to_compute']:>4} to compute{_doing(each)}, {_cost(each)}\n"
        )
    parts = [f"{left['seconds'] / 60:.1f} core-minutes"]
    if hours := left["estimated_seconds"] / 3600:
        parts.append(f"about {hours:.1f} hours of training on one device like this")
    parts += [f"{left['of_unknown_cost']} of unknown cost"] if left["of_unknown_cost"] else []
    sys.stdout.write(f"to compute: {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}\n")
    other, unknown = (sum(each[name] for each in kinds) for name in ("other_code", "unknown_code"))
    if other or unknown:
        what = "made by other code than the present one, which --same-code of lmc run computes anew"
        sys.stdout.write(f"of what is stored, {other} {what}; of {unknown} the code is not known\n")
    if now["running"] or now["failed"] or (missing and now["an_hour"]):
        sys.stdout.write("\n".join(_told_now(now, left)) + "\n")
    return missing


def _now(rows: Sequence[Mapping[str, Any]], left: Mapping[str, Any], moment: float) -> dict[str, Any]:
    """What becomes of what is missing: how many results are computed, finished an hour, and left, and which failed.

    Args:
        rows: of a plan.
        left: what is missing of them costs.
        moment: seconds since 1970.
    """
    running = sum(row["running"] for row in rows)
    failed = [row for row in rows if row["failed"]]
    lately = [row["finished"] for row in rows if row["finished"] and row["finished"] > moment - _LATELY]
    seconds = left["seconds"] + left["estimated_seconds"]
    return {
        "running": running,
        "queued": sum(row["needed"] for row in rows) - running - len(failed),
        "failed": [{"label": row["label"], "noun": row["noun"], "log": row["failed"]} for row in failed],
        # From the first of them on: a sweep that began a minute ago is not judged by the hour before.
        "an_hour": len(lately) / max(moment - min(lately), 1.0) * 3600.0 if len(lately) > 1 else None,
        "seconds_left": seconds / running if running else None,
    }


def _told_now(now: Mapping[str, Any], left: Mapping[str, Any]) -> Iterator[str]:
    parts = [f"now: {now['running']} running, {now['queued']} queued, {len(now['failed'])} failed"]
    parts += [f"{now['an_hour']:.0f} results an hour"] if now["an_hour"] else []
    if now["seconds_left"]:
        about = "more than" if left["of_unknown_cost"] else "about"
        parts.append(f"{about} {duration(now['seconds_left'])} left with {now['running']} at a time")
    yield "; ".join(parts)
    for each in now["failed"]:
        yield f"failed: {each['label']}, {each['noun']}: {each['log']}"
    if now["failed"]:
        yield "what failed is computed again by the next lmc run or lmc work"


def _by_kind(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a plan counted by what they are, each with the mean time of what is stored, or an estimate."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["noun"], row["label"]), []).append(row)
    found = []
    for (noun, label), mine in groups.items():
        known = [row["seconds"] for row in mine if row["seconds"] is not None]
        paced = [row["updates"] * row["pace"] for row in mine if row["pace"] is not None]
        found.append(
            {
                "noun": noun,
                "label": label,
                "results": len(mine),
                "stored": sum(row["stored"] for row in mine),
                "to_compute": sum(row["needed"] for row in mine),
                "running": sum(row["running"] for row in mine),
                "failed": sum(row["failed"] is not None for row in mine),
                "other_code": sum(row["code"] == "other" for row in mine),
                "unknown_code": sum(row["code"] == "unknown" for row in mine),
                "cost": "known" if known else "estimated" if paced else "unknown",
                "seconds_each": sum(known) / len(known) if known else None,
                "estimated_seconds": sum(paced) if paced and not known else None,
                "estimated_seconds_each": sum(paced) / len(paced) if paced and not known else None,
            }
        )
    return found


def _doing(kind: Mapping[str, Any]) -> str:
    """How many of what is missing are computed or failed, if any."""
    told = [f"{kind[name]} {name}" for name in ("running", "failed") if kind[name]]
    return f" ({', '.join(told)})" if told else ""


def _cost(kind: Mapping[str, Any]) -> str:
    if kind["cost"] == "known":
        return f"{kind['seconds_each']:.1f} s each"
    if kind["cost"] == "estimated":
        return f"about {duration(kind['estimated_seconds_each'])} each, by the time of a few updates"
    return "time unknown"


def shared(options: argparse.Namespace) -> None:
    """Says which networks and measurements several claims need."""
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads papermill

    users: dict[str, list[str]] = {}
    found: dict[str, dict[str, Any]] = {}
    for claim in load_all():
        for row in running.plan(claim, profile=options.profile):
            users.setdefault(row["fingerprint"], []).append(claim)
            found[row["fingerprint"]] = row
    groups = Counter((row["label"], row["noun"], tuple(users[key])) for key, row in found.items())
    kinds = [
        {"label": label, "noun": noun, "results": count, "claims": list(names)}
        for (label, noun, names), count in groups.items()
        if len(names) > 1
    ]
    serving = sum(len(names) > 1 for names in users.values())
    if options.json:
        write_json({"profile": options.profile, "kinds": kinds, "shared": serving, "results": len(found)})
        return
    for each in kinds:
        sys.stdout.write(f"{each['label']:<36} {each['results']:>4} {each['noun']:<18} {', '.join(each['claims'])}\n")
    sys.stdout.write(f"{serving} of {len(found)} results serve several claims; the store computes them once\n")
