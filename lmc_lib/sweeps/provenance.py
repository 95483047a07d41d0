"""Where the measurements of a page come from."""

__all__ = ["Origin", "listed", "maker", "origin"]

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from lmc_lib.store import Store, fingerprint, provenance
from lmc_lib.sweeps.spec import Spec

_MIME = "application/vnd.lmc.measurements+json"
_MAKER = "application/vnd.lmc.provenance+json"


@dataclass(frozen=True)
class Origin:
    """Facts about the measurements and about the process that shows them, as a table.

    The fingerprints of the measurements travel with the notebook, so that the book can offer their numbers as a file.

    Attributes:
        rows: the facts, each with its name.
        measurements: by the fingerprint of a measurement its factors.
        maker: the provenance of the process that shows them.
    """

    rows: tuple[tuple[str, str], ...]
    measurements: Mapping[str, str] = field(default_factory=dict)
    maker: Mapping[str, Any] = field(default_factory=dict)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        del include, exclude
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.rows)
        table = f'<table class="provenance">{cells}</table>'
        return {"text/plain": str(self), "text/html": table, _MIME: dict(self.measurements), _MAKER: dict(self.maker)}

    def __str__(self) -> str:
        """One line a fact."""
        return "\n".join(f"{name}: {value}" for name, value in self.rows)


def origin(store: Store, specs: Sequence[Spec]) -> Origin:
    """Summarises the provenance of stored measurements: how many, when, with which code, on which machines.

    Args:
        store: the store that holds them.
        specs: what was measured; missing ones are left out.
    """
    stored = [(spec, entry) for spec in specs if (entry := store.find(fingerprint(spec), tensors=False)) is not None]
    found = [entry.provenance for _, entry in stored]
    here = provenance()
    created = sorted(each["created"] for each in found)
    rows = [
        ("measurements", str(len(found))),
        ("made", f"{created[0]} to {created[-1]}" if created else "never"),
        ("commit of the code", _most(found, "commit")),
        ("processor", _most(found, "machine")),
        ("device", _most(found, "device")),
        ("versions", ", ".join(f"{name} {number}" for name, number in here["versions"].items())),
        ("measuring time", f"{sum(each['seconds'] for each in found):.0f} s, training not counted"),
        ("page made", f"{here['created']} at commit {here['commit']}"),
    ]
    return Origin(tuple(rows), {entry.fingerprint: spec.factors for spec, entry in stored}, here)


def listed(outputs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The measurements that an ``Origin`` among a notebook's outputs carries, by fingerprint their factors."""
    found = [output["data"][_MIME] for output in outputs if _MIME in output.get("data", {})]
    return {key: factors for bundle in found for key, factors in bundle.items()}


def maker(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The provenance of the process that ran a notebook, as an ``Origin`` among its outputs tells it."""
    return next((dict(output["data"][_MAKER]) for output in outputs if _MAKER in output.get("data", {})), None)


def _most(found: Sequence[dict[str, Any]], name: str) -> str:
    return "; ".join(f"{value} ({count})" for value, count in Counter(each[name] for each in found).most_common())
