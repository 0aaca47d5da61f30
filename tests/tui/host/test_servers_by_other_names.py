"""tmux servers whose program is not called tmux, or whose socket was named in another way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from tui.host import tmux_servers
from tui.host.process.procfs import stat_of
from tui.host.tmux import Tmux
from tui.host.tmux_servers import look_elsewhere, servers_of

OURS = frozenset({os.getuid()})
SHOWN = "exec sleep 1000"
HIDDEN = "exec env -i sleep 1000"
"""What says nothing of where it was started."""

Start = Callable[..., Path]


@pytest.fixture
def start(nobody_elses_tmux: Path) -> Iterator[Start]:
    """Starts a server with a program of another name; returns its socket."""
    sockets: list[Path] = []

    def start_one(program: str, command: str = SHOWN, socket: str | None = None) -> Path:
        binary = nobody_elses_tmux / program
        shutil.copy(shutil.which("tmux") or "", binary)
        at = socket or str(nobody_elses_tmux / "socket")
        words = [str(binary), "-f", "/dev/null", "-S", at, "new-session", "-d", "-s", "agent_a"]
        subprocess.run([*words, command], check=True, cwd=nobody_elses_tmux)
        sockets.append(nobody_elses_tmux / at)
        ask = ["tmux", "-S", str(sockets[-1]), "list-panes", "-F", "#{pane_pid}"]
        pane = int(subprocess.run(ask, capture_output=True, check=True).stdout)
        comm = Path(f"/proc/{pane}/comm")
        until(lambda: comm.read_text() == "sleep\n", "what its pane runs")
        return sockets[-1]

    yield start_one
    for socket in sockets:
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False)


def pid_of(socket: Path) -> int:
    words = ["tmux", "-S", str(socket), "display-message", "-p", "#{pid}"]
    return int(subprocess.run(words, capture_output=True, check=True).stdout)


def why(tmp_path: Path) -> str | None:
    """Why an agent that a server without any session lacks is not proven dead."""
    at = Tmux(tmp_path / "nobody").ask()
    return look_elsewhere(["agent_a"], at, OURS).whys.get("agent_a")


@pytest.mark.parametrize(
    ("program", "command"),
    [
        *((name, SHOWN) for name in ("mux", "tmux-next", "a-multiplexer-of-a-long-name")),
        *((name, HIDDEN) for name in ("mux", "tmux-next", "tmux-3.4-static", "tmux-3.4.appimage")),
    ],
)
def test_a_server_is_found_whatever_its_program_is_called(
    start: Start, tmp_path: Path, program: str, command: str
) -> None:
    socket = start(program, command)
    said = why(tmp_path)
    assert said is not None and f"-S {socket}" in said


@pytest.mark.parametrize(
    ("program", "command", "counts"),
    [
        ("mux", SHOWN, True),
        ("tmux-next", HIDDEN, True),
        ("tmux-3.4-static", HIDDEN, True),
        ("mux", HIDDEN, False),
    ],
)
def test_a_hanging_server_may_have_all_sessions_if_it_is_certainly_tmux(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    command: str,
    counts: bool,
) -> None:
    monkeypatch.setattr(tmux_servers, "_ASK_TIMEOUT", 0.2)
    pid = pid_of(start(program, command))
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: (stat := stat_of(pid)) is not None and stat.state == "T", "the stop")
        said = why(tmp_path)
        assert (said is not None and "this process is stopped" in said) is counts
    finally:
        os.kill(pid, signal.SIGCONT)


_SERVER = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, b"mail: server", 0, 0, 0)
at = socket.socket(socket.AF_UNIX)
at.bind(sys.argv[1])
at.listen()
if os.fork():
    print(flush=True)
    at.accept()[0].sendall(b"220 hello")
os.read(0, 1)
"""


def test_a_server_of_another_program_has_no_sessions(
    nobody_elses_tmux: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-S", "-c", _SERVER, str(nobody_elses_tmux / "mail")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as mail:
        assert mail.stdout is not None
        assert mail.stdout.readline() == b"\n"
        assert mail.pid in [each.pid for each in servers_of(OURS)]
        assert why(tmp_path) is None
        mail.kill()


def test_a_script_with_a_server_like_name_is_not_a_server(tmp_path: Path) -> None:
    script = tmp_path / "tmux-sessions-of-mine"
    script.write_text("#!/bin/sh\necho\nsleep 1000 & wait\n")
    script.chmod(0o755)
    with subprocess.Popen([script], stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"\n"
        until(
            lambda: Path(f"/proc/{running.pid}/comm").read_text().startswith("tmux-"), "its name"
        )
        assert running.pid not in [each.pid for each in servers_of(OURS)]
        os.killpg(running.pid, signal.SIGKILL)


def test_a_socket_that_was_named_from_where_it_was_started_is_found(
    start: Start, nobody_elses_tmux: Path, tmp_path: Path
) -> None:
    start("tmux", socket="./rel")
    said = why(tmp_path)
    assert said is not None
    assert f"another tmux server has the agent's session; try -S {nobody_elses_tmux}/rel" in said
