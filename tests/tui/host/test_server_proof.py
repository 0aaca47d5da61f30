"""A tmux client is started only for a server that surely is one, and of this user alone."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tui.host.process import descriptors
from tui.host.server_proof import doubt_about
from tui.host.tmux import Tmux
from tui.host.tmux_servers import described_server, look_elsewhere

pytestmark = needs_another_user

_PIDFD_GETFD = 438  # of every architecture; see pidfd_getfd(2)

# A daemon of root's that listens, and has a worker of another user hold its socket. The
# worker leads a terminal and says that it runs in a pane of its parent. Asked at the end, the
# daemon tells whether anybody came.
_DAEMON = """
import ctypes, os, pty, select, socket, sys, time
path, name, hands_on, user, sleep = sys.argv[1:]
at = socket.socket(socket.AF_UNIX)
at.bind(path)
at.listen()
ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
daemon = os.getpid()
worker, terminal = pty.fork()
if worker == 0:
    at.set_inheritable(hands_on == "True")
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
    os.execve(sleep, ["sleep", "1000"], {"TMUX": f"/x,{daemon},0", "TMUX_PANE": "%0"})
while open(f"/proc/{worker}/comm").read() != "sleep\\n":
    time.sleep(0.001)
print(flush=True)
sys.stdin.read()
print(bool(select.select([at], [], [], 0)[0]), flush=True)
os.kill(worker, 9)
os.waitpid(worker, 0)
"""


class Daemon:
    """A daemon of root's with a worker of another user."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        self._process = process
        self.socket = socket
        self.pid = process.pid

    def was_connected_to(self) -> bool:
        """Ends it; whether anybody connected to it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        return self._process.stdout.readline() == b"True\n"


@contextmanager
def daemon(socket: Path, name: str, *, hands_on: bool = True) -> Iterator[Daemon]:
    sleep = shutil.which("sleep") or ""
    given = [socket, name, hands_on, OTHER, sleep]
    words = [sys.executable, "-S", "-c", _DAEMON, *map(str, given)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield Daemon(process, socket)
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


@pytest.mark.parametrize("name", ["php-fpm", "tmux: server", "mail: server"])
def test_a_daemon_whose_worker_says_that_it_is_a_tmux_is_not_connected_to(
    nobody_elses_tmux: Path, tmp_path: Path, calls: Path, name: str
) -> None:
    at = Tmux(tmp_path / "nobody").ask()
    calls.unlink(missing_ok=True)
    with daemon(nobody_elses_tmux / "daemon", name) as running:
        found = look_elsewhere(["agent_a"], at, None)
        assert described_server(running.pid) == f"the tmux server {running.pid}"
        assert not running.was_connected_to()
    assert found.sessions == ()
    # Whoever reads that must not be led to connect to it, either.
    assert "-S" not in found.whys.get("agent_a", "")
    assert not calls.exists()


def test_a_daemon_of_another_name_that_keeps_its_socket_is_not_connected_to(
    nobody_elses_tmux: Path, tmp_path: Path, calls: Path
) -> None:
    at = Tmux(tmp_path / "nobody").ask()
    calls.unlink(missing_ok=True)
    with daemon(nobody_elses_tmux / "daemon", "saslauthd", hands_on=False) as running:
        doubt = doubt_about(running.pid, running.socket)
        assert doubt is not None and "saslauthd, is not called tmux" in doubt.why
        assert look_elsewhere(["agent_a"], at, None).sessions == ()
    assert not calls.exists()


def test_a_server_of_ours_whose_socket_another_user_holds_is_only_named(
    server: RealTmux, nobody_elses_tmux: Path, tmp_path: Path
) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    assert doubt_about(pid, server.socket) is None
    assert "1 session" in described_server(pid)
    listening = descriptors.listening_socket(pid)
    assert listening is not None
    with held_by_another(pid, listening.inode):
        doubt = doubt_about(pid, server.socket)
        assert doubt is not None and f"of {OTHER} has the same socket" in doubt.why
        assert described_server(pid) == f"the tmux server {pid}"
        found = look_elsewhere(["agent_a"], Tmux(tmp_path / "nobody").ask(), None)
        assert "has the same socket open" in found.whys["agent_a"]
    assert doubt_about(pid, server.socket) is None


@contextmanager
def held_by_another(pid: int, inode: str) -> Iterator[None]:
    """As if a process had handed one of its sockets on to a process of another user."""
    opened = {to: int(os.path.basename(link)) for link, to in descriptors.open_files(pid)}
    process = os.pidfd_open(pid)
    taken = ctypes.CDLL(None, use_errno=True).syscall(
        _PIDFD_GETFD, process, opened[f"socket:[{inode}]"], 0
    )
    os.close(process)
    if taken < 0:
        pytest.skip("no descriptor of another process can be had here (pidfd_getfd)")
    with subprocess.Popen(
        ["sleep", "1000"], pass_fds=(taken,), user=OTHER, group=OTHER, extra_groups=()
    ) as holder:
        os.close(taken)
        comm = Path(f"/proc/{holder.pid}/comm")
        try:
            until(lambda: comm.read_text() == "sleep\n", "its program")
            yield
        finally:
            holder.kill()


def test_one_that_is_called_otherwise_is_for_its_user_to_ask(
    nobody_elses_tmux: Path, calls: Path
) -> None:
    binary = nobody_elses_tmux / "a-multiplexer-of-a-long-name"
    shutil.copy(shutil.which("python3") or "", binary)
    socket = nobody_elses_tmux / "s"
    with subprocess.Popen(
        [binary, "-S", "-c", _LISTENER, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as ours:
        assert ours.stdout is not None and ours.stdout.readline() == b"\n"
        doubt = doubt_about(ours.pid, socket)
        assert doubt is not None and "is not called tmux" in doubt.why
        assert f"-S {socket}" in doubt.advice
        ours.kill()
    assert not calls.exists()


_LISTENER = """
import socket, sys
at = socket.socket(socket.AF_UNIX)
at.bind(sys.argv[1])
at.listen()
print(flush=True)
sys.stdin.read()
"""
