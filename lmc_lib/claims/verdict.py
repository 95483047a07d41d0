"""Verdicts: a claim's conditions against the intervals of the estimates."""

__all__ = ["VERDICTS", "Judgement", "Report", "conclude", "judge", "judge_parts"]

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmc_lib.claims.interval import Estimate
from lmc_lib.definitions import Claim, Condition

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
INCONCLUSIVE = "inconclusive"
NOT_OBSERVABLE = "not observable at this scale"
MIXED = "mixed"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, NOT_OBSERVABLE, MIXED)

_MIME = "application/vnd.lmc.report+json"


@dataclass(frozen=True)
class Judgement:
    """The verdict in one setting, with the estimate behind each condition.

    Attributes:
        setting: what was tested, in words.
        verdict: one of ``VERDICTS``.
        conditions: the conditions, in the order of the claim, each with its estimate and outcome: ``"met"`` (the whole
            interval clears the bound), ``"failed"`` (the whole interval misses it) or ``"open"``.
    """

    setting: str
    verdict: str
    conditions: tuple[tuple[Condition, Estimate, str], ...]


@dataclass(frozen=True)
class Report:
    """What a notebook concludes: the verdict, the judgements behind it, and the negative control.

    In a notebook it shows as a box; its JSON travels with the notebook for the command line and the dashboard.
    """

    claim: str
    scale: str
    verdict: str
    judgements: tuple[Judgement, ...]
    control: Judgement
    numbers: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready data: verdict, judgements, control and numbers, rounded to six decimals."""
        return {
            "claim": self.claim,
            "scale": self.scale,
            "verdict": self.verdict,
            "settings": [_judgement_json(each) for each in self.judgements],
            "control": _judgement_json(self.control),
            "numbers": {name: round(float(value), 6) for name, value in self.numbers.items()},
        }

    def __str__(self) -> str:
        """The verdict as text, one line a setting."""
        rows = [f"{self.claim} ({self.scale}): {self.verdict}"]
        rows += [_sentence(each) for each in self.judgements]
        return "\n".join([*rows, f"negative control, {_sentence(self.control)}"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        return {"text/plain": str(self), "text/html": _box(self), _MIME: self.as_json()}


def judge(claim: Claim, setting: str, estimates: Mapping[str, Estimate]) -> Judgement:
    """Applies a claim's criterion to the estimates of one setting.

    If a precondition (``claim.observable``) is not met, there is nothing to explain and the claim is not observable.
    Otherwise it is supported if every condition is met, not supported if one failed, and inconclusive in between.

    Raises:
        KeyError: if an estimate that the criterion needs is missing.
    """
    outcomes = [(c, estimates[c.quantity], _outcome(c, estimates[c.quantity])) for c in claim.observable]
    observable = all(outcome == "met" for _, _, outcome in outcomes)
    evidence = [(c, estimates[c.quantity], _outcome(c, estimates[c.quantity])) for c in claim.supported]
    found = {outcome for _, _, outcome in evidence}
    if not observable:
        verdict = NOT_OBSERVABLE
    elif found == {"met"}:
        verdict = SUPPORTED
    else:
        verdict = NOT_SUPPORTED if "failed" in found else INCONCLUSIVE
    return Judgement(setting, verdict, (*outcomes, *evidence))


def judge_parts(claim: Claim, estimates: Mapping[str, Estimate]) -> list[Judgement]:
    """Applies the criterion of each part of a claim; the setting is then the part, by its name and title."""
    return [judge(part, f"{part.id}: {part.title}", estimates) for part in claim.parts]


def conclude(
    claim: Claim, judgements: Sequence[Judgement], control: Judgement, *, scale: str, numbers: Mapping[str, float]
) -> Report:
    """Draws the conclusion from the settings: their common verdict, or "inconclusive" where they differ.

    The parts of a claim are claims of their own, so where their verdicts differ, or those on one of them in several
    networks, the conclusion is "mixed". A negative control that is "supported" shows that the criterion cannot tell, so
    the conclusion is then inconclusive whatever the settings say.
    """
    verdicts = {judgement.verdict for judgement in judgements}
    differing = MIXED if claim.parts else INCONCLUSIVE
    verdict = verdicts.pop() if len(verdicts) == 1 else differing
    if control.verdict == SUPPORTED:
        verdict = INCONCLUSIVE
    return Report(claim.id, scale, verdict, tuple(judgements), control, dict(numbers))


def _outcome(condition: Condition, estimate: Estimate) -> str:
    clears = estimate.low > condition.bound if condition.above else estimate.high < condition.bound
    misses = estimate.high < condition.bound if condition.above else estimate.low > condition.bound
    return "met" if clears else "failed" if misses else "open"


def _sentence(judgement: Judgement) -> str:
    facts = "; ".join(f"{condition.text}: {value} {outcome}" for condition, value, outcome in judgement.conditions)
    return f"{judgement.setting}: {judgement.verdict} ({facts}; {judgement.conditions[0][1].count})"


def _judgement_json(judgement: Judgement) -> dict[str, Any]:
    return {
        "setting": judgement.setting,
        "verdict": judgement.verdict,
        "conditions": [
            {
                "condition": condition.text,
                "quantity": condition.quantity,
                "outcome": outcome,
                "estimate": _estimate_json(value),
            }
            for condition, value, outcome in judgement.conditions
        ],
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    """All that the estimate holds; that it is over pairs is understood."""
    fields = {name: round(each, 6) if isinstance(each, float) else each for name, each in asdict(estimate).items()}
    return {name: each for name, each in fields.items() if name != "size" or each != 2}


def _box(report: Report) -> str:
    """The verdict box of a page; the words carry the meaning, the colour only repeats it."""
    rows = []
    for judgement, role in [*((each, "") for each in report.judgements), (report.control, "Negative control: ")]:
        facts = "".join(
            f"<li>{html.escape(condition.text)}: {value} ({outcome})</li>"
            for condition, value, outcome in judgement.conditions
        )
        rows.append(
            f"<p><strong>{role}{html.escape(judgement.setting)}: {judgement.verdict}</strong>, "
            f"{judgement.conditions[0][1].count}</p><ul>{facts}</ul>"
        )
    kind = report.verdict.split(" at ")[0].replace(" ", "-")
    title = f'<p class="verdict-title">Verdict at {html.escape(report.scale)} scale: {report.verdict}</p>'
    return f'<div class="verdict verdict-{kind}">{title}{"".join(rows)}</div>'


def extract(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Finds the report among a notebook's cell outputs."""
    for output in outputs:
        if _MIME in output.get("data", {}):
            found = output["data"][_MIME]
            return json.loads(found) if isinstance(found, str) else dict(found)
    return None
