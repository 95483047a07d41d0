"""Signals at random moments of a sweep lose nothing, and the program that says so would notice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import json, socket, subprocess, sys, time
from dataclasses import asdict, replace
from multiprocessing import forkserver
from pathlib import Path
import torch
from faulty import kills

torch.set_num_threads(1)
kills._ORPHANED = 2.0
killing = kills.Kills(Path(sys.argv[1]), seed=1, kernels=False)
program, worker = kills.WAYS["program"]

# One that is killed as it asks the server for a process, before it says which.
with socket.socket(socket.AF_UNIX) as client:
    client.connect(forkserver._forkserver._forkserver_address)

def rounds(number, target=program):
    return [asdict(killing.rounds("program", target, each, number)) for each in kills.SIGNALS]

def remove(store):
    next(store.root.glob("runs/*/*.entry")).unlink()

def alter(store):
    path = next(store.root.glob("runs/*/*.entry"))
    entry = store.find(path.stem)
    path.unlink()
    assert store.add(replace(entry, values=entry.values | {"sum": -1}))

def leave(store):
    return subprocess.Popen(["sleep", "60"], start_new_session=True) and run(store)

def after(fault):
    # The signal waits for a first result, and the store has a fault of its own behind it.
    def disturb(self, store, *rest):
        target, wait = self._target, self._await
        def first(*asked):
            found = target(*asked)
            while not store.keys() and found is not None and found.is_running():
                time.sleep(0.001)
            return found
        def waited(command):
            ended = wait(command)
            fault(store)
            return ended
        self._target, self._await = first, waited
        disturb_(self, store, *rest)
        self._target, self._await = target, wait
    return disturb

found = {"program": rounds(2), "worker": rounds(2, worker)}
disturb_, run = kills.Kills._disturb, kills._program
for name, fault in (("lost", remove), ("wrong", alter)):
    kills.Kills._disturb = after(fault)
    found[name] = rounds(1)
kills.Kills._disturb = disturb_
kills._program = leave
found["orphans"] = rounds(1)
print(json.dumps(found))
"""
COUNTS = ("lost", "wrong", "orphans", "unequal", "untold")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was counted by what was done: signals alone, and signals with a fault that is planted."""
    path = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("kills"))],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks for processes in /proc")
class TestSignals:
    @pytest.mark.parametrize("target", ["program", "worker"])
    def test_lose_nothing_and_leave_nobody(self, found, target):
        assert sum(row["rounds"] for row in found[target]) == 6
        assert {row["fault"]: {name: row[name] for name in COUNTS if row[name]} for row in found[target]} == {
            row["fault"]: {} for row in found[target]
        }

    @pytest.mark.parametrize("fault", ["lost", "wrong", "orphans"])
    def test_would_be_counted_if_they_did(self, found, fault):
        assert sum(row[fault] for row in found[fault]) > 0
