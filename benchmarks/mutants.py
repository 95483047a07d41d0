"""Which small changes of the library do its tests notice? A sample of mutants of each package, and the share killed.

Run ``pip install mutmut``, then ``python benchmarks/mutants.py --json results/mutants.json``. With ``--packages store``
it takes one package, with ``--again results/mutants.json`` only what lived there. ``mutants.md`` tells what came out.

The changes are mutmut's. We draw them ourselves: mutmut leaves out what is decorated, as all functions are where shapes
are checked. Functions alone are changed, but for annotations, logging, what is raised, and default values. The tests of
a package are collected once, and each mutant has a fork of that process, in which the code of the functions of its
module is exchanged. Only tests that reach the changed line run, short ones first, none longer than ``--longest``
seconds, nor those marked as slow: what lives here may still die in ``make test``. A mutant is killed when a test fails,
or when all take far longer than without it.
"""

import argparse
import functools
import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

try:
    import coverage
    import libcst as cst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.mutators import mutation_operators
except ImportError:
    print("no mutants without mutmut: pip install mutmut")
    sys.exit(0)

_TESTS = {
    "store": "store",
    "claims": "claims",
    "connectivity": "connectivity simplices",
    "matching": "matching matching_many matching_midpoint",
    "experiments": "experiments butterfly contrasts divergence finetuning movement pictures pruned reliability scores "
    "searches simplices trajectories twins uses",
}
_ALONE = (cst.Annotation, cst.Decorator, cst.Raise, cst.Import, cst.ImportFrom, cst.Parameters)
_CALLS = ("_LOG.", "warnings.warn", "isinstance(", "len(")  # the last two fail with any other argument
_CACHED = type(functools.cache(id))


