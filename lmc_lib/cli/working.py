"""The commands that compute without a page: ``lmc work`` and ``lmc verify``.

What runs a notebook loads torch and papermill, so each command imports it when it is called.
"""

__all__ = ["verify", "work"]

import argparse
import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lmc_lib.cli import elsewhere, verdicts
from lmc_lib.cli.output import write_json
from lmc_lib.cli.refused import Refused

if TYPE_CHECKING:
    from lmc_lib.cli.verifying import Verified

# Values of a record that are told where they differ.
_SHOWN = 5

_SAME = {
    "digits": "the same",
    "chance": "as chance allows",
    "nothing": "computed; nothing like it is recorded, so that chance has no bounds",
}


def work(options: argparse.Namespace) -> None:
    """Computes what a claim needs and is missing, beside others that do the same; says who computed what.

    Raises:
        Refused: if results are still missing, since some failed, after all others were computed.
    """
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill

    with _stopped_by_schedulers(), elsewhere.asked(options):
        told = running.work(
            options.claim, profile=options.profile, overrides=options.overrides, workers=options.workers
        )
    if options.json:
        write_json({"claim": options.claim, "profile": options.profile} | told)
    else:
        sys.stdout.write("\n".join(_lines(told)) + "\n")
    if failed := len(told["failed"]):
        raise Refused(
            f"{failed + told['untried']} results are still missing, since {failed} failed: see above. "
            f"{_command(options)} stops at the first of them, with its error in results/{options.claim}.ipynb"
        )
    if told["untried"]:  # what failed here, others have computed since
        raise Refused(f"{told['untried']} results are still missing: the same command computes them")


def verify(options: argparse.Namespace) -> None:
    """Computes a random sample of the records anew, from nothing, and compares.

    Raises:
        Refused: if one differs or cannot be computed, after all were compared.
    """
    from lmc_lib.cli import verifying  # noqa: PLC0415 -- loads torch and papermill

    if options.sample < 1:
        raise Refused(f"--sample takes at least one record, got {options.sample}")
    drawn = verifying.sample(verdicts.records_of(options, (options.profile,)), options.sample, options.seed)
    found = []
    for path, keys in drawn.items():
        for each in verifying.verified(path, keys, workers=options.workers):
            found.append(each)
            if not options.json:
                sys.stdout.write("\n".join(_verified(each)) + "\n")
    if options.json:
        write_json([asdict(each) for each in found])
    wrong = sum(bool(each.differences or each.problem) for each in found)
    if wrong:
        raise Refused(
            f"{wrong} of {len(found)} records, drawn with seed {options.seed}, are not what is computed: see above. "
            "Take back what changed, or measure with lmc run CLAIM --profile PROFILE --recompute --records"
        )


def _verified(each: "Verified") -> Iterator[str]:
    """A record in lines: how it was compared, and the first values that differ."""
    name = f"{each.claim} ({each.scale}), {each.spec['type']} {each.key}"
    if each.problem:
        yield f"{name}: not computed: {each.problem}"
    elif each.differences:
        yield f"{name}: {len(each.differences)} values differ, by {each.by}; its spec is {json.dumps(each.spec)}"
        yield from (f"  {difference}" for difference in each.differences[:_SHOWN])
    else:
        yield f"{name}: {_SAME[each.by]}"


def _lines(told: dict[str, Any]) -> Iterator[str]:
    if not told["missing"]:
        yield "nothing is missing"
        return
    yield f"{told['missing']} results were missing: {told['computed']} computed here, {told['others']} by others"
    for each in told["failed"]:
        yield f"failed: {each['label']}, {each['noun']}, {each['fingerprint']}: {each['error']}"
    if told["untried"]:
        yield f"not tried, since they need what failed: {told['untried']}"


def _command(options: argparse.Namespace) -> str:
    given = [word for text in options.overrides for word in ("-p", text)]
    return shlex.join(["lmc", "run", options.claim, "--profile", options.profile, *given, "--workers", "1"])


@contextlib.contextmanager
def _stopped_by_schedulers() -> Iterator[None]:
    """Lets SIGTERM, by which schedulers stop a job, do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
