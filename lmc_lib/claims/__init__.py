"""A claim, its evidence, and a verdict that was defined before the evidence."""

__all__ = [
    "VERDICTS", "Claim", "Condition", "Estimate", "Judgement", "Report", "conclude", "estimate", "judge", "load",
    "load_all", "rates_of_rule",
]  # fmt: skip

from lmc_lib.claims.claim import Claim, Condition, load, load_all
from lmc_lib.claims.interval import Estimate, estimate
from lmc_lib.claims.simulation import rates_of_rule
from lmc_lib.claims.verdict import VERDICTS, Judgement, Report, conclude, judge
