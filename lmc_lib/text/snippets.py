"""Snippets of movie reviews with the mean of twenty people's ratings, from the first release of VADER.

Hutto and Gilbert (2014) had 10,605 sentences from rotten.tomatoes.com rated between -4 and 4. The file travels inside
the source package of vaderSentiment 0.5 on PyPI, under the MIT licence.
"""

__all__ = ["ARCHIVE", "VERSION", "Snippets", "read_snippets"]

import hashlib
import io
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lmc_lib import files

VERSION = "0.5"
ARCHIVE = f"vaderSentiment-{VERSION}.zip"

_URL = (
    "https://files.pythonhosted.org/packages/ab/3c/8c63fad2e90fb7f60fb2a15d91edcef2659ba5fe18b728a59087f7a412e0/"
    + ARCHIVE
)
_SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
_INNER = f"vaderSentiment-{VERSION}/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


@dataclass(frozen=True)
class Snippets:
    """Sentences and their mean ratings, from -4 (very negative) to 4, in the order of the file."""

    sentences: tuple[str, ...]
    ratings: tuple[float, ...]


def read_snippets(folder: Path) -> Snippets:
    """Reads the snippets from the archive in a folder, which is downloaded if it is not there.

    Raises:
        OSError: if the download fails, or if the archive is not the published one.
    """
    path = folder / ARCHIVE
    content = path.read_bytes() if path.exists() else _download()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise OSError(f"{path if path.exists() else _URL} is not the published archive: its checksum differs")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        files.write(path, content)
    return parse(_unpack(content))


def parse(text: str) -> Snippets:
    """Reads lines of number, rating and sentence, parted by tabs."""
    rows = [line.split("\t") for line in text.splitlines() if line]
    return Snippets(tuple(row[2] for row in rows), tuple(float(row[1]) for row in rows))


def _download() -> bytes:
    with urllib.request.urlopen(_URL, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def _unpack(archive: bytes) -> str:
    inner = zipfile.ZipFile(io.BytesIO(archive)).read(_INNER)
    with tarfile.open(fileobj=io.BytesIO(inner)) as file:
        found = file.extractfile(_FILE)
        assert found is not None  # it is a plain file
        return found.read().decode("utf-8")
