"""The command line: ``lmc --help`` shows its commands.

papermill alone accepts misspelt and wrongly typed parameters; here they are refused before anything runs. Modules that
load torch or papermill are imported by the commands that need them, so that the others answer at once.
"""

__all__ = ["Refused", "main"]

import sys
from collections.abc import Sequence

from lmc_lib.cli.refused import Refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code, also where Ctrl-C comes while the commands are still loading."""
    try:
        from lmc_lib.cli import commands  # noqa: PLC0415 -- it takes a fifth of a second, in which Ctrl-C may come

        return commands.main(arguments)
    except KeyboardInterrupt as stop:
        import logging  # noqa: PLC0415 -- as above

        # It would tell at length, as Python ends, of the cell that was running.
        logging.getLogger("asyncio").disabled = True
        told = str(stop) or "What is finished is stored: the same command goes on from there"
        sys.stderr.write(f"lmc: stopped. {told}\n")
        return 130
