"""Kernels forked from a server: each is what a process of its own would be, and none outlives who asked for it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from lmc_lib.cli import forked
from lmc_lib.cli.forked import ForkedProvisioner

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not forked._can_fork(), reason="the system has no fork server")


@contextlib.contextmanager
def kernel(folder, arguments=(), **kwargs):
    """A running kernel: its manager and its client."""
    manager = KernelManager()
    manager.provisioner = ForkedProvisioner(kernel_id="forked", kernel_spec=manager.kernel_spec, parent=manager)
    manager.start_kernel(cwd=str(folder), extra_arguments=["--IPKernelApp.log_level=CRITICAL", *arguments], **kwargs)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.context.destroy()


def ask(client, code):
    """What code prints."""
    messages = []
    client.execute_interactive(code, timeout=60, output_hook=messages.append)
    errors = [message["content"] for message in messages if message["msg_type"] == "error"]
    assert not errors
    return "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream").strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One kernel for the questions that change nothing in it."""
    folder = tmp_path_factory.mktemp("folder")
    given = os.environ | {"LMC_COMPUTE": "0"}
    with (
        pytest.MonkeyPatch.context() as patch,
        (folder / "errors").open("w") as errors,
    ):
        patch.setenv("LMC_PACE", "of the server")
        with kernel(folder, env=given, stderr=errors) as (_, client):
            patch.undo()
            yield folder, client


def gone(number):
    """Whether a process ends within ten seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


class TestWhatAKernelIs:
    def test_has_loaded_the_library_before_its_first_cell(self, running):
        assert ask(running[1], "import sys; print('torch' in sys.modules, 'lmc_lib.experiments' in sys.modules)") == (
            "True True"
        )

    def test_each_has_its_own_folder_and_environment(self, running, tmp_path, monkeypatch):
        monkeypatch.setenv("LMC_WORKERS", "7")  # of this process; not given to the kernel
        names = ["LMC_COMPUTE", "LMC_PLAN", "LMC_WORKERS", "LMC_PACE"]
        code = f"import os; print(os.getcwd(), *map(os.environ.get, {names}))"
        given = {name: value for name, value in os.environ.items() if name not in names} | {"LMC_PLAN": "plan"}
        with kernel(tmp_path, env=given) as (_, other):
            assert ask(other, code) == f"{tmp_path} None plan None None"
            heard = ask(running[1], code).split()
            assert (heard[:3], heard[4]) == ([str(running[0]), "0", "None"], "None")

    def test_looks_for_modules_where_a_process_of_its_own_would(self, running, monkeypatch, tmp_path):
        (tmp_path / "only_of_tests.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        with kernel(tmp_path.parent) as (_, client):
            assert ask(client, "import importlib.util; print(importlib.util.find_spec('only_of_tests'))") == "None"

    def test_leads_a_group_of_its_own(self, running):
        """Signals go to the group: to the kernel and its workers, and not to the server."""
        assert ask(running[1], "import os; print(os.getpgrp() == os.getpid())") == "True"

    def test_errors_go_where_they_are_sent(self, running):
        path = running[0] / "errors"
        code = f"""
            import os
            wanted = os.stat({str(path)!r})
            print(any(os.path.samestat(os.stat(f"/proc/self/fd/{{each}}"), wanted) for each in range(3, 100)
                      if os.path.exists(f"/proc/self/fd/{{each}}")))
        """
        assert ask(running[1], textwrap.dedent(code)) == "True"

    def test_takes_the_arguments_of_lmc_run_beside_its_own(self, tmp_path):
        with kernel(tmp_path, arguments=forked.FIGURES) as (_, client):
            assert ask(client, "import matplotlib; print(matplotlib.get_backend())").endswith("inline")

    def test_figures_are_shown_without_being_drawn_for_nobody(self, running):
        before = """
            import matplotlib.backend_bases, matplotlib.pyplot as plt
            drawn = []
            matplotlib.backend_bases.FigureCanvasBase.draw_idle = lambda canvas: drawn.append(canvas)
        """
        shown = []
        ask(running[1], textwrap.dedent(before))
        running[1].execute_interactive("_ = plt.subplots()[1].plot([3, 1, 2])", timeout=60, output_hook=shown.append)
        assert [message["content"]["data"].keys() for message in shown if message["msg_type"] == "display_data"] == [
            {"text/plain", "image/png"}
        ]
        assert ask(running[1], "print(len(drawn))") == "0"

    def test_tables_are_as_wide_as_in_a_kernel_that_loads_pandas_itself(self, running):
        assert ask(running[1], "import pandas; print(pandas.get_option('display.max_columns'))") == "20"

    def test_torch_has_threads_of_its_own(self, running):
        """A server whose thread pool had run would leave its forks waiting for threads that they lack."""
        code = """
            import os, torch
            before = len(os.listdir("/proc/self/task"))
            torch.set_num_threads(2)
            total = torch.arange(4_000_000, dtype=torch.float64).sum()
            ones = torch.ones(700, 700, dtype=torch.float64)
            print(len(os.listdir(f"/proc/{os.getppid()}/task")), len(os.listdir("/proc/self/task")) > before)
            print(total.item(), ones.matmul(ones).sum().item())
        """
        assert ask(running[1], textwrap.dedent(code)).split() == ["1", "True", "7999998000000.0", "343000000.0"]


class TestLife:
    def test_an_interrupt_stops_the_cell_and_not_the_kernel(self, tmp_path):
        with kernel(tmp_path) as (manager, client):
            ask(client, "kept = 5")
            # A kernel drops what is asked while it deals with an error, unless it is told not to stop.
            sleep = "import time; print('in', flush=True); time.sleep(50)"
            asked = client.execute(sleep, stop_on_error=False)
            while client.get_iopub_msg(timeout=20)["msg_type"] != "stream":
                pass
            manager.interrupt_kernel()
            reply = client.get_shell_msg(timeout=20)
            assert reply["parent_header"]["msg_id"] == asked
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            assert ask(client, "print(kept)") == "5"

    def test_a_restart_forgets_and_keeps_the_environment(self, tmp_path):
        with kernel(tmp_path, env=os.environ | {"LMC_PLAN": "plan"}) as (manager, client):
            number = ask(client, "import os; kept = 5; print(os.getpid())")
            manager.restart_kernel(now=True)
            client.wait_for_ready(timeout=60)
            assert ask(client, "print('kept' in dir())") == "False"
            assert ask(client, "import os; print(os.environ['LMC_PLAN'])") == "plan"
            assert ask(client, "print(os.getpid())") != number
            assert gone(number)

    def test_a_kernel_that_is_asked_to_end_does_so_by_itself(self, tmp_path):
        with kernel(tmp_path) as (manager, _):
            process = manager.provisioner.process
            assert process.poll() is None
            manager.shutdown_kernel()
            assert process.poll() == 0
            assert gone(process.pid)

    def test_one_that_was_killed_is_known_to_be_dead_and_gets_no_signal(self, tmp_path, monkeypatch):
        with kernel(tmp_path) as (manager, _):
            os.kill(manager.provisioner.pid, signal.SIGKILL)
            assert manager.provisioner.process.wait() == -signal.SIGKILL
            assert not manager.is_alive()
            sent = []
            monkeypatch.setattr(os, "killpg", lambda *args: sent.append(args))
            monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
            manager.interrupt_kernel()
            assert sent == []

    @pytest.mark.slow
    def test_kernel_and_server_end_with_a_process_that_is_killed_and_read_nothing_of_its_input(self, tmp_path):
        """The program has no guard around what it does: a kernel that imported it would start kernels itself."""
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
                import time
                from jupyter_client.manager import KernelManager
                from lmc_lib.cli.forked import ForkedProvisioner
                manager = KernelManager()
                manager.provisioner = ForkedProvisioner(kernel_spec=manager.kernel_spec, parent=manager)
                manager.start_kernel()
                client = manager.client()
                client.start_channels()
                client.wait_for_ready(timeout=60)
                client.execute_interactive("import os; print(os.getpid(), os.getppid(), os.read(0, 1))")
                time.sleep(600)
            """)
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-u", program], text=True, **pipes) as asking:
            asking.stdin.write("what the kernel must not read\n")
            asking.stdin.flush()
            *numbers, heard = asking.stdout.readline().split()
            asking.kill()
        assert heard == "b''"
        assert len(numbers) == 2
        assert [gone(number) for number in numbers] == [True, True]


