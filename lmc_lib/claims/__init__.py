"""A claim, its evidence, and a verdict that was defined before the evidence."""

__all__ = [
    "FLOOR", "VERDICTS", "Claim", "Condition", "Estimate", "Judgement", "Report", "conclude", "estimate",
    "estimate_by_jackknife", "estimate_of_twins", "highest_ratio", "judge", "judge_parts", "load", "load_all", "mean",
    "median", "median_ratio", "rank_correlation", "rates_of_rule", "within_correlation",
]  # fmt: skip

from lmc_lib.claims.interval import Estimate, estimate, estimate_by_jackknife, estimate_of_twins
from lmc_lib.claims.simulation import rates_of_rule
from lmc_lib.claims.statistics import (
    FLOOR,
    highest_ratio,
    mean,
    median,
    median_ratio,
    rank_correlation,
    within_correlation,
)
from lmc_lib.claims.verdict import VERDICTS, Judgement, Report, conclude, judge, judge_parts
from lmc_lib.definitions import Claim, Condition, load, load_all
