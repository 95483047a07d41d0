"""What continuous integration runs behind: no network, no HOME, no data; and the guard where that is not allowed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"
# An address that documentation may use and that leads nowhere, in both families; nothing is sent to it.
FOREIGN = [("AF_INET", ("192.0.2.1", 9)), ("AF_INET6", ("2001:db8::1", 9))]


def offline(*command):
    return subprocess.run([CI / "offline", *command], capture_output=True, text=True, check=False)


def guarded(program):
    environment = os.environ | {"PYTHONPATH": str(CI / "guard")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are of Linux")
class TestOffline:
    @pytest.mark.parametrize("code", [0, 7])
    def test_the_exit_code_is_that_of_the_command(self, code):
        assert offline("sh", "-c", f"exit {code}").returncode == code

    def test_home_and_data_are_empty_and_variables_of_the_user_are_gone(self, monkeypatch):
        monkeypatch.setenv("LMC_STORE", "somewhere")
        program = 'ls -A "$HOME"; echo -; ls -A "$LMC_DATA"; echo "store:$LMC_STORE"; rm -r "$HOME"'
        assert offline("sh", "-c", program).stdout.splitlines()[1:] == ["data", "-", "store:"]

    def test_the_loopback_is_up_and_nothing_else_is_there(self):
        program = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
        done = offline(sys.executable, "-c", f"{program}; print([name for _, name in socket.if_nameindex()])")
        assert done.returncode == 0, done.stderr
        if "offline: no network" in done.stdout:
            assert done.stdout.splitlines()[-1] == "['lo']"

    def test_a_command_that_there_is_not_is_told(self):
        done = offline("no-such-command")
        assert done.returncode == 127
        assert done.stderr == "offline: no such command: no-such-command\n"


class TestGuard:
    def test_the_loopback_is_reached(self):
        program = """
import socket
server = socket.create_server(("127.0.0.1", 0))
for way in (socket.create_connection, lambda address: socket.socket().connect_ex(address)):
    print(way(server.getsockname()) == 0 or "connected")
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
print(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"four", receiver.getsockname()))
"""
        assert guarded(program) == ["connected", "True", "4"]

    @pytest.mark.parametrize(("family", "address"), FOREIGN)
    def test_what_leaves_this_machine_is_refused(self, family, address):
        program = f"""
import socket
made = socket.socket(socket.{family}, socket.SOCK_DGRAM)
print(made.connect_ex({address!r}))
ways = [("connect", ()), ("sendto", (b"x",)), ("sendto", (b"x", 0))]
for name, arguments in ways:
    try:
        getattr(made, name)(*arguments, {address!r})
    except OSError as error:
        print(error.errno, "cut" in str(error))
"""
        refused = str(errno.ENETUNREACH)
        assert guarded(program) == [refused, *[refused, "True"] * 3]

    def test_names_are_not_looked_up(self):
        program = """
import socket
for name in ("example.org", b"example.org"):
    try:
        socket.getaddrinfo(name, 80)
    except socket.gaierror as error:
        print("cut" in str(error))
print(bool(socket.getaddrinfo("localhost", 80)))
"""
        assert guarded(program) == ["True", "True", "True"]


def test_the_run_of_continuous_integration_installs_what_it_needs_before_the_network_is_cut():
    lines = (CI / "run").read_text().splitlines()
    installing = max(number for number, line in enumerate(lines) if "install" in line and not line.startswith("#"))
    cut = next(number for number, line in enumerate(lines) if ".ci/offline" in line and not line.startswith("#"))
    assert installing < cut
    assert shutil.which("bash")
    assert subprocess.run(["bash", "-n", CI / "run"], check=False).returncode == 0
