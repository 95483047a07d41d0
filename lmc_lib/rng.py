"""Named, stable random streams.

A stream is named by what it is for, not by how many numbers were drawn before it, so a new replica or a new option
never shifts the numbers of another. Names are hashed with sha256: Python's own ``hash`` is salted in every process.
"""

__all__ = ["entropy", "numpy_stream", "stream"]

import hashlib
import json

import numpy as np
import torch


def entropy(seed: int, *path: str | int) -> int:
    """Returns the 63-bit number that seeds the stream ``(seed, *path)``.

    The number is the start of sha256 over the JSON text of the name, hence the same in every process, on every
    machine and in every release of Python. Integers and strings are told apart.

    Example:
        >>> entropy(0, "replica", 3, "order")
        4110152204964630246
        >>> entropy(0, "a", 1) == entropy(0, "a", "1")
        False
    """
    name = json.dumps([seed, *path]).encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def stream(seed: int, *path: str | int) -> torch.Generator:
    """Creates the torch generator of the stream ``(seed, *path)``; the global generator is left alone.

    Example:
        >>> torch.randint(10, (4,), generator=stream(0, "replica", 3, "order"))
        tensor([6, 0, 4, 0])
    """
    return torch.Generator().manual_seed(entropy(seed, *path))


def numpy_stream(seed: int, *path: str | int) -> np.random.Generator:
    """Creates the numpy generator of the stream ``(seed, *path)``, for scipy and the bootstrap."""
    return np.random.default_rng(entropy(seed, *path))
