"""Agents of a database are killed and completed, and what was done is taken back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry import read_registry
from registry.audit import log_in
from registry.schema.layout import Workspace
from tests.support.databases import Database, agent_row, progress_lines
from tests.support.real_tmux import RealTmux
from tests.support.registries import agent, task_registry, write
from tests.support.workspaces import QUICK, row_of, stamp, verdicts
from tui.actions.execute import carry_out
from tui.actions.footprint import checked_kill
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.cli.main import main
from tui.live.once import take_roll
from tui.model.roll import RollCall, Verdict

YOUNG = replace(QUICK, orphan_grace=-1.0)

Run = Callable[..., int]


def times() -> dict[str, str]:
    """Returns the times of an agent whose session a test starts now."""
    return {"started_at": stamp(20), "last_update": stamp(10)}


@pytest.fixture
def built(tmp_path: Path, server: RealTmux) -> Database:
    """A database with a live agent, a live one with a word of its own, and a zombie."""
    database = Database(tmp_path / "project" / ".agent-workspace")
    database.task()
    database.agent("worker", **times())
    database.agent("odd", status="in_progress", **times())
    database.agent("gone", **times())
    for name in ("worker", "odd"):
        server.start(f"agent_{name}")
    return database


@pytest.fixture
def run(server: RealTmux, monkeypatch: pytest.MonkeyPatch, built: Database) -> Run:
    """Runs a command on the workspace."""
    for module in ("kill", "complete"):
        monkeypatch.setattr(f"tui.cli.commands.{module}.policy_of", lambda _: YOUNG)

    def ran(command: str, *words: str) -> int:
        monkeypatch.setenv("MUSTER_WORKSPACES", str(built.workspace))
        return main([command, *words])

    return ran


def taken(built: Database, server: RealTmux) -> RollCall:
    return take_roll([Workspace(built.workspace.resolve())], server.client(), YOUNG)


def test_a_kill_that_cannot_be_logged_ends_nothing(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_in(built.workspace)
    log.mkdir(parents=True)
    names = server.names()
    assert run("kill", "worker", "--yes", "-S", str(server.socket)) == 1
    said = capsys.readouterr()
    assert "nothing was ended, because the kill cannot be logged" in said.out + said.err
    assert server.names() == names
    assert agent_row(built, "agents", "worker")["status"] == "running"


def test_a_kill_ends_the_session_and_writes_the_database(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--reason", "stuck", "--yes", "-S", str(server.socket))
    assert run("kill", "worker", "odd", *words) == 0
    assert server.names().isdisjoint({"agent_worker", "agent_odd"})
    for name in ("worker", "odd"):
        assert agent_row(built, "agents", name)["status"] == "terminated"
        assert agent_row(built, "agent_progress_latest", name)["message"] == "stuck"
        assert progress_lines(built, name)[-1]["status"] == "terminated"
    said = capsys.readouterr().out
    assert "in_progress -> terminated" in said
    assert verdicts(taken(built, server))["worker"] is Verdict.FINISHED
    assert run("undo", "--yes") == 1
    assert "a kill cannot be undone" in capsys.readouterr().err


def test_a_zombie_is_completed_and_taken_back(
    built: Database, server: RealTmux, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = agent_row(built, "agents", "gone")
    assert run("complete", "--zombies", "--yes", "-S", str(server.socket)) == 0
    assert agent_row(built, "agents", "gone")["status"] in ("completed", "terminated")
    assert verdicts(taken(built, server))["gone"] is Verdict.FINISHED
    assert run("log") == 0
    assert "agents.status running →" in capsys.readouterr().out
    assert run("undo", "--dry-run") == 0
    assert "registry/state.sqlite3" in capsys.readouterr().out
    assert run("undo", "--yes") == 0
    assert agent_row(built, "agents", "gone") == before
    assert verdicts(taken(built, server))["gone"] is Verdict.ZOMBIE


def test_an_agent_that_was_deployed_again_is_not_ended(built: Database, server: RealTmux) -> None:
    roll = taken(built, server)
    plan = plan_complete(roll, [row_of(roll, "gone")])
    built.run("UPDATE agents SET started_at = ? WHERE agent_id = 'gone'", stamp(0))
    (step,) = carry_out(plan, server.client(), "").steps
    assert "deployed again" in step.detail
    assert agent_row(built, "agents", "gone")["status"] == "running"


def test_agents_of_both_formats_in_one_task_read_as_ended(
    built: Database, server: RealTmux
) -> None:
    """For some days, orchestrators kept agents in both."""
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    newer = {"started_at": stamp(20), "last_update": stamp(2)}
    in_both = agent("gone", **{**newer, "tmux_session": "agent_gone"})
    only_json = agent("paper", **{**newer, "tmux_session": "agent_paper"})
    write(path, task_registry(in_both, only_json, task_id="TASK-1"))
    progress = built.workspace / "TASK-1" / "progress"
    progress.mkdir()
    line = {"agent_id": "paper", "timestamp": stamp(1), "status": "working", "progress": 50}
    (progress / "paper_progress.jsonl").write_text(json.dumps(line) + "\n")

    roll = taken(built, server)
    assert {verdicts(roll)[name] for name in ("gone", "paper")} == {Verdict.ZOMBIE}
    rows = [row_of(roll, name) for name in ("gone", "paper")]
    outcome = carry_out(plan_complete(roll, rows), server.client(), "both")
    assert outcome.complete, outcome
    assert set(outcome.written) == {built.path, path}
    assert agent_row(built, "agents", "gone")["status"] == "completed"
    assert read_registry(path)["agents"][1]["status"] == "completed"
    now = taken(built, server)
    assert {verdicts(now)[name] for name in ("gone", "paper")} == {Verdict.FINISHED}
    assert main(["undo", "--yes", "-w", str(built.workspace)]) == 0
    again = taken(built, server)
    assert {verdicts(again)[name] for name in ("gone", "paper")} == {Verdict.ZOMBIE}


def test_a_live_agent_is_killed_in_both_formats(built: Database, server: RealTmux) -> None:
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    in_both = agent("worker", started_at=stamp(20), last_update=stamp(2))
    write(path, task_registry({**in_both, "tmux_session": "agent_worker"}, task_id="TASK-1"))
    roll = taken(built, server)
    outcome = carry_out(plan_kill(roll, [row_of(roll, "worker")]), server.client(), "")
    assert outcome.complete, outcome
    assert verdicts(taken(built, server))["worker"] is Verdict.FINISHED


@pytest.mark.parametrize(
    ("status", "tool"),
    [("ACTIVE", "submit_phase_for_review"), ("FIXING", "mark_revision_ready"), ("APPROVED", None)],
)
def test_the_end_of_a_phase_says_what_the_orchestrator_does_next(
    built: Database, server: RealTmux, status: str, tool: str | None
) -> None:
    built.row("phases", task_id="TASK-1", phase_index=0, name="build", status=status)
    built.run("UPDATE agents SET phase_index = 0 WHERE agent_id IN ('gone', 'worker')")
    roll = taken(built, server)
    gone, worker = (row_of(roll, name) for name in ("gone", "worker"))
    assert not plan_complete(roll, [gone]).notes
    plan = plan_kill(roll, [gone, worker])
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete, outcome
    said = *plan.preview().remarks, *outcome.notes
    if tool is None:
        assert not said and "After this" not in plan.preview().note
    else:
        assert all("phase 1 of 1 (build) of TASK-1 has no active agent" in text for text in said)
        assert all(f"call the orchestrator's tool {tool}" in text for text in said)
        assert len(said) == 2


def test_what_others_may_write_is_not_written(built: Database, server: RealTmux) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file to a group that it is not in")
    for path in (built.path.parent, built.path):
        mode = path.stat().st_mode & 0o7777
        os.chown(path, -1, 64200)
        path.chmod(mode | 0o020)
    roll = taken(built, server)
    plan = checked_kill(plan_kill(roll, [row_of(roll, "worker")]), roll)
    ((_, why),) = plan.refused
    assert "group 64200 can write or replace it" in why
