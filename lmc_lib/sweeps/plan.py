"""The plan of a sweep: what is missing and in which order it is computed, what is stored, and what it will cost."""

__all__ = ["Planned", "stages", "write_plan"]

import json
import os
from collections.abc import Sequence
from pathlib import Path

from lmc_lib.store import Store, describe, fingerprint
from lmc_lib.sweeps.spec import Spec


class Planned(RuntimeError):
    """Raised instead of computing when only the plan of a sweep was asked for."""


def stages(store: Store, specs: Sequence[Spec]) -> list[list[Spec]]:
    """What is missing, each stage with all that the later ones need.

    What is stored needs nothing: measurements can be shipped without the networks behind them.
    """
    missing: dict[str, Spec] = {}
    waiting = list(specs)
    for spec in waiting:
        if (key := fingerprint(spec)) not in missing and not store.has(spec):
            missing[key] = spec
            waiting += spec.needs
    depths = {key: _depth(spec) for key, spec in missing.items()}
    return [[missing[key] for key in missing if depths[key] == depth] for depth in sorted(set(depths.values()))]


def write_plan(path: Path, store: Store, specs: Sequence[Spec], missing: Sequence[Spec]) -> None:
    """Writes a list of all results, stored and missing, and with ``LMC_PACE=1`` how long an update takes.

    The time of an update is measured where a training is missing and nothing like it is stored.
    """
    needed, asked = ({fingerprint(spec) for spec in some} for some in (missing, specs))
    entries = {key: (spec, store.get(spec)) for key, spec in _everything(specs).items()}
    timed = {(spec.noun, spec.label) for spec, entry in entries.values() if entry is not None}
    paced = os.environ.get("LMC_PACE", "0") != "0"
    rows = []
    for key, (spec, entry) in entries.items():
        unknown = spec.updates > 0 and key in needed and (spec.noun, spec.label) not in timed
        described = describe(spec)
        rows.append(
            {
                "fingerprint": key,
                "type": described["type"],
                "noun": spec.noun,
                "label": spec.label,
                "stored": entry is not None,
                "needed": key in needed,
                "asked": key in asked,
                "seconds": None if entry is None else entry.provenance.get("seconds"),
                "updates": spec.updates,
                "pace": spec.pace() if paced and unknown else None,
                "spec": described,
            }
        )
    path.write_text(json.dumps(rows), encoding="utf-8")


def _depth(spec: Spec) -> int:
    return max((1 + _depth(each) for each in spec.needs), default=0)


def _everything(specs: Sequence[Spec]) -> dict[str, Spec]:
    """Specs and all that they need, by fingerprint; what is needed stands first."""
    found: dict[str, Spec] = {}
    for spec in specs:
        found |= _everything(spec.needs)
    return found | {fingerprint(spec): spec for spec in specs}
