"""Agents whose process has ended, though tmux keeps their session (``remain-on-exit``)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from registry.checks.issue import IssueKind
from tests.support.leftovers import NO_GRACE
from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, take, verdicts
from tui.actions.execute import Result, carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan_complete import checked_complete
from tui.doctor.examine import examine
from tui.doctor.fix import carry_out_fix
from tui.host.process import first_panes
from tui.host.tmux_types import Session
from tui.model.roll import RollCall, Verdict


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("x", started_at=stamp(0), last_update=stamp(60))]})


@pytest.fixture
def keeping(server: RealTmux) -> RealTmux:
    """A server that keeps dead panes."""
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    return server


def end(server: RealTmux, command: str = "exit 3") -> Session:
    """The session of an agent that has run a command to its end."""
    server.start("agent_x", command)
    return ended(server)


def ended(server: RealTmux) -> Session:
    """The agent's session when the process of its first pane has ended."""

    def dead() -> list[Session]:
        # tmux may have missed the signal that tells it to.
        os.kill(server.server_pid(), signal.SIGCHLD)
        session = server.client().ask().sessions["agent_x"]
        return [session] if any(map(first_panes.is_certain, session.dead)) else []

    return until(dead, "its end")[0]


def roll_of(files: Files, server: RealTmux) -> RollCall:
    return take(files, server.client(), NO_GRACE)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("exit 3", "its process has ended with exit status 3"),
        ("true", "its process has ended with exit status 0"),
        ("kill -9 $$", "its process was ended by signal 9"),
    ],
)
def test_an_agent_in_a_dead_pane_is_a_zombie_and_says_how_it_ended(
    files: Files, keeping: RealTmux, command: str, says: str
) -> None:
    session = end(keeping, command)
    row = row_of(roll_of(files, keeping), "x")
    assert (row.verdict, row.session, row.note) == (Verdict.ZOMBIE, session, says)
    just_started = row_of(take(files, keeping.client(), QUICK), "x")
    assert just_started.verdict is Verdict.UNKNOWN and says in just_started.note
    files.write_task("TASK-1", entry("x", "completed", started_at=stamp(0)))
    row = row_of(roll_of(files, keeping), "x")
    assert (row.verdict, row.session, row.note) == (Verdict.FINISHED, session, "")


