"""A claim, its evidence, and a verdict that was defined before the evidence."""

__all__ = [
    "FLOOR", "VERDICTS", "Audit", "Claim", "Condition", "Estimate", "Judgement", "Report", "Study", "audit",
    "balanced_sets", "conclude", "deciding", "estimate", "estimate_by_jackknife", "estimate_of_mean",
    "estimate_of_twins", "exchange", "jackknife_of_mean", "judge", "judge_again", "judge_parts", "load", "load_all",
    "mean", "median", "median_ratio", "ratio_of_ratios", "symmetric", "within_correlation",
]  # fmt: skip

from lmc_lib.claims.again import judge_again
from lmc_lib.claims.auditing import Audit, audit
from lmc_lib.claims.decision import deciding
from lmc_lib.claims.design import balanced_sets
from lmc_lib.claims.interval import Estimate
from lmc_lib.claims.statistics import FLOOR, mean, median, median_ratio, ratio_of_ratios, within_correlation
from lmc_lib.claims.study import (
    Study,
    estimate,
    estimate_by_jackknife,
    estimate_of_mean,
    estimate_of_twins,
    jackknife_of_mean,
    symmetric,
)
from lmc_lib.claims.verdict import VERDICTS, Judgement, Report, conclude, exchange, judge, judge_parts
from lmc_lib.definitions import Claim, Condition, load, load_all
