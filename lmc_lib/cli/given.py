"""What a command on files of weights is given besides them: the network, an example, examples with labels, a device."""

__all__ = ["device", "examples", "inputs_like", "network", "outputs", "run"]

import difflib
import importlib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lmc_lib import rng
from lmc_lib.cli.refused import Refused
from lmc_lib.data import Split
from lmc_lib.state import State, forget_, given

# One tensor, or tensors by the names of arguments.
Inputs = Tensor | dict[str, Tensor]


def network(reference: str, arguments: str | None) -> nn.Module:
    """Makes the network that ``package.module:factory`` names, in evaluation mode.

    The module is looked for in the current folder too. What it prints is its own matter.

    Args:
        reference: the module and what in it is called.
        arguments: JSON: an object of keyword arguments or a list of positional ones; None for none.

    Raises:
        Refused: if there is no such thing, if it fails, or if what it returns is no network.
    """
    args, kwargs = _arguments(arguments)
    with torch.random.fork_rng(devices=[]):  # the random weights that it draws are not used
        made = _made(reference, _factory(reference), args, kwargs)
    if not isinstance(made, nn.Module):
        raise Refused(f"{reference} returned a {type(made).__name__}: name what returns a torch.nn.Module")
    return made.eval()


def _made(reference: str, factory: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise Refused(
            f"{reference} failed: {_told(error)}. It is called with {kwargs or args or 'nothing'}, as --model-args says"
        ) from error


def _factory(reference: str) -> Any:
    module_name, _, path = reference.partition(":")
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", reference):
        raise Refused(f"--model is package.module:factory, such as torchvision.models:resnet18; got {reference!r}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        wanted = error.name or module_name
        whose = "" if f"{module_name}.".startswith(f"{wanted}.") else f", which {module_name} imports"
        raise Refused(
            f"there is no module {wanted}{whose}: install it, or run lmc in the folder that has it"
        ) from error
    except (Exception, SystemExit) as error:
        raise Refused(f"{module_name} cannot be imported: {_told(error)}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, [each for each in dir(found) if not each.startswith("_")], n=3)
            raise Refused(f"{module_name} has no {path}" + (f": did you mean {' or '.join(near)}?" if near else ""))
        found = getattr(found, name)
    if not callable(found) or isinstance(found, nn.Module):
        raise Refused(f"{reference} is a {type(found).__name__}: name a function or class that makes the network")
    return found


def _arguments(text: str | None) -> tuple[list[Any], dict[str, Any]]:
    try:
        value = json.loads(text) if text is not None else {}
    except json.JSONDecodeError as error:
        raise Refused(f"--model-args is JSON, such as '{{\"num_classes\": 10}}'; got {text}: {error}") from error
    if not isinstance(value, dict | list):
        raise Refused(f"--model-args is a JSON object of keyword arguments, or a list of positional ones; got {text}")
    return ([], value) if isinstance(value, dict) else (value, {})


def inputs_like(text: str) -> Inputs:
    """The inputs that ``--example`` names: normal random numbers of a shape, or what a file holds.

    Args:
        text: a shape such as ``1,3,224,224``, whose first number counts the examples; or a file: ``.npy``, or
            ``.safetensors`` with one tensor, or with one for each argument of the network, by its name.

    Raises:
        Refused: if it is neither, or the file is damaged.
    """
    if re.fullmatch(r"\d+(,\d+)*,?", text):
        shape = [int(each) for each in text.rstrip(",").split(",")]
        if 0 in shape:
            raise Refused(f"--example {text} has no numbers: each side of the shape is at least 1")
        return torch.randn(shape, generator=rng.stream(0, "example"))
    path = Path(text)
    if path.suffix not in (".npy", ".safetensors"):
        raise Refused(f"--example is a shape such as 1,3,224,224, or a file .npy or .safetensors; got {text}")
    arrays = _arrays(path)
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def examples(path: Path) -> Split:
    """The examples in a file ``.npz`` or ``.safetensors`` that has ``inputs``, one row an example, and ``labels``.

    Raises:
        Refused: if it is not there or damaged, or if inputs and labels are not such.
    """
    if path.suffix not in (".npz", ".safetensors"):
        raise Refused(f"--data is a file .npz or .safetensors with inputs and labels; got {path}")
    arrays = _arrays(path)
    if missing := {"inputs", "labels"} - arrays.keys():
        raise Refused(f"{path} has no {' and no '.join(sorted(missing))} but {', '.join(arrays) or 'nothing'}")
    inputs, labels = arrays["inputs"], arrays["labels"]
    if inputs.dim() < 2 or not inputs.is_floating_point():
        raise Refused(f"inputs in {path} are {_kind(inputs)}: they should be floating numbers, one row an example")
    if not bool(inputs.isfinite().all()):
        raise Refused(f"inputs in {path} hold values that are not finite")
    try:
        found = Split(inputs, labels)
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    if len(found) < 2:
        raise Refused(f"{path} has {len(found)} examples: give at least 2")
    return found


def _arrays(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = np.load(path, allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
        return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in arrays.items()}
    except (SafetensorError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise Refused(f"{path} is damaged, or holds other things than arrays of numbers: {_told(error)}") from error


def device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        Refused: if torch cannot use it here.
    """
    try:
        return torch.empty(0, device=name).cpu().device and torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Refused(f"--device {name} cannot be used here: {_told(error)}") from error


def run(model: nn.Module, state: State, inputs: Inputs) -> Any:
    """What a network says of inputs, in the dtype and on the device of its weights.

    Raises:
        Refused: if it does not take them.
    """
    place = next((value for value in state.values() if value.is_floating_point()), torch.empty(0))

    def placed(value: Tensor) -> Tensor:
        return value.to(place.device, place.dtype) if value.is_floating_point() else value.to(place.device)

    args, kwargs = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
    args, kwargs = pytree.tree_map_only(Tensor, placed, (args, kwargs))
    try:
        forget_(model)
        with torch.no_grad():
            return torch.func.functional_call(model, given(model, state), args, kwargs, tie_weights=False)
    except Exception as error:
        told = ", ".join(_kind(each) for each in pytree.tree_leaves(inputs))
        raise Refused(
            f"{type(model).__name__} does not take these inputs ({told}): {_told(error)}. Give those that it takes, "
            "with --example or --data"
        ) from error


def outputs(found: Any) -> list[Tensor]:
    """The floating tensors in what a network returned."""
    return [each for each in pytree.tree_leaves(found) if isinstance(each, Tensor) and each.is_floating_point()]


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {' x '.join(map(str, value.shape)) or '()'}"


def _told(error: BaseException) -> str:
    """An error in one line."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
