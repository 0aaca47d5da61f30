"""Processes that may be left of a session that a log tells of, and do not prove it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.audit.entries import EndedSession
from registry.audit.log import Audit, log_in
from tests.support.leftovers import NO_GRACE, kill_session, rolled, write
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, row_of, take
from tui.actions.execute import Result, StepOutcome, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import checked_complete


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": []})


@pytest.fixture
def late(files: Files, server: RealTmux) -> Iterator[int]:
    """A process of x that began long after a kill of x which was cut short."""
    server.start("agent_x", "trap '' HUP; exec sleep 1000")
    (pid,) = server.pane_pids()
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    write(files, "x")
    answer = server.client().ask()
    session = answer.sessions["agent_x"]
    begun_before = int(time.time()) - 1000
    ended = EndedSession(
        "agent_x",
        session.id,
        begun_before - 1000,
        str(server.socket),
        "x",
        answer.server_pid,
        answer.server_started,
        session.panes,
    )
    log = log_in(files.path)
    log.parent.mkdir(exist_ok=True)
    Audit("kill", "cut short").begin(log, session=ended)
    record = json.loads(log.read_text())
    record["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun_before))
    log.write_text(json.dumps(record) + "\n")
    kill_session(server)
    yield pid
    if runs(pid):
        os.kill(pid, signal.SIGKILL)


def kill(files: Files, server: RealTmux) -> StepOutcome:
    roll = take(files, server.client(), NO_GRACE)
    plan = weighed_kill(roll, [row_of(roll, "x")])
    (step,) = carry_out(plan, server.client(), "").steps
    return step


def test_an_agent_is_not_called_dead_while_what_was_left_alone_runs(
    files: Files, server: RealTmux, late: int
) -> None:
    outcome = kill(files, server)
    assert outcome.result is Result.FAILED
    assert f"sleep ({late})" in outcome.detail and "muster complete x" in outcome.detail
    assert files.agent("x")["status"] == "running"
    assert runs(late)
    os.kill(late, signal.SIGKILL)
    until(lambda: not runs(late), "its end")
    assert kill(files, server).result is Result.DONE
    assert files.agent("x")["status"] == "terminated"


def test_named_alone_it_is_completed_all_the_same(
    files: Files, server: RealTmux, late: int
) -> None:
    roll = rolled(files, server)
    plan = checked_complete(roll, [row_of(roll, "x")])
    assert carry_out(plan, server.client(), "").complete
    assert files.agent("x")["status"] == "completed"
    assert runs(late)
