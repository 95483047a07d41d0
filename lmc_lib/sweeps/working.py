"""Working at a sweep beside others: each takes what nobody else computes, and all that they share is the store.

Nothing is handed out: a process looks into the store for what is missing and tries the lock of each. Where locks do
nothing, two may compute the same; they seldom do, since each goes through what is missing in an order of its own.
"""

__all__ = ["Share", "Worked", "work", "write_shares"]

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmc_lib.store import Busy, Result, Store, StoreError, fingerprint
from lmc_lib.sweeps.plan import needs_among
from lmc_lib.sweeps.spec import Spec, one_thread

# Seconds before a process looks again at what others compute.
_PAUSE = 1.0


class Worked(RuntimeError):
    """Raised when all is computed that can be, where nobody wants to see it."""


@dataclass(frozen=True)
class Share:
    """What one process did of what was missing.

    Attributes:
        computed: the fingerprints of the results that it computed.
        failed: the errors of those that it could not compute, by fingerprint.
    """

    computed: tuple[str, ...]
    failed: dict[str, str]


def work(store: Store, stages: Sequence[Sequence[Spec]]) -> Share:
    """Computes what is missing and no other process computes, until nothing is missing that can be computed.

    A result that fails stops neither the others nor those who compute them; what needs it is left out.

    Args:
        store: where results go.
        stages: what was missing, each stage with all that the later ones need.

    Raises:
        StoreError: if the store cannot be written, so that no other result could be kept either.
    """
    specs = {fingerprint(spec): spec for stage in stages for spec in random.Random().sample(stage, len(stage))}
    needs = needs_among(specs)
    done: dict[str, _Outcome] = {}
    while len(done) < len(specs):
        before = len(done)
        for key in [each for each in specs if each not in done]:
            ready = all(need in done for need in needs[key])
            if ready and (outcome := _attempt(store, specs[key], [done[need] for need in needs[key]])):
                done[key] = outcome
        if len(done) == before:
            time.sleep(_PAUSE)
    computed = tuple(key for key, each in done.items() if each.computed)
    return Share(computed, {key: each.error for key, each in done.items() if each.error is not None})


@dataclass(frozen=True)
class _Outcome:
    """What became of a result: it is there, computed here or by others, or lost by an error of its own or of a need."""

    computed: bool = False
    lost: bool = False
    error: str | None = None


def _attempt(store: Store, spec: Spec, needs: Sequence[_Outcome]) -> _Outcome | None:
    """What becomes of a result, all of whose needs are settled; None if another process is at it."""
    if any(each.lost for each in needs):
        return _Outcome(lost=True)
    try:
        return _Outcome(computed=not store.has(spec) and _compute(store, spec))
    except Busy:
        return None
    except StoreError:
        raise
    except Exception as error:
        return _Outcome(lost=True, error=f"{type(error).__name__}: {error}")


def write_shares(path: Path, store: Store, specs: Sequence[Spec], shares: Sequence[Share]) -> None:
    """Writes what became of results that were missing: how many were computed here and by others, and what is missing.

    What failed in one process and was computed by another is there.

    Args:
        path: the file.
        store: where the results are.
        specs: what was missing.
        shares: what each process here did.
    """
    errors = {key: error for share in shares for key, error in share.failed.items()}
    left = {key: spec for spec in specs if not store.has(spec) for key in [fingerprint(spec)]}
    computed = len({key for share in shares for key in share.computed})
    told = {
        "missing": len(specs),
        "computed": computed,
        "others": len(specs) - len(left) - computed,
        "failed": [
            {"fingerprint": key, "noun": spec.noun, "label": spec.label, "error": errors[key]}
            for key, spec in left.items()
            if key in errors
        ],
        "untried": len(left.keys() - errors.keys()),
    }
    path.write_text(json.dumps(told), encoding="utf-8")


def _compute(store: Store, spec: Spec) -> bool:
    """Computes a result unless somebody does or has done so; says whether it was computed here."""
    made = False

    def compute() -> Result:
        nonlocal made
        made = True
        return spec.compute(store)

    with one_thread():
        store.get_or_compute(spec, compute, wait=False)
    return made
