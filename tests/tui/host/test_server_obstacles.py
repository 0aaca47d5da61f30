"""Servers of this user that cannot be queried: named with what really helps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.real_tmux import RealTmux
from tests.support.waiting import until
from tui.host import tmux_servers
from tui.host.server_token import token_of
from tui.host.tmux import Tmux
from tui.host.tmux_servers import look_elsewhere
from tui.host.tmux_types import SetAside

OURS = frozenset({os.getuid()})
UNSHARE = ["unshare", *(() if os.getuid() == 0 else ("-Ur",)), "-m"]


def why(at: Path) -> str:
    """What is said of an agent's session that the server at a path does not have."""
    return look_elsewhere(["agent_a"], Tmux(at).ask(), OURS).whys.get("agent_a", "")


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sockets of the other servers that are queried from now on."""
    asked: list[Path] = []

    def ask(socket: Path, timeout: float) -> Tmux:
        asked.append(socket)
        return Tmux(socket, timeout)

    monkeypatch.setattr(tmux_servers, "Tmux", ask)
    return asked


def follow(advice: str) -> None:
    """Runs the command that a message advises."""
    command = advice.partition("with: ")[2].partition(";")[0].partition(", or")[0]
    subprocess.run(["sh", "-c", command], check=True)


def test_one_whose_directory_is_gone_needs_the_directory_first(
    server: RealTmux, tmp_path: Path
) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    shutil.rmtree(server.directory)
    said = why(tmp_path / "none")
    assert f"tmux server {pid}" in said and f"{server.directory}, is gone" in said
    follow(said)
    until(server.socket.exists, "the socket")
    assert f"-S {server.socket}" in why(tmp_path / "none")


def test_one_whose_path_another_server_took_can_have_it_back(
    server: RealTmux, tmp_path: Path
) -> None:
    server.start("agent_a")
    first = server.server_pid()
    server.socket.unlink()
    server.start("agent_b")
    second = server.server_pid()
    assert first != second
    said = why(tmp_path / "none")
    assert f"tmux server {first} runs" in said and f"leads to tmux server {second}" in said
    # The socket of the second server would be lost without a word.
    assert f"give the path back to server {second} with: kill -USR1 {second}" in said
    follow(said)
    until(lambda: server.server_pid() == first, "the first server")
    assert f"-S {server.socket}" in why(tmp_path / "none")


def test_a_stopped_one_is_to_be_continued_and_is_not_waited_for(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop")
    asked = recorded(monkeypatch)
    said = why(tmp_path / "none")
    assert "this process is stopped" in said and f"kill -CONT {pid}" in said and "-S" not in said
    assert asked == []
    follow(said)
    assert f"-S {server.socket}" in why(tmp_path / "none")


@contextmanager
def in_container(server: RealTmux) -> Iterator[int]:
    """A server with a directory for sockets that only its mount namespace has."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here (unshare -m)")
    inside = (
        f'mount -t tmpfs none "{server.directory}" && tmux -f /dev/null -S "{server.socket}" '
        "new-session -d -P -F '#{pid}' -s agent_a 'exec sleep 1000'"
    )
    made = subprocess.run([*UNSHARE, "sh", "-c", inside], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr}")
    pid = int(made.stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_one_in_a_container_is_not_connected_to_and_named_as_that(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of a server with fewer rights would lend its own rights to that server."""
    with in_container(server) as pid:
        at = Tmux(tmp_path / "none").ask()
        asked = recorded(monkeypatch)
        said = look_elsewhere(["agent_a"], at, OURS).whys["agent_a"]
    assert (
        f"process {pid} on {server.socket} may be another tmux server "
        "(this process runs in a container" in said
    )
    assert "kill" not in said and "-S" not in said
    assert asked == []


def test_one_that_the_operator_set_aside_is_queried_after_all_others(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs takes the time of those that come after it."""
    with RealTmux() as other:
        server.start("agent_b")
        other.start("agent_c")
        at = Tmux(tmp_path / "none").ask()
        asked = recorded(monkeypatch)
        for first, last in ((server, other), (other, server)):
            token = token_of(last.server_pid())
            assert token is not None
            look_elsewhere(["agent_a"], at, OURS, SetAside(frozenset({token})))
            assert asked == [first.socket, last.socket]
            asked.clear()
