"""Filling the store: results that say what defines them and what they need, computed once, in the right order."""

__all__ = ["Origin", "Planned", "Spec", "fill", "listed", "maker", "obtain", "origin"]

from lmc_lib.sweeps.filling import fill
from lmc_lib.sweeps.plan import Planned
from lmc_lib.sweeps.provenance import Origin, listed, maker, origin
from lmc_lib.sweeps.spec import Spec, obtain
