"""The rows of a database as records: statuses, phases, reviewers, and the newest of three."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from registry.database import read_rows
from registry.database.tables import Chunk, Table
from registry.schema import TaskRecord, is_active, is_terminal
from registry.schema.database_records import (
    Believed,
    LastReport,
    WorkspaceRecord,
    newest_of,
    workspace_record,
)
from registry.schema.records import task_record
from registry.schema.timestamps import parse_time
from tests.support.databases import JANUARY, Database


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task."""
    database = Database(tmp_path / ".agent-workspace")
    database.task(description="do it", current_phase_index=1)
    return database


def _record(database: Database) -> WorkspaceRecord:
    return workspace_record(read_rows(database.path))


def _task(database: Database) -> TaskRecord:
    return _record(database).tasks["TASK-1"]


def test_very_many_children_of_one_parent_are_taken_at_once(built: Database) -> None:
    rows = read_rows(built.path)
    columns = ("task_id", "parent_agent_id", "child_agent_id")
    children = tuple(("TASK-1", "boss", str(number)) for number in range(100_000))
    chunk = Chunk.of(columns, children, 0, None)
    tables = {**rows.tables, "agent_hierarchy": Table(columns, (chunk,))}
    record = workspace_record(replace(rows, tables=tables))
    assert len(record.tasks["TASK-1"].hierarchy["boss"]) == 100_000


@pytest.mark.parametrize(
    ("status", "progress", "active", "terminal"),
    [
        ("running", 0, True, False),
        ("working", 100, True, False),
        ("blocked", 50, True, False),
        ("reviewing", 50, True, False),
        ("reviewing", 100, True, False),
        ("in_progress", 50, True, False),
        ("starting", None, True, False),
        ("starting", 100, True, False),
        (None, 0, True, False),
        ("", 0, True, False),
        ("completed", 100, False, True),
        ("COMPLETED", 100, False, True),
        ("failed", 0, False, True),
        ("error", 0, False, True),
        ("terminated", 0, False, True),
        ("killed", 0, False, True),
        ("phase_completed", 40, False, True),
        ("done", 100, False, True),
        ("done", 99, True, False),
        ("", 100, True, False),
    ],
)
def test_each_status_has_its_meaning(
    built: Database, status: str | None, progress: int | None, active: bool, terminal: bool
) -> None:
    built.agent("one", status=status, progress=progress)
    (agent,) = _task(built).agents
    assert agent.status == (status or "")
    assert (is_active(agent.meaning), is_terminal(agent.meaning)) == (active, terminal)
    expecting = [agent.id for agent in _task(built).expecting]
    assert expecting == (["one"] if active else [])


def test_phases_reviewers_and_limits_are_read(built: Database) -> None:
    for number, (name, status) in enumerate([("plan", "APPROVED"), ("build", "ACTIVE")]):
        built.row("phases", task_id="TASK-1", phase_index=number, name=name, status=status)
    built.row("task_config", task_id="TASK-1", max_agents=7)
    built.agent("worker", phase_index=1)
    built.agent("reviewer", phase_index=-1)
    built.agent("critic", phase_index=0, review_id="review-1")
    task = _task(built)
    assert (task.phase, [phase.name for phase in task.phases.values()]) == (1, ["plan", "build"])
    assert [(agent.phase, agent.is_reviewer) for agent in task.agents] == [
        (1, False),
        (None, True),
        (0, True),
    ]
    assert (task.max_agents, task.max_concurrent, task.max_depth) == (7, 20, 5)


def test_a_database_of_january_has_neither_phases_nor_limits(tmp_path: Path) -> None:
    database = Database(tmp_path, JANUARY)
    database.task()
    database.agent("one")
    task = _task(database)
    assert (task.phase, dict(task.phases), task.max_agents) == (None, {}, 50)
    assert (task.agents[0].id, task.agents[0].cursor_pid) == ("one", None)


def test_null_in_every_field_is_read(built: Database) -> None:
    built.row("agents", agent_id="bare", task_id="TASK-1")
    built.row("agents", agent_id=None, task_id="TASK-1", tmux_session=b"x", depth="deep")
    bare, nameless = _task(built).agents
    assert (bare.id, bare.tmux_session, bare.started, bare.status) == ("bare", None, None, "")
    assert (nameless.id, nameless.tmux_session, nameless.depth) == ("", None, None)
    assert "agent_bare" in _record(built).sessions


