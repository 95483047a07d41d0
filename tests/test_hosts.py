"""A sweep on two hosts that share a folder and a wire: network, names and process ids of each are its own."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_slurm import contents, of_this_machine

TESTS = Path(__file__).parent
ADDRESSES = {"lmc-a": "10.203.17.1", "lmc-b": "10.203.17.2"}
# Results that wait: Parsl gives each to a host by chance, and both hosts need one.
GATED = 12
# Seconds after which what is waited for is not awaited any more.
LONG = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl, the extra cluster, is absent"),
]

# A worker pool on each host; a loss is noticed within seconds, where the default takes two minutes.
ON = """
from parsl import Config, HighThroughputExecutor
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider

from lmc_lib.sweeps import cluster


def workers(host, enter):
    return HighThroughputExecutor(
        label=host, address={address!r}, max_workers_per_node=1, heartbeat_period=1, heartbeat_threshold=6,
        provider=LocalProvider(max_blocks=1, launcher=WrappedLauncher(prepend=enter)),
    )


config = Config([workers(*each) for each in {hosts!r}.items()], retries=4, retry_handler=cluster.retry_lost)
"""
PROGRAM = """
import sys
from pathlib import Path

from steps import FIRST, TOP, gated

from lmc_lib.store import Store
from lmc_lib.sweeps import fill

if __name__ == "__main__":
    fill(Store(Path(sys.argv[1]) / "store"), [TOP, *FIRST, gated(sys.argv[1], int(sys.argv[2]))])
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def entering(host):
    """What stands before a command that runs on a host: its processes are counted from 1, and end with the first."""
    named = ["sh", "-c", f'hostname {host}; exec "$@"', "sh"]
    return ["nsenter", f"--net=/run/netns/{host}", "unshare", "-u", "-p", "-f", "--mount-proc", "--kill-child", *named]


def cut(hosts, state):
    """Takes the wire away, or plugs it in again."""
    ip("-n", hosts[1], "link", "set", hosts[1], state)


@pytest.fixture
def hosts():
    """The names of two hosts that are there until the test ends."""
    if not os.environ.get("LMC_HOSTS"):
        pytest.skip("two hosts are made where LMC_HOSTS=1 asks for them, as root")
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"no hosts of our own here: root makes them, with {', '.join(missing) or 'ip and unshare'}")
    first, second = ADDRESSES
    try:
        for name in ADDRESSES:
            ip("netns", "add", name)
        ip("-n", first, "link", "add", first, "type", "veth", "peer", "name", second, "netns", second)
        for name, address in ADDRESSES.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            for link in ("lo", name):
                ip("-n", name, "link", "set", link, "up")
        yield first, second
    except subprocess.CalledProcessError as error:
        pytest.skip(f"hosts cannot be made here: {error.stderr.decode()}")
    finally:
        for name in ADDRESSES:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def wait_for(condition, process):
    end = time.monotonic() + LONG
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"not within {LONG} s"
        time.sleep(0.05)


def begun_on(folder):
    """Host, moment and process of each begin of a result."""
    return {tuple(path.name.split(".")[1:]) for path in folder.glob("begun.*")}


def test_a_wire_that_is_cut_loses_no_result(hosts, tmp_path):
    (tmp_path / "on.py").write_text(
        ON.format(address=ADDRESSES[hosts[0]], hosts={host: shlex.join(entering(host)) for host in hosts})
    )
    (tmp_path / "fill.py").write_text(PROGRAM)
    environment = os.environ | {
        "LMC_ON": str(tmp_path / "on.py"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]),
    }
    command = [*entering(hosts[0]), sys.executable, str(tmp_path / "fill.py"), str(tmp_path), str(GATED)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    filling = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    try:
        wait_for(lambda: {host for host, *_ in begun_on(tmp_path)} == set(hosts), filling)
        cut(hosts, "down")
        time.sleep(8)  # longer than the silence after which a host is given up
        cut(hosts, "up")
        (tmp_path / "open").touch()
        assert filling.wait(LONG) == 0, filling.communicate()[1]
    finally:
        (tmp_path / "open").touch()
        filling.kill()
        filling.communicate()
    assert len(begun_on(tmp_path)) > GATED  # what the second host was at was lost, and begun anew
    assert contents(tmp_path / "store") == of_this_machine(tmp_path, GATED)
