"""Statuses in a database are repaired: with what agents reported, and only if nothing changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.audit import Audit, AuditContext
from registry.checks import Issue
from registry.database import read_agent
from registry.schema import Workspace
from registry.sources import SqliteTask, SqliteWorkspace, find_issues
from tests.support.databases import Database, stamp_ago
from tests.support.registries import agent, write


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with two agents that reported their ends, and with an agent at work."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    times = {"started_at": stamp_ago(3600), "last_update": stamp_ago(600)}
    for name in ("lined", "rowed", "worker"):
        database.agent(name, **times)
    database.row(
        "agent_progress_latest",
        task_id="TASK-1",
        agent_id="rowed",
        timestamp=stamp_ago(300),
        status="failed",
        progress=40,
        message="no disk",
    )
    write_line(database, "lined", 300, "completed")
    return database


def write_line(built: Database, agent_id: str, seconds: float, status: str) -> None:
    """Appends a line to an agent's progress file, written some seconds ago."""
    path = built.workspace / "TASK-1" / "progress" / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {"timestamp": stamp_ago(seconds), "agent_id": agent_id, "status": status}
    with path.open("a") as file:
        file.write(json.dumps(line | {"message": "all done", "progress": 100}) + "\n")
    os.utime(path, (time.time() - seconds,) * 2)


def find(built: Database) -> tuple[SqliteTask, tuple[Issue, ...]]:
    source = SqliteWorkspace(Workspace(built.workspace))
    tasks = source.tasks({})
    (job,) = find_issues([source], tasks, {}).tasks
    assert isinstance(job.source, SqliteTask)
    return job.source, job.fixable


def fields(built: Database, agent_id: str) -> dict[str, object]:
    return dict(read_agent(built.path, "TASK-1", agent_id) or {})


def test_the_ends_that_agents_reported_are_written_and_nothing_is_left(built: Database) -> None:
    task, planned = find(built)
    assert {issue.agent: issue.fix for issue in planned} == {
        "lined": "completed",
        "rowed": "failed",
    }
    before = fields(built, "worker")
    made = task.repair(planned, on_record=AuditContext(Audit("fix", "")))
    assert made.result.done == planned and made.written == (built.path,)
    lined, rowed = fields(built, "lined"), fields(built, "rowed")
    assert (lined["status"], lined["progress"]) == ("completed", 100)
    assert lined["completed_at"] and lined["latest"]["message"] == "all done"  # type: ignore[index]
    assert (rowed["status"], rowed["progress"], rowed["completed_at"]) == ("failed", 10, None)
    assert rowed["latest"]["message"] == "no disk"  # type: ignore[index]
    assert fields(built, "worker") == before
    assert find(built)[1] == ()
    logged = built.path.with_name("muster_audit.jsonl").read_text()
    assert "agents.status" in logged and str(built.path.name) in logged


def _report(built: Database) -> None:
    built.run("UPDATE agents SET last_update = ? WHERE agent_id = 'lined'", stamp_ago(0))


def _write(built: Database) -> None:
    write_line(built, "lined", 100, "working")


def _deploy(built: Database) -> None:
    built.run("UPDATE agents SET started_at = ? WHERE agent_id = 'lined'", stamp_ago(60))


def _end(built: Database) -> None:
    built.run("UPDATE agents SET status = 'terminated' WHERE agent_id = 'lined'")


@pytest.mark.parametrize("change", [_report, _write, _deploy, _end])
def test_an_agent_that_changed_since_the_plan_is_left(
    built: Database, change: Callable[[Database], None]
) -> None:
    task, planned = find(built)
    change(built)
    before = fields(built, "lined")
    result = task.repair(planned, on_record=None).result
    assert [issue.agent for issue in result.done] == ["rowed"]
    ((issue, why),) = result.left
    assert issue.agent == "lined" and why
    assert fields(built, "lined") == before


def test_agents_that_json_lists_meanwhile_are_left(built: Database) -> None:
    task, planned = find(built)
    write(task.path, {"task_id": "TASK-1", "agents": [agent("lined"), agent("rowed")]})
    assert task.repair(planned, on_record=None).result.done == ()
    assert fields(built, "lined")["status"] == "running"


def test_a_report_during_the_repair_is_never_lost(
    built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry import operations

    task, planned = find(built)
    finish = operations.finish_in_database

    def after_a_report(*arguments: object, **named: object) -> object:
        _report(built)
        return finish(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(operations, "finish_in_database", after_a_report)
    result = task.repair(planned, on_record=None).result
    assert [issue.agent for issue in result.done] == ["rowed"]
    ((_, why),) = result.left
    assert "reported meanwhile" in why
    assert fields(built, "lined")["status"] == "running"


def test_nothing_is_planned_in_a_database_that_cannot_be_written(built: Database) -> None:
    built.run("CREATE TRIGGER odd AFTER UPDATE ON agents BEGIN SELECT 1; END")
    source = SqliteWorkspace(Workspace(built.workspace))
    issues = find_issues([source], source.tasks({}), {}).findings
    assert {issue.agent for issue in issues} == {"lined", "rowed"}
    assert not any(issue.fixable for issue in issues)
    assert all("trigger" in issue.advice for issue in issues)
