"""The commands that look after the store: ``lmc store check``, ``prune``, ``export`` and ``import``.

The store loads torch, so each command imports it when it is called.
"""

__all__ = ["check", "export", "prune", "take"]

import argparse
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lmc_lib.cli import tree
from lmc_lib.cli.output import size, write_json
from lmc_lib.cli.refused import Refused
from lmc_lib.definitions import load_all

if TYPE_CHECKING:
    from lmc_lib.store import Store


def check(options: argparse.Namespace) -> None:
    """Reads every entry to its end; says which are damaged, and sets them aside.

    Raises:
        Refused: if there is no store, or if an entry is damaged, after all of them were read.
        OSError: if it cannot be listed.
    """
    from lmc_lib.store import StoreError  # noqa: PLC0415 -- loads torch

    store = _present()
    keys, damaged = store.keys(), []
    count = len(keys)
    for key in keys:
        if (damage := store.damage(key)) is None:
            continue
        try:
            places = list(map(str, store.set_aside(key)))
        except StoreError:  # it is told by where it is
            places = []
        damaged.append({"fingerprint": key, "damage": damage, "set_aside": places})
        if not options.json:
            sys.stdout.write(f"{key}: {damage}; {', '.join(places) or 'it stays where it is'}\n")
    if options.json:
        write_json({"store": store.name, "entries": count, "damaged": damaged})
    if damaged:
        raise Refused(
            f"{len(damaged)} of {count} entries in {store.name} are damaged: see above. Those that are set aside are "
            "computed anew by the run that needs them; where one stays, mend who may read and write there"
        )
    if not options.json:
        sys.stdout.write(f"{count} entries in {store.name}, all sound\n")


def prune(options: argparse.Namespace) -> None:
    """Says what of the store no profile of any claim and no guide asks for, and with ``--delete`` removes it.

    Raises:
        Refused: if there is no store.
        OSError: if it cannot be listed, or if something cannot be removed.
    """
    from tqdm import tqdm  # noqa: PLC0415 -- only here

    from lmc_lib import store as stores  # noqa: PLC0415 -- loads torch
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill

    store = _present()
    stores.waste(store, ())  # a store that cannot be listed is told before any notebook runs
    plans = [partial(running.plan, claim, profile=profile) for claim in load_all() for profile in tree.PROFILES]
    plans += [partial(running.plan_of_guide, guide) for guide in sorted(tree.NOTEBOOKS.glob("guides/*.ipynb"))]
    bar = tqdm(plans, desc="asking notebooks", disable=None, file=sys.stderr)
    wanted = {row["fingerprint"] for plan in bar for row in plan()}
    found = stores.waste(store, wanted)
    if options.delete:
        found = stores.remove(found)
    total = sum(each.bytes for each in found)
    kinds = Counter(each.kind for each in found)
    taken = {kind: sum(each.bytes for each in found if each.kind == kind) for kind in kinds}
    if options.json:
        rows = [{"kind": kind, "count": kinds[kind], "bytes": taken[kind]} for kind in kinds]
        write_json({"store": store.name, "kinds": rows, "bytes": total, "deleted": options.delete})
        return
    for kind, count in kinds.items():
        sys.stdout.write(f"{_PLURALS[kind]:<36} {count:>6} {size(taken[kind]):>10}\n")
    done = "is removed" if options.delete else "can go: give --delete to remove it"
    sys.stdout.write(f"{size(total)} in {store.name} {done}\n" if found else f"nothing in {store.name} can go\n")


def _present() -> "Store":
    from lmc_lib.store import Store  # noqa: PLC0415 -- loads torch

    store = Store.from_environment()
    if not store.bucket and not store.root.is_dir():
        what = "is no folder" if store.root.exists() else "is not there"
        raise Refused(f"the store {store.root} {what}: set LMC_STORE to the folder that is meant")
    return store


_PLURALS = {
    "entry": "entries that no page asks for",
    "left behind": "left by writers that were stopped",
    "set aside": "set aside, since they are damaged",
    "lock": "locks of entries that are not there",
}


def export(options: argparse.Namespace) -> None:
    """Writes what is stored of a claim's results to one file.

    Raises:
        Refused: if nothing sound is stored of them, or if the file cannot stand where it is to stand.
    """
    from lmc_lib.cli import running  # noqa: PLC0415 -- loads torch and papermill
    from lmc_lib.store import Store, write_archive  # noqa: PLC0415 -- loads torch

    path: Path = options.file
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for {path.name}: make it, or name another one")
    if path.exists() and not path.is_file():
        raise Refused(f"{path} is a folder or a device: name a file, such as {options.claim}.tar")
    store = replace(Store.from_environment(), shipped=())  # records lack tensors: they are no entries of a store
    keys = [
        row["fingerprint"] for row in running.plan(options.claim, profile=options.profile, overrides=options.overrides)
    ]
    if all(store.find(key) is None for key in keys):
        damaged = sum(store.damage(key) is not None for key in keys)
        told = f" ({damaged} damaged)" if damaged else ""
        raise Refused(
            f"{store.name} holds none of the {len(keys)} results of {options.claim} at the {options.profile} scale"
            f"{told}: compute them with lmc run {options.claim} --profile {options.profile} --recompute"
        )
    written = write_archive(path, (entry for key in keys if (entry := store.find(key)) is not None))
    left = set(keys) - set(written)
    damaged = sum(store.damage(key) is not None for key in left)
    missing, taken = len(left) - damaged, path.stat().st_size
    if options.json:
        counts = {"entries": len(written), "missing": missing, "damaged": damaged}
        write_json({"file": str(path)} | counts | {"bytes": taken})
        return
    others = f"; {missing} not in {store.name}" if missing else ""
    others += f"; {damaged} damaged, as lmc store check tells" if damaged else ""
    sys.stdout.write(f"{len(written)} of {len(keys)} results in {path}, {size(taken)}{others}\n")


def take(options: argparse.Namespace) -> None:
    """Takes the results in a file into the store, after all of them were checked; what is stored and sound stays.

    Raises:
        Refused: if the file is none, is no archive of results, or was cut or altered; then nothing is taken.
    """
    from lmc_lib.store import BadArchive, Store, read_archive  # noqa: PLC0415 -- loads torch

    if not options.file.is_file():
        raise Refused(f"there is no file {options.file}: name one that lmc store export wrote")
    store = Store.from_environment()
    try:
        count = sum(1 for _ in read_archive(options.file))
        taken = sum(store.add(entry) for entry in read_archive(options.file))
    except BadArchive as error:
        raise Refused(f"{error}. Nothing was taken from it: copy or export it again") from error
    if options.json:
        write_json({"store": store.name, "entries": count, "taken": taken})
    else:
        sys.stdout.write(f"{taken} of {count} results are new in {store.name}; the others were there\n")
