"""Files of records: the measurements behind a page, kept without the networks, so that the page needs no training."""

__all__ = ["keep", "listed", "refuse_unclean", "shown"]

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmc_lib import records, sweeps
from lmc_lib.cli import tree
from lmc_lib.cli.refused import Refused
from lmc_lib.store import DIRTY, Entry, Store, provenance

_WAYS_OUT = "commit first, or give --allow-dirty if the records are not to be published"


def refuse_unclean() -> None:
    """Refuses to measure for the records with code that no commit holds.

    Raises:
        Refused: if the library or the notebooks differ from the last commit.
    """
    commit = provenance()["commit"]
    if commit.endswith(DIRTY):
        raise Refused(f"lmc_lib/ or notebooks/ differ from commit {commit.removesuffix(DIRTY)}: {_WAYS_OUT}")


def listed(notebook: Path) -> dict[str, str]:
    """The measurements that an executed notebook lists, by fingerprint their factors."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return {key: factors for cell in cells for key, factors in sweeps.listed(cell.get("outputs", [])).items()}


def shown(notebook: Path) -> list[Entry]:
    """The measurements that an executed notebook says it shows, by their fingerprints.

    Raises:
        Refused: if it does not say so, or if one is neither in the store nor in the records.
    """
    keys = sorted(listed(notebook))
    if not keys:
        raise Refused(f"{notebook.name} does not say what it shows: a cell must end with sweeps.origin(store, wanted)")
    store = replace(Store.from_environment(), shipped=tree.shipped(), compute=False)
    entries = [entry for key in keys if (entry := store.find(key, tensors=False)) is not None]
    if len(entries) < len(keys):
        raise Refused(f"{len(keys) - len(entries)} of {len(keys)} measurements have left {store.name} since the run")
    return entries


def keep(notebook: Path, result: Mapping[str, Any], *, allow_dirty: bool = False) -> Path:
    """Writes the measurements that an executed notebook shows to ``records/``, one a line, under its report.

    Args:
        notebook: the executed notebook; its last cell says what it shows.
        result: what ``run`` returned for it.
        allow_dirty: whether measurements may be kept that name a commit and changes to it.

    Returns:
        The file.

    Raises:
        Refused: if measurements were made with uncommitted code; and as for ``shown``.
    """
    entries = shown(notebook)
    if not allow_dirty:
        _refuse_dirty(entries)
    report = {name: value for name, value in result.items() if name != "provenance"}
    path = tree.record_of(result["claim"], result["scale"])
    records.write(path, report, {entry.fingerprint: entry.as_record() for entry in entries})
    return path


def _refuse_dirty(entries: list[Entry]) -> None:
    unclean = [entry for entry in entries if entry.provenance["commit"].endswith(DIRTY)]
    if unclean:
        raise Refused(
            f"{len(unclean)} of {len(entries)} measurements, {unclean[0].fingerprint} first, were made with code that "
            f"no commit holds ({unclean[0].provenance['commit']}): measure them again with --recompute, or give "
            f"--allow-dirty if the records are not to be published"
        )