def test_a_pane_that_a_visitor_opened_later_keeps_no_agent_alive(
    files: Files, keeping: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(keeping)
    keeping.run("split-window", "-d", "-t", "=agent_x:", SLEEP)
    assert verdicts(roll_of(files, keeping)) == {"x": Verdict.LIVE}, "it may be its own"
    monkeypatch.setattr(first_panes, "_LATER", 0.0)
    row = row_of(roll_of(files, keeping), "x")
    assert row.verdict is Verdict.ZOMBIE
    assert row.note.endswith("exit status 3; another pane of its session was opened later")
    files.write_task("TASK-1", entry("x", "completed", started_at=stamp(0)))
    assert verdicts(roll_of(files, keeping)) == {"x": Verdict.LEAKED}


def test_a_visitors_pane_alone_does_not_show_that_an_agent_lives(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_x")
    visitor = int(
        server.run("split-window", "-d", "-P", "-F", "#{pane_pid}", "-t", "=agent_x:", SLEEP)
    )
    began = first_panes._began

    def later(pid: int) -> float | None:
        # The visitor came a minute later.
        time = began(pid)
        return time + 60 if pid == visitor and time is not None else time

    monkeypatch.setattr(first_panes, "_began", later)
    assert verdicts(roll_of(files, server)) == {"x": Verdict.LIVE}
    server.run("kill-pane", "-t", "%0")
    files.write_task("TASK-1", entry("x", last_update=stamp(60)))
    roll = roll_of(files, server)
    row = row_of(roll, "x")
    assert row.verdict is Verdict.UNKNOWN and "first pane of its session is gone" in row.note
    assert not weighed_kill(roll, [row]).steps
    server.run("kill-pane", "-a", "-t", "%1")
    server.run("respawn-pane", "-k", "-t", "%1", SLEEP)
    assert verdicts(roll_of(files, server)) == {"x": Verdict.LIVE}, "it may have begun with it"


def test_the_first_pane_keeps_an_agent_alive_whatever_others_do(
    files: Files, keeping: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_panes, "_LATER", 0.0)
    keeping.start("agent_x")
    keeping.run("split-window", "-d", "-t", "=agent_x:", "exit 3")
    ended(keeping)
    assert verdicts(roll_of(files, keeping)) == {"x": Verdict.LIVE}
    keeping.run("respawn-pane", "-k", "-t", "%1", "exit 4")
    until(lambda: verdicts(roll_of(files, keeping)) == {"x": Verdict.ZOMBIE}, "its end")
    keeping.run("respawn-pane", "-t", "%1", SLEEP)
    assert verdicts(roll_of(files, keeping)) == {"x": Verdict.LIVE}


def test_a_dead_pane_that_was_moved_in_is_not_the_first_one(
    files: Files, keeping: RealTmux
) -> None:
    keeping.start("other", "exit 3")
    keeping.start("agent_x")
    keeping.run("join-pane", "-d", "-s", "=other:", "-t", "=agent_x:")
    session = ended(keeping)
    assert min(session.panes) == session.dead[0].pane
    assert verdicts(roll_of(files, keeping)) == {"x": Verdict.LIVE}


def test_the_doctor_gives_it_a_terminal_status(files: Files, keeping: RealTmux) -> None:
    end(keeping)
    examination = examine(files.workspaces(), roll_of(files, keeping), settled=0.0)
    (finding,) = [each for each in examination.findings if each.kind is IssueKind.ZOMBIE]
    assert finding.says == "is running, but its process has ended with exit status 3"
    assert carry_out_fix(examination, keeping.client(), "").complete
    assert files.agent("x")["status"] == "terminated"
    assert "agent_x" in keeping.names(), "its last words are kept"


def test_an_agent_that_runs_again_meanwhile_keeps_its_status(
    files: Files, keeping: RealTmux
) -> None:
    end(keeping)
    roll = roll_of(files, keeping)
    plans = [checked_complete(roll, roll.agents()), weighed_kill(roll, roll.agents())]
    assert [plan.steps[0].says.split("; ")[1:] for plan in plans] == [
        ["set its status to completed"],
        ["end its session and processes", "set its status to terminated"],
    ]
    keeping.run("respawn-pane", "-t", "=agent_x:", SLEEP)
    for plan in plans:
        (step,) = carry_out(plan, keeping.client(), "").steps
        assert (step.result, step.detail) == (Result.LEFT, "its process runs again")
    assert files.agent("x")["status"] == "running"
    assert "agent_x" in keeping.names()


def test_processes_that_run_in_its_session_are_named_and_a_kill_ends_them(
    files: Files, keeping: RealTmux
) -> None:
    end(keeping, "trap '' HUP; sleep 1000 & exit 3")
    roll = roll_of(files, keeping)
    assert verdicts(roll) == {"x": Verdict.ZOMBIE}
    plan = checked_complete(roll, roll.agents(), by_verdict=True)
    assert not plan.steps
    assert "1 process may still run in the agent's session: sleep (" in dict(plan.refused)["x"]
    pid = int(dict(plan.refused)["x"].split("sleep (")[1].split(")")[0])
    assert runs(pid)
    (step,) = checked_complete(roll, roll.agents()).steps
    assert f"although 1 process may still run in the agent's session: sleep ({pid})" in step.says
    assert carry_out(weighed_kill(roll, roll.agents()), keeping.client(), "").complete
    assert not runs(pid)
    assert files.agent("x")["status"] == "terminated"
    assert keeping.names() == {"keeper"}


def test_a_finished_agent_in_a_dead_pane_is_left(files: Files, keeping: RealTmux) -> None:
    end(keeping)
    files.write_task("TASK-1", entry("x", "completed", started_at=stamp(0)))
    roll = roll_of(files, keeping)
    for plan in (checked_complete(roll, roll.agents()), weighed_kill(roll, roll.agents())):
        assert not plan.steps
