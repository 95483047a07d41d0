"""The code behind a result: a hash of what the module of its spec imports of the library, whatever comments say.

An algorithm can change without the ``VERSION`` of its specs: then the address of a result stays, and its code tells.
"""

__all__ = ["code_of"]

import ast
import functools
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]

# What asks for results and keeps them makes no number.
_CARRIERS = {"lmc_lib.store", "lmc_lib.sweeps"}

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


@functools.cache
def code_of(module: str, root: Path = _ROOT) -> str | None:
    """A hash of a module and of all modules of the library that it imports, directly or not, by its import statements.

    Comments, docstrings and formatting do not count, nor does the version of Python, nor what keeps results
    (``lmc_lib.store``, ``lmc_lib.sweeps``). Of a package that is imported as a whole, all counts that it imports; of
    one from which a name is imported, the module that defines it.

    Args:
        module: the name of a module, of the library or not.
        root: the folder that holds the library.

    Returns:
        20 hexadecimal digits; None if the module has no file, as a notebook has none.
    """
    first = _file(module, root) or _file_elsewhere(module)
    if first is None:
        return None
    digest, imported = _read(first, root)
    found = {"": digest}
    waiting = list(imported)
    for name in waiting:
        if name not in found and name != module and (path := _file(name, root)) is not None:
            found[name], imported = _read(path, root)
            waiting += imported
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:20]


@functools.cache
def _read(path: Path, root: Path) -> tuple[str, tuple[str, ...]]:
    """The hash of the code of a file, and the modules of the library that it imports."""
    tree = ast.parse(path.read_bytes())
    imported: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        elif isinstance(node, _IMPORTS):
            imported |= dict.fromkeys(name for name in _imported(node, root) if not _carries(name))
    # Versions of Python differ in whether they list what is empty.
    text = re.sub(r"\w+=\[\](, )?", "", ast.dump(tree)).replace(", )", ")")
    return hashlib.sha256(text.encode()).hexdigest(), tuple(imported)


def _imported(node: ast.Import | ast.ImportFrom, root: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif node.module and not node.level:
        yield from (_definer(node.module, each.name, root) for each in node.names)


def _definer(module: str, name: str, root: Path) -> str:
    """The module that stands behind a name which is imported from a module."""
    if _file(f"{module}.{name}", root):
        return f"{module}.{name}"
    path = _file(module, root)
    return _names(path, root).get(name, module) if path is not None and path.stem == "__init__" else module


@functools.cache
def _names(path: Path, root: Path) -> dict[str, str]:
    """The names that the file of a package imports, each with the module that stands behind it."""
    return {
        each.asname or each.name: _definer(node.module, each.name, root)
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.ImportFrom) and node.module
        for each in node.names
    }


def _carries(module: str) -> bool:
    return ".".join(module.split(".")[:2]) in _CARRIERS


@functools.cache
def _file(module: str, root: Path) -> Path | None:
    """The file of a module of the library."""
    if module.split(".")[0] != "lmc_lib":
        return None
    place = root.joinpath(*module.split("."))
    return next((each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()), None)


def _file_elsewhere(module: str) -> Path | None:
    name = getattr(sys.modules.get(module), "__file__", None)
    return Path(name) if name and Path(name).is_file() else None
