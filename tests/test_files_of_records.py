"""Files of records: one text, compressed, that is read back as it was written or is called damaged."""

import errno
import gzip
import json
import os

import pytest

from lmc_lib import records

REPORT = {"claim": "toy", "scale": "quick", "verdict": "mixed", "title": "grün"}
RECORDS = {
    "ab1": {"spec": {"type": "Pair"}, "values": {"barrier": [0.1, 0.25, 3e-9]}, "provenance": {"commit": "c0"}},
    "9f": {"spec": {"type": "Run"}, "values": {}, "provenance": {"commit": "c1"}},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "records" / "toy-quick.json.gz"
    records.write(path, REPORT, RECORDS)
    return path


def test_are_read_back(path):
    assert records.read(path) == {"report": REPORT, "records": RECORDS}
    assert records.head(path) == REPORT
    assert records.stem(path) == "toy-quick"


def test_hold_the_report_in_the_first_line_and_one_measurement_in_each_other(path):
    text = gzip.decompress(path.read_bytes()).decode()
    first, *lines = text.splitlines()
    assert json.loads(first[:-1] + "}") == {"report": REPORT}
    assert [line.partition(":")[0] for line in lines] == ['"records"', '"ab1"', '"9f"', "}}"]
    assert json.loads(text) == {"report": REPORT, "records": RECORDS}


def test_without_measurements(tmp_path):
    records.write(tmp_path / "a.json.gz", REPORT, {})
    assert records.read(tmp_path / "a.json.gz") == {"report": REPORT, "records": {}}


def test_the_same_content_is_the_same_bytes_whenever_it_is_written(path, tmp_path):
    """A time in the header would make a change of each second run."""
    assert int.from_bytes(path.read_bytes()[4:8], "little") == 0


def test_what_another_compressor_wrote_stays_if_it_says_the_same(path):
    other = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=7)
    path.write_bytes(other)
    records.write(path, REPORT, RECORDS)
    assert path.read_bytes() == other
    records.write(path, REPORT | {"verdict": "supported"}, RECORDS)
    assert records.head(path)["verdict"] == "supported"


def test_a_full_disk_leaves_the_former_file(path, monkeypatch):
    former = path.read_bytes()

    def flush(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(OSError, match="No space left"):
        records.write(path, REPORT | {"verdict": "supported"}, RECORDS)
    assert path.read_bytes() == former
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_written_anew(path):
    path.write_bytes(b"not at all")
    records.write(path, REPORT, RECORDS)
    assert records.read(path)["records"] == RECORDS


@pytest.mark.parametrize("at", [12, 60, -40, -6])
def test_a_changed_byte_is_told(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0b10110
    path.write_bytes(content)
    with pytest.raises(records.Damaged, match=r"toy-quick\.json\.gz is no file of records"):
        records.read(path)


@pytest.mark.parametrize("kept", [0, 5, 30, -1, -9])
def test_a_cut_file_is_told(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(records.Damaged):
        records.read(path)


@pytest.mark.parametrize(
    "text", ["", "[" * 9999, "[]", "{}", '{"report": {}}', '{"records": {}}', '{"report": 1,\n"records": 2}']
)
def test_another_file_is_told(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(records.Damaged):
        records.read(path)


def test_a_file_that_is_not_there_is_no_damage(tmp_path):
    for read in (records.read, records.head):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.json.gz")
