"""The remains of agents whose tmux server or session was ended."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, take
from tui.model.roll import RollCall, Verdict


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A workspace of one task, with a directory for stream logs."""
    files = Files(tmp_path, {"TASK-1": []})
    (files.path / "TASK-1" / "logs").mkdir()
    return files


def log(files: Files, agent: str = "x") -> Path:
    return files.path / "TASK-1" / "logs" / f"{agent}_stream.jsonl"


NO_GRACE = replace(QUICK, start_grace=0.0)


def write(files: Files, *ids: str) -> None:
    """Writes agents that start now, and the agent "another" for one more session of a test."""
    agents = [entry(each, started_at=stamp(0)) for each in (*ids, "another")]
    files.write_task("TASK-1", *agents)
    files.write_global({"TASK-1": agents})


def kill_server(server: RealTmux) -> None:
    pid = server.server_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), "the server's end")


def restart_server(server: RealTmux) -> None:
    kill_server(server)
    server.start("agent_another")


def kill_session(server: RealTmux) -> None:
    server.start("agent_another")
    server.run("kill-session", "-t", "=agent_x")
    until(lambda: "agent_x" not in server.names(), "the session's end")


ALL_ENDS = (kill_server, restart_server, kill_session)

ENDS = pytest.mark.parametrize("end", ALL_ENDS)


def rolled(files: Files, server: RealTmux, agent: str = "x") -> RollCall:
    roll = take(files, server.client(), NO_GRACE)
    assert row_of(roll, agent).verdict is Verdict.ZOMBIE, row_of(roll, agent).note
    return roll
