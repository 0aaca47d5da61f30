"""A change of a database is read only where it is, and the result is that of a whole scan."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import database
from registry.errors import BusyRegistryError
from registry.schema import Instant, Workspace
from registry.sources import SqliteTask, SqliteWorkspace
from tests.support.databases import Database
from tests.support.registries import agent, global_registry, task_registry, write
from tui.live.registry_cache import Registries

LONG_AGO = (1_700_000_000, 1_700_000_000)


def _age(database: Database) -> None:
    """Makes all files so old that nothing is read again without a reason."""
    for path in database.workspace.rglob("*"):
        if path.is_file() and path != database.path:
            os.utime(path, LONG_AGO)


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with three tasks of two agents; the third task is in a JSON registry, too."""
    database = Database(tmp_path / ".agent-workspace")
    for task_id in ("TASK-1", "TASK-2", "TASK-3"):
        registry = database.task(task_id)
        for name in ("a", "b"):
            database.agent(f"{task_id}-{name}", task_id)
    write(registry, task_registry(agent("TASK-3-a"), agent("paper"), task_id="TASK-3"))
    _age(database)
    return database


@pytest.fixture
def known(built: Database) -> Registries:
    """The content of its registries."""
    registries = Registries([Workspace(built.workspace)])
    registries.rescan()
    return registries


def _read_by(registries: Registries) -> list[object]:
    branches = [(each.path, each.error, each.database) for each in registries.branches()]
    states = [
        (state.registry, state.record, state.error, state.listed_description, state.database)
        for state in registries.states()
    ]
    return [branches, states, registries.global_records(), registries.sees_all()]


def _changed(built: Database) -> set[Path]:
    return {built.path, built.path.with_name(f"{built.path.name}-wal")}


_INSIDE = [
    "UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-1-a'",
    "UPDATE agents SET tmux_session = NULL WHERE agent_id = 'TASK-3-a'",
    "UPDATE agents SET tmux_session = 'other' WHERE agent_id = 'TASK-2-b'",
    "DELETE FROM agents WHERE task_id = 'TASK-1'",
    "UPDATE tasks SET current_phase_index = 1",
    "INSERT INTO phases (task_id, phase_index, name) VALUES ('TASK-2', 0, 'plan')",
    "INSERT INTO task_config (task_id, max_agents) VALUES ('TASK-2', 3)",
    "UPDATE agents SET task_id = 'TASK-2' WHERE agent_id = 'TASK-1-a'",
    "INSERT INTO agents (agent_id, task_id, status) VALUES ('new', 'TASK-1', 'running')",
]
_OUTSIDE = [
    "UPDATE tasks SET description = 'do it' WHERE task_id = 'TASK-1'",
    "INSERT INTO tasks (task_id) VALUES ('TASK-4')",
    "INSERT INTO agents (agent_id, task_id, status) VALUES ('new', 'TASK-4', 'running')",
    "DELETE FROM tasks WHERE task_id = 'TASK-1'; DELETE FROM agents WHERE task_id = 'TASK-1'",
    "UPDATE tasks SET status = 'CANCELLED'",
]


@pytest.mark.parametrize("change", _INSIDE + _OUTSIDE)
def test_after_a_change_the_content_is_that_of_a_whole_scan(
    built: Database, known: Registries, change: str
) -> None:
    with closing(sqlite3.connect(built.path)) as connection:
        connection.executescript(change)
    assert known.knows(_changed(built))
    is_known = known.reread(_changed(built))
    assert is_known == (change in _INSIDE)
    if not is_known:
        known.rescan()
    fresh = Registries([Workspace(built.workspace)])
    fresh.rescan()
    assert _read_by(known) == _read_by(fresh)


def test_a_schema_that_becomes_unknown_is_seen(built: Database, known: Registries) -> None:
    built.run("ALTER TABLE agents DROP COLUMN status")
    assert not known.reread(_changed(built))
    known.rescan()
    (unread,) = known.databases()
    assert "agents.status" in str(unread)


