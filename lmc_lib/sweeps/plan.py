"""The plan of a sweep: what is missing and in which order it is computed, what is stored, and what it will cost."""

__all__ = ["Planned", "needs_among", "renewed", "stages", "write_plan"]

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

from lmc_lib.store import Entry, Store, code_of, describe, fingerprint
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


def needs_among(specs: Mapping[str, Spec]) -> dict[str, list[str]]:
    """Of each of some specs, by fingerprint, which of the others it needs: the graph of ``graphlib``."""
    return {key: [need for each in spec.needs if (need := fingerprint(each)) in specs] for key, spec in specs.items()}


def renewed(store: Store, specs: Sequence[Spec]) -> Store:
    """A store for which counts as missing what other code than the present one made, of some specs and of their needs.

    A result of the present code is renewed too if it needs one of other code. What does not tell its code stays.
    """
    entries, graph = _entries(store, specs)
    stale = {key for key, code in _codes(entries, graph).items() if code == "other"}
    return replace(store, stale_before=time.time(), stale=frozenset(stale)) if stale else store


def write_plan(path: Path, store: Store, specs: Sequence[Spec], missing: Sequence[Spec]) -> None:
    """Writes a list of all results, stored and missing, and with ``LMC_PACE=1`` how long an update takes.

    The time of an update is measured where a training is missing and nothing like it is stored. Of what is stored
    ``code`` says whether the code as it is made it: ``"same"``, ``"other"`` or ``"unknown"``. What is missing can be
    ``running``, computed by some process now, or ``failed``, the file that says why. ``needs`` are fingerprints.
    """
    needed, asked = ({fingerprint(spec) for spec in some} for some in (missing, specs))
    entries, graph = _entries(store, specs)
    codes = _codes(entries, graph)
    timed = {(spec.noun, spec.label) for spec, entry in entries.values() if entry is not None}
    paced = os.environ.get("LMC_PACE", "0") != "0"
    rows = []
    for key, (spec, entry) in entries.items():
        unknown = spec.updates > 0 and key in needed and (spec.noun, spec.label) not in timed
        described = describe(spec)
        running = key in needed and store.is_computed(key)
        failure = store.failure(key) if key in needed and not running else None
        rows.append(
            {
                "fingerprint": key,
                "type": described["type"],
                "noun": spec.noun,
                "label": spec.label,
                "stored": entry is not None,
                "needed": key in needed,
                "asked": key in asked,
                "needs": graph[key],
                "running": running,
                "failed": None if failure is None else str(failure),
                "code": codes.get(key),
                "seconds": None if entry is None else entry.provenance.get("seconds"),
                "finished": None if entry is None else entry.provenance.get("finished"),
                "updates": spec.updates,
                "pace": spec.pace() if paced and unknown else None,
                "spec": described,
            }
        )
    path.write_text(json.dumps(rows), encoding="utf-8")


_Entries = Mapping[str, tuple[Spec, Entry | None]]


def _entries(store: Store, specs: Sequence[Spec]) -> tuple[_Entries, dict[str, list[str]]]:
    """Specs and all that they need with what is stored of them, needs first, and of each what it needs."""
    everything, graph = _needed(specs, lambda _: True)
    in_order = TopologicalSorter(graph).static_order()
    return {key: (everything[key], store.find(key, tensors=False)) for key in in_order}, graph


def _codes(entries: _Entries, graph: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Of what is stored, in the order of needs, whether the code as it is made it and what it needs."""
    found: dict[str, str] = {}
    for key, (spec, entry) in entries.items():
        if entry is None:
            continue
        made, present = entry.provenance.get("code"), code_of(type(spec).__module__)
        if made is None or present is None:
            found[key] = "unknown"
        else:
            is_same = made == present and all(found.get(need) != "other" for need in graph[key])
            found[key] = "same" if is_same else "other"
    return found


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
