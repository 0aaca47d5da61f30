"""Another user puts a link to another's task in the place of its own, in the midst of a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.leftovers import NO_GRACE, kill_session, rolled, write
from tests.support.other_user import OTHER, needs_another_user
from tests.support.real_tmux import RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, row_of, take
from tui.actions import footprint
from tui.actions.evidence import collect
from tui.actions.execute import Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.model.roll import Verdict

pytestmark = needs_another_user


@pytest.fixture
def own(tmp_path: Path) -> Files:
    """The workspace of root."""
    return Files(tmp_path / "own", {"TASK-1": []})


@pytest.fixture
def others(tmp_path: Path) -> Files:
    """The workspace of another user, which lists the same agent."""
    return Files(tmp_path / "others", {"TASK-1": []})


def give(files: Files) -> None:
    for path in (files.path.parent, files.path, *files.path.rglob("*")):
        os.chown(path, OTHER, OTHER)


def swap(others: Files, own: Files) -> None:
    task = others.path / "TASK-1"
    task.rename(others.path.parent / "TASK-1")
    task.symlink_to(own.path / "TASK-1")


def swapping_before(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, others: Files, own: Files
) -> None:
    """Has the other user swap the task right before muster calls a function."""
    real: Callable[..., object] = getattr(module, name)

    def called(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(module, name, real)
        swap(others, own)
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, called)


@pytest.mark.parametrize("moment", ["find_leftovers", "looked_at"])
def test_what_is_left_of_roots_agent_is_not_ended_as_another_users(
    own: Files, others: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    log = own.path / "TASK-1" / "logs" / "x_stream.jsonl"
    log.parent.mkdir()
    server.start("agent_x", f"trap '' HUP; exec 3>> {log}; exec sleep 1000")
    (pid,) = server.pane_pids()
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    write(own, "x")
    write(others, "x")
    give(others)
    kill_session(server)
    roll = rolled(others, server)
    module = collect if moment == "find_leftovers" else footprint
    swapping_before(monkeypatch, module, moment, others, own)
    try:
        plan = weighed_kill(roll, [row_of(roll, "x")])
        assert plan.steps == () and len(plan.refused) == 1
        carry_out(plan, server.client(), "")
        assert runs(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert own.agent("x")["status"] == "running"


def test_roots_session_is_not_ended_as_another_users(
    own: Files, others: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.path.parent)
    server.run("new-session", "-d", "-s", "agent_x", "-c", str(own.path.parent), "sleep 1000")
    write(own, "x")
    write(others, "x")
    give(others)
    roll = take(others, server.client(), NO_GRACE)
    row = row_of(roll, "x")
    assert row.verdict is Verdict.LIVE
    ((_, why),) = weighed_kill(roll, [row]).refused
    assert "has the same session" in why
    swapping_before(monkeypatch, collect, "claims_on", others, own)
    plan = weighed_kill(roll, [row])
    assert plan.steps == () and "has the same session" in plan.refused[0][1]
    assert server.names() == {"agent_x"}


def test_a_registry_whose_path_leads_elsewhere_keeps_the_session(
    own: Files, others: Files, server: RealTmux
) -> None:
    server.start("agent_x")
    write(others, "x")
    give(others)
    roll = take(others, server.client(), NO_GRACE)
    plan = weighed_kill(roll, [row_of(roll, "x")])
    assert len(plan.steps) == 1
    swap(others, own)
    (step,) = carry_out(plan, server.client(), "").steps
    assert step.result is Result.LEFT and "cannot read its registry" in step.detail
    assert server.names() == {"agent_x"}