class TestOrdinaryKernels:
    @pytest.fixture
    def launched(self, monkeypatch):
        """What Jupyter's own provisioner is asked to start."""
        seen = []

        async def launch(self, cmd, **kwargs):
            seen.append(cmd)

        monkeypatch.setattr(LocalProvisioner, "launch_kernel", launch)
        monkeypatch.setattr(forked, "_Kernel", lambda *args: pytest.fail("a kernel was forked"))
        return seen

    def start(self, cmd, **kwargs):
        asyncio.run(ForkedProvisioner().launch_kernel(cmd, env={}, **kwargs))

    def test_serve_where_there_is_no_fork_server(self, launched, monkeypatch):
        monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
        cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "file"]
        self.start(cmd)
        assert launched == [cmd]

    @pytest.mark.parametrize("cmd", [["/other/python", "-m", "ipykernel_launcher", "-f", "file"], ["ir", "file"]])
    def test_serve_other_interpreters_and_languages(self, launched, cmd):
        self.start(cmd)
        assert launched == [cmd]

    def test_serve_where_output_goes_to_a_pipe(self, launched):
        cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "file"]
        self.start(cmd, stdout=subprocess.PIPE)
        assert launched == [cmd]


def test_jupyter_finds_the_provisioner_under_the_name_that_the_makefile_sets():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name,) = project["entry-points"]["jupyter_client.kernel_provisioners"].items()
    assert name == ("lmc-forked", f"{ForkedProvisioner.__module__}:{ForkedProvisioner.__name__}")
    assert "export JUPYTER_DEFAULT_PROVISIONER_NAME := lmc-forked\n" in (ROOT / "Makefile").read_text()
