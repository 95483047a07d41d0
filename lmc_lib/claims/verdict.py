"""Verdicts: a claim's conditions against the intervals of the estimates."""

__all__ = ["VERDICTS", "Judgement", "Report", "conclude", "exchange", "judge", "judge_parts", "outcome_of"]

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lmc_lib.claims.interval import Estimate
from lmc_lib.claims.simulation import exchanged
from lmc_lib.claims.study import Study
from lmc_lib.definitions import Claim, Condition

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
NOT_SEEN = "not seen at this scale"
INCONCLUSIVE = "inconclusive"
NOT_OBSERVABLE = "not observable at this scale"
MIXED = "mixed"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, NOT_SEEN, INCONCLUSIVE, NOT_OBSERVABLE, MIXED)

_EXCHANGES = 199
# Digits to which statistics of exchanges are told apart: fewer than those in which processors differ.
_FIGURES = 12
_MIME = "application/vnd.lmc.report+json"


@dataclass(frozen=True)
class Judgement:
    """The verdict in one setting, with the estimate behind each condition.

    Attributes:
        claim: the claim, or the part of one, that was judged.
        setting: what was tested, in words.
        verdict: one of ``VERDICTS``.
        conditions: the conditions, in the order of the claim, each with its estimate and outcome: ``"met"`` (the whole
            interval clears the bound), ``"failed"`` (the whole interval misses it) or ``"open"``.
        held: whether it was supported, but for a control that could not say no.
        of: of a control made of a judgement's own numbers, the setting of that judgement.
    """

    claim: Claim
    setting: str
    verdict: str
    conditions: tuple[tuple[Condition, Estimate, str], ...]
    held: bool = False
    of: str = ""

    @property
    def title(self) -> str:
        """Part and setting in words."""
        return ", ".join(each for each in (self.claim.heading, self.setting) if each)

    @property
    def count(self) -> str:
        """The number of independent units, and what they make."""
        return self.conditions[0][1].count(self.claim.unit)


@dataclass(frozen=True)
class Report:
    """What a notebook concludes: the verdict, the judgements behind it, and the negative controls.

    In a notebook it shows as a box; its JSON travels with the notebook for the command line and the first page.
    """

    claim: Claim
    scale: str
    verdict: str
    judgements: tuple[Judgement, ...]
    controls: tuple[Judgement, ...]
    numbers: Mapping[str, float]

    @property
    def scope(self) -> str:
        """How near the paper the study is: ``"exact"``, ``"proxy"`` or ``"toy"``."""
        return self.claim.scope.get(self.scale, "proxy")

    def as_json(self) -> dict[str, Any]:
        """JSON-ready data: verdict, judgements, controls and numbers, with six digits."""
        return {
            "claim": self.claim.id,
            "scale": self.scale,
            "scope": self.scope,
            "unit": self.claim.unit,
            "verdict": self.verdict,
            "settings": [
                self._judged(each) | {"status": each.claim.status(self.scale, each.setting)} for each in self.judgements
            ],
            "controls": [self._judged(each) for each in self.controls],
            "numbers": {name: round(float(value), 6) for name, value in self.numbers.items()},
        }

    def _judged(self, judgement: Judgement) -> dict[str, Any]:
        return {
            "part": judgement.claim.id if judgement.claim.heading else "",
            "setting": judgement.setting,
            "title": judgement.title,
            "verdict": judgement.verdict,
            "held": judgement.held,
            "of": judgement.of,
            "rule": judgement.claim.rule,
            "conditions": [
                {
                    "condition": condition.text,
                    "quantity": condition.quantity,
                    "outcome": outcome,
                    "estimate": _estimate_json(value) | {"count": value.count(judgement.claim.unit)},
                    **_study_json(condition, value),
                }
                for condition, value, outcome in judgement.conditions
            ],
        }

    def __str__(self) -> str:
        """The verdict as text, one line a setting."""
        rows = [f"{self.claim.id} ({self.scale}, {self.scope}): {self.verdict}"]
        rows += [f"{_sentence(each)}; {each.claim.status(self.scale, each.setting)}" for each in self.judgements]
        rows += [f"negative control, {_sentence(each)}" for each in self.controls]
        return "\n".join(rows)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        # As one text: a stored notebook would have a line for each number of each study.
        return {"text/plain": str(self), "text/html": _box(self), _MIME: json.dumps(self.as_json(), sort_keys=True)}


