"""The command line: ``lmc --help`` shows its commands.

papermill alone accepts misspelt and wrongly typed parameters; here they are refused before anything runs. Modules that
load torch or papermill are imported by the commands that need them, so that the others answer at once.
"""

__all__ = ["Refused", "main"]

from lmc_lib.cli.commands import main
from lmc_lib.cli.refused import Refused
