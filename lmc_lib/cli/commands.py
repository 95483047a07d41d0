"""The commands and their options."""

__all__ = ["main"]

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmc_lib.cli import tree
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import DefinitionError, load, load_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough (`lmc list | head`). What is still buffered would fail again as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Refused, DefinitionError, OSError) as error:
        sys.stderr.write(f"lmc: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lmc", description="Runs the claims of the LMC companion.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("claim", help="name of the claim, as in `lmc list`")
    common.add_argument("--profile", default="quick", help="quick (default), laptop or paper")
    common.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    running = commands.add_parser("run", parents=[common], help="run a claim's notebook")
    running.add_argument("--out", type=Path, default=Path("results"), help="folder of the results (default: results)")
    running.add_argument("--workers", type=int, help="processes (default: all cores)")
    running.add_argument("--recompute", action="store_true", help="compute also what is stored")
    running.add_argument("--records", action="store_true", help="keep the measurements in records/ for the book")
    running.add_argument("--allow-dirty", action="store_true", help="keep records of code that is not committed")
    running.set_defaults(action=_run_command)
    commands.add_parser("list", help="list the claims").set_defaults(action=_list_command)
    commands.add_parser("status", parents=[common], help="what is stored and what is missing").set_defaults(
        action=_status_command
    )
    sharing = commands.add_parser("shared", help="which networks and measurements several claims need")
    sharing.add_argument("--profile", default="quick", help="quick (default), laptop or paper")
    sharing.set_defaults(action=_shared_command)
    chosen = argparse.ArgumentParser(add_help=False)
    which = chosen.add_mutually_exclusive_group(required=True)
    which.add_argument("claim", nargs="?", help="name of the claim, as in `lmc list`")
    which.add_argument("--all", action="store_true", help="every claim with records")
    judging = commands.add_parser(
        "judge", parents=[chosen], help="verdicts from the records alone, by the rules as they are"
    )
    judging.set_defaults(action=_judge_command)
    auditing = commands.add_parser("audit", parents=[chosen], help="how often the rules err, on simulated studies")
    auditing.add_argument("--draws", type=int, default=500, help="simulated studies of each kind (default: 500)")
    auditing.add_argument("--json", type=Path, help="file of the rows; those that nothing changed are taken from it")
    auditing.set_defaults(action=_audit_command)
    return parser


def _run_command(options: argparse.Namespace) -> None:
    from lmc_lib.cli import records, running  # noqa: PLC0415 -- loads torch and papermill

    if options.records and options.overrides:
        raise Refused("--records keeps a profile as it is defined: leave out -p, or change notebooks/CLAIM.yml")
    if options.records and not options.allow_dirty:
        records.refuse_unclean()
    result = running.run(
        options.claim,
        profile=options.profile,
        overrides=options.overrides,
        out=options.out,
        workers=options.workers,
        recompute=options.recompute,
    )
    if options.records:
        records.keep(options.out / f"{options.claim}.ipynb", result, allow_dirty=options.allow_dirty)
    lines = [f"{result['claim']} ({result['scale']}, {result['scope']}): {result['verdict']}"]
    lines += [f"  {each['title']}: {each['verdict']}, {each['status']}" for each in result["settings"]]
    lines += [f"  negative control, {each['title']}: {each['verdict']}" for each in result["controls"]]
    lines.append(f"written to {options.out / options.claim}.ipynb and .json in {result['provenance']['seconds']:.0f} s")
    sys.stdout.write("\n".join(lines) + "\n")


def _list_command(options: argparse.Namespace) -> None:
    del options
    for claim in load_all().values():
        sys.stdout.write(f"{claim.id:<28} {claim.title}\n")
        for profile in tree.PROFILES:
            if (path := tree.record_of(claim.id, profile)).exists():
                sys.stdout.write(f"{'':<28} {profile}: {tree.report_of(path)['verdict']}\n")


def _status_command(options: argparse.Namespace) -> None:
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill

    rows = running.plan(options.claim, profile=options.profile, overrides=options.overrides, pace=True)
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["noun"], row["label"]), []).append(row)
    remaining, estimated, unknown = 0.0, 0.0, 0
    for (noun, label), mine in kinds.items():
        stored, needed = sum(row["stored"] for row in mine), sum(row["needed"] for row in mine)
        known = [row["seconds"] for row in mine if row["seconds"] is not None]
        paced = [row["updates"] * row["pace"] for row in mine if row["pace"] is not None]
        if known:
            each = f"{sum(known) / len(known):.1f} s each"
            remaining += needed * sum(known) / len(known)
        elif paced:
            each = f"about {_duration(sum(paced) / len(paced))} each, by the time of a few updates"
            estimated += sum(paced)
        else:
            each = "time unknown"
            unknown += needed
        sys.stdout.write(f"{label:<36} {len(mine):>4} {noun:<12} {stored:>4} stored {needed:>4} to compute, {each}\n")
    parts = [f"{remaining / 60:.1f} core-minutes"]
    parts += [f"about {estimated / 3600:.1f} hours of training on one device like this"] if estimated else []
    parts += [f"{unknown} of unknown cost"] if unknown else []
    sys.stdout.write(f"to compute: {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}\n")


def _judge_command(options: argparse.Namespace) -> None:
    from lmc_lib.cli import judging  # noqa: PLC0415 -- loads numpy and scipy

    differing = 0
    for path in _records_of(options):
        report, told = judging.changes(path)
        differing += bool(told)
        sys.stdout.write(
            "\n".join([f"{report.claim.id} ({report.scale}): {report.verdict}", *(f"  {each}" for each in told)]) + "\n"
        )
    if differing:
        raise Refused(f"{differing} reports differ from their records: see above")


def _audit_command(options: argparse.Namespace) -> None:
    from lmc_lib.cli import judging  # noqa: PLC0415 -- loads numpy and scipy

    if options.draws < 20:
        raise Refused(f"--draws takes at least 20 simulated studies, got {options.draws}")
    known = judging.kept_audits(options.json) if options.json else []
    rows = []
    for row in judging.audits(_records_of(options), draws=options.draws, known=known):
        rows.append(row)
        sys.stdout.write("\n".join(judging.table([row])) + "\n")
    if options.json:
        others = [] if options.all else [row for row in known if row["claim"] != options.claim]
        options.json.write_text(judging.as_text([*others, *rows]))


def _records_of(options: argparse.Namespace) -> list[Path]:
    """The files of records of one claim, or of all."""
    names = list(load_all()) if options.all else [load(options.claim).id]
    paths = [tree.record_of(name, scale) for name in names for scale in tree.PROFILES]
    found = [path for path in paths if path.exists()]
    if not found:
        raise Refused(f"there are no records of {options.claim}: measure with lmc run {options.claim} --records")
    return found


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _shared_command(options: argparse.Namespace) -> None:
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill

    users: dict[str, list[str]] = {}
    found: dict[str, dict[str, Any]] = {}
    for claim in load_all():
        for row in running.plan(claim, profile=options.profile):
            users.setdefault(row["fingerprint"], []).append(claim)
            found[row["fingerprint"]] = row
    groups = Counter((row["label"], row["noun"], tuple(users[key])) for key, row in found.items())
    for (label, noun, names), count in groups.items():
        if len(names) > 1:
            sys.stdout.write(f"{label:<36} {count:>4} {noun:<18} {', '.join(names)}\n")
    shared = sum(len(names) > 1 for names in users.values())
    sys.stdout.write(f"{shared} of {len(found)} results serve several claims; the store computes them once\n")