def test_a_task_that_moves_into_the_database_is_read_there(built: Database) -> None:
    path = built.workspace / "TASK-4" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("paper"), task_id="TASK-4"))
    write(
        built.path.with_name("GLOBAL_REGISTRY.json"),
        global_registry(tasks={"TASK-4": {"status": "ACTIVE"}}),
    )
    _age(built)
    known = Registries([Workspace(built.workspace)])
    known.rescan()
    listed = dict(known.global_records())[built.path.with_name("GLOBAL_REGISTRY.json")]
    task = listed.tasks["TASK-4"]
    built.row("tasks", task_id="TASK-4", description=task.description, status=task.status)
    assert not known.reread(_changed(built))
    known.rescan()
    assert isinstance(known.states()[-1].source, SqliteTask)


def test_the_end_of_a_database_is_seen(built: Database, known: Registries) -> None:
    built.path.unlink()
    assert not known.reread(_changed(built))


def test_only_changed_tasks_are_read(
    built: Database, known: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    looks = SqliteTask.look

    def looking(task: SqliteTask) -> object:
        looked.append(task.task_id)
        return looks(task)

    monkeypatch.setattr(SqliteTask, "look", looking)
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-2-a'")
    assert known.reread(_changed(built))
    # The other one is also in a JSON registry, and the newest of both counts.
    assert sorted(looked) == ["TASK-2", "TASK-3"]


def test_a_task_that_could_not_be_read_is_read_again(
    built: Database, known: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = SqliteTask.read

    def reading(task: SqliteTask, *largest: int) -> object:
        if task.task_id == "TASK-2":
            raise BusyRegistryError(task.path)
        return reads(task, *largest)

    monkeypatch.setattr(SqliteTask, "read", reading)
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-2-a'")
    assert known.reread(_changed(built)) and known.busy
    monkeypatch.undo()
    built.run("UPDATE agents SET status = 'failed' WHERE agent_id = 'TASK-1-a'")
    assert known.reread(_changed(built)) and not known.busy
    fresh = Registries([Workspace(built.workspace)])
    fresh.rescan()
    assert _read_by(known) == _read_by(fresh)


def test_one_look_of_one_thread_has_one_state(built: Database) -> None:
    home = SqliteWorkspace(Workspace(built.workspace))
    (task, *_) = home.tasks({})
    seen: list[str] = []

    def look() -> None:
        seen.append(task.read().record.agents[0].status)

    with home.one_look():
        look()
        built.run("UPDATE agents SET status = 'failed'")
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join()
    look()
    assert seen == ["running", "running", "failed", "failed"]


def test_a_task_is_known_until_its_database_was_read(
    built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Registries([Workspace(built.workspace)])
    read_at: list[Instant] = []
    tasks = SqliteWorkspace.tasks

    def listing(home: SqliteWorkspace, *listed: Any) -> object:
        read_at.append(Instant.now())
        return tasks(home, *listed)

    monkeypatch.setattr(SqliteWorkspace, "tasks", listing)
    known.rescan()
    built.run("UPDATE agents SET status = 'failed'")

    def busy(task: SqliteTask, *_: int) -> None:
        raise BusyRegistryError(task.path)

    monkeypatch.setattr(SqliteTask, "read", busy)
    assert known.reread(_changed(built)) and known.busy
    assert known.known_until() <= read_at[0]


def test_a_scan_that_meets_a_busy_database_asks_once(
    built: Database, known: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def busy(path: Path, *_: object, **__: object) -> None:
        asked.append(path)
        raise BusyRegistryError(path)

    built.run("UPDATE agents SET status = 'failed'")
    monkeypatch.setattr(database, "read_rows", busy)
    assert not known.reread(_changed(built))
    known.rescan()
    assert len(asked) == 2
    assert known.busy
    monkeypatch.undo()
    known.rescan()
    assert not known.busy
    fresh = Registries([Workspace(built.workspace)])
    fresh.rescan()
    assert _read_by(known) == _read_by(fresh)
