"""The command that computes without a page: ``lmc work``.

What runs a notebook loads torch and papermill, so the command imports it when it is called.
"""

__all__ = ["work"]

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any

from lmc_lib.cli.output import write_json
from lmc_lib.cli.refused import Refused


def work(options: argparse.Namespace) -> None:
    """Computes what a claim needs and is missing, beside others that do the same; says who computed what.

    Raises:
        Refused: if results failed, after all others were computed.
    """
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill

    with _stopped_by_schedulers():
        told = running.work(
            options.claim, profile=options.profile, overrides=options.overrides, workers=options.workers
        )
    if options.json:
        write_json({"claim": options.claim, "profile": options.profile} | told)
    else:
        sys.stdout.write("\n".join(_lines(told)) + "\n")
    if told["failed"]:
        raise Refused(
            f"{len(told['failed'])} results failed: see above. {_command(options)} stops at the first of "
            f"them, with its error in results/{options.claim}.ipynb; then the same command goes on from there"
        )


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
