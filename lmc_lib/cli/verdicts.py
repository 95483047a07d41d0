"""The commands that look at verdicts, from the records alone: ``lmc judge`` and ``lmc audit``.

What judges loads numpy and scipy, so each command imports it when it is called.
"""

__all__ = ["audit", "judge", "records_of"]

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmc_lib import files
from lmc_lib.cli import tree
from lmc_lib.cli.output import write_json
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import load, load_all


def judge(options: argparse.Namespace) -> None:
    """Judges the records by the rules as they are, and says what differs from the stored reports.

    Raises:
        Refused: if something differs, after all of it was said.
    """
    from lmc_lib.cli import judging  # noqa: PLC0415 -- loads numpy and scipy

    found = []
    for path in records_of(options):
        report, told = judging.changes(path)
        found.append({"claim": report.claim.id, "scale": report.scale, "verdict": report.verdict, "changes": told})
        if not options.json:
            sys.stdout.write(
                "\n".join([f"{report.claim.id} ({report.scale}): {report.verdict}", *(f"  {each}" for each in told)])
                + "\n"
            )
    if options.json:
        write_json(found)
    if differing := sum(bool(each["changes"]) for each in found):
        raise Refused(
            f"{differing} reports differ from their records: see above. Take back what changed, or keep the new "
            "verdicts with lmc run CLAIM --profile SCALE --records"
        )


def audit(options: argparse.Namespace) -> None:
    """Says how often each condition errs on simulated studies like those of the records."""
    from lmc_lib.cli import judging  # noqa: PLC0415 -- loads numpy and scipy

    if options.draws < 20:
        raise Refused(f"--draws takes at least 20 simulated studies, got {options.draws}")
    if options.json and not options.json.parent.is_dir():
        raise Refused(f"there is no folder {options.json.parent} for {options.json.name}: make it, or name another one")
    known = judging.kept_audits(options.json) if options.json else []
    rows: list[dict[str, Any]] = []
    kept = [] if options.all else [row for row in known if row["claim"] != options.claim]
    try:
        for row in judging.audits(records_of(options), draws=options.draws, known=known):
            rows.append(row)
            sys.stdout.write("\n".join(judging.table([row])) + "\n")
    except BaseException:  # stopped or refused: what is there stays, and with it what was known of the others
        made = {(judging.place(row), row["quantity"]) for row in rows}
        kept = [row for row in known if (judging.place(row), row["quantity"]) not in made]
        raise
    finally:
        if options.json:
            files.write(options.json.resolve(), judging.as_text([*kept, *rows]).encode())


def records_of(options: argparse.Namespace, scales: Sequence[str] = tree.PROFILES) -> list[Path]:
    """The files of records of one claim, or of all, at some scales.

    Raises:
        Refused: if there are none.
    """
    names = list(load_all()) if options.all else [load(options.claim).id]
    paths = [tree.record_of(name, scale) for name in names for scale in scales]
    found = [path for path in paths if path.exists()]
    if not found:
        name = options.claim or "CLAIM"
        where, how = (f" at the {scales[0]} scale", f" --profile {scales[0]}") if len(scales) == 1 else ("", "")
        raise Refused(f"there are no records of {name}{where}: measure with lmc run {name}{how} --records")
    return found
