"""A report is recorded in a database as the orchestrator records it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import AgentNotFoundError, NotSupportedError, WrongShapeError, read_registry
from registry.schema import Workspace
from registry.sources import JsonTask, SqliteWorkspace, TaskSource
from tests.support.databases import Database, agent_row, progress_lines
from tests.support.registries import agent, task_registry, write

EARLIER = "2026-03-01T10:00:00"


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task that has not begun."""
    database = Database(tmp_path / ".agent-workspace")
    database.task(status="INITIALIZED")
    return database


def _task(built: Database) -> TaskSource:
    (task,) = SqliteWorkspace(Workspace(built.workspace)).tasks({})
    return task


def _task_row(built: Database) -> tuple[Any, ...]:
    with closing(sqlite3.connect(built.path)) as database:
        row: tuple[Any, ...] = database.execute("SELECT status, updated_at FROM tasks").fetchone()
        return row


def test_a_report_has_its_rows_and_its_line(built: Database) -> None:
    built.agent("one", last_update=EARLIER)
    report = _task(built).report("one", status="blocked", progress=55.5, message="waits")
    assert (report.previous, report.status, report.problems) == ("running", "blocked", ())
    agents, latest = (
        agent_row(built, "agents", "one"),
        agent_row(built, "agent_progress_latest", "one"),
    )
    now = agents["last_update"]
    assert (agents["status"], agents["progress"], agents["completed_at"]) == ("blocked", 55, None)
    assert latest == {
        "task_id": "TASK-1",
        "agent_id": "one",
        "timestamp": now,
        "status": "blocked",
        "progress": 55,
        "message": "waits",
    }
    assert progress_lines(built, "one") == [{k: latest[k] for k in latest if k != "task_id"}]
    status, updated = _task_row(built)
    assert status == "ACTIVE" and updated >= now


def test_a_report_of_completion_has_a_time(built: Database) -> None:
    built.agent("one")
    _task(built).report("one", status="completed", progress=100, message="")
    row = agent_row(built, "agents", "one")
    assert row["completed_at"] == row["last_update"]
    assert _task_row(built)[0] == "INITIALIZED"  # No agent of it is active.
    _task(built).report("one", status="working", progress=90, message="again")
    again = agent_row(built, "agents", "one")
    assert (again["status"], again["completed_at"]) == ("working", row["completed_at"])


@pytest.mark.parametrize(
    ("word", "progress", "stored"),
    [
        ("in_progress", 40, "working"),
        ("in_progress", 100, "completed"),
        ("in_progress", 0, "running"),
        ("Starting", 40, "running"),
        ("REVIEWING", 40, "reviewing"),
        (None, None, "working"),
    ],
)
def test_a_kept_status_is_stored_as_the_orchestrator_stores_it(
    built: Database, word: str | None, progress: int | None, stored: str
) -> None:
    built.agent("one", status=word, progress=progress)
    report = _task(built).report("one", status=None, progress=None, message="")
    assert (report.previous, report.status) == (word, stored)
    row = agent_row(built, "agents", "one")
    assert (row["status"], row["progress"]) == (stored, progress or 0)


@pytest.mark.parametrize(
    ("word", "stored"),
    [
        ("reviewing", "reviewing"),
        ("phase_completed", "phase_completed"),
        ("killed", "killed"),
        ("starting", "running"),
    ],
)
def test_a_report_may_have_each_word_of_the_orchestrator(
    built: Database, word: str, stored: str
) -> None:
    built.agent("one")
    report = _task(built).report("one", status=word, progress=None, message="")
    assert (report.previous, report.status) == ("running", stored)
    assert agent_row(built, "agents", "one")["status"] == stored
    assert progress_lines(built, "one")[-1]["status"] == stored
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("paper")))
    with pytest.raises(WrongShapeError, match="not one of blocked, completed, error"):
        _task(built).report("paper", status=word, progress=None, message="")


def test_a_report_that_cannot_be_recorded_writes_nothing(built: Database) -> None:
    built.agent("one")
    before = agent_row(built, "agents", "one")
    task = _task(built)
    with pytest.raises(AgentNotFoundError, match=r"state\.sqlite3"):
        task.report("two", status=None, progress=None, message="")
    for status, progress in (("finished", None), (None, 101)):
        with pytest.raises(WrongShapeError):
            task.report("one", status=status, progress=progress, message="")
    assert agent_row(built, "agents", "one") == before and not progress_lines(built, "one")


def test_an_agent_that_only_json_lists_reports_there(built: Database) -> None:
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("paper")))
    report = _task(built).report("paper", status="completed", progress=100, message="done")
    assert report.status == "completed"
    assert read_registry(path)["agents"][0]["status"] == "completed"
    assert agent_row(built, "agents", "paper") == {}


def test_without_its_database_a_task_takes_no_agent(built: Database) -> None:
    task = JsonTask(built.workspace / "TASK-1" / "AGENT_REGISTRY.json")
    write(task.path, task_registry())
    logs = task.directory / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "deploy_one.json").write_text('{"storage": "sqlite"}')
    before = task.path.read_bytes()
    with pytest.raises(NotSupportedError, match=r"deploy_one\.json"):
        task.register("tester")
    assert task.path.read_bytes() == before


def test_agents_are_registered_by_the_orchestrator_alone(built: Database) -> None:
    built.agent("one")
    task = _task(built)
    for change in (lambda: task.register("tester"), lambda: task.withdraw("one")):
        with pytest.raises(NotSupportedError, match="the orchestrator"):
            change()
    assert json.loads(json.dumps(task.entry("one")))["status"] == "running"