def main() -> None:
    """Draws the mutants of each package, tests them and writes what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--packages", nargs="*", choices=_TESTS, default=list(_TESTS))
    parser.add_argument("--number", type=int, default=150, help="mutants of a package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=2.5, help="seconds of a test that still counts")
    parser.add_argument("--again", type=Path, help="a file that was written before: only what lived")
    options = parser.parse_args()
    options.json = options.json.absolute()
    before = json.loads(options.again.read_text()) if options.again else []
    options.lived = [each for each in before if each.pop("lives")] if options.again else None
    ignored = shutil.ignore_patterns(".git", ".venv", "_build", "results", ".*_cache")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(shutil.copytree(Path(__file__).parents[1], Path(folder) / "tree", ignore=ignored))
        sys.path.insert(0, str(Path.cwd()))
        os.environ |= {"PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}
        for package in options.packages:
            tests = [f"lmc_lib/{package}", *(f"tests/test_{name}.py" for name in _TESTS[package].split())]
            command = ["-x", "-q", "-s", "-n0", "-p", "no:cacheprovider", "-m", "not slow", *tests]
            _forked(functools.partial(pytest.main, command, [_Mutation(package, options)]), 1e6)
            results += json.loads(options.json.read_text())
            options.json.write_text(json.dumps(results, indent=1))
            lives = [each["lives"] for each in results if each["package"] == package]
            print(f"{package}: {lives.count(False)} of {len(lives)} killed", flush=True)


class _Mutation:
    """A plugin of pytest: where the tests that were collected would run, they run once for every mutant."""

    def __init__(self, package: str, options: argparse.Namespace) -> None:
        self.package, self.options = package, options

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        seconds, reached = _forked(functools.partial(_baseline, session, self.package), 3600)
        items, done = {item.nodeid: item for item in session.items}, []
        for mutant, source in _draw(self.package, self.options.number, self.options.seed):
            if self.options.lived is None or mutant in self.options.lived:
                path, lines = Path(mutant["path"]), reached.get(mutant["path"], {0: []})
                some = lines[max((line for line in lines if line <= mutant["line"]), default=min(lines))]
                tests = [test for test in seconds if test.startswith(tuple(some))]
                tests = sorted((test for test in tests if seconds[test] <= self.options.longest), key=seconds.get)
                original, limit = path.read_text(), 10 + 4 * sum(seconds[test] for test in tests)
                path.write_text(source)  # for tests that read it
                passed = _forked(functools.partial(_pass, session, [items[test] for test in tests], path), limit)
                path.write_text(original)
                done.append(mutant | {"lives": bool(passed)})
                print(*done[-1].values(), len(tests), sep=" | ", flush=True)
                self.options.json.write_text(json.dumps(done))
        return True


def _draw(package: str, number: int, seed: int) -> Iterator[tuple[dict[str, Any], str]]:
    """A random sample of the mutants of a package, each with the whole code of its module."""
    found = []
    for path in sorted(Path("lmc_lib", package).rglob("*.py")):
        wrapper = MetadataWrapper(cst.parse_module(path.read_text()))
        for node, line in _nodes(wrapper.module, 0, wrapper.resolve(PositionProvider)):
            changes = [new for kind, change in mutation_operators if isinstance(node, kind) for new in change(node)]
            found += [(str(path), line, wrapper.module, node, new) for new in changes]
    print(f"{package}: {len(found)} mutants", flush=True)
    drawn = random.Random(seed).sample(found, min(number, len(found)))
    for path, line, module, node, new in sorted(drawn, key=lambda each: each[:2]):
        before, after = (" ".join(module.code_for_node(each).split()) for each in (node, new))
        mutant = {"package": package, "path": path, "line": line, "from": before, "to": after}
        yield mutant, module.deep_replace(node, new).code


def _nodes(node: cst.CSTNode, line: int, places: Any) -> Iterator[tuple[cst.CSTNode, int]]:
    """What may be changed, each with its line, which is 0 outside of functions."""
    inside = line or isinstance(node, cst.FunctionDef)
    line = places[node].start.line if inside and node in places else line
    if inside:
        yield node, line
    for child in node.children:
        text = cst.Module([]).code_for_node(child).strip() if isinstance(child, cst.Call | cst.Expr) else ""
        if not (
            isinstance(child, _ALONE) or (isinstance(child, cst.Call) and text.startswith(_CALLS)) or text[:1] == '"'
        ):
            yield from _nodes(child, line, places)


def _baseline(session: pytest.Session, package: str) -> tuple[dict[str, float], dict[str, dict[int, list[str]]]]:
    """Seconds of each test, and the tests, or files of tests, that reach each line of a package."""
    seconds: defaultdict[str, float] = defaultdict(float)
    reached: dict[str, dict[int, list[str]]] = {}
    traced = coverage.Coverage(data_file=None, include=[f"*/lmc_lib/{package}/*"])
    cached = [each for each in gc.get_objects() if type(each) is _CACHED and each.__module__.startswith("lmc_lib.")]

    class Watch:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(self, item: pytest.Item) -> None:
            for each in cached:
                each.cache_clear()  # else only the first of several tests would reach a line
            traced.switch_context(item.nodeid.split("::")[0])  # other tests of the file may get what is set up here

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_call(self, item: pytest.Item) -> None:
            traced.switch_context(item.nodeid)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            seconds[report.nodeid] += report.duration
            assert not report.failed, f"a test fails without a mutant: {report.nodeid}\n{report.longreprtext}"

    session.config.pluginmanager.register(Watch())
    traced.start()
    _pass(session, session.items, *Path("lmc_lib", package).rglob("*.py"))
    traced.stop()
    for file in traced.get_data().measured_files():  # some tests make copies
        for line, tests in traced.get_data().contexts_by_lineno(file).items():
            reached.setdefault(file[file.rindex("lmc_lib/") :], {}).setdefault(line, []).extend(tests)
    return dict(seconds), reached


def _pass(session: pytest.Session, items: list[pytest.Item], *paths: Path) -> bool:
    """Runs tests until one fails, with the functions of some modules as in their files; says whether none did."""
    with Path("log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for path in paths:
        _exchange(path)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            return False
    return not session.testsfailed


def _exchange(path: Path) -> None:
    """Gives the functions of a loaded module the code in its file, those of one name in the order of their lines."""
    codes, loaded = defaultdict(list), defaultdict(list)
    for code in _functions(compile(path.read_text(), path.absolute(), "exec")):
        codes[code.co_qualname].append(code)
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename == str(path.absolute()):
            loaded[function.__qualname__].append(function)
    for name in codes.keys() & loaded.keys():
        lines = sorted({function.__code__.co_firstlineno for function in loaded[name]})
        for function in loaded[name]:
            function.__code__ = codes[name][lines.index(function.__code__.co_firstlineno)]


def _functions(code: CodeType) -> Iterator[CodeType]:
    """The code of the functions and methods of a module."""
    for each in code.co_consts:
        if isinstance(each, CodeType) and each.co_flags & CO_OPTIMIZED:
            yield each
        elif isinstance(each, CodeType):  # the body of a class
            yield from _functions(each)


def _forked(task: Callable[[], Any], limit: float) -> Any:
    """What a task returns in a process of its own, or None if it fails or takes too long."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(theirs, task))
    process.start()
    theirs.close()
    with suppress(EOFError):
        if ours.poll(limit):
            return ours.recv()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return None


def _send(place: Any, task: Callable[[], Any]) -> None:
    os.setsid()
    place.send(task())


if __name__ == "__main__":
    main()
