"""Entries and shipped records that are cut, altered, swapped, linked or replaced by a folder."""

__all__ = ["rows"]

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from faulty import toy
from faulty.counted import Counted
from lmc_lib import records
from lmc_lib.store import Store, StoreError, fingerprint
from lmc_lib.sweeps import fill, obtain

_STEP, _OTHER = toy.WANTED[2], toy.WANTED[7]

# Of what is altered in many places, one in so many is computed anew.
_REPAIRED = 40


def rows(folder: Path, seed: int) -> Iterator[Counted]:
    """The rows of this part.

    Args:
        folder: where stores go.
        seed: of all that is drawn.
    """
    here = _Damage(folder, random.Random(seed))
    yield here.entries("an entry cut at every KiB, and at each byte of its end", here.cuts(here.sound))
    head = here.sound.index(b"\n") + 1
    yield here.entries("a bit of an entry's description flipped", here.flips(here.sound, range(head), 5_000))
    tensors = range(head, len(here.sound))
    yield here.entries("a bit of an entry's tensors flipped", here.flips(here.sound, tensors, 4_000))
    yield here.records("records cut at every KiB, and at each byte of their ends", here.cuts(here.shipped))
    everywhere = range(len(here.shipped))
    yield here.records("a bit of shipped records flipped", here.flips(here.shipped, everywhere, 4_000))
    yield here.ships()
    for fault, do in here.replacements().items():
        yield here.replaced(fault, do)


class _Damage:
    def __init__(self, folder: Path, drawn: random.Random) -> None:
        self.folder, self.drawn = folder, drawn
        self.expected = toy.undisturbed()
        self.store = Store(folder / "store")
        fill(self.store, toy.WANTED, workers=1)
        self.key = fingerprint(_STEP)
        self.place, self.other = (self._place(each) for each in (_STEP, _OTHER))
        self.sound = self.place.read_bytes()
        self.records_file = folder / "toy-quick.json.gz"
        found = {key: self.store.find(key).as_record() for key in self.store.keys()}  # noqa: SIM118
        records.write(self.records_file, {"claim": "toy"}, found)
        self.shipped = self.records_file.read_bytes()
        self.values = found[self.key]["values"]

    def _place(self, step: toy.Step) -> Path:
        key = fingerprint(step)
        return self.store.root / "runs" / key[:2] / f"{key}.entry"

    def cuts(self, content: bytes) -> Iterator[bytes]:
        """The content without its end, cut at every KiB and at each of the last bytes."""
        for size in sorted({*range(0, len(content), 1024), *range(len(content) - 64, len(content))}):
            yield content[:size]

    def flips(self, content: bytes, where: range, number: int) -> Iterator[bytes]:
        """The content with one bit that is another one."""
        for _ in range(number):
            altered = bytearray(content)
            altered[self.drawn.choice(where)] ^= 1 << self.drawn.randrange(8)
            yield bytes(altered)

    def entries(self, fault: str, damaged: Iterator[bytes]) -> Counted:
        """Rounds of an entry with other bytes: asked for, and now and then computed anew."""
        row = Counted("damage", fault)
        for content in damaged:
            row.rounds += 1
            self.place.write_bytes(content)
            entry = self.store.find(self.key)
            if entry is not None:
                same = toy.content(entry) == self.expected[self.key]
                row.harmless += same
                row.wrong += not same
            else:
                row.untold += self.store.damage(self.key) is None
                if row.rounds % _REPAIRED == 1:
                    self._repair(row, content)
        self.place.write_bytes(self.sound)
        return row

    def _repair(self, row: Counted, content: bytes | None) -> None:
        """Computes what is damaged anew: what was there is set aside, and all else stays."""
        aside = self.store.root / "set-aside"
        entry = obtain(self.store, _STEP)
        row.wrong += toy.content(entry) != self.expected[self.key]
        row.unequal += toy.contents(self.store) != self.expected
        kept = [path.read_bytes() for path in aside.iterdir()] if content is not None else []
        row.lost += content is not None and kept != [content]
        shutil.rmtree(aside, ignore_errors=True)

    def records(self, fault: str, damaged: Iterator[bytes]) -> Counted:
        """Rounds of a file of records with other bytes, of which an empty store asks for one."""
        row = Counted("damage", fault)
        for content in damaged:
            row.rounds += 1
            path = self.folder / f"{row.rounds}.json.gz"  # what is read once is not read again
            path.write_bytes(content)
            self._ask(row, path)
            path.unlink()
        return row

    def _ask(self, row: Counted, path: Path) -> None:
        try:
            entry = Store(self.folder / "empty", shipped=(path,), compute=False).get(_STEP)
        except StoreError as error:
            row.untold += str(path) not in str(error)
        else:
            same = entry is not None and entry.values == self.values
            row.harmless += same
            row.wrong += not same

    def ships(self) -> Counted:
        """Records whose text is altered and packed again, so that the checksum of the packing holds."""
        row = Counted("damage", "a record under the fingerprint of another")
        held = records.read(self.records_file)["records"]
        for key in held:
            if key == self.key:
                continue
            row.rounds += 1
            path = self.folder / f"swapped-{row.rounds}.json.gz"
            records.write(path, {"claim": "toy"}, held | {self.key: held[key]})
            self._ask(row, path)
            path.unlink()
        return row

    def replaced(self, fault: str, do: Callable[[], None]) -> Counted:
        """Rounds of something else in the place of an entry: never served, told, and computed anew."""
        row = Counted("damage", fault)
        outside = self.folder / "outside"
        for _ in range(20):
            row.rounds += 1
            outside.mkdir()
            (outside / "kept").write_bytes(b"kept")
            self.place.unlink()
            do()
            entry = self.store.find(self.key)
            row.wrong += entry is not None
            row.untold += self.store.damage(self.key) is None
            self._repair(row, None)
            row.unequal += self.other.read_bytes() != self._other_bytes
            row.lost += [path.read_bytes() for path in outside.glob("kept")] != [b"kept"]
            shutil.rmtree(outside)
            self.place.unlink()
            self.place.write_bytes(self.sound)
        return row

    def replacements(self) -> dict[str, Callable[[], None]]:
        self._other_bytes = self.other.read_bytes()
        place, outside = self.place, self.folder / "outside"
        return {
            "the entry of another result in its place": lambda: shutil.copy(self.other, place),
            "a link out of the store, to a file that is no entry": lambda: place.symlink_to(outside / "kept"),
            "a link to the entry of another result": lambda: place.symlink_to(self.other),
            "a link to nothing": lambda: place.symlink_to(outside / "none"),
            "a link to itself": lambda: place.symlink_to(place),
            "a link to a folder out of the store": lambda: place.symlink_to(outside),
            "a folder in the place of a file": lambda: shutil.copytree(outside, place),
            "a pipe in the place of a file": lambda: os.mkfifo(place),
        }
