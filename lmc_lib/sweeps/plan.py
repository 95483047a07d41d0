"""The plan of a sweep: what is missing and in which order it is computed, what is stored, and what it will cost."""

__all__ = ["Planned", "stages", "write_plan"]

import json
import os
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from lmc_lib.store import Store, describe, fingerprint
from lmc_lib.sweeps.spec import Spec


class Planned(RuntimeError):
    """Raised instead of computing when only the plan of a sweep was asked for."""


def stages(store: Store, specs: Sequence[Spec]) -> list[list[Spec]]:
    """What is missing, each stage with all that the later ones need.

    What is stored needs nothing: measurements can be shipped without the networks behind them.
    """
    missing, graph = _needed(specs, lambda spec: not store.has(spec))
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    found = []
    while keys := set(sorter.get_ready()):
        found.append([missing[key] for key in missing if key in keys])
        sorter.done(*keys)
    return found


def write_plan(path: Path, store: Store, specs: Sequence[Spec], missing: Sequence[Spec]) -> None:
    """Writes a list of all results, stored and missing, and with ``LMC_PACE=1`` how long an update takes.

    The time of an update is measured where a training is missing and nothing like it is stored.
    """
    needed, asked = ({fingerprint(spec) for spec in some} for some in (missing, specs))
    everything, graph = _needed(specs, lambda _: True)
    in_order = TopologicalSorter(graph).static_order()
    entries = {key: (everything[key], store.find(key, tensors=False)) for key in in_order}
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


def _needed(specs: Sequence[Spec], counts: Callable[[Spec], bool]) -> tuple[dict[str, Spec], dict[str, list[str]]]:
    """Specs and all that they need, by fingerprint, and of each the fingerprints of what it needs.

    Args:
        specs: what is asked for.
        counts: whether a spec counts; one that does not is left out, and what it alone needs.
    """
    found: dict[str, Spec] = {}
    graph: dict[str, list[str]] = {}
    seen: set[str] = set()
    waiting = list(specs)
    for spec in waiting:
        if (key := fingerprint(spec)) in seen:
            continue
        seen.add(key)
        if counts(spec):
            found[key] = spec
            graph[key] = [fingerprint(each) for each in spec.needs]
            waiting += spec.needs
    return found, {key: [each for each in needs if each in found] for key, needs in graph.items()}
