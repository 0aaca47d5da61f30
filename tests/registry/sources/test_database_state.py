"""A database is read again only where it changed, and nothing that changed is missed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.database import read_rows
from registry.schema import Workspace
from registry.sources import SqliteWorkspace, TaskSource
from tests.support.databases import Database


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with two tasks of two agents."""
    database = Database(tmp_path / ".agent-workspace")
    for task_id in ("TASK-1", "TASK-2"):
        database.task(task_id)
        for name in ("a", "b"):
            database.agent(f"{task_id}-{name}", task_id)
    return database


@pytest.fixture
def home(built: Database) -> SqliteWorkspace:
    """The workspace of it."""
    return SqliteWorkspace(Workspace(built.workspace))


def _statuses(task: TaskSource) -> dict[str, str]:
    return {agent.id: agent.status for agent in task.read().record.agents}


def test_a_task_that_did_not_change_keeps_its_record_and_its_stamp(
    home: SqliteWorkspace, built: Database
) -> None:
    first, second = home.tasks({})
    for task in (first, second):
        # The stamp of a file that was just written is not known.
        os.utime(task.path, (1_700_000_000, 1_700_000_000))
    before = [task.read() for task in (first, second)]
    listed = home.listed().record
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-2-a'")
    assert first.stamp() == before[0].signature
    assert second.stamp() != before[1].signature
    assert first.read().record is before[0].record
    assert _statuses(second) == {"TASK-2-a": "failed", "TASK-2-b": "running"}
    assert home.listed().record is listed


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE agents SET tmux_session = 'other' WHERE agent_id = 'TASK-1-b'",
        "UPDATE tasks SET status = 'CANCELLED' WHERE task_id = 'TASK-1'",
        "UPDATE agents SET task_id = 'TASK-2' WHERE agent_id = 'TASK-1-a'",
        "DELETE FROM agents WHERE agent_id = 'TASK-1-a'",
        "INSERT INTO agent_hierarchy (task_id, parent_agent_id, child_agent_id) "
        "VALUES ('TASK-1', 'TASK-1-a', 'TASK-1-b')",
        "INSERT INTO phases (task_id, phase_index, status) VALUES ('TASK-1', 0, 'ACTIVE')",
        "INSERT INTO task_config (task_id, max_agents) VALUES ('TASK-1', 3)",
        "UPDATE agents SET progress = CAST(progress AS TEXT) WHERE agent_id = 'TASK-1-a'",
        "UPDATE agents SET progress = 10.5 WHERE agent_id = 'TASK-1-a'",
        "ALTER TABLE agents RENAME COLUMN model TO kind",
        "ALTER TABLE agents DROP COLUMN parent",
        "UPDATE agents SET type = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_change_of_any_row_is_read(home: SqliteWorkspace, built: Database, change: str) -> None:
    kept = {task.path: task for task in home.tasks({})}
    for task in kept.values():
        task.read()
    built.run(change)
    for fresh in SqliteWorkspace(Workspace(built.workspace)).tasks({}):
        assert kept[fresh.path].read().record == fresh.read().record


def test_an_unchanged_row_is_the_same_object(built: Database) -> None:
    first = read_rows(built.path)
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-1-b'")
    second = read_rows(built.path, before=first)
    assert second.agents == read_rows(built.path).agents
    values = [rows.tables["agents"].values for rows in (second, first)]
    same = [now is was for now, was in zip(*values, strict=True)]
    assert same == [True, False, True, True]


def test_an_agent_whose_row_did_not_change_keeps_its_record(
    home: SqliteWorkspace, built: Database
) -> None:
    first, _ = home.tasks({})
    before = first.read().record.agents
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-1-a'")
    after = first.read().record.agents
    assert [now is was for now, was in zip(after, before, strict=True)] == [False, True]
    built.run("ALTER TABLE agents RENAME COLUMN type TO kind")
    assert [agent.type for agent in first.read().record.agents] == ["", ""]


def test_a_database_of_another_user_has_another_stamp(
    home: SqliteWorkspace, built: Database
) -> None:
    first, _ = home.tasks({})
    before = first.read()
    copy = built.path.with_name("copy")
    copy.write_bytes(built.path.read_bytes())
    copy.rename(built.path)
    after = first.read()
    assert after.record == before.record and after.signature != before.signature
