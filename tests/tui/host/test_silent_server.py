"""A tmux server that does not answer: the advice fits the state of its process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.real_tmux import SLEEP, RealTmux, fake_binary
from tests.support.waiting import until
from tui.host.tmux_types import TmuxSnapshot, TmuxState

HANGS = "wait-for nobody"
"""A tmux command that never ends, although the server runs."""


def unanswered(
    server: RealTmux, directory: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> TmuxSnapshot:
    """Queries a server with a client that gets no answer."""
    path = fake_binary(directory / "hanging", script)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{path}:{os.environ['PATH']}")
        answer = server.client(timeout=0.5).ask()
    assert answer.state is TmuxState.UNKNOWN
    assert "did not answer within 0.5 s" in answer.detail
    return answer


def test_a_stopped_server_is_named_with_the_command_that_continues_it(server: RealTmux) -> None:
    server.start("agent_a")
    pid = server.server_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the stop")
    answer = server.client(timeout=0.5).ask()
    assert f"process {pid}, is stopped" in answer.detail
    assert answer.advice == f"continue the server with: kill -CONT {pid}"


def test_a_server_that_is_not_stopped_is_not_to_be_continued(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    hanging = f'exec {shutil.which("tmux")} -S "{server.socket}" {HANGS}'
    answer = unanswered(server, tmp_path, hanging, monkeypatch)
    assert f"process {server.server_pid()}, is not stopped" in answer.detail
    assert "-CONT" not in answer.advice and "-S" not in answer.advice


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("removed", [False, True])
def test_a_server_that_outlived_an_upgrade_of_tmux_is_named(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool, ended: bool
) -> None:
    installed = shutil.which("tmux")
    assert installed is not None
    old = tmp_path / "old-tmux"
    shutil.copy(installed, old)
    words = [
        str(old),
        "-f",
        "/dev/null",
        "-S",
        str(server.socket),
        "new-session",
        "-d",
        "-s",
        "agent_a",
    ]
    subprocess.run([*words, SLEEP], check=True)
    pid = server.server_pid()
    if removed:
        old.unlink()
    hanging = f'exec {installed} -S "{server.socket}" {HANGS}'
    if ended:
        # An old server can keep the output of a client open that has ended.
        hanging = f'{installed} -S "{server.socket}" {HANGS} & exit 0'
    answer = unanswered(server, tmp_path, hanging, monkeypatch)
    assert ("removed or replaced" if removed else "old-tmux") in answer.detail
    assert f"/proc/{pid}/exe -V" in answer.advice and "3.2 or newer" in answer.advice
    assert "-CONT" not in answer.advice and "end that server" not in answer.advice
