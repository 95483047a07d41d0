"""Files of weights: read without running what they hold, fitted to a network, and written whole or not at all."""

__all__ = ["Weights", "fitted", "non_finite", "read", "working_dtype", "write"]

import pickle
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lmc_lib import files
from lmc_lib.cli.refused import Refused
from lmc_lib.state import State

# Under these names training scripts keep the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

# What DataParallel, torch.compile and Lightning put in front of every name.
_PREFIXES = ("module.", "_orig_mod.", "model.")

# Names told of a list that may be long.
_SHOWN = 3


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        path: the file.
        entries: its tensors by the names of the network, on the CPU, mapped into memory where the format allows it.
        prefix: what stands in front of every name in the file, and not in the network.
        metadata: the text that a safetensors file carries besides.
    """

    path: Path
    entries: State
    prefix: str = ""
    metadata: Mapping[str, str] | None = None

    def has(self, name: str, like: Tensor) -> bool:
        """Whether there is an entry of this name, and of the shape of a tensor."""
        return name in self.entries and self.entries[name].shape == like.shape


def read(path: Path, network: nn.Module) -> Weights:
    """Reads a file of weights: safetensors, or what ``torch.save`` wrote of a ``state_dict``; no code in it is run.

    A wrapper (``state_dict``, ``model_state_dict`` or ``model`` beside other things) is taken off, and so are the
    prefixes of DataParallel, ``torch.compile`` and Lightning where the network does not have them.

    Args:
        path: the file; if its name ends with ``.safetensors`` it is one, else one of ``torch.save``.
        network: the network whose names count.

    Raises:
        Refused: if it is not there, is damaged, or holds other things than weights.
    """
    if not path.is_file():
        raise Refused(f"there is no file {path}: name a file of weights, .safetensors or of torch.save")
    entries, metadata = _safetensors(path) if path.suffix == ".safetensors" else (_pickled(path), None)
    prefix = _prefix(entries, network.state_dict())
    return Weights(path, {name.removeprefix(prefix): value for name, value in entries.items()}, prefix, metadata)


def _safetensors(path: Path) -> tuple[State, Mapping[str, str] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 -- no mapping
    except SafetensorError as error:
        raise Refused(
            f"{path} is damaged, or no safetensors file: {_first_line(error)}. Copy or save it again"
        ) from error


def _pickled(path: Path) -> State:
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch did not write
            # Only the archives that torch.save writes since 2020 can be mapped into memory.
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise Refused(
            f"{path} is refused: it is damaged, or holds more than tensors, such as a whole network, and no code of a "
            "file is run here. Save its state_dict(), with safetensors or torch.save"
        ) from error
    except Exception as error:  # whatever a damaged archive makes of the reader
        raise Refused(f"{path} is damaged or no file of torch.save ({_first_line(error)}): save it again") from error
    return _unwrapped(path, found)


def _unwrapped(path: Path, found: Any) -> State:
    if isinstance(found, dict) and not any(isinstance(value, Tensor) for value in found.values()):
        inside = [name for name in _WRAPPERS if isinstance(found.get(name), dict)]
        if len(inside) != 1:
            raise Refused(
                f"{path} holds {_listed(found)}; weights are looked for under one of {', '.join(_WRAPPERS)}, of which "
                f"it has {_listed(inside) or 'none'}: save the state_dict() alone"
            )
        found = found[inside[0]]
    if not isinstance(found, dict) or not found:
        raise Refused(f"{path} holds no weights but a {type(found).__name__}: save the state_dict() of the network")
    if wrong := [name for name, value in found.items() if not (isinstance(name, str) and isinstance(value, Tensor))]:
        raise Refused(f"{path} holds {_listed(wrong)}, no tensors, among its weights: save it without them")
    return dict(found)


def _prefix(entries: Collection[str], names: Collection[str]) -> str:
    """What is in front of all names of a file and not of all names of the network."""
    prefix = ""
    for each in (*_PREFIXES, *_PREFIXES):  # DataParallel of a compiled network has two
        if all(name.startswith(prefix + each) for name in entries) and not all(name.startswith(each) for name in names):
            prefix += each
    return prefix


def fitted(weights: Weights, network: nn.Module, skip: Collection[str]) -> State:
    """The entries that the network has, all but those that are skipped and that a tie gives.

    Args:
        weights: what a file holds.
        network: the architecture.
        skip: patterns of names, such as ``"num_batches*"`` or ``"fc.*"``; entries of any name that fits one may be
            missing, unknown or of another shape, and are left out.

    Raises:
        Refused: if another entry is missing, unknown, or of another shape; if a weight is complex.
    """
    entries = network.state_dict(keep_vars=True)
    kept = {name: value for name, value in weights.entries.items() if not _skipped(name, skip)}
    for name in entries.keys() - kept.keys():
        # Of weights that stand at two places of a network safetensors keeps one.
        tied = [kept[other] for other in kept if entries.get(other) is entries[name]]
        kept |= {} if _skipped(name, skip) or not tied else {name: tied[0]}
    _check_names(weights, network, kept.keys(), {name for name in entries if not _skipped(name, skip)})
    for name, value in kept.items():
        if value.shape != entries[name].shape:
            raise Refused(
                f"{name} is {_shape(value)} in {weights.path}, but {_shape(entries[name])} in the network: name one "
                f"that fits, with --model and --model-args, or leave it out with --skip {name}"
            )
        if value.is_complex():
            raise Refused(f"{name} is complex in {weights.path}, and complex weights are not matched: --skip {name}")
    return kept


def _skipped(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_names(weights: Weights, network: nn.Module, found: Collection[str], wanted: Collection[str]) -> None:
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    counts = [(missing, "are missing"), (unknown, "are not in the network")]
    if told := " and ".join(f"{len(names)} {what} ({_listed(names)})" for names, what in counts if names):
        raise Refused(
            f"{weights.path} has the weights of another network than {type(network).__name__}: of {len(wanted)} "
            f"entries {told}. Name the one that has them, with --model and --model-args, or use --skip"
        )


def non_finite(state: State) -> Iterator[str]:
    """The entries that hold a NaN or an infinity."""
    return (name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all()))


def working_dtype(*states: State) -> torch.dtype:
    """The precision in which weights are compared and networks run: float32, or float64 where some weight has it."""
    has_doubles = any(value.dtype == torch.float64 for state in states for value in state.values())
    return torch.float64 if has_doubles else torch.float32


def write(path: Path, weights: Weights, moved: State, *, replace: bool) -> None:
    """Writes the weights of a file as safetensors, some of them moved, with its names, dtypes and metadata.

    Args:
        path: the file; its folder exists. A writer that is stopped leaves what was there before.
        weights: what was read.
        moved: the entries that take the place of those that were read, by the names of the network.
        replace: whether to replace a file that stands there.

    Raises:
        FileExistsError: if there is a file already, which is not to be replaced.
    """
    moved = {name: value for name, value in moved.items() if weights.has(name, value)}
    # Those that stayed may share their memory, which the format does not allow.
    stayed = {name: value.clone() for name, value in weights.entries.items() if name not in moved}
    own = {weights.prefix + name: value.contiguous() for name, value in (moved | stayed).items()}
    with files.writing(path, replace=replace) as file:
        save_file(own, file.name, metadata=dict(weights.metadata) if weights.metadata else None)


def _listed(names: Collection[Any]) -> str:
    shown = ", ".join(str(name) for name in list(names)[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