def judge(claim: Claim, setting: str, estimates: Mapping[str, Estimate]) -> Judgement:
    """Applies a claim's criterion to the estimates of one setting.

    If a precondition (``claim.observable``) is not met, there is nothing to explain and the claim is not observable.
    Otherwise it is supported if every condition is met, not supported if one failed, and inconclusive in between.

    Raises:
        KeyError: if an estimate that the criterion needs is missing.
    """
    outcomes = [(c, estimates[c.quantity], outcome_of(c, estimates[c.quantity])) for c in claim.observable]
    observable = all(outcome == "met" for _, _, outcome in outcomes)
    evidence = [(c, estimates[c.quantity], outcome_of(c, estimates[c.quantity])) for c in claim.supported]
    found = {outcome for _, _, outcome in evidence}
    if not observable:
        verdict = NOT_OBSERVABLE
    elif found == {"met"}:
        verdict = SUPPORTED
    else:
        verdict = NOT_SUPPORTED if "failed" in found else INCONCLUSIVE
    return Judgement(claim, setting, verdict, (*outcomes, *evidence))


def judge_parts(claim: Claim, estimates: Mapping[str, Estimate], setting: str = "") -> list[Judgement]:
    """Applies the criterion of each part of a claim to the estimates of one setting."""
    return [judge(part, setting, estimates) for part in claim.parts]


