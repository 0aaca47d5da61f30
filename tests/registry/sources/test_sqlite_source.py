"""A workspace with a database, asked as any workspace is; and nothing is ever written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import NotSupportedError, RegistryError, UnreadableDatabaseError
from registry.agent_output import PROGRESS
from registry.schema import Workspace
from registry.snapshots import Signature
from registry.sources import Dialect, JsonTask, SqliteTask, SqliteWorkspace, TaskSource
from tests.support.databases import Database
from tests.support.other_user import OTHER, needs_another_user
from tests.support.registries import agent, task_registry, write

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task and one agent."""
    database = Database(tmp_path / ".agent-workspace")
    database.task(description="do it")
    database.agent("one")
    return database


@pytest.fixture
def home(built: Database) -> SqliteWorkspace:
    """The workspace of it."""
    return SqliteWorkspace(Workspace(built.workspace))


def _only(home: SqliteWorkspace) -> TaskSource:
    (task,) = home.tasks({})
    return task


def test_a_task_says_where_it_is_kept(home: SqliteWorkspace, built: Database) -> None:
    task = _only(home)
    assert isinstance(task, SqliteTask)
    assert (task.dialect, task.directory) == (Dialect.SQLITE, built.workspace / "TASK-1")
    assert task.path == built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    assert [file.path for file in task.files] == [built.path]
    assert task.audit_log == built.path.with_name("muster_audit.jsonl")
    assert (task.global_registry, task.problem, task.lies_elsewhere) == (None, None, False)
    assert not task.is_cut_off() and not task.recover(1.0)


def test_a_workspace_says_where_it_is_kept(home: SqliteWorkspace, built: Database) -> None:
    assert home.dialect is Dialect.SQLITE
    assert {"state.sqlite3", "state.sqlite3-wal"} <= set(home.watched_names)
    assert built.path.parent in home.directories()
    assert home.unread_database() is None


def test_agents_sessions_and_fields_are_those_of_the_database(home: SqliteWorkspace) -> None:
    task = _only(home)
    assert [agent.id for agent in task.read().record.agents] == ["one"]
    listed = home.listed().record
    assert listed.sessions == {"agent_one"}
    assert listed.tasks["TASK-1"].description == "do it"
    entry = task.entry("one")
    assert entry is not None and entry["id"] == entry["agent_id"] == "one"
    assert json.loads(json.dumps(entry)) == entry
    assert task.entry("two") is task.entry("one", 1) is task.listed_entry("one") is None


def test_a_stamp_is_the_snapshots_until_something_changes(
    home: SqliteWorkspace, built: Database
) -> None:
    task = _only(home)
    for path in (built.path, task.path):
        os.utime(path, LONG_AGO)
    for source, read in ((task, task.read), (home, home.listed)):
        signature: Signature = read().signature
        assert source.stamp() == signature
    before = task.read().signature
    built.agent("two")
    assert task.stamp() != before
    assert [agent.id for agent in task.read().record.agents] == ["one", "two"]


def test_a_database_beyond_the_limits_counts_as_unread(
    home: SqliteWorkspace, built: Database
) -> None:
    size = built.path.stat().st_size
    for largest, seconds in ((size - 1, 1e9), (size, -1.0)):
        home.limit_database(largest, time.monotonic() + seconds)
        assert home.unread_database() is not None
        assert not any(isinstance(task, SqliteTask) for task in home.tasks({}))
    home.limit_database(size, time.monotonic() + 1e9)
    assert home.unread_database() is None
    assert isinstance(_only(home), SqliteTask)


