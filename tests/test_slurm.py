"""A sweep on a real Slurm of one node, which starts and ends with these tests: workers, node and jobs are lost."""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from steps import contents, of_this_machine

from lmc_lib.sweeps import cluster

TESTS = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
# Seconds after which what is waited for is not awaited any more.
LONG = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl, the extra cluster, is absent"),
]

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


class Slurm:
    """Munge and both daemons of Slurm, in a folder of their own; all end with this process, however it ends."""

    def __init__(self, folder):
        self.folder, self.daemons = folder, {}
        folder.chmod(0o755)  # munge refuses a socket that others could not reach
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        path = folder / "slurm.conf"
        path.write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2)))
        self.environment = os.environ | {"SLURM_CONF": str(path)}
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)

    def start(self, name, *options):
        """Starts a daemon in the foreground."""
        command = ["setpriv", "--pdeathsig", "KILL", name, *options]
        log = (self.folder / f"{name}.log").open("a")
        with log:
            self.daemons[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def start_all(self):
        own = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.start("munged", "-F", *(f"--{option}={self.folder}/munge.{ending}" for option, ending in own.items()))
        wait_for(lambda: (self.folder / "munge.socket").exists())
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        wait_for(lambda: self.told("sinfo", "--noheader", "--format=%T") == "idle")

    def told(self, *command):
        run = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return (run.stdout + run.stderr).strip()

    def jobs(self):
        """The job list: of each job its name and state."""
        return self.told("squeue", "--noheader", "--format=%j %T").splitlines()

    def kill_node(self):
        self.daemons["slurmd"].kill()
        self.daemons["slurmd"].wait()

    def end_all(self):
        self.told("scancel", "--partition=main")
        wait_for(lambda: not self.jobs())
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            daemon.wait(30)


def free_ports(count):
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def wait_for(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"not within {LONG} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def slurm():
    if not os.environ.get("LMC_SLURM"):
        pytest.skip("Slurm's daemons are started where LMC_SLURM=1 asks for it: three minutes, most of them waiting")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here, {', '.join(missing)} not found: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of our own is started as root")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # a short name: that of a socket has 107 bytes
        started = Slurm(Path(folder))
        try:
            try:
                started.start_all()
            except (AssertionError, OSError) as error:  # as in containers that forbid what daemons need
                said = [path.read_text().strip()[-300:] for path in sorted(Path(folder).glob("*.log"))]
                pytest.skip(f"Slurm does not start here: {error}: {said}")
            yield started
            started.end_all()
        finally:
            for daemon in started.daemons.values():
                daemon.kill()
                daemon.wait()


PROGRAM = """
import sys
from pathlib import Path
from lmc_lib.cli import main, tree
tree.NOTEBOOKS = Path(sys.argv[1])
tree.RECORDS = Path(sys.argv[1]) / "records"
sys.exit(main(sys.argv[2:]))
"""
PARAMETERS = 'scale: str = "quick"  # name of the profile'
CELL = """
from steps import FIRST, TOP, gated

from lmc_lib import sweeps
from lmc_lib.store import Store

sweeps.fill(Store.from_environment(), [TOP, *FIRST, gated({folder!r})])
"""
DONE = "12 results were missing: 12 computed here, 0 by others\n"
# As `--on slurm`, but a loss is noticed within seconds, where the default takes two minutes.
ATTENTIVE = """
from lmc_lib.sweeps import cluster

config = cluster.slurm(walltime="00:10:00")
(workers,) = config.executors
workers.heartbeat_period, workers.heartbeat_threshold = 1, 6
"""


@pytest.fixture
def lmc(slurm, tmp_path, claim_that_asks):
    """Starts ``lmc`` on a claim of twelve results, four of which wait until the file ``open`` is there."""
    claim_that_asks(PARAMETERS, CELL.format(folder=str(tmp_path)))
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = slurm.environment | {"PYTHONPATH": path, "LMC_STORE": str(tmp_path / "store")}
    started = []

    def start(*arguments):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield start
    (tmp_path / "open").touch()
    for each in started:
        each.send_signal(signal.SIGINT)
        each.communicate(timeout=LONG)


def begun_by(folder):
    """The processes that have begun a result."""
    return {int(path.suffix[1:]) for path in folder.glob("begun.*")}


def test_a_sweep_that_is_stopped_leaves_no_job_and_goes_on_to_the_results_of_this_machine(slurm, lmc, tmp_path):
    command = ("work", "toy", "--on", "slurm", "--walltime", "00:05:00")
    stopped = lmc(*command)
    wait_for(lambda: begun_by(tmp_path))
    os.killpg(stopped.pid, signal.SIGINT)  # as Ctrl-C does
    err = stopped.communicate(timeout=LONG)[1]
    assert stopped.returncode == 130, err
    assert re.search(r"Its jobs are cancelled; squeue --name=(lmc-\w{6}) .* scancel --name=\1 stops them\.", err)
    assert err.endswith("What is finished is stored: the same command goes on from there\n")
    wait_for(lambda: slurm.jobs() == [])
    done = len(contents(tmp_path / "store"))
    (tmp_path / "open").touch()
    out, err = lmc(*command).communicate(timeout=LONG)
    assert out == f"{12 - done} results were missing: {12 - done} computed here, 0 by others\n", err
    wait_for(lambda: slurm.jobs() == [])
    assert contents(tmp_path / "store") == of_this_machine(tmp_path)


def test_lost_workers_nodes_and_jobs_lose_no_result(slurm, lmc, tmp_path):
    (tmp_path / "on.py").write_text(ATTENTIVE)
    working = lmc("work", "toy", "--on", str(tmp_path / "on.py"))
    wait_for(lambda: len(begun_by(tmp_path)) >= min(2, os.cpu_count() or 1))
    assert slurm.jobs() == [f"{cluster.JOB_NAME} RUNNING"]
    before = begun_by(tmp_path)
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: begun_by(tmp_path) - before)  # another worker is at another result
    slurm.kill_node()
    slurm.start("slurmd", "-D")
    wait_for(lambda: re.search(r"Active Steps += \d", slurm.told("scontrol", "show", "slurmd")))  # it found the job
    assert slurm.jobs() == [f"{cluster.JOB_NAME} RUNNING"]
    before = begun_by(tmp_path)
    slurm.told("scancel", f"--name={cluster.JOB_NAME}")
    wait_for(lambda: begun_by(tmp_path) - before)
    (tmp_path / "open").touch()
    out, err = working.communicate(timeout=LONG)
    assert out == DONE, err
    wait_for(lambda: slurm.jobs() == [])
    assert contents(tmp_path / "store") == of_this_machine(tmp_path)