def exchange(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Negative controls: each judgement again, of its own numbers made exchangeable, where its conditions say how.

    What is compared changes places (see :func:`~lmc_lib.claims.simulation.exchanged`), so the claim is false and all
    else is alike. Of many exchanges, drawn from a fixed stream, the typical one is taken, whose statistic is in the
    middle of all, so that it does not matter in which order the units stand. Conditions that no exchange concerns keep
    their estimates. Judgements without any that is exchanged have no control here.
    """
    return [_exchanged(each) for each in judgements if any(c.exchange != "none" for c in each.claim.supported)]


def _exchanged(judgement: Judgement) -> Judgement:
    estimates = {}
    for condition, estimate, _ in judgement.conditions:
        if condition.exchange != "none" and estimate.study is not None:
            estimates[condition.quantity] = _typical(estimate.study, condition).estimate()
        else:
            estimates.setdefault(condition.quantity, estimate)
    setting = ", ".join(each for each in (judgement.setting, "exchanged") if each)
    return replace(judge(judgement.claim, setting, estimates), of=judgement.setting)


def _typical(study: Study, condition: Condition) -> Study:
    generator = np.random.default_rng(0)
    drawn = [exchanged(study, condition.exchange, condition.null, generator) for _ in range(_EXCHANGES)]
    # Of few units there are few exchanges, and opposite ones differ by the last digits alone: the first one counts.
    return sorted(drawn, key=lambda each: float(f"{each.of_all():.{_FIGURES}g}"))[_EXCHANGES // 2]


def conclude(
    claim: Claim,
    judgements: Sequence[Judgement],
    controls: Sequence[Judgement],
    *,
    scale: str,
    numbers: Mapping[str, float],
) -> Report:
    """Draws the conclusion from the settings: their common verdict, or "inconclusive" where they differ.

    The parts of a claim are claims of their own, so where their verdicts differ, or those on one of them in several
    networks, the conclusion is "mixed". A claim is supported only where its negative controls, settings in which it is
    false, are not: where one of them comes out otherwise the study cannot say no, and what it supports is inconclusive.
    Only a study at the scale of the paper says "not supported"; a smaller one says "not seen at this scale".
    """
    unable = [each for each in controls if each.verdict != NOT_SUPPORTED]
    scope = claim.scope.get(scale, "proxy")
    judged = tuple(_worded(each, scope, held=any(_concerns(c, each) for c in unable)) for each in judgements)
    verdicts = {each.verdict for each in judged}
    differing = MIXED if claim.parts else INCONCLUSIVE
    verdict = verdicts.pop() if len(verdicts) == 1 else differing
    return Report(claim, scale, verdict, judged, tuple(controls), dict(numbers))


def _concerns(control: Judgement, judgement: Judgement) -> bool:
    """Whether a control is one of a judgement: of its numbers, or a setting in which its part is false."""
    return control.claim.id == judgement.claim.id and control.of in ("", judgement.setting)


def _worded(judgement: Judgement, scope: str, *, held: bool) -> Judgement:
    if judgement.verdict == SUPPORTED and held:
        return replace(judgement, verdict=INCONCLUSIVE, held=True)
    if judgement.verdict == NOT_SUPPORTED and scope != "exact":
        return replace(judgement, verdict=NOT_SEEN)
    return judgement


def outcome_of(condition: Condition, estimate: Estimate) -> str:
    """Whether a condition is ``"met"`` by an estimate, ``"failed"`` or ``"open"``."""
    clears = estimate.low > condition.bound if condition.above else estimate.high < condition.bound
    misses = estimate.high < condition.bound if condition.above else estimate.low > condition.bound
    return "met" if clears else "failed" if misses else "open"


def _sentence(judgement: Judgement) -> str:
    facts = "; ".join(f"{condition.text}: {value} {outcome}" for condition, value, outcome in judgement.conditions)
    held = "; its control could not say no" if judgement.held else ""
    return f"{judgement.title}: {judgement.verdict} ({facts}; {judgement.count}{held})"


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    """All that the estimate holds but its study; that it is over pairs is understood."""
    fields = asdict(replace(estimate, study=None))
    rounded = {name: round(each, 6) if isinstance(each, float) else each for name, each in fields.items()}
    return {name: each for name, each in rounded.items() if name != "study" and (name != "size" or each != 2)}


def _study_json(condition: Condition, estimate: Estimate) -> dict[str, Any]:
    """The numbers behind an estimate, and the level at which they clear the bound."""
    if estimate.study is None:
        return {}
    p = estimate.study.p(condition.bound, above=condition.above)
    return {"p": float(f"{p:.2g}"), "study": estimate.study.as_json()}


def _box(report: Report) -> str:
    """The verdict box of a page; the words carry the meaning, the colour only repeats it."""
    rows = []
    judged = [(each, "", f", {each.claim.status(report.scale, each.setting)}") for each in report.judgements]
    for judgement, role, status in [*judged, *((each, "Negative control: ", "") for each in report.controls)]:
        facts = "".join(
            f"<li>{html.escape(condition.text)}: {value} ({outcome})</li>"
            for condition, value, outcome in judgement.conditions
        )
        facts += "<li>a negative control did not come out as not supported</li>" if judgement.held else ""
        rows.append(
            f"<p><strong>{role}{html.escape(judgement.title)}: {judgement.verdict}</strong>, "
            f"{judgement.count}{status}</p><ul>{facts}</ul>"
        )
    kind = report.verdict.split(" at ")[0].replace(" ", "-")
    title = (
        f'<p class="verdict-title">Verdict at {html.escape(report.scale)} scale ({report.scope}): {report.verdict}</p>'
    )
    return f'<div class="verdict verdict-{kind}">{title}{"".join(rows)}</div>'


def extract(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Finds the report among a notebook's cell outputs."""
    for output in outputs:
        if _MIME in output.get("data", {}):
            found = output["data"][_MIME]
            return json.loads(found) if isinstance(found, str) else dict(found)
    return None
