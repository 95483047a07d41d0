"""A report made again from the numbers that it holds, by the rule as it stands."""

__all__ = ["judge_again"]

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lmc_lib.claims.interval import Estimate
from lmc_lib.claims.study import Study
from lmc_lib.claims.verdict import Judgement, Report, conclude, judge
from lmc_lib.definitions import Claim


def judge_again(claim: Claim, report: Mapping[str, Any]) -> Report:
    """Judges the studies of a report, as :meth:`~lmc_lib.claims.verdict.Report.as_json` wrote it.

    Args:
        claim: the claim whose report it is.
        report: the report.

    Raises:
        KeyError: if the rule asks for what the report does not hold: it was written under another rule.
    """
    judgements = [_judged(claim, each) for each in report["settings"]]
    controls = [_judged(claim, each) for each in report["controls"]]
    return conclude(claim, judgements, controls, scale=report["scale"], numbers=report["numbers"])


def _judged(claim: Claim, setting: Mapping[str, Any]) -> Judgement:
    estimates = dict(_estimates(setting))
    rule = claim.part(setting["part"]) if setting["part"] else claim
    narrow = claim.control_rule
    if narrow is not None and (narrow.id, narrow.quantities) == (rule.id, set(estimates)):
        rule = narrow
    if missing := rule.quantities - estimates.keys():
        raise KeyError(
            f"the report has no {', '.join(sorted(missing))} of {setting['title']!r}, since the rule of {claim.id} has "
            f"changed: lmc run {claim.id} --profile SCALE --records judges it anew"
        )
    return replace(judge(rule, setting["setting"], estimates), of=setting["of"])


def _estimates(setting: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    for each in setting["conditions"]:
        yield each["quantity"], Study.from_json(each["study"]).estimate()
