"""Claims as they stand in ``notebooks/<claim>.yml``: whatever belongs to a claim, in one file of its own.

Loads neither torch nor numpy, so that a list of all claims takes no time.
"""

__all__ = [
    "CHAPTERS", "FOLDER", "Claim", "Condition", "Definition", "DefinitionError", "Limit", "deviations", "limits",
    "load", "load_all", "profile", "read_all",
]  # fmt: skip

from lmc_lib.definitions.claim import Claim, Condition
from lmc_lib.definitions.definition import (
    FOLDER,
    Definition,
    deviations,
    limits,
    load,
    load_all,
    profile,
    read_all,
)
from lmc_lib.definitions.document import CHAPTERS, DefinitionError
from lmc_lib.definitions.limit import Limit
