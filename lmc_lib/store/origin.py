"""Where a result comes from: code, versions and machine, without anything that names a person or a host."""

__all__ = ["DIRTY", "provenance"]

import functools
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Ends the name of a commit if the code that ran was not that of the commit.
DIRTY = "-dirty"

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Describes this process: date, commit, versions, processor features, device and threads."""
    import torch  # noqa: PLC0415 -- who only reads a store need not wait for it

    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


@functools.cache
def _commit() -> str:
    """The commit of the library's source, marked where the library or the notebooks differ from it.

    What stands beside them, such as records that were just written, does not change what is measured.
    """
    folder = Path(__file__).parents[1]
    code = [str(folder), str(folder.parent / "notebooks")]
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # else this is the repository of somebody else
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", *code)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + (DIRTY if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