def test_agents_of_a_task_without_a_row_are_not_lost(built: Database) -> None:
    built.agent("alone", "TASK-2")
    record = _record(built)
    assert [agent.id for agent in record.tasks["TASK-2"].agents] == ["alone"]
    assert record.tasks["TASK-2"].warnings
    assert record.sessions == {"agent_alone"}


def test_children_are_those_of_the_task(built: Database) -> None:
    for child in ("one", "two"):
        built.row(
            "agent_hierarchy", task_id="TASK-1", parent_agent_id="boss", child_agent_id=child
        )
    assert _task(built).hierarchy == {"boss": ("one", "two")}


# The days on which agents were in both


def _json(**fields: object) -> TaskRecord:
    usual = {"id": "one", "tmux_session": "agent_one", "status": "running"}
    return task_record({"task_id": "TASK-1", "agents": [{**usual, **fields}]})


EARLY, LATER, LAST = "2026-01-06T10:00:00", "2026-01-06T11:00:00", "2026-01-06T12:00:00"


@pytest.mark.parametrize(
    ("database", "json", "report", "status"),
    [
        (LAST, EARLY, 0.0, "working"),
        (EARLY, LATER, 0.0, "completed"),
        (LAST, LAST, 0.0, "working"),
        (EARLY, LATER, 4e9, "failed"),
        (LAST, EARLY, 1.0, "working"),
    ],
)
def test_the_newest_of_three_counts(
    built: Database, database: str, json: str, report: float, status: str
) -> None:
    built.agent("one", status="working", last_update=database, phase_index=1)
    other = _json(status="completed", last_update=json)
    reports = {"one": LastReport(report, "later", "failed", 55)} if report else {}
    (agent,) = newest_of(_task(built), other, reports).agents
    assert (agent.status, agent.phase) == (status, 1)


def test_an_agent_that_only_one_of_both_has_is_kept(built: Database) -> None:
    built.agent("one", tmux_session=None)
    other = task_record(
        {"agents": [{"id": "one", "tmux_session": "s"}, {"id": "two", "status": "running"}]}
    )
    agents = newest_of(_task(built), other, {}).agents
    assert [(agent.id, agent.tmux_session) for agent in agents] == [("one", "s"), ("two", None)]


def test_an_end_without_an_update_is_newer_than_an_earlier_report(built: Database) -> None:
    built.agent("one", status="failed", last_update=EARLY, completed_at=LAST)
    other = _json(status="running", last_update=LATER)
    at = parse_time(LATER)
    assert at is not None
    for report in ({}, {"one": LastReport(at, LATER, "working", 55)}):
        (agent,) = newest_of(_task(built), other, report).agents
        assert agent.status == "failed"
    # The time of the end of an earlier deployment does not count.
    built.run("UPDATE agents SET status = 'running'")
    (agent,) = newest_of(_task(built), _json(status="blocked", last_update=LATER), {}).agents
    assert agent.status == "blocked"


@pytest.mark.parametrize("believed", Believed)
@pytest.mark.parametrize("update", [EARLY, LAST])
def test_both_sessions_of_an_agent_are_its_sessions(
    built: Database, update: str, believed: Believed
) -> None:
    built.agent("one", tmux_session="agent_new", last_update=update, status="completed")
    other = _json(tmux_session="agent_old", last_update=LATER)
    task = newest_of(_task(built), other, {}, believed=believed)
    assert task.sessions == {"agent_new", "agent_old"}
    in_database = believed is Believed.DATABASE or (believed is Believed.BOTH and update == LAST)
    assert [agent.status for agent in task.agents] == ["completed" if in_database else "running"]
    assert len(newest_of(_task(built), _json(tmux_session="agent_new"), {}).with_sessions) == 1


def test_a_word_of_the_last_report_has_its_meaning(built: Database) -> None:
    built.agent("one", last_update=EARLY)
    reports = {"one": LastReport(4e9, "later", "reviewing", None)}
    (agent,) = newest_of(_task(built), _json(last_update=EARLY), reports).agents
    assert (agent.status, agent.meaning, agent.progress) == ("reviewing", "working", 10)