def test_a_reading_that_failed_late_is_not_repeated(
    home: SqliteWorkspace, built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def fail(path: Path, *_: object, **__: object) -> None:
        reads.append(path)
        raise UnreadableDatabaseError(path, "takes too long", "Wait")

    monkeypatch.setattr("registry.database.read_rows", fail)
    os.utime(built.path, LONG_AGO)
    for slow, expected in ((1e9, 2), (-1.0, 3)):
        monkeypatch.setattr("registry.sources.database_state._SLOW", slow)
        for _ in range(2):
            assert home.unread_database() is not None
        assert len(reads) == expected
    monkeypatch.undo()
    assert home.unread_database() is not None
    built.agent("two")
    assert home.unread_database() is None


def test_each_other_task_is_the_json_files(home: SqliteWorkspace, built: Database) -> None:
    other = built.workspace / "TASK-0" / "AGENT_REGISTRY.json"
    other.parent.mkdir()
    write(other, task_registry(agent("old"), task_id="TASK-0"))
    first, second = home.tasks({})
    assert isinstance(first, JsonTask) and isinstance(second, SqliteTask)
    assert [agent.id for agent in first.read().record.agents] == ["old"]
    write(
        built.path.with_name("GLOBAL_REGISTRY.json"),
        {"tasks": {"TASK-0": {"description": "older"}}, "agents": {"old": agent("old")}},
    )
    listed = home.listed().record
    assert listed.tasks.keys() == {"TASK-0", "TASK-1"}
    assert listed.sessions == {"agent_old", "agent_one"}


def test_a_task_that_is_named_alone_is_the_only_one(built: Database) -> None:
    built.task("TASK-2")
    registry = built.workspace / "TASK-2" / "AGENT_REGISTRY.json"
    (task,) = SqliteWorkspace(Workspace(built.workspace, only=registry)).tasks({})
    assert isinstance(task, SqliteTask) and task.task_id == "TASK-2"


def test_a_database_that_appears_later_is_used(tmp_path: Path) -> None:
    home = SqliteWorkspace(Workspace(tmp_path / ".agent-workspace"))
    (tmp_path / ".agent-workspace" / "registry").mkdir(parents=True)
    assert (home.dialect, home.tasks({}), home.unread_database()) == (Dialect.JSON, (), None)
    built = Database(home.directory)
    built.task()
    built.agent("one")
    assert isinstance(_only(home), SqliteTask)


def test_agents_in_both_are_read_from_both(home: SqliteWorkspace, built: Database) -> None:
    task = _only(home)
    write(task.path, {"task_id": "TASK-1", "agents": [agent("one"), agent("beside")]})
    progress = task.directory / "archive" / "one_progress.jsonl"
    progress.parent.mkdir()
    line = {"timestamp": "2099-01-01T00:00:00", "status": "completed", "progress": 100}
    progress.write_text(json.dumps(line) + "\n")
    agents = {agent.id: agent.status for agent in task.read().record.agents}
    assert agents == {"one": "completed", "beside": "running"}
    entry = task.entry("beside")
    assert entry is not None and entry["tmux_session"] == "agent_beside"


@needs_another_user
@pytest.mark.parametrize("shared", ["registry", None])
def test_who_may_not_write_a_json_registry_ends_no_agent_of_it(
    home: SqliteWorkspace, built: Database, shared: str | None
) -> None:
    task = _only(home)
    write(task.path, {"task_id": "TASK-1", "agents": [agent("one", last_update="")]})
    built.run("UPDATE agents SET status = 'completed', tmux_session = 'agent_none'")
    if shared is not None:
        os.chown(built.workspace / shared, -1, OTHER)
        (built.workspace / shared).chmod(0o775)
    record = task.read().record
    assert [agent.status for agent in record.agents] == ["running" if shared else "completed"]
    assert record.sessions == {"agent_one", "agent_none"}


@needs_another_user
def test_who_may_not_write_a_database_ends_no_agent_of_it(
    home: SqliteWorkspace, built: Database
) -> None:
    """Another user may write the JSON registry, and names a session that does not exist."""
    task = _only(home)
    other = agent(
        "one", status="completed", tmux_session="agent_nope", last_update="2099-01-01T00:00:00"
    )
    write(task.path, {"task_id": "TASK-1", "agents": [other]})
    mine = next(each for each in task.read().record.agents if each.id == "one")
    assert mine.tmux_session == "agent_nope"
    os.chown(task.path, -1, OTHER)
    task.path.chmod(0o664)
    (mine,) = [each for each in task.read().record.agents if each.id == "one"]
    assert (mine.meaning, mine.tmux_session) == ("running", "agent_one")
    # Nobody may end the session that the other entry names, either.
    assert "agent_nope" in task.read().record.sessions


@needs_another_user
@pytest.mark.parametrize("shared", ["TASK-1/progress", "TASK-1/progress/one_progress.jsonl"])
def test_who_may_only_write_reports_ends_no_agent(
    home: SqliteWorkspace, built: Database, shared: str
) -> None:
    task = _only(home)
    write(task.path, {"task_id": "TASK-1", "agents": [agent("one")]})
    file = built.workspace / "TASK-1" / "progress" / "one_progress.jsonl"
    file.parent.mkdir(exist_ok=True)
    line = {
        "timestamp": "2099-01-01T00:00:00",
        "agent_id": "one",
        "status": "completed",
        "progress": 100,
    }
    file.write_text(json.dumps(line) + "\n")
    assert [each.meaning for each in task.read().record.agents if each.id == "one"] == [
        "completed"
    ]
    place = built.workspace / shared
    os.chown(place, -1, OTHER)
    place.chmod(0o2775 if place.is_dir() else 0o664)
    assert [each.meaning for each in task.read().record.agents if each.id == "one"] == ["running"]


def test_without_last_update_the_last_report_has_the_time(
    home: SqliteWorkspace, built: Database
) -> None:
    built.run("ALTER TABLE agents DROP COLUMN last_update")
    built.row("agents", agent_id="two", task_id="TASK-1", status="running", started_at=None)
    said = "2026-01-08T10:00:00"
    for agent_id, status in (("one", "working"), ("two", "completed")):
        built.row(
            "agent_progress_latest",
            task_id="TASK-1",
            agent_id=agent_id,
            timestamp=said,
            status=status,
        )
    task = _only(home)
    assert {agent.id: agent.last_update for agent in task.read().record.agents} == {
        "one": said,
        "two": said,
    }
    # A change of such an agent is not refused because of the time.
    report = task.finish(["one"], status="completed")
    assert [change.status for change in report.changed] == ["completed"]


def test_output_in_the_archive_is_read(home: SqliteWorkspace) -> None:
    task = _only(home)

    def write_line(folder: str, *messages: str) -> None:
        path = task.directory / folder / "one_progress.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.writelines(json.dumps({"message": message}) + "\n" for message in messages)

    write_line("archive", "first", "second")
    with task.output("one", PROGRESS) as file:
        assert [line.message for line in file.last(9).records] == ["first", "second"]
        write_line("progress", "late")
        assert [line.message for line in file.more().records] == ["late"]
        assert [line.message for line in file.last(2).records] == ["second", "late"]
        assert file.last(2).earlier
    with task.output("one", PROGRESS) as file:
        assert [line.message for line in file.more().records] == ["first", "second", "late"]
    assert task.last_reports(["one", "two"]).keys() == {"one"}
    facts = {fact.name: fact for fact in task.output_facts("one")}
    assert facts["progress"].size and facts["progress"].path.parent.name == "progress"
    (task.directory / "progress" / "one_progress.jsonl").unlink()
    facts = {fact.name: fact for fact in task.output_facts("one")}
    assert facts["progress"].size and facts["progress"].path.parent.name == "archive"


def test_an_id_that_is_a_path_is_shown_and_never_opened(
    home: SqliteWorkspace, built: Database
) -> None:
    built.row("tasks", task_id="../outside", status="ACTIVE")
    built.agent("two", "../outside")
    (odd,) = [task for task in home.tasks({}) if task.problem is not None]
    assert "'../outside'" in (odd.problem or "") or "../outside" in (odd.problem or "")
    assert odd.path.is_relative_to(built.path) and not odd.path.exists()
    assert odd.last_reports(["two"]) == {}
    assert "agent_two" in home.listed().record.sessions


@pytest.mark.parametrize(
    "change",
    [
        lambda task: task.register("tester"),
        lambda task: task.withdraw("one"),
    ],
)
def test_every_change_is_refused_and_nothing_is_written(
    home: SqliteWorkspace, built: Database, change: Callable[[TaskSource], object]
) -> None:
    task = _only(home)
    paths = [path for path in built.workspace.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in paths}
    with pytest.raises(NotSupportedError, match=r"state\.sqlite3") as raised:
        change(task)
    assert "orchestrator" in str(raised.value)
    assert {path: path.read_bytes() for path in built.workspace.rglob("*") if path.is_file()} == (
        before
    )


# A database that cannot be read


def test_it_is_named_and_json_tasks_stay(home: SqliteWorkspace, built: Database) -> None:
    built.path.write_bytes(b"no database" * 100)
    os.utime(built.path, LONG_AGO)
    problem = home.unread_database()
    assert problem is not None and problem.problem is not None
    assert "not a valid database" in str(problem)
    task = _only(home)
    assert isinstance(task, JsonTask)
    with pytest.raises(RegistryError):
        home.listed()


def test_what_was_read_before_stays_with_its_error(home: SqliteWorkspace, built: Database) -> None:
    task = _only(home)
    assert task.read().record.agents
    built.run("ALTER TABLE agents RENAME COLUMN status TO state")
    assert home.unread_database() is not None
    assert _only(home) == task
    with pytest.raises(UnreadableDatabaseError, match=r"agents\.status"):
        task.read()


def test_a_task_that_was_removed_is_not_found(home: SqliteWorkspace, built: Database) -> None:
    task = _only(home)
    built.run("DELETE FROM agents")
    built.run("DELETE FROM tasks")
    with pytest.raises(FileNotFoundError):
        task.read()
